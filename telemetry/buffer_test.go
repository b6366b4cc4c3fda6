package telemetry

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// sink counts writes.
type sink struct {
	mu     sync.Mutex
	b      bytes.Buffer
	writes int
}

func (s *sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes++
	return s.b.Write(p)
}

func (s *sink) read() (text string, writes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String(), s.writes
}

func TestABufferLosesNothingAndWritesInBatches(t *testing.T) {
	var s sink
	b := NewBuffer(&s)
	var wait sync.WaitGroup
	for i := range 8 {
		wait.Go(func() {
			for j := range 500 {
				fmt.Fprintf(b, "line %d %d\n", i, j)
			}
		})
	}
	wait.Wait()
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	text, writes := s.read()
	if got := strings.Count(text, "\n"); got != 4000 {
		t.Errorf("got %d lines, want 4000", got)
	}
	if writes > 400 {
		t.Errorf("got %d writes for 4000 lines", writes)
	}
	fmt.Fprintln(b, "after")
	if text, _ := s.read(); !strings.HasSuffix(text, "after\n") {
		t.Error("a line after Close is lost")
	}
}

func TestABufferedLineDoesNotWaitForAnother(t *testing.T) {
	var s sink
	b := NewBuffer(&s)
	defer b.Close()
	fmt.Fprintln(b, "alone")
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if text, _ := s.read(); text == "alone\n" {
			return
		}
	}
	t.Error("the line was not passed on")
}
