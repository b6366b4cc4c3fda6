package decision

import (
	"net/http"
	"strings"
	"sync"

	"github.com/gatewarden/gatewarden/edge"
	"github.com/gatewarden/gatewarden/fault"
)

// newForwardAuth is /decisions, for Oathkeeper's clients, Traefik's ForwardAuth,
// Caddy's forward_auth and HAProxy. Which request is meant comes from
// X-Forwarded-Method, -Proto, -Host and -Uri of a trusted peer, which must set or
// remove all four, or from the path after /decisions, which anybody may ask about.
func newForwardAuth(o edge.Options, stranger func(peer string)) (adapter, error) {
	listener := o.Listener
	if listener == "" {
		listener = "decision"
	}
	var once sync.Once
	o.OnlyAdds, o.Refusal = true, nil
	o.Target = func(r *http.Request, t edge.Target, f edge.Forwarded) (edge.Target, error) {
		t, err := forwardAuthTarget(r, t, f)
		if err == errStranger && stranger != nil {
			once.Do(func() { stranger(r.RemoteAddr) })
		}
		return t, err
	}
	a, err := newAdapter(o, listener)
	a.reads = []string{"Forwarded", "X-Forwarded-Client-Cert", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Method", "X-Forwarded-Port", "X-Forwarded-Prefix", "X-Forwarded-Proto", "X-Forwarded-Uri"}
	return a, err
}

func forwardAuthTarget(r *http.Request, t edge.Target, f edge.Forwarded) (edge.Target, error) {
	rest := strings.TrimPrefix(edge.SentPath(r.URL), Prefix)
	if f.Method != "" {
		t.Method = f.Method
	}
	for _, name := range [...]string{"X-Forwarded-Method", "X-Forwarded-Uri", "X-Forwarded-Host", "X-Forwarded-Proto"} {
		if v := r.Header[name]; f.Trusted && len(v) > 1 {
			return t, fault.New(fault.Invalid, "ambiguous_question", "the asking proxy set "+name+" more than once")
		}
	}
	if f.Trusted && strings.Contains(strings.Join(r.Header["X-Forwarded-Host"], ""), ",") {
		// The upstream gets the Host that the client sent, of which this may be a part.
		return t, fault.New(fault.Invalid, "invalid_host", "X-Forwarded-Host is a list")
	}
	if rest == "" {
		if f.Present && !f.Trusted {
			// Judging another request than the asking proxy meant could let it through.
			return t, errStranger
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
	t.URI = withQuery(rest, r)
	if f.URI != "" && f.URI != t.URI {
		// A proxy that puts the target into the path may pass a client's field on.
		return t, fault.New(fault.Invalid, "ambiguous_target", "the path and X-Forwarded-Uri name different requests")
	}
	return t, nil
}
