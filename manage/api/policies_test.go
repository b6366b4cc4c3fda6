package api_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const policyA = `{"id":"a","description":"","subjects":["alice","admins"],"effect":"allow","resources":["photos:<.*>"],"actions":["get"],"conditions":{}}`

func (f *fixture) allowed(subject string) bool {
	f.t.Helper()
	v := f.call("POST", "/warden/allowed", `{"subject":"`+subject+`","action":"get","resource":"photos:1","context":{"ip":"10.0.0.1"}}`).want(http.StatusOK)
	return v["allowed"].(bool)
}

func TestAPolicyIsInForceWhenTheAnswerComes(t *testing.T) {
	f := newFixture(t, nil)
	if f.allowed("alice") {
		t.Fatal("allowed without a policy")
	}
	a := f.call("POST", "/policies", policyA)
	a.want(http.StatusCreated)
	if a.header.Get("Location") != "/policies/a" || !f.allowed("alice") || f.allowed("bob") {
		t.Errorf("Location %q, alice %t, bob %t", a.header.Get("Location"), f.allowed("alice"), f.allowed("bob"))
	}
	f.call("POST", "/policies", policyA).want(http.StatusConflict)
	if got := f.call("GET", "/policies/a", "").body; got != policyA {
		t.Errorf("got %s", got)
	}
	f.call("PUT", "/policies/a", strings.Replace(policyA, "allow", "deny", 1)).want(http.StatusOK)
	if f.allowed("alice") {
		t.Error("allowed by a deny policy")
	}
	f.call("PUT", "/policies/b", policyA).want(http.StatusBadRequest)
	f.call("PUT", "/policies/b", strings.Replace(policyA, `"id":"a",`, "", 1)).want(http.StatusNotFound)
	f.call("PUT", "/policies/a", policyA).want(http.StatusOK)
	f.call("DELETE", "/policies/a", "").want(http.StatusNoContent)
	if f.allowed("alice") {
		t.Error("allowed by a deleted policy")
	}
	f.call("DELETE", "/policies/a", "").want(http.StatusNotFound)
}

func TestABrokenPolicyIsRefusedWithThePlaces(t *testing.T) {
	f := newFixture(t, nil)
	a := f.call("POST", "/policies", "{\"subjects\":[\"<\"],\n\"effect\":\"maybe\",\"resources\":[\"r\"],\"actions\":[\"a\"],\n\"conditions\":{\"x\":{\n\"type\":\"MoonCondition\"}}}")
	a.want(http.StatusBadRequest)
	for _, part := range []string{`"pointer":"/subjects/0","line":1`, `"pointer":"/effect","line":2`, `"pointer":"/conditions/x/type","line":4`} {
		if !strings.Contains(a.body, part) {
			t.Errorf("no %s in %s", part, a.body)
		}
	}
}

func TestGroupsExpandTheSubject(t *testing.T) {
	f := newFixture(t, nil)
	f.call("POST", "/policies", policyA).want(http.StatusCreated)
	a := f.call("POST", "/warden/groups", `{"id":"admins","members":["peter"]}`)
	a.want(http.StatusCreated)
	if a.header.Get("Location") != "/warden/groups/admins" || !f.allowed("peter") || f.allowed("zoe") {
		t.Error("peter must be allowed, zoe not")
	}
	f.call("POST", "/warden/groups/admins/members", `{"members":["zoe"]}`).want(http.StatusNoContent)
	if !f.allowed("zoe") {
		t.Error("zoe must be allowed")
	}
	if got := f.call("GET", "/warden/groups/admins", "").body; got != `{"id":"admins","members":["peter","zoe"]}` {
		t.Errorf("got %s", got)
	}
	if diff := cmp.Diff([]string{"admins"}, f.call("GET", "/warden/groups?member=zoe", "").ids("id")); diff != "" {
		t.Error(diff)
	}
	if got := f.call("GET", "/warden/groups?member=nobody", "").body; got != "[]" {
		t.Errorf("got %s", got)
	}
	f.call("DELETE", "/warden/groups/admins/members", `{"members":["zoe"]}`).want(http.StatusNoContent)
	if f.allowed("zoe") {
		t.Error("zoe must not be allowed")
	}
	f.call("DELETE", "/warden/groups/admins", "").want(http.StatusNoContent)
	if f.allowed("peter") {
		t.Error("peter must not be allowed")
	}
	for _, a := range []answer{f.call("GET", "/warden/groups/admins", ""), f.call("DELETE", "/warden/groups/admins", ""), f.call("POST", "/warden/groups/admins/members", `{"members":["a"]}`)} {
		a.want(http.StatusNotFound)
	}
	f.call("POST", "/warden/groups", `{"members":["a\u0000"]}`).want(http.StatusBadRequest)
}

func TestTheWardenDecidesByTokenAndScope(t *testing.T) {
	f := newFixture(t, nil)
	f.call("POST", "/policies", policyA).want(http.StatusCreated)
	ask := func(token, scopes, action string) answer {
		return f.call("POST", "/warden/token/allowed", `{"token":"`+token+`","scopes":[`+scopes+`],"action":"`+action+`","resource":"photos:1"}`)
	}
	want := map[string]any{
		"allowed": true, "sub": "alice", "subject": "alice", "scopes": []any{"photos"}, "grantedScopes": []any{"photos"}, "iss": "https://as", "issuer": "https://as",
		"aud": "app", "clientId": "app", "iat": "1970-01-01T00:00:01Z", "issuedAt": "1970-01-01T00:00:01Z", "exp": "1970-01-01T00:00:02Z", "expiresAt": "1970-01-01T00:00:02Z",
	}
	if diff := cmp.Diff(want, ask("alice's", `"photos"`, "get").want(200)); diff != "" {
		t.Error(diff)
	}
	for name, a := range map[string]answer{
		"unknown token": ask("nobody's", "", "get"), "missing scope": ask("alice's", `"videos"`, "get"),
		"denied": ask("alice's", "", "put"), "refresh token": ask("refresh", "", "get"),
	} {
		if a.status != 200 || a.body != `{"allowed":false}` {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	ask("down", "", "get").want(http.StatusServiceUnavailable)
}

func TestListsArePaged(t *testing.T) {
	f := newFixture(t, nil)
	for _, id := range []string{"c1", "c2", "c3", "c4", "c5"} {
		f.call("POST", "/clients", `{"client_id":"`+id+`","client_secret":"a secret","client_name":"n"}`).want(http.StatusCreated)
	}
	a := f.call("GET", "/clients?limit=2&offset=2", "")
	if diff := cmp.Diff([]string{"c3", "c4"}, a.ids("client_id")); diff != "" {
		t.Error(diff)
	}
	if link := a.header.Get("Link"); link != `</clients?limit=2&offset=0>; rel="first",</clients?limit=2&offset=0>; rel="prev",</clients?limit=2&offset=4>; rel="next",</clients?limit=2&offset=4>; rel="last"` {
		t.Errorf("Link %s", link)
	}
	var seen []string
	next := "/admin/clients?page_size=2&client_name=n"
	for next != "" && len(seen) < 10 {
		a := f.call("GET", next, "")
		seen = append(seen, a.ids("client_id")...)
		next = ""
		for link := range strings.SplitSeq(a.header.Get("Link"), ",") {
			if url, ok := strings.CutSuffix(link, `>; rel="next"`); ok {
				next = strings.TrimPrefix(url, "<")
			}
		}
	}
	if diff := cmp.Diff([]string{"c1", "c2", "c3", "c4", "c5"}, seen); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{"?limit=-1", "?limit=x", "?offset=-1", "?offset=99999999999", "?page_token=x", "?page_token=AAAAAgAAAAAAAAAAAAAAAAAAAAA", "?page_size=1.5"} {
		if a := f.call("GET", "/clients"+bad, ""); a.status != 400 || !enveloped(a, "hydra") {
			t.Errorf("%s: %d %s", bad, a.status, a.body)
		}
	}
	if got := f.call("GET", "/clients?limit=1000000&offset=5", "").body; got != "[]" {
		t.Errorf("got %s", got)
	}
}
