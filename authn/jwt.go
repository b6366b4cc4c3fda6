package authn

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/handler"
	"github.com/gatewarden/gatewarden/keys"
)

// jwtConfig configures the authenticator jwt.
type jwtConfig struct {
	// JWKSURLs are the JWK sets that hold the issuers' keys: http, https, file and
	// inline://BASE64 URLs. Empty: the keys of the embedded authorization server,
	// whose access tokens alone are accepted then.
	JWKSURLs []string `json:"jwks_urls"`
	// RequiredScope must all be granted, by the scope strategy.
	RequiredScope []string `json:"required_scope"`
	// ScopeStrategy is exact, hierarchic, wildcard or none.
	ScopeStrategy string `json:"scope_strategy"`
	// TargetAudience must all be in the token's aud.
	TargetAudience []string `json:"target_audience"`
	// TrustedIssuers lists the accepted values of iss; empty: any.
	TrustedIssuers []string `json:"trusted_issuers"`
	// Issuers are several issuers with keys of their own; in place of JWKSURLs and
	// TrustedIssuers.
	Issuers []jwtIssuer `json:"issuers"`
	// ForeignIssuer is refuse, or next: a token that claims an issuer which is not
	// trusted is left to the next authenticator.
	ForeignIssuer string `json:"foreign_issuer"`
	// AllowedAlgorithms of signatures, from the RS, PS and ES families and EdDSA, or
	// from the HS family alone with keys of local sets. Default: RS256; with the
	// embedded server RS256, ES256 and EdDSA.
	AllowedAlgorithms []string `json:"allowed_algorithms"`
	// JWKSMaxWait is how long a request waits for a JWK set.
	JWKSMaxWait handler.Duration `json:"jwks_max_wait"`
	// JWKSTTL is how long a fetched JWK set is fresh.
	JWKSTTL handler.Duration `json:"jwks_ttl"`
	// TokenFrom says where the token is.
	TokenFrom *TokenFrom `json:"token_from"`
	// Leeway is the tolerated difference of clocks for exp, nbf and iat.
	Leeway handler.Duration `json:"leeway"`
	// AllowIDTokens also accepts OpenID Connect ID tokens, which are meant for
	// clients and not for APIs.
	AllowIDTokens bool `json:"allow_id_tokens"`
	// RequireBinding is none, or refuses tokens that are not bound to their sender: any,
	// dpop (RFC 9449) or mtls (RFC 8705). Tokens that are bound are checked in any case.
	RequireBinding string `json:"require_binding"`
	// DPoP says which proofs are good.
	DPoP dpopConfig `json:"dpop"`
}

func jwtDefaults() jwtConfig {
	return jwtConfig{ScopeStrategy: "none", ForeignIssuer: "refuse", JWKSMaxWait: handler.Duration(time.Second), JWKSTTL: handler.Duration(30 * time.Second), Leeway: handler.Duration(5 * time.Second),
		RequireBinding: "none", DPoP: dpopDefaults()}
}

// jwt verifies signed JSON Web Tokens (RFC 7519, RFC 8725, RFC 9068).
type jwt struct {
	token      tokenReader
	keys       KeySource
	algorithms []jose.SignatureAlgorithm
	types      []string // allowed typ
	idTokens   bool
	demands    demands
	binding    binding
	identity   identity
	cache      *factsCache
	d          Deps
}

var (
	_ CredentialReader = (*jwt)(nil)
	_ SchemeReader     = (*jwt)(nil)
	_ Challengeable    = (*jwt)(nil)
	_ access.Lease     = (*jwt)(nil)
	_ FileReader       = (*jwt)(nil)
)

// CredentialPlaces implements CredentialReader.
func (a *jwt) CredentialPlaces() (headers, cookies []string) { return a.token.places() }

// Schemes implements SchemeReader.
func (a *jwt) Schemes() []string { return a.token.schemes() }

// Challenges implements Challengeable.
func (a *jwt) Challenges() []string { return a.binding.challenges }

// Files implements FileReader.
func (a *jwt) Files() (files []FileState) {
	if sets, ok := a.keys.(*keys.Remote); ok {
		for _, f := range sets.Files() {
			files = append(files, FileState(f))
		}
	}
	return files
}

func newJWT(c jwtConfig, d Deps, cache *factsCache) (*jwt, error) {
	strategy, err := newScopeStrategy(c.ScopeStrategy)
	if err != nil {
		return nil, err
	}
	if strategy == nil && len(c.RequiredScope) > 0 {
		return nil, errors.New("required_scope needs scope_strategy exact, hierarchic or wildcard")
	}
	if err := checkScopes("required_scope", c.RequiredScope); err != nil {
		return nil, err
	}
	a := &jwt{
		idTokens: c.AllowIDTokens, cache: cache, d: d,
		demands: demands{issuers: c.TrustedIssuers, audience: c.TargetAudience, required: c.RequiredScope, strategy: strategy,
			leeway: time.Duration(c.Leeway), mismatch: func(message string) error { return invalidToken(message, nil) }},
	}
	if a.token, err = newTokenReader(c.TokenFrom, ""); err != nil {
		return nil, err
	}
	if a.binding, err = newBinding(c.RequireBinding, c.DPoP, &a.token, d); err != nil {
		return nil, err
	}
	if a.algorithms, err = algorithms(c); err != nil {
		return nil, err
	}
	if len(c.JWKSURLs) == 0 {
		if d.OwnKeys == nil {
			return nil, errors.New("jwks_urls is required: no authorization server runs in this process")
		}
		a.keys, a.types = d.OwnKeys, []string{"at+jwt"}
	} else {
		if a.keys, err = d.Keys.Open(c.JWKSURLs, time.Duration(c.JWKSTTL), time.Duration(c.JWKSMaxWait)); err != nil {
			return nil, fmt.Errorf("jwks_urls: %w", err)
		}
		// Many issuers sign access tokens with typ JWT or none (RFC 9068 is young).
		a.types = []string{"at+jwt", "jwt", ""}
	}
	a.identity = newIdentity("jwt", c.JWKSURLs, c.JWKSTTL, a.algorithms, a.idTokens)
	return a, nil
}

// algorithms returns what may have signed a token. Symmetric algorithms never
// share a list with others, nor do their keys come from the network: either would
// let a published public key serve as a shared secret.
func algorithms(c jwtConfig) ([]jose.SignatureAlgorithm, error) {
	names := c.AllowedAlgorithms
	if len(names) == 0 && len(c.JWKSURLs) == 0 {
		names = []string{"RS256", "ES256", "EdDSA"}
	} else if len(names) == 0 {
		names = []string{"RS256"}
	}
	var list []jose.SignatureAlgorithm
	symmetric := 0
	for _, name := range names {
		alg := jose.SignatureAlgorithm(name)
		if slices.Contains([]jose.SignatureAlgorithm{jose.HS256, jose.HS384, jose.HS512}, alg) {
			symmetric++
		} else if !slices.Contains(keys.Asymmetric(), alg) {
			return nil, fmt.Errorf("allowed_algorithms: %q is not a known signature algorithm", name)
		}
		list = append(list, alg)
	}
	if symmetric == 0 {
		return list, nil
	}
	remote := func(u string) bool { return !strings.HasPrefix(u, "file://") && !strings.HasPrefix(u, "inline://") }
	switch {
	case symmetric < len(list):
		return nil, errors.New("allowed_algorithms: HS algorithms and others must not be in one list")
	case len(c.JWKSURLs) == 0 || slices.ContainsFunc(c.JWKSURLs, remote):
		return nil, errors.New("allowed_algorithms: HS algorithms need jwks_urls of scheme file or inline")
	}
	return list, nil
}

// Authenticate returns ErrNoCredentials for a token that is not three parts
// separated by dots. Facts about verified tokens are cached until the keys change.
func (a *jwt) Authenticate(ctx context.Context, r *access.Request) (access.Subject, error) {
	token, known, err := a.accept(ctx, r)
	if err != nil {
		return access.Subject{}, a.binding.refused(r, err)
	}
	return a.binding.prove(ctx, r, token, known)
}

// Renew implements access.Lease: a token ends when it expires, without leeway, or when
// its key is withdrawn.
func (a *jwt) Renew(ctx context.Context, r *access.Request) (time.Time, error) {
	_, known, err := a.accept(ctx, r)
	if err != nil {
		return time.Time{}, err
	}
	return known.expires, nil
}

// accept has no effect beside the cache.
func (a *jwt) accept(ctx context.Context, r *access.Request) (token string, known *facts, err error) {
	token, err = a.token.find(r)
	if err != nil {
		return "", nil, err
	}
	now, generation, key := a.d.Now(), a.keys.Generation(), a.cache.key(a.identity, token)
	known = a.cache.get(key, generation, now)
	if known == nil {
		// Not before: what is kept was verified, so it has this form.
		if err := a.wellFormed(token); err != nil {
			return "", nil, err
		}
	}
	a.d.Cache("jwt", known != nil)
	if known == nil {
		f, err := a.verify(ctx, token)
		if err != nil {
			return "", nil, err
		}
		known = &f
		// Kept under the generation from before the look-up, so that a key which was
		// withdrawn meanwhile leaves nothing behind. 0: the keys had to be fetched first.
		if generation != 0 {
			a.cache.put(key, f, generation, time.Time{}, len(token))
		}
	}
	if err := a.demands.check(known, now); err != nil {
		return "", nil, err
	}
	return token, known, nil
}

func (a *jwt) wellFormed(token string) error {
	if err := a.token.check(token); err != nil {
		return err
	}
	if strings.Count(token, ".") != 2 {
		return ErrNoCredentials
	}
	return nil
}

func (a *jwt) verify(ctx context.Context, token string) (facts, error) {
	t, err := keys.ParseJWS(token, a.algorithms)
	if err != nil {
		return facts{}, invalidToken("the token is malformed or not signed with an allowed algorithm", err)
	}
	if !slices.Contains(a.types, t.Type) {
		return facts{}, invalidToken("the token is not an access token", fmt.Errorf("typ is %q", t.Type))
	}
	if t.KeyID == "" {
		return facts{}, invalidToken("the token names no key", nil)
	}
	candidates, err := a.keys.Keys(ctx, t.KeyID)
	if err != nil {
		return facts{}, err
	}
	cause := errors.New("kid is in no key set")
	for _, k := range candidates {
		payload, err := t.Verify(k)
		if err == nil {
			return a.claims(payload)
		}
		cause = err
	}
	return facts{}, invalidToken("the token's signature cannot be verified", cause)
}

// claims reads the payload of a verified token.
func (a *jwt) claims(payload []byte) (facts, error) {
	refuse := func(format string, args ...any) (facts, error) {
		return facts{}, invalidToken("the token's claims are not valid", fmt.Errorf(format, args...))
	}
	var claims map[string]any
	if err := json.Unmarshal(payload, &claims); err != nil { // refuses duplicate members
		return refuse("claims: %w", err)
	}
	if err := a.isAccessToken(claims); err != nil {
		return facts{}, invalidToken("the token is not an access token for this kind of use", err)
	}
	f := facts{subject: access.Subject{Via: "jwt", Extra: claims}}
	for name, into := range map[string]*string{"sub": &f.subject.ID, "iss": &f.issuer} {
		if v, ok := claims[name]; ok {
			if *into, ok = v.(string); !ok {
				return refuse("%s is not a string", name)
			}
		}
	}
	var err error
	if f.audience, err = stringOrList(claims["aud"]); err != nil {
		return refuse("aud %w", err)
	}
	if _, ok := claims["exp"]; !ok {
		return refuse("exp is missing")
	}
	if f.expires, err = numericDate(claims, "exp"); err != nil {
		return refuse("%w", err)
	}
	if f.notBefore, err = numericDate(claims, "nbf"); err != nil {
		return refuse("%w", err)
	}
	issued, err := numericDate(claims, "iat")
	if err != nil {
		return refuse("%w", err)
	}
	if issued.After(f.notBefore) { // a token from the future is not valid yet
		f.notBefore = issued
	}
	if v, ok := claims["cnf"]; ok {
		if f.bound, err = confirmation(v); err != nil {
			return refuse("%w", err)
		}
	}
	if f.scope, err = takeScopes(claims); err != nil {
		return refuse("%w", err)
	}
	return f, nil
}

// isAccessToken refuses tokens that their issuer made for another purpose.
func (a *jwt) isAccessToken(claims map[string]any) error {
	for _, name := range []string{"at_hash", "c_hash", "s_hash"} {
		if _, ok := claims[name]; ok && !a.idTokens {
			return fmt.Errorf("%s marks an ID token, set allow_id_tokens to accept it", name)
		}
	}
	if _, ok := claims["events"]; ok {
		return errors.New("events marks a logout token or security event")
	}
	switch use, _ := claims["typ"].(string); strings.ToLower(use) { // Keycloak
	case "refresh", "offline", "logout":
		return fmt.Errorf("typ claim is %q", use)
	case "id":
		if !a.idTokens {
			return errors.New("typ claim marks an ID token, set allow_id_tokens to accept it")
		}
	}
	return nil
}

// takeScopes reads the first of scp, scope and scopes and leaves it as the list
// scp, which is what Oathkeeper's templates see.
func takeScopes(claims map[string]any) ([]string, error) {
	scopes := []string{}
	for _, name := range []string{"scp", "scope", "scopes"} {
		v, ok := claims[name]
		if !ok {
			continue
		}
		list, err := stringOrList(v)
		if err != nil {
			return nil, fmt.Errorf("%s %w", name, err)
		}
		delete(claims, name)
		if text, ok := v.(string); ok {
			list = strings.Fields(text)
		}
		scopes = append(scopes, list...)
		break
	}
	claims["scp"] = scopes
	return scopes, nil
}
