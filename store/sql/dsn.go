package sql

import (
	"context"
	"crypto/rand"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"modernc.org/sqlite"

	"github.com/gatewarden/gatewarden/fault"
)

// target is a DSN that was understood.
type target struct {
	dialect *dialect
	memory  bool
	// password must never be printed.
	password       string
	file           string // SQLite's, or empty
	reader, writer func() (driver.Connector, error)
	pool           poolOptions
}

type poolOptions struct {
	conns, idle        int
	lifetime, idleTime time.Duration
}

// parseDSN understands Options.DSN. Errors never quote it: it holds a password.
func parseDSN(dsn string, conns, idle int) (target, error) {
	scheme, rest, _ := strings.Cut(dsn, "://")
	conns = max(conns, 0)
	if conns == 0 {
		conns = max(16, 4*runtime.NumCPU())
	}
	t := target{pool: poolOptions{conns: conns, idle: idle, lifetime: time.Hour, idleTime: 5 * time.Minute}}
	if idle <= 0 {
		t.pool.idle = conns
	}
	address, rawQuery, _ := strings.Cut(rest, "?")
	query, err := url.ParseQuery(rawQuery)
	if err != nil {
		return t, dsnError("the query is not valid")
	}
	if err := t.pool.take(query); err != nil {
		return t, err
	}
	switch {
	case dsn == "":
		return t, dsnError("empty: give memory, sqlite://, postgres:// or mysql://")
	case dsn == "memory":
		err = t.sqliteMemory()
	case scheme == "sqlite" || scheme == "sqlite3":
		err = t.sqliteFile(address, query)
	case scheme == "postgres" || scheme == "postgresql":
		err = t.postgres(address, query)
	case scheme == "mysql":
		err = t.mysql(address, query)
	default:
		err = dsnError("unknown kind of database: give memory, sqlite://, postgres:// or mysql://")
	}
	return t, err
}

func dsnError(text string) error { return fault.New(fault.Invalid, "invalid_dsn", "dsn: "+text) }

// take removes Hydra's pool parameters from the query.
func (p *poolOptions) take(query url.Values) error {
	for name, set := range map[string]func(string) error{
		"max_conns":          count(&p.conns),
		"max_idle_conns":     count(&p.idle),
		"max_conn_lifetime":  duration(&p.lifetime),
		"max_conn_idle_time": duration(&p.idleTime),
	} {
		if !query.Has(name) {
			continue
		}
		if set(query.Get(name)) != nil {
			return dsnError(name + " is not valid")
		}
		query.Del(name)
	}
	return nil
}

func count(into *int) func(string) error {
	return func(text string) error {
		n, err := strconv.Atoi(text)
		if err == nil && n < 1 {
			err = strconv.ErrRange
		}
		*into = n
		return err
	}
}

func duration(into *time.Duration) func(string) error {
	return func(text string) (err error) {
		*into, err = time.ParseDuration(text)
		return err
	}
}

func (t *target) sqliteMemory() error {
	t.dialect, t.memory = sqliteDialect, true
	// The memdb VFS shares one database between the connections of this process that
	// know its name; shared-cache mode would lock per table and not wait.
	t.sqlite("file:/"+rand.Text(), url.Values{"vfs": {"memdb"}})
	return nil
}

// sqliteFile accepts Hydra's parameters whose meaning is ours anyway and refuses
// the others: an unknown one could weaken durability unnoticed.
func (t *target) sqliteFile(path string, query url.Values) error {
	memory := path == ":memory:" || path == "file::memory:" || query.Get("mode") == "memory"
	for name := range query {
		switch name {
		case "_fk", "_foreign_keys", "_journal", "_journal_mode", "_busy_timeout", "_timeout", "cache", "mode":
		default:
			return dsnError("unknown parameter " + strconv.Quote(name))
		}
	}
	if memory {
		return t.sqliteMemory()
	}
	path, err := url.PathUnescape(strings.TrimPrefix(path, "file:"))
	if err != nil || path == "" {
		return dsnError("sqlite:// needs a path")
	}
	t.dialect, t.file = sqliteDialect, path
	// Every commit is on the disk before it is answered: with NORMAL a loss of power
	// could make a redeemed code good again.
	t.sqlite((&url.URL{Scheme: "file", Opaque: filepath.ToSlash((&url.URL{Path: path}).EscapedPath())}).String(),
		url.Values{"_pragma": {"journal_mode(WAL)", "synchronous(FULL)"}})
	return nil
}

func (t *target) sqlite(name string, query url.Values) {
	pragmas := append([]string{"busy_timeout(5000)", "foreign_keys(1)"}, query["_pragma"]...)
	connector := func(more string, pragma ...string) func() (driver.Connector, error) {
		values := url.Values{"_pragma": append(pragmas[:len(pragmas):len(pragmas)], pragma...), "_defensive": {"1"}}
		if query.Has("vfs") {
			values.Set("vfs", query.Get("vfs"))
		}
		return func() (driver.Connector, error) { return sqlite.NewConnector(name + "?" + values.Encode() + more) }
	}
	t.writer = connector("&_txlock=immediate")
	t.reader = connector("", "query_only(1)")
}

func (t *target) postgres(address string, query url.Values) error {
	t.dialect = postgresDialect
	config, err := pgx.ParseConfig("postgres://" + address + "?" + query.Encode())
	if err != nil {
		return dsnError("not a valid postgres:// URL (special characters in the password are percent-encoded)")
	}
	t.password = config.Password
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "gatewarden"
	}
	t.reader = func() (driver.Connector, error) { return stdlib.GetConnector(*config), nil }
	return nil
}

// mysql reads the driver's form user:password@tcp(host:port)/db and the URL form.
func (t *target) mysql(address string, query url.Values) error {
	t.dialect = mysqlDialect
	if query.Has("multiStatements") {
		return dsnError("multiStatements is not allowed")
	}
	if !strings.Contains(address, ")/") {
		u, err := url.Parse("mysql://" + address)
		if err != nil || u.Host == "" {
			return dsnError("not a valid mysql:// URL")
		}
		password, _ := u.User.Password()
		host := u.Host
		if u.Port() == "" {
			host += ":3306"
		}
		address = u.User.Username() + ":" + password + "@tcp(" + host + ")/" + url.PathEscape(strings.TrimPrefix(u.Path, "/"))
	}
	config, err := mysql.ParseDSN(address + "?" + query.Encode())
	if err != nil {
		return dsnError("not a valid mysql://user:password@tcp(host:port)/db")
	}
	if config.DBName == "" {
		return dsnError("mysql:// needs the name of a database")
	}
	t.password = config.Passwd
	if config.Params == nil {
		config.Params = map[string]string{}
	}
	config.Params["sql_mode"] = "'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'" // an overlong key is an error, never cut
	config.ClientFoundRows = true                                            // rows matched, not rows changed
	config.InterpolateParams = true                                          // one round trip; the driver escapes
	config.ParseTime = true
	config.Loc = time.UTC
	config.Collation = "utf8mb4_bin"
	config.Logger = &mysql.NopLogger{}
	t.reader = func() (driver.Connector, error) {
		connector, err := mysql.NewConnector(config)
		return readCommitted{connector}, err
	}
	return nil
}

// readCommitted sets the isolation level by statement, because MySQL and MariaDB
// call the variable by different names.
type readCommitted struct{ driver.Connector }

// Connect implements driver.Connector.
func (c readCommitted) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	execer, ok := conn.(driver.ExecerContext)
	if !ok {
		return nil, errors.Join(errors.New("the driver cannot execute"), conn.Close())
	}
	if _, err := execer.ExecContext(ctx, "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED", nil); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

func (t target) open() (*sql.DB, error) {
	connector, err := t.reader()
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(max(t.pool.conns, 2)) // a migration runs beside its lock
	db.SetMaxIdleConns(t.pool.idle)
	if !t.dialect.writer {
		db.SetConnMaxLifetime(t.pool.lifetime)
		db.SetConnMaxIdleTime(t.pool.idleTime)
	}
	return db, nil
}

// openWriter creates SQLite's file for the owner alone; the files beside it inherit
// that.
func (t target) openWriter() (*sql.DB, error) {
	if t.file != "" {
		file, err := os.OpenFile(t.file, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, err
		}
		if err := file.Close(); err != nil {
			return nil, err
		}
	}
	connector, err := t.writer()
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(1)
	return db, nil
}

// fail names the setting and takes the password out of what a driver said.
func (t target) fail(err error) error {
	var known *fault.Error
	if errors.As(err, &known) && known.Err == nil && known.Kind == fault.Invalid {
		return err
	}
	text := strings.Join(strings.Fields(err.Error()), " ") // drivers answer in several lines
	if t.password != "" {
		text = strings.ReplaceAll(text, t.password, "xxxxx")
		text = strings.ReplaceAll(text, url.QueryEscape(t.password), "xxxxx")
	}
	kind, reason := fault.Unavailable, "database_unavailable"
	if known != nil {
		kind, reason = known.Kind, known.Reason
	}
	if !strings.HasPrefix(text, "secrets.system") {
		text = fmt.Sprintf("dsn: %s: %s", t.dialect.name, text)
	}
	return &fault.Error{Kind: kind, Reason: reason, Message: text}
}
