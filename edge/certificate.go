package edge

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/gatewarden/gatewarden/access"
)

// The fields in which a trusted peer may tell of the certificate of the client.
const (
	// ClientCert is Client-Cert, with Client-Cert-Chain beside it (RFC 9440).
	ClientCert = "client-cert"
	// ForwardedClientCert is X-Forwarded-Client-Cert of Envoy, whose elements must have
	// the key Cert, and may have Chain. The last element counts.
	ForwardedClientCert = "x-forwarded-client-cert"
	// SSLClientCert is X-SSL-Client-Cert with the value of nginx's variable
	// $ssl_client_escaped_cert.
	SSLClientCert = "x-ssl-client-cert"
)

// Bounds on what a peer may tell.
const (
	maxCertificate  = 16 << 10 // bytes of DER
	maxChain        = 10       // certificates beside the leaf
	maxSeenClients  = 1024     // certificates that are remembered
	maxEncodedChain = 64 << 10 // bytes of all fields
)

// Certificates says where a Gate learns of certificates of clients beside its own TLS
// connections, and whom it believes. The zero value: of no others, and nobody.
type Certificates struct {
	// Field is ClientCert, ForwardedClientCert or SSLClientCert of trusted peers;
	// empty: none is read. A peer that is named as trusted must set or remove it.
	Field string
	// Authorities are those that certificates must come from to be Verified. Nil:
	// only what the TLS handshake verified is.
	Authorities *x509.CertPool
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// certificates finds the certificate of each request.
type certificates struct {
	Certificates
	forwarded bool // the received request is never the client's own: its connection is not looked at
	seen      *otter.Cache[[sha256.Size]byte, *seenCertificate]
}

// seenCertificate is what was found out about a certificate that was told of before:
// facts, which hold from the time from until the time until.
type seenCertificate struct {
	plain, verified *access.ClientCertificate
	from, until     time.Time
}

func newCertificates(c Certificates, forwarded bool) (*certificates, error) {
	switch c.Field {
	case "", ClientCert, ForwardedClientCert, SSLClientCert:
	default:
		return nil, fmt.Errorf("edge: no certificates can be read from field %q", c.Field)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &certificates{Certificates: c, forwarded: forwarded,
		seen: otter.Must(&otter.Options[[sha256.Size]byte, *seenCertificate]{MaximumSize: maxSeenClients})}, nil
}

// of returns the certificate of the client that sent r, nil for none. A trusted peer
// tells of it in a field; the certificate of its own connection is then not the
// client's. A field that cannot be read is fault.Invalid.
func (c *certificates) of(r *http.Request, f *Forwarded) (*access.ClientCertificate, error) {
	if f.Trusted && c.Field != "" {
		return c.told(r.Header)
	}
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 || c.forwarded || f.Trusted && f.Client != Addr(r.RemoteAddr) {
		return nil, nil
	}
	shown := r.TLS.PeerCertificates
	if len(r.TLS.VerifiedChains) == 0 && c.Authorities != nil {
		return c.known(fingerprintOf(shown), false, func() ([]*x509.Certificate, error) { return shown, nil })
	}
	found := newClientCertificate(shown, false)
	now := c.Now()
	for _, chain := range r.TLS.VerifiedChains {
		// The handshake may be long ago.
		from, until := window(chain)
		found.Verified = found.Verified || !now.Before(from) && now.Before(until)
	}
	return found, nil
}

// ClientCertificates finds the certificates of clients of listeners that decide
// nothing. Use NewClientCertificates.
type ClientCertificates struct {
	found   *certificates
	trusted Trusted
}

// NewClientCertificates returns a finder that reads the field of c from trusted peers
// alone. An error names the field that is not known.
func NewClientCertificates(c Certificates, trusted Trusted) (*ClientCertificates, error) {
	found, err := newCertificates(c, false)
	if err != nil {
		return nil, err
	}
	return &ClientCertificates{found: found, trusted: trusted}, nil
}

type certificateKey struct{}

// attach puts the certificate of the client of r into its context.
func (c *ClientCertificates) attach(r *http.Request) (*http.Request, error) {
	if c == nil {
		return r, nil
	}
	forwarded := c.trusted.resolve(r)
	found, err := c.found.of(r, &forwarded)
	if err != nil || found == nil {
		return r, err
	}
	return r.WithContext(context.WithValue(r.Context(), certificateKey{}, found)), nil
}

// CertificateOf returns the certificate of the client that sent the request, which a
// Guard with Certificates has found; nil for none.
func CertificateOf(ctx context.Context) *access.ClientCertificate {
	found, _ := ctx.Value(certificateKey{}).(*access.ClientCertificate)
	return found
}

func newClientCertificate(shown []*x509.Certificate, forwarded bool) *access.ClientCertificate {
	return &access.ClientCertificate{Leaf: shown[0], Chain: shown[1:], Forwarded: forwarded, SHA256: sha256.Sum256(shown[0].Raw)}
}

// told reads the configured field.
func (c *certificates) told(h http.Header) (*access.ClientCertificate, error) {
	leaf, chain := h["Client-Cert"], h["Client-Cert-Chain"]
	read := certificatesOfRFC9440
	switch c.Field {
	case ForwardedClientCert:
		leaf, chain, read = h["X-Forwarded-Client-Cert"], nil, certificatesOfEnvoy
	case SSLClientCert:
		leaf, chain, read = h["X-Ssl-Client-Cert"], nil, certificatesOfNginx
	}
	if len(chain) == 0 && (len(leaf) == 0 || len(leaf) == 1 && leaf[0] == "") { // nginx sends an empty field for none
		return nil, nil
	}
	key := sha256.New()
	size := 0
	for _, list := range [][]string{leaf, chain} {
		_ = binary.Write(key, binary.BigEndian, uint32(len(list)))
		for _, v := range list {
			size += len(v)
			_ = binary.Write(key, binary.BigEndian, uint32(len(v)))
			key.Write([]byte(v))
		}
	}
	if size > maxEncodedChain {
		return nil, errCertificate
	}
	return c.known([sha256.Size]byte(key.Sum(nil)), true, func() ([]*x509.Certificate, error) { return read(leaf, chain) })
}

// known answers from memory what does not change: what is in a certificate, and when
// its chain is valid.
func (c *certificates) known(key [sha256.Size]byte, forwarded bool, read func() ([]*x509.Certificate, error)) (*access.ClientCertificate, error) {
	s, ok := c.seen.GetIfPresent(key)
	if !ok {
		shown, err := read()
		if err != nil {
			return nil, err
		}
		s = &seenCertificate{plain: newClientCertificate(shown, forwarded)}
		c.seen.Set(key, s)
	}
	if c.Authorities == nil {
		return s.plain, nil
	}
	now := c.Now()
	if s.verified != nil && !now.Before(s.from) && now.Before(s.until) {
		return s.verified, nil
	}
	from, until, ok := verify(s.plain, c.Authorities, now)
	if !ok {
		return s.plain, nil
	}
	good := *s.plain
	good.Verified = true
	c.seen.Set(key, &seenCertificate{plain: s.plain, verified: &good, from: from, until: until})
	return &good, nil
}

// verify looks for a chain for client authentication and returns when it is valid.
func verify(cert *access.ClientCertificate, authorities *x509.CertPool, now time.Time) (from, until time.Time, ok bool) {
	between := x509.NewCertPool()
	for _, one := range cert.Chain {
		between.AddCert(one)
	}
	chains, err := cert.Leaf.Verify(x509.VerifyOptions{Roots: authorities, Intermediates: between, CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	if err != nil {
		return from, until, false
	}
	from, until = window(chains[0])
	return from, until, true
}

// window is when every certificate of a chain is valid: from, and before until.
func window(chain []*x509.Certificate) (from, until time.Time) {
	for i, c := range chain {
		after := c.NotAfter.Add(time.Nanosecond) // inclusive (RFC 5280 section 4.1.2.5)
		if i == 0 || c.NotBefore.After(from) {
			from = c.NotBefore
		}
		if i == 0 || after.Before(until) {
			until = after
		}
	}
	return from, until
}

func fingerprintOf(shown []*x509.Certificate) [sha256.Size]byte {
	h := sha256.New()
	for _, c := range shown {
		_ = binary.Write(h, binary.BigEndian, uint32(len(c.Raw)))
		h.Write(c.Raw)
	}
	return [sha256.Size]byte(h.Sum(nil))
}

var errCertificate = invalid("invalid_client_certificate", "the field with the client's certificate cannot be read")

// certificatesOfRFC9440 reads one byte sequence and a list of them (RFC 9651 sections
// 3.1 and 3.3.5), strictly: no parameters, canonical base64.
func certificatesOfRFC9440(leaf, chain []string) ([]*x509.Certificate, error) {
	if len(leaf) != 1 { // a chain without a leaf is an error, too
		return nil, errCertificate
	}
	items := leaf
	if len(chain) > 0 {
		items = append([]string{leaf[0]}, strings.Split(strings.Join(chain, ","), ",")...)
	}
	if len(items) > 1+maxChain {
		return nil, errCertificate
	}
	shown := make([]*x509.Certificate, len(items))
	for i, item := range items {
		item = strings.Trim(item, " \t")
		if len(item) < 2 || item[0] != ':' || item[len(item)-1] != ':' || strings.ContainsAny(item, "\r\n") {
			return nil, errCertificate
		}
		der, err := base64.StdEncoding.Strict().DecodeString(item[1 : len(item)-1])
		if err != nil {
			return nil, errCertificate
		}
		if shown[i], err = parseCertificate(der); err != nil {
			return nil, err
		}
	}
	return shown, nil
}

func parseCertificate(der []byte) (*x509.Certificate, error) {
	if len(der) > maxCertificate {
		return nil, errCertificate
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, errCertificate
	}
	return c, nil
}

// certificatesOfNginx reads a certificate in percent-encoded PEM.
func certificatesOfNginx(leaf, _ []string) ([]*x509.Certificate, error) {
	if len(leaf) != 1 {
		return nil, errCertificate
	}
	shown, err := escapedPEM(leaf[0])
	if err != nil || len(shown) != 1 {
		return nil, errCertificate
	}
	return shown, nil
}

// certificatesOfEnvoy reads the element that the peer itself added, the last one.
func certificatesOfEnvoy(fields, _ []string) ([]*x509.Certificate, error) {
	elements := list(fields)
	if len(elements) == 0 {
		return nil, errCertificate
	}
	told := map[string]string{}
	for pair := range splitQuoted(elements[len(elements)-1], ';') {
		name, value, ok := strings.Cut(pair, "=")
		name = strings.ToLower(strings.TrimSpace(name))
		if _, twice := told[name]; !ok || twice && (name == "cert" || name == "chain") {
			return nil, errCertificate
		}
		told[name] = strings.Trim(strings.TrimSpace(value), `"`)
	}
	leaf, err := escapedPEM(told["cert"])
	if err != nil || len(leaf) != 1 {
		return nil, errCertificate
	}
	if told["chain"] == "" {
		return leaf, nil
	}
	shown, err := escapedPEM(told["chain"]) // which begins with the leaf
	if err != nil || !shown[0].Equal(leaf[0]) {
		return nil, errCertificate
	}
	return shown, nil
}

// escapedPEM reads certificates and nothing else from percent-encoded PEM.
func escapedPEM(text string) ([]*x509.Certificate, error) {
	plain, err := url.PathUnescape(text)
	if err != nil {
		return nil, errCertificate
	}
	var shown []*x509.Certificate
	for rest := []byte(strings.TrimSpace(plain)); len(rest) > 0; {
		if !strings.HasPrefix(string(rest), "-----BEGIN CERTIFICATE-----") || len(shown) > maxChain {
			return nil, errCertificate
		}
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil || block.Type != "CERTIFICATE" || len(block.Headers) > 0 {
			return nil, errCertificate
		}
		c, err := parseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		shown, rest = append(shown, c), []byte(strings.TrimSpace(string(rest)))
	}
	if len(shown) == 0 {
		return nil, errCertificate
	}
	return shown, nil
}

// splitQuoted yields the parts of s between separators outside of quotes, in which a
// backslash escapes: a subject may hold quotes.
func splitQuoted(s string, separator byte) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		start, quoted := 0, false
		for i := 0; i < len(s); i++ {
			switch {
			case s[i] == '"':
				quoted = !quoted
			case quoted && s[i] == '\\':
				i++
			case s[i] == separator && !quoted:
				if !yield(s[start:i]) {
					return
				}
				start = i + 1
			}
		}
		yield(s[start:])
	}
}

// isCertificateField reports whether a canonical name is a field that tells of a
// client's certificate. What a client sends there is removed on every listener; what
// a trusted peer sends is read, and an upstream gets it from mutators only.
func isCertificateField(name string) bool {
	switch name {
	case "Client-Cert", "Client-Cert-Chain", "X-Forwarded-Client-Cert", "X-Ssl-Client-Cert":
		return true
	}
	return false
}

// stripCertificates removes the fields that tell of a client's certificate.
func stripCertificates(h http.Header) {
	for name := range h {
		if isCertificateField(name) || !isPlainName(name) && isCertificateField(fold(name)) {
			delete(h, name)
		}
	}
}
