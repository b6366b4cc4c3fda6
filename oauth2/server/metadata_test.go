package server_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/gatewarden/gatewarden/oauth2"
	"github.com/gatewarden/gatewarden/oauth2/server"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func newRequest(link string) (*http.Request, error) { return http.NewRequest("GET", link, nil) }

func asHandled(err error, h **oauth2.Handled) bool { return errors.As(err, h) }

func TestDiscoveryListsWhatWorksUnderTheExactIssuer(t *testing.T) {
	r := start(t, func(o *server.Options) { o.Issuer += "/" })
	oidc, rfc := r.get("/.well-known/openid-configuration"), r.get("/.well-known/oauth-authorization-server")
	if oidc.raw != rfc.raw {
		t.Error("the documents differ")
	}
	if oidc.str("issuer") != r.url+"/" || oidc.str("token_endpoint") != r.url+"/oauth2/token" {
		t.Errorf("got %s", oidc.raw)
	}
	for name, want := range map[string]string{
		"response_types_supported": `["code"]`, "code_challenge_methods_supported": `["S256"]`, "grant_types_supported": `["authorization_code","refresh_token","client_credentials","urn:ietf:params:oauth:grant-type:token-exchange","urn:ietf:params:oauth:grant-type:device_code","urn:ietf:params:oauth:grant-type:jwt-bearer"]`,
		"authorization_response_iss_parameter_supported": "true", "request_parameter_supported": "true", "pushed_authorization_request_endpoint": `"` + r.url + `/oauth2/par"`, "introspection_endpoint": `"` + r.url + `/oauth2/introspect"`,
		"revocation_endpoint": `"` + r.url + `/oauth2/revoke"`, "subject_types_supported": `["public"]`, "id_token_signing_alg_values_supported": `["ES256","EdDSA","PS256","RS256"]`,
	} {
		if !strings.Contains(oidc.raw, `"`+name+`":`+want) {
			t.Errorf("%s is not %s in %s", name, want, oidc.raw)
		}
	}
	// Every endpoint that is listed is there.
	for name, value := range oidc.json {
		link, _ := value.(string)
		if !strings.HasPrefix(link, r.url+"/") || name == "issuer" {
			continue
		}
		if a := r.do(r.http, must(newRequest(link))); a.status == 404 {
			t.Errorf("%s is not served at %s", name, link)
		}
	}
}

func TestTheMetadataOfAnIssuerWithAPathIsWhereRFC8414PutsIt(t *testing.T) {
	r := start(t, func(o *server.Options) { o.Issuer += "/tenant" })
	if a := r.get("/.well-known/oauth-authorization-server/tenant"); a.str("issuer") != r.url+"/tenant" {
		t.Errorf("got %d %s", a.status, a.raw)
	}
}

func TestTheKeySetIsPublicAndCached(t *testing.T) {
	r := start(t)
	a := r.get("/.well-known/jwks.json")
	list, _ := a.json["keys"].([]any)
	if a.status != 200 || len(list) != 4 {
		t.Fatalf("got %d %s", a.status, a.raw)
	}
	for _, k := range list {
		key := k.(map[string]any)
		for _, secret := range []string{"d", "p", "q", "dp", "dq", "qi", "k"} {
			if key[secret] != nil {
				t.Errorf("key %v has member %s", key["kid"], secret)
			}
		}
		if key["kid"] == nil || key["alg"] == nil || key["use"] != "sig" {
			t.Errorf("key is %v", key)
		}
	}
	req := must(newRequest(r.url + "/.well-known/jwks.json"))
	req.Header.Set("If-None-Match", a.header.Get("ETag"))
	if again := r.do(r.http, req); again.status != http.StatusNotModified || again.raw != "" {
		t.Errorf("got %d %s", again.status, again.raw)
	}
}

func TestUserinfoAnswersOnlyPeoplesTokens(t *testing.T) {
	r := start(t)
	r.client()
	tokens := r.tokens()
	ask := func(method, authorization, body string) answer {
		req, _ := http.NewRequest(method, r.url+"/userinfo", strings.NewReader(body))
		if authorization != "" {
			req.Header.Set("Authorization", authorization)
		}
		if body != "" {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		return r.do(r.http, req)
	}
	good := tokens.str("access_token")
	for name, a := range map[string]answer{
		"header": ask("GET", "Bearer "+good, ""), "lower case": ask("GET", "bearer "+good, ""), "POST": ask("POST", "Bearer "+good, ""),
		"form": ask("POST", "", "access_token="+good),
	} {
		if a.status != 200 || a.raw != `{"sub":"alice"}` {
			t.Errorf("%s: %d %s", name, a.status, a.raw)
		}
	}
	for name, tc := range map[string]struct {
		got       answer
		status    int
		challenge string
	}{
		"no token":        {ask("GET", "", ""), 401, `Bearer realm="oauth2"`},
		"basic":           {ask("GET", "Basic YTpi", ""), 401, `Bearer realm="oauth2"`},
		"in the query":    {r.get("/userinfo?access_token=" + good), 401, `Bearer realm="oauth2"`},
		"garbage":         {ask("GET", "Bearer garbage", ""), 401, `error="invalid_token"`},
		"refresh token":   {ask("GET", "Bearer "+tokens.str("refresh_token"), ""), 401, `error="invalid_token"`},
		"ID token":        {ask("GET", "Bearer "+tokens.str("id_token"), ""), 401, `error="invalid_token"`},
		"machine":         {ask("GET", "Bearer "+r.machineToken("scope", "read"), ""), 403, `error="insufficient_scope"`},
		"header and form": {ask("POST", "Bearer "+good, "access_token="+good), 400, ""},
		"JSON body":       {ask("POST", "", "{"), 400, ""},
	} {
		if tc.got.status != tc.status && name != "JSON body" || !strings.Contains(tc.got.header.Get("WWW-Authenticate"), tc.challenge) {
			t.Errorf("%s: %d %s %v", name, tc.got.status, tc.got.raw, tc.got.header)
		}
	}
	if a := r.post("/oauth2/revoke", "app:secret", "token", good); a.status != 200 {
		t.Fatal(a.raw)
	}
	if a := ask("GET", "Bearer "+good, ""); a.status != 401 {
		t.Errorf("a revoked token: %d %s", a.status, a.raw)
	}
}

func TestSignedUserinfoVerifies(t *testing.T) {
	r := start(t)
	r.client(func(c *oauth2.Client) { c.UserinfoAlg = "RS256" })
	req := must(newRequest(r.url + "/userinfo"))
	req.Header.Set("Authorization", "Bearer "+r.tokens().str("access_token"))
	a := r.do(r.http, req)
	payload, err := ring().Verify(t.Context(), a.raw, "JWT")
	if err != nil || a.header.Get("Content-Type") != "application/jwt" || !strings.Contains(string(payload), `"aud":["app"]`) {
		t.Errorf("got %d %s, %v", a.status, a.raw, err)
	}
}

func TestTheBuiltInPagesEscapeWhatTheyShow(t *testing.T) {
	r := start(t, func(o *server.Options) { o.URLs = server.URLs{} })
	r.client()
	if to := r.browser().open(r.authURL(request())); !strings.HasPrefix(to.String(), r.url+"/oauth2/fallbacks/login?login_challenge=") {
		t.Errorf("got %s", to)
	}
	for _, name := range []string{"login", "consent", "logout", "logout/callback", "error"} {
		a := r.get("/oauth2/fallbacks/" + name + "?error=%3Cscript%3E&error_description=%3Cimg%20src%3Dx%3E")
		if a.status != 200 || strings.Contains(a.raw, "<script") || strings.Contains(a.raw, "<img") || !strings.Contains(a.header.Get("Content-Security-Policy"), "default-src 'none'") {
			t.Errorf("%s: %d %s", name, a.status, a.raw)
		}
	}
	if a := r.get("/oauth2/fallbacks/nothing"); a.status != 404 {
		t.Errorf("got %d", a.status)
	}
}

func TestWrongOptionsAreNamed(t *testing.T) {
	r := start(t)
	good := server.Options{Issuer: "https://issuer.test", Store: r.store, IDTokens: ring(), AccessTokens: ring(), ClientSecrets: r.secrets, Secrets: [][]byte{make([]byte, 16)}}
	if s, err := server.New(good); err != nil {
		t.Fatal(err)
	} else {
		s.Close()
	}
	for want, break_ := range map[string]change{
		"issuer":                  func(o *server.Options) { o.Issuer = "issuer.test" },
		"issuer \"https://a?b\"":  func(o *server.Options) { o.Issuer = "https://a?b" },
		"store":                   func(o *server.Options) { o.Store = nil },
		"signing rings":           func(o *server.Options) { o.AccessTokens = nil },
		"client secret verifier":  func(o *server.Options) { o.ClientSecrets = nil },
		"secrets.system":          func(o *server.Options) { o.Secrets = nil },
		"secrets.system[0]":       func(o *server.Options) { o.Secrets = [][]byte{[]byte("short")} },
		"urls.login":              func(o *server.Options) { o.URLs.Login = "/login" },
		"strategies.access_token": func(o *server.Options) { o.AccessTokenStrategy = "paper" },
		"strategies.scope":        func(o *server.Options) { o.ScopeStrategy = "regexp" },
		"ttl.id_token":            func(o *server.Options) { o.Lifespans.IDToken = -1 },
	} {
		o := good
		break_(&o)
		if _, err := server.New(o); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}
