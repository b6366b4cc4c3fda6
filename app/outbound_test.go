package app

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestTheProgramsOwnCallsNeverReachAMetadataService(t *testing.T) {
	for address, want := range map[string]bool{
		"127.0.0.1:80": true, "[::1]:80": true, "10.0.0.1:443": true, "192.0.2.1:443": true,
		"169.254.169.254:80": false, "[fe80::1%eth0]:80": false, "[::ffff:169.254.169.254]:80": false, "0.0.0.0:80": false, "[::]:80": false,
		"100.100.100.200:80": false, "[fd00:ec2::254]:80": false, "[ff02::1]:80": false, "name:80": false, "": false,
	} {
		if err := neverMetadata("tcp", address, nil); (err == nil) != want {
			t.Errorf("%s: %v", address, err)
		}
	}
	dial := outbound().Transport.(*http.Transport).DialContext // past any proxy of the environment
	if _, err := dial(t.Context(), "tcp", "169.254.169.254:80"); err == nil || !strings.Contains(err.Error(), "not one for keys") {
		t.Errorf("the metadata service: %v", err)
	}
	local := httptest.NewServer(http.NotFoundHandler())
	defer local.Close()
	c, err := dial(t.Context(), "tcp", local.Listener.Addr().String())
	if err != nil {
		t.Fatalf("a server of this machine: %v", err)
	}
	_ = c.Close()
}
