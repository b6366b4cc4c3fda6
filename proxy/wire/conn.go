package wire

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"time"
)

// patience is how long an answer may take at most before its context is watched.
// Nearly all come sooner, and neither watching nor moving deadlines is cheap.
const patience = 200 * time.Millisecond

// blockable is how many bytes a request must have to be watched from the start:
// fewer fit the buffers of the system, so that sending them does not block.
const blockable = 8 << 10

// conn is a connection and what it takes to use it again.
//
// The read deadline of a connection is first a short one, at which Read looks
// around: it begins to watch the context and waits on, until the header's deadline
// or, in a body, for as long as it takes.
type conn struct {
	net.Conn
	address  string
	in       *bufio.Reader
	asked    http.Request // for http.ReadResponse: the method
	limit    int64        // bytes that may still be read
	received bool         // a byte of the response came
	failed   error        // of the first Read that failed; there is nothing behind it
	since    time.Time    // when its last request was sent
	probe    *probe

	ctx    context.Context
	header time.Time // deadline of the response header; zero: it came
	// Deadlines that are in force, kept for later requests where they are late enough.
	reading, writing time.Time
	abort            func()
	stop             func() bool // nil: ctx is not watched
}

func newConn(nc net.Conn, address string) *conn {
	k := &conn{Conn: nc, address: address, probe: newProbe(nc)}
	k.in = bufio.NewReaderSize(k, 4<<10)
	k.abort = func() { _ = k.Conn.SetDeadline(time.Unix(1, 0)) } // a closed connection needs none
	return k
}

// begin starts a request of size bytes whose response header may take timeout.
func (k *conn) begin(ctx context.Context, timeout time.Duration, size int) error {
	k.ctx, k.since, k.received = ctx, time.Now(), false
	k.header = k.since.Add(timeout)
	if left := k.writing.Sub(k.since); left < timeout || left > timeout+timeout/4 {
		k.writing = k.since.Add(timeout + timeout/4)
		if err := k.Conn.SetWriteDeadline(k.writing); err != nil {
			return err
		}
	}
	if size > blockable {
		return k.watch()
	}
	first := min(patience, timeout)
	if left := k.reading.Sub(k.since); left < first/2 || left > first {
		if err := k.wait(k.since.Add(first)); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// answered ends the wait for the response header.
func (k *conn) answered(body bool) error {
	k.header = time.Time{}
	if body && k.stop != nil {
		return k.await()
	}
	return nil
}

// end ends a request. It reports false when ctx has broken the connection off.
func (k *conn) end() bool {
	quiet := k.stop == nil || k.stop()
	k.stop, k.ctx = nil, nil
	return quiet
}

// Read implements io.Reader for k.in.
func (k *conn) Read(p []byte) (int, error) {
	if k.failed != nil {
		return 0, k.failed // the deadline that ended it may have been moved since
	}
	if k.limit <= 0 {
		return 0, errHeaderTooLarge
	}
	if int64(len(p)) > k.limit {
		p = p[:k.limit]
	}
	n, err := k.Conn.Read(p)
	if n == 0 && k.stop == nil && errors.Is(err, os.ErrDeadlineExceeded) {
		if err = k.watch(); err == nil {
			n, err = k.Conn.Read(p)
		}
	}
	k.limit -= int64(n)
	k.received = k.received || n > 0
	k.failed = err
	return n, err
}

// watch breaks the connection off when ctx ends, until end.
func (k *conn) watch() error {
	k.stop = context.AfterFunc(k.ctx, k.abort)
	return k.await()
}

// await sets the deadline of the header, or none in a body, while ctx is watched.
func (k *conn) await() error {
	if err := k.wait(k.header); err != nil {
		return err
	}
	return k.ctx.Err() // the deadline of abort may have been overwritten
}

func (k *conn) wait(until time.Time) error {
	k.reading = until
	return k.Conn.SetReadDeadline(until)
}
