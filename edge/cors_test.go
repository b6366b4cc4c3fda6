package edge

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/cors"
	"github.com/google/go-cmp/cmp"
)

// ruled is a Decider whose rule for PUT has a policy of its own.
type ruled struct {
	decide
	own *cors.Policy
}

func (r ruled) CORS(q *access.Request) (*cors.Policy, string) {
	if q.Method == "PUT" {
		return r.own, "own"
	}
	return nil, ""
}

func mustPolicy(t testing.TB, o cors.Options) *cors.Policy {
	t.Helper()
	p, problems := cors.New(o)
	if problems != nil {
		t.Fatal(problems)
	}
	return p
}

func TestPreflightsAreAnsweredBeforeAnythingIsDecidedAndNothingElseIs(t *testing.T) {
	listener := mustPolicy(t, cors.Options{AllowedOrigins: []string{"https://a.example"}})
	own := mustPolicy(t, cors.Options{AllowedOrigins: []string{"https://b.example"}})
	through := mustPolicy(t, cors.Options{OptionsPassthrough: true})
	preflight := func(origin, method string) http.Header {
		return http.Header{"Origin": {origin}, "Access-Control-Request-Method": {method}}
	}
	target := func(_ *http.Request, t Target, _ Forwarded) (Target, error) { t.URI = "/"; return t, nil }
	for _, c := range []struct {
		name          string
		o             Options
		method        string
		header        http.Header
		decided       bool
		status        int
		origin, event string
	}{
		{"of the listener's policy", Options{CORS: listener}, "OPTIONS", preflight("https://a.example", "GET"), false, 204, "https://a.example", ReasonPreflight},
		{"of a stranger", Options{CORS: listener}, "OPTIONS", preflight("https://evil.example", "GET"), false, 403, "", cors.ReasonOrigin},
		{"of the rule's policy", Options{CORS: listener}, "OPTIONS", preflight("https://b.example", "PUT"), false, 204, "https://b.example", ReasonPreflight},
		{"of the listener's, for the rule's request", Options{CORS: listener}, "OPTIONS", preflight("https://a.example", "PUT"), false, 403, "", cors.ReasonOrigin},
		{"of the rule's policy alone", Options{}, "OPTIONS", preflight("https://b.example", "PUT"), false, 204, "https://b.example", ReasonPreflight},
		{"without a policy", Options{}, "OPTIONS", preflight("https://a.example", "GET"), true, 401, "", "no"},
		{"that is passed through", Options{CORS: through}, "OPTIONS", preflight("https://a.example", "GET"), true, 401, "", "no"},
		{"for another proxy's request", Options{CORS: listener, Target: target}, "OPTIONS", preflight("https://a.example", "GET"), true, 401, "https://a.example", "no"},
		{"without the method that is asked about", Options{CORS: listener}, "OPTIONS", http.Header{"Origin": {"https://a.example"}}, true, 401, "https://a.example", "no"},
		{"without origin", Options{CORS: listener}, "OPTIONS", http.Header{"Access-Control-Request-Method": {"GET"}}, true, 401, "", "no"},
		{"with another method", Options{CORS: listener}, "GET", preflight("https://a.example", "GET"), true, 401, "https://a.example", "no"},
	} {
		t.Run(c.name, func(t *testing.T) {
			decided := false
			var event Event
			c.o.Decider = ruled{func(*access.Request) access.Decision {
				decided = true
				return access.Decision{Reason: "no", Refusal: access.Response{Status: 401}}
			}, own}
			c.o.Observe = func(e *Event) { event = *e }
			r := httptest.NewRequest(c.method, "http://gate.example/", nil)
			r.Header = c.header
			w := httptest.NewRecorder()
			gate(t, c.o).Serve(w, r, func(*Exchange) { t.Error("forwarded") })
			got := []any{decided, w.Code, w.Header().Get("Access-Control-Allow-Origin"), event.Reason, event.Status}
			if diff := cmp.Diff([]any{c.decided, c.status, c.origin, c.event, c.status}, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if w.Header().Get(DecisionID) == "" {
				t.Error("no decision id")
			}
		})
	}
}

func TestAnswersCarryThePolicyOfTheirRuleInPlaceOfTheUpstreams(t *testing.T) {
	listener := mustPolicy(t, cors.Options{AllowedOrigins: []string{"https://a.example"}})
	own := mustPolicy(t, cors.Options{AllowedOrigins: []string{"https://b.example"}, AllowCredentials: true})
	upstream := func(x *Exchange) {
		x.W.Header()["Access-Control-Allow-Origin"] = []string{"*"}
		_, _ = x.W.Write([]byte("hello"))
	}
	for _, c := range []struct {
		name   string
		d      access.Decision
		o      Options
		origin string
		want   string
	}{
		{"the listener's", access.Decision{Allow: true}, Options{CORS: listener}, "https://a.example", "https://a.example"},
		{"the rule's", access.Decision{Allow: true, CORS: own}, Options{CORS: listener}, "https://b.example", "https://b.example"},
		{"a stranger", access.Decision{Allow: true, CORS: own}, Options{CORS: listener}, "https://a.example", ""},
		{"a refusal, which scripts may read as well", access.Decision{CORS: own, Refusal: access.Response{Status: 401}}, Options{}, "https://b.example", "https://b.example"},
		{"switched off by the rule", access.Decision{Allow: true, CORS: &cors.Policy{}}, Options{CORS: listener}, "https://a.example", "*"},
		{"no policy", access.Decision{Allow: true}, Options{}, "https://a.example", "*"},
	} {
		c.o.Decider = decide(func(*access.Request) access.Decision { return c.d })
		r := httptest.NewRequest("GET", "http://gate.example/", nil)
		r.Header.Set("Origin", c.origin)
		w := httptest.NewRecorder()
		gate(t, c.o).Serve(w, r, upstream)
		if got := w.Header().Get("Access-Control-Allow-Origin"); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func TestAListenerWithoutDecisionsHasAPolicyToo(t *testing.T) {
	policy := mustPolicy(t, cors.Options{AllowedOrigins: []string{"https://a.example"}})
	served := 0
	h := CrossOrigin(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		served++
		w.WriteHeader(http.StatusTeapot)
	}), func() *cors.Policy { return policy }, func(r *http.Request) bool { return r.URL.Path == "/closed" })
	for _, c := range []struct {
		name, method, path string
		header             http.Header
		served, status     int
		origin             string
	}{
		{"a preflight", "OPTIONS", "/", http.Header{"Origin": {"https://a.example"}, "Access-Control-Request-Method": {"GET"}}, 0, 204, "https://a.example"},
		{"a stranger's preflight", "OPTIONS", "/", http.Header{"Origin": {"https://b.example"}, "Access-Control-Request-Method": {"GET"}}, 0, 403, ""},
		{"a request", "GET", "/", http.Header{"Origin": {"https://a.example"}}, 1, 418, "https://a.example"},
		{"a path without CORS", "OPTIONS", "/closed", http.Header{"Origin": {"https://a.example"}, "Access-Control-Request-Method": {"GET"}}, 1, 418, ""},
	} {
		served = 0
		r := httptest.NewRequest(c.method, c.path, nil)
		r.Header = c.header
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if got, want := []any{served, w.Code, w.Header().Get("Access-Control-Allow-Origin")}, []any{c.served, c.status, c.origin}; !cmp.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", c.name, got, want)
		}
	}
}
