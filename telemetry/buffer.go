package telemetry

import (
	"bufio"
	"io"
	"sync"
	"time"
)

const (
	// flushAfter is how long a line of the log waits at most, so that a request does
	// not cost a system call of its own for its access event.
	flushAfter = 50 * time.Millisecond
	bufferSize = 64 << 10
)

// Buffer is a writer for logs that writes in batches: what was written is passed on
// after 50 ms, when 64 KiB have come together, or at Close. It is safe for
// concurrent use.
type Buffer struct {
	mu     sync.Mutex
	b      *bufio.Writer
	timer  *time.Timer
	armed  bool
	closed bool
}

// NewBuffer returns a Buffer in front of w.
func NewBuffer(w io.Writer) *Buffer {
	b := &Buffer{b: bufio.NewWriterSize(w, bufferSize)}
	b.timer = time.AfterFunc(time.Hour, b.flush)
	b.timer.Stop()
	return b
}

// Write takes one line. After Close it writes through.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n, err := b.b.Write(p)
	switch {
	case b.closed:
		_ = b.b.Flush()
	case !b.armed:
		b.armed = true
		b.timer.Reset(flushAfter)
	}
	return n, err
}

func (b *Buffer) flush() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.armed = false
	_ = b.b.Flush()
}

// Close passes on what is left.
func (b *Buffer) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.timer.Stop()
	return b.b.Flush()
}
