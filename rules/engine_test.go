package rules

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/rules/spec"
)

// sameDecision compares decisions without the text of causes.
var sameDecision = cmpopts.IgnoreFields(access.Decision{}, "Err")

func TestAnAllowedRequestCarriesWhatTheStagesSay(t *testing.T) {
	d := definition("users", "http://a/users/<[0-9]+>")
	d.Authenticators = []spec.Handler{x(`{"do":"none"}`), x(`{"value":"alice"}`), x(`{"do":"fail"}`)}
	d.Authorizer, d.Authorizers = nil, []spec.Handler{x(`{"value":"1"}`), x(`{"value":"2"}`)}
	d.Mutators = []spec.Handler{x(`{"value":"one"}`), x(`{"do":"rename","value":"bob"}`), x(`{"value":"two"}`)}
	d.Upstream = spec.Upstream{URL: "http://users:8080/base", PreserveHost: true, StripPath: "api/", Timeout: "3s"}
	got := engine(t, d).Decide(t.Context(), get(t, "http://a/users/1"))
	want := access.Decision{
		Allow: true, RuleID: "users", Subject: access.Subject{ID: "alice", Via: "x"}, Reason: "allowed",
		Pass: access.Pass{Subject: access.Subject{ID: "bob", Via: "x"},
			Set: http.Header{"X-Verdict": {"2"}, "X-One": {"alice users"}, "X-Two": {"bob users"}}},
		Upstream: &access.Upstream{URL: &url.URL{Scheme: "http", Host: "users:8080", Path: "/base"}, PreserveHost: true, StripPath: "/api", Timeout: 3 * time.Second},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestRefusals(t *testing.T) {
	subject := access.Subject{ID: "alice", Via: "x"}
	for name, c := range map[string]struct {
		edit func(*spec.Rule)
		want access.Decision
	}{
		"nobody is responsible": {func(d *spec.Rule) {
			d.Authenticators = []spec.Handler{x(`{"do":"none"}`), x(`{"do":"none","value":"b"}`)}
		},
			access.Decision{Reason: "missing_credentials", Refusal: access.Response{Status: 402}}},
		"an authenticator's error ends the chain": {func(d *spec.Rule) { d.Authenticators = []spec.Handler{x(`{"do":"fail"}`), x("")} },
			access.Decision{Reason: "broken", Refusal: access.Response{Status: 408}}},
		"one authorizer denies": {func(d *spec.Rule) {
			d.Authorizer, d.Authorizers = nil, []spec.Handler{x(""), x(`{"do":"deny","reason":"policy_denied"}`)}
		},
			access.Decision{Subject: subject, Reason: "policy_denied", Refusal: access.Response{Status: 403}}},
		"a denial without a reason": {func(d *spec.Rule) { d.Authorizer.Config = []byte(`{"do":"deny"}`) },
			access.Decision{Subject: subject, Reason: "access_denied", Refusal: access.Response{Status: 403}}},
		"an authorizer fails, whatever its verdict": {func(d *spec.Rule) { d.Authorizer.Config = []byte(`{"do":"fail"}`) },
			access.Decision{Subject: subject, Reason: "broken", Refusal: access.Response{Status: 408}}},
		"a mutator fails": {func(d *spec.Rule) { d.Mutators = []spec.Handler{x(`{"value":"a"}`), x(`{"do":"fail"}`)} },
			access.Decision{Subject: subject, Reason: "internal", Refusal: access.Response{Status: 400}}},
		"an authenticator panics": {func(d *spec.Rule) { d.Authenticators = []spec.Handler{x(`{"do":"panic"}`), x("")} },
			access.Decision{Reason: "handler_panic", Refusal: access.Response{Status: 400}}},
		"an authorizer panics": {func(d *spec.Rule) { d.Authorizer.Config = []byte(`{"do":"panic"}`) },
			access.Decision{Subject: subject, Reason: "handler_panic", Refusal: access.Response{Status: 400}}},
		"a mutator panics": {func(d *spec.Rule) { d.Mutators = []spec.Handler{x(`{"do":"panic"}`)} },
			access.Decision{Subject: subject, Reason: "handler_panic", Refusal: access.Response{Status: 400}}},
		"the rule is broken": {func(d *spec.Rule) { d.Mutators = []spec.Handler{{Handler: "unknown"}} },
			access.Decision{Reason: "rule_broken", Refusal: access.Response{Status: 400}}},
	} {
		broad, d := definition("broad", "http://a/<.*>"), definition("narrow", "http://a/x")
		c.edit(&d)
		c.want.RuleID, c.want.Refusal.Body = "narrow", []byte("fallback")
		got := engine(t, broad, d).Decide(t.Context(), get(t, "http://a/x"))
		if diff := cmp.Diff(c.want, got, sameDecision); diff != "" || got.Err == nil {
			t.Errorf("%s: %v %s", name, got.Err, diff)
		}
	}
}

func TestRefusalsWithoutARule(t *testing.T) {
	e := engine(t, definition("a", "http://a/<.*>"), definition("b", "http://a/<[a-z]+>"))
	for url, want := range map[string]access.Decision{
		"http://b/":  {Reason: "no_rule_match", Refusal: access.Response{Status: 404, Body: []byte("fallback")}},
		"http://a/x": {Reason: "ambiguous_rules", Refusal: access.Response{Status: 400, Body: []byte("fallback")}},
	} {
		got := e.Decide(t.Context(), get(t, url))
		if diff := cmp.Diff(want, got, sameDecision); diff != "" {
			t.Error(diff)
		}
	}
	if got := e.Decide(t.Context(), get(t, "http://a/x")).Err.Error(); !strings.Contains(got, `rule "a" (a.yaml:7) and rule "b" (b.yaml:7)`) {
		t.Errorf("the log does not name the rules: %s", got)
	}
	got := (&Engine{}).Decide(t.Context(), get(t, "http://a/"))
	want := access.Decision{Reason: "rules_not_loaded", Refusal: access.Response{Status: 503, Header: http.Header{"Content-Type": {"application/json"}},
		Body: []byte(`{"error":{"code":503,"status":"Service Unavailable","message":"Service Unavailable"}}` + "\n")}}
	if diff := cmp.Diff(want, got, sameDecision); diff != "" || !fault.Is(got.Err, fault.Unavailable) {
		t.Error(diff)
	}
}

func TestStoredRulesThatMayBeOutOfDateRefuseEverything(t *testing.T) {
	file, stored := definition("file", "http://a/file"), definition("stored", "http://a/stored")
	stored.Origin = spec.Origin{Source: spec.Database}
	fresh := true
	for _, c := range []struct {
		rules []spec.Rule
		fresh bool
		want  [2]string // for the rule of the file, and for none
	}{
		{[]spec.Rule{file}, true, [2]string{"allowed", "no_rule_match"}},
		{[]spec.Rule{file}, false, [2]string{"allowed", "no_rule_match"}},
		{[]spec.Rule{file, stored}, true, [2]string{"allowed", "no_rule_match"}},
		{[]spec.Rule{file, stored}, false, [2]string{"rules_stale", "rules_stale"}},
	} {
		e := engine(t, c.rules...)
		e.Fresh, fresh = func() bool { return fresh }, c.fresh
		got := [2]string{e.Decide(t.Context(), get(t, "http://a/file")).Reason, e.Decide(t.Context(), get(t, "http://a/other")).Reason}
		if got != c.want {
			t.Errorf("%d rules, fresh %t: got %v, want %v", len(c.rules), c.fresh, got, c.want)
		}
	}
}

func TestAPatternThatRunsOutOfTimeRefusesAsUnavailable(t *testing.T) {
	e := engine(t, definition("slow", "http://a/<(?!x)(a+)+b>"), definition("broad", "http://a<.*>"))
	got := e.Decide(t.Context(), get(t, "http://a/"+strings.Repeat("a", 64)))
	if got.Allow || got.Reason != "match_timeout" || !fault.Is(got.Err, fault.Unavailable) || !strings.Contains(got.Err.Error(), `rule "slow" (slow.yaml:7)`) {
		t.Errorf("%+v", got)
	}
}

func TestFieldsForTheClientsResponseReachItWhateverTheOutcome(t *testing.T) {
	for name, c := range map[string]struct {
		authn, authz string
		allow        bool
		want         http.Header
	}{
		"nobody has any":                            {"", "", true, nil},
		"an authenticator's, allowed":               {`{"do":"cookie"}`, "", true, http.Header{"Set-Cookie": {"session=1"}}},
		"an authenticator's, denied":                {`{"do":"cookie"}`, `{"do":"deny"}`, false, http.Header{"Set-Cookie": {"session=1"}}},
		"an authenticator's error":                  {`{"do":"challenge"}`, "", false, http.Header{"Dpop-Nonce": {"n"}}},
		"an authenticator's and an authorizer's":    {`{"do":"cookie"}`, `{"do":"cookie"}`, false, http.Header{"Set-Cookie": {"session=1", "state=2"}}},
		"an authenticator that was not responsible": {`{"do":"none"}`, "", false, nil},
	} {
		d := definition("a", "http://a/")
		d.Authenticators, d.Authorizer.Config = []spec.Handler{x(c.authn)}, []byte(c.authz)
		d.Mutators = []spec.Handler{x("")}
		got := engine(t, d).Decide(t.Context(), get(t, "http://a/"))
		if diff := cmp.Diff(c.want, got.ResponseHeader); diff != "" || got.Allow != c.allow {
			t.Errorf("%s: allow %t (-want +got):\n%s", name, got.Allow, diff)
		}
		if got.Subject.ResponseHeader != nil || got.Pass.Subject.ResponseHeader != nil {
			t.Errorf("%s: a later stage saw the fields", name)
		}
	}
}

func TestTheFirstErrorHandlerThatAnswersIsUsed(t *testing.T) {
	panics := `{"do":"panic"}`
	for name, c := range map[string]struct {
		errors []string
		want   string
	}{
		"the first":                     {[]string{`{"value":"1"}`, `{"value":"2"}`}, "1"},
		"the first that is responsible": {[]string{`{"value":"1","when":"other"}`, `{"value":"2","when":"broken"}`, `{"value":"3"}`}, "2"},
		"the fallback":                  {[]string{`{"value":"1","when":"other"}`}, "fallback"},
		"the next after a panic":        {[]string{panics, `{"value":"2"}`}, "2"},
	} {
		d := definition("a", "http://a/")
		d.Authenticators = []spec.Handler{x(`{"do":"fail"}`)}
		for _, raw := range c.errors {
			d.Errors = append(d.Errors, x(raw))
		}
		got := engine(t, d).Decide(t.Context(), get(t, "http://a/"))
		if string(got.Refusal.Body) != c.want || got.Reason != "broken" || !errors.Is(got.Err, errBroken) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestARefusalNeedsNoErrorHandler(t *testing.T) {
	c, _ := compiler()
	c.ErrorHandlers.Settings = map[string]Settings{"json": {Enabled: true, Config: []byte(`{"do":"panic"}`)}}
	set, err := c.Compile(spec.ListOf(definition("a", "http://a/")), nil)
	if err != nil {
		t.Fatal(err)
	}
	e := &Engine{}
	e.Swap(set)
	if got := e.Decide(t.Context(), get(t, "http://b/")); got.Allow || got.Refusal.Status != 404 || len(got.Refusal.Body) == 0 {
		t.Errorf("%+v", got)
	}
}

func TestATraceListsTheStages(t *testing.T) {
	d := definition("a", "http://a/")
	d.Authenticators = []spec.Handler{x(`{"do":"none"}`), x(`{"value":"alice"}`)}
	d.Mutators = []spec.Handler{x(`{"do":"fail"}`)}
	d.Errors = []spec.Handler{x(`{"when":"other"}`)}
	e := engine(t, d)
	got := e.DecideTraced(t.Context(), get(t, "http://a/")).Trace
	want := []access.Step{
		{Stage: "match", Outcome: "ok", Detail: "a"},
		{Stage: "authn", Handler: "x", Outcome: "skipped", Detail: "no credentials for this authenticator"},
		{Stage: "authn", Handler: "x", Outcome: "ok", Detail: "alice"},
		{Stage: "authz", Handler: "x", Outcome: "ok"},
		{Stage: "mutate", Handler: "x", Outcome: "failed", Detail: "an error without a kind"},
		{Stage: "error", Handler: "x", Outcome: "skipped"},
		{Stage: "error", Handler: "json", Outcome: "ok"},
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(access.Step{}, "Duration")); diff != "" {
		t.Error(diff)
	}
	if d := e.Decide(t.Context(), get(t, "http://a/")); d.Trace != nil {
		t.Error("a decision that was not asked to has a trace")
	}
}

// A decision made while sets are swapped belongs to one set as a whole.
func TestADecisionIsMadeWithOneSet(t *testing.T) {
	c, _ := compiler()
	sets := make([]*Set, 2)
	for i := range sets {
		d := definition(fmt.Sprint(i), "http://a/")
		d.Authenticators = []spec.Handler{x(fmt.Sprintf(`{"value":"%d"}`, i))}
		d.Mutators = []spec.Handler{x(`{"value":"who"}`)}
		set, err := c.Compile(spec.ListOf(d), nil)
		if err != nil {
			t.Fatal(err)
		}
		sets[i] = set
	}
	e := &Engine{}
	e.Swap(sets[0])
	r := get(t, "http://a/")
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for ctx.Err() == nil {
				if d := e.Decide(ctx, r); !d.Allow || d.Subject.ID != d.RuleID || d.Pass.Set.Get("X-Who") != d.RuleID+" "+d.RuleID {
					t.Errorf("%+v", d)
					return
				}
			}
		})
	}
	for i := range 2000 {
		e.Swap(sets[i%2])
	}
	stop()
	wg.Wait()
}

func BenchmarkDecide(b *testing.B) {
	d := definition("a", "http://a/users/<.*>")
	literal := definition("b", "http://a/users")
	allow := x(`{"do":"quiet"}`)
	literal.Authorizer, d.Authorizer = &allow, &allow
	e := engine(b, d, literal)
	for name, url := range map[string]string{"literal": "http://a/users", "captures": "http://a/users/1"} {
		b.Run(name, func(b *testing.B) {
			r := get(b, url)
			b.ReportAllocs()
			for b.Loop() {
				if d := e.Decide(b.Context(), r); !d.Allow {
					b.Fatal(d.Err)
				}
			}
		})
	}
}

func TestAllAuthorizersOfARuleMustAllow(t *testing.T) {
	yes, no, broken, panics := `{}`, `{"do":"deny","reason":"no"}`, `{"do":"fail"}`, `{"do":"panic"}`
	for _, c := range []struct {
		list []string
		want string
	}{
		{[]string{yes, yes}, "allowed"}, {[]string{yes, no}, "no"}, {[]string{no, yes}, "no"}, {[]string{yes, yes, no}, "no"},
		{[]string{yes, broken}, "broken"}, {[]string{broken, yes}, "broken"}, {[]string{no, broken}, "no"}, {[]string{broken, no}, "broken"},
		{[]string{no, panics}, "no"}, {[]string{yes, panics}, "handler_panic"},
	} {
		d := definition("a", "http://a/")
		d.Authorizer = nil
		for _, each := range c.list {
			d.Authorizers = append(d.Authorizers, x(each))
		}
		if got := engine(t, d).Decide(t.Context(), get(t, "http://a/")); got.Reason != c.want || got.Allow != (c.want == "allowed") {
			t.Errorf("%v: got %q, allowed %v; want %q", c.list, got.Reason, got.Allow, c.want)
		}
	}
}

func TestADenialIsExplainedAsTheAuthorizerSays(t *testing.T) {
	for config, want := range map[string]string{`{"do":"explain","value":"Not yours."}`: "Not yours.", `{"do":"deny"}`: "the request is not allowed"} {
		d := definition("a", "http://a/")
		d.Authorizer = nil
		d.Authorizers = []spec.Handler{x(config)}
		if got := engine(t, d).Decide(t.Context(), get(t, "http://a/")); fault.MessageOf(got.Err) != want {
			t.Errorf("%s: got %q, want %q", config, fault.MessageOf(got.Err), want)
		}
	}
}
