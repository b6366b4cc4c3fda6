package keys

import (
	"cmp"
	"context"
	"fmt"
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
// after PublishAhead, and the old key stays published for KeepFor after that. A
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
// the result into use. When another node was faster its keys are the ones used.
func (r *Ring) change(ctx context.Context, wants func(alg string, newest *ringKey, now time.Time) (time.Time, bool), more ...string) error {
	if r.o.Store == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	all, err := r.read(ctx)
	if err != nil {
		return err
	}
	now := r.o.Now()
	newest := map[string]*ringKey{}
	for i, k := range all {
		if isPrivate(k.jwk) && (k.expires.IsZero() || k.expires.After(now)) {
			newest[k.jwk.Algorithm] = &all[i]
		}
	}
	algorithms := slices.Concat(r.o.Algorithms, more)
	for alg := range newest {
		algorithms = append(algorithms, alg)
	}
	slices.Sort(algorithms)
	added := false
	for _, alg := range slices.Compact(algorithms) {
		start, wanted := wants(alg, newest[alg], now)
		if !wanted || !canGenerate(alg) {
			continue
		}
		if err := r.add(ctx, alg, newest[alg], start); err != nil {
			return err
		}
		added = true
	}
	if added {
		if all, err = r.read(ctx); err != nil {
			return err
		}
	}
	r.view.Store(newRingView(all, now, r.o.KeepFor))
	return nil
}

// add stores a new key. A conflict means that another node made this very step.
func (r *Ring) add(ctx context.Context, alg string, predecessor *ringKey, start time.Time) error {
	now := r.o.Now()
	before := ""
	if predecessor != nil {
		before = predecessor.jwk.KeyID
	}
	k, err := generate(alg, keyID(r.o.Set, alg, before, now.Unix()/60))
	if err != nil {
		return fmt.Errorf("key set %s: %w", r.o.Set, err)
	}
	raw, err := k.MarshalJSON()
	if err != nil {
		return fmt.Errorf("key set %s: %w", r.o.Set, err)
	}
	err = r.o.Store.AddKeys(ctx, []Stored{{Set: r.o.Set, ID: k.KeyID, JWK: raw, CreatedAt: now, NotBefore: start}})
	if err != nil && !fault.Is(err, fault.Conflict) {
		return fmt.Errorf("key set %s: %w", r.o.Set, err)
	}
	return nil
}

// read returns the asymmetric keys of the set, oldest first. Symmetric keys are
// other programs' and have no public form, so the ring ignores them.
func (r *Ring) read(ctx context.Context) ([]ringKey, error) {
	stored, err := r.o.Store.Keys(ctx, r.o.Set)
	if err != nil {
		return nil, fmt.Errorf("key set %s: %w", r.o.Set, err)
	}
	var all []ringKey
	for _, s := range stored {
		k, err := ParseKey(s.JWK)
		if _, symmetric := k.Key.([]byte); symmetric {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("key set %s, key %s: %w", r.o.Set, s.ID, err)
		}
		k.KeyID = s.ID
		all = append(all, ringKey{jwk: k, created: s.CreatedAt, notBefore: s.NotBefore, expires: s.Expires})
	}
	slices.SortFunc(all, func(a, b ringKey) int {
		return cmp.Or(a.notBefore.Compare(b.notBefore), a.created.Compare(b.created), cmp.Compare(a.jwk.KeyID, b.jwk.KeyID))
	})
	return all, nil
}
