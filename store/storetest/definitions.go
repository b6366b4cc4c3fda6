package storetest

import (
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/keys"
	"github.com/gatewarden/gatewarden/oauth2"
	"github.com/gatewarden/gatewarden/policies"
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

	check(t, s.DeleteRule(c, "b"))
	kind(t, "deleting twice", s.DeleteRule(c, "b"), fault.NotFound)
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

func key(set, id string, notBefore time.Time) keys.Stored {
	return keys.Stored{Set: set, ID: id, JWK: []byte(`{"kid":"` + id + `","d":"private-part"}`), CreatedAt: notBefore, NotBefore: notBefore, Expires: notBefore.Add(time.Hour)}
}

func keysCRUD(t *testing.T, s store.Store) {
	c := ctx(t)
	first, second, third := key("set", "x", now()), key("set", "a", now().Add(time.Second)), key("set", "b", now())
	third.NotBefore, third.Expires = second.NotBefore, time.Time{}
	check(t, s.AddKeys(c, []keys.Stored{first, second, third}))
	check(t, s.AddKeys(c, []keys.Stored{key("other", "x", now())}))
	equal(t, "set", must(s.Keys(c, "set"))(t), []keys.Stored{second, third, first})
	equal(t, "unknown set", must(s.Keys(c, "unknown"))(t), []keys.Stored(nil))

	kind(t, "adding a key twice", s.AddKeys(c, []keys.Stored{key("set", "new", now()), first}), fault.Conflict)
	equal(t, "set after a refused addition", must(s.Keys(c, "set"))(t), []keys.Stored{second, third, first})

	first.JWK, first.Expires = []byte(`{}`), time.Time{}
	check(t, s.PutKey(c, first))
	fourth := key("set", "c", now().Add(time.Hour))
	check(t, s.PutKey(c, fourth))
	equal(t, "set after two puts", must(s.Keys(c, "set"))(t), []keys.Stored{fourth, second, third, first})

	check(t, s.DeleteKey(c, "set", "c"))
	kind(t, "deleting a key twice", s.DeleteKey(c, "set", "c"), fault.NotFound)
	check(t, s.DeleteSet(c, "set"))
	kind(t, "deleting a set twice", s.DeleteSet(c, "set"), fault.NotFound)
	equal(t, "other set's size", len(must(s.Keys(c, "other"))(t)), 1)
}

func keysReplace(t *testing.T, s store.Store) {
	c := ctx(t)
	check(t, s.AddKeys(c, []keys.Stored{key("set", "old", now())}))
	kind(t, "a key of another set", s.ReplaceSet(c, "set", []keys.Stored{key("other", "x", now())}), fault.Invalid)
	twice := key("set", "new", now())
	kind(t, "a key twice", s.ReplaceSet(c, "set", []keys.Stored{twice, twice}), fault.Conflict)
	equal(t, "size after refusals", len(must(s.Keys(c, "set"))(t)), 1)

	// Readers see one set or the other, never a mixture.
	sets := [][]keys.Stored{{}, {}}
	for i, name := range []string{"even", "odd"} {
		for k := range 5 {
			sets[i] = append(sets[i], key("set", numbered(name, k), now()))
		}
	}
	check(t, s.ReplaceSet(c, "set", sets[0]))
	check(t, errors.Join(race(parallel, func(i int) error {
		if i%2 == 0 {
			return s.ReplaceSet(c, "set", sets[i/2%2])
		}
		got, err := s.Keys(c, "set")
		if err == nil && (len(got) != 5 || got[0].ID[0] != got[4].ID[0]) {
			err = errors.New("a mixture of two sets was read")
		}
		return err
	})...))
	check(t, s.ReplaceSet(c, "set", nil))
	equal(t, "emptied set", must(s.Keys(c, "set"))(t), []keys.Stored(nil))
}

func client(id string) oauth2.Client {
	yes := true
	return oauth2.Client{
		ID: id, Name: "name of " + id, Owner: "owner", SecretHash: "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA", Secret: "the plain secret",
		RedirectURIs: []string{"https://a/cb?x=<y>&z"}, GrantTypes: []string{"authorization_code"}, ResponseTypes: []string{}, Scope: "a b", Audience: nil,
		TokenEndpointAuthMethod: "client_secret_basic", AuthMethodSet: true, JWKS: json.RawMessage(`{"keys":[]}`), Metadata: json.RawMessage(`{"k":"<v>"}`),
		CreatedAt: now(), UpdatedAt: now(), SkipLogoutConsent: &yes, Lifespans: oauth2.Lifespans{ClientCredentialsGrantAccess: "1h"}, Disabled: true,
	}
}

func clientsCRUD(t *testing.T, s store.Store) {
	c := ctx(t)
	same := cmpopts.IgnoreFields(oauth2.Client{}, "Secret")
	compare := func(what string, got, want any) {
		t.Helper()
		if diff := cmp.Diff(want, got, same); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	a, b := client("a"), client("b")
	b.Name, b.Owner, b.AuthMethodSet = "special", "somebody", false
	check(t, s.CreateClient(c, b))
	check(t, s.CreateClient(c, a))
	kind(t, "creating an id twice", s.CreateClient(c, a), fault.Conflict)
	got := must(s.Client(c, "a"))(t)
	compare("client", got, a)
	equal(t, "plain secret", got.Secret, "")

	a.SecretHash, a.Scope, a.AuthMethodSet = "$hmac-sha256$x", "c", false
	check(t, s.UpdateClient(c, a))
	compare("updated client", must(s.Client(c, "a"))(t), a)
	kind(t, "updating an unknown client", s.UpdateClient(c, client("unknown")), fault.NotFound)
	_, err := s.Client(c, "unknown")
	kind(t, "reading an unknown client", err, fault.NotFound)
	_, err = s.Client(c, "A")
	kind(t, "reading an id in another case", err, fault.NotFound)
	_, err = s.Client(c, "a ")
	kind(t, "reading an id with a trailing blank", err, fault.NotFound)

	compare("all clients", must(s.Clients(c, oauth2.ClientFilter{Limit: 10}))(t), []oauth2.Client{a, b})
	compare("second page of one", must(s.Clients(c, oauth2.ClientFilter{Limit: 1, Offset: 1}))(t), []oauth2.Client{b})
	compare("by name", must(s.Clients(c, oauth2.ClientFilter{Name: "special", Limit: 10}))(t), []oauth2.Client{b})
	compare("by owner", must(s.Clients(c, oauth2.ClientFilter{Owner: "owner", Limit: 10}))(t), []oauth2.Client{a})
	compare("by name and another's owner", must(s.Clients(c, oauth2.ClientFilter{Name: "special", Owner: "owner", Limit: 10}))(t), []oauth2.Client(nil))
}

func clientsDelete(t *testing.T, s store.Store) {
	c := ctx(t)
	for _, id := range []string{"gone", "stays"} {
		check(t, s.CreateClient(c, client(id)))
		check(t, s.CreateCode(c, token("code-"+id, id, "family-"+id)))
		access, refresh := token("access-"+id, id, "family-"+id), token("refresh-"+id, id, "family-"+id)
		check(t, s.IssueTokens(c, oauth2.Issue{Access: &access, Refresh: &refresh}))
		check(t, s.SaveConsent(c, consent("consent-"+id, "subject", id, now())))
	}
	check(t, s.DeleteClient(c, "gone"))
	kind(t, "deleting twice", s.DeleteClient(c, "gone"), fault.NotFound)
	equal(t, "what is left of the deleted client", alive(t, s, "gone"), []string(nil))
	equal(t, "what is left of the other client", alive(t, s, "stays"), []string{"code-stays", "access-stays", "refresh-stays"})
	left := must(s.Consents(c, "subject", "", 10, 0))(t)
	if len(left) != 1 || left[0].ClientID != "stays" {
		t.Errorf("consents left: %v", left)
	}
}

// alive lists which of the tokens code-name, access-name and refresh-name exist.
func alive(t *testing.T, s store.Store, names ...string) (left []string) {
	t.Helper()
	c := ctx(t)
	for _, name := range names {
		for kind, read := range map[string]func() error{
			"code-":    func() error { _, err := s.Code(c, "code-"+name); return err },
			"access-":  func() error { _, err := s.AccessToken(c, "access-"+name); return err },
			"refresh-": func() error { _, err := s.RefreshToken(c, "refresh-"+name); return err },
		} {
			if err := read(); err == nil {
				left = append(left, kind+name)
			} else if !fault.Is(err, fault.NotFound) {
				t.Fatal(err)
			}
		}
	}
	order := []string{"code-", "access-", "refresh-"}
	slices.SortFunc(left, func(a, b string) int {
		rank := func(s string) int {
			return slices.IndexFunc(order, func(p string) bool { return len(s) > len(p) && s[:len(p)] == p })
		}
		if rank(a) != rank(b) {
			return rank(a) - rank(b)
		}
		if a < b {
			return -1
		}
		return 1
	})
	return left
}
