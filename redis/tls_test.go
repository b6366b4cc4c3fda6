package redis

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/internal/testca"
	"github.com/gatewarden/gatewarden/internal/testenv"
)

// TestRedisOverTLSIsTheOneOfTheURL runs a redis-server that speaks TLS alone at its port.
func TestRedisOverTLSIsTheOneOfTheURL(t *testing.T) {
	authority, other := testca.New(t, "redis root", time.Now()), testca.New(t, "another root", time.Now())
	issued := authority.Issue(t, func(c *x509.Certificate) {
		c.ExtKeyUsage, c.IPAddresses = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, []net.IP{net.IPv4(127, 0, 0, 1)}
	})
	dir := t.TempDir()
	file := func(name string, text []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	address := testenv.FreeAddress(t)
	_, port, _ := net.SplitHostPort(address)
	testenv.Redis(t, "--tls-port", port, "--tls-cert-file", file("cert.pem", testca.PEM(issued.Leaf)), "--tls-key-file", file("key.pem", issued.KeyPEM(t)),
		"--tls-ca-cert-file", file("ca.pem", testca.PEM(authority.Certificate)), "--tls-auth-clients", "no", "--requirepass", "a-password")

	trusting := func(a *testca.Authority) *tls.Config { return &tls.Config{RootCAs: a.Pool} }
	for name, c := range map[string]struct {
		url  string
		tls  *tls.Config
		good bool
	}{
		"of a known authority":   {"rediss://:a-password@" + address, trusting(authority), true},
		"of another authority":   {"rediss://:a-password@" + address, trusting(other), false},
		"of the system's":        {"rediss://:a-password@" + address, nil, false},
		"under another name":     {"rediss://:a-password@localhost:" + port, trusting(authority), false},
		"without TLS":            {"redis://:a-password@" + address, trusting(authority), false},
		"with another password":  {"rediss://:wrong@" + address, trusting(authority), false},
		"with a certain version": {"rediss://:a-password@" + address, &tls.Config{RootCAs: authority.Pool, MinVersion: tls.VersionTLS13}, true},
	} {
		t.Run(name, func(t *testing.T) {
			client, _ := open(t, Options{URL: c.url, TLS: c.tls, Timeout: patient, Prefix: name + ":"})
			got, err := ask(client)
			if !c.good {
				if err == nil {
					t.Errorf("it answered %v", got)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]int64{1, 7}, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
