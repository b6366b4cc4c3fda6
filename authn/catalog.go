package authn

import (
	"crypto/rand"
	"net/http"
	"net/url"
	"time"

	"github.com/gatewarden/gatewarden/handler"
	"github.com/gatewarden/gatewarden/keys"
	"github.com/gatewarden/gatewarden/passwords"
	"github.com/gatewarden/gatewarden/relyingparty"
)

// Bounds of the caches of verified JSON Web Tokens and of clients' certificates.
const (
	verifiedBytes    = 32 << 20
	certificateBytes = 4 << 20
)

// Deps is what the authenticators work with. Every field may be left out.
type Deps struct {
	// Introspector is the embedded authorization server; nil: none runs here.
	Introspector Introspector
	// OwnKeys are the keys that the embedded server signs access tokens with; nil:
	// none runs here.
	OwnKeys KeySource
	// Keys opens the JWK sets of other issuers.
	Keys *keys.Remotes
	// HTTP makes the requests to introspection, token and session endpoints. Its redirect
	// policy is not used; its Timeout, when it has one, bounds the handlers' own.
	HTTP *http.Client
	// Replays remembers used DPoP proofs and the refresh tokens of sessions that a node
	// spends; nil: tokens that are bound to a key are refused as fault.Unavailable, and
	// sessions are renewed without asking other nodes.
	Replays ReplayStore
	// NonceKeys make and check nonces of DPoP proofs: the first makes, all check. None:
	// a random one, which other nodes do not know.
	NonceKeys [][]byte
	// CanonicalURL returns the form of a URL that a request for it has. Nil: the htu of
	// a proof must have that form.
	CanonicalURL func(raw string) (*url.URL, error)
	// Cache counts a look-up in the cache named jwt, introspection, session or
	// client_credentials.
	Cache func(cache string, hit bool)
	// Introspection counts a call of an introspection endpoint: active, inactive, error.
	Introspection func(result string)
	// Passwords checks the passwords of users; nil: one of its own.
	Passwords *passwords.Verifier
	// File is told when a file of credentials was read again, and with an error when it
	// cannot be and what it held before stays in force.
	File func(path string, err error)
	// Provider is the embedded authorization server as an OpenID provider; nil: none
	// runs here.
	Provider *relyingparty.Local
	// Logouts are the sessions that providers have ended; nil: they cannot.
	Logouts *relyingparty.Logouts
	// Secrets seal the cookies of sessions: the first seals, all open. None: sessions
	// end with the process.
	Secrets [][]byte
	// Now is the clock.
	Now func() time.Time
}

func (d Deps) withDefaults() Deps {
	if d.HTTP == nil {
		d.HTTP = &http.Client{Timeout: 30 * time.Second}
	}
	if d.Now == nil {
		d.Now = time.Now
	}
	if d.Keys == nil {
		d.Keys = keys.NewRemotes(keys.RemotesOptions{HTTP: d.HTTP, Now: d.Now})
	}
	if d.Passwords == nil {
		d.Passwords = passwords.New(passwords.Options{})
	}
	if d.File == nil {
		d.File = func(string, error) {}
	}
	if len(d.NonceKeys) == 0 {
		d.NonceKeys = [][]byte{[]byte(rand.Text())}
	}
	if d.Cache == nil {
		d.Cache = func(string, bool) {}
	}
	if len(d.Secrets) == 0 {
		d.Secrets = [][]byte{[]byte(rand.Text() + rand.Text())}
	}
	if d.Introspection == nil {
		d.Introspection = func(string) {}
	}
	return d
}

// Catalog returns every authenticator by name. Handlers of one catalog share
// caches of facts about tokens and of JWK sets.
func Catalog(d Deps) handler.Catalog[Authenticator] {
	d = d.withDefaults()
	verified, introspected, sessions, clients := newFactsCache(verifiedBytes), newFactsCache(1), newFactsCache(1), newFactsCache(1)
	certificates := newFactsCache(certificateBytes)
	return handler.Catalog[Authenticator]{
		"anonymous":    handler.Of(func() anonymousConfig { return anonymousConfig{Subject: "anonymous"} }, newAnonymous),
		"noop":         handler.Of(func() noopConfig { return noopConfig{} }, newNoop),
		"unauthorized": handler.Of(func() unauthorizedConfig { return unauthorizedConfig{} }, newUnauthorized),
		"client_certificate": handler.Of(func() clientCertificateConfig { return clientCertificateConfig{} }, func(c clientCertificateConfig) (Authenticator, error) {
			return newClientCertificate(c, d, certificates)
		}),
		"jwt": handler.Of(jwtDefaults, func(c jwtConfig) (Authenticator, error) {
			return newJWTs(c, d, verified)
		}),
		"oauth2_introspection": handler.Of(introspectionDefaults, func(c introspectionConfig) (Authenticator, error) {
			return newIntrospections(c, d, introspected)
		}),
		"oidc_session": handler.Of(oidcSessionDefaults, func(c oidcSessionConfig) (Authenticator, error) {
			return newOIDCSession(c, d)
		}),
		"cookie_session": handler.Of(cookieSessionDefaults, func(c cookieSessionConfig) (Authenticator, error) {
			return newCookieSession(c, d, sessions)
		}),
		"bearer_token": handler.Of(bearerTokenDefaults, func(c bearerTokenConfig) (Authenticator, error) {
			return newBearerToken(c, d, sessions)
		}),
		"basic_auth": handler.Of(func() basicAuthConfig { return basicAuthConfig{Realm: "gatewarden"} }, func(c basicAuthConfig) (Authenticator, error) {
			return newBasicAuth(c, d)
		}),
		"api_key": handler.Of(apiKeyDefaults, func(c apiKeyConfig) (Authenticator, error) { return newAPIKey(c, d) }),
		"oauth2_client_credentials": handler.Of(clientCredentialsDefaults, func(c clientCredentialsConfig) (Authenticator, error) {
			return newClientCredentials(c, d, clients)
		}),
	}
}
