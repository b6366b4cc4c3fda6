package mutators

import (
	"net/http"
	"time"

	"github.com/gatewarden/gatewarden/handler"
)

// Deps are what mutators need.
type Deps struct {
	// Signer signs the tokens of id_token with the gateway's own keys. Nil: an
	// id_token without jwks_url is refused at load.
	Signer Signer
	// LoadSigner returns a signer over the private key set at location, the
	// jwks_url of an id_token. Its Sign takes an empty alg, which means that of the
	// first private key. Nil: jwks_url is refused at load.
	LoadSigner func(location string) (Signer, error)
	// Tokens keeps minted tokens while they are fresh. Nil: every request mints.
	Tokens *TokenCache
	// Observe is told of every look-up in Tokens; may be nil.
	Observe func(cache string, hit bool)
	// HTTP makes the requests to other services; nil: a client without guard.
	HTTP *http.Client
	// OwnServer reaches the embedded authorization server, whatever the host; nil: a
	// token_url is required.
	OwnServer *http.Client
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Catalog returns the mutators by name. Hydrators of one catalog share a cache.
func Catalog(d Deps) handler.Catalog[Mutator] {
	hydrated := newHydrations(hydrationBytes)
	return handler.Catalog[Mutator]{
		"noop":                      handler.Of(func() NoopConfig { return NoopConfig{} }, newNoop),
		"header":                    handler.Of(func() HeaderConfig { return HeaderConfig{} }, newHeader),
		"cookie":                    handler.Of(func() CookieConfig { return CookieConfig{} }, newCookie),
		"id_token":                  handler.Of(defaultIDToken, func(c IDTokenConfig) (Mutator, error) { return newIDToken(d, c) }),
		"hydrator":                  handler.Of(defaultHydrator, func(c HydratorConfig) (Mutator, error) { return newHydrator(d, hydrated, c) }),
		"token_exchange":            handler.Of(defaultTokenExchange, func(c TokenExchangeConfig) (Mutator, error) { return newTokenExchange(d, c) }),
		"oauth2_client_credentials": handler.Of(defaultClientCredentials, func(c ClientCredentialsConfig) (Mutator, error) { return newClientCredentials(d, c) }),
		"client_certificate":        handler.Of(func() ClientCertificateConfig { return ClientCertificateConfig{} }, newClientCertificate),
	}
}
