package config

import (
	"encoding/hex"
	"strings"
	"time"
)

// Clients is about clients of the authorization server.
type Clients struct {
	HTTP ClientsHTTP `key:"http"`
}

// ClientsHTTP is how addresses that clients registered are asked: those of clients that
// registered themselves and of metadata documents, public addresses by https alone.
type ClientsHTTP struct {
	// DisallowPrivate asks those of operators' clients in the same way.
	DisallowPrivate bool `key:"disallow_private_ip_ranges"`
	// AllowedNetworks may be asked though they are not public.
	AllowedNetworks []Peer `key:"allowed_networks"`
	// CAFile is PEM of further authorities that certificates may come from.
	CAFile string `key:"ca_file"`
}

// Registration is about clients that register themselves (RFC 7591), and says what they
// and metadata documents may have.
type Registration struct {
	Enabled bool `key:"enabled"`
	// DefaultScope is that of clients that name none, of operators' clients too.
	DefaultScope    []string `key:"default_scope"`
	Scopes          []string `key:"allowed_scopes"` // beside DefaultScope
	Audience        []string `key:"allowed_audience"`
	GrantTypes      []string `key:"allowed_grant_types"`
	AuthMethods     []string `key:"allowed_auth_methods"`
	RedirectSchemes []string `key:"allowed_redirect_schemes"`
	RedirectHosts   []string `key:"allowed_redirect_hosts"` // empty: any
	// InitialTokens are hashes of the tokens of which one is needed; empty: none is.
	InitialTokens []string `key:"initial_access_tokens"`
	// MaxClients is how many there may be; UnusedTTL how long one is kept that holds no
	// token, 0 for ever.
	MaxClients int                `key:"max_clients"`
	UnusedTTL  time.Duration      `key:"unused_ttl"`
	RateLimit  RegistrationRate   `key:"rate_limit"`
	Statements SoftwareStatements `key:"software_statements"`
}

// RegistrationRate is how many requests one address may make.
type RegistrationRate struct {
	Rate   int           `key:"rate"` // 0: no limit
	Window time.Duration `key:"window"`
}

// SoftwareStatements say which of them count (RFC 7591 section 2.3).
type SoftwareStatements struct {
	Issuers  []string `key:"issuers"`
	JWKSURLs []string `key:"jwks_urls"`
	Required bool     `key:"required"`
}

// ClientDocuments is about clients whose id is the address of their metadata
// (draft-ietf-oauth-client-id-metadata-document); what they may have, Registration says.
type ClientDocuments struct {
	Enabled      bool     `key:"enabled"`
	AllowedHosts []string `key:"allowed_hosts"` // of client ids; empty: any
	// MaxAge bounds how long a document is kept.
	MaxAge time.Duration `key:"max_age"`
}

func defaultRegistration() Registration {
	return Registration{
		GrantTypes: []string{"authorization_code", "refresh_token"}, AuthMethods: []string{"none", "client_secret_basic", "client_secret_post", "private_key_jwt"},
		RedirectSchemes: []string{"https", "http"}, MaxClients: 10_000, UnusedTTL: 90 * 24 * time.Hour, RateLimit: RegistrationRate{Rate: 60, Window: time.Hour},
	}
}

// InitialToken decodes one of InitialTokens: sha256: and 64 hexadecimal digits.
func InitialToken(text string) (sum [32]byte, ok bool) {
	digits, ok := strings.CutPrefix(text, "sha256:")
	if !ok || len(digits) != 2*len(sum) {
		return sum, false
	}
	_, err := hex.Decode(sum[:], []byte(digits))
	return sum, err == nil
}

// checkRegistration checks who may register what.
func (c *Config) checkRegistration(v *validation) {
	const key = "oidc.dynamic_client_registration."
	r := c.OIDC.Registration
	for _, token := range r.InitialTokens {
		if _, ok := InitialToken(token); !ok { // without it: it may be a token
			v.fault(key+"initial_access_tokens", "must be sha256: and 64 hexadecimal digits each; hash a token, never write it down here")
		}
	}
	for _, scheme := range r.RedirectSchemes {
		if strings.ContainsAny(scheme, ":/*") || scheme == "" || scheme != strings.ToLower(scheme) {
			v.fault(key+"allowed_redirect_schemes", "must hold schemes such as https or org.example.app, not %q", scheme)
		}
	}
	checkHosts(v, key+"allowed_redirect_hosts", r.RedirectHosts)
	checkHosts(v, "oauth2.client_id_metadata_documents.allowed_hosts", c.OAuth2.Documents.AllowedHosts)
	if age := c.OAuth2.Documents.MaxAge; age < time.Minute || age > 24*time.Hour {
		v.fault("oauth2.client_id_metadata_documents.max_age", "must be from 1m to 24h")
	}
	if r.MaxClients < 1 {
		v.fault(key+"max_clients", "must be at least 1")
	}
	if r.UnusedTTL != 0 && r.UnusedTTL < 24*time.Hour {
		v.fault(key+"unused_ttl", "must be 0, for ever, or at least 24h")
	}
	if r.RateLimit.Rate < 0 || r.RateLimit.Rate > 1_000_000 || r.RateLimit.Window < time.Second || r.RateLimit.Window > 24*time.Hour {
		v.fault(key+"rate_limit", "must have a rate from 0, no limit, to 1000000 and a window from 1s to 24h")
	}
	if s := r.Statements; len(s.Issuers) == 0 != (len(s.JWKSURLs) == 0) {
		v.fault(key+"software_statements", "needs both issuers and jwks_urls")
	} else if s.Required && len(s.Issuers) == 0 {
		v.fault(key+"software_statements.required", "needs issuers and jwks_urls: no statement would count")
	}
}

// checkHosts checks a list of hosts.
func checkHosts(v *validation, key string, hosts []string) {
	for _, host := range hosts {
		if name := strings.TrimPrefix(host, "*."); name == "" || strings.ContainsAny(name, ":/*@ ") {
			v.fault(key, "must hold hosts such as app.example.org or *.example.org, not %q", host)
		}
	}
}

// checkClients checks what is said about clients.
func (c *Config) checkClients(v *validation) {
	for _, p := range c.Clients.HTTP.AllowedNetworks {
		if p.Unix || p.Network.Bits() == 0 {
			v.fault("clients.http.allowed_networks", "must hold networks such as 10.1.0.0/16, not %s", p)
		}
	}
}
