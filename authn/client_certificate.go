package authn

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/fault"
)

// clientCertificateConfig configures the authenticator client_certificate.
type clientCertificateConfig struct {
	// CA are the authorities that a chain must lead to: PEM at file:// and
	// inline://BASE64 URLs, read once. Empty: those of the listener (client_ca).
	CA []string `json:"ca"`
	// SubjectFrom is san_uri, san_dns, san_email, cn, dn or fingerprint, of which the
	// certificate must have exactly one. Empty: san_uri, or dn without one.
	SubjectFrom string `json:"subject_from"`
	// AllowedIssuers are accepted distinguished names of the issuer, as RFC 2253 writes
	// them; empty: any.
	AllowedIssuers []string `json:"allowed_issuers"`
	// AllowedSANs are patterns of which one must match an alternative name: URIs, names
	// of hosts and mail addresses. A * stands for one segment or label; empty: any.
	AllowedSANs []string `json:"allowed_sans"`
	// AllowedFingerprints are accepted SHA-256 digests of certificates, in hex; empty: any.
	AllowedFingerprints []string `json:"allowed_fingerprints"`
}

// maxAuthorities bounds a file of authorities, in bytes.
const maxAuthorities = 1 << 20

// clientCertificate names the client by its certificate (RFC 5280).
type clientCertificate struct {
	authorities  *x509.CertPool // nil: the listener has verified
	from         string
	issuers      []string
	sans         []sanPattern
	fingerprints [][sha256.Size]byte
	identity     identity
	cache        *factsCache
	d            Deps
}

var _ access.Lease = (*clientCertificate)(nil)

func newClientCertificate(c clientCertificateConfig, d Deps, cache *factsCache) (Authenticator, error) {
	a := &clientCertificate{from: c.SubjectFrom, issuers: c.AllowedIssuers, cache: cache, d: d}
	if !slices.Contains([]string{"", "san_uri", "san_dns", "san_email", "cn", "dn", "fingerprint"}, c.SubjectFrom) {
		return nil, fmt.Errorf("subject_from %q is not san_uri, san_dns, san_email, cn, dn or fingerprint", c.SubjectFrom)
	}
	var bundles [][]byte
	for _, location := range c.CA {
		bundle, err := readBundle(location)
		if err != nil {
			return nil, fmt.Errorf("ca: %w", err)
		}
		if a.authorities == nil {
			a.authorities = x509.NewCertPool()
		}
		if err := addAuthorities(a.authorities, bundle); err != nil {
			return nil, fmt.Errorf("ca: %w", err)
		}
		bundles = append(bundles, bundle)
	}
	for _, text := range c.AllowedSANs {
		p, err := newSANPattern(text)
		if err != nil {
			return nil, fmt.Errorf("allowed_sans: %w", err)
		}
		a.sans = append(a.sans, p)
	}
	for _, text := range c.AllowedFingerprints {
		raw, err := hex.DecodeString(strings.ReplaceAll(text, ":", ""))
		if err != nil || len(raw) != sha256.Size {
			return nil, fmt.Errorf("allowed_fingerprints: %q is not a SHA-256 digest in hex", text)
		}
		a.fingerprints = append(a.fingerprints, [sha256.Size]byte(raw))
	}
	a.identity = newIdentity("client_certificate", bundles, c.SubjectFrom)
	return a, nil
}

// readBundle reads PEM at a file or inline URL.
func readBundle(location string) ([]byte, error) {
	if text, ok := strings.CutPrefix(location, "inline://"); ok {
		raw, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return nil, errors.New("inline authorities are not base64")
		}
		return raw, nil
	}
	u, err := url.Parse(location)
	if err != nil || u.Scheme != "file" || u.Host+u.Path == "" {
		return nil, fmt.Errorf("%q is not a file or inline URL", location)
	}
	name := u.Host + u.Path
	if info, err := os.Stat(name); err == nil && (!info.Mode().IsRegular() || info.Size() > maxAuthorities) {
		return nil, fmt.Errorf("%s is not a regular file of at most %d bytes", location, maxAuthorities)
	}
	return os.ReadFile(name)
}

// addAuthorities refuses what AppendCertsFromPEM would pass over.
func addAuthorities(pool *x509.CertPool, bundle []byte) error {
	found := 0
	for rest := bundle; ; found++ {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return fmt.Errorf("block %d is %s, not CERTIFICATE", found+1, block.Type)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return fmt.Errorf("certificate %d: %w", found+1, err)
		}
		pool.AddCert(c)
	}
	if found == 0 {
		return errors.New("no certificate in PEM")
	}
	return nil
}

// Authenticate returns ErrNoCredentials for a client without a certificate. One that
// was not verified is bad credentials.
func (a *clientCertificate) Authenticate(_ context.Context, r *access.Request) (access.Subject, error) {
	known, err := a.accept(r)
	if err != nil {
		return access.Subject{}, err
	}
	return known.subject, nil
}

// Renew implements access.Lease: a certificate ends when it, or one of its chain, is
// no longer valid.
func (a *clientCertificate) Renew(_ context.Context, r *access.Request) (time.Time, error) {
	known, err := a.accept(r)
	if err != nil {
		return time.Time{}, err
	}
	return known.expires, nil
}

func (a *clientCertificate) accept(r *access.Request) (*facts, error) {
	c := r.Certificate
	if c == nil {
		return nil, ErrNoCredentials
	}
	if a.authorities == nil && !c.Verified {
		return nil, badCertificate("the client's certificate is not of an authority that is accepted here", nil)
	}
	now, key := a.d.Now(), a.cache.key(a.identity, chainDigest(c))
	known := a.cache.get(key, 0, now)
	a.d.Cache("client_certificate", known != nil)
	if known == nil || now.Before(known.notBefore) || !now.Before(known.expires) {
		f, err := a.facts(c, now)
		if err != nil {
			return nil, err
		}
		a.cache.put(key, *f, 0, time.Time{}, len(c.Leaf.Raw))
		known = f
	}
	if err := a.allow(c); err != nil {
		return nil, err
	}
	return known, nil
}

// chainDigest identifies all that was shown.
func chainDigest(c *access.ClientCertificate) string {
	if len(c.Chain) == 0 {
		return string(c.SHA256[:])
	}
	h := sha256.New()
	h.Write(c.SHA256[:])
	for _, one := range c.Chain {
		h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(one.Raw))))
		h.Write(one.Raw)
	}
	return string(h.Sum(nil))
}

// facts verifies the chain and reads the subject.
func (a *clientCertificate) facts(c *access.ClientCertificate, now time.Time) (*facts, error) {
	chain := []*x509.Certificate{c.Leaf}
	if a.authorities != nil {
		between := x509.NewCertPool()
		for _, one := range c.Chain {
			between.AddCert(one)
		}
		chains, err := c.Leaf.Verify(x509.VerifyOptions{Roots: a.authorities, Intermediates: between, CurrentTime: now,
			KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
		if err != nil {
			return nil, badCertificate("the client's certificate cannot be verified", err)
		}
		chain = chains[0]
	}
	f := &facts{}
	for i, one := range chain {
		after := one.NotAfter.Add(time.Nanosecond) // inclusive (RFC 5280 section 4.1.2.5)
		if i == 0 || one.NotBefore.After(f.notBefore) {
			f.notBefore = one.NotBefore
		}
		if i == 0 || after.Before(f.expires) {
			f.expires = after
		}
	}
	if now.Before(f.notBefore) || !now.Before(f.expires) {
		return nil, badCertificate("the client's certificate is not valid now", nil)
	}
	var err error
	f.subject, err = certificateSubject(c, a.from)
	if err != nil {
		return nil, badCertificate("the client's certificate does not name one subject", err)
	}
	return f, nil
}

// allow checks the lists of the rule.
func (a *clientCertificate) allow(c *access.ClientCertificate) error {
	if len(a.issuers) > 0 && !slices.Contains(a.issuers, distinguishedName(c.Leaf.RawIssuer)) {
		return foreignCertificate("the issuer of the client's certificate is not trusted here")
	}
	if len(a.sans) > 0 && !slices.ContainsFunc(a.sans, func(p sanPattern) bool { return p.matches(c.Leaf) }) {
		return foreignCertificate("no name of the client's certificate is allowed here")
	}
	if len(a.fingerprints) > 0 && !slices.Contains(a.fingerprints, c.SHA256) {
		return foreignCertificate("the client's certificate is not one that is allowed here")
	}
	return nil
}

func badCertificate(message string, cause error) error {
	return &fault.Error{Kind: fault.Unauthenticated, Reason: "invalid_credentials", Message: message, Err: cause}
}

func foreignCertificate(message string) error {
	return fault.New(fault.Forbidden, "forbidden_certificate", message)
}

// sanPattern matches alternative names of one kind.
type sanPattern struct {
	kind   string
	regexp *regexp.Regexp
}

// newSANPattern reads the kind from the form: URIs have "://", mail addresses "@".
func newSANPattern(text string) (sanPattern, error) {
	p, one := sanPattern{kind: "dns"}, "[^.]+"
	switch {
	case text == "" || strings.ContainsAny(text, " \t\r\n"):
		return p, fmt.Errorf("%q is not a pattern", text)
	case strings.Contains(text, "://"):
		p.kind, one = "uri", "[^/]+"
	case strings.Contains(text, "@"):
		p.kind, one = "email", "[^@]+"
	default:
		text = strings.ToLower(text)
	}
	var err error
	p.regexp, err = regexp.Compile(`\A` + strings.ReplaceAll(regexp.QuoteMeta(text), `\*`, one) + `\z`)
	return p, err
}

func (p sanPattern) matches(c *x509.Certificate) bool {
	return slices.ContainsFunc(alternativeNames(c, p.kind), func(name string) bool {
		if p.kind == "dns" {
			name = strings.ToLower(name)
		}
		return p.regexp.MatchString(name)
	})
}

// alternativeNames are the subject alternative names of a kind: uri, dns, email or ip.
func alternativeNames(c *x509.Certificate, kind string) (names []string) {
	switch kind {
	case "uri":
		for _, u := range c.URIs {
			names = append(names, u.String())
		}
	case "ip":
		for _, ip := range c.IPAddresses {
			names = append(names, ip.String())
		}
	case "dns":
		names = c.DNSNames
	case "email":
		names = c.EmailAddresses
	}
	return slices.Concat([]string{}, names) // never nil, so that templates see a list
}
