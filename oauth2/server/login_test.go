package server_test

import (
	"context"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/oauth2"
)

// remembered returns a browser in which alice is logged in.
func (r *rig) remembered(accept oauth2.AcceptLogin) *browser {
	r.t.Helper()
	b := r.browser()
	accept.Subject, accept.Remember = "alice", true
	b.consent(b.login(request(), accept))
	return b
}

// asked begins a flow and returns what the login app is asked.
func (b *browser) asked(overrides ...string) oauth2.LoginRequest {
	b.r.t.Helper()
	to := b.open(b.r.authURL(request(overrides...)))
	asked, err := b.r.server.LoginRequest(context.Background(), to.Query().Get("login_challenge"))
	if err != nil {
		b.r.t.Fatalf("%s: %v", to, err)
	}
	return asked
}

func TestTheLoginAndConsentAppsSeeTheWholeRequest(t *testing.T) {
	r := start(t)
	c := r.client()
	b := r.browser()
	to := b.open(r.authURL(request("acr_values", "high low", "ui_locales", "de", "display", "popup", "login_hint", "ali")))
	if !strings.HasPrefix(to.String(), "http://login.test/login?a=b&login_challenge=") {
		t.Fatalf("got %s", to)
	}
	challenge := to.Query().Get("login_challenge")
	login, err := r.server.LoginRequest(context.Background(), challenge)
	if err != nil {
		t.Fatal(err)
	}
	want := oauth2.LoginRequest{
		Challenge: challenge, RequestedScope: []string{"openid", "offline_access", "read"}, RequestedAudience: []string{"api"}, Client: c,
		OIDCContext: oauth2.OIDCContext{ACRValues: []string{"high", "low"}, UILocales: []string{"de"}, Display: "popup", LoginHint: "ali"},
	}
	same := cmp.Options{cmpopts.EquateEmpty(), cmpopts.IgnoreFields(oauth2.LoginRequest{}, "SessionID", "RequestURL"), cmpopts.IgnoreFields(oauth2.Client{}, "SecretHash", "ETag")}
	if d := cmp.Diff(want, login, same); d != "" || login.SessionID == "" {
		t.Error(d)
	}
	next, err := r.server.AcceptLogin(context.Background(), challenge,
		oauth2.AcceptLogin{Subject: "alice", ACR: "high", AMR: []string{"pwd"}, Context: map[string]any{"k": "v"}})
	if err != nil {
		t.Fatal(err)
	}
	consent, err := r.server.ConsentRequest(context.Background(), b.open(next).Query().Get("consent_challenge"))
	if err != nil {
		t.Fatal(err)
	}
	wantConsent := oauth2.ConsentRequest{
		RequestedScope: want.RequestedScope, RequestedAudience: want.RequestedAudience, Subject: "alice", OIDCContext: want.OIDCContext, Client: c,
		LoginChallenge: challenge, LoginSessionID: login.SessionID, ACR: "high", AMR: []string{"pwd"}, Context: map[string]any{"k": "v"},
	}
	same = cmp.Options{cmpopts.EquateEmpty(), cmpopts.IgnoreFields(oauth2.ConsentRequest{}, "Challenge", "ConsentRequestID", "RequestURL"), cmpopts.IgnoreFields(oauth2.Client{}, "SecretHash", "ETag")}
	if d := cmp.Diff(wantConsent, consent, same); d != "" {
		t.Error(d)
	}
}

func TestBadAnswersOfTheAppsNameTheField(t *testing.T) {
	ctx := context.Background()
	r := start(t)
	r.client()
	b := r.browser()
	challenge := b.asked().Challenge
	for field, accept := range map[string]oauth2.AcceptLogin{
		"subject": {}, "subject:": {Subject: strings.Repeat("x", 256)}, "remember_for": {Subject: "alice", RememberFor: -1},
	} {
		if _, err := r.server.AcceptLogin(ctx, challenge, accept); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
	consent := b.login(request(), oauth2.AcceptLogin{Subject: "alice"})
	for field, accept := range map[string]oauth2.AcceptConsent{
		"grant_scope":                 {GrantScope: []string{"openid", "write"}},
		"grant_access_token_audience": {GrantAudience: []string{"other"}},
		"remember_for":                {RememberFor: -1},
	} {
		if _, err := r.server.AcceptConsent(ctx, consent, accept); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
	// None of them used up the challenge.
	if to := b.consent(consent); to.Query().Get("code") == "" {
		t.Errorf("got %s", to)
	}
}

func TestOnlyWhatTheConsentGrantsIsInTheToken(t *testing.T) {
	r := start(t)
	r.client()
	b := r.browser()
	to := b.consent(b.login(request(), oauth2.AcceptLogin{Subject: "alice"}), func(a *oauth2.AcceptConsent) {
		a.GrantScope, a.GrantAudience = []string{"read"}, nil
	})
	a := r.redeem(to.Query().Get("code"))
	if a.str("scope") != "read" || a.str("id_token") != "" || a.str("refresh_token") != "" {
		t.Errorf("got %d %s", a.status, a.raw)
	}
	known, _ := r.server.Introspect(context.Background(), a.str("access_token"))
	if len(known.Audience) != 0 {
		t.Errorf("the audience is %v", known.Audience)
	}
}

func TestARejectionReachesTheClient(t *testing.T) {
	ctx := context.Background()
	r := start(t)
	r.client()
	b := r.browser()
	next, err := r.server.RejectLogin(ctx, b.asked().Challenge, oauth2.Rejection{Error: "login_required", ErrorDescription: "No \"account\".", ErrorHint: "Sign up.", ErrorDebug: "row 7"})
	if err != nil {
		t.Fatal(err)
	}
	got := b.open(next)
	if q := got.Query(); got.Host != "127.0.0.1" || q.Get("error") != "login_required" || q.Get("error_description") != "No 'account'. Sign up." ||
		q.Get("state") != "the-state-of-it" || strings.Contains(got.String(), "row") {
		t.Errorf("got %s", got)
	}
	if to := b.open(next); to.Query().Get("error") != "access_denied" || to.Host != "login.test" {
		t.Errorf("the verifier again: %s", to)
	}
	next, err = r.server.RejectConsent(ctx, b.login(request(), oauth2.AcceptLogin{Subject: "alice"}), oauth2.Rejection{})
	if err != nil {
		t.Fatal(err)
	}
	if to := b.open(next); to.Query().Get("error") != "access_denied" || to.Query().Has("code") {
		t.Errorf("got %s", to)
	}
}

func TestARememberedLoginIsSkippedUnlessTheRequestForbidsIt(t *testing.T) {
	r := start(t)
	r.client()
	b := r.remembered(oauth2.AcceptLogin{})
	r.wait(time.Minute)
	for name, tc := range map[string]struct {
		overrides []string
		skip      bool
	}{
		"plain":          {nil, true},
		"prompt consent": {[]string{"prompt", "consent"}, true},
		"prompt login":   {[]string{"prompt", "login"}, false},
		"select account": {[]string{"prompt", "select_account"}, false},
		"max_age long":   {[]string{"max_age", "3600"}, true},
		"max_age short":  {[]string{"max_age", "30"}, false},
		"max_age 0":      {[]string{"max_age", "0"}, false},
	} {
		asked := b.asked(tc.overrides...)
		if asked.Skip != tc.skip || (asked.Subject == "alice") != tc.skip {
			t.Errorf("%s: skip is %v for %q", name, asked.Skip, asked.Subject)
		}
	}
	if asked := r.browser().asked(); asked.Skip {
		t.Error("another browser is skipped")
	}
	asked := b.asked()
	if _, err := r.server.AcceptLogin(context.Background(), asked.Challenge, oauth2.AcceptLogin{Subject: "mallory"}); !fault.Is(err, fault.Invalid) {
		t.Errorf("another subject with skip: %v", err)
	}
	if err := r.server.RevokeLoginSessions(context.Background(), "alice"); err != nil {
		t.Fatal(err)
	}
	next, err := r.server.AcceptLogin(context.Background(), asked.Challenge, oauth2.AcceptLogin{Subject: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	if to := b.open(next); to.Query().Get("error") != "login_required" {
		t.Errorf("a session that ended during the flow: %s", to)
	}
	if b.asked().Skip {
		t.Error("a revoked session is skipped")
	}
}

func TestAForgedSessionCookieIsNoSession(t *testing.T) {
	r := start(t)
	r.client()
	b := r.remembered(oauth2.AcceptLogin{})
	sid := b.asked().SessionID
	for _, value := range []string{sid, sid + ".", sid + "." + strings.Repeat("A", 43), ""} {
		forged := r.browser()
		for _, link := range []string{r.authURL(request())} {
			req := must(newRequest(link))
			req.Header.Set("Cookie", "ory_hydra_session="+value)
			to := r.do(forged.http, req).header.Get("Location")
			_, challenge, _ := strings.Cut(to, "login_challenge=")
			asked, err := r.server.LoginRequest(context.Background(), challenge)
			if err != nil || asked.Skip {
				t.Errorf("%q: skip is %v, %v", value, asked.Skip, err)
			}
		}
	}
}

func TestALoginThatIsNotRememberedEndsTheOldOne(t *testing.T) {
	r := start(t)
	r.client()
	for _, subject := range []string{"alice", "bob"} {
		b := r.remembered(oauth2.AcceptLogin{})
		home := must(url.Parse(r.url))
		kept := b.http.Jar.Cookies(home)
		b.consent(b.login(request("prompt", "login"), oauth2.AcceptLogin{Subject: subject}))
		if asked := b.asked(); asked.Skip {
			t.Errorf("%s is still logged in", asked.Subject)
		}
		b.http.Jar.SetCookies(home, kept)
		if asked := b.asked(); asked.Skip {
			t.Errorf("%s is still logged in with the old cookie", asked.Subject)
		}
	}
}

func TestAnotherPersonGetsAnotherSession(t *testing.T) {
	r := start(t)
	r.client()
	b := r.remembered(oauth2.AcceptLogin{})
	first := b.asked().SessionID
	b.consent(b.login(request("prompt", "login"), oauth2.AcceptLogin{Subject: "bob", Remember: true}))
	asked := b.asked()
	if asked.SessionID == first || asked.Subject != "bob" || !asked.Skip {
		t.Errorf("got %+v after session %s", asked, first)
	}
	if _, err := r.store.LoginSession(context.Background(), first); !fault.Is(err, fault.NotFound) {
		t.Errorf("the first session is %v", err)
	}
}

func TestARememberedLoginEndsInTime(t *testing.T) {
	r := start(t)
	r.client()
	b := r.remembered(oauth2.AcceptLogin{RememberFor: 60})
	if !b.asked().Skip {
		t.Fatal("the login is not remembered")
	}
	r.wait(time.Minute)
	if b.asked().Skip {
		t.Error("the login is remembered for too long")
	}
}

func TestPromptNoneNeverAsks(t *testing.T) {
	r := start(t)
	r.client()
	b := r.remembered(oauth2.AcceptLogin{})
	silent := func() string {
		asked := b.asked("prompt", "none")
		next, err := r.server.AcceptLogin(context.Background(), asked.Challenge, oauth2.AcceptLogin{Subject: "alice"})
		if err != nil {
			t.Fatal(err)
		}
		to := b.open(next)
		if challenge := to.Query().Get("consent_challenge"); challenge != "" {
			to = b.consent(challenge)
		}
		return to.Query().Get("error")
	}
	if got := silent(); got != "consent_required" {
		t.Errorf("without consent: %q", got)
	}
	b.consent(b.login(request(), oauth2.AcceptLogin{Subject: "alice"}), func(a *oauth2.AcceptConsent) { a.Remember = true })
	if got := silent(); got != "" {
		t.Errorf("with consent: %q", got)
	}
	if to := b.open(r.authURL(request("prompt", "none", "max_age", "0"))); to.Query().Get("error") != "login_required" {
		t.Errorf("max_age 0: %s", to)
	}
}

func TestConsentIsSkippedOnlyWhenAnEarlierOneCoversTheRequest(t *testing.T) {
	r := start(t)
	r.client()
	r.client(public)
	r.client(func(c *oauth2.Client) { c.ID, c.SkipConsent = "trusted", true })
	skip := func(overrides ...string) bool {
		t.Helper()
		b := r.browser()
		asked, err := r.server.ConsentRequest(context.Background(), b.login(request(overrides...), oauth2.AcceptLogin{Subject: "alice"}))
		if err != nil {
			t.Fatal(err)
		}
		return asked.Skip
	}
	grant := func(remember bool, seconds int, overrides ...string) {
		t.Helper()
		b := r.browser()
		b.consent(b.login(request(overrides...), oauth2.AcceptLogin{Subject: "alice"}), func(a *oauth2.AcceptConsent) { a.Remember, a.RememberFor = remember, seconds })
	}
	if skip() || !skip("client_id", "trusted") || skip("client_id", "trusted", "prompt", "consent") {
		t.Error("skip is wrong before any consent")
	}
	if grant(false, 0); skip() {
		t.Error("a consent that is not remembered counts")
	}
	if grant(true, 60); !skip() || !skip("scope", "read") {
		t.Error("a remembered consent does not count")
	}
	if skip("scope", "read write") || skip("audience", "other") || skip("prompt", "consent") {
		t.Error("a remembered consent counts for more than it grants")
	}
	if r.wait(time.Minute); skip() {
		t.Error("an expired consent counts")
	}
	// Any app on the machine could claim the loopback address of a public client's
	// flow, but only by winning a port; a custom scheme is anybody's.
	spa, err := r.store.Client(context.Background(), "spa")
	if err != nil {
		t.Fatal(err)
	}
	spa.RedirectURIs = []string{"com.example.app:/cb", "https://app.test/cb?x=y"}
	if err := r.store.UpdateClient(context.Background(), spa); err != nil {
		t.Fatal(err)
	}
	r.server.EvictClient("spa")
	grant(true, 0, "client_id", "spa", "redirect_uri", "https://app.test/cb?x=y")
	if !skip("client_id", "spa", "redirect_uri", "https://app.test/cb?x=y") || skip("client_id", "spa", "redirect_uri", "com.example.app:/cb") {
		t.Error("skip is wrong for a public client")
	}
}

func TestAnIDTokenHintMustBeAboutThePerson(t *testing.T) {
	r := start(t)
	r.client()
	b := r.remembered(oauth2.AcceptLogin{})
	hint := r.redeem(b.consent(b.login(request(), oauth2.AcceptLogin{Subject: "alice"})).Query().Get("code")).str("id_token")
	r.wait(48 * time.Hour) // an expired ID token is still a hint
	if asked := b.asked("id_token_hint", hint); !asked.Skip || asked.OIDCContext.IDTokenHintClaims["sub"] != "alice" {
		t.Errorf("got %+v", asked)
	}
	other := r.browser()
	asked := other.asked("id_token_hint", hint)
	next, err := r.server.AcceptLogin(context.Background(), asked.Challenge, oauth2.AcceptLogin{Subject: "bob"})
	if err != nil {
		t.Fatal(err)
	}
	if to := other.open(next); to.Query().Get("error") != "login_required" {
		t.Errorf("bob logged in instead of alice: %s", to)
	}
	access, err := ring().Sign(context.Background(), "RS256", "at+jwt", []byte(`{"iss":"`+r.url+`","sub":"alice"}`), time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	if to := b.open(r.authURL(request("id_token_hint", access))); to.Query().Get("error") != "invalid_request" {
		t.Errorf("an access token as a hint: %s", to)
	}
}

func TestConsentsAreListedAndRevokedWithTheirTokens(t *testing.T) {
	ctx := context.Background()
	r := start(t)
	r.client()
	tokens := r.tokens()
	machine := r.machineToken()
	if !r.isActive(tokens.str("access_token")) {
		t.Fatal("the token is not active")
	}
	all, err := r.server.ConsentSessions(ctx, oauth2.ConsentFilter{Subject: "alice"}, 10, 0)
	if err != nil || len(all) != 1 {
		t.Fatalf("got %v, %v", all, err)
	}
	got := all[0]
	if got.ConsentRequest.Subject != "alice" || got.ConsentRequest.Client.ID != "app" || len(got.GrantScope) != 3 || got.HandledAt.IsZero() {
		t.Errorf("got %+v", got)
	}
	if err := r.server.RevokeConsents(ctx, "alice", "app"); err != nil {
		t.Fatal(err)
	}
	if r.isActive(tokens.str("access_token")) {
		t.Error("the access token outlives the consent")
	}
	r.wants(r.post("/oauth2/token", "app:secret", "grant_type", "refresh_token", "refresh_token", tokens.str("refresh_token")), 400, "invalid_grant")
	if !r.isActive(machine) {
		t.Error("a token that nobody consented to is gone")
	}
}

func TestLogoutEndsTheSession(t *testing.T) {
	ctx := context.Background()
	r := start(t)
	r.client()
	b := r.remembered(oauth2.AcceptLogin{})
	hint := r.redeem(b.consent(b.login(request(), oauth2.AcceptLogin{Subject: "alice"})).Query().Get("code")).str("id_token")
	link := r.url + "/oauth2/sessions/logout?" + pairs("id_token_hint", hint, "post_logout_redirect_uri", "https://app.test/bye", "state", "xyz").Encode()
	to := b.open(link)
	challenge := to.Query().Get("logout_challenge")
	asked, err := r.server.LogoutRequest(ctx, challenge)
	if err != nil || asked.Subject != "alice" || asked.Client.ID != "app" || !asked.RPInitiated || asked.RequestURL == "" {
		t.Fatalf("got %+v, %v", asked, err)
	}
	if _, err := r.server.LoginRequest(ctx, challenge); !fault.Is(err, fault.NotFound) {
		t.Errorf("a logout challenge as a login challenge: %v", err)
	}
	next, err := r.server.AcceptLogout(ctx, challenge)
	if err != nil {
		t.Fatal(err)
	}
	var handled *oauth2.Handled
	if _, err := r.server.AcceptLogout(ctx, challenge); !asHandled(err, &handled) {
		t.Errorf("a second answer: %v", err)
	}
	if !b.asked().Skip {
		t.Error("the session ended before the browser came back")
	}
	if to := b.open(next); to.String() != "https://app.test/bye?state=xyz" {
		t.Errorf("got %s", to)
	}
	if b.asked().Skip {
		t.Error("the session is still there")
	}
	if to := b.open(next); to.Query().Get("error") != "access_denied" {
		t.Errorf("the verifier again: %s", to)
	}
	// Nobody is logged in: nothing to ask.
	if to := b.open(link); to.String() != "https://app.test/bye?state=xyz" {
		t.Errorf("got %s", to)
	}
	if to := b.open(r.url + "/oauth2/sessions/logout"); to.String() != "http://login.test/bye" {
		t.Errorf("got %s", to)
	}
}

func TestALogoutThatIsRejectedOrForgedEndsNothing(t *testing.T) {
	ctx := context.Background()
	r := start(t)
	r.client()
	r.client(func(c *oauth2.Client) { c.ID, c.PostLogoutRedirectURIs = "other", nil })
	b := r.remembered(oauth2.AcceptLogin{})
	challenge := b.open(r.url + "/oauth2/sessions/logout").Query().Get("logout_challenge")
	if err := r.server.RejectLogout(ctx, challenge); err != nil {
		t.Fatal(err)
	}
	hint := r.tokens().str("id_token") // alice's session in another browser
	for name, tc := range map[string]struct{ query, want string }{
		"redirect of nobody":       {pairs("post_logout_redirect_uri", "https://app.test/bye").Encode(), "invalid_request"},
		"foreign redirect":         {pairs("client_id", "app", "post_logout_redirect_uri", "https://evil.test").Encode(), "invalid_request"},
		"unregistered redirect":    {pairs("client_id", "other", "post_logout_redirect_uri", "https://app.test/bye").Encode(), "invalid_request"},
		"client is not the hint's": {pairs("client_id", "other", "id_token_hint", hint).Encode(), "invalid_request"},
		"unknown client":           {pairs("client_id", "nobody").Encode(), "invalid_request"},
		"garbage hint":             {pairs("id_token_hint", "garbage").Encode(), "invalid_request"},
		"unknown verifier":         {pairs("logout_verifier", "garbage").Encode(), "access_denied"},
		"hint of another session":  {pairs("id_token_hint", hint).Encode(), ""},
	} {
		to := b.open(r.url + "/oauth2/sessions/logout?" + tc.query)
		if to.Host != "login.test" || to.Query().Get("error") != tc.want || to.Query().Has("logout_challenge") {
			t.Errorf("%s: %s", name, to)
		}
	}
	if !b.asked().Skip {
		t.Error("the session ended")
	}
}
