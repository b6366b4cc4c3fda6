package sql

import (
	"context"
	"database/sql"
	"encoding/json"
	"slices"

	"github.com/gatewarden/gatewarden/oauth2"
	"github.com/gatewarden/gatewarden/store"
)

// sealedConsent is what of a consent only this program may read.
type sealedConsent struct {
	GrantedScope    []string        `json:"granted_scope,omitempty"`
	GrantedAudience []string        `json:"granted_audience,omitempty"`
	Data            json.RawMessage `json:"data,omitempty"`
}

// SaveConsent inserts or replaces, and makes the client a participant of the login
// session.
func (s *Store) SaveConsent(ctx context.Context, c oauth2.Consent) error {
	if err := checkID("consent", c.ID); err != nil {
		return err
	}
	if err := checkKeys("consent", c.Subject, c.ClientID, c.LoginSessionID); err != nil {
		return err
	}
	data, err := encode("consent", sealedConsent{c.GrantedScope, c.GrantedAudience, c.Data})
	if err != nil {
		return err
	}
	save := s.dialect.upsert("gw_consents", 1, "id", "subject", "client_id", "login_session_id", "remember", "expires_at", "handled_at", "data")
	join := s.dialect.upsert("gw_participants", 2, "session_id", "client_id", "created_at")
	return s.write(ctx, func(t *tx) error {
		_, err := t.exec(save, c.ID, c.Subject, c.ClientID, c.LoginSessionID, flag(c.Remember), millis(c.ExpiresAt), millis(c.HandledAt), s.ring.seal(sealConsents, c.ID, data))
		if err != nil || c.LoginSessionID == "" || c.ClientID == "" {
			return err
		}
		_, err = t.exec(join, c.LoginSessionID, c.ClientID, t.now)
		return err
	})
}

// Consents lists the consents of a subject that have not expired, newest first.
func (s *Store) Consents(ctx context.Context, f oauth2.ConsentFilter, limit, offset int) (consents []oauth2.Consent, err error) {
	condition, args, ok := s.livingConsents(f)
	if !ok {
		return nil, nil
	}
	err = s.each(ctx, "SELECT id, client_id, login_session_id, remember, expires_at, handled_at, data FROM gw_consents WHERE "+condition+
		" ORDER BY handled_at DESC, id DESC LIMIT ? OFFSET ?", append(args, page(limit, offset)...), func(rows *sql.Rows) error {
		c := oauth2.Consent{Subject: f.Subject}
		var remember int
		var expires, handled int64
		var sealed []byte
		if err := rows.Scan(&c.ID, &c.ClientID, &c.LoginSessionID, &remember, &expires, &handled, &sealed); err != nil {
			return err
		}
		data, err := s.ring.open(sealConsents, c.ID, sealed)
		if err != nil {
			return err
		}
		var opened sealedConsent
		if err := decode("consent", data, &opened); err != nil {
			return err
		}
		c.Remember, c.ExpiresAt, c.HandledAt = remember != 0, fromMillis(expires), fromMillis(handled)
		c.GrantedScope, c.GrantedAudience, c.Data = opened.GrantedScope, opened.GrantedAudience, opened.Data
		consents = append(consents, c)
		return nil
	})
	return consents, err
}

// CountConsents counts what Consents lists.
func (s *Store) CountConsents(ctx context.Context, f oauth2.ConsentFilter) (n int, err error) {
	condition, args, ok := s.livingConsents(f)
	if !ok {
		return 0, nil
	}
	err = s.one(ctx, "SELECT COUNT(*) FROM gw_consents WHERE "+condition, args, &n)
	return n, s.fail(ctx, err)
}

// livingConsents is the condition of a filter; false for names that nothing has.
func (s *Store) livingConsents(f oauth2.ConsentFilter) (condition string, args []any, ok bool) {
	if !isKey(f.Subject) || !isKey(f.ClientID) || !isKey(f.LoginSessionID) {
		return "", nil, false
	}
	condition, args = ofSubject(f.Subject, f.ClientID)
	if f.LoginSessionID != "" {
		condition, args = condition+" AND login_session_id = ?", append(args, f.LoginSessionID)
	}
	return condition + " AND (expires_at = 0 OR expires_at > ?)", append(args, millis(s.now())), true
}

// RevokeConsent deletes one consent and what was issued under it, as RevokeConsents does.
func (s *Store) RevokeConsent(ctx context.Context, id string) (subject string, err error) {
	if !isKey(id) {
		return "", nil
	}
	err = s.write(ctx, func(t *tx) error {
		subjects, err := t.strings("SELECT subject FROM gw_consents WHERE id = ?", id)
		if err != nil || len(subjects) == 0 {
			return err
		}
		subject = subjects[0]
		return t.revokeConsent(id)
	})
	return subject, err
}

// RevokeConsents deletes consents and, in the same transaction, the codes and tokens
// issued under them; an empty clientID means all clients. It is idempotent.
func (s *Store) RevokeConsents(ctx context.Context, subject, clientID string) error {
	if !isKey(subject) || !isKey(clientID) {
		return nil
	}
	condition, args := ofSubject(subject, clientID)
	return s.write(ctx, func(t *tx) error {
		ids, err := t.strings("SELECT id FROM gw_consents WHERE "+condition, args...)
		if err != nil {
			return err
		}
		for _, id := range ids {
			if err := t.revokeConsent(id); err != nil {
				return err
			}
		}
		return nil
	})
}

// revokeConsent deletes the tokens first, so that a redemption at work has ended
// when the consent goes.
func (t *tx) revokeConsent(id string) error {
	const under = "consent_id = ? AND consent_id <> ''"
	var families []string
	for {
		some, err := t.strings("SELECT DISTINCT request_id FROM gw_tokens WHERE "+under, id)
		if err != nil {
			return err
		}
		families = append(families, some...)
		rows, err := t.exec("DELETE FROM gw_tokens WHERE "+under, id)
		if err != nil {
			return err
		}
		if rows == 0 {
			break
		}
	}
	slices.Sort(families)
	for _, family := range slices.Compact(families) {
		t.changed(store.Tokens, family)
	}
	_, err := t.exec("DELETE FROM gw_consents WHERE id = ?", id)
	return err
}

func (t *tx) strings(query string, args ...any) (all []string, err error) {
	err = t.each(query, args, func(rows *sql.Rows) error {
		var one string
		err := rows.Scan(&one)
		all = append(all, one)
		return err
	})
	return all, err
}

func ofSubject(subject, clientID string) (condition string, args []any) {
	if clientID == "" {
		return "subject = ?", []any{subject}
	}
	return "subject = ? AND client_id = ?", []any{subject, clientID}
}
