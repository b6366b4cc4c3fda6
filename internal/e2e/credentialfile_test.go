package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestABrokenFileOfCredentialsEndsNothingAndIsNamed breaks each of the files that rules
// read while they run.
func TestABrokenFileOfCredentialsEndsNothingAndIsNamed(t *testing.T) {
	dir := t.TempDir()
	good := map[string]string{
		"users": "alice:$2a$04$5yg6Dew4K08hq0st6/j6keIQTOIp/SmlIc9wVw8MUEmid7FRIzaSe\n",
		"keys":  `[{"id":"ci","hash":"sha256:` + strings.Repeat("0", 64) + `"}]`,
		"jwks":  `{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`,
	}
	past := time.Now().Add(-time.Hour)
	write := func(name, text string) {
		t.Helper()
		past = past.Add(time.Minute)
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, past, past); err != nil { // nobody takes it for being written
			t.Fatal(err)
		}
	}
	for name, text := range good {
		write(name, text)
	}
	rule := func(name, config string) string {
		return fmt.Sprintf(`{"id":%q,"match":{"url":"http://127.0.0.1:<.*>/%s","methods":["GET"]},"authenticators":[{"handler":%q,"config":%s}],
			"authorizer":{"handler":"allow"},"upstream":{"url":"http://127.0.0.1:1"}}`, name, name, name, config)
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	p := start(t, settings{rules: `[` + rule("basic_auth", `{"file":"`+at("users")+`"}`) + `,` + rule("api_key", `{"file":"`+at("keys")+`"}`) + `,` +
		rule("jwt", `{"jwks_urls":["file://`+at("jwks")+`"],"jwks_ttl":"100ms","allowed_algorithms":["EdDSA"]}`) + `]`})

	type state struct {
		File, Error string
		OK          bool
	}
	ready := func() (status int, files []state) {
		t.Helper()
		a := send(t, "GET", p.management+"/health/ready?verbose", "")
		var body struct {
			Files []state `json:"credential_files"`
		}
		if err := json.Unmarshal([]byte(a.body), &body); err != nil {
			t.Fatalf("%v: %s", err, a.body)
		}
		return a.status, body.Files
	}
	waitFor := func(status int, want []state) {
		t.Helper()
		var diff string
		for range 200 {
			got, files := ready()
			if diff = cmp.Diff(want, files); diff == "" && got == status {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
		t.Fatalf("readiness does not become %d (-want +got):\n%s", status, diff)
	}
	metric := func(name, want string) {
		t.Helper()
		line := `gatewarden_credential_file_up{file="` + at(name) + `"} ` + want
		if body := send(t, "GET", p.management+"/metrics", "").body; !strings.Contains(body, line+"\n") {
			t.Errorf("the metrics have no %s", line)
		}
	}
	all := []state{{File: at("jwks"), OK: true}, {File: at("keys"), OK: true}, {File: at("users"), OK: true}}
	waitFor(http.StatusOK, all)
	for i, c := range []struct{ name, text, reason string }{
		{"jwks", `{"keys":[{]}`, at("jwks") + ": "},
		{"keys", `[{"id":"ci","hash":"plain-text-key"}]`, "[0]: hash must be sha256: and 64 hexadecimal digits"},
		{"users", "alice:plain-text\n", `line 1: the password of "alice" must be hashed`},
	} {
		write(c.name, c.text)
		var broken []state
		for range 200 {
			var status int
			if status, broken = ready(); status == http.StatusServiceUnavailable {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
		got := broken[i]
		if got.OK || got.File != at(c.name) || c.name != "jwks" && !strings.Contains(got.Error, c.reason) || got.Error == "" {
			t.Errorf("%s: got %+v", c.name, broken)
		}
		metric(c.name, "0")
		if log := p.log.String(); !strings.Contains(log, "a file of credentials cannot be used") || !strings.Contains(log, at(c.name)) || strings.Contains(log, "plain-text") {
			t.Errorf("%s: the log does not say it, or says too much", c.name)
		}
		if c.name == "users" {
			send(t, "GET", p.proxy+"/basic_auth", "", "Authorization", "Basic YWxpY2U6d3Jvbmc=").want(t, http.StatusUnauthorized)
			send(t, "GET", p.proxy+"/basic_auth", "", "Authorization", "Basic YWxpY2U6Z29vZA==").want(t, http.StatusBadGateway) // let in; there is no upstream
		}
		if body := send(t, "GET", p.public+"/health/ready", "").body; strings.Contains(body, dir) {
			t.Errorf("the public listener says %s", body)
		}
		write(c.name, good[c.name])
		waitFor(http.StatusOK, all)
		metric(c.name, "1")
	}
}
