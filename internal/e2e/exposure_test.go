package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTheKeysThatTheProgramSignsWithNeverLeaveIt(t *testing.T) {
	p := start(t, settings{})
	for _, set := range []string{"hydra.openid.id-token", "hydra.jwt.access-token", "oathkeeper:id-token"} {
		a := send(t, "GET", p.management+"/keys/"+set, "").want(t, http.StatusOK)
		if !strings.Contains(a.body, `"kty"`) || strings.Contains(a.body, `"d"`) {
			t.Errorf("%s: got %s", set, a.body)
		}
		made := post(t, p.management+"/keys/"+set, `{"alg": "ES256"}`).want(t, http.StatusCreated)
		if strings.Contains(made.body, `"d"`) {
			t.Errorf("%s: a new key is answered with its private half", set)
		}
	}
}

func TestTheWorldLearnsThatThePublicListenerIsNotReadyButNotWhy(t *testing.T) {
	file := filepath.Join(t.TempDir(), "rules.json")
	if err := os.WriteFile(file, []byte(`[{"id": "half-a-rule"}]`), 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, settings{keys: map[string]string{"access_rules.repositories": "file://" + file}})
	for listener, told := range map[string]bool{p.public: false, p.management: true} {
		a := send(t, "GET", listener+"/health/ready", "").want(t, http.StatusServiceUnavailable)
		if !strings.Contains(a.body, "access_rules") || strings.Contains(a.body, "half-a-rule") != told || strings.Contains(a.body, file) != told {
			t.Errorf("%s: got %s", listener, a.body)
		}
	}
}

func TestACookieThatARuleWritesIsTheGatewaysOnEveryRoute(t *testing.T) {
	api := upstream(t).URL
	p := start(t, settings{rules: `[
		{"id": "writes", "match": {"url": "<.*>/a", "methods": ["GET"]}, "authenticators": [{"handler": "anonymous"}], "authorizer": {"handler": "allow"},
		 "mutators": [{"handler": "cookie", "config": {"cookies": {"user": "{{ print .Subject }}"}}}], "upstream": {"url": "` + api + `"}},
		{"id": "does not", "match": {"url": "<.*>/b", "methods": ["GET"]}, "authenticators": [{"handler": "anonymous"}], "authorizer": {"handler": "allow"},
		 "mutators": [{"handler": "noop"}], "upstream": {"url": "` + api + `"}}]`})
	for path, want := range map[string]string{"/a": "user=anonymous", "/b": "other=1"} {
		a := send(t, "GET", p.proxy+path, "", "Cookie", "user=admin; other=1").want(t, http.StatusOK)
		if !strings.Contains(a.body, want) || strings.Contains(a.body, "admin") {
			t.Errorf("%s: the upstream got %s", path, a.body)
		}
	}
}
