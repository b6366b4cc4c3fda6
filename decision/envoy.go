package decision

import (
	"net/http"
	"strings"

	"github.com/gatewarden/gatewarden/edge"
	"github.com/gatewarden/gatewarden/fault"
)

// EnvoyPath is what Envoy's HTTP ext_authz has as path_prefix.
const EnvoyPath = Prefix + "/envoy"

// newEnvoy is the adapter for Envoy's ext_authz filter over HTTP. The question has the
// request's own method, host and target, the latter after EnvoyPath; X-Forwarded-Proto
// and X-Forwarded-For, which Envoy writes itself, say the scheme and the client.
//
// An answer names every field of the rules that is not set in
// X-Envoy-Auth-Headers-To-Remove.
func newEnvoy(o edge.Options) (adapter, error) {
	o.Target, o.OnlyAdds, o.Refusal = envoyTarget, false, nil
	a, err := newAdapter(o, "envoy")
	a.reads = []string{"X-Forwarded-Client-Cert", "X-Forwarded-For", "X-Forwarded-Proto"}
	a.allow = envoyAllow
	return a, err
}

func envoyTarget(r *http.Request, t edge.Target, f edge.Forwarded) (edge.Target, error) {
	if !f.Trusted {
		return t, errStranger
	}
	proto, err := sole(r.Header, "X-Forwarded-Proto")
	if err != nil {
		return t, err
	}
	if t.Scheme, err = scheme(proto); err != nil {
		return t, err
	}
	rest := strings.TrimPrefix(edge.SentPath(r.URL), EnvoyPath)
	if rest == "" {
		return t, fault.New(fault.Invalid, "incomplete_question", "there is no request target after "+EnvoyPath)
	}
	if partial(r.Header) {
		withhold(r, errPartialBody)
	}
	t.Method, t.Host, t.URI = r.Method, r.Host, withQuery(rest, r)
	return t, nil
}

func envoyAllow(x *edge.Exchange) {
	h := x.W.Header()
	x.WritePass(h)
	if names := x.Unset(); len(names) > 0 {
		h["X-Envoy-Auth-Headers-To-Remove"] = []string{strings.Join(names, ",")}
	}
	yes(x)
}
