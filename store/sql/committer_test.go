package sql

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
)

func openFile(t testing.TB) *Store {
	t.Helper()
	s, err := Open(context.Background(), Options{DSN: "sqlite://" + filepath.Join(t.TempDir(), "db"), Secrets: []string{testSecret}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// hold keeps the committer busy until the returned function is called.
func hold(t *testing.T, s *Store) (release func()) {
	t.Helper()
	busy, free, done := make(chan struct{}), make(chan struct{}), make(chan error)
	go func() {
		done <- s.committer.submit(context.Background(), func(*tx) error {
			close(busy)
			<-free
			return nil
		})
	}()
	<-busy
	return func() {
		close(free)
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestAWriteWhoseCallerLeftNeverRuns(t *testing.T) {
	s := openFile(t)
	release := hold(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	ran, answer := false, make(chan error)
	go func() { answer <- s.committer.submit(ctx, func(*tx) error { ran = true; return nil }) }()
	for len(s.committer.jobs) == 0 {
		if ctx.Err() != nil {
			t.Fatal("the write was not queued")
		}
	}
	cancel()
	if err := <-answer; !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v, want context.Canceled", err)
	}
	release()
	if err := s.committer.submit(t.Context(), func(*tx) error { return nil }); err != nil { // it comes after
		t.Fatal(err)
	}
	if ran {
		t.Error("the write ran")
	}
}

func TestWritesThatWaitShareOneCommitAndFailAlone(t *testing.T) {
	s := openFile(t)
	release := hold(t, s)
	const writes = 20
	broken := errors.New("broken")
	answers := make(chan error, writes)
	for i := range writes {
		go func() {
			answers <- s.committer.submit(context.Background(), func(t *tx) error {
				if _, err := t.exec("INSERT INTO gw_policies (id, doc) VALUES (?, ?)", string(rune('a'+i)), []byte("{}")); err != nil {
					return err
				}
				if committed, err := s.Policies(context.Background(), 1, 0); err != nil || len(committed) > 0 {
					return errors.Join(err, errors.New("another write of the batch is committed already"))
				}
				if i%2 == 0 {
					return broken
				}
				return nil
			})
		}()
	}
	for len(s.committer.jobs) < writes {
		if t.Context().Err() != nil {
			t.Fatal("the writes were not queued")
		}
	}
	release()
	failed := 0
	for range writes {
		if err := <-answers; errors.Is(err, broken) {
			failed++
		} else if err != nil {
			t.Error(err)
		}
	}
	kept, err := s.Policies(t.Context(), 2*writes, 0)
	if err != nil || failed != writes/2 || len(kept) != writes/2 {
		t.Errorf("%d writes failed and %d are kept, want %d and %d; %v", failed, len(kept), writes/2, writes/2, err)
	}
}
