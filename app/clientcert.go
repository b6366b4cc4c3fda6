package app

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"os"

	"github.com/gatewarden/gatewarden/config"
	"github.com/gatewarden/gatewarden/edge"
)

// clientAuth maps client_auth to what the handshake does. With request and require
// the edge verifies, so that rules which need no certificate work without a good one.
var clientAuth = map[string]tls.ClientAuthType{
	"none": tls.NoClientCert, "request": tls.RequestClientCert, "require": tls.RequireAnyClientCert, "verify": tls.RequireAndVerifyClientCert,
}

// clientAuthorities are those that certificates of clients must come from; nil for
// none: the system's authorities vouch for servers.
func clientAuthorities(t config.TLS) (*x509.CertPool, error) {
	if !t.ClientCA.Set() {
		return nil, nil
	}
	data, err := base64.StdEncoding.DecodeString(t.ClientCA.Base64)
	if err != nil {
		return nil, fmt.Errorf("base64: %w", err)
	}
	if t.ClientCA.Path != "" {
		if data, err = os.ReadFile(t.ClientCA.Path); err != nil {
			return nil, err
		}
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, errors.New("holds no certificate")
	}
	return pool, nil
}

// clientCertificates says whose certificates of clients an edge believes.
func (a *App) clientCertificates(name string, trust config.Trust) (edge.Certificates, error) {
	listener := a.cfg.Serve.API.Listener
	switch name {
	case "proxy":
		listener = a.cfg.Serve.Proxy.Listener
	case "public":
		listener = a.cfg.Serve.Public.Listener
	}
	authorities, err := clientAuthorities(listener.TLS)
	c := edge.Certificates{Authorities: authorities, Now: a.now}
	if trust.ClientCertHeader != "none" {
		c.Field = trust.ClientCertHeader
	}
	return c, err
}
