package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/gatewarden/gatewarden/manage/api"
	"github.com/gatewarden/gatewarden/oauth2"
)

func (a answer) client(status int) oauth2.Client {
	a.t.Helper()
	a.want(status)
	var c oauth2.Client
	if err := json.Unmarshal([]byte(a.body), &c); err != nil {
		a.t.Fatal(err)
	}
	return c
}

func TestAClientIsCreatedWithHydrasDefaults(t *testing.T) {
	f := newFixture(t, nil)
	a := f.call("POST", "/clients", `{"client_name":"My App","redirect_uris":["http://127.0.0.1:5555/callback"]}`)
	c := a.client(http.StatusCreated)
	if len(c.ID) != 36 || !strings.HasPrefix(c.Secret, "gw_cs_") || a.header.Get("Location") != "/clients/"+c.ID {
		t.Errorf("id %q, secret %q, Location %q", c.ID, c.Secret, a.header.Get("Location"))
	}
	want := oauth2.Client{
		Name: "My App", RedirectURIs: []string{"http://127.0.0.1:5555/callback"}, GrantTypes: []string{"authorization_code"}, ResponseTypes: []string{"code"},
		Scope: "offline_access offline openid", Audience: []string{}, AllowedCORSOrigins: []string{}, Contacts: []string{}, SubjectType: "public",
		TokenEndpointAuthMethod: "client_secret_basic", UserinfoAlg: "none", JWKS: json.RawMessage("{}"), Metadata: json.RawMessage("{}"),
	}
	if diff := cmp.Diff(want, c, cmpopts.IgnoreFields(oauth2.Client{}, "ID", "Secret", "CreatedAt", "UpdatedAt")); diff != "" {
		t.Errorf("client (-want +got):\n%s", diff)
	}
	stored, err := f.store.Client(t.Context(), c.ID)
	if err != nil || !strings.HasPrefix(stored.SecretHash, "$hmac-sha256$") || stored.Secret != "" || stored.AuthMethodSet {
		t.Errorf("stored %+v, %v", stored, err)
	}
	for _, path := range []string{"/clients/" + c.ID, "/admin/clients/" + c.ID, "/clients", "/admin/clients"} {
		if a := f.call("GET", path, ""); a.status != 200 || strings.Contains(a.body, "secret\":\"") || strings.Contains(a.body, stored.SecretHash) {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
}

func TestSecretsOfClients(t *testing.T) {
	f := newFixture(t, nil)
	hash := func(id string) string {
		c, err := f.store.Client(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		return c.SecretHash
	}
	chosen := f.call("POST", "/clients", `{"client_id":"chosen","client_secret":"some-secret"}`).client(201)
	if chosen.Secret != "some-secret" || !strings.HasPrefix(hash("chosen"), "$argon2id$") {
		t.Errorf("secret %q, hash %q", chosen.Secret, hash("chosen"))
	}
	f.call("POST", "/clients", `{"client_id":"chosen"}`).want(http.StatusConflict)

	before := hash("chosen")
	if c := f.call("PUT", "/clients/chosen", `{"client_name":"renamed"}`).client(200); c.Secret != "" || c.Name != "renamed" || hash("chosen") != before {
		t.Errorf("an empty secret must keep the old one: %q", c.Secret)
	}
	if c := f.call("PUT", "/clients/chosen", `{"client_secret":"another-secret"}`).client(200); c.Secret != "another-secret" || hash("chosen") == before {
		t.Error("the secret was not changed")
	}
	f.call("PUT", "/clients/chosen", `{"token_endpoint_auth_method":"none"}`).want(200)
	if hash("chosen") != "" {
		t.Error("a public client has a secret")
	}
	if c := f.call("PUT", "/clients/chosen", `{"token_endpoint_auth_method":"client_secret_post"}`).client(200); !strings.HasPrefix(c.Secret, "gw_cs_") {
		t.Error("a client that became confidential has no secret")
	}
	public := f.call("POST", "/clients", `{"client_id":"public","token_endpoint_auth_method":"none"}`).client(201)
	if public.Secret != "" || hash("public") != "" {
		t.Error("a public client has a secret")
	}
	for _, body := range []string{`{"client_secret":"short"}`, `{"client_secret":"` + strings.Repeat("x", 1025) + `"}`, `{"client_secret":"some-secret","token_endpoint_auth_method":"none"}`} {
		if a := f.call("POST", "/clients", body); a.status != 400 || a.want(400)["error"] != "invalid_client_metadata" || strings.Contains(a.body, "some-secret") {
			t.Errorf("%.40s: %d %s", body, a.status, a.body)
		}
	}
}

func TestASecretIsRotatedWithoutEndingTheOnesBefore(t *testing.T) {
	f := newFixture(t, nil)
	stored := func() oauth2.Client {
		c, err := f.store.Client(t.Context(), "app")
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	f.call("POST", "/clients", `{"client_id":"app","client_name":"the app"}`).want(201)
	hashes := []string{stored().SecretHash}
	for range 7 {
		a := f.call("POST", "/clients/app/secrets/rotate", "")
		if c := a.client(200); !strings.HasPrefix(c.Secret, "gw_cs_") || c.Name != "the app" || strings.Contains(a.body, "$hmac") {
			t.Fatalf("rotated: %s", a.body)
		}
		if diff := cmp.Diff(hashes[:min(len(hashes), 5)], stored().RotatedSecretHashes); diff != "" {
			t.Fatalf("still good (-want +got):\n%s", diff)
		}
		hashes = append([]string{stored().SecretHash}, hashes...)
	}
	f.call("PATCH", "/clients/app", `[{"op":"replace","path":"/client_name","value":"renamed"}]`, "Content-Type", "application/json-patch+json").want(200)
	f.call("PUT", "/clients/app/lifespans", `{}`).want(200)
	if c := stored(); c.SecretHash != hashes[0] || len(c.RotatedSecretHashes) != 5 {
		t.Error("another change changed the secrets")
	}
	if c := f.call("DELETE", "/admin/clients/app/secrets/rotate", "").client(200); c.Secret != "" || stored().SecretHash != hashes[0] || stored().RotatedSecretHashes != nil {
		t.Errorf("after the end: %v", stored().RotatedSecretHashes)
	}
	f.call("POST", "/clients/app/secrets/rotate", "").want(200)
	f.call("PUT", "/clients/app", `{"client_secret":"because-the-others-leaked"}`).want(200)
	if stored().RotatedSecretHashes != nil {
		t.Error("a secret that was chosen anew left others good")
	}
	f.call("PUT", "/clients/app", `{"token_endpoint_auth_method":"none"}`).want(200)
	f.call("POST", "/clients/app/secrets/rotate", "").want(400)
	f.call("POST", "/clients/nobody/secrets/rotate", "").want(404)
}

func TestAnImplicitAuthMethodStaysImplicitThroughARoundTrip(t *testing.T) {
	f := newFixture(t, nil)
	f.call("POST", "/clients", `{"client_id":"a"}`).want(201)
	body := f.call("GET", "/clients/a", "").body
	f.call("PUT", "/clients/a", body).want(200)
	if c, _ := f.store.Client(t.Context(), "a"); c.AuthMethodSet {
		t.Error("reading and writing back registered a method")
	}
	f.call("PUT", "/clients/a", strings.Replace(body, "client_secret_basic", "client_secret_post", 1)).want(200)
	if c, _ := f.store.Client(t.Context(), "a"); !c.AuthMethodSet {
		t.Error("an explicit method was not noticed")
	}
}

func TestClientsThatHydraPrintedAreAccepted(t *testing.T) {
	f := newFixture(t, nil)
	f.call("POST", "/clients", `{"client_id":"v2","client_name":"","contacts":null,"jwks":{},"metadata":{},"registration_access_token":"ory_at_x","registration_client_uri":"http://x/",
		"device_authorization_grant_access_token_lifespan":null,"implicit_grant_id_token_lifespan":"1h","jwt_bearer_grant_access_token_lifespan":null,
		"authorization_code_grant_access_token_lifespan":null,"skip_consent":false,"skip_logout_consent":null,"subject_type":"public","userinfo_signed_response_alg":"none","created_at":"2024-01-01T00:00:00Z"}`).want(201)
	c := f.call("POST", "/clients", `{"id":"early","public":true,"grant_types":["implicit"],"response_types":["token","id_token"]}`).client(201)
	if c.ID != "early" || !c.Public() {
		t.Errorf("got %+v", c)
	}
}

func TestAnUnknownClientIsNotFound(t *testing.T) {
	f := newFixture(t, nil)
	for _, a := range []answer{f.call("GET", "/clients/x", ""), f.call("PUT", "/admin/clients/x", `{}`), f.call("PATCH", "/clients/x", `[]`), f.call("DELETE", "/clients/x", ""), f.call("PUT", "/clients/x/lifespans", `{}`)} {
		if v := a.want(404); v["error"] != "Unable to locate the resource" || !enveloped(a, "hydra") {
			t.Errorf("got %s", a.body)
		}
	}
}

func TestErrorsHaveTheirStatusWhenHydra1sFieldsAreWanted(t *testing.T) {
	for legacy, want := range map[bool]map[string]any{
		false: {"error": "Unable to locate the resource", "error_description": "there is no such client"},
		true:  {"error": "Unable to locate the resource", "error_description": "there is no such client", "status_code": 404.0},
	} {
		f := newFixture(t, func(d *api.Deps) { d.LegacyErrors = legacy })
		if diff := cmp.Diff(want, f.call("GET", "/clients/x", "").want(404)); diff != "" {
			t.Errorf("legacy %v (-want +got):\n%s", legacy, diff)
		}
	}
}

func TestAClientIsPatched(t *testing.T) {
	f := newFixture(t, nil)
	f.call("POST", "/clients", `{"client_id":"a","client_name":"old","redirect_uris":["https://app/cb"]}`).want(201)
	c := f.call("PATCH", "/clients/a", `[{"op":"test","path":"/client_name","value":"old"},{"op":"replace","path":"/client_name","value":"new"},{"op":"add","path":"/redirect_uris/-","value":"https://app/cb2"}]`, "Content-Type", "application/json-patch+json").client(200)
	if c.Name != "new" || len(c.RedirectURIs) != 2 || c.Secret != "" {
		t.Errorf("got %+v", c)
	}
	if c := f.call("PATCH", "/clients/a", `[{"op":"add","path":"/client_secret","value":"another-secret"}]`).client(200); c.Secret != "another-secret" {
		t.Errorf("got %+v", c)
	}
	for _, bad := range []string{
		`[{"op":"replace","path":"/id","value":"b"}]`, `[{"op":"replace","path":"/client_id","value":"b"}]`, `[{"op":"move","from":"/client_id","path":"/client_name"}]`,
		`[{"op":"replace","path":"","value":{}}]`, `[{"op":"replace","path":"/no_such","value":1}]`, `[{"op":"add","path":"/no_such","value":1}]`,
		`[{"op":"replace","path":"/client_name","value":7}]`, `[{"op":"test","path":"/client_name","value":"x"}]`, `[{"op":"replace","path":"/redirect_uris","value":["javascript:x"]}]`,
		`[{"op":"jump","path":"/client_name"}]`, `{"op":"add"}`, `[{"op":"add","path":"client_name","value":"x"}]`, `[{"op":"add","path":"/client_name"}]`,
	} {
		if a := f.call("PATCH", "/clients/a", bad); a.status != 400 || !enveloped(a, "hydra") {
			t.Errorf("%s: %d %s", bad, a.status, a.body)
		}
	}
	if c := f.call("GET", "/clients/a", "").client(200); c.ID != "a" || c.Name != "new" {
		t.Errorf("a refused patch changed the client: %+v", c)
	}
}

func TestChangesOfOneClientInParallelAreAllKept(t *testing.T) {
	f := newFixture(t, nil)
	f.call("POST", "/clients", `{"client_id":"a"}`).want(201)
	const n = 8
	answers := make([]answer, n)
	var running sync.WaitGroup
	for i := range n {
		running.Go(func() {
			answers[i] = f.call("PATCH", "/clients/a", fmt.Sprintf(`[{"op":"add","path":"/redirect_uris/-","value":"https://app/%d"}]`, i))
		})
	}
	running.Wait()
	var want []string
	for i, a := range answers {
		a.want(200)
		want = append(want, fmt.Sprintf("https://app/%d", i))
	}
	c := f.call("GET", "/clients/a", "").client(200)
	slices.Sort(c.RedirectURIs)
	if diff := cmp.Diff(want, c.RedirectURIs); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestLifespansAreReplaced(t *testing.T) {
	f := newFixture(t, nil)
	f.call("POST", "/clients", `{"client_id":"a","client_credentials_grant_access_token_lifespan":"1h"}`).want(201)
	c := f.call("PUT", "/admin/clients/a/lifespans", `{"refresh_token_grant_access_token_lifespan":"30m","implicit_grant_access_token_lifespan":null}`).client(200)
	if diff := cmp.Diff(oauth2.Lifespans{RefreshTokenGrantAccess: "30m"}, c.Lifespans); diff != "" {
		t.Error(diff)
	}
	f.call("PUT", "/clients/a/lifespans", `{"refresh_token_grant_access_token_lifespan":"soon"}`).want(400)
	f.call("DELETE", "/clients/a", "").want(204)
	f.call("GET", "/clients/a", "").want(404)
}
