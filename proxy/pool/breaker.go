package pool

import (
	"context"
	"sync"
	"time"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/fault"
)

// Reason ids of requests that got to no target.
const (
	ReasonNoHealthyUpstream = "no_healthy_upstream"
	ReasonCircuitOpen       = "circuit_open"
	ReasonOverloaded        = "upstream_overloaded"
)

func overloaded() error {
	return fault.New(fault.Unavailable, ReasonOverloaded, "the upstream has as many requests as it may")
}

// slices of a window, so that it moves in steps.
const steps = 10

// breaker keeps requests from an upstream that has too many or fails too often. Its
// methods may be called for nil, which lets everything pass.
type breaker struct {
	o     access.Breaker
	slots chan struct{} // nil: no bound; holds one per request
	queue chan struct{} // holds one per request that waits

	mu      sync.Mutex
	counts  [steps]struct{ all, failed int }
	step    int64 // of the newest counts, in steps since the epoch
	opened  time.Time
	open    bool
	testing bool // one request tries whether the circuit can be closed
}

// newBreaker returns nil when nothing is bounded.
func newBreaker(o access.Breaker) *breaker {
	if o.MaxRequests == 0 && o.ErrorRate == 0 {
		return nil
	}
	b := &breaker{o: o}
	if o.MaxRequests > 0 {
		b.slots, b.queue = make(chan struct{}, o.MaxRequests), make(chan struct{}, o.MaxPending)
	}
	return b
}

// enter lets a request pass; the caller must call leave. Trial says that it is the one
// that closes the circuit again. Errors are fault.Unavailable, or ctx's.
func (b *breaker) enter(ctx context.Context) (trial bool, err error) {
	if b == nil {
		return false, nil
	}
	if trial, err = b.admit(time.Now()); err != nil {
		return false, err
	}
	if err := b.seat(ctx); err != nil {
		if trial {
			b.giveUp()
		}
		return false, err
	}
	return trial, nil
}

// admit asks the circuit.
func (b *breaker) admit(now time.Time) (trial bool, err error) {
	if b.o.ErrorRate == 0 {
		return false, nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.open {
		return false, nil
	}
	left := b.opened.Add(b.o.Open).Sub(now)
	if left > 0 || b.testing {
		return false, &fault.Error{Kind: fault.Unavailable, Reason: ReasonCircuitOpen, Message: "the upstream failed too often of late",
			RetryAfter: max(left, time.Second)}
	}
	b.testing = true
	return true, nil
}

// seat waits for a slot.
func (b *breaker) seat(ctx context.Context) error {
	if b.slots == nil {
		return nil
	}
	select {
	case b.slots <- struct{}{}:
		return nil
	default:
	}
	select {
	case b.queue <- struct{}{}:
		defer func() { <-b.queue }()
	default:
		return overloaded()
	}
	timer := time.NewTimer(b.o.PendingTimeout)
	defer timer.Stop()
	select {
	case b.slots <- struct{}{}:
		return nil
	case <-timer.C:
		return overloaded()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// outcome of a request, for the circuit.
type outcome int

const (
	undecided outcome = iota // the client left, or nothing was sent
	succeeded
	failed
)

// leave ends a request.
func (b *breaker) leave(trial bool, result outcome) {
	if b == nil {
		return
	}
	if b.slots != nil {
		<-b.slots
	}
	b.note(trial, result, time.Now())
}

// note counts the outcome of a request that was let pass.
func (b *breaker) note(trial bool, result outcome, now time.Time) {
	if b.o.ErrorRate == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case trial:
		b.testing = false
		if result == failed {
			b.opened = now
		} else if result == succeeded {
			b.open = false
			clear(b.counts[:])
		}
	case result == undecided || b.open: // begun before it was opened
	default:
		b.count(result == failed, now)
	}
}

func (b *breaker) giveUp() {
	b.mu.Lock()
	b.testing = false
	b.mu.Unlock()
}

// count adds one result and opens the circuit when too many failed; b.mu is held.
func (b *breaker) count(bad bool, now time.Time) {
	step := now.UnixNano() / max(1, int64(b.o.Window)/steps)
	for ; b.step < step; b.step++ {
		if step-b.step > steps {
			b.step = step - steps
		}
		b.counts[(b.step+1)%steps] = struct{ all, failed int }{}
	}
	c := &b.counts[b.step%steps]
	c.all++
	if bad {
		c.failed++
	}
	var all, failed int
	for _, c := range b.counts {
		all, failed = all+c.all, failed+c.failed
	}
	if bad && all >= b.o.MinRequests && float64(failed) >= b.o.ErrorRate*float64(all) {
		b.open, b.opened = true, now
	}
}

// state is closed, open or half_open.
func (b *breaker) state(now time.Time) string {
	if b == nil {
		return "closed"
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case !b.open:
		return "closed"
	case b.testing || !now.Before(b.opened.Add(b.o.Open)):
		return "half_open"
	}
	return "open"
}
