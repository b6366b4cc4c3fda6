package api_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLoginConsentAndLogoutAppsAreAnswered(t *testing.T) {
	f := newFixture(t, nil)
	for _, prefix := range []string{"", "/admin"} {
		f.apps.calls = nil
		at := prefix + "/oauth2/auth/requests/"
		for _, of := range []string{"login", "consent", "logout"} {
			for _, parameter := range []string{of + "_challenge", "challenge"} {
				if v := f.call("GET", at+of+"?"+parameter+"=good", "").want(200); v["challenge"] != "good" {
					t.Errorf("%s: %v", of, v)
				}
			}
		}
		for path, body := range map[string]string{
			"login/accept": `{"subject":"alice","remember":true,"remember_for":3600,"acr":"1","amr":["pwd"],"context":{"a":1},"identity_provider_session_id":"x"}`,
			"login/reject": `{"error":"denied"}`, "consent/reject": `{"error":"denied","error_description":"x","status_code":403}`,
			"consent/accept": `{"grant_scope":["openid"],"grant_access_token_audience":null,"session":{"id_token":{"a":1}},"remember":true,"remember_for":0,"handled_at":"2024-01-01T00:00:00Z"}`,
			"logout/accept":  "",
			"device/accept":  `{"user_code":"WDJB-MJHT"}`,
		} {
			of, _, _ := strings.Cut(path, "/")
			if v := f.call("PUT", at+path+"?"+of+"_challenge=good", body).want(200); v["redirect_to"] != "https://as/"+of {
				t.Errorf("%s: %v", path, v)
			}
		}
		f.call("PUT", at+"logout/reject?logout_challenge=good", "").want(http.StatusNoContent)
		if len(f.apps.calls) != 7 {
			t.Errorf("calls: %v", f.apps.calls)
		}
	}
}

func TestBadAnswersOfAppsAreRefused(t *testing.T) {
	f := newFixture(t, nil)
	at := "/oauth2/auth/requests/"
	for _, c := range []struct {
		method, path, body string
		want               int
	}{
		{"GET", "login", "", 400},
		{"GET", "login?login_challenge=unknown", "", 404},
		{"GET", "consent?login_challenge=good", "", 400},
		{"GET", "logout?logout_challenge=unknown", "", 404},
		{"PUT", "login/accept?login_challenge=good", `{"subject":""}`, 400},
		{"PUT", "login/accept?login_challenge=good", `{"subject":7}`, 400},
		{"PUT", "login/accept?login_challenge=good", `{"subject":"a","root":true}`, 400},
		{"PUT", "login/accept", `{"subject":"a"}`, 400},
		{"PUT", "login/reject?login_challenge=unknown", `{}`, 404},
		{"PUT", "consent/accept?consent_challenge=good", `{"session":{"evil":1}}`, 400},
		{"PUT", "consent/accept?consent_challenge=unknown", `{}`, 404},
		{"PUT", "logout/accept?logout_challenge=unknown", ``, 404},
		{"PUT", "device/accept?device_challenge=unknown", `{"user_code":"x"}`, 404},
		{"PUT", "device/accept?device_challenge=good", `{"code":"x"}`, 400},
		{"PUT", "device/accept", `{"user_code":"x"}`, 400},
	} {
		if a := f.call(c.method, at+c.path, c.body); a.status != c.want || !enveloped(a, "hydra") {
			t.Errorf("%s %s: %d, want %d: %s", c.method, c.path, a.status, c.want, a.body)
		}
	}
	for _, c := range [][3]string{{"GET", "login?login_challenge=used"}, {"PUT", "login/accept?login_challenge=used", `{"subject":"a"}`}, {"PUT", "consent/reject?consent_challenge=used", `{}`}, {"PUT", "logout/accept?logout_challenge=used"}} {
		if a := f.call(c[0], at+c[1], c[2]); a.status != http.StatusGone || a.body != `{"redirect_to":"https://as/again"}` {
			t.Errorf("%v: %d %s", c, a.status, a.body)
		}
	}
}

func TestSessionsAreListedAndRevoked(t *testing.T) {
	f := newFixture(t, nil)
	at := "/admin/oauth2/auth/sessions/"
	a := f.call("GET", at+"consent?subject=alice", "")
	a.want(200)
	if !strings.Contains(a.body, `"grant_scope":["openid"]`) || strings.Contains(a.body, "must not be shown") {
		t.Errorf("got %s", a.body)
	}
	if a := f.call("GET", at+"consent?subject=bob", ""); a.body != "[]" {
		t.Errorf("got %s", a.body)
	}
	for _, bad := range []string{"consent", "consent?subject=alice", "consent?subject=alice&client=app&all=true", "consent?client=app", "login", "login?subject=a&sid=b"} {
		if a := f.call("DELETE", at+bad, ""); a.status != 400 || !enveloped(a, "hydra") {
			t.Errorf("%s: %d %s", bad, a.status, a.body)
		}
	}
	f.call("GET", at+"consent", "").want(400)
	if a := f.call("GET", at+"consent?subject=alice&login_session_id=another", ""); a.body != "[]" || a.header.Get("X-Total-Count") != "0" {
		t.Errorf("got %s of %s", a.body, a.header.Get("X-Total-Count"))
	}
	f.call("DELETE", at+"consent?consent_request_id=x&subject=alice", "").want(400)
	f.call("DELETE", at+"consent?consent_request_id=x&all=false", "").want(400)
	f.call("DELETE", at+"consent?consent_request_id=x", "").want(http.StatusNoContent)
	for _, good := range []string{"consent?subject=alice&client=app", "consent?subject=alice&all=true", "login?subject=alice", "login?sid=s"} {
		f.call("DELETE", at+good, "").want(http.StatusNoContent)
	}
	want := []string{"revoke consent x", "revoke consents of alice for app", "revoke consents of alice for ", "end logins of alice", "end login s"}
	if diff := cmp.Diff(want, f.apps.calls); diff != "" {
		t.Error(diff)
	}
}

func TestTokensAreIntrospectedRevokedAndFlushed(t *testing.T) {
	f := newFixture(t, nil)
	form := []string{"Content-Type", "application/x-www-form-urlencoded"}
	for body, want := range map[string]string{
		"token=alice%27s":              `{"active":true,"scope":"photos","client_id":"app","sub":"alice","exp":2,"iat":1,"iss":"https://as","token_use":"access_token"}`,
		"token=alice%27s&scope=videos": `{"active":false}`,
		"token=unknown":                `{"active":false}`,
	} {
		if a := f.call("POST", "/oauth2/introspect", body, form...); a.status != 200 || a.body != want || a.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %s", body, a.status, a.body)
		}
	}
	for body, want := range map[string]int{"": 400, "token=": 400, "token=a&token=b": 400, "token=%zz": 400, "token=down": 503} {
		if a := f.call("POST", "/admin/oauth2/introspect?token=alice%27s", body, form...); a.status != want || !enveloped(a, "hydra") {
			t.Errorf("%q: %d, want %d: %s", body, a.status, want, a.body)
		}
	}
	f.call("DELETE", "/oauth2/tokens", "").want(400)
	f.call("DELETE", "/oauth2/tokens?client_id=app", "").want(204)
	f.call("POST", "/oauth2/flush", `{"notAfter":"2999-01-01T00:00:00Z"}`).want(204)
	f.call("POST", "/oauth2/flush", `{}`).want(204)
	f.call("POST", "/oauth2/flush", `{"notAfter":"soon"}`).want(400)
}
