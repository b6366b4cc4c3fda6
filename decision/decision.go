// Package decision is the edge that only answers: another proxy asks whether a
// request may pass, and gets the header fields to send upstream, or the refusal that
// the client should see.
//
// Each adapter (forwardauth.go, nginx.go, envoy.go, extauthz.go) has a trust contract
// of its own: which peers may speak it, and which fields say what is asked; all other
// fields are removed or mean nothing. Whichever way a question comes, it passes the
// same edge.Gate as a proxied request: it is cleaned, made canonical and decided alike.
// But what the asking proxy forwards is not ours to write, so a request is refused
// that the upstream might read in another way than the rules: a path with dot segments
// or empty segments and, where the adapter cannot have fields removed, other spellings
// of the fields that rules write.
package decision

import (
	"net/http"
	"strings"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/edge"
	"github.com/gatewarden/gatewarden/fault"
)

// Prefix is where the HTTP adapters are.
const Prefix = "/decisions"

// Status is the response header with the status that the refusal has at the proxy,
// where an adapter must answer another one.
const Status = "X-Decision-Status"

// Options configure a Handler.
type Options struct {
	// Edge is what the adapters have in common; Trusted is that of /decisions. Target,
	// OnlyAdds, KeepsPath and Refusal are the adapters' own.
	Edge edge.Options
	// Nginx and Envoy are the peers that may speak those adapters. One without peers
	// does not exist; its path is then below /decisions like any other.
	Nginx, Envoy edge.Trusted
	// Stranger is told, once, of the first peer that asks /decisions for another without
	// being trusted; nil: nobody is.
	Stranger func(peer string)
}

// Handler is what is at /decisions. Use New.
type Handler struct {
	forwardAuth  adapter
	nginx, envoy *adapter // nil: off
}

// adapter is one way to ask.
type adapter struct {
	gate *edge.Gate
	// reads are the forwarding fields that it knows; others are removed unread.
	reads []string
	allow func(x *edge.Exchange)
}

// New returns a Handler.
func New(o Options) (*Handler, error) {
	h := &Handler{}
	var err error
	if h.forwardAuth, err = newForwardAuth(o.Edge, o.Stranger); err != nil {
		return nil, err
	}
	for _, a := range []struct {
		into  **adapter
		peers edge.Trusted
		// certificates is the field in which this kind of proxy tells of the client's.
		certificates string
		make         func(edge.Options) (adapter, error)
	}{{&h.nginx, o.Nginx, "x-ssl-client-cert", newNginx}, {&h.envoy, o.Envoy, "x-forwarded-client-cert", newEnvoy}} {
		if a.peers.Nobody() {
			continue
		}
		e := o.Edge
		e.Trusted = a.peers
		if e.Certificates.Field != a.certificates {
			e.Certificates.Field = "" // another kind of proxy passes on what its clients write there
		}
		made, err := a.make(e)
		if err != nil {
			return nil, err
		}
		*a.into = &made
	}
	return h, nil
}

func newAdapter(o edge.Options, listener string) (adapter, error) {
	o.Listener, o.KeepsPath = listener, true
	gate, err := edge.NewGate(o)
	return adapter{gate: gate, allow: allow}, err
}

// Configure puts settings of /decisions in force for requests to come.
func (h *Handler) Configure(s edge.Settings) { h.forwardAuth.gate.Configure(s) }

// Handles reports whether r is for one of the adapters. Ask it in front of a router
// that cleans paths or redirects: the path is to be judged as it was sent.
func (h *Handler) Handles(r *http.Request) bool {
	return below(edge.SentPath(r.URL), Prefix)
}

// ServeHTTP answers 200 with what the decision's Pass sets, or the refusal. Every
// answer carries the decision id.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a, path := &h.forwardAuth, edge.SentPath(r.URL)
	switch {
	case h.nginx != nil && path == NginxPath:
		a = h.nginx
	case h.envoy != nil && below(path, EnvoyPath):
		a = h.envoy
	}
	a.clean(r.Header)
	a.gate.Serve(w, r, a.allow)
}

// clean removes forwarding fields that the adapter does not know.
func (a *adapter) clean(h http.Header) {
next:
	for name := range h {
		if name != "Forwarded" && !strings.HasPrefix(name, "X-Forwarded-") {
			continue
		}
		for _, known := range a.reads {
			if name == known {
				continue next
			}
		}
		delete(h, name)
	}
}

func allow(x *edge.Exchange) {
	h := x.W.Header()
	x.WritePass(h)
	x.WriteUnset(h)
	yes(x)
}

func yes(x *edge.Exchange) {
	x.Identify()
	x.W.Header()["Content-Length"] = noContent
	x.W.WriteHeader(http.StatusOK)
}

var noContent = []string{"0"} // shared by answers, which do not change it

// below reports whether path is prefix or lies below it.
func below(path, prefix string) bool {
	rest, ok := strings.CutPrefix(path, prefix)
	return ok && (rest == "" || rest[0] == '/')
}

// withQuery puts the query that came with the question to uri.
func withQuery(uri string, r *http.Request) string {
	if r.URL.RawQuery != "" || r.URL.ForceQuery {
		return uri + "?" + r.URL.RawQuery
	}
	return uri
}

// sole returns the value of a field that the peer must set once.
func sole(h http.Header, name string) (string, error) {
	switch v := h[name]; {
	case len(v) == 0 || len(v) == 1 && v[0] == "":
		return "", fault.New(fault.Invalid, "incomplete_question", "the asking proxy did not set "+name)
	case len(v) > 1:
		return "", fault.New(fault.Invalid, "ambiguous_question", "the asking proxy set "+name+" more than once")
	default:
		return v[0], nil
	}
}

// scheme accepts http and https.
func scheme(s string) (string, error) {
	if s = strings.ToLower(s); s != "http" && s != "https" {
		return "", fault.New(fault.Invalid, "invalid_question", "the scheme of the request is neither http nor https")
	}
	return s, nil
}

var errStranger = fault.New(fault.Forbidden, "untrusted_proxy", "the question came from a peer that is not a trusted proxy")

// translated returns a with another status, and the real one beside it. a stays.
func translated(a access.Response, status int) access.Response {
	h := a.Header.Clone()
	if h == nil {
		h = http.Header{}
	}
	h[Status] = []string{statusText(a.Status)}
	a.Status, a.Header = status, h
	return a
}
