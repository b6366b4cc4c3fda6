package sql

import (
	"context"
	"database/sql"
	"errors"
	"sync"
)

// errDuplicate is a unique violation in any dialect. The driver's own text is left
// out: it quotes the value.
var errDuplicate = errors.New("already exists")

// session is a *sql.DB, *sql.Tx or *sql.Conn.
type session interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	PrepareContext(ctx context.Context, query string) (*sql.Stmt, error)
}

// runner runs statements that are written with question marks on a session.
type runner struct {
	session session
	dialect *dialect
	// statements is set for SQLite, which parses each time otherwise. pgx keeps
	// prepared statements itself, and the MySQL driver needs one round trip anyway.
	statements *statements
}

func (s *Store) runner(session session) runner { return runner{session: session, dialect: s.dialect} }

// exec returns the number of rows that matched.
func (r runner) exec(ctx context.Context, query string, args ...any) (int64, error) {
	var result sql.Result
	var err error
	if r.statements != nil {
		var statement *sql.Stmt
		if statement, err = r.statements.get(ctx, query); err == nil {
			result, err = statement.ExecContext(ctx, args...)
		}
	} else {
		result, err = r.session.ExecContext(ctx, r.dialect.rebind(query), args...)
	}
	if err != nil {
		if r.dialect.duplicate(err) {
			return 0, errDuplicate
		}
		return 0, err
	}
	return result.RowsAffected()
}

// each calls scan for every row.
func (r runner) each(ctx context.Context, query string, args []any, scan func(*sql.Rows) error) error {
	var rows *sql.Rows
	var err error
	if r.statements != nil {
		var statement *sql.Stmt
		if statement, err = r.statements.get(ctx, query); err == nil {
			rows, err = statement.QueryContext(ctx, args...)
		}
	} else {
		rows, err = r.session.QueryContext(ctx, r.dialect.rebind(query), args...)
	}
	if err != nil {
		return err
	}
	for rows.Next() {
		if err := scan(rows); err != nil {
			return errors.Join(err, rows.Close())
		}
	}
	return errors.Join(rows.Err(), rows.Close())
}

// one scans one row, or returns sql.ErrNoRows.
func (r runner) one(ctx context.Context, query string, args []any, into ...any) error {
	found := false
	err := r.each(ctx, query, args, func(rows *sql.Rows) error {
		found = true
		return rows.Scan(into...)
	})
	if err == nil && !found {
		err = sql.ErrNoRows
	}
	return err
}

// statements are prepared once each. The texts are constants of this package, so
// their number is bounded.
type statements struct {
	session session
	mu      sync.RWMutex
	byText  map[string]*sql.Stmt
}

func newStatements(session session) *statements {
	return &statements{session: session, byText: map[string]*sql.Stmt{}}
}

func (c *statements) get(ctx context.Context, query string) (*sql.Stmt, error) {
	c.mu.RLock()
	statement := c.byText[query]
	c.mu.RUnlock()
	if statement != nil {
		return statement, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if statement := c.byText[query]; statement != nil {
		return statement, nil
	}
	statement, err := c.session.PrepareContext(ctx, query)
	if err == nil {
		c.byText[query] = statement
	}
	return statement, err
}

func (c *statements) close() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, statement := range c.byText {
		_ = statement.Close() // of a pool that is closed next
	}
	clear(c.byText)
}
