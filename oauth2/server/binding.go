package server

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/ory/fosite"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/dpop"
	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/oauth2"
)

func newProofs(o Options) (*dpop.Checker, error) {
	c := dpop.Options{
		Algorithms: o.DPoP.Algorithms, MaxAge: o.DPoP.MaxAge, Leeway: o.DPoP.Leeway, Nonce: "off",
		Replays: usedProofs{o.Store}, CanonicalURL: o.CanonicalURL, Now: o.Now,
	}
	if len(c.Algorithms) == 0 {
		c.Algorithms = dpop.DefaultAlgorithms()
	}
	if c.MaxAge == 0 {
		c.MaxAge, c.Leeway = time.Minute, 10*time.Second
	}
	if o.DPoP.NonceTTL != 0 {
		if len(o.DPoP.NonceKeys) == 0 {
			return nil, errors.New("oauth2.dpop.nonce: keys are required")
		}
		c.Nonce, c.NonceTTL, c.NonceKeys = "required", o.DPoP.NonceTTL, o.DPoP.NonceKeys
	}
	checker, err := dpop.New(c)
	if err != nil {
		return nil, fmt.Errorf("oauth2.dpop.%w", err)
	}
	return checker, nil
}

// usedProofs is the store of one-time values as package dpop knows it.
type usedProofs struct{ store oauth2.ReplayStore }

// UseJTI implements dpop.ReplayStore.
func (u usedProofs) UseJTI(ctx context.Context, namespace, jti string, expires time.Time) error {
	err := u.store.UseJTI(ctx, namespace, jti, expires)
	if errors.Is(err, oauth2.ErrSpent) {
		return fault.Wrap(fault.Conflict, "already_used", "the value was used before", err)
	}
	return err
}

// prove checks the DPoP proof of a request to an endpoint and gives the client its next
// nonce.
func (s *Server) prove(w http.ResponseWriter, r *http.Request, token, jkt string) (string, error) {
	at, err := url.Parse(s.baseOf(r) + r.URL.Path)
	if err != nil {
		return "", err
	}
	proved, header, err := s.proofs.Check(r.Context(), dpop.Request{Header: r.Header, Method: r.Method, URL: at, Token: token, JKT: jkt})
	var refused *fault.Error
	if errors.As(err, &refused) {
		header = refused.Header
	}
	for name, values := range header {
		w.Header()[name] = values
	}
	return proved, err
}

// senderOf returns what the client has proved to hold, to which its tokens will be
// bound: the key of a DPoP proof, and the certificate when the client registered that
// its tokens are bound to it. What the client registered for must be there.
func (s *Server) senderOf(w http.ResponseWriter, r *http.Request, c *client) (bound access.Confirmation, err error) {
	if c.TLSBoundAccessTokens {
		shown := s.o.Certificate(r.Context())
		if shown == nil {
			return bound, fosite.ErrInvalidRequest.WithHint("The client's tokens are bound to its TLS certificate, and it has shown none.")
		}
		bound.X5TS256 = base64.RawURLEncoding.EncodeToString(shown.SHA256[:])
	}
	if c.DPoPBoundAccessTokens || r.Header["Dpop"] != nil {
		bound.JKT, err = s.prove(w, r, "", "")
	}
	return bound, err
}

// bind binds what is about to be issued to what the sender has proved to hold. What
// was bound never becomes a bearer token, a code that is bound to a key is good with
// it only (RFC 9449 section 10), and so is the refresh token of a public client
// (section 5, RFC 8705 section 4): it has nothing else that tells it from a thief.
func bind(u *unit, request fosite.AccessRequester) error {
	about, ok := request.GetSession().(*session)
	if !ok {
		return fosite.ErrServerError
	}
	if u.grantType == "refresh_token" && about.Bound != nil {
		held := *about.Bound
		switch {
		case held.JKT != "" && u.bound.JKT == "", held.X5TS256 != "" && u.bound.X5TS256 == "":
			return fosite.ErrInvalidGrant.WithHint("The refresh token's access tokens are bound to their sender: a proof is needed.")
		case u.client.Public() && (held.JKT != "" && held.JKT != u.bound.JKT || held.X5TS256 != "" && held.X5TS256 != u.bound.X5TS256):
			return fosite.ErrInvalidGrant.WithHint("The refresh token is bound to another key.")
		}
	}
	if u.grantType == "authorization_code" {
		if jkt := u.spend.Grant.Form.Get("dpop_jkt"); jkt != "" && jkt != u.bound.JKT {
			return fosite.ErrInvalidGrant.WithHint("The code is bound to another key than the proof's.")
		}
	}
	about.Bound = nil
	if u.bound != (access.Confirmation{}) {
		bound := u.bound
		about.Bound = &bound
	}
	return nil
}

// provesPossession checks that who sends an access token holds what it is bound to.
func (s *Server) provesPossession(w http.ResponseWriter, r *http.Request, scheme, token string, t *oauth2.Token) error {
	about, err := sessionOf(t.Grant)
	if err != nil {
		return err
	}
	var bound access.Confirmation
	if about.Bound != nil {
		bound = *about.Bound
	}
	if bound.X5TS256 != "" {
		shown := s.o.Certificate(r.Context())
		if shown == nil || subtle.ConstantTimeCompare([]byte(base64.RawURLEncoding.EncodeToString(shown.SHA256[:])), []byte(bound.X5TS256)) != 1 {
			return s.proofs.Refuse("invalid_token", "the token is bound to another certificate than the client's", nil)
		}
	}
	switch {
	case bound.JKT == "" && scheme == "Bearer" && r.Header["Dpop"] == nil:
		return nil
	case bound.JKT == "":
		return s.proofs.Refuse("invalid_token", "a proof came with a token that is not bound to a key", nil)
	case scheme != "DPoP":
		return s.proofs.Refuse("invalid_token", "the token is bound to a key, it is no bearer token", nil)
	}
	_, err = s.prove(w, r, token, bound.JKT)
	return err
}

// challengeSender answers who did not prove to hold what its token is bound to (RFC
// 9449 section 7.1).
func (s *Server) challengeSender(w http.ResponseWriter, r *http.Request, err error) {
	var refused *fault.Error
	if !errors.As(err, &refused) || refused.Kind != fault.Unauthenticated {
		s.fail(w, r, "userinfo", err)
		return
	}
	code := refused.Reason
	if code == "invalid_credentials" {
		code = "invalid_token"
	}
	e := wireError{Status: http.StatusUnauthorized, Code: code, Description: printable(refused.Message)}
	s.report(r.Context(), "userinfo", e, nil)
	w.Header().Set("WWW-Authenticate", strings.TrimSpace(refused.Challenge))
	writeJSON(w, e.Status, s.body(e))
}
