package storetest

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/oauth2"
	"github.com/gatewarden/gatewarden/store"
)

func flow(id string) oauth2.Flow {
	return oauth2.Flow{ID: id, State: oauth2.FlowLoginRequested, LoginChallenge: "lc-" + id, ClientID: "client", ExpiresAt: now().Add(time.Hour), Data: json.RawMessage(`{"url":"https://a/?b=<c>"}`)}
}

func flowsCRUD(t *testing.T, s store.Store) {
	c := ctx(t)
	f := flow("f")
	check(t, s.CreateFlow(c, f))
	check(t, s.CreateFlow(c, flow("other"))) // unset hashes are not equal to each other
	kind(t, "creating a flow twice", s.CreateFlow(c, f), fault.Conflict)
	clash := flow("clash")
	clash.LoginChallenge = f.LoginChallenge
	kind(t, "creating with a taken hash", s.CreateFlow(c, clash), fault.Conflict)
	equal(t, "flow", must(s.Flow(c, oauth2.ByLoginChallenge, "lc-f"))(t), f)

	f.State, f.LoginVerifier, f.Subject, f.SessionID = oauth2.FlowConsentRequested, "lv-f", "subject", "sid"
	f.ConsentChallenge, f.ConsentVerifier, f.Data = "cc-f", "cv-f", json.RawMessage(`{"n":1}`)
	check(t, s.AdvanceFlow(c, oauth2.FlowLoginRequested, f))
	for by, hash := range map[oauth2.FlowKey]string{oauth2.ByLoginChallenge: "lc-f", oauth2.ByLoginVerifier: "lv-f", oauth2.ByConsentChallenge: "cc-f", oauth2.ByConsentVerifier: "cv-f", oauth2.ByID: "f"} {
		equal(t, string(by), must(s.Flow(c, by, hash))(t), f)
		for _, wrong := range []string{"", "unknown", hash + " ", strings.ToUpper(hash), "LC-F", "lc-f' OR '1'='1"} {
			_, err := s.Flow(c, by, wrong)
			kind(t, string(by)+" "+wrong, err, fault.NotFound)
		}
	}
	if _, err := s.Flow(c, "id = id OR login_challenge", "lc-f"); err == nil {
		t.Error("a flow was found by a key that is none")
	}
}

func flowsRace(t *testing.T, s store.Store) {
	c := ctx(t)
	f := flow("f")
	check(t, s.CreateFlow(c, f))
	states := []oauth2.FlowState{oauth2.FlowLoginRequested, oauth2.FlowLoginAnswered, oauth2.FlowLoginVerified, oauth2.FlowConsentRequested, oauth2.FlowConsentAnswered, oauth2.FlowFinished}
	for i, to := range states[1:] {
		won := winner(t, race(parallel, func(n int) error {
			next := f
			next.State, next.Subject = to, numbered("subject", n)
			return s.AdvanceFlow(c, states[i], next)
		}))
		got := must(s.Flow(c, oauth2.ByLoginChallenge, "lc-f"))(t)
		equal(t, "state", got.State, to)
		equal(t, "subject", got.Subject, numbered("subject", won))
		spent(t, "going back", s.AdvanceFlow(c, states[0], got))
	}
	pushed := flow("pushed")
	pushed.State = oauth2.FlowPushed
	check(t, s.CreateFlow(c, pushed))
	equal(t, "a pushed request", must(s.Flow(c, oauth2.ByLoginChallenge, "lc-pushed"))(t), pushed)
	taken := pushed
	taken.State = oauth2.FlowFinished
	winner(t, race(64, func(int) error { return s.AdvanceFlow(c, oauth2.FlowPushed, taken) }))
	device := flow("device")
	device.State = oauth2.FlowDevice
	check(t, s.CreateFlow(c, device))
	accepted := device
	accepted.State, accepted.LoginChallenge, accepted.LoginVerifier = oauth2.FlowUserCodeAccepted, "", "lv-device"
	winner(t, race(64, func(int) error { return s.AdvanceFlow(c, oauth2.FlowDevice, accepted) }))
	equal(t, "an accepted device", must(s.Flow(c, oauth2.ByID, "device"))(t), accepted)
	spent(t, "an unknown flow", s.AdvanceFlow(c, oauth2.FlowLoginRequested, oauth2.Flow{ID: "unknown", State: oauth2.FlowLoginAnswered}))
	f.State = oauth2.FlowLoginRequested
	kind(t, "a transition to an earlier state", s.AdvanceFlow(c, oauth2.FlowFinished, f), fault.Invalid)
	kind(t, "a transition to the same state", s.AdvanceFlow(c, oauth2.FlowLoginRequested, f), fault.Invalid)
}

func flowsExpiry(t *testing.T, s store.Store) {
	c := ctx(t)
	f := flow("f")
	f.ExpiresAt = now().Add(-time.Millisecond)
	check(t, s.CreateFlow(c, f))
	_, err := s.Flow(c, oauth2.ByLoginChallenge, "lc-f")
	kind(t, "an expired flow", err, fault.NotFound)
	f.State, f.ExpiresAt = oauth2.FlowLoginAnswered, now().Add(time.Hour)
	spent(t, "advancing an expired flow", s.AdvanceFlow(c, oauth2.FlowLoginRequested, f))
}

func sessionsCRUD(t *testing.T, s store.Store) {
	c := ctx(t)
	session := func(id, subject string) oauth2.LoginSession {
		return oauth2.LoginSession{ID: id, Subject: subject, AuthenticatedAt: now(), ExpiresAt: now().Add(time.Hour), Remember: true, ACR: "2", AMR: []string{"pwd", "otp"}}
	}
	a := session("a", "alice")
	check(t, s.SaveLoginSession(c, a))
	equal(t, "session", must(s.LoginSession(c, "a"))(t), a)
	a.ACR, a.Remember, a.ExpiresAt = "", false, time.Time{}
	check(t, s.SaveLoginSession(c, a))
	equal(t, "replaced session", must(s.LoginSession(c, "a"))(t), a)

	gone := func(ids ...string) {
		t.Helper()
		for _, id := range ids {
			_, err := s.LoginSession(c, id)
			kind(t, "session "+id, err, fault.NotFound)
		}
	}
	expired := session("expired", "alice")
	expired.ExpiresAt = now().Add(-time.Millisecond)
	check(t, s.SaveLoginSession(c, expired))
	gone("expired", "unknown", "", "A")

	check(t, s.SaveLoginSession(c, session("b", "alice")))
	check(t, s.SaveLoginSession(c, session("c", "bob")))
	for range 2 {
		equal(t, "participants", must(s.DeleteLoginSession(c, "a"))(t), []oauth2.Participant(nil))
	}
	gone("a")
	must(s.LoginSession(c, "b"))(t)
	equal(t, "sessions of alice", must(s.LoginSessions(c, "alice", 10))(t), []oauth2.LoginSession{must(s.LoginSession(c, "b"))(t)})
	equal(t, "no sessions", must(s.LoginSessions(c, "alice", 0))(t), []oauth2.LoginSession(nil))
	equal(t, "sessions of nobody", must(s.LoginSessions(c, "carol", 10))(t), []oauth2.LoginSession(nil))
	for range 2 {
		equal(t, "participants", must(s.DeleteLoginSessions(c, "alice", ""))(t), []oauth2.Participant(nil))
	}
	gone("b")
	must(s.LoginSession(c, "c"))(t)
}

func consent(id, subject, clientID string, handled time.Time) oauth2.Consent {
	return oauth2.Consent{
		ID: id, Subject: subject, ClientID: clientID, LoginSessionID: "sid", GrantedScope: []string{"a"}, GrantedAudience: []string{"x"},
		Remember: true, ExpiresAt: now().Add(time.Hour), HandledAt: handled, Data: json.RawMessage(`{"session":{"id_token":{"n":1}}}`),
	}
}

func consentsCRUD(t *testing.T, s store.Store) {
	c := ctx(t)
	older, newer := consent("z", "alice", "one", now().Add(-time.Minute)), consent("a", "alice", "two", now())
	older.Remember, older.ExpiresAt = false, time.Time{}
	expired, other := consent("e", "alice", "one", now()), consent("o", "bob", "one", now())
	expired.ExpiresAt = now().Add(-time.Millisecond)
	for _, each := range []oauth2.Consent{older, newer, expired, other} {
		check(t, s.SaveConsent(c, each))
	}
	equal(t, "consents", must(s.Consents(c, oauth2.ConsentFilter{Subject: "alice"}, 10, 0))(t), []oauth2.Consent{newer, older})
	equal(t, "consents for a client", must(s.Consents(c, oauth2.ConsentFilter{Subject: "alice", ClientID: "one"}, 10, 0))(t), []oauth2.Consent{older})
	equal(t, "second page of one", must(s.Consents(c, oauth2.ConsentFilter{Subject: "alice"}, 1, 1))(t), []oauth2.Consent{older})
	equal(t, "consents of nobody", must(s.Consents(c, oauth2.ConsentFilter{Subject: "carol"}, 10, 0))(t), []oauth2.Consent(nil))
	for _, f := range []struct {
		filter oauth2.ConsentFilter
		want   int
	}{
		{oauth2.ConsentFilter{Subject: "alice"}, 2}, {oauth2.ConsentFilter{Subject: "alice", ClientID: "one"}, 1}, {oauth2.ConsentFilter{Subject: "carol"}, 0},
		{oauth2.ConsentFilter{Subject: "alice", LoginSessionID: "sid"}, 2}, {oauth2.ConsentFilter{Subject: "alice", LoginSessionID: "another"}, 0},
	} {
		equal(t, "number of consents", must(s.CountConsents(c, f.filter))(t), f.want)
		equal(t, "number of listed consents", len(must(s.Consents(c, f.filter, 10, 0))(t)), f.want)
	}
	newer.GrantedScope = []string{"b"}
	check(t, s.SaveConsent(c, newer))
	equal(t, "replaced consent", must(s.Consents(c, oauth2.ConsentFilter{Subject: "alice", ClientID: "two"}, 10, 0))(t), []oauth2.Consent{newer})
}

func consentsRevoke(t *testing.T, s store.Store) {
	c := ctx(t)
	setup := func(name, subject, clientID string) {
		check(t, s.SaveConsent(c, consent("consent-"+name, subject, clientID, now())))
		code, buy := token("code-"+name, clientID, "family-"+name), issue(name, "family-"+name)
		code.Grant.ConsentID, buy.Access.Grant.ConsentID, buy.Refresh.Grant.ConsentID = "consent-"+name, "consent-"+name, "consent-"+name
		check(t, s.CreateCode(c, code))
		check(t, s.IssueTokens(c, buy))
	}
	setup("a1", "alice", "one")
	setup("a2", "alice", "two")
	setup("b1", "bob", "one")
	machine := token("access-machine", "one", "family-machine")
	machine.Grant.Subject, machine.Grant.ConsentID = "alice", ""
	check(t, s.IssueTokens(c, oauth2.Issue{Access: &machine}))

	revision := must(s.Revision(c))(t)
	for range 2 {
		check(t, s.RevokeConsents(c, "alice", "one"))
	}
	equal(t, "tokens", alive(t, s, "a1", "a2", "b1", "machine"),
		[]string{"code-a2", "code-b1", "access-a2", "access-b1", "access-machine", "refresh-a2", "refresh-b1"})
	equal(t, "number of alice's consents", len(must(s.Consents(c, oauth2.ConsentFilter{Subject: "alice"}, 10, 0))(t)), 1)
	equal(t, "changes", must(s.ChangesSince(c, revision, 10))(t), []store.Change{{Revision: revision + 1, Topic: store.Tokens, Item: "family-a1"}})

	equal(t, "subject of the revoked consent", must(s.RevokeConsent(c, "consent-a2"))(t), "alice")
	equal(t, "subject of a consent that is gone", must(s.RevokeConsent(c, "consent-a2"))(t), "")
	equal(t, "tokens", alive(t, s, "a2", "b1", "machine"), []string{"code-b1", "access-b1", "access-machine", "refresh-b1"})
	check(t, s.RevokeConsents(c, "alice", ""))
	equal(t, "tokens", alive(t, s, "a2", "b1", "machine"), []string{"code-b1", "access-b1", "access-machine", "refresh-b1"})
	spent(t, "a revoked code", s.RedeemCode(c, "code-a2", oauth2.Issue{}))
}

func replayRace(t *testing.T, s store.Store) {
	c := ctx(t)
	until := now().Add(time.Hour)
	winner(t, race(parallel, func(int) error { return s.UseJTI(c, "ns", "jti", until) }))
	spent(t, "using it again", s.UseJTI(c, "ns", "jti", until))
	// An expiry in the past is remembered too: a verifier may grant leeway.
	winner(t, race(parallel, func(int) error { return s.UseJTI(c, "ns", "late", now().Add(-time.Second)) }))
}

func replayNamespaces(t *testing.T, s store.Store) {
	c := ctx(t)
	until := now().Add(time.Hour)
	long := string(make([]byte, 10_000))
	for _, value := range [][2]string{{"a", "bc"}, {"ab", "c"}, {"", "abc"}, {"abc", ""}, {"A", "bc"}, {"a", "bc "}, {"a", "\xff\x00"}, {"a", long}, {"a", long + "x"}} {
		check(t, s.UseJTI(c, value[0], value[1], until))
		spent(t, value[0]+" "+value[1], s.UseJTI(c, value[0], value[1], until))
	}
}

func flowsPolled(t *testing.T, s store.Store) {
	c := ctx(t)
	f, slow := flow("f"), flow("slow")
	f.State, slow.State = oauth2.FlowDevice, oauth2.FlowDevice
	check(t, s.CreateFlow(c, f))
	check(t, s.CreateFlow(c, flow("login")))
	for _, stranger := range [][2]string{{"unknown", "client"}, {"f", "another"}, {"", ""}, {"f", "client "}, {"login", "client"}} {
		for range 2 {
			equal(t, "a stranger is too soon", must(s.PollFlow(c, stranger[0], stranger[1], time.Hour))(t), false)
		}
	}
	// Of polls at once one is in time, whatever node they ask.
	inTime := make([]bool, parallel)
	for i, err := range race(parallel, func(i int) error {
		soon, err := s.PollFlow(c, "f", "client", time.Hour)
		inTime[i] = !soon
		return err
	}) {
		check(t, err)
		if inTime[i] && slices.Contains(inTime[:i], true) {
			t.Error("two polls at once were in time")
		}
	}
	equal(t, "one was in time", slices.Contains(inTime, true), true)
	// Each that was not has made the wait longer.
	check(t, s.CreateFlow(c, slow))
	equal(t, "the first is too soon", must(s.PollFlow(c, "slow", "client", time.Hour))(t), false)
	equal(t, "the second is too soon", must(s.PollFlow(c, "slow", "client", time.Hour))(t), true)
	equal(t, "five seconds have not gone by", must(s.PollFlow(c, "slow", "client", 0))(t), true)
	// A flow that moves on keeps the count.
	f.State = oauth2.FlowFinished
	check(t, s.AdvanceFlow(c, oauth2.FlowDevice, f))
	equal(t, "after a transition it is too soon", must(s.PollFlow(c, "f", "client", time.Hour))(t), true)
}

func flowsOfSubject(t *testing.T, s store.Store) {
	c := ctx(t)
	of := func(id, subject string, state oauth2.FlowState, life time.Duration) oauth2.Flow {
		f := flow(id)
		f.Subject, f.State, f.ExpiresAt = subject, state, now().Add(life)
		check(t, s.CreateFlow(c, f))
		return f
	}
	late, early := of("late", "alice", oauth2.FlowBackchannel, 2*time.Hour), of("early", "alice", oauth2.FlowBackchannel, time.Hour)
	of("other", "bob", oauth2.FlowBackchannel, time.Hour)
	of("elsewhere", "alice", oauth2.FlowPushed, time.Hour)
	of("expired", "alice", oauth2.FlowBackchannel, -time.Millisecond)
	equal(t, "flows", must(s.WaitingFlows(c, "alice", oauth2.FlowBackchannel, 10))(t), []oauth2.Flow{early, late})
	equal(t, "one flow", must(s.WaitingFlows(c, "alice", oauth2.FlowBackchannel, 1))(t), []oauth2.Flow{early})
	for _, nobody := range []string{"", "Alice", "alice ", "alice' OR '1'='1", "\x00"} {
		equal(t, "flows of "+nobody, len(must(s.WaitingFlows(c, nobody, oauth2.FlowBackchannel, 10))(t)), 0)
	}
	clash := flow("clash")
	clash.State, clash.Subject, clash.LoginChallenge = oauth2.FlowBackchannel, "alice", late.LoginChallenge
	kind(t, "creating with a taken hash", s.CreateFlow(c, clash), fault.Conflict)
	// Of answers at once one counts.
	answered := late
	answered.State, answered.Data = oauth2.FlowFinished, json.RawMessage(`{"answer":true}`)
	winner(t, race(64, func(int) error { return s.AdvanceFlow(c, oauth2.FlowBackchannel, answered) }))
	equal(t, "one flow is left", must(s.WaitingFlows(c, "alice", oauth2.FlowBackchannel, 10))(t), []oauth2.Flow{early})
	early.State = oauth2.FlowFinished
	check(t, s.AdvanceFlow(c, oauth2.FlowBackchannel, early))
	equal(t, "what moved on is not listed", must(s.WaitingFlows(c, "alice", oauth2.FlowBackchannel, 10))(t), []oauth2.Flow(nil))
}
