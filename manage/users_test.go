package manage_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/bcrypt"

	"github.com/gatewarden/gatewarden/manage"
	"github.com/gatewarden/gatewarden/passwords"
	"github.com/gatewarden/gatewarden/store/sql"
	"github.com/gatewarden/gatewarden/users"
)

func TestAPasswordIsHashedAnewUnlessTheUserChangedMeanwhile(t *testing.T) {
	store, err := sql.Open(t.Context(), sql.Options{DSN: "memory"})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	m := &manage.Users{Store: store, Factors: store, Now: time.Now}
	foreign, err := bcrypt.GenerateFromPassword([]byte("correct horse"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Create(t.Context(), users.User{ID: "ada", Username: "ada", PasswordHash: string(foreign)}); err != nil {
		t.Fatal(err)
	}
	v := passwords.New(passwords.Options{})
	read := func() users.User {
		t.Helper()
		u, err := store.User(t.Context(), "ada")
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	old := read()
	if !passwords.Outdated(old.PasswordHash) {
		t.Error("bcrypt is today's kind")
	}
	if err := m.Rehash(t.Context(), old, "correct horse"); err != nil {
		t.Fatal(err)
	}
	now := read()
	if err := v.Verify(t.Context(), now.PasswordHash, "correct horse"); err != nil || passwords.Outdated(now.PasswordHash) {
		t.Errorf("hashed anew: %v, outdated %t", err, passwords.Outdated(now.PasswordHash))
	}
	// Another login read the user before that, or before a new password.
	if err := m.SetPassword(t.Context(), "ada", "another horse", ""); err != nil {
		t.Fatal(err)
	}
	for _, late := range []users.User{old, now} {
		if err := m.Rehash(t.Context(), late, "correct horse"); err != nil {
			t.Error(err)
		}
		if err := v.Verify(t.Context(), read().PasswordHash, "another horse"); err != nil {
			t.Errorf("the new password was undone: %v", err)
		}
	}
	gone := read()
	if err := m.Delete(t.Context(), "ada"); err != nil {
		t.Fatal(err)
	}
	if err := m.Rehash(t.Context(), gone, "another horse"); err != nil {
		t.Errorf("of a user that is gone: %v", err)
	}
}

// farewells are the calls that end logins in the hearing of clients.
type farewells struct {
	calls []string
	err   error
}

func (f *farewells) RevokeOtherLoginSessions(_ context.Context, subject, keep string) error {
	f.calls = append(f.calls, subject+" but "+keep)
	return f.err
}

func TestClientsHearOfEveryLoginThatAChangeOfItsUserEnds(t *testing.T) {
	store, err := sql.Open(t.Context(), sql.Options{DSN: "memory"})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	heard := &farewells{}
	m := &manage.Users{Store: store, Factors: store, Logins: heard, Now: time.Now}
	check := func(what string, err error, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, heard.calls); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", what, err, diff)
		}
		heard.calls = nil
	}
	ada := users.User{ID: "ada", Username: "ada", Password: "correct horse"}
	_, err = m.Create(t.Context(), ada)
	check("a new user", err)
	check("an own new password", m.SetPassword(t.Context(), "ada", "another horse", "this session"), "ada but this session")
	check("a password that an operator sets", m.SetPassword(t.Context(), "ada", "a third horse", ""), "ada but ")
	check("second factors that an operator takes away", m.ResetSecondFactor(t.Context(), "ada"), "ada but ")
	ada.Password = ""
	_, err = m.Replace(t.Context(), ada, "")
	check("a change of something else", err)
	ada.Disabled = true
	_, err = m.Replace(t.Context(), ada, "")
	check("a user who is disabled", err, "ada but ")
	if err := m.SetPassword(t.Context(), "ada", "short", "this session"); err == nil {
		t.Error("a weak password is taken")
	}
	check("a password that is refused", nil)
	check("a user who is deleted", m.Delete(t.Context(), "ada"), "ada but ")

	heard.err = errors.New("the database is gone")
	ada.Password, ada.Disabled = "correct horse", false
	if _, err := m.Create(t.Context(), ada); err != nil {
		t.Fatal(err)
	}
	if err := m.SetPassword(t.Context(), "ada", "another horse", "this session"); !errors.Is(err, heard.err) {
		t.Errorf("logins that cannot be ended: %v", err)
	}
}
