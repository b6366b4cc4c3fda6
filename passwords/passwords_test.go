package passwords

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"github.com/gatewarden/gatewarden/fault"
)

func TestAPasswordVerifiesWithItsHashAndNoOther(t *testing.T) {
	v := New(Options{})
	long := strings.Repeat("x", 72)
	bc, err := bcrypt.GenerateFromPassword([]byte(long), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		hash, plain string
		want        error
	}{
		{Hash("open sesame"), "open sesame", nil},
		{Hash("open sesame"), "open sesamE", ErrWrong},
		{Hash(""), "", nil},
		{string(bc), long, nil},
		{string(bc), long + "y", ErrWrong}, // bcrypt itself sees 72 bytes
		{Hash("x"), strings.Repeat("x", MaxLength+1), ErrWrong},
	} {
		for range 2 { // the second time from memory
			if err := v.Verify(t.Context(), c.hash, c.plain); !errors.Is(err, c.want) {
				t.Errorf("%.20s with %.20q: got %v, want %v", c.hash, c.plain, err, c.want)
			}
		}
		if err := v.Fail(t.Context(), c.hash, c.plain); !errors.Is(err, ErrWrong) {
			t.Errorf("%.20s with %.20q: Fail returned %v", c.hash, c.plain, err)
		}
	}
}

func TestHashesThatCannotBeCheckedAreInternal(t *testing.T) {
	v := New(Options{})
	for _, hash := range []string{"", "secret", "{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "$apr1$lZL6V/ci$eIMz/iKDkbtys/uU7LEK00", "$6$salt$hash", "$argon2id$v=19$m=4194304,t=2,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAA"} {
		if Check(hash) == nil {
			t.Errorf("%q can be checked", hash)
		}
		for name, f := range map[string]func(context.Context, string, string) error{"Verify": v.Verify, "Fail": v.Fail} {
			if err := f(t.Context(), hash, "secret"); !fault.Is(err, fault.Internal) || errors.Is(err, ErrWrong) {
				t.Errorf("%s %q: got %v", name, hash, err)
			}
		}
	}
}

func TestAFloodOfPasswordsIsTurnedAway(t *testing.T) {
	v := New(Options{Parallel: 1, Waiting: 1})
	hash := Hash("right")
	if err := v.Verify(t.Context(), hash, "right"); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	results := make(chan error, 32)
	for i := range 32 {
		wg.Go(func() {
			if i%2 == 0 {
				results <- v.Fail(t.Context(), hash, fmt.Sprint("wrong", i))
			} else {
				results <- v.Verify(t.Context(), hash, fmt.Sprint("wrong", i))
			}
		})
	}
	if err := v.Verify(t.Context(), hash, "right"); err != nil {
		t.Errorf("who was let in before has to wait: %v", err)
	}
	wg.Wait()
	close(results)
	limited := 0
	for err := range results {
		if fault.Is(err, fault.RateLimited) {
			limited++
		} else if !errors.Is(err, ErrWrong) {
			t.Errorf("got %v", err)
		}
	}
	if limited == 0 {
		t.Error("nobody was turned away")
	}
}
