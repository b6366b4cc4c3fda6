package app

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/store"
)

const (
	// pollEvery is how often the revision log is asked for what other nodes wrote.
	// It is one indexed read; revocations are to be in force everywhere within 50 ms.
	pollEvery = 20 * time.Millisecond
	// sweepEvery is how often expired rows are deleted, keysEvery how often signing
	// keys are looked at for rotation.
	sweepEvery = time.Minute
	keysEvery  = time.Minute
	sweepBatch = 500
	// changeBatch is how many changes are read at once.
	changeBatch = 1000
)

// follower applies what other nodes wrote.
type follower struct {
	changes store.Changes
	// apply puts one change in force, reload everything that is stored.
	apply  func(context.Context, store.Change) error
	reload func(context.Context) error
	// deaf is called when changes could not be heard of: what is cached of tokens and
	// clients may be out of date.
	deaf func()

	mu       sync.Mutex
	revision int64
}

// poll applies all changes since the last call: those that were committed before
// the call are in force when it returns. On an error the change is applied again
// by the next call.
func (f *follower) poll(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		changes, err := f.changes.ChangesSince(ctx, f.revision, changeBatch)
		if fault.Is(err, fault.Conflict) {
			return f.restart(ctx)
		}
		if err != nil {
			f.deaf()
			return err
		}
		applied := map[store.Topic]bool{}
		for _, c := range changes {
			if !applied[c.Topic] {
				if err := f.apply(ctx, c); err != nil {
					return err
				}
				applied[c.Topic] = whole(c.Topic)
			}
			f.revision = c.Revision
		}
		if len(changes) < changeBatch {
			return nil
		}
	}
}

// whole reports whether the first change of a topic that is applied puts all of them
// in force, because everything of the topic is read again.
func whole(t store.Topic) bool { return t == store.Rules || t == store.Policies || t == store.Keys }

// restart takes everything as it is now: the log does not reach back to the last
// change that was applied.
func (f *follower) restart(ctx context.Context) error {
	f.deaf()
	revision, err := f.changes.Revision(ctx)
	if err != nil {
		return err
	}
	if err := f.reload(ctx); err != nil {
		return err
	}
	f.revision = revision
	return nil
}

// reloadStored puts everything that is stored in force on this node.
func (a *App) reloadStored(ctx context.Context) error {
	return errors.Join(a.loader.ReloadStored(ctx), a.policies.Reload(ctx), a.rings.reload(ctx))
}

// apply puts one change in force on this node. What this node wrote itself is in
// force already; doing it again changes nothing.
func (a *App) apply(ctx context.Context, c store.Change) error {
	switch c.Topic {
	case store.Rules:
		return a.loader.ReloadStored(ctx)
	case store.Policies:
		return a.policies.Reload(ctx)
	case store.Keys:
		return a.rings.reload(ctx)
	case store.Clients:
		a.oauth2.EvictClient(c.Item)
	case store.Tokens:
		a.oauth2.Evict(c.Item)
	}
	return nil
}

// every calls do each interval until ctx ends, and logs its errors once per streak.
func (a *App) every(ctx context.Context, interval time.Duration, what string, do func(context.Context) error) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := do(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && !failing:
			a.log.Error(what+" failed", "error", err)
		case err == nil && failing:
			a.log.Info(what + " works again")
		}
		failing = err != nil
	}
}
