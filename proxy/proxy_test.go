package proxy

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
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
			Code        int
			ID, Request string
		}
	}
	if err := json.NewDecoder(res.Body).Decode(&e); err != nil {
		t.Fatalf("status %d: %v", res.StatusCode, err)
	}
	if e.Error.Code != res.StatusCode || e.Error.Request == "" || e.Error.Request != res.Header.Get(edge.DecisionID) {
		t.Errorf("got %+v with status %d and header %v", e, res.StatusCode, res.Header)
	}
	return e.Error.ID
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

func TestTheAnswerComesBackAsItIsWithoutFieldsOfTheConnection(t *testing.T) {
	eachTransport(t, func(t *testing.T, standard bool) {
		up := backend(t, func(w http.ResponseWriter, _ *http.Request) {
			c, rw, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			_, _ = rw.WriteString("HTTP/1.1 299 Odd\r\nDate: then\r\nConnection: X-Hop, Keep-Alive\r\nX-Hop: a\r\nKeep-Alive: a\r\nProxy-Authenticate: a\r\nUpgrade: h2c\r\n" +
				"Set-Cookie: a=b\r\nSet-Cookie: c=d\r\nContent-Length: 6\r\n\r\n<html>")
			_ = rw.Flush()
		})
		addr := serve(t, standard, Options{Edge: edge.Options{Decider: to(up)}}, edge.ServerOptions{})
		res, err := client(t).Get("http://" + addr)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		want := http.Header{"Date": {"then"}, "Set-Cookie": {"a=b", "c=d"}, "Content-Length": {"6"}}
		if diff := cmp.Diff(want, res.Header); diff != "" || res.StatusCode != 299 || string(body) != "<html>" || err != nil {
			t.Errorf("got %d %q, %v (-want +got): %s", res.StatusCode, body, err, diff)
		}
	})
}

func TestANewProxyNeedsADecider(t *testing.T) {
	if p, err := New(Options{}); err == nil {
		t.Errorf("got %v, want an error", p)
	}
}
