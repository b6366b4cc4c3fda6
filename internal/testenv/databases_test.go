package testenv

import (
	"database/sql"
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
