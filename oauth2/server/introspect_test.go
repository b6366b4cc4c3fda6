package server_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/oauth2"
	"github.com/gatewarden/gatewarden/oauth2/server"
)

func TestARevokedTokenIsInactiveAtOnce(t *testing.T) {
	for _, strategy := range []string{server.Opaque, server.JWT} {
		t.Run(strategy, func(t *testing.T) {
			r := start(t, func(o *server.Options) { o.AccessTokenStrategy = strategy })
			r.client()
			token := r.machineToken()
			if !r.isActive(token) || !r.isActive(token) {
				t.Fatal("the token is not active")
			}
			if a := r.post("/oauth2/revoke", "app:secret", "token", token, "token_type_hint", "refresh_token"); a.status != 200 || a.raw != "" {
				t.Fatalf("revoke: %d %s", a.status, a.raw)
			}
			if r.isActive(token) {
				t.Error("the token is still active")
			}
			if a := r.post("/oauth2/revoke", "app:secret", "token", token); a.status != 200 {
				t.Errorf("revoking again: %d %s", a.status, a.raw)
			}
		})
	}
}

func TestATokenIsInactiveFromTheSecondItExpires(t *testing.T) {
	r := start(t, func(o *server.Options) { o.Lifespans.AccessToken = time.Minute })
	r.client()
	token := r.machineToken()
	if !r.isActive(token) {
		t.Fatal("the token is not active")
	}
	r.wait(time.Minute)
	if r.isActive(token) {
		t.Error("the cached token is still active")
	}
	r.server.EvictClient("app")
	if r.isActive(token) {
		t.Error("the stored token is still active")
	}
}

func TestATokenOfADeletedOrDisabledClientIsInactive(t *testing.T) {
	r := start(t)
	c := r.client()
	token := r.machineToken()
	if !r.isActive(token) {
		t.Fatal("the token is not active")
	}
	c.Disabled = true
	if err := r.store.UpdateClient(context.Background(), c); err != nil {
		t.Fatal(err)
	}
	r.server.EvictClient("app")
	if r.isActive(token) {
		t.Error("the token of a disabled client is active")
	}
	r.wants(r.post("/oauth2/token", "app:secret", "grant_type", "client_credentials"), 401, "invalid_client")
	if err := r.store.DeleteClient(context.Background(), "app"); err != nil {
		t.Fatal(err)
	}
	r.server.EvictClient("app")
	if r.isActive(token) {
		t.Error("the token of a deleted client is active")
	}
}

func TestEveryWayToRevokeEvictsWhatIsCached(t *testing.T) {
	ctx := context.Background()
	r := start(t)
	r.client()
	other := oauth2.Client{ID: "b", SecretHash: hashOf("b"), GrantTypes: []string{"client_credentials"}}
	if err := r.store.CreateClient(ctx, other); err != nil {
		t.Fatal(err)
	}
	// follow does what a node does that reads the revision log.
	follow := func(revision int64) {
		t.Helper()
		changes, err := r.store.ChangesSince(ctx, revision, 10)
		if err != nil || len(changes) == 0 {
			t.Fatalf("the log has %v, %v", changes, err)
		}
		for _, c := range changes {
			r.server.Evict(c.Item)
		}
	}
	for name, revoke := range map[string]func(token string){
		"client": func(string) {
			if err := r.server.RevokeClientTokens(ctx, "app"); err != nil {
				t.Fatal(err)
			}
		},
		"another node, client": func(string) {
			_ = r.store.RevokeClientTokens(ctx, "app")
			r.server.Evict("client:app")
		},
		"another node, too long ago": func(string) {
			_ = r.store.RevokeClientTokens(ctx, "app")
			r.server.EvictAll()
		},
		"another node, one token": func(token string) {
			_, signature, _ := strings.Cut(token, ".")
			before, _ := r.store.Revision(ctx)
			if err := r.store.DeleteAccessToken(ctx, signature); err != nil {
				t.Fatal(err)
			}
			follow(before)
		},
		"another node, the authorization": func(token string) {
			before, _ := r.store.Revision(ctx)
			again := start(t, func(o *server.Options) { o.Issuer = r.url; o.Store = r.store })
			a := again.post("/oauth2/revoke", "app:secret", "token", token)
			if a.status != 200 {
				t.Fatalf("revoke: %d %s", a.status, a.raw)
			}
			follow(before)
		},
	} {
		t.Run(name, func(t *testing.T) {
			token, stranger := r.machineToken(), r.post("/oauth2/token", "b:b", "grant_type", "client_credentials").str("access_token")
			if !r.isActive(token) || !r.isActive(stranger) {
				t.Fatal("the tokens are not active")
			}
			revoke(token)
			if r.isActive(token) {
				t.Error("the token is still active")
			}
			if !r.isActive(stranger) {
				t.Error("another client's token is gone")
			}
		})
	}
}

// A token that is being looked up while it is revoked must not stay in the cache.
func TestALookupThatARevocationOvertakesIsNotCached(t *testing.T) {
	r := start(t)
	r.client()
	token := r.machineToken()
	r.store.afterReadback.set(func() {
		if a := r.post("/oauth2/revoke", "app:secret", "token", token); a.status != 200 {
			t.Errorf("revoke: %d %s", a.status, a.raw)
		}
	})
	if !r.isActive(token) {
		t.Fatal("the lookup began before the revocation")
	}
	if r.isActive(token) {
		t.Error("the revoked token is active")
	}
}

func TestATokenOfOneKindIsNotLookedUpAsAnother(t *testing.T) {
	r := start(t)
	r.client()
	refresh := strings.TrimPrefix(r.tokens().str("refresh_token"), "ory_rt_")
	r.store.down.Store(true) // a lookup would fail
	for _, token := range []string{"ory_at_" + refresh, refresh} {
		if r.isActive(token) {
			t.Error("a refresh token is an active access token")
		}
	}
}

// What is cached is not believed while changes of other nodes are not heard of.
func TestCachedTokensAndClientsAreAskedForAnewWhileTheyMayBeOutOfDate(t *testing.T) {
	for name, late := range map[string]func(o *server.Options, fresh func() bool){
		"tokens":  func(o *server.Options, fresh func() bool) { o.FreshTokens = fresh },
		"clients": func(o *server.Options, fresh func() bool) { o.FreshClients = fresh },
	} {
		fresh := true
		r := start(t, func(o *server.Options) { late(o, func() bool { return fresh }) })
		r.client()
		token := r.machineToken()
		if !r.isActive(token) {
			t.Fatalf("%s: the token is not active", name)
		}
		if err := r.store.RevokeClientTokens(context.Background(), "app"); err != nil { // by another node
			t.Fatal(err)
		}
		if !r.isActive(token) {
			t.Errorf("%s: it was not cached, so this shows nothing", name)
		}
		if fresh = false; r.isActive(token) {
			t.Errorf("%s: a revoked token is active", name)
		}
	}
}

func TestStringsThatAreNoTokensAreInactive(t *testing.T) {
	r := start(t)
	r.client()
	token := r.machineToken()
	random, signature, _ := strings.Cut(strings.TrimPrefix(token, "ory_at_"), ".")
	idToken, err := ring().Sign(context.Background(), "RS256", "JWT", []byte(`{"iss":"`+r.url+`","jti":"`+signature+`"}`), time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	foreign, _ := ring().Sign(context.Background(), "RS256", "at+jwt", []byte(`{"iss":"https://evil.test","jti":"`+signature+`"}`), time.Time{})
	for name, text := range map[string]string{
		"empty": "", "garbage": "garbage", "a signature": signature, "without prefix": random + "." + signature,
		"as a refresh token": "ory_rt_" + random + "." + signature, "as a code": "ory_ac_" + random + "." + signature,
		"cut": token[:len(token)-1], "padded": token + "=", "twice": token + token, "other random part": "ory_at_" + strings.Repeat("A", 43) + "." + signature,
		"an ID token": idToken, "of another issuer": foreign, "alg none": "eyJhbGciOiJub25lIn0.e30.", "three dots": "...", "long": strings.Repeat("a.", 50_000),
	} {
		if r.isActive(text) {
			t.Errorf("%s: %.80q is active", name, text)
		}
	}
	if !r.isActive(token) {
		t.Error("the token itself is not active")
	}
}

func TestSystemSecretsRotate(t *testing.T) {
	first, second := []byte("the first system secret"), []byte("the second system secret")
	r := start(t, func(o *server.Options) { o.Secrets = [][]byte{first} })
	r.client()
	token := r.machineToken()
	with := func(secrets ...[]byte) *rig {
		return start(t, func(o *server.Options) { o.Secrets, o.Store = secrets, r.store })
	}
	if !with(second, first).isActive(token) {
		t.Error("a token of the previous secret is inactive")
	}
	if with(second).isActive(token) {
		t.Error("a token of a secret that is gone is active")
	}
	// The new secret signs.
	if !with(second).isActive(with(second, first).machineToken()) {
		t.Error("the first secret does not sign")
	}
}

func TestAClientIsToldOnlyAboutItsOwnTokens(t *testing.T) {
	r := start(t)
	r.client()
	r.client(func(c *oauth2.Client) { c.ID = "api" }) // a resource server, named by the audience
	r.client(func(c *oauth2.Client) { c.ID = "stranger" })
	r.client(public)
	token := r.machineToken("audience", "api", "scope", "read")
	for _, caller := range []string{"app", "api"} {
		a := r.post("/oauth2/introspect", caller+":secret", "token", token)
		if a.status != 200 || a.json["active"] != true || a.str("client_id") != "app" || a.str("scope") != "read" {
			t.Errorf("%s: got %d %s", caller, a.status, a.raw)
		}
	}
	for name, form := range map[string][]string{
		"stranger:secret": {"token", token},
		"app:secret":      {"token", token, "scope", "write"},
		"api:secret":      {"token", "garbage"},
	} {
		if a := r.post("/oauth2/introspect", name, form...); a.status != 200 || a.raw != `{"active":false}` {
			t.Errorf("%s: got %d %s", name, a.status, a.raw)
		}
	}
	r.wants(r.post("/oauth2/introspect", "", "token", token), 401, "invalid_client")
	r.wants(r.post("/oauth2/introspect", "app:wrong", "token", token), 401, "invalid_client")
	r.wants(r.post("/oauth2/introspect", "", "client_id", "spa", "token", token), 401, "invalid_client")
	r.wants(r.post("/oauth2/introspect", "app:secret"), 400, "invalid_request")
}

func TestWhatATokenIsBoundToIsTold(t *testing.T) {
	for session, want := range map[string]struct {
		kind  string
		bound access.Confirmation
		wire  string
	}{
		`{}`:                                 {"Bearer", access.Confirmation{}, "null"},
		`{"cnf":{"jkt":"thumb"}}`:            {"DPoP", access.Confirmation{JKT: "thumb"}, `{"jkt":"thumb"}`},
		`{"cnf":{"x5t#S256":"digest"}}`:      {"Bearer", access.Confirmation{X5TS256: "digest"}, `{"x5t#S256":"digest"}`},
		`{"cnf":{"jkt":"a","x5t#S256":"b"}}`: {"DPoP", access.Confirmation{JKT: "a", X5TS256: "b"}, `{"jkt":"a","x5t#S256":"b"}`},
	} {
		r := start(t)
		r.client()
		token := r.machineToken()
		r.store.session = []byte(session)
		got, err := r.server.Introspect(t.Context(), token)
		if err != nil || got.TokenType != want.kind || got.Bound != want.bound {
			t.Errorf("%s: got %q %+v, %v", session, got.TokenType, got.Bound, err)
		}
		answer, err := r.server.IntrospectWire(t.Context(), token, "")
		wire, _ := json.Marshal(answer.Bound)
		if err != nil || answer.TokenType != want.kind || string(wire) != want.wire {
			t.Errorf("%s: got %q %s, %v", session, answer.TokenType, wire, err)
		}
	}
}

func TestTheManagementHandlerTellsEverythingToWhoeverReachesIt(t *testing.T) {
	r := start(t)
	r.client()
	tokens := r.tokens()
	ask := func(token string) map[string]any {
		req := httptest.NewRequest("POST", "/oauth2/introspect", strings.NewReader(pairs("token", token).Encode()))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		r.server.IntrospectHandler().ServeHTTP(w, req)
		var got map[string]any
		if w.Code != http.StatusOK || json.Unmarshal(w.Body.Bytes(), &got) != nil {
			t.Fatalf("got %d %s", w.Code, w.Body)
		}
		delete(got, "exp")
		delete(got, "iat")
		delete(got, "nbf")
		return got
	}
	want := map[string]any{"active": true, "scope": "openid offline_access read", "client_id": "app", "sub": "alice", "aud": []any{"api"},
		"iss": r.url, "token_type": "Bearer", "token_use": "access_token"}
	if d := cmp.Diff(want, ask(tokens.str("access_token"))); d != "" {
		t.Error(d)
	}
	want["token_use"] = "refresh_token"
	if d := cmp.Diff(want, ask(tokens.str("refresh_token"))); d != "" {
		t.Error(d)
	}
}

func TestAForeignTokenIsNotRevoked(t *testing.T) {
	r := start(t)
	r.client()
	r.client(func(c *oauth2.Client) { c.ID = "stranger" })
	tokens := r.tokens()
	for _, name := range []string{"access_token", "refresh_token"} {
		r.wants(r.post("/oauth2/revoke", "stranger:secret", "token", tokens.str(name)), 400, "unauthorized_client")
	}
	if !r.isActive(tokens.str("access_token")) {
		t.Error("the token was revoked by a stranger")
	}
	r.wants(r.post("/oauth2/revoke", "", "token", tokens.str("access_token")), 401, "invalid_client")
	r.wants(r.post("/oauth2/revoke", "app:secret"), 400, "invalid_request")
	if a := r.post("/oauth2/revoke", "app:secret", "token", "unknown"); a.status != 200 {
		t.Errorf("an unknown token: %d %s", a.status, a.raw)
	}
}

func TestAPublicClientRevokesItsOwnTokens(t *testing.T) {
	r := start(t)
	r.client(public)
	b := r.browser()
	code := b.consent(b.login(request("client_id", "spa"), oauth2.AcceptLogin{Subject: "alice"})).Query().Get("code")
	token := r.post("/oauth2/token", "", "grant_type", "authorization_code", "client_id", "spa", "code", code,
		"redirect_uri", "http://127.0.0.1/cb", "code_verifier", verifier).str("access_token")
	if !r.isActive(token) {
		t.Fatal("the token is not active")
	}
	if a := r.post("/oauth2/revoke", "", "client_id", "spa", "token", token); a.status != 200 || r.isActive(token) {
		t.Errorf("got %d %s", a.status, a.raw)
	}
}

func TestRevokingTheRefreshTokenEndsTheAuthorization(t *testing.T) {
	r := start(t)
	r.client()
	tokens := r.tokens()
	if !r.isActive(tokens.str("access_token")) {
		t.Fatal("the token is not active")
	}
	if a := r.post("/oauth2/revoke", "app:secret", "token", tokens.str("refresh_token")); a.status != 200 {
		t.Fatalf("revoke: %d %s", a.status, a.raw)
	}
	if r.isActive(tokens.str("access_token")) {
		t.Error("the access token is still active")
	}
	r.wants(r.post("/oauth2/token", "app:secret", "grant_type", "refresh_token", "refresh_token", tokens.str("refresh_token")), 400, "invalid_grant")
}
