package pool

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/gatewarden/gatewarden/access"
)

// rereadAfter is how often files are looked at for changes, at most.
const rereadAfter = time.Second

// Check reports files of r that cannot be used.
func Check(r *access.Route) error {
	if r.TLS == nil {
		return nil
	}
	_, _, err := load(r.TLS)
	return err
}

// load reads the authorities, nil when none are named, and the client's certificate.
func load(o *access.TLS) (*x509.CertPool, *tls.Certificate, error) {
	var roots *x509.CertPool
	if o.CAFile != "" {
		data, err := readFile(o.CAFile)
		if err != nil {
			return nil, nil, fmt.Errorf("tls.ca_file: %w", err)
		}
		roots = x509.NewCertPool()
		if !roots.AppendCertsFromPEM(data) {
			return nil, nil, fmt.Errorf("tls.ca_file: %s holds no certificate", o.CAFile)
		}
	}
	if o.CertFile == "" {
		return roots, nil, nil
	}
	cert, errCert := readFile(o.CertFile)
	key, errKey := readFile(o.KeyFile)
	if err := errors.Join(errCert, errKey); err != nil {
		return nil, nil, fmt.Errorf("tls.cert_file, tls.key_file: %w", err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, nil, fmt.Errorf("tls.cert_file, tls.key_file: %w", err)
	}
	return roots, &pair, nil
}

// maxPEM bounds a file, in bytes.
const maxPEM = 4 << 20

// readFile reads a regular file: a rule may name any.
func readFile(name string) ([]byte, error) {
	if info, err := os.Stat(name); err == nil && (!info.Mode().IsRegular() || info.Size() > maxPEM) {
		return nil, fmt.Errorf("%s is not a regular file of at most %d bytes", name, maxPEM)
	}
	return os.ReadFile(name)
}

// secure is how a Route speaks TLS, by files that may change. Nil: as the listener's
// transport does.
type secure struct {
	o *access.TLS

	mu     sync.Mutex
	looked time.Time
	stamps [3]stamp
	roots  *x509.CertPool
	pair   *tls.Certificate
	err    error // nothing could be read yet
}

// stamp tells versions of a file apart.
type stamp struct {
	at   time.Time
	size int64
}

func newSecure(o *access.TLS) *secure {
	if o == nil {
		return nil
	}
	return &secure{o: o, err: errors.New("not read yet")}
}

// files returns what the files hold. A version that cannot be read leaves the one
// before in force: half of a pair may have been written.
func (s *secure) files() (*x509.CertPool, *tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if s.err == nil && now.Sub(s.looked) < rereadAfter {
		return s.roots, s.pair, nil
	}
	s.looked = now
	var stamps [3]stamp
	for i, name := range []string{s.o.CAFile, s.o.CertFile, s.o.KeyFile} {
		if info, err := os.Stat(name); name != "" && err == nil {
			stamps[i] = stamp{info.ModTime(), info.Size()}
		}
	}
	if s.err == nil && stamps == s.stamps {
		return s.roots, s.pair, nil
	}
	roots, pair, err := load(s.o)
	if err == nil {
		s.roots, s.pair, s.stamps, s.err = roots, pair, stamps, nil
	} else if s.err != nil {
		s.err = err
	}
	return s.roots, s.pair, s.err
}

// apply makes transport speak TLS as s says; with only1, HTTP/2 is not offered.
func (s *secure) apply(transport *http.Transport, dial func(ctx context.Context, network, address string) (net.Conn, error), only1 bool) {
	if s == nil {
		return
	}
	base := transport.TLSClientConfig.Clone()
	base.MinVersion = max(tls.VersionTLS12, s.o.MinVersion)
	base.InsecureSkipVerify = s.o.SkipVerify //nolint:gosec // asked for under a key that says dangerous
	base.NextProtos = []string{"http/1.1"}
	if !only1 {
		base.NextProtos = []string{"h2", "http/1.1"}
	}
	limit := transport.TLSHandshakeTimeout
	transport.DialTLSContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		roots, pair, err := s.files()
		if err != nil {
			return nil, err
		}
		c := base.Clone()
		if roots != nil {
			c.RootCAs = roots
		}
		if pair != nil {
			c.Certificates = []tls.Certificate{*pair}
		}
		if c.ServerName = s.o.ServerName; c.ServerName == "" {
			if c.ServerName, _, err = net.SplitHostPort(address); err != nil {
				return nil, err
			}
		}
		raw, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		if limit > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, limit)
			defer cancel()
		}
		conn := tls.Client(raw, c)
		if err := conn.HandshakeContext(ctx); err != nil {
			raw.Close()
			return nil, &connectError{err}
		}
		return conn, nil
	}
}
