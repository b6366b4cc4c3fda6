package storetest

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/oauth2"
	"github.com/gatewarden/gatewarden/store"
)

func trustGrant(id, issuer, subject, kid string) oauth2.TrustGrant {
	return oauth2.TrustGrant{
		ID: id, Issuer: issuer, Subject: subject, Scope: []string{"a"}, PublicKey: oauth2.TrustedKey{Set: issuer, KeyID: kid},
		JWK: json.RawMessage(`{"kty":"EC"}`), CreatedAt: now(), ExpiresAt: now().Add(time.Hour),
	}
}

func trustCRUD(t *testing.T, s store.Store) {
	c := ctx(t)
	a, b, other := trustGrant("a", "https://issuer", "alice", "k1"), trustGrant("b", "https://issuer", "bob", "k1"), trustGrant("c", "https://other", "alice", "k1")
	for _, g := range []oauth2.TrustGrant{b, other, a} {
		check(t, s.CreateTrustGrant(c, g))
	}
	kind(t, "an id twice", s.CreateTrustGrant(c, trustGrant("a", "x", "y", "z")), fault.Conflict)
	kind(t, "a key twice for one subject", s.CreateTrustGrant(c, trustGrant("d", "https://issuer", "alice", "k1")), fault.Conflict)
	check(t, s.CreateTrustGrant(c, trustGrant("e", "https://issuer", "alicek", "1"))) // which is another
	equal(t, "grant", must(s.TrustGrant(c, "a"))(t), a)
	equal(t, "grants of one issuer", must(s.TrustGrants(c, "https://other", 10, 0))(t), []oauth2.TrustGrant{other})
	equal(t, "second page of one", must(s.TrustGrants(c, "", 1, 1))(t), []oauth2.TrustGrant{b})
	equal(t, "number of grants", must(s.CountTrustGrants(c, ""))(t), len(must(s.TrustGrants(c, "", 10, 0))(t)))
	equal(t, "number of grants of one issuer", must(s.CountTrustGrants(c, "https://other"))(t), 1)
	equal(t, "grants of nobody", must(s.TrustGrants(c, "https://ISSUER", 10, 0))(t), []oauth2.TrustGrant(nil))
	check(t, s.DeleteTrustGrant(c, "a"))
	kind(t, "deleting twice", s.DeleteTrustGrant(c, "a"), fault.NotFound)
	_, err := s.TrustGrant(c, "a")
	kind(t, "a deleted grant", err, fault.NotFound)
	check(t, s.CreateTrustGrant(c, trustGrant("f", "https://issuer", "alice", "k1")))
}

// reuseRace lets a rotated refresh token buy again, and a revocation come in between.
func reuseRace(t *testing.T, s store.Store) {
	c := ctx(t)
	check(t, s.IssueTokens(c, issue("old", "family")))
	before := now().Add(-time.Minute)
	spent(t, "reusing a token that was not rotated", s.ReuseRefresh(c, "refresh-old", before, issue("early", "family")))
	check(t, s.RotateRefresh(c, "refresh-old", issue("first", "family")))
	for i, err := range race(16, func(i int) error {
		return s.ReuseRefresh(c, "refresh-old", before, issue(numbered("again", i), "family"))
	}) {
		check(t, err)
		equal(t, "tokens of caller", alive(t, s, numbered("again", i)), []string{"access-" + numbered("again", i), "refresh-" + numbered("again", i)})
	}
	equal(t, "the first successors", alive(t, s, "first"), []string{"access-first", "refresh-first"})
	spent(t, "reusing it too late", s.ReuseRefresh(c, "refresh-old", now().Add(time.Minute), issue("late", "family")))
	spent(t, "an unknown token", s.ReuseRefresh(c, "unknown", before, issue("unknown", "family")))
	race(16, func(i int) error {
		if i == 8 {
			return s.RevokeFamily(c, "family")
		}
		return s.ReuseRefresh(c, "refresh-old", before, issue(numbered("racing", i), "family"))
	})
	spent(t, "reusing a revoked token", s.ReuseRefresh(c, "refresh-old", before, issue("gone", "family")))
	for i := range 16 {
		equal(t, "what outlived the revocation", alive(t, s, numbered("racing", i)), []string(nil))
	}
}
