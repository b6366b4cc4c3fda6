package server

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"

	"github.com/ory/fosite"

	"github.com/gatewarden/gatewarden/oauth2"
)

// Session returns the login session of the browser, which is remembered; nil for none.
func (s *Server) Session(ctx context.Context, r *http.Request) (*oauth2.LoginSession, error) {
	return s.browserSession(ctx, r)
}

// SignIn begins a login that no client asked for: it goes through the login app like
// any other and ends at returnTo, which is a path below the issuer. With again the
// person must log in though a session is there.
func (s *Server) SignIn(w http.ResponseWriter, r *http.Request, returnTo string, again bool) {
	ctx := r.Context()
	if !strings.HasPrefix(returnTo, "/") || strings.HasPrefix(returnTo, "//") {
		s.refuse(w, r, nil, fosite.ErrServerError)
		return
	}
	d := &flowData{Form: url.Values{}, RequestedAt: s.now(), ReturnTo: s.base + returnTo}
	var err error
	if d.Session, err = s.browserSession(ctx, r); err != nil {
		s.refuse(w, r, nil, err)
		return
	}
	if again {
		d.Form.Set("prompt", "login")
	}
	if d.Skip, err = s.loginSuffices(nil, d); err != nil {
		s.refuse(w, r, nil, err)
		return
	}
	s.ask(w, r, oauth2.Flow{ID: randomString(), ExpiresAt: s.now().Add(s.o.Lifespans.LoginConsent)}, d, nil, s.o.Store.CreateFlow)
}

// resumeSignIn ends a login that no client asked for.
func (s *Server) resumeSignIn(w http.ResponseWriter, r *http.Request, f oauth2.Flow, d *flowData) {
	ctx := r.Context()
	if d.Rejected == nil && d.Session != nil && !d.Skip && d.Session.Subject != f.Subject {
		f.SessionID = randomString() // another person, another session
	}
	err := s.finish(ctx, f)
	if err == nil && d.Rejected == nil {
		err = s.keepSession(ctx, w, f, d)
	}
	switch {
	case err != nil:
		s.refuse(w, r, nil, err)
	case d.Rejected != nil:
		s.refuse(w, r, nil, rejection(d.Rejected))
	default:
		s.o.Metrics.OAuth2("authorize", "")
		s.browse(w, d.ReturnTo, nil)
	}
}

// BelongsTo reports whether the browser is the one that began the login or consent
// request of the challenge, so that what a page shows of it is for its own person.
func (s *Server) BelongsTo(ctx context.Context, r *http.Request, by oauth2.FlowKey, challenge string) (bool, error) {
	f, err := s.o.Store.Flow(ctx, by, hashed(string(by), challenge))
	if err != nil {
		return false, err
	}
	var d flowData
	if err := json.Unmarshal(f.Data, &d); err != nil {
		return false, err
	}
	return s.sameBrowser(r, d.Browser), nil
}

// knows reports whether an ID token hint of a client is about the session: of the same
// login, or without a sid of the same person.
func (s *Server) knows(c *client, hint map[string]any, session *oauth2.LoginSession) (bool, error) {
	if sid, _ := hint["sid"].(string); sid != "" {
		return subtle.ConstantTimeCompare([]byte(sid), []byte(session.ID)) == 1, nil
	}
	sub, _ := hint["sub"].(string)
	shown, err := s.subjectFor(c, session.Subject)
	return err == nil && sub != "" && sub == shown, err
}
