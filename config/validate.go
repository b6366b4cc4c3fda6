package config

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// validate checks what one key alone cannot show; place names where a key was set.
func (c *Config) validate(place func(key string) string) []error {
	v := &validation{place: place}
	for _, check := range []func(*validation){
		c.checkWords, c.checkPorts, c.checkTLS, c.checkACME, c.checkTrust, c.checkManagement, c.checkCORS, c.checkURLs, c.checkSecrets, c.checkSpans, c.checkEdges, c.checkClients, c.checkOIDC, c.checkHooks, c.checkRegistration, c.checkProviders,
	} {
		check(v)
	}
	return v.faults
}

// validation collects what is wrong.
type validation struct {
	place  func(key string) string
	faults []error
}

func (v *validation) fault(key, format string, args ...any) {
	v.faults = append(v.faults, fmt.Errorf("%s: %s %s", v.place(key), key, fmt.Sprintf(format, args...)))
}

func (v *validation) oneOf(key, value string, allowed ...string) {
	if !slices.Contains(allowed, value) {
		v.fault(key, "must be one of %s", strings.Join(allowed, ", "))
	}
}

func (c *Config) checkWords(v *validation) {
	v.oneOf("log.level", c.Log.Level, "trace", "debug", "info", "warn", "warning", "error")
	v.oneOf("log.format", c.Log.Format, "json", "json_pretty", "text")
	v.oneOf("access_rules.matching_strategy", c.AccessRules.MatchingStrategy, "regexp", "glob")
	v.oneOf("access_rules.on_overlap", c.AccessRules.OnOverlap, "precedence", "refuse")
	v.oneOf("access_rules.on_missing", c.AccessRules.OnMissing, "serve", "refuse")
	if c.AccessRules.PollInterval < time.Second {
		v.fault("access_rules.poll_interval", "must be at least 1s")
	}
	v.oneOf("strategies.scope", c.Strategies.Scope, "exact", "wildcard", "DEPRECATED_HIERARCHICAL_SCOPE_STRATEGY")
	v.oneOf("strategies.access_token", c.Strategies.AccessToken, "opaque", "jwt")
	v.oneOf("oauth2.client_assertion.audience", c.OAuth2.ClientAssertion.Audience, "issuer", "endpoints")
	v.oneOf("oauth2.dpop.nonce", c.OAuth2.DPoP.Nonce, "off", "required")
	v.oneOf("login.second_factor", c.Login.SecondFactor, "off", "optional", "required")
	if c.OAuth2.Grant.Password.Enabled && c.URLs.Login != "" {
		v.fault("oauth2.grant.password.enabled", "needs the built-in login: urls.login must be empty")
	}
	v.oneOf("serve.cookies.same_site_mode", c.Serve.Cookies.SameSite, "Lax", "Strict", "None")
}

func (c *Config) checkPorts(v *validation) {
	for _, p := range []struct {
		key  string
		port int
		off  bool // negative means no listener
	}{
		{"serve.proxy.port", c.Serve.Proxy.Port, c.Serve.Proxy.Path() != ""},
		{"serve.api.port", c.Serve.API.Port, c.Serve.API.Path() != ""},
		{"serve.public.port", c.Serve.Public.Port, c.Serve.Public.Path() != ""},
		{"serve.admin.port", c.Serve.Admin.Port, true},
		{"serve.prometheus.port", c.Serve.Prometheus.Port, true},
		{"serve.ext_authz.port", c.Serve.ExtAuthz.Port, true},
		{"acme.http.port", c.ACME.HTTP.Port, true},
	} {
		if p.port > 65535 || (p.port < 0 && !p.off) {
			v.fault(p.key, "must be between 0 and 65535")
		}
	}
}

func (c *Config) checkTLS(v *validation) {
	for _, l := range c.listeners() {
		key, tls := l.key+".tls", l.TLS
		if tls.Key.Set() != tls.Cert.Set() {
			v.fault(key, "needs both key and cert")
		}
		for i, pair := range tls.Certificates {
			if !pair.Key.Set() || !pair.Cert.Set() {
				v.fault(key+".certificates", "[%d] needs both key and cert", i)
			}
		}
		v.oneOf(key+".client_auth", tls.ClientAuth, "none", "request", "require", "verify")
		switch {
		case tls.ClientAuth != "none" && !tls.On():
			v.fault(key+".client_auth", "needs TLS: set key and cert, or acme.hosts")
		case tls.ClientAuth == "verify" && !tls.ClientCA.Set():
			v.fault(key+".client_auth", "is verify: set client_ca to the authorities of clients")
		}
	}
	switch p := c.Serve.Proxy; {
	case p.HTTP3Port < 0 || p.HTTP3Port > 65535:
		v.fault("serve.proxy.http3_port", "must be between 0 and 65535")
	case !p.HTTP3:
	case !p.TLS.On():
		v.fault("serve.proxy.http3", "needs TLS: set serve.proxy.tls")
	case p.Path() != "":
		v.fault("serve.proxy.http3", "needs an address: serve.proxy.host is a Unix socket")
	case len(p.ProxyProtocol.Trusted) > 0:
		v.fault("serve.proxy.http3", "cannot be served behind the PROXY protocol: it would not know the addresses of clients")
	}
}

// checkTrust checks who is believed what about a connection.
func (c *Config) checkTrust(v *validation) {
	for key, trust := range map[string]Trust{"serve.proxy": c.Serve.Proxy.Trust, "serve.api": c.Serve.API.Trust, "serve.public": c.Serve.Public.Trust} {
		v.oneOf(key+".client_cert_header", trust.ClientCertHeader, "none", "client-cert", "x-forwarded-client-cert", "x-ssl-client-cert")
		if trust.ClientCertHeader != "none" && len(trust.Trusted()) == 0 {
			v.fault(key+".client_cert_header", "is read from trusted proxies only: set %s.trusted_proxies", key)
		}
	}
	for key, list := range map[string][]Peer{
		"serve.proxy.trusted_proxies": c.Serve.Proxy.TrustedProxies, "serve.api.trusted_proxies": c.Serve.API.TrustedProxies,
		"serve.api.nginx.trusted_proxies": c.Serve.API.Nginx.TrustedProxies, "serve.api.envoy.trusted_proxies": c.Serve.API.Envoy.TrustedProxies,
		"serve.ext_authz.trusted_proxies": c.Serve.ExtAuthz.TrustedProxies, "serve.public.trusted_proxies": c.Serve.Public.TrustedProxies,
	} {
		for _, p := range list {
			if !p.Unix && p.Network.Bits() == 0 {
				v.fault(key, "must not trust the whole internet (%s)", p)
			}
		}
	}
}

func (c *Config) checkCORS(v *validation) {
	for _, p := range []struct {
		key string
		CORS
	}{
		{"serve.proxy.cors", c.Serve.Proxy.CORS}, {"serve.api.cors", c.Serve.API.CORS},
		{"serve.public.cors", c.Serve.Public.CORS}, {"serve.admin.cors", c.Serve.Admin.CORS},
	} {
		_, problems := p.Policy()
		for _, problem := range problems {
			name, _, _ := strings.Cut(problem.Pointer[1:], "/")
			v.fault(p.key+"."+name, "%s", problem.Message)
		}
	}
	if c.AskedWithoutToken() {
		for key, p := range map[string]CORS{"serve.api.cors": c.Serve.API.CORS, "serve.admin.cors": c.Serve.Admin.CORS} {
			if p.Enabled && slices.Contains(p.AllowedOrigins, "*") {
				v.fault(key+".allowed_origins", "must name origins, or management.tokens must be set: any web site could call the management API through a visitor's browser")
			}
		}
	}
}

func (c *Config) checkURLs(v *validation) {
	for _, u := range []struct{ key, value string }{
		{"backend_url", c.BackendURL}, {"urls.self.issuer", c.URLs.Self.Issuer}, {"urls.self.mtls", c.URLs.Self.MTLS},
		{"oauth2.token_hook.url", c.OAuth2.TokenHook.URL}, {"oauth2.refresh_token_hook.url", c.OAuth2.RefreshTokenHook.URL},
		{"urls.login", c.URLs.Login}, {"urls.consent", c.URLs.Consent}, {"urls.logout", c.URLs.Logout},
		{"urls.error", c.URLs.Error}, {"urls.post_logout_redirect", c.URLs.PostLogoutRedirect},
	} {
		if u.value == "" {
			continue
		}
		parsed, err := url.Parse(u.value)
		if err != nil || parsed.Host == "" || (parsed.Scheme != "http" && parsed.Scheme != "https" && parsed.Scheme != "h2c") {
			v.fault(u.key, "must be an absolute http or https URL")
		} else if u.key == "urls.self.mtls" && (parsed.Scheme != "https" || parsed.RawQuery != "" || parsed.Fragment != "") {
			v.fault(u.key, "must use https, which is what shows a certificate, and have neither query nor fragment")
		} else if u.key == "urls.self.issuer" {
			if parsed.RawQuery != "" || parsed.Fragment != "" {
				v.fault(u.key, "must have neither query nor fragment (RFC 8414 section 2)")
			}
			if parsed.Scheme != "https" && !c.Dev && !loopback(parsed.Hostname()) {
				v.fault(u.key, "must use https; --dev allows http for trials")
			}
		}
	}
}

func (c *Config) checkSecrets(v *validation) {
	for _, secret := range c.Secrets.System {
		if len(secret) < 16 {
			v.fault("secrets.system", "must have at least 16 characters each")
		}
	}
	if len(c.Secrets.System) == 0 && c.DSN != "memory" {
		v.fault("secrets.system", "must be set when dsn is not memory: it encrypts what is stored")
	}
}

// checkSpans checks spans of time.
func (c *Config) checkSpans(v *validation) {
	for _, d := range []struct {
		key   string
		value int64
		never bool
	}{
		{"ttl.login_consent_request", int64(c.TTL.LoginConsentRequest), false},
		{"ttl.access_token", int64(c.TTL.AccessToken), false},
		{"ttl.refresh_token", int64(c.TTL.RefreshToken), true},
		{"ttl.id_token", int64(c.TTL.IDToken), false},
		{"ttl.auth_code", int64(c.TTL.AuthCode), false},
		{"ttl.authentication_session", int64(c.TTL.AuthenticationSession), false},
		{"ttl.device_user_code", int64(c.TTL.DeviceUserCode), false},
		{"oauth2.device_authorization.token_polling_interval", int64(c.OAuth2.Device.Interval), false},
		{"oauth2.grant.jwt.max_ttl", int64(c.OAuth2.Grant.JWT.MaxTTL), false},
		{"oauth2.ciba.ttl", int64(c.OAuth2.CIBA.TTL), false},
		{"oauth2.ciba.polling_interval", int64(c.OAuth2.CIBA.Interval), false},
		{"oauth2.par.ttl", int64(c.OAuth2.PAR.TTL), false},
		{"oauth2.client_assertion.max_ttl", int64(c.OAuth2.ClientAssertion.MaxTTL), false},
	} {
		if d.value <= 0 && !(d.never && d.value == -1) {
			v.fault(d.key, "must be positive")
		}
	}
	if d := c.OAuth2.DPoP; d.MaxAge <= 0 || d.MaxAge > time.Hour || d.Leeway < 0 || d.Leeway > time.Hour {
		v.fault("oauth2.dpop.max_age", "must be positive, and with oauth2.dpop.leeway at most 1h")
	}
	if g := c.OAuth2.Grant.RefreshToken; g.GracePeriod < 0 || g.GracePeriod > 5*time.Minute {
		v.fault("oauth2.grant.refresh_token.rotation_grace_period", "must be 0 to 5m")
	}
	if g := c.OAuth2.Grant.RefreshToken; g.GraceReuses < 0 || g.GraceReuses > 100 {
		v.fault("oauth2.grant.refresh_token.rotation_grace_reuse_count", "must be 0 to 100")
	}
	if d := c.OAuth2.DPoP; d.NonceTTL < time.Second || d.NonceTTL > 24*time.Hour {
		v.fault("oauth2.dpop.nonce_ttl", "must be between 1s and 24h")
	}
	if s := c.Storage.MaxStaleness; s < time.Second || s > 10*time.Minute {
		v.fault("storage.max_staleness", "must be between 1s and 10m")
	}
	if s := c.Storage.Timeout; s < 100*time.Millisecond || s > 10*time.Minute {
		v.fault("storage.timeout", "must be between 100ms and 10m")
	}
	if p := c.Keys.RotationPeriod; p < 0 || p > 0 && p < time.Hour {
		v.fault("keys.rotation_period", "must be 0 or at least 1h: a successor is published before it signs")
	}
}

// checkEdges checks what listeners carry, and to whom they are open.
func (c *Config) checkEdges(v *validation) {
	if up := c.Serve.Proxy.Upstream; up.Timeout <= 0 || up.ConnectTimeout <= 0 || up.IdleConnTimeout <= 0 || up.MaxHeader < 1024 {
		v.fault("serve.proxy.upstream", "must have positive timeouts and allow at least 1024 bytes of response header")
	}
	if c.Serve.Proxy.Streams.Recheck < time.Second {
		v.fault("serve.proxy.streams.recheck", "must be at least 1s")
	}
	if c.Serve.ExtAuthz.On() && len(c.Serve.ExtAuthz.TrustedProxies) == 0 {
		v.fault("serve.ext_authz.trusted_proxies", "must name the addresses of Envoy: nobody else is answered")
	}
	if c.RateLimits.MaxKeys < 1000 {
		v.fault("rate_limits.max_keys", "must be at least 1000")
	}
	v.oneOf("rate_limits.on_redis_failure", c.RateLimits.OnRedisFailure, "local", "refuse")
	if scheme, _, ok := strings.Cut(c.Redis.URL, "://"); c.Redis.URL != "" && (!ok || scheme != "redis" && scheme != "rediss" && scheme != "unix") {
		v.fault("redis.url", "must begin with redis://, rediss:// or unix://")
	}
	if c.Redis.Timeout < time.Millisecond || c.Redis.Timeout > 10*time.Second {
		v.fault("redis.timeout", "must be from 1ms to 10s")
	}
	if c.Serve.Proxy.Limits.Header < 1024 || c.Serve.Proxy.Limits.Body < 0 {
		v.fault("serve.proxy.limits", "must allow at least 1024 bytes of header and no negative body")
	}
	if uri := c.Serve.Proxy.Limits.URI; uri != 0 && uri < 256 {
		v.fault("serve.proxy.limits.uri", "must be at least 256 bytes, or 0 for no limit")
	}
	if c.Serve.Proxy.Limits.Requests < 0 {
		v.fault("serve.proxy.limits.requests", "must not be negative; 0 is no limit")
	}
	if c.Serve.Proxy.Limits.ConnectionsPerClient < 0 {
		v.fault("serve.proxy.limits.connections_per_client", "must not be negative; 0 is no limit")
	}
	for _, l := range c.listeners() {
		l.socket(c, v.fault)
		named(l.key+".proxy_protocol.trusted", l.ProxyProtocol.Trusted, v.fault)
		if l.ProxyProtocol.Required && len(l.ProxyProtocol.Trusted) == 0 {
			v.fault(l.key+".proxy_protocol.required", "needs %s.proxy_protocol.trusted: every connection would be closed", l.key)
		}
	}
	if strings.HasPrefix(c.Serve.Prometheus.Host, "unix:") {
		v.fault("serve.prometheus.host", "must be an address; the metrics are at /metrics of serve.api, which may be a Unix socket")
	}
}

// Level returns what a value of log.level means.
func Level(name string) slog.Level {
	switch strings.ToLower(name) {
	case "trace", "debug":
		return slog.LevelDebug
	case "warn", "warning":
		return slog.LevelWarn
	case "error":
		return slog.LevelError
	}
	return slog.LevelInfo
}

// loopback reports whether host is this machine only.
func loopback(host string) bool {
	if host == "localhost" || strings.HasPrefix(host, "unix:") {
		return true
	}
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && addr.IsLoopback()
}

// Address returns host:port for net.Listen.
func (l Listener) Address() string {
	return net.JoinHostPort(strings.Trim(l.Host, "[]"), strconv.Itoa(l.Port))
}

// Trusted returns the peers whose forwarded headers are read.
func (t Trust) Trusted() []Peer {
	list := slices.Clone(t.TrustedProxies)
	if t.TrustForwardedHeaders {
		for _, p := range []string{"127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"} {
			list = append(list, Peer{Network: netip.MustParsePrefix(p)})
		}
	}
	return list
}
