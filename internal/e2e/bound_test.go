package e2e

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/internal/testca"
	"github.com/gatewarden/gatewarden/internal/testenv"
)

// authority issues bound access tokens with a key of the test's own.
type authority struct{ key ed25519.PrivateKey }

func newAuthority(t *testing.T) authority {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return authority{key}
}

// authenticator is the configuration of a jwt that believes the authority.
func (a authority) authenticator(t *testing.T, more string) string {
	t.Helper()
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: a.key.Public(), KeyID: "as"}}})
	if err != nil {
		t.Fatal(err)
	}
	return `{"handler": "jwt", "config": {"jwks_urls": ["inline://` + base64.StdEncoding.EncodeToString(set) + `"], "allowed_algorithms": ["EdDSA"]` + more + `}}`
}

// sign makes a compact JWS.
func sign(t *testing.T, key any, alg jose.SignatureAlgorithm, header map[jose.HeaderKey]any, claims map[string]any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, &jose.SignerOptions{ExtraHeaders: header})
	if err != nil {
		t.Fatal(err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	compact, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return compact
}

// token is an access token for alice that is bound by cnf.
func (a authority) token(t *testing.T, cnf map[string]any) string {
	t.Helper()
	return sign(t, a.key, jose.EdDSA, map[jose.HeaderKey]any{"typ": "at+jwt", "kid": "as"},
		map[string]any{"sub": "alice", "exp": time.Now().Add(time.Hour).Unix(), "cnf": cnf})
}

// keyHolder makes DPoP proofs.
type keyHolder struct {
	key *ecdsa.PrivateKey
	jkt string
}

func newKeyHolder(t *testing.T) keyHolder {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	thumbprint, err := (&jose.JSONWebKey{Key: key.Public()}).Thumbprint(crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	return keyHolder{key, base64.RawURLEncoding.EncodeToString(thumbprint)}
}

func (k keyHolder) proof(t *testing.T, token, method, target, nonce string) string {
	t.Helper()
	sum := sha256.Sum256([]byte(token))
	claims := map[string]any{"jti": rand.Text(), "htm": method, "htu": target, "iat": time.Now().Unix(), "ath": base64.RawURLEncoding.EncodeToString(sum[:])}
	if nonce != "" {
		claims["nonce"] = nonce
	}
	return sign(t, k.key, jose.ES256, map[jose.HeaderKey]any{"typ": "dpop+jwt", "jwk": jose.JSONWebKey{Key: k.key.Public()}}, claims)
}

// told tells the upstream who it is and of the certificate.
const told = `"authorizer": {"handler": "allow"}, "mutators": [{"handler": "header", "config": {"headers": {"X-User": "{{ print .Subject }}"}}}, {"handler": "client_certificate"}]`

// rulesOf are one rule for each authenticator, at /<name>.
func rulesOf(upstream string, authenticators map[string]string) string {
	var list []string
	for name, authenticator := range authenticators {
		list = append(list, fmt.Sprintf(`{"id": %q, "match": {"url": "http<s?>://<[^/]+>/%s", "methods": ["GET"]}, "upstream": {"url": %q}, "authenticators": [%s], %s}`,
			name, name, upstream, authenticator, told))
	}
	return "[" + strings.Join(list, ",") + "]"
}

func TestCertificatesOfClientsNameAndBindThroughTheProxy(t *testing.T) {
	now := time.Now()
	clients, servers, foreign := testca.New(t, "clients", now), testca.New(t, "servers", now), testca.New(t, "foreign", now)
	server := servers.Issue(t, func(c *x509.Certificate) {
		c.ExtKeyUsage, c.IPAddresses = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, []net.IP{net.IPv4(127, 0, 0, 1)}
	})
	web := clients.Intermediate(t, "below").Issue(t, func(c *x509.Certificate) { c.URIs = []*url.URL{{Scheme: "spiffe", Host: "example.org", Path: "/web"}} })
	other, stranger := clients.Issue(t, nil), foreign.Issue(t, nil)
	digest := sha256.Sum256(web.Leaf.Raw)
	as := newAuthority(t)
	token := as.token(t, map[string]any{"x5t#S256": base64.RawURLEncoding.EncodeToString(digest[:])})
	p := start(t, settings{
		rules: rulesOf(upstream(t).URL, map[string]string{"who": `{"handler": "client_certificate"}`, "bound": as.authenticator(t, ""), "open": `{"handler": "anonymous", "config": {"subject": "guest"}}`}),
		keys: map[string]string{
			"serve.proxy.tls.cert.base64": base64.StdEncoding.EncodeToString(testca.PEM(server.Leaf)), "serve.proxy.tls.key.base64": base64.StdEncoding.EncodeToString(server.KeyPEM(t)),
			"serve.proxy.tls.client_auth": "request", "serve.proxy.tls.client_ca.base64": base64.StdEncoding.EncodeToString(testca.PEM(clients.Certificate)),
		},
	})
	base := "https://" + p.app.Addresses()["proxy"]
	field := testca.Field(web.Leaf)
	spoofed := []string{"Client-Cert", field, "Client_cert", field, "X-Forwarded-Client-Cert", "x", "X-SSL-Client-Cert", "x"}
	for name, c := range map[string]struct {
		shown   *testca.Issued
		path    string
		header  []string
		want    int
		user    string
		forward string
	}{
		"a good certificate":                    {&web, "/who", nil, 200, "spiffe://example.org/web", field},
		"no certificate":                        {nil, "/who", nil, 401, "", ""},
		"a header in its place":                 {nil, "/who", spoofed, 401, "", ""},
		"of another authority":                  {&stranger, "/who", nil, 401, "", ""},
		"a bound token with its certificate":    {&web, "/bound", []string{"Authorization", "Bearer " + token}, 200, "alice", field},
		"a bound token with another":            {&other, "/bound", []string{"Authorization", "Bearer " + token}, 401, "", ""},
		"a bound token with none":               {nil, "/bound", append(spoofed, "Authorization", "Bearer "+token), 401, "", ""},
		"an open rule, no certificate":          {nil, "/open", spoofed, 200, "guest", ""},
		"an open rule, of another authority":    {&stranger, "/open", spoofed, 200, "guest", ""},
		"an open rule, and a header of another": {&other, "/open", spoofed, 200, "guest", testca.Field(other.Leaf)},
	} {
		t.Run(name, func(t *testing.T) {
			h := mutual(servers.Pool, c.shown)
			defer h.CloseIdleConnections()
			r, err := http.NewRequestWithContext(t.Context(), "GET", base+c.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			for i := 0; i < len(c.header); i += 2 {
				r.Header[c.header[i]] = []string{c.header[i+1]}
			}
			for range 2 { // on the connection that is there
				res, err := h.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				body, _ := io.ReadAll(res.Body)
				res.Body.Close()
				if res.StatusCode != c.want {
					t.Fatalf("got %d %s, want %d", res.StatusCode, body, c.want)
				}
				if c.want != 200 {
					continue
				}
				var s seen
				if err := json.Unmarshal(body, &s); err != nil {
					t.Fatal(err)
				}
				want := http.Header{"X-User": {c.user}}
				if c.forward != "" {
					want["Client-Cert"] = []string{c.forward}
				}
				got := http.Header{}
				for name, values := range s.Header {
					if folded := strings.ToLower(strings.ReplaceAll(name, "_", "-")); name == "X-User" || strings.Contains(folded, "client-cert") {
						got[name] = values
					}
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("the upstream saw (-want +got):\n%s", diff)
				}
			}
		})
	}
}

func TestATrustedProxyTellsDecisionsOfTheClientsCertificate(t *testing.T) {
	clients, foreign := testca.New(t, "clients", time.Now()), testca.New(t, "foreign", time.Now())
	web, stranger := clients.Issue(t, nil), foreign.Issue(t, nil)
	digest := sha256.Sum256(web.Leaf.Raw)
	as := newAuthority(t)
	bearer := "Bearer " + as.token(t, map[string]any{"x5t#S256": base64.RawURLEncoding.EncodeToString(digest[:])})
	rules := rulesOf("http://127.0.0.1:1", map[string]string{"who": `{"handler": "client_certificate"}`, "bound": as.authenticator(t, `, "require_binding": "mtls"`)})
	ca := base64.StdEncoding.EncodeToString(testca.PEM(clients.Certificate))
	for name, c := range map[string]struct {
		keys   map[string]string
		path   string
		header []string
		want   int
	}{
		"a good certificate":              {map[string]string{"serve.api.trusted_proxies": "127.0.0.1", "serve.api.client_cert_header": "client-cert"}, "/who", []string{"Client-Cert", testca.Field(web.Leaf)}, 200},
		"nginx tells":                     {map[string]string{"serve.api.trusted_proxies": "127.0.0.1", "serve.api.client_cert_header": "x-ssl-client-cert"}, "/who", []string{"X-SSL-Client-Cert", url.PathEscape(string(testca.PEM(web.Leaf)))}, 200},
		"of another authority":            {map[string]string{"serve.api.trusted_proxies": "127.0.0.1", "serve.api.client_cert_header": "client-cert"}, "/who", []string{"Client-Cert", testca.Field(stranger.Leaf)}, 401},
		"garbage":                         {map[string]string{"serve.api.trusted_proxies": "127.0.0.1", "serve.api.client_cert_header": "client-cert"}, "/who", []string{"Client-Cert", "x"}, 400},
		"nobody is trusted":               {map[string]string{"serve.api.trusted_proxies": "192.0.2.1", "serve.api.client_cert_header": "client-cert"}, "/who", []string{"Client-Cert", testca.Field(web.Leaf)}, 401},
		"no field is configured":          {map[string]string{"serve.api.trusted_proxies": "127.0.0.1"}, "/who", []string{"Client-Cert", testca.Field(web.Leaf)}, 401},
		"a bound token":                   {map[string]string{"serve.api.trusted_proxies": "127.0.0.1", "serve.api.client_cert_header": "client-cert"}, "/bound", []string{"Client-Cert", testca.Field(web.Leaf), "Authorization", bearer}, 200},
		"a bound token, another's":        {map[string]string{"serve.api.trusted_proxies": "127.0.0.1", "serve.api.client_cert_header": "client-cert"}, "/bound", []string{"Client-Cert", testca.Field(stranger.Leaf), "Authorization", bearer}, 401},
		"a bound token of nobody trusted": {map[string]string{}, "/bound", []string{"Client-Cert", testca.Field(web.Leaf), "Authorization", bearer}, 401},
	} {
		t.Run(name, func(t *testing.T) {
			c.keys["serve.api.tls.client_ca.base64"] = ca
			p := start(t, settings{rules: rules, keys: c.keys})
			send(t, "GET", p.management+"/decisions"+c.path, "", c.header...).want(t, c.want)
		})
	}
}

func TestAProofOpensOneRequestAtWhicheverEdge(t *testing.T) {
	as, holder := newAuthority(t), newKeyHolder(t)
	token := as.token(t, map[string]any{"jkt": holder.jkt})
	p := start(t, settings{
		rules: rulesOf(upstream(t).URL, map[string]string{"bound": as.authenticator(t, ""), "nonce": as.authenticator(t, `, "dpop": {"nonce": "required"}`)}),
		keys:  map[string]string{"serve.api.trusted_proxies": "127.0.0.1"},
	})
	direct := func(path, proof string) answer {
		return send(t, "GET", p.proxy+path+"?q=1", "", "Authorization", "DPoP "+token, "DPoP", proof)
	}
	asked := func(path, proof string) answer {
		return send(t, "GET", p.management+"/decisions", "", "Authorization", "DPoP "+token, "DPoP", proof,
			"X-Forwarded-Method", "GET", "X-Forwarded-Proto", "https", "X-Forwarded-Host", "api.example", "X-Forwarded-Uri", path+"?q=1")
	}
	const public = "https://api.example"
	proof := holder.proof(t, token, "GET", p.proxy+"/bound", "")
	direct("/bound", proof).want(t, 200)
	direct("/bound", proof).want(t, 401)
	refused := direct("/bound", holder.proof(t, token, "GET", public+"/bound", "")).want(t, 401)
	if got := refused.header.Get("WWW-Authenticate"); !strings.HasPrefix(got, "DPoP ") || !strings.Contains(got, `error="invalid_dpop_proof"`) || !strings.Contains(got, `algs="ES256 `) {
		t.Errorf("challenged with %q", got)
	}
	send(t, "GET", p.proxy+"/bound", "", "Authorization", "Bearer "+token).want(t, 401)

	proof = holder.proof(t, token, "GET", public+"/bound", "")
	asked("/bound", proof).want(t, 200) // htu is the judged URL
	asked("/bound", proof).want(t, 401)
	asked("/bound", holder.proof(t, token, "GET", p.management+"/decisions", "")).want(t, 401)

	for name, edge := range map[string]struct {
		ask func(path, proof string) answer
		at  string
	}{"proxy": {direct, p.proxy}, "decision": {asked, public}} {
		challenge := edge.ask("/nonce", holder.proof(t, token, "GET", edge.at+"/nonce", "")).want(t, 401)
		nonce := challenge.header.Get("DPoP-Nonce")
		if nonce == "" || !strings.Contains(challenge.header.Get("WWW-Authenticate"), `DPoP realm="gatewarden", error="use_dpop_nonce"`) {
			t.Fatalf("%s: got %v", name, challenge.header)
		}
		edge.ask("/nonce", holder.proof(t, token, "GET", edge.at+"/nonce", nonce)).want(t, 200)
	}
}

func TestOfParallelReplaysAtTwoNodesOneWins(t *testing.T) {
	for _, db := range testenv.Databases() {
		if db.Name == "memory" {
			continue // which no two nodes share
		}
		t.Run(db.Name, func(t *testing.T) {
			as, holder, dsn := newAuthority(t), newKeyHolder(t), db.DSN(t)
			token := as.token(t, map[string]any{"jkt": holder.jkt})
			s := settings{dsn: dsn, rules: rulesOf("http://127.0.0.1:1", map[string]string{"bound": as.authenticator(t, "")}), keys: map[string]string{"serve.api.trusted_proxies": "127.0.0.1"}}
			nodes := []*program{start(t, s), start(t, s)}
			proof := holder.proof(t, token, "GET", "https://api.example/bound", "")
			var won, lost atomic.Int64
			var wait sync.WaitGroup
			for i := range 64 {
				wait.Go(func() {
					switch a := send(t, "GET", nodes[i%2].management+"/decisions", "", "Authorization", "DPoP "+token, "DPoP", proof,
						"X-Forwarded-Method", "GET", "X-Forwarded-Proto", "https", "X-Forwarded-Host", "api.example", "X-Forwarded-Uri", "/bound"); a.status {
					case 200:
						won.Add(1)
					case 401:
						lost.Add(1)
					default:
						t.Errorf("got %d %s", a.status, a.body)
					}
				})
			}
			wait.Wait()
			if won.Load() != 1 || lost.Load() != 63 {
				t.Errorf("%d won, %d lost", won.Load(), lost.Load())
			}
		})
	}
}

func TestTheHandshakeAsksForCertificatesAsConfigured(t *testing.T) {
	now := time.Now()
	clients, servers, foreign := testca.New(t, "clients", now), testca.New(t, "servers", now), testca.New(t, "foreign", now)
	server := servers.Issue(t, func(c *x509.Certificate) {
		c.ExtKeyUsage, c.IPAddresses = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, []net.IP{net.IPv4(127, 0, 0, 1)}
	})
	good, stranger := clients.Issue(t, nil), foreign.Issue(t, nil)
	const connects, fails = true, false
	for mode, c := range map[string]struct{ none, foreign, good bool }{
		"none": {connects, connects, connects}, "request": {connects, connects, connects},
		"require": {fails, connects, connects}, "verify": {fails, fails, connects},
	} {
		t.Run(mode, func(t *testing.T) {
			p := start(t, settings{
				rules: rulesOf(upstream(t).URL, map[string]string{"who": `{"handler": "client_certificate"}`, "open": `{"handler": "noop"}`}),
				keys: map[string]string{
					"serve.proxy.tls.cert.base64": base64.StdEncoding.EncodeToString(testca.PEM(server.Leaf)), "serve.proxy.tls.key.base64": base64.StdEncoding.EncodeToString(server.KeyPEM(t)),
					"serve.proxy.tls.client_auth": mode, "serve.proxy.tls.client_ca.base64": base64.StdEncoding.EncodeToString(testca.PEM(clients.Certificate)),
				},
			})
			for name, shown := range map[string]struct {
				certificate *testca.Issued
				connects    bool
				who         int // of the rule that wants a certificate
			}{"none": {nil, c.none, 401}, "foreign": {&stranger, c.foreign, 401}, "good": {&good, c.good, 200}} {
				h := mutual(servers.Pool, shown.certificate)
				for path, want := range map[string]int{"/open": 200, "/who": shown.who} {
					if mode == "none" && path == "/who" {
						want = 401 // nobody was asked
					}
					res, err := h.Get("https://" + p.app.Addresses()["proxy"] + path)
					if err == nil {
						res.Body.Close()
					}
					if (err == nil) != shown.connects || err == nil && res.StatusCode != want {
						t.Errorf("%s, %s: got %v, %v", name, path, res, err)
					}
				}
				h.CloseIdleConnections()
			}
		})
	}
}

// mutual is a client that shows a certificate, whatever authorities the server names.
func mutual(servers *x509.CertPool, shown *testca.Issued) *http.Client {
	config := &tls.Config{RootCAs: servers}
	if shown != nil {
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			certificate := shown.TLS()
			return &certificate, nil
		}
	}
	h := client()
	h.Transport = &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}
	return h
}
