package app

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"syscall"
	"time"
)

// outbound is the client for the program's own calls: keys, introspection, tokens.
// Their URLs come from rules too, so none of them reaches a cloud's metadata service.
func outbound() *http.Client {
	return &http.Client{
		Timeout: 10 * time.Second,
		Transport: &http.Transport{
			DialContext:         outboundDialer().DialContext,
			TLSHandshakeTimeout: 5 * time.Second, ResponseHeaderTimeout: 10 * time.Second,
			MaxIdleConnsPerHost: 64, IdleConnTimeout: 90 * time.Second, ForceAttemptHTTP2: true,
			Proxy: func(r *http.Request) (*url.URL, error) { return guardedProxy(r, http.ProxyFromEnvironment) },
		},
	}
}

// outboundDialer opens the connections of the program's own calls.
func outboundDialer() *net.Dialer {
	return &net.Dialer{Timeout: 5 * time.Second, Control: neverMetadata}
}

// guardedProxy returns the proxy of choose. The dialler sees the address of a proxy and
// not where that one connects to, so what a URL itself says is judged here; names are
// the proxy's to judge.
func guardedProxy(r *http.Request, choose func(*http.Request) (*url.URL, error)) (*url.URL, error) {
	proxy, err := choose(r)
	if proxy == nil || err != nil {
		return proxy, err
	}
	if a, err := netip.ParseAddr(r.URL.Hostname()); err == nil && isMetadata(a) {
		return nil, errMetadata(a)
	}
	return proxy, nil
}

// metadata are the services of clouds that do not use link-local addresses: of Alibaba,
// Azure, Oracle, Amazon, Google and Scaleway.
var metadata = []netip.Prefix{
	netip.MustParsePrefix("100.100.100.200/32"), netip.MustParsePrefix("168.63.129.16/32"), netip.MustParsePrefix("192.0.0.192/32"),
	netip.MustParsePrefix("fd00:c1::a9fe:a9fe/128"), netip.MustParsePrefix("fd00:ec2::/32"), netip.MustParsePrefix("fd20:ce::254/128"),
	netip.MustParsePrefix("fd00:42::42/128"),
}

// embedding are ranges of IPv6 whose addresses stand for an IPv4 one, and where in them
// it is: NAT64 (RFC 6052, RFC 8215), 6to4 (RFC 3056) and IPv4-compatible (RFC 4291).
var embedding = []struct {
	in netip.Prefix
	at int
}{
	{netip.MustParsePrefix("64:ff9b::/96"), 12}, {netip.MustParsePrefix("64:ff9b:1::/48"), 12},
	{netip.MustParsePrefix("2002::/16"), 2}, {netip.MustParsePrefix("::/96"), 12},
}

// neverMetadata refuses link-local, multicast and unspecified addresses and those of
// metadata services. It sees the address that is dialled, whatever name it came from.
func neverMetadata(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("dial %q: not an address", address)
	}
	if isMetadata(ap.Addr()) {
		return errMetadata(ap.Addr())
	}
	return nil
}

func errMetadata(a netip.Addr) error {
	return fmt.Errorf("dial %s: the address is not one for keys or introspection", a)
}

// isMetadata reports whether an address is one that no call is for.
func isMetadata(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	if a.IsLinkLocalUnicast() || a.IsMulticast() || a.IsUnspecified() || slices.ContainsFunc(metadata, func(p netip.Prefix) bool { return p.Contains(a) }) {
		return true
	}
	for _, e := range embedding {
		if e.in.Contains(a) && !a.IsLoopback() {
			b := a.As16()
			return isMetadata(netip.AddrFrom4([4]byte(b[e.at : e.at+4])))
		}
	}
	return false
}
