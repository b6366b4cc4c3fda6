package telemetry

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// counters are requests_total: there is a series for each rule, so that the client
// library's, of fifteen pieces each, would weigh more than the rules.
type counters struct {
	desc *prometheus.Desc
	all  known[counterKey, *counter]
}

// counter is one series.
type counter struct {
	n       atomic.Uint64
	created time.Time
}

func (v *counters) of(k counterKey) *counter {
	return v.all.of(k, func(counterKey) *counter { return &counter{created: time.Now()} })
}

// Describe implements prometheus.Collector.
func (v *counters) Describe(c chan<- *prometheus.Desc) { c <- v.desc }

// Collect implements prometheus.Collector.
func (v *counters) Collect(c chan<- prometheus.Metric) {
	v.all.each(func(k counterKey, n *counter) {
		m, err := prometheus.NewConstMetricWithCreatedTimestamp(v.desc, prometheus.CounterValue, float64(n.n.Load()), n.created, k.listener, k.rule, k.outcome, k.reason)
		if err != nil {
			m = prometheus.NewInvalidMetric(v.desc, err) // a label that is no text: the scrape says so
		}
		c <- m
	})
}
