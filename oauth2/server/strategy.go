package server

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/ory/fosite"
	foauth2 "github.com/ory/fosite/handler/oauth2"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/fault"
)

// accessTokenType is the typ of JWT access tokens (RFC 9068 section 2.1).
const accessTokenType = "at+jwt"

// strategy makes and checks the tokens and codes that fosite's handlers ask for.
type strategy struct{ s *Server }

var _ foauth2.CoreStrategy = (*strategy)(nil)

func (st *strategy) GenerateAccessToken(ctx context.Context, r fosite.Requester) (token, signature string, err error) {
	u := unitOf(ctx)
	kind := u.client.AccessTokenStrategy
	if kind == "" {
		kind = st.s.o.AccessTokenStrategy
	}
	if kind == JWT {
		token, signature, err = st.s.signAccessToken(ctx, u, r)
	} else {
		token, signature = st.s.accessTokens.generate()
	}
	u.accessToken = token
	return token, signature, err
}

func (st *strategy) GenerateRefreshToken(ctx context.Context, _ fosite.Requester) (token, signature string, err error) {
	token, signature = st.s.refreshTokens.generate()
	unitOf(ctx).refreshToken = token
	return token, signature, nil
}

func (st *strategy) GenerateAuthorizeCode(context.Context, fosite.Requester) (token, signature string, err error) {
	token, signature = st.s.codes.generate()
	return token, signature, nil
}

// AuthorizeCodeSignature returns "", which no code has, for a code that this
// server did not make.
func (st *strategy) AuthorizeCodeSignature(_ context.Context, code string) string {
	signature, _ := st.s.codes.signature(code)
	return signature
}

func (st *strategy) ValidateAuthorizeCode(_ context.Context, _ fosite.Requester, code string) error {
	if _, ok := st.s.codes.signature(code); !ok {
		return fosite.ErrTokenSignatureMismatch
	}
	return nil
}

// The remaining methods are part of fosite's interface; none of the handlers in
// use calls them.
func (*strategy) AccessTokenSignature(context.Context, string) string  { return "" }
func (*strategy) RefreshTokenSignature(context.Context, string) string { return "" }
func (*strategy) ValidateAccessToken(context.Context, fosite.Requester, string) error {
	return fosite.ErrTokenSignatureMismatch
}
func (*strategy) ValidateRefreshToken(context.Context, fosite.Requester, string) error {
	return fosite.ErrTokenSignatureMismatch
}

// accessClaims are the claims of a JWT access token (RFC 9068 section 2.2).
type accessClaims struct {
	Issuer    string   `json:"iss"`
	Subject   string   `json:"sub"`
	Audience  []string `json:"aud"`
	ClientID  string   `json:"client_id"`
	ExpiresAt int64    `json:"exp"`
	IssuedAt  int64    `json:"iat"`
	NotBefore int64    `json:"nbf"`
	ID        string   `json:"jti"`
	// Scope is what RFC 9068 has, Scopes what Hydra's users look for.
	Scope    string         `json:"scope"`
	Scopes   []string       `json:"scp"`
	AuthTime int64          `json:"auth_time,omitempty"`
	ACR      string         `json:"acr,omitempty"`
	AMR      []string       `json:"amr,omitempty"`
	Extra    map[string]any `json:"ext,omitempty"`
	Act      *actor         `json:"act,omitempty"`
	// Details are authorization_details (RFC 9396 section 9.1).
	Details []json.RawMessage `json:"authorization_details,omitempty"`
	// Bound is RFC 8705 section 3.1 and RFC 9449 section 6.1.
	Bound *access.Confirmation `json:"cnf,omitempty"`
}

// ownAccessClaims are those of JWT access tokens that only the server sets: what
// accessClaims has, and what others give a meaning for security.
var ownAccessClaims = map[string]bool{
	"iss": true, "sub": true, "aud": true, "client_id": true, "exp": true, "iat": true, "nbf": true, "jti": true, "scope": true, "scp": true,
	"auth_time": true, "acr": true, "amr": true, "ext": true, "act": true, "may_act": true, "cnf": true, "azp": true, "sid": true, "nonce": true,
	"authorization_details": true, "events": true, "token_introspection": true,
}

// withTopLevel adds the claims that the operator wants at the top to a JWT's payload, an
// object; the server's own are never among them, so that no name occurs twice.
func (s *Server) withTopLevel(payload []byte, said map[string]any) ([]byte, error) {
	top := map[string]any{}
	for _, name := range s.o.TopLevelClaims {
		if value, has := said[name]; has && !ownAccessClaims[name] {
			top[name] = value
		}
	}
	if len(top) == 0 {
		return payload, nil
	}
	more, err := json.Marshal(top)
	if err != nil {
		return nil, err
	}
	return append(append(payload[:len(payload)-1], ','), more[1:]...), nil
}

// signAccessToken returns a JWT access token. The store knows it by its jti, so it
// can be introspected and revoked like an opaque one.
func (s *Server) signAccessToken(ctx context.Context, u *unit, r fosite.Requester) (token, jti string, err error) {
	about, ok := r.GetSession().(*session)
	if !ok {
		return "", "", fosite.ErrServerError
	}
	expires := s.accessExpiry(u)
	c := accessClaims{
		Issuer: s.o.Issuer, Subject: about.shownSubject(), Audience: u.audienceFor(r.GetGrantedAudience()), ClientID: u.client.ID,
		ExpiresAt: expires.Unix(), IssuedAt: u.now.Unix(), NotBefore: u.now.Unix(), ID: randomString(),
		Scope: strings.Join(r.GetGrantedScopes(), " "), Scopes: append([]string{}, r.GetGrantedScopes()...),
		AuthTime: about.AuthTime, ACR: about.ACR, AMR: about.AMR, Extra: about.AccessToken, Act: about.Act, Bound: about.Bound, Details: u.detailsFor(about.Details),
	}
	if len(c.Audience) == 0 {
		c.Audience = []string{s.o.Issuer} // aud is required: RFC 9068 section 3
	}
	if s.o.TopLevelClaimsOnly {
		c.Extra = nil
	}
	payload, err := json.Marshal(c)
	if err != nil {
		return "", "", err
	}
	if payload, err = s.withTopLevel(payload, about.AccessToken); err != nil {
		return "", "", err
	}
	token, err = s.o.AccessTokens.Sign(ctx, s.o.AccessTokenAlg, accessTokenType, payload, expires)
	return token, c.ID, err
}

// accessSignature returns what the store knows an access token by; ok is false for
// a string that this server did not make. An error means that it could not be
// found out.
func (s *Server) accessSignature(ctx context.Context, token string) (signature string, ok bool, err error) {
	if signature, ok := s.accessTokens.signature(token); ok {
		return signature, true, nil
	}
	if strings.Count(token, ".") != 2 {
		return "", false, nil
	}
	payload, err := s.o.AccessTokens.Verify(ctx, token, accessTokenType)
	if fault.Is(err, fault.Unavailable) || fault.Is(err, fault.Timeout) {
		return "", false, err
	}
	var c accessClaims
	if err != nil || json.Unmarshal(payload, &c) != nil || c.Issuer != s.o.Issuer || c.ID == "" {
		return "", false, nil //nolint:nilerr // a token that does not verify is not ours
	}
	return c.ID, true, nil
}
