package app

import (
	"crypto/tls"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/gatewarden/gatewarden/config"
)

func TestStrangersReachPublicAddressesOnly(t *testing.T) {
	for address, want := range map[string]bool{
		"1.1.1.1": true, "93.184.216.34": true, "2606:4700::1111": true, "2a00:1450:4001::200e": true,
		// This machine and its networks.
		"127.0.0.1": false, "127.8.8.8": false, "::1": false, "0.0.0.0": false, "0.1.2.3": false, "::": false,
		"10.0.0.1": false, "172.16.0.1": false, "172.31.255.255": false, "172.32.0.1": true, "192.168.1.1": false, "fc00::1": false, "fd12::1": false, "fec0::1": false,
		"169.254.1.1": false, "fe80::1": false, "fe80::1%eth0": false, "100.64.0.1": false, "100.127.255.255": false, "100.128.0.1": true,
		// Services of clouds, though some of their addresses are public.
		"169.254.169.254": false, "100.100.100.200": false, "168.63.129.16": false, "192.0.0.192": false, "fd00:ec2::254": false, "fd20:ce::254": false,
		// For documentation, benchmarks, many and later.
		"192.0.2.1": false, "198.51.100.1": false, "203.0.113.9": false, "198.18.0.1": false, "192.88.99.1": false, "224.0.0.1": false, "240.0.0.1": false, "255.255.255.255": false,
		"2001:db8::1": false, "3fff::1": false, "ff02::1": false, "2001::1": false, "2001:20::1": false, "4000::1": false, "100::1": false,
		// IPv4 in other clothes.
		"::ffff:127.0.0.1": false, "::ffff:10.0.0.1": false, "::ffff:1.1.1.1": true, "::127.0.0.1": false, "::1.1.1.1": false,
		"64:ff9b::127.0.0.1": false, "64:ff9b::10.0.0.1": false, "64:ff9b::169.254.169.254": false, "64:ff9b::1.1.1.1": true, "64:ff9b:1::1.1.1.1": false,
		"2002:7f00:1::1": false, "2002:a00:1::1": false, "2002:101:101::1": false,
	} {
		a := netip.MustParseAddr(address)
		if got := isPublic(a, nil); got != want {
			t.Errorf("%s: got %v", address, got)
		}
		if err := publicDialer(nil).Control("tcp", netip.AddrPortFrom(a, 443).String(), nil); (err == nil) != want {
			t.Errorf("dialling %s: %v", address, err)
		}
	}
	if err := publicDialer(nil).Control("tcp", "name:443", nil); err == nil {
		t.Error("a name was dialled")
	}
	everywhere := []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("fd00::/8")}
	for address, want := range map[string]bool{
		"10.1.2.3": true, "::ffff:10.1.2.3": true, "64:ff9b::10.1.2.3": true, "fd12::1": true, "10.2.0.1": false, "169.254.169.254": false, "fd00:ec2::254": false,
	} {
		if got := isPublic(netip.MustParseAddr(address), everywhere); got != want {
			t.Errorf("%s with networks that are allowed: got %v", address, got)
		}
	}
}

// stranger is an https server of this machine, and a configuration that trusts it.
func stranger(t *testing.T, h http.HandlerFunc) (*httptest.Server, config.ClientsHTTP) {
	t.Helper()
	s := httptest.NewTLSServer(h)
	t.Cleanup(s.Close)
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return s, config.ClientsHTTP{CAFile: file}
}

func TestAStrangersNameCannotLeadBackToThisMachine(t *testing.T) {
	var asked atomic.Int32
	s, c := stranger(t, func(http.ResponseWriter, *http.Request) { asked.Add(1) })
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	// A proxy of the environment would connect where this program must not.
	for _, name := range []string{"HTTPS_PROXY", "https_proxy", "ALL_PROXY"} {
		t.Setenv(name, s.URL)
	}
	client, err := strangers(c)
	if err != nil {
		t.Fatal(err)
	}
	// localhost is a name like any other: what it resolves to is judged when it is dialled.
	for _, host := range []string{"127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "127.1", "2130706433"} {
		if res, err := client.Get("https://" + host + ":" + port + "/"); err == nil {
			res.Body.Close()
			t.Errorf("%s answered %d", host, res.StatusCode)
		}
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("this machine was asked %d times", n)
	}
}

func TestStrangersAreAskedByHTTPSWithoutLeavingTheirHostAndWithinBounds(t *testing.T) {
	plain := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("asked without TLS") }))
	defer plain.Close()
	other, _ := stranger(t, func(http.ResponseWriter, *http.Request) { t.Error("another host was asked") })
	s, c := stranger(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/stay":
			http.Redirect(w, r, "/here", http.StatusFound)
		case "/leave":
			http.Redirect(w, r, other.URL, http.StatusFound)
		case "/drop":
			http.Redirect(w, r, plain.URL, http.StatusFound)
		case "/long":
			_, _ = io.Copy(w, strings.NewReader(strings.Repeat("x", maxStrangeAnswer+1)))
		}
	})
	c.AllowedNetworks = []config.Peer{{Network: netip.MustParsePrefix("127.0.0.0/8")}}
	client, err := strangers(c)
	if err != nil {
		t.Fatal(err)
	}
	get := func(url string) error {
		res, err := client.Get(url)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		_, err = io.ReadAll(res.Body)
		return err
	}
	for path, want := range map[string]string{"/": "", "/stay": "", "/leave": "another host", "/drop": "not https", "/long": "too large"} {
		if err := get(s.URL + path); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", path, err, want)
		}
	}
	if err := get(plain.URL); err == nil {
		t.Error("http was asked")
	}
	untrusting, err := strangers(config.ClientsHTTP{AllowedNetworks: c.AllowedNetworks})
	if err != nil {
		t.Fatal(err)
	}
	client = untrusting
	var unknown *tls.CertificateVerificationError
	if err := get(s.URL); err == nil || !errors.As(err, &unknown) {
		t.Errorf("a certificate of nobody: %v", err)
	}
	if _, err := strangers(config.ClientsHTTP{CAFile: "/does/not/exist"}); err == nil || !strings.Contains(err.Error(), "clients.http.ca_file") {
		t.Errorf("a file that is missing: %v", err)
	}
}
