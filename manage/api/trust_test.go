package api_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const trustedJWK = `{"kty":"OKP","crv":"Ed25519","kid":"k1","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`

func TestTrustGrants(t *testing.T) {
	f := newFixture(t, nil)
	const at = "/trust/grants/jwt-bearer/issuers"
	body := `{"issuer":"https://issuer","subject":"alice","scope":["read"],"jwk":` + trustedJWK + `,"expires_at":"2099-01-01T00:00:00Z"}`
	a := f.call("POST", "/admin"+at, body)
	made := a.want(http.StatusCreated)
	id, _ := made["id"].(string)
	if id == "" || a.header.Get("Location") == "" || strings.Contains(a.body, `"jwk"`) {
		t.Fatalf("%s %s", a.header.Get("Location"), a.body)
	}
	want := map[string]any{"id": id, "issuer": "https://issuer", "subject": "alice", "allow_any_subject": false, "scope": []any{"read"},
		"public_key": map[string]any{"set": "https://issuer", "kid": "k1"}, "created_at": made["created_at"], "expires_at": "2099-01-01T00:00:00Z"}
	if diff := cmp.Diff(want, f.call("GET", at+"/"+id, "").want(200)); diff != "" {
		t.Error(diff)
	}
	f.call("POST", at, body).want(http.StatusConflict)
	f.call("POST", at, strings.Replace(body, `"subject":"alice"`, `"allow_any_subject":true`, 1)).want(http.StatusCreated)
	f.call("POST", at, strings.Replace(body, "https://issuer", "https://other", 1)).want(http.StatusCreated)
	if got := f.call("GET", at+"?issuer=https://other", "").ids("issuer"); len(got) != 1 || got[0] != "https://other" {
		t.Errorf("of one issuer: %v", got)
	}
	if got := f.call("GET", at, "").ids("id"); len(got) != 3 {
		t.Errorf("all: %v", got)
	}
	for name, change := range map[string][2]string{
		"no issuer":        {`"https://issuer"`, `""`},
		"no subject":       {`"subject":"alice",`, ``},
		"both subjects":    {`"subject":"alice"`, `"subject":"alice","allow_any_subject":true`},
		"a broken scope":   {`"read"`, `"a b"`},
		"it has expired":   {"2099", "2009"},
		"no key":           {trustedJWK, `null`},
		"a private key":    {`"kid":"k1"`, `"kid":"k1","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"`},
		"a secret":         {trustedJWK, `{"kty":"oct","kid":"k1","k":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}`},
		"a key without id": {`"kid":"k1",`, ``},
	} {
		if a := f.call("POST", at, strings.Replace(body, change[0], change[1], 1)); a.status != 400 || !enveloped(a, "hydra") {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	f.call("DELETE", at+"/"+id, "").want(http.StatusNoContent)
	f.call("DELETE", at+"/"+id, "").want(http.StatusNotFound)
	f.call("GET", "/admin"+at+"/"+id, "").want(http.StatusNotFound)
}
