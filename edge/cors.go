package edge

import (
	"net/http"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/cors"
	"github.com/gatewarden/gatewarden/fault"
)

// ReasonPreflight is the reason id of a preflight that was granted.
const ReasonPreflight = "cors_preflight"

// preflight answers x when it is a CORS preflight that a policy is for. What it asks
// about is matched, and nothing more: no handler runs and nothing is forwarded.
func (x *Exchange) preflight() bool {
	g := x.gate
	if g.o.Target != nil || !cors.IsPreflight(x.R.Method, x.R.Header) {
		return false
	}
	policy, rule := x.set.CORS, ""
	if g.finder != nil {
		meant := x.Request
		if m, err := canonicalMethod(x.R.Header["Access-Control-Request-Method"][0]); err == nil {
			meant.Method = m
			own, id := g.finder.CORS(&meant)
			if rule = id; own != nil {
				policy = own
			}
		}
	}
	if !policy.Answers() {
		return false
	}
	answer := http.Header{}
	x.Decision = access.Decision{RuleID: rule, Reason: ReasonPreflight}
	if reason := policy.Preflight(x.R.Header, answer); reason != "" {
		err := fault.New(fault.Forbidden, reason, "the CORS policy does not allow the request that the preflight asks about")
		x.Decision.Reason, x.Decision.Err, x.Decision.Refusal = reason, err, Refusal(x.Request.ID, err)
		x.W.Header()["Vary"] = answer["Vary"]
		x.refuse()
		return true
	}
	x.Decision.Allow = true
	x.write(access.Response{Status: http.StatusNoContent, Header: answer})
	return true
}

// crossOrigin arranges that the answer carries the fields of the policy in force.
func (x *Exchange) crossOrigin() {
	policy := x.Decision.CORS
	if policy == nil && x.set.CORS != nil {
		policy = x.set.CORS
	}
	if policy == nil || x.gate.o.Target != nil && x.Decision.Allow {
		return
	}
	if p, ok := policy.(*cors.Policy); ok && !p.Answers() && cors.IsPreflight(x.R.Method, x.R.Header) {
		return // the upstream's answer to a preflight that was passed through
	}
	x.writer.cors, x.writer.origin = policy, x.R.Header["Origin"]
}

// CrossOrigin is next with the policy that current returns at each request, nil for
// none. It answers preflights. Paths that except reports have no CORS.
func CrossOrigin(next http.Handler, current func() *cors.Policy, except func(*http.Request) bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		policy := current()
		if policy == nil || except(r) {
			next.ServeHTTP(w, r)
			return
		}
		if cors.IsPreflight(r.Method, r.Header) {
			if !policy.Answers() {
				next.ServeHTTP(w, r)
				return
			}
			status := http.StatusNoContent
			if policy.Preflight(r.Header, w.Header()) != "" {
				status = http.StatusForbidden
			}
			w.WriteHeader(status)
			return
		}
		next.ServeHTTP(&responseWriter{ResponseWriter: w, cors: policy, origin: r.Header["Origin"]}, r)
	})
}
