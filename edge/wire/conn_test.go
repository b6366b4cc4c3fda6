package wire

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// start serves h over TCP until the test ends; change, when not nil, sets the server up.
func start(t testing.TB, h http.HandlerFunc, change func(*http.Server)) (*Server, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	rest := standard(h)
	if change != nil {
		change(rest)
	}
	s := New(rest)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		_ = s.Close() // a test may leave connections open
		if err := <-done; err != http.ErrServerClosed {
			t.Errorf("serve: %v", err)
		}
	})
	return s, l.Addr().String()
}

func dial(t testing.TB, address, send string) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(c, send); err != nil {
		t.Fatal(err)
	}
	return c, bufio.NewReader(c)
}

// want reads an answer and checks its status and body.
func want(t testing.TB, in *bufio.Reader, status int, body string) *http.Response {
	t.Helper()
	res, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != status || string(got) != body {
		t.Fatalf("got %d %q %v, want %d %q", res.StatusCode, got, err, status, body)
	}
	return res
}

// wantEnd checks that the server closes the connection.
func wantEnd(t testing.TB, in *bufio.Reader) {
	t.Helper()
	if rest, err := io.ReadAll(in); len(rest) > 0 || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %q, %v, want the end", rest, err)
	}
}

const get = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n"

func ok(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }

// loop reports by whom w's request is served.
func isLoop(w http.ResponseWriter) bool { _, ours := w.(*response); return ours }

func TestAConnectionGoesToTheStandardServerForGood(t *testing.T) {
	var mu sync.Mutex
	var by []bool
	_, address := start(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		by = append(by, isLoop(w))
		_, _ = io.Copy(w, r.Body)
	}, nil)
	c, in := dial(t, address, get+get)
	want(t, in, 200, "")
	want(t, in, 200, "")
	_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"+get)
	want(t, in, 200, "ok")
	want(t, in, 200, "")
	mu.Lock()
	defer mu.Unlock()
	if fmt.Sprint(by) != "[true true false false]" {
		t.Errorf("served by the loop: %v", by)
	}
}

func TestHTTP2WithPriorKnowledgeGoesToTheStandardServer(t *testing.T) {
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	_, address := start(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Proto) }, func(s *http.Server) {
		s.Protocols = &http.Protocols{}
		s.Protocols.SetHTTP1(true)
		s.Protocols.SetUnencryptedHTTP2(true)
	})
	tr := &http.Transport{Protocols: &protocols}
	defer tr.CloseIdleConnections()
	res, err := (&http.Client{Transport: tr}).Get("http://" + address)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if body, _ := io.ReadAll(res.Body); string(body) != "HTTP/2.0" {
		t.Errorf("got %q", body)
	}
}

func TestLongHeadersAreReadUpToTheLimitAndRefusedBeyondIt(t *testing.T) {
	_, address := start(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, isLoop(w), len(r.Header.Get("X")), r.Header.Get("Y"))
	}, func(s *http.Server) { s.MaxHeaderBytes = 20 << 10 })
	for _, n := range []int{1, 3000, 4000, 4096, 5000, 9000, 16300, 18000} {
		c, in := dial(t, address, get+"GET / HTTP/1.1\r\nHost: a\r\nX: "+strings.Repeat("x", n)+"\r\nY: y\r\n\r\n")
		want(t, in, 200, "true 0 \n")
		want(t, in, 200, fmt.Sprintf("true %d y\n", n))
		_, _ = io.WriteString(c, get) // from another buffer
		want(t, in, 200, "true 0 \n")
	}
	_, in := dial(t, address, get+"GET / HTTP/1.1\r\nHost: a\r\nX: "+strings.Repeat("x", 30<<10))
	want(t, in, 200, "true 0 \n")
	if res, err := http.ReadResponse(in, nil); err != nil || res.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("got %v, %v, want 431", res, err)
	}
}

func TestABodyThatNobodyReadsIsNoRequest(t *testing.T) {
	_, address := start(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/body" && r.URL.Path != "/a" {
			t.Errorf("served %s", r.URL)
		}
		ok(w, r)
	}, nil)
	smuggled := "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
	body := func(n int) string {
		return strings.Repeat(smuggled, n/len(smuggled)+1)[:n]
	}
	for _, n := range []int{1, 100, 5000, 200_000, drainable} {
		c, in := dial(t, address, fmt.Sprintf("POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", n))
		_, _ = io.WriteString(c, body(n)+get)
		if res := want(t, in, 200, "ok"); res.Close {
			t.Errorf("%d bytes: the connection ends", n)
		}
		want(t, in, 200, "ok")
	}
	c, in := dial(t, address, "POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 9000000\r\n\r\n")
	go func() { _, _ = io.WriteString(c, body(9_000_000)) }() // fails in the end
	if res := want(t, in, 200, "ok"); !res.Close {
		t.Error("the connection goes on after a body that was too large to read")
	}
	wantEnd(t, in)
}

func TestAClientThatTakesNothingEndsTheRequest(t *testing.T) {
	failed := make(chan error, 1)
	_, address := start(t, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
		for range 10_000 {
			if _, err := w.Write(make([]byte, 64<<10)); err != nil {
				failed <- errors.Join(err, r.Context().Err())
				return
			}
		}
		failed <- nil
	}, nil)
	dial(t, address, get)
	if err := <-failed; !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "timeout") {
		t.Errorf("got %v, want a timeout, and the context's end", err)
	}
}

func TestAPanicEndsTheConnectionAndIsLogged(t *testing.T) {
	for _, v := range []any{"the reason", http.ErrAbortHandler} {
		var mu sync.Mutex
		var out bytes.Buffer
		s, address := start(t, func(w http.ResponseWriter, _ *http.Request) {
			fill(w, 20_000, 20_000)
			panic(v)
		}, func(s *http.Server) { s.ErrorLog = log.New(locked{&mu, &out}, "", 0) })
		_, in := dial(t, address, get+get)
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(res.Body); err == nil {
			t.Errorf("%v: %d bytes pass for the whole answer", v, len(body))
		}
		_ = s.Shutdown(context.Background()) // the log is written
		mu.Lock()
		if logged := strings.Contains(out.String(), "the reason"); logged != (v == "the reason") {
			t.Errorf("%v: logged %q", v, out.String())
		}
		mu.Unlock()
	}
}

type locked struct {
	mu *sync.Mutex
	w  io.Writer
}

func (l locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

func TestAHijackedConnectionIsItsTakersWithAllThatCame(t *testing.T) {
	taken := make(chan net.Conn, 1)
	s, address := start(t, func(w http.ResponseWriter, r *http.Request) {
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		if _, _, err := w.(http.Hijacker).Hijack(); !errors.Is(err, http.ErrHijacked) {
			t.Errorf("hijacked twice: %v", err)
		}
		if _, err := w.Write([]byte("x")); !errors.Is(err, http.ErrHijacked) {
			t.Errorf("written: %v", err)
		}
		select { // watching it now would take bytes from the taker
		case <-r.Context().Done():
			t.Error("cancelled")
		case <-time.After(4 * patience):
		}
		line, err := rw.ReadString('\n')
		if err != nil || line != "more\n" {
			t.Errorf("got %q, %v", line, err)
		}
		line, err = rw.ReadString('\n')
		fmt.Fprintf(c, "%s%v", line, err)
		taken <- c
	}, nil)
	client, in := dial(t, address, get+"more\n")
	_, _ = io.WriteString(client, "later\n")
	c := <-taken
	if err := s.Shutdown(context.Background()); err != nil { // it is nobody's business any more
		t.Error(err)
	}
	_, _ = io.WriteString(c, "!")
	_ = c.Close()
	if got, _ := io.ReadAll(in); string(got) != "later\n<nil>!" {
		t.Errorf("got %q", got)
	}
}

func TestAResponseWriterIsOfNoUseAfterItsHandler(t *testing.T) {
	var kept http.ResponseWriter
	_, address := start(t, func(w http.ResponseWriter, r *http.Request) {
		if kept == nil {
			kept = w
			ok(w, r)
			return
		}
		c := http.NewResponseController(kept)
		if _, err := kept.Write([]byte("late")); err == nil {
			t.Error("written")
		}
		if c.Flush() == nil || c.SetWriteDeadline(time.Now()) == nil {
			t.Error("used")
		}
		if _, _, err := c.Hijack(); err == nil {
			t.Error("hijacked")
		}
		kept.WriteHeader(500)
		_ = c.SetReadDeadline(time.Unix(1, 0)) // a body's, which is over
		ok(w, r)
	}, nil)
	_, in := dial(t, address, get+get+get)
	for range 3 {
		want(t, in, 200, "ok")
	}
}

func TestShutdownLetsRequestsFinishAndClosesIdleConnections(t *testing.T) {
	entered, release := make(chan bool), make(chan bool)
	s, address := start(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			entered <- true
			<-release
		}
		ok(w, r)
	}, nil)
	_, resting := dial(t, address, get)
	want(t, resting, 200, "ok")
	_, begun := dial(t, address, get+"GET / HTTP")
	want(t, begun, 200, "ok")
	_, running := dial(t, address, "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n"+get)
	<-entered
	done := make(chan error, 1)
	go func() { done <- s.Shutdown(context.Background()) }()
	wantEnd(t, resting)
	wantEnd(t, begun)
	if _, err := net.Dial("tcp", address); err == nil {
		t.Error("still accepting")
	}
	select {
	case err := <-done:
		t.Fatalf("shutdown returned %v while a request ran", err)
	case <-time.After(20 * time.Millisecond):
	}
	close(release)
	if res := want(t, running, 200, "ok"); !res.Close {
		t.Error("the client is not told that the connection ends")
	}
	wantEnd(t, running)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestANewConnectionHasTimeForItsRequestDuringShutdown(t *testing.T) {
	s, address := start(t, ok, nil)
	c, in := dial(t, address, "")
	for { // until it is known
		s.mu.Lock()
		n := len(s.conns)
		s.mu.Unlock()
		if n == 1 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	done := make(chan error, 1)
	go func() { done <- s.Shutdown(context.Background()) }()
	for !s.closing.Load() {
		time.Sleep(time.Millisecond)
	}
	_, _ = io.WriteString(c, get)
	want(t, in, 200, "ok")
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestShutdownGivesUpWithItsContextAndCloseCutsTheRest(t *testing.T) {
	cut, entered := make(chan bool), make(chan bool)
	s, address := start(t, func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
		close(cut)
	}, nil)
	_, in := dial(t, address, get)
	<-entered
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the context's error", err)
	}
	_ = s.Close()
	<-cut
	wantEnd(t, in)
	if err := s.Serve(newOne(newScript())); err != http.ErrServerClosed {
		t.Errorf("serve after close: %v", err)
	}
}

func TestManyConnectionsGetTheirOwnAnswers(t *testing.T) {
	var served atomic.Int64
	_, address := start(t, func(w http.ResponseWriter, r *http.Request) {
		if served.Add(1)%11 == 0 {
			select {
			case <-r.Context().Done():
				t.Error("cancelled")
			case <-time.After(patience + time.Millisecond):
			}
		}
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s %s", r.URL, r.Header.Get("X-N"), body, strings.Repeat("x", len(body)*9))
	}, nil)
	var wait sync.WaitGroup
	for g := range 64 {
		wait.Go(func() {
			c, err := net.Dial("tcp", address)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(time.Minute))
			in := bufio.NewReader(c)
			for i := range 40 {
				body := strings.Repeat(fmt.Sprint(g), i*i)
				fmt.Fprintf(c, "POST /%d/%d HTTP/1.1\r\nHost: a\r\nX-N: %d\r\nContent-Length: %d\r\n\r\n%s", g, i, g*i, len(body), body)
				res, err := http.ReadResponse(in, nil)
				if err != nil {
					t.Error(err)
					return
				}
				got, err := io.ReadAll(res.Body)
				if want := fmt.Sprintf("/%d/%d %d %s %s", g, i, g*i, body, strings.Repeat("x", len(body)*9)); err != nil || string(got) != want {
					t.Errorf("got %q, %v, want %q", got, err, want)
				}
			}
		})
	}
	wait.Wait()
}

func TestWhatAHandlerKeepsDoesNotChange(t *testing.T) {
	var kept []*http.Request
	var headers []http.Header
	_, address := start(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header()["X-N"] = r.Header["X-N"]
		kept, headers = append(kept, r), append(headers, w.Header())
		ok(w, r)
	}, nil)
	c, in := dial(t, address, "")
	for i := range 20 {
		fmt.Fprintf(c, "GET /%d?%d HTTP/1.1\r\nHost: h%d\r\nX-N: %d\r\n\r\n", i, i, i, i)
		want(t, in, 200, "ok")
	}
	for i, r := range kept {
		n := fmt.Sprint(i)
		if got := r.URL.Path + r.URL.RawQuery + r.Host + r.Header.Get("X-N") + r.RequestURI + headers[i].Get("X-N"); got != "/"+n+n+"h"+n+n+"/"+n+"?"+n+n || r.Context().Err() == nil {
			t.Errorf("request %d became %s, %v", i, got, r.Context().Err())
		}
	}
}
