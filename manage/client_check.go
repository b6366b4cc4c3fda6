package manage

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/keys"
	"github.com/gatewarden/gatewarden/oauth2"
)

var (
	secretMethods = []string{"client_secret_basic", "client_secret_post"}
	authMethods   = append([]string{"none", "private_key_jwt", "tls_client_auth", "self_signed_tls_client_auth"}, secretMethods...)
	grantTypes    = []string{"authorization_code", "client_credentials", "refresh_token", "implicit", "password"}
	responseParts = []string{"code", "token", "id_token", "none"}
	// ownAlgs are those that the server signs with; signingAlgs those that it may be
	// shown.
	ownAlgs     = []string{"RS256", "ES256", "PS256", "EdDSA"}
	signingAlgs = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}

	// clientID is RFC 6749 appendix A.1, bounded.
	clientID = regexp.MustCompile(`^[\x20-\x7e]{1,255}$`)
	// scopeToken is RFC 6749 section 3.3.
	scopeToken = regexp.MustCompile(`^[\x21\x23-\x5b\x5d-\x7e]+$`)
)

// badSchemes run or show what they carry in the browser's own context.
var badSchemes = []string{"javascript", "data", "vbscript", "file", "blob", "about"}

// metadata is RFC 7591's error code for all but redirect URIs.
const metadata = "invalid_client_metadata"

// checker collects faults.
type checker struct{ faults []error }

func (k *checker) fail(reason, pointer, format string, args ...any) {
	k.faults = append(k.faults, &fault.Error{Kind: fault.Invalid, Reason: reason, Pointer: pointer, Message: fmt.Sprintf(format, args...)})
}

// checkClient reports everything that is wrong with a complete client; subjects are the
// subject types that there are.
func checkClient(c oauth2.Client, subjects []string) error {
	k := &checker{}
	if !clientID.MatchString(c.ID) {
		k.fail(metadata, "/client_id", "must be 1 to 255 printable ASCII characters")
	}
	k.checkAuthentication(c)
	for i, g := range c.GrantTypes {
		if !slices.Contains(grantTypes, g) && !strings.HasPrefix(g, "urn:") {
			k.fail(metadata, fmt.Sprintf("/grant_types/%d", i), "unknown grant type %q", g)
		}
	}
	for i, r := range c.ResponseTypes {
		parts := strings.Fields(r)
		if len(parts) == 0 || slices.ContainsFunc(parts, func(p string) bool { return !slices.Contains(responseParts, p) }) {
			k.fail(metadata, fmt.Sprintf("/response_types/%d", i), "unknown response type %q", r)
		}
	}
	for _, s := range strings.Fields(c.Scope) {
		if !scopeToken.MatchString(s) {
			k.fail(metadata, "/scope", "%q is not a scope (RFC 6749 section 3.3)", s)
		}
	}
	for i, a := range c.Audience {
		if a == "" || strings.ContainsAny(a, " \t\r\n") {
			k.fail(metadata, fmt.Sprintf("/audience/%d", i), "must be without spaces")
		}
	}
	for i, t := range c.AuthorizationDetailsTypes {
		if t == "" || len(t) > 255 {
			k.fail(metadata, fmt.Sprintf("/authorization_details_types/%d", i), "must have 1 to 255 bytes")
		}
	}
	k.checkSubjects(c, subjects)
	if c.AccessTokenStrategy != "" && c.AccessTokenStrategy != "opaque" && c.AccessTokenStrategy != "jwt" {
		k.fail(metadata, "/access_token_strategy", "must be opaque or jwt")
	}
	k.checkURLs(c)
	k.checkLifespans(c.Lifespans)
	if len(c.Metadata) > 0 {
		var object map[string]any
		if json.Unmarshal(c.Metadata, &object) != nil {
			k.fail(metadata, "/metadata", "must be an object")
		}
	}
	// Maps were walked; the same client gets the same answer.
	slices.SortStableFunc(k.faults, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(k.faults...)
}

func (k *checker) checkAuthentication(c oauth2.Client) {
	method := c.TokenEndpointAuthMethod
	if !slices.Contains(authMethods, method) {
		k.fail(metadata, "/token_endpoint_auth_method", "must be one of %s", strings.Join(authMethods, ", "))
	}
	if c.Secret != "" {
		if len(c.Secret) < minSecret || len(c.Secret) > maxSecret {
			k.fail(metadata, "/client_secret", "must have %d to %d bytes", minSecret, maxSecret)
		}
		if slices.Contains(authMethods, method) && !slices.Contains(secretMethods, method) {
			k.fail(metadata, "/client_secret", "a client that authenticates with %s has no secret", method)
		}
	}
	if len(c.JWKS) > 0 && c.JWKSURI != "" {
		k.fail(metadata, "/jwks", "jwks and jwks_uri exclude each other")
	}
	if len(c.JWKS) > 0 {
		k.checkJWKS(c.JWKS)
	}
	if (method == "private_key_jwt" || method == "self_signed_tls_client_auth") && len(c.JWKS) == 0 && c.JWKSURI == "" {
		k.fail(metadata, "/jwks", "a client that authenticates with %s needs jwks or jwks_uri", method)
	}
	if c.RequireSignedRequestObject && len(c.JWKS) == 0 && c.JWKSURI == "" {
		k.fail(metadata, "/require_signed_request_object", "needs jwks or jwks_uri")
	}
	k.checkCertificateName(c)
	for pointer, choice := range map[string]struct {
		alg     string
		allowed []string
	}{
		"/token_endpoint_auth_signing_alg": {c.TokenEndpointAuthAlg, signingAlgs},
		"/request_object_signing_alg":      {c.RequestObjectAlg, signingAlgs},
		"/id_token_signed_response_alg":    {c.IDTokenAlg, ownAlgs},
		"/userinfo_signed_response_alg":    {c.UserinfoAlg, ownAlgs},

		"/introspection_signed_response_alg": {c.IntrospectionAlg, ownAlgs},
		"/authorization_signed_response_alg": {c.AuthorizationResponseAlg, ownAlgs},
	} {
		// Only an unsigned userinfo answer is safe: it comes over TLS to who asked.
		if choice.alg == "" || choice.alg == "none" && pointer == "/userinfo_signed_response_alg" {
			continue
		}
		if !slices.Contains(choice.allowed, choice.alg) {
			k.fail(metadata, pointer, "must be one of %s", strings.Join(choice.allowed, ", "))
		}
	}
}

// checkCertificateName wants the one name of the certificate that RFC 8705 section
// 2.1.2 asks for, and no name that would never be looked at.
func (k *checker) checkCertificateName(c oauth2.Client) {
	var names []string
	for pointer, name := range map[string]string{
		"/tls_client_auth_subject_dn": c.TLSClientAuthSubjectDN, "/tls_client_auth_san_dns": c.TLSClientAuthSANDNS, "/tls_client_auth_san_uri": c.TLSClientAuthSANURI,
		"/tls_client_auth_san_ip": c.TLSClientAuthSANIP, "/tls_client_auth_san_email": c.TLSClientAuthSANEmail,
	} {
		if name != "" {
			names = append(names, pointer)
		}
	}
	slices.Sort(names)
	switch {
	case c.TokenEndpointAuthMethod == "tls_client_auth" && len(names) != 1:
		k.fail(metadata, "/token_endpoint_auth_method", "tls_client_auth needs exactly one of tls_client_auth_subject_dn, _san_dns, _san_uri, _san_ip and _san_email")
	case c.TokenEndpointAuthMethod != "tls_client_auth" && len(names) > 0:
		k.fail(metadata, names[0], "is for clients that authenticate with tls_client_auth")
	}
	if _, err := netip.ParseAddr(c.TLSClientAuthSANIP); c.TLSClientAuthSANIP != "" && err != nil {
		k.fail(metadata, "/tls_client_auth_san_ip", "must be an IP address")
	}
	if c.TLSClientAuthSubjectDN != "" && !strings.Contains(c.TLSClientAuthSubjectDN, "=") {
		k.fail(metadata, "/tls_client_auth_subject_dn", "must be a distinguished name as RFC 4514 writes it, such as CN=app,O=Example")
	}
}

func (k *checker) checkJWKS(raw json.RawMessage) {
	set, err := ParseKeys(raw)
	if err != nil || len(set.Keys) == 0 {
		k.fail(metadata, "/jwks", "must be a JWK set with at least one key")
	}
	for i, key := range set.Keys {
		if !key.IsPublic() || !strong(key) {
			k.fail(metadata, fmt.Sprintf("/jwks/keys/%d", i), "must be a public key; RSA keys need at least %d bits", keys.MinRSABits)
		}
	}
}

func (k *checker) checkURLs(c oauth2.Client) {
	const redirect = "invalid_redirect_uri"
	origins := map[string]bool{}
	for i, raw := range c.RedirectURIs {
		u, why := parseRedirect(raw)
		if why != "" {
			k.fail(redirect, fmt.Sprintf("/redirect_uris/%d", i), "%s", why)
			continue
		}
		origins[origin(u)] = true
	}
	for i, raw := range c.PostLogoutRedirectURIs {
		u, why := parseRedirect(raw)
		if why == "" && !origins[origin(u)] {
			why = "must have scheme, host and port of a redirect URI"
		}
		if why != "" {
			k.fail(redirect, fmt.Sprintf("/post_logout_redirect_uris/%d", i), "%s", why)
		}
	}
	for pointer, raw := range map[string]string{
		"/client_uri": c.ClientURI, "/logo_uri": c.LogoURI, "/policy_uri": c.PolicyURI, "/tos_uri": c.TermsOfServiceURI, "/jwks_uri": c.JWKSURI,
		"/sector_identifier_uri": c.SectorIdentifierURI, "/frontchannel_logout_uri": c.FrontchannelLogoutURI, "/backchannel_logout_uri": c.BackchannelLogoutURI,
	} {
		if raw != "" && !isHTTP(raw) {
			k.fail(metadata, pointer, "must be an http or https URL")
		}
	}
	k.checkLogoutURIs(c, origins)
	if u, err := url.Parse(c.JWKSURI); err == nil && u.Scheme == "http" && !isLoopback(u.Hostname()) {
		k.fail(metadata, "/jwks_uri", "must be https: who can change the answer could be the client")
	}
	for i, raw := range c.RequestURIs {
		if !isHTTP(raw) {
			k.fail(metadata, fmt.Sprintf("/request_uris/%d", i), "must be an http or https URL")
		}
	}
	for i, raw := range c.AllowedCORSOrigins {
		u, err := url.Parse(raw)
		if err != nil || !isHTTP(raw) || u.Path != "" || u.RawQuery != "" || strings.Contains(raw, "*") {
			k.fail(metadata, fmt.Sprintf("/allowed_cors_origins/%d", i), "must be an origin such as https://app.example.org")
		}
	}
}

// checkLogoutURIs checks where the client is told of logouts (OpenID Connect Back-Channel
// Logout 1.0 section 2.2, Front-Channel Logout 1.0 section 2).
func (k *checker) checkLogoutURIs(c oauth2.Client, origins map[string]bool) {
	if u, err := url.Parse(c.BackchannelLogoutURI); err == nil && c.BackchannelLogoutURI != "" {
		switch {
		case strings.Contains(c.BackchannelLogoutURI, "#"):
			k.fail(metadata, "/backchannel_logout_uri", "must have no fragment")
		case u.Scheme == "http" && c.Public():
			k.fail(metadata, "/backchannel_logout_uri", "must be https for a client without credentials")
		}
	}
	if u, err := url.Parse(c.FrontchannelLogoutURI); err == nil && c.FrontchannelLogoutURI != "" && isHTTP(c.FrontchannelLogoutURI) {
		switch {
		case strings.Contains(c.FrontchannelLogoutURI, "#"):
			k.fail(metadata, "/frontchannel_logout_uri", "must have no fragment")
		case !origins[origin(u)]:
			k.fail(metadata, "/frontchannel_logout_uri", "must have scheme, host and port of a redirect URI")
		}
	}
}

// isLoopback reports whether a host is this machine.
func isLoopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}

// parseRedirect parses a redirect URI strictly: what is registered is compared
// byte for byte later (RFC 9700 section 2.1).
func parseRedirect(raw string) (*url.URL, string) {
	u, err := url.Parse(raw)
	switch {
	case err != nil || len(raw) > 2048 || !u.IsAbs() || strings.ContainsFunc(raw, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '\\' }):
		return nil, "must be an absolute URI"
	case u.Fragment != "" || strings.Contains(raw, "#"):
		return nil, "must have no fragment (RFC 6749 section 3.1.2)"
	case slices.Contains(badSchemes, u.Scheme):
		return nil, "must not have the scheme " + u.Scheme
	case u.User != nil:
		return nil, "must have no user information"
	case (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() == "":
		return nil, "must have a host"
	case strings.Contains(u.Host, "*"):
		return nil, "must have no wildcard"
	}
	return u, ""
}

func origin(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return u.Scheme + "://" + net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}

func isHTTP(raw string) bool {
	u, err := url.Parse(raw)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" && u.User == nil
}

func (k *checker) checkLifespans(l oauth2.Lifespans) {
	for name, text := range map[string]string{
		"authorization_code_grant_access": l.AuthorizationCodeGrantAccess, "authorization_code_grant_id": l.AuthorizationCodeGrantID,
		"authorization_code_grant_refresh": l.AuthorizationCodeGrantRefresh, "client_credentials_grant_access": l.ClientCredentialsGrantAccess,
		"device_authorization_grant_access": l.DeviceGrantAccess, "device_authorization_grant_id": l.DeviceGrantID, "device_authorization_grant_refresh": l.DeviceGrantRefresh,
		"jwt_bearer_grant_access": l.JWTBearerGrantAccess,
		"implicit_grant_access":   l.ImplicitGrantAccess, "implicit_grant_id": l.ImplicitGrantID,
		"password_grant_access": l.PasswordGrantAccess, "password_grant_refresh": l.PasswordGrantRefresh,
		"refresh_token_grant_access": l.RefreshTokenGrantAccess, "refresh_token_grant_id": l.RefreshTokenGrantID, "refresh_token_grant_refresh": l.RefreshTokenGrantRefresh,
	} {
		if text == "" {
			continue
		}
		if d, err := time.ParseDuration(text); err != nil || d <= 0 {
			k.fail(metadata, "/"+name+"_token_lifespan", "must be a positive duration such as 30m")
		}
	}
}
