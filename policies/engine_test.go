package policies_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/ory/ladon"
	"pgregory.net/rapid"

	"github.com/gatewarden/gatewarden/authz"
	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/policies"
)

const house = `
{"id":"articles","subjects":["users:<peter|ken>","users:maria","admins"],"effect":"allow","resources":["resources:articles:<.*>","resources:printer"],"actions":["delete","<create|update>"]}
{"id":"no-ken-at-night","subjects":["users:ken"],"effect":"deny","resources":["resources:<.*>"],"actions":["delete"],"conditions":{"night":{"type":"BooleanCondition","options":{"value":true}}}}
{"id":"office","subjects":["<.*>"],"effect":"allow","resources":["resources:printer"],"actions":["print"],"conditions":{"remoteIP":{"type":"CIDRCondition","options":{"cidr":"192.168.0.0/16"}}}}
{"id":"numbers","subjects":["<[a-z]+>"],"effect":"allow","resources":["n:<[0-9]{2,3}>:x"],"actions":["get"]}
{"id":"not-root","subjects":["<(?!root).*>"],"effect":"allow","resources":["shell"],"actions":["run"]}
{"id":"banned","subjects":["banned"],"effect":"deny","resources":["<.*>"],"actions":["<.*>"]}
`

func TestPoliciesDecide(t *testing.T) {
	store := newMemory(written(t, house)...)
	store.groups["admins"] = policies.Group{ID: "admins", Members: []string{"zoe", "eve"}}
	store.groups["banned"] = policies.Group{ID: "banned", Members: []string{"eve"}}
	e := loaded(t, store)
	allowed := func(ids ...string) authz.Answer {
		return authz.Answer{Allow: true, Reason: "policy_allowed", Policies: ids}
	}
	denied := func(id string) authz.Answer {
		return authz.Answer{Reason: "policy_denied", Policies: []string{id}}
	}
	none := authz.Answer{Reason: "no_policy_match"}
	for name, c := range map[string]struct {
		subject, action, resource string
		context                   map[string]any
		want                      authz.Answer
	}{
		"an alternative in a group matches":          {"users:peter", "create", "resources:articles:1", nil, allowed("articles")},
		"a literal matches":                          {"users:maria", "delete", "resources:printer", nil, allowed("articles")},
		"a value that is not named is denied":        {"users:mallory", "delete", "resources:printer", nil, none},
		"a match is of the whole value":              {"users:maria2", "delete", "resources:printer", nil, none},
		"an action that is not named is denied":      {"users:maria", "read", "resources:printer", nil, none},
		"a deny policy overrides":                    {"users:ken", "delete", "resources:articles:1", map[string]any{"night": true}, denied("no-ken-at-night")},
		"a deny condition that does not hold lifts":  {"users:ken", "delete", "resources:articles:1", map[string]any{"night": false}, allowed("articles")},
		"a deny condition without a value holds":     {"users:ken", "delete", "resources:articles:1", nil, denied("no-ken-at-night")},
		"a deny condition with a wrong type holds":   {"users:ken", "delete", "resources:articles:1", map[string]any{"night": "no"}, denied("no-ken-at-night")},
		"an allow condition that holds allows":       {"any", "print", "resources:printer", map[string]any{"remoteIP": "192.168.3.4"}, allowed("office")},
		"an allow condition that fails does not":     {"any", "print", "resources:printer", map[string]any{"remoteIP": "10.0.0.1"}, none},
		"an allow condition without a value is none": {"any", "print", "resources:printer", nil, none},
		"an address with a port is no address":       {"any", "print", "resources:printer", map[string]any{"remoteIP": "192.168.3.4:80"}, none},
		"an expression matches":                      {"bob", "get", "n:123:x", nil, allowed("numbers")},
		"an expression is anchored":                  {"bob", "get", "n:1234:x", nil, none},
		"look-ahead allows":                          {"bob", "run", "shell", nil, allowed("not-root")},
		"look-ahead refuses":                         {"rooty", "run", "shell", nil, none},
		"a group allows its members":                 {"zoe", "delete", "resources:printer", nil, allowed("articles")},
		"a deny of one group beats another's allow":  {"eve", "delete", "resources:printer", nil, denied("banned")},
		"nobody is denied":                           {"", "delete", "resources:printer", nil, none},
		"a line feed does not match an allow":        {"users:peter", "create", "resources:articles:1\n2", nil, none},
		"a trailing line feed does not match":        {"users:peter\n", "create", "resources:articles:1", nil, none},
	} {
		t.Run(name, func(t *testing.T) {
			got := ask(t, e, authz.Question{Subject: c.subject, Action: c.action, Resource: c.resource, Context: c.context})
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
		})
	}
}

// Everything that is broken in these deny policies must leave them denying, and
// what is broken in an allow policy must not take others with it.
func TestABrokenPolicyNeverOpens(t *testing.T) {
	const open = `{"id":"open","subjects":["<[^#]*>"],"effect":"allow","resources":["<[^#]*>"],"actions":["get"]}` + "\n"
	q := authz.Question{Subject: "bob", Action: "get", Resource: "secret:1", Context: map[string]any{"ip": "1.2.3.4:99", "s": "x"}}
	for name, c := range map[string]struct {
		policy string
		q      authz.Question
		allow  bool
	}{
		"deny with an unknown effect":                  {`{"id":"d","subjects":["bob"],"effect":"Allow","resources":["secret:1"],"actions":["get"]}`, q, false},
		"deny with an unbalanced pattern":              {`{"id":"d","subjects":["<bob"],"effect":"deny","resources":["secret:1"],"actions":["get"]}`, q, false},
		"deny with a broken expression":                {`{"id":"d","subjects":["bob"],"effect":"deny","resources":["secret:<(>"],"actions":["get"]}`, q, false},
		"deny with a broken pattern, other action":     {`{"id":"d","subjects":["<bob"],"effect":"deny","resources":["secret:1"],"actions":["put"]}`, q, true},
		"allow with a broken pattern":                  {`{"id":"d","subjects":["<bob"],"effect":"allow","resources":["secret:1"],"actions":["get"]}`, q, true},
		"deny with an unknown condition type":          {`{"id":"d","subjects":["bob"],"effect":"deny","resources":["secret:1"],"actions":["get"],"conditions":{"s":{"type":"MoonCondition"}}}`, q, false},
		"deny with a condition that is no object":      {`{"id":"d","subjects":["bob"],"effect":"deny","resources":["secret:1"],"actions":["get"],"conditions":{"s":7}}`, q, false},
		"deny with a broken network":                   {`{"id":"d","subjects":["bob"],"effect":"deny","resources":["secret:1"],"actions":["get"],"conditions":{"ip":{"type":"CIDRCondition","options":{"cidr":"1"}}}}`, q, false},
		"deny of a network, address with a port":       {`{"id":"d","subjects":["bob"],"effect":"deny","resources":["secret:1"],"actions":["get"],"conditions":{"ip":{"type":"CIDRCondition","options":{"cidr":"9.0.0.0/8"}}}}`, q, false},
		"deny with one false and one unknown":          {`{"id":"d","subjects":["bob"],"effect":"deny","resources":["secret:1"],"actions":["get"],"conditions":{"s":{"type":"StringEqualCondition","options":{"equals":"y"}},"t":{"type":"BooleanCondition"}}}`, q, true},
		"deny of anything, value with a line feed":     {`{"id":"d","subjects":["bob"],"effect":"deny","resources":["secret:<.*>"],"actions":["get"]}`, authz.Question{Subject: "bob", Action: "get", Resource: "secret:\nfoo"}, false},
		"deny by expression, value with a line feed":   {`{"id":"d","subjects":["bob"],"effect":"deny","resources":["<sec.*t>:<.+>"],"actions":["get"]}`, authz.Question{Subject: "bob", Action: "get", Resource: "secret:a\nfoo"}, false},
		"deny by look-ahead, value with a line feed":   {`{"id":"d","subjects":["bob"],"effect":"deny","resources":["<(?!x).*>"],"actions":["get"]}`, authz.Question{Subject: "bob", Action: "get", Resource: "secret:a\nfoo"}, false},
		"deny by string match, value with a line feed": {`{"id":"d","subjects":["bob"],"effect":"deny","resources":["secret:1"],"actions":["get"],"conditions":{"s":{"type":"StringMatchCondition","options":{"matches":"^a.*z$"}}}}`, authz.Question{Subject: "bob", Action: "get", Resource: "secret:1", Context: map[string]any{"s": "a\nz"}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			e := loaded(t, newMemory(written(t, open+c.policy)...))
			if got := ask(t, e, c.q); got.Allow != c.allow {
				t.Errorf("got %+v, want allow %t", got, c.allow)
			}
		})
	}
}

func TestAPatternThatTakesTooLongRefuses(t *testing.T) {
	evil := strings.Repeat("a", 41)
	q := authz.Question{Subject: evil, Action: "get", Resource: "r"}
	const open = `{"id":"open","subjects":["<.*>"],"effect":"allow","resources":["r"],"actions":["get"]}` + "\n"
	const slow = `{"id":"slow","subjects":["<(?!x)(a+)+>b"],"effect":"%s","resources":["r"],"actions":["get"]}`

	e := loaded(t, newMemory(written(t, open+fmt.Sprintf(slow, "deny"))...))
	if got := ask(t, e, q); got.Allow || got.Reason != "policy_denied" {
		t.Errorf("deny: got %+v", got)
	}
	if got := ask(t, e, authz.Question{Subject: "bob", Action: "get", Resource: "r"}); !got.Allow {
		t.Errorf("the next request: got %+v", got)
	}
	e = loaded(t, newMemory(written(t, fmt.Sprintf(slow, "allow"))...))
	if got, err := e.Allowed(t.Context(), q); got.Allow || !fault.Is(err, fault.Timeout) {
		t.Errorf("allow: got %+v, %v; want fault.Timeout", got, err)
	}
	e = loaded(t, newMemory(written(t, open+fmt.Sprintf(slow, "allow"))...))
	if got := ask(t, e, q); !got.Allow {
		t.Errorf("allowed by another policy: got %+v", got)
	}
}

func TestAnEngineThatIsNotLoadedRefuses(t *testing.T) {
	m := newMemory()
	e := policies.New(m, m, nil)
	if got, err := e.Allowed(t.Context(), authz.Question{}); got.Allow || !fault.Is(err, fault.Unavailable) || e.Ready() == nil {
		t.Errorf("got %+v, %v, ready %v", got, err, e.Ready())
	}
}

func TestPoliciesThatMayBeOutOfDateDecideNothing(t *testing.T) {
	m, fresh := newMemory(written(t, house)...), true
	e := policies.New(m, m, func() bool { return fresh })
	if err := e.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	q := authz.Question{Subject: "users:maria", Action: "delete", Resource: "resources:printer"}
	if got, err := e.Allowed(t.Context(), q); !got.Allow || err != nil {
		t.Errorf("fresh: got %+v, %v", got, err)
	}
	fresh = false
	if got, err := e.Allowed(t.Context(), q); got.Allow || !fault.Is(err, fault.Unavailable) || fault.ReasonOf(err) != "policies_stale" {
		t.Errorf("not fresh: got %+v, %v", got, err)
	}
}

func TestAFailedReloadKeepsTheLastGoodSet(t *testing.T) {
	m := newMemory(written(t, house)...)
	e := loaded(t, m)
	m.down = errors.New("disk on fire")
	if err := e.Reload(t.Context()); !fault.Is(err, fault.Unavailable) || e.Ready() == nil {
		t.Errorf("reload: %v, ready %v", err, e.Ready())
	}
	if got := ask(t, e, authz.Question{Subject: "users:maria", Action: "delete", Resource: "resources:printer"}); !got.Allow {
		t.Errorf("got %+v", got)
	}
	m.down = nil
	if err := e.Reload(t.Context()); err != nil || e.Ready() != nil {
		t.Errorf("reload: %v, ready %v", err, e.Ready())
	}
}

func TestACancelledQuestionIsNotDecided(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got, err := loaded(t, newMemory(written(t, house)...)).Allowed(ctx, authz.Question{}); got.Allow || !errors.Is(err, context.Canceled) {
		t.Errorf("got %+v, %v", got, err)
	}
}

// everything is a manager without an index.
type everything struct {
	ladon.Manager
	policies ladon.Policies
}

func (e everything) FindRequestCandidates(context.Context, *ladon.Request) (ladon.Policies, error) {
	return e.policies, nil
}

// The index must find what a look at every policy finds, through any sequence of
// writes, and on policies without Ladon's traps the answer must be Ladon's own.
func TestTheIndexAgreesWithLadon(t *testing.T) {
	templates := []string{"a", "ab", "abc", "b", "<.*>", "a<.*>", "ab<.*>", "<a|b>", "<a|b>c", "a<[b-c]+>", "<[a-c]*>", "b<(?!c).*>", ""}
	values := []string{"a", "ab", "abc", "b", "bc", "ac", "c", ""}
	rapid.Check(t, func(t *rapid.T) {
		list := rapid.SliceOfN(rapid.SampledFrom(templates), 0, 3)
		store := newMemory()
		e := policies.New(store, store, nil)
		if err := e.Reload(context.Background()); err != nil {
			t.Fatal(err)
		}
		for range rapid.IntRange(1, 90).Draw(t, "writes") {
			p := policies.Policy{
				ID:       rapid.StringMatching(`p[0-9]`).Draw(t, "id") + rapid.StringMatching(`[0-9]`).Draw(t, "id2"),
				Subjects: list.Draw(t, "subjects"), Actions: list.Draw(t, "actions"), Resources: list.Draw(t, "resources"),
				Effect: rapid.SampledFrom([]string{"allow", "allow", "deny"}).Draw(t, "effect"),
			}
			if rapid.IntRange(0, 4).Draw(t, "op") == 0 {
				delete(store.policies, p.ID)
			} else {
				store.put(p)
			}
			if err := e.Refresh(context.Background(), p.ID); err != nil {
				t.Fatal(err)
			}
		}
		if e.Len() != len(store.policies) {
			t.Fatalf("in force %d, stored %d", e.Len(), len(store.policies))
		}
		var all everything
		for _, p := range store.policies {
			all.policies = append(all.policies, &ladon.DefaultPolicy{ID: p.ID, Subjects: p.Subjects, Actions: p.Actions, Resources: p.Resources, Effect: p.Effect})
		}
		model := &ladon.Ladon{Manager: all, Metric: ladon.DefaultMetric}
		for range 30 {
			q := authz.Question{
				Subject: rapid.SampledFrom(values).Draw(t, "subject"), Action: rapid.SampledFrom(values).Draw(t, "action"), Resource: rapid.SampledFrom(values).Draw(t, "resource"),
			}
			got, err := e.Allowed(context.Background(), q)
			if err != nil {
				t.Fatal(err)
			}
			wantErr := model.IsAllowed(context.Background(), &ladon.Request{Subject: q.Subject, Action: q.Action, Resource: q.Resource})
			want := "policy_allowed"
			if errors.Is(wantErr, ladon.ErrRequestForcefullyDenied) {
				want = "policy_denied"
			} else if wantErr != nil {
				want = "no_policy_match"
			}
			if got.Reason != want || got.Allow != (wantErr == nil) {
				t.Fatalf("%+v: got %+v, ladon says %v", q, got, wantErr)
			}
		}
	})
}

func TestDecisionsRunBesideWrites(t *testing.T) {
	store := newMemory(written(t, house)...)
	e := loaded(t, store)
	q := authz.Question{Subject: "users:maria", Action: "delete", Resource: "resources:printer"}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 300 {
			id := fmt.Sprintf("extra%d", i%100)
			store.put(policies.Policy{ID: id, Subjects: []string{"x"}, Actions: []string{"<.*>"}, Resources: []string{"y"}, Effect: "deny"})
			if err := errors.Join(e.Refresh(context.Background(), id), e.RefreshGroups(context.Background()), e.Reload(context.Background())); err != nil {
				t.Error(err)
			}
		}
	}()
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		if got := ask(t, e, q); !got.Allow {
			t.Fatalf("got %+v", got)
		}
	}
}
