package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// result is what a command line left behind.
type result struct {
	code           int
	stdout, stderr string
}

// execute runs one command line against a server.
func execute(t *testing.T, environ []string, stdin string, args ...string) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), args, environ, strings.NewReader(stdin), &stdout, &stderr)
	return result{code, stdout.String(), stderr.String()}
}

// output is a writer that may be read while it is written.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// serve runs `serve all` until the end of the test and returns the variables by
// which commands reach it.
func serve(t *testing.T, extra ...string) (environ []string) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	var stdout, stderr output
	exited := make(chan int, 1)
	go func() {
		exited <- run(ctx, append([]string{"serve", "all"}, extra...), []string{
			"PROXY_HOST=127.0.0.1", "PROXY_PORT=0", "MANAGEMENT_PORT=0", "PUBLIC_HOST=127.0.0.1", "PUBLIC_PORT=0",
		}, strings.NewReader(""), &stdout, &stderr)
	}()
	t.Cleanup(func() {
		stop()
		if code := <-exited; code != 0 {
			t.Errorf("serve exited with %d\n%s", code, stderr.String())
		}
	})
	at := map[string]string{}
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end) && len(at) < 3; time.Sleep(5 * time.Millisecond) {
		for _, line := range strings.Split(stderr.String(), "\n") {
			var event struct{ Msg, Server, Address string }
			if json.Unmarshal([]byte(line), &event) == nil && event.Msg == "listening" {
				at[event.Server] = event.Address
			}
		}
	}
	if len(at) < 3 {
		t.Fatalf("serve does not listen\n%s", stderr.String())
	}
	return []string{"GATEWARDEN_ADMIN_URL=http://" + at["management"], "HYDRA_URL=http://" + at["public"]}
}

// file writes a file of the test.
func file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const rule = `{"id": "open", "match": {"url": "http://<[^/]+>/open", "methods": ["GET"]}, "upstream": {"url": "http://127.0.0.1:9"},
  "authenticators": [{"handler": "anonymous"}], "authorizer": {"handler": "allow"}, "mutators": [{"handler": "noop"}]}`

const policy = `{"id": "read", "subjects": ["shop"], "effect": "allow", "resources": ["orders"], "actions": ["read"]}`

func TestAnOperatorsDay(t *testing.T) {
	environ := serve(t)
	do := func(want int, args ...string) string {
		t.Helper()
		r := execute(t, environ, "", args...)
		if r.code != want {
			t.Fatalf("gatewarden %s: exit code %d, want %d\n%s%s", strings.Join(args, " "), r.code, want, r.stdout, r.stderr)
		}
		return r.stdout
	}
	line := func(what, got, want string) {
		t.Helper()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got)\n%s", what, diff)
		}
	}
	line("health", do(0, "health", "alive")+do(0, "health", "ready"), "ok\nok\n")

	line("import rules", do(0, "rules", "import", file(t, "rules.json", "["+rule+"]")), "open\n")
	line("list rules", do(0, "rules", "list", "--format", "table"), "ID    METHODS  MATCH\nopen  GET      http://<[^/]+>/open\n")
	if got := do(0, "rules", "get", "open"); !strings.Contains(got, `"url": "http://<[^/]+>/open"`) && !strings.Contains(got, `"url": "http://\u003c[^/]+\u003e/open"`) {
		t.Errorf("rules get: %s", got)
	}
	line("delete rule", do(0, "rules", "delete", "open"), "")
	line("no rules", do(0, "rules", "list", "--format", "json"), "[]\n")

	line("import policies", do(0, "policies", "import", file(t, "p.json", policy)), "read\n")
	line("create policy", do(0, "policies", "create", "-i", "write", "-s", "shop", "-r", "orders", "-a", "write", "--allow"), "write\n")
	line("create policies from files", do(0, "policies", "create", "-f", file(t, "p.json", strings.Replace(policy, "read", "third", 1))), "third\n")
	line("list policies", do(0, "policies", "list", "--format", "table"),
		"ID     EFFECT  SUBJECTS  ACTIONS  RESOURCES\nread   allow   shop      read     orders\nthird  allow   shop      read     orders\nwrite  allow   shop      write    orders\n")
	do(0, "policies", "delete", "write", "third")

	created := do(0, "clients", "create", "--id", "shop", "-g", "client_credentials", "-a", "orders,other")
	secret := regexp.MustCompile(`^OAuth 2\.0 Client ID: shop\nOAuth 2\.0 Client Secret: (\S+)\n$`).FindStringSubmatch(created)
	if secret == nil {
		t.Fatalf("clients create: %q", created)
	}
	line("list clients", do(0, "clients", "list", "--format", "table"), "CLIENT ID  NAME  GRANT TYPES         SCOPE\nshop             client_credentials  orders other\n")
	line("import clients", do(0, "clients", "import", file(t, "c.json", `{"client_id": "second", "client_secret": "something-secure", "grant_types": ["client_credentials"]}`)), "second\n")
	if got := do(0, "clients", "update", "second", "-n", "Second", "-g", "client_credentials"); !strings.Contains(got, `"client_name": "Second"`) || strings.Contains(got, "something-secure") {
		t.Errorf("clients update: %s", got)
	}

	token := strings.TrimSpace(do(0, "token", "client", "--client-id", "shop", "--client-secret", secret[1], "--scope", "orders"))
	if got := do(0, "token", "introspect", token, "--scope", "orders"); !strings.Contains(got, `"active": true`) || !strings.Contains(got, `"sub": "shop"`) {
		t.Errorf("token introspect: %s", got)
	}
	line("a scope that it lacks", do(0, "token", "introspect", token, "--scope", "nope", "--format", "json"), `{"active":false}`+"\n")
	line("revoke", do(0, "token", "revoke", token, "--client-id", "shop", "--client-secret", secret[1]), "")
	line("revoked", do(0, "token", "validate", token, "--format", "json"), `{"active":false}`+"\n")
	do(0, "token", "delete", "--client-id", "shop")
	do(0, "token", "flush", "--min-age", "1h")
	if r := execute(t, environ, "", "token", "client", "--client-id", "shop", "--client-secret", "wrong-secret"); r.code != 1 || !strings.Contains(r.stderr, "invalid_client") || r.stdout != "" {
		t.Errorf("a wrong secret: %+v", r)
	}
	do(0, "clients", "delete", "second")

	if got := do(0, "keys", "create", "mine", "-a", "ES256"); !strings.Contains(got, `"alg": "ES256"`) {
		t.Errorf("keys create: %s", got)
	}
	if got := do(0, "keys", "get", "mine"); !strings.Contains(got, `"kty": "EC"`) {
		t.Errorf("keys get: %s", got)
	}
	do(0, "keys", "delete", "mine")

	for _, c := range []struct {
		name, stdin string
		args        []string
		code        int
		stderr      string
	}{
		{"a rule that does not exist", "", []string{"rules", "get", "nope"}, 1, "404"},
		{"a rule from standard input with an unknown field", "{\n\"id\": \"x\",\n\"nope\": 1\n}", []string{"rules", "import", "-"}, 1, "nope"},
		{"a file that is missing", "", []string{"rules", "import", "/does/not/exist"}, 1, "no such file"},
		{"a file that is no JSON", "nonsense", []string{"policies", "import", "-"}, 1, "-: "},
		{"a format that is unknown", "", []string{"rules", "list", "--format", "xml"}, 2, "--format must be table, json or json-pretty"},
		{"a flag that is unknown", "", []string{"rules", "list", "--nope"}, 2, "unknown flag: --nope"},
		{"a command that is unknown", "", []string{"rules", "nope"}, 2, `unknown command "nope"`},
		{"an argument too few", "", []string{"rules", "get"}, 2, "arg"},
		{"an endpoint that does not answer", "", []string{"rules", "list", "-e", "http://127.0.0.1:1"}, 4, "cannot be reached"},
		{"an endpoint that is none", "", []string{"rules", "list", "-e", "ftp://x"}, 2, "ftp"},
		{"a token request without a client", "", []string{"token", "client"}, 2, "--client-id"},
		{"deleting tokens of nobody", "", []string{"token", "delete"}, 2, "--client-id"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := execute(t, environ, c.stdin, c.args...)
			if r.code != c.code || !strings.Contains(r.stderr, c.stderr) || r.stdout != "" {
				t.Errorf("got %+v, want exit code %d and %q on standard error", r, c.code, c.stderr)
			}
		})
	}
}

func TestRulesAreLintedWithoutAServer(t *testing.T) {
	good := file(t, "good.yaml", "- "+strings.ReplaceAll(rule, "\n", " "))
	if r := execute(t, nil, "", "rules", "lint", good); r.code != 0 || r.stdout != "" {
		t.Errorf("a good file: %+v", r)
	}
	bad := file(t, "bad.json", "[\n{\"id\": \"x\",\n \"metch\": {}}]")
	r := execute(t, nil, "", "rules", "lint", bad)
	if r.code != 1 || !strings.Contains(r.stdout, bad+":3") || !strings.Contains(r.stdout, "metch") {
		t.Errorf("a bad file: %+v", r)
	}
}

func TestMigrateTellsWhatItDid(t *testing.T) {
	dsn := "sqlite://" + filepath.Join(t.TempDir(), "x.db")
	steps := regexp.MustCompile(`^(applied \d+_\w+\.sql\n)+$`)
	if r := execute(t, nil, "", "migrate", "sql", dsn); r.code != 0 || !steps.MatchString(r.stdout) {
		t.Errorf("the first time: %+v", r)
	}
	if r := execute(t, []string{"DSN=" + dsn, "SYSTEM_SECRET=a-secret-of-sixteen"}, "", "migrate", "sql", "up", "-e", "--yes"); r.code != 0 || r.stdout != "The schema is up to date.\n" {
		t.Errorf("the second time: %+v", r)
	}
	if r := execute(t, nil, "", "migrate", "sql", "status", dsn); r.code != 0 || !strings.HasPrefix(r.stdout, "STEP") || strings.Contains(r.stdout, "pending") {
		t.Errorf("status: %+v", r)
	}
	if r := execute(t, nil, "", "migrate", "sql", "nonsense://x"); r.code != 1 || !strings.Contains(r.stderr, "dsn") {
		t.Errorf("a database that is none: %+v", r)
	}
}

func TestConfigurationIsValidated(t *testing.T) {
	if r := execute(t, nil, "", "config", "validate", "-c", file(t, "c.yaml", "dsn: memory\n")); r.code != 0 || r.stdout != "The configuration is valid.\n" {
		t.Errorf("a good one: %+v", r)
	}
	bad := file(t, "c.yaml", "dns: memory\nlog:\n  level: loud\n")
	r := execute(t, nil, "", "config", "validate", "-c", bad)
	want := "gatewarden: " + bad + ":1: unknown key dns, did you mean dsn?\ngatewarden: " + bad + ":3: log.level must be one of trace, debug, info, warn, warning, error\n"
	if diff := cmp.Diff(result{1, "", want}, r, cmp.AllowUnexported(result{})); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestServeThatCannotStartSaysWhyInOneLine(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	r := execute(t, []string{"PROXY_HOST=127.0.0.1", "PROXY_PORT=" + port}, "", "serve", "proxy")
	if want := "gatewarden: serve.proxy.port: cannot listen on 127.0.0.1:" + port + ": bind: address already in use\n"; r.code != 1 || r.stderr != want || r.stdout != "" {
		t.Errorf("got %+v, want %q", r, want)
	}
}

func TestVersionAndHelpGoToStandardOutput(t *testing.T) {
	if r := execute(t, nil, "", "version"); r.code != 0 || !strings.HasPrefix(r.stdout, "Version:    dev\n") || r.stderr != "" {
		t.Errorf("version: %+v", r)
	}
	for _, args := range [][]string{{}, {"--help"}, {"serve"}, {"serve", "all", "--help"}, {"migrate", "sql", "--help"}} {
		if r := execute(t, nil, "", args...); r.code != 0 || !strings.Contains(r.stdout, "Usage:") || r.stderr != "" {
			t.Errorf("%q: %+v", args, r)
		}
	}
	if r := execute(t, nil, "", "nope"); r.code != 2 || r.stdout != "" {
		t.Errorf("an unknown command: %+v", r)
	}
}

func TestTheDemoServes(t *testing.T) {
	environ := serve(t, "--demo")
	if r := execute(t, environ, "", "rules", "list", "--format", "table"); r.code != 0 || !strings.Contains(r.stdout, "demo-orders") {
		t.Errorf("rules of the demo: %+v", r)
	}
	base := strings.TrimPrefix(environ[0], "GATEWARDEN_ADMIN_URL=")
	res, err := http.Get(base + "/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Errorf("/openapi.json: %s", res.Status)
	}
}
