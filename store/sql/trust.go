package sql

import (
	"context"
	"database/sql"

	"github.com/gatewarden/gatewarden/oauth2"
)

// CreateTrustGrant returns fault.Conflict when the id is taken, or the key of the issuer
// is trusted for the subject already.
func (s *Store) CreateTrustGrant(ctx context.Context, g oauth2.TrustGrant) error {
	if err := checkID("trust grant", g.ID); err != nil {
		return err
	}
	if err := checkKeys("trust grant", g.Issuer); err != nil {
		return err
	}
	doc, err := encode("trust grant", g)
	if err != nil {
		return err
	}
	// A hash has a fixed length, whatever the names are; lengths keep them apart.
	identity := replayID(replayID(g.Issuer, g.Subject), g.PublicKey.KeyID)
	_, err = s.exec(ctx, "INSERT INTO gw_trust_grants (id, issuer, identity, doc) VALUES (?, ?, ?, ?)", g.ID, g.Issuer, identity, doc)
	return conflict(err, "trust grant")
}

// TrustGrant returns fault.NotFound.
func (s *Store) TrustGrant(ctx context.Context, id string) (g oauth2.TrustGrant, err error) {
	if !isKey(id) {
		return g, notFound(sql.ErrNoRows, "trust grant")
	}
	var doc []byte
	if err := s.one(ctx, "SELECT doc FROM gw_trust_grants WHERE id = ?", []any{id}, &doc); err != nil {
		return g, notFound(s.fail(ctx, err), "trust grant")
	}
	return g, decode("trust grant", doc, &g)
}

// DeleteTrustGrant returns fault.NotFound.
func (s *Store) DeleteTrustGrant(ctx context.Context, id string) error {
	if !isKey(id) {
		return notFound(sql.ErrNoRows, "trust grant")
	}
	rows, err := s.exec(ctx, "DELETE FROM gw_trust_grants WHERE id = ?", id)
	return found(rows, err, "trust grant")
}

// TrustGrants lists by id; an empty issuer means all.
func (s *Store) TrustGrants(ctx context.Context, issuer string, limit, offset int) (grants []oauth2.TrustGrant, err error) {
	if !isKey(issuer) {
		return nil, nil
	}
	condition, args := ofIssuer(issuer)
	err = s.each(ctx, "SELECT doc FROM gw_trust_grants WHERE "+condition+" ORDER BY id LIMIT ? OFFSET ?", append(args, page(limit, offset)...), func(rows *sql.Rows) error {
		var doc []byte
		if err := rows.Scan(&doc); err != nil {
			return err
		}
		var g oauth2.TrustGrant
		err := decode("trust grant", doc, &g)
		grants = append(grants, g)
		return err
	})
	return grants, err
}

// CountTrustGrants counts what TrustGrants lists.
func (s *Store) CountTrustGrants(ctx context.Context, issuer string) (n int, err error) {
	if !isKey(issuer) {
		return 0, nil
	}
	condition, args := ofIssuer(issuer)
	err = s.one(ctx, "SELECT COUNT(*) FROM gw_trust_grants WHERE "+condition, args, &n)
	return n, s.fail(ctx, err)
}

func ofIssuer(issuer string) (condition string, args []any) {
	if issuer == "" {
		return "1 = 1", []any{}
	}
	return "issuer = ?", []any{issuer}
}
