package server_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/oauth2"
	"github.com/gatewarden/gatewarden/oauth2/server"
)

func TestLegacyErrorFieldsAreThereWhenTheyAreWantedAndOnlyThen(t *testing.T) {
	const text = "The requested scope is invalid, unknown, or malformed."
	const hint = "The OAuth 2.0 Client is not allowed to request scope 'more'."
	for legacy, want := range map[bool]map[string]any{
		false: {"error": "invalid_scope", "error_description": text + " " + hint},
		true:  {"error": "invalid_scope", "error_description": text, "error_hint": hint, "error_verbose": text, "status_code": 400.0},
	} {
		r := start(t, func(o *server.Options) { o.LegacyErrors = legacy })
		r.client()
		a := r.post("/oauth2/token", "app:secret", "grant_type", "client_credentials", "scope", "more")
		if diff := cmp.Diff(want, a.json); diff != "" || a.status != 400 {
			t.Errorf("legacy %v (-want +got):\n%s", legacy, diff)
		}
		if _, has := r.get("/userinfo").json["status_code"]; has != legacy {
			t.Errorf("legacy %v: userinfo has status_code: %v", legacy, has)
		}
		page, err := url.Parse(r.get("/oauth2/auth?client_id=nobody").header.Get("Location"))
		if err != nil {
			t.Fatal(err)
		}
		if has := page.Query().Has("error_hint"); has != legacy || page.Query().Get("error_description") == "" {
			t.Errorf("legacy %v: the error page is told %v", legacy, page.Query())
		}
	}
}

func TestLegacyErrorFieldsTellNoMoreOfWhatWentWrongInside(t *testing.T) {
	r := start(t, func(o *server.Options) { o.LegacyErrors = true })
	r.client()
	r.store.down.Store(true)
	a := r.post("/oauth2/token", "app:secret", "grant_type", "client_credentials")
	if a.status != http.StatusServiceUnavailable || strings.Contains(a.raw, "database") || a.json["status_code"] != 503.0 {
		t.Errorf("got %d %s", a.status, a.raw)
	}
}

func TestEndpointsForCertificatesHaveAliasesOfTheirOwn(t *testing.T) {
	const at = "https://mtls.test/base"
	if r := start(t); strings.Contains(r.get("/.well-known/openid-configuration").raw, "mtls_endpoint_aliases") {
		t.Error("there are aliases without an address for them")
	}
	r := start(t, func(o *server.Options) { o.MTLS = at + "/" })
	got, _ := r.get("/.well-known/openid-configuration").json["mtls_endpoint_aliases"].(map[string]any)
	want := map[string]any{
		"token_endpoint": at + "/oauth2/token", "revocation_endpoint": at + "/oauth2/revoke", "introspection_endpoint": at + "/oauth2/introspect",
		"userinfo_endpoint": at + "/userinfo", "pushed_authorization_request_endpoint": at + "/oauth2/par", "device_authorization_endpoint": at + "/oauth2/device/auth",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := server.New(server.Options{Issuer: "https://id.test", MTLS: "mtls.test"}); err == nil || !strings.Contains(err.Error(), "urls.self.mtls") {
		t.Errorf("an alias that is no URL: %v", err)
	}
}

func TestAProofIsForTheAliasAtWhichItIsShown(t *testing.T) {
	const at = "https://mtls.test"
	r := start(t, func(o *server.Options) { o.MTLS = at })
	r.client(func(c *oauth2.Client) { c.DPoPBoundAccessTokens = true })
	s := newSigner(t, "", "ES256")
	for name, c := range map[string]struct {
		host, htu string
		want      int
	}{
		"at the alias":                  {"mtls.test", at + "/oauth2/token", 200},
		"at the issuer":                 {"", r.url + "/oauth2/token", 200},
		"the issuer's at the alias":     {"mtls.test", r.url + "/oauth2/token", 400},
		"the alias's at the issuer":     {"", at + "/oauth2/token", 400},
		"another host's at that host":   {"evil.test", "https://evil.test/oauth2/token", 400},
		"the alias's at the other host": {"evil.test", at + "/oauth2/token", 400},
	} {
		req, err := http.NewRequest("POST", r.url+"/oauth2/token", strings.NewReader("grant_type=client_credentials"))
		if err != nil {
			t.Fatal(err)
		}
		req.Host = c.host
		req.SetBasicAuth("app", "secret")
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("DPoP", s.proof(with(r.proofClaims(), "htu", c.htu)))
		if a := r.do(r.http, req); a.status != c.want {
			t.Errorf("%s: %d %s", name, a.status, a.raw)
		}
	}
}
