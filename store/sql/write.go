package sql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"time"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/oauth2"
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
	return s.fail(ctx, s.retry(ctx, func() error {
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
	err = s.retry(ctx, func() (err error) {
		rows, err = s.reads.exec(ctx, query, args...)
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
	return s.reads.one(ctx, query, args, into...)
}

func (s *Store) each(ctx context.Context, query string, args []any, scan func(*sql.Rows) error) error {
	defer s.share()()
	return s.fail(ctx, s.reads.each(ctx, query, args, scan))
}

func (s *Store) share() (done func()) {
	if s.gate == nil {
		return func() {}
	}
	s.gate.RLock()
	return s.gate.RUnlock
}

// fail classifies an error that comes from the database.
func (s *Store) fail(ctx context.Context, err error) error {
	var known *fault.Error
	var network net.Error
	switch {
	case err == nil, errors.As(err, &known), errors.Is(err, oauth2.ErrSpent), errors.Is(err, errDuplicate), errors.Is(err, sql.ErrNoRows):
		return err
	case ended(ctx) != nil:
		return fmt.Errorf("database: %w", ended(ctx))
	case s.closed.Load():
		return fault.Wrap(fault.Unavailable, "database_closed", "the store is closed", err)
	case s.dialect.down(err), s.dialect.retry(err), errors.As(err, &network), errors.Is(err, driver.ErrBadConn),
		errors.Is(err, sql.ErrConnDone), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fault.Wrap(fault.Unavailable, "database_unavailable", "the database does not answer", err)
	}
	return fmt.Errorf("database: %w", err)
}

// ended is ctx.Err, and says so too when a driver noticed the deadline first.
func ended(ctx context.Context) error {
	if deadline, ok := ctx.Deadline(); ok && ctx.Err() == nil && !time.Now().Before(deadline) {
		return context.DeadlineExceeded
	}
	return ctx.Err()
}

// notFound and conflict turn the two expected outcomes into faults for the caller.
func notFound(err error, what string) error {
	if errors.Is(err, sql.ErrNoRows) {
		return fault.New(fault.NotFound, reason(what, "not_found"), "there is no such "+what)
	}
	return err
}

func conflict(err error, what string) error {
	if errors.Is(err, errDuplicate) {
		return fault.New(fault.Conflict, reason(what, "exists"), "the "+what+" exists already")
	}
	return err
}

// reason is a reason id: login_session_not_found.
func reason(words ...string) string { return strings.ReplaceAll(strings.Join(words, "_"), " ", "_") }

// found is notFound for a statement that matched no row.
func found(rows int64, err error, what string) error {
	if err == nil && rows == 0 {
		err = sql.ErrNoRows
	}
	return notFound(err, what)
}

// spent turns a transition that matched no row into ErrSpent.
func spent(rows int64, err error) error {
	if err == nil && rows == 0 {
		return oauth2.ErrSpent
	}
	return err
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
