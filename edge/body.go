package edge

import (
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/gatewarden/gatewarden/fault"
)

var errBodyTooLarge = fault.New(fault.TooLarge, "request_body_too_large", "the request body is too large")

// body is a request body that can be looked at before it is forwarded.
type body struct {
	src     io.ReadCloser
	max     int64 // 0: no bound
	idle    time.Duration
	control *http.ResponseController // set when idle is

	mu   sync.Mutex
	head []byte // read for Peek
	off  int    // of head, for Read
	size int64  // read from src
	err  error  // of src
}

// Read implements io.Reader: first what Peek has read, then the rest.
func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.off < len(b.head) {
		n := copy(p, b.head[b.off:])
		b.off += n
		return n, nil
	}
	return b.read(p)
}

// Close implements io.Closer.
func (b *body) Close() error { return b.src.Close() }

// leave bounds how long net/http waits for the rest of a body that nobody reads.
func (b *body) leave() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.idle > 0 && b.err == nil {
		_ = b.control.SetReadDeadline(time.Now().Add(b.idle)) // not supported: no bound
	}
}

// Peek returns the whole body when it has at most limit bytes, and leaves it
// readable. The bytes are read-only. It returns fault.TooLarge beyond limit, and
// fault.Invalid or Timeout when the client failed to send it.
func (b *body) Peek(limit int64) ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.err == nil && int64(len(b.head)) <= limit {
		if len(b.head) == cap(b.head) {
			b.head = append(b.head, make([]byte, max(512, len(b.head)))...)[:len(b.head)]
		}
		n, _ := b.read(b.head[len(b.head):cap(b.head)])
		b.head = b.head[:len(b.head)+n]
	}
	if b.err != nil && !errors.Is(b.err, io.EOF) {
		return nil, b.err
	}
	if int64(len(b.head)) > limit {
		return nil, errBodyTooLarge
	}
	return b.head, nil
}

// failure returns the first error of reading other than the end.
func (b *body) failure() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if errors.Is(b.err, io.EOF) {
		return nil
	}
	return b.err
}

// read reads from src with the bounds in force; b.mu is held.
func (b *body) read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if b.idle > 0 {
		// Not supported: no bound. At the body's end net/http takes the deadline away.
		_ = b.control.SetReadDeadline(time.Now().Add(b.idle))
	}
	n, err := b.src.Read(p)
	b.size += int64(n)
	switch {
	case b.max > 0 && b.size > b.max:
		n -= int(b.size - b.max)
		err = errBodyTooLarge
	case err == nil || errors.Is(err, io.EOF):
	case fault.KindOf(err) != fault.Internal: // it says itself what it is
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = fault.Wrap(fault.Timeout, "request_body_timeout", "the request body did not arrive in time", err)
	default:
		err = fault.Wrap(fault.Invalid, "invalid_request_body", "the request body cannot be read", err)
	}
	b.err = err
	return n, err
}
