package sql

import (
	"context"
	"time"
)

const (
	// keepRevisions is how long a node may be away and still catch up by the log.
	keepRevisions = 24 * time.Hour
	// keepUnremembered is how long a consent that is not remembered outlives its
	// last token; its code may not have been issued yet.
	keepUnremembered = 24 * time.Hour
	// sweepBatch bounds one statement, so that writers wait only shortly.
	sweepBatch = 500
)

// Sweep deletes up to limit rows that expired before now; it reports how many. A
// consent goes when no token is left under it, so that revoking it ends them all.
// Keys stay: retiring them is the business of their rotation.
func (s *Store) Sweep(ctx context.Context, now time.Time, limit int) (int, error) {
	ms := millis(now)
	const orphan = "NOT EXISTS (SELECT 1 FROM gw_tokens WHERE gw_tokens.consent_id = gw_consents.id AND gw_tokens.consent_id <> '')"
	swept := 0
	for _, step := range []struct {
		table, condition string
		args             []any
	}{
		{"gw_tokens", "expires_at > 0 AND expires_at <= ?", []any{ms}},
		{"gw_flows", "expires_at > 0 AND expires_at <= ?", []any{ms}},
		{"gw_polls", "expires_at <= ?", []any{ms}},
		{"gw_login_sessions", "expires_at > 0 AND expires_at <= ?", []any{ms}},
		{"gw_replays", "expires_at <= ?", []any{ms}},
		{"gw_attempts", "arrival <= ?", []any{ms}},
		{"gw_logouts", "expires_at <= ?", []any{ms}},
		{"gw_participants", "created_at <= ? AND NOT EXISTS (SELECT 1 FROM gw_login_sessions WHERE id = gw_participants.session_id)", []any{ms - keepUnremembered.Milliseconds()}},
		{"gw_consents", "((expires_at > 0 AND expires_at <= ?) OR (remember = 0 AND handled_at <= ?)) AND " + orphan,
			[]any{ms, ms - keepUnremembered.Milliseconds()}},
	} {
		query := s.dialect.sweep(step.table, step.condition)
		for swept < limit {
			batch := min(limit-swept, sweepBatch)
			rows, err := s.exec(ctx, query, append(step.args[:len(step.args):len(step.args)], batch)...)
			if err != nil {
				return swept, err
			}
			swept += int(rows)
			if int(rows) < batch {
				break
			}
		}
	}
	trimmed, err := s.trim(ctx, ms-keepRevisions.Milliseconds(), limit-swept)
	return swept + trimmed, err
}

// trim forgets old revisions, but never the newest: Revision must not fall. It
// notes how far it went in the same transaction.
func (s *Store) trim(ctx context.Context, before int64, limit int) (trimmed int, err error) {
	if limit <= 0 {
		return 0, nil
	}
	err = s.write(ctx, func(t *tx) error {
		var first, newest, upTo int64
		if err := t.one("SELECT COALESCE(MIN(id), 0), COALESCE(MAX(id), 0) FROM gw_revisions", nil, &first, &newest); err != nil {
			return err
		}
		last := min(newest-1, first+int64(min(limit, sweepBatch))-1)
		if err := t.one("SELECT COALESCE(MAX(id), 0) FROM gw_revisions WHERE id <= ? AND created_at <= ?", []any{last, before}, &upTo); err != nil {
			return err
		}
		trimmed = 0
		if upTo == 0 {
			return nil
		}
		if _, err := t.exec("UPDATE gw_revision_log SET trimmed = ? WHERE id = 1 AND trimmed < ?", upTo, upTo); err != nil {
			return err
		}
		rows, err := t.exec("DELETE FROM gw_revisions WHERE id <= ?", upTo)
		trimmed = int(rows)
		return err
	})
	return trimmed, err
}
