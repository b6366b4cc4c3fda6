package server

import (
	"context"
	"slices"

	"github.com/ory/fosite"

	"github.com/gatewarden/gatewarden/fault"
)

const passwordGrantType = "password"

// passwordGrant is RFC 6749 section 4.3, for confidential clients, where it is switched
// on. The client shows the person's password, so nobody is asked for consent.
type passwordGrant struct{ grant }

var _ fosite.TokenEndpointHandler = (*passwordGrant)(nil)

func (h *passwordGrant) HandleTokenEndpointRequest(ctx context.Context, r fosite.AccessRequester) error {
	u, s, form := unitOf(ctx), h.s, r.GetRequestForm()
	if form.Get("username") == "" || form.Get("password") == "" {
		return fosite.ErrInvalidRequest.WithHint("The parameters 'username' and 'password' are needed.")
	}
	for _, scope := range r.GetRequestedScopes() {
		if !s.scopes(u.client.scopes, scope) {
			return fosite.ErrInvalidScope.WithHintf("The client may not have scope '%s'.", scope)
		}
	}
	for _, audience := range r.GetRequestedAudience() {
		if !slices.Contains(u.client.Audience, audience) {
			return fosite.ErrInvalidRequest.WithHint("The client may not have the audience.")
		}
	}
	who, err := s.o.Legacy.Password(ctx, u.client.ID, form.Get("username"), form.Get("password"))
	if fault.Is(err, fault.Unauthenticated) {
		return fosite.ErrInvalidGrant.WithHint("The user name or the password is wrong.")
	}
	if err != nil {
		u.failure = err
		return err
	}
	shown, err := s.clientSubject(u.client, who.Subject, "")
	if err != nil {
		u.failure = err
		return err
	}
	about := &session{subject: who.Subject, ClientSubject: shown, AuthTime: u.now.Unix(), RequestedAt: u.now.Unix(), ACR: who.ACR, AMR: who.AMR}
	if who.Claims != nil {
		about.IDToken = who.Claims(r.GetRequestedScopes())
	}
	r.SetSession(about)
	for _, scope := range r.GetRequestedScopes() {
		r.GrantScope(scope)
	}
	for _, audience := range r.GetRequestedAudience() {
		r.GrantAudience(audience)
	}
	return nil
}

// PopulateTokenEndpointResponse makes what the password buys.
func (h *passwordGrant) PopulateTokenEndpointResponse(ctx context.Context, r fosite.AccessRequester, answer fosite.AccessResponder) error {
	return h.withRefresh(ctx, r, answer)
}
