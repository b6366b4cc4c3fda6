package authn

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/handler"
	"github.com/gatewarden/gatewarden/outbound"
)

// introspectionConfig configures the authenticator oauth2_introspection.
type introspectionConfig struct {
	// IntrospectionURL is an RFC 7662 endpoint. Empty: the embedded authorization
	// server, asked in process; everything from introspection_request_headers on is
	// without effect then.
	IntrospectionURL string `json:"introspection_url"`
	// ScopeStrategy is exact, hierarchic, wildcard or none. With none the endpoint
	// is sent the required scopes and must enforce them. Default: none; exact with
	// the embedded server.
	ScopeStrategy string `json:"scope_strategy"`
	// RequiredScope must all be granted.
	RequiredScope []string `json:"required_scope"`
	// TargetAudience must all be in the token's aud.
	TargetAudience []string `json:"target_audience"`
	// TrustedIssuers lists the accepted values of iss; empty: any.
	TrustedIssuers []string `json:"trusted_issuers"`
	// ForeignIssuer is refuse, or next: a JSON Web Token that claims an issuer which is
	// not trusted is left to the next authenticator and not sent to the endpoint.
	ForeignIssuer string `json:"foreign_issuer"`
	// Prefix is what a token must start with to be looked at; it is sent too.
	Prefix string `json:"prefix"`
	// TokenFrom says where the token is.
	TokenFrom *TokenFrom `json:"token_from"`
	// IntrospectionRequestHeaders are sent with every request.
	IntrospectionRequestHeaders map[string]string `json:"introspection_request_headers"`
	// PreserveHost sends the request's host as X-Forwarded-Host.
	PreserveHost bool `json:"preserve_host"`
	// PreAuthorization gets an access token for the introspection endpoint.
	PreAuthorization preAuthorizationConfig `json:"pre_authorization"`
	// Retry repeats requests that failed or were answered with 5xx.
	Retry outbound.Retry `json:"retry"`
	// Timeout bounds each single request to the endpoint.
	Timeout handler.Duration `json:"timeout"`
	// Cache keeps answers about active tokens.
	Cache cacheConfig `json:"cache"`
	// RequireBinding is none, or refuses tokens that are not bound to their sender: any,
	// dpop (RFC 9449) or mtls (RFC 8705). Tokens that are bound are checked in any case.
	RequireBinding string `json:"require_binding"`
	// DPoP says which proofs are good.
	DPoP dpopConfig `json:"dpop"`
}

type cacheConfig struct {
	Enabled bool `json:"enabled"`
	// TTL bounds how long an answer is used, and so how late a revocation counts;
	// the token's own expiry bounds it too.
	TTL handler.Duration `json:"ttl"`
	// MaxCost is the size of the cache in bytes. All rules share one cache, which
	// has the largest size that is configured.
	MaxCost int64 `json:"max_cost"`
}

func introspectionDefaults() introspectionConfig {
	return introspectionConfig{
		ForeignIssuer: "refuse",
		Retry:         outbound.DefaultRetry(),
		Timeout:       handler.Duration(5 * time.Second),
		Cache:         cacheConfig{TTL: handler.Duration(time.Minute), MaxCost: 100_000_000},

		RequireBinding: "none", DPoP: dpopDefaults(),
	}
}

// introspection asks an authorization server what a token stands for.
type introspection struct {
	token        tokenReader
	demands      demands
	binding      binding
	embedded     Introspector // nil: remote is asked
	remote       *introspectionEndpoint
	preserveHost bool
	identity     identity
	cache        *factsCache // nil: every request is asked for
	ttl          time.Duration
	d            Deps
}

var (
	_ CredentialReader = (*introspection)(nil)
	_ SchemeReader     = (*introspection)(nil)
	_ Challengeable    = (*introspection)(nil)
	_ access.Lease     = (*introspection)(nil)
)

// CredentialPlaces implements CredentialReader.
func (a *introspection) CredentialPlaces() (headers, cookies []string) { return a.token.places() }

// Schemes implements SchemeReader.
func (a *introspection) Schemes() []string { return a.token.schemes() }

// Challenges implements Challengeable.
func (a *introspection) Challenges() []string { return a.binding.challenges }

// newIntrospections returns the handler for a configuration.
func newIntrospections(c introspectionConfig, d Deps, cache *factsCache) (Authenticator, error) {
	next, err := foreignIssuer(c.ForeignIssuer, len(c.TrustedIssuers) > 0)
	if err != nil {
		return nil, err
	}
	a, err := newIntrospection(c, d, cache)
	if err != nil || !next {
		return a, err
	}
	return trusting(c.TrustedIssuers, a.token, a, a), nil
}

func newIntrospection(c introspectionConfig, d Deps, cache *factsCache) (*introspection, error) {
	if err := checkScopes("required_scope", c.RequiredScope); err != nil {
		return nil, err
	}
	if c.ScopeStrategy == "" && c.IntrospectionURL == "" {
		c.ScopeStrategy = "exact"
	}
	strategy, err := newScopeStrategy(c.ScopeStrategy)
	if err != nil {
		return nil, err
	}
	a := &introspection{d: d, demands: demands{issuers: c.TrustedIssuers, audience: c.TargetAudience, required: c.RequiredScope, strategy: strategy, mismatch: forbidden}}
	if a.token, err = newTokenReader(c.TokenFrom, c.Prefix); err != nil {
		return nil, err
	}
	if a.binding, err = newBinding(c.RequireBinding, c.DPoP, &a.token, d); err != nil {
		return nil, err
	}
	if c.IntrospectionURL == "" {
		switch {
		case d.Introspector == nil:
			return nil, errors.New("introspection_url is required: no authorization server runs in this process")
		case strategy == nil && len(c.RequiredScope) > 0:
			return nil, errors.New("required_scope needs scope_strategy exact, hierarchic or wildcard with the embedded authorization server")
		}
		a.embedded = d.Introspector
		return a, nil
	}
	scope := ""
	if strategy == nil {
		scope = strings.Join(c.RequiredScope, " ")
	}
	if a.remote, err = newIntrospectionEndpoint(c, scope, d); err != nil {
		return nil, err
	}
	a.preserveHost = c.PreserveHost
	if !c.Cache.Enabled {
		return a, nil
	}
	if c.Cache.TTL <= 0 || c.Cache.MaxCost <= 0 {
		return nil, errors.New("cache.ttl and cache.max_cost must be positive")
	}
	a.cache, a.ttl = cache, time.Duration(c.Cache.TTL)
	cache.grow(uint64(c.Cache.MaxCost))
	a.identity = newIdentity("introspection", c.IntrospectionURL, scope, c.IntrospectionRequestHeaders, c.PreAuthorization, c.PreserveHost, c.Cache.TTL)
	return a, nil
}

// Authenticate asks about the request's token and checks the answer.
func (a *introspection) Authenticate(ctx context.Context, r *access.Request) (access.Subject, error) {
	token, known, err := a.accept(ctx, r)
	if err != nil {
		return access.Subject{}, a.binding.refused(r, err)
	}
	return a.binding.prove(ctx, r, token, known)
}

// Renew implements access.Lease. A cached answer holds until its time to live is over.
func (a *introspection) Renew(ctx context.Context, r *access.Request) (time.Time, error) {
	_, known, err := a.accept(ctx, r)
	if err != nil {
		return time.Time{}, err
	}
	return known.expires, nil
}

// accept has no effect beside the cache.
func (a *introspection) accept(ctx context.Context, r *access.Request) (token string, known *facts, err error) {
	token, err = a.token.read(r)
	if err != nil {
		return "", nil, err
	}
	known, err = a.facts(ctx, r, token)
	if err != nil {
		return "", nil, err
	}
	if err := a.demands.check(known, a.d.Now()); err != nil {
		return "", nil, err
	}
	return token, known, nil
}

func (a *introspection) facts(ctx context.Context, r *access.Request, token string) (*facts, error) {
	if a.embedded != nil {
		t, err := a.embedded.Introspect(ctx, token)
		if err != nil {
			return nil, undecidedToken(err)
		}
		return introspected(t)
	}
	host := ""
	if a.preserveHost {
		host = r.URL.Host
	}
	if a.cache == nil {
		t, _, err := a.remote.introspect(ctx, token, host)
		if err != nil {
			return nil, undecidedToken(err)
		}
		return introspected(t)
	}
	key := a.cache.key(a.identity, token, host)
	known := a.cache.get(key, 0, a.d.Now())
	a.d.Cache("introspection", known != nil)
	if known != nil {
		return known, nil
	}
	return a.shared(ctx, key, token, host)
}

// shared asks once for all requests that wait for the same answer.
func (a *introspection) shared(ctx context.Context, key cacheKey, token, host string) (*facts, error) {
	f, err := a.cache.load(ctx, key, a.remote.longest(), func(ctx context.Context) (f *facts, until time.Time, size int, err error) {
		t, size, err := a.remote.introspect(ctx, token, host)
		if err != nil {
			return nil, until, 0, err
		}
		if f, err = introspected(t); err != nil {
			return nil, until, 0, err
		}
		return f, earlier(a.d.Now().Add(a.ttl), f.expires), size, nil
	})
	if err != nil {
		return nil, undecidedToken(err)
	}
	return f, nil
}

func undecidedToken(err error) error {
	return undecided("introspection_failed", "the token could not be checked", err)
}

// introspected reads an introspection answer. Extra is what Oathkeeper makes of
// it: ext, and over it username, client_id, scope and aud.
func introspected(t access.Token) (*facts, error) {
	switch {
	case !t.Active:
		return nil, invalidToken("the token is not active", nil)
	case t.TokenUse != "" && t.TokenUse != "access_token", t.TokenType == "refresh_token":
		return nil, forbidden("the token is not an access token")
	case strings.EqualFold(t.TokenType, "DPoP") && t.Bound.JKT == "":
		return nil, invalidToken("the token is bound to a key that nobody names", nil)
	}
	extra := make(map[string]any, len(t.Extra)+4)
	for name, v := range t.Extra {
		extra[name] = v
	}
	extra["username"], extra["client_id"], extra["scope"] = t.Username, t.ClientID, strings.Join(t.Scope, " ")
	// Names of the server, which ext must not speak for.
	delete(extra, "aud")
	delete(extra, "authorization_details")
	if details, ok := t.Claims["authorization_details"]; ok { // RFC 9396 section 9.2
		extra["authorization_details"] = details
	}
	if len(t.Audience) > 0 {
		extra["aud"] = t.Audience
	}
	return &facts{
		subject: access.Subject{ID: t.Subject, Via: "oauth2_introspection", Extra: extra},
		issuer:  t.Issuer, audience: t.Audience, scope: t.Scope, bound: t.Bound, notBefore: t.NotBefore, expires: t.ExpiresAt,
	}, nil
}
