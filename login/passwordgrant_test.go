package login_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/login"
)

func TestGuessesAtThePasswordGrantAreLimited(t *testing.T) {
	r := start(t, login.Theme{})
	check := func(client, name, password string) (login.PasswordPerson, error) {
		return r.pages.CheckPassword(t.Context(), client, name, password)
	}
	for range 20 { // what is right does not use the limits up
		who, err := check("app", "ADA@example.com", "correct horse")
		if err != nil || who.User.ID != "ada" || who.ACR != "aal1" || !cmp.Equal(who.AMR, []string{"pwd"}) {
			t.Fatalf("%+v %v", who, err)
		}
	}
	for name, typed := range map[string][2]string{
		"a wrong password": {"ada", "wrong"}, "an unknown login": {"eve", "correct horse"}, "a disabled user": {"off", "correct horse"},
		"a user without password": {"none", "correct horse"}, "no login at all": {"two words", "correct horse"},
	} {
		before := r.hashes.done.Load()
		if who, err := check("other", typed[0], typed[1]); !fault.Is(err, fault.Unauthenticated) || who.User.ID != "" {
			t.Errorf("%s: %+v %v", name, who, err)
		}
		if n := r.hashes.done.Load() - before; n != 1 {
			t.Errorf("%s costs %d hashes, want 1", name, n)
		}
	}
	for range 10 {
		if _, err := check("app", "ada", "wrong"); !fault.Is(err, fault.Unauthenticated) {
			t.Error(err)
		}
	}
	before := r.hashes.done.Load()
	if _, err := check("app", "ada", "correct horse"); !fault.Is(err, fault.RateLimited) || r.hashes.done.Load() != before {
		t.Errorf("a guess beyond the limit of client and account: %v", err)
	}
	if _, err := check("another", "ada", "correct horse"); err != nil {
		t.Errorf("another client: %v", err)
	}
	// One client has a limit for all accounts, one account has one for all clients.
	for i := range 100 {
		_, _ = check("mad", fmt.Sprint("user", i), "wrong")
		_, _ = check(fmt.Sprint("client", i), "ada", "wrong")
	}
	limited := false
	for i := range 100 { // a slow machine gives some tries back meanwhile, one each second
		_, err := check("mad", fmt.Sprint("fresh", i), "wrong")
		limited = limited || fault.Is(err, fault.RateLimited)
	}
	if !limited {
		t.Error("a client that tries all accounts is not limited")
	}
	if _, err := check("fresh", "ada", "correct horse"); !fault.Is(err, fault.RateLimited) {
		t.Errorf("an account that all clients try: %v", err)
	}
	r.browser().authorize().submit("login", "ada", "password", "correct horse", "action", "login").shows(429)
}
