package rules

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/authn"
)

const authorization = "Authorization"

// withheld says which fields of a request are for the gateway alone when one of the
// rule's authenticators accepts it.
type withheld struct {
	// names are withheld from the upstream and every service: those of the accepting
	// authenticator and of the others.
	names []string
	// schemes are those in which Authorization holds credentials of the others, which
	// the accepting one does not read.
	schemes []string
	// veil is what the accepting one itself does not see; nil: it sees everything.
	veil *veil
}

// veil hides the credentials of others from an authenticator that shows fields to a
// service.
type veil struct {
	names, schemes []string
	reads          bool // Authorization
	lease          access.Lease
}

// withholding returns what is withheld when each of the authenticators accepts; nil
// when nothing ever is. Authorization may hold the accepted credentials of another than
// the one that withholds it; that it does is seen by the scheme.
func withholding(authenticators []named[authn.Authenticator]) []withheld {
	out := make([]withheld, len(authenticators))
	some := false
	for i, h := range authenticators {
		own := schemesOf(h.handler)
		var hidden []string
		for j, other := range authenticators {
			w, ok := other.handler.(authn.Withholder)
			if !ok {
				continue
			}
			for _, name := range w.WithheldHeaders() {
				some = true
				switch name = http.CanonicalHeaderKey(name); {
				case i == j:
					out[i].names = append(out[i].names, name)
				case name != authorization:
					out[i].names, hidden = append(out[i].names, name), append(hidden, name)
				default:
					out[i].schemes = append(out[i].schemes, without(schemesOf(other.handler), own)...)
				}
			}
		}
		out[i].names = slices.Clip(distinct(out[i].names)) // who appends to a Pass must not write here
		if _, ok := h.handler.(authn.Discloser); ok && len(hidden)+len(out[i].schemes) > 0 {
			lease, _ := h.handler.(access.Lease)
			out[i].veil = &veil{without(hidden, placesOf(h.handler)), out[i].schemes, len(own) > 0, lease}
		}
	}
	if !some {
		return nil
	}
	return out
}

func schemesOf(a authn.Authenticator) []string {
	if r, ok := a.(authn.SchemeReader); ok {
		return r.Schemes()
	}
	return nil
}

func placesOf(a authn.Authenticator) (headers []string) {
	if r, ok := a.(authn.CredentialReader); ok {
		headers, _ = r.CredentialPlaces()
	}
	return headers
}

// without returns those of list that are not in other, whatever their case.
func without(list, other []string) (rest []string) {
	for _, s := range list {
		if !slices.ContainsFunc(other, func(o string) bool { return strings.EqualFold(o, s) }) {
			rest = append(rest, s)
		}
	}
	return rest
}

// from returns the names of the fields of r that are withheld.
func (w *withheld) from(r *access.Request) []string {
	if hasScheme(r.Header, w.schemes) {
		return append(w.names, authorization)
	}
	return w.names
}

// hasScheme reports whether an Authorization field has one of the schemes.
func hasScheme(h http.Header, schemes []string) bool {
	for _, field := range h[authorization] {
		scheme, _, _ := strings.Cut(field, " ")
		if slices.ContainsFunc(schemes, func(s string) bool { return strings.EqualFold(s, scheme) }) {
			return true
		}
	}
	return false
}

// hide returns r without the fields; r itself when it has none of them.
func hide(r *access.Request, names []string) *access.Request {
	if !slices.ContainsFunc(names, func(name string) bool { return r.Header[name] != nil }) {
		return r
	}
	seen := *r
	seen.Header = maps.Clone(r.Header)
	for _, name := range names {
		delete(seen.Header, name)
	}
	return &seen
}

// over returns what can be seen of r. Of several Authorization fields, who reads them
// sees all: they are ambiguous.
func (v *veil) over(r *access.Request) *access.Request {
	if v == nil {
		return r
	}
	names := v.names
	if hasScheme(r.Header, v.schemes) && (!v.reads || len(r.Header[authorization]) == 1) {
		names = append(slices.Clip(names), authorization)
	}
	return hide(r, names)
}

var _ access.Lease = (*veil)(nil)

// Renew implements access.Lease.
func (v *veil) Renew(ctx context.Context, r *access.Request) (until time.Time, err error) {
	return v.lease.Renew(ctx, v.over(r))
}
