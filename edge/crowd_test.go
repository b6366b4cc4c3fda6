package edge

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/access"
)

// answered asks over a connection that stays open; it reports whether there was an answer.
func answered(t testing.TB, c net.Conn) bool {
	t.Helper()
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		return false
	}
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return false
	}
	_, _ = io.Copy(io.Discard, res.Body)
	return res.Body.Close() == nil && res.StatusCode == http.StatusOK
}

func TestAClientHoldsSoManyConnectionsAndNoMore(t *testing.T) {
	v1 := func(client string) string {
		family, gate := "TCP4", "192.0.2.100"
		if strings.Contains(client, ":") {
			family, gate = "TCP6", "2001:db8::100"
		}
		return "PROXY " + family + " " + client + " " + gate + " 7 80\r\n"
	}
	for _, c := range []struct {
		name    string
		o       ServerOptions
		headers []string // of connections that are opened one after the other
		want    []bool   // which are answered
	}{
		{"by address", ServerOptions{}, []string{"", "", "", ""}, []bool{true, true, false, false}},
		{"exempt", ServerOptions{Exempt: func(a netip.Addr) bool { return a.IsLoopback() }}, []string{"", "", "", ""}, []bool{true, true, true, true}},
		{"by announced address", ServerOptions{ProxyProtocol: ProxyProtocol{Trusted: trusted(t, "127.0.0.1")}},
			[]string{v1("192.0.2.1"), v1("192.0.2.2"), v1("192.0.2.1"), v1("192.0.2.1"), v1("192.0.2.2"), v1("192.0.2.2")}, []bool{true, true, true, false, true, false}},
		{"by network of IPv6", ServerOptions{ProxyProtocol: ProxyProtocol{Trusted: trusted(t, "127.0.0.1")}},
			[]string{v1("2001:db8::1"), v1("2001:db8::2"), v1("2001:db8::3"), v1("2001:db8:0:1::3")}, []bool{true, true, false, true}},
		{"an announced address that is exempt", ServerOptions{ProxyProtocol: ProxyProtocol{Trusted: trusted(t, "127.0.0.1")}, Exempt: trusted(t, "192.0.2.1").Contains},
			[]string{v1("192.0.2.1"), v1("192.0.2.1"), v1("192.0.2.1"), v1("192.0.2.2"), v1("192.0.2.2"), v1("192.0.2.2")}, []bool{true, true, true, true, true, false}},
		{"announced without address", ServerOptions{ProxyProtocol: ProxyProtocol{Trusted: trusted(t, "127.0.0.1")}},
			[]string{"PROXY UNKNOWN\r\n", "PROXY UNKNOWN\r\n", "PROXY UNKNOWN\r\n"}, []bool{true, true, true}},
		{"not announced by one who might", ServerOptions{ProxyProtocol: ProxyProtocol{Trusted: trusted(t, "127.0.0.1")}}, []string{"", "", ""}, []bool{true, true, false}},
		{"no bound", ServerOptions{ConnectionsPerClient: -1}, []string{"", "", "", ""}, []bool{true, true, true, true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var refused atomic.Int64
			c.o.Handler, c.o.Refused = remote, func() { refused.Add(1) }
			if c.o.ConnectionsPerClient == 0 {
				c.o.ConnectionsPerClient = 2
			}
			s, addr := listen(t, c.o)
			var got []bool
			var open []net.Conn
			wantRefused := int64(0)
			for i, header := range c.headers {
				conn := dial(t, addr, header)
				open = append(open, conn)
				got = append(got, answered(t, conn))
				if !c.want[i] {
					wantRefused++
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if refused.Load() != wantRefused {
				t.Errorf("%d refused, want %d", refused.Load(), wantRefused)
			}
			for _, conn := range open {
				conn.Close()
			}
			for deadline := time.Now().Add(10 * time.Second); s.crowd.clients() > 0; time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("%d clients hold a place after all left", s.crowd.clients())
				}
			}
			if conn := dial(t, addr, c.headers[0]); !answered(t, conn) {
				t.Error("who left cannot come back")
			}
		})
	}
}

func (l *crowd) clients() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.of)
}

func TestAUnixSocketCountsNobody(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := ListenUnix(path, SocketOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(ServerOptions{Handler: remote, ConnectionsPerClient: 1})
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	for range 3 {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if !answered(t, c) {
			t.Error("a connection was refused")
		}
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestSoManyRequestsRunAtOnceAndNoMore(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	var events []string // written by one goroutine at a time
	g := gate(t, Options{MaxRequests: 2, Observe: func(e *Event) { events = append(events, strconv.Itoa(e.Status)+" "+e.Reason) }})
	ask := func() *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		g.Serve(w, httptest.NewRequest("GET", "/", nil), ok)
		return w
	}
	done := make(chan struct{})
	for range 2 {
		go func() {
			defer func() { done <- struct{}{} }()
			w := httptest.NewRecorder()
			g.Serve(w, httptest.NewRequest("GET", "/", nil), func(x *Exchange) { entered <- struct{}{}; <-leave; ok(x) })
		}()
		<-entered
	}
	w := ask()
	if e := refused(t, w); w.Code != 503 || e.Error.ID != "too_many_concurrent_requests" || w.Header().Get("Retry-After") != "1" {
		t.Errorf("got %d, %v, %+v", w.Code, w.Header(), e)
	}
	if diff := cmp.Diff([]string{"503 too_many_concurrent_requests"}, events); diff != "" {
		t.Errorf("events (-want +got)\n%s", diff)
	}
	leave <- struct{}{}
	<-done
	if w := ask(); w.Code != 204 {
		t.Errorf("after one ended: got %d", w.Code)
	}
	leave <- struct{}{}
	<-done
	g.Configure(Settings{})
	if w := ask(); w.Code != 204 || g.running.Load() != 0 {
		t.Errorf("got %d with %d running, want 204 with none", w.Code, g.running.Load())
	}
	func() { // an aborted one is over, too
		g.Configure(Settings{MaxRequests: 1})
		defer func() { _ = recover() }()
		g.Serve(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil), func(x *Exchange) { ok(x); panic(http.ErrAbortHandler) })
	}()
	if w := ask(); w.Code != 204 {
		t.Errorf("after an aborted one: got %d", w.Code)
	}
}

func TestAURIBeyondTheLimitIs414BeforeItIsDecided(t *testing.T) {
	decided := false
	for _, c := range []struct {
		uri  string
		want int
	}{
		{"/" + strings.Repeat("a", 99), 204},
		{"/" + strings.Repeat("a", 100), 414},
		{"/a?" + strings.Repeat("b", 97), 204},
		{"/a?" + strings.Repeat("b", 98), 414},
		{"http://example.com/" + strings.Repeat("a", 90), 414},
	} {
		decided = false
		g := gate(t, Options{MaxURI: 100, Decider: decide(func(r *access.Request) access.Decision { decided = true; return allowed(r) })})
		w := httptest.NewRecorder()
		g.Serve(w, httptest.NewRequest("GET", c.uri, nil), ok)
		if w.Code != c.want || decided != (c.want == 204) {
			t.Errorf("%d bytes: got %d, decided %v", len(c.uri), w.Code, decided)
		}
		if w.Code == 414 && refused(t, w).Error.ID != "uri_too_long" {
			t.Errorf("got %s", w.Body)
		}
	}
}
