package storetest

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/policies"
	"github.com/gatewarden/gatewarden/store"
)

func policy(id string) policies.Policy {
	return policies.Policy{
		ID: id, Description: "d", Subjects: []string{"users:<.*>"}, Effect: "allow", Resources: []string{"r<\\d+>"}, Actions: []string{"get"},
		Conditions: map[string]json.RawMessage{"ip": json.RawMessage(`{"type":"CIDRCondition","options":{"cidr":"10.0.0.0/8"}}`)},
		Meta:       []byte{0, 1, 255},
	}
}

func policiesCRUD(t *testing.T, s store.Store) {
	c := ctx(t)
	for _, id := range []string{"2", "1", "3"} {
		check(t, s.CreatePolicy(c, policy(id)))
	}
	kind(t, "creating an id twice", s.CreatePolicy(c, policy("1")), fault.Conflict)
	equal(t, "policy", must(s.Policy(c, "1"))(t), policy("1"))
	changed := policy("1")
	changed.Effect, changed.Conditions = "deny", nil
	check(t, s.UpdatePolicy(c, changed))
	check(t, s.UpdatePolicy(c, changed)) // the same values again
	equal(t, "all policies", must(s.Policies(c, 10, 0))(t), []policies.Policy{changed, policy("2"), policy("3")})
	equal(t, "second page of one", must(s.Policies(c, 1, 1))(t), []policies.Policy{policy("2")})
	check(t, s.DeletePolicy(c, "1"))
	_, err := s.Policy(c, "1")
	kind(t, "reading a deleted policy", err, fault.NotFound)
	kind(t, "updating a deleted policy", s.UpdatePolicy(c, changed), fault.NotFound)
	kind(t, "deleting twice", s.DeletePolicy(c, "1"), fault.NotFound)
}

func groupsCRUD(t *testing.T, s store.Store) {
	c := ctx(t)
	check(t, s.CreateGroup(c, policies.Group{ID: "g2", Members: []string{"b", "a", "B", "a"}}))
	check(t, s.CreateGroup(c, policies.Group{ID: "g1"}))
	check(t, s.CreateGroup(c, policies.Group{ID: "g3", Members: []string{"a"}}))
	kind(t, "creating an id twice", s.CreateGroup(c, policies.Group{ID: "g1"}), fault.Conflict)
	equal(t, "group", must(s.Group(c, "g2"))(t), policies.Group{ID: "g2", Members: []string{"B", "a", "b"}})
	equal(t, "group without members", must(s.Group(c, "g1"))(t), policies.Group{ID: "g1"})

	check(t, s.AddMembers(c, "g1", []string{"z", "a", "z"}))
	check(t, s.AddMembers(c, "g1", []string{"a"}))
	check(t, s.RemoveMembers(c, "g2", []string{"a", "nobody"}))
	kind(t, "adding to an unknown group", s.AddMembers(c, "g0", []string{"a"}), fault.NotFound)
	kind(t, "removing from an unknown group", s.RemoveMembers(c, "g0", []string{"a"}), fault.NotFound)
	g1, g2, g3 := policies.Group{ID: "g1", Members: []string{"a", "z"}}, policies.Group{ID: "g2", Members: []string{"B", "b"}}, policies.Group{ID: "g3", Members: []string{"a"}}
	equal(t, "all groups", must(s.Groups(c, "", 10, 0))(t), []policies.Group{g1, g2, g3})
	equal(t, "groups of a member", must(s.Groups(c, "a", 10, 0))(t), []policies.Group{g1, g3})
	equal(t, "second page of one", must(s.Groups(c, "a", 1, 1))(t), []policies.Group{g3})

	check(t, s.DeleteGroup(c, "g3"))
	_, err := s.Group(c, "g3")
	kind(t, "reading a deleted group", err, fault.NotFound)
	kind(t, "deleting twice", s.DeleteGroup(c, "g3"), fault.NotFound)
	check(t, s.CreateGroup(c, policies.Group{ID: "g3"}))
	equal(t, "members of a group that was made anew", must(s.Group(c, "g3"))(t), policies.Group{ID: "g3"})
}

func groupsRace(t *testing.T, s store.Store) {
	c := ctx(t)
	check(t, s.CreateGroup(c, policies.Group{ID: "g"}))
	want := policies.Group{ID: "g"}
	for i := range parallel {
		want.Members = append(want.Members, numbered("m", i))
	}
	check(t, errors.Join(race(parallel, func(i int) error { return s.AddMembers(c, "g", []string{numbered("m", i), numbered("m", 0)}) })...))
	equal(t, "group", must(s.Group(c, "g"))(t), want)
}
