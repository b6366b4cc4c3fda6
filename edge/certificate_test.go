package edge

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/internal/testca"
)

// escaped is a certificate as nginx and Envoy escape it.
func escaped(certificates ...*x509.Certificate) string {
	return url.PathEscape(string(testca.PEM(certificates...)))
}

// learned serves r and says in words what was learned of the client's certificate.
func learned(t testing.TB, g *Gate, seen **access.Request, r *http.Request) string {
	t.Helper()
	*seen = nil
	w := httptest.NewRecorder()
	g.Serve(w, r, ok)
	if *seen == nil {
		return fmt.Sprint(refused(t, w).Error.ID)
	}
	for name := range (*seen).Header {
		if isCertificateField(fold(name)) {
			t.Errorf("the rules see the field %s", name)
		}
	}
	c := (*seen).Certificate
	if c == nil {
		return "none"
	}
	if c.SHA256 != sha256.Sum256(c.Leaf.Raw) {
		t.Error("SHA256 is not that of the leaf")
	}
	said := fmt.Sprintf("%s with %d more", c.Leaf.Subject.CommonName, len(c.Chain))
	if c.Verified {
		said += ", verified"
	}
	if c.Forwarded {
		said += ", forwarded"
	}
	return said
}

func certificateGate(t testing.TB, c Certificates, target func(*http.Request, Target, Forwarded) (Target, error)) (*Gate, **access.Request) {
	t.Helper()
	trusted, err := ParseTrusted([]string{"10.0.0.0/8"}, false)
	if err != nil {
		t.Fatal(err)
	}
	seen := new(*access.Request)
	return gate(t, Options{Trusted: trusted, Certificates: c, Target: target, Decider: decide(func(r *access.Request) access.Decision {
		*seen = r
		return access.Decision{Allow: true}
	})}), seen
}

func from(remote string, header ...string) *http.Request {
	r := httptest.NewRequest("GET", "/", nil)
	r.RemoteAddr = remote + ":1000"
	for i := 0; i < len(header); i += 2 {
		r.Header[header[i]] = append(r.Header[header[i]], header[i+1])
	}
	return r
}

func TestOnlyATrustedPeersConfiguredFieldTellsOfACertificate(t *testing.T) {
	now := time.Now()
	ca := testca.New(t, "root", now)
	below := ca.Intermediate(t, "below")
	leaf, deep := ca.Issue(t, nil), below.Issue(t, nil)
	stranger := testca.New(t, "other", now).Issue(t, nil)
	long := strings.Repeat("A", 70<<10)
	const trusted, other = "10.0.0.1", "192.0.2.1"
	field := testca.Field(leaf.Leaf)
	for name, c := range map[string]struct {
		field  string
		remote string
		header []string
		want   string
	}{
		"RFC 9440":                              {ClientCert, trusted, []string{"Client-Cert", field}, "client with 0 more, verified, forwarded"},
		"RFC 9440 with a chain":                 {ClientCert, trusted, []string{"Client-Cert", testca.Field(deep.Leaf), "Client-Cert-Chain", testca.Field(below.Certificate) + ", " + testca.Field(ca.Certificate)}, "client with 2 more, verified, forwarded"},
		"RFC 9440 with a chain of two lines":    {ClientCert, trusted, []string{"Client-Cert", testca.Field(deep.Leaf), "Client-Cert-Chain", testca.Field(below.Certificate), "Client-Cert-Chain", testca.Field(ca.Certificate)}, "client with 2 more, verified, forwarded"},
		"RFC 9440 with a chain that is missing": {ClientCert, trusted, []string{"Client-Cert", testca.Field(deep.Leaf)}, "client with 0 more, forwarded"},
		"of an authority that is not ours":      {ClientCert, trusted, []string{"Client-Cert", testca.Field(stranger.Leaf)}, "client with 0 more, forwarded"},
		"a trusted peer that tells of none":     {ClientCert, trusted, nil, "none"},
		"an empty field":                        {SSLClientCert, trusted, []string{"X-Ssl-Client-Cert", ""}, "none"},
		"nginx":                                 {SSLClientCert, trusted, []string{"X-Ssl-Client-Cert", escaped(leaf.Leaf)}, "client with 0 more, verified, forwarded"},
		"nginx, two certificates":               {SSLClientCert, trusted, []string{"X-Ssl-Client-Cert", escaped(leaf.Leaf, ca.Certificate)}, "invalid_client_certificate"},
		"Envoy": {ForwardedClientCert, trusted, []string{"X-Forwarded-Client-Cert", `By=spiffe://a;Hash=00;Subject="CN=x\";Cert=y\"";Cert="` + escaped(leaf.Leaf) + `";Chain="` + escaped(leaf.Leaf, ca.Certificate) + `"`},
			"client with 1 more, verified, forwarded"},
		"Envoy, the last element counts": {ForwardedClientCert, trusted, []string{"X-Forwarded-Client-Cert", `Cert="` + escaped(stranger.Leaf) + `",Cert="` + escaped(leaf.Leaf) + `"`}, "client with 0 more, verified, forwarded"},
		"Envoy without the certificate":  {ForwardedClientCert, trusted, []string{"X-Forwarded-Client-Cert", `Hash=00`}, "invalid_client_certificate"},
		"Envoy, two certificates":        {ForwardedClientCert, trusted, []string{"X-Forwarded-Client-Cert", `Cert="` + escaped(leaf.Leaf) + `";Cert="` + escaped(leaf.Leaf) + `"`}, "invalid_client_certificate"},
		"Envoy, a chain of another leaf": {ForwardedClientCert, trusted, []string{"X-Forwarded-Client-Cert", `Cert="` + escaped(leaf.Leaf) + `";Chain="` + escaped(stranger.Leaf) + `"`}, "invalid_client_certificate"},
		"from a stranger":                {ClientCert, other, []string{"Client-Cert", field}, "none"},
		"from a stranger, garbage":       {ClientCert, other, []string{"Client-Cert", "x"}, "none"},
		"no field is configured":         {"", trusted, []string{"Client-Cert", field}, "none"},
		"another field than configured":  {SSLClientCert, trusted, []string{"Client-Cert", field, "X-Forwarded-Client-Cert", "x"}, "none"},
		"another spelling":               {ClientCert, trusted, []string{"Client_Cert", field, "Client.cert-chain", field}, "none"},
		"twice":                          {ClientCert, trusted, []string{"Client-Cert", field, "Client-Cert", field}, "invalid_client_certificate"},
		"as a list":                      {ClientCert, trusted, []string{"Client-Cert", field + "," + field}, "invalid_client_certificate"},
		"a chain alone":                  {ClientCert, trusted, []string{"Client-Cert-Chain", field}, "invalid_client_certificate"},
		"a chain with a hole":            {ClientCert, trusted, []string{"Client-Cert", field, "Client-Cert-Chain", field + ",," + field}, "invalid_client_certificate"},
		"a long chain":                   {ClientCert, trusted, []string{"Client-Cert", field, "Client-Cert-Chain", strings.Repeat(field+",", 10) + field}, "invalid_client_certificate"},
		"with parameters":                {ClientCert, trusted, []string{"Client-Cert", field + ";a=1"}, "invalid_client_certificate"},
		"without colons":                 {ClientCert, trusted, []string{"Client-Cert", strings.Trim(field, ":")}, "invalid_client_certificate"},
		"one colon":                      {ClientCert, trusted, []string{"Client-Cert", ":"}, "invalid_client_certificate"},
		"nothing between colons":         {ClientCert, trusted, []string{"Client-Cert", "::"}, "invalid_client_certificate"},
		"base64url":                      {ClientCert, trusted, []string{"Client-Cert", ":" + base64.RawURLEncoding.EncodeToString(leaf.Leaf.Raw) + ":"}, "invalid_client_certificate"},
		"a string":                       {ClientCert, trusted, []string{"Client-Cert", `"` + strings.Trim(field, ":") + `"`}, "invalid_client_certificate"},
		"trailing bytes": {ClientCert, trusted, []string{"Client-Cert", ":" + base64.StdEncoding.EncodeToString(append(append([]byte{}, leaf.Leaf.Raw...), 0)) + ":"},
			"invalid_client_certificate"},
		"a certificate without an end": {ClientCert, trusted, []string{"Client-Cert", ":" + base64.StdEncoding.EncodeToString(leaf.Leaf.Raw[:100]) + ":"}, "invalid_client_certificate"},
		"too long":                     {ClientCert, trusted, []string{"Client-Cert", ":" + long + ":"}, "invalid_client_certificate"},
		"too long for nginx":           {SSLClientCert, trusted, []string{"X-Ssl-Client-Cert", long}, "invalid_client_certificate"},
		"a key beside it":              {SSLClientCert, trusted, []string{"X-Ssl-Client-Cert", url.PathEscape(string(testca.PEM(leaf.Leaf)) + string(leaf.KeyPEM(t)))}, "invalid_client_certificate"},
		"text before it":               {SSLClientCert, trusted, []string{"X-Ssl-Client-Cert", url.PathEscape("x\n" + string(testca.PEM(leaf.Leaf)))}, "invalid_client_certificate"},
		"a broken escape":              {SSLClientCert, trusted, []string{"X-Ssl-Client-Cert", "%zz"}, "invalid_client_certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			g, seen := certificateGate(t, Certificates{Field: c.field, Authorities: ca.Pool}, nil)
			for range 2 { // the second time from memory
				if got := learned(t, g, seen, from(c.remote, c.header...)); got != c.want {
					t.Errorf("got %s, want %s", got, c.want)
				}
			}
		})
	}
}

func TestACertificateIsVerifiedForClientsNowByTheListenersAuthorities(t *testing.T) {
	start := time.Now()
	now := start
	ca := testca.New(t, "root", start)
	good := ca.Issue(t, func(c *x509.Certificate) { c.NotAfter = start.Add(time.Hour) })
	early := ca.Issue(t, func(c *x509.Certificate) { c.NotBefore = start.Add(30 * time.Minute) })
	server := ca.Issue(t, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })
	g, seen := certificateGate(t, Certificates{Field: ClientCert, Authorities: ca.Pool, Now: func() time.Time { return now }}, nil)
	for _, c := range []struct {
		after                  time.Duration
		good, early, forServer bool
	}{{0, true, false, false}, {45 * time.Minute, true, true, false}, {2 * time.Hour, false, true, false}, {25 * time.Hour, false, false, false}, {0, true, false, false}} {
		now = start.Add(c.after)
		for leaf, want := range map[*x509.Certificate]bool{good.Leaf: c.good, early.Leaf: c.early, server.Leaf: c.forServer} {
			for range 2 {
				if got := strings.Contains(learned(t, g, seen, from("10.0.0.1", "Client-Cert", testca.Field(leaf))), "verified"); got != want {
					t.Errorf("after %v: serial %v verified %t, want %t", c.after, leaf.SerialNumber, got, want)
				}
			}
		}
	}
}

func TestTheHandshakesCertificateIsTheClientsUnlessThePeerSpeaksForAnother(t *testing.T) {
	ca := testca.New(t, "root", time.Now())
	shown := ca.Issue(t, nil)
	judge := func(_ *http.Request, target Target, _ Forwarded) (Target, error) {
		target.URI = "/"
		return target, nil
	}
	state := func(verified bool) *tls.ConnectionState {
		s := &tls.ConnectionState{PeerCertificates: []*x509.Certificate{shown.Leaf}}
		if verified {
			s.VerifiedChains = [][]*x509.Certificate{{shown.Leaf, ca.Certificate}}
		}
		return s
	}
	for name, c := range map[string]struct {
		o      Certificates
		target func(*http.Request, Target, Forwarded) (Target, error)
		state  *tls.ConnectionState
		remote string
		header []string
		want   string
	}{
		"verified in the handshake":            {Certificates{}, nil, state(true), "192.0.2.1", nil, "client with 0 more, verified"},
		"not verified by anybody":              {Certificates{}, nil, state(false), "192.0.2.1", nil, "client with 0 more"},
		"verified here":                        {Certificates{Authorities: ca.Pool}, nil, state(false), "192.0.2.1", nil, "client with 0 more, verified"},
		"of another authority":                 {Certificates{Authorities: x509.NewCertPool()}, nil, state(false), "192.0.2.1", nil, "client with 0 more"},
		"the handshake was before it expired":  {Certificates{Now: func() time.Time { return time.Now().Add(48 * time.Hour) }}, nil, state(true), "192.0.2.1", nil, "client with 0 more"},
		"TLS without a certificate":            {Certificates{}, nil, &tls.ConnectionState{}, "192.0.2.1", nil, "none"},
		"a trusted peer as itself":             {Certificates{}, nil, state(true), "10.0.0.1", nil, "client with 0 more, verified"},
		"a trusted peer for another":           {Certificates{}, nil, state(true), "10.0.0.1", []string{"X-Forwarded-For", "192.0.2.9"}, "none"},
		"a trusted peer that would tell":       {Certificates{Field: ClientCert}, nil, state(true), "10.0.0.1", nil, "none"},
		"a proxy that asks for a decision":     {Certificates{}, judge, state(true), "192.0.2.1", nil, "none"},
		"a stranger's field beside its own":    {Certificates{Field: ClientCert}, nil, state(true), "192.0.2.1", []string{"Client-Cert", "::"}, "client with 0 more, verified"},
		"a decision, told by a trusted peer":   {Certificates{Field: ClientCert}, judge, nil, "10.0.0.1", []string{"Client-Cert", testca.Field(shown.Leaf)}, "client with 0 more, forwarded"},
		"a decision, told by an untrusted one": {Certificates{Field: ClientCert}, judge, nil, "192.0.2.1", []string{"Client-Cert", testca.Field(shown.Leaf)}, "none"},
	} {
		g, seen := certificateGate(t, c.o, c.target)
		r := from(c.remote, c.header...)
		r.TLS = c.state
		if got := learned(t, g, seen, r); got != c.want {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
}

func TestListenersThatDecideNothingSeeNoCertificateFields(t *testing.T) {
	w := httptest.NewRecorder()
	Guard{}.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		for name := range r.Header {
			if isCertificateField(fold(name)) {
				t.Errorf("%s was let through", name)
			}
		}
		if r.Header.Get("X-Client-Cert-Id") != "kept" {
			t.Error("a field of another name is gone")
		}
	})).ServeHTTP(w, from("10.0.0.1", "Client-Cert", "a", "Client_cert", "b", "Client-Cert-Chain", "c", "X-Forwarded-Client-Cert", "d", "X_ssl.client-Cert", "e", "X-Client-Cert-Id", "kept"))
}

func TestAGuardFindsTheCertificateOfTheClient(t *testing.T) {
	ca := testca.New(t, "root", time.Now())
	leaf := ca.Issue(t, nil).Leaf
	trusted, err := ParseTrusted([]string{"10.0.0.1"}, false)
	if err != nil {
		t.Fatal(err)
	}
	found, err := NewClientCertificates(Certificates{Field: ClientCert, Authorities: ca.Pool}, trusted)
	if err != nil {
		t.Fatal(err)
	}
	serve := func(g Guard, r *http.Request) (*access.ClientCertificate, int) {
		var seen *access.ClientCertificate
		w := httptest.NewRecorder()
		g.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			seen = CertificateOf(r.Context())
			if r.Header.Get("Client-Cert") != "" {
				t.Error("the field was let through")
			}
		})).ServeHTTP(w, r)
		return seen, w.Code
	}
	field := testca.Field(leaf)
	if c, _ := serve(Guard{Certificates: found}, from("10.0.0.1", "Client-Cert", field)); c == nil || !c.Leaf.Equal(leaf) || !c.Verified || !c.Forwarded {
		t.Errorf("of a trusted peer: %+v", c)
	}
	if c, _ := serve(Guard{Certificates: found}, from("10.0.0.2", "Client-Cert", field)); c != nil {
		t.Error("a stranger's field was believed")
	}
	if c, _ := serve(Guard{}, from("10.0.0.1", "Client-Cert", field)); c != nil {
		t.Error("a guard without finder found one")
	}
	if _, status := serve(Guard{Certificates: found}, from("10.0.0.1", "Client-Cert", ":x:")); status != http.StatusBadRequest {
		t.Errorf("a field that cannot be read: %d", status)
	}
	if _, err := NewClientCertificates(Certificates{Field: "x-cert"}, trusted); err == nil {
		t.Error("a field that nobody knows was taken")
	}
}

func TestAFieldOfCertificatesMustBeKnown(t *testing.T) {
	if _, err := NewGate(Options{Decider: decide(allowed), Certificates: Certificates{Field: "x-cert"}}); err == nil {
		t.Error("a field that nobody knows was taken")
	}
}

// FuzzClientCert: what is read as a certificate is one, in its only spelling.
func FuzzClientCert(f *testing.F) {
	ca := testca.New(f, "root", time.Now())
	leaf := ca.Issue(f, nil).Leaf
	f.Add(ClientCert, testca.Field(leaf), testca.Field(ca.Certificate))
	f.Add(SSLClientCert, escaped(leaf), "")
	f.Add(ForwardedClientCert, `By=a;Cert="`+escaped(leaf)+`";Subject="\"";URI=b,Cert="x"`, "")
	f.Fuzz(func(t *testing.T, field, value, chain string) {
		c, err := newCertificates(Certificates{Field: field, Authorities: ca.Pool}, false)
		if err != nil {
			return
		}
		h := http.Header{"Client-Cert": {value}, "X-Forwarded-Client-Cert": {value}, "X-Ssl-Client-Cert": {value}}
		if chain != "" {
			h["Client-Cert-Chain"] = []string{chain}
		}
		got, err := c.told(h)
		if err != nil || got == nil {
			return
		}
		if field == ClientCert && strings.Trim(value, " \t") != testca.Field(got.Leaf) {
			t.Errorf("%q was read as %q", value, testca.Field(got.Leaf))
		}
		if got.Verified && !got.Leaf.Equal(leaf) {
			t.Error("a certificate that nobody issued was verified")
		}
	})
}

// The example of RFC 9440 section 2.2: what its certificate says is in appendix A.
func TestTheExampleOfRFC9440IsRead(t *testing.T) {
	const field = ":MIIBqDCCAU6gAwIBAgIBBzAKBggqhkjOPQQDAjA6MRswGQYDVQQKDBJMZXQncyBBdXRoZW50aWNhdGUxGzAZBgNVBAMMEkxBIEludGVybWVkaWF0ZSBDQTAeFw0yMDAxMTQyMjU1MzNaFw0yMTAxMjMyMjU1MzNaMA0xCzAJBgNVBAMMAkJDMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE8YnXXfaUgmnMtOXU/IncWalRhebrXmckC8vdgJ1p5Be5F/3YC8OthxM4+k1M6aEAEFcGzkJiNy6J84y7uzo9M6NyMHAwCQYDVR0TBAIwADAfBgNVHSMEGDAWgBRm3WjLa38lbEYCuiCPct0ZaSED2DAOBgNVHQ8BAf8EBAMCBsAwEwYDVR0lBAwwCgYIKwYBBQUHAwIwHQYDVR0RAQH/BBMwEYEPYmRjQGV4YW1wbGUuY29tMAoGCCqGSM49BAMCA0gAMEUCIBHda/r1vaL6G3VliL4/Di6YK0Q6bMjeSkC3dFCOOB8TAiEAx/kHSB4urmiZ0NX5r5XarmPk0wmuydBVoU4hBVZ1yhk=:"
	g, seen := certificateGate(t, Certificates{Field: ClientCert}, nil)
	if got := learned(t, g, seen, from("10.0.0.1", "Client-Cert", field)); got != "BC with 0 more, forwarded" {
		t.Fatalf("got %s", got)
	}
	leaf := (*seen).Certificate.Leaf
	if leaf.Issuer.CommonName != "LA Intermediate CA" || len(leaf.EmailAddresses) != 1 || leaf.EmailAddresses[0] != "bdc@example.com" {
		t.Errorf("got %v issued by %v", leaf.EmailAddresses, leaf.Issuer)
	}
}
