package spec

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAListGivesEveryRuleBackAndKeepsWhatIsAlikeOnce(t *testing.T) {
	var all []Rule
	add := func(change func(*Rule)) {
		r := Rule{
			ID: fmt.Sprint(len(all)), Match: Match{URL: fmt.Sprintf("http://a/%d", len(all)), Methods: []string{"GET"}, Headers: map[string]string{"A": "b"}},
			Authenticators: []Handler{{Handler: "jwt", Config: []byte(`{"scope": 1}`)}}, Authorizer: &Handler{Handler: "allow"},
			Upstream: Upstream{URL: "http://up"}, Origin: Origin{Source: "a.json", Line: len(all)},
		}
		change(&r)
		all = append(all, r)
	}
	same := func(*Rule) {}
	changes := []func(*Rule){
		same, same,
		func(r *Rule) { r.Match.Methods = []string{"POST"} },
		func(r *Rule) { r.Match.Headers = map[string]string{"A": "c"} },
		func(r *Rule) { r.Match.Paths = []string{"/x"} },
		func(r *Rule) { r.Authenticators = []Handler{{Handler: "jwt", Config: []byte(`{"scope": 2}`)}} },
		func(r *Rule) { r.Authorizer = &Handler{Handler: "deny"} },
		func(r *Rule) { r.Errors = []ErrorHandler{{Handler: "json"}} },
		func(r *Rule) { r.Upstream.Retry = &Retry{Attempts: 2} },
		func(r *Rule) { r.RateLimits = make([]RateLimit, 1) },
		func(r *Rule) { r.Priority = 7 },
		func(r *Rule) { r.Description = "x" },
		func(r *Rule) { r.Version = "x" },
		func(r *Rule) { r.Origin.Source = "b.json" },
		func(r *Rule) { r.Faults = []Fault{{Message: "broken"}} },
		same, same,
	}
	for _, change := range changes {
		add(change)
	}
	l := ListOf(all...)
	var got []Rule
	for i, r := range l.All() {
		got = append(got, r)
		if l.Find(r.ID) != i {
			t.Errorf("rule %d is found at %d", i, l.Find(r.ID))
		}
	}
	if diff := cmp.Diff(all, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if l.Find("nobody's") != -1 {
		t.Error("a rule is found that is not there")
	}
	if l.Shape(0) != l.Shape(1) || l.Shape(15) != l.Shape(16) {
		t.Error("rules that are alike are kept twice")
	}
	for i := range 14 {
		if l.Shape(i+1) == l.Shape(i+2) {
			t.Errorf("rules %d and %d differ and are taken for alike", i+1, i+2)
		}
	}
	two := Concat(ListOf(all[:3]...), List{}, ListOf(all[3:]...))
	got = nil
	for _, r := range two.All() {
		got = append(got, r)
	}
	if diff := cmp.Diff(all, got); diff != "" {
		t.Errorf("concatenated (-want +got):\n%s", diff)
	}
}
