package mutators

import (
	"context"
	"encoding/binary"
	"time"

	"github.com/maypok86/otter/v2"
	"golang.org/x/sync/singleflight"

	"github.com/gatewarden/gatewarden/fingerprint"
)

// TokenCache keeps minted tokens, bounded by size; it is safe for concurrent use.
// A key stands for everything that goes into a token, so a token can only be
// found by a request that would mint the same one.
type TokenCache struct {
	tokens  *otter.Cache[tokenKey, minted]
	prints  *fingerprint.Maker
	flights singleflight.Group
}

type tokenKey = fingerprint.Key

// minted is a token that may be handed out until fresh is over.
type minted struct {
	header     string // the value of Authorization
	freshUntil time.Time
	freshFor   time.Duration
}

// cacheBytes bounds the tokens kept, at about 1 KiB each.
const cacheBytes = 32 << 20

// NewTokenCache returns an empty cache. Close it to stop its goroutine.
func NewTokenCache() *TokenCache { return newTokenCache(cacheBytes) }

func newTokenCache(bytes uint64) *TokenCache {
	return &TokenCache{prints: fingerprint.NewMaker(), tokens: otter.Must(&otter.Options[tokenKey, minted]{
		MaximumWeight: bytes,
		Weigher: func(_ tokenKey, m minted) uint32 {
			const entry = 200 // what the cache itself needs for one
			return uint32(len(m.header) + entry)
		},
		ExpiryCalculator: otter.ExpiryWritingFunc(func(e otter.Entry[tokenKey, minted]) time.Duration { return e.Value.freshFor }),
	})}
}

// Close stops the cache's goroutine.
func (c *TokenCache) Close() { c.tokens.StopAllGoroutines() }

// get returns a token that is still fresh at now.
func (c *TokenCache) get(k tokenKey, now time.Time) (minted, bool) {
	m, ok := c.tokens.GetIfPresent(k)
	return m, ok && now.Before(m.freshUntil)
}

// load returns a token that is fresh at now: one that is kept, or one that get gets,
// once for all who wait for the same. Getting takes at most limit; it outlives the
// request that was first, because others wait for it.
func (c *TokenCache) load(ctx context.Context, k tokenKey, now time.Time, limit time.Duration, get func(context.Context) (minted, error)) (header string, hit bool, err error) {
	if m, ok := c.get(k, now); ok {
		return m.header, true, nil
	}
	answer := c.flights.DoChan(string(k[:]), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
		defer cancel()
		m, err := get(ctx)
		if err == nil && m.freshFor > 0 {
			c.put(k, m)
		}
		return m, err
	})
	select {
	case result := <-answer:
		if result.Err != nil {
			return "", false, result.Err
		}
		return result.Val.(minted).header, false, nil
	case <-ctx.Done():
		return "", false, ctx.Err()
	}
}

func (c *TokenCache) put(k tokenKey, m minted) { c.tokens.Set(k, m) }

// key stands for what goes into a token that is minted.
func (c *TokenCache) key(generation uint64, identity, subject string, claims []byte) tokenKey {
	var g [8]byte
	binary.BigEndian.PutUint64(g[:], generation)
	return c.prints.Of(identity, string(g[:]), subject, string(claims))
}

func appendPart[T string | []byte](dst []byte, part T) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(len(part)))
	return append(dst, part...)
}
