package storetest

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/oauth2"
	"github.com/gatewarden/gatewarden/relyingparty"
	"github.com/gatewarden/gatewarden/store"
)

// A client whose consent was saved under a session is told once when it ends.
func participantsTold(t *testing.T, s store.Store) {
	c := ctx(t)
	for id, subject := range map[string]string{"a1": "alice", "a2": "alice", "b": "bob"} {
		check(t, s.SaveLoginSession(c, oauth2.LoginSession{ID: id, Subject: subject, ExpiresAt: now().Add(time.Hour)}))
	}
	n := 0
	join := func(session, client string) {
		t.Helper()
		n++
		k := consent(numbered("consent", n), "x", client, now())
		k.LoginSessionID = session
		check(t, s.SaveConsent(c, k))
	}
	for _, client := range []string{"one", "two", "one", ""} {
		join("a1", client)
	}
	join("a2", "one")
	join("b", "one")
	join("", "one")
	join("unknown", "one")
	equal(t, "unknown", must(s.DeleteLoginSession(c, "unknown"))(t), []oauth2.Participant(nil))
	equal(t, "one session", must(s.DeleteLoginSession(c, "a1"))(t), []oauth2.Participant{{SessionID: "a1", ClientID: "one"}, {SessionID: "a1", ClientID: "two"}})
	equal(t, "again", must(s.DeleteLoginSession(c, "a1"))(t), []oauth2.Participant(nil))
	check(t, s.SaveLoginSession(c, oauth2.LoginSession{ID: "a1", Subject: "alice"}))
	join("a1", "three")
	check(t, s.SaveLoginSession(c, oauth2.LoginSession{ID: "a3", Subject: "alice"}))
	join("a3", "four")
	equal(t, "all but one", must(s.DeleteLoginSessions(c, "alice", "a3"))(t), []oauth2.Participant{{SessionID: "a1", ClientID: "three"}, {SessionID: "a2", ClientID: "one"}})
	must(s.LoginSession(c, "a3"))(t)
	must(s.LoginSession(c, "b"))(t)
	equal(t, "but somebody else's", must(s.DeleteLoginSessions(c, "alice", "b"))(t), []oauth2.Participant{{SessionID: "a3", ClientID: "four"}})
	check(t, s.SaveLoginSession(c, oauth2.LoginSession{ID: "a4", Subject: "alice"}))
	join("a4", "five")
	equal(t, "all of a subject", must(s.DeleteLoginSessions(c, "alice", ""))(t), []oauth2.Participant{{SessionID: "a4", ClientID: "five"}})
	equal(t, "again", must(s.DeleteLoginSessions(c, "alice", ""))(t), []oauth2.Participant(nil))

	told := make([][]oauth2.Participant, parallel)
	for _, err := range race(parallel, func(n int) (err error) {
		told[n], err = s.DeleteLoginSession(c, "b")
		return err
	}) {
		check(t, err)
	}
	var all []oauth2.Participant
	for _, some := range told {
		all = append(all, some...)
	}
	equal(t, "told by parallel logouts", all, []oauth2.Participant{{SessionID: "b", ClientID: "one"}})
}

func logoutsRecorded(t *testing.T, s store.Store) {
	c := ctx(t)
	at := now().Truncate(time.Millisecond)
	out := func(token string, ended map[string]time.Time) relyingparty.Logout {
		return relyingparty.Logout{Token: token, Expires: at.Add(time.Minute), Ended: ended, Until: at.Add(time.Hour)}
	}
	before := must(s.Revision(c))(t)
	check(t, s.RecordLogout(c, out("1", map[string]time.Time{"sid": at.Add(time.Hour), "sub": at})))
	kind(t, "the same token", s.RecordLogout(c, out("1", map[string]time.Time{"other": at})), fault.Conflict)
	check(t, s.RecordLogout(c, out("2", map[string]time.Time{"sub": at.Add(-time.Minute)}))) // arrives late
	check(t, s.RecordLogout(c, out("3", map[string]time.Time{"sub": at})))
	over := out("4", map[string]time.Time{"over": at})
	over.Until = now().Add(-time.Millisecond)
	check(t, s.RecordLogout(c, over))
	got := must(s.LoggedOut(c, "sub", "other", "sid", "over", "SUB", "", "sub"))(t)
	want := []time.Time{at, {}, at.Add(time.Hour), {}, {}, {}, at}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("logged out (-want +got):\n%s", diff)
	}
	equal(t, "nothing asked", len(must(s.LoggedOut(c))(t)), 0)
	var items []string
	for _, change := range must(s.ChangesSince(c, before, 100))(t) {
		items = append(items, string(change.Topic)+" "+change.Item)
	}
	equal(t, "changes", items, []string{"logouts sid", "logouts sub", "logouts sub", "logouts sub", "logouts over"})
	winner(t, race(parallel, func(int) error {
		err := s.RecordLogout(c, out("raced", map[string]time.Time{"sub": at}))
		if fault.Is(err, fault.Conflict) {
			return oauth2.ErrSpent
		}
		return err
	}))
	must(s.Sweep(c, at.Add(2*time.Hour), 1000))(t)
	equal(t, "swept", must(s.LoggedOut(c, "sid"))(t), []time.Time{{}})
}
