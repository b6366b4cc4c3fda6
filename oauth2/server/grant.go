package server

import (
	"context"
	"slices"

	"github.com/ory/fosite"

	"github.com/gatewarden/gatewarden/oauth2"
)

// grant is what grants of our own have in common: clients authenticate, and what was
// granted buys an access token.
type grant struct {
	s        *Server
	strategy *strategy
	name     string // the value of grant_type
}

func (grant) CanSkipClientAuth(context.Context, fosite.AccessRequester) bool { return false }

func (h grant) CanHandleTokenEndpointRequest(_ context.Context, r fosite.AccessRequester) bool {
	return r.GetGrantTypes().ExactOne(h.name)
}

// PopulateTokenEndpointResponse makes the access token.
func (h grant) PopulateTokenEndpointResponse(ctx context.Context, r fosite.AccessRequester, answer fosite.AccessResponder) error {
	if !h.CanHandleTokenEndpointRequest(ctx, r) {
		return fosite.ErrUnknownRequest
	}
	u := unitOf(ctx)
	token, signature, err := h.strategy.GenerateAccessToken(ctx, r)
	if err != nil {
		return err
	}
	g, err := grantOf(r)
	if err != nil {
		return err
	}
	g.RequestedAt = u.now
	u.access = &oauth2.Token{Signature: signature, Grant: g, ExpiresAt: h.s.accessExpiry(u)}
	answer.SetAccessToken(token)
	answer.SetTokenType("bearer")
	return nil
}

// withRefresh makes the access token, and a refresh token for all that was granted when
// the person granted one.
func (h grant) withRefresh(ctx context.Context, r fosite.AccessRequester, answer fosite.AccessResponder) error {
	if err := h.PopulateTokenEndpointResponse(ctx, r, answer); err != nil {
		return err
	}
	u := unitOf(ctx)
	whole := u.access.Grant
	u.access.Grant.GrantedAudience = u.audienceFor(whole.GrantedAudience)
	offline := slices.ContainsFunc(whole.GrantedScope, func(scope string) bool { return scope == "offline" || scope == "offline_access" })
	if !offline || !u.client.allowsGrant("refresh_token") {
		return nil
	}
	_, refresh, err := h.strategy.GenerateRefreshToken(ctx, r)
	if err != nil {
		return err
	}
	u.refresh = &oauth2.Token{Signature: refresh, Grant: whole, ExpiresAt: h.s.refreshExpiry(u), AccessSignature: u.access.Signature}
	return nil
}
