package authz

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/handler"
	"github.com/gatewarden/gatewarden/handler/handlertest"
)

// warden allows what its list names, as subject action resource.
type warden struct {
	allowed []string
	err     error
	asked   func(Question)
}

func (w warden) Allowed(ctx context.Context, q Question) (Answer, error) {
	if w.asked != nil {
		w.asked(q)
	}
	if slices.Contains(w.allowed, q.Subject+" "+q.Action+" "+q.Resource) {
		return Answer{Allow: true, Reason: "policy_allowed"}, w.err
	}
	return Answer{Reason: "no_policy_match"}, w.err
}

func deps() Deps {
	return Deps{
		Warden: warden{allowed: []string{"alice GET /articles/7"}},
		Now:    func() time.Time { return time.Date(2026, 5, 4, 3, 2, 1, 0, time.FixedZone("", 3600)) },
		HTTP:   &http.Client{Transport: transport(services)},
	}
}

func input() access.Input {
	return access.Input{
		Request: &access.Request{
			Method: "GET",
			URL:    &url.URL{Scheme: "https", Host: "api.example.com", Path: "/articles/7"},
			Header: http.Header{"X-Tenant": {"t1"}},
			Client: netip.MustParseAddr("::ffff:192.0.2.7"),
		},
		Subject:  access.Subject{ID: "alice", Extra: map[string]any{"team": "red"}},
		Captures: []string{"7"},
	}
}

// contract holds one row for each authorizer of the catalog.
var contract = map[string]struct {
	config string
	bad    []string // refused configurations, beside an unknown field
	want   access.Verdict
	nobody access.Verdict // for a request that nobody vouched for
	// refuses is the reason when such a request is refused with a cause instead.
	refuses string
}{
	"allow": {want: access.Verdict{Allow: true, Reason: "allowed"}, nobody: access.Verdict{Allow: true, Reason: "allowed"}},
	"deny":  {want: access.Verdict{Reason: "denied"}, nobody: access.Verdict{Reason: "denied"}},
	"policy": {
		config: `{"context":{"team":"{{ print .Extra.team }}"}}`,
		bad: []string{`{"subject":1}`, `{"subject":""}`, `{"action":"{{"}`, `{"resource":"{{ env \"HOME\" }}"}`, `{"context":{"a":"{{ .Nope }}"}}`,
			`{"context":[]}`, `{"context":{"a":1}}`, `{"context":{"a":"b","a":"c"}}`},
		want:   access.Verdict{Allow: true, Reason: "policy_allowed"},
		nobody: access.Verdict{Reason: "no_policy_match"},
	},
	"remote": {
		config: `{"remote":"http://authz.example/check/{{ print .MatchContext.Method }}","headers":{"X-Subject":"{{ print .Subject }}"},"forward_response_headers_to_upstream":["x-role","X-None"]}`,
		bad: append(badCalls(`"remote":"http://authz.example/"`), `{}`, `{"remote":""}`, `{"remote":"authz.example"}`, `{"remote":"http://{{ .Subject }}/"}`, `{"remote":"http://authz.example/{{ .Nope }}"}`,
			`{"remote":"http://authz.example/","headers":{"Host":"a"}}`, `{"remote":"http://authz.example/","headers":{"A":"{{ .Nope }}"}}`, `{"remote":"http://authz.example/","body_limit":-1}`,
			`{"remote":"http://authz.example/","body_limit":100000000}`, `{"remote":"http://authz.example/","forward_response_headers_to_upstream":["Connection"]}`,
			`{"remote":"http://authz.example/","forward_response_headers_to_upstream":["a b"]}`, `{"remote":"http://authz.example/","allow_if":{"gjson":"a","cel":"answer.a"}}`,
			`{"remote":"http://authz.example/","allow_if":{"cel":"nope"}}`, `{"remote":"http://authz.example/","allow_if":{"cel":"status"}}`),
		want:   access.Verdict{Allow: true, Reason: "remote_allowed", Header: http.Header{"X-Role": {"admin"}, "X-None": {}}},
		nobody: access.Verdict{Reason: "remote_denied"},
	},
	"remote_json": {
		config: `{"remote":"http://authz.example/check","payload":"{\"subject\":\"{{ print .Subject }}\"}","allow_if":{"gjson":"result.allow"}}`,
		bad: append(badCalls(`"remote":"http://authz.example/","payload":"{}"`), `{}`, `{"remote":"http://authz.example/"}`, `{"payload":"{}"}`, `{"remote":"http://authz.example/","payload":"{{"}`,
			`{"remote":"http://authz.example/","payload":{}}`),
		want:   access.Verdict{Allow: true, Reason: "remote_allowed"},
		nobody: access.Verdict{Reason: "remote_denied"},
	},
	"keto_engine_acp_ory": {
		config: `{"base_url":"http://keto.example/","required_action":"read","required_resource":"articles:{{ printIndex .MatchContext.RegexpCaptureGroups 0 }}"}`,
		bad: append(badCalls(`"base_url":"http://keto.example","required_action":"a","required_resource":"b"`), `{}`, `{"base_url":"http://keto.example","required_action":"a"}`,
			`{"base_url":"http://keto.example","required_resource":"a"}`, `{"base_url":"keto","required_action":"a","required_resource":"b"}`,
			`{"base_url":"http://keto.example?a=b","required_action":"a","required_resource":"b"}`, `{"base_url":"http://keto.example","required_action":"a","required_resource":"b","flavor":"sql"}`,
			`{"base_url":"http://keto.example","required_action":"a","required_resource":"b","subject":""}`),
		want:   access.Verdict{Allow: true, Reason: "keto_allowed"},
		nobody: access.Verdict{Reason: "keto_denied"},
	},
	"cel": {
		config: `{"expressions":[{"name":"somebody","expression":"subject.id != ''","reason":"nobody","message":"Please log in."},{"expression":"claims.team == 'red' && captures[0] == '7'"}]}`,
		bad: []string{`{}`, `{"expressions":[]}`, `{"expressions":{}}`, `{"expressions":["true"]}`, `{"expressions":[{}]}`, `{"expressions":[{"expression":" "}]}`, `{"expressions":[{"expression":"1 +"}]}`,
			`{"expressions":[{"expression":"request.pth == ''"}]}`, `{"expressions":[{"expression":"request.path"}]}`, `{"expressions":[{"expression":"request.path == 1"}]}`,
			`{"expressions":[{"expression":"env('HOME') == ''"}]}`, `{"expressions":[{"expression":"true","reason":"Not Snake"}]}`, `{"expressions":[{"expression":"request.path.matches('[')"}]}`,
			`{"expressions":[{"expression":"true","if":"x"}]}`},
		want:   access.Verdict{Allow: true, Reason: "expressions_true"},
		nobody: access.Verdict{Reason: "nobody", Message: "Please log in."},
	},
	"openfga": {
		config: `{"api_url":"http://fga.example","store_id":"01A","relation":"reader","object":"article:{{ printIndex .MatchContext.RegexpCaptureGroups 0 }}"}`,
		bad: append(badCalls(`"api_url":"http://fga.example","store_id":"01A","relation":"r","object":"a:b"`), `{}`, `{"api_url":"http://fga.example","relation":"r","object":"a:b"}`,
			`{"api_url":"http://fga.example","store_id":"01A","object":"a:b"}`, `{"api_url":"http://fga.example","store_id":"01A","relation":"r"}`, `{"store_id":"01A","relation":"r","object":"a:b"}`,
			`{"api_url":"http://fga.example","store_id":"01A","relation":"r","object":"a:b","user":""}`, `{"api_url":"http://fga.example","store_id":"01A","relation":"r","object":"a:b","consistency":"SOME"}`,
			`{"api_url":"http://fga.example","store_id":"01A","relation":"r","object":"a:b","contextual_tuples":[{"user":"a"}]}`, `{"api_url":"http://fga.example","store_id":"01A","relation":"r","object":"a:b","context":"{{"}`),
		want:    access.Verdict{Allow: true, Reason: "openfga_allowed"},
		refuses: "openfga_value_not_allowed",
	},
	"authzen": {
		config: `{"pdp_url":"http://pdp.example","action":{"name":"read"}}`,
		bad: append(badCalls(`"pdp_url":"http://pdp.example"`), `{}`, `{"pdp_url":"pdp"}`, `{"pdp_url":"http://pdp.example","subject":{"type":""}}`, `{"pdp_url":"http://pdp.example","subject":{"name":"x"}}`,
			`{"pdp_url":"http://pdp.example","action":{"name":""}}`, `{"pdp_url":"http://pdp.example","resource":{"id":"{{ .Nope }}"}}`, `{"pdp_url":"http://pdp.example","context":{}}`),
		want:   access.Verdict{Allow: true, Reason: "authzen_allowed"},
		nobody: access.Verdict{Reason: "authzen_denied"},
	},
}

func TestEveryAuthorizerKeepsTheContract(t *testing.T) {
	catalog := Catalog(deps())
	if diff := cmp.Diff(catalog.Names(), slices.Sorted(maps.Keys(contract))); diff != "" {
		t.Fatalf("the table must name every authorizer of the catalog (-catalog +table):\n%s", diff)
	}
	for name, c := range contract {
		t.Run(name, func(t *testing.T) {
			for _, bad := range append(c.bad, `{"no_such_field":1}`, `[]`, `"x"`, `{`) {
				if _, err := catalog.Build(name, nil, handler.Raw(bad)); err == nil {
					t.Errorf("config %s was accepted", bad)
				}
			}
			h, err := catalog.Build(name, nil, handler.Raw(c.config))
			if err != nil {
				t.Fatal(err)
			}
			check := func(in access.Input, want access.Verdict) {
				t.Helper()
				got, err := h.Authorize(t.Context(), in)
				if diff := cmp.Diff(want, got); err != nil || diff != "" {
					t.Errorf("error %v, verdict (-want +got):\n%s", err, diff)
				}
			}
			check(input(), c.want)
			nobody := input()
			nobody.Subject = access.Subject{}
			if c.refuses == "" {
				check(nobody, c.nobody)
			} else if got, err := h.Authorize(t.Context(), nobody); !fault.Is(err, fault.Forbidden) || fault.ReasonOf(err) != c.refuses || got.Allow {
				t.Errorf("nobody: got %v, %v", got, err)
			}

			for _, garbage := range []access.Input{{}, {Request: &access.Request{}}, {Request: &access.Request{URL: &url.URL{Path: "\x00\n"}}, Subject: access.Subject{ID: "\xff\r\n"}}} {
				if got, err := h.Authorize(t.Context(), garbage); name != "allow" && got.Allow {
					t.Errorf("garbage was allowed: %v, %v", got, err)
				}
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if got, err := h.Authorize(ctx, input()); name != "allow" && name != "deny" && (err == nil || got.Allow) {
				t.Errorf("cancelled: got %v, %v", got, err)
			}
			var wait sync.WaitGroup
			for range 8 {
				wait.Go(func() { check(input(), c.want) })
			}
			wait.Wait()
		})
	}
}

func TestThePolicyQuestionIsFilledFromTheRequest(t *testing.T) {
	for _, c := range []struct {
		config string
		want   Question
	}{
		{``, Question{"alice", "GET", "/articles/7", map[string]any{"remoteIpAddress": "192.0.2.7", "requestedAt": "2026-05-04T02:02:01Z"}}},
		{`{"subject":"team:{{ .Extra.team }}","action":"articles:read","resource":"articles:{{ printIndex .MatchContext.RegexpCaptureGroups 0 }}",
			"context":{"tenant":"{{ .MatchContext.Header.Get \"X-Tenant\" }}","remoteIpAddress":"none"}}`,
			Question{"team:red", "articles:read", "articles:7", map[string]any{"remoteIpAddress": "none", "requestedAt": "2026-05-04T02:02:01Z", "tenant": "t1"}}},
	} {
		var got Question
		d := deps()
		d.Warden = warden{asked: func(q Question) { got = q }}
		h, err := Catalog(d).Build("policy", nil, handler.Raw(c.config))
		if err != nil {
			t.Fatal(err)
		}
		if v, err := h.Authorize(t.Context(), input()); err != nil || v.Allow {
			t.Errorf("got %v, %v; want a no", v, err)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Error(diff)
		}
	}
}

func TestAWardenThatFailsNeverAllows(t *testing.T) {
	for _, cause := range []error{errors.New("down"), fault.New(fault.Unavailable, "policies_unavailable", "")} {
		d := deps()
		d.Warden = warden{allowed: []string{"alice GET /articles/7"}, err: cause} // a yes beside the error
		h, err := Catalog(d).Build("policy", nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := h.Authorize(t.Context(), input())
		if !errors.Is(err, cause) || fault.KindOf(err) != fault.KindOf(cause) || !cmp.Equal(got, access.Verdict{}) {
			t.Errorf("got %v, %v; want the zero verdict and %v", got, err, cause)
		}
	}
}

func TestPolicyWithoutAWardenIsALoadError(t *testing.T) {
	if h, err := Catalog(Deps{}).Build("policy", nil, nil); err == nil {
		t.Errorf("built %v", h)
	}
}

func TestAQuestionThatCannotBeRenderedIsAnError(t *testing.T) {
	h, err := Catalog(deps()).Build("policy", nil, handler.Raw(`{"resource":"{{ .Extra.missing.id }}"}`))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := h.Authorize(t.Context(), input()); err == nil || got.Allow {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestEveryAuthorizerHasAPageWhoseExampleLoads(t *testing.T) {
	handlertest.Pages(t, Catalog(deps()), "../docs/handlers", "authorizer")
}

func FuzzAnyConfigurationLoadsOrIsRefused(f *testing.F) {
	catalog := Catalog(deps())
	for name, c := range contract {
		f.Add(name, c.config)
		for _, bad := range c.bad {
			f.Add(name, bad)
		}
	}
	f.Fuzz(func(t *testing.T, name, config string) {
		h, err := catalog.Build(name, nil, handler.Raw(config))
		if err != nil {
			return
		}
		if v, err := h.Authorize(t.Context(), input()); err != nil && v.Allow {
			t.Errorf("%s %s allows beside %v", name, config, err)
		}
	})
}

func BenchmarkPolicy(b *testing.B) {
	h, err := Catalog(deps()).Build("policy", nil, nil)
	if err != nil {
		b.Fatal(err)
	}
	in, ctx := input(), context.Background()
	b.ReportAllocs()
	for b.Loop() {
		if v, err := h.Authorize(ctx, in); err != nil || !v.Allow {
			b.Fatal(v, err)
		}
	}
}
