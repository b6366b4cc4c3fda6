package authn

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"sync"
	"time"

	"github.com/maypok86/otter/v2"
	"golang.org/x/sync/singleflight"

	"github.com/gatewarden/gatewarden/fingerprint"
)

// cacheKey is the fingerprint of who asks and the token. The token itself is not kept.
type cacheKey = fingerprint.Key

// identity names everything but the token that shapes an answer: equal identities
// may share answers, others never do. It is a SHA-256.
type identity string

func newIdentity(parts ...any) identity {
	raw, err := json.Marshal(parts)
	if err != nil {
		panic(err) // strings, numbers and lists of them always marshal
	}
	sum := sha256.Sum256(raw)
	return identity(sum[:])
}

// entry is a cached answer.
type entry struct {
	facts      facts
	generation uint64    // of the keys that verified it
	until      time.Time // when it is no longer used; zero: until it expires
	weight     uint32    // approximate size in bytes
}

// factsCache keeps facts of good tokens within a bound of bytes. Bad tokens are not
// cached: whoever sends random ones would only push good ones out.
//
// It has no clock of its own and no goroutine: entries are checked when they are
// read, and old ones are evicted for new ones.
type factsCache struct {
	entries *otter.Cache[cacheKey, *entry]
	prints  *fingerprint.Maker
	flights singleflight.Group
	mu      sync.Mutex // for grow
}

func newFactsCache(bytes uint64) *factsCache {
	return &factsCache{prints: fingerprint.NewMaker(), entries: otter.Must(&otter.Options[cacheKey, *entry]{
		MaximumWeight: bytes,
		Weigher:       func(_ cacheKey, e *entry) uint32 { return e.weight },
	})}
}

// key is that of what id learns about a token, or about whatever else is told in parts.
func (c *factsCache) key(id identity, parts ...string) cacheKey {
	return c.prints.Of(string(id), parts...)
}

// grow makes the bound at least bytes.
func (c *factsCache) grow(bytes uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if bytes > c.entries.GetMaximum() {
		c.entries.SetMaximum(bytes)
	}
}

// get returns facts that are still good at now.
func (c *factsCache) get(k cacheKey, generation uint64, now time.Time) *facts {
	e, ok := c.entries.GetIfPresent(k)
	if !ok {
		return nil
	}
	if e.generation != generation || !e.until.IsZero() && !now.Before(e.until) {
		c.entries.Invalidate(k)
		return nil
	}
	return &e.facts
}

// put keeps facts; size is that of what they were read from.
func (c *factsCache) put(k cacheKey, f facts, generation uint64, until time.Time, size int) {
	// A decoded JSON document takes several times the space of its text.
	c.entries.Set(k, &entry{facts: f, generation: generation, until: until, weight: uint32(512 + 6*min(size, 1<<20))})
}

// load makes facts once for all callers that wait for the same, keeps them until the
// time that ask returns, and not at all when that is zero. Asking takes at most limit;
// it outlives the request that was first, because others wait for it.
func (c *factsCache) load(ctx context.Context, k cacheKey, limit time.Duration, ask func(context.Context) (f *facts, until time.Time, size int, err error)) (*facts, error) {
	if err := ctx.Err(); err != nil {
		return nil, err // or chance would decide between this and a quick answer
	}
	answer := c.flights.DoChan(string(k[:]), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
		defer cancel()
		f, until, size, err := ask(ctx)
		if err != nil {
			return nil, err
		}
		if !until.IsZero() {
			c.put(k, *f, 0, until, size)
		}
		return f, nil
	})
	select {
	case result := <-answer:
		if result.Err != nil {
			return nil, result.Err
		}
		return result.Val.(*facts), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// earlier returns the earlier of two times; an expiry that is zero is unknown.
func earlier(t, expiry time.Time) time.Time {
	if !expiry.IsZero() && expiry.Before(t) {
		return expiry
	}
	return t
}
