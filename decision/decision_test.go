package decision

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
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

func (decide) OwnedHeaders() []string { return []string{"X-User"} }

// newHandler trusts 10.0.0.0/8.
func newHandler(t testing.TB, d decide) *Handler {
	t.Helper()
	trusted, err := edge.ParseTrusted([]string{"10.0.0.0/8"}, false)
	if err != nil {
		t.Fatal(err)
	}
	h, err := New(Options{Edge: edge.Options{Decider: d, Trusted: trusted}})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// ask sends a request and returns the answer and what was judged, "" for nothing.
func ask(t testing.TB, remote, method, target, host string, header http.Header) (*httptest.ResponseRecorder, string) {
	judged := ""
	h := newHandler(t, func(r *access.Request) access.Decision {
		judged = r.Method + " " + r.URL.String() + " " + r.Client.String()
		return access.Decision{Allow: true}
	})
	r := httptest.NewRequest("GET", "/", nil)
	u, err := url.ParseRequestURI(target)
	if err != nil {
		t.Fatal(err)
	}
	r.Method, r.URL, r.Host, r.RemoteAddr, r.Header = method, u, host, remote, header
	if r.Header == nil {
		r.Header = http.Header{}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w, judged
}

const (
	proxy    = "10.0.0.1:1000"
	stranger = "192.0.2.1:1000"
)

func TestTheJudgedRequestIsTheOneThatWasMeant(t *testing.T) {
	for name, c := range map[string]struct {
		remote, method, target string
		header                 http.Header
		status                 int
		judged                 string
	}{
		"path after the prefix":          {stranger, "POST", "/decisions/api/x?a=b;c", nil, 200, "POST http://gw/api/x?a=b;c 192.0.2.1"},
		"nothing after the prefix":       {stranger, "GET", "/decisions", nil, 200, "GET http://gw/ 192.0.2.1"},
		"slash after the prefix":         {stranger, "GET", "/decisions/", nil, 200, "GET http://gw/ 192.0.2.1"},
		"prefix form, unclean":           {stranger, "GET", "/decisions/public/../admin", nil, 400, ""},
		"prefix form, encoded dots":      {stranger, "GET", "/decisions/public/%2e%2e/admin", nil, 400, ""},
		"prefix form leaving the prefix": {stranger, "GET", "/decisions/../rules", nil, 400, ""},
		"prefix form with forwarding fields of a client": {stranger, "GET", "/decisions/api", http.Header{"X-Forwarded-Uri": {"/public"}, "X-Forwarded-Method": {"PUT"}, "X-Forwarded-Host": {"h"}},
			200, "GET http://gw/api 192.0.2.1"},
		"forward auth": {proxy, "GET", "/decisions", http.Header{"X-Forwarded-Method": {"put"}, "X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"Example.com"},
			"X-Forwarded-Uri": {"/api/x?a=%zz"}, "X-Forwarded-For": {"198.51.100.1"}}, 200, "PUT https://example.com/api/x?a=%zz 198.51.100.1"},
		"forward auth from a stranger":   {stranger, "GET", "/decisions", http.Header{"X-Forwarded-Uri": {"/api"}}, 403, ""},
		"method from a stranger":         {stranger, "GET", "/decisions", http.Header{"X-Forwarded-Method": {"PUT"}}, 403, ""},
		"a client's uri beside the path": {proxy, "GET", "/decisions/admin", http.Header{"X-Forwarded-Uri": {"/public"}}, 400, ""},
		"a client's uri beside the root": {proxy, "GET", "/decisions/", http.Header{"X-Forwarded-Uri": {"/public"}}, 400, ""},
		"the same uri beside the path":   {proxy, "GET", "/decisions/api?x", http.Header{"X-Forwarded-Uri": {"/api?x"}}, 200, "GET http://gw/api?x 10.0.0.1"},
		"encoded dots":                   {proxy, "GET", "/decisions", http.Header{"X-Forwarded-Uri": {"/public/%2e%2e/admin"}}, 400, ""},
		"empty segment":                  {proxy, "GET", "/decisions", http.Header{"X-Forwarded-Uri": {"/api//x"}}, 400, ""},
		"needless escapes":               {proxy, "GET", "/decisions", http.Header{"X-Forwarded-Uri": {"/%61pi"}}, 200, "GET http://gw/api 10.0.0.1"},
		"encoded slash":                  {proxy, "GET", "/decisions", http.Header{"X-Forwarded-Uri": {"/public/..%2fadmin"}}, 400, ""},
		"backslash":                      {proxy, "GET", "/decisions", http.Header{"X-Forwarded-Uri": {`/public\..\admin`}}, 400, ""},
		"parameters":                     {proxy, "GET", "/decisions", http.Header{"X-Forwarded-Uri": {"/public/..;/admin"}}, 400, ""},
		"absolute uri":                   {proxy, "GET", "/decisions", http.Header{"X-Forwarded-Uri": {"http://evil/x"}}, 400, ""},
		"fragment":                       {proxy, "GET", "/decisions", http.Header{"X-Forwarded-Uri": {"/x#y"}}, 400, ""},
		"bad method":                     {proxy, "GET", "/decisions", http.Header{"X-Forwarded-Method": {"G T"}}, 400, ""},
		"bad host":                       {proxy, "GET", "/decisions", http.Header{"X-Forwarded-Host": {"a/b"}}, 400, ""},
		"no host":                        {proxy, "GET", "/decisions", http.Header{"X-Forwarded-Host": {""}}, 400, ""},
		"original uri is not this form":  {proxy, "GET", "/decisions/api", http.Header{"X-Original-Uri": {"/public"}, "X-Rewrite-Url": {"/public"}}, 200, "GET http://gw/api 10.0.0.1"},
	} {
		w, judged := ask(t, c.remote, c.method, c.target, "gw", c.header)
		if w.Code != c.status || judged != c.judged || w.Header().Get(edge.DecisionID) == "" {
			t.Errorf("%s: got %d, judged %q, want %d, %q", name, w.Code, judged, c.status, c.judged)
		}
	}
}

func TestAnAllowedRequestIsAnsweredWithThePass(t *testing.T) {
	h := newHandler(t, func(r *access.Request) access.Decision {
		if v := r.Header.Get("X-User"); v != "" {
			t.Errorf("the rules saw X-User: %s", v)
		}
		return access.Decision{Allow: true, Pass: access.Pass{
			Set:     http.Header{"X-User": {"alice"}, "Authorization": {"Bearer t"}, "Connection": {"evil"}, "Content-Length": {"9"}},
			Cookies: []*http.Cookie{{Name: "sid", Value: "new"}},
		}}
	})
	r := httptest.NewRequest("GET", "/decisions/x", nil)
	r.Header = http.Header{"Cookie": {"a=b; sid=old"}, "X-User": {"evil"}}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	w.Header().Del(edge.DecisionID)
	want := http.Header{"X-User": {"alice"}, "Authorization": {"Bearer t"}, "Cookie": {"sid=new; a=b"}, "Content-Length": {"0"}}
	if diff := cmp.Diff(want, w.Header()); diff != "" || w.Code != 200 || w.Body.Len() > 0 {
		t.Errorf("got %d %q (-want +got): %s", w.Code, w.Body, diff)
	}
}

type cooking struct{ decide }

func (cooking) OwnedCookies() []string { return []string{"user"} }

func TestACookieOfTheGatewayIsTakenFromTheAskingProxysRequest(t *testing.T) {
	h, err := New(Options{Edge: edge.Options{Decider: cooking{func(*access.Request) access.Decision { return access.Decision{Allow: true} }}}})
	if err != nil {
		t.Fatal(err)
	}
	for sent, want := range map[string][]string{"user=admin; a=b": {"a=b"}, "user=admin": {""}, "a=b": {"a=b"}, "": nil} {
		w, r := httptest.NewRecorder(), httptest.NewRequest("GET", "/decisions/x", nil)
		if r.Header.Set("Cookie", sent); sent == "" {
			r.Header.Del("Cookie")
		}
		h.ServeHTTP(w, r)
		if diff := cmp.Diff(want, w.Result().Header["Cookie"]); diff != "" || w.Code != http.StatusOK {
			t.Errorf("%q: %d (-want +got):\n%s", sent, w.Code, diff)
		}
	}
}

func TestARefusedRequestIsAnsweredWithTheRefusal(t *testing.T) {
	h := newHandler(t, func(*access.Request) access.Decision {
		return access.Decision{Refusal: access.Response{Status: 401, Header: http.Header{"Www-Authenticate": {"Bearer"}}, Body: []byte("no")}, Pass: access.Pass{Set: http.Header{"X-User": {"alice"}}}}
	})
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/decisions/x", nil))
	if w.Code != 401 || w.Header().Get("WWW-Authenticate") != "Bearer" || w.Body.String() != "no" || w.Header().Get("X-User") != "" || w.Header().Get(edge.DecisionID) == "" {
		t.Errorf("got %d %v %q", w.Code, w.Header(), w.Body)
	}
}

func TestAZeroDecisionIs500(t *testing.T) {
	h := newHandler(t, func(*access.Request) access.Decision { return access.Decision{} })
	w := httptest.NewRecorder()
	if h.ServeHTTP(w, httptest.NewRequest("GET", "/decisions/x", nil)); w.Code != 500 {
		t.Errorf("got %d, want 500", w.Code)
	}
}

func TestTheJudgedMethodDoesNotFrameTheAnswer(t *testing.T) {
	loopback, err := edge.ParseTrusted([]string{"127.0.0.1"}, false)
	if err != nil {
		t.Fatal(err)
	}
	h, err := New(Options{Edge: edge.Options{Trusted: loopback, Decider: decide(func(*access.Request) access.Decision {
		return access.Decision{Refusal: access.Response{Status: 403, Body: []byte("no")}}
	})}})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(h)
	defer s.Close()
	for method, judged := range map[string]string{"GET": "HEAD", "HEAD": "GET"} {
		c, err := net.Dial("tcp", s.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		fmt.Fprintf(c, "%s /decisions HTTP/1.1\r\nHost: gw\r\nConnection: close\r\nX-Forwarded-Method: %s\r\n\r\n", method, judged)
		answer, err := io.ReadAll(c)
		c.Close()
		if want := method == "GET"; err != nil || strings.HasSuffix(string(answer), "\r\n\r\nno") != want {
			t.Errorf("%s, judged as %s: got %q, %v, want a body: %t", method, judged, answer, err, want)
		}
	}
}

func TestOnlyPathsBelowThePrefixAreHandled(t *testing.T) {
	h := newHandler(t, nil)
	for path, want := range map[string]bool{"/decisions": true, "/decisions/": true, "/decisions/a/../b": true, "/decisionsx": false, "/rules": false, "/": false, "/decisions%2fx": false} {
		r := httptest.NewRequest("GET", path, nil)
		if got := h.Handles(r); got != want {
			t.Errorf("%s: got %t, want %t", path, got, want)
		}
	}
}

func TestAHandlerNeedsADecider(t *testing.T) {
	if h, err := New(Options{}); err == nil {
		t.Errorf("got %v, want an error", h)
	}
}

// FuzzEveryFormIsJudgedAsTheProxyWould compares the path after the prefix and
// X-Forwarded-Uri with the same request at a plain edge, over the wire.
func FuzzEveryFormIsJudgedAsTheProxyWould(f *testing.F) {
	for _, s := range []string{"/", "//a/../b;c", "/%2e%2e/x", "/a%20b?x=%zz;", "/a/..;/b", "/é?é", "/a%3Bb/%41", "/x?", "/a#b"} {
		f.Add(s)
	}
	judged := make(chan string, 1)
	d := decide(func(r *access.Request) access.Decision {
		judged <- r.URL.String()
		return access.Decision{Allow: true}
	})
	loopback, err := edge.ParseTrusted([]string{"127.0.0.1"}, false)
	if err != nil {
		f.Fatal(err)
	}
	h, err := New(Options{Edge: edge.Options{Decider: d, Trusted: loopback}})
	if err != nil {
		f.Fatal(err)
	}
	plain, err := edge.NewGate(edge.Options{Decider: d, KeepsPath: true})
	if err != nil {
		f.Fatal(err)
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Decide") != "" {
			h.ServeHTTP(w, r)
			return
		}
		plain.Serve(w, r, func(x *edge.Exchange) { x.W.WriteHeader(200) })
	}))
	f.Cleanup(s.Close)
	send := func(t *testing.T, target, header string) string {
		c, err := net.Dial("tcp", s.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: gw\r\nConnection: close\r\n%s\r\n", target, header)
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		switch {
		case res.StatusCode == 200:
			return <-judged
		case res.StatusCode >= 500:
			t.Fatalf("%q: got %d", target, res.StatusCode)
		}
		return "refused"
	}
	f.Fuzz(func(t *testing.T, target string) {
		if !strings.HasPrefix(target, "/") || strings.TrimSpace(target) != target || strings.ContainsAny(target, " \r\n") {
			return
		}
		want := send(t, target, "")
		if got := send(t, Prefix+target, "X-Decide: 1\r\n"); got != want {
			t.Errorf("%q: after the prefix judged %q, at the proxy %q", target, got, want)
		}
		if got := send(t, Prefix, "X-Decide: 1\r\nX-Forwarded-Uri: "+target+"\r\n"); got != want {
			t.Errorf("%q: in X-Forwarded-Uri judged %q, at the proxy %q", target, got, want)
		}
	})
}

func BenchmarkDecision(b *testing.B) {
	h := newHandler(b, func(*access.Request) access.Decision { return access.Decision{Allow: true} })
	r := httptest.NewRequest("GET", "/decisions/api/v1/users/1234", nil)
	w := httptest.NewRecorder()
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(w, r)
	}
}
