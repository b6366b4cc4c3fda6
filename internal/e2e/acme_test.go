package e2e

import (
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/internal/testacme"
	"github.com/gatewarden/gatewarden/internal/testenv"
)

// port returns the port of an address that nobody listens on.
func port(t *testing.T) int {
	t.Helper()
	_, text, err := net.SplitHostPort(testenv.FreeAddress(t))
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// certified is what /health/ready?verbose says of certificates.
func certified(t *testing.T, p *program) (status int, hosts map[string]bool, errors string) {
	t.Helper()
	a := send(t, http.MethodGet, p.management+"/health/ready?verbose", "")
	var said struct {
		Certificates []struct {
			Host     string
			NotAfter time.Time `json:"not_after"`
			Error    string
		}
	}
	a.decode(t, &said)
	hosts = map[string]bool{}
	for _, c := range said.Certificates {
		hosts[c.Host] = !c.NotAfter.IsZero()
		errors += c.Error
	}
	return a.status, hosts, errors
}

// TestTheExampleOfACMEServesWithCertificatesOfTheDirectory runs the program with the
// example of docs/listeners.md against a real directory.
func TestTheExampleOfACMEServesWithCertificatesOfTheDirectory(t *testing.T) {
	var example string
	for _, block := range blocks(read(t, root+"/docs/listeners.md"), "yaml") {
		if strings.HasPrefix(block, "acme:") {
			example = block
		}
	}
	https, plain := port(t), port(t)
	d := testacme.Start(t, testacme.Options{TLSPort: https, HTTPPort: plain})
	dir := t.TempDir()
	file := filepath.Join(dir, "gate.yml")
	rule := strings.Replace(reloadableRules(upstream(t).URL, 1), "DIR", dir, 1)
	replace(t, filepath.Join(dir, "rules.yml"), rule)
	replace(t, file, example)
	d.Down(true)
	keys := map[string]string{
		"acme.directory": d.URL, "acme.ca_file": d.CAFile, "acme.storage": filepath.Join(dir, "kept"), "acme.http.port": strconv.Itoa(plain),
		"acme.http.host": "127.0.0.1", "serve.proxy.port": strconv.Itoa(https), "access_rules.repositories": "file://" + filepath.Join(dir, "rules.yml"),
	}
	p := start(t, settings{files: []string{file}, keys: keys}) // although the directory is away
	wait := func(what string, holds func() bool) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); !holds(); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("in vain waited for " + what)
			}
		}
	}
	wait("failures", func() bool {
		_, _, errors := certified(t, p)
		return strings.Contains(errors, "503")
	})
	if status, hosts, _ := certified(t, p); status != http.StatusOK || !cmp.Equal(hosts, map[string]bool{"api.example.com": false, "shop.example.com": false}) {
		t.Errorf("readiness is %d %v", status, hosts)
	}
	if _, err := tls.Dial("tcp", p.app.Addresses()["proxy"], &tls.Config{ServerName: "api.example.com", InsecureSkipVerify: true}); err == nil {
		t.Error("a handshake succeeded without a certificate")
	}
	if metric := send(t, http.MethodGet, p.management+"/metrics", "").body; !strings.Contains(metric, `gatewarden_tls_certificate_not_after_timestamp_seconds{listener="proxy",name="api.example.com"} 0`) {
		t.Error("the metrics do not tell that there is no certificate")
	}
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}

	d.Down(false)
	p = start(t, settings{files: []string{file}, keys: keys})
	wait("certificates", func() bool {
		_, hosts, _ := certified(t, p)
		return cmp.Equal(hosts, map[string]bool{"api.example.com": true, "shop.example.com": true})
	})
	get := func(host string) string {
		t.Helper()
		transport := &http.Transport{TLSClientConfig: &tls.Config{ServerName: host, RootCAs: d.Roots}, ForceAttemptHTTP2: true}
		defer transport.CloseIdleConnections()
		res, err := (&http.Client{Transport: transport}).Get("https://" + p.app.Addresses()["proxy"] + "/x")
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		var got seen
		if err := json.Unmarshal(body, &got); err != nil || res.ProtoMajor != 2 {
			t.Fatalf("%s %d %s", res.Proto, res.StatusCode, body)
		}
		return got.Header.Get("X-First")
	}
	for _, host := range []string{"api.example.com", "shop.example.com"} {
		if got := get(host); got != "1" {
			t.Errorf("%s: the upstream saw %q", host, got)
		}
	}
	if metric := send(t, http.MethodGet, p.management+"/metrics", "").body; strings.Contains(metric, `name="api.example.com"} 0`) {
		t.Error("the metrics do not tell when the certificate ends")
	}
	// The plain listener has challenges and nothing else.
	send(t, http.MethodGet, "http://"+p.app.Addresses()["acme"]+"/x", "").want(t, http.StatusNotFound)

	// A host that a reload adds and one that it takes away.
	replace(t, file, strings.Replace(example, "shop.example.com", "new.example.com", 1))
	if _, err := p.app.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	get("api.example.com")
	wait("the certificate of a new host", func() bool {
		_, hosts, _ := certified(t, p)
		return cmp.Equal(hosts, map[string]bool{"api.example.com": true, "new.example.com": true})
	})
	get("new.example.com")
	if _, err := tls.Dial("tcp", p.app.Addresses()["proxy"], &tls.Config{ServerName: "shop.example.com", InsecureSkipVerify: true}); err == nil {
		t.Error("a host that was taken away is served")
	}
	if log := p.log.String(); strings.Contains(log, "BEGIN") || strings.Contains(log, "hmac") {
		t.Error("a secret is in the log")
	}
}

func TestHostsWithoutADirectoryNeedARestart(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "gate.yml")
	certify(t, dir, "a", "a", "gate.test")
	text := strings.ReplaceAll("serve: {proxy: {tls: {cert: {path: DIR/a.crt}, key: {path: DIR/a.key}}}}\n", "DIR", dir)
	replace(t, file, text)
	p := start(t, settings{files: []string{file}})
	replace(t, file, "acme: {accept_terms: true, storage: "+dir+"/kept}\n"+strings.Replace(text, "tls: {", "tls: {acme: {hosts: [api.example.com]}, ", 1))
	_, err := p.app.Reload(t.Context())
	if err == nil || !strings.Contains(err.Error(), "serve.proxy.tls.acme.hosts: acme.accept_terms was not set at the start") {
		t.Errorf("got %v", err)
	}
	if got := presented(t, p.app.Addresses()["proxy"], "gate.test"); got != "a" {
		t.Errorf("the old certificate is not served but %q", got)
	}
}

func TestADirectoryAtAMetadataServiceIsNotAsked(t *testing.T) {
	p := start(t, settings{keys: map[string]string{
		"acme.accept_terms": "true", "acme.storage": t.TempDir(), "acme.directory": "https://169.254.169.254/directory", "serve.proxy.tls.acme.hosts": "api.example.com",
	}})
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		_, _, errors := certified(t, p)
		if strings.Contains(errors, "is not one for") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the host's error is %q", errors)
		}
	}
}
