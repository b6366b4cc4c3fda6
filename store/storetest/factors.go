package storetest

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/store"
	"github.com/gatewarden/gatewarden/users"
)

func generator(id string) users.Generator {
	return users.Generator{ID: id, Secret: []byte("secret of " + id), CreatedAt: now()}
}

func passkey(id string, count uint32) users.Passkey {
	return users.Passkey{ID: []byte(id), Name: "name of " + id, SignCount: count, Credential: json.RawMessage(`{"k":"` + id + `"}`), CreatedAt: now()}
}

// once counts who of a race got through; the others must have got ErrUsed.
func once(t *testing.T, what string, errs []error) {
	t.Helper()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
		} else if !errors.Is(err, users.ErrUsed) {
			t.Errorf("%s: a loser got %v, want ErrUsed", what, err)
		}
	}
	equal(t, what+": number of winners", won, 1)
}

func usedBefore(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, users.ErrUsed) {
		t.Errorf("%s: got error %v, want ErrUsed", what, err)
	}
}

func factorsCRUD(t *testing.T, s store.Store) {
	c := ctx(t)
	for _, id := range []string{"a", "b"} {
		check(t, s.CreateUser(c, user(id)))
	}
	equal(t, "factors of a new user", must(s.Factors(c, "a"))(t), users.Factors{})
	equal(t, "factors of nobody", must(s.Factors(c, "nobody"))(t), users.Factors{})
	g, first, second := generator("g"), passkey("first", 7), passkey("second", 0)
	second.CreatedAt = first.CreatedAt.Add(time.Second)
	check(t, s.EnrolGenerator(c, "a", g, 5, []string{"one", "two"}))
	check(t, s.AddPasskey(c, "a", second))
	check(t, s.AddPasskey(c, "a", first))
	check(t, s.EnrolGenerator(c, "b", g, 5, []string{"one"}))
	equal(t, "factors", must(s.Factors(c, "a"))(t), users.Factors{Generator: &g, Passkeys: []users.Passkey{first, second}, RecoveryCodes: 2})
	kind(t, "enrolling twice", s.EnrolGenerator(c, "a", generator("other"), 9, []string{"x", "y", "z"}), fault.Conflict)
	kind(t, "enrolling nothing", s.EnrolGenerator(c, "a", users.Generator{}, 9, nil), fault.Invalid)
	for _, err := range []error{
		s.EnrolGenerator(c, "nobody", g, 5, nil), s.AddPasskey(c, "nobody", passkey("third", 0)), s.ReplaceRecoveryCodes(c, "nobody", []string{"x"}),
		s.RemoveGenerator(c, "nobody"), s.RemovePasskey(c, "nobody", first.ID), s.RemovePasskey(c, "b", first.ID), s.ResetFactors(c, "nobody"),
	} {
		kind(t, "a change of what nobody has", err, fault.NotFound)
	}
	equal(t, "what refused changes leave", must(s.Factors(c, "a"))(t), users.Factors{Generator: &g, Passkeys: []users.Passkey{first, second}, RecoveryCodes: 2})

	check(t, s.RemoveGenerator(c, "a"))
	kind(t, "removing twice", s.RemoveGenerator(c, "a"), fault.NotFound)
	check(t, s.RemovePasskey(c, "a", first.ID))
	equal(t, "what is left", must(s.Factors(c, "a"))(t), users.Factors{Passkeys: []users.Passkey{second}, RecoveryCodes: 2})
	check(t, s.RemovePasskey(c, "a", second.ID))
	equal(t, "recovery codes of nothing", must(s.Factors(c, "a"))(t), users.Factors{})
	usedBefore(t, "a recovery code of nothing", s.UseRecoveryCode(c, "a", "one"))

	check(t, s.AddPasskey(c, "b", first))
	check(t, s.ResetFactors(c, "b"))
	equal(t, "factors after a reset", must(s.Factors(c, "b"))(t), users.Factors{})
	usedBefore(t, "a code after a reset", s.UseCode(c, "b", "g", 100))
	check(t, s.AddPasskey(c, "b", first))
	check(t, s.EnrolGenerator(c, "b", g, 5, []string{"one"}))
	check(t, s.DeleteUser(c, "b"))
	check(t, s.CreateUser(c, user("b")))
	equal(t, "factors of another user of the same id", must(s.Factors(c, "b"))(t), users.Factors{})
	_, err := s.PasskeyOwner(c, first.ID)
	kind(t, "the owner of a deleted user's passkey", err, fault.NotFound)
}

func codesRace(t *testing.T, s store.Store) {
	c := ctx(t)
	check(t, s.CreateUser(c, user("a")))
	check(t, s.EnrolGenerator(c, "a", generator("g"), 100, nil))
	usedBefore(t, "the step that was shown at enrolment", s.UseCode(c, "a", "g", 100))
	usedBefore(t, "an earlier step", s.UseCode(c, "a", "g", 99))
	usedBefore(t, "a code of another generator", s.UseCode(c, "a", "h", 101))
	usedBefore(t, "somebody else's code", s.UseCode(c, "b", "g", 101))
	once(t, "a step", race(parallel, func(int) error { return s.UseCode(c, "a", "g", 101) }))
	check(t, s.UseCode(c, "a", "g", 103))
	usedBefore(t, "a step before one that was accepted", s.UseCode(c, "a", "g", 102))
}

func recoveryRace(t *testing.T, s store.Store) {
	c := ctx(t)
	for _, id := range []string{"a", "b"} {
		check(t, s.CreateUser(c, user(id)))
		check(t, s.AddPasskey(c, id, passkey(id, 0)))
		check(t, s.ReplaceRecoveryCodes(c, id, []string{"one", "two"}))
	}
	once(t, "a recovery code", race(parallel, func(int) error { return s.UseRecoveryCode(c, "a", "one") }))
	equal(t, "codes that are left", must(s.Factors(c, "a"))(t).RecoveryCodes, 1)
	equal(t, "codes of another", must(s.Factors(c, "b"))(t).RecoveryCodes, 2)
	usedBefore(t, "an unknown code", s.UseRecoveryCode(c, "a", "three"))
	usedBefore(t, "no code", s.UseRecoveryCode(c, "a", ""))
	check(t, s.ReplaceRecoveryCodes(c, "a", []string{"three"}))
	usedBefore(t, "a replaced code", s.UseRecoveryCode(c, "a", "two"))
	check(t, s.UseRecoveryCode(c, "a", "three"))
}

func passkeysRace(t *testing.T, s store.Store) {
	c := ctx(t)
	for _, id := range []string{"a", "b"} {
		check(t, s.CreateUser(c, user(id)))
	}
	errs := race(parallel, func(i int) error { return s.AddPasskey(c, []string{"a", "b"}[i%2], passkey("p", 5)) })
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
		} else {
			kind(t, "a passkey that is registered", err, fault.Conflict)
		}
	}
	equal(t, "number of owners", won, 1)
	owner := must(s.PasskeyOwner(c, []byte("p")))(t)
	other := map[string]string{"a": "b", "b": "a"}[owner]
	kind(t, "an unknown passkey", second(s.PasskeyOwner(c, []byte("q"))), fault.NotFound)

	next := passkey("p", 6)
	next.UsedAt = now()
	usedBefore(t, "a passkey of another", s.UsePasskey(c, other, next))
	usedBefore(t, "a counter that stays", s.UsePasskey(c, owner, passkey("p", 5)))
	usedBefore(t, "a counter that falls", s.UsePasskey(c, owner, passkey("p", 0)))
	once(t, "a counter", race(parallel, func(int) error { return s.UsePasskey(c, owner, next) }))
	equal(t, "the passkey after its use", must(s.Factors(c, owner))(t).Passkeys, []users.Passkey{next})
	check(t, s.AddPasskey(c, other, passkey("without counter", 0)))
	for _, err := range race(parallel, func(int) error { return s.UsePasskey(c, other, passkey("without counter", 0)) }) {
		check(t, err)
	}
	added := 1
	for i := range users.MaxPasskeys + 2 {
		if err := s.AddPasskey(c, other, passkey(numbered("p", i), 0)); err == nil {
			added++
		} else {
			kind(t, "one too many", err, fault.Conflict)
		}
	}
	equal(t, "passkeys of one user", added, users.MaxPasskeys)
}
