package wire

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// script is a server that answers the requests of each connection with bytes.
type script struct {
	t       testing.TB
	l       net.Listener
	handle  func(conn, request int, head string, c net.Conn) (more bool)
	mu      sync.Mutex
	conns   int
	running sync.WaitGroup
}

// newScript answers request r of connection c by handle, which gets the request as
// it came and says whether the connection goes on.
func newScript(t testing.TB, handle func(conn, request int, head string, c net.Conn) bool) *script {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &script{t: t, l: l, handle: handle}
	s.running.Go(s.accept)
	t.Cleanup(func() { l.Close(); s.running.Wait() })
	return s
}

func (s *script) accept() {
	for {
		c, err := s.l.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		n := s.conns
		s.conns++
		s.mu.Unlock()
		s.running.Go(func() {
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(10 * time.Second))
			in := bufio.NewReader(c)
			for r := 0; ; r++ {
				var head strings.Builder
				req, err := http.ReadRequest(bufio.NewReader(io.TeeReader(oneByte{in}, &head)))
				if err != nil {
					return
				}
				_, _ = io.Copy(io.Discard, req.Body)
				if !s.handle(n, r, head.String(), c) {
					return
				}
			}
		})
	}
}

// oneByte keeps a bufio.Reader above it from reading ahead.
type oneByte struct{ r io.Reader }

func (o oneByte) Read(p []byte) (int, error) { return o.r.Read(p[:min(len(p), 1)]) }

// opened returns how many connections there were.
func (s *script) opened() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conns
}

// say is a handle that gives the same answer to all.
func say(answer string) func(int, int, string, net.Conn) bool {
	return func(_, _ int, _ string, c net.Conn) bool {
		_, _ = io.WriteString(c, answer)
		return true
	}
}

func newClient(t testing.TB) *Client {
	c := New(Options{Dial: new(net.Dialer).DialContext, MaxIdlePerHost: 4, IdleTimeout: time.Minute, MaxHeaderBytes: 8 << 10})
	t.Cleanup(c.Close)
	return c
}

func (s *script) request(method string) *Request {
	return &Request{Method: method, Target: "/", Host: "h", Address: s.l.Addr().String(), Timeout: 5 * time.Second}
}

// answer is a response as a caller sees it.
type answer struct {
	Status  int
	Header  http.Header
	Body    string
	Trailer http.Header
	Failed  bool
}

func do(c *Client, r *Request) (answer, error) {
	res, err := c.Do(context.Background(), r)
	if err != nil {
		return answer{Failed: true}, err
	}
	defer res.Close()
	body, err := io.ReadAll(res)
	return answer{res.StatusCode, res.Header, string(body), res.Trailer, err != nil}, err
}

const good = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

func TestARequestIsWrittenExactly(t *testing.T) {
	heads := make(chan string, 2)
	s := newScript(t, func(_, _ int, head string, c net.Conn) bool {
		heads <- head
		_, _ = io.WriteString(c, good)
		return true
	})
	c := newClient(t)
	r := s.request("POST")
	r.Target, r.Host, r.Header, r.Body = "/a%20b?x=%zz;", "example.com", http.Header{"X-A": {"1", "2"}}, []byte("hello")
	if _, err := do(c, r); err != nil {
		t.Fatal(err)
	}
	want := "POST /a%20b?x=%zz; HTTP/1.1\r\nHost: example.com\r\nX-A: 1\r\nX-A: 2\r\nContent-Length: 5\r\n\r\n"
	if got := <-heads; got != want && got != want+"hello" {
		t.Errorf("got %q, want %q", got, want)
	}
	r = s.request("GET")
	if _, err := do(c, r); err != nil {
		t.Fatal(err)
	}
	if got, want := <-heads, "GET / HTTP/1.1\r\nHost: h\r\n\r\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAHeaderCannotBeSplit(t *testing.T) {
	s := newScript(t, say(good))
	for _, h := range []http.Header{{"X": {"a\r\nEvil: 1"}}, {"X": {"a\nb"}}, {"X": {"a\x00"}}, {"X\r\nEvil": {"1"}}, {"X Y": {"1"}}, {"": {"1"}}, {"X:": {"1"}}} {
		r := s.request("GET")
		r.Header = h
		if a, err := do(newClient(t), r); err == nil {
			t.Errorf("%q: got %+v, want an error", h, a)
		}
	}
	if n := s.opened(); n != 0 {
		t.Errorf("%d connections were opened", n)
	}
}

func TestAConnectionIsUsedAgainOnlyAfterACleanEnd(t *testing.T) {
	for name, c := range map[string]struct {
		method, answer string
		kept           bool
	}{
		"length":                  {"GET", good, true},
		"chunks":                  {"GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", true},
		"trailers":                {"GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n2\r\nok\r\n0\r\nX-T: 1\r\n\r\n", true},
		"no content":              {"GET", "HTTP/1.1 204 No Content\r\n\r\n", true},
		"not modified":            {"GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", true},
		"head":                    {"HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", true},
		"1xx before":              {"GET", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + good, true},
		"HTTP/1.0 keep-alive":     {"GET", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", true},
		"HTTP/1.0":                {"GET", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", false},
		"connection: close":       {"GET", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", false},
		"more than the length":    {"GET", good + "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", false},
		"more than the chunks":    {"GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nX", false},
		"a body for head":         {"HEAD", good, false},
		"a body for no content":   {"GET", "HTTP/1.1 204 No Content\r\n\r\nX", false},
		"a second whole response": {"GET", good + good, false},
	} {
		s := newScript(t, say(c.answer))
		cl := newClient(t)
		for range 2 {
			if _, err := do(cl, s.request(c.method)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if kept := s.opened() == 1; kept != c.kept {
			t.Errorf("%s: connection kept: %t, want %t", name, kept, c.kept)
		}
	}
}

func TestABodyThatWasNotReadToItsEndClosesTheConnection(t *testing.T) {
	s := newScript(t, say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
	c := newClient(t)
	for range 2 {
		res, err := c.Do(context.Background(), s.request("GET"))
		if err != nil {
			t.Fatal(err)
		}
		res.Close()
	}
	if n := s.opened(); n != 2 {
		t.Errorf("got %d connections, want 2", n)
	}
}

func TestWhatASilentConnectionSaysIsNobodysAnswer(t *testing.T) {
	said := make(chan bool, 2)
	s := newScript(t, func(_, request int, _ string, c net.Conn) bool {
		_, _ = io.WriteString(c, good)
		time.Sleep(10 * time.Millisecond) // lets the client keep the connection first
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
		said <- true
		return true
	})
	c := newClient(t)
	for range 2 {
		if a, err := do(c, s.request("GET")); err != nil || a.Body != "ok" {
			t.Fatalf("got %+v, %v", a, err)
		}
		<-said
	}
	if n := s.opened(); n != 2 {
		t.Errorf("got %d connections, want 2", n)
	}
}

func TestOnlyWhatMayBeRepeatedIsSentTwice(t *testing.T) {
	for method, want := range map[string]int{"GET": 2, "HEAD": 2, "OPTIONS": 2, "DELETE": 2, "POST": 1, "PATCH": 1} {
		var mu sync.Mutex
		seen := 0
		s := newScript(t, func(conn, request int, _ string, c net.Conn) bool {
			if conn == 0 && request == 0 {
				_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n")
				return true
			}
			mu.Lock()
			seen++
			mu.Unlock()
			if conn == 0 {
				return false // the kept connection breaks on its second request
			}
			_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n")
			return true
		})
		c := newClient(t)
		if _, err := do(c, s.request(method)); err != nil {
			t.Fatal(err)
		}
		_, err := do(c, s.request(method))
		mu.Lock()
		if seen != want || (err == nil) != (want == 2) {
			t.Errorf("%s: sent %d times, %v, want %d", method, seen, err, want)
		}
		mu.Unlock()
	}
}

func TestABrokenAnswerOfAFreshConnectionIsNotRepeated(t *testing.T) {
	s := newScript(t, func(int, int, string, net.Conn) bool { return false })
	if _, err := do(newClient(t), s.request("GET")); err == nil || s.opened() != 1 {
		t.Errorf("got %v after %d connections", err, s.opened())
	}
}

func TestBadAnswersAreErrors(t *testing.T) {
	for name, answer := range map[string]string{
		"not HTTP":            "nonsense\r\n\r\n",
		"status below 100":    "HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n",
		"two lengths":         "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
		"negative length":     "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
		"unknown coding":      "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
		"broken chunk":        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
		"short body":          "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok",
		"missing last chunk":  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
		"unasked upgrade":     "HTTP/1.1 101 Switching Protocols\r\nUpgrade: evil\r\nConnection: Upgrade\r\n\r\n",
		"oversized header":    "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 16<<10) + "\r\n\r\n",
		"endless 1xx":         strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 100),
		"header breaking off": "HTTP/1.1 200 OK\r\nX: y\r\n",
	} {
		s := newScript(t, func(_, _ int, _ string, c net.Conn) bool {
			_, _ = io.WriteString(c, answer)
			return false
		})
		if a, err := do(newClient(t), s.request("GET")); err == nil {
			t.Errorf("%s: got %+v, want an error", name, a)
		}
	}
}

func TestTheEndOfTheContextBreaksOff(t *testing.T) {
	for name, before := range map[string]string{"before the header": "", "in the header": "HTTP/1.1 200", "in the body": "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\no"} {
		ctx, cancel := context.WithCancel(context.Background())
		s := newScript(t, func(_, _ int, _ string, c net.Conn) bool {
			_, _ = io.WriteString(c, before)
			if name != "in the body" {
				cancel()
			}
			_, _ = c.Read(make([]byte, 1)) // until the client closes
			return false
		})
		c := newClient(t)
		res, err := c.Do(ctx, s.request("GET"))
		if name == "in the body" && err == nil {
			cancel()
			_, err = io.ReadAll(res)
			res.Close()
		}
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got %v, want the context's error", name, err)
		}
		cancel()
	}
}

func TestTheEndOfTheContextBreaksOffSending(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	finished, cancelled := make(chan bool), make(chan time.Time, 1)
	var server sync.WaitGroup
	defer server.Wait()
	defer l.Close()
	defer close(finished)
	server.Go(func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = c.Read(make([]byte, 1)) // sending has begun; it reads no more
		cancelled <- time.Now()
		cancel()
		<-finished
	})
	r := &Request{Method: "POST", Target: "/", Host: "h", Address: l.Addr().String(), Body: make([]byte, 64<<20), Timeout: time.Minute}
	_, err = newClient(t).Do(ctx, r)
	if took := time.Since(<-cancelled); !errors.Is(err, context.Canceled) || took > r.Timeout/2 {
		t.Errorf("got %v after %v, want the context's error at once", err, took)
	}
}

func TestALargeRequestMayWaitForItsAnswerAndItsBody(t *testing.T) {
	s := newScript(t, func(_, _ int, _ string, c net.Conn) bool {
		<-time.After(patience + patience/4)
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no")
		<-time.After(patience + patience/4)
		_, _ = io.WriteString(c, "k")
		return true
	})
	r := s.request("POST")
	r.Body, r.Timeout = make([]byte, 2*blockable), 2*patience
	c := newClient(t)
	for range 2 {
		if a, err := do(c, r); err != nil || a.Body != "ok" {
			t.Fatalf("got %+v, %v", a, err)
		}
	}
	if n := s.opened(); n != 1 {
		t.Errorf("got %d connections, want 1", n)
	}
}

func TestTheTimeoutEndsAtTheHeader(t *testing.T) {
	release := make(chan bool)
	s := newScript(t, func(_, request int, _ string, c net.Conn) bool {
		switch request {
		case 0:
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no")
			<-release
			_, _ = io.WriteString(c, "k")
			return true
		}
		_, _ = c.Read(make([]byte, 1)) // until the client closes
		return false
	})
	c := newClient(t)
	r := s.request("GET")
	r.Timeout = 40 * time.Millisecond
	res, err := c.Do(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	<-time.After(3 * r.Timeout)
	close(release)
	if body, err := io.ReadAll(res); err != nil || string(body) != "ok" {
		t.Errorf("got %q, %v, want the body although it took longer", body, err)
	}
	res.Close()
	if _, err := do(c, r); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v, want a timeout", err)
	}
	if n := s.opened(); n != 1 {
		t.Errorf("got %d connections: a timeout must not be repeated", n)
	}
}

func TestAnAnswerMayTakeLongerThanTheFirstDeadline(t *testing.T) {
	slow := func() { <-time.After(patience + patience/4) }
	s := newScript(t, func(_, request int, _ string, c net.Conn) bool {
		if request == 1 {
			slow()
		}
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no")
		if request > 0 {
			slow()
		}
		_, _ = io.WriteString(c, "k")
		return true
	})
	c := newClient(t)
	for range 4 {
		if a, err := do(c, s.request("GET")); err != nil || a.Body != "ok" {
			t.Fatalf("got %+v, %v", a, err)
		}
	}
	if n := s.opened(); n != 1 {
		t.Errorf("got %d connections, want 1", n)
	}
}

func TestAShortTimeoutHoldsOnAConnectionThatHadALongOne(t *testing.T) {
	s := newScript(t, func(_, request int, _ string, c net.Conn) bool {
		if request == 0 {
			_, _ = io.WriteString(c, good)
			return true
		}
		_, _ = c.Read(make([]byte, 1)) // until the client closes
		return false
	})
	c := newClient(t)
	if _, err := do(c, s.request("GET")); err != nil {
		t.Fatal(err)
	}
	r := s.request("GET")
	r.Timeout = 20 * time.Millisecond
	start := time.Now()
	_, err := do(c, r)
	if took := time.Since(start); !errors.Is(err, os.ErrDeadlineExceeded) || took > patience/2 {
		t.Errorf("got %v after %v, want a timeout after %v", err, took, r.Timeout)
	}
}

func TestThePoolIsBoundedAndExpires(t *testing.T) {
	s := newScript(t, say(good))
	c := New(Options{Dial: new(net.Dialer).DialContext, MaxIdlePerHost: 2, IdleTimeout: 30 * time.Millisecond, MaxHeaderBytes: 1 << 10})
	defer c.Close()
	var open []*Response
	for range 3 {
		res, err := c.Do(context.Background(), s.request("GET"))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.ReadAll(res)
		open = append(open, res)
	}
	for _, res := range open {
		res.Close()
	}
	kept := func() int {
		c.pool.mu.Lock()
		defer c.pool.mu.Unlock()
		return len(c.pool.idle[s.l.Addr().String()])
	}
	if n := kept(); n != 2 {
		t.Errorf("%d connections kept, want 2", n)
	}
	for deadline := time.Now().Add(5 * time.Second); kept() > 0; {
		if time.Now().After(deadline) {
			t.Fatal("idle connections never expire")
		}
		<-time.After(5 * time.Millisecond)
	}
}

func TestAClosedClientKeepsNothing(t *testing.T) {
	s := newScript(t, say(good))
	c := newClient(t)
	res, err := c.Do(context.Background(), s.request("GET"))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.ReadAll(res)
	c.Close()
	res.Close()
	if len(c.pool.idle) != 0 {
		t.Error("a connection was kept")
	}
}

func TestManyRequestsAtOnceGetTheirOwnAnswers(t *testing.T) {
	s := newScript(t, func(_, request int, head string, c net.Conn) bool {
		path := strings.Fields(head)[1]
		if request%7 == 3 {
			return false
		}
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(path), path)
		return true
	})
	c := newClient(t)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 50 {
				r := s.request("GET")
				r.Target = fmt.Sprintf("/%d/%d", g, i)
				if a, err := do(c, r); err != nil || a.Body != r.Target {
					t.Errorf("%s: got %+v, %v", r.Target, a, err)
				}
			}
		})
	}
	wg.Wait()
}

// FuzzAnswersReadAsTheStandardLibraryReadsThem compares with http.Transport.
func FuzzAnswersReadAsTheStandardLibraryReadsThem(f *testing.F) {
	for _, s := range []string{good, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n2\r\nok\r\n0\r\nX-T: 1\r\n\r\n", "HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.0 200 OK\r\n\r\nuntil the end",
		"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + good, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\nx"} {
		f.Add("GET", []byte(s))
		f.Add("HEAD", []byte(s))
	}
	var mu sync.Mutex
	var reply []byte
	s := newScript(f, func(_, _ int, _ string, c net.Conn) bool {
		mu.Lock()
		defer mu.Unlock()
		_, _ = c.Write(reply)
		return false
	})
	f.Fuzz(func(t *testing.T, method string, raw []byte) {
		if method != "HEAD" {
			method = "GET"
		}
		mu.Lock()
		reply = raw
		mu.Unlock()
		got, gotErr := do(newClient(t), s.request(method))
		tr := &http.Transport{DisableCompression: true, DisableKeepAlives: false, MaxResponseHeaderBytes: 8 << 10}
		defer tr.CloseIdleConnections()
		req, _ := http.NewRequest(method, "http://"+s.l.Addr().String()+"/", nil)
		res, err := tr.RoundTrip(req)
		if err != nil || res.StatusCode < 100 || res.StatusCode == 101 {
			if err == nil {
				res.Body.Close()
			}
			if gotErr == nil {
				t.Fatalf("%s %q: got %+v, the standard library refuses: %v", method, raw, got, err)
			}
			return
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		want := answer{res.StatusCode, res.Header, string(body), res.Trailer, err != nil}
		if gotErr != nil && !got.Failed {
			t.Fatal(gotErr)
		}
		if got.Status == 0 {
			t.Fatalf("%s %q: got %v, the standard library reads %+v", method, raw, gotErr, want)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%s %q (-standard +wire): %s", method, raw, diff)
		}
	})
}
