// Package keys holds JWK sets: our own signing keys with rotation and overlap,
// and the remote key sets that tokens are verified with.
package keys

import (
	"context"
	"time"
)

// Stored is one JWK of a named set.
type Stored struct {
	Set, ID string
	// JWK is the private (or symmetric, or imported public) key as JSON. The store
	// encrypts it at rest.
	JWK       []byte
	CreatedAt time.Time
	// NotBefore is when the key may start to sign; a successor is published earlier.
	NotBefore time.Time
	// Expires is when the key is no longer published; zero: never.
	Expires time.Time
	// KeepFor is a bound on the life of everything that the key has signed: it stays
	// published at least that long after its successor took over. KeepKey raises it;
	// keys of an operator have 0 until they sign.
	KeepFor time.Duration
}

// Store keeps JWK sets.
type Store interface {
	// AddKeys adds keys to a set; fault.Conflict when (set, id) is taken.
	AddKeys(ctx context.Context, keys []Stored) error
	// Succeed adds keys to a set that still holds exactly the keys with the known ids;
	// fault.Conflict when it does not, or an id is taken. Of parallel calls that know the
	// same keys one wins.
	Succeed(ctx context.Context, set string, known []string, keys []Stored) error
	// KeepKey raises KeepFor of a key to at least d, never lowers it; fault.NotFound when
	// the key is gone.
	KeepKey(ctx context.Context, set, id string, d time.Duration) error
	// ReplaceSet replaces the whole set in one transaction.
	ReplaceSet(ctx context.Context, set string, keys []Stored) error
	// PutKey inserts or replaces one key. KeepFor is what it was, or more.
	PutKey(ctx context.Context, k Stored) error
	// Keys returns a set, newest first by (NotBefore, CreatedAt, ID); empty when unknown.
	Keys(ctx context.Context, set string) ([]Stored, error)
	DeleteKey(ctx context.Context, set, id string) error // fault.NotFound
	DeleteSet(ctx context.Context, set string) error     // fault.NotFound
}
