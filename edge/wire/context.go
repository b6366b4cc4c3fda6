package wire

import (
	"context"
	"sync"
	"time"
)

// patience is how long a request may run before its client is watched. Nearly all are
// answered sooner, and watching costs a goroutine.
const patience = 5 * time.Millisecond

// requestContext is the context of a request. It ends when the handler has returned or
// the client has gone, which is found out for those only who ask: by Done, or by Err
// after a while.
type requestContext struct {
	context.Context // of the connection
	watch           *watch
	begun           time.Time

	mu     sync.Mutex
	made   context.Context // nil: nobody asked
	cancel context.CancelFunc
	over   bool
}

// Done implements context.Context.
func (x *requestContext) Done() <-chan struct{} { return x.make().Done() }

// Err implements context.Context.
func (x *requestContext) Err() error {
	x.mu.Lock()
	made, over := x.made, x.over
	x.mu.Unlock()
	switch {
	case made != nil:
		return made.Err()
	case over:
		return context.Canceled
	case time.Since(x.begun) > patience:
		return x.make().Err()
	}
	return x.Context.Err()
}

// Value implements context.Context. By what made says to a key of package context,
// derived contexts find it and need no goroutine.
func (x *requestContext) Value(key any) any {
	x.mu.Lock()
	made := x.made
	x.mu.Unlock()
	if made != nil {
		return made.Value(key)
	}
	return x.Context.Value(key)
}

// make returns a context that can end, and watches the client from now on.
func (x *requestContext) make() context.Context {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.made == nil {
		x.made, x.cancel = context.WithCancel(x.Context)
		if x.over {
			x.cancel()
		} else {
			x.watch.want(x)
		}
	}
	return x.made
}

// end ends the context.
func (x *requestContext) end() {
	x.mu.Lock()
	x.over = true
	cancel := x.cancel
	x.mu.Unlock()
	if cancel != nil {
		cancel()
	}
}

// watch reads from a connection while its request runs, to notice that the client has
// gone. What it reads is the beginning of the next request.
type watch struct {
	conn *conn

	mu       sync.Mutex
	rested   sync.Cond
	current  *requestContext // who wants to know; nil: nobody
	occupied *body           // whose bytes are still to come; nil: nobody's
	bounded  bool            // the handler set a read deadline for it
	timer    *time.Timer
	waiting  bool // for the timer
	reading  bool
	stopping bool
	off      bool // the connection is a hijacker's
}

// want has w tell x, in a while, when the client goes.
func (w *watch) want(x *requestContext) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.off {
		return
	}
	w.current = x
	if w.occupied == nil {
		w.start()
	}
}

// free says that the body b has come to its end.
func (w *watch) free(b *body) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.occupied == b {
		w.occupied = nil
		if w.current != nil {
			w.start()
		}
	}
}

// bound sets the read deadline of the body b; when nothing of it is to come, there is
// nothing to bound. One that the handler set stays unless it sets another.
func (w *watch) bound(b *body, t time.Time, byHandler bool) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.occupied != b || w.bounded && !byHandler {
		return nil
	}
	w.bounded = byHandler
	return w.conn.SetReadDeadline(t)
}

// start starts the timer; w.mu is held.
func (w *watch) start() {
	w.waiting = true
	if w.timer == nil {
		w.timer = time.AfterFunc(patience, w.run)
		return
	}
	w.timer.Reset(patience)
}

// run waits for the client, on a goroutine of the timer.
func (w *watch) run() {
	c := w.conn
	w.mu.Lock()
	x := w.current
	if !w.waiting || w.reading || x == nil || c.to == len(c.buf) { // stopped meanwhile, or nowhere to read to
		w.mu.Unlock()
		return
	}
	w.waiting, w.reading = false, true
	_ = c.SetReadDeadline(time.Time{}) // fails on a closed connection, as Read does
	w.mu.Unlock()
	n, err := c.Conn.Read(c.buf[c.to:])
	w.mu.Lock()
	c.to += n
	w.reading = false
	gone := err != nil && !w.stopping
	w.rested.Broadcast()
	w.mu.Unlock()
	if gone {
		x.end()
	}
}

// disable ends the watch for good.
func (w *watch) disable() {
	w.mu.Lock()
	w.off = true
	w.mu.Unlock()
	w.stop()
}

// stop ends the watch; the buffer is the caller's again.
func (w *watch) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.occupied = nil
	if w.current == nil {
		return
	}
	w.current = nil
	if w.waiting {
		w.waiting = false
		w.timer.Stop()
	}
	if w.conn.deadline = (time.Time{}); w.reading {
		w.stopping = true
		_ = w.conn.SetReadDeadline(time.Unix(1, 0))
		for w.reading {
			w.rested.Wait()
		}
		w.stopping = false
	}
}

// cancel ends the context of who wants to know.
func (w *watch) cancel() {
	w.mu.Lock()
	x := w.current
	w.mu.Unlock()
	if x != nil {
		x.end()
	}
}
