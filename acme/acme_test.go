package acme

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/internal/testacme"
)

// transcript collects a log.
type transcript struct {
	mu sync.Mutex
	b  strings.Builder
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

// front is a listener as the program has one: it answers challenges and serves what
// the manager in force has.
type front struct {
	address  string
	manager  *Manager
	serve    []string
	mu       sync.Mutex
	fallback []tls.Certificate
}

func listen(t *testing.T) (*front, int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &front{address: l.Addr().String()}
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "served") }),
		TLSConfig: &tls.Config{GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			f.mu.Lock()
			defer f.mu.Unlock()
			if c := f.manager.Challenge(hello); c != nil {
				return c, nil
			}
			return &tls.Config{GetCertificate: f.manager.Certificates(f.serve), Certificates: f.fallback}, nil
		}},
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug),
	}
	go func() { _ = server.ServeTLS(l, "", "") }()
	t.Cleanup(func() { _ = server.Close() })
	return f, l.Addr().(*net.TCPAddr).Port
}

// use puts a manager and the hosts it serves in force.
func (f *front) use(m *Manager, hosts ...string) {
	f.mu.Lock()
	f.manager, f.serve = m, hosts
	f.mu.Unlock()
	m.Manage(hosts)
}

// shown is the certificate for a name; the handshake must succeed.
func (f *front) shown(t *testing.T, roots *x509.CertPool, name string) *x509.Certificate {
	t.Helper()
	conn, err := tls.Dial("tcp", f.address, &tls.Config{ServerName: name, RootCAs: roots})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0]
}

// refused is why a handshake for a name fails.
func (f *front) refused(t *testing.T, name string, protocols ...string) string {
	t.Helper()
	conn, err := tls.Dial("tcp", f.address, &tls.Config{ServerName: name, InsecureSkipVerify: true, NextProtos: protocols})
	if err == nil {
		conn.Close()
		t.Fatalf("the handshake for %q succeeded", name)
	}
	return err.Error()
}

// managed returns a manager that ends with the test.
func managed(t *testing.T, o Options) *Manager {
	t.Helper()
	m, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

// eventually waits until what holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); {
		if time.Now().After(deadline) {
			t.Fatal("in vain waited for: " + what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func obtained(m *Manager) func() bool {
	return func() bool {
		for _, s := range m.Status() {
			if s.NotAfter.IsZero() {
				return false
			}
		}
		return true
	}
}

func TestCertificatesComeOverTLSALPNAndOnlyForTheHosts(t *testing.T) {
	f, port := listen(t)
	d := testacme.Start(t, testacme.Options{TLSPort: port})
	var log transcript
	m := managed(t, Options{Directory: d.URL, HTTP: d.Client, Storage: t.TempDir(), Email: "ops@example.com",
		Log: slog.New(slog.NewTextHandler(&log, nil))})
	f.use(m, "api.example.com", "Shop.example.com")
	eventually(t, "certificates", obtained(m))
	for _, name := range []string{"api.example.com", "shop.example.com", "API.example.com"} {
		if leaf := f.shown(t, d.Roots, name); !cmp.Equal(leaf.DNSNames, []string{strings.ToLower(name)}) {
			t.Errorf("%s: got a certificate for %v", name, leaf.DNSNames)
		}
	}
	for _, name := range []string{"other.example.com", "a.api.example.com", ""} {
		f.refused(t, name)
	}
	if n := d.Orders(); n != 2 {
		t.Errorf("%d certificates were asked for, want 2", n)
	}
	if n := strings.Count(log.String(), "got a certificate"); n != 2 {
		t.Errorf("%d lines of new certificates, want 2:\n%s", n, log.String())
	}
	for _, s := range m.Status() {
		if s.Error != "" {
			t.Errorf("%+v", s)
		}
	}
}

func TestHandshakesOfChallengesFailUnlessOneIsWaitedFor(t *testing.T) {
	f, port := listen(t)
	d := testacme.Start(t, testacme.Options{TLSPort: port})
	m := managed(t, Options{Directory: d.URL, HTTP: d.Client, Storage: t.TempDir()})
	f.use(m, "api.example.com")
	eventually(t, "a certificate", obtained(m))
	for _, name := range []string{"api.example.com", "other.example.com", "../accounts/key.pem", ""} {
		f.refused(t, name, "acme-tls/1")
	}
	// Beside other protocols it is not a challenge (RFC 8737 section 4).
	conn, err := tls.Dial("tcp", f.address, &tls.Config{ServerName: "api.example.com", RootCAs: d.Roots, NextProtos: []string{"acme-tls/1", "http/1.1"}})
	if err == nil {
		defer conn.Close()
		if p := conn.ConnectionState().NegotiatedProtocol; p == "acme-tls/1" {
			t.Errorf("negotiated %s", p)
		}
	}
}

func TestCertificatesComeOverHTTP01(t *testing.T) {
	f, _ := listen(t)
	var m *Manager
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { m.HTTP01().ServeHTTP(w, r) }))
	defer plain.Close()
	_, nowhere := listen(t)
	d := testacme.Start(t, testacme.Options{HTTPPort: plain.Listener.Addr().(*net.TCPAddr).Port, TLSPort: nowhere})
	m = managed(t, Options{Directory: d.URL, HTTP: d.Client, Storage: t.TempDir(), HTTP01: true})
	// The other kind of challenge cannot succeed.
	delete(m.issuer.client.ChallengeSolvers, "tls-alpn-01")
	f.use(m, "api.example.com")
	eventually(t, "a certificate", obtained(m))
	f.shown(t, d.Roots, "api.example.com")
	for _, path := range []string{"/", "/.well-known/acme-challenge/", "/.well-known/acme-challenge/x", "/.well-known/acme-challenge/../../key.pem"} {
		r, _ := http.NewRequest(http.MethodGet, plain.URL+path, nil)
		r.Host = "api.example.com"
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusNotFound {
			t.Errorf("%s: got %d", path, res.StatusCode)
		}
	}
}

func TestAKeptCertificateIsServedWhileTheDirectoryIsDown(t *testing.T) {
	f, port := listen(t)
	d := testacme.Start(t, testacme.Options{TLSPort: port})
	o := Options{Directory: d.URL, HTTP: d.Client, Storage: filepath.Join(t.TempDir(), "new", "folder")}
	first := managed(t, o)
	f.use(first, "api.example.com")
	eventually(t, "a certificate", obtained(first))
	before := f.shown(t, d.Roots, "api.example.com")
	first.Manage(nil)

	d.Down(true)
	var log transcript
	o.Log = slog.New(slog.NewTextHandler(&log, nil))
	second := managed(t, o)
	f.use(second, "api.example.com", "new.example.com")
	if after := f.shown(t, d.Roots, "api.example.com"); !after.Equal(before) { // at once
		t.Error("another certificate is served")
	}
	eventually(t, "a failure", func() bool { return second.Status()[1].Error != "" })
	f.refused(t, "new.example.com")
	f.refused(t, "new.example.com")
	if n := strings.Count(log.String(), "there is no certificate of yet"); n != 1 {
		t.Errorf("%d lines about handshakes, want 1:\n%s", n, log.String())
	}
	if !strings.Contains(log.String(), "no certificate could be got") || strings.Contains(log.String(), "level=DEBUG") {
		t.Errorf("log:\n%s", log.String())
	}
	if s := second.Status()[0]; s.Error != "" || !s.NotAfter.Equal(before.NotAfter) {
		t.Errorf("%+v", s)
	}
}

func TestCertificatesAreRenewedWhileConnectionsAreServed(t *testing.T) {
	f, port := listen(t)
	d := testacme.Start(t, testacme.Options{TLSPort: port})
	m := managed(t, Options{Directory: d.URL, HTTP: d.Client, Storage: t.TempDir(), RenewAt: 1, CheckEvery: 20 * time.Millisecond})
	f.use(m, "api.example.com")
	eventually(t, "a certificate", obtained(m))
	before := f.shown(t, d.Roots, "api.example.com")
	eventually(t, "another certificate", func() bool { return !f.shown(t, d.Roots, "api.example.com").Equal(before) })
}

func TestHostsComeAndGoWithoutTheOthersNoticing(t *testing.T) {
	f, port := listen(t)
	d := testacme.Start(t, testacme.Options{TLSPort: port})
	m := managed(t, Options{Directory: d.URL, HTTP: d.Client, Storage: t.TempDir()})
	f.use(m, "a.example.com")
	eventually(t, "a certificate", obtained(m))
	before := f.shown(t, d.Roots, "a.example.com")
	f.use(m, "a.example.com", "b.example.com")
	if !f.shown(t, d.Roots, "a.example.com").Equal(before) {
		t.Error("the first host got another certificate")
	}
	eventually(t, "the second certificate", obtained(m))
	f.shown(t, d.Roots, "b.example.com")
	f.use(m, "b.example.com")
	f.refused(t, "a.example.com")
	f.shown(t, d.Roots, "b.example.com")
	f.use(m, "a.example.com", "b.example.com") // from the folder
	if !f.shown(t, d.Roots, "a.example.com").Equal(before) {
		t.Error("the first host got another certificate")
	}
	if n := d.Orders(); n != 2 {
		t.Errorf("%d certificates were asked for, want 2", n)
	}
}

func TestNodesThatShareAFolderAskOnce(t *testing.T) {
	f, port := listen(t) // which the directory reaches, whoever asks
	d := testacme.Start(t, testacme.Options{TLSPort: port})
	o := Options{Directory: d.URL, HTTP: d.Client, Storage: t.TempDir()}
	first, second := managed(t, o), managed(t, o)
	f.use(first, "api.example.com")
	second.Manage([]string{"api.example.com"})
	eventually(t, "both to have a certificate", func() bool { return obtained(first)() && obtained(second)() })
	if n := d.Orders(); n != 1 {
		t.Errorf("%d certificates were asked for, want 1", n)
	}
	if a, b := first.newest("api.example.com"), second.newest("api.example.com"); !a.Leaf.Equal(b.Leaf) {
		t.Error("the nodes have different certificates")
	}
}

func TestAnotherNodeAnswersTheChallenge(t *testing.T) {
	f, port := listen(t)
	d := testacme.Start(t, testacme.Options{TLSPort: port})
	o := Options{Directory: d.URL, HTTP: d.Client, Storage: t.TempDir()}
	asks := managed(t, o)
	answers := managed(t, o)
	answers.hosts.Store(&map[string]*host{"api.example.com": {stop: func() {}}}) // as if its own attempt had not begun
	f.mu.Lock()
	f.manager, f.serve = answers, []string{"api.example.com"}
	f.mu.Unlock()
	asks.Manage([]string{"api.example.com"})
	eventually(t, "a certificate", obtained(asks))
}

func TestAccountsAreBoundToThoseTheDirectoryKnows(t *testing.T) {
	f, port := listen(t)
	const key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
	d := testacme.Start(t, testacme.Options{TLSPort: port, Keys: map[string]string{"kid-1": key}})
	without := managed(t, Options{Directory: d.URL, HTTP: d.Client, Storage: t.TempDir()})
	f.use(without, "api.example.com")
	eventually(t, "a refusal", func() bool { return strings.Contains(without.Status()[0].Error, "account") })
	with := managed(t, Options{Directory: d.URL, HTTP: d.Client, Storage: t.TempDir(), KeyID: "kid-1", HMACKey: key})
	f.use(with, "api.example.com")
	eventually(t, "a certificate", obtained(with))
}

func TestADirectoryThatForgotTheAccountGetsANewOne(t *testing.T) {
	f, port := listen(t)
	d := testacme.Start(t, testacme.Options{TLSPort: port})
	m := managed(t, Options{Directory: d.URL, HTTP: d.Client, Storage: t.TempDir()})
	f.use(m, "a.example.com")
	eventually(t, "a certificate", obtained(m))
	d.Forget(t)
	f.use(m, "a.example.com", "b.example.com")
	eventually(t, "a certificate", obtained(m))
}

func TestWhatIsKeptIsForTheOwnerAlone(t *testing.T) {
	f, port := listen(t)
	d := testacme.Start(t, testacme.Options{TLSPort: port})
	storage := filepath.Join(t.TempDir(), "certificates")
	m := managed(t, Options{Directory: d.URL, HTTP: d.Client, Storage: storage})
	f.use(m, "api.example.com")
	eventually(t, "a certificate", obtained(m))
	keys := 0
	err := filepath.WalkDir(storage, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if d.IsDir() && info.Mode().Perm() != 0o700 || !d.IsDir() && filepath.Ext(path) != ".lock" && info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		if strings.HasSuffix(path, ".key") || strings.HasSuffix(path, "key.pem") {
			keys++
		}
		return nil
	})
	if err != nil || keys != 2 {
		t.Errorf("%d keys, %v", keys, err)
	}
}

func TestAFolderThatCannotBeWrittenIsAnError(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Options{Storage: filepath.Join(file, "below")}); err == nil {
		t.Error("no error")
	}
}

func TestABrokenCertificateInTheFolderIsReported(t *testing.T) {
	f, port := listen(t)
	d := testacme.Start(t, testacme.Options{TLSPort: port})
	o := Options{Directory: d.URL, HTTP: d.Client, Storage: t.TempDir()}
	first := managed(t, o)
	f.use(first, "api.example.com")
	eventually(t, "a certificate", obtained(first))
	first.Manage(nil)
	names, err := filepath.Glob(filepath.Join(o.Storage, "certificates", "*", "*", "*.crt"))
	if err != nil || len(names) != 1 {
		t.Fatal(names, err)
	}
	if err := os.WriteFile(names[0], []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	second := managed(t, o)
	second.Manage([]string{"api.example.com"})
	if s := second.Status()[0]; !s.NotAfter.IsZero() || !strings.Contains(s.Error, "cannot be used") {
		t.Errorf("%+v", s)
	}
}
