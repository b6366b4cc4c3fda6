package authn

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/internal/testca"
)

// shown is a request of a client that showed a certificate.
func shown(i testca.Issued, verified bool) *access.Request {
	r := request("https://api.example/")
	r.Certificate = &access.ClientCertificate{Leaf: i.Leaf, Chain: i.Chain, SHA256: sha256.Sum256(i.Leaf.Raw), Verified: verified}
	return r
}

func inlineCA(c ...*x509.Certificate) string {
	return `["inline://` + base64.StdEncoding.EncodeToString(testca.PEM(c...)) + `"]`
}

func uris(list ...string) []*url.URL {
	var all []*url.URL
	for _, one := range list {
		u, err := url.Parse(one)
		if err != nil {
			panic(err)
		}
		all = append(all, u)
	}
	return all
}

func TestACertificateNamesItsSubject(t *testing.T) {
	ca := testca.New(t, "root", start)
	rich := ca.Issue(t, func(c *x509.Certificate) {
		c.Subject = pkix.Name{CommonName: "web", Organization: []string{"Example, Inc."}}
		c.URIs = uris("spiffe://example.org/ns/shop/sa/web")
		c.DNSNames, c.EmailAddresses, c.IPAddresses = []string{"web.example.org"}, []string{"web@example.org"}, []net.IP{{192, 0, 2, 1}}
	})
	digest := sha256.Sum256(rich.Leaf.Raw)
	for from, want := range map[string]string{
		"": "spiffe://example.org/ns/shop/sa/web", "san_uri": "spiffe://example.org/ns/shop/sa/web", "san_dns": "web.example.org",
		"san_email": "web@example.org", "cn": "web", "dn": `CN=web,O=Example\, Inc.`, "fingerprint": hex.EncodeToString(digest[:]),
	} {
		a := build(t, Deps{Now: newClock().Now}, "client_certificate", `{"subject_from":"`+from+`"}`)
		for range 3 { // with and without the cache
			got := must(a.Authenticate(t.Context(), shown(rich, true)))(t)
			wanted := access.Subject{ID: want, Via: "client_certificate", Extra: map[string]any{
				"dn": `CN=web,O=Example\, Inc.`, "issuer": "CN=root", "serial": rich.Leaf.SerialNumber.Text(16), "fingerprint": hex.EncodeToString(digest[:]),
				"sans": map[string]any{"uri": []string{"spiffe://example.org/ns/shop/sa/web"}, "dns": []string{"web.example.org"}, "email": []string{"web@example.org"}, "ip": []string{"192.0.2.1"}},
			}}
			if diff := cmp.Diff(wanted, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", from, diff)
			}
		}
	}
}

func TestACertificateWithoutOneSubjectIsRefused(t *testing.T) {
	ca := testca.New(t, "root", start)
	for name, c := range map[string]struct {
		from   string
		change func(*x509.Certificate)
		want   string
	}{
		"no URI":              {"san_uri", nil, "unauthenticated"},
		"two URIs":            {"san_uri", func(c *x509.Certificate) { c.URIs = uris("spiffe://a/x", "spiffe://a/y") }, "unauthenticated"},
		"two URIs, no choice": {"", func(c *x509.Certificate) { c.URIs = uris("spiffe://a/x", "spiffe://a/y") }, "unauthenticated"},
		"no URI, no choice":   {"", nil, "subject CN=client"},
		"no names at all":     {"", func(c *x509.Certificate) { c.Subject = pkix.Name{} }, "unauthenticated"},
		"two hosts":           {"san_dns", func(c *x509.Certificate) { c.DNSNames = []string{"a.example", "b.example"} }, "unauthenticated"},
		"no mail address":     {"san_email", nil, "unauthenticated"},
		"two common names": {"cn", func(c *x509.Certificate) {
			c.Subject = pkix.Name{CommonName: "a", ExtraNames: []pkix.AttributeTypeAndValue{{Type: []int{2, 5, 4, 3}, Value: "a"}, {Type: []int{2, 5, 4, 3}, Value: "b"}}}
		}, "unauthenticated"},
		"a common name of lines": {"cn", func(c *x509.Certificate) { c.Subject = pkix.Name{CommonName: "a\nX-User: root"} }, "unauthenticated"},
	} {
		a := build(t, Deps{Now: newClock().Now}, "client_certificate", `{"subject_from":"`+c.from+`"}`)
		if got := outcome(a.Authenticate(t.Context(), shown(ca.Issue(t, c.change), true))); got != c.want {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
}

func TestACertificateThatDidNotVerifyIsBadCredentials(t *testing.T) {
	ca, foreign := testca.New(t, "root", start), testca.New(t, "root", start)
	below := ca.Intermediate(t, "below")
	good, deep, stranger := ca.Issue(t, nil), below.Issue(t, nil), foreign.Issue(t, nil)
	alone := deep
	alone.Chain = nil
	server := ca.Issue(t, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })
	expired := ca.Issue(t, func(c *x509.Certificate) { c.NotAfter = start.Add(-time.Second) })
	early := ca.Issue(t, func(c *x509.Certificate) { c.NotBefore = start.Add(time.Second) })
	ours := `{"ca":` + inlineCA(ca.Certificate) + `}`
	for name, c := range map[string]struct {
		config string
		r      *access.Request
		want   string
	}{
		"no certificate":                           {ours, request("https://api.example/"), "no credentials"},
		"verified by the listener":                 {`{}`, shown(good, true), "subject CN=client"},
		"not verified by the listener":             {`{}`, shown(good, false), "unauthenticated"},
		"of the rule's authority":                  {ours, shown(good, false), "subject CN=client"},
		"of the listener's authority alone":        {ours, shown(stranger, true), "unauthenticated"},
		"of one of two authorities":                {`{"ca":` + inlineCA(ca.Certificate, foreign.Certificate) + `}`, shown(stranger, false), "subject CN=client"},
		"with an intermediate":                     {ours, shown(deep, false), "subject CN=client"},
		"with the intermediate missing":            {ours, shown(alone, false), "unauthenticated"},
		"for servers":                              {ours, shown(server, false), "unauthenticated"},
		"expired":                                  {ours, shown(expired, false), "unauthenticated"},
		"expired, verified by the listener before": {`{}`, shown(expired, true), "unauthenticated"},
		"not valid yet":                            {ours, shown(early, false), "unauthenticated"},
	} {
		a := build(t, Deps{Now: newClock().Now}, "client_certificate", c.config)
		for range 3 {
			if got := outcome(a.Authenticate(t.Context(), c.r)); got != c.want {
				t.Errorf("%s: got %s, want %s", name, got, c.want)
			}
		}
	}
}

func TestARememberedCertificateEndsInTimeAndAnswersForItsRuleOnly(t *testing.T) {
	ca, foreign := testca.New(t, "root", start), testca.New(t, "other", start)
	c := newClock()
	catalog := Catalog(Deps{Now: c.Now})
	make := func(config string) Authenticator {
		return must(catalog.Build("client_certificate", nil, []byte(config)))(t)
	}
	cert := ca.Issue(t, func(c *x509.Certificate) { c.NotAfter = start.Add(time.Hour); c.DNSNames = []string{"a.example"} })
	ours := make(`{"ca":` + inlineCA(ca.Certificate) + `}`)
	for range 3 {
		if got := outcome(ours.Authenticate(t.Context(), shown(cert, false))); got != "subject CN=client" {
			t.Fatal(got)
		}
	}
	for config, want := range map[string]string{
		`{"ca":` + inlineCA(foreign.Certificate) + `}`: "unauthenticated",
		`{}`: "unauthenticated",
		`{"ca":` + inlineCA(ca.Certificate) + `,"subject_from":"san_dns"}`:                                    "subject a.example",
		`{"ca":` + inlineCA(ca.Certificate) + `,"allowed_sans":["b.example"]}`:                                "forbidden",
		`{"ca":` + inlineCA(ca.Certificate) + `,"allowed_fingerprints":["` + strings.Repeat("00", 32) + `"]}`: "forbidden",
	} {
		if got := outcome(make(config).Authenticate(t.Context(), shown(cert, false))); got != want {
			t.Errorf("%s: got %s, want %s", config, got, want)
		}
	}
	until, err := ours.(access.Lease).Renew(t.Context(), shown(cert, false))
	if err != nil || until.Sub(start).Round(time.Second) != time.Hour {
		t.Errorf("renewed until %v, %v", until, err)
	}
	c.Add(time.Hour + time.Second)
	if got := outcome(ours.Authenticate(t.Context(), shown(cert, false))); got != "unauthenticated" {
		t.Errorf("after its end: got %s", got)
	}
}

func TestListsNarrowWhichCertificatesAreAccepted(t *testing.T) {
	ca := testca.New(t, "root", start)
	cert := ca.Issue(t, func(c *x509.Certificate) {
		c.URIs, c.DNSNames, c.EmailAddresses = uris("spiffe://example.org/ns/shop/sa/web"), []string{"Web.shop.example.org"}, []string{"web@example.org"}
	})
	digest := sha256.Sum256(cert.Leaf.Raw)
	print := hex.EncodeToString(digest[:])
	var colons []string
	for i := 0; i < len(print); i += 2 {
		colons = append(colons, strings.ToUpper(print[i:i+2]))
	}
	const yes, no = "subject spiffe://example.org/ns/shop/sa/web", "forbidden"
	for config, want := range map[string]string{
		`"allowed_issuers":["CN=root"]`:                                  yes,
		`"allowed_issuers":["CN=other","cn=root"]`:                       no,
		`"allowed_sans":["spiffe://example.org/ns/shop/sa/web"]`:         yes,
		`"allowed_sans":["spiffe://example.org/ns/*/sa/web"]`:            yes,
		`"allowed_sans":["spiffe://example.org/ns/shop/sa/we"]`:          no,
		`"allowed_sans":["spiffe://example.org/ns/shop/sa/web/x"]`:       no,
		`"allowed_sans":["spiffe://example.org/*"]`:                      no,
		`"allowed_sans":["spiffe://example.org/ns/shop/*/sa/web"]`:       no,
		`"allowed_sans":["spiffe://example1org/ns/shop/sa/web"]`:         no,
		`"allowed_sans":["*.shop.example.org"]`:                          yes,
		`"allowed_sans":["WEB.shop.example.org"]`:                        yes,
		`"allowed_sans":["*.example.org"]`:                               no,
		`"allowed_sans":["*@example.org"]`:                               yes,
		`"allowed_sans":["*@example.com","a.example"]`:                   no,
		`"allowed_fingerprints":["` + print + `"]`:                       yes,
		`"allowed_fingerprints":["` + strings.Join(colons, ":") + `"]`:   yes,
		`"allowed_fingerprints":["` + strings.Repeat("ab", 32) + `"]`:    no,
		`"allowed_issuers":["CN=root"],"allowed_sans":["b.example"]`:     no,
		`"allowed_issuers":["CN=root"],"allowed_sans":["*@example.org"]`: yes,
	} {
		a := build(t, Deps{Now: newClock().Now}, "client_certificate", "{"+config+"}")
		if got := outcome(a.Authenticate(t.Context(), shown(cert, true))); got != want {
			t.Errorf("%s: got %s, want %s", config, got, want)
		}
	}
}

func TestAuthoritiesMayBeInAFile(t *testing.T) {
	ca := testca.New(t, "root", start)
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, testca.PEM(ca.Certificate), 0o600); err != nil {
		t.Fatal(err)
	}
	a := build(t, Deps{Now: newClock().Now}, "client_certificate", `{"ca":["file://`+file+`"]}`)
	if got := outcome(a.Authenticate(t.Context(), shown(ca.Issue(t, nil), false))); got != "subject CN=client" {
		t.Errorf("got %s", got)
	}
}

func TestABadClientCertificateConfigNamesTheField(t *testing.T) {
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")})
	inline := func(b []byte) string {
		return string(must(json.Marshal(map[string]any{"ca": []string{"inline://" + base64.StdEncoding.EncodeToString(b)}}))(t))
	}
	for config, want := range map[string]string{
		`{"subject_from":"serial"}`:       "subject_from",
		`{"ca":["https://a/ca.pem"]}`:     "ca: ",
		`{"ca":["file:///no/such/file"]}`: "ca: ",
		`{"ca":["inline://!"]}`:           "ca: ",
		`{"ca":["file:///dev/zero"]}`:     "ca: file:///dev/zero is not a regular file",
		inline([]byte("no PEM")):          "ca: no certificate",
		inline(key):                       "ca: block 1 is PRIVATE KEY",
		inline(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")})): "ca: certificate 1",
		`{"allowed_sans":[""]}`:             "allowed_sans",
		`{"allowed_sans":["a b"]}`:          "allowed_sans",
		`{"allowed_fingerprints":["abcd"]}`: "allowed_fingerprints",
	} {
		_, err := Catalog(Deps{}).Build("client_certificate", nil, []byte(config))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want it to name %s", config, err, want)
		}
	}
}

func TestARefusedCertificateSaysNothingOfItsNames(t *testing.T) {
	ca := testca.New(t, "secret authority", start)
	cert := ca.Issue(t, func(c *x509.Certificate) { c.Subject = pkix.Name{CommonName: "secret name"} })
	for _, config := range []string{`{}`, `{"ca":` + inlineCA(testca.New(t, "other", start).Certificate) + `}`} {
		_, err := build(t, Deps{Now: newClock().Now}, "client_certificate", config).Authenticate(context.Background(), shown(cert, false))
		if fault.ReasonOf(err) != "invalid_credentials" || strings.Contains(fault.MessageOf(err), "secret") {
			t.Error(fmt.Sprint(err))
		}
	}
}

// The example of RFC 8705 appendix A.
func TestTheExampleOfRFC8705IsBoundToItsCertificate(t *testing.T) {
	const digest, text = "A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0", `-----BEGIN CERTIFICATE-----
MIIBBjCBrAIBAjAKBggqhkjOPQQDAjAPMQ0wCwYDVQQDDARtdGxzMB4XDTE4MTAx
ODEyMzcwOVoXDTIyMDUwMjEyMzcwOVowDzENMAsGA1UEAwwEbXRsczBZMBMGByqG
SM49AgEGCCqGSM49AwEHA0IABNcnyxwqV6hY8QnhxxzFQ03C7HKW9OylMbnQZjjJ
/Au08/coZwxS7LfA4vOLS9WuneIXhbGGWvsDSb0tH6IxLm8wCgYIKoZIzj0EAwID
SQAwRgIhAP0RC1E+vwJD/D1AGHGzuri+hlV/PpQEKTWUVeORWz83AiEA5x2eXZOV
bUlJSGQgjwD5vaUaKlLR50Q2DmFfQj1L+SY=
-----END CERTIFICATE-----
`
	block, _ := pem.Decode([]byte(text))
	cert := must(x509.ParseCertificate(block.Bytes))(t)
	a := build(t, Deps{Introspector: server{"token": {Active: true, Subject: "alice", Bound: access.Confirmation{X5TS256: digest}}}}, "oauth2_introspection", `{"require_binding":"mtls"}`)
	r := bearerRequest("token")
	if got := outcome(a.Authenticate(t.Context(), r)); got != "unauthenticated" {
		t.Errorf("without the certificate: got %s", got)
	}
	r.Certificate = &access.ClientCertificate{Leaf: cert, SHA256: sha256.Sum256(cert.Raw)} // self-signed is good enough (section 2.2)
	if got := outcome(a.Authenticate(t.Context(), r)); got != "subject alice" {
		t.Errorf("with it: got %s", got)
	}
}

func BenchmarkClientCertificate(b *testing.B) {
	ca := testca.New(b, "root", start)
	r := shown(ca.Issue(b, nil), false)
	a := build(b, Deps{Now: newClock().Now}, "client_certificate", `{"ca":`+inlineCA(ca.Certificate)+`}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := a.Authenticate(b.Context(), r); err != nil {
			b.Fatal(err)
		}
	}
}
