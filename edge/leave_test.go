package edge

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/gatewarden/gatewarden/internal/testca"
)

// TestAServerThatLeavesTellsClientsThatKeepConnections: an idle connection that is closed
// may take a request that is on its way with it, so clients hear of it before.
func TestAServerThatLeavesTellsClientsThatKeepConnections(t *testing.T) {
	authority := testca.New(t, "authority", time.Now())
	certificate := authority.Issue(t, func(c *x509.Certificate) {
		c.ExtKeyUsage, c.IPAddresses = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, []net.IP{net.IPv4(127, 0, 0, 1)}
	}).TLS()
	for name, o := range map[string]ServerOptions{
		"wire": {}, "standard": {Standard: true}, "TLS": {TLS: &tls.Config{Certificates: []tls.Certificate{certificate}}},
	} {
		t.Run(name, func(t *testing.T) {
			o.Farewell = 30 * time.Second
			o.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "here") })
			s, addr := listen(t, o)
			var conn net.Conn = dial(t, addr, "")
			if o.TLS != nil {
				conn = tls.Client(conn, &tls.Config{RootCAs: authority.Pool, ServerName: "127.0.0.1"})
			}
			r := bufio.NewReader(conn)
			request := func() (ends bool) {
				t.Helper()
				if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
					t.Fatal(err)
				}
				res, err := http.ReadResponse(r, nil)
				if err != nil {
					t.Fatal(err)
				}
				if body, err := io.ReadAll(res.Body); err != nil || string(body) != "here" {
					t.Fatalf("%q %v", body, err)
				}
				return res.Close
			}
			if request() {
				t.Fatal("a connection ends without a reason")
			}
			done := make(chan error, 1)
			go func() { done <- s.Shutdown(t.Context()) }()
			for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) { // until nothing new is accepted
				c, err := net.Dial("tcp", addr)
				if err != nil {
					break
				}
				_ = c.Close()
				if time.Now().After(end) {
					t.Fatal("still accepting")
				}
			}
			select {
			case err := <-done:
				t.Fatalf("it does not wait for the client: %v", err)
			default:
			}
			if !request() {
				t.Error("the answer does not say that the connection ends")
			}
			if _, err := r.ReadByte(); err != io.EOF {
				t.Errorf("after the last answer: %v", err)
			}
			_ = conn.Close()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}
