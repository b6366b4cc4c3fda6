package server

import (
	"context"
	"fmt"
	"net/url"
	"slices"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/oauth2"
)

// Hydra 0.10 and 0.11 asked one app about login and consent at once. Here such a request
// is a flow that waits for a login, whose answer holds the consent as well. Hydra sent
// the browser back with the id that it had come with; whoever began a request could then
// have had another person answer it. The address to go back to holds a verifier instead,
// which only the app learns.

// early reads a flow that such an app is to answer.
func (s *Server) early(ctx context.Context, id string) (oauth2.Flow, *flowData, error) {
	f, d, err := s.answerable(ctx, oauth2.ByLoginChallenge, id, oauth2.FlowLoginRequested)
	if err == nil && d.Early == "" {
		err = fault.New(fault.NotFound, "unknown_challenge", "there is no such consent request")
	}
	return f, d, err
}

// EarlyConsentRequest returns what the app is asked.
func (s *Server) EarlyConsentRequest(ctx context.Context, id string) (oauth2.EarlyConsentRequest, error) {
	f, d, err := s.early(ctx, id)
	if err != nil {
		return oauth2.EarlyConsentRequest{}, err
	}
	return oauth2.EarlyConsentRequest{
		ID: id, RequestedScopes: list(d.Scope), ClientID: f.ClientID, ExpiresAt: f.ExpiresAt,
		RedirectURL: withQuery(s.base+authPath, url.Values{"login_verifier": {d.Early}}),
	}, nil
}

// AcceptEarlyConsent says who has logged in and what is granted: at most what was
// requested. An audience that was requested stays that of the tokens.
func (s *Server) AcceptEarlyConsent(ctx context.Context, id string, a oauth2.EarlyConsent) error {
	f, d, err := s.early(ctx, id)
	if err != nil {
		return err
	}
	if a.Subject == "" {
		return invalid("subject", "is required")
	}
	if len(a.Subject) > maxSubject {
		return invalid("subject", fmt.Sprintf("must have at most %d bytes", maxSubject))
	}
	for _, scope := range a.GrantScopes {
		if !slices.Contains(d.Scope, scope) {
			return invalid("grantScopes", fmt.Sprintf("%q was not requested", scope))
		}
	}
	d.AuthTime = s.now()
	d.Login = &oauth2.AcceptLogin{Subject: a.Subject}
	d.Consent = &oauth2.AcceptConsent{
		GrantScope: a.GrantScopes, GrantAudience: d.Audience, HandledAt: d.AuthTime,
		Session: oauth2.ConsentSession{AccessToken: a.AccessTokenExtra, IDToken: a.IDTokenExtra},
	}
	f.Subject, f.LoginVerifier = a.Subject, hashed("login_verifier", d.Early)
	_, err = s.answer(ctx, f, d, "login_verifier", d.Early)
	return err
}

// RejectEarlyConsent ends the flow with an error.
func (s *Server) RejectEarlyConsent(ctx context.Context, id string, r oauth2.EarlyRejection) error {
	f, d, err := s.early(ctx, id)
	if err != nil {
		return err
	}
	d.Rejected, f.LoginVerifier = &oauth2.Rejection{Error: "access_denied", ErrorDescription: r.Reason}, hashed("login_verifier", d.Early)
	_, err = s.answer(ctx, f, d, "login_verifier", d.Early)
	return err
}
