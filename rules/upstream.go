package rules

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/textproto"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/rules/spec"
)

// Defaults of what a rule switches on without saying how much.
const (
	defaultAttempts       = 2
	defaultBudget         = 0.2
	defaultBackoff        = 25 * time.Millisecond
	defaultMaxBackoff     = 250 * time.Millisecond
	defaultMaxBody        = 64 << 10
	defaultInterval       = 10 * time.Second
	defaultProbeTimeout   = 2 * time.Second
	defaultHealthy        = 2
	defaultUnhealthy      = 3
	defaultFailures       = 5
	defaultEjection       = 30 * time.Second
	defaultPendingTimeout = time.Second
	defaultMinRequests    = 20
	defaultWindow         = 10 * time.Second
	defaultOpen           = 5 * time.Second

	maxAttempts = 10
	maxWeight   = 1000
	maxTargets  = 256
	// maxBody bounds what one request may keep in memory to be sent again.
	maxBody = 16 << 20
)

// routing compiles one upstream.
type routing struct {
	spec.Upstream
	report reporter
	failed bool
}

func (r *routing) fault(pointer, format string, args ...any) {
	r.failed = true
	r.report("/upstream"+pointer, format, args...)
}

// duration reads a positive duration; zero when the text is empty.
func (r *routing) duration(pointer, text string) time.Duration {
	if text == "" {
		return 0
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		r.fault(pointer, "%q is not a positive duration such as 5s", text)
		return 0
	}
	return d
}

// route returns where allowed requests go; no upstream for a rule that only decides,
// and a resolver when that differs by request. Groups is how many captures a match has.
func (b *build) route(u spec.Upstream, groups int, report reporter) (*access.Upstream, *resolver) {
	text, err := json.Marshal(u)
	if err != nil {
		report("/upstream", "%s", err)
		return nil, nil
	}
	dynamic := u.Rewrite != nil || strings.Contains(u.URL, "${")
	if known, ok := b.upstreams[string(text)]; ok && !dynamic {
		return known, nil
	}
	r := &routing{Upstream: u, report: report}
	out := &access.Upstream{PreserveHost: u.PreserveHost, Timeout: r.duration("/timeout", u.Timeout)}
	if strip := strings.Trim(u.StripPath, "/"); strip != "" {
		out.StripPath = "/" + strip
	}
	targets := r.targets()
	res := r.resolver(groups)
	switch {
	case len(targets) > 0:
		out.URL = targets[0].URL
	case res != nil && res.address != nil:
		out.URL = &url.URL{Scheme: res.address.scheme, Host: "capture.invalid"} // resolve replaces it
	case b.upstream != nil:
		out.URL = b.upstream.URL
		targets = []access.Target{{URL: out.URL, Weight: 1}}
	}
	if route := r.settings(targets, res); !r.failed && out.URL != nil {
		out.Route = b.carry(route, u, report)
	}
	if r.failed || out.URL == nil {
		return nil, nil
	}
	if res != nil {
		res.base = out
		return out, res
	}
	b.upstreams[string(text)] = out
	return out, nil
}

// carry returns the Route that is there already for what u says of it, or route.
func (b *build) carry(route *access.Route, u spec.Upstream, report reporter) *access.Route {
	if route == nil {
		return nil
	}
	u.PreserveHost, u.StripPath, u.Rewrite, u.Timeout, u.AllowedHosts = false, "", nil, "", nil
	text, _ := json.Marshal(u) // it was marshalled before
	key := instance{"upstream", route.Name, string(text), ""}
	for _, known := range []instances{b.set.shared, b.old} {
		if r, ok := known[key].(*access.Route); ok {
			b.set.shared[key] = r
			return r
		}
	}
	if b.CheckRoute != nil {
		if err := b.CheckRoute(route); err != nil {
			report("/upstream", "%s", err)
			return nil
		}
	}
	b.set.shared[key] = route
	return route
}

// targets reads the addresses; none for a URL with captures, or no URL.
func (r *routing) targets() []access.Target {
	given := 0
	for _, is := range []bool{r.URL != "", len(r.URLs) > 0, len(r.Targets) > 0} {
		if is {
			given++
		}
	}
	if given > 1 {
		r.fault("", "url, urls and targets exclude each other")
		return nil
	}
	var out []access.Target
	add := func(pointer, text string, weight int) {
		t, err := target(text)
		switch {
		case err != nil:
			r.fault(pointer, "%s", err)
		case slices.ContainsFunc(out, func(o access.Target) bool { return *o.URL == *t.URL && o.Socket == t.Socket }):
			r.fault(pointer, "%q is there twice", text)
		default:
			t.Weight = weight
			out = append(out, t)
		}
	}
	if r.URL != "" && !strings.Contains(r.URL, "${") {
		add("/url", r.URL, 1)
	}
	for i, text := range r.URLs {
		add("/urls/"+strconv.Itoa(i), text, 1)
	}
	for i, t := range r.Upstream.Targets {
		at := "/targets/" + strconv.Itoa(i)
		if t.Weight > maxWeight {
			r.fault(at+"/weight", "must be from 1 to %d", maxWeight)
		}
		add(at+"/url", t.URL, max(1, t.Weight))
	}
	if len(out) > maxTargets {
		r.fault("", "has more than %d targets", maxTargets)
	}
	return out
}

// target reads one address.
func target(text string) (access.Target, error) {
	if path, ok := strings.CutPrefix(text, "unix://"); ok {
		if !strings.HasPrefix(path, "/") || strings.ContainsAny(path, "?#\x00") {
			return access.Target{}, fmt.Errorf("%q must be unix:// and the absolute path of a socket", text)
		}
		return access.Target{URL: &url.URL{Scheme: "http", Host: "localhost"}, Socket: path}, nil
	}
	u, err := upstreamURL(text)
	return access.Target{URL: u}, err
}

func upstreamURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%q is not a URL", text)
	case u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "h2c":
		return nil, fmt.Errorf("%q must begin with http://, https:// or h2c://", text)
	case u.Hostname() == "":
		return nil, fmt.Errorf("%q has no host", text)
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, errors.New("must not have user information, a query or a fragment")
	}
	return u, nil
}

// settings returns the Route, nil for one address that needs none.
func (r *routing) settings(targets []access.Target, res *resolver) *access.Route {
	dynamic := res != nil && res.address != nil
	plain := len(targets) <= 1 && !dynamic && r.Timeouts == nil && r.Upstream.Retry == nil && r.Upstream.Balance == nil && r.Health == nil &&
		r.CircuitBreaker == nil && r.Upstream.TLS == nil && r.Limits == nil
	if plain && (len(targets) == 0 || targets[0].Socket == "") {
		return nil
	}
	out := &access.Route{Targets: targets, Guarded: dynamic, Name: r.URL}
	if len(targets) > 0 {
		out.Name = Address(targets[0])
	}
	if dynamic {
		for _, s := range []struct {
			pointer string
			set     bool
		}{{"/balance", r.Upstream.Balance != nil}, {"/health", r.Health != nil}, {"/circuit_breaker", r.CircuitBreaker != nil}} {
			if s.set {
				r.fault(s.pointer, "needs addresses that are known; url has capture groups")
			}
		}
	}
	if t := r.Timeouts; t != nil {
		out.Connect, out.Idle, out.Total = r.duration("/timeouts/connect", t.Connect), r.duration("/timeouts/idle", t.Idle), r.duration("/timeouts/total", t.Total)
	}
	if l := r.Limits; l != nil {
		out.MaxRequest, out.MaxResponse, out.MaxHeader = l.RequestBody, l.ResponseBody, l.ResponseHeader
	}
	out.Balance, out.Retry, out.TLS = r.balance(), r.retry(len(targets)), r.tls(targets, res)
	if h := r.Health; h != nil {
		out.Active, out.Passive = r.active(h.Active), r.passive(h.Passive)
	}
	out.Breaker = r.breaker()
	return out
}

// Address names a target, for people and metrics.
func Address(t access.Target) string {
	if t.Socket != "" {
		return "unix://" + t.Socket
	}
	return t.URL.String()
}

func (r *routing) balance() (out access.Balance) {
	b := r.Upstream.Balance
	if b == nil {
		return out
	}
	out.Policy = b.Policy
	if !slices.Contains([]string{"", access.RoundRobin, access.LeastRequests, access.Hash}, b.Policy) {
		r.fault("/balance/policy", "must be %s, %s or %s", access.RoundRobin, access.LeastRequests, access.Hash)
		return out
	}
	if b.Policy != access.Hash {
		if b.Key != "" {
			r.fault("/balance/key", "is for policy hash only")
		}
		return out
	}
	var named bool
	out.Key, out.Name, named = strings.Cut(b.Key, ":")
	switch out.Key {
	case access.HashSubject, access.HashClient:
		if named {
			r.fault("/balance/key", "%s takes no name", out.Key)
		}
	case access.HashHeader:
		if !httpguts.ValidHeaderFieldName(out.Name) {
			r.fault("/balance/key", "%q is not the name of a header field", out.Name)
		}
		out.Name = textproto.CanonicalMIMEHeaderKey(out.Name)
	case access.HashCookie:
		if !httpguts.ValidHeaderFieldName(out.Name) { // a token, as a cookie's name is
			r.fault("/balance/key", "%q is not the name of a cookie", out.Name)
		}
	default:
		r.fault("/balance/key", "must be subject, client, header:NAME or cookie:NAME")
	}
	return out
}

// retry makes one more attempt at another target when nothing could be sent, unless
// the rule says something else.
func (r *routing) retry(targets int) (out access.Retry) {
	out = access.Retry{Attempts: 1, Budget: defaultBudget, Backoff: defaultBackoff, MaxBackoff: defaultMaxBackoff, MaxBody: defaultMaxBody}
	s := r.Upstream.Retry
	if s == nil {
		if targets > 1 {
			out.Attempts, out.ConnectFailure = defaultAttempts, true
		}
		return out
	}
	out.Attempts = orDefault(s.Attempts, defaultAttempts)
	if out.Attempts > maxAttempts {
		r.fault("/retry/attempts", "must be from 1 to %d", maxAttempts)
	}
	if s.Budget != nil {
		out.Budget = *s.Budget
	}
	out.Backoff = orDefault(r.duration("/retry/backoff", s.Backoff), defaultBackoff)
	out.MaxBackoff = max(out.Backoff, orDefault(r.duration("/retry/max_backoff", s.MaxBackoff), defaultMaxBackoff))
	out.Attempt = r.duration("/retry/attempt_timeout", s.AttemptTimeout)
	if s.MaxBody != nil {
		out.MaxBody = *s.MaxBody
	}
	if out.MaxBody > maxBody {
		r.fault("/retry/max_body", "must be at most %d", maxBody)
	}
	on := s.On
	if len(on) == 0 {
		on = []string{access.RetryConnectFailure, access.RetryReset, "502", "503", "504"}
	}
	for i, condition := range on {
		switch n, err := strconv.Atoi(condition); {
		case condition == access.RetryConnectFailure:
			out.ConnectFailure = true
		case condition == access.RetryReset:
			out.Reset = true
		case err == nil && n >= 400 && n <= 599:
			out.Statuses = append(out.Statuses, n)
		default:
			r.fault("/retry/on/"+strconv.Itoa(i), "must be %s, %s or a status from 400 to 599, not %q", access.RetryConnectFailure, access.RetryReset, condition)
		}
	}
	return out
}

func (r *routing) active(s *spec.ActiveHealth) (out access.ActiveHealth) {
	if s == nil {
		return out
	}
	out = access.ActiveHealth{
		Path: s.Path, Host: s.Host, Statuses: s.Statuses,
		Interval: orDefault(r.duration("/health/active/interval", s.Interval), defaultInterval),
		Timeout:  orDefault(r.duration("/health/active/timeout", s.Timeout), defaultProbeTimeout),
		Healthy:  orDefault(s.Healthy, defaultHealthy), Unhealthy: orDefault(s.Unhealthy, defaultUnhealthy),
	}
	if u, err := url.ParseRequestURI(s.Path); err != nil || !strings.HasPrefix(s.Path, "/") || u.Host != "" {
		r.fault("/health/active/path", "must be an absolute path such as /healthz")
	}
	if s.Host != "" && !httpguts.ValidHostHeader(s.Host) {
		r.fault("/health/active/host", "%q is not a host", s.Host)
	}
	if out.Interval < 100*time.Millisecond {
		r.fault("/health/active/interval", "must be at least 100ms")
	}
	for i, status := range s.Statuses {
		if status < 200 || status > 599 {
			r.fault("/health/active/statuses/"+strconv.Itoa(i), "must be from 200 to 599")
		}
	}
	return out
}

func (r *routing) passive(s *spec.PassiveHealth) (out access.PassiveHealth) {
	if s == nil {
		return out
	}
	return access.PassiveHealth{
		Failures: orDefault(s.Failures, defaultFailures),
		Ejection: orDefault(r.duration("/health/passive/ejection", s.Ejection), defaultEjection),
	}
}

func (r *routing) breaker() (out access.Breaker) {
	s := r.CircuitBreaker
	if s == nil {
		return out
	}
	if s.MaxRequests == 0 && s.MaxPending > 0 {
		r.fault("/circuit_breaker/max_pending", "needs max_requests")
	}
	return access.Breaker{
		MaxRequests: s.MaxRequests, MaxPending: s.MaxPending,
		PendingTimeout: orDefault(r.duration("/circuit_breaker/pending_timeout", s.PendingTimeout), defaultPendingTimeout),
		ErrorRate:      s.ErrorRate, MinRequests: orDefault(s.MinRequests, defaultMinRequests),
		Window: orDefault(r.duration("/circuit_breaker/window", s.Window), defaultWindow),
		Open:   orDefault(r.duration("/circuit_breaker/open", s.Open), defaultOpen),
	}
}

func (r *routing) tls(targets []access.Target, res *resolver) *access.TLS {
	s := r.Upstream.TLS
	if s == nil {
		return nil
	}
	secure := slices.ContainsFunc(targets, func(t access.Target) bool { return t.URL.Scheme == "https" }) ||
		res != nil && res.address != nil && res.address.scheme == "https"
	if !secure {
		r.fault("/tls", "is for https upstreams")
	}
	out := &access.TLS{CAFile: s.CAFile, CertFile: s.CertFile, KeyFile: s.KeyFile, ServerName: s.ServerName}
	if (s.CertFile == "") != (s.KeyFile == "") {
		r.fault("/tls", "needs both cert_file and key_file")
	}
	switch s.MinVersion {
	case "", "1.2":
		out.MinVersion = tls.VersionTLS12
	case "1.3":
		out.MinVersion = tls.VersionTLS13
	default:
		r.fault("/tls/min_version", "must be 1.2 or 1.3")
	}
	out.HTTP1 = s.HTTP2 != nil && !*s.HTTP2
	if s.Dangerous != nil {
		out.SkipVerify = s.Dangerous.InsecureSkipVerify
		if out.SkipVerify && s.CAFile != "" {
			r.fault("/tls/dangerous/insecure_skip_verify", "leaves ca_file without effect")
		}
	}
	return out
}

func orDefault[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}
