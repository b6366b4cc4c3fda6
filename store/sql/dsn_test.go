package sql

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/fault"
)

const testSecret = "a system secret of these tests"

func TestADSNIsUnderstoodOrRefusedByName(t *testing.T) {
	type understood struct {
		Dialect, Password, File string
		Memory                  bool
	}
	for dsn, want := range map[string]understood{
		"memory":            {Dialect: "sqlite", Memory: true},
		"sqlite://:memory:": {Dialect: "sqlite", Memory: true},
		"sqlite://file::memory:?cache=shared&_fk=1":   {Dialect: "sqlite", Memory: true},
		"sqlite://x?mode=memory&_fk=true":             {Dialect: "sqlite", Memory: true},
		"sqlite:///var/lib/db.sqlite?_fk=true":        {Dialect: "sqlite", File: "/var/lib/db.sqlite"},
		"sqlite://folder/a%20b%3Fc.sqlite":            {Dialect: "sqlite", File: "folder/a b?c.sqlite"},
		"postgres://u:p%40ss@h:1/db?sslmode=disable":  {Dialect: "postgres", Password: "p@ss"},
		"postgresql://u:pw@h/db?max_conns=4":          {Dialect: "postgres", Password: "pw"},
		"mysql://u:p@ss:w/rd@tcp(h:3306)/db?tls=true": {Dialect: "mysql", Password: "p@ss:w/rd"},
		"mysql://u:pw@unix(/run/mysql.sock)/db":       {Dialect: "mysql", Password: "pw"},
		"mysql://u:p%2Fw@h:3307/db?max_conns=3":       {Dialect: "mysql", Password: "p/w"},
	} {
		got, err := parseDSN(dsn, 0, 0)
		if err != nil {
			t.Errorf("%s: %v", dsn, err)
			continue
		}
		if diff := cmp.Diff(want, understood{got.dialect.name, got.password, got.file, got.memory}); diff != "" {
			t.Errorf("%s (-want +got):\n%s", dsn, diff)
		}
		if connector, err := got.reader(); err != nil || connector == nil {
			t.Errorf("%s: no connector: %v", dsn, err)
		}
	}
	for _, dsn := range []string{
		"", "Memory", "sqlite://", "sqlite:///x?_pragma=synchronous(OFF)", "sqlite:///x?vfs=unix-none", "oracle://u:hunter2@h/db", "u:hunter2@h/db",
		"postgres://u:hunter2@h:port/db", "postgres://u:hunter2@h/db?sslmode=maybe", "postgres://u:hunter2@h/db?max_conns=0", "postgres://u:hunter2@h/db?max_conn_lifetime=long",
		"postgres://u:hunter2@h/db?%zz", "mysql://u:hunter2@tcp(h)", "mysql://u:hunter2@tcp(h:1)/", "mysql://u:hunter2@h:1", "mysql://u:hunter2@h:1/db?parseTime=perhaps",
		"mysql://u:hunter2@tcp(h:1)/db?multiStatements=true", "mysql://u:hunter2@%zz/db",
	} {
		_, err := parseDSN(dsn, 0, 0)
		if !fault.Is(err, fault.Invalid) || !strings.HasPrefix(err.Error(), "dsn: ") {
			t.Errorf("%q: got error %v, want an invalid one that names dsn", dsn, err)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: the error tells the password: %v", dsn, err)
		}
	}
}

func TestPoolParametersAreTakenFromTheDSN(t *testing.T) {
	got, err := parseDSN("postgres://u@h/db?max_conns=3&max_idle_conns=2&max_conn_lifetime=1m&max_conn_idle_time=2s", 7, 7)
	if err != nil {
		t.Fatal(err)
	}
	want := poolOptions{conns: 3, idle: 2, lifetime: time.Minute, idleTime: 2 * time.Second}
	if got.pool != want {
		t.Errorf("got %+v, want %+v", got.pool, want)
	}
}

func TestADatabaseThatIsAwayIsOneClearErrorWithoutThePassword(t *testing.T) {
	for _, dsn := range []string{
		"postgres://user:hunter2@127.0.0.1:1/db?sslmode=disable", "mysql://user:hunter2@tcp(127.0.0.1:1)/db", "sqlite:///no/such/folder/db.sqlite",
	} {
		for what, err := range map[string]error{
			"Open":            second(Open(t.Context(), Options{DSN: dsn, Secrets: []string{testSecret}})),
			"Migrate":         second(Migrate(t.Context(), Options{DSN: dsn})),
			"MigrationStatus": second(MigrationStatus(t.Context(), Options{DSN: dsn})),
		} {
			if !fault.Is(err, fault.Unavailable) || !strings.HasPrefix(err.Error(), "dsn: ") || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%s of %s: got error %v", what, dsn, err)
			}
		}
	}
}

func TestADriversErrorLosesThePassword(t *testing.T) {
	got := target{dialect: mysqlDialect, password: "hunter 2"}.fail(errors.New("cannot use hunter 2 nor hunter+2"))
	if want := "dsn: mysql: cannot use xxxxx nor xxxxx"; got.Error() != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestSystemSecretsAreRequiredAndLong(t *testing.T) {
	file := "sqlite://" + filepath.Join(t.TempDir(), "db")
	for name, o := range map[string]Options{
		"none":             {DSN: file},
		"a short one":      {DSN: file, Secrets: []string{"fifteen letters"}},
		"a short old one":  {DSN: file, Secrets: []string{testSecret, "short"}},
		"short for memory": {DSN: "memory", Secrets: []string{"short"}},
	} {
		_, err := Open(t.Context(), o)
		if !fault.Is(err, fault.Invalid) || !strings.HasPrefix(err.Error(), "secrets.system") {
			t.Errorf("%s: got error %v, want an invalid one that names secrets.system", name, err)
		}
	}
	s, err := Open(t.Context(), Options{DSN: "memory"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestTheDatabaseFileIsTheOwnersAlone(t *testing.T) {
	folder := t.TempDir()
	s, err := Open(t.Context(), Options{DSN: "sqlite://" + filepath.Join(folder, "with blank & %3F.sqlite"), Secrets: []string{testSecret}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	files := 0
	err = filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		files++
		info, err := os.Stat(path)
		if err == nil && info.Mode().Perm() != 0o600 {
			err = fmt.Errorf("%s has mode %o", path, info.Mode().Perm())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(folder, "with blank & ?.sqlite")); err != nil || files < 2 {
		t.Errorf("%d files, and: %v", files, err)
	}
	for pragma, want := range map[string]string{"synchronous": "2", "journal_mode": "wal", "foreign_keys": "1"} {
		var got string
		if err := s.committer.pool.Stats(); err.OpenConnections != 1 {
			t.Errorf("the writer has %d connections", err.OpenConnections)
		}
		if err := s.committer.conn.QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&got); err != nil || got != want {
			t.Errorf("%s: got %q, want %q; %v", pragma, got, want, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }
