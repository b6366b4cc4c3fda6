package decision

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	auth "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"golang.org/x/net/http/httpguts"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/edge"
	reverse "github.com/gatewarden/gatewarden/proxy"
)

// witness allows everything as alice and remembers what it was asked about.
type witness struct {
	upstream *url.URL
	mu       sync.Mutex
	judged   string // method and URL; empty: nothing
}

func (w *witness) Decide(_ context.Context, r *access.Request) access.Decision {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.judged = r.Method + " " + r.URL.Scheme + "://" + r.URL.Host + " " + r.URL.Path + " " + r.URL.RawQuery
	return access.Decision{Allow: true, Pass: access.Pass{Set: http.Header{"X-User": {"alice"}}}, Upstream: &access.Upstream{URL: w.upstream}}
}

func (*witness) OwnedHeaders() []string { return []string{"X-User"} }

// take returns what was judged since the last call.
func (w *witness) take() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	judged := w.judged
	w.judged = ""
	return judged
}

// stage has the proxy in front of an API that tells what it saw, and every adapter.
type stage struct {
	witness        *witness
	proxy, answers string // addresses
	checks         questions
	routes         *Routes
	saw            chan *http.Request
}

func newStage(f *testing.F) *stage {
	s := &stage{witness: &witness{}, saw: make(chan *http.Request, 1)}
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.saw <- r }))
	f.Cleanup(api.Close)
	var err error
	if s.witness.upstream, err = url.Parse(api.URL); err != nil {
		f.Fatal(err)
	}
	loopback, err := edge.ParseTrusted([]string{"127.0.0.1"}, false)
	if err != nil {
		f.Fatal(err)
	}
	p, err := reverse.New(reverse.Options{Edge: edge.Options{Decider: s.witness}})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(p.Close)
	o := edge.Options{Decider: s.witness, Trusted: loopback}
	h, err := New(Options{Edge: o, Nginx: loopback, Envoy: loopback})
	if err != nil {
		f.Fatal(err)
	}
	for handler, address := range map[http.Handler]*string{p: &s.proxy, h: &s.answers} {
		server := httptest.NewServer(handler)
		f.Cleanup(server.Close)
		*address = server.Listener.Addr().String()
	}
	if s.checks, err = newQuestions(o, "ext_authz"); err != nil {
		f.Fatal(err)
	}
	if s.routes, err = NewRoutes(edge.Options{Decider: s.witness}); err != nil {
		f.Fatal(err)
	}
	return s
}

// send writes a request and reports whether the answer is 200.
func send(t *testing.T, address, method, target, host string, fields ...string) bool {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	_, _ = io.WriteString(c, method+" "+target+" HTTP/1.1\r\nHost: "+host+"\r\nConnection: close\r\n"+strings.Join(append(fields, ""), "\r\n")+"\r\n")
	res, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if err != nil { // cut off by the HTTP server, which had nothing decided
		return false
	}
	_ = res.Body.Close()
	return res.StatusCode == http.StatusOK
}

// ask puts a request to every adapter and returns what each judged and allowed. A
// front proxy has set the fields of its contract.
func (s *stage) ask(t *testing.T, method, target, host string, fields []string) map[string]string {
	t.Helper()
	without := func(names ...string) []string {
		return slices.DeleteFunc(slices.Clone(fields), func(line string) bool {
			name, _, _ := strings.Cut(line, ":")
			return slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, name) })
		})
	}
	allowed := map[string]string{}
	note := func(name string, yes bool) {
		if judged := s.witness.take(); yes {
			allowed[name] = judged
		}
	}
	forwarded := []string{"X-Forwarded-Method", "X-Forwarded-Uri", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-For", "Forwarded"}
	note("forward auth", send(t, s.answers, "GET", "/decisions", "gw", append(without(forwarded...), "X-Forwarded-Method: "+method, "X-Forwarded-Uri: "+target, "X-Forwarded-Host: "+host, "X-Forwarded-Proto: http")...))
	note("path after the prefix", send(t, s.answers, method, "/decisions"+target, host, without(forwarded...)...))
	note("nginx", send(t, s.answers, "GET", "/decisions/nginx", "gw", append(without("X-Original-Method", "X-Original-Uri", "X-Original-Url", "X-Original-Host", "X-Original-Proto", "X-Forwarded-For"),
		"X-Original-Method: "+method, "X-Original-URI: "+target, "X-Original-Host: "+host, "X-Original-Proto: http")...))
	note("Envoy over HTTP", send(t, s.answers, method, "/decisions/envoy"+target, host, append(without("X-Forwarded-Proto", "X-Forwarded-For"), "X-Forwarded-Proto: http")...))
	check := &auth.AttributeContext_HttpRequest{Method: method, Path: target, Host: host, Scheme: "http", HeaderMap: &core.HeaderMap{}}
	header := http.Header{}
	for _, line := range fields {
		name, value, _ := strings.Cut(line, ":")
		check.HeaderMap.Headers = append(check.HeaderMap.Headers, &core.HeaderValue{Key: strings.ToLower(name), RawValue: []byte(strings.TrimSpace(value))})
		header.Add(name, strings.TrimSpace(value))
	}
	q, err := readCheck(&auth.CheckRequest{Attributes: &auth.AttributeContext{Request: &auth.AttributeContext_Request{Http: check}}})
	yes := false
	s.checks.ask(t.Context(), q, err, func(x *edge.Exchange) { yes = safe(t, x) })
	note("Envoy over gRPC", yes)
	if strings.ContainsAny(host, "/?#") {
		return allowed // AuthZEN names a URL, and in one this is where the host ends
	}
	note("AuthZEN", s.routes.Decide(t.Context(), method, "http://"+host+target, header, netip.Addr{}).Allow)
	return allowed
}

// safe reports whether an answer of ext_authz lets no identity of the client's through.
func safe(t *testing.T, x *edge.Exchange) bool {
	t.Helper()
	ok := allowed(x).GetOkResponse()
	for _, name := range x.Removed {
		if name != "X-User" && !slices.Contains(ok.GetHeadersToRemove(), strings.ToLower(name)) {
			t.Errorf("Envoy is not told to remove %s", name)
		}
	}
	return true
}

// FuzzWhatAnAdapterAllowsIsWhatTheAPISees compares the adapters with the proxy: what one
// of them allows, the proxy judges alike and forwards as it was judged, and it is the
// very path that a front proxy would send on.
func FuzzWhatAnAdapterAllowsIsWhatTheAPISees(f *testing.F) {
	for _, target := range []string{"/", "/open?x=y;z&a=%zz", "/open/../deny", "//deny", "/open/%2e%2e/deny", "/open/..;/deny", "/%64eny", "/a%20b/é", "/open/\\..\\deny", "/x?", "/a#b", "/a/.", "/%25zz", "/a;b/c"} {
		f.Add("GET", target, "api.example.com", "X-User: evil")
		f.Add("post", target, "API.example.com.:80", "X_User: evil\r\nX-Forwarded-Uri: /open\r\nX-Original-URL: http://evil/open")
	}
	f.Add("GET", "/open", "a,b", "Forwarded: for=1.1.1.1;host=evil")
	f.Add("GET", "/open", "[::1]:8080", "X-Forwarded-Host: evil\r\nX-Forwarded-Proto: https")
	f.Add("GET", "/", "0?", "")
	f.Add("GET", "/", "", "")
	s := newStage(f)
	f.Fuzz(func(t *testing.T, method, target, host, lines string) {
		fields := linesOf(lines)
		if fields == nil || !plainRequest(method, target, host) {
			return
		}
		passed := send(t, s.proxy, method, target, host, fields...)
		judged := s.witness.take()
		var reached *http.Request
		if passed {
			reached = <-s.saw
			s.checkArrival(t, reached, judged)
		}
		path, query, _ := strings.Cut(target, "?")
		for name, asked := range s.ask(t, method, target, host, fields) {
			sent, err := url.PathUnescape(path)
			parts := strings.SplitN(asked, " ", 4)
			if !passed || asked != judged || err != nil || parts[2] != sent && len(parts) == 4 && !strings.Contains(sent, " ") || !strings.HasSuffix(asked, " "+query) {
				t.Errorf("%s %q of %q, %q: %s judged %q, the proxy %q (passed %t)", method, target, host, fields, name, asked, judged, passed)
			}
		}
	})
}

// checkArrival checks that the API got what was judged, as alice.
func (s *stage) checkArrival(t *testing.T, r *http.Request, judged string) {
	t.Helper()
	path, query, _ := strings.Cut(r.RequestURI, "?")
	decoded, err := url.PathUnescape(path)
	if got := " " + decoded + " " + query; err != nil || !strings.HasSuffix(judged, got) || !strings.HasPrefix(judged, r.Method+" ") {
		t.Errorf("judged %q, the API saw %s %q", judged, r.Method, r.RequestURI)
	}
	for name, values := range r.Header {
		folded := http.CanonicalHeaderKey(strings.ReplaceAll(strings.ReplaceAll(name, "_", "-"), ".", "-"))
		if folded == "X-User" && (name != folded || !slices.Equal(values, []string{"alice"})) {
			t.Errorf("the API saw %s: %q", name, values)
		}
	}
}

// plainRequest reports whether any front proxy would read the request line alike.
func plainRequest(method, target, host string) bool {
	if method == "" || len(target) > 4000 || !strings.HasPrefix(target, "/") || !httpguts.ValidHeaderFieldName(method) || !utf8.ValidString(target+host) {
		return false
	}
	switch strings.ToUpper(method) {
	case "HEAD", "CONNECT", "PRI":
		return false
	}
	return !strings.ContainsFunc(target+host, func(r rune) bool { return r <= ' ' || r == 0x7f })
}

// linesOf returns header lines, without those about the connection and the body;
// nil when they are malformed.
func linesOf(lines string) []string {
	fields := []string{}
	for line := range strings.SplitSeq(lines, "\r\n") {
		name, value, found := strings.Cut(line, ":")
		if line == "" {
			continue
		}
		if !found || !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(strings.TrimSpace(value)) || strings.ContainsAny(line, "\r\n") {
			return nil
		}
		switch strings.ToLower(name) {
		case "host", "connection", "content-length", "transfer-encoding", "expect", "upgrade", "te", "trailer", "keep-alive",
			"proxy-connection", "proxy-authorization", "proxy-authenticate", "http2-settings":
			continue
		}
		fields = append(fields, line)
	}
	return fields
}
