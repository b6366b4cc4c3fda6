package sql

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/oauth2"
)

// CreateFlow returns fault.Conflict when the id or one of the hashes exists.
func (s *Store) CreateFlow(ctx context.Context, f oauth2.Flow) error {
	if err := checkID("flow", f.ID); err != nil {
		return err
	}
	args, err := s.flowArgs(f)
	if err != nil {
		return err
	}
	const insert = "INSERT INTO gw_flows (state, login_challenge, login_verifier, consent_challenge, consent_verifier," +
		" client_id, subject, session_id, expires_at, data, id) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
	if !f.State.Polled() {
		_, err = s.exec(ctx, insert, args...)
		return conflict(err, "flow")
	}
	return s.write(ctx, func(t *tx) error {
		if _, err := t.exec(insert, args...); err != nil {
			return conflict(err, "flow")
		}
		_, err := t.exec("INSERT INTO gw_polls (id, client_id, subject, polled_at, extra, expires_at) VALUES (?, ?, ?, 0, 0, ?)", f.ID, f.ClientID, f.Subject, millis(f.ExpiresAt))
		return conflict(err, "flow")
	})
}

// Flow returns fault.NotFound also for an expired flow.
func (s *Store) Flow(ctx context.Context, by oauth2.FlowKey, hash string) (oauth2.Flow, error) {
	var column string
	switch by {
	case oauth2.ByLoginChallenge, oauth2.ByLoginVerifier, oauth2.ByConsentChallenge, oauth2.ByConsentVerifier, oauth2.ByID:
		column = string(by)
	default:
		return oauth2.Flow{}, fmt.Errorf("unknown flow key %q", by)
	}
	if !isKey(hash) || hash == "" {
		return oauth2.Flow{}, notFound(sql.ErrNoRows, "flow")
	}
	var row flowRow
	err := s.one(ctx, "SELECT "+flowColumns+" FROM gw_flows WHERE "+column+" = ? AND (expires_at = 0 OR expires_at > ?)", []any{hash, millis(s.now())}, row.fields()...)
	if err != nil {
		return oauth2.Flow{}, notFound(s.fail(ctx, err), "flow")
	}
	return s.flow(row)
}

// WaitingFlows lists what waits for a person.
func (s *Store) WaitingFlows(ctx context.Context, subject string, state oauth2.FlowState, limit int) (found []oauth2.Flow, err error) {
	if !isKey(subject) {
		return nil, nil
	}
	now := millis(s.now())
	err = s.each(ctx, "SELECT "+flowColumns+" FROM gw_flows WHERE id IN (SELECT id FROM gw_polls WHERE subject = ? AND expires_at > ?)"+
		" AND state = ? AND expires_at > ? ORDER BY expires_at, id LIMIT ?", []any{subject, now, int(state), now, max(limit, 0)}, func(rows *sql.Rows) error {
		var row flowRow
		if err := rows.Scan(row.fields()...); err != nil {
			return err
		}
		f, err := s.flow(row)
		found = append(found, f)
		return err
	})
	return found, err
}

// PollFlow moves the time of the last poll in one conditional statement, or counts that
// it came too soon.
func (s *Store) PollFlow(ctx context.Context, id, clientID string, interval time.Duration) (bool, error) {
	if !isKey(id) || !isKey(clientID) {
		return false, nil
	}
	now, wait := millis(s.now()), interval.Milliseconds()
	rows, err := s.exec(ctx, "UPDATE gw_polls SET polled_at = ? WHERE id = ? AND client_id = ? AND polled_at + extra + ? <= ?", now, id, clientID, wait, now)
	if err != nil || rows > 0 {
		return false, err
	}
	rows, err = s.exec(ctx, "UPDATE gw_polls SET polled_at = ?, extra = extra + ? WHERE id = ? AND client_id = ?", now, oauth2.PollPenalty.Milliseconds(), id, clientID)
	return rows > 0, err
}

const flowColumns = "id, state, login_challenge, login_verifier, consent_challenge, consent_verifier, client_id, subject, session_id, expires_at, data"

// flowRow is a flow as it is stored.
type flowRow struct {
	f                                                                oauth2.Flow
	loginChallenge, loginVerifier, consentChallenge, consentVerifier sql.NullString
	expires                                                          int64
	sealed                                                           []byte
}

// fields are those of flowColumns.
func (r *flowRow) fields() []any {
	return []any{&r.f.ID, &r.f.State, &r.loginChallenge, &r.loginVerifier, &r.consentChallenge, &r.consentVerifier,
		&r.f.ClientID, &r.f.Subject, &r.f.SessionID, &r.expires, &r.sealed}
}

func (s *Store) flow(r flowRow) (f oauth2.Flow, err error) {
	f = r.f
	f.LoginChallenge, f.LoginVerifier = r.loginChallenge.String, r.loginVerifier.String
	f.ConsentChallenge, f.ConsentVerifier = r.consentChallenge.String, r.consentVerifier.String
	f.ExpiresAt = fromMillis(r.expires)
	if f.Data, err = s.ring.open(sealFlows, f.ID, r.sealed); err != nil {
		return oauth2.Flow{}, err
	}
	return f, nil
}

// AdvanceFlow replaces the flow if it is still in state from. A flow that is
// unknown, expired or in another state is ErrSpent.
func (s *Store) AdvanceFlow(ctx context.Context, from oauth2.FlowState, f oauth2.Flow) error {
	if f.State <= from {
		return fault.New(fault.Invalid, "invalid_flow", fmt.Sprintf("a flow cannot go from state %d to %d", from, f.State))
	}
	if !isKey(f.ID) {
		return oauth2.ErrSpent
	}
	args, err := s.flowArgs(f)
	if err != nil {
		return err
	}
	rows, err := s.exec(ctx, "UPDATE gw_flows SET state = ?, login_challenge = ?, login_verifier = ?, consent_challenge = ?, consent_verifier = ?,"+
		" client_id = ?, subject = ?, session_id = ?, expires_at = ?, data = ? WHERE id = ? AND state = ? AND (expires_at = 0 OR expires_at > ?)",
		append(args, int(from), millis(s.now()))...)
	return conflict(spent(rows, err), "flow")
}

// flowArgs ends with the id. Hashes that are not set yet are NULL, which is unique.
func (s *Store) flowArgs(f oauth2.Flow) ([]any, error) {
	if err := checkKeys("flow", f.LoginChallenge, f.LoginVerifier, f.ConsentChallenge, f.ConsentVerifier, f.ClientID, f.Subject, f.SessionID); err != nil {
		return nil, err
	}
	if len(f.Data) > maxDocument {
		return nil, fault.New(fault.TooLarge, "flow_too_large", fmt.Sprintf("the flow is larger than %d bytes", maxDocument))
	}
	hash := func(h string) sql.NullString { return sql.NullString{String: h, Valid: h != ""} }
	return []any{int(f.State), hash(f.LoginChallenge), hash(f.LoginVerifier), hash(f.ConsentChallenge), hash(f.ConsentVerifier),
		f.ClientID, f.Subject, f.SessionID, millis(f.ExpiresAt), s.ring.seal(sealFlows, f.ID, f.Data), f.ID}, nil
}
