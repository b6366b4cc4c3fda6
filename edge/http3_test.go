package edge

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/quic-go/qpack"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/quic-go/quic-go/quicvarint"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/internal/testca"
)

// quicServer is an HTTP3 with the authority of its certificate.
type quicServer struct {
	*HTTP3
	address string
	ca      *testca.Authority
}

// listenQUIC serves o over QUIC until the test ends.
func listenQUIC(t testing.TB, o ServerOptions) quicServer {
	t.Helper()
	ca := testca.New(t, "authority", time.Now())
	issued := ca.Issue(t, func(c *x509.Certificate) {
		c.DNSNames, c.ExtKeyUsage = []string{"gate.test"}, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	})
	// As the program does it: the certificates of the moment.
	current := &tls.Config{Certificates: []tls.Certificate{issued.TLS()}, ClientAuth: tls.RequestClientCert, NextProtos: []string{"h2", "http/1.1"}}
	o.TLS = &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return current, nil }}
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := NewHTTP3(o, 443)
	done := make(chan error, 1)
	go func() { done <- s.Serve(conn) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = s.Shutdown(ctx)
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return quicServer{s, conn.LocalAddr().String(), ca}
}

// tls is what clients trust.
func (s quicServer) tls() *tls.Config {
	return &tls.Config{RootCAs: s.ca.Pool, ServerName: "gate.test", NextProtos: []string{"h3"}}
}

// client speaks HTTP/3 to the server, whatever a URL says.
func (s quicServer) client(t testing.TB, config *tls.Config) *http.Client {
	t.Helper()
	if config == nil {
		config = s.tls()
	}
	transport := &http3.Transport{TLSClientConfig: config, Dial: func(ctx context.Context, _ string, tls *tls.Config, q *quic.Config) (*quic.Conn, error) {
		return quic.DialAddr(ctx, s.address, tls, q)
	}}
	t.Cleanup(func() { _ = transport.Close() })
	return &http.Client{Transport: transport, Timeout: 20 * time.Second}
}

// readAll reads an answer.
func readAll(t testing.TB, res *http.Response, err error) (status int, body string) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

func TestARequestOverHTTP3IsWhatItIsOverHTTP2(t *testing.T) {
	type request struct {
		Proto, Method, Host, Path string
		Length                    int64
		NoBody, TLS               bool
		Body                      string
		Header, Trailer           http.Header
	}
	got := make(chan request, 1)
	g := gate(t, Options{})
	s := listenQUIC(t, ServerOptions{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.Serve(w, r, func(x *Exchange) {
			r := x.R
			if a := Addr(r.RemoteAddr); !a.IsLoopback() || x.Request.Client != a || x.Request.URL.Scheme != "https" {
				t.Errorf("the client is %s, the URL %s", x.Request.Client, x.Request.URL)
			}
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			h := http.Header{}
			for _, name := range []string{"A", "Expect", "Te"} {
				if v := r.Header[name]; v != nil {
					h[name] = v
				}
			}
			got <- request{r.Proto, r.Method, r.Host, r.URL.Path, r.ContentLength, r.Body == http.NoBody, r.TLS != nil, string(body), h, r.Trailer}
			x.W.Header().Set("Trailer", "T")
			x.W.Header().Set("B", "b")
			x.W.WriteHeader(http.StatusCreated)
			_, _ = io.WriteString(x.W, "answer")
			x.W.Header().Set("T", "t")
			x.W.Header().Set(http.TrailerPrefix+"Grpc-Status", "0")
		})
	})})
	large := strings.Repeat("x", 1<<20)
	for _, c := range []struct {
		name    string
		request func() *http.Request
		want    request
	}{
		{"a question", func() *http.Request {
			r, _ := http.NewRequest("GET", "https://gate.test/a/b?c", nil)
			r.Header.Set("A", "1")
			return r
		}, request{Method: "GET", Path: "/a/b", NoBody: true, Header: http.Header{"A": {"1"}}}},
		{"a deletion", func() *http.Request { r, _ := http.NewRequest("DELETE", "https://gate.test/a", nil); return r },
			request{Method: "DELETE", Path: "/a", NoBody: true}},
		{"a question with a body", func() *http.Request {
			r, _ := http.NewRequest("GET", "https://gate.test/a", io.NopCloser(strings.NewReader("text")))
			return r
		}, request{Method: "GET", Path: "/a", Length: -1, Body: "text"}},
		{"an upload", func() *http.Request {
			r, _ := http.NewRequest("POST", "https://gate.test/a", strings.NewReader(large))
			return r
		}, request{Method: "POST", Path: "/a", Length: 1 << 20, Body: large}},
		{"an upload of unknown length with trailers", func() *http.Request {
			r, _ := http.NewRequest("PUT", "https://gate.test/a", io.NopCloser(strings.NewReader("text")))
			r.Header.Set("Te", "trailers")
			r.Trailer = http.Header{"Sum": {"1"}}
			return r
		}, request{Method: "PUT", Path: "/a", Length: -1, Body: "text", Header: http.Header{"Te": {"trailers"}}, Trailer: http.Header{"Sum": {"1"}}}},
		{"an upload that waits to be asked for", func() *http.Request {
			r, _ := http.NewRequest("POST", "https://gate.test/a", strings.NewReader("text"))
			r.Header.Set("Expect", "100-continue")
			return r
		}, request{Method: "POST", Path: "/a", Length: 4, Body: "text"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.want.Proto, c.want.Host, c.want.TLS = "HTTP/3.0", "gate.test", true
			if c.want.Header == nil {
				c.want.Header = http.Header{}
			}
			res, err := s.client(t, nil).Do(c.request())
			status, body := readAll(t, res, err)
			if status != http.StatusCreated || body != "answer" || res.Header.Get("B") != "b" {
				t.Errorf("%d %q %v", status, body, res.Header)
			}
			if diff := cmp.Diff(http.Header{"T": {"t"}, "Grpc-Status": {"0"}}, res.Trailer); diff != "" {
				t.Errorf("trailers of the answer (-want +got)\n%s", diff)
			}
			if diff := cmp.Diff(c.want, <-got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestAnAnswerStreamsOverHTTP3AndEndsWithItsClient(t *testing.T) {
	ended := make(chan error, 1)
	g := gate(t, Options{})
	s := listenQUIC(t, ServerOptions{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.Serve(w, r, func(x *Exchange) {
			_, _ = io.WriteString(x.W, "event")
			_ = http.NewResponseController(x.W).Flush()
			<-r.Context().Done()
			ended <- r.Context().Err()
		})
	})})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, _ := http.NewRequestWithContext(ctx, "GET", "https://gate.test/events", nil)
	res, err := s.client(t, nil).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	event := make([]byte, len("event"))
	if _, err := io.ReadFull(res.Body, event); err != nil || string(event) != "event" {
		t.Fatalf("%q %v", event, err)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the request ended with %v", err)
	}
}

// field is a header field as it is sent.
type field struct{ name, value string }

// raw sends header fields as they are, without a body, and returns the status, 0 when
// the stream or the connection was reset.
func (s quicServer) raw(t testing.TB, fields ...field) int {
	t.Helper()
	conn, err := quic.DialAddr(t.Context(), s.address, s.tls(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.CloseWithError(0, "") }()
	stream, err := conn.OpenStream()
	if err != nil {
		t.Fatal(err)
	}
	var block bytes.Buffer
	encoder := qpack.NewEncoder(&block)
	for _, f := range fields {
		if err := encoder.WriteField(qpack.HeaderField{Name: f.name, Value: f.value}); err != nil {
			t.Fatal(err)
		}
	}
	const headers = 0x1 // RFC 9114 section 7.2.2
	_, _ = stream.Write(append(quicvarint.Append(quicvarint.Append(nil, headers), uint64(block.Len())), block.Bytes()...))
	_ = stream.Close()
	_ = stream.SetReadDeadline(time.Now().Add(20 * time.Second))
	answer := quicvarint.NewReader(stream)
	if kind, err := quicvarint.Read(answer); err != nil || kind != headers {
		return 0
	}
	size, err := quicvarint.Read(answer)
	if err != nil {
		return 0
	}
	text := make([]byte, size)
	if _, err := io.ReadFull(answer, text); err != nil {
		return 0
	}
	first, err := qpack.NewDecoder().Decode(text)()
	if err != nil || first.Name != ":status" {
		t.Fatalf("the answer begins with %v %v", first, err)
	}
	status := 0
	_, _ = fmt.Sscan(first.Value, &status)
	return status
}

func TestHostilePseudoHeadersOverHTTP3AreRefused(t *testing.T) {
	decided := make(chan string, 10)
	g := gate(t, Options{Decider: decide(func(r *access.Request) access.Decision {
		decided <- r.Method + " " + r.URL.String()
		return access.Decision{Allow: true}
	})})
	s := listenQUIC(t, ServerOptions{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { g.Serve(w, r, ok) }), MaxHeaderBytes: 4096})
	method, scheme, authority, path := field{":method", "GET"}, field{":scheme", "https"}, field{":authority", "gate.test"}, field{":path", "/a"}
	with := func(f field) []field {
		all := []field{method, scheme, authority, path}
		for i := range all {
			if all[i].name == f.name {
				all[i] = f
				return all
			}
		}
		return append(all, f)
	}
	const reset = 0
	for _, c := range []struct {
		name    string
		fields  []field
		want    int
		decided string
	}{
		{"nothing wrong", with(path), 204, "GET https://gate.test/a"},
		{"a path to be made canonical", with(field{":path", "//b/./c/../d?e"}), 204, "GET https://gate.test/b/d?e"},
		{"an encoded slash", with(field{":path", "/a%2fb"}), 400, ""},
		{"an encoded dot segment", with(field{":path", "/a/%2e%2e/b"}), 400, ""},
		{"a path that is encoded twice", with(field{":path", "/a%252fb"}), 400, ""},
		{"a backslash", with(field{":path", `/a\b`}), 400, ""},
		{"a control character", with(field{":path", "/a%00b"}), 400, ""},
		{"a fragment", with(field{":path", "/a#b"}), 400, ""},
		{"path parameters beside dot segments", with(field{":path", "/a/..;/b"}), 400, ""},
		{"a URL for a path", with(field{":path", "https://other.test/a"}), reset, ""},
		{"a path without slash", with(field{":path", "a"}), reset, ""},
		{"no path", []field{method, scheme, authority}, reset, ""},
		{"an asterisk", with(field{":path", "*"}), reset, ""},
		{"an asterisk of OPTIONS", []field{{":method", "OPTIONS"}, scheme, authority, {":path", "*"}}, 400, ""},
		{"no authority", []field{method, scheme, path}, reset, ""},
		{"an authority with a user", with(field{":authority", "u@gate.test"}), reset, ""},
		{"an authority with a path", with(field{":authority", "gate.test/x"}), 400, ""},
		{"an authority in capitals", with(field{":authority", "GATE.test:443"}), 204, "GET https://gate.test/a"},
		{"another host", with(field{"host", "other.test"}), reset, ""},
		{"a path twice", with(path)[:4:4], 204, "GET https://gate.test/a"},
		{"two paths", append(with(path), field{":path", "/b"}), reset, ""},
		{"two authorities", append(with(path), field{":authority", "other.test"}), reset, ""},
		{"a pseudo-header of answers", with(field{":status", "200"}), reset, ""},
		{"an unknown pseudo-header", with(field{":x", "200"}), reset, ""},
		{"a pseudo-header after a field", []field{method, scheme, authority, {"a", "b"}, path}, reset, ""},
		{"a method that is none", with(field{":method", "G ET"}), reset, ""},
		{"a method in lower case", with(field{":method", "get"}), 204, "GET https://gate.test/a"},
		{"a tunnel", []field{{":method", "CONNECT"}, authority}, 400, ""},
		{"a tunnel for WebSockets", []field{{":method", "CONNECT"}, scheme, authority, path, {":protocol", "websocket"}}, 400, ""},
		{"a field in capitals", with(field{"A", "b"}), reset, ""},
		{"a field of the connection", with(field{"connection", "close"}), reset, ""},
		{"chunks", with(field{"transfer-encoding", "chunked"}), reset, ""},
		{"an upgrade", with(field{"upgrade", "websocket"}), reset, ""},
		{"a line in a value", with(field{"a", "b\r\nc: d"}), reset, ""},
		{"two lengths", append(with(path), field{"content-length", "1"}, field{"content-length", "2"}), reset, ""},
		{"a negative length", with(field{"content-length", "-1"}), reset, ""},
		{"a large header", with(field{"a", strings.Repeat("b", 5000)}), 431, ""},
	} {
		if got := s.raw(t, c.fields...); got != c.want {
			t.Errorf("%s: got %d, want %d", c.name, got, c.want)
		}
		got := ""
		for len(decided) > 0 {
			got += <-decided
		}
		if got != c.decided {
			t.Errorf("%s: decided %q, want %q", c.name, got, c.decided)
		}
	}
}

func TestABodyThatStallsOverHTTP3TimesOut(t *testing.T) {
	g := gate(t, Options{ReadIdle: 50 * time.Millisecond})
	failed := make(chan error, 1)
	s := listenQUIC(t, ServerOptions{ReadHeaderTimeout: 50 * time.Millisecond, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.Serve(w, r, func(x *Exchange) {
			_, _ = io.Copy(io.Discard, x.R.Body)
			failed <- x.BodyErr()
		})
	})})
	for name, length := range map[string]int64{"GET": -1, "POST": 10} {
		body, sender := io.Pipe()
		r, _ := http.NewRequest(name, "https://gate.test/", body)
		r.ContentLength = length
		done := make(chan bool)
		go func() {
			defer close(done)
			if res, err := s.client(t, nil).Do(r); err == nil {
				_ = res.Body.Close()
			}
		}()
		if err := <-failed; err == nil || !strings.Contains(err.Error(), "did not arrive in time") {
			t.Errorf("%s: got %v", name, err)
		}
		_ = sender.Close()
		<-done
	}
}

func TestAConnectionWithoutRequestsEndsThoughAHeaderIsHalfSent(t *testing.T) {
	s := listenQUIC(t, ServerOptions{IdleTimeout: 50 * time.Millisecond, Handler: http.NotFoundHandler()})
	conn, err := quic.DialAddr(t.Context(), s.address, s.tls(), &quic.Config{KeepAlivePeriod: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	stream, err := conn.OpenStream()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Write([]byte{1, 100, 0}); err != nil {
		t.Fatal(err)
	}
	<-conn.Context().Done()
	var closed *quic.ApplicationError
	if err := context.Cause(conn.Context()); !errors.As(err, &closed) || !closed.Remote {
		t.Errorf("the connection ended with %v", err)
	}
}

func TestAClientHoldsSoManyQUICConnectionsAndNoMore(t *testing.T) {
	var refused atomic.Int64
	s := listenQUIC(t, ServerOptions{ConnectionsPerClient: 2, Refused: func() { refused.Add(1) }, Handler: http.NotFoundHandler()})
	open := func() (*quic.Conn, error) {
		conn, err := quic.DialAddr(t.Context(), s.address, s.tls(), nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := (&http3.Transport{}).NewClientConn(conn).RoundTrip(mustRequest(t))
		if err == nil {
			err = res.Body.Close()
		}
		return conn, err
	}
	for range 2 {
		if _, err := open(); err != nil {
			t.Fatal(err)
		}
	}
	third, err := open()
	var closed *http3.Error
	if !errors.As(err, &closed) || closed.ErrorCode != http3.ErrCodeExcessiveLoad || refused.Load() != 1 {
		t.Errorf("the third ended with %v, %d were refused", err, refused.Load())
	}
	<-third.Context().Done()
}

func TestNoRequestIsTakenFromEarlyData(t *testing.T) {
	s := listenQUIC(t, ServerOptions{Handler: http.NotFoundHandler()})
	config := s.tls()
	config.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	for i := range 3 {
		conn, err := quic.DialAddrEarly(t.Context(), s.address, config, nil)
		if err != nil {
			t.Fatal(err)
		}
		<-conn.HandshakeComplete()
		state := conn.ConnectionState()
		if state.Used0RTT || i == 2 && !state.TLS.DidResume {
			t.Errorf("0-RTT %v, resumed %v", state.Used0RTT, state.TLS.DidResume)
		}
		res, err := (&http3.Transport{}).NewClientConn(conn).RoundTrip(mustRequest(t))
		if status, _ := readAll(t, res, err); status != http.StatusNotFound { // and the ticket has come
			t.Errorf("status %d", status)
		}
		_ = conn.CloseWithError(0, "")
	}
}

func mustRequest(t testing.TB) *http.Request {
	t.Helper()
	r, err := http.NewRequest("GET", "https://gate.test/", nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestACertificateOfAClientIsSeenOverHTTP3(t *testing.T) {
	seen := make(chan *access.ClientCertificate, 1)
	var g atomic.Pointer[Gate]
	s := listenQUIC(t, ServerOptions{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { g.Load().Serve(w, r, ok) })})
	g.Store(gate(t, Options{Certificates: Certificates{Authorities: s.ca.Pool}, Decider: decide(func(r *access.Request) access.Decision {
		seen <- r.Certificate
		return access.Decision{Allow: true}
	})}))
	ask := func(config *tls.Config) *access.ClientCertificate {
		res, err := s.client(t, config).Get("https://gate.test/")
		readAll(t, res, err)
		return <-seen
	}
	if got := ask(nil); got != nil {
		t.Errorf("a client without certificate has %v", got.Leaf.Subject)
	}
	good := s.tls()
	good.Certificates = []tls.Certificate{s.ca.Issue(t, nil).TLS()}
	if got := ask(good); got == nil || !got.Verified {
		t.Errorf("the certificate is %+v", got)
	}
	foreign := s.tls()
	foreign.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		c := testca.New(t, "foreign", time.Now()).Issue(t, nil).TLS()
		return &c, nil
	}
	if got := ask(foreign); got == nil || got.Verified {
		t.Errorf("the foreign certificate is %+v", got)
	}
}

func TestHTTP3IsAdvertisedInPlaceOfWhatAnUpstreamSays(t *testing.T) {
	h := NewHTTP3(ServerOptions{TLS: &tls.Config{}}, 8443).Advertise(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Alt-Svc", `h3="upstream.test:443"`)
		if r.URL.Path == "/explicit" {
			w.WriteHeader(http.StatusTeapot)
		}
		_, _ = io.WriteString(w, "text")
		_ = http.NewResponseController(w).Flush()
	}))
	_, address := listen(t, ServerOptions{Handler: h})
	for _, path := range []string{"/", "/explicit"} {
		res, err := http.Get("http://" + address + path)
		readAll(t, res, err)
		if got := res.Header["Alt-Svc"]; !cmp.Equal(got, []string{`h3=":8443"; ma=86400`}) {
			t.Errorf("%s: Alt-Svc is %v", path, got)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestShutdownOfHTTP3WaitsForRunningRequests(t *testing.T) {
	begun, finish := make(chan bool), make(chan bool)
	s := listenQUIC(t, ServerOptions{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun <- true
		<-finish
		_, _ = io.WriteString(w, strings.Repeat("x", 1<<20))
	})})
	type outcome struct {
		size int
		err  error
	}
	answers := make(chan outcome, 1)
	go func() {
		res, err := s.client(t, nil).Get("https://gate.test/")
		if err != nil {
			answers <- outcome{err: err}
			return
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		answers <- outcome{len(body), err}
	}()
	<-begun
	done := make(chan error, 1)
	go func() { done <- s.Shutdown(context.Background()) }()
	refused, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	<-s.served
	if conn, err := quic.DialAddr(refused, s.address, s.tls(), nil); err == nil {
		_ = conn.CloseWithError(0, "")
		t.Error("a new connection was accepted")
	}
	select {
	case <-done:
		t.Fatal("did not wait")
	default:
	}
	close(finish)
	if a := <-answers; a.err != nil || a.size != 1<<20 {
		t.Errorf("got %d bytes, %v", a.size, a.err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestShutdownOfHTTP3CutsWhatIsLeftAtItsDeadline(t *testing.T) {
	begun, ended := make(chan bool), make(chan bool)
	s := listenQUIC(t, ServerOptions{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun <- true
		<-r.Context().Done()
		close(ended)
	})})
	failed := make(chan error, 1)
	go func() {
		_, err := s.client(t, nil).Get("https://gate.test/")
		failed <- err
	}()
	<-begun
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	<-ended
	if err := <-failed; err == nil {
		t.Error("the client got an answer")
	}
}

func TestAShutdownBeforeServingIsOne(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := NewHTTP3(ServerOptions{TLS: &tls.Config{}}, 443)
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := s.Serve(conn); err != nil {
		t.Error(err)
	}
	if _, err := conn.WriteTo([]byte("x"), conn.LocalAddr()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the socket is open: %v", err)
	}
}
