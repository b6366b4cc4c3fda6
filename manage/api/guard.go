package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/gatewarden/gatewarden/fault"
)

// Guard says who may call the API. Probes, public keys and decisions are open.
type Guard struct {
	// Tokens are bearer tokens (RFC 6750), one of which a caller must show; empty:
	// no authentication, which is for loopback addresses.
	Tokens []string
	// AllowedHosts are host names that callers may use besides addresses, localhost,
	// names without a dot, and names that only local networks know.
	AllowedHosts []string
	// CrossOrigin reports whether scripts of an origin may call; nil: of none.
	CrossOrigin func(origin string) bool
}

// localNames are suffixes that no public name server answers for, so that no web
// site can point one of them at this listener.
var localNames = []string{".localhost", ".internal", ".svc", ".cluster.local"}

// admit refuses callers without a token, and browsers on behalf of other sites: by
// Host, against DNS rebinding, and by Origin and Sec-Fetch-Site, against cross-site
// request forgery, unless the listener's CORS policy allows the origin.
func (a *API) admit(w http.ResponseWriter, r *http.Request) error {
	if len(a.Guard.Tokens) > 0 {
		if !a.Guard.knows(r.Header.Get("Authorization")) {
			w.Header().Set("WWW-Authenticate", `Bearer realm="management"`)
			return fault.New(fault.Unauthenticated, "missing_token", "a bearer token of management.tokens is needed")
		}
	} else if !a.Guard.names(r.Host) {
		// Another site's page does not know a token, so only who needs none is asked.
		return fault.New(fault.Forbidden, "host_not_allowed", "the host name of the request is not in management.allowed_hosts")
	}
	if err := a.cross.Check(r); err != nil && !a.Guard.allows(r.Header["Origin"]) {
		return fault.New(fault.Forbidden, "cross_origin", "requests on behalf of other sites are refused")
	}
	return nil
}

func (g Guard) allows(origin []string) bool {
	return g.CrossOrigin != nil && len(origin) == 1 && g.CrossOrigin(origin[0])
}

func (g Guard) knows(authorization string) bool {
	scheme, token, _ := strings.Cut(authorization, " ")
	got := sha256.Sum256([]byte(strings.TrimSpace(token)))
	known := 0
	for _, t := range g.Tokens {
		want := sha256.Sum256([]byte(t))
		known |= subtle.ConstantTimeCompare(got[:], want[:])
	}
	return known == 1 && strings.EqualFold(scheme, "Bearer")
}

func (g Guard) names(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.ToLower(strings.TrimSuffix(strings.Trim(name, "[]"), "."))
	if _, err := netip.ParseAddr(name); err == nil || !strings.Contains(name, ".") {
		return true
	}
	return slices.ContainsFunc(localNames, func(suffix string) bool { return strings.HasSuffix(name, suffix) }) ||
		slices.ContainsFunc(g.AllowedHosts, func(allowed string) bool { return strings.EqualFold(allowed, name) || strings.EqualFold(allowed, host) })
}
