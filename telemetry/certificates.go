package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Certificate is one that a listener shows.
type Certificate struct {
	// Listener and Name are what the operator configured.
	Listener, Name string
	// NotAfter is when it ends; zero: there is none yet.
	NotAfter time.Time
}

// certificates collects the ends when metrics are asked for.
type certificates struct {
	list func() []Certificate
	ends *prometheus.Desc
}

// WatchCertificates makes the ends of what list returns metrics. Call it once.
func (m *Metrics) WatchCertificates(list func() []Certificate) {
	m.registry.MustRegister(&certificates{list: list, ends: prometheus.NewDesc(Prefix+"tls_certificate_not_after_timestamp_seconds",
		"When a listener's certificate ends; 0: there is none yet.", []string{"listener", "name"}, nil)})
}

// Describe implements prometheus.Collector.
func (c *certificates) Describe(to chan<- *prometheus.Desc) { to <- c.ends }

// Collect implements prometheus.Collector. Of certificates with one name, the end of the
// first to end counts.
func (c *certificates) Collect(to chan<- prometheus.Metric) {
	ends := map[[2]string]float64{}
	for _, one := range c.list() {
		key, end := [2]string{one.Listener, one.Name}, 0.0
		if !one.NotAfter.IsZero() {
			end = float64(one.NotAfter.Unix())
		}
		if known, ok := ends[key]; !ok || end < known {
			ends[key] = end
		}
	}
	for key, end := range ends {
		to <- prometheus.MustNewConstMetric(c.ends, prometheus.GaugeValue, end, key[:]...)
	}
}
