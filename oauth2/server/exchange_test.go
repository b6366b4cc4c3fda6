package server_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/oauth2"
	"github.com/gatewarden/gatewarden/oauth2/server"
)

const (
	exchangeGrant = "urn:ietf:params:oauth:grant-type:token-exchange"
	accessToken   = "urn:ietf:params:oauth:token-type:access_token"
)

// exchanger registers the client gate, which may exchange tokens.
func (r *rig) exchanger(changes ...func(*oauth2.Client)) oauth2.Client {
	r.t.Helper()
	return r.client(append([]func(*oauth2.Client){func(c *oauth2.Client) {
		c.ID, c.GrantTypes, c.RedirectURIs = "gate", []string{exchangeGrant}, nil
	}}, changes...)...)
}

func (r *rig) exchange(token string, form ...string) answer {
	r.t.Helper()
	return r.post("/oauth2/token", "gate:secret", append([]string{"grant_type", exchangeGrant, "subject_token", token, "subject_token_type", accessToken}, form...)...)
}

func TestAnExchangedTokenIsAboutTheSameSubjectAndNamesTheActor(t *testing.T) {
	for _, strategy := range []string{server.Opaque, server.JWT} {
		t.Run(strategy, func(t *testing.T) {
			r := start(t, func(o *server.Options) { o.AccessTokenStrategy = strategy })
			r.client()
			r.exchanger()
			r.exchanger(func(c *oauth2.Client) { c.ID = "second" })
			subject := r.redeem(r.code("scope", "openid offline_access read write", "audience", "api other")).str("access_token")
			a := r.exchange(subject, "scope", "read", "audience", "api", "requested_token_type", accessToken)
			if a.status != 200 {
				t.Fatalf("got %d %s", a.status, a.raw)
			}
			token := a.str("access_token")
			delete(a.json, "access_token")
			delete(a.json, "expires_in")
			if d := cmp.Diff(map[string]any{"scope": "read", "token_type": "bearer", "issued_token_type": accessToken}, a.json); d != "" {
				t.Error(d)
			}
			got, err := r.server.Introspect(context.Background(), token)
			if err != nil {
				t.Fatal(err)
			}
			want := access.Token{Active: true, Subject: "alice", ClientID: "gate", Issuer: r.url, TokenType: "Bearer", TokenUse: "access_token",
				Scope: []string{"read"}, Audience: []string{"api"}, Claims: map[string]any{"act": map[string]any{"sub": "gate"}}}
			if d := cmp.Diff(want, got, cmpopts.IgnoreFields(access.Token{}, "ID", "IssuedAt", "NotBefore", "ExpiresAt", "Extra")); d != "" {
				t.Error(d)
			}
			if strategy == server.JWT {
				payload, err := ring().Verify(context.Background(), token, "at+jwt")
				var claims struct {
					Act map[string]any `json:"act"`
					Sub string         `json:"sub"`
				}
				if err != nil || json.Unmarshal(payload, &claims) != nil || claims.Sub != "alice" || claims.Act["sub"] != "gate" {
					t.Errorf("claims %s, %v", payload, err)
				}
			}
			// A second exchange says for whom the first one was.
			second := r.post("/oauth2/token", "second:secret", "grant_type", exchangeGrant, "subject_token", token, "subject_token_type", accessToken)
			told := r.post("/oauth2/introspect", "second:secret", "token", second.str("access_token"))
			if d := cmp.Diff(map[string]any{"sub": "second", "act": map[string]any{"sub": "gate"}}, told.json["act"]); d != "" {
				t.Errorf("act of the second exchange: %s\n%s", told.raw, d)
			}
			if told.str("scope") != "read" || told.str("sub") != "alice" {
				t.Errorf("the second exchange: %s", told.raw)
			}
		})
	}
}

func TestAnExchangeNeverWidensOrProlongs(t *testing.T) {
	r := start(t)
	r.client(func(c *oauth2.Client) { c.ClientCredentialsGrantAccess = "5m" })
	r.exchanger(func(c *oauth2.Client) { c.Scope, c.Audience = "read admin", []string{"api", "foreign"} })
	subject := r.machineToken("scope", "read write", "audience", "api")
	for name, c := range map[string]struct {
		form  []string
		code  string
		scope string
	}{
		"nothing asked: what the client may have": {nil, "", "read"},
		"a part":                             {[]string{"scope", "read", "audience", "api"}, "", "read"},
		"a scope that the subject lacks":     {[]string{"scope", "admin"}, "invalid_scope", ""},
		"a scope that the client lacks":      {[]string{"scope", "write"}, "invalid_scope", ""},
		"one scope too many":                 {[]string{"scope", "read admin"}, "invalid_scope", ""},
		"a scope in capitals":                {[]string{"scope", "READ"}, "invalid_scope", ""},
		"an audience that the subject lacks": {[]string{"audience", "foreign"}, "invalid_target", ""},
		"an audience that nobody has":        {[]string{"audience", "x"}, "invalid_target", ""},
		"a resource":                         {[]string{"resource", "https://api/"}, "invalid_target", ""},
	} {
		a := r.exchange(subject, c.form...)
		if a.str("error") != c.code || a.str("scope") != c.scope || (c.code == "") != (a.status == 200) {
			t.Errorf("%s: got %d %s", name, a.status, a.raw)
		}
	}
	r.wait(4 * time.Minute)
	a := r.exchange(subject)
	if left, _ := a.json["expires_in"].(float64); left < 1 || left > 60 {
		t.Errorf("a token that lives for a minute was exchanged for one that lives for %vs", left)
	}
	r.wait(61 * time.Second)
	if r.isActive(a.str("access_token")) {
		t.Error("the exchanged token outlives the subject token")
	}
	r.wants(r.exchange(subject), 400, "invalid_request")
}

func TestOnlyActiveAccessTokensAreExchanged(t *testing.T) {
	r := start(t)
	r.client()
	r.exchanger()
	tokens := r.tokens()
	good := tokens.str("access_token")
	for name, form := range map[string][]string{
		"no token":                {"subject_token", "", "subject_token_type", accessToken},
		"no type":                 {"subject_token", good},
		"another type":            {"subject_token", good, "subject_token_type", "urn:ietf:params:oauth:token-type:refresh_token"},
		"an unknown type":         {"subject_token", good, "subject_token_type", "x"},
		"another type is wanted":  {"subject_token", good, "subject_token_type", accessToken, "requested_token_type", "urn:ietf:params:oauth:token-type:refresh_token"},
		"an actor token":          {"subject_token", good, "subject_token_type", accessToken, "actor_token", good, "actor_token_type", accessToken},
		"a refresh token":         {"subject_token", tokens.str("refresh_token"), "subject_token_type", accessToken},
		"an ID token":             {"subject_token", tokens.str("id_token"), "subject_token_type", accessToken},
		"a code":                  {"subject_token", r.code(), "subject_token_type", accessToken},
		"an invented token":       {"subject_token", "ory_at_invented", "subject_token_type", accessToken},
		"a changed token":         {"subject_token", good + "x", "subject_token_type", accessToken},
		"an unsigned JWT":         {"subject_token", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSJ9.", "subject_token_type", accessToken},
		"no more than whitespace": {"subject_token", " ", "subject_token_type", accessToken},
	} {
		a := r.post("/oauth2/token", "gate:secret", append([]string{"grant_type", exchangeGrant}, form...)...)
		if a.status != 400 || a.str("error") != "invalid_request" {
			t.Errorf("%s: got %d %s", name, a.status, a.raw)
		}
	}
	r.client(public, func(c *oauth2.Client) { c.GrantTypes = []string{exchangeGrant} })
	r.wants(r.post("/oauth2/token", "", "client_id", "spa", "grant_type", exchangeGrant, "subject_token", good, "subject_token_type", accessToken), 400, "unauthorized_client")
	r.wants(r.post("/oauth2/token", "app:secret", "grant_type", exchangeGrant, "subject_token", good, "subject_token_type", accessToken), 400, "unauthorized_client")

	// A chain has an end.
	token := good
	for n := range 12 {
		a := r.exchange(token)
		if a.status != 200 {
			if r.wants(a, 400, "invalid_request"); n < 8 {
				t.Errorf("the chain ended after %d exchanges", n)
			}
			return
		}
		token = a.str("access_token")
	}
	t.Error("a chain of exchanges has no end")
}

func TestATokenThatIsBoundToAKeyIsNotExchanged(t *testing.T) {
	r := start(t)
	r.client()
	r.exchanger()
	token := r.machineToken("scope", "read")
	for _, bound := range []string{`{"jkt":"thumb"}`, `{"x5t#S256":"digest"}`} {
		r.store.session = []byte(`{"cnf":` + bound + `}`)
		r.wants(r.exchange(token), 400, "invalid_request")
	}
	r.store.session = []byte(`{}`)
	if a := r.exchange(token); a.status != 200 {
		t.Errorf("a token that is bound to nothing: %d %s", a.status, a.raw)
	}
}

func TestAnExchangedTokenEndsWithItsFamilyAndDoesNotEndIt(t *testing.T) {
	r := start(t)
	r.client()
	r.exchanger()
	first := r.tokens()
	exchanged := r.exchange(first.str("access_token")).str("access_token")
	other := r.exchange(first.str("access_token")).str("access_token")
	if !r.isActive(exchanged) || !r.isActive(other) {
		t.Fatal("exchanged tokens are not active")
	}
	// Who exchanged may give back what it got, and nothing else.
	if a := r.post("/oauth2/revoke", "gate:secret", "token", exchanged); a.status != 200 || r.isActive(exchanged) {
		t.Errorf("revoking the exchanged token: %d %s", a.status, a.raw)
	}
	if !r.isActive(first.str("access_token")) || !r.isActive(other) {
		t.Error("revoking one exchanged token ended other tokens")
	}
	if a := r.post("/oauth2/revoke", "app:secret", "token", first.str("refresh_token")); a.status != 200 || r.isActive(other) || r.isActive(first.str("access_token")) {
		t.Errorf("revoking the authorization left a token: %d %s", a.status, a.raw)
	}
	r.wants(r.exchange(first.str("access_token")), 400, "invalid_request")
}

func TestAnExchangeThatARevocationOvertakesLeavesNothing(t *testing.T) {
	r := start(t)
	r.client()
	r.exchanger()
	first := r.tokens()
	r.store.issued = nil
	r.store.beforeIssue.set(func() {
		if a := r.post("/oauth2/revoke", "app:secret", "token", first.str("refresh_token")); a.status != 200 {
			t.Errorf("revoke: %d %s", a.status, a.raw)
		}
	})
	a := r.exchange(first.str("access_token"))
	if a.status != 400 || a.str("access_token") != "" {
		t.Errorf("got %d %s", a.status, a.raw)
	}
	if n := len(r.store.issued); n != 1 {
		t.Fatalf("%d tokens were stored", n)
	}
	if _, err := r.store.AccessToken(context.Background(), r.store.issued[0]); !fault.Is(err, fault.NotFound) {
		t.Error("the token that came too late is still stored")
	}
}

func TestAnExchangeWithoutAStoreIsTemporarilyUnavailable(t *testing.T) {
	r := start(t)
	r.client()
	r.exchanger()
	token := r.tokens().str("access_token")
	r.store.down.Store(true)
	a := r.exchange(token)
	if a.status != 503 || a.str("error") != "temporarily_unavailable" || strings.Contains(a.raw, "secret detail") {
		t.Errorf("got %d %s", a.status, a.raw)
	}
}
