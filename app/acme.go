package app

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"time"

	"github.com/gatewarden/gatewarden/acme"
	"github.com/gatewarden/gatewarden/config"
	"github.com/gatewarden/gatewarden/telemetry"
)

// openACME makes the manager of certificates when the operator agreed to the terms of a
// directory. Hosts may come with a reload, so it is made without any, too.
func (a *App) openACME(context.Context) error {
	c := a.cfg.ACME
	if !c.AcceptTerms {
		return nil
	}
	roots, err := authorities(c.CAFile)
	if err != nil {
		return fmt.Errorf("acme.ca_file: %w", err)
	}
	client := outbound()
	transport := client.Transport.(*http.Transport)
	transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}
	// Directories are asked seldom and take their time.
	transport.ResponseHeaderTimeout, client.Timeout = 30*time.Second, time.Minute
	a.acme, err = acme.New(acme.Options{
		Directory: c.Directory, Storage: c.Storage, Email: c.Email, KeyID: c.EAB.KeyID, HMACKey: c.EAB.HMACKey, HTTP01: c.HTTP.Port >= 0,
		HTTP: client, Log: a.log,
	})
	if err != nil {
		return fmt.Errorf("acme.storage: %w", err)
	}
	return nil
}

// manage says which hosts certificates are got for: those of the listeners that are open.
func (a *App) manage(cfg *config.Config) {
	if a.acme == nil {
		return
	}
	var hosts []string
	for _, l := range a.listeners {
		hosts = append(hosts, tlsOf(cfg, l.name).ACME.Hosts...)
	}
	a.acme.Manage(hosts)
}

// watchCertificates makes the ends of certificates metrics.
func (a *App) watchCertificates(context.Context) error {
	a.manage(a.cfg)
	a.watchCredentials()
	a.metrics.WatchCertificates(func() []telemetry.Certificate {
		ends := map[string]time.Time{}
		if a.acme != nil {
			for _, s := range a.acme.Status() {
				ends[s.Host] = s.NotAfter
			}
		}
		var all []telemetry.Certificate
		for _, l := range a.listeners {
			if l.tls == nil {
				continue
			}
			current := l.tls.current.Load()
			for _, c := range current.Certificates {
				all = append(all, telemetry.Certificate{Listener: l.name, Name: nameOf(c.Leaf), NotAfter: c.Leaf.NotAfter})
			}
			for _, host := range current.managed {
				all = append(all, telemetry.Certificate{Listener: l.name, Name: host, NotAfter: ends[host]})
			}
		}
		return all
	})
	return nil
}
