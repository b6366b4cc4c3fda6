package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestTheExampleOfRateLimits runs the rule of the page.
func TestTheExampleOfRateLimits(t *testing.T) {
	rule := blocks(read(t, root+"/docs/rate-limits.md"), "yaml")[0] + "  upstream: {url: " + upstream(t).URL + "}\n"
	file := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(file, []byte(rule), 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, settings{keys: map[string]string{"access_rules.repositories": "file://" + file, "serve.proxy.trusted_proxies": "127.0.0.1"}})
	ask := func(client string) answer {
		return send(t, "GET", p.proxy+"/search", "", "X-Forwarded-Host", "127.0.0.1:4455", "X-Forwarded-For", client)
	}
	first := ask("192.0.2.1").want(t, http.StatusOK)
	got := []string{first.header.Get("RateLimit-Policy"), first.header.Get("RateLimit")}
	want := []string{`"client";q=2;w=3600, "global";q=1000;w=60`, `"client";r=1, "global";r=99`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	ask("192.0.2.1").want(t, http.StatusOK)
	refused := ask("192.0.2.1").want(t, http.StatusTooManyRequests)
	if after := refused.header.Get("Retry-After"); after == "" || after == "0" || !strings.HasPrefix(refused.header.Get("RateLimit"), `"client";r=0;t=`) || !strings.Contains(refused.body, "rate_limited") {
		t.Errorf("got Retry-After %q, RateLimit %q, %s", after, refused.header.Get("RateLimit"), refused.body)
	}
	ask("192.0.2.2").want(t, http.StatusOK)
	if _, err := p.app.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	ask("192.0.2.1").want(t, http.StatusTooManyRequests) // a reload forgets nothing
}
