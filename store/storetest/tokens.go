package storetest

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/oauth2"
	"github.com/gatewarden/gatewarden/store"
)

func token(signature, clientID, family string) oauth2.Token {
	return oauth2.Token{
		Signature: signature,
		Grant: oauth2.Grant{
			RequestID: family, ClientID: clientID, Subject: "subject", RequestedAt: time.Now().UTC(),
			RequestedScope: []string{"a", "b"}, GrantedScope: []string{"a"}, RequestedAudience: []string{"x"}, GrantedAudience: []string{"x"},
			Form: url.Values{"redirect_uri": {"https://a/cb?x=1&y=<2>"}}, Session: json.RawMessage(`{"claims":{"n":12345678901234567890}}`),
			ConsentID: "consent-" + clientID, SessionID: "sid",
		},
		ExpiresAt: now().Add(time.Hour),
	}
}

// issue returns an access and a refresh token access-name and refresh-name.
func issue(name, family string) oauth2.Issue {
	access, refresh := token("access-"+name, "client", family), token("refresh-"+name, "client", family)
	refresh.AccessSignature = access.Signature
	return oauth2.Issue{Access: &access, Refresh: &refresh}
}

// alive lists which of the tokens code-name, access-name and refresh-name exist:
// codes, then access tokens, then refresh tokens, each by name.
func alive(t *testing.T, s store.Store, names ...string) (left []string) {
	t.Helper()
	c := ctx(t)
	names = slices.Sorted(slices.Values(names))
	for _, kind := range []struct {
		prefix string
		read   func(context.Context, string) (oauth2.Token, error)
	}{{"code-", s.Code}, {"access-", s.AccessToken}, {"refresh-", s.RefreshToken}} {
		for _, name := range names {
			if _, err := kind.read(c, kind.prefix+name); err == nil {
				left = append(left, kind.prefix+name)
			} else if !fault.Is(err, fault.NotFound) {
				t.Fatal(err)
			}
		}
	}
	return left
}

func tokensCRUD(t *testing.T, s store.Store) {
	c := ctx(t)
	code := token("same", "client", "family")
	buy := issue("x", "family")
	buy.Access.Signature = "same" // kinds are apart
	buy.Refresh.ExpiresAt = time.Time{}
	check(t, s.CreateCode(c, code))
	check(t, s.IssueTokens(c, buy))
	equal(t, "code", must(s.Code(c, "same"))(t), code)
	equal(t, "access token", must(s.AccessToken(c, "same"))(t), *buy.Access)
	equal(t, "refresh token", must(s.RefreshToken(c, "refresh-x"))(t), *buy.Refresh)

	kind(t, "storing a code twice", s.CreateCode(c, code), fault.Conflict)
	kind(t, "storing a token twice", s.IssueTokens(c, oauth2.Issue{Access: buy.Access}), fault.Conflict)
	nameless := token("", "client", "family")
	kind(t, "storing a token without a signature", s.IssueTokens(c, oauth2.Issue{Access: &nameless}), fault.Invalid)
	orphan := token("orphan", "client", "")
	kind(t, "storing a token without a family", s.IssueTokens(c, oauth2.Issue{Access: &orphan}), fault.Invalid)
	check(t, s.IssueTokens(c, oauth2.Issue{}))

	for what, read := range map[string]func(string) error{
		"code":          func(s2 string) error { _, err := s.Code(c, s2); return err },
		"access token":  func(s2 string) error { _, err := s.AccessToken(c, s2); return err },
		"refresh token": func(s2 string) error { _, err := s.RefreshToken(c, s2); return err },
	} {
		for _, signature := range []string{"", "unknown", "SAME", "same ", "same\x00", "refresh-X"} {
			kind(t, what+" "+signature, read(signature), fault.NotFound)
		}
	}
}

func redeemRace(t *testing.T, s store.Store) {
	c := ctx(t)
	check(t, s.CreateCode(c, token("code", "client", "family")))
	won := winner(t, race(parallel, func(i int) error { return s.RedeemCode(c, "code", issue(numbered("n", i), "family")) }))
	for i := range parallel {
		want := []string(nil)
		if i == won {
			want = []string{"access-" + numbered("n", i), "refresh-" + numbered("n", i)}
		}
		equal(t, "tokens of caller "+numbered("", i), alive(t, s, numbered("n", i)), want)
	}
	if must(s.Code(c, "code"))(t).Spent.IsZero() {
		t.Error("the redeemed code is not marked as spent")
	}
	spent(t, "an unknown code", s.RedeemCode(c, "unknown", oauth2.Issue{}))
	spent(t, "a refresh token as code", s.RedeemCode(c, "refresh-"+numbered("n", won), oauth2.Issue{}))
}

func rotateRace(t *testing.T, s store.Store) {
	c := ctx(t)
	check(t, s.IssueTokens(c, issue("old", "family")))
	won := winner(t, race(parallel, func(i int) error { return s.RotateRefresh(c, "refresh-old", issue(numbered("n", i), "family")) }))
	for i := range parallel {
		want := []string(nil)
		if i == won {
			want = []string{"access-" + numbered("n", i), "refresh-" + numbered("n", i)}
		}
		equal(t, "tokens of caller "+numbered("", i), alive(t, s, numbered("n", i)), want)
	}
	old := must(s.RefreshToken(c, "refresh-old"))(t)
	if old.Spent.IsZero() || old.AccessSignature != "access-old" {
		t.Errorf("the rotated token: spent at %v, with access token %q", old.Spent, old.AccessSignature)
	}
	equal(t, "what is left of the old pair", alive(t, s, "old"), []string{"refresh-old"})
	spent(t, "an unknown refresh token", s.RotateRefresh(c, "unknown", oauth2.Issue{}))
}

func tokensExpiry(t *testing.T, s store.Store) {
	c := ctx(t)
	past := now().Add(-time.Millisecond)
	code, buy := token("code", "client", "family"), issue("old", "family")
	code.ExpiresAt, buy.Refresh.ExpiresAt = past, past
	check(t, s.CreateCode(c, code))
	check(t, s.IssueTokens(c, buy))
	spent(t, "an expired code", s.RedeemCode(c, "code", issue("new", "family")))
	spent(t, "an expired refresh token", s.RotateRefresh(c, "refresh-old", issue("new", "family")))
	equal(t, "tokens bought", alive(t, s, "new"), []string(nil))
	equal(t, "expiry of the code", must(s.Code(c, "code"))(t).ExpiresAt, past)

	forever := issue("forever", "family2")
	forever.Refresh.ExpiresAt = time.Time{}
	check(t, s.IssueTokens(c, forever))
	check(t, s.RotateRefresh(c, "refresh-forever", issue("next", "family2")))
}

func tokensAtomic(t *testing.T, s store.Store) {
	c := ctx(t)
	check(t, s.CreateCode(c, token("code-x", "client", "family")))
	check(t, s.IssueTokens(c, issue("taken", "family")))
	broken := issue("new", "family")
	broken.Refresh.Signature = "refresh-taken"
	revision := must(s.Revision(c))(t)
	kind(t, "redeeming for a taken signature", s.RedeemCode(c, "code-x", broken), fault.Conflict)
	kind(t, "rotating for a taken signature", s.RotateRefresh(c, "refresh-taken", broken), fault.Conflict)
	kind(t, "issuing a taken signature", s.IssueTokens(c, broken), fault.Conflict)
	equal(t, "tokens", alive(t, s, "x", "taken", "new"), []string{"code-x", "access-taken", "refresh-taken"})
	equal(t, "changes", must(s.ChangesSince(c, revision, 10))(t), []store.Change(nil))
	check(t, s.RedeemCode(c, "code-x", issue("a", "family")))
	check(t, s.RotateRefresh(c, "refresh-taken", issue("b", "family")))
}

func rotateFamily(t *testing.T, s store.Store) {
	c := ctx(t)
	check(t, s.IssueTokens(c, issue("one", "family")))
	check(t, s.IssueTokens(c, issue("two", "family")))
	check(t, s.IssueTokens(c, issue("other", "other family")))
	check(t, s.RotateRefresh(c, "refresh-one", issue("new", "family")))
	equal(t, "tokens", alive(t, s, "one", "two", "new", "other"),
		[]string{"access-new", "access-other", "refresh-new", "refresh-one", "refresh-other", "refresh-two"})
}

func tokensRevoke(t *testing.T, s store.Store) {
	c := ctx(t)
	setup := func(name, clientID string) {
		code, buy := token("code-"+name, clientID, "family-"+name), issue(name, "family-"+name)
		buy.Access.Grant.ClientID, buy.Refresh.Grant.ClientID = clientID, clientID
		check(t, s.CreateCode(c, code))
		check(t, s.IssueTokens(c, buy))
	}
	setup("a", "client-1")
	setup("b", "client-1")
	setup("c", "client-2")
	for range 2 { // every revocation is idempotent
		check(t, s.DeleteAccessToken(c, "access-a"))
		equal(t, "after deleting an access token", alive(t, s, "a"), []string{"code-a", "refresh-a"})
	}
	for range 2 {
		check(t, s.RevokeFamily(c, "family-a"))
		equal(t, "after revoking a family", alive(t, s, "a", "b"), []string{"code-b", "access-b", "refresh-b"})
	}
	for range 2 {
		check(t, s.RevokeClientTokens(c, "client-1"))
		equal(t, "after revoking a client's tokens", alive(t, s, "b", "c"), []string{"code-b", "code-c", "access-c", "refresh-c"})
	}
	spent(t, "a revoked code", s.RedeemCode(c, "code-a", issue("new", "family-a")))
	spent(t, "a revoked refresh token", s.RotateRefresh(c, "refresh-a", issue("new", "family-a")))
	for _, nothing := range []string{"", "unknown", "\xff"} {
		check(t, s.RevokeFamily(c, nothing))
		check(t, s.RevokeClientTokens(c, nothing))
		check(t, s.DeleteAccessToken(c, nothing))
	}
}

// revokeRace: whatever a code or a refresh token bought while its family was being
// revoked is revoked too.
func revokeRace(t *testing.T, s store.Store) {
	c := ctx(t)
	const families = 25
	for i := range families {
		family := numbered("family", i)
		check(t, s.CreateCode(c, token("code-"+family, "client", family)))
		check(t, s.IssueTokens(c, issue(family, family)))
	}
	for i, err := range race(3*families, func(i int) error {
		family := numbered("family", i%families)
		switch i / families {
		case 0:
			return s.RedeemCode(c, "code-"+family, issue("code-"+family, family))
		case 1:
			return s.RotateRefresh(c, "refresh-"+family, issue("next-"+family, family))
		default:
			return s.RevokeFamily(c, family)
		}
	}) {
		if err != nil && !errors.Is(err, oauth2.ErrSpent) {
			t.Errorf("caller %d: %v", i, err)
		}
	}
	for i := range families {
		family := numbered("family", i)
		equal(t, "what outlived the revocation", alive(t, s, family, "code-"+family, "next-"+family), []string(nil))
	}
}

func issueRace(t *testing.T, s store.Store) {
	c := ctx(t)
	check(t, errors.Join(race(4*parallel, func(i int) error { return s.IssueTokens(c, issue(numbered("n", i), numbered("family", i))) })...))
	for i := range 4 * parallel {
		name := numbered("n", i)
		equal(t, "tokens", alive(t, s, name), []string{"access-" + name, "refresh-" + name})
	}
}
