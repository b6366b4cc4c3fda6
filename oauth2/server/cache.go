package server

import (
	"crypto/sha256"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/gatewarden/gatewarden/access"
)

// The prefixes of what a cached token is indexed by.
const (
	family    = "family:"
	ofClient  = "client:"
	ofSubject = "subject:"
	oneAccess = "access:"
)

// known is an active access token in the cache. It is never changed.
type known struct {
	token access.Token
	items []string // what it is indexed by
}

type tokenKey = [sha256.Size]byte

// tokenCache remembers active tokens by their hash, bounded, and finds them by
// family, client, subject and signature, so that a revocation takes effect at once.
type tokenCache struct {
	cache *otter.Cache[tokenKey, *known]
	// epoch counts evictions. A token that was loaded before one and comes to be
	// kept after it may have been revoked in between, so it is not kept.
	epoch atomic.Uint64
	mu    sync.Mutex
	index map[string]map[tokenKey]*known
}

func newTokenCache(size int) *tokenCache {
	c := &tokenCache{index: map[string]map[tokenKey]*known{}}
	c.cache = otter.Must(&otter.Options[tokenKey, *known]{
		MaximumSize: size, ExpiryCalculator: otter.ExpiryWriting[tokenKey, *known](cacheFor),
		OnDeletion: func(e otter.DeletionEvent[tokenKey, *known]) { c.forget(e.Key, e.Value) },
	})
	return c
}

func (c *tokenCache) get(key tokenKey) (*known, bool) { return c.cache.GetIfPresent(key) }

// put keeps a token that was loaded in the given epoch.
func (c *tokenCache) put(epoch uint64, key tokenKey, k *known, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.epoch.Load() != epoch {
		return
	}
	for _, item := range k.items {
		keys := c.index[item]
		if keys == nil {
			keys = map[tokenKey]*known{}
			c.index[item] = keys
		}
		keys[key] = k
	}
	c.cache.Set(key, k)
	if left := k.token.ExpiresAt.Sub(now); left < cacheFor {
		c.cache.SetExpiresAfter(key, max(left, time.Millisecond))
	}
}

// evict drops everything that is indexed by the item.
func (c *tokenCache) evict(item string) {
	c.mu.Lock()
	c.epoch.Add(1)
	keys := make([]tokenKey, 0, len(c.index[item]))
	for key := range c.index[item] {
		keys = append(keys, key)
	}
	c.mu.Unlock()
	for _, key := range keys {
		c.cache.Invalidate(key)
	}
}

// forget removes a token that left the cache from the index, unless a newer copy
// has taken its place.
func (c *tokenCache) forget(key tokenKey, k *known) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, item := range k.items {
		if keys := c.index[item]; keys[key] == k {
			delete(keys, key)
			if len(keys) == 0 {
				delete(c.index, item)
			}
		}
	}
}
