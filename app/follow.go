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
	apply   func(context.Context, store.Change) error
	// reload puts everything in force anew.
	reload func(context.Context) error
	// heard is told when everything of a topic is in force that was committed before at.
	heard func(topic store.Topic, at time.Time)
	now   func() time.Time

	mu       sync.Mutex
	revision int64
	// failed are changes that could not be applied yet.
	failed map[change]bool
}

// change is what a store.Change is about.
type change struct {
	topic store.Topic
	item  string
}

// poll applies all changes since the last call: those that were committed before
// the call are in force when it returns without an error. A change that cannot be
// applied is tried again by the next call. It holds up no other: a key or rule that
// this node cannot read must not keep revocations from it.
func (f *follower) poll(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	began := f.now()
	due := f.failed
	f.failed = nil
	var errs []error
	try := func(c change) {
		if err := f.apply(ctx, store.Change{Topic: c.topic, Item: c.item}); err != nil {
			errs = append(errs, err)
			if f.failed == nil {
				f.failed = map[change]bool{}
			}
			f.failed[c] = true
		}
	}
	read := false // to the end
	for {
		changes, err := f.changes.ChangesSince(ctx, f.revision, changeBatch)
		if fault.Is(err, fault.Conflict) { // this node was cut off for too long
			due, err = nil, f.anew(ctx)
		}
		if err != nil {
			errs = append(errs, err)
			break
		}
		done := map[store.Topic]bool{}
		for _, c := range changes {
			delete(due, change{c.Topic, c.Item})
			if !done[c.Topic] {
				try(change{c.Topic, c.Item})
				done[c.Topic] = whole(c.Topic)
			}
			f.revision = c.Revision
		}
		if read = len(changes) < changeBatch; read {
			break
		}
	}
	for c := range due {
		try(c)
	}
	if !read {
		return errors.Join(errs...)
	}
	late := map[store.Topic]bool{}
	for c := range f.failed {
		late[c.topic] = true
	}
	for _, t := range store.Topics() {
		if !late[t] {
			f.heard(t, began)
		}
	}
	return errors.Join(errs...)
}

// whole reports whether applying one change of a topic applies all that were
// committed before, because everything of the topic is read again.
func whole(t store.Topic) bool { return t == store.Rules || t == store.Policies || t == store.Keys }

// anew catches up when the changes in between are no longer known.
func (f *follower) anew(ctx context.Context) error {
	revision, err := f.changes.Revision(ctx)
	if err == nil {
		err = f.reload(ctx)
	}
	if err == nil {
		f.revision = revision
	}
	return err
}

// applyAll puts everything that the database holds in force.
func (a *App) applyAll(ctx context.Context) error {
	a.oauth2.EvictAll()
	a.logouts.ForgetAll()
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
	case store.Logouts:
		a.logouts.Forget(c.Item)
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
