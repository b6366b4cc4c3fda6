package api_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/rules/spec"
)

const ruleA = `{"id":"a","match":{"url":"http://api/<.*>","methods":["GET"]},"authenticators":[{"handler":"anonymous"}],"authorizer":{"handler":"allow"},"mutators":[{"handler":"noop"}]}`

func TestARuleIsInForceWhenTheAnswerComes(t *testing.T) {
	f := newFixture(t, nil)
	a := f.call("POST", "/rules", ruleA)
	a.want(http.StatusCreated)
	first := a.header.Get("ETag")
	if a.header.Get("Location") != "/rules/a" || first == "" || f.rules.count() != 1 {
		t.Errorf("Location %q, ETag %q, reloads %d", a.header.Get("Location"), first, f.rules.count())
	}
	f.call("POST", "/rules", ruleA).want(http.StatusConflict)
	got := f.call("GET", "/rules/a", "")
	if diff := cmp.Diff(ruleA, strings.TrimSpace(got.body)); diff != "" || got.header.Get("ETag") != first {
		t.Errorf("ETag %q, rule (-sent +got):\n%s", got.header.Get("ETag"), diff)
	}
	f.call("GET", "/rules/a", "", "If-None-Match", first).want(http.StatusNotModified)

	changed := strings.Replace(ruleA, "GET", "POST", 1)
	a = f.call("PUT", "/rules/a", changed, "If-Match", first)
	a.want(http.StatusOK)
	second := a.header.Get("ETag")
	if second == first || f.rules.count() != 2 {
		t.Errorf("ETag %q after %q, reloads %d", second, first, f.rules.count())
	}
	if a := f.call("PUT", "/rules/a", ruleA, "If-Match", first); a.status != http.StatusPreconditionFailed || !enveloped(a, "ory") {
		t.Errorf("stale If-Match: %d %s", a.status, a.body)
	}
	f.call("PUT", "/rules/a", ruleA, "If-Match", "*").want(http.StatusOK)
	f.call("PUT", "/rules/a", ruleA, "If-Match", `"a", "b"`).want(http.StatusBadRequest)
	f.call("PUT", "/rules/a", strings.Replace(ruleA, `"a"`, `"b"`, 1)).want(http.StatusBadRequest)
	f.call("PUT", "/rules/missing", strings.Replace(ruleA, `"id":"a",`, "", 1)).want(http.StatusNotFound)
	f.call("DELETE", "/rules/a", "", "If-Match", first).want(http.StatusPreconditionFailed)
	f.call("DELETE", "/rules/a", "").want(http.StatusNoContent)
	f.call("DELETE", "/rules/a", "").want(http.StatusNotFound)
	f.call("GET", "/rules/a", "").want(http.StatusNotFound)
	if n := f.rules.count(); n != 4 {
		t.Errorf("reloads %d, want 4: only for writes that were stored", n)
	}
}

func TestARuleWithoutIDGetsOneAndIDsMayHaveSlashes(t *testing.T) {
	f := newFixture(t, nil)
	v := f.call("POST", "/rules", strings.Replace(ruleA, `"id":"a",`, "", 1)).want(http.StatusCreated)
	if id, _ := v["id"].(string); len(id) != 36 {
		t.Errorf("id %q", id)
	}
	a := f.call("POST", "/rules", strings.Replace(ruleA, `"a"`, `"team/rule 1"`, 1))
	a.want(http.StatusCreated)
	if a.header.Get("Location") != "/rules/team%2Frule%201" {
		t.Errorf("Location %q", a.header.Get("Location"))
	}
	f.call("GET", a.header.Get("Location"), "").want(http.StatusOK)
	f.call("DELETE", a.header.Get("Location"), "").want(http.StatusNoContent)
}

func TestTheEarlyRuleFormatIsUnderstood(t *testing.T) {
	f := newFixture(t, nil)
	v := f.call("POST", "/rules", `{"id":"early","matchesUrl":"http://api/<.*>","matchesMethods":["GET"],"mode":"anonymous"}`).want(http.StatusCreated)
	if match, _ := v["match"].(map[string]any); match["url"] != "http://api/<.*>" {
		t.Errorf("got %v", v)
	}
}

func TestABrokenRuleIsRefusedWithThePlace(t *testing.T) {
	f := newFixture(t, nil)
	type place struct {
		Pointer string `json:"pointer"`
		Line    int    `json:"line"`
	}
	for name, c := range map[string]struct {
		body string
		want []place
	}{
		"an unknown member": {"{\"id\":\"x\",\n\"match\":{\"url\":\"http://a/\",\"methods\":[\"GET\"]},\n\"mutatorz\":[]}", []place{{"/mutatorz", 3}}},
		"a wrong type":      {"{\"id\":\"x\",\n\"match\":{\"url\":7,\n\"methods\":[\"GET\"]}}", []place{{"/match/url", 2}}},
		"the compiler":      {"{\"id\":\"x\",\n\"description\":\"refuse me\",\n\"match\":{\n\"url\":\"http://a/\",\"methods\":[\"GET\"]}}", []place{{"/description", 2}, {"/match/url", 4}}},
		"a repeated member": {"{\"id\":\"x\",\n\"id\":\"y\"}", []place{{"/id", 2}}},
		"a control byte":    {"{\"id\":\"x\\u0001\",\"match\":{\"url\":\"http://a/\",\"methods\":[\"GET\"]}}", []place{{"/id", 1}}},
		"truncated JSON":    {"{\"id\":\n\"x\"", []place{{"", 2}}},
	} {
		t.Run(name, func(t *testing.T) {
			f.t = t
			a := f.call("POST", "/rules", c.body)
			a.want(http.StatusBadRequest)
			var v struct {
				Errors []place `json:"errors"`
				Error  struct {
					Details []place `json:"details"`
				} `json:"error"`
			}
			if err := json.Unmarshal([]byte(a.body), &v); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, v.Errors); diff != "" {
				t.Errorf("places (-want +got):\n%s\n%s", diff, a.body)
			}
			if diff := cmp.Diff(v.Errors, v.Error.Details); diff != "" {
				t.Errorf("details differ:\n%s", diff)
			}
		})
	}
	if f.rules.count() != 0 {
		t.Error("a refused rule was put in force")
	}
	if a := f.call("POST", "/rules", "{", "Accept", "application/problem+json"); a.header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("Content-Type %q", a.header.Get("Content-Type"))
	}
}

func TestRulesOfFilesAreListedAndReadOnly(t *testing.T) {
	f := newFixture(t, nil)
	f.rules.files = []spec.Rule{{ID: "from-file", Origin: spec.Origin{Source: "rules.json", Line: 3}}}
	f.call("POST", "/rules", ruleA).want(http.StatusCreated)
	if diff := cmp.Diff([]string{"from-file", "a"}, f.call("GET", "/rules", "").ids("id")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"a"}, f.call("GET", "/rules?limit=1&offset=1", "").ids("id")); diff != "" {
		t.Error(diff)
	}
	f.call("GET", "/rules/from-file", "").want(http.StatusOK)
	body := strings.Replace(ruleA, `"a"`, `"from-file"`, 1)
	for _, a := range []answer{f.call("PUT", "/rules/from-file", body), f.call("DELETE", "/rules/from-file", ""), f.call("POST", "/rules", body)} {
		a.want(http.StatusConflict)
		if !strings.Contains(a.body, "rules.json:3") {
			t.Errorf("does not say where: %s", a.body)
		}
	}
}

func TestAWriteThatIsNotInForceIsNotAnsweredAsDone(t *testing.T) {
	f := newFixture(t, nil)
	f.rules.fail = errors.New("secret detail of the inside")
	a := f.call("POST", "/rules", ruleA)
	if a.status != http.StatusServiceUnavailable || !strings.Contains(a.body, "stored_not_in_force") || strings.Contains(a.body, "secret detail") {
		t.Errorf("got %d %s", a.status, a.body)
	}
}
