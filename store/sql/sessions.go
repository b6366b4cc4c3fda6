package sql

import (
	"context"
	"database/sql"
	"strings"
	"time"

	"github.com/gatewarden/gatewarden/oauth2"
)

// sealedSession is what of a login session only this program may read.
type sealedSession struct {
	AuthenticatedAt time.Time `json:"authenticated_at"`
	Remember        bool      `json:"remember,omitempty"`
	ACR             string    `json:"acr,omitempty"`
	AMR             []string  `json:"amr,omitempty"`
}

// SaveLoginSession inserts or replaces.
func (s *Store) SaveLoginSession(ctx context.Context, l oauth2.LoginSession) error {
	if err := checkID("login session", l.ID); err != nil {
		return err
	}
	if err := checkKeys("login session", l.Subject); err != nil {
		return err
	}
	data, err := encode("login session", sealedSession{l.AuthenticatedAt, l.Remember, l.ACR, l.AMR})
	if err != nil {
		return err
	}
	_, err = s.exec(ctx, s.dialect.upsert("gw_login_sessions", 1, "id", "subject", "expires_at", "data"),
		l.ID, l.Subject, millis(l.ExpiresAt), s.ring.seal(sealSessions, l.ID, data))
	return err
}

// LoginSession returns fault.NotFound, also when expired.
func (s *Store) LoginSession(ctx context.Context, id string) (oauth2.LoginSession, error) {
	if !isKey(id) {
		return oauth2.LoginSession{}, notFound(sql.ErrNoRows, "login session")
	}
	l, err := s.readSession(func(into ...any) error {
		return s.one(ctx, selectSessions+"id = ? AND (expires_at = 0 OR expires_at > ?)", []any{id, millis(s.now())}, into...)
	})
	return l, notFound(s.fail(ctx, err), "login session")
}

// LoginSessions lists the sessions of a subject by id.
func (s *Store) LoginSessions(ctx context.Context, subject string, limit int) (all []oauth2.LoginSession, err error) {
	if !isKey(subject) {
		return nil, nil
	}
	err = s.each(ctx, selectSessions+"subject = ? AND (expires_at = 0 OR expires_at > ?) ORDER BY id LIMIT ?",
		[]any{subject, millis(s.now()), max(limit, 0)}, func(rows *sql.Rows) error {
			l, err := s.readSession(rows.Scan)
			all = append(all, l)
			return err
		})
	return all, err
}

const selectSessions = "SELECT id, subject, expires_at, data FROM gw_login_sessions WHERE "

func (s *Store) readSession(scan func(...any) error) (l oauth2.LoginSession, err error) {
	var expires int64
	var sealed []byte
	if err := scan(&l.ID, &l.Subject, &expires, &sealed); err != nil {
		return oauth2.LoginSession{}, err
	}
	var opened sealedSession
	data, err := s.ring.open(sealSessions, l.ID, sealed)
	if err == nil {
		err = decode("login session", data, &opened)
	}
	if err != nil {
		return oauth2.LoginSession{}, err
	}
	l.ExpiresAt, l.AuthenticatedAt, l.Remember, l.ACR, l.AMR = fromMillis(expires), opened.AuthenticatedAt, opened.Remember, opened.ACR, opened.AMR
	return l, nil
}

// DeleteLoginSession ends a session and returns the clients that took part in it.
func (s *Store) DeleteLoginSession(ctx context.Context, id string) ([]oauth2.Participant, error) {
	return s.deleteSessions(ctx, "s.id = ?", id)
}

// DeleteLoginSessions ends the sessions of a subject but one, and returns the clients
// that took part in them.
func (s *Store) DeleteLoginSessions(ctx context.Context, subject, keep string) ([]oauth2.Participant, error) {
	if !isKey(keep) {
		keep = ""
	}
	return s.deleteSessions(ctx, "s.subject = ? AND s.id <> ?", subject, keep)
}

// deleteSessions ends the sessions that a condition on gw_login_sessions s selects.
func (s *Store) deleteSessions(ctx context.Context, condition, key string, more ...any) (told []oauth2.Participant, err error) {
	if !isKey(key) {
		return nil, nil
	}
	args := append([]any{key}, more...)
	err = s.write(ctx, func(t *tx) error {
		told = nil
		var all []oauth2.Participant
		const query = "SELECT p.session_id, p.client_id FROM gw_participants p JOIN gw_login_sessions s ON s.id = p.session_id"
		err := t.each(query+" WHERE "+condition+" ORDER BY p.session_id, p.client_id", args, func(rows *sql.Rows) error {
			var p oauth2.Participant
			err := rows.Scan(&p.SessionID, &p.ClientID)
			all = append(all, p)
			return err
		})
		if err != nil {
			return err
		}
		for _, p := range all {
			rows, err := t.exec("DELETE FROM gw_participants WHERE session_id = ? AND client_id = ?", p.SessionID, p.ClientID)
			if err != nil {
				return err
			}
			if rows > 0 { // else another call has it
				told = append(told, p)
			}
		}
		_, err = t.exec("DELETE FROM gw_login_sessions WHERE "+strings.ReplaceAll(condition, "s.", ""), args...)
		return err
	})
	return told, err
}
