package pool

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"
)

var errIdle = &timeoutError{"nothing was sent for as long as upstream.timeouts.idle"}

// bound puts the Route's limits on the answer's body.
func (t *Trip) bound(r *http.Request, res *http.Response) {
	route := t.pool.route
	conn, switched := res.Body.(io.ReadWriteCloser)
	if switched && res.StatusCode == http.StatusSwitchingProtocols {
		if route.Idle > 0 {
			res.Body = &switchedBody{ReadWriteCloser: conn, idle: newIdle(route.Idle, func() { _ = conn.Close() })}
		}
		return
	}
	if route.Idle <= 0 && route.MaxResponse <= 0 && route.Total <= 0 || res.Body == http.NoBody {
		return
	}
	b := &boundBody{ReadCloser: res.Body, left: -1, ctx: r.Context()}
	if route.MaxResponse > 0 {
		b.left = route.MaxResponse
	}
	if route.Idle > 0 {
		src := res.Body
		b.idle = newIdle(route.Idle, func() { _ = src.Close() })
	}
	res.Body = b
}

// idle calls expire when it is not touched for a time.
type idle struct {
	mu      sync.Mutex
	limit   time.Duration
	timer   *time.Timer
	expired bool
	stopped bool
}

func newIdle(limit time.Duration, expire func()) *idle {
	i := &idle{limit: limit}
	i.timer = time.AfterFunc(limit, func() {
		i.mu.Lock()
		i.expired = !i.stopped
		i.mu.Unlock()
		if i.isExpired() {
			expire()
		}
	})
	return i
}

func (i *idle) touch() {
	if i == nil {
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.stopped && !i.expired {
		i.timer.Reset(i.limit)
	}
}

// pause stops the clock while the client is the one to wait for.
func (i *idle) pause() {
	if i != nil {
		i.timer.Stop()
	}
}

func (i *idle) stop() {
	if i == nil {
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.stopped = true
	i.timer.Stop()
}

func (i *idle) isExpired() bool {
	if i == nil {
		return false
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.expired
}

// boundBody is an answer's body with limits of size and silence.
type boundBody struct {
	io.ReadCloser
	left int64 // negative: no bound
	idle *idle
	ctx  context.Context
}

// Read implements io.Reader.
func (b *boundBody) Read(p []byte) (int, error) {
	b.idle.touch()
	n, err := b.ReadCloser.Read(p)
	b.idle.pause()
	if err != nil && !errors.Is(err, io.EOF) {
		if b.idle.isExpired() {
			err = errIdle
		} else if cause := context.Cause(b.ctx); cause != nil {
			err = cause
		}
	}
	if b.left >= 0 {
		if int64(n) > b.left {
			n, err = int(b.left), ErrResponseTooLarge
		}
		b.left -= int64(n)
	}
	return n, err
}

// Close implements io.Closer.
func (b *boundBody) Close() error {
	b.idle.stop()
	return b.ReadCloser.Close()
}

// switchedBody is the connection of a switched protocol with a limit of silence.
type switchedBody struct {
	io.ReadWriteCloser
	idle *idle
}

// Read implements io.Reader.
func (b *switchedBody) Read(p []byte) (int, error) {
	n, err := b.ReadWriteCloser.Read(p)
	b.idle.touch()
	return n, err
}

// Write implements io.Writer.
func (b *switchedBody) Write(p []byte) (int, error) {
	n, err := b.ReadWriteCloser.Write(p)
	b.idle.touch()
	return n, err
}

// CloseWrite implements what httputil.ReverseProxy looks for.
func (b *switchedBody) CloseWrite() error {
	if half, ok := b.ReadWriteCloser.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return b.ReadWriteCloser.Close()
}

// Close implements io.Closer.
func (b *switchedBody) Close() error {
	b.idle.stop()
	return b.ReadWriteCloser.Close()
}
