package pool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/gatewarden/gatewarden/access"
)

// health is whether an endpoint should get requests.
type health struct {
	mu sync.Mutex
	// Of probes. An endpoint counts as healthy until probes say otherwise.
	sick      bool
	same      int // results in a row that differ from sick
	why       string
	failures  int // of requests, in a row
	ejectedTo time.Time
}

// usable reports whether the endpoint may get requests.
func (h *health) usable(now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.sick && !now.Before(h.ejectedTo)
}

func (h *health) state(now time.Time) (healthy, ejected bool, why string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.sick, now.Before(h.ejectedTo), h.why
}

// probed takes over the result of a probe.
func (h *health) probed(o access.ActiveHealth, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.why = ""; err != nil {
		h.why = err.Error()
	}
	if h.sick == (err != nil) {
		h.same = 0
		return
	}
	h.same++
	if most := map[bool]int{true: o.Healthy, false: o.Unhealthy}[h.sick]; h.same >= most {
		h.sick, h.same = !h.sick, 0
	}
}

// served takes over the result of a request.
func (h *health) served(o access.PassiveHealth, failed bool) {
	if o.Failures == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if !failed {
		h.failures = 0
		return
	}
	if h.failures++; h.failures >= o.Failures {
		h.failures, h.ejectedTo = 0, time.Now().Add(o.Ejection)
	}
}

// watch probes the endpoints until ctx or the pool ends.
func (p *pool) watch(ctx context.Context, running *sync.WaitGroup) {
	if p.route.Active.Interval == 0 {
		return
	}
	ctx, p.stop = context.WithCancel(ctx)
	for _, e := range p.endpoints {
		running.Go(func() {
			for {
				err := e.probe(ctx, p.route.Active)
				if ctx.Err() != nil {
					return
				}
				e.health.probed(p.route.Active, err)
				// Up to a tenth earlier, so that nodes do not probe all at once.
				interval := p.route.Active.Interval
				timer := time.NewTimer(interval - rand.N(interval/10+1))
				select {
				case <-ctx.Done():
					timer.Stop()
					return
				case <-timer.C:
				}
			}
		})
	}
}

// probe asks the endpoint once.
func (e *endpoint) probe(ctx context.Context, o access.ActiveHealth) error {
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	u := *e.URL
	if u.Scheme == "h2c" {
		u.Scheme = "http"
	}
	at, err := u.Parse(o.Path)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
	if err != nil {
		return err
	}
	r.Host = o.Host
	r.Header.Set("User-Agent", "gatewarden-health")
	res, err := e.transport.RoundTrip(r)
	if err != nil {
		if ctx.Err() != nil {
			err = errors.New("no answer in time")
		}
		return err
	}
	defer res.Body.Close()
	_, _ = io.CopyN(io.Discard, res.Body, 64<<10) // so that the connection is used again
	good := slices.Contains(o.Statuses, res.StatusCode)
	if len(o.Statuses) == 0 {
		good = res.StatusCode >= 200 && res.StatusCode < 300
	}
	if !good {
		return fmt.Errorf("status %d", res.StatusCode)
	}
	return nil
}
