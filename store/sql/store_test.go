package sql_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/gatewarden/gatewarden/internal/testenv"
	"github.com/gatewarden/gatewarden/store"
	"github.com/gatewarden/gatewarden/store/sql"
	"github.com/gatewarden/gatewarden/store/storetest"
)

func TestMain(m *testing.M) { testenv.Main(m) }

func TestStore(t *testing.T) {
	for _, database := range testenv.Databases() {
		t.Run(database.Name, func(t *testing.T) {
			storetest.Run(t, func(t *testing.T) storetest.Database {
				dsn := database.DSN(t)
				return storetest.Database{
					Open: func(secrets ...string) (store.Store, error) {
						s, err := sql.Open(t.Context(), sql.Options{DSN: dsn, Secrets: secrets, AutoMigrate: true})
						if err != nil {
							return nil, err
						}
						return s, nil
					},
					Dump: dump,
					Reseal: func(s store.Store) (int64, error) {
						done, err := s.(*sql.Store).Reseal(t.Context(), func(sql.Resealed) {})
						return done.Sealed, err
					},
					Header:  sql.Header,
					Durable: database.Durable,
				}
			})
		})
	}
}

// dump returns every value of every table.
func dump(t *testing.T, s store.Store) []byte {
	t.Helper()
	var all bytes.Buffer
	for _, table := range sql.Tables {
		rows, err := sql.Pool(s).Query("SELECT * FROM " + table)
		if err != nil {
			t.Fatal(err)
		}
		columns, err := rows.Columns()
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			values, into := make([]any, len(columns)), make([]any, len(columns))
			for i := range values {
				into[i] = &values[i]
			}
			if err := rows.Scan(into...); err != nil {
				t.Fatal(err)
			}
			for _, value := range values {
				fmt.Fprintf(&all, "%s\n", value)
			}
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
	}
	return all.Bytes()
}
