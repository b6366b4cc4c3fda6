package storetest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/keys"
	"github.com/gatewarden/gatewarden/oauth2"
	"github.com/gatewarden/gatewarden/policies"
	"github.com/gatewarden/gatewarden/relyingparty"
	"github.com/gatewarden/gatewarden/store"
	"github.com/gatewarden/gatewarden/users"
)

// hostile are ids that some database or some string building would take for
// something else. They are pairwise different and stay so.
var hostile = []string{
	"'; DROP TABLE gw_rules; --", `" OR ""="`, "' OR '1'='1", `\`, `\'`, "%", "_", "a", "A", "a ", " a", "á", "a\u0301", "ß", "ss", "日本語", "🔑", "?", "$1", "??",
	"a/b", "a%2Fb", "\t", "line\nbreak", "null", "NULL", "0", "-0", "1e3", "true", "\u202e", "/*", "*/", "--", ";", "`", strings.Repeat("x", 767), strings.Repeat("x", 766),
}

func hostileKeys(t *testing.T, s store.Store) {
	c := ctx(t)
	for _, id := range hostile {
		must(s.CreateRule(c, rule(id)))(t)
		check(t, s.CreatePolicy(c, policy(id)))
		check(t, s.CreateGroup(c, policies.Group{ID: id, Members: []string{id}}))
		check(t, s.AddKeys(c, []keys.Stored{key(id, id, now())}))
		check(t, s.CreateClient(c, oauth2.Client{ID: id, Name: id, Owner: id}))
		code := token(id, id, id)
		code.Grant.Subject, code.Grant.ConsentID, code.Grant.SessionID = id, id, id
		check(t, s.CreateCode(c, code))
		check(t, s.IssueTokens(c, oauth2.Issue{Access: &code, Refresh: &code}))
		check(t, s.CreateFlow(c, oauth2.Flow{ID: id, State: oauth2.FlowLoginRequested, LoginChallenge: id, LoginVerifier: id, ConsentChallenge: id, ConsentVerifier: id, Subject: id}))
		check(t, s.SaveLoginSession(c, oauth2.LoginSession{ID: id, Subject: id}))
		check(t, s.SaveConsent(c, oauth2.Consent{ID: id, Subject: id, ClientID: id, LoginSessionID: id}))
		check(t, s.UseJTI(c, id, id, now().Add(time.Hour)))
	}
	for _, id := range hostile {
		equal(t, "rule", must(s.Rule(c, id))(t).Rule.ID, id)
		equal(t, "policy", must(s.Policy(c, id))(t).ID, id)
		equal(t, "groups of the member", must(s.Groups(c, id, 10, 0))(t), []policies.Group{{ID: id, Members: []string{id}}})
		equal(t, "size of the key set", len(must(s.Keys(c, id))(t)), 1)
		equal(t, "clients by name and owner", len(must(s.Clients(c, oauth2.ClientFilter{Name: id, Owner: id, Limit: 10}))(t)), 1)
		equal(t, "code", must(s.Code(c, id))(t).Grant.Subject, id)
		equal(t, "flow", must(s.Flow(c, oauth2.ByConsentVerifier, id))(t).ID, id)
		equal(t, "session", must(s.LoginSession(c, id))(t).Subject, id)
		equal(t, "number of consents", len(must(s.Consents(c, oauth2.ConsentFilter{Subject: id, ClientID: id}, 10, 0))(t)), 1)
	}
	// Revoking one touches no other.
	left := len(hostile)
	for _, id := range hostile {
		check(t, s.RevokeConsents(c, id, id))
		left--
		alive := 0
		for _, other := range hostile {
			if _, err := s.AccessToken(c, other); err == nil {
				alive++
			}
		}
		equal(t, "tokens left after revoking "+id, alive, left)
	}
}

func impossibleKeys(t *testing.T, s store.Store) {
	c := ctx(t)
	for _, id := range []string{"nul\x00", "\xff\xfe", strings.Repeat("x", 768)} {
		_, err := s.CreateRule(c, rule(id))
		kind(t, "creating a rule", err, fault.Invalid)
		_, err = s.ReplaceRule(c, rule(id), "")
		kind(t, "replacing a rule", err, fault.NotFound)
		_, err = s.Rule(c, id)
		kind(t, "reading a rule", err, fault.NotFound)
		kind(t, "deleting a rule", s.DeleteRule(c, id, ""), fault.NotFound)
		kind(t, "creating a policy", s.CreatePolicy(c, policy(id)), fault.Invalid)
		kind(t, "updating a policy", s.UpdatePolicy(c, policy(id)), fault.NotFound)
		_, err = s.Policy(c, id)
		kind(t, "reading a policy", err, fault.NotFound)
		kind(t, "creating a group", s.CreateGroup(c, policies.Group{ID: id}), fault.Invalid)
		kind(t, "creating a member", s.CreateGroup(c, policies.Group{ID: "g", Members: []string{id}}), fault.Invalid)
		_, err = s.Group(c, id)
		kind(t, "reading a group", err, fault.NotFound)
		equal(t, "groups of the member", must(s.Groups(c, id, 10, 0))(t), []policies.Group(nil))
		kind(t, "adding a key", s.AddKeys(c, []keys.Stored{key("set", id, now())}), fault.Invalid)
		kind(t, "replacing a key set", s.ReplaceSet(c, id, nil), fault.Invalid)
		kind(t, "deleting a key", s.DeleteKey(c, "set", id), fault.NotFound)
		equal(t, "key set", must(s.Keys(c, id))(t), []keys.Stored(nil))
		kind(t, "creating a client", s.CreateClient(c, client(id)), fault.Invalid)
		_, err = s.Client(c, id)
		kind(t, "reading a client", err, fault.NotFound)
		kind(t, "deleting a client", s.DeleteClient(c, id), fault.NotFound)
		equal(t, "clients by name", must(s.Clients(c, oauth2.ClientFilter{Name: id, Limit: 1}))(t), []oauth2.Client(nil))
		kind(t, "creating a code", s.CreateCode(c, token(id, "client", "family")), fault.Invalid)
		spent(t, "redeeming a code", s.RedeemCode(c, id, oauth2.Issue{}))
		spent(t, "rotating a refresh token", s.RotateRefresh(c, id, oauth2.Issue{}))
		kind(t, "creating a flow", s.CreateFlow(c, flow(id)), fault.Invalid)
		_, err = s.Flow(c, oauth2.ByLoginChallenge, id)
		kind(t, "reading a flow", err, fault.NotFound)
		kind(t, "saving a session", s.SaveLoginSession(c, oauth2.LoginSession{ID: id}), fault.Invalid)
		_, err = s.LoginSession(c, id)
		kind(t, "reading a session", err, fault.NotFound)
		kind(t, "saving a consent", s.SaveConsent(c, consent(id, "x", "y", now())), fault.Invalid)
		equal(t, "consents", must(s.Consents(c, oauth2.ConsentFilter{Subject: id}, 10, 0))(t), []oauth2.Consent(nil))
		check(t, s.RevokeConsents(c, id, ""))
		must(s.DeleteLoginSession(c, id))(t)
		out := relyingparty.Logout{Token: "t", Ended: map[string]time.Time{id: now()}, Until: now().Add(time.Hour)}
		kind(t, "recording a logout", s.RecordLogout(c, out), fault.Invalid)
		equal(t, "logged out", must(s.LoggedOut(c, id))(t), []time.Time{{}})
		kind(t, "creating a user", s.CreateUser(c, user(id)), fault.Invalid)
		_, err = s.User(c, id)
		kind(t, "reading a user", err, fault.NotFound)
		kind(t, "deleting a user", s.DeleteUser(c, id), fault.NotFound)
		_, err = s.UserByIdentity(c, id, id)
		kind(t, "reading a user by identity", err, fault.NotFound)
		equal(t, "identities", must(s.Identities(c, id))(t), []users.Identity(nil))
		kind(t, "linking an identity", s.LinkIdentity(c, identity(id, provider, "s")), fault.NotFound)
		equal(t, "factors", must(s.Factors(c, id))(t), users.Factors{})
		kind(t, "enrolling", s.EnrolGenerator(c, id, users.Generator{ID: "g", Secret: []byte("s")}, 1, nil), fault.NotFound)
		kind(t, "adding a passkey", s.AddPasskey(c, id, users.Passkey{ID: []byte("p")}), fault.NotFound)
		kind(t, "resetting factors", s.ResetFactors(c, id), fault.NotFound)
		if err := errors.Join(s.UseCode(c, id, id, 1), s.UseRecoveryCode(c, id, id), s.UsePasskey(c, id, users.Passkey{})); strings.Count(fmt.Sprint(err), users.ErrUsed.Error()) != 3 {
			t.Errorf("factors of %q were used: %v", id, err)
		}
		kind(t, "unlinking an identity", s.UnlinkIdentity(c, identity(id, provider, "s"), nil), fault.NotFound)
	}
	broken := rule("broken")
	broken.Authorizer.Config = json.RawMessage(`{"unfinished":`)
	_, err := s.CreateRule(c, broken)
	kind(t, "a rule that is not JSON", err, fault.Invalid)
}

func bigValues(t *testing.T, s store.Store) {
	c := ctx(t)
	big := strings.Repeat("0123456789abcdef", 1<<16) // 1 MiB
	r := rule("big")
	r.Description = big
	must(s.CreateRule(c, r))(t)
	equal(t, "rule is whole", must(s.Rule(c, "big"))(t).Rule.Description == big, true)
	code := token("big", "client", "family")
	code.Grant.Session = json.RawMessage(`"` + big + `"`)
	check(t, s.CreateCode(c, code))
	equal(t, "session is whole", string(must(s.Code(c, "big"))(t).Grant.Session) == string(code.Grant.Session), true)
	k := key("set", "big", now())
	k.JWK = bytes.Repeat([]byte{0, 0xff, '\\', '\''}, 1<<18)
	check(t, s.PutKey(c, k))
	equal(t, "key is whole", bytes.Equal(must(s.Keys(c, "set"))(t)[0].JWK, k.JWK), true)

	r.ID, r.Description = "too big", strings.Repeat(big, 5)
	_, err := s.CreateRule(c, r)
	kind(t, "a rule of 5 MiB", err, fault.TooLarge)
	k.JWK = make([]byte, 5<<20)
	kind(t, "a key of 5 MiB", s.PutKey(c, k), fault.TooLarge)
	f := flow("too big")
	f.Data = make([]byte, 5<<20)
	kind(t, "a flow of 5 MiB", s.CreateFlow(c, f), fault.TooLarge)
}

func cancelled(t *testing.T, s store.Store) {
	c, cancel := context.WithCancel(ctx(t))
	check(t, s.CreateCode(c, token("code", "client", "family")))
	check(t, s.IssueTokens(c, issue("old", "family")))
	check(t, s.CreateFlow(c, flow("f")))
	must(s.CreateRule(c, rule("r")))(t)
	cancel()
	next := flow("f")
	next.State = oauth2.FlowLoginAnswered
	for what, err := range map[string]error{
		"creating a rule":     second(s.CreateRule(c, rule("new"))),
		"reading a rule":      second(s.Rule(c, "r")),
		"listing rules":       second(s.Rules(c, 10, 0)),
		"redeeming a code":    s.RedeemCode(c, "code", issue("new", "family")),
		"rotating":            s.RotateRefresh(c, "refresh-old", issue("new", "family")),
		"issuing":             s.IssueTokens(c, issue("new", "family")),
		"reading a token":     second(s.AccessToken(c, "access-old")),
		"revoking":            s.RevokeFamily(c, "family"),
		"advancing":           s.AdvanceFlow(c, oauth2.FlowLoginRequested, next),
		"using a jti":         s.UseJTI(c, "ns", "jti", now().Add(time.Hour)),
		"reading changes":     second(s.ChangesSince(c, 0, 10)),
		"reading a revision":  second(s.Revision(c)),
		"sweeping":            second(s.Sweep(c, time.Now(), 10)),
		"pinging":             s.Ping(c),
		"deleting a rule":     s.DeleteRule(c, "r", ""),
		"revoking consents":   s.RevokeConsents(c, "subject", ""),
		"saving a session":    s.SaveLoginSession(c, oauth2.LoginSession{ID: "s"}),
		"reading a flow":      second(s.Flow(c, oauth2.ByLoginChallenge, "lc-f")),
		"listing flows":       second(s.WaitingFlows(c, "subject", oauth2.FlowDevice, 1)),
		"polling a flow":      second(s.PollFlow(c, "f", "client", 0)),
		"listing key sets":    second(s.Keys(c, "set")),
		"replacing a key set": s.ReplaceSet(c, "set", []keys.Stored{key("set", "k", now())}),
	} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got error %v, want context.Canceled", what, err)
		}
	}
	c = ctx(t)
	equal(t, "tokens", alive(t, s, "old", "new"), []string{"access-old", "refresh-old"})
	check(t, s.UseJTI(c, "ns", "jti", now().Add(time.Hour)))
	check(t, s.RedeemCode(c, "code", issue("new", "family")))
	check(t, s.AdvanceFlow(c, oauth2.FlowLoginRequested, next))

	// Contexts that end while the call is on its way: what was answered is true.
	for i, err := range race(parallel, func(i int) error {
		c, cancel := context.WithTimeout(c, time.Duration(i)*20*time.Microsecond)
		defer cancel()
		return s.IssueTokens(c, issue(numbered("t", i), "family"))
	}) {
		name := numbered("t", i)
		if err == nil {
			equal(t, "tokens of a call that succeeded", alive(t, s, name), []string{"access-" + name, "refresh-" + name})
		} else if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a call that was cut off got %v", err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func failingNeighbours(t *testing.T, s store.Store) {
	c := ctx(t)
	check(t, s.IssueTokens(c, issue("taken", "family")))
	for i, err := range race(4*parallel, func(i int) error {
		if i%2 == 0 {
			return s.RotateRefresh(c, "unknown", issue(numbered("n", i), "family"))
		}
		buy := issue(numbered("n", i), "family")
		if i%4 == 1 {
			buy.Refresh.Signature = "refresh-taken" // the second row fails
		}
		return s.IssueTokens(c, buy)
	}) {
		name := numbered("n", i)
		switch {
		case i%2 == 0:
			spent(t, "rotating an unknown token", err)
		case i%4 == 1:
			kind(t, "issuing a taken signature", err, fault.Conflict)
			equal(t, "tokens of a failed call", alive(t, s, name), []string(nil))
		default:
			check(t, err)
			equal(t, "tokens of a call", alive(t, s, name), []string{"access-" + name, "refresh-" + name})
		}
	}
}
