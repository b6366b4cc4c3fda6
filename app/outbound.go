package app

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
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
			Proxy: http.ProxyFromEnvironment,
		},
	}
}

// outboundDialer opens the connections of the program's own calls.
func outboundDialer() *net.Dialer {
	return &net.Dialer{Timeout: 5 * time.Second, Control: neverMetadata}
}

// metadata are the services of clouds that do not use link-local addresses.
var metadata = []netip.Addr{
	netip.MustParseAddr("100.100.100.200"), netip.MustParseAddr("168.63.129.16"),
	netip.MustParseAddr("192.0.0.192"), netip.MustParseAddr("fd00:ec2::254"),
}

// neverMetadata refuses link-local, multicast and unspecified addresses and those of
// metadata services. It sees the address that is dialled, whatever name it came from.
func neverMetadata(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("dial %q: not an address", address)
	}
	a := ap.Addr().Unmap().WithZone("")
	if a.IsLinkLocalUnicast() || a.IsMulticast() || a.IsUnspecified() || slices.Contains(metadata, a) {
		return fmt.Errorf("dial %s: the address is not one for keys or introspection", a)
	}
	return nil
}
