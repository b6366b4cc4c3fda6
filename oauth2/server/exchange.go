package server

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/ory/fosite"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/oauth2"
)

// What RFC 8693 calls the grant and the one type of token that is exchanged here.
const (
	exchangeGrantType       = "urn:ietf:params:oauth:grant-type:token-exchange"
	accessTokenURN          = "urn:ietf:params:oauth:token-type:access_token"
	maxActors               = 8 // in one chain of exchanges
	invalidSubjectTokenHint = "The parameter 'subject_token' is not an active access token of this server that may be exchanged."
)

// invalidTarget is the error of RFC 8693 section 2.2.2.
var invalidTarget = &fosite.RFC6749Error{ErrorField: "invalid_target", DescriptionField: "The requested audience or resource cannot be had.", CodeField: http.StatusBadRequest}

// exchangeGrant is token exchange (RFC 8693) in its narrowest form: an active access
// token of this server for another one about the same subject, for the client that
// asks, with no more scope or audience and no longer life, which names the client as
// the actor. It belongs to the family of the subject token and ends with it.
type exchangeGrant struct{ grant }

var _ fosite.TokenEndpointHandler = (*exchangeGrant)(nil)

func (h *exchangeGrant) HandleTokenEndpointRequest(ctx context.Context, r fosite.AccessRequester) error {
	u, form := unitOf(ctx), r.GetRequestForm()
	switch {
	case form.Get("subject_token") == "":
		return fosite.ErrInvalidRequest.WithHint("The parameter 'subject_token' is missing.")
	case form.Get("subject_token_type") != accessTokenURN:
		return fosite.ErrInvalidRequest.WithHint("The parameter 'subject_token_type' must be that of an access token.")
	case form.Get("requested_token_type") != "" && form.Get("requested_token_type") != accessTokenURN:
		return fosite.ErrInvalidRequest.WithHint("The parameter 'requested_token_type' must be that of an access token.")
	case form.Has("actor_token") || form.Has("actor_token_type"):
		return fosite.ErrInvalidRequest.WithHint("The parameter 'actor_token' is not supported: the client is the actor.")
	}
	t, err := h.s.activeAccess(ctx, form.Get("subject_token"))
	if err != nil {
		u.failure = err // the token could not be looked up, which is not the client's fault
		return err
	}
	if t == nil {
		return fosite.ErrInvalidRequest.WithHint(invalidSubjectTokenHint)
	}
	about, err := sessionOf(t.Grant)
	if err != nil {
		return err
	}
	if about.Bound != nil && *about.Bound != (access.Confirmation{}) || about.Act.depth() >= maxActors {
		// A bound token says that whoever has it is not yet who may use it.
		return fosite.ErrInvalidRequest.WithHint(invalidSubjectTokenHint)
	}
	scopes, err := h.scopes(u, r.GetRequestedScopes(), t.Grant.GrantedScope)
	if err != nil {
		return fosite.ErrInvalidScope.WithHint(err.Error())
	}
	audience, err := narrowed(r.GetRequestedAudience(), t.Grant.GrantedAudience)
	if err != nil {
		return invalidTarget.WithHint(err.Error())
	}
	about.Details = h.s.o.Details.Of(about.Details, u.client.AuthorizationDetailsTypes)
	if about.ClientSubject = ""; about.consentID != "" || about.AuthTime != 0 { // a person's: the client knows them in its own way
		if about.ClientSubject, err = h.s.clientSubject(u.client, about.subject, ""); err != nil {
			return err
		}
	}
	about.Act = &actor{Subject: u.client.ID, Act: about.Act}
	u.subject, u.notAfter = t, t.ExpiresAt
	r.SetID(t.Grant.RequestID)
	r.SetSession(about)
	for _, scope := range scopes {
		r.GrantScope(scope)
	}
	for _, a := range audience {
		r.GrantAudience(a)
	}
	return nil
}

// scopes returns what is asked for of the subject token's scope; when nothing is, all
// of it that the client is registered for.
func (h *exchangeGrant) scopes(u *unit, asked, granted []string) ([]string, error) {
	if len(asked) > 0 {
		return narrowed(asked, granted)
	}
	var may []string
	for _, scope := range granted {
		if h.s.scopes(u.client.scopes, scope) && !slices.Contains(may, scope) {
			may = append(may, scope)
		}
	}
	return may, nil
}

// exchange stores the token and then looks whether the subject token is still active:
// a revocation that came in between has ended the family before the token was part of
// it, so the token goes too.
func (s *Server) exchange(ctx context.Context, u *unit) error {
	if err := s.o.Store.IssueTokens(ctx, oauth2.Issue{Access: u.access}); err != nil {
		return err
	}
	still, err := s.active(ctx, u.subject.Signature, s.o.Store.AccessToken)
	if err == nil && still != nil {
		return nil
	}
	if gone := s.o.Store.DeleteAccessToken(context.WithoutCancel(ctx), u.access.Signature); gone != nil {
		return gone
	}
	if err != nil {
		return err
	}
	return fosite.ErrInvalidRequest.WithHint(invalidSubjectTokenHint)
}

// actor is the member act (RFC 8693 section 4.1): who acts for the subject, and in
// Act for whom that one did.
type actor struct {
	Subject string `json:"sub"`
	Act     *actor `json:"act,omitempty"`
}

func (a *actor) depth() int {
	n := 0
	for ; a != nil; a = a.Act {
		n++
	}
	return n
}

// claim returns the actor as a claim.
func (a *actor) claim() map[string]any {
	c := map[string]any{"sub": a.Subject}
	if a.Act != nil {
		c["act"] = a.Act.claim()
	}
	return c
}

// earliest returns the earlier of two times; the zero time is none.
func earliest(t, limit time.Time) time.Time {
	if !limit.IsZero() && limit.Before(t) {
		return limit
	}
	return t
}
