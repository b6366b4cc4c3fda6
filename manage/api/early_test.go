package api_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/manage/api"
)

func TestAnswersHaveTheShapesOfTheGenerationThatIsImitated(t *testing.T) {
	const form = "application/x-www-form-urlencoded"
	for _, c := range []struct {
		generation                api.Compatibility
		clients, groups, envelope string
		aud                       any
	}{
		{"", "[]client_id", "[]id", "hydra", nil},
		{api.Hydra011, "[]id", "[]id", "ory", "app"},
		{api.Hydra09, "{}id", "[]", "ory", "app"},
	} {
		t.Run(string(c.generation), func(t *testing.T) {
			f := newFixture(t, func(d *api.Deps) { d.Compatibility = c.generation })
			f.call("POST", "/clients", `{"client_id":"b","client_name":"B","public":true}`).want(201)
			f.call("POST", "/clients", `{"client_id":"a","client_name":"A"}`).want(201)
			f.call("POST", "/warden/groups", `{"id":"admins","members":["peter"]}`).want(201)
			shape := func(a answer) string {
				var list []any
				if json.Unmarshal([]byte(a.body), &list) == nil {
					one, _ := list[0].(map[string]any)
					switch {
					case one == nil:
						return "[]"
					case one["id"] != nil:
						return "[]id"
					}
					return "[]client_id"
				}
				var byID map[string]map[string]any
				if err := json.Unmarshal([]byte(a.body), &byID); err != nil || byID["a"]["id"] != "a" || byID["a"]["public"] != false || byID["b"]["public"] != true || len(byID) != 2 {
					t.Errorf("got %s", a.body)
				}
				return "{}id"
			}
			introspected := f.call("POST", "/oauth2/introspect", "token=alice's", "Content-Type", form).want(200)
			got := []any{shape(f.call("GET", "/clients", "")), shape(f.call("GET", "/warden/groups?member=peter", "")), introspected["aud"], enveloped(f.call("GET", "/clients/nobody", ""), c.envelope)}
			if diff := cmp.Diff([]any{c.clients, c.groups, c.aud, true}, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if got := shape(f.call("GET", "/admin/clients", "")); got != "[]client_id" {
				t.Errorf("below /admin: %s", got)
			}
			if one := f.call("GET", "/clients/b", "").want(200); (one["public"] == true) != (c.generation != "") || one["client_id"] != "b" {
				t.Errorf("one client: %v", one)
			}
			if page := shape(f.call("GET", "/warden/groups?limit=1", "")); page != c.groups {
				t.Errorf("a page: %s", page)
			}
			for _, r := range f.api.Routes() { // what OAuth 2.0 describes stays as it is
				if strings.HasPrefix(r.Template, "/oauth2/introspect") && r.Envelope != "hydra" {
					t.Errorf("%s answers errors of %s", r.Template, r.Envelope)
				}
			}
		})
	}
}

func TestTheAppOfEarlyHydraAsksAndAnswers(t *testing.T) {
	f := newFixture(t, nil)
	asked := f.call("GET", "/oauth2/consent/requests/good", "").want(200)
	if diff := cmp.Diff(map[string]any{"id": "good", "requestedScopes": []any{"photos"}, "clientId": "app", "expiresAt": "1970-01-01T00:00:01Z", "redirectUrl": "https://as/back"}, asked); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	f.call("PATCH", "/oauth2/consent/requests/good/accept", `{"subject":"alice","grantScopes":["photos"],"accessTokenExtra":{"a":1},"idTokenExtra":{}}`).want(204)
	f.call("PATCH", "/oauth2/consent/requests/good/reject", `{"reason":"no"}`).want(204)
	f.call("PATCH", "/oauth2/consent/requests/used/accept", `{"subject":"alice"}`).want(410)
	f.call("GET", "/oauth2/consent/requests/unknown", "").want(404)
	f.call("PATCH", "/oauth2/consent/requests/good/accept", `{"subject":"alice","grantedScopes":[]}`).want(400)
	if diff := cmp.Diff([]string{"early consent of alice to photos", "no early consent: no", "early consent of alice to "}, f.apps.calls); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestOnlyPathsOfEarlyHydraShareThePortOfOAuth(t *testing.T) {
	for _, c := range []struct {
		path, authorization string
		want                bool
	}{
		{"/clients", "", true}, {"/clients/a", "", true}, {"/clientsx", "", false}, {"/policies", "", true}, {"/warden/groups", "", true}, {"/keys/set", "", true},
		{"/oauth2/consent/requests/1", "", true}, {"/oauth2/flush", "", true}, {"/oauth2/introspect", "Bearer x", true},
		{"/oauth2/introspect", "Basic x", false}, {"/oauth2/introspect", "", false}, {"/oauth2/auth", "", false}, {"/oauth2/token", "Bearer x", false},
		{"/rules", "Bearer x", false}, {"/users", "Bearer x", false}, {"/admin/clients", "Bearer x", false}, {"/metrics", "", false}, {"/oauth2/auth/requests/login", "Bearer x", false},
	} {
		r := httptest.NewRequest(http.MethodGet, "http://as"+c.path, nil)
		if c.authorization != "" {
			r.Header.Set("Authorization", c.authorization)
		}
		if got := api.Early(r); got != c.want {
			t.Errorf("%s %q: %t", c.path, c.authorization, got)
		}
	}
}
