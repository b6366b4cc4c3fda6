// Package config turns files, the environment and flags into one validated,
// immutable value, once, at start.
//
// The schema is the union of Oathkeeper's and Hydra's configuration plus a few keys
// of our own: their files work unchanged. Later layers win: defaults, files in
// order, environment, flags. A key that is not in the schema is an error that
// names where it stands and the nearest known key, because a misspelt key that is
// ignored is a gate that is open. Nothing reads configuration at request time.
package config

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/gatewarden/gatewarden/cors"
)

// Config is the whole configuration. Get one from Load.
type Config struct {
	// DSN says where data is kept: memory, sqlite://path, postgres://..., mysql://...
	DSN string `key:"dsn"`
	// BackendURL is the upstream of rules that name none.
	BackendURL string `key:"backend_url"`
	// Demo starts with an echo API, a client, a policy and rules.
	Demo bool `key:"demo"`
	// Dev allows an issuer without TLS on any host.
	Dev bool `key:"dev"`

	Storage     Storage     `key:"storage"`
	Secrets     Secrets     `key:"secrets"`
	Serve       Serve       `key:"serve"`
	URLs        URLs        `key:"urls"`
	Login       Login       `key:"login"`
	TTL         TTL         `key:"ttl"`
	Strategies  Strategies  `key:"strategies"`
	OAuth2      OAuth2      `key:"oauth2"`
	OIDC        OIDC        `key:"oidc"`
	Clients     Clients     `key:"clients"`
	AccessRules AccessRules `key:"access_rules"`
	RateLimits  RateLimits  `key:"rate_limits"`
	Redis       Redis       `key:"redis"`
	ACME        ACME        `key:"acme"`
	IDToken     IDToken     `key:"id_token"`
	Keys        SigningKeys `key:"keys"`
	Log         Log         `key:"log"`
	Management  Management  `key:"management"`
	Migrate     bool        `key:"auto_migrate"` // apply migrations at start; memory and SQLite always do

	// The handlers' own sections keep their spelling and are decoded by the
	// handlers themselves.
	Authenticators map[string]Handler `key:"-"`
	Authorizers    map[string]Handler `key:"-"`
	Mutators       map[string]Handler `key:"-"`
	Errors         Errors             `key:"-"`
}

// Secrets are the system's keys. The first of a list is in use, the others only
// verify and decrypt.
type Secrets struct {
	// System has at least 16 characters each. Empty is allowed with dsn memory
	// only, where a random one is made.
	System []string `key:"system"`
}

// Storage is about what nodes that share a database know of each other's changes.
type Storage struct {
	// MaxStaleness is how old what a node keeps of the database in memory may be, when it
	// cannot hear of changes; then stored rules, policies, keys and cached tokens are not
	// used until it can.
	MaxStaleness time.Duration `key:"max_staleness"`
	// Timeout bounds each read and each transaction on a database server.
	Timeout time.Duration `key:"timeout"`
}

// Serve holds the listeners.
type Serve struct {
	Proxy      Proxy      `key:"proxy"`
	API        API        `key:"api"`
	Admin      Admin      `key:"admin"` // Hydra's admin port, off while the port is negative
	Public     Public     `key:"public"`
	Management Guard      `key:"management"` // who may call the API of api and admin
	ExtAuthz   ExtAuthz   `key:"ext_authz"`  // Envoy's ext_authz over gRPC, off while the port is negative
	Prometheus Prometheus `key:"prometheus"`
	Cookies    Cookies    `key:"cookies"`
	// Shutdown bounds the wait for running requests after SIGTERM.
	Shutdown time.Duration `key:"shutdown_timeout"`
	// Farewell bounds the wait for clients that keep connections, after the listeners are
	// closed, to be told with their next answer.
	Farewell time.Duration `key:"farewell"`
	// UpgradeTimeout bounds the wait for the next process to be ready.
	UpgradeTimeout time.Duration `key:"upgrade_timeout"`
	// DrainDelay is the time between a readiness of 503 and closing the listeners.
	DrainDelay time.Duration `key:"drain_delay"`
}

// Listener is one address.
type Listener struct {
	// Host is an address, or unix:/path for a Unix socket, which needs no port.
	Host string `key:"host"`
	// Port 0 picks a free one; negative: no listener.
	Port   int    `key:"port"`
	Socket Socket `key:"socket"`
	TLS    TLS    `key:"tls"`
	// ProxyProtocol says who may announce addresses; nobody by default.
	ProxyProtocol ProxyProtocol `key:"proxy_protocol"`
}

// ProxyProtocol is HAProxy's way for a balancer to tell whose connection it passes on.
type ProxyProtocol struct {
	Trusted []Peer `key:"trusted"`
	// Required closes connections without a header, and those of peers not in Trusted.
	Required bool `key:"required"`
}

// Socket says whose a Unix socket is and who may connect.
type Socket struct {
	Owner string `key:"owner"` // name or number; empty: the program's
	Group string `key:"group"` // name or number; empty: the program's
	Mode  int    `key:"mode"`  // permissions; to connect is to write
}

// Path returns the path of a Unix socket; empty for an address.
func (l Listener) Path() string {
	path, found := strings.CutPrefix(l.Host, "unix:")
	if !found {
		return ""
	}
	return path
}

// On reports whether there is to be a listener.
func (l Listener) On() bool { return l.Port >= 0 || l.Path() != "" }

// CORS is the policy of a listener; see cors.Options.
type CORS struct {
	Enabled            bool     `key:"enabled"`
	AllowedOrigins     []string `key:"allowed_origins"`
	AllowedMethods     []string `key:"allowed_methods"`
	AllowedHeaders     []string `key:"allowed_headers"`
	ExposedHeaders     []string `key:"exposed_headers"`
	AllowCredentials   bool     `key:"allow_credentials"`
	MaxAge             int      `key:"max_age"` // seconds
	OptionsPassthrough bool     `key:"options_passthrough"`
}

// Policy compiles c; nil when it is not enabled.
func (c CORS) Policy() (*cors.Policy, []cors.Problem) {
	if !c.Enabled {
		return nil, nil
	}
	return cors.New(cors.Options{
		AllowedOrigins: c.AllowedOrigins, AllowedMethods: c.AllowedMethods, AllowedHeaders: c.AllowedHeaders, ExposedHeaders: c.ExposedHeaders,
		AllowCredentials: c.AllowCredentials, MaxAge: c.MaxAge, OptionsPassthrough: c.OptionsPassthrough,
	})
}

// TLS holds certificates; TLS is on when there is one, or hosts that one is got for.
type TLS struct {
	Key  PEM `key:"key"`
	Cert PEM `key:"cert"`
	// Certificates are further ones. Clients get the first that is for the name they ask
	// for and that they can use, else the first of all.
	Certificates []Certificate `key:"certificates"`
	ACME         Hosts         `key:"acme"`
	// ClientAuth says what is asked of clients: none, request (a certificate may come),
	// require (one must come) or verify (one of ClientCA must come).
	ClientAuth string `key:"client_auth"`
	// ClientCA are the authorities of clients' certificates, of forwarded ones too.
	ClientCA PEM `key:"client_ca"`
}

// Certificate is a certificate with its chain, and its key.
type Certificate struct {
	Key  PEM `key:"key"`
	Cert PEM `key:"cert"`
}

// Hosts are names that certificates are got for as ACME says.
type Hosts struct {
	Hosts []string `key:"hosts"`
}

// On reports whether the listener speaks TLS.
func (t TLS) On() bool { return len(t.All()) > 0 || len(t.ACME.Hosts) > 0 }

// All returns every certificate in order.
func (t TLS) All() []Certificate {
	var all []Certificate
	if t.Cert.Set() {
		all = append(all, Certificate{Key: t.Key, Cert: t.Cert})
	}
	return append(all, t.Certificates...)
}

// PEM is a file or base64 of PEM.
type PEM struct {
	Path   string `key:"path"`
	Base64 string `key:"base64"`
}

// Set reports whether a value is there.
func (p PEM) Set() bool { return p.Path != "" || p.Base64 != "" }

// Server says by what a listener without TLS is served.
type Server struct {
	// Fast has plain HTTP/1.1 requests served by the program's own loop, all others by
	// net/http.
	Fast bool `key:"fast"`
}

// Proxy is the data plane's listener.
type Proxy struct {
	Listener `key:",inline"`
	Trust    `key:",inline"`
	Server   `key:",inline"`
	Timeout  Timeouts `key:"timeout"`
	Limits   Limits   `key:"limits"`
	Upstream Upstream `key:"upstream"`
	CORS     CORS     `key:"cors"`
	Streams  Streams  `key:"streams"`
	// HTTP3 serves HTTP/3 at the UDP port of the same number, which needs TLS. HTTP3Port is
	// the port that clients are told; 0: the listener's.
	HTTP3     bool `key:"http3"`
	HTTP3Port int  `key:"http3_port"`
}

// Streams are exchanges that may outlive the credentials that opened them.
type Streams struct {
	// Recheck is how often these are checked again.
	Recheck time.Duration `key:"recheck"`
}

// Trust says whose forwarded headers are read; nobody's by default.
type Trust struct {
	TrustedProxies []Peer `key:"trusted_proxies"`
	// TrustForwardedHeaders is Oathkeeper's switch: private and loopback ranges.
	TrustForwardedHeaders bool `key:"trust_forwarded_headers"`
	// ClientCertHeader is the field in which trusted proxies tell of the client's
	// certificate: none, client-cert (RFC 9440), x-forwarded-client-cert (Envoy) or
	// x-ssl-client-cert (nginx).
	ClientCertHeader string `key:"client_cert_header"`
}

// Timeouts are limits on slow clients. They never cut a body that flows.
type Timeouts struct {
	// Read bounds the request header, not the body.
	Read time.Duration `key:"read"`
	Idle time.Duration `key:"idle"`
}

// Limits bound what a client may send.
type Limits struct {
	Header int   `key:"header"` // bytes of request header
	Body   int64 `key:"body"`   // bytes of request body; 0: no limit
	URI    int   `key:"uri"`    // bytes of the request's target; 0: no limit of its own
	// Requests is how many may run at once, streams included; 0: no limit.
	Requests int `key:"requests"`
	// ConnectionsPerClient is how many connections one address may hold; 0: no limit.
	ConnectionsPerClient int `key:"connections_per_client"`
}

// Upstream tunes the client towards upstreams.
type Upstream struct {
	// Timeout bounds the wait for a response header.
	Timeout time.Duration `key:"timeout"`
	// ConnectTimeout bounds connecting, name resolution included.
	ConnectTimeout time.Duration `key:"connect_timeout"`
	// IdleConnTimeout closes connections that were kept for so long.
	IdleConnTimeout time.Duration `key:"idle_conn_timeout"`
	// MaxHeader bounds a response header in bytes.
	MaxHeader int64 `key:"max_response_header"`
	// MaxIdlePerHost is the size of the idle pool per upstream host.
	MaxIdlePerHost int `key:"max_idle_conns_per_host"`
	// CAFile is PEM of further authorities that certificates of https upstreams may
	// come from.
	CAFile string `key:"ca_file"`
	// Fast switches the synchronous HTTP/1.1 client on.
	Fast bool `key:"fast"`
}

// API is the management listener.
type API struct {
	Listener `key:",inline"`
	Trust    `key:",inline"`
	Server   `key:",inline"`
	Timeout  Timeouts `key:"timeout"`
	CORS     CORS     `key:"cors"`
	// Nginx and Envoy may ask at /decisions/nginx and /decisions/envoy.
	Nginx Peers `key:"nginx"`
	Envoy Peers `key:"envoy"`
}

// Peers may say on whose behalf they ask; nobody by default. An adapter of /decisions
// without peers is off.
type Peers struct {
	TrustedProxies []Peer `key:"trusted_proxies"`
}

// ExtAuthz is the listener of Envoy's ext_authz over gRPC.
type ExtAuthz struct {
	Listener `key:",inline"`
	// Peers must be set when the listener is on.
	Peers `key:",inline"`
}

// Admin is the management listener at Hydra's port.
type Admin struct {
	Listener `key:",inline"`
	Server   `key:",inline"`
	CORS     CORS `key:"cors"`
}

// Public is the listener of the OAuth 2.0 endpoints.
type Public struct {
	Listener `key:",inline"`
	Trust    `key:",inline"`
	Server   `key:",inline"`
	Timeout  Timeouts `key:"timeout"`
	CORS     CORS     `key:"cors"`
}

// Prometheus is an extra listener for the metrics.
type Prometheus struct {
	Host        string `key:"host"`
	Port        int    `key:"port"` // negative: no listener of its own
	MetricsPath string `key:"metrics_path"`
}

// Cookies are the authorization endpoint's cookies.
type Cookies struct {
	SameSite string `key:"same_site_mode"`
	Domain   string `key:"domain"`
}

// Guard says how callers of the management API authenticate.
type Guard struct {
	// Authentication are the ways in, one of which is enough: loopback (callers of this
	// machine), token (management.tokens), mtls (certificates) and hydra0 (access tokens of
	// the server itself, with policies). Empty: token when there are tokens, else loopback.
	Authentication []string `key:"authentication"`
	// CertificateSubjects are the certificates that may call with mtls: distinguished
	// names (RFC 4514), or dns:, uri: or email: and a subject alternative name.
	CertificateSubjects []string `key:"certificate_subjects"`
	// ResourcePrefix begins the names of resources in policies with hydra0.
	ResourcePrefix string `key:"resource_prefix"`
}

// The ways to authenticate at the management API.
const (
	Loopback        = "loopback"
	StaticToken     = "token"
	ClientCertified = "mtls"
	OwnToken        = "hydra0"
)

// Authentication returns the ways in that hold.
func (c *Config) Authentication() []string {
	switch {
	case len(c.Serve.Management.Authentication) > 0:
		return c.Serve.Management.Authentication
	case len(c.Management.Tokens) > 0:
		return []string{StaticToken}
	}
	return []string{Loopback}
}

// Admits reports whether way is one of the ways in.
func (c *Config) Admits(way string) bool { return slices.Contains(c.Authentication(), way) }

// Management guards the management API.
type Management struct {
	// Tokens are bearer tokens that may call the API, or hashes of them as
	// management-token create makes them.
	Tokens []string `key:"tokens"`
	// Exposed is --dangerous-expose-management: no authentication on any address.
	Exposed bool `key:"dangerous_expose"`
	// AllowedHosts are further host names by which browsers may call the API.
	AllowedHosts []string `key:"allowed_hosts"`
}

// URLs are the addresses of the authorization server and of the login apps.
type URLs struct {
	Self               Self   `key:"self"`
	Login              string `key:"login"`
	Consent            string `key:"consent"`
	Logout             string `key:"logout"`
	Error              string `key:"error"`
	PostLogoutRedirect string `key:"post_logout_redirect"`
	// Device are the pages for devices without a browser (RFC 8628).
	Device DeviceURLs `key:"device"`
}

// DeviceURLs are where people enter the code of a device, and where they end.
type DeviceURLs struct {
	Verification string `key:"verification"`
	Success      string `key:"success"`
}

// Self are the program's own addresses.
type Self struct {
	// Issuer is used exactly as configured. Default: http://127.0.0.1:<public port>.
	Issuer string `key:"issuer"`
	// MTLS is where clients that show certificates call the endpoints (RFC 8705 section 5).
	MTLS string `key:"mtls"`
}

// Login is the look of the built-in pages, which are on while urls.login is empty.
type Login struct {
	Name      string `key:"name"`      // what the pages call the place
	Logo      string `key:"logo"`      // an image file instead of the name
	Accent    string `key:"accent"`    // #rrggbb
	Templates string `key:"templates"` // folder of files that replace built-in ones
	Messages  string `key:"messages"`  // folder of texts, fr.json
	// SecondFactor says who is asked for a second factor: nobody (off), who has one
	// (optional), everybody (required).
	SecondFactor string `key:"second_factor"`
	// Providers are those that people may log in with beside their password.
	Providers []Provider `key:"providers"`
}

// TTL are lifespans.
type TTL struct {
	LoginConsentRequest   time.Duration `key:"login_consent_request"`
	AccessToken           time.Duration `key:"access_token"`
	RefreshToken          time.Duration `key:"refresh_token"` // -1: never expires
	IDToken               time.Duration `key:"id_token"`
	AuthCode              time.Duration `key:"auth_code"`
	DeviceUserCode        time.Duration `key:"device_user_code"`
	AuthenticationSession time.Duration `key:"authentication_session"`
}

// Strategies choose between ways to do one thing.
type Strategies struct {
	Scope       string `key:"scope"`        // exact or wildcard
	AccessToken string `key:"access_token"` // opaque or jwt
}

// OAuth2 are switches of the authorization server.
type OAuth2 struct {
	PKCE              PKCE              `key:"pkce"`
	ClientCredentials ClientCredentials `key:"client_credentials"`
	ClientAssertion   ClientAssertion   `key:"client_assertion"`
	DPoP              DPoP              `key:"dpop"`
	PAR               PAR               `key:"par"`
	Grant             Grant             `key:"grant"`
	Device            Device            `key:"device_authorization"`
	Details           Details           `key:"authorization_details"`
	CIBA              CIBA              `key:"ciba"`
	Documents         ClientDocuments   `key:"client_id_metadata_documents"`
	// TokenHook is asked before tokens are issued, RefreshTokenHook before it about those
	// of a refresh token; empty: nobody is.
	TokenHook        Hook `key:"token_hook"`
	RefreshTokenHook Hook `key:"refresh_token_hook"`
	// TopLevelClaims are claims of ext that stand in JWT access tokens themselves, and with
	// MirrorTopLevelClaims in ext as well; without it there is no ext.
	TopLevelClaims       []string `key:"allowed_top_level_claims"`
	MirrorTopLevelClaims bool     `key:"mirror_top_level_claims"`
	// LegacyErrors adds what errors of Hydra 1 had.
	LegacyErrors bool `key:"include_legacy_error_fields"`
	// IntrospectionCacheSize bounds how many introspected tokens are kept in memory.
	IntrospectionCacheSize int `key:"introspection_cache_size"`
}

// ClientAssertion says which JWTs clients may authenticate with (RFC 7523).
type ClientAssertion struct {
	// Audience is issuer (and nobody else), or endpoints, which accepts the addresses of
	// endpoints as well.
	Audience string `key:"audience"`
	// MaxTTL bounds how far exp may be away.
	MaxTTL time.Duration `key:"max_ttl"`
}

// DPoP says which proofs bind tokens (RFC 9449).
type DPoP struct {
	Algorithms []string      `key:"algorithms"`
	MaxAge     time.Duration `key:"max_age"`
	Leeway     time.Duration `key:"leeway"`
	// Nonce is off or required.
	Nonce    string        `key:"nonce"`
	NonceTTL time.Duration `key:"nonce_ttl"`
}

// CIBA is about requests for people who are elsewhere (OpenID CIBA Core, poll mode).
type CIBA struct {
	Enabled bool `key:"enabled"`
	// TTL is the longest that a request waits for its person.
	TTL time.Duration `key:"ttl"`
	// Interval is the time between two polls.
	Interval time.Duration `key:"polling_interval"`
}

// Details is about authorization_details (RFC 9396).
type Details struct {
	// Types are those that clients may register and ask for.
	Types []string `key:"types"`
	// Schemas is a folder with a JSON schema for each type that has members of its own.
	Schemas string `key:"schemas"`
}

// Device is about the grant of devices without a browser (RFC 8628).
type Device struct {
	// Interval is the time between two polls of a device.
	Interval time.Duration `key:"token_polling_interval"`
}

// Grant holds settings of single grants.
type Grant struct {
	RefreshToken RefreshTokenGrant `key:"refresh_token"`
	JWT          JWTGrant          `key:"jwt"`
	Implicit     LegacyGrant       `key:"implicit"`
	Hybrid       LegacyGrant       `key:"hybrid"`
	Password     LegacyGrant       `key:"password"`
}

// LegacyGrant is a grant that OAuth 2.1 has no more. It is off unless it is switched on
// here and registered for the client.
type LegacyGrant struct {
	Enabled bool `key:"enabled"`
}

// RefreshTokenGrant lets clients use a rotated refresh token again for a while.
type RefreshTokenGrant struct {
	GracePeriod time.Duration `key:"rotation_grace_period"`      // 0 to 5m; 0: reuse ends the family
	GraceReuses int           `key:"rotation_grace_reuse_count"` // 0: any number within the period
}

// JWTGrant is about assertions that buy access tokens (RFC 7523).
type JWTGrant struct {
	MaxTTL time.Duration `key:"max_ttl"`
}

// PAR is about pushed authorization requests (RFC 9126).
type PAR struct {
	// Required refuses every authorization request that was not pushed.
	Required bool `key:"required"`
	// TTL is the time from pushing to the browser's coming.
	TTL time.Duration `key:"ttl"`
}

// ClientCredentials is about that grant.
type ClientCredentials struct {
	// DefaultGrantAllowedScope gives a request without scope every scope of its client.
	DefaultGrantAllowedScope bool `key:"default_grant_allowed_scope"`
}

// PKCE says who must use it (RFC 7636). S256 is the only method.
type PKCE struct {
	// Enforced is for every client; public clients always need it.
	Enforced bool `key:"enforced"`
}

// AccessRules say where rules come from.
type AccessRules struct {
	Repositories     []string `key:"repositories"`
	MatchingStrategy string   `key:"matching_strategy"` // regexp or glob
	OnOverlap        string   `key:"on_overlap"`        // precedence or refuse
	// PollInterval is the time between two looks at a remote repository.
	PollInterval time.Duration `key:"poll_interval"`
	// CacheDir keeps copies of remote repositories for a start while they are away.
	CacheDir string `key:"cache_dir"`
	// OnMissing says what holds until each remote repository was read once: serve (the
	// rules of the others are in force) or refuse (every request is refused).
	OnMissing string `key:"on_missing"`
}

// RateLimits is about the limits of rules.
type RateLimits struct {
	// MaxKeys bounds how many clients, subjects and values are counted at once.
	MaxKeys int `key:"max_keys"`
	// OnRedisFailure says what holds while Redis is away: local (each process counts
	// alone) or refuse (503).
	OnRedisFailure string `key:"on_redis_failure"`
}

// Redis is shared by the processes of an installation.
type Redis struct {
	// URL may hold a password; empty: no Redis.
	URL string `key:"url"`
	// Timeout bounds one question.
	Timeout time.Duration `key:"timeout"`
	// KeyPrefix starts the name of every key.
	KeyPrefix string `key:"key_prefix"`
	// CAFile is PEM of further authorities for rediss.
	CAFile string `key:"ca_file"`
}

// ACME is where certificates of tls.acme.hosts come from.
type ACME struct {
	// Directory is the URL of the directory (RFC 8555 section 7.1.1).
	Directory string `key:"directory"`
	// AcceptTerms says that the operator agrees to the directory's terms of service.
	AcceptTerms bool   `key:"accept_terms"`
	Email       string `key:"email"`
	// Storage is a folder for certificates, keys and locks.
	Storage string `key:"storage"`
	// CAFile is PEM of further authorities that the directory's own certificate may
	// come from.
	CAFile string `key:"ca_file"`
	EAB    EAB    `key:"eab"`
	// HTTP is the listener of HTTP-01; negative port: TLS-ALPN-01 alone.
	HTTP Plain `key:"http"`
}

// EAB binds the account to one that the directory knows (RFC 8555 section 7.3.4).
type EAB struct {
	KeyID   string `key:"key_id"`
	HMACKey string `key:"hmac_key"` // base64url
}

// Plain is an address without TLS.
type Plain struct {
	Host string `key:"host"`
	Port int    `key:"port"`
}

// IDToken is about the keys of the id_token mutator.
type IDToken struct {
	Set string `key:"jwk_set_id"`
}

// SigningKeys is about all keys that the program makes and signs with.
type SigningKeys struct {
	// RotationPeriod is how long a key signs before a new one takes over, which is
	// published ahead; 0: until an operator makes a new one.
	RotationPeriod time.Duration `key:"rotation_period"`
}

// Log is the program's log.
type Log struct {
	Level  string `key:"level"`  // debug, info, warn, error
	Format string `key:"format"` // json or text
}

// Handler is one entry of a handler section.
type Handler struct {
	// Disabled is enabled: false; a rule that names the handler is then refused.
	Disabled bool
	// Config is the operator's configuration as JSON, spelling kept.
	Config json.RawMessage
}

// Errors is the section of error handlers.
type Errors struct {
	Fallback []string
	Handlers map[string]Handler
}

// Default returns the configuration without any layer.
func Default() Config {
	d := cors.Defaults()
	policy := CORS{AllowedOrigins: d.AllowedOrigins, AllowedMethods: d.AllowedMethods, AllowedHeaders: d.AllowedHeaders, ExposedHeaders: d.ExposedHeaders}
	timeouts := Timeouts{Read: 5 * time.Second, Idle: 2 * time.Minute}
	trust, noClients, socket := Trust{ClientCertHeader: "none"}, TLS{ClientAuth: "none"}, Socket{Mode: 0o755}
	fast := Server{Fast: true}
	return Config{
		DSN:     "memory",
		Storage: Storage{MaxStaleness: 5 * time.Second, Timeout: 5 * time.Second},
		Serve: Serve{
			Proxy: Proxy{
				Listener: Listener{Port: 4455, TLS: noClients, Socket: socket},
				Trust:    trust,
				Server:   fast,
				Timeout:  timeouts,
				Limits:   Limits{Header: 64 << 10, URI: 8 << 10},
				Upstream: Upstream{Timeout: 30 * time.Second, ConnectTimeout: 5 * time.Second, IdleConnTimeout: 90 * time.Second, MaxHeader: 256 << 10, MaxIdlePerHost: 256, Fast: true},
				CORS:     policy,
				Streams:  Streams{Recheck: 30 * time.Second},
			},
			API:        API{Listener: Listener{Host: "127.0.0.1", Port: 4456, TLS: noClients, Socket: socket}, Trust: trust, Server: fast, Timeout: timeouts, CORS: policy},
			Admin:      Admin{Listener: Listener{Host: "127.0.0.1", Port: -1, TLS: noClients, Socket: socket}, Server: fast, CORS: policy},
			Public:     Public{Listener: Listener{Port: 4444, TLS: noClients, Socket: socket}, Trust: trust, Server: fast, Timeout: timeouts, CORS: policy},
			ExtAuthz:   ExtAuthz{Listener: Listener{Host: "127.0.0.1", Port: -1, TLS: noClients, Socket: socket}},
			Prometheus: Prometheus{Host: "127.0.0.1", Port: -1, MetricsPath: "/metrics"},
			Management: Guard{ResourcePrefix: "rn:hydra"},
			Cookies:    Cookies{SameSite: "Lax"},
			Shutdown:   30 * time.Second,
			Farewell:   500 * time.Millisecond, UpgradeTimeout: time.Minute,
		},
		TTL: TTL{
			LoginConsentRequest:   30 * time.Minute,
			AccessToken:           time.Hour,
			RefreshToken:          720 * time.Hour,
			IDToken:               time.Hour,
			AuthCode:              10 * time.Minute,
			DeviceUserCode:        10 * time.Minute,
			AuthenticationSession: 720 * time.Hour,
		},
		Strategies: Strategies{Scope: "exact", AccessToken: "opaque"},
		Login:      Login{SecondFactor: "optional"},
		OAuth2: OAuth2{PKCE: PKCE{Enforced: true}, ClientAssertion: ClientAssertion{Audience: "issuer", MaxTTL: time.Hour},
			DPoP: DPoP{Algorithms: []string{"ES256", "ES384", "ES512", "EdDSA", "PS256", "RS256"}, MaxAge: time.Minute, Leeway: 10 * time.Second, Nonce: "off", NonceTTL: 5 * time.Minute}, PAR: PAR{TTL: time.Minute}, CIBA: CIBA{TTL: 5 * time.Minute, Interval: 5 * time.Second}, Grant: Grant{JWT: JWTGrant{MaxTTL: 720 * time.Hour}}, Device: Device{Interval: 5 * time.Second}, Documents: ClientDocuments{MaxAge: time.Hour}, MirrorTopLevelClaims: true, IntrospectionCacheSize: 100_000},
		OIDC:        OIDC{IDTokenAlg: "RS256", Subjects: Subjects{Types: []string{"public"}}, Registration: defaultRegistration()},
		AccessRules: AccessRules{MatchingStrategy: "regexp", OnOverlap: "precedence", PollInterval: 30 * time.Second, OnMissing: "serve"},
		RateLimits:  RateLimits{MaxKeys: 100_000, OnRedisFailure: "local"},
		Redis:       Redis{Timeout: 50 * time.Millisecond, KeyPrefix: "gatewarden:"},
		ACME:        ACME{Directory: "https://acme-v02.api.letsencrypt.org/directory", HTTP: Plain{Port: -1}},
		IDToken:     IDToken{Set: "oathkeeper:id-token"},
		Log:         Log{Level: "info", Format: "json"},
		Errors:      Errors{Fallback: []string{"json"}},
	}
}
