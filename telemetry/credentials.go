package telemetry

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// credentialFiles collects the states when metrics are asked for.
type credentialFiles struct {
	list func() map[string]bool
	up   *prometheus.Desc
}

// WatchCredentialFiles makes metrics of what list returns: whether each file of users or
// keys was good when it was last looked at, by path. Call it once.
func (m *Metrics) WatchCredentialFiles(list func() map[string]bool) {
	m.registry.MustRegister(&credentialFiles{list: list, up: prometheus.NewDesc(Prefix+"credential_file_up",
		"1 when a file of users or keys was good when it was last looked at, 0 when what it held before is in force.", []string{"file"}, nil)})
}

// Describe implements prometheus.Collector.
func (c *credentialFiles) Describe(to chan<- *prometheus.Desc) { to <- c.up }

// Collect implements prometheus.Collector.
func (c *credentialFiles) Collect(to chan<- prometheus.Metric) {
	for file, ok := range c.list() {
		up := 0.0
		if ok {
			up = 1
		}
		to <- prometheus.MustNewConstMetric(c.up, prometheus.GaugeValue, up, strings.ToValidUTF8(file, "\uFFFD"))
	}
}
