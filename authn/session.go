package authn

import (
	"context"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4/json"
	"github.com/tidwall/gjson"
	"golang.org/x/net/http/httpguts"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/handler"
	"github.com/gatewarden/gatewarden/outbound"
)

// sessionConfig is what cookie_session and bearer_token have in common: who is asked
// about a session, with what of the request, and what is read from the answer.
type sessionConfig struct {
	// CheckSessionURL is asked. Required.
	CheckSessionURL string `json:"check_session_url"`
	// PreservePath keeps the path of CheckSessionURL; false puts the request's there.
	PreservePath bool `json:"preserve_path"`
	// PreserveQuery keeps the query of CheckSessionURL; false puts the request's there.
	PreserveQuery bool `json:"preserve_query"`
	// PreserveHost sends the request's host as X-Forwarded-Host.
	PreserveHost bool `json:"preserve_host"`
	// ForceMethod is the method to ask with; empty: the request's, GET for HEAD.
	ForceMethod string `json:"force_method"`
	// ForwardHTTPHeaders are sent too when the request has them.
	ForwardHTTPHeaders []string `json:"forward_http_headers"`
	// AdditionalHeaders are set on top.
	AdditionalHeaders map[string]string `json:"additional_headers"`
	// ExtraFrom is the GJSON path of an object in the answer; @this is all of it.
	ExtraFrom string `json:"extra_from"`
	// SubjectFrom is the GJSON path of a string in the answer.
	SubjectFrom string `json:"subject_from"`
	// AllowEmptySubject accepts an answer without a subject.
	AllowEmptySubject bool `json:"allow_empty_subject"`
	// Retry repeats requests that failed or were answered with 5xx.
	Retry outbound.Retry `json:"retry"`
	// Timeout bounds each single request.
	Timeout handler.Duration `json:"timeout"`
	// Cache keeps answers about good sessions.
	Cache sessionCacheConfig `json:"cache"`
}

type sessionCacheConfig struct {
	Enabled bool `json:"enabled"`
	// TTL bounds how long an answer is used, and so how late a logout counts.
	TTL handler.Duration `json:"ttl"`
	// ExpiresFrom is the GJSON path of when the session ends: an RFC 3339 time or
	// seconds since 1970. Empty: unknown.
	ExpiresFrom string `json:"expires_from"`
	// MaxCost is the size of the cache in bytes. All rules share one cache, which has
	// the largest size that is configured.
	MaxCost int64 `json:"max_cost"`
}

func sessionDefaults(subjectFrom string) sessionConfig {
	return sessionConfig{
		PreserveQuery: true, ExtraFrom: "extra", SubjectFrom: subjectFrom, Retry: outbound.DefaultRetry(), Timeout: handler.Duration(5 * time.Second),
		Cache: sessionCacheConfig{TTL: handler.Duration(time.Minute), MaxCost: 100_000_000},
	}
}

// sessionEndpoint asks another service whether what a request carries is a session,
// and whose.
type sessionEndpoint struct {
	c       sessionConfig
	via     string
	url     url.URL
	forward []string    // canonical names, in order
	header  http.Header // set on top
	http    *http.Client
	// refuse is the answer to credentials that the endpoint calls bad.
	refuse   func(message string) error
	identity identity
	cache    *factsCache // nil: every request is asked for
	d        Deps
}

// unforwarded are fields that speak of a connection or a message and not of who asks.
// Accept-Encoding would have the answer compressed, and ranges and conditions cut it.
var unforwarded = []string{"Accept-Encoding", "Connection", "Content-Encoding", "Content-Length", "Content-Type", "Expect", "Host",
	"If-Match", "If-Modified-Since", "If-None-Match", "If-Range", "If-Unmodified-Since", "Keep-Alive", "Proxy-Authenticate",
	"Proxy-Authorization", "Proxy-Connection", "Range", "Te", "Trailer", "Transfer-Encoding", "Upgrade"}

// newSessionEndpoint compiles c; always is forwarded whatever c says.
func newSessionEndpoint(c sessionConfig, via, always string, refuse func(string) error, d Deps, cache *factsCache) (*sessionEndpoint, error) {
	if err := checkURL("check_session_url", c.CheckSessionURL); err != nil {
		return nil, err
	}
	switch {
	case c.ForceMethod != "" && !httpguts.ValidHeaderFieldName(c.ForceMethod): // a token, as a method is
		return nil, fmt.Errorf("force_method: %q is no method", c.ForceMethod)
	case c.ExtraFrom == "" || c.SubjectFrom == "":
		return nil, errors.New("extra_from and subject_from must not be empty")
	case c.Timeout <= 0:
		return nil, errors.New("timeout must be positive")
	}
	u, err := url.Parse(c.CheckSessionURL)
	if err != nil {
		return nil, errors.New("check_session_url is not a URL")
	}
	e := &sessionEndpoint{c: c, via: via, url: *u, http: outbound.Direct(d.HTTP), refuse: refuse, d: d}
	if e.header, err = headerFields("additional_headers", c.AdditionalHeaders); err != nil {
		return nil, err
	}
	for _, name := range append([]string{always}, c.ForwardHTTPHeaders...) {
		if !httpguts.ValidHeaderFieldName(name) {
			return nil, fmt.Errorf("forward_http_headers: %q is no name of a header field", name)
		}
		if name = http.CanonicalHeaderKey(name); !slices.Contains(unforwarded, name) {
			e.forward = append(e.forward, name)
		}
	}
	slices.Sort(e.forward)
	e.forward = slices.Compact(e.forward)
	if !c.Cache.Enabled {
		return e, nil
	}
	if c.Cache.TTL <= 0 || c.Cache.MaxCost <= 0 {
		return nil, errors.New("cache.ttl and cache.max_cost must be positive")
	}
	e.cache = cache
	cache.grow(uint64(c.Cache.MaxCost))
	e.identity = newIdentity(via, c)
	return e, nil
}

// question is what is asked about one request.
type question struct {
	method, url, host string
	header            http.Header
}

func (e *sessionEndpoint) question(r *access.Request) question {
	u := e.url
	if !e.c.PreservePath {
		u.Path, u.RawPath = r.URL.Path, r.URL.RawPath
	}
	if !e.c.PreserveQuery {
		u.RawQuery = r.URL.RawQuery
	}
	q := question{method: e.c.ForceMethod, url: u.String(), host: e.header.Get("Host"), header: make(http.Header, len(e.forward)+len(e.header)+2)}
	if q.method == "" {
		q.method = r.Method
		if q.method == http.MethodHead {
			q.method = http.MethodGet // the answer to HEAD says nothing
		}
	}
	for _, name := range e.forward {
		if values, ok := r.Header[name]; ok {
			q.header[name] = slices.Clone(values)
		}
	}
	if e.c.PreserveHost {
		q.header["X-Forwarded-Host"] = []string{r.URL.Host}
	}
	for name, values := range e.header {
		q.header[name] = values
	}
	if _, set := q.header["Accept"]; !set {
		q.header["Accept"] = []string{"application/json"}
	}
	return q
}

// key is that of everything that the endpoint sees. AdditionalHeaders are part of the
// identity.
func (e *sessionEndpoint) key(q *question) cacheKey {
	parts := []string{q.method, q.url, strings.Join(q.header["X-Forwarded-Host"], ",")}
	for _, name := range e.forward {
		values := q.header[name]
		parts = append(append(parts, name, strconv.Itoa(len(values))), values...)
	}
	return e.cache.key(e.identity, parts...)
}

// accept asks about the session of a request. It has no effect beside the cache.
func (e *sessionEndpoint) accept(ctx context.Context, r *access.Request) (*facts, error) {
	q := e.question(r)
	f, err := e.facts(ctx, &q)
	if err != nil {
		return nil, undecided("session_check_failed", "the session could not be checked", err)
	}
	if !f.expires.IsZero() && !e.d.Now().Before(f.expires) {
		return nil, e.refuse("the session is over")
	}
	return f, nil
}

func (e *sessionEndpoint) facts(ctx context.Context, q *question) (*facts, error) {
	if e.cache == nil {
		f, _, err := e.ask(ctx, q)
		return f, err
	}
	key := e.key(q)
	known := e.cache.get(key, 0, e.d.Now())
	e.d.Cache("session", known != nil)
	if known != nil {
		return known, nil
	}
	return e.cache.load(ctx, key, e.c.Retry.Longest(time.Duration(e.c.Timeout)), func(ctx context.Context) (*facts, time.Time, int, error) {
		f, size, err := e.ask(ctx, q)
		if err != nil {
			return nil, time.Time{}, 0, err
		}
		return f, earlier(e.d.Now().Add(time.Duration(e.c.Cache.TTL)), f.expires), size, nil
	})
}

func (e *sessionEndpoint) ask(ctx context.Context, q *question) (f *facts, size int, err error) {
	err = e.c.Retry.Do(ctx, func(ctx context.Context) (again bool, err error) {
		f, size, again, err = e.once(ctx, q)
		return again, err
	})
	return f, size, err
}

// once makes one request and says whether another one is promising. Only 401 and 403
// say that the session is bad; whatever else is no 2xx says nothing about it.
func (e *sessionEndpoint) once(ctx context.Context, q *question) (f *facts, size int, again bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(e.c.Timeout))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, q.method, q.url, nil)
	if err != nil {
		return nil, 0, false, errors.New("check_session_url: the request cannot be made") // the cause may repeat a query
	}
	req.Header, req.Host = q.header.Clone(), q.host
	a, again, err := outbound.Do(e.http, req)
	switch {
	case a.Status == http.StatusTooManyRequests:
		return nil, 0, false, outbound.RateLimited("session_check_rate_limited", &a)
	case a.Status == http.StatusUnauthorized || a.Status == http.StatusForbidden:
		return nil, 0, false, e.refuse("there is no such session")
	case err != nil:
		return nil, 0, again, fmt.Errorf("check_session_url: %w", err)
	case !a.OK():
		return nil, 0, a.Status >= 500, fmt.Errorf("check_session_url answered %d", a.Status)
	}
	if f, err = e.read(a.Body); err != nil {
		return nil, 0, false, fmt.Errorf("check_session_url: the answer is not valid: %w", err)
	}
	return f, len(a.Body), false, nil
}

// read reads an answer. One in which two readers could see two subjects is refused.
func (e *sessionEndpoint) read(raw []byte) (*facts, error) {
	if !stdjson.Valid(raw) {
		return nil, errors.New("it is not JSON")
	}
	var whole any
	if err := json.Unmarshal(raw, &whole); err != nil { // refuses duplicate members
		return nil, err
	}
	f := &facts{subject: access.Subject{Via: e.via}}
	subject := gjson.GetBytes(raw, e.c.SubjectFrom)
	switch subject.Type {
	case gjson.String:
		f.subject.ID = subject.Str
	case gjson.Null:
	default:
		return nil, fmt.Errorf("%s (subject_from) is no string", e.c.SubjectFrom)
	}
	if f.subject.ID == "" && !e.c.AllowEmptySubject {
		return nil, fmt.Errorf("%s (subject_from) is missing or empty", e.c.SubjectFrom)
	}
	extra := gjson.GetBytes(raw, e.c.ExtraFrom)
	switch {
	case extra.Type == gjson.Null:
	case !extra.IsObject():
		return nil, fmt.Errorf("%s (extra_from) is no object", e.c.ExtraFrom)
	default:
		if err := json.Unmarshal([]byte(extra.Raw), &f.subject.Extra); err != nil {
			return nil, fmt.Errorf("%s (extra_from): %w", e.c.ExtraFrom, err)
		}
	}
	if e.c.Cache.ExpiresFrom == "" {
		return f, nil
	}
	var err error
	f.expires, err = expiry(gjson.GetBytes(raw, e.c.Cache.ExpiresFrom))
	if err != nil {
		return nil, fmt.Errorf("%s (cache.expires_from) %w", e.c.Cache.ExpiresFrom, err)
	}
	return f, nil
}

// expiry reads a time of RFC 3339 or a NumericDate; the zero time when there is none.
func expiry(v gjson.Result) (time.Time, error) {
	switch v.Type {
	case gjson.Null:
		return time.Time{}, nil
	case gjson.Number:
		return numericDate(map[string]any{"it": v.Num}, "it")
	case gjson.String:
		if t, err := time.Parse(time.RFC3339, v.Str); err == nil {
			return t, nil
		}
	}
	return time.Time{}, errors.New("is no time")
}
