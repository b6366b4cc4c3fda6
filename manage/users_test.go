package manage_test

import (
	"testing"
	"time"

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
	m := &manage.Users{Store: store, Now: time.Now}
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
