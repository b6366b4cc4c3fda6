package secrets_test

import (
	"context"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/oauth2/secrets"
	"github.com/gatewarden/gatewarden/passwords"
)

var keyA, keyB = []byte("a system secret, first"), []byte("a system secret, second")

func hasher(t testing.TB, o secrets.Options) *secrets.Hasher {
	t.Helper()
	if o.Keys == nil {
		o.Keys = [][]byte{keyA}
	}
	h, err := secrets.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func pbkdf2Hash(t testing.TB, plain string, iterations int, wide bool) string {
	salt := []byte("0123456789abcdef")
	name, key := "sha256", []byte(nil)
	var err error
	if wide {
		name = "sha512"
		key, err = pbkdf2.Key(sha512.New, plain, salt, iterations, 32)
	} else {
		key, err = pbkdf2.Key(sha256.New, plain, salt, iterations, 32)
	}
	if err != nil {
		t.Fatal(err)
	}
	enc := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$pbkdf2-%s$i=%d,l=32$%s$%s", name, iterations, enc(salt), enc(key))
}

func TestEveryFormVerifiesItsSecretAndNoOther(t *testing.T) {
	h := hasher(t, secrets.Options{})
	generated, keyed, err := h.Generate()
	if err != nil || !strings.HasPrefix(generated, secrets.Prefix) || len(generated) != len(secrets.Prefix)+43 || !strings.HasPrefix(keyed, "$hmac-sha256$") {
		t.Fatalf("generated %q, %q, %v", generated, keyed, err)
	}
	argon, err := h.Hash("chosen secret")
	if err != nil || !strings.HasPrefix(argon, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Fatalf("hash %q, %v", argon, err)
	}
	bc, err := bcrypt.GenerateFromPassword([]byte("chosen secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ hash, plain string }{
		"generated":     {keyed, generated},
		"argon2id":      {argon, "chosen secret"},
		"bcrypt":        {string(bc), "chosen secret"},
		"pbkdf2-sha256": {pbkdf2Hash(t, "chosen secret", 25000, false), "chosen secret"},
		"pbkdf2-sha512": {pbkdf2Hash(t, "chosen secret", 1000, true), "chosen secret"},
	} {
		t.Run(name, func(t *testing.T) {
			for range 2 { // the second time from memory
				if err := h.Verify(t.Context(), c.hash, c.plain); err != nil {
					t.Errorf("right secret: %v", err)
				}
				for _, wrong := range []string{"", "chosen secreT", c.plain + "x", strings.Repeat("x", 5000)} {
					if err := h.Verify(t.Context(), c.hash, wrong); !fault.Is(err, fault.Unauthenticated) {
						t.Errorf("wrong secret %.20q: %v", wrong, err)
					}
				}
			}
		})
	}
}

func TestARotatedSystemSecretStillVerifies(t *testing.T) {
	plain, hash, _ := hasher(t, secrets.Options{Keys: [][]byte{keyA}}).Generate()
	if err := hasher(t, secrets.Options{Keys: [][]byte{keyB, keyA}}).Verify(t.Context(), hash, plain); err != nil {
		t.Errorf("rotated: %v", err)
	}
	if err := hasher(t, secrets.Options{Keys: [][]byte{keyB}}).Verify(t.Context(), hash, plain); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("without the old key: %v", err)
	}
}

func TestTwoGeneratedSecretsDiffer(t *testing.T) {
	h := hasher(t, secrets.Options{})
	a, hashA, _ := h.Generate()
	b, hashB, _ := h.Generate()
	if a == b || hashA == hashB {
		t.Error("the same secret twice")
	}
}

func TestAHashOutOfBoundsIsRefusedWithoutWork(t *testing.T) {
	h := hasher(t, secrets.Options{})
	start := time.Now()
	for _, hash := range []string{
		"plain", "$", "$md5$x$y", "$hmac-sha256$", "$hmac-sha256$!!", "$hmac-sha256$AAAA",
		"$argon2id$v=19$m=4194304,t=2,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
		"$argon2id$v=19$m=19456,t=1000000,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
		"$argon2id$v=19$m=19456,t=2,p=0$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
		"$argon2id$v=16$m=19456,t=2,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
		"$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ$",
		"$2a$31$abcdefghijklmnopqrstuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuu",
		"$pbkdf2-sha256$i=2000000000,l=32$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
		"$pbkdf2-sha256$i=1000,l=2000000000$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
		"$pbkdf2-sha256$i=1000,l=32$c29tZXNhbHQ$" + strings.Repeat("A", 4000),
	} {
		err := h.Verify(t.Context(), hash, "x")
		if err == nil || !fault.Is(err, fault.Internal) {
			t.Errorf("%.60s: %v", hash, err)
		}
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
}

// An unknown client, a wrong generated and a wrong chosen secret must take about
// as long: each does the work of one argon2id hash. Without it a generated secret
// would fail ten thousand times faster; the bounds leave room for a busy machine.
func TestFailuresTakeEquallyLong(t *testing.T) {
	h := hasher(t, secrets.Options{})
	_, keyed, _ := h.Generate()
	argon, _ := h.Hash("chosen")
	median := func(verify func(plain string) error) time.Duration {
		var took []time.Duration
		for i := range 5 {
			start := time.Now()
			if err := verify(fmt.Sprint("wrong", i)); !fault.Is(err, fault.Unauthenticated) {
				t.Fatal(err)
			}
			took = append(took, time.Since(start))
		}
		slices.Sort(took)
		return took[2]
	}
	dummy := median(func(p string) error { return h.VerifyDummy(t.Context(), p) })
	for name, hash := range map[string]string{"generated": keyed, "chosen": argon, "no secret": "", "the dummy": h.DummyHash()} {
		got := median(func(p string) error { return h.Verify(t.Context(), hash, p) })
		if got < dummy/20 || got > dummy*20 {
			t.Errorf("%s takes %v, an unknown client %v", name, got, dummy)
		}
	}
}

func TestAVerifiedPairIsRememberedButNotForAnotherHash(t *testing.T) {
	var mu sync.Mutex
	hits := 0
	h := hasher(t, secrets.Options{Passwords: passwords.Options{OnCache: func(hit bool) {
		mu.Lock()
		defer mu.Unlock()
		if hit {
			hits++
		}
	}}})
	first, _ := h.Hash("first secret")
	second, _ := h.Hash("second secret")
	for range 3 {
		if err := h.Verify(t.Context(), first, "first secret"); err != nil {
			t.Fatal(err)
		}
	}
	if hits != 2 {
		t.Errorf("hits = %d, want 2", hits)
	}
	if err := h.Verify(t.Context(), second, "first secret"); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("after the secret was changed: %v", err)
	}
}

func TestAFloodOfSecretsIsTurnedAway(t *testing.T) {
	h := hasher(t, secrets.Options{Passwords: passwords.Options{Parallel: 1, Waiting: 1}})
	hash, _ := h.Hash("chosen")
	var wg sync.WaitGroup
	results := make(chan error, 32)
	for i := range 32 {
		wg.Go(func() { results <- h.Verify(t.Context(), hash, fmt.Sprint("wrong", i)) })
	}
	wg.Wait()
	close(results)
	limited := 0
	for err := range results {
		if fault.Is(err, fault.RateLimited) {
			limited++
		} else if !fault.Is(err, fault.Unauthenticated) {
			t.Errorf("got %v", err)
		}
	}
	if limited == 0 {
		t.Error("nobody was turned away")
	}
}

func TestACancelledCallerDoesNotWait(t *testing.T) {
	h := hasher(t, secrets.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	done := make(chan error, 8)
	for range 8 {
		go func() { done <- h.Verify(ctx, h.DummyHash(), "x") }()
	}
	for range 8 {
		if err := <-done; err == nil {
			t.Error("verified")
		}
	}
}

func TestShortSystemSecretsAreRefused(t *testing.T) {
	for _, keys := range [][][]byte{nil, {[]byte("short")}, {keyA, []byte("short")}} {
		if _, err := secrets.New(secrets.Options{Keys: keys}); err == nil || !strings.Contains(err.Error(), "secrets.system") {
			t.Errorf("%q: %v", keys, err)
		}
	}
}

// A stored hash of any text must be compared or refused, and must not panic.
func FuzzVerify(f *testing.F) {
	for _, s := range []string{"$hmac-sha256$AAAA", "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAA", "$2a$04$x", "$pbkdf2-sha512$i=1,l=16$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAA"} {
		f.Add(s)
	}
	h := hasher(f, secrets.Options{})
	f.Fuzz(func(t *testing.T, hash string) {
		if err := h.Verify(t.Context(), hash, "no fuzzer makes a hash of this"); err == nil {
			t.Errorf("%q verified", hash)
		}
	})
}

func BenchmarkVerifyGenerated(b *testing.B) {
	h := hasher(b, secrets.Options{})
	plain, hash, _ := h.Generate()
	b.ReportAllocs()
	for b.Loop() {
		if err := h.Verify(b.Context(), hash, plain); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerifyChosenAgain(b *testing.B) {
	h := hasher(b, secrets.Options{})
	hash, _ := h.Hash("chosen")
	b.ReportAllocs()
	for b.Loop() {
		if err := h.Verify(b.Context(), hash, "chosen"); err != nil {
			b.Fatal(err)
		}
	}
}
