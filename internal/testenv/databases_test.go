package testenv

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestMain(m *testing.M) { Main(m) }

func TestEveryDatabaseIsFresh(t *testing.T) {
	for _, server := range []struct {
		driver string
		dsn    func(testing.TB) string
	}{{"pgx", Postgres}, {"mysql", func(t testing.TB) string { return MySQL(t)[len("mysql://"):] }}} {
		t.Run(server.driver, func(t *testing.T) {
			first, second := server.dsn(t), server.dsn(t)
			if first == second {
				t.Fatalf("two databases share the DSN %s", first)
			}
			execute(t, server.driver, first, "CREATE TABLE only_here (a INT)")
			db, err := sql.Open(server.driver, second)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			if _, err := db.Exec("SELECT a FROM only_here"); err == nil {
				t.Error("the second database holds the table of the first")
			}
		})
	}
}

// recorder is a testing.TB that notes how a test ended.
type recorder struct {
	testing.TB
	skipped, failed string
}

func (*recorder) Helper() {}

func (r *recorder) Skipf(format string, args ...any) {
	r.skipped = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.failed = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func TestWithoutAServerATestIsSkippedLoudlyAndFailsInCI(t *testing.T) {
	for ci, want := range map[string]recorder{
		"":     {skipped: "NOT TESTED WITH NOSQL: none on the standard port, and starting a private one: not installed (set TEST_NOSQL_DSN to a server that may be used, or install its packages)"},
		"true": {failed: "no NoSQL to test with: none on the standard port, and starting a private one: not installed"},
	} {
		t.Setenv("CI", ci)
		list := filepath.Join(t.TempDir(), "skipped")
		t.Setenv("TEST_SKIPPED", list)
		s := &server{name: "NoSQL", env: "TEST_NOSQL_DSN", driver: "pgx", start: func(string) (*process, string, error) { return nil, "", errors.New("not installed") }}
		var got recorder
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.get(&got)
		}()
		<-done
		if got != want {
			t.Errorf("with CI=%q: got %+v, want %+v", ci, got, want)
		}
		shouted, _ := os.ReadFile(list)
		if strings.TrimSuffix(string(shouted), "\n") != want.skipped {
			t.Errorf("with CI=%q: shouted %q, want %q", ci, shouted, want.skipped)
		}
	}
}
