package proxy

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/edge"
	"github.com/gatewarden/gatewarden/proxy/pool"
)

// routed allows everything and sends it by the route.
func routed(route *access.Route) decide {
	up := &access.Upstream{URL: &url.URL{Scheme: "http", Host: "none.invalid"}, Route: route}
	if len(route.Targets) > 0 {
		up.URL = route.Targets[0].URL
	}
	return func(r *access.Request) access.Decision {
		return access.Decision{Allow: true, RuleID: "r", Upstream: up, Subject: access.Subject{ID: r.Header.Get("X-Subject")}}
	}
}

// targets are the addresses of a route.
func targets(addresses ...string) (out []access.Target) {
	for _, a := range addresses {
		u, err := url.Parse(a)
		if err != nil {
			panic(err)
		}
		out = append(out, access.Target{URL: u, Weight: 1})
	}
	return out
}

// begin starts a proxy for route and returns its address and the proxy.
func begin(t testing.TB, route *access.Route, o Options) (string, *Proxy) {
	t.Helper()
	o.Edge.Decider = routed(route)
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	p.Follow([]*access.Route{route})
	s := httptest.NewServer(p)
	t.Cleanup(func() {
		s.Close()
		p.Close()
	})
	return s.URL, p
}

// down returns an address where nobody listens.
func down(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return "http://" + l.Addr().String()
}

// named is an upstream that answers with its name.
func named(t testing.TB, name string, calls *atomic.Int64) string {
	return backend(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		calls.Add(1)
		_, _ = io.WriteString(w, name)
	})
}

// call sends one request and returns status and body, or reason of the gateway.
func callOf(t testing.TB, method, target, body string, header ...string) (int, string) {
	t.Helper()
	var in io.Reader
	if body != "" {
		in = strings.NewReader(body)
	}
	r, err := http.NewRequest(method, target, in)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	res, err := client(t).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.Header.Get(edge.DecisionID) != "" && strings.HasPrefix(res.Header.Get("Content-Type"), "application/json") {
		return res.StatusCode, reason(t, res)
	}
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return res.StatusCode, string(b) + " " + err.Error()
	}
	return res.StatusCode, string(b)
}

func TestRequestsAreSpreadByWeight(t *testing.T) {
	var a, b atomic.Int64
	route := &access.Route{Targets: targets(named(t, "a", &a), named(t, "b", &b))}
	route.Targets[0].Weight = 3
	addr, _ := begin(t, route, Options{})
	for range 20 {
		if status, _ := callOf(t, "GET", addr, ""); status != 200 {
			t.Fatalf("got %d", status)
		}
	}
	if a.Load() != 15 || b.Load() != 5 {
		t.Errorf("got %d and %d of 20 by weight 3 and 1", a.Load(), b.Load())
	}
}

func TestATargetThatCannotBeReachedIsPassedOver(t *testing.T) {
	var calls atomic.Int64
	route := &access.Route{Targets: targets(down(t), named(t, "up", &calls)), Retry: access.Retry{Attempts: 2, ConnectFailure: true, Budget: 1, MaxBody: 10}}
	addr, _ := begin(t, route, Options{})
	for i, method := range []string{"GET", "POST", "PATCH", "DELETE"} {
		for range 2 {
			if status, body := callOf(t, method, addr, "a body of more than ten bytes"); status != 200 || body != "up" {
				t.Errorf("%d %s: got %d %s", i, method, status, body)
			}
		}
	}
	if calls.Load() != 8 {
		t.Errorf("got %d calls", calls.Load())
	}
}

// flaky fails in the given way for the first n requests.
func flaky(t testing.TB, n int64, how string) (string, *atomic.Int64, *sync.Map) {
	var calls atomic.Int64
	var bodies sync.Map
	return backend(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		call := calls.Add(1)
		bodies.Store(call, string(b))
		if call > n {
			_, _ = io.WriteString(w, "ok")
			return
		}
		switch how {
		case "reset":
			panic(http.ErrAbortHandler)
		case "503":
			w.WriteHeader(503)
		case "503 later":
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(503)
		case "404":
			w.WriteHeader(404)
		case "hints":
			w.WriteHeader(103)
			w.WriteHeader(503)
		case "slow":
			<-r.Context().Done()
		case "half":
			_, _ = io.WriteString(w, strings.Repeat("x", 100000))
			panic(http.ErrAbortHandler)
		}
	}), &calls, &bodies
}

func TestOnlyWhatMayBeRepeatedIsSentAgain(t *testing.T) {
	all := access.Retry{Attempts: 3, ConnectFailure: true, Reset: true, Statuses: []int{502, 503}, Budget: 1, Backoff: time.Microsecond, MaxBackoff: time.Millisecond, MaxBody: 10}
	for name, c := range map[string]struct {
		method, body, how string
		fail              int64
		edit              func(*access.Retry)
		status            int
		calls             int64
	}{
		"a status":                    {method: "GET", how: "503", fail: 2, status: 200, calls: 3},
		"a status, too often":         {method: "GET", how: "503", fail: 9, status: 503, calls: 3},
		"a status not asked for":      {method: "GET", how: "404", fail: 9, status: 404, calls: 1},
		"later, says the upstream":    {method: "GET", how: "503 later", fail: 9, status: 503, calls: 1},
		"a reset with a body":         {method: "PUT", body: "0123456789", how: "reset", fail: 2, status: 200, calls: 3},
		"a body that is too large":    {method: "PUT", body: "0123456789+", how: "503", fail: 2, status: 503, calls: 1},
		"POST":                        {method: "POST", body: "x", how: "503", fail: 2, status: 503, calls: 1},
		"PATCH after a reset":         {method: "PATCH", body: "x", how: "reset", fail: 1, status: 502, calls: 1},
		"after early hints":           {method: "GET", how: "hints", fail: 1, status: 503, calls: 1},
		"after a part of the answer":  {method: "PUT", body: "x", how: "half", fail: 1, status: 200, calls: 1},
		"an attempt without answer":   {method: "PUT", body: "x", how: "slow", fail: 1, edit: func(r *access.Retry) { r.Attempt = 100 * time.Millisecond }, status: 200, calls: 2},
		"beyond the budget":           {method: "GET", how: "503", fail: 9, edit: func(r *access.Retry) { r.Budget = 0 }, status: 503, calls: 1},
		"when resets are not meant":   {method: "PUT", body: "x", how: "reset", fail: 1, edit: func(r *access.Retry) { r.Reset = false }, status: 502, calls: 1},
		"when attempts are not given": {method: "GET", how: "503", fail: 1, edit: func(r *access.Retry) { r.Attempts = 1 }, status: 503, calls: 1},
	} {
		t.Run(name, func(t *testing.T) {
			up, calls, bodies := flaky(t, c.fail, c.how)
			retry := all
			if c.edit != nil {
				c.edit(&retry)
			}
			var told atomic.Int64
			addr, _ := begin(t, &access.Route{Targets: targets(up), Retry: retry}, Options{Transport: Transport{Retried: func(string, string) { told.Add(1) }}})
			status, _ := callOf(t, c.method, addr, c.body)
			if status != c.status || calls.Load() != c.calls || told.Load() != c.calls-1 {
				t.Errorf("got %d after %d calls and %d retries, want %d after %d", status, calls.Load(), told.Load(), c.status, c.calls)
			}
			bodies.Range(func(call, got any) bool {
				if got != c.body {
					t.Errorf("call %v carried %q, want %q", call, got, c.body)
				}
				return true
			})
		})
	}
}

func TestRetriesAreAShareOfRequests(t *testing.T) {
	up, calls, _ := flaky(t, 1<<40, "503")
	addr, _ := begin(t, &access.Route{Targets: targets(up), Retry: access.Retry{Attempts: 5, Statuses: []int{503}, Budget: 0.1, Backoff: 1, MaxBackoff: 1}}, Options{})
	const n = 100
	for range n {
		callOf(t, "GET", addr, "")
	}
	// 10 to begin with, and one for ten requests.
	if got := calls.Load() - n; got < 19 || got > 20 {
		t.Errorf("%d retries for %d requests", got, n)
	}
}

func TestTheTimeoutCoversAllAttempts(t *testing.T) {
	up, calls, _ := flaky(t, 1<<40, "503")
	route := &access.Route{Targets: targets(up), Retry: access.Retry{Attempts: 10, Statuses: []int{503}, Budget: 1, Backoff: time.Hour, MaxBackoff: time.Hour}}
	addr, _ := begin(t, route, Options{Transport: Transport{ResponseHeaderTimeout: 100 * time.Millisecond}})
	if status, _ := callOf(t, "GET", addr, ""); status != 503 && status != 504 || calls.Load() != 1 {
		t.Errorf("got %d after %d calls", status, calls.Load())
	}
}

func TestWithoutAHealthyTargetRequestsAre503(t *testing.T) {
	up, calls, _ := flaky(t, 3, "503")
	route := &access.Route{Targets: targets(up), Passive: access.PassiveHealth{Failures: 3, Ejection: 200 * time.Millisecond}}
	addr, p := begin(t, route, Options{})
	for range 3 {
		callOf(t, "GET", addr, "")
	}
	status, why := callOf(t, "GET", addr, "")
	if status != 503 || why != "no_healthy_upstream" || calls.Load() != 3 {
		t.Errorf("got %d %s after %d calls", status, why, calls.Load())
	}
	if diff := cmp.Diff([]pool.Status{{Endpoint: up, Healthy: true, Ejected: true, Circuit: "closed"}}, p.Upstreams()); diff != "" {
		t.Errorf("(-want +got): %s", diff)
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if status, body := callOf(t, "GET", addr, ""); status == 200 && body == "ok" {
			return
		}
		if time.Now().After(end) {
			t.Fatal("the target does not come back")
		}
	}
}

func TestProbesTakeATargetOutAndBringItBack(t *testing.T) {
	var sick atomic.Bool
	var calls, other atomic.Int64
	up := backend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/health" {
			if r.Host != "probe.example" {
				t.Errorf("the probe's Host is %s", r.Host)
			}
			if sick.Load() {
				w.WriteHeader(500)
			}
			return
		}
		calls.Add(1)
	})
	probed := access.ActiveHealth{Path: "/health", Host: "probe.example", Interval: 20 * time.Millisecond, Timeout: 5 * time.Second, Healthy: 2, Unhealthy: 2}
	fine := backend(t, func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/health" {
			other.Add(1)
		}
	})
	addr, p := begin(t, &access.Route{Targets: targets(up, fine), Active: probed}, Options{})
	healthy := func(want bool) {
		t.Helper()
		for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
			if s := p.Upstreams(); s[0].Healthy == want && (s[0].Error == "") == want {
				return
			}
		}
		t.Fatalf("healthy is not %t: %+v", want, p.Upstreams())
	}
	sick.Store(true)
	healthy(false)
	before := calls.Load()
	for range 10 {
		if status, _ := callOf(t, "GET", addr, ""); status != 200 {
			t.Errorf("got %d", status)
		}
	}
	if calls.Load() != before || other.Load() < 10 {
		t.Errorf("a target that is not healthy got %d requests", calls.Load()-before)
	}
	sick.Store(false)
	healthy(true)
	for range 4 {
		callOf(t, "GET", addr, "")
	}
	if calls.Load() == before {
		t.Error("a target that is healthy again gets no requests")
	}
}

func TestWhatIsKnownOfATargetOutlivesAReload(t *testing.T) {
	up, _, _ := flaky(t, 1<<40, "503")
	kept := &access.Route{Name: "kept", Targets: targets(up), Passive: access.PassiveHealth{Failures: 1, Ejection: time.Hour}}
	addr, p := begin(t, kept, Options{})
	callOf(t, "GET", addr, "")
	added := &access.Route{Name: "added", Targets: targets(up), Active: access.ActiveHealth{Path: "/", Interval: time.Hour, Timeout: time.Hour, Healthy: 1, Unhealthy: 1}}
	p.Follow([]*access.Route{kept, added})
	if _, why := callOf(t, "GET", addr, ""); why != "no_healthy_upstream" {
		t.Errorf("the reload forgot the ejection: %s", why)
	}
	p.Follow([]*access.Route{added})
	if s := p.Upstreams(); len(s) != 1 || s[0].Route != "added" {
		t.Errorf("got %+v", s)
	}
	// Decided by rules that were replaced since: served, by what the rule says.
	if status, _ := callOf(t, "GET", addr, ""); status != 503 {
		t.Errorf("got %d", status)
	}
	p.Follow(nil) // TestMain finds probes that go on
}

func TestTheSameKeyReachesTheSameTarget(t *testing.T) {
	for name, c := range map[string]struct {
		balance access.Balance
		header  string
		value   func(i int) string
	}{
		"subject": {access.Balance{Policy: access.Hash, Key: access.HashSubject}, "X-Subject", func(i int) string { return fmt.Sprint("user", i) }},
		"header":  {access.Balance{Policy: access.Hash, Key: access.HashHeader, Name: "X-Tenant"}, "X-Tenant", func(i int) string { return fmt.Sprint("tenant", i) }},
		"cookie":  {access.Balance{Policy: access.Hash, Key: access.HashCookie, Name: "sid"}, "Cookie", func(i int) string { return fmt.Sprint("a=b; sid=", i) }},
	} {
		t.Run(name, func(t *testing.T) {
			var n atomic.Int64
			route := &access.Route{Targets: targets(named(t, "a", &n), named(t, "b", &n), named(t, "c", &n)), Balance: c.balance}
			addr, _ := begin(t, route, Options{})
			used := map[string]bool{}
			for i := range 20 {
				var first string
				for range 3 {
					_, body := callOf(t, "GET", addr, "", c.header, c.value(i))
					if first == "" {
						first = body
					}
					if body != first {
						t.Errorf("%s reached %s and %s", c.value(i), first, body)
					}
				}
				used[first] = true
			}
			if len(used) != 3 {
				t.Errorf("20 keys reached %v", used)
			}
		})
	}
}

func TestABreakerOpensAndLetsOneRequestTry(t *testing.T) {
	up, calls, _ := flaky(t, 4, "503")
	route := &access.Route{Targets: targets(up), Breaker: access.Breaker{ErrorRate: 0.5, MinRequests: 4, Window: time.Minute, Open: 100 * time.Millisecond}}
	addr, p := begin(t, route, Options{})
	for range 4 {
		callOf(t, "GET", addr, "")
	}
	status, why := callOf(t, "GET", addr, "")
	if calls.Load() == 4 && (status != 503 || why != "circuit_open") {
		t.Errorf("got %d %s", status, why)
	}
	for end := time.Now().Add(10 * time.Second); p.Upstreams()[0].Circuit != "closed"; time.Sleep(5 * time.Millisecond) {
		callOf(t, "GET", addr, "")
		if time.Now().After(end) {
			t.Fatal("the circuit is not closed again")
		}
	}
	if status, body := callOf(t, "GET", addr, ""); status != 200 || body != "ok" {
		t.Errorf("got %d %s", status, body)
	}
}

func TestNoMoreRequestsAreWithAnUpstreamThanItMayHave(t *testing.T) {
	entered, leave := make(chan bool, 10), make(chan bool)
	up := backend(t, func(http.ResponseWriter, *http.Request) {
		entered <- true
		<-leave
	})
	route := &access.Route{Targets: targets(up), Breaker: access.Breaker{MaxRequests: 1, PendingTimeout: time.Minute}}
	addr, _ := begin(t, route, Options{})
	first := make(chan int, 1)
	go func() {
		status, _ := callOf(t, "GET", addr, "")
		first <- status
	}()
	<-entered
	if status, why := callOf(t, "GET", addr, ""); status != 503 || why != "upstream_overloaded" {
		t.Errorf("got %d %s", status, why)
	}
	close(leave)
	if status := <-first; status != 200 {
		t.Errorf("got %d", status)
	}
}

func TestBodiesBeyondTheirLimitsAreRefusedOrCut(t *testing.T) {
	up := backend(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		switch r.URL.Path {
		case "/long":
			_, _ = io.WriteString(w, strings.Repeat("x", 101))
		case "/streamed":
			for range 11 {
				_, _ = io.WriteString(w, strings.Repeat("x", 10))
				_ = http.NewResponseController(w).Flush()
			}
		}
	})
	addr, _ := begin(t, &access.Route{Targets: targets(up), MaxRequest: 10, MaxResponse: 100}, Options{})
	if status, _ := callOf(t, "POST", addr, "0123456789"); status != 200 {
		t.Errorf("a body of the limit: got %d", status)
	}
	for _, chunked := range []bool{false, true} {
		var body io.Reader = strings.NewReader("0123456789+")
		if chunked {
			body = io.MultiReader(body)
		}
		res, err := client(t).Post(addr, "text/plain", body)
		if err != nil {
			t.Fatal(err)
		}
		if why := reason(t, res); res.StatusCode != 413 || why != "request_body_too_large" {
			t.Errorf("chunked %t: got %d %s", chunked, res.StatusCode, why)
		}
		res.Body.Close()
	}
	if status, why := callOf(t, "GET", addr+"/long", ""); status != 502 || why != "upstream_response_too_large" {
		t.Errorf("got %d %s", status, why)
	}
	if _, body := callOf(t, "GET", addr+"/streamed", ""); !strings.Contains(body, "EOF") || strings.Count(body, "x") > 101 { // one is in the text of the error
		t.Errorf("got %q, want a body that is cut", body)
	}
}

func TestSilentAndEndlessExchangesAreCut(t *testing.T) {
	up := backend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/silent" {
			_, _ = io.WriteString(w, "x")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
			return
		}
		for r.Context().Err() == nil {
			_, _ = io.WriteString(w, "x")
			_ = http.NewResponseController(w).Flush()
			time.Sleep(5 * time.Millisecond)
		}
	})
	for path, route := range map[string]*access.Route{"/silent": {Idle: 50 * time.Millisecond}, "/endless": {Total: 100 * time.Millisecond, Idle: time.Hour}} {
		route.Targets = targets(up)
		ev := newEvents()
		addr, _ := begin(t, route, Options{Edge: edge.Options{Observe: ev.observe}})
		if status, body := callOf(t, "GET", addr+path, ""); status != 200 || !strings.HasPrefix(body, "x") || !strings.Contains(body, "EOF") {
			t.Errorf("%s: got %d %q", path, status, body)
		}
		if e := ev.next(t); !e.Aborted {
			t.Errorf("%s: got event %+v", path, e)
		}
	}
}

func TestAUnixSocketIsAnUpstream(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "up.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	up := &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Host, r.URL.Path)
	})}}
	up.Start()
	t.Cleanup(up.Close)
	route := &access.Route{Targets: []access.Target{{URL: &url.URL{Scheme: "http", Host: "localhost"}, Socket: socket, Weight: 1}}}
	addr, p := begin(t, route, Options{})
	if status, body := callOf(t, "GET", addr+"/x", ""); status != 200 || body != "localhost/x" {
		t.Errorf("got %d %q", status, body)
	}
	if s := p.Upstreams(); s[0].Endpoint != "unix://"+socket {
		t.Errorf("got %+v", s)
	}
}

func TestAGuardedRouteAsksTheGuardOfEveryAddress(t *testing.T) {
	var calls atomic.Int64
	up := targets(named(t, "up", &calls))[0].URL
	for name, c := range map[string]struct {
		guard  func(string, string, syscall.RawConn) error
		status int
	}{
		"allowed": {func(string, string, syscall.RawConn) error { return nil }, 200},
		"refused": {func(_, address string, _ syscall.RawConn) error { return fmt.Errorf("never %s", address) }, 502},
		"nobody":  {nil, 502},
	} {
		t.Run(name, func(t *testing.T) {
			route := &access.Route{Guarded: true}
			p, err := New(Options{Transport: Transport{Guard: c.guard}, Edge: edge.Options{Decider: decide(func(*access.Request) access.Decision {
				return access.Decision{Allow: true, Upstream: &access.Upstream{URL: up, Route: route}}
			})}})
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			p.Follow([]*access.Route{route})
			s := httptest.NewServer(p)
			defer s.Close()
			if status, _ := callOf(t, "GET", s.URL, ""); status != c.status {
				t.Errorf("got %d, want %d", status, c.status)
			}
		})
	}
}
