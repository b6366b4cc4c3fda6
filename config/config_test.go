package config

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// write puts text into a file of the test and returns its name.
func write(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// load loads and fails the test on a fault.
func load(t *testing.T, s Sources) *Config {
	t.Helper()
	cfg, _, err := Load(s)
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	return cfg
}

func TestNoLayersGiveTheDefaults(t *testing.T) {
	want := Default()
	want.Authenticators, want.Authorizers, want.Mutators, want.Errors.Handlers = map[string]Handler{}, map[string]Handler{}, map[string]Handler{}, map[string]Handler{}
	if diff := cmp.Diff(&want, load(t, Sources{}), cmp.AllowUnexported(netip.Prefix{})); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestLaterLayersWin(t *testing.T) {
	first := write(t, "a.yaml", "serve:\n  proxy:\n    port: 1001\n    host: a.example\nlog:\n  level: debug\n")
	second := write(t, "b.json", `{"serve": {"proxy": {"port": 1002}}}`)
	third := write(t, "c.toml", "[serve.public]\nport = 1003\n")
	cfg := load(t, Sources{
		Files:   []string{first, second, third},
		Environ: []string{"PROXY_PORT=7", "SERVE_PROXY_PORT=1004", "MANAGEMENT_PORT=1005", "LOG_LEVEL=warn", "TTL_REFRESH_TOKEN=-1"},
		Flags:   []Flag{{Name: "--log-level", Key: "log.level", Value: "error"}},
	})
	got := []any{cfg.Serve.Proxy.Port, cfg.Serve.Proxy.Host, cfg.Serve.Public.Port, cfg.Serve.API.Port, cfg.Log.Level, cfg.TTL.RefreshToken}
	want := []any{1004, "a.example", 1003, 1005, "error", time.Duration(-1)}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestFaultsNameTheirPlace(t *testing.T) {
	for _, c := range []struct {
		name, file, text string
		environ          []string
		want             string
	}{
		{name: "a misspelt key", file: "c.yaml", text: "serve:\n  proxy:\n    prot: 1\n", want: "c.yaml:3: unknown key serve.proxy.prot, did you mean serve.proxy.port?"},
		{name: "a misspelt section", file: "c.yaml", text: "\nserv:\n  proxy: {}\n", want: "c.yaml:2: unknown key serv, did you mean serve?"},
		{name: "YAML that is none", file: "c.yaml", text: "dsn: memory\nserve:\n\tproxy: {}\n", want: "c.yaml:3: found character that cannot start any token"},
		{name: "a key that is there twice", file: "c.yaml", text: "dsn: memory\nlog: {}\ndsn: memory\n", want: `c.yaml:3: mapping key "dsn" already defined at line 1`},
		{name: "a key of another case", file: "c.yaml", text: "DSN: memory\n", want: "c.yaml:1: unknown key DSN"},
		{name: "a misspelt key in TOML", file: "c.toml", text: "dns = 'memory'\n", want: "c.toml: unknown key dns, did you mean dsn?"},
		{name: "passwords of users that are elsewhere", file: "c.yaml", text: "urls:\n  login: https://a.example/\noauth2:\n  grant:\n    password:\n      enabled: true\n",
			want: "c.yaml:6: oauth2.grant.password.enabled needs the built-in login: urls.login must be empty"},
		{name: "a value of the wrong type", file: "c.yaml", text: "serve:\n  proxy:\n    port: many\n", want: "c.yaml:3: serve.proxy.port must be a whole number"},
		{name: "a duration without unit", file: "c.yaml", text: "ttl:\n  access_token: 5\n", want: "c.yaml:2: ttl.access_token must be a duration such as 30s or 1h"},
		{name: "a variable of the wrong type", environ: []string{"PROXY_PORT=x"}, want: "environment PROXY_PORT: serve.proxy.port must be a whole number"},
		{name: "a file of a variable that is missing", environ: []string{"DSN_FILE=/does/not/exist"}, want: "environment DSN_FILE: open /does/not/exist: no such file or directory"},
		{name: "a variable and its file", environ: []string{"DSN=memory", "DSN_FILE=/x"}, want: "environment DSN: DSN_FILE is set as well; set one of the two"},
		{name: "a port out of range", environ: []string{"PROXY_PORT=70000"}, want: "environment PROXY_PORT: serve.proxy.port must be between 0 and 65535"},
		{name: "broken YAML", file: "c.yaml", text: "a: [\n", want: "c.yaml:1: did not find expected node content"},
		{name: "broken TOML", file: "c.toml", text: "\na = \n", want: "c.toml:2"},
		{name: "a key twice", file: "c.yaml", text: "dsn: memory\ndsn: memory\n", want: `"dsn" already defined at line 1`},
		{name: "two documents", file: "c.yaml", text: "dsn: memory\n---\ndsn: memory\n", want: "more than one document"},
		{name: "a short secret", environ: []string{"SYSTEM_SECRET=short"}, want: "environment SYSTEM_SECRET: secrets.system must have at least 16 characters each"},
		{name: "a database without a secret", environ: []string{"DATABASE_URL=sqlite:///x"}, want: "secrets.system must be set when dsn is not memory"},
		{name: "a strategy that does not exist", environ: []string{"STRATEGIES_ACCESS_TOKEN=paseto"}, want: "strategies.access_token must be one of opaque, jwt"},
		{name: "certificates without TLS", environ: []string{"URLS_SELF_MTLS=http://mtls.example"}, want: "environment URLS_SELF_MTLS: urls.self.mtls must use https"},
		{name: "a provider that is no map", file: "c.yaml", text: "login:\n  providers: [google]\n", want: "c.yaml:2: login.providers[0] must be {id: ..., issuer: ..., client_id: ...}"},
		{name: "providers that are no list", environ: []string{"LOGIN_PROVIDERS=google"}, want: "environment LOGIN_PROVIDERS: login.providers must be a list of {id:"},
		{name: "a misspelt setting of a provider", file: "c.yaml", text: "login:\n  providers:\n  - {id: a, isuer: x}\n", want: "c.yaml:2: login.providers[0].isuer is no setting of a provider; did you mean issuer?"},
		{name: "a setting of a provider of the wrong type", file: "c.yaml", text: "login:\n  providers:\n  - {id: a, client_secret: [the secret]}\n", want: "c.yaml:2: login.providers[0].client_secret must be a string"},
		{name: "a provider without id", environ: []string{`LOGIN_PROVIDERS=[{"issuer":"https://x","client_id":"y","client_secret":"z"}]`}, want: "environment LOGIN_PROVIDERS: login.providers[0].id must be 1 to 64 letters"},
		{name: "two providers of one id", environ: []string{`LOGIN_PROVIDERS=[{"id":"a","issuer":"https://x","client_id":"y","client_secret":"z"},{"id":"a","issuer":"https://x","client_id":"y","client_secret":"z"}]`}, want: "login.providers[1].id is that of another provider"},
		{name: "a provider without TLS", environ: []string{`LOGIN_PROVIDERS=[{"id":"a","issuer":"http://x.example","client_id":"y","client_secret":"z"}]`}, want: "login.providers[0].issuer must use https"},
		{name: "a provider without secret", environ: []string{`LOGIN_PROVIDERS=[{"id":"a","issuer":"https://x","client_id":"y"}]`}, want: "login.providers[0].client_secret must be set, or token_endpoint_auth_method: none"},
		{name: "a secret of a provider that cannot be read", environ: []string{`LOGIN_PROVIDERS=[{"id":"a","issuer":"https://x","client_id":"y","client_secret_file":"/does/not/exist"}]`}, want: "login.providers[0].client_secret_file cannot be read"},
		{name: "a provider without openid", environ: []string{`LOGIN_PROVIDERS=[{"id":"a","issuer":"https://x","client_id":"y","client_secret":"z","scope":["email"]}]`}, want: "login.providers[0].scope must contain openid"},
		{name: "a domain with @", environ: []string{`LOGIN_PROVIDERS=[{"id":"a","issuer":"https://x","client_id":"y","client_secret":"z","create":true,"email_domains":["@example.com"]}]`}, want: "login.providers[0].email_domains must be names such as example.com"},
		{name: "domains of nobody", environ: []string{`LOGIN_PROVIDERS=[{"id":"a","issuer":"https://x","client_id":"y","client_secret":"z","email_domains":["example.com"]}]`}, want: "login.providers[0].email_domains has no effect without create or link_by_verified_email"},
		{name: "providers beside a login app", environ: []string{`LOGIN_PROVIDERS=[{"id":"a","issuer":"https://x","client_id":"y","client_secret":"z"}]`, "URLS_LOGIN=https://app.example"}, want: "login.providers has no effect while urls.login is set"},
		{name: "providers with strict cookies", environ: []string{`LOGIN_PROVIDERS=[{"id":"a","issuer":"https://x","client_id":"y","client_secret":"z"}]`, "COOKIE_SAME_SITE_MODE=Strict"}, want: "serve.cookies.same_site_mode must not be Strict with login.providers"},
		{name: "an issuer without TLS", environ: []string{"ISSUER=http://id.example"}, want: "environment ISSUER: urls.self.issuer must use https"},
		{name: "keys that change too often", file: "c.yaml", text: "keys:\n  rotation_period: 5m\n", want: "c.yaml:2: keys.rotation_period must be 0 or at least 1h"},
		{name: "a URI that nothing fits into", file: "c.yaml", text: "serve:\n  proxy:\n    limits: {uri: 10}\n", want: "c.yaml:3: serve.proxy.limits.uri must be at least 256 bytes"},
		{name: "fewer requests than none", environ: []string{"SERVE_PROXY_LIMITS_REQUESTS=-1"}, want: "environment SERVE_PROXY_LIMITS_REQUESTS: serve.proxy.limits.requests must not be negative"},
		{name: "fewer connections than none", environ: []string{"SERVE_PROXY_LIMITS_CONNECTIONS_PER_CLIENT=-1"}, want: "environment SERVE_PROXY_LIMITS_CONNECTIONS_PER_CLIENT: serve.proxy.limits.connections_per_client must not be negative"},
		{name: "a Redis by another protocol", environ: []string{"REDIS_URL=http://a"}, want: "environment REDIS_URL: redis.url must begin with redis://, rediss:// or unix://"},
		{name: "a Redis without a timeout", environ: []string{"REDIS_TIMEOUT=0s"}, want: "environment REDIS_TIMEOUT: redis.timeout must be from 1ms to 10s"},
		{name: "an unknown way without Redis", environ: []string{"RATE_LIMITS_ON_REDIS_FAILURE=open"}, want: "rate_limits.on_redis_failure"},
		{name: "trust in everybody", file: "c.yaml", text: "serve:\n  proxy:\n    trusted_proxies: [0.0.0.0/0]\n", want: "c.yaml:3: serve.proxy.trusted_proxies must not trust the whole internet"},
		{name: "a network that is none", file: "c.yaml", text: "serve:\n  proxy:\n    trusted_proxies: [10.0.0/8]\n", want: "c.yaml:3: serve.proxy.trusted_proxies must be a list of networks"},
		{name: "ext_authz for nobody", environ: []string{"SERVE_EXT_AUTHZ_PORT=9001"}, want: "serve.ext_authz.trusted_proxies must name the addresses of Envoy"},
		{name: "nginx may be anybody", environ: []string{"SERVE_API_NGINX_TRUSTED_PROXIES=0.0.0.0/0"}, want: "environment SERVE_API_NGINX_TRUSTED_PROXIES: serve.api.nginx.trusted_proxies must not trust the whole internet"},
		{name: "Envoy may be anybody", environ: []string{"SERVE_API_ENVOY_TRUSTED_PROXIES=::/0"}, want: "environment SERVE_API_ENVOY_TRUSTED_PROXIES: serve.api.envoy.trusted_proxies must not trust the whole internet"},
		{name: "anybody may ask over gRPC", environ: []string{"SERVE_EXT_AUTHZ_TRUSTED_PROXIES=0.0.0.0/0"}, want: "environment SERVE_EXT_AUTHZ_TRUSTED_PROXIES: serve.ext_authz.trusted_proxies must not trust the whole internet"},
		{name: "management without authentication on every address", environ: []string{"SERVE_API_HOST=0.0.0.0"}, want: "environment SERVE_API_HOST: serve.api.host exposes the management API without authentication"},
		{name: "management by tokens that are not there", environ: []string{"SERVE_MANAGEMENT_AUTHENTICATION=loopback,token"}, want: "environment SERVE_MANAGEMENT_AUTHENTICATION: serve.management.authentication has token: set management.tokens"},
		{name: "management tokens that would open nothing", environ: []string{"SERVE_MANAGEMENT_AUTHENTICATION=loopback", "MANAGEMENT_TOKENS=0123456789abcdef"}, want: "serve.management.authentication must have token, because management.tokens are set"},
		{name: "an unknown way to authenticate", environ: []string{"SERVE_MANAGEMENT_AUTHENTICATION=none"}, want: "serve.management.authentication must be one of loopback, token, mtls, hydra0"},
		{name: "a management token that can be guessed", environ: []string{"MANAGEMENT_TOKENS=secret"}, want: "environment MANAGEMENT_TOKENS: management.tokens must have at least 16 characters each"},
		{name: "a hash of a management token that is none", environ: []string{"MANAGEMENT_TOKENS=sha256:0123456789abcdef"}, want: "environment MANAGEMENT_TOKENS: management.tokens must have 64 hexadecimal digits"},
		{name: "management by anybody's certificate", environ: []string{"SERVE_MANAGEMENT_AUTHENTICATION=mtls"}, want: "serve.management.certificate_subjects must say whose certificates"},
		{name: "management by certificates without TLS", environ: []string{"SERVE_MANAGEMENT_AUTHENTICATION=mtls", "SERVE_MANAGEMENT_CERTIFICATE_SUBJECTS=CN=a"}, want: "serve.api.tls must be set with client_ca"},
		{name: "certificates that would open nothing", environ: []string{"SERVE_MANAGEMENT_CERTIFICATE_SUBJECTS=CN=a"}, want: "serve.management.authentication must have mtls"},
		{name: "resources that are a pattern", environ: []string{"RESOURCE_NAME_PREFIX=rn:<.*>"}, want: "environment RESOURCE_NAME_PREFIX: serve.management.resource_prefix must be a name"},
		{name: "certificates without consent", file: "c.yaml", text: "serve:\n  proxy:\n    tls: {acme: {hosts: [a.example]}}\n", want: "c.yaml:3: serve.proxy.tls.acme.hosts needs acme.accept_terms"},
		{name: "certificates without a folder", file: "c.yaml", text: "acme: {accept_terms: true}\n", want: "acme.storage must name a folder"},
		{name: "a certificate for a pattern", file: "c.yaml", text: "serve:\n  public:\n    tls: {acme: {hosts: ['*.example.com']}}\n", want: `c.yaml:3: serve.public.tls.acme.hosts "*.example.com" is a pattern`},
		{name: "a certificate for an address", file: "c.yaml", text: "serve:\n  public:\n    tls: {acme: {hosts: ['192.0.2.1']}}\n", want: `"192.0.2.1" is an address`},
		{name: "a certificate for a path", file: "c.yaml", text: "serve:\n  public:\n    tls: {acme: {hosts: ['a.example/../b']}}\n", want: `"a.example/../b" must be a host name`},
		{name: "a certificate for a port", file: "c.yaml", text: "serve:\n  public:\n    tls: {acme: {hosts: ['a.example:443']}}\n", want: `"a.example:443" must be a host name without port`},
		{name: "a certificate for a bare name", file: "c.yaml", text: "serve:\n  public:\n    tls: {acme: {hosts: ['localhost']}}\n", want: `"localhost" must be a full host name`},
		{name: "a directory without TLS", file: "c.yaml", text: "acme:\n  directory: http://ca.example/dir\n", want: "c.yaml:2: acme.directory must be an https URL"},
		{name: "half a binding", file: "c.yaml", text: "acme:\n  eab: {key_id: a}\n", want: "acme.eab needs both key_id and hmac_key"},
		{name: "a binding that is not base64url", file: "c.yaml", text: "acme:\n  eab: {key_id: a, hmac_key: 'a+b='}\n", want: "c.yaml:2: acme.eab.hmac_key must be base64url"},
		{name: "a contact that is none", file: "c.yaml", text: "acme:\n  email: me\n", want: "c.yaml:2: acme.email must be one address"},
		{name: "challenges of nobody", file: "c.yaml", text: "acme:\n  http: {port: 80}\n", want: "c.yaml:2: acme.http.port needs acme.accept_terms"},
		{name: "HTTP/3 without TLS", file: "c.yaml", text: "serve:\n  proxy:\n    http3: true\n", want: "c.yaml:3: serve.proxy.http3 needs TLS"},
		{name: "HTTP/3 at a Unix socket", file: "c.yaml", text: "serve:\n  proxy:\n    host: unix:/a\n    http3: true\n    tls: {key: {path: k}, cert: {path: c}}\n", want: "c.yaml:4: serve.proxy.http3 needs an address"},
		{name: "HTTP/3 behind the PROXY protocol", file: "c.yaml", text: "serve:\n  proxy:\n    proxy_protocol: {trusted: [10.0.0.1]}\n    http3: true\n    tls: {key: {path: k}, cert: {path: c}}\n", want: "c.yaml:4: serve.proxy.http3 cannot be served behind the PROXY protocol"},
		{name: "HTTP/3 at a port that is none", file: "c.yaml", text: "serve:\n  proxy:\n    http3_port: 70000\n", want: "c.yaml:3: serve.proxy.http3_port must be between"},
		{name: "half a certificate", file: "c.yaml", text: "serve:\n  proxy:\n    tls:\n      key: {path: k.pem}\n", want: "serve.proxy.tls needs both key and cert"},
		{name: "CORS with credentials for everybody", file: "c.yaml", text: "serve:\n  public:\n    cors:\n      enabled: true\n      allow_credentials: true\n", want: "c.yaml:5: serve.public.cors.allow_credentials would let every site act as the visitor"},
		{name: "CORS of an origin that is none", file: "c.yaml", text: "serve:\n  proxy:\n    cors: {enabled: true, allowed_origins: [shop.example]}\n", want: `c.yaml:3: serve.proxy.cors.allowed_origins "shop.example" is not an origin`},
		{name: "CORS for everybody at an open management API", file: "c.yaml", text: "serve:\n  api:\n    cors: {enabled: true}\n", want: "serve.api.cors.allowed_origins must name origins, or management.tokens must be set"},
		{name: "clients are asked for certificates without TLS", environ: []string{"SERVE_PROXY_TLS_CLIENT_AUTH=request"}, want: "environment SERVE_PROXY_TLS_CLIENT_AUTH: serve.proxy.tls.client_auth needs TLS"},
		{name: "an authentication of clients that does not exist", environ: []string{"SERVE_API_TLS_CLIENT_AUTH=optional"}, want: "serve.api.tls.client_auth must be one of none, request, require, verify"},
		{name: "clients are verified by nobody", file: "c.yaml", text: "serve:\n  public:\n    tls:\n      key: {path: k.pem}\n      cert: {path: c.pem}\n      client_auth: verify\n", want: "c.yaml:6: serve.public.tls.client_auth is verify: set client_ca"},
		{name: "certificates that nobody is trusted to forward", environ: []string{"SERVE_PROXY_CLIENT_CERT_HEADER=client-cert"}, want: "environment SERVE_PROXY_CLIENT_CERT_HEADER: serve.proxy.client_cert_header is read from trusted proxies only"},
		{name: "a field of certificates that is not known", environ: []string{"SERVE_API_CLIENT_CERT_HEADER=X-Cert"}, want: "serve.api.client_cert_header must be one of"},
		{name: "a feature that is missing here", file: "c.yaml", text: "hsm:\n  enabled: true\n", want: "c.yaml:1: hsm is not supported"},
		{name: "a handler with an unknown key", file: "c.yaml", text: "mutators:\n  header:\n    conf: {}\n", want: "c.yaml:3: unknown key mutators.header.conf, known are enabled and config"},
		{name: "a subject type that does not exist", environ: []string{"OIDC_SUBJECT_TYPES_SUPPORTED=public,secret"}, want: "environment OIDC_SUBJECT_TYPES_SUPPORTED: oidc.subject_identifiers.supported_types must be one of public, pairwise"},
		{name: "pairwise subjects that anybody can compute", environ: []string{"OIDC_SUBJECT_IDENTIFIERS_SUPPORTED_TYPES=pairwise", "OIDC_SUBJECT_TYPE_PAIRWISE_SALT=short"}, want: "environment OIDC_SUBJECT_TYPE_PAIRWISE_SALT: oidc.subject_identifiers.pairwise.salt must have at least 8 characters when there are pairwise subjects"},
		{name: "a hook without a secret", file: "c.yaml", text: "oauth2:\n  token_hook:\n    url: https://a.example\n    auth:\n      type: api_key\n      config: {in: header, name: X-Key}\n", want: "oauth2.token_hook.auth.config.value must be a secret of printable ASCII characters"},
		{name: "a hook that is known by magic", file: "c.yaml", text: "oauth2:\n  refresh_token_hook:\n    url: https://a.example\n    auth: {type: magic, config: {in: header, name: X-Key, value: secret}}\n", want: "c.yaml:4: oauth2.refresh_token_hook.auth.type must be one of api_key"},
		{name: "a hook that is nowhere", file: "c.yaml", text: "oauth2:\n  token_hook: hooks\n", want: "oauth2.token_hook.url must be an absolute http or https URL"},
		{name: "an algorithm that nobody signs with", environ: []string{"OIDC_ID_TOKEN_SIGNING_ALG=HS256"}, want: "environment OIDC_ID_TOKEN_SIGNING_ALG: oidc.id_token_signing_alg must be one of RS256, ES256, PS256, EdDSA"},
		{name: "clients may be anywhere", environ: []string{"CLIENTS_HTTP_ALLOWED_NETWORKS=0.0.0.0/0"}, want: "environment CLIENTS_HTTP_ALLOWED_NETWORKS: clients.http.allowed_networks must hold networks such as 10.1.0.0/16, not 0.0.0.0/0"},
		{name: "an initial access token that is not hashed", environ: []string{"OIDC_DYNAMIC_CLIENT_REGISTRATION_INITIAL_ACCESS_TOKENS=secret"}, want: "oidc.dynamic_client_registration.initial_access_tokens must be sha256: and 64 hexadecimal digits each"},
		{name: "a scheme that is an address", environ: []string{"OIDC_DYNAMIC_CLIENT_REGISTRATION_ALLOWED_REDIRECT_SCHEMES=https://"}, want: "oidc.dynamic_client_registration.allowed_redirect_schemes must hold schemes"},
		{name: "a host with a port", environ: []string{"OIDC_DYNAMIC_CLIENT_REGISTRATION_ALLOWED_REDIRECT_HOSTS=a.example:443"}, want: "oidc.dynamic_client_registration.allowed_redirect_hosts must hold hosts"},
		{name: "registration of nobody", environ: []string{"OIDC_DYNAMIC_CLIENT_REGISTRATION_MAX_CLIENTS=0"}, want: "oidc.dynamic_client_registration.max_clients must be at least 1"},
		{name: "clients that end at once", environ: []string{"OIDC_DYNAMIC_CLIENT_REGISTRATION_UNUSED_TTL=1h"}, want: "oidc.dynamic_client_registration.unused_ttl must be 0, for ever, or at least 24h"},
		{name: "a rate that is none", environ: []string{"OIDC_DYNAMIC_CLIENT_REGISTRATION_RATE_LIMIT_RATE=-1"}, want: "oidc.dynamic_client_registration.rate_limit must have a rate"},
		{name: "statements without keys", environ: []string{"OIDC_DYNAMIC_CLIENT_REGISTRATION_SOFTWARE_STATEMENTS_ISSUERS=https://a.example"}, want: "oidc.dynamic_client_registration.software_statements needs both issuers and jwks_urls"},
		{name: "statements of nobody", environ: []string{"OIDC_DYNAMIC_CLIENT_REGISTRATION_SOFTWARE_STATEMENTS_REQUIRED=true"}, want: "oidc.dynamic_client_registration.software_statements.required needs issuers"},
		{name: "documents at an address", environ: []string{"OAUTH2_CLIENT_ID_METADATA_DOCUMENTS_ALLOWED_HOSTS=https://a.example"}, want: "oauth2.client_id_metadata_documents.allowed_hosts must hold hosts"},
		{name: "documents that are kept for ever", environ: []string{"OAUTH2_CLIENT_ID_METADATA_DOCUMENTS_MAX_AGE=48h"}, want: "oauth2.client_id_metadata_documents.max_age must be from 1m to 24h"},
		{name: "a file that is missing", want: "--config /does/not/exist.yaml: no such file or directory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := Sources{Environ: c.environ}
			switch {
			case c.file != "":
				s.Files = []string{write(t, c.file, c.text)}
			case c.environ == nil:
				s.Files = []string{"/does/not/exist.yaml"}
			}
			_, _, err := Load(s)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestSecretsMayComeFromFiles(t *testing.T) {
	cfg := load(t, Sources{Environ: []string{"SYSTEM_SECRET_FILE=" + write(t, "secret", "sixteen,characters-long\n")}})
	if diff := cmp.Diff([]string{"sixteen,characters-long"}, cfg.Secrets.System); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// jwtConfig stands for a handler's configuration.
type jwtConfig struct {
	JWKSURLs []string `json:"jwks_urls"`
	Cache    struct {
		Enabled bool `json:"enabled"`
	} `json:"cache"`
	Subject string `json:"subject"`
}

func TestAFallbackThatDoesNotExistIsNamedWithItsPlace(t *testing.T) {
	file := write(t, "a.yaml", "errors:\n  fallback: [json, jsno]\n")
	s := Sources{Files: []string{file}, Handlers: map[string]map[string]any{"errors": {"json": jwtConfig{}}}}
	if _, _, err := Load(s); err == nil || err.Error() != file+":2: errors.fallback: unknown handler jsno, known are json" {
		t.Errorf("got %v", err)
	}
	s = Sources{Environ: []string{"ERRORS_FALLBACK=jsno"}, Handlers: s.Handlers}
	if _, _, err := Load(s); err == nil || !strings.HasSuffix(err.Error(), "errors.fallback: unknown handler jsno, known are json") {
		t.Errorf("got %v", err)
	}
}

func TestAHandlerThatDoesNotExistIsAFaultUnlessItIsOff(t *testing.T) {
	file := write(t, "a.yaml", "authenticators:\n  jtw:\n    enabled: true\n  gone:\n    enabled: false\n  jwt:\n    enabled: true\n")
	_, warnings, err := Load(Sources{Files: []string{file}, Handlers: map[string]map[string]any{"authenticators": {"jwt": jwtConfig{}}}})
	if want := file + ":2: unknown handler authenticators.jtw, known are jwt"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if len(warnings) > 0 {
		t.Errorf("got warnings %q", warnings)
	}
}

func TestHandlerSectionsMergeAndKeepTheirSpelling(t *testing.T) {
	first := write(t, "a.yaml", "mutators:\n  header:\n    enabled: true\n    config:\n      headers:\n        X-User: a\n        X-Mail: m\nerrors:\n  fallback: [redirect, json]\n")
	second := write(t, "b.yaml", "mutators:\n  header:\n    config:\n      headers:\n        X-User: b\nauthenticators:\n  noop:\n    enabled: false\n")
	cfg := load(t, Sources{
		Files:    []string{first, second},
		Environ:  []string{"AUTHENTICATORS_JWT_CONFIG_JWKS_URLS=https://a/k,https://b/k", "AUTHENTICATORS_JWT_CONFIG_CACHE_ENABLED=true", "AUTHENTICATORS_JWT_ENABLED=false", "AUTHENTICATOR_ANONYMOUS_USERNAME=guest"},
		Handlers: map[string]map[string]any{"authenticators": {"jwt": jwtConfig{}, "anonymous": jwtConfig{}, "noop": nil}},
	})
	want := map[string]map[string]Handler{
		"authenticators": {
			"noop":      {Disabled: true},
			"jwt":       {Disabled: true, Config: json.RawMessage(`{"cache":{"enabled":true},"jwks_urls":["https://a/k","https://b/k"]}`)},
			"anonymous": {Config: json.RawMessage(`{"subject":"guest"}`)},
		},
		"mutators": {"header": {Config: json.RawMessage(`{"headers":{"X-Mail":"m","X-User":"b"}}`)}},
	}
	got := map[string]map[string]Handler{"authenticators": cfg.Authenticators, "mutators": cfg.Mutators}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if diff := cmp.Diff([]string{"redirect", "json"}, cfg.Errors.Fallback); diff != "" {
		t.Errorf("fallback (-want +got)\n%s", diff)
	}
}

func TestKeysWithoutEffectAreWarnedOf(t *testing.T) {
	_, warnings, err := Load(Sources{Files: []string{write(t, "c.yaml", "version: v0.40\ntracing:\n  provider: jaeger\n")}})
	if err != nil {
		t.Fatal(err)
	}
	if len(warnings) != 2 {
		t.Errorf("got %d warnings %q, want 2", len(warnings), warnings)
	}
}

func TestVariablesDoNotSwitchDangerousThingsOn(t *testing.T) {
	cfg := load(t, Sources{Environ: []string{"DEMO=true", "DEV=true", "MANAGEMENT_DANGEROUS_EXPOSE=true"}})
	if cfg.Demo || cfg.Dev || cfg.Management.Exposed {
		t.Errorf("got demo %v, dev %v, exposed %v, want none", cfg.Demo, cfg.Dev, cfg.Management.Exposed)
	}
}

func TestTrustForwardedHeadersMeansPrivateRanges(t *testing.T) {
	cfg := load(t, Sources{Environ: []string{"SERVE_PROXY_TRUST_FORWARDED_HEADERS=true", "SERVE_PROXY_TRUSTED_PROXIES=203.0.113.7"}})
	var got []string
	for _, p := range cfg.Serve.Proxy.Trusted() {
		got = append(got, p.String())
	}
	want := []string{"203.0.113.7/32", "127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestWhatListenersAreToldIsChecked(t *testing.T) {
	cfg := load(t, Sources{Environ: []string{
		"SERVE_API_HOST=unix:/run/gatewarden/api", "SERVE_API_PORT=-1", "SERVE_ADMIN_HOST=unix:/run/gatewarden/admin", "SERVE_ADMIN_SOCKET_MODE=0660",
		"SERVE_ADMIN_SOCKET_GROUP=www", "SERVE_API_TRUSTED_PROXIES=unix,10.0.0.1",
	}})
	want := Admin{Listener: Listener{Host: "unix:/run/gatewarden/admin", Port: -1, Socket: Socket{Group: "www", Mode: 0o660}, TLS: TLS{ClientAuth: "none"}}, Server: Server{Fast: true}, CORS: Default().Serve.Admin.CORS}
	if diff := cmp.Diff(want, cfg.Serve.Admin); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if got := []any{cfg.Serve.API.Path(), cfg.Serve.API.On(), cfg.Serve.Admin.On(), Default().Serve.Admin.On(), cfg.Serve.API.TrustedProxies[0], cfg.Serve.API.TrustedProxies[1].String()}; !cmp.Equal(got,
		[]any{"/run/gatewarden/api", true, true, false, Peer{Unix: true}, "10.0.0.1/32"}, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })) {
		t.Errorf("got %v", got)
	}
	for env, want := range map[string]string{
		"SERVE_PROXY_HOST=unix:relative":               "serve.proxy.host must be unix: and an absolute path",
		"SERVE_PROXY_HOST=unix:":                       "serve.proxy.host must be unix: and an absolute path",
		"SERVE_PROXY_SOCKET_MODE=770":                  "serve.proxy.socket.mode must be permissions of at most 0777, in octal",
		"SERVE_PUBLIC_HOST=unix:/run/s":                "urls.self.issuer must be set when serve.public.host is a Unix socket",
		"SERVE_PROMETHEUS_HOST=unix:/s":                "serve.prometheus.host must be an address",
		"SERVE_PUBLIC_PROXY_PROTOCOL_REQUIRED=true":    "serve.public.proxy_protocol.required needs serve.public.proxy_protocol.trusted",
		"SERVE_PROXY_PROXY_PROTOCOL_TRUSTED=0.0.0.0/0": "serve.proxy.proxy_protocol.trusted must not trust the whole internet",
		"SERVE_PROXY_TRUSTED_PROXIES=Unix":             "serve.proxy.trusted_proxies",
	} {
		if _, _, err := Load(Sources{Environ: []string{env}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", env, err, want)
		}
	}
	if _, _, err := Load(Sources{Environ: []string{"SERVE_PROXY_HOST=unix:/run/s"}, Flags: []Flag{{Name: "demo", Key: "demo", Value: "true"}}}); err == nil || !strings.Contains(err.Error(), "must be an address with --demo") {
		t.Errorf("got %v", err)
	}
}

func FuzzConfigFilesNeverCrash(f *testing.F) {
	f.Add([]byte("serve: {proxy: {port: 1}}"), true)
	f.Add([]byte("a: &x [*x]"), true)
	f.Add([]byte("[serve]\nproxy = 1"), false)
	f.Add([]byte("errors: {fallback: 1, handlers: []}"), true)
	f.Fuzz(func(t *testing.T, data []byte, yaml bool) {
		name := "c.toml"
		if yaml {
			name = "c.yaml"
		}
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if cfg, _, err := Load(Sources{Files: []string{path}}); err == nil && cfg == nil {
			t.Error("neither a configuration nor an error")
		}
	})
}

func TestVariablesThatAreNoSettingsDrawAWarning(t *testing.T) {
	_, warnings, err := Load(Sources{
		Environ: []string{
			"SERVE_PROXY_PORT=0", "SERVE_PROXY_HTTP3_ENABLED=true", "SERVE_API_TRUSTED_PROXYS=10.0.0.0/8", "ACCESS_RULES_REPOSITORYS_FILE=/x",
			"AUTHENTICATORS_JWT_CONFIG_JWKS_URLS=https://x.example", "AUTHENTICATORS_JWT_CONFIG_JWKS_URL=https://x.example", "SERVE_PROXY_TIMEOUT_WRITE=5s",
			"SERVE_PROXY_SERVICE_HOST=10.0.0.1", "SERVE_PROXY_PORT_4455_TCP_ADDR=10.0.0.1", "HOME=/root", "LOGIN_SHELL=/bin/sh",
		},
		Handlers: map[string]map[string]any{"authenticators": {"jwt": jwtConfig{}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"environment ACCESS_RULES_REPOSITORYS_FILE: is no setting; did you mean ACCESS_RULES_REPOSITORIES?",
		"environment AUTHENTICATORS_JWT_CONFIG_JWKS_URL: is no setting; did you mean AUTHENTICATORS_JWT_CONFIG_JWKS_URLS?",
		"environment SERVE_API_TRUSTED_PROXYS: is no setting; did you mean SERVE_API_TRUSTED_PROXIES?",
		"environment SERVE_PROXY_HTTP3_ENABLED: is no setting; did you mean SERVE_PROXY_HTTP3?",
	}
	if diff := cmp.Diff(want, warnings); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAManagementTokenThatStandsAsItIsDrawsAWarning(t *testing.T) {
	hash := "sha256:" + strings.Repeat("0a", 32)
	for tokens, warned := range map[string]bool{hash: false, "swordfish-swordfish": true, hash + ",swordfish-swordfish": true, `["$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$a2V5a2V5a2V5a2V5"]`: false} {
		_, warnings, err := Load(Sources{Environ: []string{"MANAGEMENT_TOKENS=" + tokens}})
		if err != nil {
			t.Fatal(err)
		}
		text := strings.Join(warnings, "\n")
		if strings.Contains(text, "environment MANAGEMENT_TOKENS: management.tokens holds a token as it is") != warned || strings.Contains(text, "swordfish") {
			t.Errorf("%s: got %q", tokens, text)
		}
	}
}

func TestTheWaysIntoTheManagementAPI(t *testing.T) {
	for environ, want := range map[string]string{
		"A=b": "loopback", "MANAGEMENT_TOKENS=0123456789abcdef": "token", "SERVE_MANAGEMENT_AUTHENTICATION=loopback,hydra0": "loopback hydra0", "SERVE_MANAGEMENT_AUTHENTICATION=hydra0": "hydra0",
	} {
		if got := strings.Join(load(t, Sources{Environ: []string{environ}}).Authentication(), " "); got != want {
			t.Errorf("%s: got %s, want %s", environ, got, want)
		}
	}
	load(t, Sources{Environ: []string{"SERVE_API_HOST=0.0.0.0", "SERVE_MANAGEMENT_AUTHENTICATION=hydra0"}})
}
