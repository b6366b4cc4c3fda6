package edge

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/fault"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// decide is a Decider of one function.
type decide func(r *access.Request) access.Decision

func (d decide) Decide(_ context.Context, r *access.Request) access.Decision { return d(r) }

// owning is a Decider that owns header fields.
type owning struct {
	decide
	names []string
}

func (o owning) OwnedHeaders() []string { return o.names }

func allowed(*access.Request) access.Decision { return access.Decision{Allow: true, RuleID: "r"} }

func ok(x *Exchange) { x.W.WriteHeader(http.StatusNoContent) }

func gate(t testing.TB, o Options) *Gate {
	t.Helper()
	if o.Decider == nil {
		o.Decider = decide(allowed)
	}
	g, err := NewGate(o)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

type envelope struct {
	Error struct {
		Code                         int
		ID, Status, Request, Message string
	}
}

func refused(t testing.TB, w *httptest.ResponseRecorder) envelope {
	t.Helper()
	var e envelope
	if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil {
		t.Fatalf("status %d, body %q: %v", w.Code, w.Body, err)
	}
	if e.Error.Code != w.Code || e.Error.Request == "" || e.Error.Request != w.Header().Get(DecisionID) {
		t.Errorf("status %d, header %v, body %+v: want the same status and id", w.Code, w.Header(), e)
	}
	return e
}

func TestAGateNeedsADecider(t *testing.T) {
	if g, err := NewGate(Options{}); err == nil {
		t.Errorf("got %v, want an error", g)
	}
}

func TestAZeroDecisionIsRefusedWith500(t *testing.T) {
	w := httptest.NewRecorder()
	gate(t, Options{Decider: decide(func(*access.Request) access.Decision { return access.Decision{} })}).
		Serve(w, httptest.NewRequest("GET", "/", nil), func(*Exchange) { t.Error("passed") })
	if e := refused(t, w); w.Code != 500 || e.Error.ID != "internal" {
		t.Errorf("got %d %+v, want 500", w.Code, e)
	}
}

func TestARefusalIsWrittenAsItIs(t *testing.T) {
	w := httptest.NewRecorder()
	refusal := access.Response{Status: 302, Header: http.Header{"Location": {"/login"}}, Body: []byte("x")}
	gate(t, Options{Decider: decide(func(*access.Request) access.Decision { return access.Decision{Refusal: refusal} })}).
		Serve(w, httptest.NewRequest("GET", "/", nil), func(*Exchange) { t.Error("passed") })
	if w.Code != 302 || w.Header().Get("Location") != "/login" || w.Body.String() != "x" || w.Header().Get(DecisionID) == "" {
		t.Errorf("got %d %v %q", w.Code, w.Header(), w.Body)
	}
	if diff := cmp.Diff(http.Header{"Location": {"/login"}}, refusal.Header); diff != "" {
		t.Errorf("the shared refusal was changed: %s", diff)
	}
}

func TestADecisionsFieldsAreInEveryAnswerToTheClient(t *testing.T) {
	fields := http.Header{"Set-Cookie": {"session=1"}, "Dpop-Nonce": {"fresh"}}
	for name, c := range map[string]struct {
		allow bool
		pass  func(*Exchange)
		want  http.Header
	}{
		"an upstream's answer": {true, func(x *Exchange) {
			x.W.Header()["Set-Cookie"], x.W.Header()["Dpop-Nonce"] = []string{"a=b"}, []string{"the upstream's"}
			x.W.WriteHeader(http.StatusOK)
		}, http.Header{"Set-Cookie": {"a=b", "session=1"}, "Dpop-Nonce": {"fresh"}}},
		"an answer without WriteHeader": {true, func(x *Exchange) { _, _ = x.W.Write([]byte("x")) }, fields},
		"a failed upstream":             {true, func(x *Exchange) { x.Fail(http.StatusBadGateway, "upstream_failed", "", nil) }, fields},
		"a panic":                       {true, func(*Exchange) { panic("x") }, fields},
		"a refusal":                     {false, nil, fields},
	} {
		w := httptest.NewRecorder()
		gate(t, Options{Decider: decide(func(*access.Request) access.Decision {
			return access.Decision{Allow: c.allow, Refusal: access.Response{Status: 401}, ResponseHeader: fields}
		})}).Serve(w, httptest.NewRequest("GET", "/", nil), c.pass)
		got := http.Header{"Set-Cookie": w.Result().Header["Set-Cookie"], "Dpop-Nonce": w.Result().Header["Dpop-Nonce"]}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if diff := cmp.Diff(http.Header{"Set-Cookie": {"session=1"}, "Dpop-Nonce": {"fresh"}}, fields); diff != "" {
		t.Errorf("the shared fields were changed: %s", diff)
	}
}

func TestAnAmbiguousURLIsRefusedBeforeItIsDecided(t *testing.T) {
	for _, target := range []string{"/public/%2e%2e/admin", "/..;/x", "/a%2fb", "/a%00"} {
		w := httptest.NewRecorder()
		r := httptest.NewRequest("GET", "http://example.com/", nil)
		r.URL, _ = r.URL.Parse(target)
		r.URL.Scheme, r.URL.Host = "", ""
		gate(t, Options{Decider: decide(func(r *access.Request) access.Decision {
			t.Errorf("%s was decided as %s", target, r.URL)
			return access.Decision{}
		})}).Serve(w, r, ok)
		if refused(t, w); w.Code != 400 {
			t.Errorf("%s: got %d, want 400", target, w.Code)
		}
	}
}

func TestEveryKindOfFaultHasItsStatus(t *testing.T) {
	for kind, want := range map[fault.Kind]int{fault.Internal: 500, fault.Invalid: 400, fault.Unauthenticated: 401, fault.Forbidden: 403, fault.NotFound: 404,
		fault.Conflict: 409, fault.TooLarge: 413, fault.RateLimited: 429, fault.Unavailable: 503, fault.Timeout: 504} {
		a := Refusal("id", &fault.Error{Kind: kind, Reason: "why", Message: "secret detail", Challenge: "Bearer", RetryAfter: 1500 * time.Millisecond})
		if a.Status != want || a.Header.Get("WWW-Authenticate") != "Bearer" || a.Header.Get("Retry-After") != "2" {
			t.Errorf("%v: got %d %v, want %d", kind, a.Status, a.Header, want)
		}
		if told := bytes.Contains(a.Body, []byte("secret detail")) || bytes.Contains(a.Body, []byte("why")); told != (kind != fault.Internal) {
			t.Errorf("%v: got body %s", kind, a.Body)
		}
	}
	if a := Refusal("id", errors.New("secret detail")); a.Status != 500 || bytes.Contains(a.Body, []byte("detail")) {
		t.Errorf("got %d %s, want a silent 500", a.Status, a.Body)
	}
}

func TestTheDecisionIDComesFromTrustedPeersOnly(t *testing.T) {
	for _, c := range []struct {
		remote, sent string
		taken        bool
	}{{"10.0.0.1:1", "abc-1", true}, {"192.0.2.1:1", "abc-1", false}, {"10.0.0.1:1", "a b", false}, {"10.0.0.1:1", "a\nb", false}, {"10.0.0.1:1", strings.Repeat("a", 129), false}} {
		var id string
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = c.remote
		r.Header.Set(RequestID, c.sent)
		gate(t, Options{Trusted: trusted(t, "10.0.0.0/8")}).Serve(httptest.NewRecorder(), r, func(x *Exchange) {
			id = x.Request.ID
			if got := x.R.Header[RequestID]; len(got) != 1 || got[0] != id {
				t.Errorf("upstream gets %q, want %q", got, id)
			}
		})
		if (id == c.sent) != c.taken || id == "" {
			t.Errorf("%+v: got id %q", c, id)
		}
	}
}

func TestHeadersOfTheRulesAreRemovedInEverySpelling(t *testing.T) {
	r := httptest.NewRequest("GET", "/", nil)
	r.Header = http.Header{"X-User": {"a"}, "X_user": {"a"}, "X.user": {"a"}, "X-User_": {"keep"}, "X-Users": {"keep"}, "Authorization": {"keep"}, "Authorization_": {"keep"},
		"Cookie": {"keep"}, "X_request_id": {"a"}, "Content_length": {"a"}, "Host": {"example.com"}, "X_role_name": {"a"}, "X-Role-Name": {"a"}}
	var got http.Header
	gate(t, Options{Decider: owning{allowed, []string{"X-User", "x-role-name", "Authorization"}}}).Serve(httptest.NewRecorder(), r, func(x *Exchange) { got = x.R.Header })
	for _, name := range []string{RequestID, "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
		delete(got, name)
	}
	want := http.Header{"X-User_": {"keep"}, "X-Users": {"keep"}, "Authorization": {"keep"}, "Authorization_": {"keep"}, "Cookie": {"keep"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got): %s", diff)
	}
}

func TestAHeaderThatANewRuleOwnsIsRemovedFromTheRequestThatItDecides(t *testing.T) {
	o := &changing{}
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("X-New", "client")
	gate(t, Options{Decider: o}).Serve(httptest.NewRecorder(), r, func(x *Exchange) {
		if v := x.R.Header.Get("X-New"); v != "" {
			t.Errorf("got X-New: %s, want it removed", v)
		}
	})
}

// changing swaps its rules while it decides.
type changing struct{ names []string }

func (c *changing) OwnedHeaders() []string { return c.names }
func (c *changing) Decide(_ context.Context, r *access.Request) access.Decision {
	c.names = []string{"X-New"}
	return allowed(r)
}

// cooking owns cookies.
type cooking struct{ decide }

func (cooking) OwnedCookies() []string { return []string{"user_id"} }

func TestCookiesOfTheRulesAreRemovedInEverySpelling(t *testing.T) {
	for sent, want := range map[string][]string{
		"a=b; c=d":                      {"a=b; c=d"},
		"a=b;user_id=admin;c=d":         {"a=b; c=d"},
		"user_id=admin":                 nil,
		"User-Id=admin; user.id=x; a=1": {"a=1"},
		"user%5Fid=admin; a=1":          {"a=1"},
		"a=1, user_id=admin":            nil,
		"a=1 user_id=admin; b=2":        {"b=2"},
		"a=\"1; user_id=admin; b=\"":    {"a=\"1; b=\""},
		"\tuser_id =admin; user_id":     nil,
		"x=user_id; user_idx=1":         {"x=user_id; user_idx=1"},
	} {
		var got []string
		removed := false
		g := gate(t, Options{Decider: cooking{func(r *access.Request) access.Decision {
			got = r.Header["Cookie"]
			return allowed(r)
		}}})
		r := httptest.NewRequest("GET", "http://a/", nil)
		r.Header["Cookie"] = []string{sent}
		g.Serve(httptest.NewRecorder(), r, func(x *Exchange) { removed = x.CookiesRemoved })
		if diff := cmp.Diff(want, got); diff != "" || removed != !slices.Equal(want, []string{sent}) {
			t.Errorf("%q (-want +got), removed %t:\n%s", sent, removed, diff)
		}
	}
}

func FuzzStripping(f *testing.F) {
	f.Add("x-user", "X_User")
	f.Add("X-Role-Name", "x.role-NAME")
	f.Fuzz(func(t *testing.T, owned, sent string) {
		valid := func(s string) bool {
			_, err := canonicalMethod(s)
			return err == nil && s != "connect"
		}
		if !valid(owned) || !valid(sent) {
			return
		}
		h := http.Header{http.CanonicalHeaderKey(sent): {"client"}}
		newHeaderSet([]string{owned}, nil, nil).strip(h)
		cgi := func(s string) string { // as CGI programs and WSGI servers read it
			return strings.Map(func(r rune) rune {
				if r < 0x80 && isAlnum(byte(r)) {
					return r &^ 0x20 // upper case; digits stay distinct
				}
				return '_'
			}, s)
		}
		exact := http.CanonicalHeaderKey(owned) == http.CanonicalHeaderKey(sent)
		if cgi(owned) == cgi(sent) && len(h) > 0 && !(exact && (isCredential(fold(owned)) || hopByHop(fold(owned)))) {
			t.Fatalf("%q owned, %q still there", owned, sent)
		}
	})
}

func TestConnectionCannotNameAFieldAway(t *testing.T) {
	r := httptest.NewRequest("GET", "/", nil)
	r.Header = http.Header{"Connection": {"close, x-private", "Upgrade, X-Forwarded-For, x-request-id"}, "X-Private": {"a"}, "Upgrade": {"h2c"}, "Http2-Settings": {"a"},
		"Keep-Alive": {"a"}, "Proxy-Connection": {"a"}, "Proxy-Authorization": {"a"}, "Te": {"trailers"}, "Accept": {"a"}}
	var got http.Header
	gate(t, Options{}).Serve(httptest.NewRecorder(), r, func(x *Exchange) { got = x.R.Header })
	want := []string{"Accept", "Te", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Request-Id"}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(got))); diff != "" {
		t.Errorf("(-want +got): %s", diff)
	}
}

func TestAPassIsAppliedLast(t *testing.T) {
	h := http.Header{"Authorization": {"Bearer old"}, "X_user": {"client"}, "X-Gone": {"a"}, "X_gone": {"a"}, "Cookie": {"a=1; sid=evil", "b=2 ; sid = evil"}, "Connection": {"Upgrade"}}
	host := ApplyPass(h, &access.Pass{
		Set:     http.Header{"X-User": {"alice"}, "Authorization": {"Bearer new"}, "Host": {"inner"}, "Connection": {"evil"}, "Content-Length": {"9"}},
		Remove:  []string{"x-gone"},
		Cookies: []*http.Cookie{{Name: "sid", Value: "good; admin=1"}},
	})
	want := http.Header{"X-User": {"alice"}, "Authorization": {"Bearer new"}, "Cookie": {`sid="good admin=1"; a=1; b=2`}, "Connection": {"Upgrade"}}
	if diff := cmp.Diff(want, h); diff != "" || host != "inner" {
		t.Errorf("host %q (-want +got): %s", host, diff)
	}
}

func TestAHostFieldThatDisagreesIsRefused(t *testing.T) {
	for sent, want := range map[string]int{"example.com": 204, "evil.com": 400} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Host", sent)
		w := httptest.NewRecorder()
		if gate(t, Options{}).Serve(w, r, ok); w.Code != want {
			t.Errorf("Host: %s beside example.com: got %d, want %d", sent, w.Code, want)
		}
	}
}

func TestABodyCanBeReadByARuleAndAgainByTheForwarder(t *testing.T) {
	for _, c := range []struct {
		body  string
		limit int64
		fits  bool
	}{{"hello", 5, true}, {"hello", 4, false}, {strings.Repeat("x", 5000), 4999, false}, {strings.Repeat("x", 5000), 5000, true}} {
		r := httptest.NewRequest("POST", "/", io.NopCloser(strings.NewReader(c.body)))
		r.ContentLength = -1
		gate(t, Options{Decider: decide(func(r *access.Request) access.Decision {
			for range 2 {
				got, err := r.Body(c.limit)
				if c.fits && (err != nil || string(got) != c.body) || !c.fits && !fault.Is(err, fault.TooLarge) {
					t.Errorf("%d bytes with limit %d: got %d bytes, %v", len(c.body), c.limit, len(got), err)
				}
			}
			return access.Decision{Allow: true}
		})}).Serve(httptest.NewRecorder(), r, func(x *Exchange) {
			if got, err := io.ReadAll(x.R.Body); err != nil || string(got) != c.body {
				t.Errorf("forwarder got %d bytes, %v, want %d", len(got), err, len(c.body))
			}
		})
	}
}

func TestARequestWithoutBodyHasNoBody(t *testing.T) {
	gate(t, Options{Decider: decide(func(r *access.Request) access.Decision {
		if r.Body != nil {
			t.Error("got a body")
		}
		return access.Decision{}
	})}).Serve(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil), nil)
}

func TestABodyBeyondTheLimitIsRefusedAndNeverForwardedWhole(t *testing.T) {
	r := httptest.NewRequest("POST", "/", strings.NewReader("123456"))
	w := httptest.NewRecorder()
	if gate(t, Options{MaxBody: 5}).Serve(w, r, ok); w.Code != 413 {
		t.Errorf("declared: got %d, want 413", w.Code)
	}
	r = httptest.NewRequest("POST", "/", strings.NewReader("123456"))
	r.ContentLength = -1
	gate(t, Options{MaxBody: 5}).Serve(httptest.NewRecorder(), r, func(x *Exchange) {
		got, err := io.ReadAll(x.R.Body)
		if string(got) != "12345" || !fault.Is(err, fault.TooLarge) || !fault.Is(x.BodyErr(), fault.TooLarge) {
			t.Errorf("undeclared: got %q, %v, %v", got, err, x.BodyErr())
		}
	})
}

func TestAPanicIs500WithTheID(t *testing.T) {
	var log bytes.Buffer
	w := httptest.NewRecorder()
	var event Event
	g := gate(t, Options{Log: slog.New(slog.NewTextHandler(&log, nil)), Observe: func(e *Event) { event = *e }})
	g.Serve(w, httptest.NewRequest("GET", "/", nil), func(*Exchange) { panic("boom") })
	if e := refused(t, w); w.Code != 500 || strings.Contains(w.Body.String(), "boom") || !strings.Contains(log.String(), e.Error.Request) || !strings.Contains(log.String(), "boom") {
		t.Errorf("got %d %s, log %s", w.Code, w.Body, log.String())
	}
	if event.Outcome != OutcomeError || event.Status != 500 {
		t.Errorf("got event %+v", event)
	}
	defer func() {
		if recover() != http.ErrAbortHandler {
			t.Error("a response that was begun must be aborted")
		}
	}()
	g.Serve(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil), func(x *Exchange) {
		x.W.WriteHeader(200)
		panic("boom")
	})
}

func TestTheAccessEventHoldsNoSecrets(t *testing.T) {
	var log bytes.Buffer
	var event Event
	r := httptest.NewRequest("POST", "/a/b?token=s3cret", strings.NewReader("s3cret"))
	r.Header = http.Header{"Authorization": {"Bearer s3cret"}, "Cookie": {"sid=s3cret"}}
	d := access.Decision{Allow: true, RuleID: "rule-1", Subject: access.Subject{ID: "alice"}, Reason: "allowed", Pass: access.Pass{Set: http.Header{"X-Key": {"s3cret"}}}}
	gate(t, Options{Listener: "proxy", Log: slog.New(slog.NewJSONHandler(&log, nil)), Observe: func(e *Event) { event = *e },
		Decider: decide(func(*access.Request) access.Decision { return d })}).Serve(httptest.NewRecorder(), r, ok)
	if strings.Contains(log.String(), "s3cret") {
		t.Errorf("got %s", log.String())
	}
	var got map[string]any
	if err := json.Unmarshal(log.Bytes(), &got); err != nil || strings.Count(log.String(), "\n") != 1 {
		t.Fatalf("want one record, got %s", log.String())
	}
	for _, name := range []string{"time", "duration_ms", "decision_ms"} {
		delete(got, name)
	}
	want := map[string]any{"level": "INFO", "msg": "request", "listener": "proxy", "decision_id": event.ID, "outcome": "allow", "reason": "allowed", "rule": "rule-1",
		"subject": "alice", "client": "192.0.2.1", "method": "POST", "scheme": "http", "host": "example.com", "path": "/a/b", "status": 204.0, "bytes": 0.0}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got): %s", diff)
	}
}

func BenchmarkGate(b *testing.B) {
	g := gate(b, Options{Decider: owning{allowed, []string{"X-User"}}})
	r := httptest.NewRequest("GET", "/api/v1/users/1234?expand=teams", nil)
	r.URL.Scheme, r.URL.Host = "", ""
	w := httptest.NewRecorder()
	header := http.Header{"User-Agent": {"x"}, "Accept": {"*/*"}, "Authorization": {"Bearer x"}, "Accept-Encoding": {"gzip"}, "Cookie": {"a=b"}}
	b.ReportAllocs()
	for b.Loop() {
		r.Header = maps.Clone(header)
		g.Serve(w, r, ok)
	}
}
