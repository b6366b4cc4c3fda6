package login

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

//go:embed templates/*.html templates/style.css templates/passkey.js
var builtIn embed.FS

// Theme is how the pages look. Zero fields are the built-in look.
type Theme struct {
	// Name is what the pages call the place; default Gatewarden.
	Name string
	// Logo is a file (PNG, JPEG, GIF, WebP) that is shown instead of the name.
	Logo string
	// Accent is the colour of buttons and links, #rrggbb; text on it is white.
	Accent string
	// Templates is a folder with files that replace built-in ones of the same name:
	// layout.html, login.html, consent.html, ..., style.css.
	Templates string
	// Messages is a folder of files such as fr.json with texts: a further language, or
	// other words for a built-in one.
	Messages string
}

// pageNames are the pages, each a template file.
var pageNames = []string{"login", "consent", "logout", "done", "error", "account", "continue", "code", "enrol", "codes", "passkey"}

// look is a theme that was read: everything that a page needs.
type look struct {
	name     string
	pages    map[string]*template.Template
	style    asset
	logo     asset
	script   asset
	messages *catalog
}

// asset is a static file. Its address holds its hash, so that it may be kept for good.
type asset struct {
	name, media string
	body        []byte
}

var (
	colour     = regexp.MustCompile(`^#[0-9a-fA-F]{6}$`)
	logoTypes  = map[string]string{".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".gif": "image/gif", ".webp": "image/webp"}
	maxLogo    = int64(1 << 20)
	errTooBig  = errors.New("is larger than 1 MiB")
	errNoImage = errors.New("must be a PNG, JPEG, GIF or WebP image") // no SVG: it may hold scripts
)

// load reads the theme. Its error names the file.
func (t Theme) load() (*look, error) {
	l := &look{name: t.Name, pages: map[string]*template.Template{}}
	if l.name == "" {
		l.name = "Gatewarden"
	}
	read := func(file string) ([]byte, error) {
		if t.Templates != "" {
			text, err := os.ReadFile(filepath.Join(t.Templates, file))
			if !errors.Is(err, fs.ErrNotExist) {
				return text, err
			}
		}
		return builtIn.ReadFile("templates/" + file)
	}
	if t.Templates != "" {
		if _, err := os.ReadDir(t.Templates); err != nil {
			return nil, fmt.Errorf("login.templates: %w", err)
		}
	}
	layout, err := read("layout.html")
	if err != nil {
		return nil, fmt.Errorf("login.templates: %w", err)
	}
	for _, name := range pageNames {
		text, err := read(name + ".html")
		if err != nil {
			return nil, fmt.Errorf("login.templates: %w", err)
		}
		page := template.New(name).Option("missingkey=error")
		if _, err := page.Parse(string(layout)); err != nil {
			return nil, fmt.Errorf("login.templates: layout.html: %w", err)
		}
		if _, err := page.Parse(string(text)); err != nil {
			return nil, fmt.Errorf("login.templates: %s.html: %w", name, err)
		}
		l.pages[name] = page
	}
	style, err := read("style.css")
	if err != nil {
		return nil, fmt.Errorf("login.templates: %w", err)
	}
	if t.Accent != "" {
		if !colour.MatchString(t.Accent) {
			return nil, fmt.Errorf("login.accent: %q is not a colour such as #1d4ed8", t.Accent)
		}
		style = append(style, "\n:root { --accent: "+t.Accent+"; }\n"...)
	}
	l.style = newAsset("style", ".css", "text/css; charset=utf-8", style)
	// The script is not the theme's: it is the only one that the policy allows.
	script, err := builtIn.ReadFile("templates/passkey.js")
	if err != nil {
		return nil, err
	}
	l.script = newAsset("passkey", ".js", "text/javascript; charset=utf-8", script)
	if l.logo, err = readLogo(t.Logo); err != nil {
		return nil, fmt.Errorf("login.logo: %s: %w", t.Logo, err)
	}
	if l.messages, err = loadMessages(t.Messages); err != nil {
		return nil, fmt.Errorf("login.messages: %w", err)
	}
	return l, nil
}

func newAsset(name, extension, media string, body []byte) asset {
	sum := sha256.Sum256(body)
	return asset{name: name + "-" + hex.EncodeToString(sum[:8]) + extension, media: media, body: body}
}

func readLogo(file string) (asset, error) {
	if file == "" {
		return asset{}, nil
	}
	media := logoTypes[strings.ToLower(filepath.Ext(file))]
	if media == "" {
		return asset{}, errNoImage
	}
	info, err := os.Stat(file)
	if err != nil {
		return asset{}, err
	}
	if info.Size() > maxLogo {
		return asset{}, errTooBig
	}
	body, err := os.ReadFile(file)
	if err == nil && http.DetectContentType(body) != media {
		err = errNoImage
	}
	return newAsset("logo", filepath.Ext(file), media, body), err
}

// serveAsset answers with a static file.
func (l *look) serveAsset(w http.ResponseWriter, r *http.Request, name string) {
	for _, a := range []asset{l.style, l.logo, l.script} {
		if a.name != "" && a.name == name && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
			w.Header().Set("Content-Type", a.media)
			w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
			w.Header().Del("Pragma")
			_, _ = w.Write(a.body) // the client is gone
			return
		}
	}
	http.NotFound(w, r)
}

// view is what templates see.
type view struct {
	// Lang is the language of the texts (RFC 5646); Brand what the place is called.
	Lang, Brand string
	// Style and Logo are addresses; Logo may be empty.
	Style, Logo string
	// Base is the path in front of all pages.
	Base string
	// Script is the address of the page's script; empty for none.
	Script string
	// CSRF is the field csrf_token of the page's form.
	CSRF string
	// Faults are what is wrong with the form that was sent.
	Faults []Fault
	// Notice tells of something that worked.
	Notice string
	// Page is what only this page has.
	Page any

	texts *texts
}

// Fault is one thing that is wrong with a form; Field is the id of an input.
type Fault struct{ Field, Text string }

// view begins a page in the language of the browser.
func (l *look) view(r *http.Request, base string) *view {
	v := &view{Brand: l.name, Base: base, Style: base + assetsPath + l.style.name}
	if l.logo.name != "" {
		v.Logo = base + assetsPath + l.logo.name
	}
	v.speak(l.messages.choose(r.URL.Query().Get("ui_locales"), r.Header.Get("Accept-Language")))
	return v
}

func (v *view) speak(t *texts) { v.texts, v.Lang = t, t.tag }

// T returns a text of the messages. Pairs are names and values of its {placeholders}.
func (v *view) T(key string, pairs ...string) string { return v.texts.text(key, pairs...) }

// Scope describes a scope; one without a message is shown as it is.
func (v *view) Scope(name string) string { return v.texts.scope(name) }

// policy is the one of pages (Content Security Policy Level 3).
const policy = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// allowScript puts the script for passkeys into the page, and that one file into its
// policy.
func (x *exchange) allowScript() {
	x.v.Script = x.p.script
	x.w.Header().Set("Content-Security-Policy", policy+"; script-src "+x.p.script)
}

// headers are those of every page (and Cache-Control of all but assets).
func (x *exchange) headers() {
	h := x.w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Permissions-Policy", "geolocation=(), camera=(), microphone=()")
	h.Set("Cache-Control", "no-store")
	h.Set("Pragma", "no-cache")
}

// render answers with a page. It is made whole first: a template of the operator that
// fails must not leave half of one.
func (x *exchange) render(status int, name string, data any) {
	x.v.Page = data
	var page bytes.Buffer
	if err := x.p.look.pages[name].ExecuteTemplate(&page, "layout", x.v); err != nil {
		x.p.o.Log.ErrorContext(x.ctx, "login page failed", "page", name, "error", err)
		http.Error(x.w, "The page cannot be shown.", http.StatusInternalServerError)
		return
	}
	x.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	x.w.WriteHeader(status)
	_, _ = x.w.Write(page.Bytes()) // the client is gone
}
