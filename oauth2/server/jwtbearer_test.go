package server_test

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatewarden/gatewarden/oauth2"
	"github.com/gatewarden/gatewarden/oauth2/server"
)

const jwtBearer = "urn:ietf:params:oauth:grant-type:jwt-bearer"

// trust lets app buy tokens with assertions of the signer.
func (r *rig) trust(s signer, changes ...func(*oauth2.TrustGrant)) {
	r.t.Helper()
	public := s.key.Public()
	raw, err := json.Marshal(public)
	if err != nil {
		r.t.Fatal(err)
	}
	g := oauth2.TrustGrant{
		ID: "grant-" + s.jkt(), Issuer: "https://issuer.test", Subject: "alice", Scope: []string{"read", "write"}, JWK: raw,
		PublicKey: oauth2.TrustedKey{Set: "https://issuer.test", KeyID: s.key.KeyID}, ExpiresAt: time.Now().Add(24 * time.Hour),
	}
	for _, change := range changes {
		change(&g)
	}
	if err := r.store.CreateTrustGrant(context.Background(), g); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) bought(jti string) object {
	return object{"iss": "https://issuer.test", "sub": "alice", "aud": r.url + "/oauth2/token", "jti": jti, "exp": time.Now().Add(time.Duration(r.ahead.Load())).Add(time.Minute).Unix()}
}

func (r *rig) buy(compact string, form ...string) answer {
	r.t.Helper()
	return r.post("/oauth2/token", "app:secret", append([]string{"grant_type", jwtBearer, "assertion", compact}, form...)...)
}

func buyer(c *oauth2.Client) { c.GrantTypes = append(c.GrantTypes, jwtBearer) }

func TestAnAssertionOfATrustedIssuerBuysAToken(t *testing.T) {
	r, s := start(t), newSigner(t, "k1", "ES256")
	r.client(buyer)
	r.trust(s)
	a := r.buy(s.sign(r.bought("1"), "kid", "k1", "typ", "JWT"), "scope", "read", "audience", "api")
	if a.status != 200 || a.str("refresh_token") != "" || a.str("id_token") != "" || a.str("scope") != "read" {
		t.Fatalf("%d %s", a.status, a.raw)
	}
	got, err := r.server.Introspect(context.Background(), a.str("access_token"))
	if err != nil || got.Subject != "alice" || got.ClientID != "app" || strings.Join(got.Audience, " ") != "api" {
		t.Errorf("%+v %v", got, err)
	}
	r.wants(r.buy(s.sign(r.bought("1"))), 400, "invalid_grant")
	if a := r.buy(s.sign(with(r.bought("2"), "aud", r.url))); a.status != 200 {
		t.Errorf("for the issuer: %d %s", a.status, a.raw)
	}
}

func TestHostileAssertionsBuyNothing(t *testing.T) {
	r, s, stranger, expired, others := start(t), newSigner(t, "k1", "ES256"), newSigner(t, "k1", "ES256"), newSigner(t, "k2", "ES256"), newSigner(t, "k3", "ES256")
	r.client(buyer)
	r.client(func(c *oauth2.Client) { c.ID = "other" })
	r.trust(s)
	r.trust(expired, func(g *oauth2.TrustGrant) { g.ExpiresAt = time.Now().Add(-time.Second) })
	r.trust(others, func(g *oauth2.TrustGrant) { g.Issuer, g.PublicKey.Set = "https://others.test", "https://others.test" })
	good := r.bought("x")
	for name, compact := range map[string]string{
		"a stranger's":          stranger.sign(good),
		"another issuer's key":  others.sign(good),
		"a grant that is over":  expired.sign(good),
		"about somebody else":   s.sign(with(good, "sub", "bob")),
		"about nobody":          s.sign(with(good, "sub", nil)),
		"an unknown issuer":     s.sign(with(good, "iss", "https://evil.test")),
		"no issuer":             s.sign(with(good, "iss", nil)),
		"for another server":    s.sign(with(good, "aud", "https://evil.test")),
		"for nobody":            s.sign(with(good, "aud", nil)),
		"no jti":                s.sign(with(good, "jti", nil)),
		"no exp":                s.sign(with(good, "exp", nil)),
		"it has expired":        s.sign(with(good, "exp", time.Now().Add(-time.Minute).Unix())),
		"it lives too long":     s.sign(with(good, "exp", time.Now().Add(721*time.Hour).Unix())),
		"it is not valid yet":   s.sign(with(good, "nbf", time.Now().Add(time.Hour).Unix())),
		"another kind of token": s.sign(good, "typ", "at+jwt"),
		"an unknown key id":     s.sign(good, "kid", "k9"),
		"no signature":          strings.Join([]string{part(`{"alg":"none"}`), part(`{"iss":"https://issuer.test","sub":"alice"}`), ""}, "."),
		"nothing":               "",
		"duplicate claims":      s.sign(`{"iss":"https://issuer.test","sub":"alice","sub":"alice"}`),
	} {
		if a := r.buy(compact); a.status != 400 || a.str("error") != "invalid_grant" {
			t.Errorf("%s: %d %s", name, a.status, a.raw)
		}
	}
	r.wants(r.buy(s.sign(good), "scope", "openid"), 400, "invalid_scope")
	r.wants(r.buy(s.sign(good), "audience", "foreign"), 400, "invalid_request")
	r.wants(r.post("/oauth2/token", "other:secret", "grant_type", jwtBearer, "assertion", s.sign(good)), 400, "unauthorized_client")
	r.wants(r.post("/oauth2/token", "", "grant_type", jwtBearer, "assertion", s.sign(good)), 401, "invalid_client")
	if a := r.buy(s.sign(good)); a.status != 200 {
		t.Errorf("the good one: %d %s", a.status, a.raw)
	}
}

func TestOfParallelUsesOfABoughtAssertionOneWins(t *testing.T) {
	r, s := start(t), newSigner(t, "k1", "ES256")
	r.client(buyer)
	r.trust(s)
	compact := s.sign(r.bought("once"))
	var won atomic.Int32
	var group sync.WaitGroup
	for range 64 {
		group.Go(func() {
			switch a := r.buy(compact); {
			case a.status == 200:
				won.Add(1)
			case a.str("error") != "invalid_grant":
				t.Errorf("%d %s", a.status, a.raw)
			}
		})
	}
	group.Wait()
	if won.Load() != 1 {
		t.Errorf("%d of 64 won", won.Load())
	}
}

func grace(period time.Duration, reuses int) change {
	return func(o *server.Options) { o.RefreshGrace = server.RefreshGrace{Period: period, Reuses: reuses} }
}

func (r *rig) refresh(token string) answer {
	r.t.Helper()
	return r.post("/oauth2/token", "app:secret", "grant_type", "refresh_token", "refresh_token", token)
}

func TestARotatedRefreshTokenIsGoodWithinTheGracePeriodOnly(t *testing.T) {
	r := start(t, grace(10*time.Second, 0))
	r.client()
	r.client(func(c *oauth2.Client) { c.ID = "other" })
	old := r.tokens().str("refresh_token")
	first := r.refresh(old)
	again := r.refresh(old)
	if first.status != 200 || again.status != 200 || again.str("refresh_token") == first.str("refresh_token") {
		t.Fatalf("%d %s, %d %s", first.status, first.raw, again.status, again.raw)
	}
	if !r.isActive(first.str("access_token")) || !r.isActive(again.str("access_token")) {
		t.Error("one ended the other")
	}
	r.wants(r.post("/oauth2/token", "other:secret", "grant_type", "refresh_token", "refresh_token", old), 400, "invalid_grant")
	if next := r.refresh(again.str("refresh_token")); next.status != 200 {
		t.Errorf("the second's successor: %d %s", next.status, next.raw)
	}
	next := r.refresh(first.str("refresh_token"))
	r.wait(11 * time.Second)
	r.wants(r.refresh(old), 400, "invalid_grant")
	if r.isActive(next.str("access_token")) || r.refresh(next.str("refresh_token")).status != 400 {
		t.Error("reuse after the grace period left tokens good")
	}
}

func TestReusesWithinTheGracePeriodAreCounted(t *testing.T) {
	r := start(t, grace(time.Minute, 2))
	r.client()
	old := r.tokens().str("refresh_token")
	for i := range 3 {
		if a := r.refresh(old); a.status != 200 {
			t.Fatalf("use %d: %d %s", i, a.status, a.raw)
		}
	}
	r.wants(r.refresh(old), 400, "invalid_grant")
	r.wants(r.refresh(old), 400, "invalid_grant")
}

func TestParallelRefreshesWithinTheGracePeriodAllWin(t *testing.T) {
	r := start(t, grace(10*time.Second, 0))
	r.client()
	old := r.tokens().str("refresh_token")
	var group sync.WaitGroup
	for range 16 {
		group.Go(func() {
			if a := r.refresh(old); a.status != 200 {
				t.Errorf("%d %s", a.status, a.raw)
			}
		})
	}
	group.Wait()
	// A revocation ends the grace.
	if a := r.post("/oauth2/revoke", "app:secret", "token", r.refresh(old).str("refresh_token")); a.status != 200 {
		t.Fatalf("%d %s", a.status, a.raw)
	}
	r.wants(r.refresh(old), 400, "invalid_grant")
}
