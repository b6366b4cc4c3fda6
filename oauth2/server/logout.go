package server

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/ory/fosite"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/oauth2"
)

// A logout is a flow of its own kind. Its challenge and verifier stand in the
// columns of the login's, under hashes for another purpose, so that one can never
// be used as the other.
const (
	logoutChallenge = "logout_challenge"
	logoutVerifier  = "logout_verifier"
)

// logoutData is what a logout remembers beside the flow's columns.
type logoutData struct {
	RequestURL  string    `json:"request_url"`
	RPInitiated bool      `json:"rp_initiated"`
	RequestedAt time.Time `json:"requested_at"`
	// RedirectTo is where the browser goes in the end.
	RedirectTo string `json:"redirect_to"`
	// Proven says that an ID token of the session came with the request.
	Proven bool `json:"proven,omitempty"`
}

// logout is GET and POST /oauth2/sessions/logout (OpenID Connect RP-Initiated
// Logout 1.0). It ends the login session of the browser, and tells the clients that took
// part in it (Back-Channel and Front-Channel Logout 1.0); tokens stay valid.
func (s *Server) logout(w http.ResponseWriter, r *http.Request) {
	form, err := requestForm(w, r)
	switch {
	case err != nil:
	case form.Has(logoutVerifier):
		err = s.completeLogout(w, r, form.Get(logoutVerifier))
	default:
		err = s.beginLogout(w, r, form)
	}
	if err != nil {
		e := wire(err)
		s.report(r.Context(), "logout", e, err)
		s.errorPage(w, e)
		return
	}
	s.o.Metrics.OAuth2("logout", "")
}

func (s *Server) beginLogout(w http.ResponseWriter, r *http.Request, form url.Values) error {
	ctx := r.Context()
	hint, c, err := s.logoutParty(ctx, form)
	if err != nil {
		return err
	}
	d := logoutData{RequestURL: withQuery(s.base+logoutPath, form), RPInitiated: c != nil, RequestedAt: s.now(),
		RedirectTo: s.pageURL(s.o.URLs.PostLogoutRedirect, "logout/callback")}
	if to := form.Get("post_logout_redirect_uri"); to != "" {
		if c == nil || !slices.Contains(c.PostLogoutRedirectURIs, to) {
			return fosite.ErrInvalidRequest.WithHint("The parameter 'post_logout_redirect_uri' is not registered for the client that 'id_token_hint' or 'client_id' names.")
		}
		d.RedirectTo = to
		if state := form.Get("state"); state != "" {
			d.RedirectTo = withQuery(to, url.Values{"state": {state}})
		}
	}
	session, err := s.browserSession(ctx, r)
	if err != nil {
		return err
	}
	// A hint about another session must not end the one of whoever sits here now.
	if sid, _ := hint["sid"].(string); session == nil || sid != "" && sid != session.ID {
		s.browse(w, d.RedirectTo, nil)
		return nil
	}
	if d.Proven, err = s.knows(c, hint, session); err != nil {
		return err
	}
	challenge := randomString()
	f := oauth2.Flow{
		ID: randomString(), State: oauth2.FlowLoginRequested, LoginChallenge: hashed(logoutChallenge, challenge),
		Subject: session.Subject, SessionID: session.ID, ExpiresAt: s.now().Add(s.o.Lifespans.LoginConsent),
	}
	if c != nil {
		f.ClientID = c.ID
	}
	if f.Data, err = json.Marshal(d); err != nil {
		return err
	}
	if err := s.o.Store.CreateFlow(ctx, f); err != nil {
		return err
	}
	s.browse(w, s.pageURL(s.o.URLs.Logout, "logout"), url.Values{logoutChallenge: {challenge}})
	return nil
}

// logoutParty returns the claims of id_token_hint and the client that asks for the
// logout; both are nil when nobody is named.
func (s *Server) logoutParty(ctx context.Context, form url.Values) (map[string]any, *client, error) {
	id, raw := form.Get("client_id"), form.Get("id_token_hint")
	var hint map[string]any
	if raw != "" {
		var err error
		if hint, err = s.hintClaims(ctx, raw); err != nil {
			return nil, nil, err
		}
		audience, _ := hint["aud"].([]any)
		if id == "" && len(audience) > 0 {
			id, _ = audience[0].(string)
		}
		if !slices.Contains(audience, any(id)) {
			return nil, nil, fosite.ErrInvalidRequest.WithHint("The parameter 'client_id' names another client than 'id_token_hint'.")
		}
	}
	if id == "" {
		return nil, nil, nil
	}
	c, err := s.clients.get(ctx, id)
	if fault.Is(err, fault.NotFound) {
		return nil, nil, fosite.ErrInvalidRequest.WithHint("The parameter 'client_id' names no client.")
	}
	return hint, c, err
}

// completeLogout ends the session after the logout app's yes.
func (s *Server) completeLogout(w http.ResponseWriter, r *http.Request, verifier string) error {
	ctx := r.Context()
	gone := fosite.ErrAccessDenied.WithHint("The logout request is unknown, has expired or was completed before.")
	f, err := s.o.Store.Flow(ctx, oauth2.ByLoginVerifier, hashed(logoutVerifier, verifier))
	if fault.Is(err, fault.NotFound) || err == nil && f.State != oauth2.FlowLoginAnswered {
		return gone
	}
	if err != nil {
		return err
	}
	var d logoutData
	if err := json.Unmarshal(f.Data, &d); err != nil {
		return err
	}
	if err := s.finish(ctx, f); err != nil {
		return err
	}
	told, err := s.o.Store.DeleteLoginSession(ctx, f.SessionID)
	if err != nil {
		return err
	}
	frames := s.farewell(ctx, told)
	if c, err := r.Cookie(s.cookieName(sessionCookie)); err == nil {
		if id, _ := s.sessionIDs.open(c.Value); id == f.SessionID {
			s.setCookie(w, sessionCookie, "", -1)
		}
	}
	if len(frames) > 0 {
		s.frames(w, frames, d.RedirectTo)
		return nil
	}
	s.browse(w, d.RedirectTo, nil)
	return nil
}

// pendingLogout reads a logout that waits for an answer.
func (s *Server) pendingLogout(ctx context.Context, challenge string) (oauth2.Flow, logoutData, error) {
	var d logoutData
	f, err := s.o.Store.Flow(ctx, oauth2.ByLoginChallenge, hashed(logoutChallenge, challenge))
	if err != nil {
		return f, d, err
	}
	if err := json.Unmarshal(f.Data, &d); err != nil {
		return f, d, err
	}
	if f.State != oauth2.FlowLoginRequested {
		return f, d, &oauth2.Handled{RedirectTo: d.RequestURL}
	}
	return f, d, nil
}

// LogoutRequest returns what the logout app is asked.
func (s *Server) LogoutRequest(ctx context.Context, challenge string) (oauth2.LogoutRequest, error) {
	f, d, err := s.pendingLogout(ctx, challenge)
	if err != nil {
		return oauth2.LogoutRequest{}, err
	}
	out := oauth2.LogoutRequest{Challenge: challenge, Subject: f.Subject, SessionID: f.SessionID, RequestURL: d.RequestURL,
		RPInitiated: d.RPInitiated, RequestedAt: d.RequestedAt, ExpiresAt: f.ExpiresAt, Proven: d.Proven}
	if f.ClientID != "" {
		c, err := s.clients.get(ctx, f.ClientID)
		if err != nil {
			return oauth2.LogoutRequest{}, err
		}
		out.Client = &c.Client
	}
	return out, nil
}

// AcceptLogout lets the browser complete the logout.
func (s *Server) AcceptLogout(ctx context.Context, challenge string) (string, error) {
	f, d, err := s.pendingLogout(ctx, challenge)
	if err != nil {
		return "", err
	}
	verifier := randomString()
	f.State, f.LoginVerifier = oauth2.FlowLoginAnswered, hashed(logoutVerifier, verifier)
	if err := s.o.Store.AdvanceFlow(ctx, oauth2.FlowLoginRequested, f); errors.Is(err, oauth2.ErrSpent) {
		return "", &oauth2.Handled{RedirectTo: d.RequestURL}
	} else if err != nil {
		return "", err
	}
	return withQuery(s.base+logoutPath, url.Values{logoutVerifier: {verifier}}), nil
}

// RejectLogout leaves the session as it is.
func (s *Server) RejectLogout(ctx context.Context, challenge string) error {
	f, d, err := s.pendingLogout(ctx, challenge)
	if err != nil {
		return err
	}
	f.State = oauth2.FlowFinished
	if err := s.o.Store.AdvanceFlow(ctx, oauth2.FlowLoginRequested, f); errors.Is(err, oauth2.ErrSpent) {
		return &oauth2.Handled{RedirectTo: d.RequestURL}
	} else if err != nil {
		return err
	}
	return nil
}
