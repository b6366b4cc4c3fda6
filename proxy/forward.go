package proxy

import (
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"strings"
	"sync"
	"time"

	"github.com/gatewarden/gatewarden/edge"
	"github.com/gatewarden/gatewarden/proxy/pool"
	"github.com/gatewarden/gatewarden/proxy/wire"
)

// forwarder sends allowed requests to their upstreams.
type forwarder struct {
	http, h2c *http.Transport
	wire      *wire.Client // nil: not used
	timeout   time.Duration
	streams   *streams
	pools     *pool.Pools
	buffers   buffers
	silent    *log.Logger
}

func newForwarder(t Transport, s Streams) *forwarder {
	t = t.withDefaults()
	f := &forwarder{
		http:    t.round(false),
		h2c:     t.round(true),
		timeout: t.ResponseHeaderTimeout,
		streams: newStreams(s),
		buffers: buffers{sync.Pool{New: func() any { b := make([]byte, bufferSize); return &b }}},
		pools:   pool.New(pool.Options{Transport: t.round, Connect: t.DialTimeout, Guard: t.Guard, Retried: t.Retried}),
		silent:  log.New(io.Discard, "", 0), // failures are in the access event
	}
	if wire.Supported && !t.Standard {
		f.wire = wire.New(wire.Options{Dial: f.http.DialContext, MaxIdlePerHost: t.MaxIdlePerHost, IdleTimeout: t.IdleConnTimeout, MaxHeaderBytes: t.MaxResponseHeaderBytes})
	}
	return f
}

func (f *forwarder) close() {
	f.streams.close()
	f.pools.Close()
	f.http.CloseIdleConnections()
	f.h2c.CloseIdleConnections()
	if f.wire != nil {
		f.wire.Close()
	}
}

// serve forwards x: plain requests over the synchronous client, all others by
// ReverseProxy.
func (f *forwarder) serve(x *edge.Exchange) {
	up := x.Decision.Upstream
	if up == nil || up.URL == nil {
		x.Fail(http.StatusBadGateway, "no_upstream", "the rule has no upstream", nil)
		return
	}
	x.Event.Forwarded = true
	if f.wire != nil && isPlain(x) {
		f.servePlain(x)
		return
	}
	f.serveAny(x)
}

// serveAny forwards by ReverseProxy, which is a value of this one request, so that
// the decision needs no way through the context.
func (f *forwarder) serveAny(x *edge.Exchange) {
	up := x.Decision.Upstream
	ctx, cancel := context.WithCancelCause(x.R.Context())
	defer cancel(nil)
	call := &call{x: x, began: time.Now(), wait: newWait(f.limit(x), func() { cancel(errUpstreamTimeout) })}
	defer call.wait.stop()
	w := x.W
	if x.Decision.Lease != nil {
		var done func()
		w, done = f.lease(x, cancel)
		defer done()
	}
	r := x.R.WithContext(ctx)
	if r.Body != nil && r.Body != http.NoBody {
		r.Body = &sending{ReadCloser: r.Body, call: call}
	}
	var transport http.RoundTripper = f.http
	switch {
	case up.Route != nil:
		var done func()
		transport, done = f.trip(call, cancel)
		defer done()
	case up.URL.Scheme == "h2c":
		transport = f.h2c
	}
	p := httputil.ReverseProxy{
		Rewrite:        call.rewrite,
		Transport:      transport,
		FlushInterval:  0, // unknown length and event streams are flushed at once anyway
		ErrorLog:       f.silent,
		BufferPool:     &f.buffers,
		ModifyResponse: call.answered,
		ErrorHandler:   call.failed,
	}
	p.ServeHTTP(w, r)
}

// limit is how long to wait for a response header. Servers of gRPC send theirs with
// the first message, which a stream may take its time for: grpc-timeout bounds that.
func (f *forwarder) limit(x *edge.Exchange) time.Duration {
	limit := or(x.Decision.Upstream.Timeout, f.timeout)
	if x.Decision.Upstream.Timeout == 0 && strings.HasPrefix(x.R.Header.Get("Content-Type"), "application/grpc") {
		limit = 1<<63 - 1
	}
	return limit
}

// call is one request to an upstream.
type call struct {
	x     *edge.Exchange
	began time.Time
	wait  *wait
	out   *http.Request
	trip  *pool.Trip // nil without a Route
}

func (c *call) rewrite(pr *httputil.ProxyRequest) {
	up, in := c.x.Decision.Upstream, c.x.Request.URL
	out := pr.Out
	t := target(up, in)
	out.URL = &t
	out.Host = up.URL.Host
	if up.PreserveHost {
		out.Host = in.Host
	}
	// ReverseProxy took these away; they are the gateway's own by now.
	for _, name := range [...]string{"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
		if v, ok := pr.In.Header[name]; ok {
			out.Header[name] = v
		}
	}
	host := edge.ApplyPass(out.Header, &c.x.Decision.Pass)
	if host != "" {
		out.Host = host
	}
	if c.trip != nil {
		c.trip.OwnHost = host == "" && !up.PreserveHost
	}
	c.out = out
}

// answered runs when the response header is there; the body may take for ever.
func (c *call) answered(res *http.Response) error {
	c.wait.stop()
	if res.StatusCode < 100 {
		return errors.New("invalid status code") // net/http would panic
	}
	c.x.CleanAnswer(res.Header)
	keepUntyped(c.x.W.Header(), res.Header)
	c.x.Event.Upstream, c.x.Event.UpstreamStatus = time.Since(c.began), res.StatusCode
	return nil
}

// keepUntyped stops net/http from guessing a Content-Type that the upstream did not send.
func keepUntyped(h, upstream http.Header) {
	if _, ok := upstream["Content-Type"]; !ok {
		h["Content-Type"] = nil
	}
}

// failed answers for an upstream that did not.
func (c *call) failed(_ http.ResponseWriter, r *http.Request, err error) {
	if cause := context.Cause(r.Context()); cause != nil {
		err = errors.Join(cause, err)
	}
	fail(c.x, err)
}

// sending is the request body on its way to the upstream. The clock stands still
// while the client is the one to wait for. At the end it hands over the trailers
// that the client announced.
type sending struct {
	io.ReadCloser
	call *call
}

func (s *sending) Read(p []byte) (int, error) {
	s.call.wait.pause()
	n, err := s.ReadCloser.Read(p)
	s.call.wait.resume()
	if err == io.EOF && s.call.out != nil {
		for name := range s.call.out.Trailer {
			s.call.out.Trailer[name] = s.call.x.R.Trailer[name]
		}
	}
	return n, err
}

// wait bounds the wait for a response header.
type wait struct {
	limit time.Duration
	mu    sync.Mutex
	over  bool
	timer *time.Timer
}

func newWait(limit time.Duration, expire func()) *wait {
	return &wait{limit: limit, timer: time.AfterFunc(limit, expire)}
}

func (w *wait) pause() { w.timer.Stop() }

func (w *wait) resume() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.over {
		w.timer.Reset(w.limit)
	}
}

func (w *wait) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over = true
	w.timer.Stop()
}

const bufferSize = 32 << 10

// buffers implements httputil.BufferPool.
type buffers struct{ pool sync.Pool }

func (b *buffers) Get() []byte { return *b.pool.Get().(*[]byte) }

func (b *buffers) Put(p []byte) { b.pool.Put(&p) }
