package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// probed is an API that counts the probes of its health.
func probed(t *testing.T) (url string, probes *atomic.Int64) {
	t.Helper()
	probes = new(atomic.Int64)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/healthz" {
			probes.Add(1)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL, probes
}

// watched is a rule whose upstream is probed; n makes its route another one.
func watched(api string, n int) string {
	return strings.NewReplacer("API", api, "N", fmt.Sprint(n)).Replace(`- id: watched
  match: {paths: ["/<.*>"], methods: [GET]}
  authenticators: [{handler: anonymous}]
  authorizer: {handler: allow}
  mutators: [{handler: header, config: {headers: {X-N: "N"}}}]
  upstream:
    targets: [{url: "API"}]
    timeouts: {total: Ns}
    health: {active: {path: /healthz, interval: 1s, timeout: 1s, healthy: 1, unhealthy: 1}}
`)
}

func TestTheManagementAPIListsTheUpstreamsOfTheRules(t *testing.T) {
	api, probes := probed(t)
	dir := t.TempDir()
	replace(t, filepath.Join(dir, "rules.yml"), watched(api, 7))
	p := start(t, settings{keys: map[string]string{"access_rules.repositories": "file://" + filepath.Join(dir, "rules.yml")}})
	for deadline := time.Now().Add(time.Minute); probes.Load() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the upstream is not probed")
		}
	}
	type listed struct {
		Upstreams []map[string]any `json:"upstreams"`
	}
	var got listed
	send(t, http.MethodGet, p.management+"/upstreams", "").want(t, http.StatusOK).decode(t, &got)
	want := listed{[]map[string]any{{"route": api, "endpoint": api, "healthy": true, "ejected": false, "circuit": "closed", "active_requests": 0.0}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	send(t, http.MethodPost, p.management+"/upstreams", "").want(t, http.StatusMethodNotAllowed)
	send(t, http.MethodGet, p.proxy+"/upstreams", "").want(t, http.StatusOK) // which the rule is for: the API is on its own listener
}

// TestWhatReloadsDropEnds changes rules with handlers and probed upstreams again and
// again: of what is dropped no goroutine is left.
func TestWhatReloadsDropEnds(t *testing.T) {
	api, _ := probed(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "rules.yml")
	replace(t, file, "[]")
	p := start(t, settings{keys: map[string]string{"access_rules.repositories": "file://" + file}})
	load := func(text string) {
		t.Helper()
		replace(t, file, text)
		if _, err := p.app.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	load(watched(api, 1))
	send(t, http.MethodGet, p.proxy+"/", "").want(t, http.StatusOK)
	settled := func(most int) bool {
		for deadline := time.Now().Add(30 * time.Second); runtime.NumGoroutine() > most; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				return false
			}
		}
		return true
	}
	http.DefaultClient.CloseIdleConnections()
	before := runtime.NumGoroutine()
	const changes = 50
	for n := 2; n < 2+changes; n++ {
		load(watched(api, n))
		send(t, http.MethodGet, p.proxy+"/", "").want(t, http.StatusOK)
	}
	if !settled(before + changes/5) { // each leaked route would be one at least
		stacks := make([]byte, 1<<20)
		t.Errorf("%d goroutines before %d changes, %d after:\n%s", before, changes, runtime.NumGoroutine(), stacks[:runtime.Stack(stacks, true)])
	}
}
