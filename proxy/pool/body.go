package pool

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"sync"

	"github.com/gatewarden/gatewarden/access"
)

// body is a request body that is sent once or, when it is at hand, several times.
type body struct {
	src    io.ReadCloser // nil: there is none
	kept   []byte        // all of it, when isKept
	isKept bool
	left   int64 // that may still be read; negative: no bound

	mu    sync.Mutex // a transport may read on after it gave up
	read  bool       // src was read from
	err   error
	large bool
}

// newBody keeps the body when r may be sent again and its length is known and small.
func newBody(r *http.Request, route *access.Route) (*body, error) {
	if r.Body == nil || r.Body == http.NoBody {
		return &body{isKept: true}, nil
	}
	b := &body{src: r.Body, left: -1}
	if route.MaxRequest > 0 {
		b.left = route.MaxRequest
	}
	if route.Retry.Attempts < 2 || !idempotent(r.Method) || r.ContentLength < 0 || r.ContentLength > route.Retry.MaxBody || len(r.Trailer) > 0 {
		return b, nil
	}
	kept := make([]byte, r.ContentLength)
	if _, err := io.ReadFull(b, kept); err != nil {
		return nil, err
	}
	b.kept, b.isKept = kept, true
	return b, nil
}

// sendWith makes r carry the body in one attempt.
func (b *body) sendWith(r *http.Request) {
	switch {
	case b.src == nil:
	case b.isKept:
		r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.kept)), nil }
		r.Body, _ = r.GetBody()
	default:
		r.Body = b
	}
}

// again reports whether the body can be sent once more.
func (b *body) again() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.isKept || !b.read
}

// failed reports whether the client failed to send it.
func (b *body) failed() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err != nil && !errors.Is(b.err, io.EOF)
}

func (b *body) tooLarge() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.large
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	b.read = true
	b.mu.Unlock()
	n, err := b.src.Read(p)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.left >= 0 {
		if int64(n) > b.left {
			n, err, b.large = int(b.left), errRequestTooLarge, true
		}
		b.left -= int64(n)
	}
	b.err = err
	return n, err
}

// Close implements io.Closer. Who made the body closes it: a transport closes what it
// could not send, and there may be another attempt.
func (b *body) Close() error { return nil }
