package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/oauth2"
	"github.com/gatewarden/gatewarden/oauth2/details"
)

// maxSubject is the longest subject, in bytes (OpenID Connect Core section 2).
const maxSubject = 255

// challenged reads the flow of a challenge, in whatever state it is.
func (s *Server) challenged(ctx context.Context, by oauth2.FlowKey, challenge string) (oauth2.Flow, *flowData, error) {
	f, err := s.o.Store.Flow(ctx, by, hashed(string(by), challenge))
	if err != nil {
		return f, nil, err
	}
	d := &flowData{}
	return f, d, json.Unmarshal(f.Data, d)
}

// answerable is challenged for a flow that still waits for an answer in state.
func (s *Server) answerable(ctx context.Context, by oauth2.FlowKey, challenge string, state oauth2.FlowState) (oauth2.Flow, *flowData, error) {
	f, d, err := s.challenged(ctx, by, challenge)
	if err == nil && f.State != state {
		err = &oauth2.Handled{RedirectTo: s.requestURL(d)}
	}
	return f, d, err
}

// answer moves the flow on and returns where the browser goes. Of two answers one
// is *oauth2.Handled.
func (s *Server) answer(ctx context.Context, f oauth2.Flow, d *flowData, name, verifier string) (string, error) {
	from := f.State
	f.State++ // from requested to answered
	var err error
	if f.Data, err = json.Marshal(d); err != nil {
		return "", err
	}
	if err := s.o.Store.AdvanceFlow(ctx, from, f); errors.Is(err, oauth2.ErrSpent) {
		return "", &oauth2.Handled{RedirectTo: s.requestURL(d)}
	} else if err != nil {
		return "", err
	}
	return withQuery(s.base+authPath, url.Values{name: {verifier}}), nil
}

func invalid(field, problem string) error {
	return fault.New(fault.Invalid, "invalid_"+field, field+": "+problem)
}

// LoginRequest returns what the login app is asked.
func (s *Server) LoginRequest(ctx context.Context, challenge string) (oauth2.LoginRequest, error) {
	f, d, err := s.answerable(ctx, oauth2.ByLoginChallenge, challenge, oauth2.FlowLoginRequested)
	if err != nil {
		return oauth2.LoginRequest{}, err
	}
	c := &client{}
	if d.ReturnTo == "" {
		if c, err = s.clients.get(ctx, f.ClientID); err != nil {
			return oauth2.LoginRequest{}, err
		}
	}
	var maxAge *int
	if text := d.Form.Get("max_age"); text != "" {
		seconds, _ := strconv.Atoi(text) // checkAuthorize has seen it
		maxAge = &seconds
	}
	return oauth2.LoginRequest{
		Prompt: strings.Fields(d.Form.Get("prompt")), MaxAge: maxAge,
		Challenge: challenge, RequestedScope: list(d.Scope), RequestedAudience: list(d.Audience), Skip: d.Skip, Subject: f.Subject,
		OIDCContext: d.OIDC, Client: c.Client, RequestURL: s.requestURL(d), SessionID: f.SessionID,
	}, nil
}

// AcceptLogin says who has logged in.
func (s *Server) AcceptLogin(ctx context.Context, challenge string, a oauth2.AcceptLogin) (string, error) {
	f, d, err := s.answerable(ctx, oauth2.ByLoginChallenge, challenge, oauth2.FlowLoginRequested)
	switch {
	case err != nil:
		return "", err
	case a.Subject == "":
		return "", invalid("subject", "is required")
	case len(a.Subject) > maxSubject || len(a.ForceSubjectIdentifier) > maxSubject:
		return "", invalid("subject", fmt.Sprintf("must have at most %d bytes", maxSubject))
	case d.Skip && a.Subject != f.Subject:
		return "", invalid("subject", "must be the subject of the login request, because skip is true")
	case a.RememberFor < 0:
		return "", invalid("remember_for", "must not be negative")
	}
	d.AuthTime = s.now()
	if !a.AuthenticatedAt.IsZero() && a.AuthenticatedAt.Before(d.AuthTime) {
		d.AuthTime = a.AuthenticatedAt
	}
	if d.Skip {
		d.AuthTime = d.Session.AuthenticatedAt
		if a.ACR == "" {
			a.ACR = d.Session.ACR
		}
		if len(a.AMR) == 0 {
			a.AMR = d.Session.AMR
		}
	}
	verifier := randomString()
	d.Login, f.Subject, f.LoginVerifier = &a, a.Subject, hashed("login_verifier", verifier)
	return s.answer(ctx, f, d, "login_verifier", verifier)
}

// RejectLogin ends the flow with an error.
func (s *Server) RejectLogin(ctx context.Context, challenge string, r oauth2.Rejection) (string, error) {
	f, d, err := s.answerable(ctx, oauth2.ByLoginChallenge, challenge, oauth2.FlowLoginRequested)
	if err != nil {
		return "", err
	}
	verifier := randomString()
	d.Rejected, f.LoginVerifier = &r, hashed("login_verifier", verifier)
	return s.answer(ctx, f, d, "login_verifier", verifier)
}

// ConsentRequest returns what the consent app is asked.
func (s *Server) ConsentRequest(ctx context.Context, challenge string) (oauth2.ConsentRequest, error) {
	f, d, err := s.answerable(ctx, oauth2.ByConsentChallenge, challenge, oauth2.FlowConsentRequested)
	if err != nil {
		return oauth2.ConsentRequest{}, err
	}
	asked, err := s.consentRequest(ctx, f, d)
	asked.Challenge = challenge
	return asked, err
}

func (s *Server) consentRequest(ctx context.Context, f oauth2.Flow, d *flowData) (oauth2.ConsentRequest, error) {
	c, err := s.clients.get(ctx, f.ClientID)
	if err != nil {
		return oauth2.ConsentRequest{}, err
	}
	return oauth2.ConsentRequest{
		ConsentRequestID: f.ID, RequestedScope: list(d.Scope), RequestedAudience: list(d.Audience), RequestedDetails: d.Details, Skip: d.ConsentSkip, Subject: f.Subject,
		OIDCContext: d.OIDC, Client: c.Client, RequestURL: s.requestURL(d), LoginChallenge: d.LoginAddress, LoginSessionID: f.SessionID,
		ACR: d.Login.ACR, AMR: d.Login.AMR, Context: d.Login.Context,
	}, nil
}

// AcceptConsent says what is granted: at most what was requested.
func (s *Server) AcceptConsent(ctx context.Context, challenge string, a oauth2.AcceptConsent) (string, error) {
	f, d, err := s.answerable(ctx, oauth2.ByConsentChallenge, challenge, oauth2.FlowConsentRequested)
	if err != nil {
		return "", err
	}
	for _, scope := range a.GrantScope {
		if !slices.Contains(d.Scope, scope) {
			return "", invalid("grant_scope", fmt.Sprintf("%q was not requested", scope))
		}
	}
	for _, audience := range a.GrantAudience {
		if !slices.Contains(d.Audience, audience) {
			return "", invalid("grant_access_token_audience", fmt.Sprintf("%q was not requested", audience))
		}
	}
	if !details.Narrowed(a.GrantDetails, d.Details) {
		return "", invalid("grant_authorization_details", "has an object that was not requested, or more than was requested")
	}
	if a.RememberFor < 0 {
		return "", invalid("remember_for", "must not be negative")
	}
	a.HandledAt = s.now()
	verifier := randomString()
	d.Consent, f.ConsentVerifier = &a, hashed("consent_verifier", verifier)
	return s.answer(ctx, f, d, "consent_verifier", verifier)
}

// RejectConsent ends the flow with an error.
func (s *Server) RejectConsent(ctx context.Context, challenge string, r oauth2.Rejection) (string, error) {
	f, d, err := s.answerable(ctx, oauth2.ByConsentChallenge, challenge, oauth2.FlowConsentRequested)
	if err != nil {
		return "", err
	}
	verifier := randomString()
	d.Rejected, f.ConsentVerifier = &r, hashed("consent_verifier", verifier)
	return s.answer(ctx, f, d, "consent_verifier", verifier)
}

// list returns an empty list instead of nil, which JSON would show as null.
func list(l []string) []string {
	if l == nil {
		return []string{}
	}
	return l
}
