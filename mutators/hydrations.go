package mutators

import (
	"context"
	"crypto/sha256"
	"net/http"
	"time"

	"github.com/maypok86/otter/v2"
	"golang.org/x/sync/singleflight"
)

// hydration is what a hydrator's service knows about a subject. It is never changed
// and is shared by requests.
type hydration struct {
	extra  map[string]any
	header http.Header
	size   int // of the answer, in bytes
}

// hydrations keeps answers of hydrators within a bound of bytes. It has no clock and
// no goroutine: entries are checked when they are read, and old ones make way for new
// ones.
type hydrations struct {
	entries *otter.Cache[[sha256.Size]byte, keptHydration]
	flights singleflight.Group
}

type keptHydration struct {
	*hydration
	until time.Time
}

// hydrationBytes bounds the answers that are kept by all hydrators.
const hydrationBytes = 32 << 20

func newHydrations(bytes uint64) *hydrations {
	return &hydrations{entries: otter.Must(&otter.Options[[sha256.Size]byte, keptHydration]{
		MaximumWeight: bytes,
		// A decoded JSON document takes several times the space of its text.
		Weigher: func(_ [sha256.Size]byte, k keptHydration) uint32 { return uint32(512 + 6*k.size) },
	})}
}

// load returns an answer that is still good at now, or asks for one, once for all who
// wait for the same. Asking takes at most limit; it outlives the request that was
// first, because others wait for it.
func (c *hydrations) load(ctx context.Context, key [sha256.Size]byte, now time.Time, ttl, limit time.Duration, ask func(context.Context) (*hydration, error)) (known *hydration, hit bool, err error) {
	if k, ok := c.entries.GetIfPresent(key); ok {
		if now.Before(k.until) {
			return k.hydration, true, nil
		}
		c.entries.Invalidate(key)
	}
	answer := c.flights.DoChan(string(key[:]), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
		defer cancel()
		known, err := ask(ctx)
		if err == nil {
			c.entries.Set(key, keptHydration{known, now.Add(ttl)})
		}
		return known, err
	})
	select {
	case result := <-answer:
		if result.Err != nil {
			return nil, false, result.Err
		}
		return result.Val.(*hydration), false, nil
	case <-ctx.Done():
		return nil, false, ctx.Err()
	}
}
