package server_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/oauth2"
	"github.com/gatewarden/gatewarden/oauth2/server"
)

// legacy switches on everything that OAuth 2.1 has no more.
func legacy(o *server.Options) {
	o.Legacy = server.Legacy{Implicit: true, Hybrid: true, Password: func(_ context.Context, _, login, password string) (server.PasswordLogin, error) {
		switch {
		case login == "busy":
			return server.PasswordLogin{}, fault.New(fault.RateLimited, "too_many_attempts", "too many")
		case login == "away":
			return server.PasswordLogin{}, fault.New(fault.Unavailable, "down", "secret detail of the database")
		case password != "correct":
			return server.PasswordLogin{}, fault.New(fault.Unauthenticated, "wrong_login", "wrong")
		}
		return server.PasswordLogin{Subject: login, ACR: "aal1", AMR: []string{"pwd"}, Claims: func(scopes []string) map[string]any {
			return map[string]any{"scopes": strings.Join(scopes, " ")}
		}}, nil
	}}
}

var allResponseTypes = []string{"code", "id_token", "token", "id_token token", "code id_token", "code token", "code id_token token"}

// old is a client of before OAuth 2.1 that has registered everything.
func old(c *oauth2.Client) {
	c.GrantTypes = append(c.GrantTypes, "implicit", "password")
	c.ResponseTypes = allResponseTypes
}

// fragment is what came back in the fragment of the callback.
func fragment(t *testing.T, to *url.URL) url.Values {
	t.Helper()
	if strings.Contains(to.RawQuery, "token") || strings.Contains(to.RawQuery, "code") {
		t.Fatalf("the query says %s", to.RawQuery)
	}
	v, err := url.ParseQuery(to.Fragment)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// half is at_hash and c_hash for algorithms with SHA-256.
func half(text string) string {
	sum := sha256.Sum256([]byte(text))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

func names(v url.Values) (names []string) {
	for name := range v {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func TestTokensComeFromTheAuthorizationEndpointAsTheResponseTypeSays(t *testing.T) {
	for asked, want := range map[string][]string{
		"id_token":            {"id_token", "iss", "state"},
		"token":               {"access_token", "expires_in", "iss", "scope", "state", "token_type"},
		"id_token token":      {"access_token", "expires_in", "id_token", "iss", "scope", "state", "token_type"},
		"token id_token":      {"access_token", "expires_in", "id_token", "iss", "scope", "state", "token_type"},
		"code id_token":       {"code", "id_token", "iss", "scope", "state"},
		"code token":          {"access_token", "code", "expires_in", "iss", "scope", "state", "token_type"},
		"code id_token token": {"access_token", "code", "expires_in", "id_token", "iss", "scope", "state", "token_type"},
	} {
		t.Run(asked, func(t *testing.T) {
			r := start(t, legacy)
			r.client(old, func(c *oauth2.Client) {
				c.ImplicitGrantAccess, c.ImplicitGrantID = "7m", "9m"
			})
			b := r.browser()
			got := fragment(t, b.consent(b.login(request("response_type", asked), oauth2.AcceptLogin{Subject: "alice"})))
			if d := cmp.Diff(want, names(got)); d != "" {
				t.Fatal(d)
			}
			if got.Get("state") != "the-state-of-it" || got.Get("iss") != r.url {
				t.Errorf("got %v", got)
			}
			if token := got.Get("access_token"); token != "" {
				known, err := r.server.Introspect(context.Background(), token)
				if err != nil || !known.Active || known.Subject != "alice" || got.Get("expires_in") != "420" || got.Get("token_type") != "bearer" {
					t.Errorf("%v %v %v", known, err, got)
				}
			}
			if raw := got.Get("id_token"); raw != "" {
				claims := partOf(t, raw, 1)
				at, code := "", ""
				if got.Has("access_token") {
					at = half(got.Get("access_token"))
				}
				if got.Has("code") {
					code = half(got.Get("code"))
				}
				said := func(name string) string { s, _ := claims[name].(string); return s }
				if said("nonce") != "the-nonce-of-it" || said("at_hash") != at || said("c_hash") != code || said("sub") != "alice" || claims["exp"].(float64)-claims["iat"].(float64) != 540 {
					t.Errorf("the ID token says %v", claims)
				}
			}
			if !got.Has("code") {
				return
			}
			bought := r.redeem(got.Get("code"))
			if bought.status != 200 || bought.str("refresh_token") == "" {
				t.Fatalf("the code: %d %s", bought.status, bought.raw)
			}
			if claims := partOf(t, bought.str("id_token"), 1); claims["nonce"] != "the-nonce-of-it" || claims["c_hash"] != nil {
				t.Errorf("the ID token of the code says %v", claims)
			}
			// Who uses the code twice ends what came with it.
			r.wants(r.redeem(got.Get("code")), 400, "invalid_grant")
			if token := got.Get("access_token"); token != "" && r.isActive(token) {
				t.Error("the token that came with a code that was used twice is good")
			}
		})
	}
}

func TestThereIsNoRefreshTokenWithoutACode(t *testing.T) {
	r := start(t, legacy)
	r.client(old)
	b := r.browser()
	challenge := b.login(request("response_type", "id_token token"), oauth2.AcceptLogin{Subject: "alice"})
	asked, err := r.server.ConsentRequest(context.Background(), challenge)
	if err != nil || slices.Contains(asked.RequestedScope, "offline_access") {
		t.Errorf("the person is asked for %v, %v", asked.RequestedScope, err)
	}
	if got := fragment(t, b.consent(challenge)); got.Get("scope") != "openid read" || got.Has("refresh_token") {
		t.Errorf("got %v", got)
	}
}

func TestTokensOfTheAuthorizationEndpointAreOffUnlessSwitchedOnAndRegistered(t *testing.T) {
	code := func(o *server.Options) { legacy(o); o.Legacy.Implicit, o.Legacy.Hybrid = false, false }
	bound := "unauthorized_client"
	for name, tc := range map[string]struct {
		options change
		client  func(*oauth2.Client)
		asked   []string
		want    string
	}{
		"all is on":                        {legacy, old, []string{"response_type", "id_token token"}, ""},
		"implicit is off":                  {func(o *server.Options) { legacy(o); o.Legacy.Implicit = false }, old, []string{"response_type", "id_token"}, "unsupported_response_type"},
		"hybrid is off":                    {func(o *server.Options) { legacy(o); o.Legacy.Hybrid = false }, old, []string{"response_type", "code id_token"}, "unsupported_response_type"},
		"both are off":                     {code, old, []string{"response_type", "token"}, "unsupported_response_type"},
		"response type not registered":     {legacy, func(c *oauth2.Client) { old(c); c.ResponseTypes = []string{"code", "id_token"} }, []string{"response_type", "id_token token"}, "unsupported_response_type"},
		"none registered":                  {legacy, func(c *oauth2.Client) { old(c); c.ResponseTypes = nil }, []string{"response_type", "token"}, "unsupported_response_type"},
		"grant not registered":             {legacy, func(c *oauth2.Client) { old(c); c.GrantTypes = []string{"authorization_code"} }, []string{"response_type", "code token"}, "unauthorized_client"},
		"code grant not registered":        {legacy, func(c *oauth2.Client) { old(c); c.GrantTypes = []string{"implicit"} }, []string{"response_type", "code token"}, "unauthorized_client"},
		"grant type alone, other word":     {legacy, old, []string{"response_type", "token code code"}, "unsupported_response_type"},
		"unknown word":                     {legacy, old, []string{"response_type", "token none"}, "unsupported_response_type"},
		"DPoP-bound":                       {legacy, func(c *oauth2.Client) { old(c); c.DPoPBoundAccessTokens = true }, []string{"response_type", "code id_token"}, bound},
		"bound to certificates":            {legacy, func(c *oauth2.Client) { old(c); c.TLSBoundAccessTokens = true }, []string{"response_type", "token"}, bound},
		"registered by itself":             {legacy, func(c *oauth2.Client) { old(c); c.Origin = oauth2.ByRegistration }, []string{"response_type", "id_token"}, bound},
		"no nonce":                         {legacy, old, []string{"response_type", "id_token", "nonce", "-"}, "invalid_request"},
		"no nonce in the hybrid flow":      {legacy, old, []string{"response_type", "code id_token token", "nonce", "-"}, "invalid_request"},
		"no nonce where none is used":      {legacy, old, []string{"response_type", "code token", "nonce", "-"}, ""},
		"no openid":                        {legacy, old, []string{"response_type", "id_token", "scope", "read"}, "invalid_request"},
		"neither state nor nonce":          {legacy, old, []string{"response_type", "token", "scope", "read", "state", "-", "nonce", "-"}, "invalid_request"},
		"no PKCE for the code":             {legacy, old, []string{"response_type", "code id_token", "code_challenge", "-", "code_challenge_method", "-"}, "invalid_request"},
		"no PKCE where there is no code":   {legacy, old, []string{"response_type", "id_token", "code_challenge", "-", "code_challenge_method", "-"}, ""},
		"a key for a token":                {legacy, old, []string{"response_type", "token", "dpop_jkt", s256("x")}, "invalid_request"},
		"a query":                          {legacy, old, []string{"response_type", "token", "response_mode", "query"}, "invalid_request"},
		"a signed query":                   {legacy, old, []string{"response_type", "code id_token", "response_mode", "query.jwt"}, "invalid_request"},
		"a scope that is not the client's": {legacy, old, []string{"response_type", "token", "scope", "admin"}, "invalid_scope"},
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t, tc.options)
			r.client(tc.client)
			to := r.browser().open(r.authURL(request(tc.asked...)))
			if tc.want == "" {
				if to.Host != "login.test" || !to.Query().Has("login_challenge") {
					t.Errorf("sent to %s", to)
				}
				return
			}
			got, err := url.ParseQuery(to.Fragment)
			if err != nil || len(got) == 0 {
				got = to.Query()
				if tc.want == "invalid_request" {
					t.Errorf("the error is in the query: %s", to)
				}
			}
			if got.Has("response") {
				got.Set("error", partOf(t, got.Get("response"), 1)["error"].(string))
			}
			if to.Host != "127.0.0.1" || got.Get("error") != tc.want {
				t.Errorf("got %v from %s, want %s", got, to, tc.want)
			}
		})
	}
}

// What was switched off or taken away while a person logs in counts.
func TestTheGateAsksOfFrontChannelTokensWhatIsRegisteredNow(t *testing.T) {
	for name, take := range map[string]func(*oauth2.Client){
		"the grant":         func(c *oauth2.Client) { c.GrantTypes = []string{"authorization_code"} },
		"the response type": func(c *oauth2.Client) { c.ResponseTypes = []string{"code"} },
		"bearer tokens":     func(c *oauth2.Client) { c.DPoPBoundAccessTokens = true },
		"the scope":         func(c *oauth2.Client) { c.Scope = "openid" },
		"the client":        func(c *oauth2.Client) { c.Disabled = true },
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t, legacy)
			client := r.client(old)
			b := r.browser()
			challenge := b.login(request("response_type", "id_token token"), oauth2.AcceptLogin{Subject: "alice"})
			take(&client)
			if err := r.store.UpdateClient(context.Background(), client); err != nil {
				t.Fatal(err)
			}
			r.server.EvictClient("app")
			if to := b.consent(challenge).String(); strings.Contains(to, "token=") || !strings.Contains(to, "error=") {
				t.Errorf("sent to %s", to)
			}
		})
	}
	r := start(t, legacy, func(o *server.Options) {
		o.Subject = func(_ context.Context, id string) error { return fault.New(fault.NotFound, "user_not_found", id) }
	})
	r.client(old)
	b := r.browser()
	to := b.consent(b.login(request("response_type", "id_token"), oauth2.AcceptLogin{Subject: "alice"}))
	if got := fragment(t, to); got.Get("error") != "invalid_grant" && got.Get("error") != "access_denied" || got.Has("id_token") {
		t.Errorf("a person who is gone: %v", got)
	}
}

func TestAPersonWhoDoesNotGrantOpenIDGivesNoIDToken(t *testing.T) {
	r := start(t, legacy)
	r.client(old)
	b := r.browser()
	to := b.consent(b.login(request("response_type", "id_token token"), oauth2.AcceptLogin{Subject: "alice"}), func(a *oauth2.AcceptConsent) { a.GrantScope = []string{"read"} })
	if got := fragment(t, to); got.Get("error") != "access_denied" || got.Has("access_token") {
		t.Errorf("got %v", got)
	}
}

func TestFrontChannelTokensComeByFormOrSignedAndFromPushedRequests(t *testing.T) {
	r := start(t, legacy)
	r.client(old)
	b := r.browser()
	form := b.login(request("response_type", "code id_token", "response_mode", "form_post"), oauth2.AcceptLogin{Subject: "alice"})
	asked, err := r.server.ConsentRequest(context.Background(), form)
	if err != nil {
		t.Fatal(err)
	}
	next, err := r.server.AcceptConsent(context.Background(), form, oauth2.AcceptConsent{GrantScope: asked.RequestedScope})
	if err != nil {
		t.Fatal(err)
	}
	page := r.do(b.http, must(newRequest(next)))
	if page.status != http.StatusOK || !regexp.MustCompile(`name="id_token" value="[^"]+"`).MatchString(page.raw) || !strings.Contains(page.raw, `name="code"`) {
		t.Errorf("%d %s", page.status, page.raw)
	}

	pushed := r.postRaw("/oauth2/par", "app:secret", request("response_type", "id_token token", "response_mode", "jwt").Encode())
	if pushed.status != http.StatusCreated {
		t.Fatalf("%d %s", pushed.status, pushed.raw)
	}
	to := b.consent(b.login(pairs("client_id", "app", "request_uri", pushed.str("request_uri")), oauth2.AcceptLogin{Subject: "alice"}))
	got := fragment(t, to)
	if d := cmp.Diff([]string{"response"}, names(got)); d != "" {
		t.Fatal(d)
	}
	if said := partOf(t, got.Get("response"), 1); said["access_token"] == nil || said["id_token"] == nil || said["iss"] != r.url || said["aud"] != "app" {
		t.Errorf("the response says %v", said)
	}
}

func TestMetadataListsTheLegacyGrantsThatAreOn(t *testing.T) {
	for name, tc := range map[string]struct {
		options       change
		types, grants []any
	}{
		"none":     {func(*server.Options) {}, []any{"code"}, nil},
		"implicit": {func(o *server.Options) { o.Legacy.Implicit = true }, []any{"code", "id_token", "token", "id_token token"}, []any{"implicit"}},
		"hybrid":   {func(o *server.Options) { o.Legacy.Hybrid = true }, []any{"code", "code id_token", "code token", "code id_token token"}, []any{"implicit"}},
		"all":      {legacy, []any{"code", "id_token", "token", "id_token token", "code id_token", "code token", "code id_token token"}, []any{"implicit", "password"}},
	} {
		r := start(t, tc.options)
		a := r.get("/.well-known/openid-configuration")
		if d := cmp.Diff(tc.types, a.json["response_types_supported"]); d != "" {
			t.Error(name, d)
		}
		var more []any
		for _, g := range a.json["grant_types_supported"].([]any) {
			if g == "implicit" || g == "password" {
				more = append(more, g)
			}
		}
		if d := cmp.Diff(tc.grants, more); d != "" {
			t.Error(name, d)
		}
		if warned := strings.Contains(r.log.String(), "OAuth 2.1"); warned != (tc.grants != nil) {
			t.Errorf("%s: the log says %s", name, r.log)
		}
	}
}

func TestAPasswordBuysTokensForConfidentialClientsThatRegisteredIt(t *testing.T) {
	r := start(t, legacy)
	r.client(old)
	ask := func(form ...string) answer {
		v := pairs("grant_type", "password", "username", "alice", "password", "correct", "scope", "openid offline_access read", "audience", "api")
		for i := 0; i < len(form); i += 2 {
			if v.Set(form[i], form[i+1]); form[i+1] == "-" {
				v.Del(form[i])
			}
		}
		return r.postRaw("/oauth2/token", "app:secret", v.Encode())
	}
	a := ask()
	if a.status != 200 || a.str("refresh_token") == "" || a.str("scope") != "openid offline_access read" {
		t.Fatalf("%d %s", a.status, a.raw)
	}
	if claims := partOf(t, a.str("id_token"), 1); claims["sub"] != "alice" || claims["acr"] != "aal1" || claims["scopes"] != "openid offline_access read" || claims["auth_time"].(float64) < float64(time.Now().Add(-time.Minute).Unix()) {
		t.Errorf("the ID token says %v", claims)
	}
	known, err := r.server.Introspect(context.Background(), a.str("access_token"))
	if err != nil || known.Subject != "alice" || len(known.Audience) != 1 || known.Audience[0] != "api" {
		t.Errorf("%v %v", known, err)
	}
	if again := r.post("/oauth2/token", "app:secret", "grant_type", "refresh_token", "refresh_token", a.str("refresh_token")); again.status != 200 {
		t.Errorf("refresh: %d %s", again.status, again.raw)
	}
	if a := ask("scope", "read"); a.status != 200 || a.str("refresh_token") != "" || a.str("id_token") != "" {
		t.Errorf("without offline_access: %d %s", a.status, a.raw)
	}
	for name, tc := range map[string]struct {
		got    answer
		status int
		code   string
	}{
		"wrong password":   {ask("password", "wrong"), 400, "invalid_grant"},
		"no password":      {ask("password", "-"), 400, "invalid_request"},
		"no user name":     {ask("username", "-"), 400, "invalid_request"},
		"scope":            {ask("scope", "admin"), 400, "invalid_scope"},
		"audience":         {ask("audience", "foreign"), 400, "invalid_request"},
		"too many":         {ask("username", "busy"), 429, "slow_down"},
		"database is away": {ask("username", "away"), 503, "temporarily_unavailable"},
	} {
		if tc.got.status != tc.status || tc.got.str("error") != tc.code || strings.Contains(tc.got.raw, "secret") {
			t.Errorf("%s: %d %s", name, tc.got.status, tc.got.raw)
		}
	}
	for name, change := range map[string]func(*oauth2.Client){
		"public":                func(c *oauth2.Client) { old(c); public(c) },
		"not registered":        func(c *oauth2.Client) { old(c); c.GrantTypes = []string{"authorization_code"} },
		"DPoP-bound":            func(c *oauth2.Client) { old(c); c.DPoPBoundAccessTokens = true },
		"pushed requests":       func(c *oauth2.Client) { old(c); c.RequirePAR = true },
		"registered by itself":  func(c *oauth2.Client) { old(c); c.Origin = oauth2.ByRegistration },
		"named by its document": func(c *oauth2.Client) { old(c); c.Origin = oauth2.ByDocument },
	} {
		r.client(func(c *oauth2.Client) { change(c); c.ID = "x" + name[:4] })
		basic, id := "x"+name[:4]+":secret", ""
		if name == "public" {
			basic, id = "", "x"+name[:4]
		}
		form := pairs("grant_type", "password", "username", "alice", "password", "correct")
		if id != "" {
			form.Set("client_id", id)
		}
		if a := r.postRaw("/oauth2/token", basic, form.Encode()); a.status != 400 || a.str("error") != "unauthorized_client" {
			t.Errorf("%s: %d %s", name, a.status, a.raw)
		}
	}
	off := start(t)
	off.client(old)
	off.wants(off.post("/oauth2/token", "app:secret", "grant_type", "password", "username", "alice", "password", "correct"), 400, "unsupported_grant_type")
}
