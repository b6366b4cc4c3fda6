package sql

import (
	"context"
	"crypto/rand"
	"database/sql"

	"github.com/gatewarden/gatewarden/rules/spec"
	"github.com/gatewarden/gatewarden/store"
)

const selectRules = "SELECT doc, etag, created_at, updated_at FROM gw_rules "

// CreateRule returns fault.Conflict when the id is taken.
func (s *Store) CreateRule(ctx context.Context, r spec.Rule) (stored spec.Stored, err error) {
	if err := checkID("rule", r.ID); err != nil {
		return stored, err
	}
	doc, err := encode("rule", r)
	if err != nil {
		return stored, err
	}
	err = s.write(ctx, func(t *tx) (err error) {
		t.changed(store.Rules, r.ID)
		_, err = t.exec("INSERT INTO gw_rules (id, doc, etag, created_at, updated_at) VALUES (?, ?, ?, ?, ?)", r.ID, doc, rand.Text(), t.now, t.now)
		if err == nil {
			stored, err = scanRule(t.one, r.ID)
		}
		return err
	})
	return stored, conflict(err, "rule")
}

// ReplaceRule returns fault.NotFound, or fault.Conflict when etag is not empty and
// not the stored one.
func (s *Store) ReplaceRule(ctx context.Context, r spec.Rule, etag string) (stored spec.Stored, err error) {
	if !isKey(r.ID) {
		return stored, notFound(sql.ErrNoRows, "rule")
	}
	doc, err := encode("rule", r)
	if err != nil {
		return stored, err
	}
	err = s.write(ctx, func(t *tx) error {
		t.changed(store.Rules, r.ID)
		query, args := onlyIf(etag, "UPDATE gw_rules SET doc = ?, etag = ?, updated_at = ? WHERE id = ?", []any{doc, rand.Text(), t.now, r.ID})
		rows, err := t.exec(query, args...)
		if err := t.unchanged(rows, err, "rule", "gw_rules", r.ID); err != nil {
			return err
		}
		stored, err = scanRule(t.one, r.ID)
		return err
	})
	return stored, err
}

// Rule returns fault.NotFound.
func (s *Store) Rule(ctx context.Context, id string) (spec.Stored, error) {
	if !isKey(id) {
		return spec.Stored{}, notFound(sql.ErrNoRows, "rule")
	}
	stored, err := scanRule(func(query string, args []any, into ...any) error { return s.one(ctx, query, args, into...) }, id)
	return stored, notFound(s.fail(ctx, err), "rule")
}

// DeleteRule returns fault.NotFound, or fault.Conflict as ReplaceRule does.
func (s *Store) DeleteRule(ctx context.Context, id, etag string) error {
	if !isKey(id) {
		return notFound(sql.ErrNoRows, "rule")
	}
	return s.write(ctx, func(t *tx) error {
		t.changed(store.Rules, id)
		query, args := onlyIf(etag, "DELETE FROM gw_rules WHERE id = ?", []any{id})
		rows, err := t.exec(query, args...)
		return t.unchanged(rows, err, "rule", "gw_rules", id)
	})
}

// Rules returns up to limit rules ordered by id, from offset on.
func (s *Store) Rules(ctx context.Context, limit, offset int) (rules []spec.Stored, err error) {
	err = s.each(ctx, selectRules+"ORDER BY id LIMIT ? OFFSET ?", page(limit, offset), func(rows *sql.Rows) error {
		r, err := readRule(rows.Scan)
		rules = append(rules, r)
		return err
	})
	return rules, err
}

func scanRule(one func(string, []any, ...any) error, id string) (spec.Stored, error) {
	return readRule(func(into ...any) error { return one(selectRules+"WHERE id = ?", []any{id}, into...) })
}

func readRule(scan func(...any) error) (r spec.Stored, err error) {
	var doc []byte
	var created, updated int64
	if err := scan(&doc, &r.ETag, &created, &updated); err != nil {
		return r, err
	}
	r.CreatedAt, r.UpdatedAt = fromMillis(created), fromMillis(updated)
	err = decode("rule", doc, &r.Rule)
	r.Rule.Origin = spec.Origin{Source: "database"}
	return r, err
}

// deleteLogged deletes one row and logs the change, or returns fault.NotFound.
func (s *Store) deleteLogged(ctx context.Context, what string, topic store.Topic, item, query string, keys ...string) error {
	args := make([]any, len(keys))
	for i, key := range keys {
		if !isKey(key) {
			return notFound(sql.ErrNoRows, what)
		}
		args[i] = key
	}
	return s.write(ctx, func(t *tx) error {
		t.changed(topic, item)
		rows, err := t.exec(query, args...)
		return found(rows, err, what)
	})
}
