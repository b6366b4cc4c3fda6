package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestThePageForThoseWhoComeFromOathkeeperIsTrue starts the page's configuration and
// one without its keys, and asks about the differences.
func TestThePageForThoseWhoComeFromOathkeeperIsTrue(t *testing.T) {
	page := read(t, root+"/docs/coming-from-oathkeeper.md")
	dir := t.TempDir()
	rule := func(id, url string) string {
		return `{"id":"` + id + `","match":{"url":"` + url + `","methods":["GET"]},"authenticators":[{"handler":"noop"}],"authorizer":{"handler":"allow"},
			"mutators":[{"handler":"noop"}],"upstream":{"url":"` + upstream(t).URL + `"}}`
	}
	write := func(name, text string) string {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	rules := write("rules.json", `[`+rule("all", "http://<.*>/<.*>")+`,`+rule("one", "http://app.example/a/<.*>")+`]`)
	config := strings.ReplaceAll(blocks(page, "yaml")[0], "/etc/oathkeeper/rules.json", rules)
	old := start(t, settings{files: []string{write("old.yml", config)}, keys: map[string]string{
		"secrets.system": systemSecret, "dsn": "memory", "serve.prometheus.port": "0", "serve.prometheus.host": "127.0.0.1", "serve.api.host": "127.0.0.1"}})
	now := start(t, settings{keys: map[string]string{"access_rules.repositories": "file://" + rules}})

	about := []string{"X-Forwarded-Method", "GET", "X-Forwarded-Proto", "http", "X-Forwarded-Host", "app.example", "X-Forwarded-Uri", "/b"}
	send(t, "GET", old.management+"/decisions", "", about...).want(t, http.StatusOK)
	for range 2 {
		if got := send(t, "GET", now.management+"/decisions", "", about...).want(t, http.StatusForbidden); !strings.Contains(got.body, "untrusted_proxy") {
			t.Errorf("got %s", got.body)
		}
	}
	if n := strings.Count(now.log.String(), "serve.api.trusted_proxies"); n != 1 {
		t.Errorf("the log names the key %d times, want once", n)
	}
	if strings.Contains(old.log.String(), "serve.api.trusted_proxies") {
		t.Error("the log names a key that is set")
	}

	send(t, "GET", old.management+"/rules", "").want(t, http.StatusUnauthorized)
	send(t, "GET", now.management+"/rules", "").want(t, http.StatusOK)

	about[7] = "/a/1" // both rules match
	send(t, "GET", old.management+"/decisions", "", about...).want(t, http.StatusInternalServerError)
	send(t, "GET", now.proxy+"/a/1", "", "Host", "app.example").want(t, http.StatusOK)

	if metrics := send(t, "GET", now.management+"/metrics", "").want(t, http.StatusOK).body; !strings.Contains(metrics, "gatewarden_requests_total") || strings.Contains(metrics, "ory_oathkeeper_") {
		t.Error("the metrics have another prefix")
	}
	send(t, "GET", now.proxy+"/a/%2e%2e/b", "").want(t, http.StatusBadRequest)

	for key, want := range map[string]bool{"serve.api.host": configuration(t, settings{}).Serve.API.Host == "127.0.0.1", "serve.prometheus.port": configuration(t, settings{}).Serve.Prometheus.Port < 0} {
		if !want {
			t.Errorf("%s has another default than the page says", key)
		}
	}
}
