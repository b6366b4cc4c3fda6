package rules

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/authn"
	"github.com/gatewarden/gatewarden/handler"
	"github.com/gatewarden/gatewarden/ratelimit"
	"github.com/gatewarden/gatewarden/rules/spec"
)

func TestRateLimitsRefuseBeforeAndAfterAuthentication(t *testing.T) {
	now := time.Unix(1000, 0)
	text := `[{"id": "r", "match": {"url": "http://h/r", "methods": ["GET"]}, "authenticators": [{"handler": "x"}], "authorizer": {"handler": "x"}, "rate_limit": %s}]`
	for _, c := range []struct {
		name, limits string
		// stages are those that ran for the third request.
		stages []string
		left   string // of the first
		faults []string
	}{
		{"by address, before", `{"key": "client", "rate": 2, "window": "1m"}`, []string{"match", "rate_limit"}, `"client";r=1`, nil},
		{"by subject, after", `[{"key": "subject", "rate": 2, "window": "1m"}]`, []string{"match", "authn", "rate_limit"}, `"subject";r=1`, nil},
		{"both", `[{"key": "subject", "rate": 2, "window": "1m"}, {"key": "global", "rate": 9}]`, []string{"match", "rate_limit", "authn", "rate_limit"}, `"global";r=8, "subject";r=1`, nil},
		{"a limit that means nothing", `[{"key": "client", "rate": 1}, {"key": "user", "rate": 1}]`, nil, "", []string{`/rate_limit/1 key must be client, subject, global or header:Name, not "user"`}},
		{"wrong types", `[{"key": 1, "rate": "1/s", "per": "1s"}]`, nil, "", []string{"/rate_limit/0/key must be a string, not a number", "/rate_limit/0/rate must be an integer of 32 bits", "/rate_limit/0/per unknown field, did you mean \"key\"", `/rate_limit/0 key must be client, subject, global or header:Name, not ""`}},
	} {
		defs, err := spec.Decode("r.json", fmt.Appendf(nil, text, c.limits))
		if err != nil {
			t.Fatal(err)
		}
		compile, _ := compiler()
		compile.Buckets = ratelimit.NewBuckets(1000, func() time.Time { return now })
		set, err := compile.Compile(spec.ListOf(defs...), nil)
		if err != nil {
			t.Fatal(err)
		}
		var faults []string
		for _, f := range set.Faults() {
			faults = append(faults, f.Pointer+" "+f.Message)
		}
		if diff := cmp.Diff(c.faults, faults); diff != "" {
			t.Errorf("%s: faults (-want +got)\n%s", c.name, diff)
		}
		if c.faults != nil {
			continue
		}
		engine := new(Engine)
		engine.Swap(set)
		r := get(t, "http://h/r")
		r.Client = netip.MustParseAddr("192.0.2.1")
		var last access.Decision
		for n := range 3 {
			last = engine.DecideTraced(t.Context(), r)
			if n == 0 {
				if got := last.ResponseHeader.Get("RateLimit"); got != c.left {
					t.Errorf("%s: got %s left, want %s", c.name, got, c.left)
				}
			}
			if want := n < 2; last.Allow != want {
				t.Errorf("%s: request %d: allow %v (%s, %v)", c.name, n+1, last.Allow, last.Reason, last.Err)
			}
		}
		var stages []string
		for _, s := range last.Trace {
			if s.Stage != "error" {
				stages = append(stages, s.Stage)
			}
		}
		if diff := cmp.Diff(c.stages, stages); diff != "" || last.Reason != ratelimit.Reason {
			t.Errorf("%s: reason %s, stages (-want +got)\n%s", c.name, last.Reason, diff)
		}
	}
}

func TestPathsOfALoginCountUnderTheLimitsOfTheirRule(t *testing.T) {
	served := 0
	c, _ := compiler()
	c.Buckets = ratelimit.NewBuckets(1000, func() time.Time { return time.Unix(1000, 0) })
	c.Authenticators.Catalog["s"] = handler.Of(func() config { return config{} }, func(config) (authn.Authenticator, error) {
		return &session{paths: map[string]string{"/cb": "callback"}, serve: func(*access.Request) error {
			served++
			return &access.Reply{Reason: "served", Response: access.Response{Status: 303}}
		}}, nil
	})
	c.Authenticators.Settings["s"] = Settings{Enabled: true}
	defs, err := spec.Decode("r.json", []byte(`[{"id": "r", "match": {"url": "http://h/r", "methods": ["GET"]}, "authenticators": [{"handler": "s"}], "authorizer": {"handler": "x"},
		"rate_limit": [{"key": "client", "rate": 2, "window": "1m"}, {"key": "subject", "rate": 1, "window": "1m"}]}]`))
	if err != nil {
		t.Fatal(err)
	}
	set, err := c.Compile(spec.ListOf(defs...), nil)
	if err != nil || set.Refused() > 0 {
		t.Fatal(err, set.Faults())
	}
	engine := new(Engine)
	engine.Swap(set)
	for n, want := range []string{"served", "served", ratelimit.Reason} {
		r := get(t, "http://h/cb")
		r.Client = netip.MustParseAddr("192.0.2.1")
		if d := engine.Decide(t.Context(), r); d.Reason != want || !d.Served || d.RuleID != "r" || d.Allow {
			t.Errorf("request %d: got %s of rule %s (%v), want %s", n+1, d.Reason, d.RuleID, d.Err, want)
		}
	}
	if served != 2 {
		t.Errorf("the login was asked %d times", served)
	}
}
