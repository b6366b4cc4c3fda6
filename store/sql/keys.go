package sql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/keys"
	"github.com/gatewarden/gatewarden/store"
)

const insertKey = "INSERT INTO gw_keys (set_id, id, jwk, created_at, not_before, expires_at) VALUES (?, ?, ?, ?, ?, ?)"

// AddKeys adds keys to a set; fault.Conflict when (set, id) is taken, and then none
// is added.
func (s *Store) AddKeys(ctx context.Context, add []keys.Stored) error {
	sealed, err := s.sealKeys("", add)
	if err != nil {
		return err
	}
	return conflict(s.write(ctx, func(t *tx) error { return t.putKeys(insertKey, add, sealed) }), "key")
}

// Succeed adds keys to a set that still holds exactly the keys with the known ids;
// fault.Conflict when it does not, or an id is taken.
func (s *Store) Succeed(ctx context.Context, set string, known []string, add []keys.Stored) error {
	if err := checkID("key set", set); err != nil {
		return err
	}
	sealed, err := s.sealKeys(set, add)
	if err != nil {
		return err
	}
	known = slices.Sorted(slices.Values(known))
	return conflict(s.write(ctx, func(t *tx) error {
		if err := t.enterSet(set); err != nil {
			return err
		}
		var ids []string
		err := t.each("SELECT id FROM gw_keys WHERE set_id = ?", []any{set}, func(rows *sql.Rows) error {
			ids = append(ids, "")
			return rows.Scan(&ids[len(ids)-1])
		})
		if err != nil {
			return err
		}
		if slices.Sort(ids); !slices.Equal(ids, known) {
			return fault.New(fault.Conflict, "key_set_changed", "the key set has changed since it was read")
		}
		return t.putKeys(insertKey, add, sealed)
	}), "key")
}

// KeepKey raises KeepFor of a key to at least d, never lowers it; fault.NotFound.
func (s *Store) KeepKey(ctx context.Context, set, id string, d time.Duration) error {
	if !isKey(set) || !isKey(id) {
		return notFound(sql.ErrNoRows, "key")
	}
	return s.write(ctx, func(t *tx) error {
		if err := t.enterSet(set); err != nil {
			return err
		}
		var one int
		if err := t.one("SELECT 1 FROM gw_keys WHERE set_id = ? AND id = ?", []any{set, id}, &one); err != nil {
			return notFound(err, "key")
		}
		return t.keep(set, id, d)
	})
}

// keep raises how long a key lives on. The set was entered.
func (t *tx) keep(set, id string, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	var longest int64
	err := t.one("SELECT longest FROM gw_key_lives WHERE set_id = ? AND key_id = ?", []any{set, id}, &longest)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		_, err = t.exec("INSERT INTO gw_key_lives (set_id, key_id, longest) VALUES (?, ?, ?)", set, id, d.Milliseconds())
	case err == nil && longest < d.Milliseconds():
		_, err = t.exec("UPDATE gw_key_lives SET longest = ? WHERE set_id = ? AND key_id = ?", d.Milliseconds(), set, id)
	}
	return err
}

// ReplaceSet replaces the whole set in one transaction.
func (s *Store) ReplaceSet(ctx context.Context, set string, all []keys.Stored) error {
	if err := checkID("key set", set); err != nil {
		return err
	}
	sealed, err := s.sealKeys(set, all)
	if err != nil {
		return err
	}
	return conflict(s.write(ctx, func(t *tx) error {
		if err := t.enterSet(set); err != nil {
			return err
		}
		for _, table := range []string{"gw_keys", "gw_key_lives"} {
			if _, err := t.exec("DELETE FROM "+table+" WHERE set_id = ?", set); err != nil {
				return err
			}
		}
		return t.putKeys(insertKey, all, sealed)
	}), "key")
}

// PutKey inserts or replaces one key. KeepFor is what it was, or more.
func (s *Store) PutKey(ctx context.Context, k keys.Stored) error {
	one := []keys.Stored{k}
	sealed, err := s.sealKeys(k.Set, one)
	if err != nil {
		return err
	}
	put := s.dialect.upsert("gw_keys", 2, "set_id", "id", "jwk", "created_at", "not_before", "expires_at")
	return s.write(ctx, func(t *tx) error { return t.putKeys(put, one, sealed) })
}

// sealKeys checks keys and returns their JWKs as they are stored. They must be of the
// set; empty: of any.
func (s *Store) sealKeys(set string, all []keys.Stored) ([][]byte, error) {
	sealed := make([][]byte, len(all))
	for i, k := range all {
		if set != "" && k.Set != set {
			return nil, fault.New(fault.Invalid, "invalid_key", fmt.Sprintf("a key of the set %q cannot be put into %q", k.Set, set))
		}
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
		if err := t.keep(k.Set, k.ID, k.KeepFor); err != nil {
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
	err = s.each(ctx, "SELECT k.id, k.jwk, k.created_at, k.not_before, k.expires_at, COALESCE(l.longest, 0) FROM gw_keys k"+
		" LEFT JOIN gw_key_lives l ON l.set_id = k.set_id AND l.key_id = k.id"+
		" WHERE k.set_id = ? ORDER BY k.not_before DESC, k.created_at DESC, k.id DESC",
		[]any{set}, func(rows *sql.Rows) error {
			k := keys.Stored{Set: set}
			var sealed []byte
			var created, notBefore, expires, longest int64
			if err := rows.Scan(&k.ID, &sealed, &created, &notBefore, &expires, &longest); err != nil {
				return err
			}
			k.CreatedAt, k.NotBefore, k.Expires = fromMillis(created), fromMillis(notBefore), fromMillis(expires)
			k.KeepFor = time.Duration(longest) * time.Millisecond
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
	if !isKey(set) || !isKey(id) {
		return notFound(sql.ErrNoRows, "key")
	}
	return s.write(ctx, func(t *tx) error {
		if err := t.enterSet(set); err != nil {
			return err
		}
		rows, err := t.exec("DELETE FROM gw_keys WHERE set_id = ? AND id = ?", set, id)
		if err := found(rows, err, "key"); err != nil {
			return err
		}
		_, err = t.exec("DELETE FROM gw_key_lives WHERE set_id = ? AND key_id = ?", set, id)
		return err
	})
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
		if _, err = t.exec("DELETE FROM gw_key_lives WHERE set_id = ?", set); err != nil {
			return err
		}
		_, err = t.exec("DELETE FROM gw_key_sets WHERE id = ?", set)
		return err
	})
}

// keyRow names a key in one string; ids hold no NUL.
func keyRow(set, id string) string { return set + "\x00" + id }
