package server

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/ory/fosite"

	"github.com/gatewarden/gatewarden/fault"
)

// userinfo is GET and POST /userinfo (OpenID Connect Core section 5.3): the claims
// about the person who granted the access token, which must have scope openid.
// Errors are RFC 6750's.
func (s *Server) userinfo(w http.ResponseWriter, r *http.Request) {
	token, scheme, err := bearer(w, r)
	if err != nil {
		s.fail(w, r, "userinfo", err)
		return
	}
	if token == "" {
		s.challenge(w, r, http.StatusUnauthorized, "", "")
		return
	}
	stored, err := s.activeAccess(r.Context(), token)
	switch {
	case err != nil:
		s.fail(w, r, "userinfo", err)
		return
	case stored == nil:
		s.challenge(w, r, http.StatusUnauthorized, "invalid_token", "The access token is unknown, expired or revoked.")
		return
	}
	if err := s.provesPossession(w, r, scheme, token, stored); err != nil {
		s.challengeSender(w, r, err)
		return
	}
	switch {
	case !slices.Contains(stored.Grant.GrantedScope, "openid"):
		s.challenge(w, r, http.StatusForbidden, "insufficient_scope", "The access token does not have scope openid.")
		return
	}
	about, err := sessionOf(stored.Grant)
	if err != nil {
		s.fail(w, r, "userinfo", err)
		return
	}
	claims := claimsFor(about)
	c, err := s.clients.get(r.Context(), stored.Grant.ClientID)
	if fault.Is(err, fault.NotFound) {
		s.challenge(w, r, http.StatusUnauthorized, "invalid_token", "The client of the access token is gone.")
		return
	}
	if err != nil {
		s.fail(w, r, "userinfo", unavailable(err))
		return
	}
	s.o.Metrics.OAuth2("userinfo", "")
	if c.UserinfoAlg == "" || c.UserinfoAlg == "none" {
		writeJSON(w, http.StatusOK, claims)
		return
	}
	claims["iss"], claims["aud"], claims["iat"] = s.o.Issuer, []string{c.ID}, s.now().Unix()
	payload, err := json.Marshal(claims)
	if err == nil {
		token, err = s.o.IDTokens.Sign(r.Context(), c.UserinfoAlg, "JWT", payload, time.Time{})
	}
	if err != nil {
		s.fail(w, r, "userinfo", err)
		return
	}
	noStore(w)
	w.Header().Set("Content-Type", "application/jwt")
	_, _ = w.Write([]byte(token))
}

// bearer returns the access token of a request, and the scheme Bearer or DPoP: from the Authorization header or
// the form of a POST, never from the query (RFC 9700 section 2.1.2), and from one
// of them only (RFC 6750 section 2).
func bearer(w http.ResponseWriter, r *http.Request) (token, scheme string, err error) {
	named, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	scheme = "Bearer"
	switch {
	case strings.EqualFold(named, "DPoP"):
		scheme = "DPoP"
	case !strings.EqualFold(named, "Bearer"):
		token = ""
	}
	token = strings.TrimSpace(token)
	if r.Method != http.MethodPost || r.Header.Get("Content-Type") == "" {
		return token, scheme, nil
	}
	form, err := postForm(w, r)
	if err != nil {
		return "", "", err
	}
	if inForm := form.Get("access_token"); inForm != "" {
		if token != "" {
			return "", "", fosite.ErrInvalidRequest.WithHint("The access token is given twice.")
		}
		token, scheme = inForm, "Bearer"
	}
	return token, scheme, nil
}

// challenge answers with WWW-Authenticate (RFC 6750 section 3). A request without
// a token is told nothing but the scheme.
func (s *Server) challenge(w http.ResponseWriter, r *http.Request, status int, code, description string) {
	header := `Bearer realm="oauth2"`
	if code != "" {
		header += `, error="` + code + `", error_description="` + description + `"`
	}
	if code == "insufficient_scope" {
		header += `, scope="openid"`
	}
	w.Header().Set("WWW-Authenticate", header)
	e := wireError{Status: status, Code: code, Description: description}
	if code == "" {
		e.Code, e.Description = "invalid_token", "An access token is required."
	}
	s.report(r.Context(), "userinfo", e, nil)
	writeJSON(w, status, s.body(e))
}
