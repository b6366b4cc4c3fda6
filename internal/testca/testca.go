// Package testca is a certificate authority for tests: it issues certificates of
// clients and servers that nobody outside of the test trusts.
package testca

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"testing"
	"time"
)

// Authority issues certificates.
type Authority struct {
	// Certificate is the authority's own, Pool holds it alone.
	Certificate *x509.Certificate
	Pool        *x509.CertPool
	key         *ecdsa.PrivateKey
	chain       []*x509.Certificate // below a root: the way to it
	serial      int64
}

// Issued is a certificate with its key and the intermediates above it.
type Issued struct {
	Leaf  *x509.Certificate
	Chain []*x509.Certificate
	Key   *ecdsa.PrivateKey
}

// New returns a root whose certificates are valid from an hour before now for a day.
func New(t testing.TB, name string, now time.Time) *Authority {
	t.Helper()
	key := newKey(t)
	template := authority(name, now, 1)
	a := &Authority{key: key, Pool: x509.NewCertPool(), Certificate: sign(t, template, template, key.Public(), key)}
	a.Pool.AddCert(a.Certificate)
	return a
}

// Intermediate returns an authority below a.
func (a *Authority) Intermediate(t testing.TB, name string) *Authority {
	t.Helper()
	key := newKey(t)
	a.serial++
	below := &Authority{key: key, Pool: a.Pool}
	below.Certificate = sign(t, authority(name, a.Certificate.NotBefore.Add(time.Hour), a.serial+1), a.Certificate, key.Public(), a.key)
	below.chain = append([]*x509.Certificate{below.Certificate}, a.chain...)
	return below
}

// Issue returns a certificate for client authentication; change may alter it.
func (a *Authority) Issue(t testing.TB, change func(*x509.Certificate)) Issued {
	t.Helper()
	a.serial++
	template := &x509.Certificate{
		SerialNumber: big.NewInt(a.serial + 100), Subject: pkix.Name{CommonName: "client"},
		NotBefore: a.Certificate.NotBefore, NotAfter: a.Certificate.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if change != nil {
		change(template)
	}
	key := newKey(t)
	return Issued{Leaf: sign(t, template, a.Certificate, key.Public(), a.key), Chain: a.chain, Key: key}
}

// TLS is the certificate as clients and servers of crypto/tls present it.
func (i Issued) TLS() tls.Certificate {
	c := tls.Certificate{Certificate: [][]byte{i.Leaf.Raw}, PrivateKey: i.Key, Leaf: i.Leaf}
	for _, one := range i.Chain {
		c.Certificate = append(c.Certificate, one.Raw)
	}
	return c
}

// KeyPEM is the private key.
func (i Issued) KeyPEM(t testing.TB) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(i.Key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// PEM encodes certificates.
func PEM(certificates ...*x509.Certificate) []byte {
	var b bytes.Buffer
	for _, c := range certificates {
		_ = pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}) // a Buffer takes everything
	}
	return b.Bytes()
}

// Field is a certificate as a byte sequence of RFC 9651, for Client-Cert.
func Field(c *x509.Certificate) string { return ":" + base64.StdEncoding.EncodeToString(c.Raw) + ":" }

func authority(name string, now time.Time, serial int64) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sign(t testing.TB, template, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
