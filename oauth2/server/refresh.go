package server

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/ory/fosite"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/oauth2"
)

// refreshGrant is RFC 6749 section 6 with rotation and reuse detection (RFC 9700
// section 4.14.2). fosite's handler ignores the scope parameter and reacts to
// reuse before it knows whose token it is.
type refreshGrant struct {
	s        *Server
	strategy *strategy
}

var _ fosite.TokenEndpointHandler = (*refreshGrant)(nil)

func (*refreshGrant) CanSkipClientAuth(context.Context, fosite.AccessRequester) bool { return false }

func (*refreshGrant) CanHandleTokenEndpointRequest(_ context.Context, r fosite.AccessRequester) bool {
	return r.GetGrantTypes().ExactOne("refresh_token")
}

func (h *refreshGrant) HandleTokenEndpointRequest(ctx context.Context, r fosite.AccessRequester) error {
	u := unitOf(ctx)
	signature, ok := h.s.refreshTokens.signature(r.GetRequestForm().Get("refresh_token"))
	if !ok {
		return fosite.ErrInvalidGrant
	}
	t, err := h.s.o.Store.RefreshToken(ctx, signature)
	switch {
	case fault.Is(err, fault.NotFound):
		return fosite.ErrInvalidGrant
	case err != nil:
		return err
	case t.Grant.ClientID != u.client.ID:
		return fosite.ErrInvalidGrant // and nothing happens to the owner
	case !t.Spent.IsZero() && !h.s.withinGrace(t):
		if err := h.s.revokeFamily(ctx, t.Grant.RequestID); err != nil {
			return err
		}
		return fosite.ErrInvalidGrant.WithHint("The refresh token has been used before.")
	case h.s.expired(t):
		return fosite.ErrInvalidGrant.WithHint("The refresh token has expired.")
	}
	scopes, err := narrowed(r.GetRequestedScopes(), t.Grant.GrantedScope)
	if err != nil {
		return fosite.ErrInvalidScope.WithHint(err.Error())
	}
	audience, err := narrowed(r.GetRequestedAudience(), t.Grant.GrantedAudience)
	if err != nil && r.GetRequestForm().Has("resource") {
		return invalidTarget.WithHint(err.Error())
	}
	if err != nil {
		return fosite.ErrInvalidRequest.WithHint(err.Error())
	}
	about, err := sessionOf(t.Grant)
	if err != nil {
		return err
	}
	u.spend, u.reused = &t, !t.Spent.IsZero()
	r.SetID(t.Grant.RequestID)
	r.SetSession(about)
	r.SetRequestedScopes(t.Grant.RequestedScope)
	r.SetRequestedAudience(t.Grant.RequestedAudience)
	for _, scope := range scopes {
		r.GrantScope(scope)
	}
	for _, a := range audience {
		r.GrantAudience(a)
	}
	return nil
}

// withinGrace reports whether a refresh token was rotated so recently that it may be a
// client of several instances, or one that did not get the answer, that uses it again.
func (s *Server) withinGrace(t oauth2.Token) bool {
	return s.o.RefreshGrace.Period > 0 && s.o.Now().Before(t.Spent.Add(s.o.RefreshGrace.Period))
}

// rotate spends the refresh token. Who comes second within the grace period gets
// successors of their own, which belong to the same family.
func (s *Server) rotate(ctx context.Context, u *unit, buy oauth2.Issue) error {
	if !u.reused {
		err := s.o.Store.RotateRefresh(ctx, u.spend.Signature, buy)
		if s.o.RefreshGrace.Period <= 0 || !errors.Is(err, oauth2.ErrSpent) {
			return err
		}
		u.reused = true // somebody was faster
	}
	if err := s.countReuse(ctx, u); err != nil {
		return err
	}
	return s.o.Store.ReuseRefresh(ctx, u.spend.Signature, s.o.Now().Add(-s.o.RefreshGrace.Period), buy)
}

// countReuse takes one of the reuses that a refresh token has, on all nodes together;
// ErrSpent when there are no more.
func (s *Server) countReuse(ctx context.Context, u *unit) error {
	if s.o.RefreshGrace.Reuses == 0 {
		return nil
	}
	for n := range s.o.RefreshGrace.Reuses {
		err := s.o.Store.UseJTI(ctx, "refresh reuse", u.spend.Signature+" "+strconv.Itoa(n), s.o.Now().Add(s.o.RefreshGrace.Period))
		if !errors.Is(err, oauth2.ErrSpent) {
			return err
		}
	}
	return oauth2.ErrSpent
}

// PopulateTokenEndpointResponse makes the successors. The new access token has the
// scope that was asked for, the new refresh token keeps all of it (RFC 6749
// section 6).
func (h *refreshGrant) PopulateTokenEndpointResponse(ctx context.Context, r fosite.AccessRequester, answer fosite.AccessResponder) error {
	if !h.CanHandleTokenEndpointRequest(ctx, r) {
		return fosite.ErrUnknownRequest
	}
	u := unitOf(ctx)
	token, accessSignature, err := h.strategy.GenerateAccessToken(ctx, r)
	if err != nil {
		return err
	}
	_, refreshSignature, err := h.strategy.GenerateRefreshToken(ctx, r)
	if err != nil {
		return err
	}
	about, ok := r.GetSession().(*session)
	if !ok {
		return fosite.ErrServerError
	}
	full := u.spend.Grant
	full.RequestedAt = u.now
	if full.Session, err = about.encode(); err != nil { // it may be bound to another key
		return err
	}
	narrow := full
	narrow.GrantedScope, narrow.GrantedAudience = r.GetGrantedScopes(), r.GetGrantedAudience()
	u.access = &oauth2.Token{Signature: accessSignature, Grant: narrow, ExpiresAt: h.s.accessExpiry(u)}
	u.refresh = &oauth2.Token{Signature: refreshSignature, Grant: full, ExpiresAt: h.s.refreshExpiry(u), AccessSignature: accessSignature}
	answer.SetAccessToken(token)
	answer.SetTokenType("bearer")
	return nil
}

// beyond is the error of asking for more than there is.
type beyond string

func (b beyond) Error() string {
	return "'" + strings.ToValidUTF8(string(b), "") + "' was not granted."
}

// narrowed returns what of the granted is asked for, everything when nothing is,
// and an error when more is.
func narrowed(asked, granted []string) ([]string, error) {
	if len(asked) == 0 {
		return granted, nil
	}
	for _, a := range asked {
		if !slices.Contains(granted, a) {
			return nil, beyond(a)
		}
	}
	return asked, nil
}
