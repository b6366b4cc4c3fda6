package server_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/oauth2"
)

// signedAbout asks about a token and wants the answer as Accept says.
func (r *rig) signedAbout(basic, accept, token string) answer {
	r.t.Helper()
	req, err := http.NewRequest("POST", r.url+"/oauth2/introspect", strings.NewReader(pairs("token", token).Encode()))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(basic)))
	req.Header.Set("Accept", accept)
	return r.do(r.http, req)
}

func TestAnIntrospectionIsSignedForWhoAsked(t *testing.T) {
	r := start(t)
	r.client()
	r.client(func(c *oauth2.Client) { c.ID, c.IntrospectionAlg = "api", "ES256" })
	r.client(func(c *oauth2.Client) { c.ID = "stranger" })
	token := r.machineToken("audience", "api", "scope", "read")
	plain := r.post("/oauth2/introspect", "api:secret", "token", token).json
	inactive := map[string]any{"active": false}
	for _, c := range []struct {
		basic, token, alg string
		about             map[string]any
	}{
		{"api:secret", token, "ES256", plain},
		{"app:secret", token, "RS256", plain},
		{"stranger:secret", token, "RS256", inactive},
		{"api:secret", "garbage", "ES256", inactive},
	} {
		a := r.signedAbout(c.basic, "application/token-introspection+jwt", c.token)
		if a.status != 200 || a.header.Get("Content-Type") != "application/token-introspection+jwt" || a.header.Get("Cache-Control") != "no-store" {
			t.Fatalf("%s: got %d %v %s", c.basic, a.status, a.header, a.raw)
		}
		parts := strings.Split(a.raw, ".")
		var header map[string]any
		raw, _ := base64.RawURLEncoding.DecodeString(parts[0])
		if err := json.Unmarshal(raw, &header); err != nil || header["alg"] != c.alg || header["typ"] != "token-introspection+jwt" {
			t.Errorf("%s: header %s", c.basic, raw)
		}
		payload, err := ring().Verify(t.Context(), a.raw, "token-introspection+jwt")
		if err != nil {
			t.Fatal(err)
		}
		var got map[string]any
		if err := json.Unmarshal(payload, &got); err != nil {
			t.Fatal(err)
		}
		if got["iat"] == nil {
			t.Errorf("%s: no iat in %s", c.basic, payload)
		}
		delete(got, "iat")
		name, _, _ := strings.Cut(c.basic, ":")
		if diff := cmp.Diff(map[string]any{"iss": r.url, "aud": name, "token_introspection": c.about}, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.basic, diff)
		}
		if r.isActive(a.raw) {
			t.Errorf("%s: the answer is an access token", c.basic)
		}
	}
	for accept, signed := range map[string]bool{
		"": false, "*/*": false, "application/json": false, "application/json, application/token-introspection+jwt": false, "application/token-introspection+jwt;q=0": false,
		"application/token-introspection+jwt;q=0.5": true, "text/html, Application/Token-Introspection+JWT, application/json;q=0.1": true, ";, application/token-introspection+jwt": true,
	} {
		if got := r.signedAbout("api:secret", accept, token).header.Get("Content-Type") == "application/token-introspection+jwt"; got != signed {
			t.Errorf("%q: signed %t, want %t", accept, got, signed)
		}
	}
	r.wants(r.signedAbout("api:wrong", "application/token-introspection+jwt", token), 401, "invalid_client")
}
