package storetest

import (
	"errors"
	"strings"
	"testing"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/store"
	"github.com/gatewarden/gatewarden/users"
)

const provider, otherProvider = "https://login.example", "https://other.example"

func identity(user, issuer, subject string) users.Identity {
	return users.Identity{Issuer: issuer, Subject: subject, UserID: user, Name: "Name of " + subject, LinkedAt: now()}
}

func identitiesCRUD(t *testing.T, s store.Store) {
	c := ctx(t)
	check(t, s.CreateUser(c, user("a")))
	check(t, s.CreateUser(c, user("b")))
	first, second := identity("a", provider, "s"), identity("a", otherProvider, "s")
	b := identity("b", provider, "S") // another one: subjects are case-sensitive
	for _, i := range []users.Identity{second, first, b} {
		check(t, s.LinkIdentity(c, i))
	}
	equal(t, "identities of a", must(s.Identities(c, "a"))(t), []users.Identity{first, second})
	equal(t, "identities of b", must(s.Identities(c, "b"))(t), []users.Identity{b})
	equal(t, "identities of nobody", must(s.Identities(c, "nobody"))(t), []users.Identity(nil))
	for _, i := range []users.Identity{first, second, b} {
		equal(t, "user of "+i.Issuer+" "+i.Subject, must(s.UserByIdentity(c, i.Issuer, i.Subject))(t).ID, i.UserID)
	}
	for _, other := range [][2]string{{provider, "x"}, {"https://login.example/", "s"}, {otherProvider, "S"}, {provider, "s "}, {"", ""}, {provider, "\x00"}, {"' OR ''='", "s"}} {
		_, err := s.UserByIdentity(c, other[0], other[1])
		kind(t, "the identity "+other[0]+" "+other[1], err, fault.NotFound)
	}
	kind(t, "linking to another user", s.LinkIdentity(c, identity("b", provider, "s")), fault.Conflict)
	kind(t, "linking twice", s.LinkIdentity(c, first), fault.Conflict)
	kind(t, "linking to nobody", s.LinkIdentity(c, identity("nobody", provider, "new")), fault.NotFound)
	for what, i := range map[string]users.Identity{
		"no subject": identity("a", provider, ""), "no issuer": identity("a", "", "s"), "a long subject": identity("a", provider, strings.Repeat("x", 256)),
		"a long issuer": identity("a", strings.Repeat("x", 513), "s"), "a line break": identity("a", provider, "s\n"),
	} {
		kind(t, what, s.LinkIdentity(c, i), fault.Invalid)
	}

	kind(t, "unlinking another user's", s.UnlinkIdentity(c, identity("b", provider, "s"), nil), fault.NotFound)
	check(t, s.UnlinkIdentity(c, first, nil)) // there is a password
	kind(t, "unlinking twice", s.UnlinkIdentity(c, first, nil), fault.NotFound)
	check(t, s.LinkIdentity(c, identity("b", provider, "s"))) // free again
	check(t, s.DeleteUser(c, "b"))
	_, err := s.UserByIdentity(c, provider, "S")
	kind(t, "the identity of a deleted user", err, fault.NotFound)

	created := user("new")
	check(t, s.CreateUserWithIdentity(c, created, identity("", provider, "S")))
	equal(t, "user that was created", must(s.UserByIdentity(c, provider, "S"))(t).ID, "new")
	kind(t, "creating a user with a login that is taken", s.CreateUserWithIdentity(c, users.User{ID: "x", Username: "name-of-new"}, identity("", provider, "free")), fault.Conflict)
	_, err = s.UserByIdentity(c, provider, "free")
	kind(t, "the identity of a user who was not created", err, fault.NotFound)
	kind(t, "creating a user with an identity that is taken", s.CreateUserWithIdentity(c, users.User{ID: "x", Username: "free"}, identity("", provider, "S")), fault.Conflict)
	_, err = s.User(c, "x")
	kind(t, "the user of an identity that was taken", err, fault.NotFound)
	equal(t, "user after that", must(s.UserByIdentity(c, provider, "S"))(t).ID, "new")
}

func identitiesRace(t *testing.T, s store.Store) {
	c := ctx(t)
	check(t, s.CreateUser(c, user("a")))
	check(t, s.CreateUser(c, user("b")))
	won := 0
	for i, err := range race(parallel, func(i int) error {
		if i%2 == 0 {
			return s.LinkIdentity(c, identity([]string{"a", "b"}[i/2%2], provider, "contested"))
		}
		return s.CreateUserWithIdentity(c, user(numbered("racer", i)), identity("", provider, "contested"))
	}) {
		if err == nil {
			won++
			continue
		}
		kind(t, "a loser", err, fault.Conflict)
		_, err := s.User(c, numbered("racer", i))
		kind(t, "a user of a loser", err, fault.NotFound)
	}
	equal(t, "number of winners", won, 1)
	must(s.UserByIdentity(c, provider, "contested"))(t)
}

func identitiesLast(t *testing.T, s store.Store) {
	c := ctx(t)
	u := user("a")
	u.PasswordHash = ""
	check(t, s.CreateUser(c, u))
	one, two := identity("a", provider, "1"), identity("a", otherProvider, "2")
	check(t, s.LinkIdentity(c, one))
	check(t, s.LinkIdentity(c, two))
	err := s.UnlinkIdentity(c, one, []string{provider})
	if !errors.Is(err, users.ErrLastWay) {
		t.Errorf("unlinking the last one of a provider that there is: %v", err)
	}
	equal(t, "what a refusal leaves", must(s.Identities(c, "a"))(t), []users.Identity{one, two})
	won := 0
	for _, err := range race(parallel, func(i int) error {
		return s.UnlinkIdentity(c, []users.Identity{one, two}[i%2], []string{provider, otherProvider})
	}) {
		switch {
		case err == nil:
			won++
		case !errors.Is(err, users.ErrLastWay) && !fault.Is(err, fault.NotFound):
			t.Errorf("a loser got %v", err)
		}
	}
	equal(t, "number of identities unlinked", won, 1)
	equal(t, "number of identities left", len(must(s.Identities(c, "a"))(t)), 1)
}
