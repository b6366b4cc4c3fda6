package storetest

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/keys"
	"github.com/gatewarden/gatewarden/oauth2"
	"github.com/gatewarden/gatewarden/store"
	"github.com/gatewarden/gatewarden/users"
)

const (
	otherSecret = "another system secret of the tests"
	canary      = "CANARY-that-must-never-be-stored-in-the-clear"
)

// fill stores one of everything that is sealed.
func fill(t *testing.T, s store.Store) {
	t.Helper()
	c := ctx(t)
	k := key("set", "k", now())
	k.JWK = []byte(`{"d":"` + canary + `"}`)
	check(t, s.AddKeys(c, []keys.Stored{k}))
	code := token("sig", "client", "family")
	code.Grant.Session, code.Grant.Form = json.RawMessage(`"`+canary+`"`), map[string][]string{"x": {canary}}
	check(t, s.CreateCode(c, code))
	check(t, s.IssueTokens(c, oauth2.Issue{Access: &code, Refresh: &code}))
	f := flow("f")
	f.Data = json.RawMessage(`"` + canary + `"`)
	check(t, s.CreateFlow(c, f))
	check(t, s.SaveLoginSession(c, oauth2.LoginSession{ID: "sid", Subject: "subject", ACR: canary, AMR: []string{canary}}))
	agreed := consent("c", "subject", "client", now())
	agreed.Data = json.RawMessage(`"` + canary + `"`)
	check(t, s.SaveConsent(c, agreed))
	holder := client("client")
	holder.Secret = canary
	check(t, s.CreateClient(c, holder))
	person := user("person")
	person.Password, person.PasswordHash = canary, canary
	check(t, s.CreateUser(c, person))
	known := identity("person", provider, "person")
	known.Name = canary
	check(t, s.LinkIdentity(c, known))
	check(t, s.EnrolGenerator(c, "person", users.Generator{ID: "g", Secret: []byte(canary)}, 1, nil))
	check(t, s.AddPasskey(c, "person", users.Passkey{ID: []byte(canary), Name: canary, Credential: json.RawMessage(`"` + canary + `"`)}))
	must(s.CreateRule(c, rule("r")))(t)
}

// readAll reads what fill has stored; all of it must come back.
func readAll(t *testing.T, s store.Store) {
	t.Helper()
	c := ctx(t)
	equal(t, "key", string(must(s.Keys(c, "set"))(t)[0].JWK), `{"d":"`+canary+`"}`)
	equal(t, "code", string(must(s.Code(c, "sig"))(t).Grant.Session), `"`+canary+`"`)
	equal(t, "access token", must(s.AccessToken(c, "sig"))(t).Grant.Form.Get("x"), canary)
	equal(t, "refresh token", must(s.RefreshToken(c, "sig"))(t).Grant.Form.Get("x"), canary)
	equal(t, "flow", string(must(s.Flow(c, oauth2.ByLoginChallenge, "lc-f"))(t).Data), `"`+canary+`"`)
	equal(t, "session", must(s.LoginSession(c, "sid"))(t).ACR, canary)
	equal(t, "consent", string(must(s.Consents(c, oauth2.ConsentFilter{Subject: "subject"}, 1, 0))(t)[0].Data), `"`+canary+`"`)
	equal(t, "user", must(s.User(c, "person"))(t).PasswordHash, canary)
	factors := must(s.Factors(c, "person"))(t)
	equal(t, "secret of one-time codes", string(factors.Generator.Secret), canary)
	equal(t, "passkey", string(factors.Passkeys[0].Credential), `"`+canary+`"`)
	equal(t, "identity", must(s.Identities(c, "person"))(t)[0].Name, canary)
	equal(t, "rule", must(s.Rule(c, "r"))(t).Rule.ID, "r")
}

func reopen(t *testing.T, d Database) {
	s := open(t, d, Secret)
	fill(t, s)
	revision := must(s.Revision(ctx(t)))(t)
	closed(t, s)
	s = open(t, d, Secret)
	defer closed(t, s)
	if d.Durable {
		readAll(t, s)
		equal(t, "revision", must(s.Revision(ctx(t)))(t), revision)
		return
	}
	_, err := s.Rule(ctx(t), "r")
	kind(t, "a rule that was only in memory", err, fault.NotFound)
	equal(t, "revision", must(s.Revision(ctx(t)))(t), int64(0))
}

func wrongSecret(t *testing.T, d Database) {
	s := open(t, d, Secret)
	fill(t, s)
	closed(t, s)
	s, err := d.Open(otherSecret)
	if !d.Durable {
		check(t, err) // an empty database knows no secret yet
		closed(t, s)
		return
	}
	if err == nil || !strings.Contains(err.Error(), "secrets.system") {
		t.Errorf("opened with another secret: got error %v, want one that names secrets.system", err)
	}
	if err == nil {
		closed(t, s)
		return
	}
	if strings.Contains(err.Error(), otherSecret) || strings.Contains(err.Error(), Secret) {
		t.Errorf("the error tells the secret: %v", err)
	}
}

func rotatedSecrets(t *testing.T, d Database) {
	s := open(t, d, Secret)
	fill(t, s)
	if d.Durable {
		closed(t, s)
		s = open(t, d, otherSecret, Secret)
	}
	readAll(t, s)
	check(t, s.CreateCode(ctx(t), token("new", "client", "family")))
	closed(t, s)
	if !d.Durable {
		return
	}
	// Without the old secret nothing would read that was written before, so nothing opens.
	if _, err := d.Open(otherSecret); err == nil || !strings.Contains(err.Error(), "secrets.system") || !strings.Contains(err.Error(), "migrate secrets") {
		t.Errorf("a dropped secret: got error %v, want one that says what to do", err)
	}
}

func resealed(t *testing.T, d Database) {
	if !d.Durable {
		return // no secret is older than the database
	}
	s := open(t, d, Secret)
	fill(t, s)
	const many = 450 // more than two batches
	for i := range many {
		check(t, s.CreateCode(ctx(t), token(numbered("code", i), "client", "family")))
	}
	closed(t, s)
	s = open(t, d, otherSecret, Secret)
	if !bytes.Contains(d.Dump(t, s), d.Header(Secret)) {
		t.Fatal("nothing is sealed with the old secret, so this proves nothing")
	}
	done, err := d.Reseal(s)
	check(t, err)
	if done < many+9 {
		t.Errorf("%d rows were sealed anew, want those of fill and %d more", done, many)
	}
	if bytes.Contains(d.Dump(t, s), d.Header(Secret)) {
		t.Error("something is still sealed with the old secret")
	}
	again, err := d.Reseal(s)
	check(t, err)
	equal(t, "rows sealed anew the second time", again, int64(0))
	closed(t, s)
	s = open(t, d, otherSecret)
	defer closed(t, s)
	readAll(t, s)
	must(s.Code(ctx(t), numbered("code", many-1)))(t)
}

func resealRace(t *testing.T, d Database) {
	if !d.Durable {
		return
	}
	s := open(t, d, Secret)
	for i := range parallel {
		check(t, s.SaveLoginSession(ctx(t), oauth2.LoginSession{ID: numbered("session", i), Subject: "subject", ACR: "before"}))
	}
	closed(t, s)
	s = open(t, d, otherSecret, Secret)
	check(t, errors.Join(race(parallel, func(i int) error {
		if i%8 == 0 {
			_, err := d.Reseal(s)
			return err
		}
		return s.SaveLoginSession(ctx(t), oauth2.LoginSession{ID: numbered("session", i), Subject: "subject", ACR: "after"})
	})...))
	closed(t, s)
	s = open(t, d, otherSecret)
	defer closed(t, s)
	for i := range parallel {
		want := "after"
		if i%8 == 0 {
			want = "before"
		}
		equal(t, numbered("session", i), must(s.LoginSession(ctx(t), numbered("session", i)))(t).ACR, want)
	}
}

func sealed(t *testing.T, d Database) {
	s := open(t, d, Secret)
	defer closed(t, s)
	fill(t, s)
	stored := d.Dump(t, s)
	if !bytes.Contains(stored, []byte("lc-f")) || !bytes.Contains(stored, []byte("$argon2id$")) {
		t.Fatal("the dump lacks what is stored in the clear, so it proves nothing")
	}
	for form, text := range map[string]string{
		"plain": canary, "base64": base64.StdEncoding.EncodeToString([]byte(canary)), "hex": hex.EncodeToString([]byte(canary)), "the secret": Secret,
	} {
		if bytes.Contains(stored, []byte(text)) {
			t.Errorf("the database holds the canary: %s", form)
		}
	}
}

func closing(t *testing.T, d Database) {
	s := open(t, d, Secret)
	acknowledged := make([]bool, parallel)
	errs := race(parallel+1, func(i int) error {
		if i == parallel {
			return s.Close()
		}
		err := s.CreateCode(ctx(t), token(numbered("code", i), "client", "family"))
		acknowledged[i] = err == nil
		if err != nil && !fault.Is(err, fault.Unavailable) {
			return err
		}
		return nil
	})
	check(t, errors.Join(errs...))
	kind(t, "a write after Close", s.CreateCode(ctx(t), token("late", "client", "family")), fault.Unavailable)
	kind(t, "a read after Close", second(s.Code(ctx(t), "late")), fault.Unavailable)
	check(t, s.Close())
	if !d.Durable {
		return
	}
	s = open(t, d, Secret)
	defer closed(t, s)
	for i, yes := range acknowledged {
		if yes {
			must(s.Code(ctx(t), numbered("code", i)))(t)
		}
	}
}
