// Package testenv gives tests what they need from outside of the process: fresh
// databases of every kind that the program supports.
//
// PostgreSQL and MySQL come from TEST_POSTGRES_DSN and TEST_MYSQL_DSN if set, else
// from a server on the standard port that lets us in, else from a private server
// that is started from installed binaries in a temporary folder. Where none of this
// is possible the test is skipped with the reason; under CI=true it fails. A package
// that uses them has a TestMain that calls Main, which stops what was started.
package testenv

import (
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
)

// Database is one kind of database and a way to get a fresh one.
type Database struct {
	Name string // memory, sqlite, postgres, mysql
	// DSN creates an empty database and drops it when the test ends. Called for a
	// database that cannot be had, it ends the test.
	DSN func(t testing.TB) string
	// Durable databases outlive the store that opened them.
	Durable bool
}

// Databases lists every kind of database that the program supports.
func Databases() []Database {
	return []Database{
		{Name: "memory", DSN: func(testing.TB) string { return "memory" }},
		{Name: "sqlite", DSN: SQLite, Durable: true},
		{Name: "postgres", DSN: Postgres, Durable: true},
		{Name: "mysql", DSN: MySQL, Durable: true},
	}
}

// SQLite returns the DSN of a file in the test's folder.
func SQLite(t testing.TB) string {
	return "sqlite://" + (&url.URL{Path: filepath.Join(t.TempDir(), "test.sqlite")}).EscapedPath()
}

// Postgres returns the DSN of a fresh PostgreSQL database.
func Postgres(t testing.TB) string {
	t.Helper()
	admin := postgresServer.get(t)
	name := freshName()
	execute(t, "pgx", admin, `CREATE DATABASE `+name+` ENCODING 'UTF8' TEMPLATE template0`)
	t.Cleanup(func() { execute(t, "pgx", admin, `DROP DATABASE IF EXISTS `+name+` WITH (FORCE)`) })
	u, err := url.Parse(admin)
	if err != nil {
		t.Fatal("TEST_POSTGRES_DSN is not a URL")
	}
	u.Path = "/" + name
	return u.String()
}

// MySQL returns the DSN of a fresh MySQL or MariaDB database.
func MySQL(t testing.TB) string {
	t.Helper()
	admin := mysqlServer.get(t)
	name := freshName()
	execute(t, "mysql", admin, "CREATE DATABASE "+name)
	t.Cleanup(func() { execute(t, "mysql", admin, "DROP DATABASE IF EXISTS "+name) })
	config, err := mysql.ParseDSN(admin)
	if err != nil {
		t.Fatal("TEST_MYSQL_DSN is not a DSN")
	}
	config.DBName = name
	return "mysql://" + config.FormatDSN()
}

// Main runs the tests, stops the servers that were started for them and exits.
func Main(m *testing.M) {
	code := m.Run()
	postgresServer.close()
	mysqlServer.close()
	os.Exit(code)
}

// server is found or started at most once per process.
type server struct {
	name, env, driver string
	// candidates are DSNs of servers that may run on the standard port.
	candidates []string
	// start starts a private server in an empty folder and returns its DSN.
	start func(folder string) (*process, string, error)

	once    sync.Once
	dsn     string
	err     error
	running *process
}

var postgresServer = &server{
	name: "PostgreSQL", env: "TEST_POSTGRES_DSN", driver: "pgx",
	candidates: []string{
		"postgres://postgres@127.0.0.1:5432/postgres?sslmode=disable",
		"postgres://postgres:postgres@127.0.0.1:5432/postgres?sslmode=disable",
	},
	start: startPostgres,
}

var mysqlServer = &server{
	name: "MySQL or MariaDB", env: "TEST_MYSQL_DSN", driver: "mysql",
	candidates: []string{"root@tcp(127.0.0.1:3306)/", "root:root@tcp(127.0.0.1:3306)/", "root:mysql@tcp(127.0.0.1:3306)/"},
	start:      startMySQL,
}

// get returns the DSN of the server, or ends the test.
func (s *server) get(t testing.TB) string {
	t.Helper()
	s.once.Do(s.find)
	if s.err == nil {
		return s.dsn
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("no %s to test with: %v", s.name, s.err)
	}
	text := fmt.Sprintf("NOT TESTED WITH %s: %s (set %s to a server that may be used, or install its packages)", strings.ToUpper(s.name), strings.Join(strings.Fields(s.err.Error()), " "), s.env)
	shout(t, text)
	t.Skipf("%s", text)
	return ""
}

// shout appends text to the file that TEST_SKIPPED names, which scripts/test.sh prints
// at the end: go test shows nothing of what a package that passed has to say.
func shout(t testing.TB, text string) {
	t.Helper()
	path := os.Getenv("TEST_SKIPPED")
	if path == "" {
		return
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Error(err)
		return
	}
	defer f.Close()
	if _, err := fmt.Fprintln(f, text); err != nil {
		t.Error(err)
	}
}

func (s *server) find() {
	if s.dsn = strings.TrimPrefix(os.Getenv(s.env), "mysql://"); s.dsn != "" {
		if err := s.answers(s.dsn); err != nil {
			s.err = fmt.Errorf("%s does not answer: %w", s.env, err)
		}
		return
	}
	for _, dsn := range s.candidates {
		if s.answers(dsn) == nil {
			s.dsn = dsn
			return
		}
	}
	folder, err := os.MkdirTemp("", "gatewarden-db-")
	if err != nil {
		s.err = err
		return
	}
	if s.running, s.dsn, s.err = s.start(folder); s.err != nil {
		s.err = fmt.Errorf("none on the standard port, and starting a private one: %w", s.err)
		_ = os.RemoveAll(folder)
		return
	}
	s.running.folder = folder
	s.err = s.await()
}

// await waits until the private server lets us in, or ends.
func (s *server) await() error {
	deadline := time.Now().Add(time.Minute)
	for {
		err := s.answers(s.dsn)
		if err == nil {
			return nil
		}
		select {
		case <-s.running.ended:
			return fmt.Errorf("the server ended: %s", s.running.output.String())
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the server does not answer: %w: %s", err, s.running.output.String())
		}
	}
}

func (s *server) answers(dsn string) error {
	db, err := sql.Open(s.driver, dsn)
	if err != nil {
		return err
	}
	defer db.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return db.PingContext(ctx)
}

func (s *server) close() {
	if s.running != nil {
		s.running.stop()
	}
}

func execute(t testing.TB, driver, dsn, statement string) {
	t.Helper()
	db, err := sql.Open(driver, dsn)
	if err == nil {
		defer db.Close()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_, err = db.ExecContext(ctx, statement)
	}
	if err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func freshName() string { return "gw_test_" + strings.ToLower(rand.Text()[:16]) }
