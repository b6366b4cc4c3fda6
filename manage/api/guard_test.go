package api_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/gatewarden/gatewarden/manage/api"
)

func TestBrowsersOnBehalfOfOtherSitesAreRefused(t *testing.T) {
	f := newFixture(t, func(d *api.Deps) { d.Guard.AllowedHosts = []string{"gate.example.org"} })
	for name, c := range map[string]struct {
		method, path string
		headers      []string
		want         int
	}{
		"no browser":                       {"POST", "/policies", nil, 400},
		"same origin":                      {"POST", "/policies", []string{"Origin", "http://127.0.0.1:4456"}, 400},
		"another origin":                   {"POST", "/policies", []string{"Origin", "https://evil.example"}, 403},
		"null origin":                      {"POST", "/policies", []string{"Origin", "null"}, 403},
		"fetched from another site":        {"DELETE", "/policies/x", []string{"Sec-Fetch-Site", "cross-site"}, 403},
		"fetched from a sister site":       {"PUT", "/clients/x", []string{"Sec-Fetch-Site", "same-site"}, 403},
		"patched from another site":        {"PATCH", "/clients/x", []string{"Sec-Fetch-Site", "cross-site"}, 403},
		"a rebound name":                   {"GET", "/keys/x", []string{"Host", "evil.example:4456"}, 403},
		"a rebound name with final dot":    {"GET", "/keys/x", []string{"Host", "evil.example."}, 403},
		"a name that looks like localhost": {"GET", "/keys/x", []string{"Host", "localhost.evil.example"}, 403},
		"localhost":                        {"GET", "/keys/x", []string{"Host", "localhost:4456"}, 404},
		"IPv6":                             {"GET", "/keys/x", []string{"Host", "[::1]:4456"}, 404},
		"a name without a dot":             {"GET", "/keys/x", []string{"Host", "gatewarden:4456"}, 404},
		"a cluster's name":                 {"GET", "/keys/x", []string{"Host", "gate.ns.svc.cluster.local"}, 404},
		"an allowed name":                  {"GET", "/keys/x", []string{"Host", "GATE.example.org:4456"}, 404},
		"a probe by any name":              {"GET", "/health/alive", []string{"Host", "evil.example"}, 200},
	} {
		t.Run(name, func(t *testing.T) {
			f.t = t
			a := f.call(c.method, c.path, "", c.headers...)
			a.want(c.want)
			if a.header.Get("Access-Control-Allow-Origin") != "" {
				t.Error("there is CORS")
			}
		})
	}
}

func TestReadinessNamesWhatFails(t *testing.T) {
	draining := false
	var down error
	f := newFixture(t, func(d *api.Deps) {
		d.Draining = func() bool { return draining }
		d.Checks = []api.Check{
			{Name: "database", Check: func(context.Context) error { return down }},
			{Name: "rules", Check: func(context.Context) error { return nil }},
		}
	})
	for _, path := range []string{"/health/ready", "/readyz"} {
		draining, down = false, nil
		if v := f.call("GET", path, "").want(200); v["status"] != "ok" {
			t.Errorf("got %v", v)
		}
		down = errors.New("connection refused")
		if a := f.call("GET", path, ""); a.status != 503 || a.body != `{"errors":{"database":"connection refused"}}` {
			t.Errorf("got %d %s", a.status, a.body)
		}
		draining = true
		if a := f.call("GET", path, ""); a.status != 503 || !strings.Contains(a.body, `"draining":`) {
			t.Errorf("got %d %s", a.status, a.body)
		}
		if a := f.call("GET", "/health/alive", ""); a.status != 200 {
			t.Errorf("alive while draining: %d", a.status)
		}
	}
}

func TestDiscreetReadinessKeepsErrorsToTheLog(t *testing.T) {
	var log strings.Builder
	f := newFixture(t, func(d *api.Deps) {
		d.Discreet = true
		d.Log = slog.New(slog.NewTextHandler(&log, nil))
		d.Checks = []api.Check{{Name: "database", Check: func(context.Context) error { return errors.New("10.1.2.3: connection refused") }}}
	})
	if a := f.call("GET", "/health/ready", ""); a.status != 503 || a.body != `{"errors":{"database":"not ready"}}` {
		t.Errorf("got %d %s", a.status, a.body)
	}
	if !strings.Contains(log.String(), "10.1.2.3: connection refused") {
		t.Errorf("the log does not say why: %s", log.String())
	}
}

func TestVersionMetricsAndDescriptionAreServed(t *testing.T) {
	type seen struct {
		route  string
		status int
	}
	var all []seen
	f := newFixture(t, func(d *api.Deps) {
		d.OnRequest = func(route string, status int, _ time.Duration) { all = append(all, seen{route, status}) }
	})
	if a := f.call("GET", "/version", ""); a.body != `{"version":"v1.2.3"}` {
		t.Errorf("version: %s", a.body)
	}
	for _, path := range []string{"/metrics", "/metrics/prometheus"} {
		if a := f.call("GET", path, ""); a.status != 200 || a.body != "up 1\n" {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
	if a := f.call("GET", "/openapi.yaml", ""); !strings.HasPrefix(a.body, "openapi: 3.1") {
		t.Errorf("openapi: %.40s", a.body)
	}
	f.call("GET", "/clients/secret-name", "").want(404)
	f.call("GET", "/whatever", "").want(404)
	want := []seen{{"/version", 200}, {"/metrics", 200}, {"/metrics/prometheus", 200}, {"/openapi.yaml", 200}, {"/clients/{id}", 404}, {"none", 404}}
	for i := range want {
		if all[i] != want[i] {
			t.Errorf("seen %v, want %v", all[i], want[i])
		}
	}
	if a := f.call("OPTIONS", "/clients/x", ""); a.status != 204 || a.header.Get("Allow") != "DELETE, GET, HEAD, OPTIONS, PATCH, PUT" {
		t.Errorf("OPTIONS: %d %q", a.status, a.header.Get("Allow"))
	}
}
