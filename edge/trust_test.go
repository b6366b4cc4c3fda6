package edge

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"github.com/gatewarden/gatewarden/access"
	"github.com/google/go-cmp/cmp"
)

func trusted(t testing.TB, cidrs ...string) Trusted {
	t.Helper()
	set, err := ParseTrusted(cidrs, false)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func TestOnlyATrustedPeersForwardingFieldsAreRead(t *testing.T) {
	for name, c := range map[string]struct {
		remote string
		header http.Header
		want   access.Request
		chain  string
	}{
		"untrusted peer": {
			"192.0.2.9:1", http.Header{"X-Forwarded-For": {"198.51.100.1"}, "X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"evil"}, "Forwarded": {"for=1.2.3.4;host=evil"}},
			access.Request{Client: netip.MustParseAddr("192.0.2.9"), ID: "http://gw"}, "192.0.2.9",
		},
		"trusted peer": {
			"10.0.0.1:1", http.Header{"X-Forwarded-For": {"198.51.100.1"}, "X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"Example.com:443"}},
			access.Request{Client: netip.MustParseAddr("198.51.100.1"), ID: "https://example.com"}, "198.51.100.1, 10.0.0.1",
		},
		"the left end is the client's to write": {
			"10.0.0.1:1", http.Header{"X-Forwarded-For": {"127.0.0.1, 198.51.100.1", "10.0.0.7"}, "X-Forwarded-Proto": {"https, http"}, "X-Forwarded-Host": {"evil, gw"}},
			access.Request{Client: netip.MustParseAddr("198.51.100.1"), ID: "http://gw"}, "198.51.100.1, 10.0.0.7, 10.0.0.1",
		},
		"an entry that is no address ends the walk": {
			"10.0.0.1:1", http.Header{"X-Forwarded-For": {"198.51.100.1, unknown, 10.0.0.7"}},
			access.Request{Client: netip.MustParseAddr("10.0.0.7"), ID: "http://gw"}, "10.0.0.7, 10.0.0.1",
		},
		"RFC 7239": {
			"10.0.0.1:1", http.Header{"Forwarded": {`for=evil;host=evil, for="[2001:db8::1]:80";proto=https;host="a.example"`, "for=10.0.0.7;proto=http;host=b.example"}},
			access.Request{Client: netip.MustParseAddr("2001:db8::1"), ID: "https://a.example"}, "2001:db8::1, 10.0.0.7, 10.0.0.1",
		},
		"X-Forwarded-For silences Forwarded": {
			"10.0.0.1:1", http.Header{"X-Forwarded-For": {"198.51.100.1"}, "Forwarded": {"for=1.2.3.4;host=evil;proto=https"}},
			access.Request{Client: netip.MustParseAddr("198.51.100.1"), ID: "http://gw"}, "198.51.100.1, 10.0.0.1",
		},
		"IPv4 in IPv6": {
			"[::ffff:10.0.0.1]:1", http.Header{"X-Forwarded-For": {"::ffff:198.51.100.1"}},
			access.Request{Client: netip.MustParseAddr("198.51.100.1"), ID: "http://gw"}, "198.51.100.1, 10.0.0.1",
		},
		"an untrusted hop behind a trusted one ends the walk": {
			"10.0.0.1:1", http.Header{"X-Forwarded-For": {"203.0.113.1, 198.51.100.1, 10.0.0.7"}},
			access.Request{Client: netip.MustParseAddr("198.51.100.1"), ID: "http://gw"}, "198.51.100.1, 10.0.0.7, 10.0.0.1",
		},
		"Unix socket": {"@", http.Header{"X-Forwarded-For": {"198.51.100.1"}}, access.Request{ID: "http://gw"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var got access.Request
			g, err := NewGate(Options{Trusted: trusted(t, "10.0.0.0/8"), Decider: decide(func(r *access.Request) access.Decision {
				got = *r
				return access.Decision{}
			})})
			if err != nil {
				t.Fatal(err)
			}
			r := httptest.NewRequest("GET", "http://gw/", nil)
			r.Host, r.RemoteAddr, r.Header = "gw", c.remote, c.header
			r.URL.Scheme, r.URL.Host = "", ""
			g.Serve(httptest.NewRecorder(), r, nil)
			if got.Client != c.want.Client || got.URL.Scheme+"://"+got.URL.Host != c.want.ID {
				t.Errorf("got %v %s://%s, want %v %s", got.Client, got.URL.Scheme, got.URL.Host, c.want.Client, c.want.ID)
			}
			got.Header.Del(RequestID)
			want := http.Header{"X-Forwarded-Host": {got.URL.Host}, "X-Forwarded-Proto": {got.URL.Scheme}}
			if c.chain != "" {
				want.Set("X-Forwarded-For", c.chain)
			}
			if diff := cmp.Diff(want, got.Header); diff != "" {
				t.Errorf("what goes upstream (-want +got): %s", diff)
			}
		})
	}
}

func TestForwardingFieldsNeverReachARuleOrUpstreamAsSent(t *testing.T) {
	fields := []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port", "X-Forwarded-Prefix", "X-Forwarded-Method",
		"X-Forwarded-Uri", "X-Forwarded-User", "X-Forwarded-Email", "X-Forwarded-Groups", "X-Forwarded-Access-Token", "X-Forwarded-Client-Cert", "X-Forwarded-Scheme", "X-Forwarded-Ssl",
		"X-Forwarded-Server", "X-Real-Ip", "X-Original-Url", "X-Original-Uri", "X-Original-Method", "X-Original-Host", "X-Rewrite-Url", "X-Decision-Id", "Proxy",
		"X_forwarded_for", "X_Real_Ip", "X-Original_Url", "X.Forwarded.Proto", "X-Forwarded_User"}
	for _, peer := range []string{"192.0.2.1:1", "10.0.0.1:1"} {
		for _, name := range fields {
			var got http.Header
			g, _ := NewGate(Options{Trusted: trusted(t, "10.0.0.0/8"), Decider: decide(func(r *access.Request) access.Decision {
				got = r.Header
				return access.Decision{}
			})})
			r := httptest.NewRequest("GET", "/", nil)
			r.RemoteAddr, r.Header = peer, http.Header{name: {"sent"}}
			g.Serve(httptest.NewRecorder(), r, nil)
			keep := peer == "10.0.0.1:1" && (name == "X-Forwarded-Port" || name == "X-Forwarded-Prefix")
			found := false
			for _, vv := range got {
				for _, v := range vv {
					found = found || v == "sent"
				}
			}
			// X-Forwarded-Host of a trusted peer is the host now.
			if name == "X-Forwarded-Host" && peer == "10.0.0.1:1" {
				keep = true
			}
			if found != keep {
				t.Errorf("%s from %s: reached the rules: %t, want %t", name, peer, found, keep)
			}
		}
	}
}

func TestARangeOfEverybodyIsNotTrusted(t *testing.T) {
	for _, s := range []string{"0.0.0.0/0", "::/0", "x", "10.0.0.0/33", ""} {
		if set, err := ParseTrusted([]string{s}, false); err == nil {
			t.Errorf("%q: got %v, want an error", s, set)
		}
	}
	set, err := ParseTrusted([]string{"0.0.0.0/0"}, true)
	if err != nil || !set.Contains(netip.MustParseAddr("1.2.3.4")) {
		t.Errorf("got %v, %v, want everybody trusted on demand", set, err)
	}
	if set, err = ParseTrusted([]string{"127.0.0.0/8", "10.0.0.0/8", "fc00::/7"}, false); err != nil || !set.Contains(netip.MustParseAddr("127.0.0.1")) || set.Contains(netip.MustParseAddr("8.8.8.8")) {
		t.Errorf("got %v, %v, want the private ranges", set, err)
	}
	if set := trusted(t, "192.0.2.1"); !set.Contains(netip.MustParseAddr("192.0.2.1")) || set.Contains(netip.MustParseAddr("192.0.2.2")) {
		t.Error("want a single address trusted")
	}
}

func TestUnixTrustsUnixSocketsOnly(t *testing.T) {
	set := trusted(t, "unix")
	for _, remote := range []string{"", "127.0.0.1:1", "unix", "/run/s", "@x"} {
		if set.Peer(remote) {
			t.Errorf("%q is trusted", remote)
		}
	}
	if set.Nobody() || !set.Peer(UnixPeer) || trusted(t, "127.0.0.1").Peer(UnixPeer) || set.Contains(netip.Addr{}) {
		t.Errorf("got %v", set)
	}
	for name, c := range map[string]struct {
		header http.Header
		want   Forwarded
	}{
		"X-Forwarded-For": {
			http.Header{"X-Forwarded-For": {"203.0.113.1, 198.51.100.1"}, "X-Forwarded-Proto": {"https"}},
			Forwarded{Trusted: true, Client: netip.MustParseAddr("198.51.100.1"), Scheme: "https", Host: "gw", chain: "198.51.100.1"},
		},
		"Forwarded": {
			http.Header{"Forwarded": {"for=203.0.113.1, for=198.51.100.1;host=a"}},
			Forwarded{Trusted: true, Client: netip.MustParseAddr("198.51.100.1"), Scheme: "http", Host: "a", chain: "198.51.100.1"},
		},
		"nothing": {http.Header{}, Forwarded{Trusted: true, Scheme: "http", Host: "gw"}},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Host, r.RemoteAddr, r.Header = "gw", UnixPeer, c.header
		if diff := cmp.Diff(c.want, set.resolve(r), cmp.AllowUnexported(Forwarded{}), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", name, diff)
		}
	}
}
