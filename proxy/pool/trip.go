package pool

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/fault"
)

// Reason ids of exchanges that exceeded what the Route allows.
const (
	ReasonRequestTooLarge  = "request_body_too_large" // as the listener's own limit
	ReasonResponseTooLarge = "upstream_response_too_large"
)

var (
	errRequestTooLarge = fault.New(fault.TooLarge, ReasonRequestTooLarge, "the request body is too large")
	errNoAnswer        = &timeoutError{"no response header within the time of one attempt"}

	// ErrResponseTooLarge is a response beyond Route.MaxResponse.
	ErrResponseTooLarge = errors.New("the response is larger than upstream.limits.response_body")
	// ErrTimeout ends the context of a request whose upstream took too long.
	ErrTimeout error = &timeoutError{"no response header in time"}
)

// timeoutError is an error that is a timeout.
type timeoutError struct{ text string }

func (e *timeoutError) Error() string { return e.text }
func (e *timeoutError) Timeout() bool { return true }
func (*timeoutError) Temporary() bool { return true }

// Trip is one request on its way. It is used by one goroutine; call Done at the end.
type Trip struct {
	// Request, Subject and Upstream are what was decided.
	request  *access.Request
	subject  string
	upstream *access.Upstream
	// target returns where the request goes for a base URL.
	target func(base *url.URL) url.URL
	// OwnHost says that the Host field is the target's.
	OwnHost bool

	pool    *pool
	entered bool
	trial   bool
	result  outcome
	at      *endpoint // that has the request now
	cancel  context.CancelCauseFunc
	tried   []*endpoint
}

// Trip returns a Trip for a request that was allowed to go to up, whose Route is set.
// Target returns where it goes for the base URL of a target.
func (p *Pools) Trip(r *access.Request, subject string, up *access.Upstream, target func(base *url.URL) url.URL) *Trip {
	return &Trip{request: r, subject: subject, upstream: up, target: target, pool: p.take(up.Route)}
}

// Done ends the trip.
func (t *Trip) Done() {
	t.leave()
	if t.entered {
		t.pool.breaker.leave(t.trial, t.result)
	}
	t.pool.release()
}

// leave says that the endpoint has one request less.
func (t *Trip) leave() {
	if t.at != nil {
		t.at.busy.Add(-1)
		t.cancel(nil)
		t.at = nil
	}
}

// RoundTrip implements http.RoundTripper. Errors beside the transport's:
// fault.Unavailable with no_healthy_upstream, circuit_open or upstream_overloaded, and
// fault.TooLarge.
func (t *Trip) RoundTrip(r *http.Request) (*http.Response, error) {
	route := t.pool.route
	if route.MaxRequest > 0 && r.ContentLength > route.MaxRequest {
		return nil, errRequestTooLarge
	}
	trial, err := t.pool.breaker.enter(r.Context())
	if err != nil {
		return nil, err
	}
	t.entered, t.trial = true, trial
	t.pool.budget.earn()
	b, err := newBody(r, route)
	if err != nil {
		return nil, err
	}
	res, err := t.attempts(r, b)
	if err != nil {
		if b.tooLarge() {
			return nil, errRequestTooLarge
		}
		return nil, err
	}
	if route.MaxResponse > 0 && res.ContentLength > route.MaxResponse && r.Method != http.MethodHead {
		res.Body.Close()
		return nil, ErrResponseTooLarge
	}
	t.bound(r, res)
	return res, nil
}

// attempts sends r until there is an answer to pass on.
func (t *Trip) attempts(r *http.Request, b *body) (*http.Response, error) {
	retry := &t.pool.route.Retry
	for n := 1; ; n++ {
		e := t.choose(n > 1)
		if e == nil {
			return nil, fault.New(fault.Unavailable, ReasonNoHealthyUpstream, "no address of the upstream is healthy")
		}
		var told atomic.Bool // an attempt that was given up may still hear of a 1xx
		res, err := t.attempt(r, e, b, &told)
		if n >= retry.Attempts || told.Load() || r.Context().Err() != nil {
			return res, err
		}
		why := t.repeat(r, res, err, b)
		if why == "" || !slices.ContainsFunc(t.pool.endpoints, t.usable) || !t.pool.budget.spend() {
			return res, err
		}
		if why != access.RetryConnectFailure || t.choices() == 0 {
			if !pause(r.Context(), backoff(retry, n)) {
				return res, err
			}
		}
		if res != nil {
			_, _ = io.CopyN(io.Discard, res.Body, 16<<10) // so that the connection is used again
			res.Body.Close()
		}
		t.leave()
		t.pool.o.Retried(t.pool.route.Name, why)
	}
}

// usable reports whether e may get requests.
func (t *Trip) usable(e *endpoint) bool {
	return t.pool.route.Active.Interval == 0 && t.pool.route.Passive.Failures == 0 || e.health.usable(time.Now())
}

// choices is how many usable endpoints were not tried yet.
func (t *Trip) choices() (n int) {
	for _, e := range t.pool.endpoints {
		if !slices.Contains(t.tried, e) && t.usable(e) {
			n++
		}
	}
	return n
}

// choose returns the endpoint for the next attempt; one that was not tried where there
// is one.
func (t *Trip) choose(again bool) *endpoint {
	var e *endpoint
	if again {
		e = t.pool.balancer.pick(t.key(), func(e *endpoint) bool { return !slices.Contains(t.tried, e) && t.usable(e) })
	}
	if e == nil {
		e = t.pool.balancer.pick(t.key(), t.usable)
	}
	if e != nil {
		e.busy.Add(1)
		t.cancel = func(error) {}
		t.at, t.tried = e, append(t.tried, e)
	}
	return e
}

// key is what a hash is of; empty when the request has none.
func (t *Trip) key() string {
	b := &t.pool.route.Balance
	switch b.Key {
	case access.HashSubject:
		return t.subject
	case access.HashClient:
		if t.request.Client.IsValid() {
			return t.request.Client.String()
		}
	case access.HashHeader:
		return strings.Join(t.request.Header[b.Name], ",")
	case access.HashCookie:
		r := http.Request{Header: http.Header{"Cookie": t.request.Header["Cookie"]}}
		if c, err := r.Cookie(b.Name); err == nil {
			return c.Value
		}
	}
	return ""
}

// attempt sends r to e once. Told is set when the client was told something already.
func (t *Trip) attempt(r *http.Request, e *endpoint, b *body, told *atomic.Bool) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(r.Context())
	t.cancel = cancel
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{Got1xxResponse: func(status int, _ textproto.MIMEHeader) error {
		if status != http.StatusContinue {
			told.Store(true)
		}
		return nil
	}})
	if limit := t.pool.route.Retry.Attempt; limit > 0 {
		timer := time.AfterFunc(limit, func() { cancel(errNoAnswer) })
		defer timer.Stop()
	}
	base := e.URL
	if base == nil {
		base = t.upstream.URL
	}
	out := r.WithContext(ctx)
	u := t.target(base)
	out.URL = &u
	if t.OwnHost {
		out.Host = base.Host
	}
	b.sendWith(out)
	res, err := e.carrier(base, out).RoundTrip(out)
	if cause := context.Cause(ctx); err != nil && errors.Is(cause, errNoAnswer) {
		err = cause
	}
	t.note(r, e, res, err, b)
	return res, err // leave ends the context
}

// note tells health and breaker how an attempt ended.
func (t *Trip) note(r *http.Request, e *endpoint, res *http.Response, err error, b *body) {
	switch {
	case err != nil && (r.Context().Err() != nil || b.failed()): // the client's doing, or its deadline's
		if deadline := context.Cause(r.Context()); deadline == nil || !isTimeout(deadline) {
			t.result = undecided
			return
		}
		t.result = failed
	case err != nil, res.StatusCode == http.StatusBadGateway, res.StatusCode == http.StatusServiceUnavailable, res.StatusCode == http.StatusGatewayTimeout:
		t.result = failed
	default:
		t.result = succeeded
	}
	e.health.served(t.pool.route.Passive, t.result == failed)
}

func isTimeout(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.As(err, &timeout) && timeout.Timeout()
}

// repeat returns why the request is sent again; empty when it is not.
func (t *Trip) repeat(r *http.Request, res *http.Response, err error, b *body) string {
	retry := &t.pool.route.Retry
	var connect *connectError
	switch {
	case errors.As(err, &connect): // nothing was sent, so any method may be
		if retry.ConnectFailure && b.again() {
			return access.RetryConnectFailure
		}
	case !idempotent(r.Method) || !b.again():
	case err != nil:
		if retry.Reset && !b.failed() {
			return access.RetryReset
		}
	case slices.Contains(retry.Statuses, res.StatusCode) && res.Header.Get("Retry-After") == "":
		return "status"
	}
	return ""
}

// idempotent methods may be repeated (RFC 9110 section 9.2.2).
func idempotent(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}

// backoff is a random pause before the retry after n attempts.
func backoff(o *access.Retry, n int) time.Duration {
	most := o.Backoff << min(n-1, 16)
	if most <= 0 || most > o.MaxBackoff {
		most = o.MaxBackoff
	}
	return rand.N(most + 1)
}

// pause reports false when ctx would end before.
func pause(ctx context.Context, d time.Duration) bool {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < d {
		return false
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
