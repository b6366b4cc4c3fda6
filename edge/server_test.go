package edge

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatewarden/gatewarden/access"
)

// listen serves o on a free port until the test ends.
func listen(t testing.TB, o ServerOptions) (*Server, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(o)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = s.Shutdown(ctx) // a test may leave connections open
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return s, l.Addr().String()
}

func dial(t testing.TB, addr, send string) net.Conn {
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
	return c
}

func status(t testing.TB, c net.Conn) int {
	t.Helper()
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	return res.StatusCode
}

func TestAConnectionEndsAfterARequestThatMayBeFramedInTwoWays(t *testing.T) {
	const next = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
	for name, c := range map[string]struct {
		send string
		want []string
	}{
		"a length and chunks": {"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 43\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + next, []string{"/a"}},
		"chunks in HTTP/1.0":  {"POST /a HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n" + next, []string{"/a"}},
		"an upgrade besides":  {"GET /a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 43\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + next, []string{"/a"}},
		"a length":            {"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx" + next, []string{"/a", "/smuggled"}},
	} {
		var mu sync.Mutex
		var got []string
		g := gate(t, Options{})
		_, addr := listen(t, ServerOptions{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			g.Serve(w, r, func(x *Exchange) {
				mu.Lock()
				defer mu.Unlock()
				got = append(got, x.R.URL.Path)
				if x.R.Header.Get("Upgrade") != "" {
					t.Errorf("%s: the upgrade is forwarded", name)
				}
				x.W.WriteHeader(http.StatusEarlyHints)
				x.W.WriteHeader(http.StatusNoContent)
			})
		})})
		conn := dial(t, addr, c.send)
		_ = conn.(*net.TCPConn).CloseWrite()
		_, _ = io.ReadAll(conn)
		mu.Lock()
		defer mu.Unlock()
		if strings.Join(got, " ") != strings.Join(c.want, " ") {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
}

func TestASlowHeaderIsCutOff(t *testing.T) {
	_, addr := listen(t, ServerOptions{Handler: http.NotFoundHandler(), ReadHeaderTimeout: 50 * time.Millisecond})
	c := dial(t, addr, "GET / HTTP/1.1\r\nHost: a\r\nX-Slow")
	if answer, err := io.ReadAll(c); err != nil || bytes.Contains(answer, []byte("200")) {
		t.Errorf("got %q, %v, want the connection closed", answer, err)
	}
}

func TestAnOversizedHeaderIs431(t *testing.T) {
	_, addr := listen(t, ServerOptions{Handler: http.NotFoundHandler(), MaxHeaderBytes: 4096})
	if got := status(t, dial(t, addr, "GET / HTTP/1.1\r\nHost: a\r\nX-Big: "+strings.Repeat("x", 16384)+"\r\n\r\n")); got != 431 {
		t.Errorf("got %d, want 431", got)
	}
}

func TestMalformedRequestsAreRefused(t *testing.T) {
	g := gate(t, Options{})
	_, addr := listen(t, ServerOptions{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { g.Serve(w, r, ok) })})
	for name, c := range map[string]struct {
		send string
		want int
	}{
		"good":                          {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 204},
		"no host":                       {"GET / HTTP/1.1\r\n\r\n", 400},
		"HTTP/1.0 without host":         {"GET / HTTP/1.0\r\n\r\n", 400},
		"two hosts":                     {"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400},
		"two lengths":                   {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx", 400},
		"a signed length":               {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\nx", 400},
		"unknown transfer encoding":     {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", 501},
		"two transfer encodings":        {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n", 501},
		"a space before the colon":      {"GET / HTTP/1.1\r\nHost: a\r\nX-User : a\r\n\r\n", 400},
		"a control character in a name": {"GET / HTTP/1.1\r\nHost: a\r\nX\x01: a\r\n\r\n", 400},
		"a NUL in a value":              {"GET / HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n", 400},
		"broken escape":                 {"GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		"a host with a path":            {"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400},
		"a host with user":              {"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400},
		"absolute target":               {"GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n", 204},
		"absolute target with user":     {"GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		"absolute target, other scheme": {"GET https://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		"opaque target":                 {"GET mailto:a HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		"asterisk":                      {"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		"tunnel":                        {"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", 400},
	} {
		if got := status(t, dial(t, addr, c.send)); got != c.want {
			t.Errorf("%s: got %d, want %d", name, got, c.want)
		}
	}
}

func TestAStalledBodyTimesOut(t *testing.T) {
	for _, framing := range []string{"Content-Length: 10", "Transfer-Encoding: chunked"} {
		got := make(chan error, 1)
		g := gate(t, Options{ReadIdle: 30 * time.Millisecond})
		_, addr := listen(t, ServerOptions{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			g.Serve(w, r, func(x *Exchange) {
				_, err := io.ReadAll(x.R.Body)
				got <- err
			})
		})})
		dial(t, addr, "POST / HTTP/1.1\r\nHost: a\r\n"+framing+"\r\n\r\n1")
		if err := <-got; err == nil || !strings.Contains(err.Error(), "did not arrive in time") {
			t.Errorf("%s: got %v, want a timeout", framing, err)
		}
	}
}

func TestABodyThatNobodyReadsHoldsNoConnection(t *testing.T) {
	refusing := gate(t, Options{Decider: decide(func(*access.Request) access.Decision { return access.Decision{} }), ReadIdle: 30 * time.Millisecond})
	for name, h := range map[string]http.Handler{
		"refused": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { refusing.Serve(w, r, ok) }),
		"guarded": Guard{BodyTimeout: 30 * time.Millisecond}.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) })),
		"read":    Guard{BodyTimeout: 30 * time.Millisecond}.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.ReadAll(r.Body) })),
	} {
		_, addr := listen(t, ServerOptions{Handler: h})
		c := dial(t, addr, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n1")
		_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
		if got, err := io.ReadAll(c); err != nil {
			t.Errorf("%s: the connection stays open after %q: %v", name, got, err)
		}
	}
}

func TestALongAnswerAfterABodyIsNotCut(t *testing.T) {
	g := gate(t, Options{ReadIdle: 20 * time.Millisecond, WriteIdle: 20 * time.Millisecond})
	_, addr := listen(t, ServerOptions{IdleTimeout: 20 * time.Millisecond, ReadHeaderTimeout: 20 * time.Millisecond,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			g.Serve(w, r, func(x *Exchange) {
				_, _ = io.ReadAll(x.R.Body)
				for i := range 5 {
					fmt.Fprintf(x.W, "%d", i)
					_ = http.NewResponseController(x.W).Flush()
					select {
					case <-time.After(50 * time.Millisecond):
					case <-x.R.Context().Done():
						t.Error("the request was cancelled")
						return
					}
				}
			})
		})})
	c := dial(t, addr, "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 1\r\n\r\n1")
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(res.Body); err != nil || string(body) != "01234" {
		t.Errorf("got %q, %v, want the whole answer", body, err)
	}
}

func TestAClientThatTakesNothingIsCutOff(t *testing.T) {
	failed := make(chan error, 1)
	g := gate(t, Options{WriteIdle: 50 * time.Millisecond})
	_, addr := listen(t, ServerOptions{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.Serve(w, r, func(x *Exchange) {
			chunk := make([]byte, 64<<10)
			for range 10000 {
				if _, err := x.W.Write(chunk); err != nil {
					failed <- err
					return
				}
			}
			failed <- errors.New("everything was written")
		})
	})})
	dial(t, addr, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if err := <-failed; !strings.Contains(err.Error(), "timeout") {
		t.Errorf("got %v, want a timeout", err)
	}
}

func TestShutdownWaitsForRunningRequestsAndUpgradedConnections(t *testing.T) {
	for _, upgraded := range []bool{false, true} {
		entered, release := make(chan bool), make(chan bool)
		s, addr := listen(t, ServerOptions{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if upgraded {
				c, _, err := http.NewResponseController(w).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				defer c.Close()
			}
			entered <- true
			<-release
		})})
		dial(t, addr, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		<-entered
		done := make(chan error, 1)
		go func() { done <- s.Shutdown(context.Background()) }()
		deadline := time.Now().Add(5 * time.Second)
		for { // the listener closes first
			c, err := net.Dial("tcp", addr)
			if err != nil {
				break
			}
			c.Close()
			if time.Now().After(deadline) {
				t.Fatal("still accepting")
			}
		}
		select {
		case err := <-done:
			t.Errorf("upgraded %t: shutdown returned %v while a request ran", upgraded, err)
		case <-time.After(30 * time.Millisecond):
		}
		close(release)
		if err := <-done; err != nil {
			t.Errorf("upgraded %t: got %v", upgraded, err)
		}
	}
}

func TestShutdownCutsWhatIsLeftAtItsDeadline(t *testing.T) {
	entered, cut := make(chan bool), make(chan bool)
	s, addr := listen(t, ServerOptions{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		close(entered)
		<-r.Context().Done()
		close(cut)
	})})
	dial(t, addr, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	<-entered
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the deadline", err)
	}
	<-cut
}
