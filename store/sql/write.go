package sql

import (
	"context"
	"database/sql"
	"math/rand/v2"
	"time"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/store"
)

// attempts bounds how often a transaction runs that the database broke off.
const attempts = 8

// tx is one transaction (with SQLite, one savepoint of a batch).
type tx struct {
	ctx     context.Context
	run     runner
	now     int64
	changes []store.Change
}

func (t *tx) exec(query string, args ...any) (int64, error) { return t.run.exec(t.ctx, query, args...) }

func (t *tx) one(query string, args []any, into ...any) error {
	return t.run.one(t.ctx, query, args, into...)
}

func (t *tx) each(query string, args []any, scan func(*sql.Rows) error) error {
	return t.run.each(t.ctx, query, args, scan)
}

// changed has the change appended to the revision log at the end of the transaction.
func (t *tx) changed(topic store.Topic, item string) {
	t.changes = append(t.changes, store.Change{Topic: topic, Item: item})
}

// write runs do in one transaction. do may run more than once, so it must set
// everything that it leaves behind. Its changes are appended last: whoever holds
// the log's lock waits for nothing else, so a reader of the log waits only shortly.
func (s *Store) write(ctx context.Context, do func(*tx) error) error {
	work := func(t *tx) error {
		t.changes, t.now = t.changes[:0], millis(s.now())
		if err := do(t); err != nil {
			return err
		}
		return t.appendChanges()
	}
	if s.committer != nil {
		return s.fail(ctx, s.committer.submit(ctx, work))
	}
	bounded, cancel := s.bound(ctx)
	defer cancel()
	return s.fail(ctx, s.retry(bounded, func() error {
		ctx := bounded
		sqlTx, err := s.pool.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		if err := work(&tx{ctx: ctx, run: s.runner(sqlTx)}); err != nil {
			// The reason counts; a rollback fails only where the connection is gone.
			_ = sqlTx.Rollback()
			return err
		}
		return sqlTx.Commit()
	}))
}

// exec runs one statement that is its own transaction.
func (s *Store) exec(ctx context.Context, query string, args ...any) (rows int64, err error) {
	if s.committer != nil {
		err = s.committer.submit(ctx, func(t *tx) (err error) {
			rows, err = t.exec(query, args...)
			return err
		})
		return rows, s.fail(ctx, err)
	}
	bounded, cancel := s.bound(ctx)
	defer cancel()
	err = s.retry(bounded, func() (err error) {
		rows, err = s.reads.exec(bounded, query, args...)
		return err
	})
	return rows, s.fail(ctx, err)
}

func (s *Store) retry(ctx context.Context, do func() error) error {
	for attempt := 1; ; attempt++ {
		err := do()
		if err == nil || attempt == attempts || !s.dialect.retry(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(rand.N(time.Millisecond << attempt)):
		}
	}
}

// one and each read outside of a transaction.
func (s *Store) one(ctx context.Context, query string, args []any, into ...any) error {
	defer s.share()()
	bounded, cancel := s.bound(ctx)
	defer cancel()
	return s.reads.one(bounded, query, args, into...)
}

func (s *Store) each(ctx context.Context, query string, args []any, scan func(*sql.Rows) error) error {
	defer s.share()()
	bounded, cancel := s.bound(ctx)
	defer cancel()
	return s.fail(ctx, s.reads.each(bounded, query, args, scan))
}

// bound bounds how long a server is waited for: one whose network swallows packets would
// be waited for as long as TCP tries.
func (s *Store) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	if s.timeout == 0 {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, s.timeout)
}

func (s *Store) share() (done func()) {
	if s.gate == nil {
		return func() {}
	}
	s.gate.RLock()
	return s.gate.RUnlock
}

// onlyIf adds the condition that a row still has the entity tag; empty: any will do.
// A tag that no row can have matches none.
func onlyIf(etag, query string, args []any) (string, []any) {
	if etag == "" {
		return query, args
	}
	if !isKey(etag) {
		return query + " AND 1 = 0", args
	}
	return query + " AND etag = ?", append(args[:len(args):len(args)], etag)
}

// unchanged says why a statement of onlyIf matched no row: it is gone, or it is
// another one than was read.
func (t *tx) unchanged(rows int64, err error, what, table, id string) error {
	if err != nil || rows > 0 {
		return err
	}
	var one int
	if err := t.one("SELECT 1 FROM "+table+" WHERE id = ?", []any{id}, &one); err != nil {
		return notFound(err, what)
	}
	return fault.New(fault.Conflict, reason(what, "changed"), "the "+what+" has changed since it was read")
}

// millis is a time as it is stored; the zero time is 0.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// fromMillis is the inverse of millis.
func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}
