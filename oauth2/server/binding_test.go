package server_test

import (
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/internal/testca"
	"github.com/gatewarden/gatewarden/oauth2"
	"github.com/gatewarden/gatewarden/oauth2/server"
)

// jkt is the thumbprint of the signer's key.
func (s signer) jkt() string {
	s.t.Helper()
	sum, err := s.key.Thumbprint(crypto.SHA256)
	if err != nil {
		s.t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(sum)
}

// proof signs a DPoP proof.
func (s signer) proof(claims object) string {
	s.t.Helper()
	o := (&jose.SignerOptions{EmbedJWK: true}).WithType("dpop+jwt")
	sign, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(s.key.Algorithm), Key: s.key.Key}, o)
	if err != nil {
		s.t.Fatal(err)
	}
	raw, err := json.Marshal(claims)
	if err != nil {
		s.t.Fatal(err)
	}
	signed, err := sign.Sign(raw)
	if err != nil {
		s.t.Fatal(err)
	}
	compact, err := signed.CompactSerialize()
	if err != nil {
		s.t.Fatal(err)
	}
	return compact
}

var jtis atomic.Int64

// proofClaims are those of a good proof for the token endpoint.
func (r *rig) proofClaims() object {
	return object{"htm": "POST", "htu": r.url + "/oauth2/token", "iat": time.Now().Add(time.Duration(r.ahead.Load())).Unix(), "jti": "jti-" + time.Duration(jtis.Add(1)).String()}
}

// postWith is post with proofs.
func (r *rig) postWith(proofs []string, path, basic string, form ...string) answer {
	r.t.Helper()
	req, err := http.NewRequest("POST", r.url+path, strings.NewReader(pairs(form...).Encode()))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if basic != "" {
		req.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(basic)))
	}
	req.Header["Dpop"] = proofs
	return r.do(r.http, req)
}

// tokenWith asks the token endpoint as app with a good proof of s.
func (r *rig) tokenWith(s signer, form ...string) answer {
	r.t.Helper()
	return r.postWith([]string{s.proof(r.proofClaims())}, "/oauth2/token", "app:secret", form...)
}

func (r *rig) confirmation(token string) access.Confirmation {
	r.t.Helper()
	t, err := r.server.Introspect(context.Background(), token)
	if err != nil || !t.Active {
		r.t.Fatalf("introspection: %+v %v", t, err)
	}
	return t.Bound
}

func TestATokenIsBoundToTheKeyOfTheProof(t *testing.T) {
	for _, strategy := range []string{server.Opaque, server.JWT} {
		r := start(t, func(o *server.Options) { o.AccessTokenStrategy = strategy })
		r.client()
		s := newSigner(t, "", "ES256")
		a := r.tokenWith(s, "grant_type", "client_credentials")
		if a.status != 200 || a.str("token_type") != "DPoP" {
			t.Fatalf("%d %s", a.status, a.raw)
		}
		if diff := cmp.Diff(access.Confirmation{JKT: s.jkt()}, r.confirmation(a.str("access_token"))); diff != "" {
			t.Error(diff)
		}
		wire := r.post("/oauth2/introspect", "app:secret", "token", a.str("access_token"))
		if diff := cmp.Diff(object{"jkt": s.jkt()}, wire.json["cnf"]); diff != "" || wire.json["token_type"] != "DPoP" {
			t.Errorf("introspection %s: %s", wire.raw, diff)
		}
		if strategy == server.JWT {
			var said struct {
				Bound object `json:"cnf"`
			}
			raw, err := base64.RawURLEncoding.DecodeString(strings.Split(a.str("access_token"), ".")[1])
			if err != nil || json.Unmarshal(raw, &said) != nil || said.Bound["jkt"] != s.jkt() {
				t.Errorf("claims %s", raw)
			}
		}
		if b := r.post("/oauth2/token", "app:secret", "grant_type", "client_credentials"); b.str("token_type") != "bearer" || r.confirmation(b.str("access_token")) != (access.Confirmation{}) {
			t.Errorf("without proof: %s", b.raw)
		}
	}
}

func TestBrokenProofsBuyNothing(t *testing.T) {
	r := start(t)
	r.client()
	s := newSigner(t, "", "ES256")
	good := r.proofClaims()
	for name, proofs := range map[string][]string{
		"another method":   {s.proof(with(good, "htm", "GET"))},
		"another endpoint": {s.proof(with(good, "htu", r.url+"/oauth2/revoke"))},
		"another server":   {s.proof(with(good, "htu", "https://evil.test/oauth2/token"))},
		"no time":          {s.proof(with(good, "iat", nil))},
		"it is old":        {s.proof(with(good, "iat", time.Now().Add(-2*time.Minute).Unix()))},
		"it is early":      {s.proof(with(good, "iat", time.Now().Add(2*time.Minute).Unix()))},
		"no jti":           {s.proof(with(good, "jti", nil))},
		"two of them":      {s.proof(r.proofClaims()), s.proof(r.proofClaims())},
		"no proof":         {""},
		"another type":     {s.sign(good, "typ", "JWT")},
		"no key":           {s.sign(good, "typ", "dpop+jwt")},
	} {
		a := r.postWith(proofs, "/oauth2/token", "app:secret", "grant_type", "client_credentials")
		if a.status != 400 || a.str("error") != "invalid_dpop_proof" {
			t.Errorf("%s: %d %s", name, a.status, a.raw)
		}
	}
	if a := r.postWith([]string{s.proof(with(good, "htu", r.url+"/oauth2/token?x=y"))}, "/oauth2/token", "app:secret", "grant_type", "client_credentials"); a.status != 200 {
		t.Fatalf("the good one: %d %s", a.status, a.raw)
	}
	r.wants(r.postWith([]string{s.proof(good)}, "/oauth2/token", "app:secret", "grant_type", "client_credentials"), 400, "invalid_dpop_proof")
}

func TestOfParallelUsesOfAProofOneWins(t *testing.T) {
	r, s := start(t), newSigner(t, "", "ES256")
	r.client()
	proof := s.proof(r.proofClaims())
	var won atomic.Int32
	var group sync.WaitGroup
	for range 64 {
		group.Go(func() {
			switch a := r.postWith([]string{proof}, "/oauth2/token", "app:secret", "grant_type", "client_credentials"); {
			case a.status == 200:
				won.Add(1)
			case a.str("error") != "invalid_dpop_proof":
				t.Errorf("%d %s", a.status, a.raw)
			}
		})
	}
	group.Wait()
	if won.Load() != 1 {
		t.Errorf("%d of 64 won", won.Load())
	}
}

func TestNoncesAreGivenAndWanted(t *testing.T) {
	r := start(t, func(o *server.Options) {
		o.DPoP = server.DPoP{NonceTTL: time.Minute, NonceKeys: [][]byte{[]byte("a key of nonces")}}
	})
	r.client()
	s := newSigner(t, "", "ES256")
	ask := func(nonce any) answer {
		return r.postWith([]string{s.proof(with(r.proofClaims(), "nonce", nonce))}, "/oauth2/token", "app:secret", "grant_type", "client_credentials")
	}
	first := ask(nil)
	r.wants(first, 400, "use_dpop_nonce")
	nonce := first.header.Get("DPoP-Nonce")
	if a := ask(nonce); a.status != 200 || a.header.Get("DPoP-Nonce") != "" {
		t.Fatalf("%d %s", a.status, a.raw)
	}
	r.wait(40 * time.Second)
	if a := ask(nonce); a.status != 200 || a.header.Get("DPoP-Nonce") == "" {
		t.Errorf("halfway: %d %s, next nonce %q", a.status, a.raw, a.header.Get("DPoP-Nonce"))
	}
	r.wait(40 * time.Second)
	r.wants(ask(nonce), 400, "use_dpop_nonce")
	r.wants(ask("x"), 400, "use_dpop_nonce")
}

func TestACodeThatIsBoundToAKeyIsGoodWithItOnly(t *testing.T) {
	r := start(t)
	r.client()
	s, thief := newSigner(t, "", "ES256"), newSigner(t, "", "ES256")
	code := r.code("dpop_jkt", s.jkt())
	form := []string{"grant_type", "authorization_code", "code", code, "redirect_uri", "http://127.0.0.1/cb", "code_verifier", verifier}
	r.wants(r.redeem(code), 400, "invalid_grant")
	r.wants(r.tokenWith(thief, form...), 400, "invalid_grant")
	if a := r.tokenWith(s, form...); a.status != 200 || r.confirmation(a.str("access_token")).JKT != s.jkt() {
		t.Fatalf("%d %s", a.status, a.raw)
	}
	to := r.browser().open(r.authURL(request("dpop_jkt", "short")))
	if to.Query().Get("error") != "invalid_request" {
		t.Errorf("a thumbprint that is none: %s", to)
	}
}

func TestARefreshTokenNeverBuysLessBoundTokens(t *testing.T) {
	r := start(t)
	r.client()
	r.client(public)
	s, other := newSigner(t, "", "ES256"), newSigner(t, "", "EdDSA")
	refresh := func(by []signer, basic, token string, form ...string) answer {
		var proofs []string
		for _, one := range by {
			proofs = append(proofs, one.proof(r.proofClaims()))
		}
		return r.postWith(proofs, "/oauth2/token", basic, append([]string{"grant_type", "refresh_token", "refresh_token", token}, form...)...)
	}
	code := func(id string) string { return r.code("client_id", id) }
	redeem := []string{"grant_type", "authorization_code", "redirect_uri", "http://127.0.0.1/cb", "code_verifier", verifier}

	// A confidential client may use another key, but a proof it needs.
	token := r.tokenWith(s, append(redeem, "code", code("app"))...).str("refresh_token")
	r.wants(refresh(nil, "app:secret", token), 400, "invalid_grant")
	a := refresh([]signer{other}, "app:secret", token)
	if a.status != 200 || a.str("token_type") != "DPoP" || r.confirmation(a.str("access_token")).JKT != other.jkt() {
		t.Fatalf("confidential: %d %s", a.status, a.raw)
	}
	r.wants(refresh(nil, "app:secret", a.str("refresh_token")), 400, "invalid_grant")

	// A public client has nothing but the key.
	a = r.postWith([]string{s.proof(r.proofClaims())}, "/oauth2/token", "", append(redeem, "code", code("spa"), "client_id", "spa")...)
	token = a.str("refresh_token")
	r.wants(refresh(nil, "", token, "client_id", "spa"), 400, "invalid_grant")
	r.wants(refresh([]signer{other}, "", token, "client_id", "spa"), 400, "invalid_grant")
	if a = refresh([]signer{s}, "", token, "client_id", "spa"); a.status != 200 || r.confirmation(a.str("access_token")).JKT != s.jkt() {
		t.Fatalf("public: %d %s", a.status, a.raw)
	}
	r.wants(refresh([]signer{other}, "", a.str("refresh_token"), "client_id", "spa"), 400, "invalid_grant")

	// What was not bound may become so.
	token = r.tokens().str("refresh_token")
	if a = refresh([]signer{s}, "app:secret", token); a.str("token_type") != "DPoP" {
		t.Errorf("bound later: %d %s", a.status, a.raw)
	}
}

func TestAClientThatRegisteredBoundTokensGetsNoOthers(t *testing.T) {
	ca := testca.New(t, "clients", time.Now())
	mine, others := ca.Issue(t, nil).Leaf, ca.Issue(t, nil).Leaf
	var shown atomic.Pointer[access.ClientCertificate]
	r := start(t, func(o *server.Options) {
		o.Certificate = func(context.Context) *access.ClientCertificate { return shown.Load() }
	})
	r.client(func(c *oauth2.Client) { c.DPoPBoundAccessTokens = true })
	r.client(func(c *oauth2.Client) { c.ID, c.TLSBoundAccessTokens = "tls", true })
	r.client(func(c *oauth2.Client) { public(c); c.TLSBoundAccessTokens = true })
	r.wants(r.post("/oauth2/token", "app:secret", "grant_type", "client_credentials"), 400, "invalid_dpop_proof")
	r.wants(r.post("/oauth2/token", "tls:secret", "grant_type", "client_credentials"), 400, "invalid_request")

	digest := sha256.Sum256(mine.Raw)
	show := func(one *access.ClientCertificate) { shown.Store(one) }
	certificate := &access.ClientCertificate{Leaf: mine, SHA256: digest}
	stolen := &access.ClientCertificate{Leaf: others, SHA256: sha256.Sum256(others.Raw)}
	show(certificate)
	a := r.post("/oauth2/token", "tls:secret", "grant_type", "client_credentials")
	want := access.Confirmation{X5TS256: base64.RawURLEncoding.EncodeToString(digest[:])}
	if diff := cmp.Diff(want, r.confirmation(a.str("access_token"))); diff != "" || a.str("token_type") != "bearer" {
		t.Errorf("%s: %s", a.raw, diff)
	}
	a = r.post("/oauth2/token", "", "grant_type", "authorization_code", "code", r.code("client_id", "spa"), "redirect_uri", "http://127.0.0.1/cb", "code_verifier", verifier, "client_id", "spa")
	if a.status != 200 {
		t.Fatalf("%d %s", a.status, a.raw)
	}
	show(stolen)
	refresh := []string{"grant_type", "refresh_token", "refresh_token", a.str("refresh_token"), "client_id", "spa"}
	r.wants(r.post("/oauth2/token", "", refresh...), 400, "invalid_grant")
	show(nil)
	r.wants(r.post("/oauth2/token", "", refresh...), 400, "invalid_request")
	if got := r.userinfo("Bearer", a.str("access_token")); got.status != 401 {
		t.Errorf("userinfo without the certificate: %d", got.status)
	}
	show(certificate)
	if got := r.userinfo("Bearer", a.str("access_token")); got.status != 200 {
		t.Errorf("userinfo with the certificate: %d %s", got.status, got.raw)
	}
	if a := r.post("/oauth2/token", "", refresh...); a.status != 200 {
		t.Errorf("%d %s", a.status, a.raw)
	}
}

func (r *rig) userinfo(scheme, token string, proofs ...string) answer {
	r.t.Helper()
	req, err := http.NewRequest("GET", r.url+"/userinfo", nil)
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Authorization", scheme+" "+token)
	req.Header["Dpop"] = proofs
	return r.do(r.http, req)
}

func TestUserinfoWantsWhatTheTokenIsBoundTo(t *testing.T) {
	r := start(t)
	r.client()
	s, thief := newSigner(t, "", "ES256"), newSigner(t, "", "ES256")
	token := r.tokenWith(s, "grant_type", "authorization_code", "code", r.code(), "redirect_uri", "http://127.0.0.1/cb", "code_verifier", verifier).str("access_token")
	loose := r.tokens().str("access_token")
	sum := sha256.Sum256([]byte(token))
	claims := func() object {
		c := with(with(r.proofClaims(), "htm", "GET"), "htu", r.url+"/userinfo")
		return with(c, "ath", base64.RawURLEncoding.EncodeToString(sum[:]))
	}
	for name, a := range map[string]answer{
		"as a bearer token":          r.userinfo("Bearer", token),
		"with a proof, as bearer":    r.userinfo("Bearer", token, s.proof(claims())),
		"without proof":              r.userinfo("DPoP", token),
		"with the thief's proof":     r.userinfo("DPoP", token, thief.proof(claims())),
		"with a proof of no token":   r.userinfo("DPoP", token, s.proof(with(claims(), "ath", nil))),
		"an unbound token, as DPoP":  r.userinfo("DPoP", loose, s.proof(claims())),
		"an unbound token and proof": r.userinfo("Bearer", loose, s.proof(claims())),
	} {
		if a.status != 401 || !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "DPoP error=") {
			t.Errorf("%s: %d %s %s", name, a.status, a.header.Get("WWW-Authenticate"), a.raw)
		}
	}
	proof := s.proof(claims())
	if a := r.userinfo("DPoP", token, proof); a.status != 200 || a.str("sub") != "alice" {
		t.Errorf("%d %s", a.status, a.raw)
	}
	if a := r.userinfo("DPoP", token, proof); a.status != 401 {
		t.Errorf("a second time: %d", a.status)
	}
	if a := r.userinfo("Bearer", loose); a.status != 200 {
		t.Errorf("an unbound token: %d %s", a.status, a.raw)
	}
}

// FuzzProofAtTheTokenEndpoint: whatever comes as a proof binds nothing and is never a
// fault of the server.
func FuzzProofAtTheTokenEndpoint(f *testing.F) {
	r, s := start(f), newSigner(f, "", "ES256")
	r.client()
	f.Add(s.proof(with(r.proofClaims(), "htm", "GET")))
	f.Add(part(`{"typ":"dpop+jwt","alg":"ES256","jwk":{"kty":"EC"}}`) + ".e30.")
	h := r.server.Public()
	f.Fuzz(func(t *testing.T, proof string) {
		req := httptest.NewRequest("POST", "/oauth2/token", strings.NewReader("grant_type=client_credentials"))
		req.Header = http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Dpop": {proof}}
		req.SetBasicAuth("app", "secret")
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, req); w.Code != 400 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
	})
}
