// Package decision is the edge that only answers: another proxy asks whether a
// request may pass, and gets 200 with the header fields to send upstream, or the
// refusal that the client should see.
//
// Which request is meant comes from X-Forwarded-Method, -Proto, -Host and -Uri of
// a trusted peer, which must set or remove all four, or from the path after
// /decisions, as in Oathkeeper. It is then cleaned, made canonical and decided
// exactly as a proxied one.
package decision

import (
	"net/http"
	"strings"

	"github.com/gatewarden/gatewarden/edge"
	"github.com/gatewarden/gatewarden/fault"
)

// Prefix is where the endpoint is; paths below it are judged without it.
const Prefix = "/decisions"

// Handler is the /decisions endpoint. Use New.
type Handler struct{ gate *edge.Gate }

// New returns a Handler. Listener defaults to decision; Target is the Handler's own.
func New(o edge.Options) (*Handler, error) {
	if o.Listener == "" {
		o.Listener = "decision"
	}
	o.Target = target
	gate, err := edge.NewGate(o)
	if err != nil {
		return nil, err
	}
	return &Handler{gate: gate}, nil
}

// Configure puts settings in force for requests to come.
func (h *Handler) Configure(s edge.Settings) { h.gate.Configure(s) }

// Handles reports whether r is for this endpoint. Ask it in front of a router that
// cleans paths or redirects: the path is to be judged as it was sent.
func (h *Handler) Handles(r *http.Request) bool {
	rest, ok := strings.CutPrefix(sent(r), Prefix)
	return ok && (rest == "" || rest[0] == '/')
}

// ServeHTTP answers 200 with the header fields of the decision's Pass, or the
// refusal. Every answer carries the decision id.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.gate.Serve(w, r, allow)
}

func allow(x *edge.Exchange) {
	h := x.W.Header()
	edge.WritePass(h, &x.Request, &x.Decision.Pass)
	if line := x.R.Header["Cookie"]; x.CookiesRemoved && len(x.Decision.Pass.Cookies) == 0 {
		// The asking proxy still has the client's line and must replace it.
		h["Cookie"] = []string{strings.Join(line, "; ")}
	}
	h[edge.DecisionID] = []string{x.Request.ID}
	h["Content-Length"] = []string{"0"}
	x.W.WriteHeader(http.StatusOK)
}

// target finds the request that is judged.
func target(r *http.Request, t edge.Target, f edge.Forwarded) (edge.Target, error) {
	rest := strings.TrimPrefix(sent(r), Prefix)
	if f.Method != "" {
		t.Method = f.Method
	}
	if rest == "" {
		if f.Present && !f.Trusted {
			// Judging another request than the asking proxy meant could let it through.
			return t, fault.New(fault.Forbidden, "untrusted_proxy", "forwarding header fields came from a peer that is not a trusted proxy")
		}
		t.URI = f.URI
		if t.URI == "" {
			t.URI = "/"
			if r.URL.RawQuery != "" {
				t.URI += "?" + r.URL.RawQuery
			}
		}
		return t, nil
	}
	t.URI = rest
	if r.URL.RawQuery != "" || r.URL.ForceQuery {
		t.URI += "?" + r.URL.RawQuery
	}
	if f.URI != "" && f.URI != t.URI {
		// A proxy that puts the target into the path may pass a client's field on.
		return t, fault.New(fault.Invalid, "ambiguous_target", "the path and X-Forwarded-Uri name different requests")
	}
	return t, nil
}

// sent is the path as it came over the wire; EscapedPath would repair what is to be
// refused.
func sent(r *http.Request) string {
	if r.URL.RawPath != "" {
		return r.URL.RawPath
	}
	return r.URL.EscapedPath()
}
