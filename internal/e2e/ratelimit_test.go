package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/internal/testenv"
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

func TestTwoProcessesShareALimitThroughRedisWhileItIsThere(t *testing.T) {
	server := testenv.Redis(t, "--requirepass", "the-password-of-redis")
	rules := `[{"id":"r","match":{"url":"http://127.0.0.1:<.*>/","methods":["GET"]},"authenticators":[{"handler":"anonymous"}],"authorizer":{"handler":"allow"},
		"rate_limit":{"key":"global","rate":3,"window":"1h"},"upstream":{"url":"` + upstream(t).URL + `"}}]`
	nodes := make([]*program, 2)
	for i := range nodes {
		nodes[i] = start(t, settings{rules: rules, keys: map[string]string{
			"redis.url": "redis://:the-password-of-redis@" + server.Address, "redis.timeout": "5s"}})
	}
	ask := func() (got []int) {
		for i := range 8 {
			got = append(got, send(t, "GET", nodes[i%2].proxy+"/", "").status)
		}
		return got
	}
	state := func(want string) {
		t.Helper()
		for _, p := range nodes {
			for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
				if strings.Contains(send(t, "GET", p.management+"/health/ready?verbose", "").want(t, http.StatusOK).body, `"redis":{"status":"`+want+`"}`) {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("Redis is not %s", want)
				}
			}
		}
	}
	together := []int{200, 200, 200, 429, 429, 429, 429, 429}
	if diff := cmp.Diff(together, ask()); diff != "" {
		t.Errorf("with Redis (-want +got)\n%s", diff)
	}
	state("up")
	server.Stop()
	if diff := cmp.Diff([]int{200, 200, 200, 200, 200, 200, 429, 429}, ask()); diff != "" {
		t.Errorf("without Redis (-want +got)\n%s", diff)
	}
	state("away")
	server.Start()
	state("up")
	if diff := cmp.Diff(together, ask()); diff != "" {
		t.Errorf("with another Redis (-want +got)\n%s", diff)
	}
	for _, p := range nodes {
		log := p.log.String()
		if strings.Count(log, "redis is away") != 1 || strings.Count(log, "redis is back") != 1 || strings.Contains(log, "the-password-of-redis") {
			t.Errorf("the log: %s", log)
		}
	}
}
