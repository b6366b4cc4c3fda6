package sql

import (
	"context"
	"database/sql"
	"fmt"

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
	_, err = s.exec(ctx, "INSERT INTO gw_flows (state, login_challenge, login_verifier, consent_challenge, consent_verifier,"+
		" client_id, subject, session_id, expires_at, data, id) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", args...)
	return conflict(err, "flow")
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
	var f oauth2.Flow
	var loginChallenge, loginVerifier, consentChallenge, consentVerifier sql.NullString
	var expires int64
	var sealed []byte
	err := s.one(ctx, "SELECT id, state, login_challenge, login_verifier, consent_challenge, consent_verifier, client_id, subject, session_id, expires_at, data"+
		" FROM gw_flows WHERE "+column+" = ? AND (expires_at = 0 OR expires_at > ?)", []any{hash, millis(s.now())},
		&f.ID, &f.State, &loginChallenge, &loginVerifier, &consentChallenge, &consentVerifier, &f.ClientID, &f.Subject, &f.SessionID, &expires, &sealed)
	if err != nil {
		return oauth2.Flow{}, notFound(s.fail(ctx, err), "flow")
	}
	f.LoginChallenge, f.LoginVerifier = loginChallenge.String, loginVerifier.String
	f.ConsentChallenge, f.ConsentVerifier = consentChallenge.String, consentVerifier.String
	f.ExpiresAt = fromMillis(expires)
	if f.Data, err = s.ring.open(sealFlows, f.ID, sealed); err != nil {
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
