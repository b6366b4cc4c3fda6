package login

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var placeholder = regexp.MustCompile(`\{\w+\}`)

func TestEveryLanguageHasTheTextsOfTheOthers(t *testing.T) {
	c, err := loadMessages("")
	if err != nil {
		t.Fatal(err)
	}
	if len(c.all) < 2 || c.all[0].tag != "en" {
		t.Fatalf("languages: %v", c.all)
	}
	english := c.all[0].messages
	for _, other := range c.all[1:] {
		if diff := cmp.Diff(slices.Sorted(maps.Keys(english)), slices.Sorted(maps.Keys(other.messages))); diff != "" {
			t.Errorf("%s (-en +%s):\n%s", other.tag, other.tag, diff)
		}
		for key, text := range other.messages {
			a, b := placeholder.FindAllString(english[key], -1), placeholder.FindAllString(text, -1)
			slices.Sort(a)
			slices.Sort(b)
			if diff := cmp.Diff(a, b); diff != "" {
				t.Errorf("%s: placeholders of %s:\n%s", other.tag, key, diff)
			}
		}
	}
}

func TestEveryTextOfThePagesExistsAndIsUsed(t *testing.T) {
	c, err := loadMessages("")
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, pattern := range []string{"templates/*.html", "*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			text.Write(data)
		}
	}
	for _, m := range regexp.MustCompile(`\bT "([\w.]+)"`).FindAllStringSubmatch(text.String(), -1) {
		if c.all[0].messages[m[1]] == "" {
			t.Errorf("there is no text %s", m[1])
		}
	}
	for key := range c.all[0].messages {
		if !strings.HasPrefix(key, scopePrefix) && !strings.HasPrefix(key, "error.") && !strings.Contains(text.String(), `"`+key+`"`) {
			t.Errorf("the text %s is not used", key)
		}
	}
}

func TestTheLanguageIsTheClientsWishThenTheBrowsers(t *testing.T) {
	c, err := loadMessages("")
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct{ locales, accept, want string }{
		{"", "", "en"}, {"", "de-AT,en;q=0.5", "de"}, {"de", "en", "de"}, {"xx fr de-CH", "en", "de"}, {"tlh", "", "en"}, {"", "fr;q=1, de;q=0.1", "de"},
		{"", "*", "en"}, {strings.Repeat("x", 10000), strings.Repeat("de,", 10000), "en"}, {"\xff", "\x00", "en"}, {"", "en-GB", "en"},
	} {
		if got := c.choose(x.locales, x.accept).tag; got != x.want {
			t.Errorf("%.20q, %.20q: %s, want %s", x.locales, x.accept, got, x.want)
		}
	}
}

// folder writes files and returns their folder.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestAThemeReplacesWhatItNames(t *testing.T) {
	png := "\x89PNG\r\n\x1a\n" + strings.Repeat("\x00", 32)
	logo := filepath.Join(folder(t, map[string]string{"logo.png": png}), "logo.png")
	l, err := Theme{
		Name: "Acme", Logo: logo, Accent: "#0a7a3c",
		Templates: folder(t, map[string]string{"done.html": `{{define "title"}}Bye{{end}}{{define "main"}}<p>Bye from {{.Brand}}</p>{{end}}`}),
		Messages:  folder(t, map[string]string{"fr.json": `{"login.title": "Connexion", "scope.read": "lire"}`, "en.json": `{"login.title": "Log in"}`}),
	}.load()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(string(l.style.body), ":root { --accent: #0a7a3c; }\n") || l.logo.media != "image/png" || !strings.HasPrefix(l.logo.name, "logo-") {
		t.Errorf("style or logo: %q %q", l.logo.media, l.logo.name)
	}
	var page strings.Builder
	if err := l.pages["done"].ExecuteTemplate(&page, "layout", &view{Brand: l.name, texts: l.messages.all[0]}); err != nil || !strings.Contains(page.String(), "<p>Bye from Acme</p>") {
		t.Errorf("%v %s", err, page.String())
	}
	french := l.messages.choose("fr", "")
	if french.text("login.title") != "Connexion" || french.scope("read") != "lire" || french.text("cancel") != "Cancel" || french.scope("write") != "write" {
		t.Error("the further language is not there, or does not fall back to English")
	}
	if l.messages.choose("", "").text("login.title") != "Log in" {
		t.Error("a text of the operator's does not replace the built-in one")
	}
}

func TestFaultsOfAThemeNameTheirPlace(t *testing.T) {
	for want, theme := range map[string]Theme{
		`login.accent: "red;}" is not a colour`:     {Accent: "red;}"},
		"login.logo: logo.svg: must be a PNG":       {Logo: "logo.svg"},
		"login.logo: missing.png: stat missing.png": {Logo: "missing.png"},
		"login.templates: open ":                    {Templates: "no such folder"},
		"login.templates: login.html: template: ":   {Templates: folder(t, map[string]string{"login.html": "{{"})},
		"login.messages: ":                          {Messages: "no such folder"},
		`unknown key "login.titel"`:                 {Messages: folder(t, map[string]string{"de.json": `{"login.titel": "x"}`})},
		"the name is not a language":                {Messages: folder(t, map[string]string{"klingonisch.json": `{}`})},
		"must be one object of texts":               {Messages: folder(t, map[string]string{"fr.json": `[]`})},
	} {
		if _, err := theme.load(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	text := filepath.Join(folder(t, map[string]string{"a.png": "<svg onload=alert(1)>"}), "a.png")
	if _, err := (Theme{Logo: text}).load(); err == nil || !strings.Contains(err.Error(), "must be a PNG") {
		t.Errorf("a logo that is no image: %v", err)
	}
}

func TestTheStyleNamesNothingFromElsewhere(t *testing.T) {
	style, err := fs.ReadFile(builtIn, "templates/style.css")
	if err != nil {
		t.Fatal(err)
	}
	if regexp.MustCompile(`url\(|@import|@font-face`).Match(style) {
		t.Error("the style loads something")
	}
}
