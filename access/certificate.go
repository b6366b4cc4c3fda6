package access

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"strings"
)

// SubjectDN is the subject as RFC 4514 and NormalDN write it. The attributes are those of
// the certificate in its order, which pkix.Name would not keep. False: it has none.
func (c *ClientCertificate) SubjectDN() (string, bool) {
	var rdn pkix.RDNSequence
	if rest, err := asn1.Unmarshal(c.Leaf.RawSubject, &rdn); err != nil || len(rest) > 0 || len(rdn) == 0 {
		return "", false
	}
	return NormalDN(rdn.String()), true
}

// NormalDN takes the blanks beside separators out of a distinguished name and writes
// the types of attributes in upper case; values stay as they are.
func NormalDN(name string) string {
	var b strings.Builder
	start, escaped := 0, false
	for i := 0; i <= len(name); i++ {
		if i < len(name) && (escaped || name[i] != ',' && name[i] != '+') {
			escaped = !escaped && name[i] == '\\'
			continue
		}
		kind, value, found := strings.Cut(name[start:i], "=")
		b.WriteString(strings.ToUpper(strings.TrimSpace(kind)))
		if found {
			b.WriteByte('=')
			b.WriteString(strings.Trim(value, " "))
		}
		if i < len(name) {
			b.WriteByte(name[i])
		}
		start = i + 1
	}
	return b.String()
}
