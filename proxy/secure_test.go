package proxy

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/internal/testca"
)

// secured is an https upstream whose certificate, of ca, is for the name up.test and
// not for the address it listens on. Edit may change what it speaks.
func secured(t *testing.T, ca *testca.Authority, h http.HandlerFunc, edit func(*httptest.Server)) string {
	t.Helper()
	cert := ca.Issue(t, func(c *x509.Certificate) {
		c.DNSNames, c.ExtKeyUsage = []string{"up.test"}, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	})
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // handshakes that fail are meant to
	s.EnableHTTP2 = true
	s.TLS = &tls.Config{Certificates: []tls.Certificate{cert.TLS()}}
	if edit != nil {
		edit(s)
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.URL
}

// file writes a file of the test and returns its name.
func file(t *testing.T, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAnHTTPSUpstreamIsReachedOnlyAsTheRuleSaysItMustBe(t *testing.T) {
	now := time.Now()
	ca, foreign := testca.New(t, "ours", now), testca.New(t, "foreign", now)
	user, stranger := ca.Issue(t, nil), foreign.Issue(t, nil)
	caFile, foreignFile := file(t, "ca.pem", testca.PEM(ca.Certificate)), file(t, "foreign.pem", testca.PEM(foreign.Certificate))
	userCert, userKey := file(t, "user.pem", testca.PEM(user.Leaf)), file(t, "user.key", user.KeyPEM(t))
	strangerCert, strangerKey := file(t, "stranger.pem", testca.PEM(stranger.Leaf)), file(t, "stranger.key", stranger.KeyPEM(t))

	tell := func(w http.ResponseWriter, r *http.Request) {
		who := "nobody"
		if len(r.TLS.PeerCertificates) > 0 {
			who = r.TLS.PeerCertificates[0].Subject.CommonName
		}
		fmt.Fprintf(w, "%s sni=%s by %s", r.Proto, r.TLS.ServerName, who)
	}
	demand := func(s *httptest.Server) { s.TLS.ClientAuth, s.TLS.ClientCAs = tls.RequireAndVerifyClientCert, ca.Pool }
	old := func(s *httptest.Server) { s.TLS.MaxVersion = tls.VersionTLS12 }
	obsolete := func(s *httptest.Server) { s.TLS.MinVersion, s.TLS.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }

	for name, c := range map[string]struct {
		tls    access.TLS
		edit   func(*httptest.Server)
		status int
		body   string
	}{
		"by its private authority, over HTTP/2":   {access.TLS{CAFile: caFile, ServerName: "up.test"}, nil, 200, "HTTP/2.0 sni=up.test by nobody"},
		"over HTTP/1.1 when HTTP/2 is off":        {access.TLS{CAFile: caFile, ServerName: "up.test", HTTP1: true}, nil, 200, "HTTP/1.1 sni=up.test by nobody"},
		"never by another authority":              {access.TLS{CAFile: foreignFile, ServerName: "up.test"}, nil, 502, "upstream_tls"},
		"never by authorities of the system":      {access.TLS{ServerName: "up.test"}, nil, 502, "upstream_tls"},
		"never under another name":                {access.TLS{CAFile: caFile, ServerName: "other.test"}, nil, 502, "upstream_tls"},
		"never under its address, without a name": {access.TLS{CAFile: caFile}, nil, 502, "upstream_tls"},
		"with the certificate it demands":         {access.TLS{CAFile: caFile, ServerName: "up.test", CertFile: userCert, KeyFile: userKey}, demand, 200, "HTTP/2.0 sni=up.test by client"},
		"never without one":                       {access.TLS{CAFile: caFile, ServerName: "up.test"}, demand, 502, "upstream_failed"},
		"never with a stranger's":                 {access.TLS{CAFile: caFile, ServerName: "up.test", CertFile: strangerCert, KeyFile: strangerKey}, demand, 502, "upstream_failed"},
		"by TLS 1.2 unless that is too old":       {access.TLS{CAFile: caFile, ServerName: "up.test"}, old, 200, "HTTP/2.0 sni=up.test by nobody"},
		"never below the version that is named":   {access.TLS{CAFile: caFile, ServerName: "up.test", MinVersion: tls.VersionTLS13}, old, 502, "upstream_failed"},
		"never below TLS 1.2, whatever is named":  {access.TLS{CAFile: caFile, ServerName: "up.test", MinVersion: tls.VersionTLS10}, obsolete, 502, "upstream_failed"},
		"by anybody when that was asked for":      {access.TLS{SkipVerify: true}, nil, 200, "HTTP/2.0 sni= by nobody"},
		"not while its files cannot be read":      {access.TLS{CAFile: caFile + ".gone", ServerName: "up.test"}, nil, 502, "upstream_failed"},
	} {
		t.Run(name, func(t *testing.T) {
			addr, _ := begin(t, &access.Route{Targets: targets(secured(t, ca, tell, c.edit)), TLS: &c.tls}, Options{})
			if status, body := callOf(t, "GET", addr, ""); status != c.status || body != c.body {
				t.Errorf("got %d %q, want %d %q", status, body, c.status, c.body)
			}
		})
	}
}

func TestAProtocolIsSwitchedWithAnUpstreamThatAlsoSpeaksHTTP2(t *testing.T) {
	ca := testca.New(t, "ours", time.Now())
	caFile := file(t, "ca.pem", testca.PEM(ca.Certificate))
	up := secured(t, ca, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			_, _ = io.WriteString(w, r.Proto)
			return
		}
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Errorf("%s: %v", r.Proto, err)
			return
		}
		defer conn.Close()
		_, _ = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		_ = rw.Flush()
		line, _ := rw.ReadString('\n')
		_, _ = rw.WriteString(line)
		_ = rw.Flush()
	}, nil)
	addr, _ := begin(t, &access.Route{Targets: targets(up), TLS: &access.TLS{CAFile: caFile, ServerName: "up.test"}}, Options{})
	// Plain requests before and after: the pool has a connection of each protocol.
	for range 2 {
		if status, body := callOf(t, "GET", addr, ""); status != 200 || body != "HTTP/2.0" {
			t.Errorf("got %d %q", status, body)
		}
		host := must(t, addr).Host
		conn, in := dial(t, host, "GET / HTTP/1.1\r\nHost: "+host+"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		if res.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("got %d %s", res.StatusCode, reason(t, res))
		}
		if _, err := io.WriteString(conn, "hello\n"); err != nil {
			t.Fatal(err)
		}
		if line, err := in.ReadString('\n'); err != nil || line != "hello\n" {
			t.Errorf("got %q, %v", line, err)
		}
		conn.Close()
	}
}

// TestASilentSwitchedConnectionIsCut: an upgrade is outside of every other timeout.
func TestASilentSwitchedConnectionIsCut(t *testing.T) {
	ended := make(chan error, 1)
	up := backend(t, func(w http.ResponseWriter, r *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		_ = rw.Flush()
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		_, err = rw.ReadByte()
		ended <- err
	})
	addr, _ := begin(t, &access.Route{Targets: targets(up), Idle: 50 * time.Millisecond}, Options{})
	host := must(t, addr).Host
	_, in := dial(t, host, "GET / HTTP/1.1\r\nHost: "+host+"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	res, err := http.ReadResponse(in, nil)
	if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("got %v, %v", res, err)
	}
	if b, err := in.ReadByte(); err == nil {
		t.Errorf("the client got %q", b)
	} else if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
		t.Error("the client's connection was not cut")
	}
	if err := <-ended; err == nil || strings.Contains(err.Error(), "timeout") {
		t.Errorf("the upstream's connection was not cut: %v", err)
	}
}

func must(t *testing.T, raw string) *url.URL {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return u
}
