package login

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"github.com/gatewarden/gatewarden/fault"
)

const (
	csrfCookie = "gatewarden_csrf"
	// maxForm bounds a form, in bytes: a password of the longest kind, percent-encoded,
	// and a challenge.
	maxForm = 16 << 10
)

// signing makes and checks values that only this server can make.
type signing struct{ keys [][]byte }

func newSigning(secrets [][]byte) (signing, error) {
	var s signing
	for _, secret := range secrets {
		key, err := hkdf.Key(sha256.New, secret, nil, "gatewarden login pages", sha256.Size)
		if err != nil {
			return s, err
		}
		s.keys = append(s.keys, key)
	}
	if len(s.keys) == 0 {
		return s, errors.New("secrets.system: at least one is required")
	}
	return s, nil
}

// sign returns a MAC over the parts, each with its length.
func (s signing) sign(parts ...string) string { return mac(s.keys[0], parts) }

// signed reports whether sign returned text for the parts.
func (s signing) signed(text string, parts ...string) bool {
	for _, key := range s.keys {
		if hmac.Equal([]byte(mac(key, parts)), []byte(text)) {
			return true
		}
	}
	return false
}

func mac(key []byte, parts []string) string {
	h := hmac.New(sha256.New, key)
	h.Write(lengthed(parts...))
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// lengthed puts parts together, each with its length, so that no others make the same.
func lengthed(parts ...string) (out []byte) {
	for _, part := range parts {
		out = append(binary.BigEndian.AppendUint64(out, uint64(len(part))), part...)
	}
	return out
}

// cookieName puts __Host- in front where the browser can then enforce what the cookie
// must be (RFC 6265bis section 4.1.3.2).
func (p *Pages) cookieName(name string) string {
	if p.secure {
		return "__Host-" + name
	}
	return name
}

func (x *exchange) cookie(name string) string {
	if c, err := x.r.Cookie(x.p.cookieName(name)); err == nil && len(c.Value) <= 256 {
		return c.Value
	}
	return ""
}

// setCookie sets a cookie for the given seconds; 0: as long as the browser runs.
func (x *exchange) setCookie(name, value string, age int) {
	http.SetCookie(x.w, &http.Cookie{Name: x.p.cookieName(name), Value: value, Path: "/", MaxAge: age, Secure: x.p.secure, HttpOnly: true, SameSite: http.SameSiteLaxMode})
}

// browser returns the secret that this browser is known by, a new one where it has none.
func (x *exchange) browser() string {
	if x.secret == "" {
		if x.secret = x.cookie(csrfCookie); len(x.secret) < 26 {
			x.secret = rand.Text()
			x.setCookie(csrfCookie, x.secret, 0)
		}
	}
	return x.secret
}

// protect gives the page the token of its form: a MAC over the browser's cookie, the
// page that the form is sent to (below the issuer) and the challenge, so that it is good
// nowhere else.
func (x *exchange) protect(path, purpose string) {
	x.v.CSRF = x.p.signing.sign("csrf", x.browser(), x.p.base+path, purpose)
}

// checkToken refuses a form without the token of the page that it is sent to and of the
// browser.
func (x *exchange) checkToken(purpose string) error {
	if secret := x.cookie(csrfCookie); secret != "" && x.p.signing.signed(x.form.Get("csrf_token"), "csrf", secret, x.r.URL.Path, purpose) {
		return nil
	}
	return fault.New(fault.Forbidden, "forged_form", "the form does not carry the token of its page")
}

// readForm reads the body of a form, which must come from a page of ours.
func (x *exchange) readForm() error {
	if err := x.p.cross.Check(x.r); err != nil {
		return fault.Wrap(fault.Forbidden, "cross_origin_form", "the form was sent by another site", err)
	}
	if media, _, err := mime.ParseMediaType(x.r.Header.Get("Content-Type")); err != nil || media != "application/x-www-form-urlencoded" {
		return fault.New(fault.Invalid, "invalid_form", "the content type must be application/x-www-form-urlencoded")
	}
	body, err := io.ReadAll(http.MaxBytesReader(x.w, x.r.Body, maxForm))
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return fault.New(fault.TooLarge, "form_too_large", "the form is too large")
	}
	if err == nil {
		x.form, err = url.ParseQuery(string(body))
	}
	if err != nil {
		return fault.New(fault.Invalid, "invalid_form", "the form cannot be read")
	}
	for name, values := range x.form {
		if len(values) > 1 && name != "scope" || strings.ContainsRune(values[0], 0) {
			return fault.New(fault.Invalid, "invalid_form", "a field of the form occurs twice or holds a NUL character")
		}
	}
	return nil
}
