package rules

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/authn"
	"github.com/gatewarden/gatewarden/authz"
	"github.com/gatewarden/gatewarden/errorhandlers"
	"github.com/gatewarden/gatewarden/handler"
	"github.com/gatewarden/gatewarden/mutators"
	"github.com/gatewarden/gatewarden/rules/spec"
)

// warden allows everything and notes what it was asked.
type warden struct{ asked authz.Question }

func (w *warden) Allowed(_ context.Context, q authz.Question) (authz.Answer, error) {
	w.asked = authz.Question{Subject: q.Subject, Action: q.Action, Resource: q.Resource}
	return authz.Answer{Allow: true, Reason: "policy_allowed"}, nil
}

func TestAnEarlyRuleAsksThePoliciesWithItsCaptures(t *testing.T) {
	w := &warden{}
	on := map[string]Settings{"oauth2_introspection": {Enabled: true}, "policy": {Enabled: true}, "id_token": {Enabled: true}}
	type scoped struct {
		RequiredScope []string `json:"required_scope"`
	}
	c := &Compiler{
		Authenticators: Stage[authn.Authenticator]{Settings: on, Catalog: handler.Catalog[authn.Authenticator]{
			"oauth2_introspection": handler.Of(func() scoped { return scoped{} }, func(c scoped) (authn.Authenticator, error) {
				return fakeAuthn{Value: "alice of " + c.RequiredScope[0]}, nil
			})}},
		Authorizers:   Stage[authz.Authorizer]{Settings: on, Catalog: authz.Catalog(authz.Deps{Warden: w})},
		Mutators:      Stage[mutators.Mutator]{Settings: on, Catalog: handler.Catalog[mutators.Mutator]{"id_token": mutators.Catalog(mutators.Deps{})["noop"]}},
		ErrorHandlers: Stage[errorhandlers.Handler]{Catalog: errorhandlers.Catalog()},
		Upstream:      "http://backend",
	}
	defs, err := spec.Decode("early.json", []byte(`[{"id":"a","matchesUrl":"<http|https>://a/users/<[0-9]+>","matchesMethods":["GET"],
		"requiredScopes":["users.read"],"requiredAction":"get:$1","requiredResource":"rn:users:${2}:{{x"}]`))
	if err != nil {
		t.Fatal(err)
	}
	set, err := c.Compile(spec.ListOf(defs...), nil)
	if err != nil || set.Faults() != nil {
		t.Fatal(err, set.Faults())
	}
	e := &Engine{}
	e.Swap(set)
	d := e.Decide(t.Context(), get(t, "https://a/users/42"))
	want := authz.Question{Subject: "alice of users.read", Action: "get:https", Resource: "rn:users:42:{{x"}
	if diff := cmp.Diff(want, w.asked); diff != "" || !d.Allow {
		t.Error(d.Err, diff)
	}
	if d := e.Decide(t.Context(), get(t, "https://a/")); d.Refusal.Status != 404 || d.Reason != ReasonNoRuleMatch {
		t.Errorf("%+v", d)
	}
}
