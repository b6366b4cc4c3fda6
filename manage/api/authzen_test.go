package api_test

import (
	"context"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/manage/api"
)

// routes lets alice in with a token, and everybody to /open.
type routes struct{}

func (routes) Decide(_ context.Context, method, target string, h http.Header, client netip.Addr) access.Decision {
	switch {
	case target == "https://api.example.com/open":
		return access.Decision{Allow: true, Reason: "allowed", RuleID: "open", Subject: access.Subject{ID: "anonymous", Via: "anonymous"}}
	case method == "GET" && h.Get("Authorization") == "Bearer alice" && (client == netip.Addr{} || client == netip.MustParseAddr("192.0.2.7")):
		return access.Decision{Allow: true, Reason: "allowed", RuleID: "orders", Subject: access.Subject{ID: "alice", Via: "jwt"}}
	}
	return access.Decision{Reason: "missing_credentials", RuleID: "orders"}
}

func TestAuthZENAsksThePoliciesAndTheRules(t *testing.T) {
	f := newFixture(t, func(d *api.Deps) { d.ByRules = routes{} })
	f.call("POST", "/policies", `{"id":"p","effect":"allow","subjects":["peter"],"actions":["read"],"resources":["photo:<[0-9]+>"],
		"conditions":{"subject.department":{"type":"StringEqualCondition","options":{"equals":"sales"}}}}`).want(http.StatusCreated)
	const peter = `"subject":{"type":"user","id":"peter","properties":{"department":"sales"}}`
	route := func(subject, id, context string) string {
		return `{"subject":{"type":"user","id":"` + subject + `"},"action":{"name":"GET"},"resource":{"type":"route","id":"` + id + `"},"context":` + context + `}`
	}
	for _, c := range []struct{ name, path, body, want string }{
		{"a policy allows", "evaluation", `{` + peter + `,"action":{"name":"read"},"resource":{"type":"photo","id":"1"}}`, `{"decision":true,"context":{"policies":["p"],"reason":"policy_allowed"}}`},
		{"no policy", "evaluation", `{` + peter + `,"action":{"name":"write"},"resource":{"type":"photo","id":"1"}}`, `{"decision":false,"context":{"reason":"no_policy_match"}}`},
		{"another type", "evaluation", `{` + peter + `,"action":{"name":"read"},"resource":{"type":"film","id":"1"}}`, `{"decision":false,"context":{"reason":"no_policy_match"}}`},
		{"a property that the condition needs", "evaluation", `{"subject":{"type":"user","id":"peter"},"action":{"name":"read"},"resource":{"type":"photo","id":"1"}}`, `{"decision":false,"context":{"reason":"no_policy_match"}}`},
		{"a route", "evaluation", route("alice", "https://api.example.com/x", `{"headers":{"authorization":"Bearer alice"},"ip_address":"192.0.2.7"}`), `{"decision":true,"context":{"reason":"allowed","rule":"orders"}}`},
		{"a route without credentials", "evaluation", route("alice", "https://api.example.com/x", `{}`), `{"decision":false,"context":{"reason":"missing_credentials","rule":"orders"}}`},
		{"somebody else's credentials", "evaluation", route("mallory", "https://api.example.com/x", `{"headers":{"authorization":"Bearer alice"}}`), `{"decision":false,"context":{"reason":"subject_mismatch","rule":"orders"}}`},
		{"an open route", "evaluation", route("mallory", "https://api.example.com/open", `{}`), `{"decision":true,"context":{"reason":"allowed","rule":"open"}}`},
		{"several", "evaluations", `{` + peter + `,"action":{"name":"read"},"evaluations":[{"resource":{"type":"photo","id":"1"}},{"resource":{"type":"photo","id":"x"}},{}]}`,
			`{"evaluations":[{"decision":true,"context":{"policies":["p"],"reason":"policy_allowed"}},{"decision":false,"context":{"reason":"no_policy_match"}},{"decision":false,"context":{"error":{"message":"/evaluations/2/resource/type is required","status":400},"reason":"invalid_value"}}]}`},
		{"until a denial", "evaluations", `{` + peter + `,"action":{"name":"read"},"options":{"evaluations_semantic":"deny_on_first_deny"},"evaluations":[{"resource":{"type":"photo","id":"x"}},{"resource":{"type":"photo","id":"1"}}]}`,
			`{"evaluations":[{"decision":false,"context":{"reason":"no_policy_match"}}]}`},
		{"until a permission", "evaluations", `{` + peter + `,"action":{"name":"read"},"options":{"evaluations_semantic":"permit_on_first_permit"},"evaluations":[{"resource":{"type":"photo","id":"2"}},{"resource":{"type":"photo","id":"1"}}]}`,
			`{"evaluations":[{"decision":true,"context":{"policies":["p"],"reason":"policy_allowed"}}]}`},
		{"one as several", "evaluations", `{` + peter + `,"action":{"name":"read"},"resource":{"type":"photo","id":"1"}}`, `{"decision":true,"context":{"policies":["p"],"reason":"policy_allowed"}}`},
	} {
		a := f.call("POST", "/access/v1/"+c.path, c.body)
		a.want(http.StatusOK)
		if diff := cmp.Diff(c.want, strings.TrimSpace(a.body)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
	for _, bad := range []string{
		`{}`, `{"subject":{"type":"user"},"action":{"name":"a"},"resource":{"type":"t","id":"i"}}`, `{"subject":{"type":"user","id":"u"},"resource":{"type":"t","id":"i"}}`,
		`{"subject":{"type":"user","id":"u"},"action":{"name":"a"},"resource":{"id":"i"}}`, `{"subject":"u","action":{"name":"a"},"resource":{"type":"t","id":"i"}}`,
		`{"subject":{"type":"user","id":"u"},"action":{"name":"a"},"resource":{"type":"t","id":"i"},"context":{"subject.type":"x"}}`,
		route("alice", "https://api.example.com/x", `{"headers":"x"}`), route("alice", "https://api.example.com/x", `{"headers":{"a":1}}`), route("alice", "https://api.example.com/x", `{"ip_address":"x"}`),
	} {
		f.call("POST", "/access/v1/evaluation", bad).want(http.StatusBadRequest)
	}
	f.call("POST", "/access/v1/evaluations", `{"options":{"evaluations_semantic":"x"},"evaluations":[{}]}`).want(http.StatusBadRequest)
}

func TestAuthZENAnswersCarryTheIDOfTheQuestion(t *testing.T) {
	f := newFixture(t, func(d *api.Deps) { d.ByRules = routes{} })
	const question = `{"subject":{"type":"user","id":"peter"},"action":{"name":"read"},"resource":{"type":"photo","id":"1"}}`
	for _, path := range []string{"/access/v1/evaluation", "/access/v1/evaluations"} {
		for _, body := range []string{question, `{}`} { // an answer and an error
			if got := f.call("POST", path, body, "X-Request-ID", "question-1").header["X-Request-Id"]; !cmp.Equal(got, []string{"question-1"}) {
				t.Errorf("%s: the id is %q", path, got)
			}
			for _, id := range []string{"", strings.Repeat("x", 257)} {
				a := f.call("POST", path, body, "X-Request-ID", id)
				if got := a.header.Get("X-Request-Id"); got != "" {
					t.Errorf("%s: an id of %d bytes is answered as %q", path, len(id), got)
				}
			}
		}
	}
}

func TestAuthZENSaysWhereItsEndpointsAre(t *testing.T) {
	const base = "http://127.0.0.1:4456"
	got := newFixture(t, nil).call("GET", "/.well-known/authzen-configuration", "").want(http.StatusOK)
	want := map[string]any{"policy_decision_point": base, "access_evaluation_endpoint": base + "/access/v1/evaluation", "access_evaluations_endpoint": base + "/access/v1/evaluations"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
