package e2e

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/app"
)

func TestWithoutConfigurationEverythingIsRefused(t *testing.T) {
	p := start(t, settings{})
	for _, path := range []string{"/", "/orders", "/.well-known/openid-configuration"} {
		a := send(t, "GET", p.proxy+path, "").want(t, http.StatusNotFound)
		var refusal struct {
			Error struct {
				ID      string `json:"id"`
				Request string `json:"request"`
			} `json:"error"`
		}
		a.decode(t, &refusal)
		if refusal.Error.ID != "no_rule_match" || refusal.Error.Request != a.header.Get("X-Decision-Id") || refusal.Error.Request == "" {
			t.Errorf("%s: got %s with decision id %q", path, a.body, a.header.Get("X-Decision-Id"))
		}
	}
	send(t, "GET", p.management+"/health/ready", "").want(t, http.StatusOK)
	send(t, "GET", p.public+"/health/ready", "").want(t, http.StatusOK)
}

func TestAStartThatFailsNamesTheSettingAndLeavesNothingOpen(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := fmt.Sprint(taken.Addr().(*net.TCPAddr).Port)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	proxyAddress := free.Addr().String()
	_, proxyPort, _ := net.SplitHostPort(proxyAddress)
	free.Close()

	for _, c := range []struct {
		name string
		keys map[string]string
		want string
	}{
		{"a taken port", map[string]string{"serve.public.port": port}, "serve.public.port: cannot listen on 127.0.0.1:" + port},
		{"a database that does not answer", map[string]string{"dsn": "postgres://nobody:hunter2-is-secret@127.0.0.1:1/x"}, "dsn"},
		{"a scheme that is unknown", map[string]string{"dsn": "mongodb://x/y"}, "dsn"},
		{"a folder that is missing", map[string]string{"dsn": "sqlite:///does/not/exist/x.db"}, "dsn"},
		{"rules that are missing", map[string]string{"access_rules.repositories": "file:///does/not/exist.json"}, "access_rules.repositories"},
		{"a source that is unknown", map[string]string{"access_rules.repositories": "ftp://x/y"}, "access_rules.repositories"},
		{"authorities that are missing", map[string]string{"serve.proxy.upstream.ca_file": "/does/not/exist"}, "serve.proxy: upstream.ca_file"},
		{"a certificate that is missing", map[string]string{"serve.proxy.tls.key.path": "/does/not/exist", "serve.proxy.tls.cert.path": "/does/not/exist"}, "serve.proxy.tls"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.keys["serve.proxy.port"] = proxyPort
			a, err := app.New(t.Context(), app.Options{Config: configuration(t, settings{keys: c.keys})})
			if err == nil {
				a.Close()
				t.Fatal("it started")
			}
			if !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("got %q, want one line about %s without the password", err, c.want)
			}
			l, err := net.Listen("tcp", proxyAddress)
			if err != nil {
				t.Fatalf("the proxy's port is still open: %v", err)
			}
			l.Close()
		})
	}
}

func TestASignalDrainsRunningRequests(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(entered)
		<-release
		_, _ = w.Write([]byte("finished"))
	}))
	defer slow.Close()
	p := start(t, settings{rules: protected(slow.URL)})
	got := make(chan answer, 1)
	go func() { got <- send(t, "GET", p.proxy+"/open", "") }()
	<-entered
	stopped := make(chan error, 1)
	go func() { stopped <- p.stop() }()

	eventually(t, "readiness turns 503", func() bool {
		res, err := client().Get(p.management + "/health/ready")
		if err != nil {
			return false
		}
		res.Body.Close()
		return res.StatusCode == http.StatusServiceUnavailable
	})
	eventually(t, "the proxy accepts nothing new", func() bool {
		res, err := client().Get(p.proxy + "/open")
		if err == nil {
			res.Body.Close()
		}
		return err != nil
	})
	select {
	case err := <-stopped:
		t.Fatalf("stopped with %v while a request was running", err)
	default:
	}
	close(release)
	if a := <-got; a.status != http.StatusOK || a.body != "finished" {
		t.Errorf("got %d %q, want the whole answer", a.status, a.body)
	}
	if err := <-stopped; err != nil {
		t.Errorf("stop: %v", err)
	}
}

// eventually polls until the condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if holds() {
			return
		}
	}
	t.Fatalf("did not come true: %s", what)
}

func TestEachServerRunsAlone(t *testing.T) {
	for name, parts := range map[string]app.Parts{"proxy": app.Proxy, "management": app.Management, "public": app.Public} {
		t.Run(name, func(t *testing.T) {
			p := start(t, settings{parts: parts})
			var open []string
			for n := range p.app.Addresses() {
				open = append(open, n)
			}
			if diff := cmp.Diff([]string{name}, open); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestProcessesShareADatabaseAndHearOfEachOther(t *testing.T) {
	dsn := "sqlite://" + filepath.Join(t.TempDir(), "shared.db")
	api := upstream(t)
	one := start(t, settings{dsn: dsn, keys: map[string]string{"urls.self.issuer": "http://127.0.0.1:4444"}})
	two := start(t, settings{dsn: dsn, keys: map[string]string{"urls.self.issuer": "http://127.0.0.1:4444"}})
	var rules []json.RawMessage
	if err := json.Unmarshal([]byte(protected(api.URL)), &rules); err != nil {
		t.Fatal(err)
	}
	post(t, one.management+"/rules", string(rules[0])).want(t, http.StatusCreated)
	var created struct {
		Secret string `json:"client_secret"`
	}
	post(t, one.management+"/clients", `{"client_id": "shop", "grant_types": ["client_credentials"], "scope": "orders"}`).want(t, http.StatusCreated).decode(t, &created)
	post(t, one.management+"/policies", `{"id": "read", "subjects": ["shop"], "effect": "allow", "resources": ["orders:<.*>"], "actions": ["GET"]}`).want(t, http.StatusCreated)
	token := clientToken(t, two, "shop", created.Secret, "orders")
	ask := func(p *program) int {
		return send(t, "GET", p.proxy+"/orders/1", "", "Authorization", "Bearer "+token).status
	}
	// Where it was written it is in force at once, elsewhere soon.
	if got := ask(one); got != http.StatusOK {
		t.Errorf("the writing node: got %d, want 200", got)
	}
	eventually(t, "the other node has rule and policy", func() bool { return ask(two) == http.StatusOK })
	revoke(t, one, "shop", created.Secret, token)
	if got := ask(one); got != http.StatusUnauthorized {
		t.Errorf("the revoking node: got %d, want 401", got)
	}
	eventually(t, "the other node knows the revocation", func() bool { return ask(two) == http.StatusUnauthorized })
}

// clientToken gets a token by client credentials.
func clientToken(t *testing.T, p *program, id, secret, scope string) string {
	t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}, "scope": {scope}, "client_id": {id}, "client_secret": {secret}}
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	send(t, "POST", p.public+"/oauth2/token", form.Encode(), "Content-Type", "application/x-www-form-urlencoded").want(t, http.StatusOK).decode(t, &answer)
	return answer.AccessToken
}

// revoke revokes a token as its client.
func revoke(t *testing.T, p *program, id, secret, token string) {
	t.Helper()
	form := url.Values{"token": {token}, "client_id": {id}, "client_secret": {secret}}
	send(t, "POST", p.public+"/oauth2/revoke", form.Encode(), "Content-Type", "application/x-www-form-urlencoded").want(t, http.StatusOK)
}

func TestARewrittenRuleFileIsNeverSeenHalfAndAFaultKeepsTheLastGoodSet(t *testing.T) {
	api := upstream(t)
	file := filepath.Join(t.TempDir(), "rules.json")
	good := protected(api.URL)
	if err := os.WriteFile(file, []byte(good), 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, settings{keys: map[string]string{"access_rules.repositories": "file://" + file}})
	open := func() int { return send(t, "GET", p.proxy+"/open", "").status }
	if got := open(); got != http.StatusOK {
		t.Fatalf("got %d, want 200", got)
	}

	// Rewritten in place again and again, the rule is always there.
	ctx, cancel := context.WithCancel(t.Context())
	written := make(chan error, 1)
	go func() {
		var err error
		for ctx.Err() == nil && err == nil {
			err = os.WriteFile(file, []byte(good), 0o600)
			time.Sleep(2 * time.Millisecond)
		}
		written <- err
	}()
	for range 300 {
		if got := open(); got != http.StatusOK {
			t.Errorf("while the file was rewritten: got %d, want 200", got)
			break
		}
	}
	cancel()
	if err := <-written; err != nil {
		t.Fatal(err)
	}

	// A file that is broken keeps the last good rules and is reported everywhere.
	if err := os.WriteFile(file, []byte(good[:len(good)/2]), 0o600); err != nil {
		t.Fatal(err)
	}
	var ready answer
	eventually(t, "readiness reports the broken file", func() bool {
		ready = send(t, "GET", p.management+"/health/ready", "")
		return ready.status == http.StatusServiceUnavailable
	})
	if !strings.Contains(ready.body, file) {
		t.Errorf("readiness does not name the file: %s", ready.body)
	}
	if got := open(); got != http.StatusOK {
		t.Errorf("after a broken file: got %d, want 200 from the last good rules", got)
	}
	metrics := send(t, "GET", p.management+"/metrics", "").want(t, http.StatusOK).body
	for _, want := range []string{`gatewarden_rule_set_last_load_successful 0`, `gatewarden_rule_set_reloads_total{result="failure"}`} {
		if !strings.Contains(metrics, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
	if !strings.Contains(p.log.String(), file) {
		t.Error("the log does not name the file")
	}
	if err := os.WriteFile(file, []byte(good), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "readiness recovers", func() bool {
		return send(t, "GET", p.management+"/health/ready", "").status == http.StatusOK
	})
}

func TestABrokenRuleIsReportedWithItsPlaceAndAffectsOnlyItself(t *testing.T) {
	api := upstream(t)
	file := filepath.Join(t.TempDir(), "rules.yaml")
	text := `- id: good
  match: {url: "http://<[^/]+>/open", methods: [GET]}
  upstream: {url: "` + api.URL + `"}
  authenticators: [{handler: anonymous}]
  authorizer: {handler: allow}
  mutators: [{handler: noop}]
- id: bad
  match: {url: "http://<[^/]+>/bad", methods: [GET]}
  upstream: {url: "` + api.URL + `"}
  authenticators: [{handler: anonymus}]
  authorizer: {handler: allow}
  mutators: [{handler: noop}]
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, settings{keys: map[string]string{"access_rules.repositories": "file://" + file}})
	send(t, "GET", p.proxy+"/open", "").want(t, http.StatusOK)
	if got := send(t, "GET", p.proxy+"/bad", ""); got.status < 500 {
		t.Errorf("a broken rule: got %d, want a refusal of 500 or more", got.status)
	}
	for _, report := range []string{send(t, "GET", p.management+"/health/ready", "").body, p.log.String()} {
		if !strings.Contains(report, file+":") || !strings.Contains(report, "bad") || !strings.Contains(report, "anonymus") {
			t.Errorf("the report lacks file, line, rule or reason: %s", report)
		}
	}
}

func TestAnUpstreamOfAPrivateAuthorityIsReachedWhenTheAuthorityIsNamed(t *testing.T) {
	api := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("private")) }))
	defer api.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: api.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	without := start(t, settings{rules: protected(api.URL)})
	send(t, "GET", without.proxy+"/open", "").want(t, http.StatusBadGateway)
	with := start(t, settings{rules: protected(api.URL), keys: map[string]string{"serve.proxy.upstream.ca_file": ca}})
	if got := send(t, "GET", with.proxy+"/open", "").want(t, http.StatusOK).body; got != "private" {
		t.Errorf("got %q", got)
	}
}
