package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/http/httputil"
	"net/textproto"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/edge"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// decide is a Decider of one function.
type decide func(r *access.Request) access.Decision

func (d decide) Decide(_ context.Context, r *access.Request) access.Decision { return d(r) }

func (decide) OwnedHeaders() []string { return owned }

var owned = []string{"X-User"}

// to allows everything and sends it to upstream.
func to(upstream string) decide {
	u, err := url.Parse(upstream)
	if err != nil {
		panic(err)
	}
	up := &access.Upstream{URL: u}
	return func(*access.Request) access.Decision {
		return access.Decision{Allow: true, RuleID: "r", Upstream: up, Pass: access.Pass{Set: http.Header{"X-User": {"alice"}}}}
	}
}

// events collects access events.
type events struct{ c chan edge.Event }

func newEvents() events { return events{make(chan edge.Event, 100)} }

func (e events) observe(ev *edge.Event) { e.c <- *ev }

func (e events) next(t testing.TB) edge.Event {
	t.Helper()
	select {
	case ev := <-e.c:
		return ev
	case <-time.After(10 * time.Second):
		t.Fatal("no access event")
		panic("unreachable")
	}
}

// eachTransport runs a test with the synchronous client and without.
func eachTransport(t *testing.T, test func(t *testing.T, standard bool)) {
	for _, standard := range []bool{false, true} {
		t.Run(map[bool]string{false: "synchronous", true: "standard"}[standard], func(t *testing.T) { test(t, standard) })
	}
}

// serve starts a proxy and returns its address.
func serve(t testing.TB, standard bool, o Options, so edge.ServerOptions) string {
	t.Helper()
	o.Transport.Standard = standard
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	so.Handler = p
	s := edge.NewServer(so)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = s.Shutdown(ctx) // tests may leave connections open
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
		p.Close()
	})
	return l.Addr().String()
}

func backend(t testing.TB, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

func client(t testing.TB) *http.Client {
	tr := &http.Transport{DisableCompression: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 10 * time.Second}
}

func dial(t testing.TB, addr, send string) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, send); err != nil {
		t.Fatal(err)
	}
	return c, bufio.NewReader(c)
}

func response(t testing.TB, r *bufio.Reader) (*http.Response, string) {
	t.Helper()
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}

// reason reads the body of a gateway error.
func reason(t testing.TB, res *http.Response) string {
	t.Helper()
	var e struct {
		Error struct {
			Code            int
			Reason, Request string
		}
	}
	if err := json.NewDecoder(res.Body).Decode(&e); err != nil {
		t.Fatalf("status %d: %v", res.StatusCode, err)
	}
	if e.Error.Code != res.StatusCode || e.Error.Request == "" || e.Error.Request != res.Header.Get(edge.DecisionID) {
		t.Errorf("got %+v with status %d and header %v", e, res.StatusCode, res.Header)
	}
	return e.Error.Reason
}

// recorder is an upstream that records the bytes of one request's header and answers 200.
func recorder(t testing.TB) (string, chan string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	got := make(chan string, 10)
	var open sync.WaitGroup
	t.Cleanup(open.Wait)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			open.Go(func() {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(10 * time.Second))
				r := bufio.NewReader(c)
				var head strings.Builder
				for {
					line, err := r.ReadString('\n')
					if err != nil {
						return
					}
					if head.WriteString(line); line == "\r\n" {
						break
					}
				}
				got <- head.String()
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
			})
		}
	}()
	return "http://" + l.Addr().String(), got
}

func TestTheUpstreamReceivesTheRequestThatWasDecided(t *testing.T) {
	eachTransport(t, func(t *testing.T, standard bool) {
		up, got := recorder(t)
		addr := serve(t, standard, Options{Edge: edge.Options{Decider: to(up + "/base")}}, edge.ServerOptions{})
		_, r := dial(t, addr, "get /public/..//a%20b%28c?q=%zz;x HTTP/1.1\r\nHost: Example.com:80\r\nAuthorization: Bearer t\r\nX_User: evil\r\nx-user: evil\r\n"+
			"X-Forwarded-For: 1.2.3.4\r\nX-Request-Id: mine\r\nConnection: x-user, close, X-Forwarded-Host\r\nAccept: */*\r\n\r\n")
		if res, _ := response(t, r); res.StatusCode != 200 {
			t.Fatalf("got %d", res.StatusCode)
		}
		head := <-got
		lines := map[string]bool{}
		for _, l := range strings.Split(strings.TrimSpace(head), "\r\n") {
			if strings.HasPrefix(l, "X-Request-Id: ") && l != "X-Request-Id: mine" {
				l = "X-Request-Id: *"
			}
			lines[l] = true
		}
		want := map[string]bool{"GET /base/a%20b%28c?q=%zz;x HTTP/1.1": true, "Host: " + strings.TrimPrefix(up, "http://"): true, "Authorization: Bearer t": true, "X-User: alice": true,
			"X-Forwarded-For: 127.0.0.1": true, "X-Forwarded-Host: example.com": true, "X-Forwarded-Proto: http": true, "X-Request-Id: *": true, "Accept: */*": true}
		if diff := cmp.Diff(want, lines); diff != "" {
			t.Errorf("(-want +got): %s", diff)
		}
	})
}

func TestPreserveHostSendsTheHostThatWasMatched(t *testing.T) {
	eachTransport(t, func(t *testing.T, standard bool) {
		up, got := recorder(t)
		d := to(up)
		addr := serve(t, standard, Options{Edge: edge.Options{Decider: decide(func(r *access.Request) access.Decision {
			a := d(r)
			a.Upstream = &access.Upstream{URL: a.Upstream.URL, PreserveHost: true}
			return a
		})}}, edge.ServerOptions{})
		_, r := dial(t, addr, "GET http://API.example.com.:80/ HTTP/1.1\r\nHost: evil\r\nConnection: close\r\n\r\n")
		response(t, r)
		if head := <-got; !strings.Contains(head, "\r\nHost: api.example.com\r\n") || strings.Contains(head, "evil") {
			t.Errorf("got %s", head)
		}
	})
}

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
				ev := newEvents()
				addr := serve(t, standard, Options{Edge: edge.Options{Decider: to(c.upstream), Observe: ev.observe}, Transport: Transport{ResponseHeaderTimeout: 100 * time.Millisecond}}, edge.ServerOptions{})
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
				time.Sleep(60 * time.Millisecond) // a slow client, not a wait for a result
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

func TestANewProxyNeedsADecider(t *testing.T) {
	if p, err := New(Options{}); err == nil {
		t.Errorf("got %v, want an error", p)
	}
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

// reference is a bare, tuned ReverseProxy, to compare with.
func reference(b *testing.B, upstream string) string {
	u, _ := url.Parse(upstream)
	tr := Transport{}.withDefaults().round(false)
	s := httptest.NewServer(&httputil.ReverseProxy{Transport: tr, BufferPool: &newForwarder(Transport{}).buffers,
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
