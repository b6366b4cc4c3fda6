package sql

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"errors"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/users"
)

var (
	errGeneratorExists = fault.New(fault.Conflict, "generator_exists", "the user has a generator of one-time codes already")
	errPasskeyExists   = fault.New(fault.Conflict, "passkey_exists", "the passkey is registered already")
	errPasskeysMany    = fault.New(fault.Conflict, "too_many_passkeys", "the user has as many passkeys as there may be")
)

// passkeyID is the id of a passkey's row: credential ids are up to 1023 bytes long.
func passkeyID(credential []byte) string {
	sum := sha256.Sum256(credential)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// Factors returns what a user has; the zero value for one who is unknown.
func (s *Store) Factors(ctx context.Context, userID string) (f users.Factors, err error) {
	if !isKey(userID) {
		return f, nil
	}
	var sealed []byte
	err = s.one(ctx, "SELECT data FROM gw_user_generators WHERE user_id = ?", []any{userID}, &sealed)
	if err == nil {
		f.Generator = &users.Generator{}
		err = s.unseal(sealGenerators, userID, sealed, "generator", f.Generator)
	} else if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	if err != nil {
		return users.Factors{}, s.fail(ctx, err)
	}
	if err := s.one(ctx, "SELECT COUNT(*) FROM gw_user_recovery_codes WHERE user_id = ?", []any{userID}, &f.RecoveryCodes); err != nil {
		return users.Factors{}, s.fail(ctx, err)
	}
	err = s.each(ctx, "SELECT id, sign_count, data FROM gw_user_passkeys WHERE user_id = ? ORDER BY created_at, id", []any{userID}, func(rows *sql.Rows) error {
		var id string
		var count int64
		var p users.Passkey
		if err := rows.Scan(&id, &count, &sealed); err != nil {
			return err
		}
		err := s.unseal(sealPasskeys, passkeyRow(userID, id), sealed, "passkey", &p)
		p.SignCount = uint32(count)
		f.Passkeys = append(f.Passkeys, p)
		return err
	})
	if err != nil {
		return users.Factors{}, err
	}
	return f, nil
}

func (s *Store) unseal(p purpose, row string, sealed []byte, what string, into any) error {
	doc, err := s.ring.open(p, row, sealed)
	if err == nil {
		err = decode(what, doc, into)
	}
	return err
}

// passkeyRow binds a passkey to its user too, so that its row cannot be given away.
func passkeyRow(userID, id string) string { return id + " " + userID }

// ofUser is write for what belongs to a user, whose row is locked; fault.NotFound without
// the user.
func (s *Store) ofUser(ctx context.Context, userID string, do func(*tx) error) error {
	if !isKey(userID) {
		return notFound(sql.ErrNoRows, "user")
	}
	return s.write(ctx, func(t *tx) error {
		if err := t.touchUser(userID); err != nil {
			return err
		}
		return do(t)
	})
}

// EnrolGenerator returns fault.Conflict when the user has one.
func (s *Store) EnrolGenerator(ctx context.Context, userID string, g users.Generator, step int64, codes []string) error {
	if g.ID == "" || len(g.Secret) == 0 || !isKey(g.ID) {
		return fault.New(fault.Invalid, "invalid_generator", "a generator has an id and a secret")
	}
	doc, err := encode("generator", g)
	if err != nil {
		return err
	}
	sealed := s.ring.seal(sealGenerators, userID, doc)
	return s.ofUser(ctx, userID, func(t *tx) error {
		_, err := t.exec("INSERT INTO gw_user_generators (user_id, generator, last_step, data) VALUES (?, ?, ?, ?)", userID, g.ID, step, sealed)
		if errors.Is(err, errDuplicate) {
			return errGeneratorExists
		}
		if err != nil {
			return err
		}
		return t.replaceRecoveryCodes(userID, codes)
	})
}

// UseCode accepts a step in one conditional statement.
func (s *Store) UseCode(ctx context.Context, userID, generator string, step int64) error {
	if !isKey(userID) || !isKey(generator) {
		return users.ErrUsed
	}
	rows, err := s.exec(ctx, "UPDATE gw_user_generators SET last_step = ? WHERE user_id = ? AND generator = ? AND last_step < ?", step, userID, generator, step)
	return used(rows, err)
}

// used turns a statement that matched no row into users.ErrUsed.
func used(rows int64, err error) error {
	if err == nil && rows == 0 {
		return users.ErrUsed
	}
	return err
}

// RemoveGenerator returns fault.NotFound when there is none.
func (s *Store) RemoveGenerator(ctx context.Context, userID string) error {
	return s.removeFactor(ctx, userID, "generator", "DELETE FROM gw_user_generators WHERE user_id = ?", userID)
}

// RemovePasskey returns fault.NotFound when the user does not have it.
func (s *Store) RemovePasskey(ctx context.Context, userID string, id []byte) error {
	return s.removeFactor(ctx, userID, "passkey", "DELETE FROM gw_user_passkeys WHERE id = ? AND user_id = ?", passkeyID(id), userID)
}

// removeFactor deletes one factor, and the recovery codes with the last one.
func (s *Store) removeFactor(ctx context.Context, userID, what, query string, args ...any) error {
	return s.ofUser(ctx, userID, func(t *tx) error {
		rows, err := t.exec(query, args...)
		if err := found(rows, err, what); err != nil {
			return err
		}
		var left int
		if err := t.one("SELECT (SELECT COUNT(*) FROM gw_user_generators WHERE user_id = ?) + (SELECT COUNT(*) FROM gw_user_passkeys WHERE user_id = ?)", []any{userID, userID}, &left); err != nil || left > 0 {
			return err
		}
		return t.replaceRecoveryCodes(userID, nil)
	})
}

// ReplaceRecoveryCodes puts new codes in place of all others.
func (s *Store) ReplaceRecoveryCodes(ctx context.Context, userID string, codes []string) error {
	return s.ofUser(ctx, userID, func(t *tx) error { return t.replaceRecoveryCodes(userID, codes) })
}

func (t *tx) replaceRecoveryCodes(userID string, codes []string) error {
	if _, err := t.exec("DELETE FROM gw_user_recovery_codes WHERE user_id = ?", userID); err != nil {
		return err
	}
	for _, code := range codes {
		if _, err := t.exec("INSERT INTO gw_user_recovery_codes (user_id, hash) VALUES (?, ?)", userID, code); err != nil {
			return err
		}
	}
	return nil
}

// UseRecoveryCode deletes it in one statement.
func (s *Store) UseRecoveryCode(ctx context.Context, userID, code string) error {
	if !isKey(userID) || !isKey(code) || code == "" {
		return users.ErrUsed
	}
	rows, err := s.exec(ctx, "DELETE FROM gw_user_recovery_codes WHERE user_id = ? AND hash = ?", userID, code)
	return used(rows, err)
}

// AddPasskey returns fault.Conflict when the credential is registered, for whomever.
func (s *Store) AddPasskey(ctx context.Context, userID string, p users.Passkey) error {
	if len(p.ID) == 0 {
		return fault.New(fault.Invalid, "invalid_passkey", "a passkey has a credential id")
	}
	id := passkeyID(p.ID)
	doc, err := encode("passkey", p)
	if err != nil {
		return err
	}
	sealed := s.ring.seal(sealPasskeys, passkeyRow(userID, id), doc)
	return s.ofUser(ctx, userID, func(t *tx) error {
		var have int
		if err := t.one("SELECT COUNT(*) FROM gw_user_passkeys WHERE user_id = ?", []any{userID}, &have); err != nil {
			return err
		}
		if have >= users.MaxPasskeys {
			return errPasskeysMany
		}
		_, err := t.exec("INSERT INTO gw_user_passkeys (id, user_id, created_at, sign_count, data) VALUES (?, ?, ?, ?, ?)", id, userID, millis(p.CreatedAt), int64(p.SignCount), sealed)
		if errors.Is(err, errDuplicate) {
			return errPasskeyExists
		}
		return err
	})
}

// PasskeyOwner returns fault.NotFound for a credential that is nobody's.
func (s *Store) PasskeyOwner(ctx context.Context, id []byte) (userID string, err error) {
	err = s.one(ctx, "SELECT user_id FROM gw_user_passkeys WHERE id = ?", []any{passkeyID(id)}, &userID)
	return userID, notFound(s.fail(ctx, err), "passkey")
}

// UsePasskey compares the counter in the statement that stores it.
func (s *Store) UsePasskey(ctx context.Context, userID string, p users.Passkey) error {
	if !isKey(userID) {
		return users.ErrUsed
	}
	id, count := passkeyID(p.ID), int64(p.SignCount)
	doc, err := encode("passkey", p)
	if err != nil {
		return err
	}
	// MySQL counts rows that changed: a sealed value has another nonce each time.
	rows, err := s.exec(ctx, "UPDATE gw_user_passkeys SET sign_count = ?, data = ? WHERE id = ? AND user_id = ? AND (sign_count < ? OR (sign_count = 0 AND ? = 0))",
		count, s.ring.seal(sealPasskeys, passkeyRow(userID, id), doc), id, userID, count, count)
	return used(rows, err)
}

// ResetFactors takes everything away.
func (s *Store) ResetFactors(ctx context.Context, userID string) error {
	return s.ofUser(ctx, userID, func(t *tx) error {
		for _, table := range []string{"gw_user_generators", "gw_user_passkeys", "gw_user_recovery_codes"} {
			if _, err := t.exec("DELETE FROM "+table+" WHERE user_id = ?", userID); err != nil {
				return err
			}
		}
		return nil
	})
}
