package login_test

import (
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/login"
	"github.com/gatewarden/gatewarden/users"
)

var unlinkButton = regexp.MustCompile(`name="unlink" value="([^"]*)"`)

// manage sends the account page's form of identities.
func (b *browser) manage(pairs ...string) *browser {
	b.r.t.Helper()
	b.open("/account").shows(http.StatusOK, "Your account")
	token := b.fields().Get("csrf_token")
	form := url.Values{"csrf_token": {token}}
	for i := 0; i+1 < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	return b.send(http.MethodPost, b.r.url+"/account", form.Encode(), "Origin", b.r.url, "Sec-Fetch-Site", "same-origin")
}

// linkedHere are the keys of the identities that the account page lists.
func (b *browser) linkedHere() (keys []string) {
	b.r.t.Helper()
	b.open("/account").shows(http.StatusOK, "Your account")
	for _, m := range unlinkButton.FindAllStringSubmatch(b.body, -1) {
		keys = append(keys, html.UnescapeString(m[1]))
	}
	return keys
}

func TestAPersonLinksAndUnlinksAccountsWithThePassword(t *testing.T) {
	u := newUpstream(t)
	u.claims = map[string]any{"email": "<i>ada</i>@provider.example"}
	r := withProviders(t, u.provider("one"))
	b := r.browser()
	b.signIn().shows(http.StatusOK, "Allow access?")
	b.manage("link", "one").shows(http.StatusForbidden, "The current password is wrong", `href="#link_password"`)
	b.manage("link", "one", "password", "wrong").shows(http.StatusForbidden, "The current password is wrong")
	b.manage("link", "one", "password", "correct horse")
	if got := b.at.Query().Get("prompt"); got != "select_account" {
		t.Errorf("the provider is asked with the prompt %q", got)
	}
	b.send(http.MethodGet, u.agrees(b.at), "").shows(http.StatusOK, "Your account at Provider one is linked", "&lt;i&gt;ada&lt;/i&gt;@provider.example")
	if got := r.userOf(u, "sub-1"); got != "ada" {
		t.Fatalf("the identity is of %q", got)
	}
	r.browser().through(u, "one").shows(http.StatusOK, "Allow access?", "Ada")
	keys := b.linkedHere()
	b.manage("unlink", keys[0]).shows(http.StatusForbidden, "The current password is wrong")
	b.manage("unlink", "another", "password", "correct horse").shows(http.StatusNotFound)
	b.manage("unlink", keys[0], "password", "correct horse").shows(http.StatusOK, "The account is not linked any more")
	if got := r.userOf(u, "sub-1"); got != "" {
		t.Errorf("the identity is still of %q", got)
	}
	r.browser().through(u, "one").shows(http.StatusForbidden, "You cannot sign in here")
}

func TestAnAccountIsLinkedByThePersonAndSessionThatBeganItAndByNobodyTwice(t *testing.T) {
	u := newUpstream(t)
	r := withProviders(t, u.provider("one"))
	if err := r.store.CreateUser(t.Context(), users.User{ID: "eve", Username: "eve", PasswordHash: "h:correct horse"}); err != nil {
		t.Fatal(err)
	}
	ada, eve := r.browser(), r.browser()
	ada.signIn().shows(http.StatusOK, "Allow access?")
	eve.signIn("login", "eve").shows(http.StatusOK, "Allow access?")
	begin := func(b *browser) string {
		b.manage("link", "one", "password", "correct horse")
		return u.agrees(b.at)
	}
	// Eve sends her answer to Ada's browser, so that Eve could log in as Ada.
	ada.send(http.MethodGet, begin(eve), "").shows(http.StatusForbidden, "another browser")
	// A link that was begun in a session that has ended meanwhile.
	back := begin(ada)
	ada.becomes("eve")
	ada.send(http.MethodGet, back, "").shows(http.StatusForbidden)
	if got := r.userOf(u, "sub-1"); got != "" {
		t.Fatalf("the identity is of %q", got)
	}
	// What is begun as a link is no login, and the other way round.
	eve.send(http.MethodGet, begin(eve), "").shows(http.StatusOK, "is linked")
	ada = r.browser()
	ada.signIn().shows(http.StatusOK, "Allow access?")
	ada.send(http.MethodGet, begin(ada), "").shows(http.StatusConflict, "already linked")
	eve.send(http.MethodGet, begin(eve), "").shows(http.StatusConflict, "already linked")
	if got := r.userOf(u, "sub-1"); got != "eve" {
		t.Errorf("the identity is of %q", got)
	}
	// Of another site.
	form := url.Values{"link": {"one"}, "password": {"correct horse"}}
	ada.send(http.MethodPost, r.url+"/account", form.Encode(), "Origin", r.url, "Sec-Fetch-Site", "same-origin").shows(http.StatusForbidden, "The form was open for too long")
}

// becomes is another person's login in the same browser.
func (b *browser) becomes(login string) {
	b.r.t.Helper()
	b.authorize("prompt", "login").submit("login", login, "password", "correct horse", "action", "login").shows(http.StatusOK, "Allow access?")
}

func TestTheLastWayInIsNotUnlinkedAndWithoutAPasswordTheLoginMustBeFresh(t *testing.T) {
	u, second, gone := newUpstream(t), newUpstream(t), newUpstream(t)
	now := time.Now()
	r := startWith(t, func(o *login.Options) {
		o.Providers, o.Now = []login.Provider{u.provider("one"), second.provider("two")}, func() time.Time { return now }
	})
	r.linked("none", u, "sub-1")
	r.linked("none", gone, "of a provider that is not configured any more")
	b := r.browser().through(u, "one").shows(http.StatusOK, "Allow access?")
	key := func(u *upstream) string {
		t.Helper()
		own, err := r.store.Identities(t.Context(), "none")
		if err != nil {
			t.Fatal(err)
		}
		keys := b.linkedHere()
		if len(keys) != len(own) {
			t.Fatalf("the page lists %d of %d identities", len(keys), len(own))
		}
		for i := range own {
			if own[i].Issuer == u.server.URL {
				return keys[i]
			}
		}
		t.Fatal("there is no such identity")
		return ""
	}
	if strings.Contains(b.open("/account").body, "link_password") {
		t.Error("a person without a password is asked for it")
	}
	b.manage("unlink", key(u)).shows(http.StatusConflict, "This is the only way in which you can sign in")
	b.manage("link", "two")
	b.send(http.MethodGet, second.agrees(b.at), "").shows(http.StatusOK, "Your account at Provider two is linked")
	b.manage("unlink", key(u)).shows(http.StatusOK, "The account is not linked any more")
	b.manage("unlink", key(second)).shows(http.StatusConflict, "This is the only way in which you can sign in")
	b.manage("unlink", key(gone)).shows(http.StatusOK, "The account is not linked any more")
	if got := []string{r.userOf(u, "sub-1"), r.userOf(second, "sub-1")}; cmp.Diff([]string{"", "none"}, got) != "" {
		t.Errorf("the identities are of %q", got)
	}
	now = now.Add(11 * time.Minute)
	b.manage("link", "one").shows(http.StatusOK, "Sign in with Provider two", "Password")
	if got := r.userOf(u, "sub-1"); got != "" {
		t.Errorf("linked without asking: %q", got)
	}
}
