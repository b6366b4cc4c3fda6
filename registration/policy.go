// Package registration is for clients that nobody of the operator's has seen: dynamic
// client registration (RFC 7591), its management (RFC 7592), and client id metadata
// documents (draft-ietf-oauth-client-id-metadata-document).
//
// What a stranger may say about itself is an allow-list (metadata.go) within the
// operator's Policy; what is left is checked like every client, by package manage.
package registration

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"unicode"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/manage"
	"github.com/gatewarden/gatewarden/oauth2"
)

// The codes of RFC 7591 section 3.2.2.
const (
	invalidRedirect    = "invalid_redirect_uri"
	invalidMetadata    = "invalid_client_metadata"
	invalidStatement   = "invalid_software_statement"
	unapprovedSoftware = "unapproved_software_statement"
)

// The bounds of what a stranger may write.
const (
	maxURIs = 32   // of one list
	maxURI  = 2048 // bytes
	maxName = 200  // bytes of a name or contact
)

// Policy is what strangers may have. Empty lists allow nothing, unless it is said
// otherwise.
type Policy struct {
	// DefaultScope is that of clients that name none; empty: manage.DefaultScope. Scopes
	// are those that may be named beside it.
	DefaultScope, Scopes []string
	// Audience is what clients may name; those that name nothing get all of it.
	Audience    []string
	GrantTypes  []string
	AuthMethods []string
	// RedirectSchemes are those of redirect URIs. Whether or not it is in the list, http is
	// for this machine of the person only (RFC 8252 section 7.3).
	RedirectSchemes []string
	// RedirectHosts are those of http and https redirect URIs: names, or *.example.org for
	// the names below one. Empty: any.
	RedirectHosts []string
	// SubjectTypes are those of documents; nil: public. For registrations package manage
	// has them.
	SubjectTypes []string
}

// scope is what a client gets that names none.
func (p *Policy) scope() []string {
	if len(p.DefaultScope) > 0 {
		return p.DefaultScope
	}
	return strings.Fields(manage.DefaultScope)
}

// violations collects what a client must not have.
type violations struct{ all []error }

func (v *violations) add(reason, pointer, format string, args ...any) {
	v.all = append(v.all, &fault.Error{Kind: fault.Invalid, Reason: reason, Pointer: pointer, Message: fmt.Sprintf(format, args...)})
}

// check reports everything that is not within the policy. What current has already was
// given by an operator, or by an earlier policy, and may stay.
func (p *Policy) check(c, current oauth2.Client) error {
	v := &violations{}
	grants := c.GrantTypes
	if len(grants) == 0 {
		grants = []string{"authorization_code"}
	}
	p.only(v, "/grant_types", grants, p.GrantTypes, current.GrantTypes)
	p.only(v, "/scope", strings.Fields(c.Scope), slices.Concat(p.scope(), p.Scopes), strings.Fields(current.Scope))
	p.only(v, "/audience", c.Audience, p.Audience, current.Audience)
	method := c.TokenEndpointAuthMethod
	if method == "" {
		method = "client_secret_basic"
	}
	if !slices.Contains(p.AuthMethods, method) && method != current.TokenEndpointAuthMethod {
		v.add(invalidMetadata, "/token_endpoint_auth_method", "%q is not open for registration; it must be one of %s", method, strings.Join(p.AuthMethods, ", "))
	}
	for i, r := range c.ResponseTypes {
		for _, part := range strings.Fields(r) {
			need := map[string]string{"code": "authorization_code", "token": "implicit", "id_token": "implicit"}[part]
			if need != "" && !slices.Contains(grants, need) {
				v.add(invalidMetadata, fmt.Sprintf("/response_types/%d", i), "%q needs the grant type %s (RFC 7591 section 2.1)", r, need)
			}
		}
	}
	p.checkRedirects(v, c, current, slices.Contains(grants, "authorization_code") || slices.Contains(grants, "implicit"))
	checkTexts(v, c)
	return errors.Join(v.all...)
}

// only reports what of values is neither allowed nor there already.
func (p *Policy) only(v *violations, pointer string, values, allowed, there []string) {
	for _, value := range values {
		if !slices.Contains(allowed, value) && !slices.Contains(there, value) {
			v.add(invalidMetadata, pointer, "%q is not open for registration", value)
		}
	}
}

func (p *Policy) checkRedirects(v *violations, c, current oauth2.Client, needed bool) {
	if needed && len(c.RedirectURIs) == 0 {
		v.add(invalidRedirect, "/redirect_uris", "must have at least one")
	}
	for _, list := range []struct {
		pointer      string
		uris, before []string
	}{{"/redirect_uris", c.RedirectURIs, current.RedirectURIs}, {"/post_logout_redirect_uris", c.PostLogoutRedirectURIs, current.PostLogoutRedirectURIs}} {
		for i, raw := range list.uris {
			if slices.Contains(list.before, raw) {
				continue
			}
			if why := p.redirect(raw); why != "" {
				v.add(invalidRedirect, fmt.Sprintf("%s/%d", list.pointer, i), "%s", why)
			}
		}
	}
}

// redirect says why an address is not one to send a person's browser to. What it does
// not look at is looked at for every client.
func (p *Policy) redirect(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "must be an absolute URI"
	}
	if !slices.Contains(p.RedirectSchemes, u.Scheme) {
		return "must have one of the schemes " + strings.Join(p.RedirectSchemes, ", ")
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		return ""
	}
	host := strings.ToLower(u.Hostname())
	if u.Scheme == "http" && !loopback(host) {
		return "must be https"
	}
	if len(p.RedirectHosts) > 0 && !slices.ContainsFunc(p.RedirectHosts, func(pattern string) bool { return below(pattern, host) }) {
		return fmt.Sprintf("must not be at host %q", host)
	}
	return ""
}

// loopback reports whether a host is the machine of whom it is shown to.
func loopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}

// below reports whether host is the one of a pattern, or below that of *.example.org.
func below(pattern, host string) bool {
	if parent, ok := strings.CutPrefix(strings.ToLower(pattern), "*"); ok {
		return strings.HasSuffix(host, parent) && len(host) > len(parent)
	}
	return strings.EqualFold(pattern, host)
}

// checkTexts checks what people are shown, and bounds.
func checkTexts(v *violations, c oauth2.Client) {
	shown := map[string]string{"/client_name": c.Name}
	for i, contact := range c.Contacts {
		shown[fmt.Sprintf("/contacts/%d", i)] = contact
	}
	for pointer, text := range shown {
		if len(text) > maxName || strings.ContainsFunc(text, unprintable) {
			v.add(invalidMetadata, pointer, "must have at most %d bytes of printable text", maxName)
		}
	}
	for pointer, list := range map[string][]string{
		"/redirect_uris": c.RedirectURIs, "/post_logout_redirect_uris": c.PostLogoutRedirectURIs, "/request_uris": c.RequestURIs, "/contacts": c.Contacts,
		"/grant_types": c.GrantTypes, "/response_types": c.ResponseTypes, "/audience": c.Audience,
	} {
		if len(list) > maxURIs {
			v.add(invalidMetadata, pointer, "must have at most %d entries", maxURIs)
		}
	}
	for pointer, raw := range map[string]string{
		"/client_uri": c.ClientURI, "/logo_uri": c.LogoURI, "/policy_uri": c.PolicyURI, "/tos_uri": c.TermsOfServiceURI, "/jwks_uri": c.JWKSURI,
		"/frontchannel_logout_uri": c.FrontchannelLogoutURI, "/backchannel_logout_uri": c.BackchannelLogoutURI, "/sector_identifier_uri": c.SectorIdentifierURI,
	} {
		if u, err := url.Parse(raw); raw != "" && (err != nil || u.Scheme != "https" || len(raw) > maxURI) {
			v.add(invalidMetadata, pointer, "must be an https URL of at most %d bytes", maxURI)
		}
	}
	slices.SortStableFunc(v.all, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
}

// unprintable reports whether a character shows nothing, or turns what stands beside it.
func unprintable(r rune) bool { return !unicode.IsPrint(r) || unicode.Is(unicode.Bidi_Control, r) }
