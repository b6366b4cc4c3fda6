package decision

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/edge"
	"github.com/gatewarden/gatewarden/fault"
)

// NginxPath is where nginx asks.
const NginxPath = Prefix + "/nginx"

// newNginx is the adapter for nginx's auth_request. The peer must set
// X-Original-Method, and either X-Original-URL or X-Original-URI, -Host and -Proto;
// X-Forwarded-For says who the client is. The method and query of the subrequest mean
// nothing.
//
// nginx knows 2xx, 401 and 403 and makes 500 of anything else, so a redirect is 401
// with Location, other refusals of the client are 403, and X-Decision-Status has the
// real status. Failures stay 5xx.
func newNginx(o edge.Options) (adapter, error) {
	o.Target, o.OnlyAdds, o.Refusal = nginxTarget, true, nginxRefusal
	a, err := newAdapter(o, "nginx")
	a.reads = []string{"X-Forwarded-For"}
	return a, err
}

func nginxTarget(r *http.Request, t edge.Target, f edge.Forwarded) (edge.Target, error) {
	if !f.Trusted {
		return t, errStranger
	}
	h := r.Header
	var err error
	if t.Method, err = sole(h, "X-Original-Method"); err != nil {
		return t, err
	}
	if h["X-Original-Url"] != nil {
		return nginxURL(h, t)
	}
	proto := ""
	for _, field := range []struct {
		name string
		into *string
	}{{"X-Original-Uri", &t.URI}, {"X-Original-Host", &t.Host}, {"X-Original-Proto", &proto}} {
		if *field.into, err = sole(h, field.name); err != nil {
			return t, err
		}
	}
	t.Scheme, err = scheme(proto)
	return t, err
}

// nginxURL reads X-Original-URL, as ingress controllers set it; others of the fields
// may not disagree.
func nginxURL(h http.Header, t edge.Target) (edge.Target, error) {
	whole, err := sole(h, "X-Original-Url")
	if err != nil {
		return t, err
	}
	proto, rest, found := strings.Cut(whole, "://")
	if !found {
		return t, fault.New(fault.Invalid, "invalid_question", "X-Original-URL is not an absolute URL")
	}
	if t.Scheme, err = scheme(proto); err != nil {
		return t, err
	}
	slash := strings.IndexByte(rest, '/')
	if slash < 0 {
		return t, fault.New(fault.Invalid, "invalid_question", "X-Original-URL has no path")
	}
	t.Host, t.URI = rest[:slash], rest[slash:]
	for name, value := range map[string]string{"X-Original-Uri": t.URI, "X-Original-Host": t.Host, "X-Original-Proto": t.Scheme} {
		if v := h[name]; len(v) > 1 || len(v) == 1 && v[0] != value {
			return t, fault.New(fault.Invalid, "ambiguous_question", "X-Original-URL and "+name+" disagree")
		}
	}
	return t, nil
}

func nginxRefusal(_ *edge.Exchange, a access.Response) access.Response {
	switch {
	case a.Status >= 300 && a.Status < 400:
		return translated(a, http.StatusUnauthorized)
	case a.Status >= 500 || a.Status == http.StatusUnauthorized:
		return translated(a, a.Status)
	}
	return translated(a, http.StatusForbidden)
}

func statusText(status int) string { return strconv.Itoa(status) }
