package keys

import (
	"slices"
	"time"
)

// Scheduled is a key of a ring with its times, as they are on this node now.
type Scheduled struct {
	ID, Algorithm string
	// Private keys sign from a time on, until the next one of their algorithm does; public
	// ones were added to verify what others signed.
	Private, Signs bool
	From           time.Time
	// Until is when the key is no longer published; zero: not known yet.
	Until time.Time
}

// Schedule returns the keys that are published, newest first.
func (r *Ring) Schedule() []Scheduled {
	v, now := r.current(), r.o.Now()
	var all []Scheduled
	for i, k := range v.keys {
		until := publishedUntil(v.keys, i, r.o.KeepFor)
		if !until.IsZero() && !until.After(now) {
			continue
		}
		all = append(all, Scheduled{
			ID: k.jwk.KeyID, Algorithm: k.jwk.Algorithm, Private: isPrivate(k.jwk), Signs: isPrivate(k.jwk) && v.rank(k.jwk) == 0,
			From: k.notBefore, Until: until,
		})
	}
	slices.Reverse(all)
	return all
}

// Start says when a key for alg that is added now should begin to sign: at once when
// nothing else does, and otherwise when verifiers have had PublishAhead to hear of it.
func (r *Ring) Start(alg string) time.Time {
	now := r.o.Now()
	if _, taken := r.current().signers[alg]; !taken {
		return now
	}
	return now.Add(r.o.PublishAhead)
}

// publishedUntil returns when keys[i] is no longer published; zero: never. A keepFor of 0
// means that none ends by its successor.
func publishedUntil(keys []ringKey, i int, keepFor time.Duration) time.Time {
	k := keys[i]
	if next := successor(keys, i); next != nil && keepFor > 0 {
		if end := next.notBefore.Add(max(keepFor, k.keepFor) + overlap); k.expires.IsZero() || end.Before(k.expires) {
			return end
		}
	}
	return k.expires
}
