package server_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/oauth2"
	"github.com/gatewarden/gatewarden/oauth2/server"
)

// hooks answers as it is told and keeps what it was asked.
type hooks struct {
	mu     sync.Mutex
	status int
	body   string
	asked  []string // path and body
	header http.Header
}

func (h *hooks) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	h.asked, h.header = append(h.asked, r.URL.Path+" "+string(body)), r.Header
	if h.status == http.StatusFound {
		w.Header().Set("Location", "/good")
	}
	w.WriteHeader(h.status)
	_, _ = io.WriteString(w, h.body)
}

func (h *hooks) answer(status int, body string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.status, h.body, h.asked = status, body, nil
}

func hooked(t *testing.T, changes ...change) (*rig, *hooks) {
	h := &hooks{status: http.StatusNoContent}
	at := httptest.NewServer(h)
	t.Cleanup(at.Close)
	return start(t, append([]change{func(o *server.Options) {
		o.Hooks = server.Hooks{
			Token:   &server.Hook{URL: at.URL + "/token?key=of-the-address", Name: "X-Api-Key", Value: "of-the-hook"},
			Refresh: &server.Hook{URL: at.URL + "/refresh", Name: "key", Value: "of-the-hook", InCookie: true}, HTTP: at.Client(),
		}
	}}, changes...)...), h
}

func TestAHookIsAskedAsHydraAsks(t *testing.T) {
	r, h := hooked(t, salted)
	r.client(pairwise)
	b := r.browser()
	said := func(a *oauth2.AcceptConsent) {
		a.Session = oauth2.ConsentSession{AccessToken: map[string]any{"role": "admin"}, IDToken: map[string]any{"email": "a@b.test"}}
	}
	tokens := r.redeem(b.consent(b.login(request(), oauth2.AcceptLogin{Subject: "alice", ACR: "aal2", AMR: []string{"pwd"}}), said).Query().Get("code"))
	if tokens.status != 200 || len(h.asked) != 1 || h.header.Get("X-Api-Key") != "of-the-hook" || h.header.Get("Content-Type") != "application/json; charset=UTF-8" {
		t.Fatalf("got %d %s, asked %v %v", tokens.status, tokens.raw, h.asked, h.header)
	}
	path, body, _ := strings.Cut(h.asked[0], " ")
	var got map[string]any
	if err := json.Unmarshal([]byte(body), &got); err != nil || path != "/token" {
		t.Fatalf("%s: %v", path, err)
	}
	session := got["session"].(map[string]any)
	claims := session["id_token"].(map[string]any)["id_token_claims"].(map[string]any)
	for _, varies := range []string{"iat", "rat", "auth_time"} {
		if when, _ := claims[varies].(string); len(when) != len("2026-01-02T15:04:05Z") {
			t.Errorf("%s is %v", varies, claims[varies])
		}
		delete(claims, varies)
	}
	if id, _ := session["consent_challenge"].(string); id == "" {
		t.Error("the consent is not named")
	}
	delete(session, "consent_challenge")
	delete(session["id_token"].(map[string]any), "expires_at")
	want := map[string]any{
		"session": map[string]any{
			"id_token": map[string]any{
				"id_token_claims": map[string]any{
					"jti": "", "iss": r.url, "sub": pairwiseOf("127.0.0.1", "alice"), "aud": []any{"app"}, "nonce": "the-nonce-of-it", "exp": "0001-01-01T00:00:00Z",
					"at_hash": "", "acr": "aal2", "amr": []any{"pwd"}, "c_hash": "", "ext": map[string]any{"email": "a@b.test"},
				},
				"headers": map[string]any{"extra": map[string]any{}}, "username": "", "subject": "alice",
			},
			"extra": map[string]any{"role": "admin"}, "kid": "", "client_id": "app",
			"exclude_not_before_claim": false, "allowed_top_level_claims": []any{}, "mirror_top_level_claims": true,
		},
		"request": map[string]any{
			"client_id": "app", "requested_scopes": []any{"openid", "offline_access", "read"}, "granted_scopes": []any{"openid", "offline_access", "read"},
			"granted_audience": []any{"api"}, "grant_types": []any{"authorization_code"}, "payload": map[string]any{"grant_type": []any{"authorization_code"}},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	// A refresh asks both, and Hydra's older one first.
	h.answer(http.StatusNoContent, "")
	again := r.post("/oauth2/token", "app:secret", "grant_type", "refresh_token", "refresh_token", tokens.str("refresh_token"), "scope", "openid read")
	if again.status != 200 || len(h.asked) != 2 || !strings.HasPrefix(h.asked[0], "/refresh ") || !strings.HasPrefix(h.asked[1], "/token ") {
		t.Fatalf("got %d %s, asked %v", again.status, again.raw, h.asked)
	}
	got = nil
	_ = json.Unmarshal([]byte(strings.TrimPrefix(h.asked[0], "/refresh ")), &got)
	delete(got, "session")
	granted := []any{"openid", "read"}
	want = map[string]any{
		"subject": "alice", "client_id": "app", "granted_scopes": granted, "granted_audience": []any{"api"},
		"requester": map[string]any{"client_id": "app", "granted_scopes": granted, "granted_audience": []any{"api"}, "grant_types": []any{"refresh_token"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestAHookSaysWhatIsToldAndNothingThatIsTheServers(t *testing.T) {
	r, h := hooked(t, func(o *server.Options) { o.TopLevelClaims = []string{"role", "sub", "scope", "cnf", "client_id"} })
	r.client(func(c *oauth2.Client) { c.AccessTokenStrategy = server.JWT })
	hostile := `{"sub":"mallory","aud":"all","iss":"https://evil.test","exp":1,"scope":"write","scp":["write"],"cnf":{"jkt":"x"},"client_id":"other","acr":"high","role":"admin"}`
	h.answer(http.StatusOK, `{"session":{"access_token":`+hostile+`,"id_token":`+hostile+`,"granted_scopes":["write"]},"granted_scopes":["write"]}`)
	tokens := r.tokens()
	access, id := said(t, tokens.str("access_token"), "at+jwt"), said(t, tokens.str("id_token"), "JWT")
	for name, want := range map[string]any{"sub": "alice", "iss": r.url, "client_id": "app", "scope": "openid offline_access read", "cnf": nil, "acr": nil, "role": "admin"} {
		if diff := cmp.Diff(want, access[name]); diff != "" {
			t.Errorf("access token, %s: %s", name, diff)
		}
	}
	for name, want := range map[string]any{"sub": "alice", "iss": r.url, "aud": []any{"app"}, "acr": nil, "role": "admin"} {
		if diff := cmp.Diff(want, id[name]); diff != "" {
			t.Errorf("ID token, %s: %s", name, diff)
		}
	}
	if tokens.str("scope") != "openid offline_access read" {
		t.Errorf("the scope is %s", tokens.str("scope"))
	}
	known, err := r.server.IntrospectWire(context.Background(), tokens.str("access_token"), "")
	if err != nil || known.Subject != "alice" || known.Scope != "openid offline_access read" || known.Bound != nil || known.Extra["role"] != "admin" {
		t.Errorf("introspection is %+v, %v", known, err)
	}
	// What was said stays with the refresh token, until a hook says otherwise.
	h.answer(http.StatusNoContent, "")
	again := r.post("/oauth2/token", "app:secret", "grant_type", "refresh_token", "refresh_token", tokens.str("refresh_token"))
	if role := said(t, again.str("id_token"), "JWT")["role"]; role != "admin" {
		t.Errorf("after a refresh the role is %v", role)
	}
	h.answer(http.StatusOK, `{"session":{"access_token":{},"id_token":{}}}`)
	again = r.post("/oauth2/token", "app:secret", "grant_type", "refresh_token", "refresh_token", again.str("refresh_token"))
	if role := said(t, again.str("id_token"), "JWT")["role"]; role != nil {
		t.Errorf("an empty answer leaves the role %v", role)
	}
}

func TestAHookThatDoesNotSayYesLetsNothingBeIssuedAndSpendsNothing(t *testing.T) {
	r, h := hooked(t)
	r.client()
	code := r.code()
	for name, c := range map[string]struct {
		status int
		body   string
		want   string
	}{
		"no": {403, "", "403 access_denied"}, "a redirect": {302, "", "500 server_error"}, "created": {201, `{"session":{}}`, "500 server_error"},
		"a fault": {500, `{"session":{}}`, "500 server_error"}, "nothing": {200, "", "500 server_error"}, "no session": {200, `{}`, "500 server_error"},
		"twice": {200, `{"session":{"access_token":{"a":1},"access_token":{"a":2}}}`, "500 server_error"}, "a list": {200, `{"session":{"access_token":[]}}`, "500 server_error"},
		"too much": {200, `{"session":{}}` + strings.Repeat(" ", 1<<20), "500 server_error"},
	} {
		h.answer(c.status, c.body)
		for _, a := range []answer{r.redeem(code), r.post("/oauth2/token", "app:secret", "grant_type", "client_credentials")} {
			if got := http.StatusText(a.status); a.str("access_token") != "" || !strings.HasSuffix(c.want, a.str("error")) || !strings.HasPrefix(c.want, map[string]string{"Forbidden": "403", "Internal Server Error": "500"}[got]+" ") {
				t.Errorf("%s: %d %s, want %s", name, a.status, a.raw, c.want)
			}
		}
	}
	for _, secret := range []string{"of-the-hook", "of-the-address"} {
		if strings.Contains(r.log.String(), secret) {
			t.Errorf("the log has %s", secret)
		}
	}
	h.answer(204, "")
	if a := r.redeem(code); a.status != 200 {
		t.Errorf("the code was spent: %d %s", a.status, a.raw)
	}
}

func TestClaimsStandAtTheTopAsConfigured(t *testing.T) {
	for name, c := range map[string]struct {
		only     bool
		top, ext any
	}{
		"both": {false, "admin", map[string]any{"role": "admin", "team": "red"}}, "the top alone": {true, "admin", nil},
	} {
		r := start(t, func(o *server.Options) { o.TopLevelClaims, o.TopLevelClaimsOnly = []string{"role", "absent"}, c.only })
		r.client(func(c *oauth2.Client) { c.AccessTokenStrategy = server.JWT })
		b := r.browser()
		tokens := r.redeem(b.consent(b.login(request(), oauth2.AcceptLogin{Subject: "alice"}), func(a *oauth2.AcceptConsent) {
			a.Session.AccessToken = map[string]any{"role": "admin", "team": "red"}
		}).Query().Get("code"))
		claims := said(t, tokens.str("access_token"), "at+jwt")
		if diff := cmp.Diff([]any{c.top, nil, nil, c.ext}, []any{claims["role"], claims["team"], claims["absent"], claims["ext"]}); diff != "" {
			t.Errorf("%s (-want +got)\n%s", name, diff)
		}
	}
}
