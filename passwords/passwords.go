// Package passwords makes and checks hashes of passwords: argon2id, and what other
// programs left behind, bcrypt and PBKDF2.
//
// Hashing is made not to limit requests, nor to be a way to burn the machine: pairs
// that verified are remembered, few hashes run at a time, the queue is short, and
// parameters of hashes that were made elsewhere are bounded.
package passwords

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"runtime"

	"github.com/maypok86/otter/v2"
	"golang.org/x/sync/semaphore"

	"github.com/gatewarden/gatewarden/fault"
)

// MaxLength is the longest password that is looked at, in bytes.
const MaxLength = 1024

// ErrWrong says that a hash was not made of the password.
var ErrWrong = errors.New("the password is wrong")

// Options of New.
type Options struct {
	// CacheSize is how many verified pairs are remembered; default 10 000.
	CacheSize int
	// Parallel is how many hashes run at once; default half of the processors, at
	// least one. One argon2id hash takes 19 MiB.
	Parallel int
	// Waiting is how many may wait for their turn; default 64.
	Waiting int
	// OnCache is told of every look-up among the verified pairs; nil: nobody is.
	OnCache func(hit bool)
}

// Verifier checks passwords. It is safe for concurrent use.
type Verifier struct {
	cacheKey []byte
	verified *otter.Cache[[sha256.Size]byte, struct{}]
	onCache  func(hit bool)
	running  *semaphore.Weighted
	queue    *semaphore.Weighted // running and waiting
}

// New returns a Verifier that remembers nothing yet.
func New(o Options) *Verifier {
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
	v := &Verifier{
		cacheKey: make([]byte, sha256.Size),
		verified: otter.Must(&otter.Options[[sha256.Size]byte, struct{}]{MaximumSize: o.CacheSize}),
		onCache:  o.OnCache,
		running:  semaphore.NewWeighted(int64(o.Parallel)),
		queue:    semaphore.NewWeighted(int64(o.Parallel + o.Waiting)),
	}
	_, _ = rand.Read(v.cacheKey) // never fails
	return v
}

// Verify returns nil when hash was made of plain. Errors: ErrWrong,
// fault.RateLimited when too many are being checked, fault.Internal for a hash that
// cannot be checked, and the context's.
func (v *Verifier) Verify(ctx context.Context, hash, plain string) error {
	check, err := parse(hash)
	if err != nil {
		return fault.Wrap(fault.Internal, "", "stored password", err)
	}
	if len(plain) > MaxLength {
		return ErrWrong
	}
	pair := v.pair(hash, plain)
	_, hit := v.verified.GetIfPresent(pair)
	v.onCache(hit)
	if hit {
		return nil
	}
	return v.work(ctx, func() error {
		// The same pair may have been checked while this one waited.
		if _, hit := v.verified.GetIfPresent(pair); hit {
			return nil
		}
		if !check(plain) {
			return ErrWrong
		}
		v.verified.Set(pair, struct{}{})
		return nil
	})
}

// Fail does the work that verifying plain with hash would be and fails with ErrWrong,
// or as Verify does: who does not exist is not told apart from who does.
func (v *Verifier) Fail(ctx context.Context, hash, plain string) error {
	check, err := parse(hash)
	if err != nil {
		return fault.Wrap(fault.Internal, "", "stored password", err)
	}
	if len(plain) > MaxLength {
		return ErrWrong
	}
	v.onCache(false)
	return v.work(ctx, func() error {
		check(plain)
		return ErrWrong
	})
}

// work runs f when it is its turn.
func (v *Verifier) work(ctx context.Context, f func() error) error {
	if !v.queue.TryAcquire(1) {
		return fault.New(fault.RateLimited, "too_many_passwords", "too many passwords are being checked; try again later")
	}
	defer v.queue.Release(1)
	if err := v.running.Acquire(ctx, 1); err != nil {
		return err
	}
	defer v.running.Release(1)
	return f()
}

// pair is what is remembered of a hash and the password that it was made of. Its key
// lives and dies with the process.
func (v *Verifier) pair(hash, plain string) (sum [sha256.Size]byte) {
	mac := hmac.New(sha256.New, v.cacheKey)
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(len(hash))))
	mac.Write([]byte(hash))
	mac.Write([]byte(plain))
	mac.Sum(sum[:0])
	return sum
}
