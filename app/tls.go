package app

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"

	"github.com/gatewarden/gatewarden/acme"
	"github.com/gatewarden/gatewarden/config"
)

// secured is the TLS of one listener. Its certificates may be replaced: connections
// that are open keep theirs, later ones get the new, and sessions can be resumed.
type secured struct {
	current atomic.Pointer[identity]
	acme    *acme.Manager // nil: no certificates are got
}

// identity is what a listener shows to clients.
type identity struct {
	*tls.Config
	managed []string // hosts that certificates are got for
}

// newSecured reads the certificates of a listener; nil when there are none, and none
// are got.
func newSecured(t config.TLS, manager *acme.Manager) (*secured, error) {
	loaded, err := loadTLS(t, manager)
	if err != nil || loaded == nil {
		return nil, err
	}
	clients, err := clientAuthorities(t)
	if err != nil {
		return nil, fmt.Errorf(".client_ca: %w", err)
	}
	loaded.ClientAuth, loaded.ClientCAs = clientAuth[t.ClientAuth], clients
	s := &secured{acme: manager}
	s.current.Store(loaded)
	return s, nil
}

// config is what the server is given; nil for plain HTTP.
func (s *secured) config() *tls.Config {
	if s == nil {
		return nil
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			if s.acme != nil {
				if challenge := s.acme.Challenge(hello); challenge != nil {
					return challenge, nil
				}
			}
			return s.current.Load().Config, nil
		},
	}
}

// replace puts other certificates in force. What is asked of clients stays.
func (s *secured) replace(loaded *identity) {
	was := s.current.Load()
	loaded.ClientAuth, loaded.ClientCAs = was.ClientAuth, was.ClientCAs
	s.current.Store(loaded)
}

// loadTLS reads certificates; nil when none is set or got. The error begins with the key
// below tls.
func loadTLS(t config.TLS, manager *acme.Manager) (*identity, error) {
	if !t.On() {
		return nil, nil
	}
	loaded := &identity{Config: &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}}
	for i, pair := range t.All() {
		place := ""
		if n := i - (len(t.All()) - len(t.Certificates)); n >= 0 {
			place = fmt.Sprintf(".certificates[%d]", n)
		}
		cert, err := readPEM(pair.Cert)
		if err != nil {
			return nil, fmt.Errorf("%s.cert: %w", place, err)
		}
		key, err := readPEM(pair.Key)
		if err != nil {
			return nil, fmt.Errorf("%s.key: %w", place, err)
		}
		both, err := tls.X509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", place, err)
		}
		loaded.Certificates = append(loaded.Certificates, both)
	}
	if len(t.ACME.Hosts) == 0 {
		return loaded, nil
	}
	if manager == nil { // hosts came with a reload
		return nil, errors.New(".acme.hosts: acme.accept_terms was not set at the start, so this needs a restart")
	}
	for _, host := range t.ACME.Hosts {
		loaded.managed = append(loaded.managed, strings.ToLower(host))
	}
	loaded.GetCertificate = manager.Certificates(loaded.managed)
	return loaded, nil
}

// nameOf is the first name of a certificate.
func nameOf(c *x509.Certificate) string {
	if len(c.DNSNames) > 0 {
		return c.DNSNames[0]
	}
	return c.Subject.CommonName
}

func readPEM(p config.PEM) ([]byte, error) {
	if p.Path != "" {
		return os.ReadFile(p.Path)
	}
	data, err := base64.StdEncoding.DecodeString(p.Base64)
	if err != nil {
		return nil, errors.New("base64 is not valid")
	}
	return data, nil
}
