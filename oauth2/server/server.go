// Package server is the authorization server: OAuth 2.0 (RFC 6749), OpenID Connect
// Core, introspection (RFC 7662), revocation (RFC 7009) and metadata (RFC 8414) on
// Hydra's paths.
//
// fosite parses requests and runs the grants. What it leaves to its user is here:
// fosite's storage calls only fill a unit of work, and the token endpoint passes
// that through one gate, which calls one atomic transition of the store (unit.go).
// Refresh, introspection, revocation, ID tokens and every error on the wire are
// our own. Signatures are made by the caller's rings; types of fosite and of
// go-jose v3 stay inside the package.
package server

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gorilla/mux"
	"github.com/ory/fosite"
	foauth2 "github.com/ory/fosite/handler/oauth2"
	"github.com/ory/fosite/handler/pkce"

	"github.com/gatewarden/gatewarden/dpop"
	"github.com/gatewarden/gatewarden/oauth2"
)

// The paths of the public endpoints, below the issuer.
const (
	authPath       = "/oauth2/auth"
	parPath        = "/oauth2/par"
	devicePath     = "/oauth2/device/auth"
	verifyPath     = "/oauth2/device/verify"
	tokenPath      = "/oauth2/token"
	revokePath     = "/oauth2/revoke"
	introspectPath = "/oauth2/introspect"
	logoutPath     = "/oauth2/sessions/logout"
	fallbacksPath  = "/oauth2/fallbacks/"
	registerPath   = "/oauth2/register" // of package registration
	userinfoPath   = "/userinfo"
	jwksPath       = "/.well-known/jwks.json"
	oidcPath       = "/.well-known/openid-configuration"
	metadataPath   = "/.well-known/oauth-authorization-server"
)

// Server is the authorization server. It is safe for concurrent use.
type Server struct {
	o       Options
	secure  bool   // the issuer is https
	base    string // the issuer without trailing slash
	fosite  *fosite.Fosite
	clients *clientCache
	keySets *clientKeySets
	// strangersKeySets are apart, so that none comes from an address that only an operator
	// may name.
	strangersKeySets *clientKeySets
	proofs           *dpop.Checker
	tokens           *tokenCache
	codes            opaque
	deviceCodes      opaque
	backchannelIDs   opaque
	accessTokens     opaque
	refreshTokens    opaque
	sessionIDs       opaque
	jwks             *document
	discovery        *document
	scopes           fosite.ScopeStrategy
	notices          *notices
}

var (
	_ oauth2.LoginApp  = (*Server)(nil)
	_ oauth2.LogoutApp = (*Server)(nil)
	_ oauth2.DeviceApp = (*Server)(nil)
)

// New returns a server. An error names the option that is wrong.
func New(options Options) (*Server, error) {
	o, err := options.complete()
	if err != nil {
		return nil, err
	}
	s := &Server{
		o: o, secure: strings.HasPrefix(o.Issuer, "https://"), base: strings.TrimSuffix(o.Issuer, "/"),
		codes: newOpaque("ory_ac_", o.Secrets), deviceCodes: newOpaque("ory_dc_", o.Secrets), backchannelIDs: newOpaque("ory_br_", o.Secrets), accessTokens: newOpaque("ory_at_", o.Secrets),
		refreshTokens: newOpaque("ory_rt_", o.Secrets), sessionIDs: newOpaque("session", o.Secrets),
		scopes: fosite.ExactScopeStrategy,
	}
	if o.ScopeStrategy == WildcardScopes {
		s.scopes = fosite.WildcardScopeStrategy
	}
	s.clients = newClientCache(o.Store.Client, o.Documents, o.Metrics, o.FreshClients)
	s.keySets, s.strangersKeySets = newClientKeySets(o.ClientKeys, 10_000), newClientKeySets(o.Strangers.Keys, 1000)
	if s.proofs, err = newProofs(o); err != nil {
		return nil, err
	}
	s.tokens = newTokenCache(o.CacheSize)
	s.jwks = &document{build: s.keySet, now: o.Now}
	s.discovery = &document{build: s.metadata, now: o.Now}
	s.fosite = s.provider()
	s.warnLegacy()
	s.notices = newNotices(s, o.HTTP, o.Strangers.HTTP)
	return s, nil
}

// provider wires fosite: its code, PKCE and client credentials handlers, and our
// refresh, token exchange, device, JWT bearer and ID token handlers. Whatever can be set is set, because fosite fills
// in defaults lazily, which would be a data race.
func (s *Server) provider() *fosite.Fosite {
	config := &fosite.Config{
		AccessTokenLifespan:            s.o.Lifespans.AccessToken,
		RefreshTokenLifespan:           s.o.Lifespans.RefreshToken,
		AuthorizeCodeLifespan:          s.o.Lifespans.AuthorizeCode,
		ScopeStrategy:                  s.scopes,
		AudienceMatchingStrategy:       fosite.ExactAudienceMatchingStrategy,
		RedirectSecureChecker:          func(_ context.Context, u *url.URL) bool { return s.redirectIsSecure(u) },
		EnforcePKCE:                    s.o.PKCE == PKCEForAll,
		EnforcePKCEForPublicClients:    true,
		EnablePKCEPlainChallengeMethod: false,
		MinParameterEntropy:            1, // parseAuthorize has the real rule
		RefreshTokenScopes:             []string{"offline", "offline_access"},
		SanitationWhiteList:            []string{"redirect_uri", "code_challenge", "code_challenge_method", "nonce", "acr_values", "dpop_jkt"},
		ClientAuthenticationStrategy:   s.authenticatedClient,
		ClientSecretsHasher:            noHasher{},
	}
	storage := &storage{s: s}
	strategy := &strategy{s: s}
	code := &foauth2.AuthorizeExplicitGrantHandler{
		AccessTokenStrategy: strategy, RefreshTokenStrategy: strategy, AuthorizeCodeStrategy: strategy,
		CoreStorage: storage, TokenRevocationStorage: storage, Config: config,
	}
	proof := &pkce.Handler{AuthorizeCodeStrategy: strategy, Storage: storage, Config: config}
	config.AuthorizeEndpointHandlers = fosite.AuthorizeEndpointHandlers{code, proof}
	config.TokenEndpointHandlers = fosite.TokenEndpointHandlers{
		code,
		proof,
		&foauth2.ClientCredentialsGrantHandler{
			HandleHelper: &foauth2.HandleHelper{AccessTokenStrategy: strategy, AccessTokenStorage: storage, Config: config},
			Config:       config,
		},
		&refreshGrant{s: s, strategy: strategy},
		&exchangeGrant{grant{s, strategy, exchangeGrantType}},
		&deviceGrant{grant{s, strategy, deviceGrantType}, "device_code", s.deviceCodes, s.o.Device.Interval},
		&deviceGrant{grant{s, strategy, backchannelGrantType}, "auth_req_id", s.backchannelIDs, s.o.Backchannel.Interval},
		&jwtBearerGrant{grant{s, strategy, jwtBearerGrantType}},
		&passwordGrant{grant{s, strategy, passwordGrantType}},
		&idTokens{s: s},
	}
	return fosite.NewOAuth2Provider(storage, config)
}

// noHasher stands where fosite wants a password hasher; clients are authenticated
// by authenticateClient.
type noHasher struct{}

func (noHasher) Compare(context.Context, []byte, []byte) error { return fosite.ErrInvalidClient }
func (noHasher) Hash(context.Context, []byte) ([]byte, error)  { return nil, fosite.ErrServerError }

// Public returns the handler of the public listener.
func (s *Server) Public() http.Handler {
	r := mux.NewRouter()
	get, post, both := []string{"GET", "HEAD"}, []string{"POST"}, []string{"GET", "POST"}
	route := func(path string, h http.HandlerFunc, methods []string) {
		r.HandleFunc(path, h).Methods(methods...)
	}
	route(authPath, s.authorize, both)
	route(parPath, s.push, post)
	route(devicePath, s.device, post)
	if s.o.Backchannel.Person != nil {
		route(backchannelPath, s.backchannel, post)
	}
	route(verifyPath, s.verifyDevice, both)
	route(tokenPath, s.token, post)
	route(revokePath, s.revoke, post)
	route(introspectPath, s.introspectAsClient, post)
	route(userinfoPath, s.userinfo, both)
	route(logoutPath, s.logout, both)
	route(fallbacksPath+"device", s.deviceFallback, get)
	route(fallbacksPath+"{page:login|consent|logout|logout/callback|device/done|error}", s.fallback, get)
	documents := map[string]*document{jwksPath: s.jwks, oidcPath: s.discovery, metadataPath: s.discovery}
	if u, _ := url.Parse(s.o.Issuer); strings.Trim(u.Path, "/") != "" {
		// RFC 8414 section 3.1: the well-known part comes before the issuer's path.
		documents[metadataPath+strings.TrimSuffix(u.Path, "/")] = s.discovery
	}
	for path, d := range documents {
		route(path, d.ServeHTTP, get)
	}
	r.NotFoundHandler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		s.writeError(w, wireError{Status: http.StatusNotFound, Code: "not_found", Description: "There is no such endpoint."})
	})
	r.MethodNotAllowedHandler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		s.writeError(w, wireError{Status: http.StatusMethodNotAllowed, Code: "invalid_request", Description: "The endpoint does not know this HTTP method."})
	})
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		// Documents go without the router, which would cost more than they do.
		if d := documents[q.URL.Path]; d != nil && q.Method == http.MethodGet {
			d.ServeHTTP(w, q)
			return
		}
		r.ServeHTTP(w, q)
	})
}

// Close stops the goroutines of the caches, and waits shortly for clients that are being
// told of logouts. The handlers must not be used after it.
func (s *Server) Close() {
	s.notices.close()
	s.clients.cache.StopAllGoroutines()
	s.keySets.open.StopAllGoroutines()
	s.strangersKeySets.open.StopAllGoroutines()
	s.tokens.cache.StopAllGoroutines()
}

// now is the server's clock in the precision that tokens have.
func (s *Server) now() time.Time { return s.o.Now().UTC().Truncate(time.Second) }
