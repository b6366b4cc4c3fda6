package authn

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"fmt"
	"unicode"
	"unicode/utf8"

	"github.com/gatewarden/gatewarden/access"
)

// certificateSubject reads the subject from a field of a certificate. A field with
// several values names nobody: whoever issued the certificate chose their order.
func certificateSubject(c *access.ClientCertificate, from string) (access.Subject, error) {
	leaf := c.Leaf
	dn, fingerprint := distinguishedName(leaf.RawSubject), hex.EncodeToString(c.SHA256[:])
	values := []string{dn}
	switch from {
	case "san_uri":
		values = alternativeNames(leaf, "uri")
	case "san_dns":
		values = alternativeNames(leaf, "dns")
	case "san_email":
		values = alternativeNames(leaf, "email")
	case "cn":
		values = commonNames(leaf.Subject)
	case "fingerprint":
		values = []string{fingerprint}
	case "":
		if uris := alternativeNames(leaf, "uri"); len(uris) > 0 {
			values = uris
		}
	}
	if from == "" {
		from = "san_uri or dn"
	}
	if len(values) != 1 || values[0] == "" {
		return access.Subject{}, fmt.Errorf("%s has %d values", from, len(values))
	}
	if !isText(values[0]) {
		return access.Subject{}, fmt.Errorf("%s is not printable text", from)
	}
	sans := map[string]any{}
	for _, kind := range []string{"uri", "dns", "email", "ip"} {
		sans[kind] = alternativeNames(leaf, kind)
	}
	return access.Subject{ID: values[0], Via: "client_certificate", Extra: map[string]any{
		"dn": dn, "issuer": distinguishedName(leaf.RawIssuer), "sans": sans,
		"serial": serial(leaf), "fingerprint": fingerprint,
	}}, nil
}

// distinguishedName writes a name as RFC 2253 does, in its own order; empty when it
// cannot be read.
func distinguishedName(raw []byte) string {
	var name pkix.RDNSequence
	if rest, err := asn1.Unmarshal(raw, &name); err != nil || len(rest) > 0 {
		return ""
	}
	return name.String()
}

func commonNames(name pkix.Name) (names []string) {
	for _, part := range name.Names {
		if text, ok := part.Value.(string); ok && part.Type.Equal(asn1.ObjectIdentifier{2, 5, 4, 3}) {
			names = append(names, text)
		}
	}
	return names
}

// serial is the serial number in hex.
func serial(c *x509.Certificate) string {
	if c.SerialNumber == nil {
		return ""
	}
	return c.SerialNumber.Text(16)
}

// isText reports whether s is UTF-8 without control characters.
func isText(s string) bool {
	for _, r := range s {
		if unicode.IsControl(r) {
			return false
		}
	}
	return utf8.ValidString(s)
}
