package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/keys"
	"github.com/gatewarden/gatewarden/oauth2"
	"github.com/gatewarden/gatewarden/oauth2/details"
	"github.com/gatewarden/gatewarden/users"
)

// Store is what the endpoints keep. store/sql implements it.
type Store interface {
	Client(ctx context.Context, id string) (oauth2.Client, error)
	oauth2.TokenStore
	oauth2.FlowStore
	oauth2.SessionStore
	oauth2.ConsentStore
	oauth2.ReplayStore
	users.AttemptStore
	TrustGrants(ctx context.Context, issuer string, limit, offset int) ([]oauth2.TrustGrant, error)
}

// Signer is a ring of signing keys.
type Signer interface {
	// Sign returns payload as a compact JWS, signed by the current key of alg, with
	// the header members kid and typ. The key is published until expires, the end of
	// what payload says; zero: it is looked at at once.
	Sign(ctx context.Context, alg, typ string, payload []byte, expires time.Time) (string, error)
	// Algorithms returns those that Sign has a key for, or makes one for, sorted.
	Algorithms() []string
	// Public returns the public halves of the current, the coming and the past keys
	// that still verify. Every key has kid and alg.
	Public() jose.JSONWebKeySet
	// Verify returns the payload of a compact JWS that the ring signed and whose typ
	// is one of the given ones; fault.Unauthenticated for any other string.
	Verify(ctx context.Context, compact string, typ ...string) ([]byte, error)
}

// SecretVerifier compares a client secret with what is stored of it.
type SecretVerifier interface {
	// VerifyAny returns nil for a secret of which one of the hashes was made,
	// fault.Unauthenticated for a wrong one, and another error when it could not be
	// found out.
	VerifyAny(ctx context.Context, hashes []string, plain string) error
}

// PAR is about pushed authorization requests (RFC 9126).
type PAR struct {
	// Required refuses every request that was not pushed.
	Required bool
	// Lifespan of a pushed request until the browser comes; default 1m.
	Lifespan time.Duration
}

// Device is about the grant of devices without a browser (RFC 8628).
type Device struct {
	Lifespan time.Duration // of user and device codes; default 10m
	Interval time.Duration // between two polls; default 5s
}

// Backchannel is about requests for people who are elsewhere (OpenID CIBA Core, poll
// mode).
type Backchannel struct {
	// Person returns the subject that a login_hint names, or fault.NotFound; nil: there are
	// no such requests.
	Person   func(ctx context.Context, loginHint string) (subject string, err error)
	Lifespan time.Duration // of a request; default 5m
	Interval time.Duration // between two polls; default 5s
}

// Legacy switches on what RFC 9700 advises against and OAuth 2.1 has no more, for
// certification and migration. Each client must have registered it, too. The zero value:
// nothing.
type Legacy struct {
	Implicit bool // response types id_token, token, id_token token
	Hybrid   bool // response types code id_token, code token, code id_token token
	// Password checks the password of the password grant (RFC 6749 section 4.3); nil: the
	// grant is off. clientID is who asks, for limits on guessing. Errors:
	// fault.Unauthenticated for a wrong login or password, fault.RateLimited for too many.
	Password func(ctx context.Context, clientID, login, password string) (PasswordLogin, error)
}

// PasswordLogin is who logged in with a password.
type PasswordLogin struct {
	Subject, ACR string
	AMR          []string
	// Claims are those of the granted scopes, for the ID token; nil: none.
	Claims func(scopes []string) map[string]any
}

// RefreshGrace is for clients that refresh at several places at once. Zero: a refresh
// token that is used again ends its family.
type RefreshGrace struct {
	Period time.Duration // at most 5m
	Reuses int           // within Period; 0: any number
}

// DPoP says which proofs are good (RFC 9449).
type DPoP struct {
	Algorithms     []string      // default: ES256, ES384, ES512, EdDSA, PS256, RS256
	MaxAge, Leeway time.Duration // of iat; default 1m and 10s
	// NonceTTL switches nonces on and is how long one is good; 0: none are asked for.
	NonceTTL  time.Duration
	NonceKeys [][]byte // the first makes, all check; required with NonceTTL
}

// ClientAssertions says which client assertions are good (RFC 7523).
type ClientAssertions struct {
	Audience AssertionAudience
	// MaxLifespan bounds how far exp may be away; default 1h.
	MaxLifespan time.Duration
}

// The ways to write an access token.
const (
	Opaque = "opaque" // default
	JWT    = "jwt"    // RFC 9068
)

// The ways to compare a requested scope with the client's.
const (
	ExactScopes    = "exact"    // default
	WildcardScopes = "wildcard" // foo.* covers foo.bar
)

// PKCE says which clients must use RFC 7636. Only S256 is known, and a challenge
// that was sent is always enforced.
type PKCE int

// The choices of PKCE.
const (
	PKCEForAll PKCE = iota
	PKCEForPublicClients
)

// URLs are where browsers are sent. An empty one means a built-in page that says
// which setting is missing.
type URLs struct {
	Login, Consent, Logout, Error string
	// PostLogoutRedirect is where a logout without post_logout_redirect_uri ends.
	PostLogoutRedirect string
	// DeviceVerification is where people enter the codes of devices; DeviceSuccess where
	// they end.
	DeviceVerification, DeviceSuccess string
}

// Lifespans of what the server makes. Zero means the default.
type Lifespans struct {
	AccessToken   time.Duration // 1h
	RefreshToken  time.Duration // 720h; negative: they do not expire
	IDToken       time.Duration // 1h
	AuthorizeCode time.Duration // 10m
	LoginConsent  time.Duration // 30m, from the authorization request to the code
	LoginSession  time.Duration // 720h, also the upper limit of remember_for
}

// Cookies are options of the two cookies. With an https issuer both are Secure,
// and without a Domain their names start with __Host-.
type Cookies struct {
	Domain   string
	SameSite http.SameSite // default Lax
}

// Metrics are called when something countable happens. Nil members are skipped.
type Metrics struct {
	TokenIssued   func(grantType, tokenType string)
	Introspection func(result string) // active, inactive, error
	Cache         func(cache string, hit bool)
	OAuth2        func(endpoint, errorCode string) // empty code: success
}

// Documents finds clients by what is at their ids (draft-ietf-oauth-client-id-metadata-document).
type Documents interface {
	// Names reports whether an id may be one of such a client; it asks nobody.
	Names(id string) bool
	// Client returns fault.NotFound, with a text for who wrote the document, when there is
	// no usable one, and fault.Unavailable when it could not be found out.
	Client(ctx context.Context, id string) (oauth2.Client, error)
}

// Strangers are how what is registered by somebody unknown is asked (oauth2.Client.Stranger):
// by who refuses addresses that are not public.
type Strangers struct {
	// Keys fetches key sets (jwks_uri); nil: none is fetched.
	Keys *keys.Remotes
	// HTTP tells of logouts; nil: nobody is told.
	HTTP *http.Client
}

// Options of New. Issuer, Store, IDTokens, AccessTokens, ClientSecrets and
// Secrets are required.
type Options struct {
	// Issuer is the URL that names the server, used exactly as it is written. The
	// endpoints lie below it.
	Issuer string
	URLs   URLs
	Store  Store
	// IDTokens and AccessTokens sign; they may be the same ring.
	IDTokens, AccessTokens Signer
	// IDTokenAlg is the JWS algorithm of clients that registered none; default RS256
	// (OpenID Connect Core section 15.1 wants every server to have it).
	IDTokenAlg string
	// AccessTokenAlg is the JWS algorithm of JWT access tokens; default RS256.
	AccessTokenAlg string
	Subjects       Subjects
	Hooks          Hooks
	// TopLevelClaims of what consents and hooks say of access tokens stand in JWT access
	// tokens themselves as well as in ext, or with TopLevelClaimsOnly there is no ext.
	TopLevelClaims     []string
	TopLevelClaimsOnly bool
	ClientSecrets      SecretVerifier
	// Subject is asked before a code is redeemed: fault.NotFound or fault.Forbidden for
	// a person who must not have tokens any more. Nil: everybody may.
	Subject          func(ctx context.Context, id string) error
	ClientAssertions ClientAssertions
	// ClientKeys fetches the key sets that operators registered for clients by address
	// (jwks_uri); nil: none is fetched, and such clients cannot authenticate.
	ClientKeys *keys.Remotes
	// Documents are the clients whose id is the address of their metadata; nil: there are
	// none.
	Documents Documents
	// Registration says that clients can register themselves (package registration).
	Registration bool
	// Strangers are asked by clients of their own.
	Strangers Strangers
	// Certificate returns the certificate that the client of a request has shown; nil:
	// none is ever there.
	Certificate func(ctx context.Context) *access.ClientCertificate
	PAR         PAR
	Device      Device
	Legacy      Legacy
	Backchannel Backchannel
	// Details are the types of authorization_details (RFC 9396); nil: there are none.
	Details *details.Types
	// RefreshGrace lets clients use a rotated refresh token again for a while.
	RefreshGrace RefreshGrace
	// JWTBearerMaxLifespan bounds how far the exp of an assertion that buys a token may be
	// away; default 720h, Hydra's.
	JWTBearerMaxLifespan time.Duration
	// DPoP says which proofs of possession are good; Algorithms, MaxAge and Nonce have
	// the defaults of the configuration.
	DPoP DPoP
	// CanonicalURL returns the form of a URL that a request for it has, for the htu of
	// proofs; nil: htu must be in that form.
	CanonicalURL func(raw string) (*url.URL, error)
	// DummySecretHash is what the secret of an unknown client is compared with, so
	// that the answer takes as long as for a known one.
	DummySecretHash string
	// Secrets key the opaque tokens, codes and session cookies: the first signs, all
	// verify. Each has at least 16 bytes.
	Secrets             [][]byte
	Lifespans           Lifespans
	AccessTokenStrategy string
	ScopeStrategy       string
	PKCE                PKCE
	// GrantAllowedScope gives a client_credentials request without scope every scope
	// that the client has.
	GrantAllowedScope bool
	Cookies           Cookies
	// LegacyErrors adds error_hint, error_verbose and status_code to errors, as Hydra 1 did.
	LegacyErrors bool
	// MTLS is the URL below which clients that show certificates find the endpoints that
	// ask for them (RFC 8705 section 5); empty: below Issuer, as everybody.
	MTLS string
	// CacheSize is how many introspected tokens are kept in memory; default 100 000.
	CacheSize int
	// FreshClients and FreshTokens report whether changes that other nodes made are heard
	// of in time, so that what is cached may be believed. Nil: always.
	FreshClients, FreshTokens func() bool
	Metrics                   Metrics
	// HTTP tells clients of logouts. Redirects are not followed. Nil: a client of its own.
	HTTP *http.Client
	Log  *slog.Logger
	Now  func() time.Time
}

// complete returns the options with defaults filled in, or an error that names
// the field that is wrong.
func (o Options) complete() (Options, error) {
	issuer, err := url.Parse(o.Issuer)
	if err != nil || issuer.Host == "" || (issuer.Scheme != "https" && issuer.Scheme != "http") ||
		issuer.RawQuery != "" || issuer.Fragment != "" || issuer.User != nil {
		return o, fmt.Errorf("issuer %q: must be an http or https URL without query and fragment", o.Issuer)
	}
	o.MTLS = strings.TrimSuffix(o.MTLS, "/")
	for name, u := range map[string]string{"self.mtls": o.MTLS, "login": o.URLs.Login, "consent": o.URLs.Consent, "logout": o.URLs.Logout,
		"error": o.URLs.Error, "post_logout_redirect": o.URLs.PostLogoutRedirect,
		"device.verification": o.URLs.DeviceVerification, "device.success": o.URLs.DeviceSuccess} {
		if parsed, err := url.Parse(u); u != "" && (err != nil || parsed.Scheme == "") {
			return o, fmt.Errorf("urls.%s %q: must be an absolute URL", name, u)
		}
	}
	switch {
	case o.Store == nil:
		return o, errors.New("store: is required")
	case o.IDTokens == nil || o.AccessTokens == nil:
		return o, errors.New("signing rings: are required")
	case (o.Hooks.Token != nil || o.Hooks.Refresh != nil) && o.Hooks.HTTP == nil:
		return o, errors.New("hooks: an HTTP client is required")
	case o.ClientSecrets == nil:
		return o, errors.New("client secret verifier: is required")
	case len(o.Secrets) == 0:
		return o, errors.New("secrets.system: at least one is required")
	}
	for i, s := range o.Secrets {
		if len(s) < 16 {
			return o, fmt.Errorf("secrets.system[%d]: must have at least 16 bytes", i)
		}
	}
	if o.AccessTokenStrategy == "" {
		o.AccessTokenStrategy = Opaque
	}
	if o.AccessTokenStrategy != Opaque && o.AccessTokenStrategy != JWT {
		return o, fmt.Errorf("strategies.access_token %q: must be opaque or jwt", o.AccessTokenStrategy)
	}
	if o.ScopeStrategy == "" {
		o.ScopeStrategy = ExactScopes
	}
	if o.ScopeStrategy != ExactScopes && o.ScopeStrategy != WildcardScopes {
		return o, fmt.Errorf("strategies.scope %q: must be exact or wildcard", o.ScopeStrategy)
	}
	if o.IDTokenAlg == "" {
		o.IDTokenAlg = string(jose.RS256)
	}
	if len(o.Subjects.Types) == 0 {
		o.Subjects.Types = []string{"public"}
	}
	if o.AccessTokenAlg == "" {
		o.AccessTokenAlg = string(jose.RS256)
	}
	for span, d := range map[*time.Duration]time.Duration{
		&o.Lifespans.AccessToken: time.Hour, &o.Lifespans.RefreshToken: 720 * time.Hour, &o.Lifespans.IDToken: time.Hour,
		&o.Lifespans.AuthorizeCode: 10 * time.Minute, &o.Lifespans.LoginConsent: 30 * time.Minute, &o.Lifespans.LoginSession: 720 * time.Hour,
	} {
		if *span == 0 {
			*span = d
		}
	}
	for name, d := range map[string]time.Duration{"access_token": o.Lifespans.AccessToken, "id_token": o.Lifespans.IDToken,
		"auth_code": o.Lifespans.AuthorizeCode, "login_consent_request": o.Lifespans.LoginConsent, "authentication_session": o.Lifespans.LoginSession} {
		if d < 0 {
			return o, fmt.Errorf("ttl.%s: must be positive", name)
		}
	}
	if o.Cookies.SameSite == 0 {
		o.Cookies.SameSite = http.SameSiteLaxMode
	}
	if o.ClientAssertions.MaxLifespan <= 0 {
		o.ClientAssertions.MaxLifespan = time.Hour
	}
	if o.PAR.Lifespan <= 0 {
		o.PAR.Lifespan = time.Minute
	}
	if o.Device.Lifespan <= 0 {
		o.Device.Lifespan = 10 * time.Minute
	}
	if o.Backchannel.Lifespan <= 0 {
		o.Backchannel.Lifespan = 5 * time.Minute
	}
	if o.Backchannel.Interval <= 0 {
		o.Backchannel.Interval = 5 * time.Second
	}
	if o.Device.Interval <= 0 {
		o.Device.Interval = 5 * time.Second
	}
	if o.JWTBearerMaxLifespan <= 0 {
		o.JWTBearerMaxLifespan = 720 * time.Hour
	}
	if o.RefreshGrace.Period < 0 || o.RefreshGrace.Period > 5*time.Minute || o.RefreshGrace.Reuses < 0 || o.RefreshGrace.Reuses > 100 {
		return o, errors.New("oauth2.grant.refresh_token: rotation_grace_period must be 0 to 5m, rotation_grace_reuse_count 0 to 100")
	}
	if o.Certificate == nil {
		o.Certificate = func(context.Context) *access.ClientCertificate { return nil }
	}
	if o.CacheSize <= 0 {
		o.CacheSize = 100_000
	}
	if o.Metrics.TokenIssued == nil {
		o.Metrics.TokenIssued = func(string, string) {}
	}
	if o.Metrics.Introspection == nil {
		o.Metrics.Introspection = func(string) {}
	}
	if o.Metrics.Cache == nil {
		o.Metrics.Cache = func(string, bool) {}
	}
	if o.Metrics.OAuth2 == nil {
		o.Metrics.OAuth2 = func(string, string) {}
	}
	if o.FreshClients == nil {
		o.FreshClients = func() bool { return true }
	}
	if o.FreshTokens == nil {
		o.FreshTokens = func() bool { return true }
	}
	if o.HTTP == nil {
		o.HTTP = &http.Client{Timeout: noticeFor}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o, nil
}
