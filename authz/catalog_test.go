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
			check(nobody, c.nobody)

			for _, garbage := range []access.Input{{}, {Request: &access.Request{}}, {Request: &access.Request{URL: &url.URL{Path: "\x00\n"}}, Subject: access.Subject{ID: "\xff\r\n"}}} {
				if got, err := h.Authorize(t.Context(), garbage); name != "allow" && got.Allow {
					t.Errorf("garbage was allowed: %v, %v", got, err)
				}
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if got, err := h.Authorize(ctx, input()); name == "policy" && (err == nil || got.Allow) {
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
