package telemetry

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
)

// filled returns metrics in which every series has a value.
func filled() *Metrics {
	m := New(Build{Version: "v1", Commit: "abc"})
	m.Request(Request{Listener: "proxy", Rule: "orders", Outcome: "allow", Reason: "allowed", Decided: 150 * time.Microsecond,
		Forwarded: true, UpstreamStatus: 200, Upstream: time.Millisecond})
	m.Reload(true, 3, 10, 0)
	m.TokenIssued("client_credentials", "opaque")
	m.Introspection("active")
	m.Cache("jwt", true)
	m.OAuth2("token", "")
	m.HTTP("management", "/rules/{id}", 200, time.Millisecond)
	m.Retry("http://b", "reset")
	m.WatchUpstreams(func() []Upstream { return []Upstream{{Route: "http://b", Endpoint: "http://b", Healthy: true}} })
	return m
}

func TestMetricsFollowTheConventionsOfPrometheus(t *testing.T) {
	families, err := filled().Registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, Prefix) {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}

func TestHistogramsAreNativeAndReachBelowAMillisecond(t *testing.T) {
	families, err := filled().Registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	var native []string
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), Prefix) || f.GetMetric()[0].GetHistogram() == nil {
			continue
		}
		h := f.GetMetric()[0].GetHistogram()
		if h.Schema != nil && h.GetBucket()[0].GetUpperBound() < 0.001 {
			native = append(native, f.GetName())
		}
	}
	want := []string{"gatewarden_decision_duration_seconds", "gatewarden_http_request_duration_seconds", "gatewarden_upstream_duration_seconds"}
	if diff := cmp.Diff(want, native); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestAReloadThatFailedIsSeen(t *testing.T) {
	m := filled()
	m.Reload(false, 4, 9, 1)
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for _, want := range []string{
		"gatewarden_rule_set_last_load_successful 0\n", "gatewarden_rule_set_version 4\n",
		`gatewarden_rule_set_rules{state="refused"} 1` + "\n", `gatewarden_rule_set_reloads_total{result="failure"} 1` + "\n",
		`gatewarden_build_info{commit="abc",go_version="`,
	} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("the answer lacks %s", want)
		}
	}
}

func TestStatusClassesAreFew(t *testing.T) {
	got := map[int]string{}
	for _, status := range []int{0, 101, 200, 303, 404, 503, 999} {
		got[status] = StatusClass(status)
	}
	want := map[int]string{0: "error", 101: "1xx", 200: "2xx", 303: "3xx", 404: "4xx", 503: "5xx", 999: "5xx"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestEveryRequestIsCountedUnderItsOwnLabels(t *testing.T) {
	m := New(Build{})
	for range 2 {
		m.Request(Request{Listener: "proxy", Rule: "a", Outcome: "allow", Reason: "allowed", Forwarded: true, UpstreamStatus: 204})
		m.Request(Request{Listener: "proxy", Rule: "a", Outcome: "allow", Reason: "allowed", Forwarded: true})
		m.Request(Request{Listener: "decision", Rule: "a", Outcome: "allow", Reason: "allowed"})
		m.Request(Request{Listener: "proxy", Rule: "a", Outcome: "deny", Reason: "policy_denied"})
		m.Request(Request{Listener: "proxy", Outcome: "deny", Reason: "no_rule_match"})
	}
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	var got []string
	for line := range strings.Lines(w.Body.String()) {
		if strings.HasPrefix(line, Prefix+"requests_total{") || strings.HasPrefix(line, Prefix) && strings.Contains(line, "seconds_count") {
			got = append(got, strings.TrimSpace(line))
		}
	}
	want := []string{
		`gatewarden_decision_duration_seconds_count{listener="decision",outcome="allow"} 2`,
		`gatewarden_decision_duration_seconds_count{listener="proxy",outcome="allow"} 4`,
		`gatewarden_decision_duration_seconds_count{listener="proxy",outcome="deny"} 4`,
		`gatewarden_requests_total{listener="decision",outcome="allow",reason="allowed",rule="a"} 2`,
		`gatewarden_requests_total{listener="proxy",outcome="allow",reason="allowed",rule="a"} 4`,
		`gatewarden_requests_total{listener="proxy",outcome="deny",reason="no_rule_match",rule=""} 2`,
		`gatewarden_requests_total{listener="proxy",outcome="deny",reason="policy_denied",rule="a"} 2`,
		`gatewarden_upstream_duration_seconds_count{rule="a",status_class="2xx"} 2`,
		`gatewarden_upstream_duration_seconds_count{rule="a",status_class="error"} 2`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
