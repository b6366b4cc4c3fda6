package server

import (
	"fmt"
	"testing"
	"time"

	"github.com/gatewarden/gatewarden/access"
)

// Whatever comes and goes, the lists hold what the cache holds and nothing else.
func TestTheIndexOfTheTokenCacheForgetsWhatLeaves(t *testing.T) {
	c := newTokenCache(50)
	defer c.cache.StopAllGoroutines()
	now := time.Now()
	put := func(i int) tokenKey {
		key := c.prints.Of(fmt.Sprint(i))
		c.put(c.epoch.Load(), key, access.Token{Active: true, ExpiresAt: now.Add(time.Hour)},
			[indexes]string{fmt.Sprint("family", i%100), fmt.Sprint("client", i%3), fmt.Sprint("subject", i%7), fmt.Sprint(i)}, now)
		return key
	}
	for i := range 1000 {
		put(i)
		put(i) // a second copy replaces the first
		if i%10 == 0 {
			c.evict(bySubject, fmt.Sprint("subject", i%7))
		}
	}
	for i := range 3 {
		c.evict(byClient, fmt.Sprint("client", i))
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		c.cache.CleanUp()
		c.mu.Lock()
		left := len(c.index)
		c.mu.Unlock()
		if left == 0 && c.cache.EstimatedSize() == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d items and %d tokens are left", left, c.cache.EstimatedSize())
		}
	}
	first, second := put(1), put(2)
	c.evict(byFamily, "family1")
	if _, ok := c.get(first); ok {
		t.Error("an evicted token is still there")
	}
	if _, ok := c.get(second); !ok {
		t.Error("a token of another family is gone")
	}
}

func TestATokenThatWasLoadedBeforeAnEvictionIsNotKept(t *testing.T) {
	c := newTokenCache(50)
	defer c.cache.StopAllGoroutines()
	epoch := c.epoch.Load()
	c.evict(byClient, "anybody")
	c.put(epoch, tokenKey{}, access.Token{Active: true}, [indexes]string{}, time.Now())
	if _, ok := c.get(tokenKey{}); ok || len(c.index) != 0 {
		t.Error("the token was kept")
	}
}
