package storetest

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/oauth2"
	"github.com/gatewarden/gatewarden/store"
	"github.com/gatewarden/gatewarden/users"
)

func user(id string) users.User {
	return users.User{
		ID: id, Username: "name-of-" + id, Email: id + "@example.com", EmailVerified: true, Claims: map[string]any{"name": "N. " + id},
		Password: "the plain password", PasswordHash: "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ$" + id, CreatedAt: now(), UpdatedAt: now(),
	}
}

var asStored = cmpopts.IgnoreFields(users.User{}, "Password", "ETag")

func usersCRUD(t *testing.T, s store.Store) {
	c := ctx(t)
	compare := func(what string, got, want any) {
		t.Helper()
		if diff := cmp.Diff(want, got, asStored); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	a, b := user("a"), user("b")
	b.Email = ""
	check(t, s.CreateUser(c, b))
	check(t, s.CreateUser(c, a))
	compare("user", must(s.User(c, "a"))(t), a)
	equal(t, "plain password", must(s.User(c, "a"))(t).Password, "")
	for _, login := range []string{"name-of-a", "NAME-of-A", "a@example.com", "A@Example.COM", "ａ@example.com"} {
		compare(login, must(s.UserByLogin(c, login))(t), a)
	}
	for _, login := range []string{"", "a", "name-of-a ", "nobody", "a@example.com\x00", "\xff", "' OR ''='"} {
		_, err := s.UserByLogin(c, login)
		kind(t, "the login "+login, err, fault.NotFound)
	}
	_, err := s.User(c, "unknown")
	kind(t, "reading an unknown user", err, fault.NotFound)
	compare("all", must(s.Users(c, 10, 0))(t), []users.User{a, b})
	compare("second page of one", must(s.Users(c, 1, 1))(t), []users.User{b})

	a.Username, a.Claims = "renamed", nil
	check(t, s.UpdateUser(c, a))
	compare("updated", must(s.UserByLogin(c, "Renamed"))(t), a)
	_, err = s.UserByLogin(c, "name-of-a")
	kind(t, "the login of before", err, fault.NotFound)
	kind(t, "updating an unknown user", s.UpdateUser(c, user("unknown")), fault.NotFound)

	check(t, s.DeleteUser(c, "a"))
	kind(t, "deleting twice", s.DeleteUser(c, "a"), fault.NotFound)
	_, err = s.UserByLogin(c, "renamed")
	kind(t, "the login of a deleted user", err, fault.NotFound)
	check(t, s.CreateUser(c, a)) // its logins are free again
	kind(t, "a user without id", s.CreateUser(c, users.User{Username: "x"}), fault.Invalid)
	kind(t, "a login that cannot be", s.CreateUser(c, users.User{ID: "x", Username: "two words"}), fault.Invalid)
}

func usersUnique(t *testing.T, s store.Store) {
	c := ctx(t)
	check(t, s.CreateUser(c, user("a")))
	check(t, s.CreateUser(c, user("b")))
	for what, u := range map[string]users.User{
		"the id":                              {ID: "a", Username: "free"},
		"a user name":                         {ID: "x", Username: "name-of-a"},
		"a user name in another case":         {ID: "x", Username: "Name-Of-A"},
		"an email address":                    {ID: "x", Email: "A@EXAMPLE.com"},
		"an email address as a user name":     {ID: "x", Username: "a@example.com"},
		"a user name in full-width letters":   {ID: "x", Username: "ｎame-of-a"},
		"only the second login of two logins": {ID: "x", Username: "free", Email: "a@example.com"},
	} {
		kind(t, what, s.CreateUser(c, u), fault.Conflict)
		_, err := s.UserByLogin(c, "free")
		kind(t, what+" left a login behind: reading it", err, fault.NotFound)
	}
	b := must(s.User(c, "b"))(t)
	b.Email = "a@example.com"
	kind(t, "taking a login by an update", s.UpdateUser(c, b), fault.Conflict)
	equal(t, "who has the login", must(s.UserByLogin(c, "a@example.com"))(t).ID, "a")
	equal(t, "who has the other login", must(s.UserByLogin(c, "b@example.com"))(t).ID, "b")
	same := user("same")
	same.Username = same.Email
	check(t, s.CreateUser(c, same)) // its own two logins may be one

	won := 0
	for i, err := range race(parallel, func(i int) error {
		return s.CreateUser(c, users.User{ID: numbered("racer", i), Username: "Contested", Email: numbered("racer", i) + "@example.com"})
	}) {
		if err == nil {
			won++
		} else {
			kind(t, "a loser", err, fault.Conflict)
			_, err := s.UserByLogin(c, numbered("racer", i)+"@example.com")
			kind(t, "the loser's other login", err, fault.NotFound)
		}
	}
	equal(t, "number of users with one login", won, 1)
}

func usersRace(t *testing.T, s store.Store) {
	c := ctx(t)
	check(t, s.CreateUser(c, user("u")))
	read := must(s.User(c, "u"))(t)
	won := 0
	for _, err := range race(parallel, func(i int) error {
		changed := read
		changed.Username = numbered("name", i)
		return s.UpdateUser(c, changed)
	}) {
		if err == nil {
			won++
		} else {
			kind(t, "a loser", err, fault.Conflict)
		}
	}
	equal(t, "number of winners", won, 1)
}

// settled gives a subject a login session, a consent and tokens under it.
func settled(t *testing.T, s store.Store, subject string) {
	t.Helper()
	c := ctx(t)
	check(t, s.SaveLoginSession(c, oauth2.LoginSession{ID: "sid-" + subject, Subject: subject, ExpiresAt: now().Add(3600e9)}))
	check(t, s.SaveConsent(c, consent("consent-"+subject, subject, "client", now())))
	code, buy := token("code-"+subject, "client", "family-"+subject), issue(subject, "family-"+subject)
	code.Grant.ConsentID, buy.Access.Grant.ConsentID, buy.Refresh.Grant.ConsentID = "consent-"+subject, "consent-"+subject, "consent-"+subject
	check(t, s.CreateCode(c, code))
	check(t, s.IssueTokens(c, buy))
}

func usersEnd(t *testing.T, s store.Store) {
	c := ctx(t)
	all := func(name string) []string {
		return []string{"code-" + name, "access-" + name, "refresh-" + name}
	}
	for _, id := range []string{"a", "b", "d"} {
		check(t, s.CreateUser(c, user(id)))
		settled(t, s, id)
	}
	a := must(s.User(c, "a"))(t)
	a.Claims = nil
	check(t, s.UpdateUser(c, a))
	equal(t, "what an update leaves", alive(t, s, "a"), all("a"))
	a.ETag, a.Disabled = "another", true
	kind(t, "disabling what was not read", s.UpdateUser(c, a), fault.Conflict)
	equal(t, "what a refused update leaves", alive(t, s, "a"), all("a"))
	a.ETag = ""
	check(t, s.UpdateUser(c, a))
	check(t, s.DeleteUser(c, "d"))
	for _, id := range []string{"a", "d"} {
		equal(t, "what is left of "+id, alive(t, s, id), []string(nil))
		_, err := s.LoginSession(c, "sid-"+id)
		kind(t, "the session of "+id, err, fault.NotFound)
		equal(t, "consents of "+id, must(s.Consents(c, oauth2.ConsentFilter{Subject: id}, 10, 0))(t), []oauth2.Consent(nil))
	}
	equal(t, "what is left of another", alive(t, s, "b"), all("b"))

	check(t, s.SaveLoginSession(c, oauth2.LoginSession{ID: "second", Subject: "b", ExpiresAt: now().Add(3600e9)}))
	b := must(s.User(c, "b"))(t)
	b.PasswordHash = "$argon2id$another"
	check(t, s.ChangePassword(c, b, "second"))
	equal(t, "the password", must(s.User(c, "b"))(t).PasswordHash, "$argon2id$another")
	_, err := s.LoginSession(c, "sid-b")
	kind(t, "the other session after a new password", err, fault.NotFound)
	must(s.LoginSession(c, "second"))(t)
	kind(t, "a password of a user who was changed meanwhile", s.ChangePassword(c, b, ""), fault.Conflict)
	b.ETag = ""
	check(t, s.ChangePassword(c, b, ""))
	_, err = s.LoginSession(c, "second")
	kind(t, "the session that nobody named", err, fault.NotFound)
}
