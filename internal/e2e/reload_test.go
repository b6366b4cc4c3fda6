package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// replace writes a file as careful people do: whole, and then in place of the old.
func replace(t testing.TB, name, text string) {
	t.Helper()
	if err := os.WriteFile(name+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		t.Fatal(err)
	}
}

// certify writes a certificate of its own making for names, common name cn.
func certify(t testing.TB, dir, file, cn string, names ...string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: cn}, NotAfter: time.Now().Add(time.Hour), DNSNames: names}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	replace(t, filepath.Join(dir, file+".crt"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})))
	replace(t, filepath.Join(dir, file+".key"), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
}

// presented returns the common name of the certificate for a name.
func presented(t testing.TB, address, name string) string {
	t.Helper()
	conn, err := tls.Dial("tcp", address, &tls.Config{ServerName: name, InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].Subject.CommonName
}

// reloadable is a configuration whose parts carry a version.
func reloadable(dir string, n int) string {
	return strings.NewReplacer("DIR", dir, "VERSION", fmt.Sprint(n), "LEVEL", []string{"info", "warn"}[n%2]).Replace(`log: {level: LEVEL}
serve:
  proxy:
    tls:
      cert: {path: DIR/a.crt}
      key: {path: DIR/a.key}
      certificates:
        - {cert: {path: DIR/b.crt}, key: {path: DIR/b.key}}
access_rules:
  repositories: [file://DIR/rules.yml]
authenticators:
  anonymous: {config: {subject: "VERSION"}}
mutators:
  header: {config: {headers: {X-Configured: "VERSION"}}}
`)
}

func reloadableRules(api string, n int) string {
	return strings.NewReplacer("UPSTREAM", api, "VERSION", fmt.Sprint(n)).Replace(`- id: a
  match: {paths: ["/<.*>"], methods: [GET]}
  authenticators: [{handler: anonymous}]
  authorizer: {handler: allow}
  mutators:
    - {handler: header, config: {headers: {X-Subject: "{{ print .Subject }}", X-First: "VERSION"}}}
    - {handler: header, config: {headers: {X-Second: "VERSION"}}}
  upstream: {url: UPSTREAM}
`)
}

// TestAHundredReloadsUnderLoadLoseNoRequest changes rules, handlers, certificates and
// the level of the log while requests are made. Each of these is answered, and was
// decided by one set: what a set says twice is said alike.
func TestAHundredReloadsUnderLoadLoseNoRequest(t *testing.T) {
	api, dir := upstream(t).URL, t.TempDir()
	write := func(n int) {
		certify(t, dir, "a", fmt.Sprint("a", n), "gate.test")
		certify(t, dir, "b", fmt.Sprint("b", n), "other.test")
		replace(t, filepath.Join(dir, "rules.yml"), reloadableRules(api, n))
		replace(t, filepath.Join(dir, "gate.yml"), reloadable(dir, n))
	}
	write(0)
	p := start(t, settings{files: []string{filepath.Join(dir, "gate.yml")}})
	address := p.app.Addresses()["proxy"]

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var running sync.WaitGroup
	var made, fresh atomic.Int64
	for worker := range 4 {
		running.Go(func() {
			transport := &http.Transport{TLSClientConfig: &tls.Config{ServerName: "gate.test", InsecureSkipVerify: true}, ForceAttemptHTTP2: worker%2 == 0}
			defer transport.CloseIdleConnections()
			c := http.Client{Transport: transport, Timeout: 20 * time.Second}
			for n := 0; ctx.Err() == nil; n++ {
				if n%10 == 0 { // a handshake with the certificates of the moment
					transport.CloseIdleConnections()
					fresh.Add(1)
				}
				res, err := c.Get("https://" + address + "/x")
				if err != nil {
					t.Error(err)
					return
				}
				var got seen
				err = json.NewDecoder(res.Body).Decode(&got)
				_, _ = io.Copy(io.Discard, res.Body)
				_ = res.Body.Close()
				h := got.Header
				if res.StatusCode != http.StatusOK || err != nil || h.Get("X-First") == "" || h.Get("X-Subject") == "" ||
					h.Get("X-First") != h.Get("X-Second") || h.Get("X-Subject") != h.Get("X-Configured") {
					t.Errorf("%d %v: the upstream saw %v", res.StatusCode, err, h)
					return
				}
				made.Add(1)
				time.Sleep(2 * time.Millisecond) // the reloads need the processors, too
			}
		})
	}
	for n := 1; n <= 100; n++ {
		write(n)
		done, err := p.app.Reload(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(done.Restart) > 0 {
			t.Fatalf("a restart is needed for %v", done.Restart)
		}
	}
	for before := made.Load(); made.Load() < before+8 && !t.Failed(); { // requests after the last reload
		time.Sleep(time.Millisecond)
	}
	stop()
	running.Wait()
	t.Logf("%d requests, %d times on new connections", made.Load(), fresh.Load())
	if got, want := []any{presented(t, address, "gate.test"), presented(t, address, "other.test"), presented(t, address, "unknown.test"), p.level.Level()},
		[]any{"a100", "b100", "a100", slog.LevelInfo}; !cmp.Equal(got, want) {
		t.Errorf("certificates and level: got %v, want %v", got, want)
	}
}

func TestAConfigurationWithAFaultLeavesTheOldOneInForce(t *testing.T) {
	api, dir := upstream(t).URL, t.TempDir()
	config := filepath.Join(dir, "gate.yml")
	certify(t, dir, "a", "a", "gate.test")
	certify(t, dir, "b", "b", "other.test")
	replace(t, filepath.Join(dir, "rules.yml"), reloadableRules(api, 1))
	replace(t, config, reloadable(dir, 1))
	p := start(t, settings{files: []string{config}})
	address := p.app.Addresses()["proxy"]
	ask := func() string {
		transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
		defer transport.CloseIdleConnections()
		res, err := (&http.Client{Transport: transport}).Get("https://" + address + "/x")
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		var got seen
		_ = json.NewDecoder(res.Body).Decode(&got)
		return fmt.Sprint(res.StatusCode, " ", got.Header.Get("X-Subject"))
	}
	for _, c := range []struct {
		name  string
		spoil func()
		want  string // of the error
		times int    // that it is said; 0: once
	}{
		{"an unknown key", func() { replace(t, config, reloadable(dir, 2)+"unknwon: 1\n") }, "unknown key unknwon", 0},
		{"a value of the wrong type", func() { replace(t, config, reloadable(dir, 2)+"backend_url: nowhere\n") }, "backend_url must be an absolute", 0},
		{"a file that is gone", func() { _ = os.Remove(config) }, "no such file", 0},
		{"a handler that working rules need and that cannot be built", func() {
			replace(t, config, strings.Replace(reloadable(dir, 2), `X-Configured: "2"`, `X-Configured: "{{ .Nothing | nofunction }}"`, 1))
		}, "nofunction", 2 /* by each of two mutators */},
		{"a certificate that is none", func() {
			replace(t, config, reloadable(dir, 2))
			replace(t, filepath.Join(dir, "b.crt"), "none")
		}, "serve.proxy.tls.certificates[0]", 0},
	} {
		c.spoil()
		a := post(t, p.management+"/reload", "")
		if a.status != http.StatusBadRequest || !strings.Contains(a.body, c.want) {
			t.Errorf("%s: got %d %s, want 400 and %q", c.name, a.status, a.body, c.want)
		}
		if got := ask(); got != "200 1" {
			t.Errorf("%s: got %s of the gateway, want 200 of the old configuration", c.name, got)
		}
		ready := send(t, "GET", p.management+"/health/ready", "")
		if ready.status != http.StatusServiceUnavailable || !strings.Contains(ready.body, `"configuration"`) {
			t.Errorf("%s: readiness is %d %s", c.name, ready.status, ready.body)
		}
		if said := strings.Count(ready.body, c.want); said != max(c.times, 1) {
			t.Errorf("%s: is said %d times: %s", c.name, said, ready.body)
		}
		if metrics := send(t, "GET", p.management+"/metrics", "").body; !strings.Contains(metrics, "gatewarden_configuration_last_reload_successful 0") {
			t.Errorf("%s: the metric does not say so", c.name)
		}
		if got := presented(t, address, "other.test"); got != "b" {
			t.Errorf("%s: got certificate %s", c.name, got)
		}
		replace(t, config, reloadable(dir, 1))
		certify(t, dir, "b", "b", "other.test")
		post(t, p.management+"/reload", "").want(t, http.StatusOK)
		send(t, "GET", p.management+"/health/ready", "").want(t, http.StatusOK)
	}
	if !strings.Contains(p.log.String(), "the old one stays in force") {
		t.Error("the log does not say so")
	}
}

func TestWhatCannotBeReloadedIsReportedAndStays(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "gate.yml")
	rules := `access_rules: {repositories: ["inline://W10="]}` + "\n"
	replace(t, config, rules)
	p := start(t, settings{files: []string{config}})
	replace(t, config, rules+`ttl: {access_token: 5m}
serve:
  proxy: {limits: {header: 4096, body: 10, uri: 300, requests: 7}, trusted_proxies: [127.0.0.1], cors: {enabled: true}}
  shutdown_timeout: 1s
`)
	var got struct{ Restart []string }
	post(t, p.management+"/reload", "").want(t, http.StatusOK).decode(t, &got)
	slices.Sort(got.Restart)
	if diff := cmp.Diff([]string{"serve.proxy.limits.header", "serve.shutdown_timeout", "ttl.access_token"}, got.Restart); diff != "" {
		t.Errorf("restart (-want +got)\n%s", diff)
	}
	if !strings.Contains(p.log.String(), "need a restart") {
		t.Error("the log does not say so")
	}
	a := send(t, "OPTIONS", p.proxy+"/x", "", "Origin", "https://a.example", "Access-Control-Request-Method", "GET").want(t, http.StatusNoContent)
	if a.header.Get("Access-Control-Allow-Origin") != "*" {
		t.Error("CORS is not in force")
	}
	send(t, "POST", p.proxy+"/x", "more than ten bytes").want(t, http.StatusRequestEntityTooLarge)
	send(t, "GET", p.proxy+"/x?"+strings.Repeat("u", 300), "").want(t, http.StatusRequestURITooLong)
}

func TestAFileThatChangesIsNoticed(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "gate.yml")
	replace(t, config, "log: {level: debug}\n")
	p := start(t, settings{files: []string{config}})
	replace(t, config, "log: {level: error}\n")
	for deadline := time.Now().Add(20 * time.Second); p.level.Level() != slog.LevelError; {
		if time.Now().After(deadline) {
			t.Fatal("the configuration was not read again")
		}
		time.Sleep(10 * time.Millisecond)
	}
}
