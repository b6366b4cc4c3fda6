package server

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
	"github.com/ory/fosite"

	"github.com/gatewarden/gatewarden/access"
)

// verifyCertificate authenticates the client by the certificate of its TLS connection
// (RFC 8705 section 2).
func (s *Server) verifyCertificate(ctx context.Context, c *client) error {
	failed := fosite.ErrInvalidClient
	shown := s.o.Certificate(ctx)
	if shown == nil {
		return failed.WithHint("The client must authenticate with a TLS certificate.")
	}
	if now := s.o.Now(); now.Before(shown.Leaf.NotBefore) || now.After(shown.Leaf.NotAfter) {
		return failed.WithHint("The client's certificate is not valid now.")
	}
	if c.TokenEndpointAuthMethod == "tls_client_auth" {
		if !shown.Verified {
			return failed.WithHint("The client's certificate is not one of the listener's authorities.")
		}
		if !certificateNames(shown, c) {
			return failed.WithHint("The client's certificate is for another name than the registered one.")
		}
		return nil
	}
	// RFC 8705 section 2.2: registered as x5c, whole; no chain is looked at.
	found, err := s.clientKeys(ctx, c, func(k jose.JSONWebKey) bool {
		return len(k.Certificates) > 0 && k.Certificates[0].Equal(shown.Leaf)
	})
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return failed.WithHint("The client's certificate is not a registered one.")
	}
	return nil
}

// certificateNames reports whether the certificate has the one name that the client
// registered (RFC 8705 section 2.1.2).
func certificateNames(shown *access.ClientCertificate, c *client) bool {
	leaf := shown.Leaf
	switch {
	case c.TLSClientAuthSubjectDN != "":
		name, ok := shown.SubjectDN()
		return ok && name == access.NormalDN(c.TLSClientAuthSubjectDN)
	case c.TLSClientAuthSANDNS != "":
		return slices.ContainsFunc(leaf.DNSNames, func(n string) bool { return strings.EqualFold(n, c.TLSClientAuthSANDNS) })
	case c.TLSClientAuthSANURI != "":
		for _, u := range leaf.URIs {
			if u.String() == c.TLSClientAuthSANURI {
				return true
			}
		}
	case c.TLSClientAuthSANIP != "":
		want, err := netip.ParseAddr(c.TLSClientAuthSANIP)
		for _, ip := range leaf.IPAddresses {
			if have, ok := netip.AddrFromSlice(ip); ok && err == nil && have.Unmap() == want.Unmap() {
				return true
			}
		}
	case c.TLSClientAuthSANEmail != "":
		return slices.Contains(leaf.EmailAddresses, c.TLSClientAuthSANEmail)
	}
	return false
}
