package server_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/oauth2"
)

// listening is a client's back-channel.
func listening(t *testing.T) (address string, tokens chan string) {
	t.Helper()
	tokens = make(chan string, 100)
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		form, _ := url.ParseQuery(string(body))
		if r.Method != http.MethodPost || len(form) != 1 || r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" || r.Header.Get("Authorization") != "" {
			t.Errorf("%s %v %v", r.Method, r.Header, form)
		}
		tokens <- form.Get("logout_token")
	}))
	t.Cleanup(s.Close)
	return s.URL + "/backchannel?tenant=1", tokens
}

// next is what a client is told, without the times and the id, which must be there.
func next(t *testing.T, tokens chan string) map[string]any {
	t.Helper()
	select {
	case token := <-tokens:
		payload, err := ring().Verify(t.Context(), token, "logout+jwt")
		var claims map[string]any
		if err != nil || json.Unmarshal(payload, &claims) != nil {
			t.Fatalf("%s: %v", token, err)
		}
		for _, name := range []string{"iat", "exp", "jti"} {
			if claims[name] == nil {
				t.Errorf("%s is missing", name)
			}
			delete(claims, name)
		}
		return claims
	case <-time.After(30 * time.Second):
		t.Fatal("the client is not told")
		return nil
	}
}

// logOut is the person at the logout app, who says yes.
func (b *browser) logOut(link string) answer {
	b.r.t.Helper()
	to, err := b.r.server.AcceptLogout(context.Background(), b.open(link).Query().Get("logout_challenge"))
	if err != nil {
		b.r.t.Fatal(err)
	}
	req, err := http.NewRequest(http.MethodGet, to, nil)
	if err != nil {
		b.r.t.Fatal(err)
	}
	return b.r.do(b.http, req)
}

func TestALogoutIsToldToTheClientsOfTheSession(t *testing.T) {
	r := start(t)
	address, tokens := listening(t)
	strangers, unheard := listening(t)
	r.client(func(c *oauth2.Client) {
		c.BackchannelLogoutURI, c.FrontchannelLogoutURI, c.FrontchannelLogoutSID = address, "https://app.test/out?a=b", true
	})
	r.client(func(c *oauth2.Client) { c.ID, c.BackchannelLogoutURI = "stranger", strangers })
	b := r.remembered(oauth2.AcceptLogin{})
	sid := b.asked().SessionID
	a := b.logOut(r.url + "/oauth2/sessions/logout")
	if diff := cmp.Diff(map[string]any{"iss": r.url, "aud": []any{"app"}, "sid": sid, "events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}}}, next(t, tokens)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	frame := "https://app.test/out?a=b&" + url.Values{"iss": {r.url}, "sid": {sid}}.Encode()
	if a.status != http.StatusOK || !strings.Contains(a.raw, `src="`+strings.ReplaceAll(frame, "&", "&amp;")+`"`) || !strings.Contains(a.raw, `href="http://login.test/bye"`) {
		t.Errorf("got %d %s, want a frame of %s", a.status, a.raw, frame)
	}
	if got := a.header.Get("Refresh"); got != "7; url=http://login.test/bye" {
		t.Errorf("without scripts it goes on %q", got)
	}
	if policy := a.header.Get("Content-Security-Policy"); !strings.Contains(policy, "default-src 'none'") || !strings.Contains(policy, "frame-src https://app.test;") || strings.Contains(policy, "unsafe") {
		t.Errorf("the policy is %s", policy)
	}
	r.server.Close()
	if len(tokens)+len(unheard) > 0 {
		t.Errorf("the client was told %d times more, another %d times", len(tokens), len(unheard))
	}
}

func TestWhenAnOperatorEndsASessionItsClientsAreTold(t *testing.T) {
	for name, end := range map[string]func(r *rig, sid string) error{
		"one":              func(r *rig, sid string) error { return r.server.RevokeLoginSession(context.Background(), sid) },
		"all of a subject": func(r *rig, _ string) error { return r.server.RevokeLoginSessions(context.Background(), "alice") },
		"all but another": func(r *rig, _ string) error {
			return r.server.RevokeOtherLoginSessions(context.Background(), "alice", "another")
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t)
			address, tokens := listening(t)
			r.client(func(c *oauth2.Client) { c.BackchannelLogoutURI = address })
			sid := r.remembered(oauth2.AcceptLogin{}).asked().SessionID
			if err := end(r, sid); err != nil {
				t.Fatal(err)
			}
			if got := next(t, tokens)["sid"]; got != sid {
				t.Errorf("the client was told of %v, not of %s", got, sid)
			}
		})
	}
}

func TestAnotherPersonsLoginIsALogoutOfTheFirst(t *testing.T) {
	r := start(t)
	address, tokens := listening(t)
	r.client(func(c *oauth2.Client) { c.BackchannelLogoutURI = address })
	b := r.remembered(oauth2.AcceptLogin{})
	sid := b.asked().SessionID
	b.consent(b.login(request("prompt", "login"), oauth2.AcceptLogin{Subject: "bob"}))
	if got := next(t, tokens)["sid"]; got != sid {
		t.Errorf("the client was told of %v, not of %s", got, sid)
	}
}
