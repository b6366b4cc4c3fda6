package proxy

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"github.com/gatewarden/gatewarden/edge"
)

// reference is a bare, tuned ReverseProxy, to compare with.
func reference(b *testing.B, upstream string) string {
	u, _ := url.Parse(upstream)
	tr := Transport{}.withDefaults().round(false)
	s := httptest.NewServer(&httputil.ReverseProxy{Transport: tr, BufferPool: &newForwarder(Transport{}, Streams{}).buffers,
		Rewrite: func(pr *httputil.ProxyRequest) { pr.SetURL(u); pr.SetXForwarded() }})
	b.Cleanup(func() { s.Close(); tr.CloseIdleConnections() })
	return strings.TrimPrefix(s.URL, "http://")
}

func BenchmarkRoundTrip(b *testing.B) {
	up := backend(b, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") })
	request := []byte("GET /api/v1/users/1?x=y HTTP/1.1\r\nHost: example.com\r\nUser-Agent: bench\r\nAccept: */*\r\nAuthorization: Bearer abcdefghijklmnop\r\n\r\n")
	for name, addr := range map[string]string{
		"bare":     reference(b, up),
		"proxy":    serve(b, false, Options{Edge: edge.Options{Decider: to(up)}}, edge.ServerOptions{}),
		"standard": serve(b, true, Options{Edge: edge.Options{Decider: to(up)}}, edge.ServerOptions{}),
	} {
		b.Run(name, func(b *testing.B) {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			r := bufio.NewReader(c)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Write(request); err != nil {
					b.Fatal(err)
				}
				res, err := http.ReadResponse(r, nil)
				if err != nil || res.StatusCode != 200 {
					b.Fatal(err, res)
				}
				if _, err := io.Copy(io.Discard, res.Body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
