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
}

// Store keeps JWK sets.
type Store interface {
	// AddKeys adds keys to a set; fault.Conflict when (set, id) is taken.
	AddKeys(ctx context.Context, keys []Stored) error
	// ReplaceSet replaces the whole set in one transaction.
	ReplaceSet(ctx context.Context, set string, keys []Stored) error
	// PutKey inserts or replaces one key.
	PutKey(ctx context.Context, k Stored) error
	// Keys returns a set, newest first by (NotBefore, CreatedAt, ID); empty when unknown.
	Keys(ctx context.Context, set string) ([]Stored, error)
	DeleteKey(ctx context.Context, set, id string) error // fault.NotFound
	DeleteSet(ctx context.Context, set string) error     // fault.NotFound
}
