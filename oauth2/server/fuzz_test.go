package server_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/gatewarden/gatewarden/oauth2"
)

// Whatever is posted, with whatever Authorization header, is answered, and never
// as a fault of the server.
func FuzzPosts(f *testing.F) {
	f.Add("/oauth2/token", "grant_type=client_credentials&scope=read", "Basic YXBwOnNlY3JldA==")
	f.Add("/oauth2/token", "grant_type=refresh_token&refresh_token=ory_rt_a.b&client_id=spa", "")
	f.Add("/oauth2/token", "grant_type=authorization_code&code=ory_ac_a.b&code_verifier=%00", "Basic YXBwOnNlY3JldA==")
	f.Add("/oauth2/revoke", "token=eyJhbGciOiJub25lIn0.e30.", "Basic YXBwOnNlY3JldA==")
	f.Add("/oauth2/introspect", "token=a.b.c", "Basic YXBwOnNlY3JldA==")
	f.Add("/oauth2/auth", request().Encode(), "")
	f.Add("/userinfo", "access_token=x", "Bearer y")
	f.Add("/oauth2/sessions/logout", "id_token_hint=x&state=y", "")
	r := start(f)
	r.client()
	r.client(public)
	h := r.server.Public()
	f.Fuzz(func(t *testing.T, path, body, authorization string) {
		if !strings.HasPrefix(path, "/") || strings.ContainsAny(path, "%# \t\r\n?") {
			path = "/oauth2/token"
		}
		target, err := url.ParseRequestURI(path)
		if err != nil {
			t.Skip("not a request target") // net/http refuses it before any handler
		}
		req := httptest.NewRequest("POST", "/", strings.NewReader(body))
		req.URL = target
		req.Header = http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Authorization": {authorization}}
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, req); w.Code >= 500 || w.Code < 200 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
	})
}

// A redirect URI that is accepted leads to the registered host.
func FuzzRedirectURI(f *testing.F) {
	for _, seed := range []string{"http://127.0.0.1:80/cb", "https://app.test/cb?x=y", "http://127.0.0.1@evil.test/cb", "http://127.0.0.1:80@evil.test/cb",
		"http://[::1]/cb", "http://127.0.0.1\\@evil.test/cb", "//evil.test/cb", "http:/\\evil.test", "http://127.0.0.1:/cb", "http://127.1/cb"} {
		f.Add(seed)
	}
	r := start(f)
	r.client(func(c *oauth2.Client) { c.RedirectURIs = []string{"http://127.0.0.1/cb", "https://app.test/cb?x=y"} })
	h := r.server.Public()
	f.Fuzz(func(t *testing.T, uri string) {
		req := httptest.NewRequest("GET", "/oauth2/auth?"+request("redirect_uri", uri, "response_type", "token").Encode(), nil)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, req)
		to, err := url.Parse(w.Header().Get("Location"))
		if err != nil || w.Code != http.StatusSeeOther {
			t.Fatalf("%d to %q: %v", w.Code, w.Header().Get("Location"), err)
		}
		switch host := to.Hostname(); {
		case host == "login.test":
		case host == "app.test" && to.Path == "/cb" && to.User == nil && to.Scheme == "https":
		case host == "127.0.0.1" && to.Path == "/cb" && to.User == nil && to.Scheme == "http":
		default:
			t.Fatalf("%q was redirected to %s", uri, to)
		}
	})
}
