package sql

import (
	"context"
	"database/sql"
	"fmt"
	"slices"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/keys"
	"github.com/gatewarden/gatewarden/store"
)

const insertKey = "INSERT INTO gw_keys (set_id, id, jwk, created_at, not_before, expires_at) VALUES (?, ?, ?, ?, ?, ?)"

// AddKeys adds keys to a set; fault.Conflict when (set, id) is taken, and then none
// is added.
func (s *Store) AddKeys(ctx context.Context, add []keys.Stored) error {
	sealed, err := s.sealKeys(add)
	if err != nil {
		return err
	}
	return conflict(s.write(ctx, func(t *tx) error { return t.putKeys(insertKey, add, sealed) }), "key")
}

// ReplaceSet replaces the whole set in one transaction.
func (s *Store) ReplaceSet(ctx context.Context, set string, all []keys.Stored) error {
	if err := checkID("key set", set); err != nil {
		return err
	}
	for _, k := range all {
		if k.Set != set {
			return fault.New(fault.Invalid, "invalid_key", fmt.Sprintf("a key of the set %q cannot be put into %q", k.Set, set))
		}
	}
	sealed, err := s.sealKeys(all)
	if err != nil {
		return err
	}
	return conflict(s.write(ctx, func(t *tx) error {
		if err := t.enterSet(set); err != nil {
			return err
		}
		if _, err := t.exec("DELETE FROM gw_keys WHERE set_id = ?", set); err != nil {
			return err
		}
		return t.putKeys(insertKey, all, sealed)
	}), "key")
}

// PutKey inserts or replaces one key.
func (s *Store) PutKey(ctx context.Context, k keys.Stored) error {
	one := []keys.Stored{k}
	sealed, err := s.sealKeys(one)
	if err != nil {
		return err
	}
	put := s.dialect.upsert("gw_keys", 2, "set_id", "id", "jwk", "created_at", "not_before", "expires_at")
	return s.write(ctx, func(t *tx) error { return t.putKeys(put, one, sealed) })
}

// sealKeys checks keys and returns their JWKs as they are stored.
func (s *Store) sealKeys(all []keys.Stored) ([][]byte, error) {
	sealed := make([][]byte, len(all))
	for i, k := range all {
		if err := checkID("key set", k.Set); err != nil {
			return nil, err
		}
		if err := checkID("key", k.ID); err != nil {
			return nil, err
		}
		if len(k.JWK) > maxDocument {
			return nil, fault.New(fault.TooLarge, "key_too_large", fmt.Sprintf("the key is larger than %d bytes", maxDocument))
		}
		sealed[i] = s.ring.seal(sealKeys, keyRow(k.Set, k.ID), k.JWK)
	}
	return sealed, nil
}

// enterSet makes writers of one set come one by one and logs the change, once.
func (t *tx) enterSet(set string) error {
	change := store.Change{Topic: store.Keys, Item: set}
	if slices.Contains(t.changes, change) {
		return nil
	}
	t.changed(change.Topic, change.Item)
	_, err := t.exec(t.run.dialect.upsert("gw_key_sets", 1, "id"), set)
	return err
}

func (t *tx) putKeys(put string, all []keys.Stored, sealed [][]byte) error {
	for i, k := range all {
		if err := t.enterSet(k.Set); err != nil {
			return err
		}
		if _, err := t.exec(put, k.Set, k.ID, sealed[i], millis(k.CreatedAt), millis(k.NotBefore), millis(k.Expires)); err != nil {
			return err
		}
	}
	return nil
}

// Keys returns a set, newest first by (NotBefore, CreatedAt, ID); empty when unknown.
func (s *Store) Keys(ctx context.Context, set string) (all []keys.Stored, err error) {
	if !isKey(set) {
		return nil, nil
	}
	err = s.each(ctx, "SELECT id, jwk, created_at, not_before, expires_at FROM gw_keys WHERE set_id = ? ORDER BY not_before DESC, created_at DESC, id DESC",
		[]any{set}, func(rows *sql.Rows) error {
			k := keys.Stored{Set: set}
			var sealed []byte
			var created, notBefore, expires int64
			if err := rows.Scan(&k.ID, &sealed, &created, &notBefore, &expires); err != nil {
				return err
			}
			k.CreatedAt, k.NotBefore, k.Expires = fromMillis(created), fromMillis(notBefore), fromMillis(expires)
			k.JWK, err = s.ring.open(sealKeys, keyRow(set, k.ID), sealed)
			all = append(all, k)
			return err
		})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// DeleteKey returns fault.NotFound.
func (s *Store) DeleteKey(ctx context.Context, set, id string) error {
	return s.deleteLogged(ctx, "key", store.Keys, set, "DELETE FROM gw_keys WHERE set_id = ? AND id = ?", set, id)
}

// DeleteSet returns fault.NotFound.
func (s *Store) DeleteSet(ctx context.Context, set string) error {
	if !isKey(set) {
		return notFound(sql.ErrNoRows, "key set")
	}
	return s.write(ctx, func(t *tx) error {
		if err := t.enterSet(set); err != nil {
			return err
		}
		rows, err := t.exec("DELETE FROM gw_keys WHERE set_id = ?", set)
		if err := found(rows, err, "key set"); err != nil {
			return err
		}
		_, err = t.exec("DELETE FROM gw_key_sets WHERE id = ?", set)
		return err
	})
}

// keyRow names a key in one string; ids hold no NUL.
func keyRow(set, id string) string { return set + "\x00" + id }
