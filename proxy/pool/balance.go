package pool

import (
	"math"
	"math/rand/v2"
	"sync"

	"github.com/gatewarden/gatewarden/access"
)

// balancer chooses one of the endpoints that usable accepts; nil when there is none.
type balancer interface {
	pick(key string, usable func(*endpoint) bool) *endpoint
}

func newBalancer(b access.Balance, all []*endpoint) balancer {
	turns := &roundRobin{all: all}
	switch b.Policy {
	case access.LeastRequests:
		return &leastRequests{all: all}
	case access.Hash:
		return &rendezvous{all: all, keyless: turns}
	}
	return turns
}

// roundRobin spreads requests by weight, smoothly: a heavy endpoint's turns lie between
// those of others (the algorithm of nginx).
type roundRobin struct {
	all []*endpoint
	mu  sync.Mutex // of endpoint.current
}

func (b *roundRobin) pick(_ string, usable func(*endpoint) bool) *endpoint {
	b.mu.Lock()
	defer b.mu.Unlock()
	var best *endpoint
	total := int64(0)
	for _, e := range b.all {
		if !usable(e) {
			continue
		}
		e.current += int64(e.Weight)
		total += int64(e.Weight)
		if best == nil || e.current > best.current {
			best = e
		}
	}
	if best != nil {
		best.current -= total
	}
	return best
}

// leastRequests takes the less busy of two that are drawn by weight: nearly as even as
// the least busy of all, without all nodes choosing the same.
type leastRequests struct{ all []*endpoint }

func (b *leastRequests) pick(_ string, usable func(*endpoint) bool) *endpoint {
	draw := func(not *endpoint) *endpoint {
		total := 0
		var drawn *endpoint
		for _, e := range b.all {
			if e == not || !usable(e) {
				continue
			}
			total += e.Weight
			if rand.IntN(total) < e.Weight {
				drawn = e
			}
		}
		return drawn
	}
	first := draw(nil)
	if first == nil {
		return nil
	}
	second := draw(first)
	if second != nil && second.busy.Load()*int64(first.Weight) < first.busy.Load()*int64(second.Weight) {
		return second
	}
	return first
}

// boundedLoad is how many times its fair share of requests an endpoint may have before
// a key of its own goes to the next one.
const boundedLoad = 1.25

// rendezvous gives the same key the same endpoint, by the highest of the weighted
// hashes of key and endpoint; one that leaves moves only its own keys.
type rendezvous struct {
	all     []*endpoint
	keyless balancer // for requests without a key
}

func (b *rendezvous) pick(key string, usable func(*endpoint) bool) *endpoint {
	if key == "" {
		return b.keyless.pick("", usable)
	}
	var weights, busy int64
	for _, e := range b.all {
		if usable(e) {
			weights += int64(e.Weight)
			busy += e.busy.Load()
		}
	}
	h := hash(key)
	full := func(e *endpoint) bool {
		fair := boundedLoad * float64(busy+1) * float64(e.Weight) / float64(weights)
		return float64(e.busy.Load()) >= math.Ceil(fair)
	}
	best := b.highest(h, func(e *endpoint) bool { return usable(e) && !full(e) })
	if best == nil {
		best = b.highest(h, usable)
	}
	return best
}

func (b *rendezvous) highest(h uint64, usable func(*endpoint) bool) (best *endpoint) {
	top := math.Inf(-1)
	for _, e := range b.all {
		if !usable(e) {
			continue
		}
		// A uniform number in (0, 1); -weight/ln of it is weighted fairly.
		uniform := (float64(mix(h^e.hash)>>11) + 0.5) / (1 << 53)
		if score := -float64(e.Weight) / math.Log(uniform); score > top {
			best, top = e, score
		}
	}
	return best
}

// hash is FNV-1a, mixed: the same on every node and after a restart.
func hash(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := 0; i < len(s); i++ {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return mix(h)
}

// mix is the finaliser of SplitMix64.
func mix(h uint64) uint64 {
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}
