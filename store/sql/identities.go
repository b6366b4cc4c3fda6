package sql

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/users"
)

var errIdentityExists = fault.New(fault.Conflict, "identity_exists", "the identity is linked to a user already")

// identityData is what is sealed of an identity.
type identityData struct {
	Name     string    `json:"name,omitempty"`
	LinkedAt time.Time `json:"linked_at,omitzero"`
}

// identityRow names the row that the sealed document belongs to.
func identityRow(issuer, subject string) string {
	return fmt.Sprintf("%d:%s%s", len(issuer), issuer, subject)
}

// UserByIdentity returns fault.NotFound for an identity that is nobody's.
func (s *Store) UserByIdentity(ctx context.Context, issuer, subject string) (users.User, error) {
	if !isKey(issuer) || !isKey(subject) {
		return users.User{}, notFound(sql.ErrNoRows, "user")
	}
	u, err := s.readUser(func(into ...any) error {
		return s.one(ctx, selectUsers+"JOIN gw_user_identities i ON i.user_id = u.id WHERE i.issuer = ? AND i.subject = ?", []any{issuer, subject}, into...)
	})
	return u, notFound(s.fail(ctx, err), "user")
}

// Identities are those of a user, ordered by issuer and subject.
func (s *Store) Identities(ctx context.Context, userID string) (list []users.Identity, err error) {
	if !isKey(userID) {
		return nil, nil
	}
	err = s.each(ctx, "SELECT issuer, subject, data FROM gw_user_identities WHERE user_id = ? ORDER BY issuer, subject", []any{userID}, func(rows *sql.Rows) error {
		i, sealed := users.Identity{UserID: userID}, []byte(nil)
		if err := rows.Scan(&i.Issuer, &i.Subject, &sealed); err != nil {
			return err
		}
		doc, err := s.ring.open(sealIdentities, identityRow(i.Issuer, i.Subject), sealed)
		var data identityData
		if err == nil {
			err = decode("identity", doc, &data)
		}
		i.Name, i.LinkedAt = data.Name, data.LinkedAt
		list = append(list, i)
		return err
	})
	return list, err
}

// LinkIdentity returns fault.NotFound without the user, and fault.Conflict when the
// identity is linked already.
func (s *Store) LinkIdentity(ctx context.Context, i users.Identity) error {
	add, err := s.identity(i)
	if err != nil {
		return err
	}
	if !isKey(i.UserID) {
		return notFound(sql.ErrNoRows, "user")
	}
	err = s.write(ctx, func(t *tx) error {
		if err := t.touchUser(i.UserID); err != nil {
			return err
		}
		return add(t)
	})
	if errors.Is(err, errDuplicate) {
		return errIdentityExists
	}
	return err
}

// CreateUserWithIdentity is CreateUser and LinkIdentity in one transaction.
func (s *Store) CreateUserWithIdentity(ctx context.Context, u users.User, i users.Identity) error {
	i.UserID = u.ID
	add, err := s.identity(i)
	if err != nil {
		return err
	}
	return s.createUser(ctx, u, func(t *tx) error {
		err := add(t)
		if errors.Is(err, errDuplicate) {
			return errIdentityExists
		}
		return err
	})
}

// identity returns what inserts a row.
func (s *Store) identity(i users.Identity) (func(*tx) error, error) {
	if err := i.Check(); err != nil {
		return nil, err
	}
	doc, err := encode("identity", identityData{i.Name, i.LinkedAt})
	if err != nil {
		return nil, err
	}
	sealed := s.ring.seal(sealIdentities, identityRow(i.Issuer, i.Subject), doc)
	return func(t *tx) error {
		_, err := t.exec("INSERT INTO gw_user_identities (issuer, subject, user_id, data) VALUES (?, ?, ?, ?)", i.Issuer, i.Subject, i.UserID, sealed)
		return err
	}, nil
}

// UnlinkIdentity returns fault.NotFound, or users.ErrLastWay.
func (s *Store) UnlinkIdentity(ctx context.Context, i users.Identity, issuers []string) error {
	if !isKey(i.Issuer) || !isKey(i.Subject) || !isKey(i.UserID) {
		return notFound(sql.ErrNoRows, "identity")
	}
	return s.write(ctx, func(t *tx) error {
		if err := t.touchUser(i.UserID); err != nil {
			return notFound(err, "identity")
		}
		rows, err := t.exec("DELETE FROM gw_user_identities WHERE issuer = ? AND subject = ? AND user_id = ?", i.Issuer, i.Subject, i.UserID)
		if err := found(rows, err, "identity"); err != nil {
			return err
		}
		u, err := s.readUser(func(into ...any) error { return t.one(selectUsers+"WHERE u.id = ?", []any{i.UserID}, into...) })
		if err != nil || u.PasswordHash != "" {
			return err
		}
		left, err := t.strings("SELECT issuer FROM gw_user_identities WHERE user_id = ?", i.UserID)
		if err == nil && !slices.ContainsFunc(left, func(issuer string) bool { return slices.Contains(issuers, issuer) }) {
			err = users.ErrLastWay
		}
		return err
	})
}

// touchUser takes the lock of a user's row for the transaction. Whoever read the user
// before has read another one.
func (t *tx) touchUser(id string) error {
	rows, err := t.exec("UPDATE gw_users SET etag = ? WHERE id = ?", rand.Text(), id)
	return found(rows, err, "user")
}
