package api

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/gatewarden/gatewarden/fault"
)

// Guard says who may call the API. Probes, public keys and decisions are open. Each
// way in that is set admits callers; the zero value admits nobody.
type Guard struct {
	// Local admits callers of this machine: those whose connection comes from a loopback
	// address or a Unix socket, and that no proxy speaks for.
	Local bool
	// Tokens are static bearer tokens (RFC 6750); nil: none.
	Tokens BearerTokens
	// Certified reports whether the TLS certificate of a caller is one that may call; nil:
	// none may.
	Certified func(ctx context.Context) bool
	// Own admits holders of access tokens of this server; nil: none.
	Own *Own
	// Everybody is admitted: something in front has authenticated them.
	Everybody bool
	// AllowedHosts are host names that callers without credentials may use besides
	// addresses, localhost, names without a dot, and names that only local networks know.
	AllowedHosts []string
	// CrossOrigin reports whether scripts of an origin may call; nil: of none.
	CrossOrigin func(origin string) bool
}

// BearerTokens knows static tokens.
type BearerTokens interface {
	// Knows reports whether the token is one of them. Errors: fault.RateLimited when too
	// many are being checked, and the context's.
	Knows(ctx context.Context, token string) (bool, error)
}

// caller is who was admitted; token is nil for those who may do everything.
type caller struct{ token *token }

// may returns nil when the caller may come through the endpoint.
func (c caller) may(x *exchange, e endpoint) error {
	if !e.complete() {
		return fault.New(fault.Forbidden, "no_permission_defined", "nobody may do this: it has no name in policies")
	}
	if c.token == nil {
		return nil
	}
	return x.api.Guard.Own.may(x, *c.token, e)
}

// localNames are suffixes that no public name server answers for, so that no web
// site can point one of them at this listener.
var localNames = []string{".localhost", ".internal", ".svc", ".cluster.local"}

// admit refuses callers without credentials, and browsers on behalf of other sites: by
// Host, against DNS rebinding, and by Origin and Sec-Fetch-Site, against cross-site
// request forgery, unless the listener's CORS policy allows the origin.
func (a *API) admit(w http.ResponseWriter, r *http.Request) (caller, error) {
	c, err := a.Guard.caller(w, r)
	if err != nil {
		return caller{}, err
	}
	if err := a.cross.Check(r); err != nil && !a.Guard.allows(r.Header["Origin"]) {
		return caller{}, fault.New(fault.Forbidden, "cross_origin", "requests on behalf of other sites are refused")
	}
	return c, nil
}

// caller finds out who calls. Who shows a token is judged by the token alone.
func (g Guard) caller(w http.ResponseWriter, r *http.Request) (caller, error) {
	text, shown, ok := bearer(r.Header)
	if shown && g.takesTokens() {
		if !ok {
			return caller{}, g.challenge(w, "invalid_token", "the Authorization field must be one bearer token")
		}
		return g.holder(w, r, text)
	}
	if g.Certified != nil && g.Certified(r.Context()) {
		return caller{}, nil
	}
	here := g.Local && local(r)
	if here && g.names(r.Host) || g.Everybody && g.names(r.Host) {
		return caller{}, nil
	}
	switch {
	case g.takesTokens():
		return caller{}, g.challenge(w, "missing_token", "a bearer token is needed: one of management.tokens or, with serve.management.authentication hydra0, an access token")
	case here || g.Everybody:
		// Another site's page does not know a token, so only who needs none is asked.
		return caller{}, fault.New(fault.Forbidden, "host_not_allowed", "the host name of the request is not in management.allowed_hosts")
	case g.Certified != nil:
		return caller{}, fault.New(fault.Unauthenticated, "missing_certificate", "a TLS certificate of serve.management.certificate_subjects is needed")
	}
	return caller{}, fault.New(fault.Forbidden, "not_local", "callers of this machine are answered, not those that a proxy speaks for; see serve.management.authentication")
}

// takesTokens reports whether there is a token that would admit.
func (g Guard) takesTokens() bool { return g.Tokens != nil || g.Own != nil }

// challenge is a 401 that says how to authenticate (RFC 6750 section 3).
func (g Guard) challenge(w http.ResponseWriter, reason, message string) error {
	value := `Bearer realm="management"`
	if reason == "invalid_token" {
		value += `, error="invalid_token"`
	}
	w.Header().Set("WWW-Authenticate", value)
	return fault.New(fault.Unauthenticated, reason, message)
}

// holder is the caller that shows a bearer token.
func (g Guard) holder(w http.ResponseWriter, r *http.Request, text string) (caller, error) {
	if g.Own != nil {
		answer, err := g.Own.Introspect(r.Context(), text, "")
		if err != nil {
			return caller{}, err
		}
		t := token{answer}
		if t.usable() {
			return caller{token: &t}, g.Own.subject(r.Context(), t)
		}
	}
	if g.Tokens != nil {
		if known, err := g.Tokens.Knows(r.Context(), text); known || err != nil {
			return caller{}, err
		}
	}
	return caller{}, g.challenge(w, "invalid_token", "the bearer token is not one that may call the management API")
}

// forwarding are the fields by which a proxy says for whom it speaks. Behind one on the
// same machine every caller of the world would seem to be local.
var forwarding = []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip", "Via"}

// local reports whether r comes from this machine.
func local(r *http.Request) bool {
	for _, name := range forwarding {
		if _, found := r.Header[name]; found {
			return false
		}
	}
	if r.RemoteAddr == unixPeer {
		return true
	}
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && peer.Addr().Unmap().IsLoopback()
}

// unixPeer is the RemoteAddr of connections of Unix sockets, as net/http and package
// edge write it.
const unixPeer = "@"

func (g Guard) allows(origin []string) bool {
	return g.CrossOrigin != nil && len(origin) == 1 && g.CrossOrigin(origin[0])
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
