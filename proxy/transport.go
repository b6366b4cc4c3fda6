package proxy

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"syscall"
	"time"
)

// Transport says how upstreams are reached. Zero values are the defaults named.
type Transport struct {
	// DialTimeout bounds connecting, name resolution included; default 5 s.
	DialTimeout time.Duration
	// TLSHandshakeTimeout; default 5 s.
	TLSHandshakeTimeout time.Duration
	// ResponseHeaderTimeout bounds the wait for a response header after the request
	// was sent, for rules without a timeout; default 30 s. A body is never cut.
	ResponseHeaderTimeout time.Duration
	// IdleConnTimeout closes pooled connections; default 90 s.
	IdleConnTimeout time.Duration
	// MaxIdlePerHost bounds the pool of one upstream; default 256.
	MaxIdlePerHost int
	// MaxResponseHeaderBytes bounds a response header; default 256 KiB.
	MaxResponseHeaderBytes int64
	// Guard refuses addresses that URLs made from requests must not lead to, as
	// net.Dialer.Control does; nil: such URLs lead nowhere.
	Guard func(network, address string, c syscall.RawConn) error
	// Retried is told of every retry, for metrics; may be nil.
	Retried func(route, why string)
	// RootCAs verify https upstreams; nil: the system's.
	RootCAs *x509.CertPool
	// Standard sends every request through net/http's Transport. Else plain requests
	// to http upstreams take the synchronous client of package wire.
	Standard bool
}

func (t Transport) withDefaults() Transport {
	t.DialTimeout = or(t.DialTimeout, 5*time.Second)
	t.TLSHandshakeTimeout = or(t.TLSHandshakeTimeout, 5*time.Second)
	t.ResponseHeaderTimeout = or(t.ResponseHeaderTimeout, 30*time.Second)
	t.IdleConnTimeout = or(t.IdleConnTimeout, 90*time.Second)
	t.MaxIdlePerHost = or(t.MaxIdlePerHost, 256)
	t.MaxResponseHeaderBytes = or(t.MaxResponseHeaderBytes, 256<<10)
	return t
}

func or[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

// round returns the transport for http and https upstreams or, when h2c is set, for
// HTTP/2 without TLS. The response header timeout is the forwarder's.
func (t Transport) round(h2c bool) *http.Transport {
	var protocols http.Protocols
	if h2c {
		protocols.SetUnencryptedHTTP2(true)
	} else {
		protocols.SetHTTP1(true)
		protocols.SetHTTP2(true)
	}
	dialer := &net.Dialer{Timeout: t.DialTimeout, KeepAlive: 30 * time.Second}
	return &http.Transport{
		DialContext:            dialer.DialContext,
		Protocols:              &protocols,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: t.RootCAs},
		TLSHandshakeTimeout:    t.TLSHandshakeTimeout,
		IdleConnTimeout:        t.IdleConnTimeout,
		MaxIdleConns:           0,
		MaxIdleConnsPerHost:    t.MaxIdlePerHost,
		MaxResponseHeaderBytes: t.MaxResponseHeaderBytes,
		ExpectContinueTimeout:  time.Second,
		DisableCompression:     true, // what the upstream sent is what the client gets
		WriteBufferSize:        4 << 10,
		ReadBufferSize:         4 << 10,
	}
}
