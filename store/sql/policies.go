package sql

import (
	"context"
	"database/sql"

	"github.com/gatewarden/gatewarden/policies"
	"github.com/gatewarden/gatewarden/store"
)

// CreatePolicy returns fault.Conflict when the id is taken.
func (s *Store) CreatePolicy(ctx context.Context, p policies.Policy) error {
	if err := checkID("policy", p.ID); err != nil {
		return err
	}
	doc, err := encode("policy", p)
	if err != nil {
		return err
	}
	return conflict(s.write(ctx, func(t *tx) error {
		t.changed(store.Policies, p.ID)
		_, err := t.exec("INSERT INTO gw_policies (id, doc) VALUES (?, ?)", p.ID, doc)
		return err
	}), "policy")
}

// UpdatePolicy returns fault.NotFound.
func (s *Store) UpdatePolicy(ctx context.Context, p policies.Policy) error {
	if !isKey(p.ID) {
		return notFound(sql.ErrNoRows, "policy")
	}
	doc, err := encode("policy", p)
	if err != nil {
		return err
	}
	return s.write(ctx, func(t *tx) error {
		t.changed(store.Policies, p.ID)
		rows, err := t.exec("UPDATE gw_policies SET doc = ? WHERE id = ?", doc, p.ID)
		return found(rows, err, "policy")
	})
}

// Policy returns fault.NotFound.
func (s *Store) Policy(ctx context.Context, id string) (p policies.Policy, err error) {
	if !isKey(id) {
		return p, notFound(sql.ErrNoRows, "policy")
	}
	var doc []byte
	if err := s.one(ctx, "SELECT doc FROM gw_policies WHERE id = ?", []any{id}, &doc); err != nil {
		return p, notFound(s.fail(ctx, err), "policy")
	}
	return p, decode("policy", doc, &p)
}

// DeletePolicy returns fault.NotFound.
func (s *Store) DeletePolicy(ctx context.Context, id string) error {
	return s.deleteLogged(ctx, "policy", store.Policies, id, "DELETE FROM gw_policies WHERE id = ?", id)
}

// Policies returns up to limit policies ordered by id, from offset on.
func (s *Store) Policies(ctx context.Context, limit, offset int) (all []policies.Policy, err error) {
	err = s.each(ctx, "SELECT doc FROM gw_policies ORDER BY id LIMIT ? OFFSET ?", page(limit, offset), func(rows *sql.Rows) error {
		var doc []byte
		var p policies.Policy
		if err := rows.Scan(&doc); err != nil {
			return err
		}
		err := decode("policy", doc, &p)
		all = append(all, p)
		return err
	})
	return all, err
}
