package telemetry

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestOfOneAddressOfSeveralRulesTheWorstStateIsTold(t *testing.T) {
	m := New(Build{})
	m.WatchUpstreams(func() []Upstream {
		return []Upstream{
			{Route: "http://b", Endpoint: "http://b", Healthy: true, Ejected: true, Active: 2},
			{Route: "http://b", Endpoint: "http://c", Healthy: true},
			{Route: "http://b", Endpoint: "http://b", CircuitOpen: true, Active: 3},
		}
	})
	want := `# HELP gatewarden_upstream_active_requests Requests that are with an upstream's address.
# TYPE gatewarden_upstream_active_requests gauge
gatewarden_upstream_active_requests{endpoint="http://b",route="http://b"} 5
gatewarden_upstream_active_requests{endpoint="http://c",route="http://b"} 0
# HELP gatewarden_upstream_circuit_open 1 while the upstream's circuit breaker is not closed, else 0.
# TYPE gatewarden_upstream_circuit_open gauge
gatewarden_upstream_circuit_open{endpoint="http://b",route="http://b"} 1
gatewarden_upstream_circuit_open{endpoint="http://c",route="http://b"} 0
# HELP gatewarden_upstream_endpoint_ejected 1 while an upstream's address gets no requests because too many failed, else 0.
# TYPE gatewarden_upstream_endpoint_ejected gauge
gatewarden_upstream_endpoint_ejected{endpoint="http://b",route="http://b"} 1
gatewarden_upstream_endpoint_ejected{endpoint="http://c",route="http://b"} 0
# HELP gatewarden_upstream_endpoint_healthy 1 while probes of an upstream's address succeed or there are none, else 0.
# TYPE gatewarden_upstream_endpoint_healthy gauge
gatewarden_upstream_endpoint_healthy{endpoint="http://b",route="http://b"} 0
gatewarden_upstream_endpoint_healthy{endpoint="http://c",route="http://b"} 1
`
	if err := testutil.GatherAndCompare(m.Registry(), strings.NewReader(want), "gatewarden_upstream_active_requests", "gatewarden_upstream_circuit_open",
		"gatewarden_upstream_endpoint_ejected", "gatewarden_upstream_endpoint_healthy"); err != nil {
		t.Error(err)
	}
}
