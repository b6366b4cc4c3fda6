package app

import "github.com/gatewarden/gatewarden/telemetry"

// upstreams are the addresses that rules lead to, for metrics.
func (a *App) upstreams() []telemetry.Upstream {
	var out []telemetry.Upstream
	for _, s := range a.proxy.Upstreams() {
		out = append(out, telemetry.Upstream{
			Route: s.Route, Endpoint: s.Endpoint, Healthy: s.Healthy, Ejected: s.Ejected, CircuitOpen: s.Circuit != "closed", Active: s.Active,
		})
	}
	return out
}
