// Package telemetry is what the program tells its operators: Prometheus metrics
// with one prefix and one access event per request. Labels are rule ids, outcomes
// and reason ids, never paths, subjects or addresses.
package telemetry

import (
	"net/http"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Prefix starts the name of every metric of the program.
const Prefix = "gatewarden_"

// Build says which program is running.
type Build struct{ Version, Commit, Date string }

// Metrics holds the program's collectors. The zero value is not usable; use New.
type Metrics struct {
	registry      *prometheus.Registry
	requests      counters
	duration      *prometheus.HistogramVec
	upstream      histograms
	retries       *prometheus.CounterVec
	connections   *prometheus.CounterVec
	redis         *prometheus.GaugeVec // without series where there is no Redis
	alone         *prometheus.CounterVec
	reloads       *prometheus.CounterVec
	ruleSet       prometheus.Gauge
	ruleCount     *prometheus.GaugeVec
	reloadOK      prometheus.Gauge
	configReloads *prometheus.CounterVec
	configOK      prometheus.Gauge
	sourceUp      *prometheus.GaugeVec
	sourceRead    *prometheus.GaugeVec
	tokens        *prometheus.CounterVec
	introspection *prometheus.CounterVec
	cache         *prometheus.CounterVec
	handlers      *prometheus.CounterVec
	http          *prometheus.HistogramVec

	series  known[requestKey, requestSeries]
	lookups known[cacheKey, prometheus.Counter]
	answers known[httpKey, prometheus.Observer]
	results known[string, prometheus.Counter]
}

// New returns metrics on a registry of their own.
func New(b Build) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry()}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: Prefix + name, Help: help}, labels)
		m.registry.MustRegister(c)
		return c
	}
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: Prefix + name, Help: help})
		m.registry.MustRegister(g)
		return g
	}
	histogram := func(name, help string, labels ...string) *prometheus.HistogramVec {
		h := prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: Prefix + name, Help: help,
			Buckets:                         classicBuckets[:],
			NativeHistogramBucketFactor:     1.1,
			NativeHistogramMaxBucketNumber:  maxBuckets,
			NativeHistogramMinResetDuration: time.Hour,
		}, labels)
		m.registry.MustRegister(h)
		return h
	}
	m.requests.desc = prometheus.NewDesc(Prefix+"requests_total", "Decided requests by listener, rule, outcome and reason id.", []string{"listener", "rule", "outcome", "reason"}, nil)
	m.duration = histogram("decision_duration_seconds", "Time to decide a request, upstream not included.", "listener", "outcome")
	m.upstream.desc = prometheus.NewDesc(Prefix+"upstream_duration_seconds", "Time until the upstream's response header.", []string{"rule", "status_class"}, nil)
	m.registry.MustRegister(&m.requests, &m.upstream)
	m.retries = counter("upstream_retries_total", "Requests that were sent to an upstream again, by upstream and why.", "route", "why")
	m.connections = counter("connections_refused_total", "Connections that were closed because their client had too many, by listener.", "listener")
	m.redis = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: Prefix + "redis_up", Help: "1 when Redis answers, 0 while it is away and is not asked."}, nil)
	m.registry.MustRegister(m.redis)
	m.alone = counter("rate_limit_redis_failures_total", "Requests whose rate limits Redis did not count: this process counted alone or refused.")
	m.reloads = counter("rule_set_reloads_total", "Loads of the rule set by result.", "result")
	m.ruleSet = gauge("rule_set_version", "Version of the rule set in force; grows with every change.")
	m.reloadOK = gauge("rule_set_last_load_successful", "1 when the last load of the rule set had no fault, else 0.")
	m.configReloads = counter("configuration_reloads_total", "Reloads of the configuration and the certificates by result.", "result")
	m.configOK = gauge("configuration_last_reload_successful", "1 when the last reload of the configuration had no fault or there was none, else 0.")
	m.configOK.Set(1)
	m.ruleCount = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: Prefix + "rule_set_rules", Help: "Rules by state: active or refused."}, []string{"state"})
	m.sourceUp = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: Prefix + "rule_source_up", Help: "1 when the last look at a source of rules found it readable, else 0."}, []string{"source"})
	m.sourceRead = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: Prefix + "rule_source_last_read_timestamp_seconds", Help: "When a source of rules was last read; 0: not since the start."}, []string{"source"})
	m.registry.MustRegister(m.ruleCount, m.sourceUp, m.sourceRead)
	m.tokens = counter("tokens_issued_total", "Tokens issued by grant type and token type.", "grant_type", "token_type")
	m.introspection = counter("introspections_total", "Introspected tokens by result: active, inactive, error.", "result")
	m.cache = counter("cache_requests_total", "Cache look-ups by cache and result: hit or miss.", "cache", "result")
	m.handlers = counter("oauth2_requests_total", "OAuth 2.0 endpoint answers by endpoint and error code.", "endpoint", "error")
	m.http = histogram("http_request_duration_seconds", "Requests of the management API and the OAuth 2.0 endpoints by route and status class.", "listener", "route", "status_class")
	info := prometheus.NewGauge(prometheus.GaugeOpts{Name: Prefix + "build_info", Help: "Always 1; the labels say which build runs.",
		ConstLabels: prometheus.Labels{"version": b.Version, "commit": b.Commit, "go_version": runtime.Version()}})
	info.Set(1)
	m.registry.MustRegister(info, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Handler serves the metrics in text and OpenMetrics format.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{EnableOpenMetrics: true, MaxRequestsInFlight: 4})
}

// Registry is for tests and for collectors of third parties.
func (m *Metrics) Registry() *prometheus.Registry { return m.registry }

// Request is what is recorded of one decided request.
type Request struct {
	// Rule is empty when none matched; Outcome is allow, deny or error.
	Listener, Rule, Outcome, Reason string
	// Decided is the time to decide, upstream not included.
	Decided time.Duration
	// Forwarded says that an upstream was called; UpstreamStatus 0 means that it
	// failed. Upstream is the time until its response header.
	Forwarded      bool
	UpstreamStatus int
	Upstream       time.Duration
}

// Request records r.
func (m *Metrics) Request(r Request) {
	k := requestKey{r.Listener, r.Rule, r.Outcome, r.Reason, ""}
	if r.Forwarded {
		k.class = StatusClass(r.UpstreamStatus)
	}
	s := m.series.of(k, m.requestSeries)
	s.requests.n.Add(1)
	s.duration.Observe(r.Decided.Seconds())
	if s.upstream != nil {
		s.upstream.Observe(r.Upstream)
	}
}

func (m *Metrics) requestSeries(k requestKey) requestSeries {
	s := requestSeries{
		requests: m.requests.of(counterKey{k.listener, k.rule, k.outcome, k.reason}),
		duration: m.duration.WithLabelValues(k.listener, k.outcome),
	}
	if k.class != "" {
		s.upstream = m.upstream.of(upstreamKey{k.rule, k.class})
	}
	return s
}

// ConnectionRefused counts a connection that was closed because its client had too many.
func (m *Metrics) ConnectionRefused(listener string) { m.connections.WithLabelValues(listener).Inc() }

// Redis records whether Redis is asked.
func (m *Metrics) Redis(up bool) {
	v := 0.0
	if up {
		v = 1
	}
	m.redis.WithLabelValues().Set(v)
}

// RateLimitAlone counts a request whose rate limits Redis did not count.
func (m *Metrics) RateLimitAlone() { m.alone.WithLabelValues().Inc() }

// Reload records one load of the rule set.
func (m *Metrics) Reload(ok bool, version uint64, active, refused int) {
	result, last := "success", 1.0
	if !ok {
		result, last = "failure", 0
	}
	m.reloads.WithLabelValues(result).Inc()
	m.reloadOK.Set(last)
	m.ruleSet.Set(float64(version))
	m.ruleCount.WithLabelValues("active").Set(float64(active))
	m.ruleCount.WithLabelValues("refused").Set(float64(refused))
}

// RuleSource records the last look at a source of rules. The name has no secrets.
func (m *Metrics) RuleSource(name string, ok bool, readAt time.Time) {
	up, read := 0.0, 0.0
	if ok {
		up = 1
	}
	if !readAt.IsZero() {
		read = float64(readAt.UnixMilli()) / 1000
	}
	m.sourceUp.WithLabelValues(name).Set(up)
	m.sourceRead.WithLabelValues(name).Set(read)
}

// ConfigurationReload records one reload of the configuration.
func (m *Metrics) ConfigurationReload(ok bool) {
	result, last := "success", 1.0
	if !ok {
		result, last = "failure", 0
	}
	m.configReloads.WithLabelValues(result).Inc()
	m.configOK.Set(last)
}

// TokenIssued counts one issued token.
func (m *Metrics) TokenIssued(grantType, tokenType string) {
	m.tokens.WithLabelValues(grantType, tokenType).Inc()
}

// Introspection counts one introspected token: active, inactive or error.
func (m *Metrics) Introspection(result string) {
	m.results.of(result, func(result string) prometheus.Counter { return m.introspection.WithLabelValues(result) }).Inc()
}

// Cache counts one cache look-up.
func (m *Metrics) Cache(cache string, hit bool) {
	m.lookups.of(cacheKey{cache, hit}, func(k cacheKey) prometheus.Counter {
		result := "miss"
		if k.hit {
			result = "hit"
		}
		return m.cache.WithLabelValues(k.cache, result)
	}).Inc()
}

// OAuth2 counts one answer of an OAuth 2.0 endpoint; code is empty for success.
func (m *Metrics) OAuth2(endpoint, code string) { m.handlers.WithLabelValues(endpoint, code).Inc() }

// HTTP records one request of an API; route is the route's template.
func (m *Metrics) HTTP(listener, route string, status int, took time.Duration) {
	m.answers.of(httpKey{listener, route, StatusClass(status)}, func(k httpKey) prometheus.Observer {
		return m.http.WithLabelValues(k.listener, k.route, k.class)
	}).Observe(took.Seconds())
}

// StatusClass returns 2xx for 200 to 299 and so on, error for 0.
func StatusClass(status int) string {
	switch {
	case status == 0:
		return "error"
	case status < 200:
		return "1xx"
	case status < 300:
		return "2xx"
	case status < 400:
		return "3xx"
	case status < 500:
		return "4xx"
	}
	return "5xx"
}
