package authn

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/handler"
	"github.com/gatewarden/gatewarden/outbound"
)

// sessions is a session service that tests direct.
type sessions struct {
	*httptest.Server
	asked atomic.Int32
	mu    sync.Mutex
	last  *http.Request
}

func newSessions(t testing.TB, answer http.HandlerFunc) *sessions {
	s := &sessions{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		r.ParseForm()
		s.mu.Lock()
		s.last = r.Clone(r.Context())
		s.mu.Unlock()
		answer(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

// config is a handler's configuration for this service.
func (s *sessions) config(more ...string) string {
	return `{"check_session_url":"` + s.URL + `/check?a=1"` + strings.Join(append([]string{""}, more...), ",") + "}"
}

func cookieRequest(target, cookies string) *access.Request {
	return request(target, "Cookie", cookies)
}

func TestTheRequestToASessionServiceIsThatOfOathkeeper(t *testing.T) {
	s := newSessions(t, says(`{"subject":"alice"}`))
	r := func(method string) *access.Request {
		r := request("https://api.example/orders/a%2Fb?q=1;2", "Cookie", "sid=1; b=2", "Authorization", "Basic x", "X-Tenant", "7", "x-tenant", "8",
			"Connection", "close", "Accept-Encoding", "br", "Content-Type", "text/plain")
		r.Method = method
		return r
	}
	for name, c := range map[string]struct {
		method, config, want string
		header               map[string]string
	}{
		"defaults: path replaced, query kept": {"POST", `"only":["sid"]`, "POST /orders/a%2Fb?a=1", map[string]string{"Cookie": "sid=1; b=2", "X-Tenant": "", "Authorization": "", "X-Forwarded-Host": "", "Content-Type": ""}},
		"the configured path":                 {"GET", `"preserve_path":true`, "GET /check?a=1", nil},
		"the request's query":                 {"GET", `"preserve_path":true,"preserve_query":false`, "GET /check?q=1;2", nil},
		"the request's host":                  {"GET", `"preserve_host":true`, "GET /orders/a%2Fb?a=1", map[string]string{"X-Forwarded-Host": "api.example"}},
		"a method of its own":                 {"DELETE", `"force_method":"GET"`, "GET /orders/a%2Fb?a=1", nil},
		"HEAD asks for a body":                {"HEAD", ``, "GET /orders/a%2Fb?a=1", nil},
		"further fields": {"GET", `"forward_http_headers":["x-tenant","AUTHORIZATION","Connection","Accept-Encoding","Content-Type"]`, "GET /orders/a%2Fb?a=1",
			map[string]string{"X-Tenant": "7|8", "Authorization": "Basic x", "Connection": "", "Accept-Encoding": "gzip", "Content-Type": ""}},
		"fields on top": {"GET", `"forward_http_headers":["X-Tenant"],"additional_headers":{"x-tenant":"9","Host":"sessions.example"}`, "GET /orders/a%2Fb?a=1", map[string]string{"X-Tenant": "9"}},
	} {
		t.Run(name, func(t *testing.T) {
			config := s.config()
			if c.config != "" {
				config = s.config(c.config)
			}
			a := build(t, Deps{}, "cookie_session", config)
			if got := outcome(a.Authenticate(t.Context(), r(c.method))); got != "subject alice" {
				t.Fatal(got)
			}
			if got := s.last.Method + " " + s.last.RequestURI; got != c.want {
				t.Errorf("asked %s, want %s", got, c.want)
			}
			for name, want := range c.header {
				if got := strings.Join(s.last.Header[name], "|"); got != want {
					t.Errorf("%s is %q, want %q", name, got, want)
				}
			}
			if strings.Contains(c.config, "Host\":") && s.last.Host != "sessions.example" {
				t.Errorf("Host is %s", s.last.Host)
			}
		})
	}
}

func TestWhatASessionServiceAnswersBecomesTheSubject(t *testing.T) {
	const kratos = `{"active":true,"subject":"s","sub":"b","n":7,"gone":null,"extra":{"role":"admin"},"identity":{"id":"alice","traits":{"e.mail":"a@b"}},"list":[{"id":"x"},{"id":"y"}]}`
	for name, c := range map[string]struct {
		answer, config string
		want           access.Subject
		kind           string // instead of a subject
	}{
		"defaults":                  {kratos, ``, access.Subject{ID: "s", Extra: map[string]any{"role": "admin"}}, ""},
		"paths":                     {kratos, `"subject_from":"identity.id","extra_from":"identity.traits"`, access.Subject{ID: "alice", Extra: map[string]any{"e.mail": "a@b"}}, ""},
		"an escaped dot":            {kratos, `"subject_from":"identity.traits.e\\.mail","extra_from":"gone"`, access.Subject{ID: "a@b"}, ""},
		"an element":                {kratos, `"subject_from":"list.#(id==\"y\").id","extra_from":"list.0"`, access.Subject{ID: "y", Extra: map[string]any{"id": "x"}}, ""},
		"all of it":                 {`{"sub":"b","subject":"s"}`, `"extra_from":"@this"`, access.Subject{ID: "s", Extra: map[string]any{"sub": "b", "subject": "s"}}, ""},
		"no extra":                  {`{"subject":"s"}`, ``, access.Subject{ID: "s"}, ""},
		"extra is a list":           {kratos, `"extra_from":"list"`, access.Subject{}, "unavailable"},
		"subject is a number":       {kratos, `"subject_from":"n"`, access.Subject{}, "unavailable"},
		"subject is an object":      {kratos, `"subject_from":"extra"`, access.Subject{}, "unavailable"},
		"no subject":                {`{}`, ``, access.Subject{}, "unavailable"},
		"an empty subject":          {`{"subject":""}`, ``, access.Subject{}, "unavailable"},
		"no subject is good enough": {`{"subject":null}`, `"allow_empty_subject":true`, access.Subject{}, ""},
		"two subjects":              {`{"subject":"s","subject":"t"}`, ``, access.Subject{}, "unavailable"},
		"two subjects, escaped":     {`{"subject":"s","s\u0075bject":"t"}`, ``, access.Subject{}, "unavailable"},
		"no JSON":                   {`<html>{"subject":"s"}`, ``, access.Subject{}, "unavailable"},
		"trailing data":             {`{"subject":"s"}{}`, ``, access.Subject{}, "unavailable"},
		"nothing":                   {``, ``, access.Subject{}, "unavailable"},
		"too deep":                  {`{"subject":"s","x":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}`, ``, access.Subject{}, "unavailable"},
		"too long":                  {`{"subject":"s"}` + strings.Repeat(" ", outbound.MaxAnswer), ``, access.Subject{}, "unavailable"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSessions(t, says(c.answer))
			more := []string{`"retry":{"give_up_after":"0s"}`}
			if c.config != "" {
				more = append(more, c.config)
			}
			for handler, r := range map[string]*access.Request{"cookie_session": cookieRequest("https://a/", "sid=1"), "bearer_token": bearerRequest("x")} {
				more := append([]string{`"subject_from":"subject"`}, more...)
				if strings.Contains(c.config, "subject_from") {
					more = more[1:]
				}
				for range 2 {
					got, err := build(t, Deps{}, handler, s.config(more...)).Authenticate(t.Context(), r)
					if c.kind != "" {
						if got := outcome(got, err); got != c.kind || fault.ReasonOf(err) != "session_check_failed" {
							t.Errorf("%s: got %s (%v), want %s", handler, got, err, c.kind)
						}
						continue
					}
					want := c.want
					want.Via = handler
					if handler == "bearer_token" {
						want.Token = "x"
					}
					if diff := cmp.Diff(want, got); diff != "" || err != nil {
						t.Error(handler, err, diff)
					}
					more = append(more, `"cache":{"enabled":true}`)
				}
			}
		})
	}
}

func TestOnlyAServiceThatSaysSoMakesASessionBad(t *testing.T) {
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(code)
			w.Write([]byte(`{"subject":"alice","sub":"alice"}`))
		}
	}
	elsewhere := newSessions(t, says(`{"subject":"alice","sub":"alice"}`))
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"200":              {status(200), "subject alice"},
		"203":              {status(203), "subject alice"},
		"204":              {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }, "unavailable"},
		"401":              {status(401), "unauthenticated"},
		"403":              {status(403), "unauthenticated"},
		"400":              {status(400), "unavailable"},
		"404":              {status(404), "unavailable"},
		"500":              {status(500), "unavailable"},
		"503":              {status(503), "unavailable"},
		"429":              {func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Retry-After", "7"); w.WriteHeader(429) }, "rate_limited"},
		"redirect":         {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere.URL, 302) }, "unavailable"},
		"connection reset": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "unavailable"},
		"cut off": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			w.Write([]byte(`{"subject":"alice"}`))
		}, "unavailable"},
	} {
		s := newSessions(t, c.answer)
		for handler, r := range map[string]*access.Request{"cookie_session": cookieRequest("https://a/", "sid=secret-cookie"), "bearer_token": bearerRequest("secret-token")} {
			a := build(t, Deps{}, handler, s.config(`"retry":{"give_up_after":"0s"}`))
			subject, err := a.Authenticate(t.Context(), r)
			if got := outcome(subject, err); got != c.want {
				t.Errorf("%s, %s: got %s (%v), want %s", name, handler, got, err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), "secret-") {
				t.Errorf("%s: a secret is in %v", name, err)
			}
		}
	}
	if elsewhere.asked.Load() != 0 {
		t.Error("credentials were sent to where a redirect pointed")
	}
}

func TestASessionServiceThatHangsIsATimeoutAndOneThatFailsIsAskedAgain(t *testing.T) {
	stop := make(chan struct{})
	slow := newSessions(t, func(http.ResponseWriter, *http.Request) { <-stop })
	t.Cleanup(func() { close(stop) })
	r := cookieRequest("https://a/", "sid=1")
	a := build(t, Deps{}, "cookie_session", slow.config(`"timeout":"50ms"`, `"retry":{"give_up_after":"0s"}`))
	if got := outcome(a.Authenticate(t.Context(), r)); got != "timeout" {
		t.Errorf("got %s", got)
	}
	var failures atomic.Int32
	failures.Store(2)
	s := newSessions(t, func(w http.ResponseWriter, _ *http.Request) {
		if failures.Add(-1) >= 0 {
			w.WriteHeader(502)
			return
		}
		w.Write([]byte(`{"subject":"alice"}`))
	})
	a = build(t, Deps{}, "cookie_session", s.config(`"retry":{"max_delay":"10ms","give_up_after":"1m"}`))
	if got := outcome(a.Authenticate(t.Context(), r)); got != "subject alice" || s.asked.Load() != 3 {
		t.Errorf("got %s after %d requests", got, s.asked.Load())
	}
}

func TestWhichRequestsASessionHandlerIsResponsibleFor(t *testing.T) {
	s := newSessions(t, says(`{"subject":"alice","sub":"alice"}`))
	for name, c := range map[string]struct {
		handler, config string
		r               *access.Request
		want            string
	}{
		"any cookie":               {"cookie_session", `"only":[]`, cookieRequest("https://a/", "x=1"), "subject alice"},
		"no cookie":                {"cookie_session", `"only":[]`, bearerRequest("x"), "no credentials"},
		"one of the cookies":       {"cookie_session", `"only":["a","b"]`, cookieRequest("https://a/", "x=1; b=2"), "subject alice"},
		"none of the cookies":      {"cookie_session", `"only":["a","b"]`, cookieRequest("https://a/", "ab=1; B=2"), "no credentials"},
		"an empty cookie":          {"cookie_session", `"only":["a"]`, cookieRequest("https://a/", "a="), "no credentials"},
		"a token":                  {"bearer_token", `"prefix":""`, bearerRequest("x"), "subject alice"},
		"no token":                 {"bearer_token", `"prefix":""`, cookieRequest("https://a/", "x=1"), "no credentials"},
		"a token of the prefix":    {"bearer_token", `"prefix":"ory_st_"`, bearerRequest("ory_st_x"), "subject alice"},
		"a token of another":       {"bearer_token", `"prefix":"ory_st_"`, bearerRequest("ory_at_x"), "no credentials"},
		"a token in a parameter":   {"bearer_token", `"token_from":{"query_parameter":"t"},"preserve_query":false`, request("https://a/?t=x"), "subject alice"},
		"a token in a field":       {"bearer_token", `"token_from":{"header":"x-session-token"}`, request("https://a/", "X-Session-Token", "x"), "subject alice"},
		"a token in a cookie":      {"bearer_token", `"token_from":{"cookie":"t"}`, cookieRequest("https://a/", "t=x"), "subject alice"},
		"two tokens are ambiguous": {"bearer_token", `"prefix":""`, request("https://a/", "Authorization", "Bearer a", "Authorization", "Bearer b"), "invalid"},
	} {
		t.Run(name, func(t *testing.T) {
			a := build(t, Deps{}, c.handler, s.config(c.config))
			if got := outcome(a.Authenticate(t.Context(), c.r)); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

// Whatever was asked before: an answer about one request is never that about another.
func TestACachedSessionIsThatOfTheSameQuestion(t *testing.T) {
	s := newSessions(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"subject":%q,"sub":"x"}`, r.Method+r.URL.String()+r.Header.Get("Cookie")+"|"+r.Header.Get("X-Tenant")+"|"+r.Header.Get("X-Other")+"|"+r.Header.Get("Authorization")+r.Header.Get("X-Forwarded-Host"))
	})
	shared := Catalog(Deps{Now: newClock().Now})
	rapid.Check(t, func(t *rapid.T) {
		one := func(name string, of ...string) string { return rapid.SampledFrom(of).Draw(t, name) }
		config := s.config(`"subject_from":"subject"`, `"cache":{"enabled":true}`, `"preserve_path":`+one("path", "true", "false"), `"preserve_query":`+one("query", "true", "false"),
			`"preserve_host":`+one("host", "true", "false"), `"force_method":"`+one("force", "", "GET")+`"`,
			`"forward_http_headers":`+one("forward", `[]`, `["X-Tenant"]`, `["X-Tenant","X-Other"]`), `"additional_headers":`+one("additional", `{}`, `{"X-Other":"9"}`))
		r := request(one("target", "https://a/", "https://b/x", "https://a/x?q=1"), "Cookie", one("cookie", "a=1", "a=2"), "Authorization", "Bearer "+one("token", "x", "y"),
			"X-Tenant", one("tenant", "1", "2"), "X-Other", one("other", "1", "12"))
		r.Method = one("method", "GET", "POST")
		name := one("handler", "cookie_session", "bearer_token")
		var got [2]access.Subject
		for i, catalog := range []handler.Catalog[Authenticator]{shared, Catalog(Deps{Now: newClock().Now})} {
			a, err := catalog.Build(name, nil, []byte(config))
			if err == nil {
				got[i], err = a.Authenticate(context.Background(), r)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(got[1], got[0]); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestACachedSessionEndsWithItsTTLAndItself(t *testing.T) {
	c := newClock()
	bad := atomic.Bool{}
	s := newSessions(t, func(w http.ResponseWriter, _ *http.Request) {
		if bad.Load() {
			w.WriteHeader(401)
			return
		}
		fmt.Fprintf(w, `{"subject":"alice","expires_at":%q,"exp":%d,"odd":true}`, start.Add(30*time.Second).Format(time.RFC3339), start.Unix()+20)
	})
	r := cookieRequest("https://a/", "sid=1")
	for name, row := range map[string]struct {
		cache string
		steps []string // outcomes 10, 20, ... seconds after start, when the service says no
	}{
		"by its ttl":              {`"ttl":"25s"`, []string{"subject alice", "subject alice", "unauthenticated"}},
		"by its own time":         {`"expires_from":"expires_at"`, []string{"subject alice", "subject alice", "unauthenticated"}},
		"by its own number":       {`"expires_from":"exp"`, []string{"subject alice", "unauthenticated"}},
		"when it says none":       {`"expires_from":"none"`, []string{"subject alice", "subject alice", "subject alice", "subject alice", "subject alice", "unauthenticated"}},
		"not at all when it lies": {`"expires_from":"odd"`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			*c = clock{now: start}
			bad.Store(false)
			a := build(t, Deps{Now: c.Now}, "cookie_session", s.config(`"cache":{"enabled":true,`+row.cache+`}`))
			want := "subject alice"
			if row.steps == nil {
				want = "unavailable"
			}
			if got := outcome(a.Authenticate(t.Context(), r)); got != want {
				t.Fatal(got)
			}
			bad.Store(true)
			for i, want := range row.steps {
				c.Add(10 * time.Second)
				if got := outcome(a.Authenticate(t.Context(), r)); got != want {
					t.Errorf("after %d s: got %s, want %s", 10*(i+1), got, want)
				}
			}
		})
	}
	bad.Store(false)
	c.Add(time.Hour)
	a := build(t, Deps{Now: c.Now}, "cookie_session", s.config(`"cache":{"enabled":true,"expires_from":"exp"}`))
	if got := outcome(a.Authenticate(t.Context(), r)); got != "unauthenticated" {
		t.Errorf("a session that was over when it was found good: %s", got)
	}
}

func TestABadSessionConfigNamesTheField(t *testing.T) {
	for config, want := range map[string]string{
		`{}`:                                    "check_session_url must be",
		`{"check_session_url":"/sessions"}`:     "check_session_url must be",
		`{"check_session_url":"ftp://u:pw@a/"}`: "check_session_url must be",
		`{"check_session_url":"http://a","force_method":"GET /"}`:                   "force_method",
		`{"check_session_url":"http://a","subject_from":""}`:                        "subject_from",
		`{"check_session_url":"http://a","extra_from":""}`:                          "extra_from",
		`{"check_session_url":"http://a","timeout":"0s"}`:                           "timeout",
		`{"check_session_url":"http://a","forward_http_headers":["a b"]}`:           "forward_http_headers",
		`{"check_session_url":"http://a","additional_headers":{"a b":"pw"}}`:        "additional_headers",
		`{"check_session_url":"http://a","additional_headers":{"a":"pw\r\nx: y"}}`:  "additional_headers",
		`{"check_session_url":"http://a","additional_headers":{"a":"pw","A":"pw"}}`: "additional_headers",
		`{"check_session_url":"http://a","cache":{"enabled":true,"ttl":"0s"}}`:      "cache.ttl",
		`{"check_session_url":"http://a","cache":{"enabled":true,"max_cost":0}}`:    "cache.max_cost",
		`{"check_session_url":"http://a","preserve_path":"yes"}`:                    "preserve_path must be",
	} {
		for _, handler := range []string{"cookie_session", "bearer_token"} {
			_, err := Catalog(Deps{}).Build(handler, nil, []byte(config))
			if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "pw") {
				t.Errorf("%s %s: got %v, want it to name %s", handler, config, err, want)
			}
		}
	}
	if _, err := Catalog(Deps{}).Build("cookie_session", nil, []byte(`{"check_session_url":"http://a","only":["a b"]}`)); err == nil || !strings.Contains(err.Error(), "only") {
		t.Error(err)
	}
	if _, err := Catalog(Deps{}).Build("bearer_token", nil, []byte(`{"check_session_url":"http://a","token_from":{}}`)); err == nil || !strings.Contains(err.Error(), "token_from") {
		t.Error(err)
	}
}

// An answer of any text is a subject that a strict reader finds there, or an error.
func FuzzSessionAnswer(f *testing.F) {
	for _, seed := range []string{`{"subject":"a","extra":{"b":[1,null]}}`, `{"subject":"a","subject":"b"}`, `[`, `{"a":{"b":"c"}}`, `null`, `"x"`} {
		f.Add([]byte(seed), "subject", "extra")
		f.Add([]byte(seed), "a.b", "@this")
		f.Add([]byte(seed), "#(a==1).b|@pretty", "{a,b}")
	}
	f.Fuzz(func(t *testing.T, raw []byte, subject, extra string) {
		e := &sessionEndpoint{c: sessionConfig{SubjectFrom: subject, ExtraFrom: extra, Cache: sessionCacheConfig{ExpiresFrom: extra}}, via: "cookie_session"}
		got, err := e.read(raw)
		if err == nil && (got == nil || got.subject.ID == "") || err != nil && got != nil {
			t.Errorf("%q: %+v, %v", raw, got, err)
		}
	})
}
