package server

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/maypok86/otter/v2"
	"github.com/ory/fosite"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/keys"
	"github.com/gatewarden/gatewarden/oauth2"
)

// cacheFor bounds how long a cached client or token is believed without asking
// the store again, should a change of another node never be heard of.
const cacheFor = time.Minute

// client is a registered client as fosite sees it.
type client struct {
	oauth2.Client
	scopes fosite.Arguments
	keys   []jose.JSONWebKey // of jwks
	// spans are the client's own lifespans by grant type and token, where it has any.
	spans map[string]time.Duration
}

var (
	_ fosite.Client             = (*client)(nil)
	_ fosite.ResponseModeClient = (*client)(nil)
)

func newClient(c oauth2.Client) *client {
	wrapped := &client{Client: c, scopes: strings.Fields(c.Scope)}
	if len(c.JWKS) > 0 {
		wrapped.keys, _ = keys.ParseSet(c.JWKS) // which was checked when it was registered
	}
	for key, text := range map[string]string{
		"authorization_code access_token":    c.AuthorizationCodeGrantAccess,
		"authorization_code id_token":        c.AuthorizationCodeGrantID,
		"authorization_code refresh_token":   c.AuthorizationCodeGrantRefresh,
		"client_credentials access_token":    c.ClientCredentialsGrantAccess,
		jwtBearerGrantType + " access_token": c.JWTBearerGrantAccess,
		deviceGrantType + " access_token":    c.DeviceGrantAccess,
		deviceGrantType + " id_token":        c.DeviceGrantID,
		deviceGrantType + " refresh_token":   c.DeviceGrantRefresh,
		"implicit access_token":              c.ImplicitGrantAccess,
		"implicit id_token":                  c.ImplicitGrantID,
		"password access_token":              c.PasswordGrantAccess,
		"password refresh_token":             c.PasswordGrantRefresh,
		"refresh_token access_token":         c.RefreshTokenGrantAccess,
		"refresh_token id_token":             c.RefreshTokenGrantID,
		"refresh_token refresh_token":        c.RefreshTokenGrantRefresh,
	} {
		if d, err := time.ParseDuration(text); err == nil && d > 0 {
			if wrapped.spans == nil {
				wrapped.spans = map[string]time.Duration{}
			}
			wrapped.spans[key] = d
		}
	}
	return wrapped
}

// lifespan returns how long a token of the client lives.
func (c *client) lifespan(grantType, token string, fallback time.Duration) time.Duration {
	if c.spans == nil {
		return fallback
	}
	if d, ok := c.spans[grantType+" "+token]; ok {
		return d
	}
	return fallback
}

// allowsGrant reports whether the client registered the grant type, exactly. The
// default is RFC 7591's: authorization_code.
func (c *client) allowsGrant(grantType string) bool {
	if len(c.GrantTypes) == 0 {
		return grantType == "authorization_code"
	}
	return slices.Contains(c.GrantTypes, grantType)
}

func (c *client) GetID() string                 { return c.ID }
func (c *client) GetHashedSecret() []byte       { return nil }
func (c *client) GetRedirectURIs() []string     { return c.RedirectURIs }
func (c *client) GetScopes() fosite.Arguments   { return c.scopes }
func (c *client) IsPublic() bool                { return c.Public() }
func (c *client) GetAudience() fosite.Arguments { return c.Audience }

// GetGrantTypes returns the grant types that the server knows, in their exact
// spelling, because fosite compares them without regard to case.
func (c *client) GetGrantTypes() (known fosite.Arguments) {
	for _, g := range append([]string{passwordGrantType, backchannelGrantType}, grantTypes...) {
		if c.allowsGrant(g) {
			known = append(known, g)
		}
	}
	return known
}

// GetResponseTypes returns all that fosite is asked for; checkResponseType has looked at
// what is registered.
func (*client) GetResponseTypes() fosite.Arguments { return fosite.Arguments{"code"} }

func (c *client) GetResponseModes() []fosite.ResponseModeType {
	return []fosite.ResponseModeType{fosite.ResponseModeQuery, fosite.ResponseModeFragment, fosite.ResponseModeFormPost}
}

// clientCache keeps clients so that issuing a token does not read the client's
// row every time. A change evicts; a load that a change overtook is not kept.
type clientCache struct {
	load func(context.Context, string) (oauth2.Client, error)
	// documents are the clients that are not stored; nil: there are none.
	documents Documents
	cache     *otter.Cache[string, *client]
	metrics   Metrics
	fresh     func() bool
	epoch     atomic.Uint64
	mu        sync.Mutex
}

func newClientCache(load func(context.Context, string) (oauth2.Client, error), documents Documents, m Metrics, fresh func() bool) *clientCache {
	return &clientCache{load: load, documents: documents, metrics: m, fresh: fresh, cache: otter.Must(&otter.Options[string, *client]{
		MaximumSize: 10_000, ExpiryCalculator: otter.ExpiryWriting[string, *client](cacheFor),
	})}
}

// get returns fault.NotFound for an unknown client. This is the one place where a client
// comes from a metadata document: when none is stored under the id, so that an operator
// can put one in its place.
func (c *clientCache) get(ctx context.Context, id string) (*client, error) {
	found, err := c.stored(ctx, id)
	if c.documents == nil || !fault.Is(err, fault.NotFound) || !c.documents.Names(id) {
		return found, err
	}
	epoch := c.epoch.Load()
	described, err := c.documents.Client(ctx, id)
	if err != nil {
		return nil, err
	}
	return c.keep(id, newClient(described), epoch), nil
}

// stored is get without asking for a document. What was found at one lately may come
// back.
func (c *clientCache) stored(ctx context.Context, id string) (*client, error) {
	found, ok := c.cache.GetIfPresent(id)
	ok = ok && c.fresh()
	c.metrics.Cache("clients", ok)
	if ok {
		return found, nil
	}
	epoch := c.epoch.Load()
	stored, err := c.load(ctx, id)
	if err != nil {
		return nil, err
	}
	return c.keep(id, newClient(stored), epoch), nil
}

// keep remembers a client that was loaded in the given epoch.
func (c *clientCache) keep(id string, found *client, epoch uint64) *client {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.epoch.Load() == epoch {
		c.cache.Set(id, found)
	}
	return found
}

// holds reports whether a client may have what it was issued: it is there and not
// disabled. Nobody is asked for a document: tokens of such a client end with their time,
// with its name being allowed, or with an operator's client of its id.
func (c *clientCache) holds(ctx context.Context, id string) (bool, error) {
	found, err := c.stored(ctx, id)
	switch {
	case fault.Is(err, fault.NotFound):
		return c.documents != nil && c.documents.Names(id), nil
	case err != nil:
		return false, err
	}
	return !found.Disabled, nil
}

func (c *clientCache) evict(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.epoch.Add(1)
	c.cache.Invalidate(id)
}

func (c *clientCache) evictAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.epoch.Add(1)
	c.cache.InvalidateAll()
}
