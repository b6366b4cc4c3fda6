// Package acme gets certificates of the program's own listeners from an ACME directory
// (RFC 8555), keeps them in a folder and renews them.
//
// certmagic says when a certificate is due, locks the folder against other nodes and
// retries; the conversation with the directory is acmez over an HTTP client that is
// given, because certmagic's own issuer brings a client of its own and opens ports
// for its challenges. Certificates are got for configured hosts only, never because a
// client asked for a name.
package acme

import (
	"context"
	"crypto/tls"
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
)

// Options of New. Directory, Storage and HTTP are required.
type Options struct {
	// Directory is the URL of the directory (RFC 8555 section 7.1.1).
	Directory string
	// Storage is a folder for keys, certificates and locks, which nodes may share. It is
	// made when it is missing, for its owner alone.
	Storage string
	// Email is told to the directory as the account's contact; empty: none.
	Email string
	// KeyID and HMACKey bind the account to one that the directory knows (RFC 8555
	// section 7.3.4); the key is base64url. Empty: no binding.
	KeyID, HMACKey string
	// HTTP01 says that Manager.HTTP01 is served at port 80 of the hosts.
	HTTP01 bool
	// HTTP makes the calls to the directory.
	HTTP *http.Client
	// Log is told of new certificates and of failures; nil: nothing.
	Log *slog.Logger
	// RenewAt is the part of its life that a certificate has left when it is renewed,
	// unless the directory says when (RFC 9773); default a third.
	RenewAt float64
	// CheckEvery is the time between two looks at what is due; default 10 minutes.
	CheckEvery time.Duration
}

// Manager has the certificates of the hosts that Manage named.
type Manager struct {
	log    *slog.Logger
	cache  *certmagic.Cache
	config *certmagic.Config
	issuer *issuer

	mu    sync.Mutex // held by Manage
	hosts atomic.Pointer[map[string]*host]
}

// host is a name that certificates are got for.
type host struct {
	stop   context.CancelFunc
	failed atomic.Pointer[string]
	warned atomic.Int64 // Unix seconds
}

// Status is what is known of one host.
type Status struct {
	Host string `json:"host"`
	// NotAfter is when the certificate ends; zero while there is none.
	NotAfter time.Time `json:"not_after,omitzero"`
	// Error is why the last attempt failed; empty when none did.
	Error string `json:"error,omitempty"`
}

// New opens the folder. Nothing is got before Manage. Call Close.
func New(o Options) (*Manager, error) {
	if err := writable(o.Storage); err != nil {
		return nil, err
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	m := &Manager{log: o.Log}
	m.hosts.Store(&map[string]*host{})
	zapped := zap.New(bridge{log: o.Log})
	storage := &certmagic.FileStorage{Path: o.Storage}
	m.issuer = newIssuer(o, storage)
	var config atomic.Pointer[certmagic.Config] // the cache wants to know how to reach what is made with it
	m.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert:   func(certmagic.Certificate) (*certmagic.Config, error) { return config.Load(), nil },
		RenewCheckInterval: o.CheckEvery, Logger: zapped,
	})
	m.config = certmagic.New(m.cache, certmagic.Config{
		Storage: storage, Issuers: []certmagic.Issuer{m.issuer}, RenewalWindowRatio: o.RenewAt, Logger: zapped, OnEvent: m.heard,
		KeySource: certmagic.StandardKeyGenerator{KeyType: certmagic.P256},
		// Staples would be asked for past the client that is given; authorities with
		// short-lived certificates no longer have responders.
		OCSP: certmagic.OCSPConfig{DisableStapling: true},
	})
	config.Store(m.config)
	return m, nil
}

// writable makes sure that certificates can be kept before one is got.
func writable(folder string) error {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	probe, err := os.CreateTemp(folder, ".probe-*")
	if err != nil {
		return err
	}
	return errors.Join(probe.Close(), os.Remove(probe.Name()))
}

// Close ends what Manage started. The certificates stay in the folder.
func (m *Manager) Close() {
	m.Manage(nil)
	m.cache.Stop()
}

// Manage says which hosts certificates are got for. Those that are kept in the folder
// are there when it returns; others come later, and failures are in the Status.
func (m *Manager) Manage(hosts []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	was, is := *m.hosts.Load(), map[string]*host{}
	var begun []string
	for _, name := range hosts {
		name = strings.ToLower(name)
		if known := was[name]; known != nil {
			is[name] = known
		} else if is[name] == nil {
			is[name] = &host{}
			begun = append(begun, name)
		}
	}
	m.hosts.Store(&is)
	var gone []certmagic.SubjectIssuer
	for name, h := range was {
		if is[name] == nil {
			h.stop()
			gone = append(gone, certmagic.SubjectIssuer{Subject: name})
		}
	}
	m.cache.RemoveManaged(gone)
	for _, name := range begun {
		m.begin(name, is[name])
	}
}

// begin loads the certificate of a host, or has one got.
func (m *Manager) begin(name string, h *host) {
	ctx, cancel := context.WithCancel(context.Background())
	h.stop = cancel
	_, err := m.config.CacheManagedCertificate(ctx, name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		m.log.Info("getting a certificate", "host", name)
		err = m.config.ManageAsync(ctx, []string{name})
	case err == nil: // which the periodic look might find due too late
		go func() { _ = m.cache.RenewManagedCertificates(ctx) }()
	}
	if err != nil {
		h.fail("the certificate in the folder cannot be used: " + err.Error())
		m.log.Error("the certificate in the folder cannot be used", "host", name, "error", err.Error())
	}
}

func (h *host) fail(why string) { h.failed.Store(&why) }

// heard follows what certmagic does.
func (m *Manager) heard(_ context.Context, event string, data map[string]any) error {
	name, _ := data["identifier"].(string)
	h := (*m.hosts.Load())[name]
	if h == nil {
		return nil
	}
	switch event {
	case "cert_obtained":
		h.failed.Store(nil)
		m.log.Info("got a certificate", "host", name, "renewal", data["renewal"])
	case "cert_failed":
		if err, _ := data["error"].(error); err != nil && !errors.Is(err, context.Canceled) {
			h.fail(err.Error())
			m.log.Error("no certificate could be got; it is tried again", "host", name, "renewal", data["renewal"], "error", err.Error())
		}
	}
	return nil
}

// Status returns what is known of every host, in order.
func (m *Manager) Status() []Status {
	all := []Status{}
	hosts := *m.hosts.Load()
	for _, name := range slices.Sorted(maps.Keys(hosts)) {
		s := Status{Host: name}
		if c := m.newest(name); c != nil {
			s.NotAfter = c.Leaf.NotAfter
		}
		if why := hosts[name].failed.Load(); why != nil {
			s.Error = *why
		}
		all = append(all, s)
	}
	return all
}

// newest is the certificate of a host that lasts longest; nil for none.
func (m *Manager) newest(name string) *tls.Certificate {
	var best *tls.Certificate
	for _, c := range m.cache.AllMatchingCertificates(name) {
		if best == nil || c.Leaf.NotAfter.After(best.Leaf.NotAfter) {
			best = &c.Certificate
		}
	}
	return best
}

// warnEvery is how often handshakes for a host without certificate are logged.
const warnEvery = 60

// Certificates returns what a listener for hosts gives crypto/tls as GetCertificate. It
// returns nil for a name that is not among the hosts, and for one that there is no
// certificate of yet: then the tls.Config's Certificates are looked at, and without
// them the handshake fails.
func (m *Manager) Certificates(hosts []string) func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	served := map[string]bool{}
	for _, name := range hosts {
		served[strings.ToLower(name)] = true
	}
	return func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		name := strings.ToLower(hello.ServerName)
		if !served[name] {
			return nil, nil
		}
		c := m.newest(name)
		if c == nil {
			m.missed(name)
		}
		return c, nil
	}
}

// missed logs that a client was sent away.
func (m *Manager) missed(name string) {
	h := (*m.hosts.Load())[name]
	if h == nil {
		return
	}
	now, last := time.Now().Unix(), h.warned.Load()
	if now-last < warnEvery || !h.warned.CompareAndSwap(last, now) {
		return
	}
	why := "it has not come yet"
	if failed := h.failed.Load(); failed != nil {
		why = *failed
	}
	m.log.Warn("a client asked for a host that there is no certificate of yet", "host", name, "why", why)
}
