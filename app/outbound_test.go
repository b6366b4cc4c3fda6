package app

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

func TestTheProgramsOwnCallsNeverReachAMetadataService(t *testing.T) {
	for address, want := range map[string]bool{
		"127.0.0.1:80": true, "[::1]:80": true, "10.0.0.1:443": true, "192.0.2.1:443": true,
		"169.254.169.254:80": false, "[fe80::1%eth0]:80": false, "[::ffff:169.254.169.254]:80": false, "0.0.0.0:80": false, "[::]:80": false,
		"100.100.100.200:80": false, "[fd00:ec2::254]:80": false, "[ff02::1]:80": false, "name:80": false, "": false,
		"[fd00:ec2::23]:80": false, "[fd20:ce::254]:80": false, "[fd00:c1::a9fe:a9fe]:80": false, "[fd00:42::42]:80": false, "[fd00:1::1]:80": true,
		// The same service by way of a translator or a tunnel.
		"[64:ff9b::169.254.169.254]:80": false, "[64:ff9b:1::169.254.169.254]:80": false, "[2002:a9fe:a9fe::1]:80": false, "[::169.254.169.254]:80": false,
		"[64:ff9b::100.100.100.200]:80": false, "[64:ff9b::0.0.0.0]:80": false, "[64:ff9b::192.0.2.1]:80": true, "[2002:c000:201::1]:80": true, "[2001:db8::a9fe:a9fe]:80": true,
	} {
		if err := neverMetadata("tcp", address, nil); (err == nil) != want {
			t.Errorf("%s: %v", address, err)
		}
	}
	dial := outbound().Transport.(*http.Transport).DialContext // past any proxy of the environment
	if _, err := dial(t.Context(), "tcp", "169.254.169.254:80"); err == nil || !strings.Contains(err.Error(), "not one for keys") {
		t.Errorf("the metadata service: %v", err)
	}
	proxy := &url.URL{Scheme: "http", Host: "proxy.example:3128"}
	for target, want := range map[string]bool{
		"http://api.example/": true, "http://10.0.0.1/": true, "http://[2001:db8::1]/": true,
		"http://169.254.169.254/latest": false, "http://[::ffff:169.254.169.254]/": false, "http://[fd00:ec2::254]:80/": false, "http://100.100.100.200/": false,
	} {
		r := httptest.NewRequest(http.MethodGet, target, nil)
		got, err := guardedProxy(r, func(*http.Request) (*url.URL, error) { return proxy, nil })
		if (err == nil) != want || want != (got == proxy) {
			t.Errorf("%s by a proxy: %v, %v", target, got, err)
		}
		if got, err := guardedProxy(r, func(*http.Request) (*url.URL, error) { return nil, nil }); got != nil || err != nil {
			t.Errorf("%s without a proxy: %v, %v", target, got, err)
		}
	}
	local := httptest.NewServer(http.NotFoundHandler())
	defer local.Close()
	c, err := dial(t.Context(), "tcp", local.Listener.Addr().String())
	if err != nil {
		t.Fatalf("a server of this machine: %v", err)
	}
	_ = c.Close()
}
