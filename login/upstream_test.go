package login_test

import (
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/login"
	"github.com/gatewarden/gatewarden/users"
)

// withProviders starts the pages with providers.
func withProviders(t *testing.T, providers ...login.Provider) *rig {
	t.Helper()
	return startWith(t, func(o *login.Options) { o.Providers = providers })
}

// linked gives a user an identity.
func (r *rig) linked(user string, u *upstream, subject string) {
	r.t.Helper()
	if err := r.store.LinkIdentity(r.t.Context(), users.Identity{Issuer: u.server.URL, Subject: subject, UserID: user}); err != nil {
		r.t.Fatal(err)
	}
}

// userOf is the id of the user who has an identity; empty: nobody has.
func (r *rig) userOf(u *upstream, subject string) string {
	r.t.Helper()
	user, err := r.store.UserByIdentity(r.t.Context(), u.server.URL, subject)
	if err != nil && !fault.Is(err, fault.NotFound) {
		r.t.Fatal(err)
	}
	return user.ID
}

func TestAPersonLogsInWithALinkedAccountAtAProvider(t *testing.T) {
	u := newUpstream(t)
	r := withProviders(t, u.provider("one"))
	r.linked("ada", u, "sub-1")
	b := r.browser()
	b.authorize("login_hint", "ada@example.com").shows(http.StatusOK, `formnovalidate>Sign in with Provider one</button>`).
		submit("provider", "one", "login", "", "password", "", "keep", "1")
	asked := b.at.Query()
	for _, secret := range []string{"state", "nonce", "code_challenge"} {
		if len(asked.Get(secret)) < 43 {
			t.Errorf("%s has %d characters", secret, len(asked.Get(secret)))
		}
	}
	back := u.agrees(b.at)
	for _, secret := range []string{"state", "nonce", "code_challenge"} {
		asked.Del(secret)
	}
	if diff := cmp.Diff(url.Values{"response_type": {"code"}, "client_id": {"us"}, "redirect_uri": {r.url + "/login/callback/one"}, "scope": {"openid email"},
		"code_challenge_method": {"S256"}, "login_hint": {"ada@example.com"}}, asked); diff != "" {
		t.Errorf("authorization request (-want +got):\n%s", diff)
	}
	b.send(http.MethodGet, back, "").shows(http.StatusOK, "Allow access?", "Ada").submit("action", "allow")
	claims, _ := b.claims()
	if diff := cmp.Diff([]any{"ada", "aal1", nil}, []any{claims["sub"], claims["acr"], claims["amr"]}); diff != "" {
		t.Errorf("claims (-want +got):\n%s", diff)
	}
	b.authorize("prompt", "none", "scope", "openid")
	if b.at.Query().Get("error") != "consent_required" { // the login is remembered
		t.Errorf("came back with %s", b.at)
	}
}

func TestWhatAProviderSaysOfTheLoginCountsOnlyWhereItIsTrusted(t *testing.T) {
	u := newUpstream(t)
	u.claims = map[string]any{"acr": "gold", "amr": []string{"pwd", "mfa"}, "auth_time": time.Now().Add(-time.Hour).Unix()}
	pass := func(p *login.Provider) { p.PassACR = true }
	trust := func(p *login.Provider) { p.TrustMFA = true }
	r := withProviders(t, u.provider("none"), u.provider("pass", pass), u.provider("trust", trust), u.provider("both", pass, trust))
	r.linked("ada", u, "sub-1")
	for id, want := range map[string][]any{
		"none": {"aal1", nil}, "pass": {"gold", []any{"pwd"}}, "trust": {"aal2", []any{"mfa"}}, "both": {"gold", []any{"pwd", "mfa"}},
	} {
		b := r.browser()
		b.authorize("acr_values", "gold").submit("provider", id)
		if got := b.at.Query().Get("acr_values"); (got == "gold") != strings.Contains("pass both", id) {
			t.Errorf("%s is asked for %q", id, got)
		}
		b.send(http.MethodGet, u.agrees(b.at), "").submit("action", "allow")
		claims, _ := b.claims()
		if diff := cmp.Diff(want, []any{claims["acr"], claims["amr"]}); diff != "" {
			t.Errorf("%s (-want +got):\n%s", id, diff)
		}
		at, _ := claims["auth_time"].(float64)
		if ago := time.Since(time.Unix(int64(at), 0)); ago < 59*time.Minute || ago > 80*time.Minute {
			t.Errorf("%s: auth_time is %s ago, and not an hour as the provider says", id, ago)
		}
	}
}

func TestASecondFactorIsAskedForAfterAProviderUnlessItIsTrustedToHaveDoneThat(t *testing.T) {
	for name, test := range map[string]struct {
		amr           []string
		trust, enough bool
	}{
		"one factor":                  {[]string{"pwd"}, true, false},
		"two, at one that is trusted": {[]string{"pwd", "mfa"}, true, true},
		"two, at another":             {[]string{"pwd", "mfa"}, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			u := newUpstream(t)
			u.claims = map[string]any{"amr": test.amr}
			r := startWith(t, func(o *login.Options) {
				o.SecondFactor = login.SecondFactorRequired
				o.Providers = []login.Provider{u.provider("one", func(p *login.Provider) { p.PassACR, p.TrustMFA = true, test.trust })}
			})
			r.linked("ada", u, "sub-1")
			b := r.browser().through(u, "one")
			if strings.Contains(b.body, "Allow access?") != test.enough {
				t.Errorf("the login goes on with %d %s", b.status, b.body)
			}
			if b.authorize("prompt", "none"); (b.at.Query().Get("error") == "login_required") == test.enough {
				t.Errorf("afterwards the browser comes back with %s", b.at)
			}
		})
	}
}

func TestALoginThatMustBeNewIsAskedForAndChecked(t *testing.T) {
	for name, test := range map[string]struct {
		ask            []string
		prompt, maxAge string         // what the provider is asked
		ago            *time.Duration // auth_time; nil: the provider does not say
		status         int
	}{
		"prompt=login, now":            {[]string{"prompt", "login"}, "login", "0", new(time.Duration(0)), http.StatusOK},
		"prompt=login, earlier":        {[]string{"prompt", "login"}, "login", "0", new(5 * time.Minute), http.StatusForbidden},
		"prompt=login, not said":       {[]string{"prompt", "login"}, "login", "0", nil, http.StatusForbidden},
		"max_age, within":              {[]string{"max_age", "6000"}, "", "6000", new(5 * time.Minute), http.StatusOK},
		"max_age, beyond":              {[]string{"max_age", "60"}, "", "60", new(5 * time.Minute), http.StatusForbidden},
		"max_age, not said":            {[]string{"max_age", "60"}, "", "60", nil, http.StatusForbidden},
		"prompt=select_account":        {[]string{"prompt", "select_account"}, "select_account", "", nil, http.StatusOK},
		"prompt=consent is for us":     {[]string{"prompt", "consent"}, "", "", nil, http.StatusOK},
		"nothing, and nothing is said": {nil, "", "", nil, http.StatusOK},
	} {
		t.Run(name, func(t *testing.T) {
			u := newUpstream(t)
			if test.ago != nil {
				u.claims = map[string]any{"auth_time": time.Now().Add(-*test.ago).Unix()}
			}
			r := withProviders(t, u.provider("one"))
			r.linked("ada", u, "sub-1")
			b := r.browser()
			b.authorize(test.ask...).submit("provider", "one")
			if diff := cmp.Diff([]string{test.prompt, test.maxAge}, []string{b.at.Query().Get("prompt"), b.at.Query().Get("max_age")}); diff != "" {
				t.Errorf("the provider is asked (-want +got):\n%s", diff)
			}
			text := "Allow access?"
			if test.status != http.StatusOK {
				text = "did not ask you to sign in again"
			}
			b.send(http.MethodGet, u.agrees(b.at), "").shows(test.status, text)
		})
	}
}

func TestAnIdentityThatIsNobodysBecomesAUsersOnlyAsConfigured(t *testing.T) {
	type change = func(*login.Provider)
	create := func(p *login.Provider) { p.Create = true }
	link := func(p *login.Provider) { p.LinkVerifiedEmail = true }
	domain := func(names ...string) change { return func(p *login.Provider) { p.EmailDomains = names } }
	verified := func(email string) map[string]any { return map[string]any{"email": email, "email_verified": true} }
	for name, test := range map[string]struct {
		settings []change
		claims   map[string]any
		want     string // whose the identity is then: ada, new, or nobody
	}{
		"by default":                              {nil, verified("ada@example.com"), "nobody"},
		"created":                                 {[]change{create}, verified("new@example.com"), "new"},
		"created without an address":              {[]change{create}, nil, "new"},
		"an address that somebody has":            {[]change{create}, verified("ADA@example.com"), "nobody"},
		"an unverified address that somebody has": {[]change{create}, map[string]any{"email": "ada@example.com"}, "new"},
		"a name that somebody has":                {[]change{create}, map[string]any{"preferred_username": "Ada"}, "nobody"},
		"linked by the address":                   {[]change{link}, verified("Ada@Example.com"), "ada"},
		"not by an unverified address":            {[]change{link}, map[string]any{"email": "ada@example.com"}, "nobody"},
		"not by verified as text":                 {[]change{link}, map[string]any{"email": "ada@example.com", "email_verified": "true"}, "nobody"},
		"not by an address of nobody":             {[]change{link}, verified("new@example.com"), "nobody"},
		"not by an address unverified here":       {[]change{link}, verified("eve@example.com"), "nobody"},
		"nor created then":                        {[]change{link, create}, verified("eve@example.com"), "nobody"},
		"not to a disabled user":                  {[]change{link}, verified("off@example.com"), "nobody"},
		"not by a user name":                      {[]change{link}, verified("odd@example.com"), "nobody"},
		"of a domain":                             {[]change{create, domain("Example.com")}, verified("new@EXAMPLE.com"), "new"},
		"of another domain":                       {[]change{create, domain("example.com")}, verified("new@evil-example.com"), "nobody"},
		"of a domain below":                       {[]change{create, domain("example.com")}, verified("new@example.com.evil.example"), "nobody"},
		"of a domain, unverified":                 {[]change{create, domain("example.com")}, map[string]any{"email": "new@example.com"}, "nobody"},
		"linked, of another domain":               {[]change{link, domain("other.example")}, verified("ada@example.com"), "nobody"},
	} {
		for _, where := range []string{"ID token", "userinfo"} {
			t.Run(name+" in the "+where, func(t *testing.T) {
				u := newUpstream(t)
				u.userinfo = map[string]any{"sub": "sub-1"}
				if where == "userinfo" {
					maps.Copy(u.userinfo, test.claims)
				} else {
					u.claims = test.claims
				}
				r := withProviders(t, u.provider("one", test.settings...))
				for _, other := range []users.User{
					{ID: "eve", Email: "eve@example.com", PasswordHash: "h:x"},
					{ID: "disabled", Email: "off@example.com", EmailVerified: true, Disabled: true},
					{ID: "odd", Username: "odd@example.com", Email: "odd2@example.com", EmailVerified: true},
				} {
					if err := r.store.CreateUser(t.Context(), other); err != nil {
						t.Fatal(err)
					}
				}
				b := r.browser().through(u, "one")
				got := r.userOf(u, "sub-1")
				switch got {
				case "":
					got = "nobody"
					b.shows(http.StatusForbidden, "You cannot sign in here with your account at Provider one")
				case "ada":
					b.shows(http.StatusOK, "Allow access?")
				case "eve", "disabled", "odd":
				default:
					got = "new"
					b.shows(http.StatusOK, "Allow access?")
				}
				if got != test.want {
					t.Errorf("the identity is of %s, want %s", got, test.want)
				}
			})
		}
	}
}

func TestANewUserHasWhatTheProviderSaysAndIsTheSameNextTime(t *testing.T) {
	u := newUpstream(t)
	u.claims = map[string]any{"upn": "grace", "email": "grace@example.com", "email_verified": true, "name": "Grace", "picture": "", "groups": []string{"admin"}, "website": 7, "phone_number_verified": true}
	u.userinfo = map[string]any{"sub": "sub-1", "given_name": "G.", "name": "Eve"}
	r := withProviders(t, u.provider("one", func(p *login.Provider) { p.Create, p.Claims = true, map[string]string{"username": "upn"} }))
	for range 2 {
		r.browser().through(u, "one").shows(http.StatusOK, "Allow access?")
	}
	got, err := r.store.UserByIdentity(t.Context(), u.server.URL, "sub-1")
	if err != nil {
		t.Fatal(err)
	}
	want := users.User{ID: got.ID, Username: "grace", Email: "grace@example.com", EmailVerified: true, Claims: map[string]any{"name": "Grace", "given_name": "G."},
		CreatedAt: got.CreatedAt, UpdatedAt: got.UpdatedAt, ETag: got.ETag}
	if diff := cmp.Diff(want, got); diff != "" || got.ID == "" || got.CreatedAt.IsZero() {
		t.Errorf("user (-want +got):\n%s", diff)
	}
	if all, err := r.store.Users(t.Context(), 10, 0); err != nil || len(all) != 4 {
		t.Errorf("there are %d users: %v", len(all), err)
	}
	// An address as a user name is no verified one.
	u.set(func(u *upstream) {
		u.claims = map[string]any{"sub": "sub-2", "upn": "victim@example.com", "email": "victim@example.com"}
		u.userinfo = map[string]any{"sub": "sub-2"}
	})
	r.browser().through(u, "one").shows(http.StatusOK, "Allow access?")
	if _, err := r.store.UserByLogin(t.Context(), "victim@example.com"); !fault.Is(err, fault.NotFound) {
		t.Errorf("somebody's address was taken: %v", err)
	}
}

// The answers that an attacker, another provider or a broken one brings to the callback.
func TestHostileAnswersOfProvidersLogNobodyIn(t *testing.T) {
	begun := "This page belongs to a request from another browser"
	for name, test := range map[string]struct {
		// attack returns what the victim's browser is sent to.
		attack func(u, other *upstream, victim *browser, back string) string
		status int
		text   string
		// asked says that the provider was asked for tokens.
		asked bool
	}{
		"a state of nobody": {func(_, _ *upstream, _ *browser, back string) string {
			return strings.Replace(back, "state=", "state=x", 1)
		}, http.StatusForbidden, begun, false},
		"no state": {func(u, _ *upstream, v *browser, back string) string {
			return v.r.url + "/login/callback/one?code=x&iss=" + url.QueryEscape(u.server.URL)
		}, http.StatusForbidden, begun, false},
		"two states": {func(_, _ *upstream, _ *browser, back string) string { return back + "&state=x" }, http.StatusBadRequest, "cannot be understood", false},
		"a login of the attacker (login CSRF)": {func(u, _ *upstream, v *browser, _ string) string {
			return v.r.browser().begin(u, "one")
		}, http.StatusForbidden, begun, false},
		"a code of the attacker (code injection)": {func(u, _ *upstream, v *browser, back string) string {
			attackers, _ := url.Parse(v.r.browser().begin(u, "one"))
			mine, _ := url.Parse(back)
			q := mine.Query()
			q.Set("code", attackers.Query().Get("code"))
			return v.r.url + "/login/callback/one?" + q.Encode()
		}, http.StatusForbidden, "Signing in with Provider one failed", true},
		"a code of the attacker at a provider without PKCE": {func(u, _ *upstream, v *browser, back string) string {
			u.set(func(u *upstream) { u.careless = true })
			attackers, _ := url.Parse(v.r.browser().begin(u, "one"))
			mine, _ := url.Parse(back)
			q := mine.Query()
			q.Set("code", attackers.Query().Get("code"))
			return v.r.url + "/login/callback/one?" + q.Encode()
		}, http.StatusForbidden, "Signing in with Provider one failed", true},
		"an answer of another provider (mix-up)": {func(_, other *upstream, _ *browser, back string) string {
			u, _ := url.Parse(back)
			q := u.Query()
			q.Set("iss", other.server.URL)
			u.RawQuery = q.Encode()
			return u.String()
		}, http.StatusForbidden, "Signing in with Provider one failed", false},
		"an answer that does not say whose it is": {func(_, _ *upstream, _ *browser, back string) string {
			u, _ := url.Parse(back)
			q := u.Query()
			q.Del("iss")
			u.RawQuery = q.Encode()
			return u.String()
		}, http.StatusForbidden, "Signing in with Provider one failed", false},
		"at the callback of another provider": {func(_, other *upstream, _ *browser, back string) string {
			return strings.Replace(back, "/callback/one", "/callback/two", 1)
		}, http.StatusForbidden, begun, false},
		"an ID token for another client": {func(u, _ *upstream, _ *browser, back string) string {
			u.set(func(u *upstream) { u.claims = map[string]any{"aud": "them"} })
			return back
		}, http.StatusForbidden, "Signing in with Provider one failed", true},
		"an ID token of another issuer": {func(u, other *upstream, _ *browser, back string) string {
			u.set(func(u *upstream) { u.claims = map[string]any{"iss": other.server.URL} })
			return back
		}, http.StatusForbidden, "Signing in with Provider one failed", true},
		"an ID token without nonce": {func(u, _ *upstream, _ *browser, back string) string {
			u.set(func(u *upstream) { u.claims = map[string]any{"nonce": nil} })
			return back
		}, http.StatusForbidden, "Signing in with Provider one failed", true},
		"a no": {func(u, _ *upstream, v *browser, back string) string {
			at, _ := url.Parse(back)
			return v.r.url + "/login/callback/one?" + url.Values{"state": {at.Query().Get("state")}, "iss": {u.server.URL}, "error": {"<b>access_denied</b>"}}.Encode()
		}, http.StatusForbidden, "Provider one did not sign you in", false},
		"a provider that is down": {func(u, _ *upstream, _ *browser, back string) string {
			u.set(func(u *upstream) { u.down = true })
			return back
		}, http.StatusServiceUnavailable, "Provider one does not answer right now", false},
	} {
		t.Run(name, func(t *testing.T) {
			u, other := newUpstream(t), newUpstream(t)
			r := withProviders(t, u.provider("one"), other.provider("two"))
			r.linked("ada", u, "sub-1")
			victim := r.browser()
			to := test.attack(u, other, victim, victim.begin(u, "one"))
			victim.send(http.MethodGet, to, "").shows(test.status, test.text)
			if strings.Contains(victim.body, "<b>") {
				t.Errorf("the answer is on the page: %s", victim.body)
			}
			if (u.asked() > 0) != test.asked || other.asked() > 0 {
				t.Errorf("the provider was asked for tokens %d times, another %d times", u.asked(), other.asked())
			}
			if victim.authorize("prompt", "none"); victim.at.Query().Get("error") != "login_required" {
				t.Errorf("somebody is logged in: %s", victim.at)
			}
		})
	}
}

func TestAnAnswerOfAProviderIsGoodOnceAndInTime(t *testing.T) {
	u := newUpstream(t)
	u.careless = true
	now := time.Now()
	r := startWith(t, func(o *login.Options) {
		o.Providers, o.Now = []login.Provider{u.provider("one")}, func() time.Time { return now }
	})
	r.linked("ada", u, "sub-1")
	b := r.browser()
	back := b.begin(u, "one")
	at, _ := url.Parse(r.url)
	cookies := b.http.Jar.Cookies(at)
	b.send(http.MethodGet, back, "").shows(http.StatusOK, "Allow access?")
	asked := u.asked()
	// The browser, or who copied it, brings the answer and the cookies once more.
	b.http.Jar.SetCookies(at, cookies)
	u.set(func(u *upstream) { u.codes["again"] = url.Values{} })
	b.send(http.MethodGet, back, "").shows(http.StatusForbidden, "This page belongs to a request from another browser")
	if u.asked() != asked {
		t.Error("the provider was asked for tokens with the same state again")
	}
	late := r.browser()
	back = late.begin(u, "one")
	now = now.Add(16 * time.Minute)
	late.send(http.MethodGet, back, "").shows(http.StatusForbidden, "This page belongs to a request from another browser")
}

func TestTabsDoNotGetIntoEachOthersWayAndTheirNumberIsBounded(t *testing.T) {
	u := newUpstream(t)
	r := withProviders(t, u.provider("one"))
	r.linked("ada", u, "sub-1")
	b := r.browser()
	first := b.begin(u, "one", "state", "of the first tab")
	second := b.begin(u, "one", "state", "of the second tab")
	b.send(http.MethodGet, second, "").shows(http.StatusOK, "Allow access?").submit("action", "allow", "remember", "1")
	if got := b.at.Query().Get("state"); got != "of the second tab" {
		t.Errorf("the second tab ends at %s", b.at)
	}
	b.send(http.MethodGet, first, "")
	if got := b.at.Query().Get("state"); got != "of the first tab" {
		t.Errorf("the first tab ends at %s %s", b.at, b.body)
	}
	many := r.browser()
	for range 10 {
		many.begin(u, "one")
	}
	at, _ := url.Parse(r.url)
	kept := 0
	for _, c := range many.http.Jar.Cookies(at) {
		if strings.HasPrefix(c.Name, "gatewarden_upstream_") {
			kept++
		}
	}
	if kept != 6 {
		t.Errorf("the browser keeps %d attempts, want 6", kept)
	}
}

func TestADisabledUserCannotLogInWithAProvider(t *testing.T) {
	u := newUpstream(t)
	r := withProviders(t, u.provider("one"))
	r.linked("off", u, "sub-1")
	r.browser().through(u, "one").shows(http.StatusForbidden, "You cannot sign in here with your account at Provider one")
}

func TestAProviderThatIsDownLeavesTheOtherWaysToLogIn(t *testing.T) {
	u := newUpstream(t)
	u.down = true
	r := withProviders(t, u.provider("one"))
	b := r.browser().authorize().submit("provider", "one").shows(http.StatusServiceUnavailable, "Provider one does not answer right now")
	b.submit("login", "ada", "password", "correct horse", "action", "login").shows(http.StatusOK, "Allow access?")
	// The page that a callback shows has a form that works.
	u.set(func(u *upstream) { u.down = false })
	r = withProviders(t, u.provider("one"))
	b = r.browser().through(u, "one").shows(http.StatusForbidden, "You cannot sign in here")
	b.at.Path = login.LoginPath
	b.submit("login", "ada", "password", "correct horse", "action", "login").shows(http.StatusOK, "Allow access?")
	r.browser().authorize().submit("provider", "unknown").shows(http.StatusBadRequest)
	r.browser().open("/login/callback/unknown?state=x").shows(http.StatusNotFound)
}
