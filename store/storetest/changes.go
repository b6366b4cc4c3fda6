package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/keys"
	"github.com/gatewarden/gatewarden/oauth2"
	"github.com/gatewarden/gatewarden/policies"
	"github.com/gatewarden/gatewarden/store"
)

func changesLogged(t *testing.T, s store.Store) {
	c := ctx(t)
	equal(t, "revision of an empty log", must(s.Revision(c))(t), int64(0))
	var want []string
	does := func(topic store.Topic, item string, err error) {
		t.Helper()
		check(t, err)
		want = append(want, string(topic)+" "+item)
	}
	silent := func(err error) { t.Helper(); check(t, err) }

	_, err := s.CreateRule(c, rule("r"))
	does(store.Rules, "r", err)
	_, err = s.ReplaceRule(c, rule("r"), "")
	does(store.Rules, "r", err)
	does(store.Rules, "r", s.DeleteRule(c, "r", ""))
	does(store.Policies, "p", s.CreatePolicy(c, policy("p")))
	does(store.Policies, "p", s.UpdatePolicy(c, policy("p")))
	does(store.Policies, "p", s.DeletePolicy(c, "p"))
	does(store.Policies, "g", s.CreateGroup(c, policies.Group{ID: "g"}))
	does(store.Policies, "g", s.AddMembers(c, "g", []string{"a"}))
	does(store.Policies, "g", s.RemoveMembers(c, "g", []string{"a"}))
	does(store.Policies, "g", s.DeleteGroup(c, "g"))
	does(store.Keys, "set", s.AddKeys(c, []keys.Stored{key("set", "a", now()), key("set", "b", now())}))
	does(store.Keys, "set", s.PutKey(c, key("set", "a", now())))
	does(store.Keys, "set", s.ReplaceSet(c, "set", []keys.Stored{key("set", "c", now()), key("set", "d", now())}))
	does(store.Keys, "set", s.DeleteKey(c, "set", "c"))
	does(store.Keys, "set", s.DeleteSet(c, "set"))
	does(store.Clients, "client", s.CreateClient(c, client("client")))
	does(store.Clients, "client", s.UpdateClient(c, client("client")))
	silent(s.IssueTokens(c, issue("1", "family 1")))
	silent(s.IssueTokens(c, issue("2", "family 2")))
	silent(s.CreateCode(c, token("code", "client", "family 3")))
	silent(s.RedeemCode(c, "code", issue("3", "family 3")))
	does(store.Tokens, "access:access-1", s.DeleteAccessToken(c, "access-1"))
	silent(s.DeleteAccessToken(c, "access-1"))
	does(store.Tokens, "family 1", s.RevokeFamily(c, "family 1"))
	silent(s.RevokeFamily(c, "family 1"))
	does(store.Tokens, "family 2", s.RotateRefresh(c, "refresh-2", issue("4", "family 2")))
	does(store.Tokens, "client:client", s.RevokeClientTokens(c, "client"))
	silent(s.SaveLoginSession(c, oauth2.LoginSession{ID: "s", Subject: "x"}))
	silent(s.SaveConsent(c, consent("c", "x", "client", now())))
	silent(s.RevokeConsents(c, "x", ""))
	does(store.Clients, "client", s.DeleteClient(c, "client"))
	does(store.Tokens, "client:client", nil)

	changes := must(s.ChangesSince(c, 0, 1000))(t)
	var got []string
	for _, change := range changes {
		got = append(got, string(change.Topic)+" "+change.Item)
	}
	equal(t, "changes", got, want)
	newest := must(s.Revision(c))(t)
	equal(t, "newest revision", newest, changes[len(changes)-1].Revision)
	equal(t, "changes since the newest", must(s.ChangesSince(c, newest, 10))(t), []store.Change(nil))
	equal(t, "two changes in the middle", must(s.ChangesSince(c, changes[4].Revision, 2))(t), changes[5:7])
	equal(t, "no changes asked for", must(s.ChangesSince(c, 0, 0))(t), []store.Change(nil))
}

// changesRace reads the log while it is written in parallel, with failing writes in
// between: every committed change must be seen, in order.
func changesRace(t *testing.T, s store.Store) {
	c, cancel := context.WithCancel(ctx(t))
	defer cancel()
	const writers, writes = 16, 15
	seen := make(chan []store.Change)
	failed := make(chan error, 1)
	done := make(chan struct{})
	go func() {
		defer close(seen)
		var all []store.Change
		var revision int64
		for last := false; ; {
			changes, err := s.ChangesSince(c, revision, 7)
			if err != nil {
				failed <- err
				return
			}
			if len(changes) > 0 {
				all, revision = append(all, changes...), changes[len(changes)-1].Revision
				continue
			}
			if last {
				seen <- all
				return
			}
			select {
			case <-done:
				last = true // once more: the rest
			default:
			}
		}
	}()
	check(t, errors.Join(race(writers, func(w int) error {
		for i := range writes {
			id := fmt.Sprintf("%02d-%02d", w, i)
			if err := s.CreatePolicy(c, policy(id)); err != nil {
				return err
			}
			if err := s.CreatePolicy(c, policy(id)); !fault.Is(err, fault.Conflict) {
				return fmt.Errorf("creating a policy twice: %w", err)
			}
		}
		return nil
	})...))
	close(done)
	all, ok := <-seen
	if !ok {
		t.Fatal(<-failed)
	}
	var items []string
	for i, change := range all {
		if i > 0 && change.Revision <= all[i-1].Revision {
			t.Errorf("revision %d came after %d", change.Revision, all[i-1].Revision)
		}
		items = append(items, change.Item)
	}
	slices.Sort(items)
	var want []string
	for w := range writers {
		for i := range writes {
			want = append(want, fmt.Sprintf("%02d-%02d", w, i))
		}
	}
	equal(t, "changes seen", items, want)
}

func changesSwept(t *testing.T, s store.Store) {
	c := ctx(t)
	for i := range 5 {
		check(t, s.CreatePolicy(c, policy(numbered("p", i))))
	}
	newest := must(s.Revision(c))(t)
	must(s.Sweep(c, time.Now(), 100))(t)
	equal(t, "young changes after a sweep", len(must(s.ChangesSince(c, 0, 100))(t)), 5)

	must(s.Sweep(c, time.Now().Add(48*time.Hour), 100))(t)
	equal(t, "newest revision after a sweep", must(s.Revision(c))(t), newest)
	_, err := s.ChangesSince(c, 0, 100)
	kind(t, "changes since a swept revision", err, fault.Conflict)
	check(t, s.CreatePolicy(c, policy("new")))
	changes := must(s.ChangesSince(c, newest, 100))(t)
	if len(changes) != 1 || changes[0].Item != "new" || changes[0].Revision <= newest {
		t.Errorf("changes after the sweep: %v, after revision %d", changes, newest)
	}
	_, err = s.ChangesSince(c, changes[0].Revision+1, 100)
	kind(t, "changes since a revision that never was, as after a restore", err, fault.Conflict)
}

func sweep(t *testing.T, s store.Store) {
	c := ctx(t)
	past, future := now().Add(-time.Hour), now().Add(time.Hour)
	for i, expiry := range []time.Time{past, future, {}} {
		name := numbered("n", i)
		code, buy := token("code-"+name, "client", "family-"+name), issue(name, "family-"+name)
		code.ExpiresAt, buy.Access.ExpiresAt, buy.Refresh.ExpiresAt = expiry, expiry, expiry
		check(t, s.CreateCode(c, code))
		check(t, s.IssueTokens(c, buy))
		f := flow(name)
		f.ExpiresAt = expiry
		check(t, s.CreateFlow(c, f))
		check(t, s.SaveLoginSession(c, oauth2.LoginSession{ID: name, Subject: "x", AuthenticatedAt: past, ExpiresAt: expiry}))
	}
	check(t, s.UseJTI(c, "ns", "jti", past)) // kept for a minute all the same
	equal(t, "swept of two", must(s.Sweep(c, time.Now(), 2))(t), 2)
	equal(t, "swept of many", must(s.Sweep(c, time.Now(), 100))(t), 3)
	equal(t, "swept again", must(s.Sweep(c, time.Now(), 100))(t), 0)
	equal(t, "tokens", len(alive(t, s, "n-000", "n-001", "n-002")), 6)
	spent(t, "a value that was swept too early", s.UseJTI(c, "ns", "jti", past))
	equal(t, "swept later", must(s.Sweep(c, now().Add(2*time.Minute), 100))(t), 1)
	check(t, s.UseJTI(c, "ns", "jti", past))

	// A spent refresh token without an expiry does not stay for ever.
	check(t, s.RotateRefresh(c, "refresh-n-002", oauth2.Issue{}))
	must(s.Sweep(c, now().AddDate(0, 0, 29), 100))(t)
	must(s.RefreshToken(c, "refresh-n-002"))(t)
	must(s.Sweep(c, now().AddDate(0, 0, 31), 100))(t)
	_, err := s.RefreshToken(c, "refresh-n-002")
	kind(t, "a refresh token that was spent a month ago", err, fault.NotFound)
}

func sweepConsents(t *testing.T, s store.Store) {
	c := ctx(t)
	expired, once := consent("expired", "alice", "one", now().Add(-2*time.Hour)), consent("once", "bob", "one", now().Add(-2*time.Hour))
	expired.ExpiresAt, once.Remember, once.ExpiresAt = now().Add(-time.Hour), false, time.Time{}
	check(t, s.SaveConsent(c, expired))
	check(t, s.SaveConsent(c, once))
	held := issue("held", "family")
	held.Access.Grant.ConsentID, held.Refresh.Grant.ConsentID = "expired", "expired"
	held.Access.ExpiresAt, held.Refresh.ExpiresAt = time.Time{}, time.Time{}
	check(t, s.IssueTokens(c, held))

	must(s.Sweep(c, time.Now(), 100))(t)
	equal(t, "bob's consents after an hour", len(must(s.Consents(c, oauth2.ConsentFilter{Subject: "bob"}, 10, 0))(t)), 1)
	must(s.Sweep(c, now().Add(25*time.Hour), 100))(t)
	equal(t, "bob's consents after a day without tokens", len(must(s.Consents(c, oauth2.ConsentFilter{Subject: "bob"}, 10, 0))(t)), 0)
	check(t, s.RevokeConsents(c, "alice", ""))
	equal(t, "tokens of an expired consent that was revoked", alive(t, s, "held"), []string(nil))
}
