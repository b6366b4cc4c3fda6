package wire

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// States of a connection.
const (
	fresh  int32 = iota // no request came yet
	active              // a request runs
	idle                // between requests
	closed              // by the server, while it was fresh or idle
)

// freshTime is how long a connection without a request is left alone by Shutdown.
const freshTime = 5 * time.Second

const (
	// inputSize is the size of pooled buffers for requests; keptSize bounds what a
	// connection keeps for the next header. Longer headers get a buffer of their own.
	inputSize = 4 << 10
	keptSize  = 16 << 10
	// lingering is how long a connection whose client still sends is kept after its
	// last answer, which a reset would take from the client.
	lingering = 500 * time.Millisecond
)

var inputs = sync.Pool{New: func() any { return new([inputSize]byte) }}

// conn is a connection and what is read ahead on it.
type conn struct {
	net.Conn
	server *Server
	since  time.Time
	state  atomic.Int32
	remote string

	// buf[from:to] was read and not used yet. While a watch reads, buf and to are its.
	buf      []byte
	from, to int
	// deadline is the read deadline in force; zero: not known.
	deadline time.Time
	hurried  bool // the deadline is that of a header which has begun
	posted   int  // blank bytes that may stand behind a POST

	watch   watch
	current *exchange // nil: none
}

func newConn(s *Server, nc net.Conn) *conn {
	c := &conn{Conn: nc, server: s, since: time.Now()}
	c.watch.conn = c
	c.watch.rested.L = &c.watch.mu
	return c
}

// serve serves the connection to its end.
func (c *conn) serve(base context.Context) {
	kept := false // by a hijacker, or by the http.Server
	defer func() {
		if v := recover(); v != nil && v != http.ErrAbortHandler {
			stack := make([]byte, 64<<10)
			c.server.log.Printf("panic serving %s: %v\n%s", c.remote, v, stack[:runtime.Stack(stack, false)])
		}
		if x := c.current; x != nil { // its handler did not return
			kept = x.w.hijacked
			x.ctx.end()
			c.watch.stop()
		}
		if !kept {
			_ = c.Conn.Close()
		}
		if x := c.current; x != nil {
			x.body.abandon() // which waits for its reader
		}
		c.release()
		c.server.forget(c)
	}()
	if a := c.RemoteAddr(); a != nil { // may wait for a PROXY protocol header
		c.remote = a.String()
	}
	ctx := context.WithValue(base, http.LocalAddrContextKey, c.LocalAddr())
	c.buf = inputs.Get().(*[inputSize]byte)[:]
	c.setDeadline(time.Now().Add(c.server.header))
	c.hurried = true
	for {
		end, ok := c.readHead()
		if !ok {
			return
		}
		var again bool
		if end < 0 {
			kept = c.handOver()
			return
		}
		if again, kept = c.answer(ctx, end); !again {
			return
		}
	}
}

var headEnd = []byte("\r\n\r\n")

// readHead reads until the header of a request is there and returns where it ends,
// behind its empty line. It returns -1 when the request is known not to be plain
// before that, and false when the connection is over.
func (c *conn) readHead() (end int, ok bool) {
	looked, blanks := 0, 0
	for {
		for ; c.posted > 0 && c.from < c.to; c.posted-- {
			if b := c.buf[c.from]; b != '\r' && b != '\n' {
				c.posted = 0
				break
			}
			c.from++
			blanks++
		}
		head := c.buf[c.from:c.to]
		if i := bytes.Index(head[max(0, looked-len(headEnd)+1):], headEnd); i >= 0 {
			return c.from + max(0, looked-len(headEnd)+1) + i + len(headEnd), true
		}
		// The first bytes of a further request tell nothing, as in the standard library.
		telling := blanks+len(head) >= 4 || c.state.Load() == fresh
		if telling && isOdd(head, looked) || len(head) >= c.server.limit {
			return -1, true
		}
		if telling {
			looked = len(head)
		}
		if err := c.fill(len(head) > 0); err != nil {
			// The standard library answers a client that ends within a header.
			return -1, err == io.EOF && len(head) > 0 && telling
		}
	}
}

// isOdd reports whether an unfinished header is not plain for sure, so that the
// standard library answers it as soon as it would: a control character, or a request
// line of another kind. The first looked bytes were looked at before.
func isOdd(head []byte, looked int) bool {
	for i := max(0, looked-1); i < len(head); i++ { // its last byte may have been a CR
		switch c := head[i]; {
		case c == '\r':
			if i+1 < len(head) && head[i+1] != '\n' {
				return true
			}
		case c == '\n':
			if i == 0 || head[i-1] != '\r' {
				return true
			}
			if bytes.IndexByte(head[:i], '\n') < 0 {
				var r http.Request
				if !readLine(string(head[:i-1]), &r, new(url.URL)) {
					return true
				}
			}
		case c < ' ' && c != '\t', c == 0x7f:
			return true
		}
	}
	return false
}

// fill reads more, within the time that a header may take when one has begun, or the
// time that a connection may rest.
func (c *conn) fill(begun bool) error {
	switch {
	case begun && !c.hurried:
		c.hurried = true
		c.setDeadline(time.Now().Add(c.server.header))
	case !begun && !c.hurried:
		c.rest()
	}
	if c.to == len(c.buf) {
		c.makeRoom()
	}
	n, err := c.Conn.Read(c.buf[c.to:])
	if c.to += n; n > 0 {
		return nil
	}
	return err
}

// rest sets the deadline of an idle connection, a little late, so that it need not be
// moved for every request.
func (c *conn) rest() {
	now, slack := time.Now(), min(c.server.idle/4, 5*time.Second)
	if left := c.deadline.Sub(now); left < c.server.idle || left > c.server.idle+slack {
		c.setDeadline(now.Add(c.server.idle + slack))
	}
}

func (c *conn) setDeadline(t time.Time) {
	c.deadline = t
	_ = c.SetReadDeadline(t) // fails on a closed connection, as Read does
}

// makeRoom moves what is in a full buffer to its beginning or to a larger one.
func (c *conn) makeRoom() {
	to := c.buf
	if c.from == 0 {
		to = make([]byte, min(2*len(c.buf), max(len(c.buf)+1, c.server.limit)))
	}
	n := copy(to, c.buf[c.from:c.to])
	if c.from == 0 {
		recycle(c.buf)
	}
	c.buf, c.from, c.to = to, 0, n
}

// release gives the buffer back.
func (c *conn) release() {
	recycle(c.buf)
	c.buf, c.from, c.to = nil, 0, 0
}

func recycle(buf []byte) {
	if len(buf) == inputSize {
		inputs.Put((*[inputSize]byte)(buf))
	}
}

// handOver gives the connection to the http.Server, with what was read and not used.
func (c *conn) handOver() bool {
	before := append([]byte(nil), c.buf[c.from:c.to]...)
	if c.deadline = (time.Time{}); c.Conn.SetReadDeadline(c.deadline) != nil {
		return false
	}
	c.server.forget(c) // before the http.Server knows it: it must not be cut by two
	return c.server.handed.give(&replayed{Conn: c.Conn, before: before})
}

// answer serves the request whose header ends at end. It reports whether the
// connection serves another one, and whether somebody else has it now.
func (c *conn) answer(ctx context.Context, end int) (again, kept bool) {
	x := &exchange{}
	// Never more than one copy of a header, which its fields are parts of.
	r := new(http.Request).WithContext(&x.ctx)
	if !readPlain(string(c.buf[c.from:end-len("\r\n")]), r, &x.url) {
		return false, c.handOver()
	}
	if s := c.state.Load(); s == closed || !c.state.CompareAndSwap(s, active) {
		return false, false // the server closes it
	}
	c.from = end
	c.begin(x, ctx, r)
	c.server.rest.Handler.ServeHTTP(&x.w, r)
	if x.w.hijacked {
		x.ctx.end()
		return false, true
	}
	x.ctx.end()
	again = x.w.finish()
	c.watch.stop()
	x.body.abandon()
	c.current = nil
	if r.MultipartForm != nil {
		_ = r.MultipartForm.RemoveAll() // temporary files, which the system removes if this cannot
	}
	if !again {
		if x.body.refused() && x.w.err == nil { // the client still sends
			_ = closeWrite(c.Conn)
			time.Sleep(lingering)
		}
		return false, false
	}
	c.posted, c.hurried = 0, false
	if r.Method == http.MethodPost {
		c.posted = 4
	}
	if c.from == c.to {
		c.from, c.to = 0, 0
		if len(c.buf) > keptSize {
			c.buf = inputs.Get().(*[inputSize]byte)[:]
		}
	}
	c.state.Store(idle)
	return !c.server.closing.Load(), false
}

// begin makes x the request r.
func (c *conn) begin(x *exchange, ctx context.Context, r *http.Request) {
	c.current = x
	r.RemoteAddr = c.remote
	x.ctx.Context, x.ctx.watch, x.ctx.begun = ctx, &c.watch, time.Now()
	x.w.begin(c, x, r)
	r.Body = http.NoBody
	if r.ContentLength > 0 {
		b := &x.body
		r.Body, b.exchange = b, x
		here := min(r.ContentLength, int64(c.to-c.from))
		b.here = c.buf[c.from : c.from+int(here)]
		c.from += int(here)
		if b.left = r.ContentLength - here; b.left > 0 {
			c.watch.occupied, c.watch.bounded = b, false
			c.setDeadline(time.Time{})
		}
		if c.from == c.to { // the body keeps its bytes, and a watch needs where to read to
			b.buf, c.buf, c.from, c.to = c.buf, inputs.Get().(*[inputSize]byte)[:], 0, 0
		}
	}
}

// exchange is one request and its answer: all of it that a handler may keep, so that
// it is not used again.
type exchange struct {
	ctx  requestContext
	w    response
	body body
	url  url.URL
}

// closeIfResting closes the connection when no request runs on it and it had time for
// its first one.
func (c *conn) closeIfResting() {
	s := c.state.Load()
	if s == idle || s == fresh && time.Since(c.since) > freshTime {
		if c.state.CompareAndSwap(s, closed) {
			_ = c.Conn.Close()
		}
	}
}

// cut closes the connection and cancels the request on it.
func (c *conn) cut() {
	_ = c.Conn.Close()
	c.watch.cancel()
}

var errOver = errors.New("http: the request is over")
