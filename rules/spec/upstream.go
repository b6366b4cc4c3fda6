package spec

import (
	"math"
	"strconv"
)

// Upstream is where allowed requests go, and how. Texts that are durations are Go
// durations such as 5s; those that are missing mean the default.
type Upstream struct {
	// URL is http, https, h2c or unix:///path. It may hold ${1}, ${2}, ... for capture
	// groups in its host and path when AllowedHosts is set.
	URL string `json:"url,omitempty"`
	// URLs and Targets are the alternatives to URL: several addresses.
	URLs    []string `json:"urls,omitempty"`
	Targets []Target `json:"targets,omitempty"`
	// AllowedHosts are the hosts that a URL with capture groups may come to: a name, or
	// *.name for all names below it.
	AllowedHosts []string `json:"allowed_hosts,omitempty"`
	PreserveHost bool     `json:"preserve_host,omitempty"`
	StripPath    string   `json:"strip_path,omitempty"`
	Rewrite      *Rewrite `json:"rewrite,omitempty"`
	// Timeout is for the wait for the response header.
	Timeout        string          `json:"timeout,omitempty"`
	Timeouts       *Timeouts       `json:"timeouts,omitempty"`
	Retry          *Retry          `json:"retry,omitempty"`
	Balance        *Balance        `json:"balance,omitempty"`
	Health         *Health         `json:"health,omitempty"`
	CircuitBreaker *CircuitBreaker `json:"circuit_breaker,omitempty"`
	TLS            *UpstreamTLS    `json:"tls,omitempty"`
	Limits         *UpstreamLimits `json:"limits,omitempty"`
}

// Target is one of several addresses.
type Target struct {
	URL string `json:"url"`
	// Weight is 1 to 1000; 0: 1.
	Weight int `json:"weight,omitempty"`
}

// Rewrite replaces the request path. ${1} is a capture group of Regex, or of the
// rule's match without one.
type Rewrite struct {
	Regex string `json:"regex,omitempty"`
	Path  string `json:"path,omitempty"`
}

// Timeouts beside Upstream.Timeout.
type Timeouts struct {
	Connect string `json:"connect,omitempty"`
	Idle    string `json:"idle,omitempty"`
	Total   string `json:"total,omitempty"`
}

// Retry is access.Retry. On holds connect_failure, reset and statuses.
type Retry struct {
	Attempts       int      `json:"attempts,omitempty"`
	On             []string `json:"on,omitempty"`
	Budget         *float64 `json:"budget,omitempty"`
	Backoff        string   `json:"backoff,omitempty"`
	MaxBackoff     string   `json:"max_backoff,omitempty"`
	AttemptTimeout string   `json:"attempt_timeout,omitempty"`
	MaxBody        *int64   `json:"max_body,omitempty"`
}

// Balance is access.Balance. Key is subject, client, header:NAME or cookie:NAME.
type Balance struct {
	Policy string `json:"policy,omitempty"`
	Key    string `json:"key,omitempty"`
}

// Health says how targets are watched.
type Health struct {
	Active  *ActiveHealth  `json:"active,omitempty"`
	Passive *PassiveHealth `json:"passive,omitempty"`
}

// ActiveHealth is access.ActiveHealth.
type ActiveHealth struct {
	Path      string `json:"path,omitempty"`
	Host      string `json:"host,omitempty"`
	Interval  string `json:"interval,omitempty"`
	Timeout   string `json:"timeout,omitempty"`
	Healthy   int    `json:"healthy,omitempty"`
	Unhealthy int    `json:"unhealthy,omitempty"`
	Statuses  []int  `json:"statuses,omitempty"`
}

// PassiveHealth is access.PassiveHealth.
type PassiveHealth struct {
	Failures int    `json:"failures,omitempty"`
	Ejection string `json:"ejection,omitempty"`
}

// CircuitBreaker is access.Breaker.
type CircuitBreaker struct {
	MaxRequests    int     `json:"max_requests,omitempty"`
	MaxPending     int     `json:"max_pending,omitempty"`
	PendingTimeout string  `json:"pending_timeout,omitempty"`
	ErrorRate      float64 `json:"error_rate,omitempty"`
	MinRequests    int     `json:"min_requests,omitempty"`
	Window         string  `json:"window,omitempty"`
	Open           string  `json:"open,omitempty"`
}

// UpstreamTLS is access.TLS.
type UpstreamTLS struct {
	CAFile     string        `json:"ca_file,omitempty"`
	CertFile   string        `json:"cert_file,omitempty"`
	KeyFile    string        `json:"key_file,omitempty"`
	ServerName string        `json:"server_name,omitempty"`
	MinVersion string        `json:"min_version,omitempty"` // 1.2 or 1.3
	HTTP2      *bool         `json:"http2,omitempty"`
	Dangerous  *DangerousTLS `json:"dangerous,omitempty"`
}

// DangerousTLS takes protection away.
type DangerousTLS struct {
	InsecureSkipVerify bool `json:"insecure_skip_verify,omitempty"`
}

// UpstreamLimits are sizes in bytes.
type UpstreamLimits struct {
	RequestBody    int64 `json:"request_body,omitempty"`
	ResponseBody   int64 `json:"response_body,omitempty"`
	ResponseHeader int64 `json:"response_header,omitempty"`
}

func (d *decoder) upstream(u *Upstream) func(*value, string) {
	return func(v *value, pointer string) {
		d.fields(v, pointer, []field{
			{"url", d.common(&u.URL)},
			{"urls", d.strings(&u.URLs)},
			{"targets", d.targets(&u.Targets)},
			{"allowed_hosts", d.strings(&u.AllowedHosts)},
			{"preserve_host", d.boolean(&u.PreserveHost)},
			{"strip_path", d.string(&u.StripPath)},
			{"rewrite", func(v *value, pointer string) {
				u.Rewrite = &Rewrite{}
				d.fields(v, pointer, []field{{"regex", d.string(&u.Rewrite.Regex)}, {"path", d.string(&u.Rewrite.Path)}})
			}},
			{"timeout", d.string(&u.Timeout)},
			{"timeouts", func(v *value, pointer string) {
				u.Timeouts = &Timeouts{}
				d.fields(v, pointer, []field{
					{"connect", d.string(&u.Timeouts.Connect)}, {"idle", d.string(&u.Timeouts.Idle)}, {"total", d.string(&u.Timeouts.Total)},
				})
			}},
			{"retry", func(v *value, pointer string) {
				u.Retry = &Retry{}
				d.retry(u.Retry, v, pointer)
			}},
			{"balance", func(v *value, pointer string) {
				u.Balance = &Balance{}
				d.fields(v, pointer, []field{{"policy", d.string(&u.Balance.Policy)}, {"key", d.string(&u.Balance.Key)}})
			}},
			{"health", func(v *value, pointer string) {
				u.Health = &Health{}
				d.health(u.Health, v, pointer)
			}},
			{"circuit_breaker", func(v *value, pointer string) {
				u.CircuitBreaker = &CircuitBreaker{}
				d.circuitBreaker(u.CircuitBreaker, v, pointer)
			}},
			{"tls", func(v *value, pointer string) {
				u.TLS = &UpstreamTLS{}
				d.upstreamTLS(u.TLS, v, pointer)
			}},
			{"limits", func(v *value, pointer string) {
				u.Limits = &UpstreamLimits{}
				d.fields(v, pointer, []field{
					{"request_body", d.size(&u.Limits.RequestBody)}, {"response_body", d.size(&u.Limits.ResponseBody)},
					{"response_header", d.size(&u.Limits.ResponseHeader)},
				})
			}},
		})
	}
}

func (d *decoder) targets(to *[]Target) func(*value, string) {
	return func(v *value, pointer string) {
		if v.kind != list {
			d.mismatch(v, pointer, list)
			return
		}
		for i := range v.items {
			var t Target
			d.fields(&v.items[i], pointer+"/"+strconv.Itoa(i), []field{{"url", d.common(&t.URL)}, {"weight", d.count(&t.Weight)}})
			*to = append(*to, t)
		}
	}
}

func (d *decoder) retry(r *Retry, v *value, pointer string) {
	d.fields(v, pointer, []field{
		{"attempts", d.count(&r.Attempts)},
		{"on", func(v *value, pointer string) {
			if v.kind != list {
				d.mismatch(v, pointer, list)
				return
			}
			for i := range v.items {
				if item := &v.items[i]; item.kind == number || item.kind == text {
					r.On = append(r.On, item.text) // a status may be written as a number
				} else {
					d.mismatch(item, pointer+"/"+strconv.Itoa(i), text)
				}
			}
		}},
		{"budget", func(v *value, pointer string) {
			r.Budget = new(float64)
			d.fraction(r.Budget)(v, pointer)
		}},
		{"backoff", d.string(&r.Backoff)},
		{"max_backoff", d.string(&r.MaxBackoff)},
		{"attempt_timeout", d.string(&r.AttemptTimeout)},
		{"max_body", func(v *value, pointer string) {
			r.MaxBody = new(int64)
			d.size(r.MaxBody)(v, pointer)
		}},
	})
}

func (d *decoder) health(h *Health, v *value, pointer string) {
	d.fields(v, pointer, []field{
		{"active", func(v *value, pointer string) {
			a := &ActiveHealth{}
			h.Active = a
			d.fields(v, pointer, []field{
				{"path", d.string(&a.Path)}, {"host", d.string(&a.Host)}, {"interval", d.string(&a.Interval)}, {"timeout", d.string(&a.Timeout)},
				{"healthy", d.count(&a.Healthy)}, {"unhealthy", d.count(&a.Unhealthy)}, {"statuses", d.counts(&a.Statuses)},
			})
		}},
		{"passive", func(v *value, pointer string) {
			h.Passive = &PassiveHealth{}
			d.fields(v, pointer, []field{{"failures", d.count(&h.Passive.Failures)}, {"ejection", d.string(&h.Passive.Ejection)}})
		}},
	})
}

func (d *decoder) circuitBreaker(c *CircuitBreaker, v *value, pointer string) {
	d.fields(v, pointer, []field{
		{"max_requests", d.count(&c.MaxRequests)}, {"max_pending", d.count(&c.MaxPending)}, {"pending_timeout", d.string(&c.PendingTimeout)},
		{"error_rate", d.fraction(&c.ErrorRate)}, {"min_requests", d.count(&c.MinRequests)},
		{"window", d.string(&c.Window)}, {"open", d.string(&c.Open)},
	})
}

func (d *decoder) upstreamTLS(t *UpstreamTLS, v *value, pointer string) {
	d.fields(v, pointer, []field{
		{"ca_file", d.string(&t.CAFile)}, {"cert_file", d.string(&t.CertFile)}, {"key_file", d.string(&t.KeyFile)},
		{"server_name", d.string(&t.ServerName)},
		{"min_version", func(v *value, pointer string) {
			if v.kind == number { // 1.2 is a number in YAML
				t.MinVersion = v.text
				return
			}
			d.string(&t.MinVersion)(v, pointer)
		}},
		{"http2", func(v *value, pointer string) {
			t.HTTP2 = new(bool)
			d.boolean(t.HTTP2)(v, pointer)
		}},
		{"dangerous", func(v *value, pointer string) {
			t.Dangerous = &DangerousTLS{}
			d.fields(v, pointer, []field{{"insecure_skip_verify", d.boolean(&t.Dangerous.InsecureSkipVerify)}})
		}},
	})
}

// count decodes a whole number from 0 to 2³¹-1.
func (d *decoder) count(to *int) func(*value, string) {
	return func(v *value, pointer string) {
		n, err := strconv.ParseUint(v.text, 10, 31)
		if v.kind != number || err != nil {
			d.fault(pointer, v.line, "must be a whole number, 0 or more")
			return
		}
		*to = int(n)
	}
}

func (d *decoder) counts(to *[]int) func(*value, string) {
	return func(v *value, pointer string) {
		if v.kind != list {
			d.mismatch(v, pointer, list)
			return
		}
		for i := range v.items {
			var n int
			d.count(&n)(&v.items[i], pointer+"/"+strconv.Itoa(i))
			*to = append(*to, n)
		}
	}
}

// size decodes a number of bytes.
func (d *decoder) size(to *int64) func(*value, string) {
	return func(v *value, pointer string) {
		n, err := strconv.ParseInt(v.text, 10, 64)
		if v.kind != number || err != nil || n < 0 {
			d.fault(pointer, v.line, "must be a number of bytes, 0 or more")
			return
		}
		*to = n
	}
}

// fraction decodes a number from 0 to 1.
func (d *decoder) fraction(to *float64) func(*value, string) {
	return func(v *value, pointer string) {
		f, err := strconv.ParseFloat(v.text, 64)
		if v.kind != number || err != nil || math.IsNaN(f) || f < 0 || f > 1 {
			d.fault(pointer, v.line, "must be a number from 0 to 1")
			return
		}
		*to = f
	}
}
