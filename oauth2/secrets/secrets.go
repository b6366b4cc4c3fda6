// Package secrets makes and checks what is stored of OAuth 2.0 client secrets.
//
// A secret that the server generates has 256 random bits, so one keyed hash of it
// is enough and costs next to nothing to check. A secret that a person chose is
// stored as argon2id. Hashes that come from Hydra, bcrypt and PBKDF2, verify too.
//
// Password hashing is made not to limit issuing, nor to be a way to burn the
// machine: pairs that verified are remembered, few hashes run at a time, the queue
// is short, and parameters of imported hashes are bounded.
package secrets

import (
	"context"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"

	"github.com/maypok86/otter/v2"
	"golang.org/x/sync/semaphore"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/oauth2"
)

// Prefix starts every generated secret, so that scanners recognise it.
const Prefix = "gw_cs_"

const (
	keyedScheme = "$hmac-sha256$"
	maxSecret   = 1024 // bytes of a secret that is worth comparing
)

// Options of New.
type Options struct {
	// Keys are the system secrets, each of at least 16 bytes: the first hashes,
	// all verify.
	Keys [][]byte
	// CacheSize is how many verified pairs are remembered; default 10 000.
	CacheSize int
	// Parallel is how many password hashes run at once; default half of the
	// processors, at least one. One argon2id hash takes 19 MiB.
	Parallel int
	// Waiting is how many may wait for their turn; default 64.
	Waiting int
	// OnCache is told of every look-up among the verified pairs; nil: nobody is.
	OnCache func(hit bool)
}

// Hasher makes and checks hashes. It is safe for concurrent use.
type Hasher struct {
	keys     [][]byte
	cacheKey []byte
	verified *otter.Cache[[sha256.Size]byte, struct{}]
	onCache  func(hit bool)
	running  *semaphore.Weighted
	queue    *semaphore.Weighted // running and waiting
	dummy    string
}

var _ oauth2.SecretHasher = (*Hasher)(nil)

// New returns a Hasher. Errors name the option that is wrong.
func New(o Options) (*Hasher, error) {
	if len(o.Keys) == 0 {
		return nil, errors.New("secrets.system: at least one is required")
	}
	if o.CacheSize <= 0 {
		o.CacheSize = 10_000
	}
	if o.Parallel <= 0 {
		o.Parallel = max(1, runtime.GOMAXPROCS(0)/2)
	}
	if o.Waiting <= 0 {
		o.Waiting = 64
	}
	if o.OnCache == nil {
		o.OnCache = func(bool) {}
	}
	h := &Hasher{
		cacheKey: make([]byte, sha256.Size),
		onCache:  o.OnCache,
		running:  semaphore.NewWeighted(int64(o.Parallel)),
		queue:    semaphore.NewWeighted(int64(o.Parallel + o.Waiting)),
	}
	for i, secret := range o.Keys {
		if len(secret) < 16 {
			return nil, fmt.Errorf("secrets.system[%d]: must have at least 16 bytes", i)
		}
		key, err := hkdf.Key(sha256.New, secret, nil, "gatewarden client secret", sha256.Size)
		if err != nil {
			return nil, fmt.Errorf("secrets.system[%d]: %w", i, err)
		}
		h.keys = append(h.keys, key)
	}
	_, _ = rand.Read(h.cacheKey) // never fails
	cache, err := otter.New(&otter.Options[[sha256.Size]byte, struct{}]{MaximumSize: o.CacheSize})
	if err != nil {
		return nil, fmt.Errorf("verified secrets: %w", err)
	}
	h.verified = cache
	if h.dummy, err = h.Hash(rand.Text()); err != nil {
		return nil, err
	}
	return h, nil
}

// Generate returns a new secret of 256 random bits and its keyed hash.
func (h *Hasher) Generate() (plain, hash string, err error) {
	random := make([]byte, 32)
	_, _ = rand.Read(random)
	plain = Prefix + base64.RawURLEncoding.EncodeToString(random)
	return plain, keyedScheme + encoding.EncodeToString(keyed(h.keys[0], plain)), nil
}

// Hash returns the argon2id hash of a secret that a person chose.
func (h *Hasher) Hash(plain string) (string, error) {
	if len(plain) > maxSecret {
		return "", fault.New(fault.Invalid, "secret_too_long", fmt.Sprintf("a secret has at most %d bytes", maxSecret))
	}
	return hashArgon2id(plain), nil
}

// DummyHash is the hash of a secret that nobody knows. To compare with it takes as
// long as with the hash of a known client.
func (h *Hasher) DummyHash() string { return h.dummy }

// VerifyDummy does the work of Verify for a client that does not exist, and fails.
func (h *Hasher) VerifyDummy(ctx context.Context, plain string) error {
	return h.Verify(ctx, h.dummy, plain)
}

// Verify returns nil when hash was made of plain. Errors: fault.Unauthenticated
// for a wrong secret, fault.RateLimited when too many are being checked,
// fault.Internal for a hash that cannot be checked, and the context's.
func (h *Hasher) Verify(ctx context.Context, hash, plain string) error {
	if len(plain) > maxSecret {
		return wrong()
	}
	if len(hash) > len(keyedScheme) && hash[:len(keyedScheme)] == keyedScheme {
		stored, err := encoding.DecodeString(hash[len(keyedScheme):])
		if err != nil || len(stored) != sha256.Size {
			return fault.Wrap(fault.Internal, "", "stored client secret", errUnknownHash)
		}
		for _, key := range h.keys {
			if hmac.Equal(stored, keyed(key, plain)) {
				return nil
			}
		}
		// Failing here faster than for an unknown client would tell that this one
		// exists.
		hash = h.dummy
	}
	if hash == "" {
		hash = h.dummy
	}
	check, err := parse(hash)
	if err != nil {
		return fault.Wrap(fault.Internal, "", "stored client secret", err)
	}
	pair := h.pair(hash, plain)
	_, hit := h.verified.GetIfPresent(pair)
	h.onCache(hit)
	if hit {
		return nil
	}
	if !h.queue.TryAcquire(1) {
		return fault.New(fault.RateLimited, "too_many_secrets", "too many client secrets are being checked; try again later")
	}
	defer h.queue.Release(1)
	if err := h.running.Acquire(ctx, 1); err != nil {
		return err
	}
	defer h.running.Release(1)
	// The same pair may have been checked while this one waited.
	if _, hit := h.verified.GetIfPresent(pair); hit {
		return nil
	}
	if !check(plain) || hash == h.dummy {
		return wrong()
	}
	h.verified.Set(pair, struct{}{})
	return nil
}

func wrong() error {
	return fault.New(fault.Unauthenticated, "invalid_client", "the client secret is wrong")
}

// pair is what is remembered of a hash and the secret that it was made of. Its key
// lives and dies with the process.
func (h *Hasher) pair(hash, plain string) (sum [sha256.Size]byte) {
	mac := hmac.New(sha256.New, h.cacheKey)
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(len(hash))))
	mac.Write([]byte(hash))
	mac.Write([]byte(plain))
	mac.Sum(sum[:0])
	return sum
}

func keyed(key []byte, plain string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(plain))
	return mac.Sum(nil)
}
