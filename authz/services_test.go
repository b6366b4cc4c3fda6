package authz

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/handler"
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

// services are the services of the contract table; they allow alice.
func services(r *http.Request) (*http.Response, error) {
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	var q struct {
		Subject  any `json:"subject"`
		TupleKey struct {
			User string `json:"user"`
		} `json:"tuple_key"`
	}
	_ = json.Unmarshal(raw, &q)
	said := func(yes string) (*http.Response, error) { return answer(200, yes, "X-Role", "admin", "X-Other", "x") }
	switch r.URL.Host + r.URL.Path {
	case "authz.example/check/GET":
		if r.Header.Get("X-Subject") == "alice" {
			return said("")
		}
		return answer(403, "")
	case "authz.example/check":
		if q.Subject == "alice" {
			return said(`{"result":{"allow":true}}`)
		}
		return said(`{"result":{}}`)
	case "keto.example/engines/acp/ory/regex/allowed":
		if q.Subject == "alice" {
			return said(`{"allowed":true}`)
		}
		return answer(403, `{"allowed":false}`)
	case "fga.example/stores/01A/check":
		if q.TupleKey.User == "user:alice" {
			return said(`{"allowed":true,"resolution":""}`)
		}
		return said(`{"allowed":false}`)
	case "pdp.example/access/v1/evaluation":
		if s, _ := q.Subject.(map[string]any); s["id"] == "alice" {
			return said(`{"decision":true}`)
		}
		return said(`{"decision":false,"context":{"reason":"nobody"}}`)
	}
	return answer(404, "")
}

// badCalls are refused configurations of every handler that asks a service; rest is
// what it needs beside.
func badCalls(rest string) []string {
	var bad []string
	for _, part := range []string{`"timeout":"0s"`, `"timeout":5`, `"timeout":"-1s"`, `"retry":{"max_delay":"x"}`, `"retry":{"number":1}`, `"auth":{"basic":{"username":"a"},"bearer":{"token":"b"}}`,
		`"auth":{"bearer":{"token":"a b"}}`, `"auth":"x"`} {
		bad = append(bad, `{`+rest+`,`+part+`}`)
	}
	return bad
}

// asking are the authorizers that depend on a service.
var asking = []string{"remote", "remote_json", "keto_engine_acp_ory", "openfga", "authzen"}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("reset") }
func (broken) Close() error             { return nil }

// decides is a yes of every service in one.
const decides = `{"allowed":true,"decision":true,"result":{"allow":true}}`

func TestAServiceThatFailsNeverAllows(t *testing.T) {
	for _, name := range asking {
		for what, c := range map[string]struct {
			answer transport
			kind   fault.Kind
		}{
			"cannot be reached": {func(*http.Request) (*http.Response, error) { return nil, errors.New("refused") }, fault.Unavailable},
			"is silent":         {func(r *http.Request) (*http.Response, error) { <-r.Context().Done(); return nil, r.Context().Err() }, fault.Timeout},
			"500":               {func(*http.Request) (*http.Response, error) { return answer(500, decides) }, fault.Unavailable},
			"503":               {func(*http.Request) (*http.Response, error) { return answer(503, decides) }, fault.Unavailable},
			"400":               {func(*http.Request) (*http.Response, error) { return answer(400, decides) }, fault.Unavailable},
			"422":               {func(*http.Request) (*http.Response, error) { return answer(422, decides) }, fault.Unavailable},
			"302":               {func(*http.Request) (*http.Response, error) { return answer(302, decides, "Location", "/") }, fault.Unavailable},
			"304":               {func(*http.Request) (*http.Response, error) { return answer(304, decides) }, fault.Unavailable},
			"429":               {func(*http.Request) (*http.Response, error) { return answer(429, decides, "Retry-After", "9") }, fault.RateLimited},
			"breaks off": {func(*http.Request) (*http.Response, error) {
				return &http.Response{StatusCode: 200, Body: broken{}}, nil
			}, fault.Unavailable},
			"is too long": {func(*http.Request) (*http.Response, error) { return answer(200, decides+strings.Repeat(" ", 1<<20)) }, fault.Unavailable},
		} {
			t.Run(name+" "+what, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					d := deps()
					d.HTTP = &http.Client{Transport: c.answer}
					h, err := Catalog(d).Build(name, nil, handler.Raw(contract[name].config))
					if err != nil {
						t.Fatal(err)
					}
					got, err := h.Authorize(t.Context(), input())
					if fault.KindOf(err) != c.kind || !cmp.Equal(got, access.Verdict{}) {
						t.Errorf("got %v, %v; want the zero verdict and %s", got, err, c.kind)
					}
				})
			})
		}
	}
}

func TestAnAnswerThatDecidesNothingNeverAllows(t *testing.T) {
	for _, name := range asking {
		for _, body := range []string{``, `x`, `true`, `[]`, `{}`, `null`, `{"allowed":null,"decision":null,"result":null}`, `{"allowed":"true","decision":"true","result":{"allow":"true"}}`,
			`{"allowed":1,"decision":1,"result":{"allow":1}}`, `{"allowed":[true],"decision":[true],"result":{"allow":[true]}}`, decides + decides, decides + "x", decides[:len(decides)-1],
			`{"allowed":true,"allowed":false,"decision":true,"decision":false,"result":{"allow":true,"allow":false}}`,
			`{"allowed":false,"decision":false,"result":{"allow":false},"allowed":true,"decision":true,"result":{"allow":true}}`,
			`{"Allowed":true,"Decision":true,"Result":{"allow":true}}`} {
			if name == "remote" {
				continue // its contract has no condition on the body
			}
			d := deps()
			d.HTTP = &http.Client{Transport: transport(func(*http.Request) (*http.Response, error) { return answer(200, body) })}
			h, err := Catalog(d).Build(name, nil, handler.Raw(contract[name].config))
			if err != nil {
				t.Fatal(err)
			}
			got, err := h.Authorize(t.Context(), input())
			absent := name == "remote_json" && err == nil && cmp.Equal(got, access.Verdict{Reason: "remote_denied"})
			if !absent && !fault.Is(err, fault.Unavailable) || got.Allow {
				t.Errorf("%s %s: got %v, %v", name, body, got, err)
			}
		}
	}
}

// ask builds name with config and asks it; the service gets the request and answers.
func ask(t *testing.T, name, config string, in access.Input, service func(*http.Request, string) (*http.Response, error)) (access.Verdict, error) {
	t.Helper()
	d := deps()
	d.HTTP = &http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
		raw, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		return service(r, string(raw))
	})}
	h, err := Catalog(d).Build(name, nil, handler.Raw(config))
	if err != nil {
		t.Fatal(err)
	}
	return h.Authorize(t.Context(), in)
}

// TestStatusesMeanWhatTheySay is the table of statuses of remote and remote_json.
func TestStatusesMeanWhatTheySay(t *testing.T) {
	allowed, denied := access.Verdict{Allow: true, Reason: "remote_allowed"}, access.Verdict{Reason: "remote_denied"}
	for status, want := range map[int]any{
		200: allowed, 201: allowed, 204: allowed, 299: allowed, 401: denied, 403: denied, 404: denied, 429: fault.RateLimited,
		300: fault.Unavailable, 301: fault.Unavailable, 302: fault.Unavailable, 304: fault.Unavailable, 400: fault.Unavailable, 405: fault.Unavailable, 407: fault.Unavailable,
		409: fault.Unavailable, 422: fault.Unavailable, 500: fault.Unavailable, 502: fault.Unavailable, 503: fault.Unavailable, 504: fault.Unavailable, 101: fault.Unavailable,
	} {
		for name, config := range map[string]string{
			"remote":      `{"remote":"http://authz.example/","retry":{"give_up_after":"0s"}}`,
			"remote_json": `{"remote":"http://authz.example/","payload":"{}","retry":{"give_up_after":"0s"}}`,
		} {
			v, err := ask(t, name, config, input(), func(*http.Request, string) (*http.Response, error) { return answer(status, "") })
			var got any = v
			if err != nil {
				got = fault.KindOf(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s %d: %v\n%s", name, status, err, diff)
			}
		}
	}
}

// seen is what a service gets.
type seen struct {
	Method, URL string
	Header      http.Header
	Body        string
}

func see(t *testing.T, name, config string, in access.Input, yes string) seen {
	t.Helper()
	var got seen
	v, err := ask(t, name, config, in, func(r *http.Request, body string) (*http.Response, error) {
		got = seen{r.Method, r.URL.String(), r.Header, body}
		return answer(200, yes)
	})
	if err != nil || !v.Allow {
		t.Fatalf("%s: %v, %v", name, v, err)
	}
	return got
}

func withBodyOf(in access.Input, text string) access.Input {
	in.Request.Body = func(limit int64) ([]byte, error) {
		if int64(len(text)) > limit {
			return nil, fault.New(fault.TooLarge, "request_body_too_large", "")
		}
		return []byte(text), nil
	}
	return in
}

func TestQuestionsAreWhatTheConfigurationSays(t *testing.T) {
	asked := input()
	asked.Request.ID = "d1"
	asked.Request.Header.Set("Content-Type", "text/plain")
	asked.Request.Header.Set("Authorization", "Bearer client")
	asked.Request.Header.Set("Cookie", "secret")
	for _, c := range []struct {
		handler, config string
		in              access.Input
		want            seen
	}{
		{"remote", `{"remote":"http://authz.example/x?s={{ print .Subject }}","headers":{"x-a":"{{ .Extra.team }}","X-Empty":"{{ print .Extra.none }}"}}`, withBodyOf(asked, "hello"),
			seen{"POST", "http://authz.example/x?s=alice", http.Header{"Content-Type": {"text/plain"}, "Authorization": {"Bearer client"}, "X-A": {"red"}}, "hello"}},
		{"remote", `{"remote":"http://authz.example/","body_limit":0,"auth":{"bearer":{"token":"own"}}}`, withBodyOf(asked, "hello"),
			seen{"POST", "http://authz.example/", http.Header{"Authorization": {"Bearer own"}}, ""}},
		{"remote_json", `{"remote":"http://authz.example/","payload":"{\"who\":\"{{ print .Subject }}\",\"team\":{{ toJson .Extra.team }}}"}`, withBodyOf(asked, "hello"),
			seen{"POST", "http://authz.example/", http.Header{"Content-Type": {"application/json"}, "Authorization": {"Bearer client"}}, `{"who":"alice","team":"red"}`}},
		{"keto_engine_acp_ory", `{"base_url":"http://keto.example/p/","flavor":"exact","required_action":"read","required_resource":"a:{{ printIndex .MatchContext.RegexpCaptureGroups 0 }}"}`, asked,
			seen{"POST", "http://keto.example/p/engines/acp/ory/exact/allowed", http.Header{"Accept": {"application/json"}, "Content-Type": {"application/json"}, "X-Request-Id": {"d1"}},
				`{"subject":"alice","action":"read","resource":"a:7","context":{"remoteIpAddress":"192.0.2.7","requestedAt":"2026-05-04T02:02:01Z"}}`}},
		{"openfga", `{"api_url":"http://fga.example","store_id":"0/1","authorization_model_id":"m","relation":"reader","object":"article:{{ printIndex .MatchContext.RegexpCaptureGroups 0 }}","consistency":"HIGHER_CONSISTENCY",
			"auth":{"bearer":{"token":"key"}},"context":"{\"ip\":\"{{ .MatchContext.Method }}\"}","contextual_tuples":[{"user":"user:{{ print .Subject }}","relation":"member","object":"team:{{ .Extra.team }}"}]}`, asked,
			seen{"POST", "http://fga.example/stores/0%2F1/check", http.Header{"Accept": {"application/json"}, "Content-Type": {"application/json"}, "X-Request-Id": {"d1"}, "Authorization": {"Bearer key"}},
				`{"tuple_key":{"user":"user:alice","relation":"reader","object":"article:7"},"contextual_tuples":{"tuple_keys":[{"user":"user:alice","relation":"member","object":"team:red"}]},"authorization_model_id":"m","context":{"ip":"GET"},"consistency":"HIGHER_CONSISTENCY"}`}},
		{"authzen", `{"pdp_url":"http://pdp.example/t/","auth":{"basic":{"username":"u","password":"p"}},"subject":{"properties":"{\"team\":\"{{ .Extra.team }}\"}"},"action":{"name":"can_read","properties":"{\"m\":\"{{ .MatchContext.Method }}\"}"},
			"resource":{"type":"article","id":"{{ printIndex .MatchContext.RegexpCaptureGroups 0 }}"},"context":"{\"path\":\"{{ .MatchContext.URL.Path }}\"}"}`, asked,
			seen{"POST", "http://pdp.example/t/access/v1/evaluation", http.Header{"Accept": {"application/json"}, "Content-Type": {"application/json"}, "X-Request-Id": {"d1"}, "Authorization": {"Basic dTpw"}},
				`{"subject":{"type":"user","id":"alice","properties":{"team":"red"}},"action":{"name":"can_read","properties":{"m":"GET"}},"resource":{"type":"article","id":"7"},"context":{"path":"/articles/7"}}`}},
		{"authzen", `{"pdp_url":"http://pdp.example"}`, asked,
			seen{"POST", "http://pdp.example/access/v1/evaluation", http.Header{"Accept": {"application/json"}, "Content-Type": {"application/json"}, "X-Request-Id": {"d1"}},
				`{"subject":{"type":"user","id":"alice"},"action":{"name":"GET"},"resource":{"type":"route","id":"/articles/7"}}`}},
	} {
		if diff := cmp.Diff(c.want, see(t, c.handler, c.config, c.in, decides)); diff != "" {
			t.Errorf("%s:\n%s", c.handler, diff)
		}
	}
}

func TestABodyBeyondItsLimitIsNotAskedAbout(t *testing.T) {
	_, err := ask(t, "remote", `{"remote":"http://authz.example/","body_limit":4}`, withBodyOf(input(), "hello"), func(*http.Request, string) (*http.Response, error) {
		t.Error("the service was asked")
		return answer(200, "")
	})
	if !fault.Is(err, fault.TooLarge) {
		t.Errorf("got %v, want fault.TooLarge", err)
	}
}

func TestAConditionOnTheAnswerDecides(t *testing.T) {
	for _, c := range []struct {
		condition, body string
		want            string // allowed, denied, or a kind
	}{
		{`{"gjson":"result"}`, `{"result":true}`, "allowed"},
		{`{"gjson":"result"}`, `{"result":false}`, "denied"},
		{`{"gjson":"result"}`, `{}`, "denied"},
		{`{"gjson":"result"}`, `{"result":"true"}`, "unavailable"},
		{`{"gjson":"result"}`, `{"result":1}`, "unavailable"},
		{`{"gjson":"result"}`, `{"result":{"x":true}}`, "unavailable"},
		{`{"gjson":"result"}`, `{"result":true`, "unavailable"},
		{`{"gjson":"result"}`, `{"result":false,"result":true}`, "unavailable"},
		{`{"gjson":"a.0.b"}`, `{"a":[{"b":true}]}`, "allowed"},
		{`{"gjson":"decisions.#(id==\"x\").allow"}`, `{"decisions":[{"id":"y","allow":false},{"id":"x","allow":true}]}`, "allowed"},
		{`{"cel":"answer.result"}`, `{"result":true}`, "allowed"},
		{`{"cel":"answer.result.allow && status == 200"}`, `{"result":{"allow":true}}`, "allowed"},
		{`{"cel":"answer.risk < 0.5"}`, `{"risk":0.3}`, "allowed"},
		{`{"cel":"answer.risk < 1"}`, `{"risk":0.3}`, "allowed"},
		{`{"cel":"answer.risk < 0.5"}`, `{"risk":0.7}`, "denied"},
		{`{"cel":"answer.risk < 0.5"}`, `{}`, "denied"},
		{`{"cel":"answer.risk < 0.5"}`, `{"risk":"low"}`, "denied"},
		{`{"cel":"answer"}`, `"true"`, "denied"},
		{`{"cel":"answer.result"}`, `{"result":true} x`, "unavailable"},
		{`{"cel":"!answer.deny"}`, `{"deny":true,"deny":false}`, "unavailable"},
	} {
		v, err := ask(t, "remote", `{"remote":"http://authz.example/","allow_if":`+c.condition+`}`, input(), func(*http.Request, string) (*http.Response, error) { return answer(200, c.body) })
		got := "denied"
		if v.Allow {
			got = "allowed"
		}
		if err != nil {
			got = fault.KindOf(err).String()
		}
		if got != c.want {
			t.Errorf("%s of %s: got %s, %v; want %s", c.condition, c.body, got, err, c.want)
		}
	}
}

func TestOnlyNamedFieldsOfAYesGoUpstreamAndNoClientCanSendThem(t *testing.T) {
	h, err := Catalog(deps()).Build("remote", nil, handler.Raw(`{"remote":"http://authz.example/","forward_response_headers_to_upstream":["x-role","X-Role","Authorization","X-Forwarded-User"]}`))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"X-Role", "X-Forwarded-User"}, h.(interface{ OwnedHeaders() []string }).OwnedHeaders()); diff != "" {
		t.Errorf("owned headers (-want +got):\n%s", diff)
	}
	config := `{"remote":"http://authz.example/","forward_response_headers_to_upstream":["X-Role","Authorization"]}`
	v, err := ask(t, "remote", config, input(), func(*http.Request, string) (*http.Response, error) {
		return answer(200, "", "X-Role", "a", "X-Role", "b", "X-Admin", "yes", "Set-Cookie", "s=1")
	})
	// Authorization is empty: what the client sent is taken away.
	want := access.Verdict{Allow: true, Reason: "remote_allowed", Header: http.Header{"X-Role": {"a", "b"}, "Authorization": {}}}
	if diff := cmp.Diff(want, v); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	for _, value := range []string{"a\nb", "a\x00", " a", strings.Repeat("x", maxForwarded)} {
		v, err := ask(t, "remote", config, input(), func(*http.Request, string) (*http.Response, error) { return answer(200, "", "X-Role", value) })
		if !fault.Is(err, fault.Unavailable) || v.Allow {
			t.Errorf("%.10q: got %v, %v", value, v, err)
		}
	}
}

// hostile are subjects that try to change the question they are put into.
var hostile = []string{`x","admin":"yes`, "x\r\nX-Admin: 1", "x#member", "team:red", "*", "..", "../../admin", "x?y=z&a=b", "\xff", "x\x00", "{{ .Subject }}", `x\`, ""}

func TestAHostileSubjectCannotChangeTheQuestion(t *testing.T) {
	for _, c := range []struct{ handler, config, path, want string }{
		{"remote_json", `{"remote":"http://authz.example/","payload":"{\"a\":{\"id\":\"{{ print .Subject }}\"}}"}`, "a.id", ""},
		{"keto_engine_acp_ory", contract["keto_engine_acp_ory"].config, "subject", ""},
		{"openfga", contract["openfga"].config, "tuple_key.user", "user:"},
		{"authzen", contract["authzen"].config, "subject.id", ""},
	} {
		plain := members(see(t, c.handler, c.config, input(), decides).Body)
		for _, subject := range hostile {
			in := input()
			in.Subject.ID = subject
			v, err := ask(t, c.handler, c.config, in, func(_ *http.Request, body string) (*http.Response, error) {
				got := members(body)
				said := got[c.path]
				delete(got, c.path)
				want := members(see(t, c.handler, c.config, input(), decides).Body)
				delete(want, c.path)
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s %q changed the question:\n%s", c.handler, subject, diff)
				}
				if utf8 := strings.ToValidUTF8(subject, "\uFFFD"); said != c.want+utf8 {
					t.Errorf("%s %q: the question is about %q", c.handler, subject, said)
				}
				return answer(200, decides)
			})
			if err != nil && (v.Allow || !fault.Is(err, fault.Forbidden) && !fault.Is(err, fault.Invalid)) {
				t.Errorf("%s %q: %v, %v", c.handler, subject, v, err)
			}
		}
		if len(plain) == 0 {
			t.Errorf("%s asks nothing", c.handler)
		}
	}
	for _, subject := range hostile {
		in := input()
		in.Subject.ID = subject
		_, err := ask(t, "remote", contract["remote"].config, in, func(r *http.Request, _ string) (*http.Response, error) {
			if got := r.Header.Get("X-Subject"); got != subject || len(r.Header) > 1 {
				t.Errorf("%q: sent %v", subject, r.Header)
			}
			return answer(200, "")
		})
		if err != nil && !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: %v", subject, err)
		}
	}
}

// members are the texts of a JSON document by their paths.
func members(doc string) map[string]string {
	all := map[string]string{}
	var walk func(string, any)
	walk = func(path string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for name, each := range v {
				walk(strings.TrimPrefix(path+"."+name, "."), each)
			}
		case string:
			all[path] = v
		}
	}
	var v any
	if json.Unmarshal([]byte(doc), &v) == nil {
		walk("", v)
	}
	return all
}

func TestNoQuestionIsPutForARequestThatIsOver(t *testing.T) {
	for _, name := range asking {
		d := deps()
		d.HTTP = &http.Client{Transport: transport(func(*http.Request) (*http.Response, error) { t.Errorf("%s asked", name); return answer(200, decides) })}
		h, err := Catalog(d).Build(name, nil, handler.Raw(contract[name].config))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if v, err := h.Authorize(ctx, input()); err == nil || v.Allow {
			t.Errorf("%s: %v, %v", name, v, err)
		}
	}
}
