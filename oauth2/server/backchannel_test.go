package server_test

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/oauth2"
	"github.com/gatewarden/gatewarden/oauth2/server"
)

const cibaGrant = "urn:openid:params:grant-type:ciba"

// ciba switches CIBA on; alice and bob are people, the database may be away.
func ciba(o *server.Options) {
	o.Backchannel.Person = func(_ context.Context, hint string) (string, error) {
		switch hint {
		case "alice", "bob":
			return hint, nil
		case "away":
			return "", fault.New(fault.Unavailable, "down", "secret detail of the database")
		}
		return "", fault.New(fault.NotFound, "user_not_found", hint)
	}
}

// calls is a client that may ask people who are elsewhere.
func calls(c *oauth2.Client) { c.GrantTypes = append(c.GrantTypes, cibaGrant) }

func (r *rig) call(form ...string) answer {
	r.t.Helper()
	v := pairs("scope", "openid offline_access read", "login_hint", "alice", "binding_message", "W4SCT", "audience", "api")
	for i := 0; i < len(form); i += 2 {
		if v.Set(form[i], form[i+1]); form[i+1] == "-" {
			v.Del(form[i])
		}
	}
	return r.postRaw("/oauth2/bc-authorize", "app:secret", v.Encode())
}

func (r *rig) pollFor(id string) answer {
	r.t.Helper()
	return r.post("/oauth2/token", "app:secret", "grant_type", cibaGrant, "auth_req_id", id)
}

// waits returns the one request that waits for alice.
func (r *rig) waits() oauth2.BackchannelRequest {
	r.t.Helper()
	list, err := r.server.BackchannelRequests(context.Background(), "alice")
	if err != nil || len(list) != 1 {
		r.t.Fatalf("%v %v", list, err)
	}
	return list[0]
}

func TestAPersonElsewhereAgreesAndTheClientGetsTokens(t *testing.T) {
	r := start(t, ciba)
	r.client(calls)
	a := r.call("requested_expiry", "120", "acr_values", "aal2")
	if a.status != 200 || a.json["expires_in"] != 120.0 || a.json["interval"] != 5.0 || len(a.json) != 3 {
		t.Fatalf("%d %s", a.status, a.raw)
	}
	id := a.str("auth_req_id")
	r.wants(r.pollFor(id), 400, "authorization_pending")
	r.wants(r.pollFor(id), 400, "slow_down")
	asked := r.waits()
	asked.Client, asked.ID = oauth2.Client{ID: asked.Client.ID}, ""
	want := oauth2.BackchannelRequest{Subject: "alice", Client: oauth2.Client{ID: "app"}, RequestedScope: []string{"openid", "offline_access", "read"}, RequestedAudience: []string{"api"},
		BindingMessage: "W4SCT", ACRValues: []string{"aal2"}, RequestedAt: asked.RequestedAt, ExpiresAt: asked.ExpiresAt}
	if d := cmp.Diff(want, asked); d != "" {
		t.Error(d)
	}
	yes := oauth2.AcceptBackchannel{Subject: "alice", GrantScope: []string{"openid", "offline_access"}, GrantAudience: []string{"api"}, ACR: "aal2", AMR: []string{"pwd", "otp"}}
	for name, change := range map[string]func(*oauth2.AcceptBackchannel){
		"another person": func(a *oauth2.AcceptBackchannel) { a.Subject = "bob" }, "nobody": func(a *oauth2.AcceptBackchannel) { a.Subject = "" },
		"more scope": func(a *oauth2.AcceptBackchannel) { a.GrantScope = []string{"openid", "write"} }, "no openid": func(a *oauth2.AcceptBackchannel) { a.GrantScope = []string{"read"} },
		"more audience": func(a *oauth2.AcceptBackchannel) { a.GrantAudience = []string{"other"} },
		"tomorrow":      func(a *oauth2.AcceptBackchannel) { a.AuthTime = time.Now().Add(24 * time.Hour) },
	} {
		no := yes
		change(&no)
		if err := r.server.AcceptBackchannel(context.Background(), r.waits().ID, no); !fault.Is(err, fault.NotFound) && !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := r.server.AcceptBackchannel(context.Background(), r.waits().ID, yes); err != nil {
		t.Fatal(err)
	}
	r.wait(11 * time.Second)
	got := r.pollFor(id)
	if got.status != 200 || got.str("scope") != "openid offline_access" || got.str("refresh_token") == "" {
		t.Fatalf("%d %s", got.status, got.raw)
	}
	if claims := partOf(t, got.str("id_token"), 1); claims["sub"] != "alice" || claims["acr"] != "aal2" {
		t.Errorf("the ID token says %v", claims)
	}
	if again := r.post("/oauth2/token", "app:secret", "grant_type", "refresh_token", "refresh_token", got.str("refresh_token")); again.status != 200 {
		t.Errorf("refresh: %d %s", again.status, again.raw)
	} else {
		got = again
	}
	r.wait(20 * time.Second)
	r.wants(r.pollFor(id), 400, "invalid_grant")
	if r.isActive(got.str("access_token")) {
		t.Error("the tokens of an auth_req_id that was used twice are good")
	}
	// By an ID token of the client.
	hint := r.tokens().str("id_token")
	if a := r.call("login_hint", "-", "id_token_hint", hint); a.status != 200 || r.waits().Subject != "alice" {
		t.Errorf("%d %s", a.status, a.raw)
	}
}

func TestAClientIsToldHowThePersonElsewhereAnswered(t *testing.T) {
	r := start(t, ciba)
	r.client(calls)
	r.client(calls, func(c *oauth2.Client) { c.ID = "other" })
	refused := r.call()
	if err := r.server.RejectBackchannel(context.Background(), r.waits().ID, "bob"); !fault.Is(err, fault.NotFound) {
		t.Errorf("another person's no: %v", err)
	}
	r.wants(r.post("/oauth2/token", "other:secret", "grant_type", cibaGrant, "auth_req_id", refused.str("auth_req_id")), 400, "invalid_grant")
	id := r.waits().ID
	if err := r.server.RejectBackchannel(context.Background(), id, "alice"); err != nil {
		t.Fatal(err)
	}
	if err := r.server.AcceptBackchannel(context.Background(), id, oauth2.AcceptBackchannel{Subject: "alice", GrantScope: []string{"openid"}}); !fault.Is(err, fault.NotFound) {
		t.Errorf("a yes after a no: %v", err)
	}
	r.wants(r.pollFor(refused.str("auth_req_id")), 400, "access_denied")
	late := r.call()
	r.wait(6 * time.Minute)
	r.wants(r.pollFor(late.str("auth_req_id")), 400, "expired_token")
	r.wants(r.pollFor("ory_br_x"), 400, "invalid_grant")
	r.wants(r.pollFor(""), 400, "invalid_grant")
	if list, err := r.server.BackchannelRequests(context.Background(), "alice"); err != nil || len(list) != 0 {
		t.Errorf("still waits: %v %v", list, err)
	}
}

func TestWhoMayAskAPersonElsewhereAndForWhat(t *testing.T) {
	r := start(t, ciba)
	r.client(calls)
	r.client(func(c *oauth2.Client) { c.ID = "plain" })
	r.client(public, calls)
	for name, tc := range map[string]struct {
		got    answer
		status int
		code   string
	}{
		"no hint":               {r.call("login_hint", "-"), 400, "invalid_request"},
		"two hints":             {r.call("id_token_hint", "x"), 400, "invalid_request"},
		"a token for a hint":    {r.call("login_hint_token", "x"), 400, "invalid_request"},
		"nobody":                {r.call("login_hint", "eve"), 400, "unknown_user_id"},
		"the database is away":  {r.call("login_hint", "away"), 503, "temporarily_unavailable"},
		"a hint of others":      {r.call("login_hint", "-", "id_token_hint", "eyJhbGciOiJub25lIn0.e30."), 400, "invalid_request"},
		"no openid":             {r.call("scope", "read"), 400, "invalid_scope"},
		"scope":                 {r.call("scope", "openid admin"), 400, "invalid_scope"},
		"audience":              {r.call("audience", "foreign"), 400, "invalid_request"},
		"a long message":        {r.call("binding_message", strings.Repeat("x", 101)), 400, "invalid_binding_message"},
		"a message of controls": {r.call("binding_message", "a\u202eb\n"), 400, "invalid_binding_message"},
		"no time":               {r.call("requested_expiry", "0"), 400, "invalid_request"},
		"odd time":              {r.call("requested_expiry", "-5"), 400, "invalid_request"},
		"user code":             {r.call("user_code", "1234"), 400, "invalid_request"},
		"signed":                {r.call("request", "x.y.z"), 400, "request_not_supported"},
		"not registered":        {r.post("/oauth2/bc-authorize", "plain:secret", "scope", "openid", "login_hint", "alice"), 400, "unauthorized_client"},
		"public":                {r.post("/oauth2/bc-authorize", "", "client_id", "spa", "scope", "openid", "login_hint", "alice"), 400, "unauthorized_client"},
		"no credentials":        {r.post("/oauth2/bc-authorize", "", "client_id", "app", "scope", "openid", "login_hint", "alice"), 401, "invalid_client"},
	} {
		if tc.got.status != tc.status || tc.got.str("error") != tc.code || strings.Contains(tc.got.raw, "secret") {
			t.Errorf("%s: %d %s", name, tc.got.status, tc.got.raw)
		}
	}
	meta := r.get("/.well-known/openid-configuration")
	if meta.str("backchannel_authentication_endpoint") != r.url+"/oauth2/bc-authorize" || meta.json["backchannel_user_code_parameter_supported"] != false || !strings.Contains(meta.raw, cibaGrant) {
		t.Errorf("metadata: %s", meta.raw)
	}
	off := start(t)
	off.client(calls)
	if a := off.call(); a.status != 404 {
		t.Errorf("off: %d %s", a.status, a.raw)
	}
	off.wants(off.pollFor("x"), 400, "unsupported_grant_type")
	if meta := off.get("/.well-known/openid-configuration"); strings.Contains(meta.raw, "backchannel_authentication") || strings.Contains(meta.raw, "ciba") {
		t.Errorf("metadata: %s", meta.raw)
	}
}

func TestAPersonIsNotWornDownWithRequests(t *testing.T) {
	r := start(t, ciba)
	r.client(calls)
	for range 5 {
		if a := r.call(); a.status != 200 {
			t.Fatalf("%d %s", a.status, a.raw)
		}
	}
	r.wants(r.call(), 429, "slow_down")
	if a := r.call("login_hint", "bob"); a.status != 200 {
		t.Errorf("another person: %d %s", a.status, a.raw)
	}
}

func TestOfParallelAnswersOfAPersonElsewhereOneCounts(t *testing.T) {
	r := start(t, ciba, func(o *server.Options) { o.Backchannel.Interval = time.Nanosecond })
	r.client(calls)
	a := r.call()
	id := r.waits().ID
	var yes, no, bought atomic.Int32
	var group sync.WaitGroup
	for i := range 64 {
		group.Go(func() {
			if i%2 == 0 {
				if r.server.AcceptBackchannel(context.Background(), id, oauth2.AcceptBackchannel{Subject: "alice", GrantScope: []string{"openid"}}) == nil {
					yes.Add(1)
				}
			} else if r.server.RejectBackchannel(context.Background(), id, "alice") == nil {
				no.Add(1)
			}
		})
	}
	group.Wait()
	for range 64 {
		group.Go(func() {
			if r.pollFor(a.str("auth_req_id")).status == 200 {
				bought.Add(1)
			}
		})
	}
	group.Wait()
	if yes.Load()+no.Load() != 1 || bought.Load() != yes.Load() {
		t.Errorf("%d yes, %d no, bought %d times", yes.Load(), no.Load(), bought.Load())
	}
}
