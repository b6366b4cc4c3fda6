package login_test

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/login"
	"github.com/gatewarden/gatewarden/oauth2"
	"github.com/gatewarden/gatewarden/oauth2/server"
)

func TestAPersonSignsInConsentsAndTheAppLearnsWhatWasGranted(t *testing.T) {
	r := start(t, login.Theme{})
	b := r.browser()
	b.authorize("login_hint", "ADA@example.com").shows(http.StatusOK, "to continue to The App", `value="ADA@example.com"`, `<html lang="en">`,
		`<label for="login">`, `autocomplete="username"`, `<label for="password">`, `autocomplete="current-password"`)
	for field, want := range map[string]string{
		"Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
		"Cache-Control":           "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY",
	} {
		if got := b.header.Get(field); got != want {
			t.Errorf("%s: %q, want %q", field, got, want)
		}
	}
	if strings.Contains(b.body, "<script") || strings.Contains(b.body, " style=") || strings.Contains(b.body, "<style") {
		t.Errorf("the page needs more than the policy allows: %s", b.body)
	}
	b.submit("login", "Ada@Example.com", "password", "correct horse", "keep", "1", "action", "login").
		shows(http.StatusOK, "Allow access?", "The App asks for access to your account, Ada &lt;b&gt;L.&lt;/b&gt;", "see your email address")
	b.submit("action", "allow", "remember", "1")
	if b.at.Query().Get("state") != "a state of it" {
		t.Errorf("came back to %s", b.at)
	}
	claims, _ := b.claims()
	want := map[string]any{"scope": "openid profile email", "error": "", "sub": "ada", "acr": "aal1", "amr": []any{"pwd"},
		"name": "Ada <b>L.</b>", "preferred_username": "ada", "email": "ada@example.com", "email_verified": true}
	got := map[string]any{}
	for name := range want {
		got[name] = claims[name]
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("claims (-want +got):\n%s", diff)
	}
	// Both the login and the consent are remembered.
	if b.authorize("scope", "openid email"); b.at.Query().Get("code") == "" {
		t.Errorf("asked again: %s %s", b.at, b.body)
	}
	if b.authorize("prompt", "none"); b.at.Query().Get("code") == "" {
		t.Errorf("asked again: %s %s", b.at, b.body)
	}
	b.authorize("scope", "openid read").shows(http.StatusOK, "Allow access?", "read")
	b.authorize("prompt", "login").shows(http.StatusOK, "Password")
	b.authorize("prompt", "select_account").shows(http.StatusOK, "Password")
	b.authorize("max_age", "0").shows(http.StatusOK, "Password")
	if b = r.browser().authorize("prompt", "none"); b.at.Query().Get("error") != "login_required" {
		t.Errorf("a stranger came back with %s", b.at)
	}
}

func TestWhoeverCannotLogInCostsOneHashAndReadsTheSame(t *testing.T) {
	r := start(t, login.Theme{})
	pages := map[string]string{}
	for name, typed := range map[string][2]string{
		"a wrong password": {"ada", "wrong horse"}, "an unknown login": {"eve", "correct horse"}, "a disabled user": {"off", "correct horse"},
		"a user without password": {"none", "correct horse"}, "no login at all": {"two words", "correct horse"},
		"another case": {"ada", "Correct horse"}, "a password with a blank": {"ada", "correct horse "},
	} {
		b := r.browser().authorize()
		before := r.hashes.done.Load()
		b.submit("login", typed[0], "password", typed[1], "action", "login").shows(http.StatusForbidden, "The user name or the password is wrong.", `role="alert"`)
		if n := r.hashes.done.Load() - before; n != 1 {
			t.Errorf("%s costs %d hashes, want 1", name, n)
		}
		page := b.body
		for _, varies := range []string{b.fields().Get("csrf_token"), b.fields().Get("login_challenge"), `value="` + typed[0] + `"`} {
			page = strings.ReplaceAll(page, varies, "")
		}
		pages[page] += name + ", "
		if strings.Contains(b.body, typed[1]) {
			t.Errorf("%s: the password is on the page", name)
		}
	}
	if len(pages) != 1 {
		t.Errorf("%d different pages: %v", len(pages), pages)
	}
}

// The hashes of these users are of no kind that would be made today.
func TestAnOldHashIsMadeAnewWhenItsOwnerLogsInAndTheLoginDoesNotDependOnIt(t *testing.T) {
	r := start(t, login.Theme{})
	u, err := r.store.User(t.Context(), "ada")
	if err != nil {
		t.Fatal(err)
	}
	r.browser().authorize().submit("login", "ada", "password", "wrong horse", "action", "login").shows(http.StatusForbidden)
	r.browser().authorize().submit("login", "ada", "password", "correct horse", "action", "login").shows(http.StatusOK, "Ada")
	if want := []string{"ada " + u.ETag + " correct horse"}; !slices.Equal(r.anew, want) {
		t.Errorf("hashed anew: %q, want %q", r.anew, want)
	}
}

func TestGuessesAreLimitedAndNobodyIsLockedOutOfTheirOwnBrowser(t *testing.T) {
	r := start(t, login.Theme{})
	own := r.browser()
	own.signIn().shows(http.StatusOK, "Allow access?")

	guess := func(i int, password string) *browser {
		return r.browser().authorize().submit("login", "ada", "password", password, "action", "login")
	}
	for i := range 10 {
		guess(i, "wrong").shows(http.StatusForbidden)
	}
	before := r.hashes.done.Load()
	limited := guess(10, "correct horse").shows(http.StatusTooManyRequests, "too many attempts")
	if limited.header.Get("Retry-After") == "" || r.hashes.done.Load() != before {
		t.Error("a guess beyond the limit is looked at, or is not told when to come back")
	}
	// The account is open from elsewhere, and in the browser that it knows.
	r.client.Store(netip.MustParseAddr("192.0.2.2"))
	guess(11, "correct horse").shows(http.StatusOK, "Allow access?")
	for i := range 100 { // from everywhere
		r.client.Store(netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}))
		guess(i, "wrong")
	}
	guess(12, "correct horse").shows(http.StatusTooManyRequests)
	own.authorize("prompt", "login").submit("login", "ada", "password", "correct horse", "action", "login").shows(http.StatusOK, "Allow access?")
	// Another account is not concerned, but each client has a limit for all accounts.
	r.client.Store(netip.MustParseAddr("2001:db8::1"))
	for i := range 30 {
		r.client.Store(netip.MustParseAddr(fmt.Sprintf("2001:db8::%x", i+1)))
		r.browser().authorize().submit("login", fmt.Sprint("user", i), "password", "wrong", "action", "login").shows(http.StatusForbidden)
	}
	r.browser().authorize().submit("login", "fresh", "password", "wrong", "action", "login").shows(http.StatusTooManyRequests)
}

func TestAFormIsGoodForItsPageBrowserAndRequestOnly(t *testing.T) {
	r := start(t, login.Theme{})
	b := r.browser().authorize()
	good := b.fields()
	good.Set("login", "ada")
	good.Set("password", "correct horse")
	good.Set("action", "login")
	other := r.browser().authorize().fields()
	second := b.authorize().fields()
	with := func(name, value string) string {
		form := url.Values{}
		for k, v := range good {
			form[k] = v
		}
		if form.Set(name, value); value == "" {
			form.Del(name)
		}
		return form.Encode()
	}
	for name, c := range map[string]struct {
		body   string
		header []string
		want   int
	}{
		"no token":                       {with("csrf_token", ""), nil, http.StatusForbidden},
		"a token of another browser":     {with("csrf_token", other.Get("csrf_token")), nil, http.StatusForbidden},
		"a token of another request":     {with("csrf_token", second.Get("csrf_token")), nil, http.StatusForbidden},
		"a request of another browser":   {with("login_challenge", other.Get("login_challenge")), nil, http.StatusForbidden},
		"an unknown request":             {with("login_challenge", "unknown"), nil, http.StatusNotFound},
		"no request":                     {with("login_challenge", ""), nil, http.StatusNotFound},
		"another site by fetch metadata": {good.Encode(), []string{"Sec-Fetch-Site", "cross-site"}, http.StatusForbidden},
		"another origin":                 {good.Encode(), []string{"Origin", "https://evil.example"}, http.StatusForbidden},
		"JSON":                           {`{}`, []string{"Content-Type", "application/json"}, http.StatusBadRequest},
		"no content type":                {good.Encode(), []string{"Content-Type", ""}, http.StatusBadRequest},
		"a field twice":                  {good.Encode() + "&login=eve", nil, http.StatusBadRequest},
		"NUL":                            {with("login", "a\x00"), nil, http.StatusBadRequest},
		"a broken escape":                {good.Encode() + "&x=%zz", nil, http.StatusBadRequest},
		"too large":                      {with("password", strings.Repeat("x", 17<<10)), nil, http.StatusRequestEntityTooLarge},
	} {
		before := r.hashes.done.Load()
		b.send(http.MethodPost, r.url+login.LoginPath, c.body, c.header...)
		if b.status != c.want || r.hashes.done.Load() != before {
			t.Errorf("%s: %d, want %d, and no password looked at", name, b.status, c.want)
		}
	}
	b.send(http.MethodPut, r.url+login.LoginPath, "").shows(http.StatusMethodNotAllowed)
	b.send(http.MethodPost, r.url+login.ErrorPath, "").shows(http.StatusMethodNotAllowed)
	// After all that the request is as good as it was, and then it is spent.
	b.send(http.MethodPost, r.url+login.LoginPath, good.Encode()).shows(http.StatusOK, "Allow access?")
	b.send(http.MethodPost, r.url+login.LoginPath, good.Encode()).shows(http.StatusOK)
	if strings.Contains(b.body, "code=") || b.at.Query().Get("code") != "" {
		t.Errorf("an answered request was answered again: %s", b.at)
	}
}

func TestAnotherBrowserSeesNothingOfARequest(t *testing.T) {
	r := start(t, login.Theme{})
	b := r.browser()
	b.authorize()
	r.browser().open(b.at.RequestURI()).shows(http.StatusForbidden, "another browser")
	b.signIn().shows(http.StatusOK, "Ada")
	if other := r.browser().open(b.at.RequestURI()).shows(http.StatusForbidden); strings.Contains(other.body, "Ada") {
		t.Error("the consent page tells a stranger who has logged in")
	}
	b.open("/oauth2/sessions/logout").shows(http.StatusOK, "Sign out?", "Ada")
	if other := r.browser().open(b.at.RequestURI()).shows(http.StatusForbidden); strings.Contains(other.body, "Ada") {
		t.Error("the logout page tells a stranger who has logged in")
	}
}

func TestWhatIsNotTickedOrNotAskedForIsNotGranted(t *testing.T) {
	r := start(t, login.Theme{})
	b := r.browser()
	b.signIn()
	form := b.fields()
	form.Set("action", "allow")
	form["scope"] = []string{"email", "read"} // read was not requested
	b.send(http.MethodPost, r.url+login.ConsentPath, form.Encode()).shows(http.StatusBadRequest)
	form["scope"] = []string{"email"}
	b.send(http.MethodPost, r.url+login.ConsentPath, form.Encode())
	claims, _ := b.claims()
	if claims["scope"] != "openid email" || claims["name"] != nil || claims["email"] != "ada@example.com" {
		t.Errorf("got %v", claims)
	}
	b.authorize().shows(http.StatusOK, "Allow access?").submit("action", "deny")
	if b.at.Query().Get("error") != "access_denied" || b.at.Query().Has("code") {
		t.Errorf("a denial came back as %s", b.at)
	}
	if b = r.browser().authorize().submit("action", "cancel"); b.at.Query().Get("error") != "access_denied" {
		t.Errorf("a cancelled login came back as %s", b.at)
	}
}

func TestTextOfOthersIsOnlyText(t *testing.T) {
	r := start(t, login.Theme{})
	const evil = `"><script>alert(1)</script><img src=x onerror=alert(1)>`
	r.app(func(c *oauth2.Client) {
		c.ID, c.Name, c.PolicyURI, c.TermsOfServiceURI, c.LogoURI = "evil", evil, "javascript:alert(1)", "https://app.example/terms", "https://tracker.example/logo.png"
	})
	b := r.browser()
	check := func(what string) {
		t.Helper()
		for _, bad := range []string{"<script", "<img src=x", "javascript:", "tracker.example"} {
			if strings.Contains(b.body, bad) {
				t.Errorf("%s holds %s: %s", what, bad, b.body)
			}
		}
	}
	b.authorize("client_id", "evil", "login_hint", evil).shows(http.StatusOK, "&lt;script&gt;")
	check("the login page")
	b.submit("login", evil, "password", "x", "action", "login")
	check("the login page after a wrong login")
	b.submit("login", "ada", "password", "correct horse", "action", "login").shows(http.StatusOK, "Allow access?", `href="https://app.example/terms"`)
	check("the consent page")
	b.open(login.ErrorPath+"?"+url.Values{"error": {evil}, "error_description": {evil}, "request_id": {evil}}.Encode()).shows(http.StatusOK, "&lt;script&gt;")
	check("the error page")
	b.authorize("client_id", "unknown\r\nSet-Cookie: x=y").shows(http.StatusOK, "invalid_client")
	if b.header.Get("Set-Cookie") != "" {
		t.Error("a header was injected")
	}
	b.open("/login/assets/../../oauth2/auth")
	b.open("/login/assets/nothing.css").shows(http.StatusNotFound)
}

func TestALogoutAsksUnlessAnIDTokenOfTheSessionProvesWhoAsks(t *testing.T) {
	r := start(t, login.Theme{})
	b := r.browser()
	b.signIn().submit("action", "allow")
	_, token := b.claims()
	// A link of another site says only which client it is.
	b.open("/oauth2/sessions/logout?client_id=app").shows(http.StatusOK, "Sign out?", "The App asks to sign you out")
	b.submit("action", "stay").shows(http.StatusOK, "You are still signed in")
	b.open("/oauth2/sessions/logout").shows(http.StatusOK, "Sign out?").submit("action", "logout", "csrf_token", "forged").shows(http.StatusForbidden)
	b.authorize("prompt", "consent").shows(http.StatusOK, "Allow access?") // still logged in
	b.open("/oauth2/sessions/logout?" + url.Values{"id_token_hint": {token}, "post_logout_redirect_uri": {"http://127.0.0.1:9/bye"}}.Encode())
	if b.at.String() != "http://127.0.0.1:9/bye" {
		t.Errorf("a logout with its proof ends at %s: %s", b.at, b.body)
	}
	b.authorize().shows(http.StatusOK, "Password")
	// The hint of an ended session proves nothing about the next one.
	b.signIn().shows(http.StatusOK, "Allow access?")
	b.open("/oauth2/sessions/logout?id_token_hint=" + token)
	b.authorize().shows(http.StatusOK, "Allow access?")
	b.open("/oauth2/sessions/logout").submit("action", "logout").shows(http.StatusOK, "You are signed out")
	b.authorize().shows(http.StatusOK, "Password")
}

func TestThePersonSeesAndEndsSessionsAndConsents(t *testing.T) {
	r := start(t, login.Theme{})
	phone, laptop := r.browser(), r.browser()
	phone.signIn().submit("action", "allow", "remember", "1")
	laptop.open(login.AccountPath).shows(http.StatusOK, "Sign in").submit("login", "ada", "password", "correct horse", "action", "login").
		shows(http.StatusOK, "Your account", "(this browser)", "The App", "see your email address")
	if n := strings.Count(laptop.body, `value="end-session"`); n != 2 {
		t.Errorf("%d sessions are listed, want 2", n)
	}
	form := laptop.fields()
	laptop.send(http.MethodPost, r.url+login.AccountPath, url.Values{"action": {"end-consent"}, "client": {"app"}}.Encode()).shows(http.StatusForbidden)
	laptop.send(http.MethodPost, r.url+login.AccountPath, url.Values{"csrf_token": form["csrf_token"], "action": {"end-session"}, "session": {"somebody's"}}.Encode()).
		shows(http.StatusNotFound)
	laptop.send(http.MethodPost, r.url+login.AccountPath, url.Values{"csrf_token": form["csrf_token"], "action": {"end-consent"}, "client": {"app"}}.Encode()).
		shows(http.StatusOK, "The access was withdrawn.", "None.")
	phone.authorize().shows(http.StatusOK, "Allow access?")

	change := func(old, fresh string) *browser {
		return laptop.send(http.MethodPost, r.url+login.AccountPath,
			url.Values{"csrf_token": form["csrf_token"], "action": {"password"}, "password": {old}, "new_password": {fresh}}.Encode())
	}
	change("wrong", "another horse").shows(http.StatusForbidden, "The current password is wrong.")
	change("correct horse", "short").shows(http.StatusBadRequest, "too short")
	change("correct horse", "another horse").shows(http.StatusOK, "The password was changed.")
	phone.authorize().shows(http.StatusOK, "Password") // its session has ended
	laptop.open(login.AccountPath).shows(http.StatusOK, "Your account")
	phone.submit("login", "ada", "password", "correct horse", "action", "login").shows(http.StatusForbidden)

	laptop.submit("action", "end-session").shows(http.StatusOK, "You are signed out")
	laptop.open(login.AccountPath).shows(http.StatusOK, "Sign in")
}

func TestWhoIsDisabledOrDeletedGetsNoFurther(t *testing.T) {
	r := start(t, login.Theme{})
	b := r.browser()
	b.signIn().shows(http.StatusOK, "Allow access?")
	before := *b
	u, err := r.store.User(t.Context(), "ada")
	if err != nil {
		t.Fatal(err)
	}
	u.Disabled = true
	if err := r.store.UpdateUser(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	before.submit("action", "allow")
	if before.at.Query().Get("error") != "access_denied" {
		t.Errorf("the consent of a disabled user came back as %s", before.at)
	}
	b.authorize().shows(http.StatusOK, "Password").submit("login", "ada", "password", "correct horse", "action", "login").shows(http.StatusForbidden)
	b.open(login.AccountPath).shows(http.StatusOK, "Password")
}

// documents is one client that is a metadata document.
type documents struct{ client oauth2.Client }

func (d documents) Names(id string) bool { return id == d.client.ID }

func (d documents) Client(context.Context, string) (oauth2.Client, error) { return d.client, nil }

func TestTheConsentPageNamesTheHostOfADocumentAndWhatNobodyHasChecked(t *testing.T) {
	const id = "https://notes.example:8443/client.json"
	r := start(t, login.Theme{}, func(o *server.Options) {
		o.Documents = documents{oauth2.Client{ID: id, Name: "A Bank", Scope: "openid", GrantTypes: []string{"authorization_code"}, ResponseTypes: []string{"code"},
			RedirectURIs: []string{"http://127.0.0.1:9/cb"}, TokenEndpointAuthMethod: "none", Origin: oauth2.ByDocument}}
	})
	b := r.browser()
	b.authorize("client_id", id, "scope", "openid").submit("login", "ada", "password", "correct horse", "action", "login").
		shows(http.StatusOK, "A Bank asks for access", "<strong>It belongs to notes.example. Allow access only if you know this address.</strong>")
	if strings.Contains(b.body, `name="remember"`) {
		t.Errorf("the consent could be remembered: %s", b.body)
	}
	r.app(func(c *oauth2.Client) { c.ID, c.Origin = "registered", oauth2.ByRegistration })
	b.authorize("client_id", "registered").shows(http.StatusOK, "Allow access?", "nobody has checked its name")
	b.authorize().shows(http.StatusOK, "Allow access?")
	if strings.Contains(b.body, "nobody has checked") || strings.Contains(b.body, "It belongs to") {
		t.Errorf("an operator's client is doubted: %s", b.body)
	}
}
