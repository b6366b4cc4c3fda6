// Package pool sends requests to upstreams that have more than one address, or need
// more than one attempt: it balances, watches health, retries, breaks circuits and
// speaks TLS as an access.Route says.
//
// Pools holds one pool per Route for as long as rules lead to it. A Trip is one request
// on its way; it is an http.RoundTripper.
package pool

import (
	"cmp"
	"context"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/gatewarden/gatewarden/access"
)

// Options of New. Transport is required.
type Options struct {
	// Transport returns a new transport with the listener's settings, for HTTP/2 without
	// TLS when h2c is set.
	Transport func(h2c bool) *http.Transport
	// Connect bounds connecting for Routes that do not say; 0: no bound.
	Connect time.Duration
	// Guard refuses addresses, as net.Dialer.Control does, for Routes that are Guarded.
	// Nil: such Routes reach nothing.
	Guard func(network, address string, c syscall.RawConn) error
	// Retried is told of every retry, for metrics; may be nil.
	Retried func(route, why string)
}

// Pools are the pools of all Routes in use.
type Pools struct {
	o      Options
	ctx    context.Context
	cancel context.CancelFunc
	probes sync.WaitGroup

	mu    sync.Mutex // of changes
	pools atomic.Pointer[map[*access.Route]*pool]
}

// New returns Pools without any.
func New(o Options) *Pools {
	if o.Retried == nil {
		o.Retried = func(string, string) {}
	}
	p := &Pools{o: o}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.pools.Store(&map[*access.Route]*pool{})
	return p
}

// Follow makes routes those that are in use: new ones get a pool whose targets are
// probed, what is known of the others is kept, and those that are missing end.
func (p *Pools) Follow(routes []*access.Route) {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := *p.pools.Load()
	next := make(map[*access.Route]*pool, len(routes))
	if p.ctx.Err() == nil {
		for _, r := range routes {
			if next[r] = old[r]; next[r] == nil {
				next[r] = newPool(r, &p.o)
				next[r].watch(p.ctx, &p.probes)
			}
		}
	}
	p.pools.Store(&next)
	for r, known := range old {
		if next[r] == nil {
			known.release()
		}
	}
}

// take returns the pool of r; release it after use. A Route that is no longer in use,
// or not yet, gets one of its own: a request may have been decided by rules that were
// replaced since.
func (p *Pools) take(r *access.Route) *pool {
	if known := (*p.pools.Load())[r]; known != nil && known.retain() {
		return known
	}
	return newPool(r, &p.o)
}

// Close ends all pools. Requests that are on their way go on.
func (p *Pools) Close() {
	p.cancel()
	p.Follow(nil)
	p.probes.Wait()
}

// pool is the state of one Route.
type pool struct {
	route     *access.Route
	o         *Options
	endpoints []*endpoint
	balancer  balancer
	budget    budget
	breaker   *breaker
	users     atomic.Int64 // the Pools count as one; at 0 it is gone
	stop      context.CancelFunc
}

func newPool(r *access.Route, o *Options) *pool {
	p := &pool{route: r, o: o, stop: func() {}, breaker: newBreaker(r.Breaker)}
	p.users.Store(1)
	p.budget.reset(r.Retry.Budget)
	secure := newSecure(r.TLS)
	targets := r.Targets
	if len(targets) == 0 {
		targets = []access.Target{{Weight: 1}}
	}
	for _, t := range targets {
		p.endpoints = append(p.endpoints, newEndpoint(t, r, o, secure))
	}
	p.balancer = newBalancer(r.Balance, p.endpoints)
	return p
}

// retain counts one more user, unless the pool is gone.
func (p *pool) retain() bool {
	for {
		n := p.users.Load()
		if n == 0 {
			return false
		}
		if p.users.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// release counts one user less; the last one ends the pool.
func (p *pool) release() {
	if p.users.Add(-1) > 0 {
		return
	}
	p.stop()
	for _, e := range p.endpoints {
		e.closeIdle()
	}
}

// endpoint is one target and what is known of it.
type endpoint struct {
	access.Target
	name      string
	transport *http.Transport
	h2c       *http.Transport // only where the URL differs by request
	upgrade   *http.Transport // only where transport may choose HTTP/2 for an upgrade
	hash      uint64
	health    health
	busy      atomic.Int64 // requests that are on their way
	current   int64        // of the weighted round robin
}

// carrier returns the transport for a request to base.
func (e *endpoint) carrier(base *url.URL, r *http.Request) *http.Transport {
	switch {
	case base.Scheme == "h2c" && e.h2c != nil:
		return e.h2c
	case e.upgrade != nil && len(r.Header["Upgrade"]) > 0:
		return e.upgrade
	}
	return e.transport
}

// closeIdle closes connections that nobody uses.
func (e *endpoint) closeIdle() {
	for _, t := range []*http.Transport{e.transport, e.h2c, e.upgrade} {
		if t != nil {
			t.CloseIdleConnections()
		}
	}
}

func newEndpoint(t access.Target, r *access.Route, o *Options, secure *secure) *endpoint {
	e := &endpoint{Target: t, name: r.Name}
	if t.URL != nil {
		if e.name = t.URL.String(); t.Socket != "" {
			e.name = "unix://" + t.Socket
		}
	}
	e.hash = hash(e.name)
	dialer := &net.Dialer{Timeout: or(r.Connect, o.Connect), KeepAlive: 30 * time.Second}
	if r.Guarded {
		dialer.Control = o.Guard
		if o.Guard == nil {
			dialer.Control = refuseAll
		}
	}
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		if t.Socket != "" {
			network, address = "unix", t.Socket
		}
		c, err := dialer.DialContext(ctx, network, address)
		if err != nil {
			return nil, &connectError{err}
		}
		return c, nil
	}
	make := func(h2c, only1 bool) *http.Transport {
		transport := o.Transport(h2c)
		transport.DialContext = dial
		if r.MaxHeader > 0 {
			transport.MaxResponseHeaderBytes = r.MaxHeader
		}
		if only1 && !h2c {
			var only http.Protocols
			only.SetHTTP1(true)
			transport.Protocols = &only
		}
		secure.apply(transport, dial, only1)
		return transport
	}
	only1 := r.TLS != nil && r.TLS.HTTP1
	e.transport = make(t.URL != nil && t.URL.Scheme == "h2c", only1)
	if t.URL == nil {
		e.h2c = make(true, only1)
	}
	if r.TLS != nil && !only1 && (t.URL == nil || t.URL.Scheme == "https") {
		// net/http leaves what is offered to who dials TLS, which cannot know the request.
		e.upgrade = make(false, true)
	}
	return e
}

func refuseAll(_, address string, _ syscall.RawConn) error {
	return &net.AddrError{Err: "no address may be dialled for a request", Addr: address}
}

// connectError is a failure before anything was sent.
type connectError struct{ error }

func (e *connectError) Unwrap() error { return e.error }

func or[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

// Status is what is known of one target.
type Status struct {
	Route    string `json:"route"`
	Endpoint string `json:"endpoint"`
	// Healthy is the result of probes, true without; Ejected says that it failed too
	// often of late.
	Healthy bool `json:"healthy"`
	Ejected bool `json:"ejected"`
	// Circuit is that of the Route: closed, open, half_open.
	Circuit string `json:"circuit"`
	Active  int64  `json:"active_requests"`
	// Error is why the last probe failed.
	Error string `json:"error,omitempty"`
}

// Statuses lists the targets of all Routes by the Routes' names, but for those whose
// URLs differ by request. The targets of a Route are in its order.
func (p *Pools) Statuses() []Status {
	now := time.Now()
	all := slices.SortedFunc(maps.Values(*p.pools.Load()), func(a, b *pool) int {
		return cmp.Or(strings.Compare(a.route.Name, b.route.Name), slices.CompareFunc(a.endpoints, b.endpoints, func(a, b *endpoint) int {
			return strings.Compare(a.name, b.name)
		}))
	})
	out := []Status{}
	for _, known := range all {
		if len(known.route.Targets) == 0 {
			continue
		}
		for _, e := range known.endpoints {
			healthy, ejected, why := e.health.state(now)
			out = append(out, Status{
				Route: known.route.Name, Endpoint: e.name, Healthy: healthy, Ejected: ejected,
				Circuit: known.breaker.state(now), Active: e.busy.Load(), Error: why,
			})
		}
	}
	return out
}
