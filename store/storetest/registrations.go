package storetest

import (
	"testing"
	"time"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/oauth2"
	"github.com/gatewarden/gatewarden/store"
)

func registered(id string) oauth2.Client {
	c := client(id)
	c.Origin = oauth2.ByRegistration
	return c
}

func registrationsCRUD(t *testing.T, s store.Store) {
	c := ctx(t)
	check(t, s.RegisterClient(c, registered("a"), "hash 1", 10))
	kind(t, "an id twice", s.RegisterClient(c, registered("a"), "hash 2", 10), fault.Conflict)
	equal(t, "hash", must(s.RegistrationToken(c, "a"))(t), "hash 1")
	read := must(s.Client(c, "a"))(t)
	equal(t, "origin", read.Origin, oauth2.ByRegistration)

	check(t, s.CreateClient(c, client("operators")))
	_, err := s.RegistrationToken(c, "operators")
	kind(t, "the registration of an operator's client", err, fault.NotFound)
	_, err = s.RegistrationToken(c, "nul\x00")
	kind(t, "the registration of an impossible id", err, fault.NotFound)
	spent(t, "changing an operator's client", s.UpdateRegistration(c, client("operators"), "", "mine"))

	changed := read
	changed.Name = "another name"
	spent(t, "changing by another token", s.UpdateRegistration(c, changed, "hash 2", "hash 3"))
	stale := changed
	stale.ETag = "stale"
	kind(t, "changing what was changed since", s.UpdateRegistration(c, stale, "hash 1", "hash 3"), fault.Conflict)
	equal(t, "hash after changes that failed", must(s.RegistrationToken(c, "a"))(t), "hash 1")
	equal(t, "name after changes that failed", must(s.Client(c, "a"))(t).Name, read.Name)
	check(t, s.UpdateRegistration(c, changed, "hash 1", "hash 2"))
	equal(t, "hash after the change", must(s.RegistrationToken(c, "a"))(t), "hash 2")
	equal(t, "name after the change", must(s.Client(c, "a"))(t).Name, "another name")
	spent(t, "changing by the token that was spent", s.UpdateRegistration(c, changed, "hash 1", "hash 3"))

	check(t, s.DeleteClient(c, "a"))
	_, err = s.RegistrationToken(c, "a")
	kind(t, "the registration of a deleted client", err, fault.NotFound)
	check(t, s.CreateClient(c, client("a"))) // an operator may take the id
	_, err = s.RegistrationToken(c, "a")
	kind(t, "the registration of the operator's client", err, fault.NotFound)
}

func registrationsRace(t *testing.T, s store.Store) {
	c := ctx(t)
	check(t, s.RegisterClient(c, registered("client"), "old", 10))
	won := 0
	for _, err := range race(parallel, func(i int) error {
		return s.UpdateRegistration(c, registered("client"), "old", numbered("new", i))
	}) {
		if err == nil {
			won++
		} else {
			spent(t, "a loser", err)
		}
	}
	equal(t, "number of winners", won, 1)
}

func registrationsSweep(t *testing.T, s store.Store) {
	c := ctx(t)
	for _, id := range []string{"holder", "idle", "other"} {
		check(t, s.RegisterClient(c, registered(id), "hash", 3))
	}
	kind(t, "one too many", s.RegisterClient(c, registered("more"), "hash", 3), fault.Forbidden)
	_, err := s.Client(c, "more")
	kind(t, "the client that was too many", err, fault.NotFound)
	check(t, s.CreateClient(c, client("operators")))
	check(t, s.CreateCode(c, token("code", "holder", "family")))

	later := time.Now().Add(48 * time.Hour)
	equal(t, "swept while all were used lately", must(s.SweepRegistrations(c, later, time.Now().Add(-time.Hour), 10))(t), 0)
	equal(t, "swept of the two", must(s.SweepRegistrations(c, later, later.Add(-time.Hour), 1))(t), 1)
	equal(t, "swept of the one left", must(s.SweepRegistrations(c, later, later.Add(-time.Hour), 10))(t), 1)
	for _, id := range []string{"idle", "other"} {
		_, err := s.Client(c, id)
		kind(t, "an unused client", err, fault.NotFound)
	}
	for _, id := range []string{"holder", "operators"} {
		must(s.Client(c, id))(t)
	}
	// Who held a token counts as used from then on.
	check(t, s.RevokeFamily(c, "family"))
	equal(t, "swept soon after the last token", must(s.SweepRegistrations(c, later.Add(time.Hour), later.Add(-time.Minute), 10))(t), 0)
	equal(t, "swept long after the last token", must(s.SweepRegistrations(c, later.Add(2*time.Hour), later.Add(time.Minute), 10))(t), 1)
	changes := must(s.ChangesSince(c, 0, 100))(t)
	equal(t, "last change but one", changes[len(changes)-2].Item, "holder")
	check(t, s.RegisterClient(c, registered("more"), "hash", 3))
}
