package mutators

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/fault"
)

// transport answers requests in a test, without a network.
type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func answer(status int, body string, header ...string) (*http.Response, error) {
	h := http.Header{}
	for i := 0; i+1 < len(header); i += 2 {
		h.Add(header[i], header[i+1])
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body))}, nil
}

// asking are the mutators that depend on a service.
var asking = []string{"hydrator", "token_exchange", "oauth2_client_credentials"}

// badRequests are refused configurations of both mutators that get tokens.
var badRequests = []string{`{}`, `{"token_url":"http://sts/"}`, `{"client_id":"a","client_secret":"b"}`, `{"token_url":"sts","client_id":"a","client_secret":"b"}`, `{"token_url":"http://u:p@sts/","client_id":"a","client_secret":"b"}`,
	`{"token_url":"http://sts/","client_id":"a","client_secret":"b","client_auth":"none"}`, `{"token_url":"http://sts/","client_id":"a","client_secret":"b","header":""}`,
	`{"token_url":"http://sts/","client_id":"a","client_secret":"b","header":"Host"}`, `{"token_url":"http://sts/","client_id":"a","client_secret":"b","scope":["a b"]}`,
	`{"token_url":"http://sts/","client_id":"a","client_secret":"b","timeout":"0s"}`, `{"token_url":"http://sts/","client_id":"a","client_secret":"b","scope":"a"}`}

const issued = `{"access_token":"token-1","token_type":"Bearer","expires_in":300,"issued_token_type":"urn:ietf:params:oauth:token-type:access_token"}`

// services are those of the contract table.
func services(r *http.Request) (*http.Response, error) {
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	switch r.URL.Host + r.URL.Path {
	case "hydrator.example/session/GET":
		var s map[string]any
		if err := json.Unmarshal(raw, &s); err != nil {
			return answer(400, "")
		}
		if extra, _ := s["extra"].(map[string]any); extra != nil {
			extra["plan"] = "gold"
		}
		s["header"] = map[string]any{"X-Role": []string{"editor"}}
		body, err := json.Marshal(s)
		if err != nil {
			return nil, err
		}
		return answer(200, string(body))
	case "sts.example/token":
		return answer(200, issued)
	}
	return answer(404, "")
}

// service is a service whose answers a test chooses, and that counts questions.
type service struct {
	asked  atomic.Int64
	mu     sync.Mutex
	header http.Header
	url    string
	body   string
	answer func(body string) (*http.Response, error)
}

func (s *service) RoundTrip(r *http.Request) (*http.Response, error) {
	s.asked.Add(1)
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.header, s.url, s.body = r.Header, r.URL.String(), string(raw)
	s.mu.Unlock()
	return s.answer(string(raw))
}

func (s *service) form(t *testing.T) url.Values {
	t.Helper()
	f, err := url.ParseQuery(s.body)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestAServiceThatFailsRefusesTheRequestAndChangesNothing(t *testing.T) {
	for _, name := range asking {
		for what, c := range map[string]struct {
			answer transport
			kind   fault.Kind
		}{
			"cannot be reached": {func(*http.Request) (*http.Response, error) { return nil, errors.New("refused") }, fault.Unavailable},
			"is silent":         {func(r *http.Request) (*http.Response, error) { <-r.Context().Done(); return nil, r.Context().Err() }, fault.Timeout},
			"500":               {func(*http.Request) (*http.Response, error) { return answer(500, issued) }, fault.Unavailable},
			"201":               {func(*http.Request) (*http.Response, error) { return answer(201, issued) }, fault.Unavailable},
			"302":               {func(*http.Request) (*http.Response, error) { return answer(302, issued, "Location", "/") }, fault.Unavailable},
			"400":               {func(*http.Request) (*http.Response, error) { return answer(400, issued) }, fault.Unavailable},
			"401":               {func(*http.Request) (*http.Response, error) { return answer(401, `{"error":"invalid_client"}`) }, fault.Unavailable},
			"404":               {func(*http.Request) (*http.Response, error) { return answer(404, "") }, fault.Unavailable},
			"429":               {func(*http.Request) (*http.Response, error) { return answer(429, "", "Retry-After", "9") }, fault.RateLimited},
			"is too long":       {func(*http.Request) (*http.Response, error) { return answer(200, issued+strings.Repeat(" ", 1<<20)) }, fault.Unavailable},
			"no JSON":           {func(*http.Request) (*http.Response, error) { return answer(200, "x") }, fault.Unavailable},
			"nothing":           {func(*http.Request) (*http.Response, error) { return answer(200, "") }, fault.Unavailable},
			"null":              {func(*http.Request) (*http.Response, error) { return answer(200, "null") }, fault.Unavailable},
		} {
			t.Run(name+" "+what, func(t *testing.T) {
				d := deps(t)
				synctest.Test(t, func(t *testing.T) {
					d.HTTP = &http.Client{Transport: c.answer}
					d.Tokens = nil // its goroutine is not of this bubble
					m := build(t, d, name, strings.Replace(contract[name].config, `"enabled":true`, `"enabled":false`, 1))
					p := access.Pass{Set: http.Header{"X-Other": {"kept"}}}
					err := m.Mutate(t.Context(), input(), &p)
					if fault.KindOf(err) != c.kind || !cmp.Equal(p, access.Pass{Set: http.Header{"X-Other": {"kept"}}}) {
						t.Errorf("got %v, pass %v; want %s and an unchanged pass", err, p, c.kind)
					}
				})
			})
		}
	}
}

func TestATokenAnswerIsReadStrictly(t *testing.T) {
	good := `{"access_token":"t","token_type":"bearer","issued_token_type":"urn:ietf:params:oauth:token-type:jwt"}`
	for body, ok := range map[string]bool{
		good: true,
		`{"access_token":"t","token_type":"Bearer","issued_token_type":"urn:ietf:params:oauth:token-type:access_token","expires_in":10,"scope":"a","more":1}`: true,
		`{"access_token":"t","access_token":"u","token_type":"bearer","issued_token_type":"urn:ietf:params:oauth:token-type:jwt"}`:                            false,
		`{"access_token":"t","token_type":"DPoP","issued_token_type":"urn:ietf:params:oauth:token-type:access_token"}`:                                        false,
		`{"access_token":"t","token_type":"N_A","issued_token_type":"urn:ietf:params:oauth:token-type:saml2"}`:                                                false,
		`{"access_token":"t","issued_token_type":"urn:ietf:params:oauth:token-type:access_token"}`:                                                            false,
		`{"access_token":"","token_type":"bearer","issued_token_type":"urn:ietf:params:oauth:token-type:access_token"}`:                                       false,
		`{"access_token":"a b","token_type":"bearer","issued_token_type":"urn:ietf:params:oauth:token-type:access_token"}`:                                    false,
		`{"access_token":"a\r\nX: y","token_type":"bearer","issued_token_type":"urn:ietf:params:oauth:token-type:access_token"}`:                              false,
		`{"access_token":"é","token_type":"bearer","issued_token_type":"urn:ietf:params:oauth:token-type:access_token"}`:                                      false,
		`{"access_token":["t"],"token_type":"bearer","issued_token_type":"urn:ietf:params:oauth:token-type:access_token"}`:                                    false,
		`{"access_token":"t","token_type":"bearer","expires_in":0,"issued_token_type":"urn:ietf:params:oauth:token-type:access_token"}`:                       false,
		`{"access_token":"t","token_type":"bearer","expires_in":-1,"issued_token_type":"urn:ietf:params:oauth:token-type:access_token"}`:                      false,
		`{"access_token":"t","token_type":"bearer","expires_in":"x","issued_token_type":"urn:ietf:params:oauth:token-type:access_token"}`:                     false,
		`{"access_token":"t","token_type":"bearer","issued_token_type":"urn:ietf:params:oauth:token-type:refresh_token"}`:                                     false,
		`{"access_token":"t","token_type":"bearer"}`: false,
		`{"access_token":"` + strings.Repeat("x", 17<<10) + `","token_type":"bearer","issued_token_type":"urn:ietf:params:oauth:token-type:access_token"}`: false,
		good + good: false,
	} {
		d := deps(t)
		d.HTTP = &http.Client{Transport: transport(func(*http.Request) (*http.Response, error) { return answer(200, body) })}
		var p access.Pass
		err := build(t, d, "token_exchange", contract["token_exchange"].config).Mutate(t.Context(), input(), &p)
		if ok != (err == nil) || !ok && (!fault.Is(err, fault.Unavailable) || len(p.Set) > 0) {
			t.Errorf("%.100s: got %v, %v", body, p.Set, err)
		}
	}
}

func TestATokenRequestIsWhatTheStandardsSay(t *testing.T) {
	for _, c := range []struct {
		handler, config, token string
		want                   url.Values
		auth                   string
	}{
		{"oauth2_client_credentials", `{"token_url":"http://sts.example/token","client_id":"a:b","client_secret":"c d","scope":["x","y"],"audience":["m","n"],"resource":["https://api/"]}`, "",
			url.Values{"grant_type": {"client_credentials"}, "scope": {"x y"}, "audience": {"m", "n"}, "resource": {"https://api/"}}, "Basic YSUzQWI6Yytk"},
		{"oauth2_client_credentials", `{"token_url":"http://sts.example/token","client_id":"a","client_secret":"b","client_auth":"client_secret_post"}`, "",
			url.Values{"grant_type": {"client_credentials"}, "client_id": {"a"}, "client_secret": {"b"}}, ""},
		{"token_exchange", `{"token_url":"http://sts.example/token","client_id":"a","client_secret":"b"}`, "the-token",
			url.Values{"grant_type": {exchangeGrant}, "subject_token": {"the-token"}, "subject_token_type": {accessTokenType}}, "Basic YTpi"},
		{"token_exchange", `{"token_url":"http://sts.example/token","client_id":"a","subject_token":"{{ .Extra.email }}","subject_token_type":"urn:x","actor_token":"{{ print .Subject }}","actor_token_type":"urn:y",
			"requested_token_type":"urn:ietf:params:oauth:token-type:access_token","scope":["s"],"audience":["o"]}`, "",
			url.Values{"grant_type": {exchangeGrant}, "client_id": {"a"}, "subject_token": {"a@example.com"}, "subject_token_type": {"urn:x"}, "actor_token": {"alice"}, "actor_token_type": {"urn:y"},
				"requested_token_type": {accessTokenType}, "scope": {"s"}, "audience": {"o"}}, ""},
	} {
		s := &service{answer: func(string) (*http.Response, error) { return answer(200, issued) }}
		d := deps(t)
		d.HTTP = &http.Client{Transport: s}
		in := input()
		in.Subject.Token = c.token
		if err := build(t, d, c.handler, c.config).Mutate(t.Context(), in, &access.Pass{}); err != nil {
			t.Errorf("%s: %v", c.handler, err)
		}
		if diff := cmp.Diff(c.want, s.form(t)); diff != "" || s.header.Get("Authorization") != c.auth {
			t.Errorf("%s: Authorization %q\n%s", c.handler, s.header.Get("Authorization"), diff)
		}
	}
}

func TestARefusedExchangeDeniesAndNeverPassesTheClientsToken(t *testing.T) {
	for code, want := range map[string]fault.Kind{"invalid_grant": fault.Forbidden, "invalid_request": fault.Forbidden, "invalid_target": fault.Forbidden, "invalid_scope": fault.Forbidden,
		"invalid_client": fault.Unavailable, "unauthorized_client": fault.Unavailable, "x\r\ny": fault.Unavailable, "": fault.Unavailable} {
		body, _ := json.Marshal(map[string]string{"error": code, "error_description": "the token secret-token is bad"})
		d := deps(t)
		d.HTTP = &http.Client{Transport: transport(func(*http.Request) (*http.Response, error) { return answer(400, string(body)) })}
		for _, name := range []string{"token_exchange", "oauth2_client_credentials"} {
			want := want
			if name == "oauth2_client_credentials" {
				want = fault.Unavailable // it is not the client who was refused
			}
			p := access.Pass{}
			err := build(t, d, name, contract[name].config).Mutate(t.Context(), input(), &p)
			if !fault.Is(err, want) || len(p.Set) > 0 || strings.Contains(err.Error(), "secret-token") {
				t.Errorf("%s %q: got %v, %v; want %s", name, code, p.Set, err, want)
			}
		}
	}
}

func TestOnlyTheTokenThatEstablishedTheSubjectIsExchanged(t *testing.T) {
	for token, want := range map[string][]string{"the-subjects": {"the-subjects"}, "": nil} {
		s := &service{answer: func(string) (*http.Response, error) { return answer(200, issued) }}
		in := input()
		in.Subject.Via, in.Subject.Token = "jwt", token
		in.Request.Header.Set("Authorization", "Bearer of-somebody-else")
		d := deps(t)
		d.HTTP = &http.Client{Transport: s}
		err := build(t, d, "token_exchange", `{"token_url":"http://sts.example/token","client_id":"a","client_secret":"b"}`).Mutate(t.Context(), in, &access.Pass{})
		if token == "" {
			if !fault.Is(err, fault.Unauthenticated) || s.asked.Load() != 0 {
				t.Errorf("without a token: got %v after %d calls", err, s.asked.Load())
			}
		} else if diff := cmp.Diff(want, s.form(t)["subject_token"]); diff != "" || err != nil {
			t.Errorf("got %v %s", err, diff)
		}
	}
}

func TestAForeignTokenIsKeptForItsOwnQuestionAndNeverBeyondItsLife(t *testing.T) {
	tokens := NewTokenCache()
	t.Cleanup(tokens.Close)
	clock := newClock()
	s := &service{}
	s.answer = func(body string) (*http.Response, error) {
		return answer(200, fmt.Sprintf(`{"access_token":"t%d","token_type":"Bearer","expires_in":100,"issued_token_type":"urn:ietf:params:oauth:token-type:access_token"}`, s.asked.Load()))
	}
	d := Deps{HTTP: &http.Client{Transport: s}, Tokens: tokens, Now: clock.Now}
	exchange := func(config, token string) string {
		t.Helper()
		in := input()
		in.Subject.Token = token
		var p access.Pass
		if err := build(t, d, "token_exchange", config).Mutate(t.Context(), in, &p); err != nil {
			t.Fatal(err)
		}
		return p.Set.Get("Authorization")
	}
	const config = `{"token_url":"http://sts.example/token","client_id":"a","client_secret":"b"`
	first := exchange(config+`}`, "one")
	if again := exchange(config+`}`, "one"); again != first {
		t.Errorf("the same question got %s and %s", first, again)
	}
	seen := map[string]string{first: "the first"}
	for _, other := range []struct{ config, token string }{
		{config + `}`, "two"}, {config + `,"audience":["x"]}`, "one"}, {config + `,"scope":["x"]}`, "one"}, {config + `,"resource":["https://x/"]}`, "one"}, {config + `,"subject_token_type":"urn:x"}`, "one"},
		{strings.Replace(config, `"b"`, `"c"`, 1) + `}`, "one"}, {strings.Replace(config, "sts.example", "sts2.example", 1) + `}`, "one"}, {config + `,"actor_token":"x"}`, "one"},
	} {
		got := exchange(other.config, other.token)
		if before, taken := seen[got]; taken {
			t.Errorf("%s %s got the token of %s", other.config, other.token, before)
		}
		seen[got] = other.config + other.token
	}
	clock.Advance(79 * time.Second)
	if got := exchange(config+`}`, "one"); got != first {
		t.Errorf("after 79s of 100s a new token was asked for")
	}
	clock.Advance(2 * time.Second)
	if got := exchange(config+`}`, "one"); got == first {
		t.Errorf("a token is handed out with less than a fifth of its life left")
	}
	s.answer = func(string) (*http.Response, error) {
		return answer(200, `{"access_token":"t","token_type":"Bearer","issued_token_type":"urn:ietf:params:oauth:token-type:access_token"}`)
	}
	before := s.asked.Load()
	exchange(config+`,"audience":["forever"]}`, "one")
	exchange(config+`,"audience":["forever"]}`, "one")
	if got := s.asked.Load() - before; got != 2 {
		t.Errorf("a token of unknown life was asked for %d times, want 2", got)
	}
}

func TestManyRequestsGetOneToken(t *testing.T) {
	s := &service{}
	release := make(chan struct{})
	s.answer = func(string) (*http.Response, error) { <-release; return answer(200, issued) }
	d := deps(t)
	d.HTTP = &http.Client{Transport: s}
	m := build(t, d, "oauth2_client_credentials", contract["oauth2_client_credentials"].config)
	gone, cancel := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	wait.Go(func() {
		if err := m.Mutate(gone, input(), &access.Pass{}); err == nil {
			t.Error("a request that was given up got a token")
		}
	})
	for s.asked.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	cancel() // the first one leaves; the others still get the token
	var started sync.WaitGroup
	for range 20 {
		started.Add(1)
		wait.Go(func() {
			started.Done()
			var p access.Pass
			if err := m.Mutate(t.Context(), input(), &p); err != nil || p.Set.Get("Authorization") != "Bearer token-1" {
				t.Errorf("%v, %v", p.Set, err)
			}
		})
	}
	started.Wait()
	close(release)
	wait.Wait()
	if got := s.asked.Load(); got != 1 {
		t.Errorf("%d questions, want 1", got)
	}
}

const hydratorConfig = `{"api":{"url":"http://hydrator.example/"},"set_headers":["X-Role"]}`

func hydrate(t *testing.T, config, body string, p *access.Pass) (*service, error) {
	t.Helper()
	s := &service{answer: func(string) (*http.Response, error) { return answer(200, body) }}
	d := deps(t)
	d.HTTP = &http.Client{Transport: s}
	in := input()
	in.Request.Header = http.Header{"X-Trace": {"t1"}, "Cookie": {"session=secret"}, "Authorization": {"Bearer secret"}}
	return s, build(t, d, "hydrator", config).Mutate(t.Context(), in, p)
}

func TestTheHydratorSeesTheSessionAndOnlyNamedFields(t *testing.T) {
	p := access.Pass{Set: http.Header{"X-Set": {"before"}}}
	s, err := hydrate(t, `{"api":{"url":"http://hydrator.example/x","forward_http_headers":["x-trace"],"auth":{"basic":{"username":"u","password":"p"}}}}`, `{"subject":"alice"}`, &p)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"subject":"alice","extra":{"email":"a@example.com","groups":["dev","ops"]},"header":{"X-Set":["before"]},"match_context":{"regexp_capture_groups":["7"],"url":` + urlJSON(t) + `,"method":"GET","header":{"X-Trace":["t1"]}}}`
	if diff := cmp.Diff(want, s.body); diff != "" {
		t.Errorf("body (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(http.Header{"X-Trace": {"t1"}, "Content-Type": {"application/json"}, "Accept": {"application/json"}, "Authorization": {"Basic dTpw"}}, s.header); diff != "" {
		t.Errorf("header (-want +got):\n%s", diff)
	}
	s, err = hydrate(t, hydratorConfig, `{"subject":"alice"}`, &access.Pass{})
	if err != nil || strings.Contains(s.body, "secret") || strings.Contains(fmt.Sprint(s.header), "secret") || s.url != "http://hydrator.example/" {
		t.Errorf("%v: the service saw %s %v %s", err, s.url, s.header, s.body)
	}
}

func urlJSON(t *testing.T) string {
	t.Helper()
	raw, err := json.Marshal(input().Request.URL)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestAHydratorsAnswerIsReadStrictly(t *testing.T) {
	before := access.Pass{Set: http.Header{"X-Set": {"before"}}}
	for body, want := range map[string]*access.Pass{
		`{"subject":"alice"}`: {Subject: access.Subject{ID: "alice"}},
		`{"subject":"alice","extra":{"plan":"gold"},"header":{"x-role":["a"],"X-Set":["before"]},"match_context":{"method":"POST"}}`: {
			Subject: access.Subject{ID: "alice", Extra: map[string]any{"plan": "gold"}}, Set: http.Header{"X-Role": {"a"}}},
		`{"subject":"mallory"}`: nil, `{"subject":""}`: nil, `{}`: nil, `[]`: nil, `{"subject":1}`: nil, `{"subject":"alice","subject":"alice"}`: nil,
		`{"subject":"alice","extra":[]}`: nil, `{"subject":"alice","extra":"x"}`: nil, `{"subject":"alice","admin":true}`: nil, `{"subject":"alice"} x`: nil,
		`{"SUBJECT":"alice"}`: nil, `{"subject":"alice","Extra":{}}`: nil, `{"subject":"mallory","Subject":"alice"}`: nil, "{\"subject\":\"alice\",\"extra\":{\"a\":\"\xff\"}}": nil,
		`{"subject":"alice"}{"subject":"alice"}`:                                 nil,
		`{"subject":"alice","header":{"X-Admin":["yes"]}}`:                       nil, // not one of set_headers
		`{"subject":"alice","header":{"X-Set":["after"]}}`:                       nil,
		`{"subject":"alice","header":{"Host":["evil"]}}`:                         nil,
		`{"subject":"alice","header":{"X-Role":["a\r\nX-Admin: 1"]}}`:            nil,
		`{"subject":"alice","header":{"X-Role":["a"],"x-role":["b"]}}`:           nil,
		`{"subject":"alice","header":{"X Role":["a"]}}`:                          nil,
		`{"subject":"alice","header":{"X-Role":"a"}}`:                            nil,
		`{"subject":"alice","extra":{"plan":"gold","plan":"iron"}}`:              nil,
		`{"subject":"alice","extra":{"deep":{"plan":"gold","plan":"iron"}}}`:     nil,
		`{"subject":"alice","match_context":{"header":{"a":["b"]},"extra":"x"}}`: nil,
	} {
		p := access.Pass{Set: before.Set.Clone()}
		_, err := hydrate(t, hydratorConfig, body, &p)
		if want == nil {
			if !fault.Is(err, fault.Unavailable) || !cmp.Equal(before, p) {
				t.Errorf("%s: got %v, %v; want fault.Unavailable and an unchanged pass", body, p, err)
			}
			continue
		}
		full := *want
		full.Set = before.Set.Clone()
		maps.Copy(full.Set, want.Set)
		if diff := cmp.Diff(full, p); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", body, err, diff)
		}
	}
}

func TestAHydratorsAnswerIsKeptForItsOwnQuestionOnly(t *testing.T) {
	clock := newClock()
	s := &service{}
	s.answer = func(body string) (*http.Response, error) {
		var asked struct {
			Subject string `json:"subject"`
		}
		if err := json.Unmarshal([]byte(body), &asked); err != nil {
			return nil, err
		}
		return answer(200, fmt.Sprintf(`{"subject":%q,"extra":{"n":%d}}`, asked.Subject, s.asked.Load()))
	}
	d := deps(t)
	d.HTTP, d.Now = &http.Client{Transport: s}, clock.Now
	catalog := Catalog(d)
	ask := func(config string, change func(*access.Input)) float64 {
		t.Helper()
		m, err := catalog.Build("hydrator", nil, []byte(config))
		if err != nil {
			t.Fatal(err)
		}
		in := input()
		if change != nil {
			change(&in)
		}
		var p access.Pass
		if err := m.Mutate(t.Context(), in, &p); err != nil {
			t.Fatal(err)
		}
		return p.Subject.Extra["n"].(float64)
	}
	const keyed = `{"api":{"url":"http://hydrator.example/"},"cache":{"enabled":true,"ttl":"30s","key":"{{ .MatchContext.Method }}"}}`
	const whole = `{"api":{"url":"http://hydrator.example/"},"cache":{"enabled":true,"ttl":"30s"}}`
	path := func(in *access.Input) { in.Request.URL.Path = "/other" }
	first, firstWhole := ask(keyed, nil), ask(whole, nil)
	if again := ask(keyed, path); again != first {
		t.Error("the path is not part of the key, and yet the service was asked again")
	}
	if again := ask(whole, path); again == firstWhole {
		t.Error("without a key, everything that is sent is part of it")
	}
	seen := []float64{first}
	for name, change := range map[string]func(*access.Input){
		"another subject":       func(in *access.Input) { in.Subject.ID = "bob" },
		"other claims":          func(in *access.Input) { in.Subject.Extra = map[string]any{"email": "b@example.com"} },
		"another authenticator": func(in *access.Input) { in.Subject.Via = "jwt" },
		"another key":           func(in *access.Input) { in.Request.Method = "POST" },
	} {
		got := ask(keyed, change)
		if slices.Contains(seen, got) {
			t.Errorf("%s got the answer of somebody else", name)
		}
		seen = append(seen, got)
	}
	for _, config := range []string{strings.Replace(keyed, "30s", "40s", 1), strings.Replace(keyed, ".example/", ".example/b", 1), strings.Replace(keyed, `"}}`, `"},"set_headers":["X-Role"]}`, 1)} {
		if got := ask(config, nil); slices.Contains(seen, got) {
			t.Errorf("%s got the answer of another configuration", config)
		}
	}
	clock.Advance(29 * time.Second)
	if ask(keyed, nil) != first {
		t.Error("asked again before the time was over")
	}
	clock.Advance(2 * time.Second)
	if ask(keyed, nil) == first {
		t.Error("an answer was used for longer than its time")
	}
	if ask(hydratorConfig, nil) == ask(hydratorConfig, nil) {
		t.Error("answers are kept without a cache")
	}
}
