package sql

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/internal/testenv"
	"github.com/gatewarden/gatewarden/policies"
	"github.com/gatewarden/gatewarden/store"
)

// late begins a transaction that draws the next revision, and returns what ends it
// with err.
func late(t *testing.T, s *Store, item string) (end func(err error)) {
	t.Helper()
	drawn, result, done := make(chan struct{}), make(chan error), make(chan error)
	go func() {
		done <- s.write(context.Background(), func(tx *tx) error {
			tx.changed(store.Policies, item)
			if err := tx.appendChanges(); err != nil {
				return err
			}
			tx.changes = nil
			close(drawn)
			return <-result
		})
	}()
	select {
	case <-drawn:
	case err := <-done:
		t.Fatal(err)
	}
	return func(err error) {
		t.Helper()
		result <- err
		if got := <-done; !errors.Is(got, err) {
			t.Error(got)
		}
	}
}

// Only servers run transactions side by side; SQLite has one writer.
func TestARevisionThatCommitsLateIsNotSkipped(t *testing.T) {
	rolledBack := errors.New("rolled back")
	for _, server := range []struct {
		name string
		dsn  func(testing.TB) string
	}{{"postgres", testenv.Postgres}, {"mysql", testenv.MySQL}} {
		for _, outcome := range []struct {
			name string
			err  error
			want []store.Change
		}{
			{"committed", nil, []store.Change{{Revision: 1, Topic: store.Policies, Item: "late"}, {Revision: 2, Topic: store.Policies, Item: "early"}}},
			{"rolled back", rolledBack, []store.Change{{Revision: 2, Topic: store.Policies, Item: "early"}}},
		} {
			t.Run(server.name+"/"+outcome.name, func(t *testing.T) {
				s, err := Open(t.Context(), Options{DSN: server.dsn(t), Secrets: []string{testSecret}, AutoMigrate: true})
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				end := late(t, s, "late")
				if err := s.CreatePolicy(t.Context(), policies.Policy{ID: "early"}); err != nil {
					t.Fatal("a writer waits for another: ", err)
				}
				type answer struct {
					changes  []store.Change
					revision int64
					err      error
				}
				answers := make(chan answer, 2)
				go func() {
					changes, err := s.ChangesSince(t.Context(), 0, 10)
					answers <- answer{changes: changes, err: err}
				}()
				go func() {
					revision, err := s.Revision(t.Context())
					answers <- answer{revision: revision, err: err}
				}()
				waiting := 2
				select {
				case got := <-answers:
					waiting--
					t.Errorf("answered while the late transaction was open: %+v", got)
				case <-time.After(100 * time.Millisecond): // both should still wait; never a false alarm
				}
				end(outcome.err)
				for range waiting {
					switch got := <-answers; {
					case got.err != nil:
						t.Error(got.err)
					case got.revision != 0 && got.revision != 2:
						t.Errorf("revision %d, want 2", got.revision)
					case got.revision == 0:
						if diff := cmp.Diff(outcome.want, got.changes); diff != "" {
							t.Errorf("changes (-want +got):\n%s", diff)
						}
					}
				}
			})
		}
	}
}

func TestWhatComesBeforeAGapIsNotHeldBack(t *testing.T) {
	s, err := Open(t.Context(), Options{DSN: testenv.Postgres(t), Secrets: []string{testSecret}, AutoMigrate: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.CreatePolicy(t.Context(), policies.Policy{ID: "first"}); err != nil {
		t.Fatal(err)
	}
	end := late(t, s, "late")
	defer end(nil)
	if err := s.CreatePolicy(t.Context(), policies.Policy{ID: "early"}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	got, err := s.ChangesSince(ctx, 0, 10)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]store.Change{{Revision: 1, Topic: store.Policies, Item: "first"}}, got); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
}
