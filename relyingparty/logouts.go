package relyingparty

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
)

// MaxLifetime is the longest life of a session that a provider can end: so long logouts
// are remembered, whatever a later configuration says.
const MaxLifetime = 30 * 24 * time.Hour

// Logout is what a provider told of sessions that it has ended.
type Logout struct {
	// Token names the token that told it; it is good once, and known until Expires.
	Token   string
	Expires time.Time
	// Ended has, by the name of sessions, the time up to which they began that have
	// ended. Names are hashes.
	Ended map[string]time.Time
	// Until is when no such session can be left.
	Until time.Time
}

// LogoutStore remembers logouts for all nodes.
type LogoutStore interface {
	// RecordLogout returns fault.Conflict when the token was used before, and records
	// nothing then.
	RecordLogout(ctx context.Context, l Logout) error
	// LoggedOut returns for each name the latest time that was recorded; none is zero.
	LoggedOut(ctx context.Context, names ...string) ([]time.Time, error)
}

const (
	// maxLogoutFacts bounds what is remembered of the store's answers, of which a
	// session needs two, and factsFor for how long: a change is heard of long before.
	maxLogoutFacts = 200_000
	factsFor       = 5 * time.Minute
)

// Logouts knows which sessions their providers have ended. It asks the store about a
// session that it has not seen, and remembers the answer until it hears of a change.
// Use NewLogouts.
type Logouts struct {
	store LogoutStore
	fresh func() bool
	cache *otter.Cache[string, time.Time] // by name
	// epoch counts changes: an answer that was asked for before one is not kept after it.
	epoch atomic.Uint64
	mu    sync.Mutex
}

// NewLogouts returns Logouts over a store. Whoever hears of a change of it that another
// node made calls Forget; while fresh is false, because changes are not heard of in
// time, nothing that is remembered is believed. Nil: always fresh.
func NewLogouts(store LogoutStore, fresh func() bool) *Logouts {
	if fresh == nil {
		fresh = func() bool { return true }
	}
	return &Logouts{store: store, fresh: fresh, cache: otter.Must(&otter.Options[string, time.Time]{
		MaximumSize: maxLogoutFacts, ExpiryCalculator: otter.ExpiryWriting[string, time.Time](factsFor),
	})}
}

// Close ends the goroutines of the cache.
func (l *Logouts) Close() { l.cache.StopAllGoroutines() }

// Forget drops what is remembered of a name.
func (l *Logouts) Forget(name string) {
	l.mu.Lock()
	l.epoch.Add(1)
	l.mu.Unlock()
	l.cache.Invalidate(name)
}

// ForgetAll drops everything that is remembered.
func (l *Logouts) ForgetAll() {
	l.mu.Lock()
	l.epoch.Add(1)
	l.mu.Unlock()
	l.cache.InvalidateAll()
}

// record puts a logout in force, on this node before it returns.
func (l *Logouts) record(ctx context.Context, out Logout) error {
	err := l.store.RecordLogout(ctx, out)
	for name := range out.Ended {
		l.Forget(name) // also after an error: it may have been recorded
	}
	return err
}

// ended returns the latest of the times up to which sessions with one of the names have
// ended; zero: none.
func (l *Logouts) ended(ctx context.Context, names [2]string) (time.Time, error) {
	first, knowsFirst := l.cache.GetIfPresent(names[0])
	second, knowsSecond := l.cache.GetIfPresent(names[1])
	if knowsFirst && knowsSecond && l.fresh() {
		return later(first, second), nil
	}
	epoch := l.epoch.Load()
	found, err := l.store.LoggedOut(ctx, names[:]...)
	if err == nil && len(found) != len(names) {
		err = errors.New("the store did not answer for every name")
	}
	if err != nil {
		return time.Time{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.epoch.Load() == epoch {
		l.cache.Set(names[0], found[0])
		l.cache.Set(names[1], found[1])
	}
	return later(found[0], found[1]), nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
