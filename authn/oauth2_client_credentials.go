package authn

import (
	"context"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4/json"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/handler"
	"github.com/gatewarden/gatewarden/outbound"
)

// clientCredentialsConfig configures the authenticator oauth2_client_credentials.
type clientCredentialsConfig struct {
	// TokenURL is a token endpoint (RFC 6749 section 3.2). Required.
	TokenURL string `json:"token_url"`
	// RequiredScope is what the client must be able to get a token for.
	RequiredScope []string `json:"required_scope"`
	// Retry repeats requests that failed or were answered with 5xx.
	Retry outbound.Retry `json:"retry"`
	// Timeout bounds each single request.
	Timeout handler.Duration `json:"timeout"`
	// Cache remembers clients that got a token.
	Cache clientCacheConfig `json:"cache"`
}

type clientCacheConfig struct {
	Enabled bool `json:"enabled"`
	// TTL bounds how long a client is remembered, and so how late it counts that it was
	// deleted; the expiry of the token that it got bounds it too.
	TTL handler.Duration `json:"ttl"`
	// MaxTokens is how many clients are remembered. All rules share one cache, which
	// has the largest size that is configured.
	MaxTokens int64 `json:"max_tokens"`
}

func clientCredentialsDefaults() clientCredentialsConfig {
	return clientCredentialsConfig{Retry: outbound.DefaultRetry(), Timeout: handler.Duration(5 * time.Second),
		Cache: clientCacheConfig{TTL: handler.Duration(time.Minute), MaxTokens: 1000}}
}

// clientWeight is what one remembered client takes of the cache's bound of bytes.
const clientWeight = 1 << 10

// clientCredentials authenticates OAuth 2.0 clients that send their id and secret as
// Basic credentials, by getting a token with them (RFC 6749 section 4.4). The token
// itself is dropped.
type clientCredentials struct {
	c        clientCredentialsConfig
	http     *http.Client
	identity identity
	cache    *factsCache // nil: a token is got for every request
	d        Deps
}

const clientChallenge = "Basic"

func newClientCredentials(c clientCredentialsConfig, d Deps, cache *factsCache) (Authenticator, error) {
	if err := checkURL("token_url", c.TokenURL); err != nil {
		return nil, err
	}
	if err := checkScopes("required_scope", c.RequiredScope); err != nil {
		return nil, err
	}
	if c.Timeout <= 0 {
		return nil, errors.New("timeout must be positive")
	}
	a := &clientCredentials{c: c, http: outbound.Direct(d.HTTP), d: d}
	if !c.Cache.Enabled {
		return a, nil
	}
	if c.Cache.TTL <= 0 || c.Cache.MaxTokens <= 0 || c.Cache.MaxTokens > 1<<30 {
		return nil, errors.New("cache.ttl and cache.max_tokens must be positive")
	}
	a.cache = cache
	cache.grow(uint64(c.Cache.MaxTokens) * clientWeight)
	a.identity = newIdentity("oauth2_client_credentials", c)
	return a, nil
}

var (
	_ SchemeReader  = (*clientCredentials)(nil)
	_ Challengeable = (*clientCredentials)(nil)
	_ access.Lease  = (*clientCredentials)(nil)
)

// Schemes implements SchemeReader.
func (a *clientCredentials) Schemes() []string { return []string{"Basic"} }

// Challenges implements Challengeable.
func (a *clientCredentials) Challenges() []string { return []string{clientChallenge} }

// Authenticate returns ErrNoCredentials when there are no Basic credentials.
func (a *clientCredentials) Authenticate(ctx context.Context, r *access.Request) (access.Subject, error) {
	f, err := a.accept(ctx, r)
	if err != nil {
		return access.Subject{}, err
	}
	return f.subject, nil
}

// Renew implements access.Lease: a client ends when it can get no more tokens. The life
// of the one that it got says nothing of that.
func (a *clientCredentials) Renew(ctx context.Context, r *access.Request) (time.Time, error) {
	_, err := a.accept(ctx, r)
	return time.Time{}, err
}

func (a *clientCredentials) accept(ctx context.Context, r *access.Request) (*facts, error) {
	id, secret, err := basicCredentials(r, clientChallenge)
	if err != nil {
		return nil, err
	}
	// Both were encoded before they were put together (RFC 6749 section 2.3.1).
	if id, err = url.QueryUnescape(id); err == nil {
		secret, err = url.QueryUnescape(secret)
	}
	if err != nil || id == "" {
		return nil, badCredentials("the client id or secret is malformed", clientChallenge)
	}
	f, err := a.facts(ctx, id, secret)
	if err != nil {
		return nil, undecided("token_endpoint_failed", "the client could not be checked", err)
	}
	return f, nil
}

func (a *clientCredentials) facts(ctx context.Context, id, secret string) (*facts, error) {
	if a.cache == nil {
		return a.ask(ctx, id, secret)
	}
	key := a.cache.key(a.identity, id, secret)
	known := a.cache.get(key, 0, a.d.Now())
	a.d.Cache("client_credentials", known != nil)
	if known != nil {
		return known, nil
	}
	return a.cache.load(ctx, key, a.c.Retry.Longest(time.Duration(a.c.Timeout)), func(ctx context.Context) (*facts, time.Time, int, error) {
		f, err := a.ask(ctx, id, secret)
		if err != nil {
			return nil, time.Time{}, 0, err
		}
		return f, earlier(a.d.Now().Add(time.Duration(a.c.Cache.TTL)), f.expires), len(id), nil
	})
}

func (a *clientCredentials) ask(ctx context.Context, id, secret string) (f *facts, err error) {
	err = a.c.Retry.Do(ctx, func(ctx context.Context) (again bool, err error) {
		f, again, err = a.once(ctx, id, secret)
		return again, err
	})
	return f, err
}

// once makes one token request and says whether another one is promising.
func (a *clientCredentials) once(ctx context.Context, id, secret string) (f *facts, again bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(a.c.Timeout))
	defer cancel()
	form := url.Values{"grant_type": {"client_credentials"}}
	if len(a.c.RequiredScope) > 0 {
		form.Set("scope", strings.Join(a.c.RequiredScope, " "))
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.c.TokenURL, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, false, fmt.Errorf("token_url: %w", err)
	}
	req.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(secret))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	answer, again, err := outbound.Do(a.http, req)
	switch status := answer.Status; {
	case status == http.StatusTooManyRequests:
		return nil, false, outbound.RateLimited("token_endpoint_rate_limited", &answer)
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return nil, false, badCredentials("the client is unknown, its secret is wrong, or it may not have such tokens", clientChallenge)
	case err != nil:
		return nil, again, fmt.Errorf("token_url: %w", err)
	case status == http.StatusBadRequest:
		return nil, false, a.refused(answer.Body)
	case !answer.OK():
		return nil, status >= 500, fmt.Errorf("token_url answered %d", status)
	}
	f, err = a.read(id, answer.Body)
	return f, false, err
}

// refused reads an error answer (RFC 6749 section 5.2): some blame the client, the
// others the request, which is ours.
func (a *clientCredentials) refused(raw []byte) error {
	var answer struct {
		Error string `json:"error"`
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return errors.New("token_url answered 400 without a reason")
	}
	switch answer.Error {
	case "invalid_client", "invalid_grant":
		return badCredentials("the client is unknown or its secret is wrong", clientChallenge)
	case "unauthorized_client", "access_denied":
		return fault.New(fault.Forbidden, "unauthorized_client", "the client may not have such tokens")
	case "invalid_scope":
		return fault.New(fault.Forbidden, "insufficient_scope", "the client lacks a required scope")
	}
	return errors.New("token_url answered 400 and does not blame the client")
}

// read reads a token answer (RFC 6749 section 5.1).
func (a *clientCredentials) read(id string, raw []byte) (*facts, error) {
	var answer struct {
		AccessToken string  `json:"access_token"`
		ExpiresIn   any     `json:"expires_in"`
		Scope       *string `json:"scope"`
	}
	if !stdjson.Valid(raw) {
		return nil, errors.New("token_url: the answer is not JSON")
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return nil, fmt.Errorf("token_url: the answer is not valid: %w", err)
	}
	if answer.AccessToken == "" {
		return nil, errors.New("token_url: the answer has no access_token")
	}
	// Without the member, all that was asked for was granted.
	if answer.Scope != nil {
		granted := strings.Fields(*answer.Scope)
		for _, scope := range a.c.RequiredScope {
			if !slices.Contains(granted, scope) {
				return nil, fault.New(fault.Forbidden, "insufficient_scope", "the client lacks a required scope")
			}
		}
	}
	f := &facts{subject: access.Subject{ID: id, Via: "oauth2_client_credentials"}}
	if seconds, ok := answer.ExpiresIn.(float64); ok && seconds > 0 {
		f.expires = a.d.Now().Add(time.Duration(min(seconds, 1e9)) * time.Second)
	}
	return f, nil
}
