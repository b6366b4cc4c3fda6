package sql

import (
	"context"
	"database/sql"
	"strings"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/store"
)

// maxAppend bounds the rows of one statement that appends to the log.
const maxAppend = 50

// appendChanges writes what the transaction changed to the revision log.
func (t *tx) appendChanges() error {
	if len(t.changes) == 0 {
		return nil
	}
	d := t.run.dialect
	if d.enterLog != "" {
		var trimmed int64
		if err := t.one(d.enterLog, nil, &trimmed); err != nil {
			return err
		}
	}
	value := "(?, ?, ?)"
	if d.dollar {
		value = "(?::text, ?::text, ?::bigint)"
	}
	for changes := t.changes; len(changes) > 0; {
		some := changes[:min(len(changes), maxAppend)]
		changes = changes[len(some):]
		args := make([]any, 0, 3*len(some))
		for _, change := range some {
			args = append(args, string(change.Topic), change.Item, t.now)
		}
		query := d.appendLog + value + strings.Repeat(", "+value, len(some)-1) + d.appendLogTail
		if _, err := t.exec(query, args...); err != nil {
			return err
		}
	}
	return nil
}

// Revision returns the newest revision; 0 for an empty log. Every change up to it is
// committed: a node that reads it first and then loads everything misses nothing
// that ChangesSince does not tell.
func (s *Store) Revision(ctx context.Context) (int64, error) {
	revision, err := s.newest(ctx)
	if err != nil {
		return 0, err
	}
	return revision, s.settle(ctx)
}

func (s *Store) newest(ctx context.Context) (revision int64, err error) {
	// The newest row is never swept, but a log may be empty.
	err = s.one(ctx, "SELECT COALESCE(MAX(id), 0) FROM gw_revisions", nil, &revision)
	return revision, s.fail(ctx, err)
}

// ChangesSince returns changes after revision in order, at most limit. It returns
// fault.Conflict when changes after revision were swept away, because the node has
// slept for too long, or when the log has never come to revision, because the database
// was restored: load everything anew.
func (s *Store) ChangesSince(ctx context.Context, revision int64, limit int) ([]store.Change, error) {
	if limit <= 0 {
		return nil, nil
	}
	changes, err := s.changes(ctx, revision, limit)
	if err != nil {
		return nil, err
	}
	if contiguous(revision, changes) == len(changes) {
		return changes, s.checkTrimmed(ctx, revision)
	}
	// A number is missing: its transaction was rolled back, or it is still at work.
	// Hand out what comes before the gap; with nothing before it, wait for all that
	// drew a number before the newest seen here, and look again.
	if n := contiguous(revision, changes); n > 0 {
		return changes[:n], s.checkTrimmed(ctx, revision)
	}
	last := changes[len(changes)-1].Revision
	if err := s.settle(ctx); err != nil {
		return nil, err
	}
	changes, err = s.changes(ctx, revision, limit)
	if err != nil {
		return nil, err
	}
	for len(changes) > 0 && changes[len(changes)-1].Revision > last {
		changes = changes[:len(changes)-1]
	}
	return changes, s.checkTrimmed(ctx, revision)
}

func (s *Store) changes(ctx context.Context, revision int64, limit int) (changes []store.Change, err error) {
	err = s.each(ctx, "SELECT id, topic, item FROM gw_revisions WHERE id > ? ORDER BY id LIMIT ?", []any{revision, limit}, func(rows *sql.Rows) error {
		var change store.Change
		err := rows.Scan(&change.Revision, &change.Topic, &change.Item)
		changes = append(changes, change)
		return err
	})
	return changes, err
}

// contiguous counts the changes that follow revision without a gap.
func contiguous(revision int64, changes []store.Change) int {
	for i, change := range changes {
		if change.Revision != revision+int64(i)+1 {
			return i
		}
	}
	return len(changes)
}

// checkTrimmed comes after the read, so that a sweep between the two is noticed.
func (s *Store) checkTrimmed(ctx context.Context, revision int64) error {
	var trimmed, newest int64
	const query = "SELECT trimmed, (SELECT COALESCE(MAX(id), 0) FROM gw_revisions) FROM gw_revision_log WHERE id = 1"
	if err := s.one(ctx, query, nil, &trimmed, &newest); err != nil {
		return s.fail(ctx, err)
	}
	if revision < trimmed {
		return fault.New(fault.Conflict, "revision_swept", "changes after this revision were swept away: load everything anew")
	}
	if revision > newest { // the newest is never swept, so the database is an older one
		return fault.New(fault.Conflict, "revision_unknown", "the log does not know this revision, as after a restore: load everything anew")
	}
	return nil
}

// settle waits until every transaction that has drawn a revision has ended. Where
// revisions commit in order there is nothing to wait for.
func (s *Store) settle(ctx context.Context) error {
	if s.dialect.settle == "" {
		return nil
	}
	return s.write(ctx, func(t *tx) error {
		return t.each(s.dialect.settle, nil, func(*sql.Rows) error { return nil })
	})
}
