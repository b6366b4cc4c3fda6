package proxy

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/edge"
)

func TestARefusedRequestNeverReachesAnUpstream(t *testing.T) {
	eachTransport(t, func(t *testing.T, standard bool) {
		up := backend(t, func(http.ResponseWriter, *http.Request) { t.Error("reached") })
		d := to(up)
		ev := newEvents()
		addr := serve(t, standard, Options{Edge: edge.Options{Observe: ev.observe, Decider: decide(func(r *access.Request) access.Decision {
			a := d(r)
			a.Allow, a.Reason, a.Refusal = false, "policy_denied", access.Response{Status: 403}
			return a
		})}}, edge.ServerOptions{})
		res, err := client(t).Get("http://" + addr)
		if err != nil || res.StatusCode != 403 || res.Header.Get(edge.DecisionID) == "" {
			t.Fatalf("got %v, %v", res, err)
		}
		res.Body.Close()
		if e := ev.next(t); e.Outcome != edge.OutcomeDeny || e.Reason != "policy_denied" || e.Status != 403 || e.Forwarded {
			t.Errorf("got event %+v", e)
		}
	})
}

func TestABrokenUpstreamIsAnsweredWithReasonAndID(t *testing.T) {
	eachTransport(t, func(t *testing.T, standard bool) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		down := l.Addr().String()
		l.Close()
		slow := make(chan bool)
		hang := backend(t, func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-slow:
			case <-r.Context().Done():
			}
		})
		defer close(slow)
		garbage := backend(t, func(w http.ResponseWriter, _ *http.Request) {
			c, _, _ := http.NewResponseController(w).Hijack()
			_, _ = io.WriteString(c, "nonsense\r\n\r\n")
			c.Close()
		})
		zero := backend(t, func(w http.ResponseWriter, _ *http.Request) {
			c, _, _ := http.NewResponseController(w).Hijack()
			_, _ = io.WriteString(c, "HTTP/1.1 000 Nothing\r\nContent-Length: 0\r\n\r\n")
			c.Close()
		})
		plain := httptest.NewTLSServer(http.NotFoundHandler())
		defer plain.Close()
		for name, c := range map[string]struct {
			upstream, reason string
			status           int
		}{
			"down":         {"http://" + down, "upstream_unreachable", 502},
			"down h2c":     {"h2c://" + down, "upstream_unreachable", 502},
			"unknown name": {"http://name.invalid", "upstream_unreachable", 502},
			"hanging":      {hang, "upstream_timeout", 504},
			"garbage":      {garbage, "upstream_failed", 502},
			"status 000":   {zero, "upstream_failed", 502},
			"untrusted":    {plain.URL, "upstream_tls", 502},
			"not TLS":      {strings.Replace(hang, "http:", "https:", 1), "upstream_failed", 502},
		} {
			t.Run(name, func(t *testing.T) {
				var transport Transport
				if name == "hanging" { // the others must not be timed on a busy machine
					transport.ResponseHeaderTimeout = 100 * time.Millisecond
				}
				ev := newEvents()
				addr := serve(t, standard, Options{Edge: edge.Options{Decider: to(c.upstream), Observe: ev.observe}, Transport: transport}, edge.ServerOptions{})
				res, err := client(t).Get("http://" + addr)
				if err != nil {
					t.Fatal(err)
				}
				defer res.Body.Close()
				if got := reason(t, res); got != c.reason || res.StatusCode != c.status {
					t.Errorf("got %d %s, want %d %s", res.StatusCode, got, c.status, c.reason)
				}
				if e := ev.next(t); e.Outcome != edge.OutcomeError || e.Reason != c.reason || !e.Allowed || e.Err == nil {
					t.Errorf("got event %+v", e)
				}
			})
		}
	})
}

func TestARuleWithoutUpstreamIs502(t *testing.T) {
	eachTransport(t, func(t *testing.T, standard bool) {
		addr := serve(t, standard, Options{Edge: edge.Options{Decider: decide(func(*access.Request) access.Decision { return access.Decision{Allow: true} })}}, edge.ServerOptions{})
		res, err := client(t).Get("http://" + addr)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if got := reason(t, res); got != "no_upstream" || res.StatusCode != 502 {
			t.Errorf("got %d %s", res.StatusCode, got)
		}
	})
}

func TestARulesTimeoutDoesNotCountTheClientsUpload(t *testing.T) {
	eachTransport(t, func(t *testing.T, standard bool) {
		up := backend(t, func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			_, _ = w.Write(b)
		})
		addr := serve(t, standard, Options{Edge: edge.Options{Decider: to(up)}, Transport: Transport{ResponseHeaderTimeout: 100 * time.Millisecond}}, edge.ServerOptions{})
		pr, pw := io.Pipe()
		go func() {
			for range 4 {
				time.Sleep(130 * time.Millisecond) // a client slower than the limit, not a wait for a result
				_, _ = io.WriteString(pw, "x")
			}
			pw.Close()
		}()
		res, err := client(t).Post("http://"+addr, "text/plain", pr)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if b, err := io.ReadAll(res.Body); res.StatusCode != 200 || string(b) != "xxxx" {
			t.Errorf("got %d %q, %v", res.StatusCode, b, err)
		}
	})
}

func TestAResponseThatBreaksOffIsNotPassedOffAsWhole(t *testing.T) {
	eachTransport(t, func(t *testing.T, standard bool) {
		up := backend(t, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, strings.Repeat("x", 100000))
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		})
		ev := newEvents()
		addr := serve(t, standard, Options{Edge: edge.Options{Decider: to(up), Observe: ev.observe}}, edge.ServerOptions{})
		res, err := client(t).Get("http://" + addr)
		if err == nil {
			_, err = io.Copy(io.Discard, res.Body)
			res.Body.Close()
		}
		if err == nil {
			t.Error("want an error")
		}
		if e := ev.next(t); !e.Aborted || e.Outcome != edge.OutcomeError {
			t.Errorf("got event %+v", e)
		}
	})
}

func TestAClientThatLeavesCancelsTheUpstream(t *testing.T) {
	eachTransport(t, func(t *testing.T, standard bool) {
		entered, cancelled := make(chan bool), make(chan bool)
		up := backend(t, func(_ http.ResponseWriter, r *http.Request) {
			close(entered)
			<-r.Context().Done()
			close(cancelled)
		})
		ev := newEvents()
		addr := serve(t, standard, Options{Edge: edge.Options{Decider: to(up), Observe: ev.observe}}, edge.ServerOptions{})
		c, _ := dial(t, addr, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		<-entered
		c.Close()
		select {
		case <-cancelled:
		case <-time.After(10 * time.Second):
			t.Fatal("the upstream still works")
		}
		if e := ev.next(t); e.Reason != "client_closed_request" || e.Status != 499 {
			t.Errorf("got event %+v", e)
		}
	})
}

func TestABodyBeyondTheLimitIs413(t *testing.T) {
	eachTransport(t, func(t *testing.T, standard bool) {
		up := backend(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
		addr := serve(t, standard, Options{Edge: edge.Options{Decider: to(up), MaxBody: 1000}}, edge.ServerOptions{})
		for _, size := range []int{1000, 1001} {
			for _, chunked := range []bool{false, true} {
				var body io.Reader = strings.NewReader(strings.Repeat("x", size))
				if chunked {
					body = io.MultiReader(body)
				}
				res, err := client(t).Post("http://"+addr, "text/plain", body)
				if err != nil {
					t.Fatal(err)
				}
				if size == 1000 && res.StatusCode != 200 {
					t.Errorf("%d bytes, chunked %t: got %d", size, chunked, res.StatusCode)
				}
				if size == 1001 && (res.StatusCode != 413 || reason(t, res) != "request_body_too_large") {
					t.Errorf("%d bytes, chunked %t: got %d", size, chunked, res.StatusCode)
				}
				res.Body.Close()
			}
		}
	})
}

func TestAClientThatStallsIsTold408(t *testing.T) {
	eachTransport(t, func(t *testing.T, standard bool) {
		upstream := backend(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.ReadAll(r.Body) })
		addr := serve(t, standard, Options{Edge: edge.Options{Decider: to(upstream), ReadIdle: 50 * time.Millisecond}}, edge.ServerOptions{})
		_, r := dial(t, addr, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n1")
		res, _ := response(t, r)
		if res.StatusCode != http.StatusRequestTimeout {
			t.Errorf("got %d, want 408", res.StatusCode)
		}
	})
}

func TestAStaleConnectionIsNotAnError(t *testing.T) {
	eachTransport(t, func(t *testing.T, standard bool) {
		up := backend(t, func(w http.ResponseWriter, r *http.Request) {
			c, rw, _ := http.NewResponseController(w).Hijack() // answers keep-alive, then closes
			defer c.Close()
			_, _ = rw.WriteString("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
			_ = rw.Flush()
		})
		addr := serve(t, standard, Options{Edge: edge.Options{Decider: to(up)}}, edge.ServerOptions{})
		for i := range 20 {
			res, err := client(t).Get("http://" + addr)
			if err != nil {
				t.Fatal(err)
			}
			b, _ := io.ReadAll(res.Body)
			if res.Body.Close(); res.StatusCode != 200 || string(b) != "ok" {
				t.Fatalf("request %d: got %d %q", i, res.StatusCode, b)
			}
		}
	})
}
