package server

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/ory/fosite"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/oauth2"
	"github.com/gatewarden/gatewarden/users"
)

const (
	deviceGrantType = "urn:ietf:params:oauth:grant-type:device_code"
	maxUserCodes    = 5 // attempts of one challenge
)

// The errors of RFC 8628 section 3.5.
func deviceError(code, description string) *fosite.RFC6749Error {
	return &fosite.RFC6749Error{ErrorField: code, DescriptionField: description, CodeField: http.StatusBadRequest}
}

func isSpent(err error) bool { return errors.Is(err, oauth2.ErrSpent) }

// wrongUserCodes bounds wrong user codes, on all nodes together. Who guesses all day at
// this rate has one of a thousand open codes with a chance of one in hundreds.
var wrongUserCodes = users.Pace{Interval: 600 * time.Millisecond, Burst: 100}

const wrongUserCodesKey = "user codes"

// takeGuess counts a user code before it is looked up, so that parallel guesses count;
// a right one is given back.
func (s *Server) takeGuess(ctx context.Context) error {
	wait, err := s.o.Store.TakeAttempt(ctx, wrongUserCodesKey, wrongUserCodes)
	if err == nil && wait > 0 {
		err = fault.New(fault.RateLimited, "too_many_user_codes", "too many wrong codes were tried; try again in a minute")
	}
	return err
}

func (s *Server) returnGuess(ctx context.Context) error {
	return s.o.Store.ReturnAttempt(ctx, wrongUserCodesKey, wrongUserCodes)
}

// deviceGrant is RFC 8628 section 3.4, and OpenID CIBA Core section 10.1 with an
// auth_req_id for the device code. fosite's handler never tells a device to slow
// down, and leaves the single use to its storage.
type deviceGrant struct {
	grant
	param    string // of the code
	codes    opaque
	interval time.Duration
}

var _ fosite.TokenEndpointHandler = (*deviceGrant)(nil)

func (h *deviceGrant) HandleTokenEndpointRequest(ctx context.Context, r fosite.AccessRequester) error {
	u, s := unitOf(ctx), h.s
	signature, ok := h.codes.signature(r.GetRequestForm().Get(h.param))
	if !ok {
		return fosite.ErrInvalidGrant
	}
	soon, err := s.o.Store.PollFlow(ctx, signature, u.client.ID, h.interval)
	if err != nil {
		u.failure = err
		return err
	}
	if soon {
		return deviceError("slow_down", "The client asks too often.")
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
		return fosite.ErrInvalidGrant.WithHint("The code has been used before.")
	case s.expired(t):
		return deviceError("expired_token", "The code has expired.")
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
		return deviceError("expired_token", "The code has expired.")
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
	return h.withRefresh(ctx, r, answer)
}
