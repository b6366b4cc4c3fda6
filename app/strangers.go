package app

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"github.com/gatewarden/gatewarden/config"
)

// maxStrangeAnswer is how much of an answer of a stranger is read, in bytes. There may be
// many, and what they answer is kept.
const maxStrangeAnswer = 64 << 10

// strangers is the client for addresses that strangers chose: of clients that registered
// themselves and of metadata documents. They get one short https request to a public
// address, never by a proxy, whose guard would be another.
func strangers(c config.ClientsHTTP) (*http.Client, error) {
	roots, err := authorities(c.CAFile)
	if err != nil {
		return nil, fmt.Errorf("clients.http.ca_file: %w", err)
	}
	var allowed []netip.Prefix
	for _, p := range c.AllowedNetworks {
		allowed = append(allowed, p.Network)
	}
	return &http.Client{Timeout: 10 * time.Second, Transport: publicHTTPS{&http.Transport{
		DialContext:         publicDialer(allowed).DialContext,
		TLSClientConfig:     &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout: 5 * time.Second, ResponseHeaderTimeout: 5 * time.Second, MaxResponseHeaderBytes: 32 << 10,
		MaxConnsPerHost: 4, MaxIdleConns: 64, IdleConnTimeout: 30 * time.Second, ForceAttemptHTTP2: true,
	}}}, nil
}

// publicHTTPS lets https through and redirects within a host, and bounds answers.
type publicHTTPS struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper. Redirects are judged here, because some users
// of a client bring a policy of their own.
func (p publicHTTPS) RoundTrip(r *http.Request) (*http.Response, error) {
	switch {
	case r.URL.Scheme != "https":
		return nil, errors.New("not https")
	case r.Response != nil && (r.Response.Request == nil || r.Response.Request.URL.Host != r.URL.Host):
		return nil, errors.New("a redirect to another host")
	}
	res, err := p.next.RoundTrip(r)
	if err == nil {
		res.Body = http.MaxBytesReader(nil, res.Body, maxStrangeAnswer)
	}
	return res, err
}

// publicDialer connects to public addresses and those of the allowed networks. It is
// shown the address that is dialled, after names were resolved, so that no name can mean
// one address when it is judged and another when it is asked.
func publicDialer(allowed []netip.Prefix) *net.Dialer {
	return &net.Dialer{Timeout: 5 * time.Second, Control: func(_, address string, _ syscall.RawConn) error {
		ap, err := netip.ParseAddrPort(address)
		if err != nil {
			return fmt.Errorf("dial %q: not an address", address)
		}
		if !isPublic(ap.Addr(), allowed) {
			return fmt.Errorf("dial %s: not a public address", ap.Addr())
		}
		return nil
	}}
}

// private are the ranges that are not for everybody, of IANA's registries of addresses
// for special purposes (RFC 6890). In IPv6 only 2000::/3 is handed out.
var private = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("127.0.0.0/8"),
	netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("192.0.0.0/24"), netip.MustParsePrefix("192.0.2.0/24"),
	netip.MustParsePrefix("192.88.99.0/24"), netip.MustParsePrefix("192.168.0.0/16"), netip.MustParsePrefix("198.18.0.0/15"), netip.MustParsePrefix("198.51.100.0/24"),
	netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("224.0.0.0/4"), netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("2001::/23"), netip.MustParsePrefix("2001:db8::/32"), netip.MustParsePrefix("2002::/16"), netip.MustParsePrefix("3fff::/20"),
}

var (
	handedOut = netip.MustParsePrefix("2000::/3")
	// translated stand for IPv4 addresses where there is IPv6 alone (RFC 6052).
	translated = netip.MustParsePrefix("64:ff9b::/96")
)

// isPublic reports whether strangers may send the program to an address. No network
// allows metadata services.
func isPublic(a netip.Addr, allowed []netip.Prefix) bool {
	a = a.Unmap().WithZone("")
	in := func(p netip.Prefix) bool { return p.Contains(a) }
	switch {
	case isMetadata(a):
		return false
	case slices.ContainsFunc(allowed, in):
		return true
	case translated.Contains(a):
		b := a.As16()
		return isPublic(netip.AddrFrom4([4]byte(b[12:])), allowed)
	case slices.ContainsFunc(private, in):
		return false
	}
	return a.Is4() || handedOut.Contains(a)
}
