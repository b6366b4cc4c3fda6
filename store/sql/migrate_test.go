package sql_test

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/internal/testenv"
	"github.com/gatewarden/gatewarden/oauth2"
	"github.com/gatewarden/gatewarden/store/sql"
)

const secret = "a system secret of these tests"

func options(dsn string) sql.Options { return sql.Options{DSN: dsn, Secrets: []string{secret}} }

func servers() []testenv.Database {
	return slices.DeleteFunc(testenv.Databases(), func(d testenv.Database) bool { return d.Name != "postgres" && d.Name != "mysql" })
}

// stepsOf lists the steps of a database as their folder does.
func stepsOf(t *testing.T, database string) []string {
	t.Helper()
	entries, err := os.ReadDir("migrations/" + database)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestAServersSchemaIsMigratedOnlyWhenAskedFor(t *testing.T) {
	for _, database := range servers() {
		t.Run(database.Name, func(t *testing.T) {
			o := options(database.DSN(t))
			_, err := sql.Open(t.Context(), o)
			if !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "gatewarden migrate sql") {
				t.Fatalf("opening an empty database: got error %v, want one that names the command", err)
			}
			steps, err := sql.MigrationStatus(t.Context(), o)
			if err != nil || len(steps) == 0 || !steps[0].AppliedAt.IsZero() || steps[0].Name != "00001_initial.sql" || steps[0].Version != 1 {
				t.Fatalf("status of an empty database: %v, %v", steps, err)
			}
			applied, err := sql.Migrate(t.Context(), o)
			if diff := cmp.Diff(stepsOf(t, database.Name), applied); err != nil || diff != "" {
				t.Fatalf("migrating: %v\n%s", err, diff)
			}
			if applied, err := sql.Migrate(t.Context(), o); err != nil || len(applied) != 0 {
				t.Errorf("migrating again: applied %q, %v", applied, err)
			}
			steps, err = sql.MigrationStatus(t.Context(), o)
			if err != nil || steps[len(steps)-1].AppliedAt.IsZero() {
				t.Errorf("status after migrating: %v, %v", steps, err)
			}
			s, err := sql.Open(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestNodesThatMigrateAtOnceAllSucceed(t *testing.T) {
	for _, database := range testenv.Databases() {
		t.Run(database.Name, func(t *testing.T) {
			o := options(database.DSN(t))
			o.AutoMigrate = true
			done := make(chan error)
			const nodes = 6
			for range nodes {
				go func() {
					s, err := sql.Open(t.Context(), o)
					if err == nil {
						err = errors.Join(s.Ping(t.Context()), s.Close())
					}
					done <- err
				}()
			}
			for range nodes {
				if err := <-done; err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestAStepThatWasCutOffRunsAgain(t *testing.T) {
	for _, database := range testenv.Databases()[1:] {
		t.Run(database.Name, func(t *testing.T) {
			o := options(database.DSN(t))
			o.AutoMigrate = true
			s, err := sql.Open(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			exec(t, s, "DELETE FROM gw_migrations WHERE version_id > 0")
			exec(t, s, "DROP TABLE gw_revision_log")
			exec(t, s, "DROP TABLE gw_consents")
			if err := s.Ping(t.Context()); !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "migrate sql") {
				t.Errorf("ping with a schema that is behind: %v", err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if s, err = sql.Open(t.Context(), o); err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if _, err := s.Consents(t.Context(), oauth2.ConsentFilter{Subject: "subject"}, 1, 0); err != nil {
				t.Error(err)
			}
			exec(t, s, "UPDATE gw_migrations SET version_id = 9999 WHERE version_id = 1")
			if err := s.Ping(t.Context()); !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "newer gatewarden") {
				t.Errorf("ping with a schema that is ahead: %v", err)
			}
		})
	}
}

func exec(t *testing.T, s *sql.Store, statement string) {
	t.Helper()
	if err := sql.Exec(t.Context(), s, statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}
