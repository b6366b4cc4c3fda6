package proxy

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/edge"
	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/proxy/wire"
)

const (
	// sweepEvery is how often open streams are looked at: what ends a credential ends
	// its streams within this time and that of one check.
	sweepEvery = 200 * time.Millisecond
	// settled is the age at which an exchange counts as long-lived.
	settled = time.Second
	// checksPerLease bounds the checks that one authenticator runs at a time.
	checksPerLease = 16
	checkTimeout   = 10 * time.Second
	// doubtful is how long a stream may last whose credential cannot be checked.
	doubtful = 30 * time.Second
	// defaultRecheck is Streams.Recheck unless it is set.
	defaultRecheck = 30 * time.Second
)

// Streams says how long-lived exchanges are held to the credentials that opened them.
type Streams struct {
	// Withdrawals grows whenever credentials may have been withdrawn; all open streams
	// are checked then. Nil: nobody tells.
	Withdrawals func() uint64
	// Recheck is how often the credential of an open stream is checked in any case;
	// default 30 s.
	Recheck time.Duration
}

// Why a stream was ended.
var (
	errExpired   = fault.New(fault.Unauthenticated, "credential_expired", "the credentials have expired")
	errWithdrawn = fault.New(fault.Unauthenticated, "credential_withdrawn", "the credentials are no longer valid")
	errDoubtful  = fault.New(fault.Unavailable, "credential_unchecked", "the credentials could not be checked for too long")
)

// streams are the open exchanges that may outlive the credential that opened them.
// Nothing runs while there are none.
type streams struct {
	o      Streams
	ctx    context.Context // of checks
	cancel context.CancelFunc
	checks sync.WaitGroup

	mu     sync.Mutex
	open   map[*openStream]struct{}
	timer  *time.Timer // runs while open is not empty
	seen   uint64      // of Withdrawals
	closed bool
}

func newStreams(o Streams) *streams {
	if o.Withdrawals == nil {
		o.Withdrawals = func() uint64 { return 0 }
	}
	o.Recheck = or(o.Recheck, defaultRecheck)
	s := &streams{o: o, open: map[*openStream]struct{}{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// openStream is one open exchange.
type openStream struct {
	owner    *streams
	lease    access.Lease
	x        *edge.Exchange
	received credentials
	end      func(why error)
	// request is a copy of x's for checks, which may last longer; zero until the first.
	request access.Request

	mu    sync.Mutex
	cause error // why it was ended
	over  bool  // by the exchange itself

	// Guarded by owner.mu.
	until, next time.Time
	doubt       time.Time // when a check failed to find out; zero: none did
	known       bool      // it was checked since it was opened
	checking    bool
	checkAgain  bool
}

// add registers an exchange; the caller must call done when it ends. End is called at
// most once, from another goroutine, and never after done. An exchange that is known
// to be long is checked at once, any other one when it has lasted a while. Received
// are the credentials as they were before mutators.
func (s *streams) add(x *edge.Exchange, received credentials, long bool, end func(why error)) *openStream {
	st := &openStream{owner: s, lease: x.Decision.Lease, x: x, received: received, end: end, next: time.Now()}
	if !long {
		st.next = st.next.Add(settled)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return st
	}
	s.open[st] = struct{}{}
	if s.timer == nil {
		// What was withdrawn while nothing was open is found by the first check.
		s.seen = s.o.Withdrawals()
		s.timer = time.AfterFunc(sweepEvery, s.sweep)
	}
	return st
}

// done takes the exchange out and returns why it was ended, nil when it was not.
func (st *openStream) done() error {
	st.owner.mu.Lock()
	delete(st.owner.open, st)
	st.owner.mu.Unlock()
	st.mu.Lock() // waits for end
	defer st.mu.Unlock()
	st.over = true
	return st.cause
}

// finish ends the exchange.
func (st *openStream) finish(why error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if !st.over && st.cause == nil {
		st.cause = why
		st.end(why)
	}
}

// close stops all checks. Exchanges that are open stay so.
func (s *streams) close() {
	s.mu.Lock()
	s.closed = true
	if s.timer != nil {
		s.timer.Stop()
	}
	clear(s.open)
	s.mu.Unlock()
	s.cancel()
	s.checks.Wait()
}

// sweep ends what has expired and has the rest checked where that is due.
func (s *streams) sweep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	if len(s.open) == 0 {
		s.timer = nil
		return
	}
	s.timer.Reset(sweepEvery)
	now := time.Now()
	withdrawals := s.o.Withdrawals()
	changed := withdrawals != s.seen
	s.seen = withdrawals
	due := map[any][]*openStream{}
	for st := range s.open {
		switch {
		case !st.until.IsZero() && !now.Before(st.until):
			s.drop(st, errExpired)
		case st.checking:
			st.checkAgain = st.checkAgain || changed
		case !now.Before(st.next) || changed && st.known:
			st.checking = true
			group := any(st.lease)
			if !reflect.TypeOf(group).Comparable() {
				group = st
			}
			due[group] = append(due[group], st)
		}
	}
	for _, list := range due {
		for part := range min(checksPerLease, len(list)) {
			s.checks.Go(func() {
				for i := part; i < len(list); i += checksPerLease {
					s.check(list[i])
				}
			})
		}
	}
}

// drop ends st without waiting for it; s.mu is held.
func (s *streams) drop(st *openStream, why error) {
	delete(s.open, st)
	s.checks.Go(func() { st.finish(why) })
}

// check has the credential of st checked.
func (s *streams) check(st *openStream) {
	ctx, cancel := context.WithTimeout(s.ctx, checkTimeout)
	defer cancel()
	until, err := st.renew(ctx)
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	st.checking = false
	if _, open := s.open[st]; !open {
		return
	}
	switch {
	case err == nil:
		st.known, st.until, st.doubt = true, until, time.Time{}
		st.next = now.Add(s.o.Recheck)
		if !until.IsZero() && !now.Before(until) {
			s.drop(st, errExpired)
		}
	case !undecided(err):
		s.drop(st, errWithdrawn)
	default:
		if st.doubt.IsZero() {
			st.doubt = now
		}
		st.next = now.Add(settled)
		if now.Sub(st.doubt) > doubtful {
			s.drop(st, errDoubtful)
		}
	}
	if st.checkAgain {
		st.checkAgain, st.next = false, now
	}
}

// renew asks the lease. It reports no error for an exchange that is over.
func (st *openStream) renew(ctx context.Context) (until time.Time, err error) {
	if !st.copyRequest() {
		return time.Time{}, nil
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic in a check of credentials: %v", p)
		}
	}()
	return st.lease.Renew(ctx, &st.request)
}

// copyRequest reports false when the exchange is over and its request gone.
func (st *openStream) copyRequest() bool {
	if st.request.URL != nil {
		return true
	}
	st.mu.Lock() // done waits meanwhile
	defer st.mu.Unlock()
	if st.over {
		return false
	}
	st.request = st.x.Request
	u := *st.x.Request.URL
	st.request.URL, st.request.Body = &u, nil
	st.request.Header = st.received.restore(st.x.Request.Header)
	return true
}

// undecided reports whether a check failed to find out.
func undecided(err error) bool {
	switch fault.KindOf(err) {
	case fault.Unavailable, fault.Timeout, fault.RateLimited:
		return true
	}
	return false
}

// lease holds an exchange that serveAny forwards to its credentials. It returns the
// writer to answer by; the caller must call done at the end.
func (f *forwarder) lease(x *edge.Exchange, cancel context.CancelCauseFunc) (w http.ResponseWriter, done func()) {
	w = x.W
	tell := func(error) {}
	upgrade := len(x.R.Header["Upgrade"]) > 0
	if upgrade {
		socket := &webSocketWriter{ResponseWriter: w}
		w, tell = socket, socket.end
	}
	long := upgrade || strings.Contains(x.R.Header.Get("Accept"), "text/event-stream")
	st := f.streams.add(x, credentialsOf(x.R.Header), long, func(why error) {
		tell(why)
		cancel(why)
	})
	return w, st.report
}

// lasts reports whether an answer that the synchronous client reads may take long.
func lasts(res *wire.Response) bool {
	return res.ContentLength < 0 && res.Body != http.NoBody || res.ContentLength > 1<<20
}

// leased holds such an answer to the credentials; the caller must call report on the
// result.
func (f *forwarder) leased(x *edge.Exchange, received credentials, res *wire.Response) *openStream {
	long := strings.HasPrefix(res.Header.Get("Content-Type"), "text/event-stream")
	return f.streams.add(x, received, long, func(error) { res.Abort() })
}

// credentials are the header fields that mutators may replace though authenticators
// read them.
type credentials struct{ authorization, cookie []string }

func credentialsOf(h http.Header) credentials { return credentials{h["Authorization"], h["Cookie"]} }

// restore returns a copy of h with the credentials as they were.
func (c credentials) restore(h http.Header) http.Header {
	h = maps.Clone(h)
	for name, values := range map[string][]string{"Authorization": c.authorization, "Cookie": c.cookie} {
		if delete(h, name); len(values) > 0 {
			h[name] = values
		}
	}
	return h
}

// report takes the stream out and records in its event why it was ended.
func (st *openStream) report() {
	if why := st.done(); why != nil && st.x.Event.Reason == "" {
		st.x.Event.Reason, st.x.Event.Err = fault.ReasonOf(why), why
	}
}
