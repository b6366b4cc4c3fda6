package server

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/fingerprint"
)

// item is something that a revocation can name.
type item struct {
	by byte
	id string
}

// What a cached token is indexed by.
const (
	byFamily    = iota // request id
	byClient           // client id
	bySubject          // subject
	bySignature        // its own signature
	indexes
)

// known is an active access token in the cache. The token is never changed.
type known struct {
	key   tokenKey
	token access.Token
	links [indexes]link
}

// link is a token's place in the list of an item.
type link struct {
	item       item
	owner      *known
	prev, next *link
}

type tokenKey = fingerprint.Key

// tokenCache remembers active tokens by their fingerprints, bounded, and finds them by
// family, client, subject and signature, so that a revocation takes effect at once.
type tokenCache struct {
	cache  *otter.Cache[tokenKey, *known]
	prints *fingerprint.Maker
	// epoch counts evictions. A token that was loaded before one and comes to be
	// kept after it may have been revoked in between, so it is not kept.
	epoch atomic.Uint64
	mu    sync.Mutex
	index map[item]*link // first of the list
}

func newTokenCache(size int) *tokenCache {
	c := &tokenCache{prints: fingerprint.NewMaker(), index: map[item]*link{}}
	c.cache = otter.Must(&otter.Options[tokenKey, *known]{
		MaximumSize: size, ExpiryCalculator: otter.ExpiryWriting[tokenKey, *known](cacheFor),
		OnDeletion: func(e otter.DeletionEvent[tokenKey, *known]) { c.forget(e.Value) },
	})
	return c
}

func (c *tokenCache) get(key tokenKey) (*known, bool) { return c.cache.GetIfPresent(key) }

// put keeps a token that was loaded in the given epoch. The ids are in the order
// of the indexes.
func (c *tokenCache) put(epoch uint64, key tokenKey, t access.Token, ids [indexes]string, now time.Time) {
	k := &known{key: key, token: t}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.epoch.Load() != epoch {
		return
	}
	for i, id := range ids {
		l := &k.links[i]
		l.item, l.owner = item{by: byte(i), id: id}, k
		if l.next = c.index[l.item]; l.next != nil {
			l.next.prev = l
		}
		c.index[l.item] = l
	}
	c.cache.Set(key, k)
	if left := t.ExpiresAt.Sub(now); left < cacheFor {
		c.cache.SetExpiresAfter(key, max(left, time.Millisecond))
	}
}

// evict drops every token of the item.
func (c *tokenCache) evict(by byte, id string) {
	c.mu.Lock()
	c.epoch.Add(1)
	var keys []tokenKey
	for l := c.index[item{by: by, id: id}]; l != nil; l = l.next {
		keys = append(keys, l.owner.key)
	}
	c.mu.Unlock()
	for _, key := range keys {
		c.cache.Invalidate(key)
	}
}

// evictAll drops every token.
func (c *tokenCache) evictAll() {
	c.mu.Lock()
	c.epoch.Add(1)
	c.mu.Unlock()
	c.cache.InvalidateAll()
}

// forget takes a token that left the cache out of the lists. It is called once for
// every token, also for one that another copy of itself replaced.
func (c *tokenCache) forget(k *known) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range k.links {
		l := &k.links[i]
		if l.next != nil {
			l.next.prev = l.prev
		}
		switch {
		case l.prev != nil:
			l.prev.next = l.next
		case l.next != nil:
			c.index[l.item] = l.next
		default:
			delete(c.index, l.item)
		}
	}
}
