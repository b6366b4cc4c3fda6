package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"github.com/gatewarden/gatewarden/edge"
	"github.com/google/go-cmp/cmp"
)

func TestEventsArriveWhileTheStreamIsOpenAndTheStreamIsNotCut(t *testing.T) {
	eachTransport(t, func(t *testing.T, standard bool) {
		next := make(chan bool)
		up := backend(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			for i := range 5 {
				fmt.Fprintf(w, "data: %d\n\n", i)
				_ = http.NewResponseController(w).Flush()
				select {
				case <-next:
				case <-r.Context().Done():
					return
				}
			}
		})
		limit := 30 * time.Millisecond
		addr := serve(t, standard, Options{Edge: edge.Options{Decider: to(up), ReadIdle: limit, WriteIdle: limit}, Transport: Transport{ResponseHeaderTimeout: limit, IdleConnTimeout: limit}},
			edge.ServerOptions{ReadHeaderTimeout: limit, IdleTimeout: limit})
		res, err := client(t).Get("http://" + addr)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		r := bufio.NewReader(res.Body)
		for i := range 5 {
			line, err := r.ReadString('\n')
			if want := fmt.Sprintf("data: %d\n", i); line != want || err != nil {
				t.Fatalf("got %q, %v, want %q", line, err, want)
			}
			if _, err := r.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
			<-time.After(2 * limit) // longer than every limit
			next <- true
		}
		if rest, err := io.ReadAll(r); len(rest) > 0 || err != nil {
			t.Errorf("got %q, %v, want a clean end", rest, err)
		}
	})
}

func TestExpectContinueIsAnsweredByTheUpstream(t *testing.T) {
	eachTransport(t, func(t *testing.T, standard bool) {
		up := backend(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/no" {
				w.WriteHeader(417)
				return
			}
			b, _ := io.ReadAll(r.Body)
			_, _ = w.Write(b)
		})
		addr := serve(t, standard, Options{Edge: edge.Options{Decider: to(up)}}, edge.ServerOptions{})
		c, r := dial(t, addr, "POST /yes HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
		if line, err := textproto.NewReader(r).ReadLine(); err != nil || !strings.Contains(line, "100 Continue") {
			t.Fatalf("got %q, %v", line, err)
		}
		if _, err := r.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, "hello"); err != nil {
			t.Fatal(err)
		}
		if res, body := response(t, r); res.StatusCode != 200 || body != "hello" {
			t.Errorf("got %d %q", res.StatusCode, body)
		}
		_, r = dial(t, addr, "POST /no HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
		if res, _ := response(t, r); res.StatusCode != 417 {
			t.Errorf("got %d, want the upstream's 417 at once", res.StatusCode)
		}
	})
}

func TestEarlyHintsAreForwarded(t *testing.T) {
	eachTransport(t, func(t *testing.T, standard bool) {
		up := backend(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Link", "</a.css>; rel=preload")
			w.WriteHeader(103)
			w.WriteHeader(204)
		})
		addr := serve(t, standard, Options{Edge: edge.Options{Decider: to(up)}}, edge.ServerOptions{})
		var hints []string
		ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			hints = append(hints, fmt.Sprint(code, " ", h.Get("Link")))
			return nil
		}})
		req, _ := http.NewRequestWithContext(ctx, "GET", "http://"+addr, nil)
		res, err := client(t).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if diff := cmp.Diff([]string{"103 </a.css>; rel=preload"}, hints); diff != "" || res.StatusCode != 204 {
			t.Errorf("status %d (-want +got): %s", res.StatusCode, diff)
		}
	})
}

func TestTrailersPassBothWaysExceptTheGatewaysOwn(t *testing.T) {
	eachTransport(t, func(t *testing.T, standard bool) {
		got := make(chan http.Header, 1)
		up := backend(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			got <- r.Trailer.Clone()
			w.Header().Set("Trailer", "X-Sum")
			_, _ = io.WriteString(w, "body")
			w.Header().Set("X-Sum", "1")
			w.Header().Set(http.TrailerPrefix+"X-Late", "2")
		})
		addr := serve(t, standard, Options{Edge: edge.Options{Decider: to(up)}}, edge.ServerOptions{})
		req, _ := http.NewRequest("POST", "http://"+addr, io.MultiReader(strings.NewReader("x")))
		req.Trailer = http.Header{"X-Check": {"ok"}, "X-User": {"evil"}, "X_user": {"evil"}, "Authorization": {"evil"}, "X-Forwarded-For": {"evil"}}
		res, err := client(t).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if _, err := io.ReadAll(res.Body); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(http.Header{"X-Check": {"ok"}}, <-got); diff != "" {
			t.Errorf("request trailers (-want +got): %s", diff)
		}
		if diff := cmp.Diff(http.Header{"X-Sum": {"1"}, "X-Late": {"2"}}, res.Trailer); diff != "" {
			t.Errorf("response trailers (-want +got): %s", diff)
		}
	})
}

func TestAWebSocketIsForwardedBothWays(t *testing.T) {
	eachTransport(t, func(t *testing.T, standard bool) {
		up := backend(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Upgrade") != "websocket" || r.Header.Get("X-User") != "alice" {
				t.Errorf("got %v", r.Header)
			}
			c, rw, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
			_, _ = io.Copy(c, rw)
		})
		ev := newEvents()
		limit := 30 * time.Millisecond
		addr := serve(t, standard, Options{Edge: edge.Options{Decider: to(up), Observe: ev.observe, ReadIdle: limit, WriteIdle: limit}, Transport: Transport{ResponseHeaderTimeout: limit}},
			edge.ServerOptions{ReadHeaderTimeout: limit, IdleTimeout: limit})
		c, r := dial(t, addr, "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade, X-User\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n")
		res, err := http.ReadResponse(r, nil)
		if err != nil || res.StatusCode != 101 {
			t.Fatalf("got %v, %v", res, err)
		}
		for range 3 {
			<-time.After(2 * limit)
			if _, err := io.WriteString(c, "ping"); err != nil {
				t.Fatal(err)
			}
			b := make([]byte, 4)
			if _, err := io.ReadFull(r, b); err != nil || string(b) != "ping" {
				t.Fatalf("got %q, %v", b, err)
			}
		}
		c.Close()
		if e := ev.next(t); e.Status != 101 || e.Outcome != edge.OutcomeAllow || e.Aborted {
			t.Errorf("got event %+v", e)
		}
	})
}

func TestOnlyAllowedUpgradesAreForwarded(t *testing.T) {
	eachTransport(t, func(t *testing.T, standard bool) {
		up := backend(t, func(_ http.ResponseWriter, r *http.Request) {
			for _, name := range []string{"Upgrade", "Connection", "Http2-Settings"} {
				if v := r.Header.Get(name); v != "" {
					t.Errorf("got %s: %s", name, v)
				}
			}
		})
		addr := serve(t, standard, Options{Edge: edge.Options{Decider: to(up)}}, edge.ServerOptions{H2C: true})
		for _, h := range []string{"Upgrade: h2c", "Upgrade: websocket, h2c", "Upgrade: websocket\r\nUpgrade: h2c", "Upgrade: TLS/1.0", "Upgrade: tcp"} {
			_, r := dial(t, addr, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"+h+"\r\n\r\n")
			if res, _ := response(t, r); res.StatusCode != 200 {
				t.Errorf("%q: got %d", h, res.StatusCode)
			}
		}
	})
}

func TestHTTP2IsSpokenOnBothSides(t *testing.T) {
	eachTransport(t, func(t *testing.T, standard bool) {
		up := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, r.Proto, " ", r.Header.Get("X-User"), " ", r.Header.Get("X-Forwarded-Proto"))
		}))
		up.EnableHTTP2 = true
		up.StartTLS()
		defer up.Close()
		roots := x509.NewCertPool()
		roots.AddCert(up.Certificate())
		for _, secure := range []bool{true, false} {
			so := edge.ServerOptions{H2C: !secure}
			if secure {
				so.TLS = &tls.Config{Certificates: up.TLS.Certificates}
			}
			addr := serve(t, standard, Options{Edge: edge.Options{Decider: to(up.URL)}, Transport: Transport{RootCAs: roots}}, so)
			var p http.Protocols
			p.SetHTTP2(secure)
			p.SetUnencryptedHTTP2(!secure)
			tr := &http.Transport{Protocols: &p, TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "example.com"}}
			scheme := map[bool]string{true: "https", false: "http"}[secure]
			res, err := (&http.Client{Transport: tr}).Get(scheme + "://" + addr)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(res.Body)
			res.Body.Close()
			if err != nil || res.ProtoMajor != 2 || string(body) != "HTTP/2.0 alice "+scheme {
				t.Errorf("%s: got %s %q, %v", scheme, res.Proto, body, err)
			}
			tr.CloseIdleConnections()
		}
	})
}
