package rules

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/gatewarden/gatewarden/authn"
	"github.com/gatewarden/gatewarden/mutators"
)

// own collects what the handlers of all rules write.
func (b *build) own() {
	var headers, cookies, sessions []string
	for _, name := range b.OwnedHeaders {
		headers = append(headers, http.CanonicalHeaderKey(name))
	}
	for _, h := range b.set.shared {
		if owner, ok := h.(mutators.HeaderOwner); ok {
			for _, name := range owner.OwnedHeaders() {
				headers = append(headers, http.CanonicalHeaderKey(name))
			}
		}
		if owner, ok := h.(mutators.CookieOwner); ok {
			cookies = append(cookies, owner.OwnedCookies()...)
		}
		if owner, ok := h.(authn.SessionOwner); ok {
			sessions = append(sessions, owner.SessionCookies()...)
		}
	}
	b.set.owned, b.set.ownedCookies, b.set.sessionCookies = distinct(headers), distinct(cookies), distinct(sessions)
}

func distinct(names []string) []string {
	slices.Sort(names)
	return slices.Compact(names)
}

// credentials reports authenticators of rule n that look where a mutator of any rule
// writes: what a client sends there is removed before the rules see it.
func (b *build) credentials(n int) {
	for i, h := range b.set.defs.Shape(n).Authenticators {
		settings := b.Authenticators.Settings[h.Handler]
		reader, ok := b.set.shared[instance{"authenticators", h.Handler, b.compact(settings.Config), b.compact(h.Config)}].(authn.CredentialReader)
		if !ok {
			continue
		}
		headers, cookies := reader.CredentialPlaces()
		for _, places := range []struct {
			kind         string
			names, owned []string
		}{{"header", headers, b.set.owned}, {"cookie", cookies, b.set.ownedCookies}} {
			for _, name := range places.names {
				if slices.ContainsFunc(places.owned, func(o string) bool { return fold(o) == fold(name) }) {
					b.blame(n, "/authenticators/"+strconv.Itoa(i),
						"reads its credentials from the %s %s, which a mutator writes and which is removed from every request", places.kind, name)
				}
			}
		}
		for _, cookie := range cookies {
			if slices.ContainsFunc(b.set.sessionCookies, func(p string) bool { return strings.HasPrefix(fold(cookie), fold(p)) }) {
				b.blame(n, "/authenticators/"+strconv.Itoa(i),
					"reads its credentials from the cookie %s, whose name is kept for sessions of an authenticator", cookie)
			}
		}
	}
}

// fold returns the one spelling of names that the edges take for the same: in lower
// case, every mark a '-'.
func fold(name string) string {
	return strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' {
			return c
		}
		return '-'
	}, strings.ToLower(name))
}
