package storetest

import (
	"encoding/json"
	"testing"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/rules/spec"
	"github.com/gatewarden/gatewarden/store"
)

func rule(id string) spec.Rule {
	return spec.Rule{
		ID: id, Version: "v1", Description: "<Ünïcode & \"quotes\">",
		Match:          spec.Match{URL: "https://example.com/<.*>", Methods: []string{"GET", "POST"}, Headers: map[string]string{"x": "*"}},
		Authenticators: []spec.Handler{{Handler: "jwt", Config: json.RawMessage(`{"a":"<b> & c","n":1.50}`)}, {Handler: "anonymous"}},
		Authorizer:     &spec.Handler{Handler: "allow"},
		Mutators:       []spec.Handler{{Handler: "noop"}},
		Errors:         []spec.ErrorHandler{{Handler: "json"}},
		Upstream:       spec.Upstream{URL: "http://upstream", PreserveHost: true, StripPath: "/a", Timeout: "3s"},
		Priority:       7,
		Origin:         spec.Origin{Source: "database"},
	}
}

func rulesCRUD(t *testing.T, s store.Store) {
	c := ctx(t)
	before := now()
	created := must(s.CreateRule(c, rule("b")))(t)
	if created.ETag == "" || created.CreatedAt.Before(before) || !created.UpdatedAt.Equal(created.CreatedAt) {
		t.Errorf("created with etag %q at %v, updated %v", created.ETag, created.CreatedAt, created.UpdatedAt)
	}
	equal(t, "created rule", created.Rule, rule("b"))
	equal(t, "read rule", must(s.Rule(c, "b"))(t), created)

	_, err := s.CreateRule(c, rule("b"))
	kind(t, "creating an id twice", err, fault.Conflict)
	_, err = s.CreateRule(c, rule(""))
	kind(t, "creating without an id", err, fault.Invalid)

	changed := rule("b")
	changed.Description = "changed"
	replaced := must(s.ReplaceRule(c, changed, created.ETag))(t)
	if replaced.ETag == created.ETag {
		t.Error("the etag did not change with the rule")
	}
	equal(t, "replaced rule", replaced.Rule, changed)
	equal(t, "time of creation after a replacement", replaced.CreatedAt, created.CreatedAt)
	_, err = s.ReplaceRule(c, changed, created.ETag)
	kind(t, "replacing with an old etag", err, fault.Conflict)
	equal(t, "rule after a refused replacement", must(s.Rule(c, "b"))(t), replaced)
	again := must(s.ReplaceRule(c, changed, ""))(t)
	if again.ETag == replaced.ETag {
		t.Error("the etag did not change with an equal write")
	}
	_, err = s.ReplaceRule(c, rule("unknown"), "")
	kind(t, "replacing an unknown rule", err, fault.NotFound)

	for _, id := range []string{"c", "a", "B", "ä", "10", "9"} {
		must(s.CreateRule(c, rule(id)))(t)
	}
	ids := func(limit, offset int) (ids []string) {
		for _, r := range must(s.Rules(c, limit, offset))(t) {
			ids = append(ids, r.Rule.ID)
		}
		return ids
	}
	equal(t, "all ids", ids(100, 0), []string{"10", "9", "B", "a", "b", "c", "ä"})
	equal(t, "second page of two", ids(2, 2), []string{"B", "a"})
	equal(t, "page behind the end", ids(2, 7), []string(nil))
	equal(t, "page of nothing", ids(0, 0), []string(nil))

	check(t, s.DeleteRule(c, "b", ""))
	kind(t, "deleting twice", s.DeleteRule(c, "b", ""), fault.NotFound)
	_, err = s.Rule(c, "b")
	kind(t, "reading a deleted rule", err, fault.NotFound)
}

func rulesRace(t *testing.T, s store.Store) {
	c := ctx(t)
	created := must(s.CreateRule(c, rule("r")))(t)
	won := 0
	for _, err := range race(parallel, func(i int) error {
		r := rule("r")
		r.Priority = i
		_, err := s.ReplaceRule(c, r, created.ETag)
		return err
	}) {
		if err == nil {
			won++
		} else {
			kind(t, "a loser", err, fault.Conflict)
		}
	}
	equal(t, "number of winners", won, 1)
	kind(t, "deleting what has changed", s.DeleteRule(c, "r", created.ETag), fault.Conflict)
	kind(t, "deleting with an impossible etag", s.DeleteRule(c, "r", "a\x00b"), fault.Conflict)
	check(t, s.DeleteRule(c, "r", must(s.Rule(c, "r"))(t).ETag))
	kind(t, "deleting what is gone", s.DeleteRule(c, "r", created.ETag), fault.NotFound)
	won = 0
	for _, err := range race(parallel, func(int) error { _, err := s.CreateRule(c, rule("new")); return err }) {
		if err == nil {
			won++
		} else {
			kind(t, "a loser", err, fault.Conflict)
		}
	}
	equal(t, "number of creators", won, 1)
}
