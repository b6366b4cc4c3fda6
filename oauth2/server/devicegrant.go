package server

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/maypok86/otter/v2"
	"github.com/ory/fosite"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/oauth2"
)

const (
	deviceGrantType = "urn:ietf:params:oauth:grant-type:device_code"
	maxUserCodes    = 5   // attempts of one challenge
	maxGuesses      = 100 // wrong user codes in a minute, on one node
)

// The errors of RFC 8628 section 3.5.
func deviceError(code, description string) *fosite.RFC6749Error {
	return &fosite.RFC6749Error{ErrorField: code, DescriptionField: description, CodeField: http.StatusBadRequest}
}

func isSpent(err error) bool { return errors.Is(err, oauth2.ErrSpent) }

// guesses counts wrong user codes. Who guesses all day at this rate has one of a
// thousand open codes with a chance of one in hundreds.
type guesses struct {
	mu     sync.Mutex
	minute int64
	count  int
}

func (g *guesses) allow(now time.Time) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.minute == now.Unix()/60 && g.count >= maxGuesses {
		return fault.New(fault.RateLimited, "too_many_user_codes", "too many wrong codes were tried; try again in a minute")
	}
	return nil
}

func (g *guesses) wrong(now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if minute := now.Unix() / 60; g.minute != minute {
		g.minute, g.count = minute, 0
	}
	g.count++
}

// polls remembers when a device asked last, and how long it has to wait. It is one per
// node: what is told here is advice, the code is spent in the store.
type polls struct {
	interval time.Duration
	mu       sync.Mutex
	seen     *otter.Cache[string, poll]
}

type poll struct {
	at   time.Time
	wait time.Duration
}

func newPolls(interval, lifespan time.Duration) *polls {
	return &polls{interval: interval, seen: otter.Must(&otter.Options[string, poll]{
		MaximumSize: 100_000, ExpiryCalculator: otter.ExpiryWriting[string, poll](lifespan),
	})}
}

// tooSoon notes a poll at now and reports whether it came before its time. Then the
// device has to wait five seconds longer from then on (RFC 8628 section 3.5).
func (p *polls) tooSoon(signature string, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	last, ok := p.seen.GetIfPresent(signature)
	if !ok {
		last.wait = p.interval
	}
	soon := ok && now.Sub(last.at) < last.wait
	if soon {
		last.wait += 5 * time.Second
	}
	last.at = now
	p.seen.Set(signature, last)
	return soon
}

// deviceGrant is RFC 8628 section 3.4. fosite's handler never tells a device to slow
// down, and leaves the single use to its storage.
type deviceGrant struct{ grant }

var _ fosite.TokenEndpointHandler = (*deviceGrant)(nil)

func (h *deviceGrant) HandleTokenEndpointRequest(ctx context.Context, r fosite.AccessRequester) error {
	u, s := unitOf(ctx), h.s
	signature, ok := s.deviceCodes.signature(r.GetRequestForm().Get("device_code"))
	if !ok {
		return fosite.ErrInvalidGrant
	}
	if s.polls.tooSoon(signature, s.o.Now()) {
		return deviceError("slow_down", "The device asks too often.")
	}
	t, err := s.o.Store.Code(ctx, signature)
	switch {
	case fault.Is(err, fault.NotFound):
		err := s.pending(ctx, u, signature)
		if fault.Is(err, fault.Unavailable) || fault.Is(err, fault.Timeout) {
			u.failure = err
		}
		return err
	case err != nil:
		u.failure = err
		return err
	case t.Grant.ClientID != u.client.ID:
		return fosite.ErrInvalidGrant
	case !t.Spent.IsZero():
		if u.failure = s.revokeFamily(ctx, t.Grant.RequestID); u.failure != nil {
			return u.failure
		}
		return fosite.ErrInvalidGrant.WithHint("The device code has been used before.")
	case s.expired(t):
		return deviceError("expired_token", "The device code has expired.")
	}
	about, err := sessionOf(t.Grant)
	if err != nil {
		return err
	}
	u.spend = &t
	r.SetID(t.Grant.RequestID)
	r.SetSession(about)
	r.SetRequestedScopes(t.Grant.RequestedScope)
	r.SetRequestedAudience(t.Grant.RequestedAudience)
	for _, scope := range t.Grant.GrantedScope {
		r.GrantScope(scope)
	}
	for _, audience := range t.Grant.GrantedAudience {
		r.GrantAudience(audience)
	}
	return nil
}

// pending is why there is nothing to be had yet, or no more.
func (s *Server) pending(ctx context.Context, u *unit, signature string) error {
	f, err := s.o.Store.Flow(ctx, oauth2.ByID, signature)
	switch {
	case fault.Is(err, fault.NotFound):
		return deviceError("expired_token", "The device code has expired.")
	case err != nil:
		return err
	case f.ClientID != u.client.ID:
		return fosite.ErrInvalidGrant
	}
	d := &flowData{}
	if err := json.Unmarshal(f.Data, d); err != nil {
		return err
	}
	if d.Rejected != nil {
		return deviceError("access_denied", "The person has refused the request.")
	}
	return deviceError("authorization_pending", "The person has not answered yet.")
}

// PopulateTokenEndpointResponse makes what the device code buys.
func (h *deviceGrant) PopulateTokenEndpointResponse(ctx context.Context, r fosite.AccessRequester, answer fosite.AccessResponder) error {
	if err := h.grant.PopulateTokenEndpointResponse(ctx, r, answer); err != nil {
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
