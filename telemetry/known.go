package telemetry

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// known remembers the series of label values. The vectors of the client library find
// them too, but check, hash and compare every label each time. It grows as the
// vectors do, which keep every series for ever.
type known[K comparable, V any] struct {
	mu  sync.RWMutex
	all map[K]V
}

// of returns the series of key; resolve finds one that is not known.
func (k *known[K, V]) of(key K, resolve func(K) V) V {
	k.mu.RLock()
	v, ok := k.all[key]
	k.mu.RUnlock()
	if ok {
		return v
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if v, ok = k.all[key]; ok { // whoever came first made it
		return v
	}
	v = resolve(key)
	if k.all == nil {
		k.all = map[K]V{}
	}
	k.all[key] = v
	return v
}

// each calls f for every series.
func (k *known[K, V]) each(f func(K, V)) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	for key, v := range k.all {
		f(key, v)
	}
}

// requestKey are the label values of one request; class is empty when no upstream
// was called.
type requestKey struct{ listener, rule, outcome, reason, class string }

type requestSeries struct {
	requests *counter
	duration prometheus.Observer
	upstream *histogram // nil: none was called
}

type counterKey struct{ listener, rule, outcome, reason string }

type upstreamKey struct{ rule, class string }

type cacheKey struct {
	cache string
	hit   bool
}

type httpKey struct{ listener, route, class string }
