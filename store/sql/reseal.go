package sql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"

	"github.com/gatewarden/gatewarden/fault"
)

// sealedTable is a table with a sealed column. Its primary key is group and id, or id
// alone.
type sealedTable struct {
	name, group, id, column string
	purpose                 purpose
	// row is what a value is bound to.
	row func(group, id string) string
}

func rowID(_, id string) string { return id }

// sealedTables are those of rows that come and go, one per purpose. Whatever is sealed is
// in one of them, or in sealedMeta.
var sealedTables = [...]sealedTable{
	{"gw_keys", "set_id", "id", "jwk", sealKeys, keyRow},
	{"gw_tokens", "kind", "signature", "data", sealTokens, func(kind, signature string) string { return kind + signature }},
	{"gw_flows", "", "id", "data", sealFlows, rowID},
	{"gw_login_sessions", "", "id", "data", sealSessions, rowID},
	{"gw_consents", "", "id", "data", sealConsents, rowID},
	{"gw_users", "", "id", "data", sealUsers, rowID},
	{"gw_user_identities", "issuer", "subject", "data", sealIdentities, identityRow},
	{"gw_user_generators", "", "user_id", "data", sealGenerators, rowID},
	{"gw_user_passkeys", "user_id", "id", "data", sealPasskeys, passkeyRow},
}

// sealedMeta holds the root of the database, without which no store opens: it is sealed
// anew when everything else is.
var sealedMeta = sealedTable{"gw_meta", "", "name", "value", sealMeta, rowID}

const (
	// resealBatch is how many rows are looked at, and sealed anew in one transaction.
	resealBatch = 200
	// resealPasses bounds how often everything is looked at.
	resealPasses = 5
)

// Resealed tells how far Reseal is.
type Resealed struct {
	// Pass counts from 1: what a node wrote behind one pass is found by the next, and the
	// last one finds nothing.
	Pass int
	// Table is what is being looked at.
	Table string
	// Seen of Total rows were looked at in this pass; rows that come meanwhile may make
	// Seen the larger one. Sealed were sealed anew in all passes.
	Seen, Total, Sealed int64
}

// Reseal opens a database, which must exist, for Store.Reseal. Of Options only DSN and
// Secrets are used.
func Reseal(ctx context.Context, o Options, progress func(Resealed)) (done Resealed, err error) {
	if t, err := parseDSN(o.DSN, 0, 0); err == nil && t.file != "" {
		if _, err := os.Stat(t.file); err != nil {
			return done, fault.Wrap(fault.Invalid, "no_database", "dsn: there is no such database", err) // opening it would make it
		}
	}
	s, err := Open(ctx, Options{DSN: o.DSN, Secrets: o.Secrets})
	if err != nil {
		return done, err
	}
	done, err = s.Reseal(ctx, progress)
	return done, errors.Join(err, s.Close())
}

// Reseal seals everything with the first system secret that is sealed with another one,
// in batches, beside serving nodes, and tells progress after each batch. A row that
// changes meanwhile is left to who changed it. It may be broken off and begun again.
// When it returns nil a store opens without the other secrets, and not before. Errors:
// fault.Conflict when a node goes on to write with another secret, and an error that
// names the table for rows that no secret opens.
func (s *Store) Reseal(ctx context.Context, progress func(Resealed)) (Resealed, error) {
	var at Resealed
	for at.Pass = 1; at.Pass <= resealPasses; at.Pass++ {
		before := at.Sealed
		if err := s.resealAll(ctx, &at, progress); err != nil {
			return at, err
		}
		if at.Sealed == before {
			// Now the root, without which no store opens.
			return at, s.resealTable(ctx, sealedMeta, &at, progress)
		}
	}
	return at, fault.New(fault.Conflict, "secret_in_use", "a node still seals with a secret that is not the first one here: "+
		"put the new secret first on every node, then run this again")
}

// resealAll is one pass.
func (s *Store) resealAll(ctx context.Context, at *Resealed, progress func(Resealed)) error {
	at.Seen, at.Total = 0, 0
	for _, t := range sealedTables {
		var rows int64
		if err := s.count(ctx, t, &rows); err != nil {
			return s.fail(ctx, err)
		}
		at.Total += rows
	}
	for _, t := range sealedTables {
		if err := s.resealTable(ctx, t, at, progress); err != nil {
			return err
		}
	}
	return nil
}

// count takes as long as it takes: a large table is no database that is away.
func (s *Store) count(ctx context.Context, t sealedTable, rows *int64) error {
	defer s.share()()
	return s.reads.one(ctx, "SELECT COUNT(*) FROM "+t.name, nil, rows)
}

// resealTable goes through a table by its primary key, group by group.
func (s *Store) resealTable(ctx context.Context, t sealedTable, at *Resealed, progress func(Resealed)) error {
	at.Table = t.name
	progress(*at)
	var unknown int64
	for group, more := "", true; more; {
		if t.group != "" {
			var next sql.NullString
			if err := s.one(ctx, "SELECT MIN("+t.group+") FROM "+t.name+" WHERE "+t.group+" > ?", []any{group}, &next); err != nil {
				return s.fail(ctx, err)
			}
			if !next.Valid {
				break
			}
			group = next.String
		}
		more = t.group != ""
		for last := ""; ; {
			rows, err := s.staleRows(ctx, t, group, last)
			if err != nil {
				return err
			}
			if len(rows) == 0 {
				break
			}
			last = rows[len(rows)-1].id
			sealed, lost, err := s.resealRows(ctx, t, group, rows)
			if err != nil {
				return err
			}
			unknown += lost
			at.Seen += int64(len(rows))
			at.Sealed += sealed
			progress(*at)
		}
	}
	if unknown > 0 {
		return fault.New(fault.Invalid, "unknown_system_secret",
			fmt.Sprintf("%s: %d rows are sealed with a secret that is not in secrets.system", t.name, unknown))
	}
	return nil
}

// staleRow is a row; sealed is nil when it is under the first secret already.
type staleRow struct {
	id     string
	sealed []byte
}

// staleRows returns the next rows of a group.
func (s *Store) staleRows(ctx context.Context, t sealedTable, group, last string) (rows []staleRow, err error) {
	where, args := "", []any{s.ring.header()}
	if t.group != "" {
		where, args = t.group+" = ? AND ", append(args, group)
	}
	query := fmt.Sprintf("SELECT %[1]s, CASE WHEN SUBSTR(%[2]s, 1, %[3]d) = ? THEN NULL ELSE %[2]s END FROM %[4]s WHERE %[5]s%[1]s > ? ORDER BY %[1]s LIMIT ?",
		t.id, t.column, headerSize, t.name, where)
	err = s.each(ctx, query, append(args, last, resealBatch), func(r *sql.Rows) error {
		var row staleRow
		if err := r.Scan(&row.id, &row.sealed); err != nil {
			return err
		}
		rows = append(rows, row)
		return nil
	})
	return rows, err
}

// resealRows seals stale rows anew in one transaction, unless they have changed. Lost are
// those that no secret opens.
func (s *Store) resealRows(ctx context.Context, t sealedTable, group string, rows []staleRow) (sealed, lost int64, err error) {
	type change struct {
		id       string
		old, new []byte
	}
	var changes []change
	for _, row := range rows {
		if row.sealed == nil {
			continue
		}
		id := t.row(group, row.id)
		plain, err := s.ring.open(t.purpose, id, row.sealed)
		if errors.Is(err, errUnknownSecret) {
			lost++
			continue
		}
		if err != nil {
			return 0, 0, fmt.Errorf("%s: a row that was tampered with or damaged: %w", t.name, err)
		}
		changes = append(changes, change{row.id, row.sealed, s.ring.seal(t.purpose, id, plain)})
	}
	if len(changes) == 0 {
		return 0, lost, nil
	}
	where := t.id + " = ?"
	if t.group != "" {
		where += " AND " + t.group + " = ?"
	}
	update := fmt.Sprintf("UPDATE %[1]s SET %[2]s = ? WHERE %[3]s AND %[2]s = ?", t.name, t.column, where)
	err = s.write(ctx, func(x *tx) error {
		sealed = 0
		for _, c := range changes {
			args := []any{c.new, c.id}
			if t.group != "" {
				args = append(args, group)
			}
			done, err := x.exec(update, append(args, c.old)...)
			if err != nil {
				return err
			}
			sealed += done
		}
		return nil
	})
	return sealed, lost, err
}
