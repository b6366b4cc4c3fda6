// Package sql keeps everything that store.Store asks for in SQLite (in memory or
// in a file), PostgreSQL, or MySQL and MariaDB: one implementation over
// database/sql, with a small dialect for what differs.
//
// # Model
//
// Keys (ids, signatures, subjects) are text that compares byte by byte; values are
// JSON documents. Documents that hold a session, a key, a flow or a consent are
// sealed with the system secret. Times are milliseconds since 1970 UTC; 0 is none.
//
// # Rules
//
// A transition is one conditional statement with a row count. A write that other
// nodes must hear of appends to the revision log in its own transaction, as its
// last statement. With SQLite all writes go through one committer, which puts what
// arrives together into one transaction, each write in its own savepoint.
//
// Every error is a *fault.Error, oauth2.ErrSpent, the context's error, or internal;
// Unavailable means that the database does not answer.
package sql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/store"
)

// Options say which database and how.
type Options struct {
	// DSN is memory, sqlite://path, postgres://user:password@host:port/db or
	// mysql://user:password@tcp(host:port)/db (mysql://user:password@host:port/db
	// too). max_conns, max_idle_conns, max_conn_lifetime and max_conn_idle_time may
	// be given as query parameters, as with Hydra.
	DSN string
	// Secrets are the system secrets (secrets.system), at least 16 characters each:
	// the first one seals, all of them open. With the DSN memory none means a random
	// one; every other DSN needs one.
	Secrets []string
	// AutoMigrate lets Open bring a PostgreSQL or MySQL schema up to date. SQLite
	// always is.
	AutoMigrate bool
	// Log receives what Open did; nil: nothing is logged.
	Log *slog.Logger
	// MaxConns and MaxIdleConns bound the pool; 0: 4 per CPU, at least 16, and as many
	// idle. The DSN's own parameters win.
	MaxConns, MaxIdleConns int
	// Timeout bounds each read and each transaction on a server; default 5s. A server that
	// does not answer in time is Unavailable.
	Timeout time.Duration
	// Now is the clock that expiry is judged by; nil: time.Now.
	Now func() time.Time
}

// Store is a store.Store over database/sql. It is safe for concurrent use.
type Store struct {
	dialect *dialect
	target  target
	pool    *sql.DB
	reads   runner
	// gate keeps readers of an in-memory database out while a batch is written.
	gate *sync.RWMutex
	// committer is the only writer of SQLite; nil for the others.
	committer *committer
	ring      *ring
	root      []byte
	schema    int64
	now       func() time.Time
	timeout   time.Duration // 0: none, for SQLite
	closed    atomic.Bool
}

var _ store.Store = (*Store)(nil)

// connectTimeout bounds how long Open waits for a server that does not answer.
const connectTimeout = 10 * time.Second

// Open connects, migrates where that is automatic, and checks schema and secret.
// Its errors name the setting (dsn, secrets.system) and never a password.
func Open(ctx context.Context, o Options) (_ *Store, err error) {
	t, err := parseDSN(o.DSN, o.MaxConns, o.MaxIdleConns)
	if err != nil {
		return nil, err
	}
	ring, err := newRing(o.Secrets, t.memory)
	if err != nil {
		return nil, err
	}
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Timeout <= 0 {
		o.Timeout = 5 * time.Second
	}
	s := &Store{dialect: t.dialect, target: t, ring: ring, now: o.Now, schema: t.dialect.schemaVersion()}
	if err := s.connect(ctx, o); err != nil {
		_ = s.Close() // the first error counts
		return nil, t.fail(err)
	}
	err = s.checkSecret(ctx)
	if err == nil {
		err = s.openRoot(ctx)
	}
	if err != nil {
		_ = s.Close()
		return nil, t.fail(err)
	}
	o.Log.InfoContext(ctx, "database opened", "database", t.dialect.name, "schema", s.schema)
	return s, nil
}

func (s *Store) connect(ctx context.Context, o Options) error {
	if s.dialect.writer {
		return s.connectSQLite(ctx, o.Log)
	}
	pool, err := s.target.open()
	if err != nil {
		return err
	}
	s.pool, s.timeout = pool, o.Timeout
	s.reads = s.runner(pool)
	reach, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	if err := pool.PingContext(reach); err != nil {
		return err
	}
	if o.AutoMigrate {
		if err := migrateLogged(ctx, pool, s.dialect, o.Log); err != nil {
			return err
		}
	}
	return s.Ping(ctx)
}

// connectSQLite opens the writer first: it creates the file, and a database in
// memory lives as long as a connection to it.
func (s *Store) connectSQLite(ctx context.Context, log *slog.Logger) error {
	writer, err := s.target.openWriter()
	if err != nil {
		return err
	}
	if err := migrateLogged(ctx, writer, s.dialect, log); err != nil {
		return errors.Join(err, writer.Close())
	}
	if s.target.memory {
		s.gate = new(sync.RWMutex)
	}
	if s.committer, err = newCommitter(ctx, writer, s.gate, s.dialect); err != nil {
		return errors.Join(err, writer.Close())
	}
	if s.pool, err = s.target.open(); err != nil {
		return err
	}
	s.reads = runner{session: s.pool, dialect: s.dialect, statements: newStatements(s.pool)}
	return s.Ping(ctx)
}

// Ping reports whether the database answers and its schema is the program's.
func (s *Store) Ping(ctx context.Context) error {
	var version sql.NullInt64
	err := s.one(ctx, "SELECT MAX(version_id) FROM "+migrationsTable, nil, &version)
	switch {
	case err != nil && s.dialect.noTable(err):
		version.Int64 = 0
	case err != nil:
		return s.fail(ctx, err)
	}
	switch {
	case version.Int64 < s.schema:
		return fault.New(fault.Unavailable, "schema_behind",
			fmt.Sprintf("the schema is at version %d and the program needs %d: run `gatewarden migrate sql`", version.Int64, s.schema))
	case version.Int64 > s.schema:
		return fault.New(fault.Unavailable, "schema_ahead",
			fmt.Sprintf("the schema is at version %d and the program knows %d: run a newer gatewarden", version.Int64, s.schema))
	}
	return nil
}

// Close waits for writes that have begun, then closes the connections.
func (s *Store) Close() error {
	s.closed.Store(true)
	var errs []error
	if s.pool != nil {
		s.reads.statements.close()
		errs = append(errs, s.pool.Close())
	}
	if s.committer != nil {
		errs = append(errs, s.committer.close())
	}
	return errors.Join(errs...)
}
