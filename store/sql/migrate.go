package sql

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/pressly/goose/v3"
)

//go:embed migrations
var migrations embed.FS

const migrationsTable = "gw_migrations"

// Migration is one step of the schema.
type Migration struct {
	Version int64
	Name    string
	// AppliedAt is zero when the step is pending.
	AppliedAt time.Time
}

// Migrate brings the schema up to date and returns the names of the steps that it
// applied. Nodes that migrate at once wait for each other. Of Options only DSN and
// Log are used. An error names the step that failed; running again goes on there.
func Migrate(ctx context.Context, o Options) (applied []string, err error) {
	err = withPool(o, func(t target, db *sql.DB) error {
		applied, err = migrate(ctx, db, t.dialect)
		return err
	})
	return applied, err
}

// MigrationStatus lists all steps in order.
func MigrationStatus(ctx context.Context, o Options) (steps []Migration, err error) {
	if t, err := parseDSN(o.DSN, 0, 0); err == nil && t.file != "" {
		if _, err := os.Stat(t.file); errors.Is(err, fs.ErrNotExist) {
			o.DSN = "memory" // opening the file would make it
		}
	}
	err = withPool(o, func(t target, db *sql.DB) error {
		provider, err := newProvider(db, t.dialect)
		if err != nil {
			return err
		}
		return locked(ctx, db, t.dialect, func() error {
			status, err := provider.Status(ctx)
			for _, step := range status {
				steps = append(steps, Migration{Version: step.Source.Version, Name: path.Base(step.Source.Path), AppliedAt: step.AppliedAt.UTC()})
			}
			return err
		})
	})
	return steps, err
}

func withPool(o Options, do func(target, *sql.DB) error) error {
	t, err := parseDSN(o.DSN, o.MaxConns, o.MaxIdleConns)
	if err != nil {
		return err
	}
	open := t.open
	if t.dialect.writer {
		open = t.openWriter
	}
	db, err := open()
	if err != nil {
		return t.fail(err)
	}
	if err := errors.Join(do(t, db), db.Close()); err != nil {
		return t.fail(err)
	}
	return nil
}

func migrateLogged(ctx context.Context, db *sql.DB, d *dialect, log *slog.Logger) error {
	applied, err := migrate(ctx, db, d)
	if len(applied) > 0 {
		log.InfoContext(ctx, "database migrated", "database", d.name, "steps", applied)
	}
	return err
}

func migrate(ctx context.Context, db *sql.DB, d *dialect) (applied []string, err error) {
	provider, err := newProvider(db, d)
	if err != nil {
		return nil, err
	}
	up := func() error {
		results, err := provider.Up(ctx)
		var partial *goose.PartialError
		if errors.As(err, &partial) {
			results = partial.Applied
		}
		for _, result := range results {
			applied = append(applied, path.Base(result.Source.Path))
		}
		return err
	}
	// SQLite has no lock for a session. Each of its steps is one transaction, so of
	// two processes one fails at a step that the other has just made, and finds it
	// done when it looks again.
	for attempt := 0; ; attempt++ {
		err := locked(ctx, db, d, up)
		if err == nil || !d.writer || attempt == 3 || ctx.Err() != nil {
			return applied, err
		}
	}
}

func newProvider(db *sql.DB, d *dialect) (*goose.Provider, error) {
	steps, err := fs.Sub(migrations, "migrations/"+d.name)
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(d.goose, db, steps,
		goose.WithTableName(migrationsTable), goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
}

// locked keeps other nodes from migrating while do runs. The lock ends with the
// connection that holds it, at the latest. goose's own locking is not used: it looks
// at the table of versions before it locks, and on MySQL finds it half made.
func locked(ctx context.Context, db *sql.DB, d *dialect, do func() error) error {
	if d.lock == "" {
		return do()
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	var got sql.NullString // void in PostgreSQL; 1 in MySQL when it was got
	err = conn.QueryRowContext(ctx, d.lock).Scan(&got)
	if err == nil && d == mysqlDialect && got.String != "1" {
		err = errors.New("another node has been migrating for five minutes")
	}
	if err != nil {
		return errors.Join(fmt.Errorf("migration lock: %w", err), conn.Close())
	}
	err = do()
	return errors.Join(err, conn.QueryRowContext(context.WithoutCancel(ctx), d.unlock).Scan(&got), conn.Close())
}

// schemaVersion is the newest step that is embedded.
func (d *dialect) schemaVersion() int64 {
	entries, err := migrations.ReadDir("migrations/" + d.name)
	if err != nil {
		panic(err) // the folder is part of the program
	}
	var newest int64
	for _, entry := range entries {
		number, _, _ := strings.Cut(entry.Name(), "_")
		version, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			panic(err)
		}
		newest = max(newest, version)
	}
	return newest
}
