package e2e

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/google/go-cmp/cmp"
)

// files writes files of a test into a folder, with DIR and UPSTREAM filled in, and
// returns the folder.
func files(t *testing.T, api string, texts map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range texts {
		text = strings.NewReplacer("DIR", dir, "UPSTREAM", api).Replace(text)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// signingKeys is a private key set as `oathkeeper credentials generate --alg RS256` or
// ES256 makes it; RFC 7515 appendix A.3.
const signingKeys = `{"keys": [{"kty": "EC", "use": "sig", "kid": "a3", "alg": "ES256", "crv": "P-256",
	"x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
	"d": "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"}]}`

const oathkeeperConfig = `version: v0.40.9
log: {level: debug, format: json}
serve:
  proxy:
    port: 4455
    timeout: {read: 5s, write: 120s, idle: 120s}
  api:
    port: 4456
  prometheus:
    port: 9000
    host: localhost
    metrics_path: /metrics
access_rules:
  matching_strategy: glob
  repositories:
    - file://DIR/access-rules.yml
errors:
  fallback: [redirect, json]
  handlers:
    redirect:
      enabled: true
      config:
        to: http://127.0.0.1:4455/login
        when:
          - error: [unauthorized, forbidden]
            request:
              header:
                accept: [text/html]
    json:
      enabled: true
      config: {verbose: true}
authenticators:
  anonymous: {enabled: true, config: {subject: guest}}
  noop: {enabled: true}
  unauthorized: {enabled: true}
  cookie_session:
    enabled: true
    config:
      check_session_url: KRATOS/sessions/whoami
      preserve_path: true
      preserve_query: true
      preserve_host: true
      force_method: GET
      forward_http_headers: [X-Forwarded-For, User-Agent]
      additional_headers: {X-Caller: oathkeeper}
      extra_from: "@this"
      subject_from: identity.id
      only: [ory_kratos_session]
  bearer_token:
    enabled: true
    config:
      check_session_url: KRATOS/sessions/whoami
      token_from: {header: X-Session-Token}
      prefix: ory_st_
      preserve_path: true
      preserve_query: false
      preserve_host: false
      force_method: GET
      forward_http_headers: [X-Session-Token]
      additional_headers: {}
      extra_from: identity.traits
      subject_from: identity.id
  oauth2_client_credentials:
    enabled: true
    config:
      token_url: KRATOS/oauth2/token
      required_scope: [orders]
      retry: {give_up_after: 1s, max_delay: 100ms}
      cache: {enabled: true, ttl: 60s, max_tokens: 1000}
  jwt:
    enabled: true
    config:
      jwks_urls: [file://DIR/id_token.jwks.json]
      jwks_max_wait: 1s
      jwks_ttl: 30s
      scope_strategy: wildcard
      required_scope: []
      target_audience: [shop]
      trusted_issuers: [https://issuer.example]
      allowed_algorithms: [ES256]
      token_from: {cookie: token}
  oauth2_introspection:
    enabled: false
    config:
      introspection_url: KRATOS/oauth2/introspect
      scope_strategy: exact
      required_scope: [orders]
      target_audience: [shop]
      trusted_issuers: [https://issuer.example]
      prefix: ory_at_
      preserve_host: true
      introspection_request_headers: {X-Caller: oathkeeper}
      pre_authorization: {enabled: true, client_id: gate, client_secret: something-secure, token_url: KRATOS/oauth2/token, audience: introspection, scope: [introspect]}
      token_from: {header: X-Token}
      retry: {give_up_after: 1s, max_delay: 100ms}
      cache: {enabled: true, ttl: 60s, max_cost: 1000000}
authorizers:
  allow: {enabled: true}
  deny: {enabled: true}
mutators:
  noop: {enabled: true}
  header: {enabled: true, config: {headers: {X-User: "{{ print .Subject }}"}}}
  id_token:
    enabled: true
    config:
      issuer_url: http://127.0.0.1:4455/
      jwks_url: file://DIR/id_token.jwks.json
      claims: |
        {"aud": ["shop"], "session": {{ .Extra | toJson }}}
`

const oathkeeperRules = `- id: "ory:ui:public"
  upstream: {preserve_host: true, url: "UPSTREAM"}
  match: {url: "http://127.0.0.1:4455/<{registration,welcome,recovery}>/<**>", methods: [GET]}
  authenticators: [{handler: anonymous}]
  authorizer: {handler: allow}
  mutators: [{handler: id_token}, {handler: header}]
- id: "stripped"
  upstream: {url: "UPSTREAM/base", strip_path: /api}
  match: {url: "http://127.0.0.1:4455/api/<*>", methods: [GET, POST]}
  authenticators: [{handler: noop}]
  authorizer: {handler: allow}
  mutators: [{handler: noop}]
- id: "closed"
  upstream: {url: "UPSTREAM"}
  match: {url: "http://127.0.0.1:4455/closed", methods: [GET]}
  authenticators: [{handler: unauthorized}]
  authorizer: {handler: allow}
  mutators: [{handler: noop}]
- id: "ory:ui:protected"
  upstream: {url: "UPSTREAM"}
  match: {url: "http://127.0.0.1:4455/dashboard", methods: [GET]}
  authenticators: [{handler: cookie_session}, {handler: bearer_token}, {handler: oauth2_client_credentials}, {handler: jwt}]
  authorizer: {handler: allow}
  mutators: [{handler: header}]
- id: "switched off"
  upstream: {url: "UPSTREAM"}
  match: {url: "http://127.0.0.1:4455/tokens", methods: [GET]}
  authenticators: [{handler: oauth2_introspection}]
  authorizer: {handler: allow}
  mutators: [{handler: noop}]
`

// kratos stands for the services that Oathkeeper's authenticators ask.
func kratos(t *testing.T) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		cookie, _ := r.Cookie("ory_kratos_session")
		id, secret, _ := r.BasicAuth()
		switch {
		case r.URL.Path == "/oauth2/token" && id == "shop" && secret == "something-secure":
			_, _ = w.Write([]byte(`{"access_token": "x", "token_type": "bearer", "expires_in": 60, "scope": "orders"}`))
		case r.URL.Path == "/sessions/whoami" && r.Method == "GET" && (cookie != nil && cookie.Value == "good" || r.Header.Get("X-Session-Token") == "ory_st_good"):
			_, _ = w.Write([]byte(`{"active": true, "identity": {"id": "ada", "traits": {"email": "ada@example.com"}}}`))
		default:
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestAnOathkeeperConfigurationAndItsRulesWorkUnchanged(t *testing.T) {
	dir := files(t, upstream(t).URL, map[string]string{"oathkeeper.yml": strings.ReplaceAll(oathkeeperConfig, "KRATOS", kratos(t)), "access-rules.yml": oathkeeperRules, "id_token.jwks.json": signingKeys})
	p := start(t, settings{files: []string{filepath.Join(dir, "oathkeeper.yml")}, keys: map[string]string{"serve.prometheus.port": "0", "serve.proxy.trusted_proxies": "127.0.0.1"}})
	ask := func(path string, header ...string) answer {
		return send(t, "GET", p.proxy+path, "", append(header, "X-Forwarded-Host", "127.0.0.1:4455")...)
	}
	for _, c := range []struct {
		name, path, accept string
		want               int
		location           string
	}{
		{"a rule with braces", "/welcome/a/b", "", 200, ""},
		{"another word of them", "/recovery/x", "", 200, ""},
		{"no word of them", "/settings/x", "", 404, ""},
		{"one segment", "/api/x", "", 200, ""},
		{"two segments", "/api/x/y", "", 404, ""},
		{"nobody may, an API asks", "/closed", "application/json", 401, ""},
		{"nobody may, a browser asks", "/closed", "text/html", 302, "http://127.0.0.1:4455/login"},
		{"no credentials for four authenticators", "/dashboard", "application/json", 401, ""},
		{"a handler that is switched off", "/tokens", "", 500, ""},
	} {
		a := ask(c.path, "Accept", c.accept)
		if a.status != c.want || a.header.Get("Location") != c.location {
			t.Errorf("%s: got %d %q, want %d %q", c.name, a.status, a.header.Get("Location"), c.want, c.location)
		}
	}
	for _, c := range []struct {
		name, field, value string
		want               int
		subject            string
	}{
		{"a session", "Cookie", "other=1; ory_kratos_session=good", 200, "ada"},
		{"a session that is over", "Cookie", "ory_kratos_session=bad", 401, ""},
		{"a session token", "X-Session-Token", "ory_st_good", 200, "ada"},
		{"a session token that is over", "X-Session-Token", "ory_st_bad", 401, ""},
		{"a token of another kind", "X-Session-Token", "other", 401, ""},
		{"a client", "Authorization", "Basic c2hvcDpzb21ldGhpbmctc2VjdXJl", 200, "shop"},
		{"a client without its secret", "Authorization", "Basic c2hvcDp4", 401, ""},
		{"a forged token", "Cookie", "token=a.b.c", 401, ""},
	} {
		a := ask("/dashboard", "Accept", "application/json", c.field, c.value)
		var told seen
		if a.status == http.StatusOK {
			a.decode(t, &told)
		}
		if a.status != c.want || told.Header.Get("X-User") != c.subject {
			t.Errorf("%s: got %d for %q, want %d for %q", c.name, a.status, told.Header.Get("X-User"), c.want, c.subject)
		}
	}
	var stripped seen
	ask("/api/x?q=1").decode(t, &stripped)
	if stripped.URI != "/base/x?q=1" {
		t.Errorf("strip_path: the upstream saw %s", stripped.URI)
	}

	var told seen
	ask("/welcome/a").want(t, http.StatusOK).decode(t, &told)
	if got := told.Header.Get("X-User"); got != "guest" {
		t.Errorf("X-User: got %q, want guest", got)
	}
	set := oidc.NewRemoteKeySet(context.WithoutCancel(t.Context()), p.management+"/.well-known/jwks.json")
	minted := strings.TrimPrefix(told.Header.Get("Authorization"), "Bearer ")
	token, err := oidc.NewVerifier("http://127.0.0.1:4455/", set, &oidc.Config{ClientID: "shop", SupportedSigningAlgs: []string{"ES256"}}).Verify(t.Context(), minted)
	if err != nil {
		t.Fatal(err)
	}
	if token.Subject != "guest" {
		t.Errorf("the minted token is about %q, want guest", token.Subject)
	}
	if ready := send(t, "GET", p.management+"/health/ready", "").body; !strings.Contains(ready, "oauth2_introspection") {
		t.Errorf("readiness does not name the handler that is switched off: %s", ready)
	}
}

const earlyRules = `[
  {"id": "articles", "matchesMethods": ["GET"], "matchesUrl": "http://127.0.0.1:4455/articles/<[0-9]+>",
   "requiredScopes": ["articles"], "requiredAction": "get", "requiredResource": "articles:$1",
   "passThroughModeEnabled": false, "allowAnonymousModeEnabled": false, "basicAuthorizationModeEnabled": false},
  {"id": "basic", "matchesMethods": ["GET"], "matchesUrl": "http://127.0.0.1:4455/basic",
   "requiredScopes": ["articles"], "basicAuthorizationModeEnabled": true},
  {"id": "anonymous", "matchesMethods": ["GET"], "matchesUrl": "http://127.0.0.1:4455/anonymous", "allowAnonymousModeEnabled": true},
  {"id": "bypass", "matchesMethods": ["GET"], "matchesUrl": "http://127.0.0.1:4455/bypass", "mode": "bypass"}
]`

// TestTheTutorialOf2017Works follows the first tutorial of Oathkeeper: its variables,
// its client and policy files, its rules; Hydra being this program.
func TestTheTutorialOf2017Works(t *testing.T) {
	api := upstream(t)
	p := start(t, settings{rules: earlyRules, environ: []string{
		"HYDRA_URL=http://localhost:0/", "HYDRA_JWK_SET_ID=oathkeeper:id-token", "HYDRA_CLIENT_ID=oathkeeper-client",
		"HYDRA_CLIENT_SECRET=something-secure", "BACKEND_URL=" + api.URL, "DATABASE_URL=memory",
	}, keys: map[string]string{"serve.proxy.trusted_proxies": "127.0.0.1"}})
	post(t, p.management+"/clients", `{"id": "reader", "client_secret": "something-secure", "scope": "articles other", "grant_types": ["client_credentials"], "response_types": ["token"]}`).want(t, http.StatusCreated)
	post(t, p.management+"/policies", `{"subjects": ["reader"], "effect": "allow", "resources": ["articles:<[1-9]>"], "actions": ["get"]}`).want(t, http.StatusCreated)
	good := clientToken(t, p, "reader", "something-secure", "articles")
	other := clientToken(t, p, "reader", "something-secure", "other")

	for _, c := range []struct {
		name, path, token string
		want              int
	}{
		{"policy: nobody", "/articles/7", "", 401},
		{"policy: allowed", "/articles/7", good, 200},
		{"policy: another resource", "/articles/77", good, 403},
		{"policy: another scope", "/articles/7", other, 403},
		{"basic: nobody", "/basic", "", 401},
		{"basic: with a token", "/basic", good, 200},
		{"anonymous: nobody", "/anonymous", "", 200},
		{"anonymous: a token", "/anonymous", good, 200},
		{"bypass", "/bypass", "", 200},
	} {
		header := []string{"X-Forwarded-Host", "127.0.0.1:4455"}
		if c.token != "" {
			header = append(header, "Authorization", "bearer "+c.token)
		}
		if a := send(t, "GET", p.proxy+c.path, "", header...); a.status != c.want {
			t.Errorf("%s: got %d %s, want %d", c.name, a.status, a.body, c.want)
		}
	}

	var allowed struct {
		Allowed  bool   `json:"allowed"`
		Subject  string `json:"subject"`
		ClientID string `json:"clientId"`
	}
	question := `{"token": "` + good + `", "scopes": ["articles"], "resource": "articles:7", "action": "get", "context": {}}`
	post(t, p.management+"/warden/token/allowed", question).want(t, http.StatusOK).decode(t, &allowed)
	if !allowed.Allowed || allowed.Subject != "reader" || allowed.ClientID != "reader" {
		t.Errorf("warden: got %+v, want reader to be allowed", allowed)
	}
	var key struct {
		Kty string `json:"kty"`
	}
	send(t, "GET", p.management+"/keys/id-token.public", "").want(t, http.StatusOK).decode(t, &key)
	if key.Kty == "" {
		t.Error("/keys/id-token.public is no JSON Web Key")
	}
}

// TestTheQuickstartOfHydraWorks starts with Hydra's file and walks its endpoints, of
// both generations.
func TestTheQuickstartOfHydraWorks(t *testing.T) {
	dir := files(t, "", map[string]string{"hydra.yml": `serve:
  cookies: {same_site_mode: Lax}
  admin: {port: 4445}
urls:
  self: {issuer: "http://127.0.0.1:4444"}
  consent: http://127.0.0.1:3000/consent
  login: http://127.0.0.1:3000/login
  logout: http://127.0.0.1:3000/logout
secrets:
  system: [youReallyNeedToChangeThis]
oidc:
  subject_identifiers:
    supported_types: [pairwise, public]
    pairwise: {salt: youReallyNeedToChangeThis}
`})
	p := start(t, settings{
		files: []string{filepath.Join(dir, "hydra.yml")}, environ: []string{"DSN=sqlite://" + dir + "/db.sqlite?_fk=true", "STRATEGIES_ACCESS_TOKEN=jwt"},
		keys: map[string]string{"serve.admin.port": "0"},
	})
	admin := "http://" + p.app.Addresses()["admin"]
	for _, prefix := range []string{"", "/admin"} {
		id := "consumer" + strings.TrimPrefix(prefix, "/")
		post(t, admin+prefix+"/clients", `{"client_id": "`+id+`", "client_secret": "some-secret", "scope": "openid offline",
			"grant_types": ["client_credentials", "authorization_code", "refresh_token"], "response_types": ["code", "id_token"], "redirect_uris": ["http://127.0.0.1:5555/callback"]}`).want(t, http.StatusCreated)
		token := clientToken(t, p, id, "some-secret", "offline")
		var answer struct {
			Active   bool   `json:"active"`
			ClientID string `json:"client_id"`
			Issuer   string `json:"iss"`
			Use      string `json:"token_use"`
		}
		send(t, "POST", admin+prefix+"/oauth2/introspect", "token="+token, "Content-Type", "application/x-www-form-urlencoded").want(t, http.StatusOK).decode(t, &answer)
		if got := []any{answer.Active, answer.ClientID, answer.Issuer, answer.Use, strings.Count(token, ".")}; !cmp.Equal(got, []any{true, id, "http://127.0.0.1:4444", "access_token", 2}) {
			t.Errorf("introspection: got %v", got)
		}
		send(t, "GET", admin+prefix+"/keys/hydra.openid.id-token", "").want(t, http.StatusOK)
		send(t, "GET", admin+prefix+"/oauth2/auth/sessions/consent?subject=ada", "").want(t, http.StatusOK)
		query := url.Values{
			"client_id": {id}, "response_type": {"code"}, "scope": {"openid"}, "redirect_uri": {"http://127.0.0.1:5555/callback"}, "state": {"a-state-of-enough-length"},
			"code_challenge": {"E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"}, "code_challenge_method": {"S256"},
		}
		// The issuer of the file is not where the test listens; the login app is.
		a := send(t, "GET", p.public+"/oauth2/auth?"+query.Encode(), "")
		if to := a.header.Get("Location"); !strings.HasPrefix(to, "http://127.0.0.1:3000/login?login_challenge=") {
			t.Errorf("the browser is sent to %q (%d %s), want the login app", to, a.status, a.body)
		}
	}
	for _, path := range []string{"/health/alive", "/health/ready", "/version", "/metrics/prometheus"} {
		send(t, "GET", admin+path, "").want(t, http.StatusOK)
	}
}
