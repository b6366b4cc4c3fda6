package keys

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/gatewarden/gatewarden/fault"
)

// generated are the algorithms that keys are made for.
var generated = []string{string(jose.ES256), string(jose.RS256), string(jose.PS256), string(jose.EdDSA)}

func canGenerate(alg string) bool {
	return slices.Contains(generated, alg)
}

// Reload reads the set again, after a change of it and from time to time: it also
// makes missing keys, and successors that are due by Period. On an error the ring
// goes on with the keys that it has.
func (r *Ring) Reload(ctx context.Context) error {
	return r.change(ctx, r.due)
}

// Rotate gives every signing key a successor. It is published at once, signs
// after PublishAhead, and the old key stays published until what it signed ends. A
// key whose successor is waiting already gets no second one. To withdraw a key at
// once delete it from the store: its successor then signs immediately.
func (r *Ring) Rotate(ctx context.Context) error {
	return r.change(ctx, func(alg string, newest *ringKey, now time.Time) (time.Time, bool) {
		if newest != nil && !newest.notBefore.After(now) {
			return now.Add(r.o.PublishAhead), true
		}
		return r.due(alg, newest, now)
	})
}

// need makes a key for an algorithm that has none.
func (r *Ring) need(ctx context.Context, alg string) error {
	return r.change(ctx, func(a string, newest *ringKey, now time.Time) (time.Time, bool) {
		if a == alg && newest == nil {
			return now, true
		}
		return r.due(a, newest, now)
	}, alg)
}

// due says whether an algorithm wants a new key, and when that starts to sign.
func (r *Ring) due(alg string, newest *ringKey, now time.Time) (time.Time, bool) {
	if newest == nil {
		return now, slices.Contains(r.o.Algorithms, alg)
	}
	if r.o.Period <= 0 {
		return time.Time{}, false
	}
	end := newest.notBefore.Add(r.o.Period)
	if earliest := now.Add(r.o.PublishAhead); !earliest.Before(end) {
		return earliest, true
	}
	return time.Time{}, false
}

// change reads the set, adds a key for every algorithm that wants one, and takes
// the result into use. When another node was faster with an algorithm, its key is the
// one used: whatever the clocks of the nodes say, of those that make a step at once one
// makes it.
func (r *Ring) change(ctx context.Context, wants func(alg string, newest *ringKey, now time.Time) (time.Time, bool), more ...string) error {
	if r.o.Store == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var before map[string]*ringKey // what this step began with
	for range 10 {
		known, all, err := r.read(ctx)
		if err != nil {
			return err
		}
		now := r.o.Now()
		newest := newestKeys(all, now)
		if before == nil {
			before = newest
		}
		algorithms := slices.Concat(r.o.Algorithms, more, slices.Collect(maps.Keys(newest)))
		slices.Sort(algorithms)
		var add []Stored
		for _, alg := range slices.Compact(algorithms) {
			if was, is := before[alg], newest[alg]; is != nil && (was == nil || was.jwk.KeyID != is.jwk.KeyID) {
				continue // another node made this very step
			}
			start, wanted := wants(alg, newest[alg], now)
			if !wanted || !canGenerate(alg) {
				continue
			}
			k, err := r.make(alg, now, start)
			if err != nil {
				return err
			}
			add = append(add, k)
		}
		if len(add) == 0 {
			r.view.Store(newRingView(all, now, r.o.KeepFor))
			return r.keep(ctx, all, now)
		}
		if err := r.o.Store.Succeed(ctx, r.o.Set, known, add); err != nil && !fault.Is(err, fault.Conflict) {
			return fmt.Errorf("key set %s: %w", r.o.Set, err)
		}
	}
	return fault.New(fault.Unavailable, "key_set_busy", fmt.Sprintf("key set %s changes all the time", r.o.Set))
}

// newestKeys returns the newest private key of each algorithm that is published.
func newestKeys(all []ringKey, now time.Time) map[string]*ringKey {
	newest := map[string]*ringKey{}
	for i, k := range all {
		if isPrivate(k.jwk) && (k.expires.IsZero() || k.expires.After(now)) {
			newest[k.jwk.Algorithm] = &all[i]
		}
	}
	return newest
}

// make returns a new key that signs from start.
func (r *Ring) make(alg string, now, start time.Time) (Stored, error) {
	k, err := generate(alg, rand.Text())
	if err != nil {
		return Stored{}, fmt.Errorf("key set %s: %w", r.o.Set, err)
	}
	raw, err := k.MarshalJSON()
	if err != nil {
		return Stored{}, fmt.Errorf("key set %s: %w", r.o.Set, err)
	}
	return Stored{Set: r.o.Set, ID: k.KeyID, JWK: raw, CreatedAt: now, NotBefore: start, KeepFor: r.o.KeepFor}, nil
}

// keep notes KeepFor of the keys that sign or will sign: when it is lowered one day,
// what was signed before still ends before its key.
func (r *Ring) keep(ctx context.Context, all []ringKey, now time.Time) error {
	for _, k := range newestKeys(all, now) {
		if k.keepFor >= r.o.KeepFor {
			continue
		}
		if err := r.o.Store.KeepKey(ctx, r.o.Set, k.jwk.KeyID, r.o.KeepFor); err != nil && !fault.Is(err, fault.NotFound) {
			return fmt.Errorf("key set %s: %w", r.o.Set, err)
		}
	}
	return nil
}

// read returns the ids of the set and its asymmetric keys, oldest first. Symmetric keys
// are other programs' and have no public form, so the ring ignores them.
func (r *Ring) read(ctx context.Context) (ids []string, all []ringKey, err error) {
	stored, err := r.o.Store.Keys(ctx, r.o.Set)
	if err != nil {
		return nil, nil, fmt.Errorf("key set %s: %w", r.o.Set, err)
	}
	for _, s := range stored {
		ids = append(ids, s.ID)
		k, err := ParseKey(s.JWK)
		if _, symmetric := k.Key.([]byte); symmetric {
			continue
		}
		if err != nil {
			return nil, nil, fmt.Errorf("key set %s, key %s: %w", r.o.Set, s.ID, err)
		}
		k.KeyID = s.ID
		all = append(all, ringKey{jwk: k, created: s.CreatedAt, notBefore: s.NotBefore, expires: s.Expires, keepFor: s.KeepFor})
	}
	slices.SortFunc(all, func(a, b ringKey) int {
		return cmp.Or(a.notBefore.Compare(b.notBefore), a.created.Compare(b.created), cmp.Compare(a.jwk.KeyID, b.jwk.KeyID))
	})
	return ids, all, nil
}
