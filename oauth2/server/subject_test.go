package server_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/oauth2"
	"github.com/gatewarden/gatewarden/oauth2/server"
)

const salt = "a salt of the test"

func salted(o *server.Options) {
	o.Subjects = server.Subjects{Types: []string{"public", "pairwise"}, PairwiseSalt: salt}
}

func pairwise(c *oauth2.Client) {
	c.SubjectType, c.RedirectURIs = "pairwise", []string{"http://127.0.0.1/cb"}
}

// pairwiseOf is Hydra's computation.
func pairwiseOf(sector, subject string) string {
	sum := sha256.Sum256([]byte(sector + subject + salt))
	return hex.EncodeToString(sum[:])
}

func TestAPairwiseClientKnowsAPersonByOneSubjectAndNeverByTheRealOne(t *testing.T) {
	for _, strategy := range []string{server.Opaque, server.JWT} {
		r := start(t, salted)
		r.client(pairwise, func(c *oauth2.Client) { c.AccessTokenStrategy, c.UserinfoAlg = strategy, "ES256" })
		want := pairwiseOf("127.0.0.1", "alice")
		tokens := r.tokens()
		again := r.post("/oauth2/token", "app:secret", "grant_type", "refresh_token", "refresh_token", tokens.str("refresh_token"))
		var all []string
		for _, a := range []answer{tokens, again} {
			if sub := said(t, a.str("id_token"), "JWT")["sub"]; sub != want {
				t.Errorf("%s: the ID token is about %v, want %s", strategy, sub, want)
			}
			all = append(all, a.raw, a.str("id_token"), a.str("access_token"))
		}
		access := again.str("access_token")
		info := r.info(access).raw
		if sub := said(t, info, "JWT")["sub"]; sub != want {
			t.Errorf("%s: userinfo is about %v", strategy, sub)
		}
		if strategy == server.JWT {
			if sub := said(t, access, "at+jwt")["sub"]; sub != want {
				t.Errorf("the access token is about %v", sub)
			}
		}
		for _, token := range []string{access, again.str("refresh_token")} {
			known := r.post("/oauth2/introspect", "app:secret", "token", token)
			if known.str("sub") != want || known.json["obfuscated_subject"] != nil {
				t.Errorf("%s: the client is told %s", strategy, known.raw)
			}
			all = append(all, known.raw)
		}
		for _, text := range append(all, info) {
			for part := range strings.SplitSeq(text, ".") {
				if decoded, err := base64.RawURLEncoding.DecodeString(part); err == nil {
					text += string(decoded)
				}
			}
			if strings.Contains(text, "alice") {
				t.Errorf("%s: the client learns whom it knows from %s", strategy, text)
			}
		}
		// The gateway and operators decide about the person.
		if known, err := r.server.Introspect(context.Background(), access); err != nil || known.Subject != "alice" || known.ClientSubject != want {
			t.Errorf("%s: in process %+v, %v", strategy, known, err)
		}
		if known, err := r.server.IntrospectWire(context.Background(), access, ""); err != nil || known.Subject != "alice" || known.ObfuscatedSubject != want {
			t.Errorf("%s: an operator is told %+v, %v", strategy, known, err)
		}
	}
}

func TestAnAPIIsToldThePersonAsItKnowsThem(t *testing.T) {
	r := start(t, salted)
	r.client(pairwise, func(c *oauth2.Client) { c.Audience = []string{"api", "shy"} })
	r.client(func(c *oauth2.Client) { c.ID = "api" })
	r.client(pairwise, func(c *oauth2.Client) {
		c.ID, c.SectorIdentifierURI = "shy", "https://shy.test/list"
	})
	b := r.browser()
	v := request()
	v["audience"] = []string{"api", "shy"}
	tokens := r.redeem(b.consent(b.login(v, oauth2.AcceptLogin{Subject: "alice"})).Query().Get("code"))
	machine := r.machineToken("audience", "shy")
	got := map[string]string{}
	for _, id := range []string{"app", "api", "shy"} {
		got[id] = r.post("/oauth2/introspect", id+":secret", "token", tokens.str("access_token")).str("sub")
	}
	got["machine"] = r.post("/oauth2/introspect", "shy:secret", "token", machine).str("sub")
	if diff := cmp.Diff(map[string]string{"app": pairwiseOf("127.0.0.1", "alice"), "api": "alice", "shy": pairwiseOf("https://shy.test/list", "alice"), "machine": "app"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestAnExchangedTokenIsAboutThePersonAsItsClientKnowsThem(t *testing.T) {
	r := start(t, salted)
	r.client(pairwise)
	exchanges := func(c *oauth2.Client) {
		c.GrantTypes = append(c.GrantTypes, "urn:ietf:params:oauth:grant-type:token-exchange")
	}
	r.client(exchanges, func(c *oauth2.Client) { c.ID = "open" })
	r.client(exchanges, pairwise, func(c *oauth2.Client) { c.ID, c.RedirectURIs = "shy", []string{"https://shy.test/cb"} })
	token := r.tokens().str("access_token")
	got := map[string]string{}
	for _, id := range []string{"open", "shy"} {
		a := r.post("/oauth2/token", id+":secret", "grant_type", "urn:ietf:params:oauth:grant-type:token-exchange", "subject_token", token,
			"subject_token_type", "urn:ietf:params:oauth:token-type:access_token")
		got[id] = r.post("/oauth2/introspect", id+":secret", "token", a.str("access_token")).str("sub")
	}
	if diff := cmp.Diff(map[string]string{"open": "alice", "shy": pairwiseOf("shy.test", "alice")}, got); diff != "" {
		t.Error(diff)
	}
}

func TestAHintIsComparedWithTheSubjectThatTheClientKnows(t *testing.T) {
	r := start(t, salted)
	r.client(pairwise, func(c *oauth2.Client) { c.PostLogoutRedirectURIs = nil })
	r.client(pairwise, func(c *oauth2.Client) { c.ID, c.SectorIdentifierURI = "other", "https://other.test/list" })
	ask := func(b *browser, subject, forced, hint, id string, more ...string) string {
		v := request(append([]string{"client_id", id}, more...)...)
		if hint != "" {
			v.Set("id_token_hint", hint)
		}
		to := b.open(r.authURL(v))
		asked, err := r.server.LoginRequest(t.Context(), to.Query().Get("login_challenge"))
		if err != nil {
			t.Fatal(err)
		}
		accept := oauth2.AcceptLogin{Subject: subject, Remember: true, ForceSubjectIdentifier: forced}
		to = b.open(must(r.server.AcceptLogin(t.Context(), asked.Challenge, accept)))
		if e := to.Query().Get("error"); e != "" {
			return e
		}
		code := b.consent(to.Query().Get("consent_challenge")).Query().Get("code")
		form := pairs("grant_type", "authorization_code", "code", code, "redirect_uri", "http://127.0.0.1/cb", "code_verifier", verifier)
		a := r.postRaw("/oauth2/token", id+":secret", form.Encode())
		if asked.Skip {
			return "skipped " + a.str("id_token")
		}
		return a.str("id_token")
	}
	b := r.browser()
	own := ask(b, "alice", "", "", "app")
	foreign := strings.TrimPrefix(ask(b, "alice", "", "", "other"), "skipped ")
	for name, c := range map[string]struct {
		b             *browser
		subject, hint string
		want          string
	}{
		"the same browser":               {b, "alice", own, "skipped "},
		"another browser":                {r.browser(), "alice", own, "ey"},
		"another person":                 {r.browser(), "bob", own, "login_required"},
		"a hint that another sector got": {r.browser(), "alice", foreign, "login_required"},
	} {
		if got := ask(c.b, c.subject, "", c.hint, "app"); !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
	if got := ask(b, "alice", "", foreign, "app"); got != "login_required" {
		t.Errorf("a hint of another sector and this session: %s", got)
	}
	// A subject that the login app chose is known by it, or by the session.
	b = r.browser()
	chosen := ask(b, "carol", "c-1", "", "app")
	if sub := said(t, chosen, "JWT")["sub"]; sub != "c-1" {
		t.Errorf("the chosen subject is %v", sub)
	}
	if got := ask(b, "carol", "c-1", chosen, "app"); !strings.HasPrefix(got, "skipped ") {
		t.Errorf("the session of the hint: %s", got)
	}
	if got := ask(r.browser(), "carol", "c-1", chosen, "app"); !strings.HasPrefix(got, "ey") {
		t.Errorf("the chosen subject in another browser: %s", got)
	}
	// It is about nobody else's session either.
	if got := ask(b, "dora", "", chosen, "app", "prompt", "login"); got != "login_required" {
		t.Errorf("another person in the session of the hint: %s", got)
	}
}

func TestWithoutASaltPairwiseClientsGetNothing(t *testing.T) {
	r := start(t)
	r.client(pairwise)
	b := r.browser()
	to := b.open(must(r.server.AcceptLogin(t.Context(), b.open(r.authURL(request())).Query().Get("login_challenge"), oauth2.AcceptLogin{Subject: "alice"})))
	for i := 0; to.Query().Has("consent_challenge"); i++ {
		if to = b.consent(to.Query().Get("consent_challenge")); i > 1 {
			t.Fatal("consent does not end")
		}
	}
	if to.Query().Get("error") != "server_error" || to.Query().Has("code") {
		t.Errorf("got %s", to)
	}
}
