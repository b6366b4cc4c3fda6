package proxy

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/edge"
)

func TestSmuggledRequestsNeverReachTheUpstream(t *testing.T) {
	eachTransport(t, func(t *testing.T, standard bool) {
		var mu sync.Mutex
		var paths []string
		up := backend(t, func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			mu.Lock()
			defer mu.Unlock()
			paths = append(paths, r.URL.Path)
		})
		evil := "GET /evil HTTP/1.1\r\nHost: a\r\n\r\n"
		d := to(up)
		addr := serve(t, standard, Options{Edge: edge.Options{Decider: decide(func(r *access.Request) access.Decision {
			if r.URL.Path == "/evil" { // a second request of the connection: decided on its own, and refused
				return access.Decision{Refusal: access.Response{Status: 403}}
			}
			return d(r)
		})}}, edge.ServerOptions{H2C: true})
		for name, send := range map[string]string{
			"CL and TE":        "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + evil,
			"CL on GET":        fmt.Sprintf("GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", len(evil), evil),
			"TE on GET":        fmt.Sprintf("GET /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(evil), evil),
			"TE in odd case":   "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: Chunked\r\n\r\n0\r\n\r\n" + evil,
			"TE with tab":      "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\tchunked\r\n\r\n0\r\n\r\n" + evil,
			"TE alias":         fmt.Sprintf("POST /a HTTP/1.1\r\nHost: a\r\nTransfer_Encoding: chunked\r\nContent-Length: %d\r\n\r\n0\r\n\r\n%s", len(evil)+5, evil),
			"Connection: TE":   fmt.Sprintf("POST /a HTTP/1.1\r\nHost: a\r\nConnection: Transfer-Encoding, Content-Length\r\nContent-Length: %d\r\n\r\n%s", len(evil), evil),
			"chunk extension":  "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;a=\n\r\nx\r\n0\r\n\r\n" + evil,
			"bare LF in chunk": "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\n\n" + evil,
			"upgrade, refused": "GET /a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n" + evil,
			"h2c prior":        "GET /a HTTP/1.1\r\nHost: a\r\n\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		} {
			c, r := dial(t, addr, send)
			_ = c.(*net.TCPConn).CloseWrite()
			_, _ = io.Copy(io.Discard, r) // whatever is answered, until the connection ends
			mu.Lock()
			for _, p := range paths {
				if p != "/a" {
					t.Errorf("%s: the upstream got %s", name, p)
				}
			}
			paths = nil
			mu.Unlock()
		}
	})
}

func FuzzWhatIsDecidedIsWhatIsForwarded(f *testing.F) {
	for _, s := range []string{"/", "//a/../b;c", "/%2e%2e/x", "/a%20b?x=%zz;#", "/a/..;/b", "http://b/x", "/é?é", "/a%3Bb/%41", "/a b"} {
		f.Add(s, "Example.com:80", "x-user")
	}
	type seen struct{ target, host, user string }
	reached := make(chan seen, 1)
	up := backend(f, func(w http.ResponseWriter, r *http.Request) {
		user := strings.Join(r.Header["X-User"], ",")
		for name := range r.Header {
			if name != "X-User" && strings.EqualFold(strings.NewReplacer("_", "-", ".", "-").Replace(name), "x-user") {
				user += " and " + name
			}
		}
		reached <- seen{r.RequestURI, r.Host, user}
	})
	decided := make(chan *url.URL, 1)
	u, _ := url.Parse(up)
	addr := serve(f, false, Options{Edge: edge.Options{Decider: decide(func(r *access.Request) access.Decision {
		decided <- r.URL
		return access.Decision{Allow: true, Upstream: &access.Upstream{URL: u, PreserveHost: true}, Pass: access.Pass{Set: http.Header{"X-User": {"alice"}}}}
	})}}, edge.ServerOptions{})
	f.Fuzz(func(t *testing.T, target, host, name string) {
		if strings.ContainsAny(target+host+name, "\r\n") {
			return // would be another request
		}
		for len(decided) > 0 {
			<-decided
		}
		_, r := dial(t, addr, "GET "+target+" HTTP/1.1\r\nHost: "+host+"\r\n"+name+": evil\r\nConnection: close, "+name+"\r\n\r\n")
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		if res.StatusCode >= 500 && res.StatusCode != 501 {
			t.Fatalf("%q %q %q: got %d", target, host, name, res.StatusCode)
		}
		if res.StatusCode != 200 {
			if len(reached) > 0 {
				t.Fatalf("refused with %d, but the upstream got %+v", res.StatusCode, <-reached)
			}
			return
		}
		d, got := <-decided, <-reached
		if want := (seen{d.RequestURI(), d.Host, "alice"}); got != want {
			t.Fatalf("%q: decided %+v, forwarded %+v", target, want, got)
		}
		back, err := url.ParseRequestURI(got.target)
		if err != nil || back.Path != d.Path || back.RawQuery != d.RawQuery {
			t.Fatalf("%q: decided path %q, the upstream reads %v, %v", target, d.Path, back, err)
		}
	})
}
