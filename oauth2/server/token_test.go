package server_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/oauth2"
	"github.com/gatewarden/gatewarden/oauth2/server"
)

func TestAClientGetsATokenThatIntrospectsAsItsOwn(t *testing.T) {
	for _, strategy := range []string{server.Opaque, server.JWT} {
		t.Run(strategy, func(t *testing.T) {
			r := start(t, func(o *server.Options) { o.AccessTokenStrategy = strategy })
			r.client()
			config := clientcredentials.Config{ClientID: "app", ClientSecret: "secret", TokenURL: r.url + "/oauth2/token",
				Scopes: []string{"read"}, EndpointParams: url.Values{"audience": {"api"}}}
			token, err := config.Token(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			if strategy == server.Opaque && !strings.HasPrefix(token.AccessToken, "ory_at_") {
				t.Errorf("token %q has no prefix", token.AccessToken)
			}
			for range 2 { // the second answer comes from the cache
				got, err := r.server.Introspect(context.Background(), token.AccessToken)
				if err != nil {
					t.Fatal(err)
				}
				want := access.Token{Active: true, Subject: "app", ClientID: "app", Issuer: r.url, TokenType: "Bearer", TokenUse: "access_token",
					Scope: []string{"read"}, Audience: []string{"api"}}
				if d := cmp.Diff(want, got, cmpopts.IgnoreFields(access.Token{}, "ID", "IssuedAt", "NotBefore", "ExpiresAt")); d != "" {
					t.Error(d)
				}
				if left := time.Until(got.ExpiresAt); left < 58*time.Minute || left > time.Hour {
					t.Errorf("the token lives for %v", left)
				}
			}
		})
	}
}

func TestAJWTAccessTokenHasTheClaimsOfRFC9068(t *testing.T) {
	r := start(t, func(o *server.Options) { o.AccessTokenStrategy = server.JWT })
	r.client()
	token := r.machineToken("scope", "read write", "audience", "api")
	payload, err := ring().Verify(context.Background(), token, "at+jwt")
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	_ = json.Unmarshal(payload, &got)
	want := map[string]any{"iss": r.url, "sub": "app", "client_id": "app", "aud": []any{"api"}, "scope": "read write", "scp": []any{"read", "write"}}
	if d := cmp.Diff(want, got, cmpopts.IgnoreMapEntries(func(k string, _ any) bool {
		return k == "iat" || k == "nbf" || k == "exp" || k == "jti"
	})); d != "" {
		t.Error(d)
	}
	for _, claim := range []string{"iat", "exp", "jti"} {
		if got[claim] == nil {
			t.Errorf("claim %s is missing", claim)
		}
	}
	header, _, _ := strings.Cut(token, ".")
	raw, _ := base64.RawURLEncoding.DecodeString(header)
	if !strings.Contains(string(raw), `"typ":"at+jwt"`) {
		t.Errorf("header is %s", raw)
	}
}

func TestTheTokenAnswerIsExactAndNotStored(t *testing.T) {
	r := start(t)
	r.client(func(c *oauth2.Client) { c.ClientCredentialsGrantAccess = "5m" })
	a := r.post("/oauth2/token", "app:secret", "grant_type", "client_credentials", "scope", "read")
	delete(a.json, "access_token")
	want := map[string]any{"expires_in": 300.0, "scope": "read", "token_type": "bearer"}
	if d := cmp.Diff(want, a.json); d != "" {
		t.Error(d)
	}
	if got := a.header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control is %q", got)
	}
}

func TestBadTokenRequestsAreRefusedWithTheRightError(t *testing.T) {
	r := start(t)
	r.client()
	r.client(public)
	r.client(func(c *oauth2.Client) { c.ID, c.Disabled = "off", true })
	r.client(func(c *oauth2.Client) { c.ID, c.GrantTypes = "codeonly", []string{"authorization_code"} })
	r.client(func(c *oauth2.Client) { c.ID, c.SecretExpiresAt = "late", 1 })
	r.client(func(c *oauth2.Client) {
		c.ID, c.TokenEndpointAuthMethod, c.AuthMethodSet = "post", "client_secret_post", true
	})
	r.client(func(c *oauth2.Client) {
		c.ID, c.TokenEndpointAuthMethod, c.AuthMethodSet = "key", "private_key_jwt", true
	})
	const cc = "grant_type=client_credentials"
	for name, tc := range map[string]struct {
		basic, body string
		status      int
		code        string
	}{
		"empty body":               {"app:secret", "", 400, "invalid_request"},
		"no grant type":            {"app:secret", "scope=read", 400, "invalid_request"},
		"unknown grant type":       {"app:secret", "grant_type=magic", 400, "unsupported_grant_type"},
		"grant type in capitals":   {"app:secret", "grant_type=Client_Credentials", 400, "unsupported_grant_type"},
		"implicit":                 {"app:secret", "grant_type=implicit", 400, "unsupported_grant_type"},
		"password":                 {"app:secret", "grant_type=password&username=a&password=b", 400, "unsupported_grant_type"},
		"no credentials":           {"", cc, 401, "invalid_client"},
		"no secret":                {"", cc + "&client_id=app", 401, "invalid_client"},
		"empty secret":             {"app:", cc, 401, "invalid_client"},
		"wrong secret":             {"app:wrong", cc, 401, "invalid_client"},
		"wrong secret in the body": {"", cc + "&client_id=app&client_secret=wrong", 401, "invalid_client"},
		"unknown client":           {"nobody:secret", cc, 401, "invalid_client"},
		"disabled client":          {"off:secret", cc, 401, "invalid_client"},
		"expired secret":           {"late:secret", cc, 401, "invalid_client"},
		"method not registered":    {"post:secret", cc, 401, "invalid_client"},
		"unsupported method":       {"key:secret", cc, 401, "invalid_client"},
		"client assertion":         {"", cc + "&client_id=app&client_assertion=x", 401, "invalid_client"},
		"two methods":              {"app:secret", cc + "&client_secret=secret", 400, "invalid_request"},
		"two clients":              {"app:secret", cc + "&client_id=spa", 400, "invalid_request"},
		"public with a secret":     {"spa:secret", cc, 401, "invalid_client"},
		"public client":            {"", cc + "&client_id=spa", 400, "unauthorized_client"},
		"grant not registered":     {"codeonly:secret", cc, 400, "unauthorized_client"},
		"scope not registered":     {"app:secret", cc + "&scope=admin", 400, "invalid_scope"},
		"scope of a longer name":   {"app:secret", cc + "&scope=read.all", 400, "invalid_scope"},
		"scope in capitals":        {"app:secret", cc + "&scope=OpenID", 400, "invalid_scope"},
		"scope with a quote":       {"app:secret", cc + "&scope=a%22b", 400, "invalid_scope"},
		"audience not registered":  {"app:secret", cc + "&audience=evil", 400, "invalid_request"},
		"audience below another":   {"app:secret", cc + "&audience=api/evil", 400, "invalid_request"},
		"parameter twice":          {"app:secret", cc + "&scope=read&scope=write", 400, "invalid_request"},
		"broken encoding":          {"app:secret", cc + "&scope=%zz", 400, "invalid_request"},
		"NUL":                      {"app:secret", cc + "&scope=%00", 400, "invalid_request"},
		"too large":                {"app:secret", cc + "&x=" + strings.Repeat("a", 70_000), 400, "invalid_request"},
		"code of nobody":           {"app:secret", "grant_type=authorization_code&code=ory_ac_x", 400, "invalid_grant"},
		"no code":                  {"app:secret", "grant_type=authorization_code", 400, "invalid_grant"},
		"no refresh token":         {"app:secret", "grant_type=refresh_token", 400, "invalid_grant"},
	} {
		t.Run(name, func(t *testing.T) {
			r := &rig{t: t, url: r.url, http: r.http}
			a := r.postRaw("/oauth2/token", tc.basic, tc.body)
			r.wants(a, tc.status, tc.code)
			if a.header.Get("Content-Type") != "application/json;charset=UTF-8" || a.header.Get("Cache-Control") != "no-store" {
				t.Errorf("headers are %v", a.header)
			}
			if challenge := a.header.Get("WWW-Authenticate"); (tc.status == 401) != strings.HasPrefix(challenge, "Basic ") {
				t.Errorf("WWW-Authenticate is %q", challenge)
			}
		})
	}
}

func TestBadContentTypesAndHeadersAreClientErrors(t *testing.T) {
	r := start(t)
	r.client()
	send := func(method, path, contentType, authorization, body string) answer {
		req, _ := http.NewRequest(method, r.url+path, strings.NewReader(body))
		if contentType != "" {
			req.Header.Set("Content-Type", contentType)
		}
		if authorization != "" {
			req.Header.Set("Authorization", authorization)
		}
		return r.do(r.http, req)
	}
	const form = "application/x-www-form-urlencoded"
	r.wants(send("POST", "/oauth2/token", "application/json", "", `{"grant_type":"client_credentials"}`), 400, "invalid_request")
	r.wants(send("POST", "/oauth2/token", "multipart/form-data; boundary=x", "", "--x--"), 400, "invalid_request")
	r.wants(send("POST", "/oauth2/token", "", "", "grant_type=client_credentials"), 400, "invalid_request")
	r.wants(send("GET", "/oauth2/token?grant_type=client_credentials", "", "", ""), 405, "invalid_request")
	r.wants(send("GET", "/oauth2/nothing", "", "", ""), 404, "not_found")
	for _, header := range []string{"Basic", "Basic !!!", "Basic " + base64.StdEncoding.EncodeToString([]byte("nocolon")), "Bearer x", "Basic =", "garbage"} {
		r.wants(send("POST", "/oauth2/token", form, header, "grant_type=client_credentials"), 401, "invalid_client")
	}
	// Credentials in the query are not credentials (RFC 6749 section 2.3.1).
	r.wants(send("POST", "/oauth2/token?client_id=app&client_secret=secret", form, "", "grant_type=client_credentials"), 401, "invalid_client")
}

func TestBasicCredentialsAreFormDecodedAndAlsoTakenRaw(t *testing.T) {
	r := start(t)
	r.client(func(c *oauth2.Client) { c.ID, c.SecretHash = "a:b c", hashOf("p%+ä w") })
	encoded := url.QueryEscape("a:b c") + ":" + url.QueryEscape("p%+ä w")
	if a := r.post("/oauth2/token", encoded, "grant_type", "client_credentials"); a.status != 200 {
		t.Errorf("form-encoded: %d %s", a.status, a.raw)
	}
	r.client(func(c *oauth2.Client) { c.ID, c.SecretHash = "raw", hashOf("50%+x") })
	if a := r.post("/oauth2/token", "raw:50%+x", "grant_type", "client_credentials"); a.status != 200 {
		t.Errorf("raw: %d %s", a.status, a.raw)
	}
	if a := r.post("/oauth2/token", "", "grant_type", "client_credentials", "client_id", "raw", "client_secret", "50%+x"); a.status != 200 {
		t.Errorf("post: %d %s", a.status, a.raw)
	}
}

func TestAnUnknownClientCostsAsManyHashesAsAKnownOne(t *testing.T) {
	r := start(t)
	r.client()
	cost := func(basic string) int64 {
		before := r.secrets.calls.Load()
		r.wants(r.post("/oauth2/token", basic, "grant_type", "client_credentials"), 401, "invalid_client")
		return r.secrets.calls.Load() - before
	}
	if known, unknown := cost("app:wrong"), cost("nobody:wrong"); known != unknown {
		t.Errorf("a known client costs %d hashes, an unknown one %d", known, unknown)
	}
}

func TestNobodyWithoutTheSecretLearnsWhichClientsExist(t *testing.T) {
	r := start(t)
	r.client()
	r.client(public)
	r.client(func(c *oauth2.Client) { c.ID, c.SecretExpiresAt = "late", 1 })
	r.client(func(c *oauth2.Client) {
		c.ID, c.TokenEndpointAuthMethod, c.AuthMethodSet = "post", "client_secret_post", true
	})
	r.client(func(c *oauth2.Client) {
		c.ID, c.TokenEndpointAuthMethod, c.AuthMethodSet, c.SecretHash = "key", "private_key_jwt", true, ""
	})
	for _, secret := range []string{"wrong", "dummy", ""} {
		var want answer
		for i, id := range []string{"nobody", "app", "spa", "late", "post", "key"} {
			if id == "spa" && secret == "" {
				continue // a public client that sends an empty secret sends none
			}
			before := r.secrets.calls.Load()
			got := r.postRaw("/oauth2/token", id+":"+secret, "grant_type=client_credentials")
			r.wants(got, 401, "invalid_client")
			if calls := r.secrets.calls.Load() - before; secret != "" && calls != 1 {
				t.Errorf("%s:%s costs %d hashes, want 1", id, secret, calls)
			}
			if i == 0 {
				want = got
			} else if got.raw != want.raw {
				t.Errorf("%s:%s gets %s\nwant %s", id, secret, got.raw, want.raw)
			}
		}
	}
	unknown := r.postRaw("/oauth2/token", "", "grant_type=client_credentials&client_id=nobody")
	if known := r.postRaw("/oauth2/token", "", "grant_type=client_credentials&client_id=app"); known.raw != unknown.raw {
		t.Errorf("without a secret: known %s, unknown %s", known.raw, unknown.raw)
	}
}

func TestTooManySecretsAtOnceIsNoServerError(t *testing.T) {
	r := start(t, func(o *server.Options) { o.ClientSecrets = busy{} })
	r.client()
	r.wants(r.post("/oauth2/token", "app:secret", "grant_type", "client_credentials"), 429, "slow_down")
}

// busy checks no secret.
type busy struct{}

func (busy) VerifyAny(context.Context, []string, string) error {
	return fault.New(fault.RateLimited, "too_many_secrets", "later")
}

func TestAStoreThatIsDownIsTemporarilyUnavailableAndSaysNothingElse(t *testing.T) {
	r := start(t)
	r.client()
	token := r.machineToken()
	r.store.down.Store(true)
	issue := r.post("/oauth2/token", "app:secret", "grant_type", "client_credentials")
	r.wants(issue, 503, "temporarily_unavailable")
	revoke := r.post("/oauth2/revoke", "app:secret", "token", token)
	r.wants(revoke, 503, "temporarily_unavailable")
	if strings.Contains(issue.raw+revoke.raw, "database") {
		t.Error("the answer names the cause")
	}
	if !strings.Contains(r.log.String(), "secret detail of the database") {
		t.Error("the log does not name the cause")
	}
	if _, err := r.server.Introspect(context.Background(), token); !fault.Is(err, fault.Unavailable) {
		t.Errorf("introspection says %v", err)
	}
}

func TestTheClientsTokenStrategyWinsOverTheServers(t *testing.T) {
	r := start(t)
	r.client(func(c *oauth2.Client) { c.AccessTokenStrategy = server.JWT })
	if token := r.machineToken(); strings.Count(token, ".") != 2 || !r.isActive(token) {
		t.Errorf("got %q", token)
	}
}

func TestEveryAnswerIsCounted(t *testing.T) {
	var got []string
	note := func(parts ...string) { got = append(got, strings.Join(parts, " ")) }
	r := start(t, func(o *server.Options) {
		o.Metrics = server.Metrics{
			TokenIssued:   func(grant, kind string) { note("issued", grant, kind) },
			Introspection: func(result string) { note("introspection", result) },
			Cache:         func(cache string, hit bool) { note("cache", cache, map[bool]string{true: "hit", false: "miss"}[hit]) },
			OAuth2:        func(endpoint, code string) { note("answer", endpoint, code) },
		}
	})
	r.client()
	token := r.machineToken()
	r.isActive(token)
	r.isActive(token)
	r.isActive("garbage")
	r.post("/oauth2/token", "app:wrong", "grant_type", "client_credentials")
	want := []string{
		"cache clients miss", "issued client_credentials access_token", "answer token ",
		"cache introspection miss", "cache clients hit", "introspection active", "cache introspection hit", "introspection active",
		"cache introspection miss", "introspection inactive", "cache clients hit", "answer token invalid_client",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestTheScopesOfAClientAreTheDefaultOnlyWhenAskedFor(t *testing.T) {
	for allowed, want := range map[bool]string{false: "", true: "openid offline_access read write"} {
		r := start(t, func(o *server.Options) { o.GrantAllowedScope = allowed })
		r.client()
		if a := r.post("/oauth2/token", "app:secret", "grant_type", "client_credentials"); a.str("scope") != want {
			t.Errorf("%v: scope is %q, want %q", allowed, a.str("scope"), want)
		}
	}
}
