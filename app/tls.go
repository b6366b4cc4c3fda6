package app

import (
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"github.com/gatewarden/gatewarden/config"
)

// secured is the TLS of one listener. Its certificates may be replaced: connections
// that are open keep theirs, later ones get the new, and sessions can be resumed.
type secured struct{ current atomic.Pointer[tls.Config] }

// newSecured reads the certificates of a listener; nil when there are none.
func newSecured(t config.TLS) (*secured, error) {
	loaded, err := loadTLS(t)
	if err != nil || loaded == nil {
		return nil, err
	}
	clients, err := clientAuthorities(t)
	if err != nil {
		return nil, fmt.Errorf(".client_ca: %w", err)
	}
	loaded.ClientAuth, loaded.ClientCAs = clientAuth[t.ClientAuth], clients
	s := &secured{}
	s.current.Store(loaded)
	return s, nil
}

// config is what the server is given; nil for plain HTTP.
func (s *secured) config() *tls.Config {
	if s == nil {
		return nil
	}
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return s.current.Load(), nil },
	}
}

// replace puts other certificates in force. What is asked of clients stays.
func (s *secured) replace(loaded *tls.Config) {
	was := s.current.Load()
	loaded.ClientAuth, loaded.ClientCAs = was.ClientAuth, was.ClientCAs
	s.current.Store(loaded)
}

// loadTLS reads certificates; nil when none is set. The error begins with the key
// below tls.
func loadTLS(t config.TLS) (*tls.Config, error) {
	loaded := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}
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
	if len(loaded.Certificates) == 0 {
		return nil, nil
	}
	return loaded, nil
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
