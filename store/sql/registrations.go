package sql

import (
	"context"
	"database/sql"
	"time"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/oauth2"
)

// markUsed is how long after a registered client was seen with a token it is looked at
// again; access tokens live longer than a look takes.
const markUsed = time.Hour

// RegisterClient creates a client with the hash of its registration access token.
func (s *Store) RegisterClient(ctx context.Context, c oauth2.Client, tokenHash string, most int) error {
	if err := checkID("client", c.ID); err != nil {
		return err
	}
	args, err := clientArgs(c)
	if err != nil {
		return err
	}
	return conflict(s.write(ctx, func(t *tx) error {
		var count int
		if err := t.one("SELECT COUNT(*) FROM gw_registrations", nil, &count); err != nil {
			return err
		}
		if count >= most {
			return fault.New(fault.Forbidden, "too_many_clients", "no more clients can register")
		}
		if err := t.insertClient(c.ID, args); err != nil {
			return err
		}
		_, err := t.exec("INSERT INTO gw_registrations (client_id, token_hash, used_at) VALUES (?, ?, ?)", c.ID, tokenHash, t.now)
		return err
	}), "client")
}

// RegistrationToken returns fault.NotFound for a client that did not register itself.
func (s *Store) RegistrationToken(ctx context.Context, clientID string) (hash string, err error) {
	if !isKey(clientID) {
		return "", notFound(sql.ErrNoRows, "registration")
	}
	err = s.one(ctx, "SELECT token_hash FROM gw_registrations WHERE client_id = ?", []any{clientID}, &hash)
	return hash, notFound(s.fail(ctx, err), "registration")
}

// UpdateRegistration spends the registration access token with the hash spent.
func (s *Store) UpdateRegistration(ctx context.Context, c oauth2.Client, old, tokenHash string) error {
	if !isKey(c.ID) {
		return oauth2.ErrSpent
	}
	args, err := clientArgs(c)
	if err != nil {
		return err
	}
	return s.write(ctx, func(t *tx) error {
		rows, err := t.exec("UPDATE gw_registrations SET token_hash = ?, used_at = ? WHERE client_id = ? AND token_hash = ?", tokenHash, t.now, c.ID, old)
		if err := spent(rows, err); err != nil {
			return err
		}
		return t.updateClient(c, args)
	})
}

// SweepRegistrations first notes who holds a token now, so that issuing tokens need not.
func (s *Store) SweepRegistrations(ctx context.Context, now, since time.Time, limit int) (swept int, err error) {
	const holds = "EXISTS (SELECT 1 FROM gw_tokens WHERE gw_tokens.client_id = gw_registrations.client_id)"
	// They are read first: an update that reads tokens would lock them.
	used, err := s.registrations(ctx, holds, now.Add(-markUsed), limit)
	for _, id := range used {
		if err == nil {
			_, err = s.exec(ctx, "UPDATE gw_registrations SET used_at = ? WHERE client_id = ? AND used_at < ?", millis(now), id, millis(now))
		}
	}
	if err != nil {
		return 0, err
	}
	unused, err := s.registrations(ctx, "NOT "+holds, since, limit)
	for _, id := range unused {
		if err != nil {
			break
		}
		err = s.write(ctx, func(t *tx) error {
			rows, err := t.exec("DELETE FROM gw_registrations WHERE client_id = ? AND used_at <= ? AND NOT "+holds, id, millis(since))
			if err != nil || rows == 0 { // used meanwhile, or another node was first
				return err
			}
			return t.deleteClient(id)
		})
		if err == nil {
			swept++
		}
	}
	return swept, err
}

// registrations lists clients that meet a condition and were last seen with a token until
// then.
func (s *Store) registrations(ctx context.Context, condition string, until time.Time, limit int) (ids []string, err error) {
	err = s.each(ctx, "SELECT client_id FROM gw_registrations WHERE used_at <= ? AND "+condition+" ORDER BY used_at LIMIT ?", []any{millis(until), limit}, func(rows *sql.Rows) error {
		var id string
		err := rows.Scan(&id)
		ids = append(ids, id)
		return err
	})
	return ids, err
}
