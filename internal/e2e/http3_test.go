package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/gatewarden/gatewarden/internal/testca"
)

// overHTTP3 is a client that speaks HTTP/3 to the proxy, with a certificate or none.
func overHTTP3(t testing.TB, p *program, roots *x509.CertPool, name string, shown *testca.Issued) *http.Client {
	t.Helper()
	config := &tls.Config{ServerName: name, RootCAs: roots}
	if shown != nil {
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			c := shown.TLS()
			return &c, nil
		}
	}
	address := p.app.Addresses()["proxy"]
	transport := &http3.Transport{TLSClientConfig: config, Dial: func(ctx context.Context, _ string, c *tls.Config, q *quic.Config) (*quic.Conn, error) {
		return quic.DialAddr(ctx, address, c, q)
	}}
	t.Cleanup(func() { _ = transport.Close() })
	return &http.Client{Transport: transport, Timeout: 30 * time.Second}
}

// TestHTTP3HasTheGuaranteesOfTheOtherVersions goes through the proxy over QUIC to an
// upstream that tells what it got.
func TestHTTP3HasTheGuaranteesOfTheOtherVersions(t *testing.T) {
	now := time.Now()
	clients, servers := testca.New(t, "clients", now), testca.New(t, "servers", now)
	server := servers.Issue(t, func(c *x509.Certificate) {
		c.ExtKeyUsage, c.DNSNames, c.IPAddresses = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, []string{"gate.test"}, []net.IP{net.IPv4(127, 0, 0, 1)}
	})
	web, other := clients.Issue(t, nil), clients.Issue(t, nil)
	digest := sha256.Sum256(web.Leaf.Raw)
	as, holder := newAuthority(t), newKeyHolder(t)
	bound := as.token(t, map[string]any{"x5t#S256": base64.RawURLEncoding.EncodeToString(digest[:])})
	proven := as.token(t, map[string]any{"jkt": holder.jkt})
	left := make(chan bool, 1)
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Alt-Svc", `h3="elsewhere.test:443"`)
		switch {
		case r.Header.Get("X-Events") != "":
			_, _ = io.WriteString(w, "event")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
			left <- true
			return
		case r.Method == http.MethodPost:
			w.Header().Set("Trailer", "Grpc-Status")
			sent, _ := io.ReadAll(r.Body)
			_, _ = w.Write(sent)
			w.Header().Set("Grpc-Status", "0")
			w.Header().Set(http.TrailerPrefix+"X-Sum", strings.Join(r.Trailer["X-Sum"], ""))
			return
		}
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{
			"URI": r.RequestURI, "Host": r.Host, "Chunks": fmt.Sprint(r.TransferEncoding), "Body": string(body), "User": r.Header["X-User"], "Certificate": r.Header["Client-Cert"],
			"Proto": r.Header["X-Forwarded-Proto"], "For": r.Header["X-Forwarded-For"], "Spoofed": append(r.Header["X_User"], r.Header["X-Forwarded-Client-Cert"]...),
		})
	}))
	t.Cleanup(api.Close)
	rules := strings.ReplaceAll(rulesOf(api.URL, map[string]string{"who": `{"handler": "client_certificate"}`, "bound": as.authenticator(t, ""), "open": `{"handler": "anonymous", "config": {"subject": "guest"}}`}),
		`["GET"]`, `["GET", "POST"]`)
	p := start(t, settings{rules: rules, keys: map[string]string{
		"serve.proxy.http3":           "true",
		"serve.proxy.tls.cert.base64": base64.StdEncoding.EncodeToString(testca.PEM(server.Leaf)), "serve.proxy.tls.key.base64": base64.StdEncoding.EncodeToString(server.KeyPEM(t)),
		"serve.proxy.tls.client_auth": "request", "serve.proxy.tls.client_ca.base64": base64.StdEncoding.EncodeToString(testca.PEM(clients.Certificate)),
	}})
	const base = "https://gate.test"

	t.Run("other versions tell of it", func(t *testing.T) {
		h := mutual(servers.Pool, nil)
		defer h.CloseIdleConnections()
		res, err := h.Get("https://" + p.app.Addresses()["proxy"] + "/open")
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		_, port, _ := net.SplitHostPort(p.app.Addresses()["proxy"])
		if got := res.Header["Alt-Svc"]; !cmp.Equal(got, []string{`h3=":` + port + `"; ma=86400`}) {
			t.Errorf("Alt-Svc is %q", got)
		}
	})

	spoofed := []string{"X-User", "admin", "X_user", "admin", "Client-Cert", testca.Field(web.Leaf), "X-Forwarded-Client-Cert", "x", "X-Forwarded-For", "192.0.2.1", "X-Forwarded-Proto", "http"}
	for name, c := range map[string]struct {
		shown  *testca.Issued
		path   string
		header []string
		want   int
		saw    map[string]any
	}{
		"nobody's header counts":                       {nil, "/open", spoofed, 200, map[string]any{"User": []any{"guest"}, "Certificate": nil}},
		"a header is no certificate":                   {nil, "/who", spoofed, 401, nil},
		"a certificate names the client":               {&web, "/who", nil, 200, map[string]any{"User": []any{"CN=client"}, "Certificate": []any{testca.Field(web.Leaf)}}},
		"a bound token with its certificate":           {&web, "/bound", []string{"Authorization", "Bearer " + bound}, 200, map[string]any{"User": []any{"alice"}, "Certificate": []any{testca.Field(web.Leaf)}}},
		"a bound token with another":                   {&other, "/bound", []string{"Authorization", "Bearer " + bound}, 401, nil},
		"a bound token with none":                      {nil, "/bound", []string{"Authorization", "Bearer " + bound}, 401, nil},
		"a proof for the https URL":                    {nil, "/bound", []string{"Authorization", "DPoP " + proven, "DPoP", holder.proof(t, proven, "GET", base+"/bound", "")}, 200, map[string]any{"User": []any{"alice"}, "Certificate": nil}},
		"a proof for http":                             {nil, "/bound", []string{"Authorization", "DPoP " + proven, "DPoP", holder.proof(t, proven, "GET", "http://gate.test/bound", "")}, 401, nil},
		"a path that two would read in different ways": {nil, "/x/..%2fopen", nil, 400, nil},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := http.NewRequestWithContext(t.Context(), "GET", base+c.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			for i := 0; i < len(c.header); i += 2 {
				r.Header[c.header[i]] = []string{c.header[i+1]}
			}
			res, err := overHTTP3(t, p, servers.Pool, "gate.test", c.shown).Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			body, _ := io.ReadAll(res.Body)
			if res.StatusCode != c.want || res.ProtoMajor != 3 || res.Header.Get("X-Decision-Id") == "" && c.want != 200 {
				t.Fatalf("got %s %d %s %v", res.Proto, res.StatusCode, body, res.Header)
			}
			if c.saw == nil {
				return
			}
			var got map[string]any
			if err := json.Unmarshal(body, &got); err != nil {
				t.Fatal(err)
			}
			c.saw["URI"], c.saw["Chunks"], c.saw["Body"], c.saw["Spoofed"] = c.path, "[]", "", nil
			c.saw["Proto"], c.saw["For"], c.saw["Host"] = []any{"https"}, []any{"127.0.0.1"}, strings.TrimPrefix(api.URL, "http://")
			if diff := cmp.Diff(c.saw, got); diff != "" {
				t.Errorf("the upstream saw (-want +got)\n%s", diff)
			}
		})
	}

	t.Run("an upload comes back with trailers", func(t *testing.T) {
		sent := bytes.Repeat([]byte("x"), 1<<20)
		r, err := http.NewRequestWithContext(t.Context(), "POST", base+"/open", io.NopCloser(bytes.NewReader(sent)))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Te", "trailers")
		r.Trailer = http.Header{"X-Sum": {"1"}}
		res, err := overHTTP3(t, p, servers.Pool, "gate.test", nil).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil || !bytes.Equal(body, sent) {
			t.Errorf("got %d bytes, %v", len(body), err)
		}
		if diff := cmp.Diff(http.Header{"Grpc-Status": {"0"}, "X-Sum": {"1"}}, res.Trailer); diff != "" {
			t.Errorf("trailers (-want +got)\n%s", diff)
		}
	})

	t.Run("events come at once and end with the client", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		r, err := http.NewRequestWithContext(ctx, "GET", base+"/open", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Events", "1")
		res, err := overHTTP3(t, p, servers.Pool, "gate.test", nil).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		event := make([]byte, 5)
		if _, err := io.ReadFull(res.Body, event); err != nil || string(event) != "event" {
			t.Fatalf("%q %v", event, err)
		}
		cancel()
		<-left
	})
}

// TestTheExampleOfHTTP3FollowsReloadsAndNames runs the example of docs/listeners.md with
// certificates of the test.
func TestTheExampleOfHTTP3FollowsReloadsAndNames(t *testing.T) {
	var example string
	for _, block := range blocks(read(t, root+"/docs/listeners.md"), "yaml") {
		if strings.Contains(block, "http3: true") {
			example = block
		}
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "gate.yml")
	certify(t, dir, "api.example.com", "first", "api.example.com")
	certify(t, dir, "shop.example.com", "shop", "shop.example.com")
	example = strings.NewReplacer("/etc/gatewarden", dir, "port: 443", "port: 0").Replace(example)
	replace(t, file, example)
	p := start(t, settings{files: []string{file}})
	shown := func(name string) string {
		t.Helper()
		conn, err := quic.DialAddr(t.Context(), p.app.Addresses()["proxy"], &tls.Config{ServerName: name, InsecureSkipVerify: true, NextProtos: []string{"h3"}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.CloseWithError(0, "") }()
		return conn.ConnectionState().TLS.PeerCertificates[0].Subject.CommonName
	}
	if got := shown("api.example.com") + " " + shown("shop.example.com"); got != "first shop" {
		t.Errorf("got certificates %s", got)
	}
	certify(t, dir, "api.example.com", "second", "api.example.com")
	if _, err := p.app.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := shown("api.example.com"); got != "second" {
		t.Errorf("got the certificate %s", got)
	}
}
