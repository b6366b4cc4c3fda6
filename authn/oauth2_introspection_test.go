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

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/outbound"
)

// endpoint is an introspection endpoint and a token endpoint that tests direct.
type endpoint struct {
	*httptest.Server
	asked  atomic.Int32
	issued atomic.Int32
	answer atomic.Pointer[http.HandlerFunc]
}

func newEndpoint(t testing.TB, answer http.HandlerFunc) *endpoint {
	e := &endpoint{}
	e.answer.Store(&answer)
	mux := http.NewServeMux()
	mux.HandleFunc("/introspect", func(w http.ResponseWriter, r *http.Request) {
		e.asked.Add(1)
		(*e.answer.Load())(w, r)
	})
	mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) {
		n := e.issued.Add(1)
		id, secret, _ := r.BasicAuth()
		if id != "gateway" || secret != "s3cret" || r.PostFormValue("audience") != "introspection" || r.PostFormValue("scope") != "introspect" {
			http.Error(w, `{"error":"invalid_client"}`, 401)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"access_token":"pre%d","token_type":"Bearer","expires_in":3600}`, n)
	})
	e.Server = httptest.NewServer(mux)
	t.Cleanup(e.Close)
	return e
}

func says(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(body)) }
}

// config is the handler's configuration for this endpoint.
func (e *endpoint) config(more string) string {
	c := `{"introspection_url":"` + e.URL + `/introspect"`
	if more != "" {
		c += "," + more
	}
	return c + "}"
}

const active = `{"active":true,"sub":"alice","client_id":"app","username":"Alice","scope":"read write","aud":["api"],
	"iss":"https://issuer.example","exp":1777640400,"iat":1777633200,"token_use":"access_token","email":"a@b","authorization_details":[{"type":"files"}],
	"ext":{"tenant":7,"client_id":"forged","aud":"forged","authorization_details":"forged"}}` // exp: an hour after start

func TestTheSubjectOfAnIntrospectedTokenIsThatOfOathkeeper(t *testing.T) {
	e := newEndpoint(t, says(active))
	a := build(t, Deps{Now: newClock().Now}, "oauth2_introspection", e.config(""))
	got := must(a.Authenticate(t.Context(), bearerRequest("x")))(t)
	want := access.Subject{ID: "alice", Via: "oauth2_introspection", Token: "x", Extra: map[string]any{
		"tenant": 7.0, "username": "Alice", "client_id": "app", "scope": "read write", "aud": []string{"api"}, "authorization_details": []any{map[string]any{"type": "files"}}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	bare := says(`{"active":true,"ext":{"aud":["forged"],"authorization_details":["forged"]}}`)
	e.answer.Store(&bare)
	got = must(a.Authenticate(t.Context(), bearerRequest("x")))(t)
	want = access.Subject{Via: "oauth2_introspection", Token: "x", Extra: map[string]any{"username": "", "client_id": "", "scope": ""}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestTheEmbeddedServerAndAnEndpointAreJudgedAlike(t *testing.T) {
	for name, c := range map[string]struct {
		answer, config, want string
		embedded             access.Token
	}{
		"active":          {`{"active":true,"sub":"alice"}`, "", "subject alice", access.Token{Active: true, Subject: "alice"}},
		"inactive":        {`{"active":false,"sub":"alice"}`, "", "unauthenticated", access.Token{Subject: "alice"}},
		"refresh token":   {`{"active":true,"token_use":"refresh_token"}`, "", "forbidden", access.Token{Active: true, TokenUse: "refresh_token"}},
		"unknown use":     {`{"active":true,"token_use":"id_token"}`, "", "forbidden", access.Token{Active: true, TokenUse: "id_token"}},
		"refresh by type": {`{"active":true,"token_type":"refresh_token"}`, "", "forbidden", access.Token{Active: true, TokenType: "refresh_token"}},
		"bound to a key":  {`{"active":true,"token_type":"DPoP"}`, "", "unauthenticated", access.Token{Active: true, TokenType: "DPoP"}},
		"bound by cnf": {`{"active":true,"cnf":{"jkt":"x"}}`, "", "unauthenticated",
			access.Token{Active: true, Bound: access.Confirmation{JKT: "x"}}},
		"expired":            {fmt.Sprintf(`{"active":true,"exp":%d}`, start.Unix()), "", "unauthenticated", access.Token{Active: true, ExpiresAt: start}},
		"not yet valid":      {fmt.Sprintf(`{"active":true,"nbf":%d}`, start.Unix()+1), "", "unauthenticated", access.Token{Active: true, NotBefore: start.Add(time.Second)}},
		"issuer trusted":     {`{"active":true,"iss":"a"}`, `"trusted_issuers":["a","b"]`, "subject ", access.Token{Active: true, Issuer: "a"}},
		"issuer foreign":     {`{"active":true,"iss":"c"}`, `"trusted_issuers":["a","b"]`, "forbidden", access.Token{Active: true, Issuer: "c"}},
		"issuer missing":     {`{"active":true}`, `"trusted_issuers":["a"]`, "forbidden", access.Token{Active: true}},
		"audience all there": {`{"active":true,"aud":["a","b"]}`, `"target_audience":["a","b"]`, "subject ", access.Token{Active: true, Audience: []string{"a", "b"}}},
		"audience missing":   {`{"active":true,"aud":"a"}`, `"target_audience":["a","b"]`, "forbidden", access.Token{Active: true, Audience: []string{"a"}}},
		"scope granted":      {`{"active":true,"scope":"a b"}`, `"scope_strategy":"exact","required_scope":["a"]`, "subject ", access.Token{Active: true, Scope: []string{"a", "b"}}},
		"scope missing":      {`{"active":true,"scope":"a b"}`, `"scope_strategy":"exact","required_scope":["a","c"]`, "forbidden", access.Token{Active: true, Scope: []string{"a", "b"}}},
		"scope as a list":    {`{"active":true,"scope":["a.b"]}`, `"scope_strategy":"wildcard","required_scope":["a.b"]`, "subject ", access.Token{Active: true, Scope: []string{"a.*"}}},
	} {
		e := newEndpoint(t, says(c.answer))
		d := Deps{Now: newClock().Now, Introspector: server{"x": c.embedded}}
		for _, config := range []string{e.config(c.config), "{" + c.config + "}", e.config(strings.TrimPrefix(c.config+`,"cache":{"enabled":true}`, ","))} {
			a := build(t, d, "oauth2_introspection", config)
			for range 2 {
				if got := outcome(a.Authenticate(t.Context(), bearerRequest("x"))); got != c.want {
					t.Errorf("%s with %s: got %s, want %s", name, config, got, c.want)
				}
			}
		}
	}
}

func TestTheRequestToTheEndpoint(t *testing.T) {
	var got http.Request
	e := newEndpoint(t, func(w http.ResponseWriter, r *http.Request) {
		r.ParseForm()
		got = *r
		w.Write([]byte(active))
	})
	a := build(t, Deps{Now: newClock().Now}, "oauth2_introspection", e.config(`"required_scope":["a","b"],"scope_strategy":"none",
		"introspection_request_headers":{"x-tenant":"7","Authorization":"Basic Z3c6czNjcmV0"},"preserve_host":true`))
	must(a.Authenticate(t.Context(), request("https://api.example/x", "Authorization", "Bearer a+b/c=")))(t)
	if got.Method != "POST" || got.PostForm.Encode() != "scope=a+b&token=a%2Bb%2Fc%3D" || got.URL.RawQuery != "" {
		t.Errorf("got %s %s with %s", got.Method, got.URL, got.PostForm.Encode())
	}
	for name, want := range map[string]string{"X-Tenant": "7", "Authorization": "Basic Z3c6czNjcmV0", "X-Forwarded-Host": "api.example",
		"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json", "Cookie": ""} {
		if v := got.Header.Get(name); v != want {
			t.Errorf("%s is %q, want %q", name, v, want)
		}
	}
}

func TestAnAnswerThatDecidesNothingIsUnavailableNotBad(t *testing.T) {
	elsewhere := newEndpoint(t, says(active))
	quick := `"retry":{"give_up_after":"0s"}`
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"404":              {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) }, "unavailable"},
		"401":              {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401); w.Write([]byte(active)) }, "unavailable"},
		"500":              {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, "unavailable"},
		"204":              {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }, "unavailable"},
		"429":              {func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Retry-After", "7"); w.WriteHeader(429) }, "rate_limited"},
		"redirect":         {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere.URL+"/introspect", 307) }, "unavailable"},
		"not JSON":         {says(`<html>`), "unavailable"},
		"empty":            {says(``), "unavailable"},
		"null":             {says(`null`), "unavailable"},
		"active missing":   {says(`{"sub":"alice"}`), "unavailable"},
		"active a string":  {says(`{"active":"true"}`), "unavailable"},
		"active twice":     {says(`{"active":false,"active":true}`), "unavailable"},
		"Active":           {says(`{"Active":true}`), "unavailable"},
		"exp a string":     {says(`{"active":true,"exp":"never"}`), "unavailable"},
		"aud an object":    {says(`{"active":true,"aud":{}}`), "unavailable"},
		"trailing":         {says(`{"active":true}{}`), "unavailable"},
		"too long":         {says(active + strings.Repeat(" ", outbound.MaxAnswer)), "unavailable"},
		"connection reset": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "unavailable"},
	} {
		e := newEndpoint(t, c.answer)
		results := ""
		a := build(t, Deps{Introspection: func(r string) { results += r }}, "oauth2_introspection", e.config(quick))
		_, err := a.Authenticate(t.Context(), bearerRequest("secret-token"))
		if got := outcome(access.Subject{}, err); got != c.want || results != "error" {
			t.Errorf("%s: got %s (%v), counted as %q, want %s", name, got, err, results, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "secret-token") {
			t.Errorf("%s: the token is in %v", name, err)
		}
	}
	if elsewhere.asked.Load() != 0 {
		t.Error("the token was sent to where a redirect pointed")
	}
}

func TestAFailedRequestIsRepeatedUntilGivenUp(t *testing.T) {
	var failures atomic.Int32
	e := newEndpoint(t, func(w http.ResponseWriter, _ *http.Request) {
		if failures.Add(-1) >= 0 {
			w.WriteHeader(503)
			return
		}
		w.Write([]byte(`{"active":true,"sub":"alice"}`))
	})
	failures.Store(3)
	a := build(t, Deps{}, "oauth2_introspection", e.config(`"retry":{"max_delay":"10ms","give_up_after":"1m"}`))
	if got := outcome(a.Authenticate(t.Context(), bearerRequest("x"))); got != "subject alice" || e.asked.Load() != 4 {
		t.Errorf("got %s after %d requests", got, e.asked.Load())
	}
	failures.Store(1 << 20)
	a = build(t, Deps{}, "oauth2_introspection", e.config(`"retry":{"max_delay":"10ms","give_up_after":"50ms"}`))
	if got := outcome(a.Authenticate(t.Context(), bearerRequest("x"))); got != "unavailable" {
		t.Errorf("got %s", got)
	}
	failures.Store(1 << 20)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	a = build(t, Deps{}, "oauth2_introspection", e.config(`"retry":{"max_delay":"10ms","give_up_after":"1h"}`))
	if got := outcome(a.Authenticate(ctx, bearerRequest("x"))); got != "unavailable" && got != "timeout" {
		t.Errorf("got %s", got)
	}
}

func TestASlowEndpointTimesOut(t *testing.T) {
	release := make(chan struct{})
	e := newEndpoint(t, func(http.ResponseWriter, *http.Request) { <-release })
	defer close(release)
	a := build(t, Deps{}, "oauth2_introspection", e.config(`"timeout":"20ms","retry":{"give_up_after":"0s"}`))
	if got := outcome(a.Authenticate(t.Context(), bearerRequest("x"))); got != "timeout" {
		t.Errorf("got %s, want timeout", got)
	}
}

func TestPreAuthorizationGetsAndRenewsItsToken(t *testing.T) {
	var refuse atomic.Value
	refuse.Store("")
	e := newEndpoint(t, nil)
	answer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !strings.HasPrefix(token, "pre") || token == refuse.Load() {
			w.WriteHeader(401)
			return
		}
		w.Write([]byte(`{"active":true,"sub":"alice"}`))
	})
	e.answer.Store(&answer)
	c := newClock()
	c.Add(time.Since(start)) // x/oauth2 reckons expiry by the real clock
	pre := func(secret string) string {
		return e.config(`"pre_authorization":{"enabled":true,"client_id":"gateway","client_secret":"` + secret + `","token_url":"` + e.URL + `/token","audience":"introspection","scope":["introspect"]}`)
	}
	a := build(t, Deps{Now: c.Now}, "oauth2_introspection", pre("s3cret"))
	ask := func(issued int32) {
		t.Helper()
		if got := outcome(a.Authenticate(t.Context(), bearerRequest("x"))); got != "subject alice" || e.issued.Load() != issued {
			t.Errorf("got %s after %d tokens, want %d", got, e.issued.Load(), issued)
		}
	}
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() { a.Authenticate(t.Context(), bearerRequest("x")) })
	}
	wg.Wait()
	ask(1)
	refuse.Store("pre1") // revoked at the server
	ask(2)
	c.Add(time.Hour) // expired
	ask(3)

	wrong := build(t, Deps{}, "oauth2_introspection", pre("wrong"))
	_, err := wrong.Authenticate(t.Context(), bearerRequest("x"))
	if !fault.Is(err, fault.Unavailable) || strings.Contains(err.Error(), "wrong") {
		t.Errorf("got %v, want unavailable", err)
	}
}

func TestTheCacheAnswersWithinTTLAndExpiryAndForItsOwnQuestionOnly(t *testing.T) {
	e, c := newEndpoint(t, says(active)), newClock()
	catalog := Catalog(Deps{Now: c.Now})
	cached := func(more string) Authenticator {
		return must(catalog.Build("oauth2_introspection", []byte(e.config(`"cache":{"enabled":true,"ttl":"40m"}`)), []byte(more)))(t)
	}
	ask := func(a Authenticator, host, want string, requests int32) {
		t.Helper()
		before := e.asked.Load()
		got := outcome(a.Authenticate(t.Context(), request("https://"+host+"/", "Authorization", "Bearer x")))
		if n := e.asked.Load() - before; got != want || n != requests {
			t.Errorf("got %s with %d requests, want %s with %d", got, n, want, requests)
		}
	}
	a := cached(`{}`)
	ask(a, "a", "subject alice", 1)
	ask(a, "b", "subject alice", 0)
	ask(cached(`{"scope_strategy":"exact","required_scope":["admin"]}`), "a", "forbidden", 0) // facts are shared, verdicts are not
	ask(cached(`{"target_audience":["other"]}`), "a", "forbidden", 0)
	ask(cached(`{"trusted_issuers":["other"]}`), "a", "forbidden", 0)
	ask(cached(`{"scope_strategy":"none","required_scope":["admin"]}`), "a", "subject alice", 1) // the endpoint judges scopes
	ask(cached(`{"introspection_request_headers":{"X-Tenant":"2"}}`), "a", "subject alice", 1)
	ask(cached(`{"introspection_url":"`+e.URL+`/introspect?tenant=2"}`), "a", "subject alice", 1)
	ask(cached(`{"cache":{"ttl":"1m"}}`), "a", "subject alice", 1)
	hosted := cached(`{"preserve_host":true}`)
	ask(hosted, "a", "subject alice", 1)
	ask(hosted, "a", "subject alice", 0)
	ask(hosted, "b", "subject alice", 1)

	c.Add(40*time.Minute - time.Second)
	ask(a, "a", "subject alice", 0)
	c.Add(time.Second)
	ask(a, "a", "subject alice", 1)
	c.Add(20 * time.Minute) // its expiry, before the ttl
	ask(a, "a", "unauthenticated", 1)
}

func TestBadTokensAreNotCached(t *testing.T) {
	e := newEndpoint(t, says(`{"active":false}`))
	a := build(t, Deps{Now: newClock().Now}, "oauth2_introspection", e.config(`"cache":{"enabled":true}`))
	for range 2 {
		if got := outcome(a.Authenticate(t.Context(), bearerRequest("x"))); got != "unauthenticated" {
			t.Error(got)
		}
	}
	later := says(`{"active":true,"sub":"alice"}`)
	e.answer.Store(&later)
	if got := outcome(a.Authenticate(t.Context(), bearerRequest("x"))); got != "subject alice" || e.asked.Load() != 3 {
		t.Errorf("got %s after %d requests", got, e.asked.Load())
	}
}

func TestManyRequestsWithOneTokenAskOnceAndOneThatLeavesHarmsNoOther(t *testing.T) {
	release, aborted := make(chan struct{}), make(chan struct{})
	e := newEndpoint(t, func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
			close(aborted)
		}
		w.Write([]byte(`{"active":true,"sub":"alice"}`))
	})
	var misses atomic.Int32
	d := Deps{Cache: func(string, bool) { misses.Add(1) }}
	a := build(t, d, "oauth2_introspection", e.config(`"cache":{"enabled":true}`))
	ctx, leave := context.WithCancel(t.Context())
	var first, others sync.WaitGroup
	first.Go(func() {
		if got := outcome(a.Authenticate(ctx, bearerRequest("x"))); got != "unavailable" {
			t.Errorf("the request that left: got %s", got)
		}
	})
	waitFor(t, func() bool { return e.asked.Load() == 1 })
	for range 20 {
		others.Go(func() {
			if got := outcome(a.Authenticate(t.Context(), bearerRequest("x"))); got != "subject alice" {
				t.Errorf("got %s", got)
			}
		})
	}
	waitFor(t, func() bool { return misses.Load() == 21 })
	leave()
	first.Wait()
	select {
	case <-aborted:
		t.Error("the question was given up though others wait for the answer")
	case <-time.After(30 * time.Millisecond):
	}
	close(release)
	others.Wait()
	if n := e.asked.Load(); n != 1 {
		t.Errorf("%d requests, want 1", n)
	}
}

// waitFor polls until a condition holds.
func waitFor(t *testing.T, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("waited too long")
		}
	}
}

func TestABadIntrospectionConfigNamesTheField(t *testing.T) {
	const u = `"introspection_url":"https://a/introspect"`
	for config, want := range map[string]string{
		`{}`:                                                      "introspection_url is required",
		`{"introspection_url":"/x"}`:                              "introspection_url must be",
		`{"introspection_url":"ftp://a"}`:                         "introspection_url must be",
		`{` + u + `,"scope_strategy":"x"}`:                        "scope_strategy",
		`{` + u + `,"required_scope":["a b"]}`:                    "required_scope: ",
		`{` + u + `,"timeout":"0s"}`:                              "timeout must be",
		`{` + u + `,"cache":{"enabled":true,"ttl":"0s"}}`:         "cache.ttl",
		`{` + u + `,"cache":{"enabled":true,"max_cost":0}}`:       "cache.max_cost",
		`{` + u + `,"cache":{"ttl":"soon"}}`:                      "cache.ttl must be",
		`{` + u + `,"pre_authorization":{"enabled":true}}`:        "pre_authorization needs client_id",
		`{` + u + `,"pre_authorization":{"secret":"x"}}`:          "secret",
		`{` + u + `,"token_from":{"header":"a","cookie":"b"}}`:    "token_from",
		`{` + u + `,"introspection_request_headers":{"a":["b"]}}`: "introspection_request_headers",
		`{` + u + `,"retry":{"give_up_after":"1 s"}}`:             "retry.give_up_after must be",
		`{` + u + `,"introspection_request_headers":{"authorization":"x"},"pre_authorization":{"enabled":true,"client_id":"a","client_secret":"hunter2","token_url":"https://a"}}`: "Authorization",
		`{` + u + `,"pre_authorization":{"enabled":true,"client_id":"a","client_secret":"hunter2","token_url":"token"}}`:                                                           "pre_authorization.token_url",
	} {
		_, err := Catalog(Deps{}).Build("oauth2_introspection", nil, []byte(config))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got %v, want it to name %s", config, err, want)
		}
	}
}

func TestScopesAreAlwaysEnforcedWithTheEmbeddedServer(t *testing.T) {
	d := Deps{Introspector: server{"x": {Active: true, Scope: []string{"read"}}}}
	if got := outcome(build(t, d, "oauth2_introspection", `{"required_scope":["admin"]}`).Authenticate(t.Context(), bearerRequest("x"))); got != "forbidden" {
		t.Errorf("got %s", got)
	}
	if _, err := Catalog(d).Build("oauth2_introspection", nil, []byte(`{"required_scope":["admin"],"scope_strategy":"none"}`)); err == nil {
		t.Error("scopes that nobody checks were accepted")
	}
}

func BenchmarkIntrospection(b *testing.B) {
	e := newEndpoint(b, says(active))
	for name, a := range map[string]Authenticator{
		"cached":   build(b, Deps{Now: newClock().Now}, "oauth2_introspection", e.config(`"scope_strategy":"exact","required_scope":["read"],"cache":{"enabled":true}`)),
		"embedded": build(b, Deps{Introspector: server{"gw_at_x": {Active: true, Subject: "alice", Scope: []string{"read"}}}}, "oauth2_introspection", `{"required_scope":["read"]}`),
	} {
		r := bearerRequest("gw_at_x")
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := a.Authenticate(b.Context(), r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func FuzzDecodeIntrospection(f *testing.F) {
	for _, seed := range []string{active, `{"active":false}`, `{"active":true,"aud":"a","exp":1e99}`, `{"active":true,"active":false}`, `[]`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		token, err := decodeIntrospection(raw)
		if token.Active && (err != nil || !strings.Contains(string(raw), "true")) {
			t.Errorf("%q is active, %v", raw, err)
		}
	})
}
