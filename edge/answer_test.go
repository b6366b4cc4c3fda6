package edge

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/access"
)

// keeping keeps sessions in cookies.
type keeping struct{ decide }

func (keeping) SessionCookies() []string { return []string{"gw_session", "__Host-gw_session"} }

func TestSessionCookiesAreForTheDeciderAlone(t *testing.T) {
	type told struct {
		Header   []string
		Sessions [][2]string
	}
	for sent, want := range map[string]told{
		"a=b":                               {[]string{"a=b"}, nil},
		"gw_session=1; a=b":                 {[]string{"a=b"}, [][2]string{{"gw_session", "1"}}},
		"gw_session_x.0=1;gw_session_x.1=2": {nil, [][2]string{{"gw_session_x.0", "1"}, {"gw_session_x.1", "2"}}},
		"__Host-gw_session=1":               {nil, [][2]string{{"__Host-gw_session", "1"}}},
		"GW_SESSION=1; gw-session=2; gw%5Fsession=3; a=b": {[]string{"a=b"}, nil},
		"a=1, gw_session=2; b=3":                          {[]string{"b=3"}, nil},
		"a=gw_session; my_gw_session=1":                   {[]string{"a=gw_session; my_gw_session=1"}, nil},
	} {
		var got told
		g := gate(t, Options{Decider: keeping{func(r *access.Request) access.Decision {
			got.Header = r.Header["Cookie"]
			for _, c := range r.Cookies {
				got.Sessions = append(got.Sessions, [2]string{c.Name, c.Value})
			}
			return allowed(r)
		}}})
		r := httptest.NewRequest("GET", "http://a/", nil)
		r.Header["Cookie"] = []string{sent}
		g.Serve(httptest.NewRecorder(), r, func(x *Exchange) {
			if diff := cmp.Diff(want.Header, x.R.Header["Cookie"]); diff != "" {
				t.Errorf("%q: forwarded (-want +got):\n%s", sent, diff)
			}
		})
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", sent, diff)
		}
	}
}

func TestTheAnswerOfADecisionIsWrittenWhateverBecomesOfTheRequest(t *testing.T) {
	answer := http.Header{"Set-Cookie": {"gw_session=new"}, "Dpop-Nonce": {"1"}}
	want := http.Header{"Set-Cookie": {"gw_session=new"}, "Dpop-Nonce": {"1"}, "Cache-Control": {"private"}}
	for name, c := range map[string]struct {
		allow bool
		pass  func(*Exchange)
	}{
		"refused":           {false, nil},
		"a status":          {true, func(x *Exchange) { x.W.WriteHeader(http.StatusNoContent) }},
		"a body":            {true, func(x *Exchange) { _, _ = x.W.Write([]byte("x")) }},
		"a gateway's error": {true, func(x *Exchange) { x.Fail(http.StatusBadGateway, "down", "", nil) }},
		"a panic":           {true, func(*Exchange) { panic("x") }},
		"the upstream's own": {true, func(x *Exchange) {
			upstreams(x, http.Header{"Set-Cookie": {"gw_session=bad", "Gw-Session.0=bad"}, "Dpop-Nonce": {"2"}})
		}},
	} {
		g := gate(t, Options{Decider: keeping{func(*access.Request) access.Decision {
			return access.Decision{Allow: c.allow, ResponseHeader: answer, Refusal: access.Response{Status: 403}}
		}}})
		w := httptest.NewRecorder()
		g.Serve(w, httptest.NewRequest("GET", "http://a/", nil), c.pass)
		got := http.Header{}
		for name := range want {
			got[name] = w.Result().Header[name]
		}
		if c := got["Cache-Control"]; len(c) == 2 && c[0] == "no-store" {
			got["Cache-Control"] = c[1:] // a gateway's own answer
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if len(answer) != 2 || len(answer["Set-Cookie"]) != 1 {
		t.Errorf("the decision was changed: %v", answer)
	}
}

func upstreams(x *Exchange, h http.Header) {
	x.CleanAnswer(h)
	for name, values := range h {
		x.W.Header()[name] = values
	}
	x.W.WriteHeader(http.StatusOK)
}

func TestAnUpstreamSetsItsOwnCookiesOnly(t *testing.T) {
	g := gate(t, Options{Decider: keeping{func(*access.Request) access.Decision { return access.Decision{Allow: true} }}})
	w := httptest.NewRecorder()
	g.Serve(w, httptest.NewRequest("GET", "http://a/", nil), func(x *Exchange) {
		upstreams(x, http.Header{"Cache-Control": {"public"}, "Set-Cookie": {"theme=dark", "gw_session=; Max-Age=0", "gw_session_1.2=x", " GW-session =x", "__Host-gw_session=x; Secure", "x=gw_session"}})
	})
	want := http.Header{"Cache-Control": {"public"}, "Set-Cookie": {"theme=dark", "x=gw_session"}}
	if diff := cmp.Diff(want, w.Result().Header); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A browser keeps "=a=b" as a cookie without a name and sends it back as "a=b".
func TestAnUpstreamSetsNoSessionByACookieWithoutAName(t *testing.T) {
	g := gate(t, Options{Decider: keeping{func(*access.Request) access.Decision { return access.Decision{Allow: true} }}})
	w := httptest.NewRecorder()
	g.Serve(w, httptest.NewRequest("GET", "http://a/", nil), func(x *Exchange) {
		upstreams(x, http.Header{"Set-Cookie": {"=gw_session=planted", " = gw_session_1=x; Path=/", "=\t=GW-session=x", "=gw_session", "=theme=gw_session", "=dark"}})
	})
	want := http.Header{"Set-Cookie": {"=theme=gw_session", "=dark"}}
	if diff := cmp.Diff(want, w.Result().Header); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAPathOfTheGatewaysOwnIsAnOutcomeOfItsOwn(t *testing.T) {
	for status, want := range map[int]string{303: OutcomeServed, 200: OutcomeServed, 400: OutcomeDeny, 503: OutcomeError} {
		var got string
		g := gate(t, Options{
			Decider: decide(func(*access.Request) access.Decision {
				return access.Decision{Served: true, Refusal: access.Response{Status: status}}
			}),
			Observe: func(e *Event) { got = e.Outcome },
		})
		g.Serve(httptest.NewRecorder(), httptest.NewRequest("GET", "http://a/cb", nil), nil)
		if got != want {
			t.Errorf("%d: got %s, want %s", status, got, want)
		}
	}
}
