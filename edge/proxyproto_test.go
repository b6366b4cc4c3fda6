package edge

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"
)

// header2 is a header of version 2.
func header2(t testing.TB, command byte, family byte, source, destination net.Addr) string {
	t.Helper()
	h := proxyproto.Header{Version: 2, Command: proxyproto.ProtocolVersionAndCommand(command),
		TransportProtocol: proxyproto.AddressFamilyAndProtocol(family), SourceAddr: source, DestinationAddr: destination}
	data, err := h.Format()
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// remoteOf sends data to a listener and returns the peer that a handler saw; empty when
// the connection was closed without an answer, the status line when it was refused.
func remoteOf(t testing.TB, addr, data string) string {
	t.Helper()
	c := dial(t, addr, data+"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	answer, _ := io.ReadAll(c) // a reset is a close, too
	_, body, _ := strings.Cut(string(answer), "\r\n\r\n")
	if !strings.HasPrefix(string(answer), "HTTP/1.1 200") {
		line, _, _ := strings.Cut(string(answer), "\r\n")
		return line
	}
	return body
}

var remote = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	_, _ = io.WriteString(w, host)
})

func TestHeadersOfTrustedPeersAloneAnnounceAnother(t *testing.T) {
	client, gate := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 7}, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 2), Port: 80}
	client6, gate6 := &net.TCPAddr{IP: net.ParseIP("2001:db8::1"), Port: 7}, &net.TCPAddr{IP: net.ParseIP("2001:db8::2"), Port: 80}
	socket := func(name string) net.Addr { return &net.UnixAddr{Name: name, Net: "unix"} }
	const malformed = "HTTP/1.1 400 Bad Request"
	type want struct{ trusted, required, untrusted string }
	for name, c := range map[string]struct {
		send string
		want want
	}{
		"no header":                          {"", want{"127.0.0.1", "", "127.0.0.1"}},
		"version 1":                          {"PROXY TCP4 192.0.2.1 192.0.2.2 7 80\r\n", want{"192.0.2.1", "192.0.2.1", malformed}},
		"version 1, IPv6":                    {"PROXY TCP6 2001:db8::1 2001:db8::2 7 80\r\n", want{"2001:db8::1", "2001:db8::1", malformed}},
		"version 1, unknown":                 {"PROXY UNKNOWN\r\n", want{"unknown", "unknown", malformed}},
		"version 2":                          {header2(t, 0x21, 0x11, client, gate), want{"192.0.2.1", "192.0.2.1", malformed}},
		"version 2, IPv6":                    {header2(t, 0x21, 0x21, client6, gate6), want{"2001:db8::1", "2001:db8::1", malformed}},
		"version 2, local":                   {header2(t, 0x20, 0x00, nil, nil), want{"127.0.0.1", "127.0.0.1", malformed}},
		"version 2, a socket":                {header2(t, 0x21, 0x31, socket("@"), socket("/a")), want{"unknown", "unknown", malformed}},
		"version 2, a socket's name":         {header2(t, 0x21, 0x31, socket("127.0.0.1:80"), socket("/a")), want{"unknown", "unknown", malformed}},
		"version 2, nobody":                  {"\r\n\r\n\x00\r\nQUIT\n\x21\x00\x00\x00", want{"", "", malformed}},
		"version 2, too long":                {"\r\n\r\n\x00\r\nQUIT\n\x21\x11\xff\xff" + strings.Repeat("x", 0xffff), want{"", "", malformed}},
		"version 2, cut":                     {"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x04xxxx", want{"", "", malformed}},
		"version 3":                          {"\r\n\r\n\x00\r\nQUIT\n\x31\x11\x00\x00", want{"", "", malformed}},
		"version 1, no address":              {"PROXY TCP4 a b 7 80\r\n", want{"", "", malformed}},
		"version 1, another's family":        {"PROXY TCP4 2001:db8::1 2001:db8::2 7 80\r\n", want{"", "", malformed}},
		"version 1, no end":                  {"PROXY TCP4 " + strings.Repeat("1", 200) + "\r\n", want{"", "", malformed}},
		"version 1, a line feed alone":       {"PROXY TCP4 192.0.2.1 192.0.2.2 7 80\n", want{"", "", malformed}},
		"two headers":                        {"PROXY TCP4 192.0.2.1 192.0.2.2 7 80\r\nPROXY TCP4 192.0.2.3 192.0.2.2 7 80\r\n", want{malformed, malformed, malformed}},
		"version 1, lower case is no header": {"proxy tcp4 192.0.2.1 192.0.2.2 7 80\r\n", want{malformed, "", malformed}},
	} {
		t.Run(name, func(t *testing.T) {
			var got want
			for into, p := range map[*string]ProxyProtocol{
				&got.trusted:   {Trusted: trusted(t, "127.0.0.1")},
				&got.required:  {Trusted: trusted(t, "127.0.0.1"), Required: true},
				&got.untrusted: {Trusted: trusted(t, "10.0.0.0/8", "unix")},
			} {
				_, addr := listen(t, ServerOptions{Handler: remote, ProxyProtocol: p})
				*into = remoteOf(t, addr, c.send)
			}
			got.untrusted = strings.Split(got.untrusted, ":")[0]
			if got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
			_, addr := listen(t, ServerOptions{Handler: remote, ProxyProtocol: ProxyProtocol{Trusted: trusted(t, "10.0.0.0/8"), Required: true}})
			if got := remoteOf(t, addr, c.send); got != "" {
				t.Errorf("untrusted and required: got %q, want the connection closed", got)
			}
		})
	}
}

func TestTheAnnouncedPeerIsWhomTrustIsAskedOf(t *testing.T) {
	g := gate(t, Options{Trusted: trusted(t, "127.0.0.1", "unix")})
	_, addr := listen(t, ServerOptions{ProxyProtocol: ProxyProtocol{Trusted: trusted(t, "127.0.0.1")}, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.Serve(w, r, func(x *Exchange) { _, _ = io.WriteString(x.W, x.Request.Client.String()) })
	})})
	for header, want := range map[string]string{
		"": "198.51.100.1", "PROXY TCP4 192.0.2.1 192.0.2.2 7 80\r\n": "192.0.2.1", "PROXY UNKNOWN\r\n": "invalid IP",
		header2(t, 0x21, 0x31, &net.UnixAddr{Name: "@", Net: "unix"}, &net.UnixAddr{Name: "/a", Net: "unix"}): "invalid IP",
	} {
		c := dial(t, addr, header+"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 198.51.100.1\r\nConnection: close\r\n\r\n")
		answer, _ := io.ReadAll(c)
		if !strings.HasSuffix(string(answer), "\r\n\r\n"+want) {
			t.Errorf("%q: got %q, want %s", header, answer, want)
		}
	}
}

func TestAHeaderThatDoesNotComeIsNotWaitedFor(t *testing.T) {
	for _, sent := range []string{"", "P", "PROXY TCP4 1", "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c"} {
		_, addr := listen(t, ServerOptions{Handler: remote, ReadHeaderTimeout: 20 * time.Millisecond,
			ProxyProtocol: ProxyProtocol{Trusted: trusted(t, "127.0.0.1"), Required: true}})
		if answer, _ := io.ReadAll(dial(t, addr, sent)); bytes.Contains(answer, []byte("200")) {
			t.Errorf("%q: got %q", sent, answer)
		}
	}
}

func TestTLSBeginsAfterTheHeader(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	_, addr := listen(t, ServerOptions{Handler: remote, ProxyProtocol: ProxyProtocol{Trusted: trusted(t, "127.0.0.1"), Required: true},
		TLS: &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}})
	c := tls.Client(dial(t, addr, "PROXY TCP4 192.0.2.1 192.0.2.2 7 80\r\n"), &tls.Config{InsecureSkipVerify: true})
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	if answer, err := io.ReadAll(c); !strings.HasSuffix(string(answer), "\r\n\r\n192.0.2.1") {
		t.Errorf("got %q, %v", answer, err)
	}
}

// sent is a connection that brings what a peer sent.
type sent struct {
	net.Conn
	*bytes.Reader
}

func (s sent) Read(p []byte) (int, error)    { return s.Reader.Read(p) }
func (sent) RemoteAddr() net.Addr            { return &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 1} }
func (sent) SetReadDeadline(time.Time) error { return nil }

func FuzzProxyProtocol(f *testing.F) {
	f.Add([]byte("PROXY TCP4 192.0.2.1 192.0.2.2 7 80\r\nGET"))
	f.Add([]byte("PROXY UNKNOWN\r\n"))
	f.Add([]byte("\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0cabcdefghijklGET"))
	f.Add([]byte("\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00GET"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c := announced{proxyproto.NewConn(sent{Reader: bytes.NewReader(data)}, proxyproto.SetReadHeaderTimeout(time.Second))}
		peer := c.RemoteAddr()
		rest, err := io.ReadAll(struct{ io.Reader }{c})
		if !bytes.HasSuffix(data, rest) {
			t.Errorf("%q is not the end of %q", rest, data)
		}
		if len(rest) < len(data) && err == nil && !bytes.HasPrefix(data, proxyproto.SIGV1) && !bytes.HasPrefix(data, proxyproto.SIGV2) {
			t.Errorf("%q of %q was lost", data[:len(data)-len(rest)], data)
		}
		switch p := peer.(type) {
		case nowhere:
		case *net.TCPAddr:
			if Addr(p.String()).IsValid() {
				return
			}
			t.Errorf("peer %v", p)
		default:
			t.Errorf("peer %T %v", peer, peer)
		}
	})
}
