// Package testacme runs an ACME directory in process, for tests: Let's Encrypt's pebble
// with a name server for which every name is this machine.
package testacme

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
	"github.com/miekg/dns"
)

// Options of Start.
type Options struct {
	// TLSPort is where TLS-ALPN-01 is looked for, HTTPPort where HTTP-01 is.
	TLSPort, HTTPPort int
	// Keys are those of external account bindings, base64url; when there are any, an
	// account needs one.
	Keys map[string]string
}

// Directory is a running directory.
type Directory struct {
	// URL is that of the directory.
	URL string
	// CAFile is PEM of the authority of its own certificate, Client trusts it.
	CAFile string
	Client *http.Client
	// Roots are the authorities of the certificates that it issues.
	Roots *x509.CertPool

	options Options
	names   string
	served  atomic.Pointer[http.Handler]
	down    atomic.Bool
	log     transcript
}

// Start runs a directory until the test ends. It sets environment variables, so the
// test must not run beside others.
func Start(t testing.TB, o Options) *Directory {
	t.Helper()
	t.Setenv("PEBBLE_VA_NOSLEEP", "1")
	t.Setenv("PEBBLE_AUTHZREUSE", "0") // every order is validated
	d := &Directory{Roots: x509.NewCertPool(), options: o, names: names(t)}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(d.log.String())
		}
	})
	d.Forget(t)
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if d.down.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		(*d.served.Load()).ServeHTTP(w, r)
	}))
	server.Config.ErrorLog = d.logger()
	t.Cleanup(server.Close)
	d.URL, d.Client = server.URL+wfe.DirectoryPath, server.Client()
	d.CAFile = filepath.Join(t.TempDir(), "directory.crt")
	if err := os.WriteFile(d.CAFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return d
}

// Forget makes the directory one that was set up anew, at the same URL: it knows no
// account and no certificate, and issues below another root.
func (d *Directory) Forget(t testing.TB) {
	t.Helper()
	memory := db.NewMemoryStore()
	for id, key := range d.options.Keys {
		if err := memory.AddExternalAccountKeyByID(id, key); err != nil {
			t.Fatal(err)
		}
	}
	authority := ca.New(d.logger(), memory, "", "ecdsa", 0, 1, map[string]ca.Profile{"default": {}})
	if !d.Roots.AppendCertsFromPEM(authority.GetRootCert(0).PEM()) {
		t.Fatal("the directory has no root")
	}
	validation := va.New(d.logger(), d.options.HTTPPort, d.options.TLSPort, true, d.names, memory)
	front := wfe.New(d.logger(), memory, validation, authority, []string{"pebble.test"}, true, len(d.options.Keys) > 0, 0, 0)
	served := front.Handler()
	d.served.Store(&served)
}

func (d *Directory) logger() *log.Logger { return log.New(&d.log, "", log.Lmicroseconds) }

// Down makes the directory answer 503 to everything, or work again.
func (d *Directory) Down(down bool) { d.down.Store(down) }

// Orders is how many certificates were issued.
func (d *Directory) Orders() int { return strings.Count(d.log.String(), "Issued certificate serial") }

// names serves DNS over TCP, which is what pebble asks, and returns its address.
func names(t testing.TB) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &dns.Server{Listener: listener, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		answer := new(dns.Msg).SetReply(q)
		if len(q.Question) == 1 && q.Question[0].Qtype == dns.TypeA {
			header := dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET}
			answer.Answer = []dns.RR{&dns.A{Hdr: header, A: net.IPv4(127, 0, 0, 1)}}
		}
		_ = w.WriteMsg(answer)
	})}
	go func() { _ = server.ActivateAndServe() }()
	t.Cleanup(func() { _ = server.Shutdown() })
	return listener.Addr().String()
}

// transcript may be written and read at once.
type transcript struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (t *transcript) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.Write(p)
}

func (t *transcript) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.String()
}
