package e2e

import (
	"net/http"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestBrowsersGetTheCORSOfAnOathkeeperConfiguration starts with the sections as
// Oathkeeper and Hydra have them.
func TestBrowsersGetTheCORSOfAnOathkeeperConfiguration(t *testing.T) {
	dir := files(t, upstream(t).URL, map[string]string{"gate.yml": `serve:
  proxy:
    cors:
      enabled: true
      allowed_origins: ["https://*.shop.example"]
      allowed_methods: [GET, POST]
      allow_credentials: true
      max_age: 600
      debug: false
  api:
    cors: {enabled: true, allowed_origins: ["https://admin.example"], allowed_methods: [GET, PUT]}
  public:
    cors: {enabled: true, allowed_origins: ["https://spa.example"], options_passthrough: false}
access_rules:
  repositories: [file://DIR/rules.yml]
`, "rules.yml": `- id: closed
  match: {paths: [/closed], methods: [GET, POST]}
  authenticators: [{handler: unauthorized}]
  authorizer: {handler: allow}
- id: own
  match: {paths: [/own], methods: [GET, PUT]}
  authenticators: [{handler: anonymous}]
  authorizer: {handler: allow}
  upstream: {url: UPSTREAM}
  cors: {allowed_origins: ["http://localhost:*"], allowed_methods: [PUT], exposed_headers: [X-Total]}
`})
	p := start(t, settings{files: []string{filepath.Join(dir, "gate.yml")}})
	for _, c := range []struct {
		name, method, url string
		header            []string
		status            int
		want              map[string]string
	}{
		{"a preflight of a rule that nobody may use", "OPTIONS", p.proxy + "/closed", []string{"Origin", "https://www.shop.example", "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization"}, 204, map[string]string{
			"Access-Control-Allow-Origin": "https://www.shop.example", "Access-Control-Allow-Methods": "POST", "Access-Control-Allow-Headers": "authorization",
			"Access-Control-Allow-Credentials": "true", "Access-Control-Max-Age": "600",
		}},
		{"the request itself", "POST", p.proxy + "/closed", []string{"Origin", "https://www.shop.example"}, 401, map[string]string{"Access-Control-Allow-Origin": "https://www.shop.example", "Vary": "Origin"}},
		{"a stranger's", "POST", p.proxy + "/closed", []string{"Origin", "https://shop.example.evil"}, 401, map[string]string{"Access-Control-Allow-Origin": ""}},
		{"OPTIONS that is no preflight", "OPTIONS", p.proxy + "/own", []string{"Origin", "http://localhost:3000"}, 404, map[string]string{"Access-Control-Allow-Methods": ""}},
		{"a preflight of the rule", "OPTIONS", p.proxy + "/own", []string{"Origin", "http://localhost:3000", "Access-Control-Request-Method", "PUT"}, 204, map[string]string{"Access-Control-Allow-Origin": "http://localhost:3000", "Access-Control-Allow-Credentials": ""}},
		{"the listener's origin at the rule", "OPTIONS", p.proxy + "/own", []string{"Origin", "https://www.shop.example", "Access-Control-Request-Method", "PUT"}, 403, map[string]string{"Access-Control-Allow-Origin": ""}},
		{"an answer of the upstream", "GET", p.proxy + "/own", []string{"Origin", "http://localhost:3000"}, 200, map[string]string{"Access-Control-Allow-Origin": "http://localhost:3000", "Access-Control-Expose-Headers": "X-Total"}},

		{"the management API from a named site", "PUT", p.management + "/policies/x", []string{"Origin", "https://admin.example", "Sec-Fetch-Site", "cross-site"}, 400, map[string]string{"Access-Control-Allow-Origin": "https://admin.example"}},
		{"its preflight", "OPTIONS", p.management + "/policies/x", []string{"Origin", "https://admin.example", "Access-Control-Request-Method", "PUT"}, 204, map[string]string{"Access-Control-Allow-Methods": "PUT"}},
		{"the management API from another site", "PUT", p.management + "/policies/x", []string{"Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"}, 403, map[string]string{"Access-Control-Allow-Origin": ""}},
		{"a preflight is no yes at the decision endpoint", "OPTIONS", p.management + "/decisions/closed", []string{"Origin", "https://admin.example", "Access-Control-Request-Method", "GET"}, 404, map[string]string{"Access-Control-Allow-Origin": ""}},

		{"keys of the issuer", "GET", p.public + "/.well-known/jwks.json", []string{"Origin", "https://spa.example"}, 200, map[string]string{"Access-Control-Allow-Origin": "https://spa.example"}},
		{"the token endpoint", "OPTIONS", p.public + "/oauth2/token", []string{"Origin", "https://spa.example", "Access-Control-Request-Method", "POST"}, 204, map[string]string{"Access-Control-Allow-Origin": "https://spa.example"}},
		{"the authorization endpoint has none", "GET", p.public + "/oauth2/auth", []string{"Origin", "https://spa.example"}, 303, map[string]string{"Access-Control-Allow-Origin": ""}},
	} {
		a := send(t, c.method, c.url, "", c.header...)
		got := map[string]string{}
		for name := range c.want {
			got[name] = a.header.Get(name)
		}
		if diff := cmp.Diff(c.want, got); a.status != c.status || diff != "" {
			t.Errorf("%s: got %d, want %d (-want +got)\n%s", c.name, a.status, c.status, diff)
		}
	}
	if a := send(t, "GET", p.management+"/clients", "", "Origin", "https://evil.example"); a.status == http.StatusOK && a.header.Get("Access-Control-Allow-Origin") != "" {
		t.Error("a stranger may read clients")
	}
}
