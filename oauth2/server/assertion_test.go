package server_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/internal/testca"
	"github.com/gatewarden/gatewarden/keys"
	"github.com/gatewarden/gatewarden/oauth2"
	"github.com/gatewarden/gatewarden/oauth2/server"
)

const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// signer signs as a client does.
type signer struct {
	t   testing.TB
	key jose.JSONWebKey
}

func newSigner(t testing.TB, kid, alg string) signer {
	t.Helper()
	k := jose.JSONWebKey{KeyID: kid, Algorithm: alg, Use: "sig"}
	var err error
	if alg == "EdDSA" {
		_, k.Key, err = ed25519.GenerateKey(rand.Reader)
	} else {
		k.Key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err != nil {
		t.Fatal(err)
	}
	return signer{t, k}
}

// jwks is the signer's public key, and others beside it.
func (s signer) jwks(more ...jose.JSONWebKey) json.RawMessage {
	s.t.Helper()
	raw, err := json.Marshal(jose.JSONWebKeySet{Keys: append([]jose.JSONWebKey{s.key.Public()}, more...)})
	if err != nil {
		s.t.Fatal(err)
	}
	return raw
}

// sign returns a compact JWS; an empty member of the header is left out.
func (s signer) sign(payload any, header ...string) string {
	s.t.Helper()
	o := &jose.SignerOptions{}
	for i := 0; i < len(header); i += 2 {
		if header[i+1] != "" {
			o.WithHeader(jose.HeaderKey(header[i]), header[i+1])
		}
	}
	by := jose.SigningKey{Algorithm: jose.SignatureAlgorithm(s.key.Algorithm), Key: s.key.Key}
	sign, err := jose.NewSigner(by, o)
	if err != nil {
		s.t.Fatal(err)
	}
	text, ok := payload.(string)
	if !ok {
		raw, err := json.Marshal(payload)
		if err != nil {
			s.t.Fatal(err)
		}
		text = string(raw)
	}
	signed, err := sign.Sign([]byte(text))
	if err != nil {
		s.t.Fatal(err)
	}
	compact, err := signed.CompactSerialize()
	if err != nil {
		s.t.Fatal(err)
	}
	return compact
}

type object = map[string]any

// with returns the claims with members replaced; nil removes one.
func with(claims object, name string, value any) object {
	out := object{}
	for k, v := range claims {
		out[k] = v
	}
	if out[name] = value; value == nil {
		delete(out, name)
	}
	return out
}

func (r *rig) assertion(jti string) object {
	now := time.Now().Add(time.Duration(r.ahead.Load()))
	return object{"iss": "app", "sub": "app", "aud": r.url, "jti": jti, "exp": now.Add(time.Minute).Unix(), "iat": now.Unix()}
}

func (r *rig) assert(compact string, more ...string) answer {
	r.t.Helper()
	return r.post("/oauth2/token", "", append([]string{"grant_type", "client_credentials", "client_assertion_type", assertionType, "client_assertion", compact}, more...)...)
}

// signing registers the client app that authenticates with private_key_jwt.
func (r *rig) signing(s signer, changes ...func(*oauth2.Client)) {
	r.client(append([]func(*oauth2.Client){func(c *oauth2.Client) {
		c.SecretHash, c.TokenEndpointAuthMethod, c.AuthMethodSet, c.JWKS = "", "private_key_jwt", true, s.jwks()
	}}, changes...)...)
}

func TestAClientAuthenticatesWithAKeyOfItsOwn(t *testing.T) {
	for _, alg := range []string{"ES256", "EdDSA"} {
		r, s := start(t), newSigner(t, "k1", alg)
		r.signing(s)
		if a := r.assert(s.sign(r.assertion("1"), "kid", "k1", "typ", "JWT")); a.status != 200 || !r.isActive(a.str("access_token")) {
			t.Fatalf("%s: %d %s", alg, a.status, a.raw)
		}
		for i, header := range [][]string{{}, {"typ", "client-authentication+jwt"}} {
			if a := r.assert(s.sign(r.assertion(string(rune('a'+i))), header...), "client_id", "app"); a.status != 200 {
				t.Errorf("%s %v: %d %s", alg, header, a.status, a.raw)
			}
		}
		token := r.assert(s.sign(r.assertion("z"))).str("access_token")
		a := r.post("/oauth2/introspect", "", "token", token, "client_assertion_type", assertionType, "client_assertion", s.sign(r.assertion("y")))
		if a.json["active"] != true {
			t.Errorf("introspection: %d %s", a.status, a.raw)
		}
	}
}

func TestHostileClientAssertionsAuthenticateNobody(t *testing.T) {
	r, s, stranger := start(t), newSigner(t, "k1", "ES256"), newSigner(t, "k1", "ES256")
	r.signing(s)
	r.client(func(c *oauth2.Client) { c.ID = "secretive" })
	good := r.assertion("x")
	now := time.Now()
	for name, compact := range map[string]string{
		"another's signature":        stranger.sign(good),
		"an unknown kid":             s.sign(good, "kid", "k2"),
		"no subject":                 s.sign(with(good, "sub", nil)),
		"another issuer":             s.sign(with(good, "iss", "other")),
		"another server":             s.sign(with(good, "aud", "https://evil.test")),
		"several audiences":          s.sign(with(good, "aud", []string{r.url, "https://evil.test"})),
		"the token endpoint":         s.sign(with(good, "aud", r.url+"/oauth2/token")),
		"no audience":                s.sign(with(good, "aud", nil)),
		"an audience of no strings":  s.sign(with(good, "aud", []any{1})),
		"no jti":                     s.sign(with(good, "jti", nil)),
		"a long jti":                 s.sign(with(good, "jti", strings.Repeat("j", 257))),
		"no exp":                     s.sign(with(good, "exp", nil)),
		"exp 0":                      s.sign(with(good, "exp", 0)),
		"exp as text":                s.sign(with(good, "exp", "tomorrow")),
		"it has expired":             s.sign(with(good, "exp", now.Add(-time.Minute).Unix())),
		"it lives too long":          s.sign(with(good, "exp", now.Add(2*time.Hour).Unix())),
		"it is from the future":      s.sign(with(good, "iat", now.Add(time.Minute).Unix())),
		"it is not valid yet":        s.sign(with(good, "nbf", now.Add(time.Minute).Unix())),
		"an access token's type":     s.sign(good, "typ", "at+jwt"),
		"a proof's type":             s.sign(good, "typ", "dpop+jwt"),
		"duplicate claims":           s.sign(`{"iss":"app","sub":"app","sub":"app","aud":"` + r.url + `","jti":"d","exp":4102444800}`),
		"no object":                  s.sign(`[]`),
		"no signature":               strings.Join([]string{part(`{"alg":"none"}`), part(`{"sub":"app"}`), ""}, "."),
		"a symmetric algorithm":      strings.Join([]string{part(`{"alg":"HS256"}`), part(`{"sub":"app"}`), part("x")}, "."),
		"another client's":           s.sign(with(with(good, "sub", "secretive"), "iss", "secretive")),
		"nobody's":                   s.sign(with(with(good, "sub", "nobody"), "iss", "nobody")),
		"no JWT":                     "x",
		"the assertion was left out": "",
	} {
		if a := r.assert(compact); a.status != 401 || a.str("error") != "invalid_client" || a.header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: %d %s", name, a.status, a.raw)
		}
	}
	r.wants(r.assert(s.sign(good), "client_id", "secretive"), 401, "invalid_client")
	r.wants(r.post("/oauth2/token", "app:secret", "grant_type", "client_credentials", "client_assertion_type", assertionType, "client_assertion", s.sign(good)), 400, "invalid_request")
	r.wants(r.post("/oauth2/token", "", "grant_type", "client_credentials", "client_assertion_type", "x", "client_assertion", s.sign(good)), 401, "invalid_client")
	r.wants(r.post("/oauth2/token", "app:secret", "grant_type", "client_credentials"), 401, "invalid_client")
	r.wants(r.post("/oauth2/token", "", "grant_type", "client_credentials", "client_id", "app"), 401, "invalid_client")
	// None of these has used it up.
	if a := r.assert(s.sign(good)); a.status != 200 {
		t.Fatalf("the good one: %d %s", a.status, a.raw)
	}
	r.wants(r.assert(s.sign(good)), 401, "invalid_client")
	if r.log.Len() > 0 {
		t.Errorf("logged: %s", r.log)
	}
}

func TestAssertionsForEndpointsAreAcceptedWhenConfigured(t *testing.T) {
	r := start(t, func(o *server.Options) { o.ClientAssertions.Audience = server.AudienceEndpoints })
	s := newSigner(t, "k1", "ES256")
	r.signing(s)
	for i, aud := range []any{r.url, r.url + "/oauth2/token", []string{"https://evil.test", r.url + "/oauth2/token"}} {
		if a := r.assert(s.sign(with(r.assertion(string(rune('a'+i))), "aud", aud))); a.status != 200 {
			t.Errorf("%v: %d %s", aud, a.status, a.raw)
		}
	}
	r.wants(r.assert(s.sign(with(r.assertion("z"), "aud", r.url+"/oauth2/revoke"))), 401, "invalid_client")
	a := r.post("/oauth2/revoke", "", "token", "x", "client_assertion_type", assertionType, "client_assertion", s.sign(with(r.assertion("y"), "aud", r.url+"/oauth2/revoke")))
	if a.status != 200 {
		t.Errorf("revocation: %d %s", a.status, a.raw)
	}
}

func TestTheRegisteredAlgorithmIsTheOnlyOne(t *testing.T) {
	r, s, other := start(t), newSigner(t, "k1", "ES256"), newSigner(t, "k2", "EdDSA")
	r.signing(s, func(c *oauth2.Client) { c.TokenEndpointAuthAlg, c.JWKS = "EdDSA", s.jwks(other.key.Public()) })
	r.wants(r.assert(s.sign(r.assertion("1"))), 401, "invalid_client")
	if a := r.assert(other.sign(r.assertion("1"))); a.status != 200 {
		t.Errorf("%d %s", a.status, a.raw)
	}
}

func TestOfParallelUsesOfAnAssertionOneWins(t *testing.T) {
	r, s := start(t), newSigner(t, "k1", "ES256")
	r.signing(s)
	compact := s.sign(r.assertion("once"))
	var won atomic.Int32
	var group sync.WaitGroup
	for range 64 {
		group.Go(func() {
			switch a := r.assert(compact); {
			case a.status == 200:
				won.Add(1)
			case a.status != 401:
				t.Errorf("%d %s", a.status, a.raw)
			}
		})
	}
	group.Wait()
	if won.Load() != 1 {
		t.Errorf("%d of 64 won", won.Load())
	}
}

func TestKeysAtARegisteredAddressAreFetchedAndFollowed(t *testing.T) {
	s, next := newSigner(t, "k1", "ES256"), newSigner(t, "k2", "ES256")
	var asked atomic.Int32
	var serve atomic.Pointer[json.RawMessage]
	first := s.jwks()
	serve.Store(&first)
	at := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		_, _ = w.Write(*serve.Load())
	}))
	t.Cleanup(at.Close)
	var ahead atomic.Int64
	r := start(t, func(o *server.Options) {
		o.ClientKeys = keys.NewRemotes(keys.RemotesOptions{HTTP: at.Client(), Now: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }})
	})
	r.signing(s, func(c *oauth2.Client) { c.JWKS, c.JWKSURI = nil, at.URL })
	for _, jti := range []string{"1", "2"} {
		if a := r.assert(s.sign(r.assertion(jti), "kid", "k1")); a.status != 200 {
			t.Fatalf("%d %s", a.status, a.raw)
		}
	}
	r.wants(r.assert(next.sign(r.assertion("3"), "kid", "k2")), 401, "invalid_client")
	second := next.jwks()
	serve.Store(&second)
	ahead.Add(int64(time.Minute))
	if a := r.assert(next.sign(r.assertion("3"), "kid", "k2")); a.status != 200 {
		t.Fatalf("the new key: %d %s", a.status, a.raw)
	}
	at.Close()
	ahead.Add(int64(24 * time.Hour))
	r.wants(r.assert(next.sign(r.assertion("4"), "kid", "k2")), 503, "temporarily_unavailable")
	if n := asked.Load(); n != 2 {
		t.Errorf("the address was asked %d times", n)
	}
}

func TestKeysOfStrangersAreFetchedByTheClientForStrangersOnly(t *testing.T) {
	s := newSigner(t, "k1", "ES256")
	var refused atomic.Int32
	at := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(s.jwks()) }))
	t.Cleanup(at.Close)
	guard := &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) {
		refused.Add(1)
		return nil, errors.New("not a public address")
	})}
	for name, strangers := range map[string]*keys.Remotes{"guarded": keys.NewRemotes(keys.RemotesOptions{HTTP: guard}), "none": nil} {
		r := start(t, func(o *server.Options) {
			o.ClientKeys, o.Strangers.Keys = keys.NewRemotes(keys.RemotesOptions{HTTP: at.Client()}), strangers
		})
		r.signing(s, func(c *oauth2.Client) { c.JWKS, c.JWKSURI = nil, at.URL })
		r.signing(s, func(c *oauth2.Client) {
			c.ID, c.JWKS, c.JWKSURI, c.Origin = "stranger", nil, at.URL, oauth2.ByRegistration
		})
		// The operator's client comes first: what was fetched for it is not for a stranger.
		if a := r.assert(s.sign(r.assertion("1"), "kid", "k1")); a.status != 200 {
			t.Fatalf("%s: an operator's client: %d %s", name, a.status, a.raw)
		}
		claims := r.assertion("2")
		claims["iss"], claims["sub"] = "stranger", "stranger"
		if a := r.assert(s.sign(claims, "kid", "k1")); a.status == 200 {
			t.Errorf("%s: a stranger authenticated by an address that it must not name", name)
		}
	}
	if refused.Load() == 0 {
		t.Error("the client for strangers was not asked")
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestClientsAuthenticateByCertificate(t *testing.T) {
	now := time.Now()
	ca := testca.New(t, "clients", now)
	uri, _ := url.Parse("spiffe://example/app")
	leaf := ca.Issue(t, func(c *x509.Certificate) {
		c.Subject = pkix.Name{CommonName: "a,b", Organization: []string{"Example"}, Country: []string{"DE"}}
		c.DNSNames, c.URIs, c.IPAddresses, c.EmailAddresses = []string{"app.test"}, []*url.URL{uri}, []net.IP{net.ParseIP("192.0.2.1")}, []string{"a@app.test"}
	}).Leaf
	other := ca.Issue(t, nil).Leaf
	var shown atomic.Pointer[access.ClientCertificate]
	r := start(t, func(o *server.Options) {
		o.Certificate = func(context.Context) *access.ClientCertificate { return shown.Load() }
	})
	show := func(leaf *x509.Certificate, verified bool) {
		shown.Store(&access.ClientCertificate{Leaf: leaf, Verified: verified})
	}
	use := func(id string) int {
		return r.post("/oauth2/token", "", "grant_type", "client_credentials", "client_id", id).status
	}
	for id, name := range map[string]func(c *oauth2.Client, value string){
		"dn=CN=a\\,b, O=Example, c=DE": func(c *oauth2.Client, v string) { c.TLSClientAuthSubjectDN = v },
		"dns=APP.test":                 func(c *oauth2.Client, v string) { c.TLSClientAuthSANDNS = v },
		"uri=spiffe://example/app":     func(c *oauth2.Client, v string) { c.TLSClientAuthSANURI = v },
		"ip=::ffff:192.0.2.1":          func(c *oauth2.Client, v string) { c.TLSClientAuthSANIP = v },
		"email=a@app.test":             func(c *oauth2.Client, v string) { c.TLSClientAuthSANEmail = v },
		"dn=CN=a,O=Example,C=DE":       func(c *oauth2.Client, v string) { c.TLSClientAuthSubjectDN = v },
		"dn=C=DE,O=Example,CN=a\\,b":   func(c *oauth2.Client, v string) { c.TLSClientAuthSubjectDN = v },
		"dn=CN=A\\,b,O=Example,C=DE":   func(c *oauth2.Client, v string) { c.TLSClientAuthSubjectDN = v },
		"dns=app.test.evil":            func(c *oauth2.Client, v string) { c.TLSClientAuthSANDNS = v },
		"uri=spiffe://example/App":     func(c *oauth2.Client, v string) { c.TLSClientAuthSANURI = v },
		"ip=192.0.2.2":                 func(c *oauth2.Client, v string) { c.TLSClientAuthSANIP = v },
		"email=A@app.test":             func(c *oauth2.Client, v string) { c.TLSClientAuthSANEmail = v },
		"nothing=":                     func(*oauth2.Client, string) {},
	} {
		_, value, _ := strings.Cut(id, "=")
		r.client(func(c *oauth2.Client) {
			c.ID, c.SecretHash, c.TokenEndpointAuthMethod, c.AuthMethodSet = id, "", "tls_client_auth", true
			name(c, value)
		})
	}
	for id, want := range map[string]int{
		"dn=CN=a\\,b, O=Example, c=DE": 200, "dns=APP.test": 200, "uri=spiffe://example/app": 200, "ip=::ffff:192.0.2.1": 200, "email=a@app.test": 200,
		"dn=CN=a,O=Example,C=DE": 401, "dn=C=DE,O=Example,CN=a\\,b": 401, "dn=CN=A\\,b,O=Example,C=DE": 401, "dns=app.test.evil": 401,
		"uri=spiffe://example/App": 401, "ip=192.0.2.2": 401, "email=A@app.test": 401, "nothing=": 401,
	} {
		if show(leaf, true); use(id) != want {
			t.Errorf("%s: %d, want %d", id, use(id), want)
		}
		if show(leaf, false); use(id) != 401 {
			t.Errorf("%s, whose chain was not verified: %d", id, use(id))
		}
		if show(other, true); use(id) != 401 {
			t.Errorf("%s with another certificate: %d", id, use(id))
		}
		if shown.Store(nil); use(id) != 401 {
			t.Errorf("%s without certificate: %d", id, use(id))
		}
	}
	show(leaf, true)
	r.wait(48 * time.Hour)
	if use("dns=APP.test") != 401 {
		t.Error("a certificate that is over authenticates")
	}
}

func TestASelfSignedCertificateIsTheRegisteredOne(t *testing.T) {
	own, forged := testca.New(t, "app", time.Now()), testca.New(t, "app", time.Now())
	var shown atomic.Pointer[access.ClientCertificate]
	r := start(t, func(o *server.Options) {
		o.Certificate = func(context.Context) *access.ClientCertificate { return shown.Load() }
	})
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{KeyID: "c", Use: "sig", Key: own.Certificate.PublicKey, Certificates: []*x509.Certificate{own.Certificate}}}})
	if err != nil {
		t.Fatal(err)
	}
	r.client(func(c *oauth2.Client) {
		c.SecretHash, c.TokenEndpointAuthMethod, c.AuthMethodSet, c.JWKS = "", "self_signed_tls_client_auth", true, set
	})
	use := func(c *x509.Certificate) int {
		shown.Store(&access.ClientCertificate{Leaf: c})
		return r.post("/oauth2/token", "", "grant_type", "client_credentials", "client_id", "app").status
	}
	if own, forged := use(own.Certificate), use(forged.Certificate); own != 200 || forged != 401 {
		t.Errorf("the registered certificate: %d, one of the same name: %d", own, forged)
	}
}

func TestEverySecretOfARotationIsGoodUntilItIsEnded(t *testing.T) {
	r := start(t)
	client := r.client(func(c *oauth2.Client) {
		c.SecretHash, c.RotatedSecretHashes = hashOf("new"), []string{hashOf("old"), hashOf("older")}
	})
	use := func(secret string) int {
		return r.post("/oauth2/token", "app:"+secret, "grant_type", "client_credentials").status
	}
	for secret, want := range map[string]int{"new": 200, "old": 200, "older": 200, "oldest": 401, "dummy": 401} {
		if got := use(secret); got != want {
			t.Errorf("%s: %d, want %d", secret, got, want)
		}
	}
	client.RotatedSecretHashes = nil
	if err := r.store.UpdateClient(context.Background(), client); err != nil {
		t.Fatal(err)
	}
	r.server.EvictClient("app")
	if use("old") != 401 || use("new") != 200 {
		t.Error("an ended secret is good, or the newest is not")
	}
}

// FuzzClientAssertion: whatever is shown as an assertion authenticates nobody and is
// never a fault of the server.
func FuzzClientAssertion(f *testing.F) {
	r, s := start(f), newSigner(f, "k1", "ES256")
	r.signing(s)
	f.Add(newSigner(f, "k1", "ES256").sign(r.assertion("1")))
	f.Add(part(`{"alg":"ES256","crit":["b64"],"b64":false}`) + "." + part(`{"sub":"app"}`) + ".")
	f.Add("..")
	h := r.server.Public()
	f.Fuzz(func(t *testing.T, compact string) {
		body := pairs("grant_type", "client_credentials", "client_assertion_type", assertionType, "client_assertion", compact).Encode()
		req := httptest.NewRequest("POST", "/oauth2/token", strings.NewReader(body))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, req); w.Code != 401 && w.Code != 400 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
	})
}
