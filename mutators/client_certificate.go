package mutators

import (
	"context"
	"encoding/base64"
	"net/http"
	"strings"

	"github.com/gatewarden/gatewarden/access"
)

// ClientCertificateConfig configures client_certificate.
type ClientCertificateConfig struct {
	// Chain sends the certificates that came with the client's, too.
	Chain bool `json:"chain"`
	// Unverified also sends certificates that no authority was found for, such as
	// self-signed ones.
	Unverified bool `json:"unverified"`
}

// clientCertificate tells the upstream of the client's certificate (RFC 9440).
type clientCertificate struct{ ClientCertificateConfig }

var (
	_ Mutator     = clientCertificate{}
	_ HeaderOwner = clientCertificate{}
)

func newClientCertificate(c ClientCertificateConfig) (Mutator, error) {
	return clientCertificate{c}, nil
}

// OwnedHeaders implements HeaderOwner.
func (clientCertificate) OwnedHeaders() []string {
	return []string{"Client-Cert", "Client-Cert-Chain"}
}

// Mutate writes Client-Cert when the client has a certificate that its listener or the
// authenticator of the same name has verified.
func (m clientCertificate) Mutate(_ context.Context, in access.Input, p *access.Pass) error {
	if in.Request == nil || in.Request.Certificate == nil {
		return nil
	}
	c := in.Request.Certificate
	if !c.Verified && !m.Unverified && in.Subject.Via != "client_certificate" {
		return nil
	}
	if p.Set == nil {
		p.Set = http.Header{}
	}
	p.Set["Client-Cert"] = []string{byteSequence(c.Leaf.Raw)}
	if !m.Chain || len(c.Chain) == 0 {
		return nil
	}
	items := make([]string, len(c.Chain))
	for i, one := range c.Chain {
		items[i] = byteSequence(one.Raw)
	}
	p.Set["Client-Cert-Chain"] = []string{strings.Join(items, ", ")}
	return nil
}

// byteSequence writes a byte sequence of RFC 9651 section 4.1.8.
func byteSequence(b []byte) string {
	return ":" + base64.StdEncoding.EncodeToString(b) + ":"
}
