package server_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/google/go-cmp/cmp"
	xoauth2 "golang.org/x/oauth2"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/oauth2"
	"github.com/gatewarden/gatewarden/oauth2/server"
)

// The whole of it with the client libraries that people use.
func TestAPersonLogsInAndTheAppGetsTokensThatVerify(t *testing.T) {
	for _, alg := range []string{"", "ES256", "EdDSA"} {
		t.Run("alg "+alg, func(t *testing.T) {
			r := start(t)
			r.client(func(c *oauth2.Client) { c.IDTokenAlg = alg })
			ctx := oidc.ClientContext(context.Background(), r.http)
			provider, err := oidc.NewProvider(ctx, r.url)
			if err != nil {
				t.Fatal(err)
			}
			config := xoauth2.Config{ClientID: "app", ClientSecret: "secret", Endpoint: provider.Endpoint(), RedirectURL: "http://127.0.0.1:9999/cb",
				Scopes: []string{"openid", "offline_access", "read"}}
			proof := xoauth2.GenerateVerifier()
			b := r.browser()
			link := config.AuthCodeURL("state", xoauth2.S256ChallengeOption(proof), oidc.Nonce("nonce"))
			start, _ := url.Parse(link)
			consent := b.login(start.Query(), oauth2.AcceptLogin{Subject: "alice", ACR: "urn:high", AMR: []string{"pwd", "otp"}})
			back := b.consent(consent, func(a *oauth2.AcceptConsent) {
				a.Session = oauth2.ConsentSession{AccessToken: map[string]any{"tenant": "t1"},
					IDToken: map[string]any{"email": "alice@example.test", "sub": "mallory", "iss": "https://evil.test", "sid": "x", "nonce": "x"}}
			})
			if got := back.Query(); back.Host != "127.0.0.1:9999" || got.Get("state") != "state" || got.Get("iss") != r.url {
				t.Fatalf("the callback is %s", back)
			}
			token, err := config.Exchange(ctx, back.Query().Get("code"), xoauth2.VerifierOption(proof))
			if err != nil {
				t.Fatal(err)
			}
			raw, _ := token.Extra("id_token").(string)
			id, err := provider.Verifier(&oidc.Config{ClientID: "app"}).Verify(ctx, raw)
			if err != nil {
				t.Fatal(err)
			}
			if alg == "" || alg == "ES256" { // the library computes at_hash for these only
				if err := id.VerifyAccessToken(token.AccessToken); err != nil {
					t.Error(err)
				}
			}
			var claims map[string]any
			_ = id.Claims(&claims)
			for _, varies := range []string{"exp", "iat", "jti", "rat", "auth_time", "at_hash", "sid"} {
				if claims[varies] == nil || claims[varies] == "x" {
					t.Errorf("claim %s is %v", varies, claims[varies])
				}
				delete(claims, varies)
			}
			want := map[string]any{"iss": r.url, "sub": "alice", "aud": []any{"app"}, "nonce": "nonce", "acr": "urn:high",
				"amr": []any{"pwd", "otp"}, "email": "alice@example.test"}
			if d := cmp.Diff(want, claims); d != "" {
				t.Error(d)
			}
			info, err := provider.UserInfo(ctx, xoauth2.StaticTokenSource(token))
			if err != nil || info.Subject != "alice" || info.Email != "alice@example.test" {
				t.Errorf("userinfo is %v, %v", info, err)
			}
			known, err := r.server.Introspect(ctx, token.AccessToken)
			if err != nil || !known.Active || known.Subject != "alice" || known.Extra["tenant"] != "t1" {
				t.Errorf("introspection is %v, %v", known, err)
			}
			// The library refreshes by itself.
			old := token.RefreshToken
			token.Expiry = time.Now().Add(-time.Hour)
			fresh, err := config.TokenSource(ctx, token).Token()
			if err != nil || fresh.RefreshToken == old || !r.isActive(fresh.AccessToken) || r.isActive(token.AccessToken) {
				t.Errorf("the refreshed token is %v, %v", fresh, err)
			}
		})
	}
}

func TestAPublicClientRedeemsWithItsVerifierAlone(t *testing.T) {
	r := start(t)
	r.client(public)
	b := r.browser()
	code := b.consent(b.login(request("client_id", "spa"), oauth2.AcceptLogin{Subject: "alice"})).Query().Get("code")
	a := r.post("/oauth2/token", "", "grant_type", "authorization_code", "client_id", "spa", "code", code, "redirect_uri", "http://127.0.0.1/cb", "code_verifier", verifier)
	if a.status != 200 || a.str("refresh_token") == "" || a.str("id_token") == "" {
		t.Fatalf("got %d %s", a.status, a.raw)
	}
}

func TestOfParallelRedemptionsOneWinsAndReplayEndsTheAuthorization(t *testing.T) {
	r := start(t)
	r.client()
	for range 5 {
		code := r.code()
		answers := make([]answer, 20)
		var wg sync.WaitGroup
		for i := range answers {
			wg.Go(func() { answers[i] = r.redeem(code) })
		}
		wg.Wait()
		won := 0
		for _, a := range answers {
			if a.status == 200 {
				won++
				if r.isActive(a.str("access_token")) {
					t.Error("the winner's token outlives the replay")
				}
				r.wants(r.post("/oauth2/token", "app:secret", "grant_type", "refresh_token", "refresh_token", a.str("refresh_token")), 400, "invalid_grant")
				continue
			}
			r.wants(a, 400, "invalid_grant")
		}
		if won != 1 {
			t.Fatalf("%d redemptions won", won)
		}
	}
}

// The loser of a race has read an unused code or token; only the store knows.
func TestTheLoserOfARaceEndsTheAuthorization(t *testing.T) {
	r := start(t)
	r.client()
	var winner answer
	code := r.code()
	r.store.beforeRedeem.set(func() { winner = r.redeem(code) })
	r.wants(r.redeem(code), 400, "invalid_grant")
	if winner.status != 200 || r.isActive(winner.str("access_token")) {
		t.Errorf("the winner of the code got %d and keeps it", winner.status)
	}
	token := r.tokens().str("refresh_token")
	refresh := func() answer {
		return r.post("/oauth2/token", "app:secret", "grant_type", "refresh_token", "refresh_token", token)
	}
	r.store.beforeRotate.set(func() { winner = refresh() })
	r.wants(refresh(), 400, "invalid_grant")
	if winner.status != 200 || r.isActive(winner.str("access_token")) {
		t.Errorf("the winner of the refresh token got %d and keeps it", winner.status)
	}
}

func TestAReplayedCodeEndsTheAuthorizationOnlyForItsOwnClient(t *testing.T) {
	r := start(t)
	r.client()
	r.client(func(c *oauth2.Client) { c.ID = "stranger" })
	code := r.code()
	token := r.redeem(code).str("access_token")
	a := r.post("/oauth2/token", "stranger:secret", "grant_type", "authorization_code", "code", code, "redirect_uri", "http://127.0.0.1/cb", "code_verifier", verifier)
	r.wants(a, 400, "invalid_grant")
	if !r.isActive(token) {
		t.Fatal("a stranger's replay ended the authorization")
	}
	r.wants(r.redeem(code), 400, "invalid_grant")
	if r.isActive(token) {
		t.Error("the token outlives the replay")
	}
}

func TestAReplayWhoseRevocationFailsIsNotReportedAsDone(t *testing.T) {
	r := start(t)
	r.client()
	code := r.code()
	token := r.redeem(code).str("access_token")
	r.store.down.Store(true)
	r.wants(r.redeem(code), 503, "temporarily_unavailable")
	r.store.down.Store(false)
	if r.wants(r.redeem(code), 400, "invalid_grant"); r.isActive(token) {
		t.Error("the token outlives the replay")
	}
}

// Pitfall: fosite forgot the challenge at the first failed attempt, so the second
// needed no verifier.
func TestAFailedVerifierNeverOpensTheCodeWithoutOne(t *testing.T) {
	for name, pkce := range map[string]server.PKCE{"for all": server.PKCEForAll, "for public clients": server.PKCEForPublicClients} {
		t.Run(name, func(t *testing.T) {
			r := start(t, func(o *server.Options) { o.PKCE = pkce })
			r.client()
			code := r.code()
			for _, bad := range []string{"-", strings.Repeat("b", 43), "short", strings.Repeat("c", 129), s256(verifier), verifier + "\u00e4"} {
				r.wants(r.redeem(code, "code_verifier", bad), 400, "invalid_grant")
			}
			if a := r.redeem(code); a.status != 200 {
				t.Errorf("the right verifier: %d %s", a.status, a.raw)
			}
		})
	}
}

func TestAVerifierWithoutAChallengeIsRefused(t *testing.T) {
	r := start(t, func(o *server.Options) { o.PKCE = server.PKCEForPublicClients })
	r.client()
	code := r.code("code_challenge", "-", "code_challenge_method", "-")
	r.wants(r.redeem(code), 400, "invalid_grant")
	if a := r.redeem(code, "code_verifier", "-"); a.status != 200 {
		t.Errorf("got %d %s", a.status, a.raw)
	}
}

func TestACodeIsBoundToClientRedirectURIAndTime(t *testing.T) {
	r := start(t)
	r.client()
	r.client(func(c *oauth2.Client) { c.ID = "stranger" })
	code := r.code()
	r.wants(r.redeem(code, "redirect_uri", "https://app.test/cb?x=y"), 400, "invalid_grant")
	r.wants(r.redeem(code, "redirect_uri", "-"), 400, "invalid_grant")
	r.wants(r.redeem(code+"x"), 400, "invalid_grant")
	form := pairs("grant_type", "authorization_code", "code", code, "redirect_uri", "http://127.0.0.1/cb", "code_verifier", verifier)
	r.wants(r.postRaw("/oauth2/token", "stranger:secret", form.Encode()), 400, "invalid_grant")
	r.wait(10 * time.Minute)
	r.wants(r.redeem(code), 400, "invalid_grant")
}

func TestACodeBuysNothingThatTheClientMayNoLongerHave(t *testing.T) {
	r := start(t)
	c := r.client()
	code := r.code()
	c.Scope = "openid offline_access"
	if err := r.store.UpdateClient(context.Background(), c); err != nil {
		t.Fatal(err)
	}
	r.server.EvictClient("app")
	r.wants(r.redeem(code), 400, "invalid_scope")
}

func TestRefreshRotatesAndNarrows(t *testing.T) {
	r := start(t)
	r.client()
	first := r.tokens()
	refresh := func(token string, form ...string) answer {
		return r.post("/oauth2/token", "app:secret", append([]string{"grant_type", "refresh_token", "refresh_token", token}, form...)...)
	}
	if !r.isActive(first.str("access_token")) {
		t.Fatal("the token is not active")
	}
	r.wants(refresh(first.str("refresh_token"), "scope", "read write"), 400, "invalid_scope")
	r.wants(refresh(first.str("refresh_token"), "scope", "READ"), 400, "invalid_scope")
	r.wants(refresh(first.str("refresh_token"), "audience", "other"), 400, "invalid_request")
	narrow := refresh(first.str("refresh_token"), "scope", "read")
	if narrow.status != 200 || narrow.str("scope") != "read" || narrow.str("id_token") != "" {
		t.Fatalf("got %d %s", narrow.status, narrow.raw)
	}
	known, _ := r.server.Introspect(context.Background(), narrow.str("access_token"))
	if d := cmp.Diff([]string{"read"}, known.Scope); d != "" {
		t.Error(d)
	}
	if r.isActive(first.str("access_token")) {
		t.Error("the first access token outlives the rotation")
	}
	full := refresh(narrow.str("refresh_token"))
	if full.status != 200 || full.str("scope") != "openid offline_access read" || full.str("id_token") == "" {
		t.Fatalf("got %d %s", full.status, full.raw)
	}
	// The first one again: everything ends.
	r.wants(refresh(first.str("refresh_token")), 400, "invalid_grant")
	if r.isActive(full.str("access_token")) {
		t.Error("the access token outlives the reuse")
	}
	r.wants(refresh(full.str("refresh_token")), 400, "invalid_grant")
}

func TestOfParallelRefreshesOneWinsAndReuseEndsTheAuthorization(t *testing.T) {
	r := start(t)
	r.client()
	token := r.tokens().str("refresh_token")
	answers := make([]answer, 20)
	var wg sync.WaitGroup
	for i := range answers {
		wg.Go(func() {
			answers[i] = r.post("/oauth2/token", "app:secret", "grant_type", "refresh_token", "refresh_token", token)
		})
	}
	wg.Wait()
	won := 0
	for _, a := range answers {
		if a.status == 200 {
			won++
			if r.isActive(a.str("access_token")) {
				t.Error("the winner's token outlives the reuse")
			}
			continue
		}
		r.wants(a, 400, "invalid_grant")
	}
	if won != 1 {
		t.Errorf("%d refreshes won", won)
	}
}

func TestARefreshTokenOfAnotherClientIsInvalidAndUnharmed(t *testing.T) {
	r := start(t)
	r.client()
	r.client(func(c *oauth2.Client) { c.ID = "stranger" })
	first := r.tokens()
	second := r.post("/oauth2/token", "app:secret", "grant_type", "refresh_token", "refresh_token", first.str("refresh_token"))
	for _, a := range []answer{first, second} { // a used one and a fresh one
		r.wants(r.post("/oauth2/token", "stranger:secret", "grant_type", "refresh_token", "refresh_token", a.str("refresh_token")), 400, "invalid_grant")
	}
	if !r.isActive(second.str("access_token")) {
		t.Error("a stranger ended the authorization")
	}
}

func TestARefreshTokenNeedsScopeGrantTypeAndTime(t *testing.T) {
	r := start(t)
	r.client()
	r.client(func(c *oauth2.Client) { c.ID, c.GrantTypes = "short", []string{"authorization_code"} })
	a := r.redeem(r.code("scope", "openid read"))
	if a.status != 200 || a.str("refresh_token") != "" {
		t.Errorf("without offline_access: %d %s", a.status, a.raw)
	}
	b := r.browser()
	code := b.consent(b.login(request("client_id", "short"), oauth2.AcceptLogin{Subject: "alice"})).Query().Get("code")
	form := pairs("grant_type", "authorization_code", "code", code, "redirect_uri", "http://127.0.0.1/cb", "code_verifier", verifier)
	if a := r.postRaw("/oauth2/token", "short:secret", form.Encode()); a.status != 200 || a.str("refresh_token") != "" {
		t.Errorf("without the grant type: %d %s", a.status, a.raw)
	}
	token := r.tokens().str("refresh_token")
	r.wait(720 * time.Hour)
	r.wants(r.post("/oauth2/token", "app:secret", "grant_type", "refresh_token", "refresh_token", token), 400, "invalid_grant")
}

func TestARefreshTokenCanLiveForEver(t *testing.T) {
	r := start(t, func(o *server.Options) { o.Lifespans.RefreshToken = -1 })
	r.client()
	token := r.tokens().str("refresh_token")
	r.wait(100_000 * time.Hour)
	if a := r.post("/oauth2/token", "app:secret", "grant_type", "refresh_token", "refresh_token", token); a.status != 200 {
		t.Errorf("got %d %s", a.status, a.raw)
	}
}

func TestBadAuthorizationRequestsEndAtTheClientOrOnTheErrorPage(t *testing.T) {
	r := start(t)
	r.client()
	r.client(public)
	r.client(func(c *oauth2.Client) { c.ID, c.Disabled = "off", true })
	r.client(func(c *oauth2.Client) { c.ID, c.GrantTypes = "machine", []string{"client_credentials"} })
	r.client(func(c *oauth2.Client) { c.ID, c.ResponseTypes = "tokens", []string{"token"} })
	const page = "http://login.test/error"
	for name, tc := range map[string]struct {
		form url.Values
		to   string // the address without query
		code string
	}{
		"no client":                {request("client_id", "-"), page, "invalid_client"},
		"unknown client":           {request("client_id", "nobody"), page, "invalid_client"},
		"disabled client":          {request("client_id", "off"), page, "invalid_client"},
		"foreign redirect":         {request("redirect_uri", "https://evil.test/cb"), page, "invalid_request"},
		"no redirect, two known":   {request("redirect_uri", "-"), page, "invalid_request"},
		"longer redirect":          {request("redirect_uri", "https://app.test/cb/x?x=y"), page, "invalid_request"},
		"redirect without query":   {request("redirect_uri", "https://app.test/cb"), page, "invalid_request"},
		"redirect in capitals":     {request("redirect_uri", "https://APP.test/cb?x=y"), page, "invalid_request"},
		"redirect with fragment":   {request("redirect_uri", "https://app.test/cb?x=y#f"), page, "invalid_request"},
		"redirect with userinfo":   {request("redirect_uri", "http://evil@127.0.0.1/cb"), page, "invalid_request"},
		"loopback on https":        {request("redirect_uri", "https://127.0.0.1:99/cb"), page, "invalid_request"},
		"loopback by name":         {request("redirect_uri", "http://localhost/cb"), page, "invalid_request"},
		"loopback, other path":     {request("redirect_uri", "http://127.0.0.1:99/cb2"), page, "invalid_request"},
		"unknown response mode":    {request("response_mode", "web_message"), page, "invalid_request"},
		"response type token":      {request("response_type", "token"), "http://127.0.0.1/cb", "unsupported_response_type"},
		"hybrid":                   {request("response_type", "code id_token"), "http://127.0.0.1/cb", "unsupported_response_type"},
		"response type twice":      {request("response_type", "code code"), "http://127.0.0.1/cb", "unsupported_response_type"},
		"no response type":         {request("response_type", "-"), "http://127.0.0.1/cb", "unsupported_response_type"},
		"code not registered":      {request("client_id", "tokens"), "http://127.0.0.1/cb", "unsupported_response_type"},
		"grant not registered":     {request("client_id", "machine"), "http://127.0.0.1/cb", "unauthorized_client"},
		"scope not registered":     {request("scope", "openid admin"), "http://127.0.0.1/cb", "invalid_scope"},
		"scope in capitals":        {request("scope", "OpenID"), "http://127.0.0.1/cb", "invalid_scope"},
		"audience not registered":  {request("audience", "evil"), "http://127.0.0.1/cb", "invalid_request"},
		"no challenge":             {request("code_challenge", "-", "code_challenge_method", "-"), "http://127.0.0.1/cb", "invalid_request"},
		"method without challenge": {request("code_challenge", "-"), "http://127.0.0.1/cb", "invalid_request"},
		"plain":                    {request("code_challenge_method", "plain"), "http://127.0.0.1/cb", "invalid_request"},
		"no method":                {request("code_challenge_method", "-"), "http://127.0.0.1/cb", "invalid_request"},
		"short challenge":          {request("code_challenge", "abc"), "http://127.0.0.1/cb", "invalid_request"},
		"request object":           {request("request", "eyJhbGciOiJub25lIn0.e30."), "http://login.test/error", "invalid_request_object"},
		"request URI":              {request("request_uri", "https://app.test/request"), "http://127.0.0.1/cb", "request_uri_not_supported"},
		"pushed request":           {request("request_uri", "urn:ietf:params:oauth:request_uri:x"), "http://login.test/error", "invalid_request_uri"},
		"registration":             {request("registration", "{}"), "http://127.0.0.1/cb", "registration_not_supported"},
		"prompt none, no session":  {request("prompt", "none"), "http://127.0.0.1/cb", "login_required"},
		"prompt none and login":    {request("prompt", "none login"), "http://127.0.0.1/cb", "invalid_request"},
		"unknown prompt":           {request("prompt", "dance"), "http://127.0.0.1/cb", "invalid_request"},
		"negative max_age":         {request("max_age", "-1"), "http://127.0.0.1/cb", "invalid_request"},
		"max_age is no number":     {request("max_age", "1e3"), "http://127.0.0.1/cb", "invalid_request"},
		"foreign hint":             {request("id_token_hint", "eyJhbGciOiJub25lIn0.e30."), "http://127.0.0.1/cb", "invalid_request"},
		"verifier of nobody":       {pairs("login_verifier", "x"), page, "access_denied"},
		"consent of nobody":        {pairs("consent_verifier", "x"), page, "access_denied"},
		"nothing":                  {nil, page, "invalid_client"},
	} {
		t.Run(name, func(t *testing.T) {
			r := &rig{t: t, url: r.url, http: r.http, server: r.server}
			to := r.browser().open(r.authURL(tc.form))
			query := to.Query()
			if base, _, _ := strings.Cut(to.String(), "?"); base != tc.to || query.Get("error") != tc.code {
				t.Fatalf("got %s, want %s at %s", to, tc.code, tc.to)
			}
			if tc.to != page && (query.Get("iss") != r.url || query.Get("state") != tc.form.Get("state")) {
				t.Errorf("iss or state is wrong in %s", to)
			}
		})
	}
	long := r.browser().open(r.authURL(request("login_hint", strings.Repeat("x", 70_000))))
	if long.Query().Get("error") != "invalid_request" || long.Host != "login.test" {
		t.Errorf("a query that is too long: %s", long)
	}
	twice := r.browser().open(r.url + "/oauth2/auth?" + request().Encode() + "&client_id=spa")
	if twice.Query().Get("error") != "invalid_request" || twice.Host != "login.test" {
		t.Errorf("a parameter that occurs twice: %s", twice)
	}
}

func TestAConfidentialClientWithoutPKCENeedsAState(t *testing.T) {
	r := start(t, func(o *server.Options) { o.PKCE = server.PKCEForPublicClients })
	r.client()
	r.client(public)
	for _, state := range []string{"-", "short"} {
		to := r.browser().open(r.authURL(request("code_challenge", "-", "code_challenge_method", "-", "state", state)))
		if to.Query().Get("error") != "invalid_request" {
			t.Errorf("state %q: %s", state, to)
		}
	}
	if to := r.browser().open(r.authURL(request("client_id", "spa", "code_challenge", "-", "code_challenge_method", "-"))); to.Query().Get("error") != "invalid_request" {
		t.Errorf("public client without PKCE: %s", to)
	}
	// With PKCE the state may be absent, and is not made up.
	b := r.browser()
	to := b.consent(b.login(request("state", "-"), oauth2.AcceptLogin{Subject: "alice"}))
	if to.Query().Has("state") || to.Query().Get("code") == "" {
		t.Errorf("got %s", to)
	}
}

func TestAnHTTPRedirectIsOnlyForDevelopment(t *testing.T) {
	r := start(t, func(o *server.Options) { o.Issuer = "https://" + strings.TrimPrefix(o.Issuer, "http://") })
	r.client(func(c *oauth2.Client) { c.RedirectURIs = []string{"http://app.test/cb", "javascript:alert(1)"} })
	for _, uri := range []string{"http://app.test/cb", "javascript:alert(1)"} {
		if to := r.browser().open(r.authURL(request("redirect_uri", uri))); to.Host != "login.test" || to.Query().Get("error") != "invalid_request" {
			t.Errorf("%s: %s", uri, to)
		}
	}
}

func TestResponseModesCarryTheSameParameters(t *testing.T) {
	r := start(t)
	r.client()
	b := r.browser()
	fragment := b.consent(b.login(request("response_mode", "fragment"), oauth2.AcceptLogin{Subject: "alice"}))
	if values, _ := url.ParseQuery(fragment.Fragment); values.Get("code") == "" || values.Get("iss") != r.url || fragment.RawQuery != "" {
		t.Errorf("fragment: %s", fragment)
	}
	query := b.consent(b.login(request("redirect_uri", "https://app.test/cb?x=y"), oauth2.AcceptLogin{Subject: "alice"}))
	if query.Query().Get("x") != "y" || query.Query().Get("code") == "" {
		t.Errorf("query: %s", query)
	}
	challenge := b.login(request("response_mode", "form_post", "state", `"><script>`), oauth2.AcceptLogin{Subject: "alice"})
	next, err := r.server.AcceptConsent(context.Background(), challenge, oauth2.AcceptConsent{})
	if err != nil {
		t.Fatal(err)
	}
	req, _ := http.NewRequest("GET", next, nil)
	a := r.do(b.http, req)
	for _, want := range []string{`action="http://127.0.0.1/cb"`, `name="code" value="ory_ac_`, `name="iss"`, `&#34;&gt;&lt;script&gt;`, "<noscript><button"} {
		if !strings.Contains(a.raw, want) {
			t.Errorf("%s is missing in %s", want, a.raw)
		}
	}
	if csp := a.header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
		t.Errorf("the policy is %q", csp)
	}
}

// An attacker starts a flow, has it accepted, and makes the victim's browser
// finish it.
func TestAFlowGoesOnOnlyInTheBrowserThatBeganIt(t *testing.T) {
	r := start(t)
	r.client()
	attacker, victim := r.browser(), r.browser()
	challenge := attacker.open(r.authURL(request())).Query().Get("login_challenge")
	next, err := r.server.AcceptLogin(context.Background(), challenge, oauth2.AcceptLogin{Subject: "mallory", Remember: true})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // without a cookie, and with one of another flow
		if to := victim.open(next); to.Host != "login.test" || to.Query().Get("error") != "request_forbidden" {
			t.Fatalf("got %s", to)
		}
		victim.open(r.authURL(request()))
	}
	consent := attacker.open(next).Query().Get("consent_challenge")
	if consent == "" {
		t.Fatal("the victim's visit ended the flow")
	}
	next, err = r.server.AcceptConsent(context.Background(), consent, oauth2.AcceptConsent{})
	if err != nil {
		t.Fatal(err)
	}
	if to := victim.open(next); to.Query().Get("error") != "request_forbidden" {
		t.Errorf("got %s", to)
	}
}

func TestChallengesAndVerifiersWorkOnce(t *testing.T) {
	ctx := context.Background()
	r := start(t)
	r.client()
	b := r.browser()
	link := r.authURL(request())
	challenge := b.open(link).Query().Get("login_challenge")
	asked, err := r.server.LoginRequest(ctx, challenge)
	if err != nil || asked.RequestURL != link {
		t.Fatalf("got %v, %v", asked, err)
	}
	next, err := r.server.AcceptLogin(ctx, challenge, oauth2.AcceptLogin{Subject: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	handled := func(err error) {
		t.Helper()
		var h *oauth2.Handled
		if !errors.As(err, &h) || h.RedirectTo != link {
			t.Errorf("got %v, want handled", err)
		}
	}
	_, err = r.server.AcceptLogin(ctx, challenge, oauth2.AcceptLogin{Subject: "mallory"})
	handled(err)
	_, err = r.server.RejectLogin(ctx, challenge, oauth2.Rejection{})
	handled(err)
	_, err = r.server.LoginRequest(ctx, challenge)
	handled(err)
	consent := b.open(next).Query().Get("consent_challenge")
	if to := b.open(next); to.Query().Get("error") != "access_denied" {
		t.Errorf("the login verifier again: %s", to)
	}
	next, err = r.server.AcceptConsent(ctx, consent, oauth2.AcceptConsent{GrantScope: []string{"openid"}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.server.AcceptConsent(ctx, consent, oauth2.AcceptConsent{GrantScope: []string{"read"}})
	handled(err)
	_, err = r.server.ConsentRequest(ctx, consent)
	handled(err)
	codes := make([]string, 10)
	var wg sync.WaitGroup
	for i := range codes {
		wg.Go(func() { codes[i] = b.open(next).Query().Get("code") })
	}
	wg.Wait()
	got := 0
	for _, code := range codes {
		if code != "" {
			got++
		}
	}
	if got != 1 {
		t.Errorf("the consent verifier gave %d codes", got)
	}
	// A challenge is not a verifier, nor one kind of challenge another.
	for _, wrong := range []string{challenge, consent, "", "unknown"} {
		if _, err := r.server.LogoutRequest(ctx, wrong); !fault.Is(err, fault.NotFound) {
			t.Errorf("logout request: %v", err)
		}
	}
	if _, err := r.server.LoginRequest(ctx, consent); !fault.Is(err, fault.NotFound) {
		t.Errorf("login request: %v", err)
	}
}

func TestAFlowExpires(t *testing.T) {
	r := start(t)
	r.client()
	b := r.browser()
	challenge := b.open(r.authURL(request())).Query().Get("login_challenge")
	next, err := r.server.AcceptLogin(context.Background(), challenge, oauth2.AcceptLogin{Subject: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	r.wait(30*time.Minute + time.Second)
	if to := b.open(next); to.Query().Get("error") != "access_denied" {
		t.Errorf("got %s", to)
	}
	if _, err := r.server.AcceptLogin(context.Background(), challenge, oauth2.AcceptLogin{Subject: "alice"}); !fault.Is(err, fault.NotFound) {
		t.Errorf("got %v", err)
	}
}

func TestAClientThatIsDisabledMeanwhileGetsNoCode(t *testing.T) {
	r := start(t)
	c := r.client()
	b := r.browser()
	consent := b.login(request(), oauth2.AcceptLogin{Subject: "alice"})
	c.Disabled = true
	if err := r.store.UpdateClient(context.Background(), c); err != nil {
		t.Fatal(err)
	}
	r.server.EvictClient("app")
	if to := b.consent(consent); to.Host != "login.test" || to.Query().Get("error") != "invalid_client" {
		t.Errorf("got %s", to)
	}
}

func TestARedirectURIMayBeLeftOutWhenThereIsOne(t *testing.T) {
	r := start(t)
	r.client(func(c *oauth2.Client) { c.RedirectURIs = []string{"https://app.test/cb"} })
	b := r.browser()
	to := b.consent(b.login(request("redirect_uri", "-", "scope", "read"), oauth2.AcceptLogin{Subject: "alice"}))
	if to.Host != "app.test" {
		t.Fatalf("got %s", to)
	}
	if a := r.redeem(to.Query().Get("code"), "redirect_uri", "-"); a.status != 200 {
		t.Errorf("got %d %s", a.status, a.raw)
	}
	// OpenID Connect Core section 3.1.2.1 wants it.
	if to := b.open(r.authURL(request("redirect_uri", "-"))); to.Host != "login.test" || to.Query().Get("error") != "invalid_request" {
		t.Errorf("got %s", to)
	}
}

func TestFlowsRunSideBySideInOneBrowser(t *testing.T) {
	r := start(t)
	r.client()
	b := r.browser()
	first := b.login(request("state", "first-state"), oauth2.AcceptLogin{Subject: "alice"})
	second := b.login(request("state", "second-state"), oauth2.AcceptLogin{Subject: "alice"})
	for state, challenge := range map[string]string{"first-state": first, "second-state": second} {
		if to := b.consent(challenge); to.Query().Get("state") != state || to.Query().Get("code") == "" {
			t.Errorf("got %s", to)
		}
	}
}

func TestAnAuthorizationRequestMayBePosted(t *testing.T) {
	r := start(t)
	r.client()
	a := r.postRaw("/oauth2/auth", "", request().Encode())
	if a.status != http.StatusSeeOther || !strings.Contains(a.header.Get("Location"), "login_challenge=") {
		t.Errorf("got %d %v", a.status, a.header)
	}
	req, _ := http.NewRequest("POST", r.url+"/oauth2/auth", strings.NewReader("{}"))
	req.Header.Set("Content-Type", "application/json")
	if a := r.do(r.http, req); !strings.HasPrefix(a.header.Get("Location"), "http://login.test/error?error=invalid_request") {
		t.Errorf("got %d %v", a.status, a.header)
	}
}

func TestTheClientSeesTheForcedSubject(t *testing.T) {
	r := start(t, salted)
	r.client(pairwise)
	r.client(func(c *oauth2.Client) { c.ID = "open" })
	o := r.browser()
	// It has no effect on clients that know people as everybody does.
	open := r.postRaw("/oauth2/token", "open:secret", pairs("grant_type", "authorization_code", "redirect_uri", "http://127.0.0.1/cb", "code_verifier", verifier,
		"code", o.consent(o.login(request("client_id", "open"), oauth2.AcceptLogin{Subject: "alice", ForceSubjectIdentifier: "pairwise-1"})).Query().Get("code")).Encode())
	if sub := said(t, open.str("id_token"), "JWT")["sub"]; sub != "alice" {
		t.Errorf("a public subject is %v", sub)
	}
	b := r.browser()
	a := r.redeem(b.consent(b.login(request(), oauth2.AcceptLogin{Subject: "alice", ForceSubjectIdentifier: "pairwise-1"})).Query().Get("code"))
	payload, err := ring().Verify(context.Background(), a.str("id_token"), "JWT")
	if err != nil || !strings.Contains(string(payload), `"sub":"pairwise-1"`) {
		t.Errorf("the ID token has %s, %v", payload, err)
	}
	req := must(newRequest(r.url + "/userinfo"))
	req.Header.Set("Authorization", "Bearer "+a.str("access_token"))
	if info := r.do(r.http, req); info.str("sub") != "pairwise-1" {
		t.Errorf("userinfo is %s", info.raw)
	}
	if known, _ := r.server.Introspect(context.Background(), a.str("access_token")); known.Subject != "alice" {
		t.Errorf("introspection has %s", known.Subject)
	}
}

// What was used in a flow is a secret afterwards too.
func TestTheLogHasNoSecrets(t *testing.T) {
	r := start(t)
	r.client()
	code := r.code()
	tokens := r.redeem(code)
	r.store.down.Store(true)
	for _, a := range []answer{
		r.redeem(code),
		r.post("/oauth2/revoke", "app:secret", "token", tokens.str("access_token")),
		r.post("/oauth2/revoke", "app:secret", "token", tokens.str("refresh_token")),
		r.post("/oauth2/token", "app:secret", "grant_type", "client_credentials"),
	} {
		if a.status != 503 {
			t.Errorf("got %d %s", a.status, a.raw)
		}
	}
	if r.log.Len() == 0 {
		t.Fatal("nothing was logged")
	}
	for name, secret := range map[string]string{"code": code, "access token": tokens.str("access_token"), "refresh token": tokens.str("refresh_token"),
		"ID token": tokens.str("id_token"), "verifier": verifier, "client secret": ":secret", "state": "the-state-of-it", "nonce": "the-nonce-of-it"} {
		if strings.Contains(r.log.String(), secret) {
			t.Errorf("the log has the %s", name)
		}
	}
}

func TestCookiesAreHostBoundOverHTTPS(t *testing.T) {
	r := start(t, func(o *server.Options) { o.Issuer = "https://" + strings.TrimPrefix(o.Issuer, "http://") })
	r.client()
	jar, _ := cookiejar.New(nil)
	b := &browser{r: r, http: &http.Client{Transport: r.http.Transport, Jar: jar, CheckRedirect: r.http.CheckRedirect}}
	req, _ := http.NewRequest("GET", r.authURL(request()), nil)
	cookie := r.do(b.http, req).header.Get("Set-Cookie")
	for _, want := range []string{"__Host-ory_hydra_login_csrf=", "Path=/", "Secure", "HttpOnly", "SameSite=Lax"} {
		if !strings.Contains(cookie, want) {
			t.Errorf("%s is missing in %s", want, cookie)
		}
	}
	if strings.Contains(cookie, "Domain") {
		t.Errorf("the cookie is %s", cookie)
	}
	if to := b.consent(b.login(request(), oauth2.AcceptLogin{Subject: "alice", Remember: true})); to.Query().Get("code") == "" {
		t.Errorf("got %s", to)
	}
}
