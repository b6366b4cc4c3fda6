package proxy

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/proxy/pool"
)

// Follow makes routes those that rules lead to: addresses of new ones are probed, what
// is known of those that stay is kept, those that are missing end.
func (p *Proxy) Follow(routes []*access.Route) { p.forward.pools.Follow(routes) }

// Upstreams lists the addresses of all routes in use and what is known of them.
func (p *Proxy) Upstreams() []pool.Status { return p.forward.pools.Statuses() }

// CheckRoute says what about a Route cannot be used, such as a file that is not there.
func CheckRoute(r *access.Route) error { return pool.Check(r) }

// trip returns what sends c by its Route; the caller must call done at the end.
func (f *forwarder) trip(c *call, cancel context.CancelCauseFunc) (transport http.RoundTripper, done func()) {
	x := c.x
	up := x.Decision.Upstream
	c.trip = f.pools.Trip(&x.Request, x.Decision.Subject.ID, up, func(base *url.URL) url.URL { return targetAt(up, base, x.Request.URL) })
	if up.Route.Total <= 0 || len(x.R.Header["Upgrade"]) > 0 {
		return c.trip, c.trip.Done
	}
	timer := time.AfterFunc(up.Route.Total, func() { cancel(errTotalTimeout) })
	return c.trip, func() {
		timer.Stop()
		c.trip.Done()
	}
}
