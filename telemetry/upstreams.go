package telemetry

import "github.com/prometheus/client_golang/prometheus"

// Upstream is the state of one address of an upstream.
type Upstream struct {
	// Route and Endpoint are URLs that the operator wrote.
	Route, Endpoint  string
	Healthy, Ejected bool
	CircuitOpen      bool
	Active           int64 // requests that are on their way
}

var upstreamLabels = []string{"route", "endpoint"}

// upstreams collects the states when metrics are asked for.
type upstreams struct {
	list                           func() []Upstream
	healthy, ejected, open, active *prometheus.Desc
}

// WatchUpstreams makes the states that list returns metrics. Call it once.
func (m *Metrics) WatchUpstreams(list func() []Upstream) {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc(Prefix+name, help, upstreamLabels, nil)
	}
	m.registry.MustRegister(&upstreams{
		list:    list,
		healthy: desc("upstream_endpoint_healthy", "1 while probes of an upstream's address succeed or there are none, else 0."),
		ejected: desc("upstream_endpoint_ejected", "1 while an upstream's address gets no requests because too many failed, else 0."),
		open:    desc("upstream_circuit_open", "1 while the upstream's circuit breaker is not closed, else 0."),
		active:  desc("upstream_active_requests", "Requests that are with an upstream's address."),
	})
}

// Describe implements prometheus.Collector.
func (u *upstreams) Describe(c chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{u.healthy, u.ejected, u.open, u.active} {
		c <- d
	}
}

// Collect implements prometheus.Collector. Of addresses that several rules reach with
// different settings, the worst state counts.
func (u *upstreams) Collect(c chan<- prometheus.Metric) {
	states := map[[2]string]Upstream{}
	for _, s := range u.list() {
		key := [2]string{s.Route, s.Endpoint}
		if known, ok := states[key]; ok {
			s.Healthy = s.Healthy && known.Healthy
			s.Ejected, s.CircuitOpen, s.Active = s.Ejected || known.Ejected, s.CircuitOpen || known.CircuitOpen, s.Active+known.Active
		}
		states[key] = s
	}
	for key, s := range states {
		for _, v := range []struct {
			desc  *prometheus.Desc
			value float64
		}{{u.healthy, truth(s.Healthy)}, {u.ejected, truth(s.Ejected)}, {u.open, truth(s.CircuitOpen)}, {u.active, float64(s.Active)}} {
			c <- prometheus.MustNewConstMetric(v.desc, prometheus.GaugeValue, v.value, key[:]...)
		}
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// Retry counts one request that was sent to an upstream again, and why:
// connect_failure, reset or status.
func (m *Metrics) Retry(route, why string) { m.retries.WithLabelValues(route, why).Inc() }
