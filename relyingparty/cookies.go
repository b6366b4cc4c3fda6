package relyingparty

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gatewarden/gatewarden/access"
)

// Bounds of cookies. Browsers take 4096 bytes of name, value and attributes together
// (RFC 6265 section 6.1); servers take a few times that for a header.
const (
	maxChunk  = 3800
	maxChunks = 4
	maxCookie = maxChunk * maxChunks
)

var (
	errNoSession = errors.New("there is no session")
	errTooLarge  = errors.New("the session does not fit into cookies")
	errChunks    = errors.New("the session's cookies are not whole")
)

// hostPrefix makes browsers insist that a cookie is Secure, of this host alone and of
// no other path (RFC 6265bis section 4.1.3.2).
const hostPrefix = "__Host-"

// CookiePrefixes returns what the names of the Party's cookies begin with, over HTTPS
// and over HTTP.
func (p *Party) CookiePrefixes() []string {
	return []string{hostPrefix + p.o.CookieName + "_", p.o.CookieName + "_"}
}

// cookieName is the name for what a Party keeps: s (session) or l (login attempt). The
// Party's id is part of it, so that two on one host do not overwrite each other's.
func (p *Party) cookieName(r *access.Request, kind string) string {
	name := p.o.CookieName + "_" + kind + "_" + p.id
	if secure(r) {
		name = hostPrefix + name
	}
	return name
}

func secure(r *access.Request) bool { return r.URL.Scheme == "https" }

// setCookie returns the Set-Cookie field of a cookie; a negative age withdraws it.
func setCookie(r *access.Request, name, value string, age time.Duration) string {
	c := http.Cookie{Name: name, Value: value, Path: "/", Secure: secure(r), HttpOnly: true, SameSite: http.SameSiteLaxMode, MaxAge: int(age / time.Second)}
	if age < 0 {
		c.MaxAge = -1
	}
	return c.String()
}

// sessionCookie joins the pieces of the session's cookie: NAME.0, NAME.1 and so on,
// the first of which says how many there are. It returns errNoSession when there is
// none of them.
func (p *Party) sessionCookie(r *access.Request) (string, error) {
	name := p.cookieName(r, "s") + "."
	var pieces [maxChunks]string
	found := 0
	for _, c := range r.Cookies {
		place, ok := strings.CutPrefix(c.Name, name)
		if !ok {
			continue
		}
		n, err := strconv.Atoi(place)
		// A second cookie of one name was set by somebody else, from a subdomain or
		// without TLS.
		if err != nil || n < 0 || n >= maxChunks || place != strconv.Itoa(n) || pieces[n] != "" || c.Value == "" || len(c.Value) > maxChunk {
			return "", errChunks
		}
		pieces[n] = c.Value
		found++
	}
	if found == 0 {
		return "", errNoSession
	}
	count, first, ok := strings.Cut(pieces[0], ".")
	if n, err := strconv.Atoi(count); !ok || err != nil || n != found {
		return "", errChunks
	}
	if slices.Contains(pieces[:found], "") {
		return "", errChunks
	}
	return first + strings.Join(pieces[1:found], ""), nil
}

// setSession returns the Set-Cookie fields that put value into the session's cookie,
// and withdraw the pieces of an old one that was longer. Whoever gives no value
// withdraws the whole.
func (p *Party) setSession(r *access.Request, value string, age time.Duration) ([]string, error) {
	name := p.cookieName(r, "s") + "."
	var out []string
	n := 0
	if value != "" {
		if len(value) > maxCookie-2 {
			return nil, errTooLarge
		}
		n = (len(value) + 2 + maxChunk - 1) / maxChunk
		value = strconv.Itoa(n) + "." + value
		for i := range n {
			out = append(out, setCookie(r, name+strconv.Itoa(i), value[i*maxChunk:min(len(value), (i+1)*maxChunk)], age))
		}
	}
	for _, c := range r.Cookies {
		place, ok := strings.CutPrefix(c.Name, name)
		if i, err := strconv.Atoi(place); ok && (err != nil || i >= n) && len(out) < 4*maxChunks && isPiece(place) {
			out = append(out, setCookie(r, c.Name, "", -1))
		}
	}
	return out, nil
}

// isPiece keeps names that a client made up out of answers.
func isPiece(place string) bool { return len(place) == 1 && place[0] >= '0' && place[0] <= '9' }
