package server

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/ory/fosite"
)

// reserved are the claims of ID tokens that only the server sets. A consent app
// that sends one is not heard.
var reserved = map[string]bool{
	"iss": true, "sub": true, "aud": true, "exp": true, "iat": true, "nbf": true, "jti": true, "nonce": true, "at_hash": true,
	"c_hash": true, "s_hash": true, "auth_time": true, "acr": true, "amr": true, "azp": true, "sid": true, "rat": true,
}

// idTokens adds an ID token to the answers of the code and refresh grants (OpenID
// Connect Core sections 3.1.3.3 and 12.2).
type idTokens struct{ s *Server }

var _ fosite.TokenEndpointHandler = (*idTokens)(nil)

func (*idTokens) CanSkipClientAuth(context.Context, fosite.AccessRequester) bool { return false }

// CanHandleTokenEndpointRequest says no: it only adds to what others handle.
func (*idTokens) CanHandleTokenEndpointRequest(context.Context, fosite.AccessRequester) bool {
	return false
}

func (*idTokens) HandleTokenEndpointRequest(context.Context, fosite.AccessRequester) error {
	return fosite.ErrUnknownRequest
}

func (h *idTokens) PopulateTokenEndpointResponse(ctx context.Context, r fosite.AccessRequester, answer fosite.AccessResponder) error {
	u := unitOf(ctx)
	if u.spend == nil && u.grantType != passwordGrantType || !slices.Contains(r.GetGrantedScopes(), "openid") {
		return fosite.ErrUnknownRequest
	}
	about, ok := r.GetSession().(*session)
	if !ok {
		return fosite.ErrServerError
	}
	nonce := ""
	// The nonce belongs to the authentication, not to later refreshes (section 12.2).
	if u.grantType == "authorization_code" {
		nonce = u.spend.Grant.Form.Get("nonce")
	}
	token, err := h.s.idToken(ctx, u, about, nonce, "")
	if err != nil {
		return err
	}
	answer.SetExtra("id_token", token)
	return nil
}

// idToken makes the ID token of a unit: about its person, with the hashes of the access
// token that the unit has and of the code that comes with it; empty for none.
func (s *Server) idToken(ctx context.Context, u *unit, about *session, nonce, code string) (string, error) {
	if about.subject == "" {
		return "", fosite.ErrServerError.WithDebug("the grant has openid but no subject")
	}
	alg := u.client.IDTokenAlg
	if alg == "" {
		alg = s.o.IDTokenAlg
	}
	claims := claimsFor(about)
	claims["iss"] = s.o.Issuer
	claims["aud"] = []string{u.client.ID}
	claims["iat"] = u.now.Unix()
	expires := u.now.Add(u.client.lifespan(u.grantType, "id_token", s.o.Lifespans.IDToken))
	claims["exp"] = expires.Unix()
	claims["jti"] = randomString()
	claims["rat"] = about.RequestedAt
	claims["auth_time"] = about.AuthTime
	if about.ACR != "" {
		claims["acr"] = about.ACR
	}
	if len(about.AMR) > 0 {
		claims["amr"] = about.AMR
	}
	for name, value := range map[string]string{"sid": about.sessionID, "nonce": nonce} {
		if value != "" {
			claims[name] = value
		}
	}
	for name, hashed := range map[string]string{"at_hash": u.accessToken, "c_hash": code} {
		if hashed != "" {
			claims[name] = halfHash(alg, hashed)
		}
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	return s.o.IDTokens.Sign(ctx, alg, "JWT", payload, expires)
}

// claimsFor returns what the consent app said about the person, and the subject.
func claimsFor(about *session) map[string]any {
	claims := maps.Clone(about.IDToken)
	if claims == nil {
		claims = map[string]any{}
	}
	maps.DeleteFunc(claims, func(name string, _ any) bool { return reserved[name] })
	claims["sub"] = about.shownSubject()
	return claims
}

// halfHash is at_hash and c_hash: the left half of the hash that belongs to the signature
// algorithm (OpenID Connect Core section 3.1.3.6; Ed25519 uses SHA-512).
func halfHash(alg, token string) string {
	switch {
	case strings.HasSuffix(alg, "384"):
		sum := sha512.Sum384([]byte(token))
		return base64.RawURLEncoding.EncodeToString(sum[:24])
	case strings.HasSuffix(alg, "512") || alg == "EdDSA":
		sum := sha512.Sum512([]byte(token))
		return base64.RawURLEncoding.EncodeToString(sum[:32])
	}
	sum := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}
