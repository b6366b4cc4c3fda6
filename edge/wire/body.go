package wire

import (
	"io"
	"net/http"
	"sync"
	"time"
)

// drainable is how much of a body that nobody read is read to keep a connection, as in
// net/http.
const drainable = 256 << 10

// body is the body of a request whose length is known. Unlike the rest of a request it
// may be used by two goroutines, as when it is still on its way to an upstream that
// has answered already.
type body struct {
	exchange *exchange

	mu     sync.Mutex
	buf    []byte // nil: here is part of the connection's
	here   []byte // read ahead
	left   int64  // still on the wire; in w.occupied while there are any
	err    error  // of the first Read that failed
	closed bool
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return 0, http.ErrBodyReadAfterClose
	}
	return b.read(p)
}

func (b *body) read(p []byte) (n int, err error) {
	if b.err != nil {
		return 0, b.err
	}
	switch {
	case len(b.here) > 0:
		n = copy(p, b.here)
		b.here = b.here[n:]
	case b.left > 0 && len(p) > 0:
		if n, err = b.exchange.w.conn.Conn.Read(p[:min(int64(len(p)), b.left)]); n > 0 {
			b.took(n)
		}
	}
	if len(b.here) == 0 && b.left == 0 {
		return n, io.EOF // beside the data, as net/http does
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		b.err = err
		b.exchange.ctx.end() // the client has gone, or stalls
	}
	return n, err
}

func (b *body) took(n int) {
	if b.left -= int64(n); b.left == 0 {
		b.exchange.w.conn.watch.free(b)
	}
}

// refused reports whether more is to come than drain would read.
func (b *body) refused() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.left > 0 && b.err == nil
}

// Close implements io.Closer. What was not read is read at the end of the request.
func (b *body) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	return nil
}

// settle has nothing of the body left before the answer begins: a client that sends all
// of it before it reads would wait for ever. It reports false when the connection must
// end because too much is left.
func (b *body) settle(closing bool) bool {
	return b.exchange == nil || closing || b.drain()
}

// drain reads what is left, when that is little, and reports whether nothing is left.
// Read fails from then on.
func (b *body) drain() bool {
	if b.exchange == nil {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.left > 0 && (b.err != nil || b.left > drainable) {
		return false
	}
	b.here, b.closed = nil, true // what is thrown away here must not look like the end
	if b.left == 0 {
		return true
	}
	c := b.exchange.w.conn
	_ = c.watch.bound(b, time.Now().Add(c.server.header), false) // fails on a closed connection, as read does
	buf := make([]byte, min(b.left, 8<<10))
	for b.left > 0 && b.err == nil {
		_, _ = b.read(buf) // b.err
	}
	return b.left == 0
}

// abandon ends the use of the body by whoever still has it.
func (b *body) abandon() {
	if b.exchange == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.here, b.closed = nil, true
	recycle(b.buf)
	b.buf = nil
}
