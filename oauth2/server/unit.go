package server

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/ory/fosite"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/oauth2"
)

// unit is the unit of work of one token request. fosite's storage calls fill it;
// nothing is stored until settle, when every handler has agreed.
type unit struct {
	client    *client
	grantType string
	now       time.Time
	// spend is the code or refresh token that is spent; nil for other grants.
	spend *oauth2.Token
	// access and refresh are what the exchange buys, with the tokens themselves.
	access, refresh           *oauth2.Token
	accessToken, refreshToken string
	// subject is the token of a token exchange, which is not spent; nil for other grants.
	subject *oauth2.Token
	// front is what was granted at the authorization endpoint; nil for other grants.
	front *oauth2.Grant
	// assertion is what is spent for a JWT bearer grant; nil for other grants.
	assertion *bearerAssertion
	// reused says that spend was rotated before, within the grace period.
	reused bool
	// bound is what the sender of the request has proved to hold, to which what is
	// issued is bound; the zero value: nothing.
	bound access.Confirmation
	// audience is what of the granted audience the access token is for; nil: all.
	audience []string
	// details are what of the granted authorization_details the access token is for; nil:
	// all.
	details []json.RawMessage
	// notAfter bounds the life of what is issued; zero: nothing does.
	notAfter time.Time
	// failure is an error of the store that fosite would only mention in a hint.
	failure error
}

type unitKey struct{}

// unitOf returns the unit of the request; the zero unit outside the token endpoint.
func unitOf(ctx context.Context) *unit {
	if u, ok := ctx.Value(unitKey{}).(*unit); ok {
		return u
	}
	return &unit{client: &client{}}
}

// settle is the gate that every grant passes: it checks the client, the scopes and
// the audience once more, against what is registered now, and stores everything in
// one transition. Whoever loses a race for a code or refresh token ends the whole
// authorization, because it was used twice (RFC 6749 section 4.1.2, RFC 9700
// section 4.14.2).
func (s *Server) settle(ctx context.Context, u *unit) error {
	if !u.complete() {
		return fosite.ErrServerError.WithDebug("the grant is incomplete")
	}
	if u.client.Disabled || !u.client.allowsGrant(u.grantType) || !s.legacyAllowed(u) {
		return fosite.ErrUnauthorizedClient
	}
	granted := u.granted()
	for _, scope := range granted.GrantedScope {
		if !s.scopes(u.client.scopes, scope) {
			return fosite.ErrInvalidScope.WithHintf("The client is no longer allowed to have scope '%s'.", scope)
		}
	}
	for _, audience := range granted.GrantedAudience {
		if !slices.Contains(u.client.Audience, audience) {
			return fosite.ErrInvalidRequest.WithHintf("The client is no longer allowed to have audience '%s'.", audience)
		}
	}
	about, err := sessionOf(granted)
	if err != nil {
		return err
	}
	if !s.o.Details.Known(about.Details, u.client.AuthorizationDetailsTypes) {
		return invalidDetails("The client is no longer allowed to have one of the types.")
	}
	buy := oauth2.Issue{Access: u.access, Refresh: u.refresh}
	switch u.grantType {
	case "client_credentials":
		return s.o.Store.IssueTokens(ctx, buy)
	case exchangeGrantType:
		return s.exchange(ctx, u)
	case jwtBearerGrantType:
		return s.buyWithAssertion(ctx, u)
	case implicitGrantType, passwordGrantType:
		if err := s.checkSubject(ctx, granted.Subject); err != nil || u.access == nil {
			return err
		}
		return s.o.Store.IssueTokens(ctx, buy)
	case "authorization_code", deviceGrantType, backchannelGrantType:
		if err := s.checkSubject(ctx, u.spend.Grant.Subject); err != nil {
			return err
		}
		err = s.o.Store.RedeemCode(ctx, u.spend.Signature, buy)
	case "refresh_token":
		err = s.rotate(ctx, u, buy)
	default:
		return fosite.ErrUnsupportedGrantType
	}
	switch {
	case errors.Is(err, oauth2.ErrSpent):
		if err := s.revokeFamily(ctx, u.spend.Grant.RequestID); err != nil {
			return err
		}
		return fosite.ErrInvalidGrant.WithHint("It has been used before.")
	case fault.Is(err, fault.NotFound):
		return fosite.ErrInvalidGrant
	case err != nil:
		return err
	}
	if u.grantType == "refresh_token" && !u.reused {
		s.tokens.evict(byFamily, u.spend.Grant.RequestID) // the predecessors are gone
	}
	return nil
}

// complete reports whether the unit has what its grant needs, and nothing of another.
func (u *unit) complete() bool {
	spends := !slices.Contains([]string{"client_credentials", exchangeGrantType, jwtBearerGrantType, implicitGrantType, passwordGrantType}, u.grantType)
	return (u.access != nil || u.front != nil) && (u.spend != nil) == spends && (u.subject != nil) == (u.grantType == exchangeGrantType) &&
		(u.assertion != nil) == (u.grantType == jwtBearerGrantType) && (u.front != nil) == (u.grantType == implicitGrantType) &&
		(u.refresh == nil || u.front == nil)
}

// granted is the widest of what was granted.
func (u *unit) granted() oauth2.Grant {
	switch {
	case u.refresh != nil:
		return u.refresh.Grant
	case u.access != nil:
		return u.access.Grant
	}
	return *u.front
}

// legacyAllowed reports whether a grant that OAuth 2.1 has no more may be used: it is
// switched on, and the client asks for no protection that it cannot have. All other
// grants may.
func (s *Server) legacyAllowed(u *unit) bool {
	switch u.grantType {
	case implicitGrantType:
		return (s.o.Legacy.Implicit || s.o.Legacy.Hybrid) && !u.client.strict()
	case passwordGrantType:
		return s.o.Legacy.Password != nil && !u.client.strict() && !u.client.Public()
	}
	return true
}

// checkSubject refuses a code of a person who is not known any more.
func (s *Server) checkSubject(ctx context.Context, id string) error {
	if s.o.Subject == nil {
		return nil
	}
	err := s.o.Subject(ctx, id)
	if fault.Is(err, fault.NotFound) || fault.Is(err, fault.Forbidden) {
		return fosite.ErrInvalidGrant.WithHint("The person is not known any more.")
	}
	return err
}

// revokeFamily ends everything that came from one authorization.
func (s *Server) revokeFamily(ctx context.Context, requestID string) error {
	if err := s.o.Store.RevokeFamily(ctx, requestID); err != nil {
		return err
	}
	s.tokens.evict(byFamily, requestID)
	return nil
}

// storage is what fosite believes to be its store.
type storage struct{ s *Server }

// GetClient is asked by the authorization endpoint.
func (st *storage) GetClient(ctx context.Context, id string) (fosite.Client, error) {
	c, err := st.s.clients.get(ctx, id)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// Client assertions are verified before fosite runs, which is not shown any.
func (*storage) ClientAssertionJWTValid(context.Context, string) error { return fosite.ErrJTIKnown }
func (*storage) SetClientAssertionJWT(context.Context, string, time.Time) error {
	return fosite.ErrJTIKnown
}

// CreateAuthorizeCodeSession stores the code; it is the last step of a flow.
func (st *storage) CreateAuthorizeCodeSession(ctx context.Context, signature string, r fosite.Requester) error {
	g, err := grantOf(r)
	if err != nil {
		return err
	}
	g.Form = r.GetRequestForm()
	return st.s.o.Store.CreateCode(ctx, oauth2.Token{Signature: signature, Grant: g, ExpiresAt: st.s.now().Add(st.s.o.Lifespans.AuthorizeCode)})
}

// GetAuthorizeCodeSession reads the code once per request. A code of another
// client does not exist for this one, so that it cannot end a foreign
// authorization by presenting a used code.
func (st *storage) GetAuthorizeCodeSession(ctx context.Context, signature string, _ fosite.Session) (fosite.Requester, error) {
	u := unitOf(ctx)
	if u.spend == nil {
		if signature == "" {
			return nil, fosite.ErrNotFound
		}
		t, err := st.s.o.Store.Code(ctx, signature)
		if fault.Is(err, fault.NotFound) {
			return nil, fosite.ErrNotFound
		}
		if err != nil {
			return nil, err
		}
		if t.Grant.ClientID != u.client.ID || st.s.expired(t) {
			return nil, fosite.ErrNotFound
		}
		u.spend = &t
	}
	r, err := requesterOf(u.spend.Grant, u.client)
	if err != nil {
		return nil, err
	}
	if !u.spend.Spent.IsZero() {
		return r, fosite.ErrInvalidatedAuthorizeCode
	}
	return r, nil
}

// InvalidateAuthorizeCodeSession does nothing: settle spends the code.
func (*storage) InvalidateAuthorizeCodeSession(context.Context, string) error { return nil }

func (st *storage) CreateAccessTokenSession(ctx context.Context, signature string, r fosite.Requester) error {
	u := unitOf(ctx)
	g, err := grantOf(r)
	g.RequestedAt, g.GrantedAudience = u.now, u.audienceFor(g.GrantedAudience)
	u.access = &oauth2.Token{Signature: signature, Grant: g, ExpiresAt: st.s.accessExpiry(u)}
	return err
}

func (st *storage) CreateRefreshTokenSession(ctx context.Context, signature, access string, r fosite.Requester) error {
	u := unitOf(ctx)
	g, err := grantOf(r)
	g.RequestedAt = u.now
	u.refresh = &oauth2.Token{Signature: signature, Grant: g, ExpiresAt: st.s.refreshExpiry(u), AccessSignature: access}
	return err
}

// The PKCE challenge lives in the row of the code. It cannot be deleted before the
// code is spent, so a failed attempt never opens a way around it.
func (st *storage) GetPKCERequestSession(ctx context.Context, signature string, _ fosite.Session) (fosite.Requester, error) {
	r, err := st.GetAuthorizeCodeSession(ctx, signature, nil)
	if err != nil {
		return nil, err
	}
	if r.GetRequestForm().Get("code_challenge") == "" {
		return nil, fosite.ErrNotFound
	}
	return r, nil
}

func (*storage) CreatePKCERequestSession(context.Context, string, fosite.Requester) error { return nil }
func (*storage) DeletePKCERequestSession(context.Context, string) error                   { return nil }

// RevokeAccessToken is called by fosite for a code that was used before, and would
// be called for nothing else. It ends the family, refresh tokens included.
func (st *storage) RevokeAccessToken(ctx context.Context, requestID string) error {
	err := st.s.revokeFamily(ctx, requestID)
	unitOf(ctx).failure = err
	return err
}

func (*storage) RevokeRefreshToken(context.Context, string) error { return nil }

// fosite's interfaces ask for these, but the handlers in use never call them.
func (*storage) GetAccessTokenSession(context.Context, string, fosite.Session) (fosite.Requester, error) {
	return nil, fosite.ErrNotFound
}
func (*storage) GetRefreshTokenSession(context.Context, string, fosite.Session) (fosite.Requester, error) {
	return nil, fosite.ErrNotFound
}
func (*storage) DeleteAccessTokenSession(context.Context, string) error   { return fosite.ErrNotFound }
func (*storage) DeleteRefreshTokenSession(context.Context, string) error  { return fosite.ErrNotFound }
func (*storage) RotateRefreshToken(context.Context, string, string) error { return fosite.ErrNotFound }

// grantOf returns what is stored of a request. The form is left out: only a code
// needs parts of it.
func grantOf(r fosite.Requester) (oauth2.Grant, error) {
	g := oauth2.Grant{
		RequestID: r.GetID(), ClientID: r.GetClient().GetID(), RequestedAt: r.GetRequestedAt(),
		RequestedScope: r.GetRequestedScopes(), GrantedScope: r.GetGrantedScopes(),
		RequestedAudience: r.GetRequestedAudience(), GrantedAudience: r.GetGrantedAudience(),
	}
	s, ok := r.GetSession().(*session)
	if !ok {
		return g, errors.New("the request has a foreign session")
	}
	g.Subject, g.ConsentID, g.SessionID = s.subject, s.consentID, s.sessionID
	var err error
	g.Session, err = s.encode()
	return g, err
}

// requesterOf is the opposite of grantOf.
func requesterOf(g oauth2.Grant, c *client) (*fosite.Request, error) {
	s, err := sessionOf(g)
	if err != nil {
		return nil, err
	}
	return &fosite.Request{
		ID: g.RequestID, RequestedAt: g.RequestedAt, Client: c, Form: g.Form, Session: s,
		RequestedScope: g.RequestedScope, GrantedScope: g.GrantedScope,
		RequestedAudience: g.RequestedAudience, GrantedAudience: g.GrantedAudience,
	}, nil
}

// expired reports whether the token's time is over: at its expiry it is.
func (s *Server) expired(t oauth2.Token) bool {
	return !t.ExpiresAt.IsZero() && !s.o.Now().Before(t.ExpiresAt)
}

func (s *Server) accessExpiry(u *unit) time.Time {
	return earliest(u.now.Add(u.client.lifespan(u.grantType, "access_token", s.o.Lifespans.AccessToken)), u.notAfter)
}

// refreshExpiry returns the zero time for refresh tokens that never expire.
func (s *Server) refreshExpiry(u *unit) time.Time {
	d := u.client.lifespan(u.grantType, "refresh_token", s.o.Lifespans.RefreshToken)
	if d < 0 {
		return time.Time{}
	}
	return u.now.Add(d)
}
