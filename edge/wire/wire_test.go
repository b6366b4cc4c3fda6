package wire

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// script is a connection of which each Read gets the next piece, and the end after the
// last. What is written is kept.
type script struct {
	mu     sync.Mutex
	pieces [][]byte
	out    bytes.Buffer
	once   sync.Once
	closed chan struct{}
}

func newScript(pieces ...[]byte) *script {
	return &script{pieces: pieces, closed: make(chan struct{})}
}

func (s *script) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.pieces) > 0 && len(s.pieces[0]) == 0 {
		s.pieces = s.pieces[1:]
	}
	if len(s.pieces) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.pieces[0])
	s.pieces[0] = s.pieces[0][n:]
	return n, nil
}

// left is how much can still be read.
func (s *script) left() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.pieces {
		n += len(p)
	}
	return n
}

func (s *script) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.Write(p)
}

func (s *script) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}

func (s *script) LocalAddr() net.Addr              { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80} }
func (s *script) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 7} }
func (s *script) SetDeadline(time.Time) error      { return nil }
func (s *script) SetReadDeadline(time.Time) error  { return nil }
func (s *script) SetWriteDeadline(time.Time) error { return nil }

// one is a listener of one connection.
type one struct {
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func newOne(c net.Conn) *one {
	l := &one{conns: make(chan net.Conn, 1), closed: make(chan struct{})}
	l.conns <- c
	return l
}

func (l *one) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *one) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *one) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80} }

// standard is an http.Server as package edge makes them.
func standard(h http.Handler) *http.Server {
	return &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: log.New(io.Discard, "", 0), DisableGeneralOptionsHandler: true}
}

// seen is a request as a handler sees it.
type seen struct {
	Method, Proto, Host, URI, Remote string
	URL                              any
	Header, Trailer                  http.Header
	Length                           int64
	Coding                           []string
	Close, TLS                       bool
	Body, BodyErr                    string
	Local                            string
	Server                           bool
}

func see(r *http.Request) seen {
	s := seen{Method: r.Method, Proto: fmt.Sprint(r.Proto, r.ProtoMajor, r.ProtoMinor), Host: r.Host, URI: r.RequestURI, Remote: r.RemoteAddr, URL: *r.URL,
		Header: r.Header, Length: r.ContentLength, Coding: r.TransferEncoding, Close: r.Close, TLS: r.TLS != nil}
	body, err := io.ReadAll(r.Body)
	s.Body, s.Trailer = string(body), r.Trailer
	if err != nil {
		s.BodyErr = err.Error()
	}
	s.Local = fmt.Sprint(r.Context().Value(http.LocalAddrContextKey))
	_, s.Server = r.Context().Value(http.ServerContextKey).(*http.Server)
	return s
}

// answered is what a client got on a connection: the answers, and what is none.
type answered struct {
	Answers []answer
	Rest    string
}

type answer struct {
	Status  string
	Header  http.Header
	Length  int64
	Coding  []string
	Close   bool
	Body    string
	Err     string
	Trailer http.Header
}

// read reads what a server wrote, for requests of the methods given.
func read(out []byte, methods []string) answered {
	var all answered
	in := bufio.NewReader(bytes.NewReader(out))
	for i := 0; ; i++ {
		method := http.MethodGet
		if i < len(methods) {
			method = methods[i]
		}
		rest, _ := io.ReadAll(in)
		in = bufio.NewReader(bytes.NewReader(rest))
		res, err := http.ReadResponse(in, &http.Request{Method: method})
		if err != nil {
			all.Rest = string(rest)
			return all
		}
		if res.StatusCode < 200 && res.StatusCode != http.StatusSwitchingProtocols {
			i-- // one more answers the request
		}
		body, err := io.ReadAll(res.Body)
		if _, ok := res.Header["Date"]; ok && res.Header.Get("Date") != "fixed" {
			res.Header["Date"] = []string{"now"}
		}
		a := answer{res.Status, res.Header, res.ContentLength, res.TransferEncoding, res.Close, string(body), "", res.Trailer}
		if err != nil {
			a.Err = err.Error()
		}
		all.Answers = append(all.Answers, a)
	}
}

// serving is what came of a connection.
type serving struct {
	Seen []seen
	Got  answered
}

// statuses are those of the answers.
func (s serving) statuses() (all []string) {
	for _, a := range s.Got.Answers {
		all = append(all, a.Status)
	}
	return all
}

// serve serves one connection by a server, the loop or net/http's, to its end. It
// reports how many requests the loop served itself, and in broken whether the body of
// one of them broke off.
func serve(h http.Handler, loop bool, pieces ...[]byte) (s serving, plain int) {
	s, plain, _ = serveAll(h, loop, pieces...)
	return s, plain
}

func serveAll(h http.Handler, loop bool, pieces ...[]byte) (s serving, plain int, broken bool) {
	c := newScript(pieces...)
	var methods []string
	server := standard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		methods = append(methods, r.Method)
		if ours, ok := w.(*response); ok {
			plain++
			if left := ours.exchange.body.left; left > int64(c.left()) {
				broken = true
			}
		}
		if h != nil {
			h.ServeHTTP(w, r)
			return
		}
		saw := see(r)
		s.Seen = append(s.Seen, saw)
		_ = json.NewEncoder(w).Encode(saw)
	}))
	l := newOne(c)
	done := make(chan struct{})
	var w *Server
	if loop {
		w = New(server)
	}
	go func() {
		defer close(done)
		if loop {
			_ = w.Serve(l)
			return
		}
		_ = server.Serve(l)
	}()
	<-c.closed
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if loop {
		_ = w.Shutdown(ctx)
	} else {
		_ = server.Shutdown(ctx)
	}
	<-done
	s.Got = read(c.out.Bytes(), methods)
	return s, plain, broken
}

func checkServed(t *testing.T, h http.Handler, pieces ...[]byte) (plain int) {
	t.Helper()
	clone := func() (all [][]byte) {
		for _, p := range pieces {
			all = append(all, bytes.Clone(p))
		}
		return all
	}
	want, _ := serve(h, false, clone()...)
	got, plain, broken := serveAll(h, true, clone()...)
	if broken {
		// net/http reads a body that broke off as one that ended, from the second Read
		// on, and may keep the connection.
		if diff := cmp.Diff(want.statuses(), got.statuses()); diff != "" {
			t.Fatalf("%q (-standard +loop)\n%s", pieces, diff)
		}
		return plain
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("%q (-standard +loop)\n%s", pieces, diff)
	}
	return plain
}

func TestEveryRequestIsServedAsByTheStandardServer(t *testing.T) {
	for _, raw := range plainRequests {
		if plain := checkServed(t, nil, []byte(raw)); plain != 1 && !strings.HasSuffix(raw, "GET /") {
			t.Errorf("%q: %d requests were served by the loop", raw, plain)
		}
	}
	for _, raw := range unusualRequests {
		if plain := checkServed(t, nil, []byte(raw)); plain != 0 {
			t.Errorf("%q was served by the loop", raw)
		}
		// Behind a plain one, and before one that must not be mistaken for its body.
		checkServed(t, nil, []byte("GET /first HTTP/1.1\r\nHost: a\r\n\r\n"+raw+"GET /last HTTP/1.1\r\nHost: a\r\n\r\n"))
	}
}

const pipelined = "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n12345" + "GET /b?c HTTP/1.1\r\nHost: a\r\nX-Y: z\r\n\r\n" +
	"POST /blank HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n1\r\n" + "HEAD /d HTTP/1.1\r\nHost: a\r\n\r\n" +
	"POST /e HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n" + "GET /f HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" + "GET /never HTTP/1.1\r\nHost: a\r\n\r\n"

func TestRequestsMayArriveInAnyPieces(t *testing.T) {
	raw := []byte(pipelined)
	for i := range len(raw) + 1 {
		if plain := checkServed(t, nil, raw[:i], raw[i:]); plain != 4 {
			t.Fatalf("%q: %d requests were served by the loop, want 4", raw[:i], plain)
		}
	}
	var single [][]byte
	for i := range raw {
		single = append(single, raw[i:i+1])
	}
	if plain := checkServed(t, nil, single...); plain != 4 {
		t.Errorf("byte by byte: %d requests were served by the loop, want 4", plain)
	}
}

func TestRequestsThatBreakOffEndAsInTheStandardServer(t *testing.T) {
	for i := range len(pipelined) {
		checkServed(t, nil, []byte(pipelined[:i]))
	}
	for _, rest := range []string{"\n", "\r\n", "\x00", "G", "\r\n\r", "\r\n\r\n", "GE\x00T"} {
		checkServed(t, nil, []byte(get+rest))
	}
}

func TestTheConnectionEndsWithABodyThatBrokeOff(t *testing.T) {
	for i := range 5 {
		s, _ := serve(nil, true, []byte("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n12345"[:len("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n")+i]))
		if len(s.Seen) != 1 || s.Seen[0].BodyErr != io.ErrUnexpectedEOF.Error() || len(s.Got.Answers) != 1 || !s.Got.Answers[0].Close {
			t.Errorf("%d bytes: got %+v", i, s)
		}
	}
}

// answers are handlers whose answers have to be the same.
var answers = map[string]http.HandlerFunc{
	"nothing":  func(http.ResponseWriter, *http.Request) {},
	"a status": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) },
	"204":      func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204); _, _ = io.WriteString(w, "x") },
	"304": func(w http.ResponseWriter, _ *http.Request) {
		set(w, "Content-Type", "a/b", "Content-Length", "5", "ETag", `"x"`)
		w.WriteHeader(304)
	},
	"204 with a length": func(w http.ResponseWriter, _ *http.Request) { set(w, "Content-Length", "5"); w.WriteHeader(204) },
	"unknown":           func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(599) },
	"text":              func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") },
	"html":              func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<!DOCTYPE html><p>") },
	"typed":             func(w http.ResponseWriter, _ *http.Request) { set(w, "Content-Type", "a/b"); fmt.Fprint(w, "<p>") },
	"untyped":           func(w http.ResponseWriter, _ *http.Request) { w.Header()["Content-Type"] = nil; fmt.Fprint(w, "<p>") },
	"encoded":           func(w http.ResponseWriter, _ *http.Request) { set(w, "Content-Encoding", "gzip"); fmt.Fprint(w, "<p>") },
	"dated":             func(w http.ResponseWriter, _ *http.Request) { set(w, "Date", "fixed"); fmt.Fprint(w, "x") },
	"undated":           func(w http.ResponseWriter, _ *http.Request) { w.Header()["Date"] = nil; fmt.Fprint(w, "x") },
	"2048 bytes":        func(w http.ResponseWriter, _ *http.Request) { fill(w, 2048, 2048) },
	"2049 bytes":        func(w http.ResponseWriter, _ *http.Request) { fill(w, 2049, 2049) },
	"2049 in two":       func(w http.ResponseWriter, _ *http.Request) { fill(w, 2049, 2047) },
	"pieces":            func(w http.ResponseWriter, _ *http.Request) { fill(w, 50_000, 77) },
	"large":             func(w http.ResponseWriter, _ *http.Request) { fill(w, 50_000, 50_000) },
	"small, large":      func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<p>"); fill(w, 50_000, 50_000) },
	"strings": func(w http.ResponseWriter, _ *http.Request) {
		for range 1000 {
			_, _ = io.WriteString(w, "0123456789")
		}
	},
	"a length": func(w http.ResponseWriter, _ *http.Request) { set(w, "Content-Length", "50000"); fill(w, 50_000, 3000) },
	"a short length": func(w http.ResponseWriter, _ *http.Request) {
		set(w, "Content-Length", "5")
		fmt.Fprint(w, "12345")
		fmt.Fprint(w, "6")
	},
	"a long length":     func(w http.ResponseWriter, _ *http.Request) { set(w, "Content-Length", "5"); fmt.Fprint(w, "123") },
	"a length, nothing": func(w http.ResponseWriter, _ *http.Request) { set(w, "Content-Length", "0"); w.WriteHeader(200) },
	"flushed": func(w http.ResponseWriter, _ *http.Request) {
		w.(http.Flusher).Flush()
		fmt.Fprint(w, "<p>")
		w.(http.Flusher).Flush()
		fmt.Fprint(w, "b")
	},
	"flushed at last": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<p>"); w.(http.Flusher).Flush() },
	"flushed, large": func(w http.ResponseWriter, _ *http.Request) {
		fill(w, 20_000, 20_000)
		w.(http.Flusher).Flush()
		fill(w, 20_000, 9_000)
	},
	"closing": func(w http.ResponseWriter, _ *http.Request) { set(w, "Connection", "close"); fmt.Fprint(w, "x") },
	"keeping": func(w http.ResponseWriter, _ *http.Request) { set(w, "Connection", "keep-alive"); fmt.Fprint(w, "x") },
	"early": func(w http.ResponseWriter, _ *http.Request) {
		set(w, "Link", "x", "Content-Length", "1")
		w.WriteHeader(103)
		w.WriteHeader(103)
		w.WriteHeader(201)
		fmt.Fprint(w, "x")
	},
	"102 alone": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(102) },
	"identity": func(w http.ResponseWriter, _ *http.Request) {
		set(w, "Transfer-Encoding", "identity")
		fmt.Fprint(w, "<p>")
	},
	"chunked": func(w http.ResponseWriter, _ *http.Request) {
		set(w, "Transfer-Encoding", "chunked")
		fmt.Fprint(w, "<p>")
	},
	"chunked and a length": func(w http.ResponseWriter, _ *http.Request) {
		set(w, "Transfer-Encoding", "chunked", "Content-Length", "3")
		fmt.Fprint(w, "<p>")
	},
	"trailers": func(w http.ResponseWriter, _ *http.Request) {
		set(w, "Trailer", "x-a, X-B,,")
		fmt.Fprint(w, "x")
		set(w, "X-A", "1", "X-B", "2", "X-C", "3")
	},
	"unannounced trailers": func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "x")
		w.(http.Flusher).Flush()
		set(w, http.TrailerPrefix+"X-A", "1")
	},
	"late trailers": func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "x")
		w.Header()[http.TrailerPrefix+"X-A"] = []string{"1"}
	},
	"odd fields": func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h["x-lower"], h["X Y"], h["X-Nl"], h["X-Two"], h["X-Sp"] = []string{"a"}, []string{"b"}, []string{"a\r\nSet-Cookie: b"}, []string{"a", "b"}, []string{" a "}
		fmt.Fprint(w, "x")
	},
	"late fields": func(w http.ResponseWriter, _ *http.Request) {
		set(w, "X-A", "1")
		w.WriteHeader(200)
		set(w, "X-A", "2", "X-B", "3")
		fmt.Fprint(w, "x")
	},
	"two statuses": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(201); w.WriteHeader(500) },
	"echo":         func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) },
	"echo later": func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(200)
		w.(http.Flusher).Flush()
		_, err := io.Copy(w, r.Body)
		fmt.Fprint(w, err)
	},
	"half a body": func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadFull(r.Body, make([]byte, 2))
		fmt.Fprint(w, "x")
	},
	"closed body": func(w http.ResponseWriter, r *http.Request) {
		_ = r.Body.Close()
		_, err := r.Body.Read(make([]byte, 1))
		fmt.Fprint(w, err)
	},
	"both ways": func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		w.(http.Flusher).Flush()
		_, _ = io.Copy(w, r.Body)
	},
	"panic": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "x"); panic("x") },
	"abort": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
}

func set(w http.ResponseWriter, pairs ...string) {
	for i := 0; i < len(pairs); i += 2 {
		w.Header()[http.CanonicalHeaderKey(pairs[i])] = []string{pairs[i+1]}
	}
}

// fill writes size bytes in pieces.
func fill(w io.Writer, size, piece int) {
	for size > 0 {
		n := min(size, piece)
		_, _ = w.Write(bytes.Repeat([]byte("<"), n))
		size -= n
	}
}

func TestEveryAnswerIsFramedAsByTheStandardServer(t *testing.T) {
	for name, h := range answers {
		t.Run(name, func(t *testing.T) {
			for _, method := range []string{"GET", "HEAD"} {
				plain := checkServed(t, h, []byte(method+" / HTTP/1.1\r\nHost: a\r\n\r\n"+method+" / HTTP/1.1\r\nHost: a\r\n\r\n"))
				if plain == 0 {
					t.Errorf("%s was not served by the loop", method)
				}
			}
			const next = "GET /next HTTP/1.1\r\nHost: a\r\n\r\n"
			checkServed(t, h, []byte("POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 5\r\n\r\n12345"+next))
			checkServed(t, h, []byte("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n12"), []byte("345"+next))
			checkServed(t, h, []byte("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9000\r\n\r\n"+strings.Repeat("x", 4000)), []byte(strings.Repeat("x", 5000)+next))
		})
	}
}

func TestAVoidLengthIsNone(t *testing.T) {
	for _, void := range []string{"", "x", "-1"} {
		checkServed(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			set(w, "Content-Length", void)
			fmt.Fprint(w, "123")
		}), []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"))
	}
}

// FuzzServe compares everything that a client gets for any bytes in any two pieces.
func FuzzServe(f *testing.F) {
	for _, raw := range append(plainRequests, unusualRequests...) {
		f.Add([]byte(raw+"GET /next HTTP/1.1\r\nHost: a\r\n\r\n"), uint16(20), "")
	}
	for name := range answers {
		f.Add([]byte(pipelined), uint16(60), name)
	}
	f.Fuzz(func(t *testing.T, raw []byte, at uint16, name string) {
		if len(raw) > 4<<10 || bytes.Contains(raw, []byte("PRI * HTTP/2.0\r\n\r\nSM")) {
			return // HTTP/2 is net/http's, and its frames are not compared
		}
		var h http.Handler
		if f := answers[name]; f != nil {
			h = f
		}
		cut := min(int(at), len(raw))
		checkServed(t, h, raw[:cut], raw[cut:])
	})
}

func BenchmarkServe(b *testing.B) {
	for _, loop := range []bool{true, false} {
		b.Run("loop="+strconv.FormatBool(loop), func(b *testing.B) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			body := []byte(`{"ok":true}`)
			server := standard(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header()["Content-Type"] = []string{"application/json"}
				_, _ = w.Write(body)
			}))
			shutdown := server.Shutdown
			if loop {
				w := New(server)
				shutdown = w.Shutdown
				go func() { _ = w.Serve(l) }()
			} else {
				go func() { _ = server.Serve(l) }()
			}
			defer func() { _ = shutdown(context.Background()) }()
			c, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			in := make([]byte, 4096)
			b.ReportAllocs()
			for b.Loop() {
				_, _ = io.WriteString(c, "GET /a HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\n")
				if n, err := c.Read(in); err != nil || !bytes.HasSuffix(in[:n], body) {
					b.Fatal(string(in[:n]), err)
				}
			}
		})
	}
}
