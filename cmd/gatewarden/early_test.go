package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// early is host, the one command by which Hydra 0.x was started.
type early struct {
	url  string
	home string
	log  *output
}

// host runs the command until the end of the test.
func host(t *testing.T, args []string, environ ...string) *early {
	t.Helper()
	e := &early{log: new(output), home: t.TempDir()}
	ctx, cancel := context.WithCancel(context.Background())
	code := make(chan int, 1)
	environ = append([]string{"SERVE_PUBLIC_HOST=127.0.0.1", "PUBLIC_PORT=0"}, environ...)
	go func() {
		code <- run(ctx, append([]string{"host"}, args...), environ, strings.NewReader(""), e.log, e.log)
	}()
	stop := sync.OnceFunc(func() { cancel(); <-code })
	t.Cleanup(stop)
	until(t, "it listens", func() bool {
		select {
		case c := <-code:
			code <- c
			t.Fatalf("host ended with %d:\n%s", c, e.log)
		default:
		}
		found := listening.FindStringSubmatch(e.log.String())
		if found != nil {
			e.url = "https://" + found[2]
		}
		return found != nil
	})
	return e
}

// run runs one command line of a person at home.
func (e *early) run(t *testing.T, line string, stdin string) (stdout, stderr string, code int) {
	t.Helper()
	var out, err strings.Builder
	code = run(t.Context(), words(line)[1:], []string{"HOME=" + e.home}, strings.NewReader(stdin), &out, &err)
	return out.String(), err.String(), code
}

// certificate writes a pair for 127.0.0.1 and returns its files.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	s := httptest.NewUnstartedServer(nil)
	s.StartTLS()
	t.Cleanup(s.Close)
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	pair := s.TLS.Certificates[0]
	der, err := marshalKey(pair)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: pair.Certificate[0]}, key: {Type: "PRIVATE KEY", Bytes: der}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

const root = "FORCE_ROOT_CLIENT_CREDENTIALS=admin:admin-password"

// TestTheCommandsOfTheEarlyTutorialWork runs what tutorials of Hydra 0.10 and 0.11 and of
// the first Oathkeeper have their readers type, hydra read as gatewarden.
func TestTheCommandsOfTheEarlyTutorialWork(t *testing.T) {
	cert, key := certificate(t)
	e := host(t, []string{"--dangerous-force-http", "--dangerous-auto-logon", "--disable-telemetry", "--https-tls-cert-path", cert, "--https-tls-key-path", key},
		root, "ISSUER=https://localhost:9000/", "CONSENT_URL=http://localhost:3000/consent")
	dir := t.TempDir()
	for name, text := range map[string]string{
		"client.json": `{"id": "oathkeeper-client", "client_secret": "something-secure", "scope": "hydra.warden hydra.keys.* hydra.introspect",
			"grant_types": ["client_credentials"], "response_types": ["token"]}`,
		"policy.json": `{"id": "oathkeeper", "subjects": ["oathkeeper-client"], "effect": "allow", "resources": ["rn:hydra:keys:oathkeeper:id-token<.*>", "rn:hydra:warden:<.*>", "rn:hydra:oauth2:tokens"],
			"actions": ["decide", "get", "create", "introspect", "update", "delete"]}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	token := ""
	for _, c := range []struct{ line, want string }{
		{"hydra connect --url $URL --id admin --secret admin-password", `^$`},
		{"hydra token client --skip-tls-verify", `^ory_at_\S+\n$`},
		{"hydra token validate --skip-tls-verify $TOKEN", `"active": true,\n  "scope": "hydra",\n  "client_id": "admin"`},
		{"hydra clients create --skip-tls-verify --id consent-app --secret consent-secret --name 'Consent App Client' --grant-types client_credentials --response-types token --allowed-scopes hydra.consent", `Client ID: consent-app`},
		{"hydra policies create --skip-tls-verify --actions get,accept,reject --description 'Allow consent-app to manage OAuth2 consent requests.' --allow --id consent-app-policy --resources 'rn:hydra:oauth2:consent:requests:<.*>' --subjects consent-app", `^consent-app-policy\n$`},
		{"hydra clients create --skip-tls-verify --id some-consumer --secret consumer-secret -g authorization_code,refresh_token,client_credentials -r token,code,id_token --allowed-scopes openid,offline,hydra.clients --callbacks http://localhost:9010/callback", `Client ID: some-consumer`},
		{"hydra policies create --skip-tls-verify --actions get --allow --id user-policy --resources rn:hydra:clients --subjects user:12345:dandean", `^user-policy\n$`},
		{"hydra clients import --skip-tls-verify $DIR/client.json", `^oathkeeper-client\n$`},
		{"hydra policies import --skip-tls-verify $DIR/policy.json", `^oathkeeper\n$`},
		{"hydra clients list --skip-tls-verify --format table", `(?m)^oathkeeper-client `},
	} {
		stdout, stderr, code := e.run(t, strings.NewReplacer("$URL", e.url, "$TOKEN", token, "$DIR", dir).Replace(c.line), "")
		if code != 0 || !regexp.MustCompile(c.want).MatchString(stdout) {
			t.Fatalf("%s: %d\n%s%s", c.line, code, stdout, stderr)
		}
		if strings.HasPrefix(c.line, "hydra token client") {
			token = strings.TrimSpace(stdout)
		}
	}
	if text := e.log.String(); strings.Contains(text, "admin-password") || !strings.Contains(text, `the root client of oauth2.root_client was created`) {
		t.Errorf("the log: %s", text)
	}

	// The consent app of the tutorial, and the client that has a policy for less.
	caller := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	t.Cleanup(caller.CloseIdleConnections)
	as := func(id, secret, scope string) string {
		res, err := caller.PostForm(e.url+"/oauth2/token", url.Values{"grant_type": {"client_credentials"}, "scope": {scope}, "client_id": {id}, "client_secret": {secret}})
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		var answer struct {
			Token string `json:"access_token"`
		}
		if err := json.NewDecoder(res.Body).Decode(&answer); err != nil || answer.Token == "" {
			t.Fatalf("%s: %s, %v", id, res.Status, err)
		}
		return answer.Token
	}
	gate := as("oathkeeper-client", "something-secure", "hydra.warden hydra.keys.* hydra.introspect")
	for _, c := range []struct {
		method, path, token, body string
		want                      int
		holds                     string
	}{
		{"GET", "/clients", "", "", 401, `{"error":{"code":401,`},
		{"GET", "/clients", gate, "", 403, `{"error":{"code":403,`},
		{"GET", "/policies", gate, "", 403, `insufficient_scope`},
		{"POST", "/warden/allowed", gate, `{"subject":"consent-app","action":"get","resource":"rn:hydra:oauth2:consent:requests:1","context":{}}`, 200, `{"allowed":true}`},
		{"POST", "/keys/oathkeeper", gate, `{"alg":"RS256"}`, 403, `rn:hydra:keys:oathkeeper`},
		{"POST", "/keys/oathkeeper:id-token2", gate, `{"alg":"ES256"}`, 201, `"kty"`},
		{"GET", "/keys/hydra.openid.id-token", gate, ``, 403, `no_policy_match`},
		{"GET", "/oauth2/consent/requests/nonsense", as("consent-app", "consent-secret", "hydra.consent"), "", 404, `{"error":{"code":404,`},
		{"GET", "/rules", token, "", 404, ``},
		{"GET", "/users", token, "", 404, ``},
		{"GET", "/admin/clients", token, "", 404, ``},
	} {
		r, err := http.NewRequest(c.method, e.url+c.path, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		if c.token != "" {
			r.Header.Set("Authorization", "bearer "+c.token)
		}
		res, err := caller.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if res.StatusCode != c.want || !strings.Contains(string(body), c.holds) {
			t.Errorf("%s %s: %d %s, want %d with %s", c.method, c.path, res.StatusCode, body, c.want, c.holds)
		}
	}
}

func TestAConnectionIsItsOwnersAloneAndGoesToItsServerOnly(t *testing.T) {
	cert, key := certificate(t)
	e := host(t, []string{"--dev", "--https-tls-cert-path", cert, "--https-tls-key-path", key}, root)
	file, cache := filepath.Join(e.home, ".config", "gatewarden", connectionFile), filepath.Join(e.home, ".config", "gatewarden", tokenFile)
	if _, stderr, code := e.run(t, "hydra connect", e.url+"/\nadmin\nadmin-password\n"); code != 0 || strings.Contains(stderr, "admin-password") {
		t.Fatalf("connect: %d %s", code, stderr)
	}
	list := func(flags string) (string, int) {
		t.Helper()
		_, stderr, code := e.run(t, "hydra clients list --ca-file "+cert+flags, "")
		return stderr, code
	}
	if stderr, code := list(""); code != 0 {
		t.Fatalf("list: %d %s", code, stderr)
	}
	for _, f := range []string{file, cache} {
		if info, err := os.Stat(f); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", f, info.Mode(), err)
		}
	}
	first := read(t, cache)
	if stderr, code := list(""); code != 0 || read(t, cache) != first {
		t.Errorf("the token was not used again: %d %s", code, stderr)
	}
	var stored cachedToken
	if err := json.Unmarshal([]byte(first), &stored); err != nil || strings.Contains(first, "admin-password") {
		t.Fatal(err, first)
	}
	if _, stderr, code := e.run(t, "hydra token revoke --ca-file "+cert+" "+stored.Token, ""); code != 0 {
		t.Fatalf("revoke: %s", stderr)
	}
	if stderr, code := list(""); code != 0 || read(t, cache) == first {
		t.Errorf("a token that was revoked is not replaced: %d %s", code, stderr)
	}
	// A server that is named on the command line is sent nothing of the connection.
	var got []string
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.URL.Path+" "+r.Header.Get("Authorization"))
		_, _ = io.WriteString(w, "[]")
	}))
	t.Cleanup(other.Close)
	if stderr, code := list(" --endpoint " + other.URL); code != 0 || !cmp.Equal(got, []string{"/clients "}) {
		t.Errorf("another server: %d %s, %q", code, stderr, got)
	}
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	if stderr, code := list(""); code != 1 || !strings.Contains(stderr, "may be read by others") {
		t.Errorf("a file for everybody: %d %s", code, stderr)
	}
	if _, stderr, code := e.run(t, "hydra connect --url "+e.url+" --id admin --secret wrong-password", ""); code != 0 {
		t.Fatalf("connect: %s", stderr)
	}
	if stderr, code := list(""); code != 1 || !strings.Contains(stderr, "invalid_client") {
		t.Errorf("a wrong secret: %d %s", code, stderr)
	}
}

func TestARootClientThatCannotBeReadIsAFaultThatNamesTheVariable(t *testing.T) {
	for _, bad := range []string{"admin", ":secret-secret", "admin:", "admin:%zz", "admin:short"} {
		_, stderr, code := gatewarden(t, []string{"host"}, []string{"FORCE_ROOT_CLIENT_CREDENTIALS=" + bad})
		want := "gatewarden: environment FORCE_ROOT_CLIENT_CREDENTIALS: oauth2.root_client must be id:secret, both URL-encoded, the secret of at least 6 characters\n"
		if code != 1 || stderr != want {
			t.Errorf("%q: %d %s", bad, code, stderr)
		}
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func marshalKey(pair tls.Certificate) ([]byte, error) {
	return x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
}
