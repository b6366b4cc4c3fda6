package server

import (
	"context"
	"crypto/subtle"
	"net/http"
	"time"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/oauth2"
)

// The cookies, named as Hydra's. The first binds a flow to the browser that began
// it; the second holds the sealed id of the login session.
const (
	csrfCookie    = "ory_hydra_login_csrf"
	sessionCookie = "ory_hydra_session"
)

// cookieName puts __Host- in front where the browser can then enforce that the
// cookie is Secure, of this host and of no other path (RFC 6265bis section 4.1.3.2).
func (s *Server) cookieName(name string) string {
	if s.secure && s.o.Cookies.Domain == "" {
		return "__Host-" + name
	}
	return name
}

// setCookie sets a cookie for the given time; 0 means as long as the browser runs,
// less deletes it.
func (s *Server) setCookie(w http.ResponseWriter, name, value string, span time.Duration) {
	age := int(span / time.Second)
	if span < 0 {
		age = -1
	}
	http.SetCookie(w, &http.Cookie{
		Name: s.cookieName(name), Value: value, Path: "/", Domain: s.o.Cookies.Domain, MaxAge: age,
		Secure: s.secure, HttpOnly: true, SameSite: s.o.Cookies.SameSite,
	})
}

// bindBrowser returns the hash of the browser's secret, and gives it one when it
// has none. Flows that run side by side in one browser share the secret.
func (s *Server) bindBrowser(w http.ResponseWriter, r *http.Request) string {
	secret := ""
	if c, err := r.Cookie(s.cookieName(csrfCookie)); err == nil && len(c.Value) == encodedLen {
		secret = c.Value
	} else {
		secret = randomString()
	}
	s.setCookie(w, csrfCookie, secret, s.o.Lifespans.LoginConsent)
	return hashed(csrfCookie, secret)
}

// sameBrowser reports whether the request comes from the browser that was bound.
func (s *Server) sameBrowser(r *http.Request, bound string) bool {
	c, err := r.Cookie(s.cookieName(csrfCookie))
	return err == nil && bound != "" && subtle.ConstantTimeCompare([]byte(hashed(csrfCookie, c.Value)), []byte(bound)) == 1
}

// browserSession returns the login session of the browser; nil for none.
func (s *Server) browserSession(ctx context.Context, r *http.Request) (*oauth2.LoginSession, error) {
	c, err := r.Cookie(s.cookieName(sessionCookie))
	if err != nil {
		return nil, nil //nolint:nilerr // the only error is that there is no such cookie
	}
	id, ok := s.sessionIDs.open(c.Value)
	if !ok {
		return nil, nil
	}
	session, err := s.o.Store.LoginSession(ctx, id)
	if fault.Is(err, fault.NotFound) || err == nil && !session.Remember {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &session, nil
}
