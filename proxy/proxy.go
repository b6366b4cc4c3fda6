// Package proxy is the edge that forwards: an allowed request goes to its rule's
// upstream with the decision's Pass applied, and the answer comes back as it is.
//
// Everything is decided before anything is forwarded; the forwarder applies the
// decision and nothing else. Bodies, server-sent events, gRPC and upgraded
// connections stream both ways. Failures of the upstream are answered with a JSON
// body that names a reason id and the decision id: 502 when it could not be
// reached or broke, 504 when it took too long.
package proxy

import (
	"net/http"

	"github.com/gatewarden/gatewarden/edge"
)

// Options configure a Proxy.
type Options struct {
	// Edge says how requests are admitted and recorded. Listener defaults to proxy.
	Edge edge.Options
	// Transport says how upstreams are reached.
	Transport Transport
	// Streams says how long-lived exchanges are held to their credentials.
	Streams Streams
}

// Proxy is an http.Handler. Use New.
type Proxy struct {
	gate    *edge.Gate
	forward *forwarder
}

// New returns a Proxy, or an error that names the option that is wrong.
func New(o Options) (*Proxy, error) {
	if o.Edge.Listener == "" {
		o.Edge.Listener = "proxy"
	}
	gate, err := edge.NewGate(o.Edge)
	if err != nil {
		return nil, err
	}
	return &Proxy{gate: gate, forward: newForwarder(o.Transport, o.Streams)}, nil
}

// ServeHTTP implements http.Handler.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.gate.Serve(w, r, p.forward.serve)
}

// Configure puts settings in force for requests to come.
func (p *Proxy) Configure(s edge.Settings) { p.gate.Configure(s) }

// Close closes idle connections to upstreams.
func (p *Proxy) Close() { p.forward.close() }
