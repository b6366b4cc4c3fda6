package sql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/oauth2"
)

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
