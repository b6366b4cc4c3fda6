package storetest

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/oauth2"
	"github.com/gatewarden/gatewarden/store"
)

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
	same := cmpopts.IgnoreFields(oauth2.Client{}, "Secret", "ETag")
	compare := func(what string, got, want any) {
		t.Helper()
		if diff := cmp.Diff(want, got, same); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	a, b := client("a"), client("b")
	b.Name, b.Owner, b.AuthMethodSet = "special", "somebody", false
	b.RotatedSecretHashes = []string{"$hmac-sha256$y", "$2a$10$abcdefghijklmnopqrstuv"}
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
	for _, f := range []struct {
		filter oauth2.ClientFilter
		want   int
	}{{oauth2.ClientFilter{Limit: 1, Offset: 1}, 2}, {oauth2.ClientFilter{Name: "special"}, 1}, {oauth2.ClientFilter{Name: "special", Owner: "owner"}, 0}} {
		equal(t, "number of clients", must(s.CountClients(c, f.filter))(t), f.want)
	}
	compare("by name and another's owner", must(s.Clients(c, oauth2.ClientFilter{Name: "special", Owner: "owner", Limit: 10}))(t), []oauth2.Client(nil))
}

func clientsRace(t *testing.T, s store.Store) {
	c := ctx(t)
	check(t, s.CreateClient(c, client("client")))
	read := must(s.Client(c, "client"))(t)
	won := 0
	for _, err := range race(parallel, func(i int) error {
		changed := read
		changed.Name = numbered("name", i)
		return s.UpdateClient(c, changed)
	}) {
		if err == nil {
			won++
		} else {
			kind(t, "a loser", err, fault.Conflict)
		}
	}
	equal(t, "number of winners", won, 1)
	if again := must(s.Client(c, "client"))(t); again.ETag == read.ETag {
		t.Error("a write left the entity tag as it was")
	}
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
	left := must(s.Consents(c, oauth2.ConsentFilter{Subject: "subject"}, 10, 0))(t)
	if len(left) != 1 || left[0].ClientID != "stays" {
		t.Errorf("consents left: %v", left)
	}
}
