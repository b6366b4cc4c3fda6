package mutators

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/handler"
	"github.com/gatewarden/gatewarden/outbound"
	"github.com/gatewarden/gatewarden/strictjson"
	"github.com/gatewarden/gatewarden/templates"
)

// HydratorConfig says which service knows more about the subject.
type HydratorConfig struct {
	API HydratorAPI `json:"api"`
	// SetHeaders names the header fields that an answer may set; none by default.
	SetHeaders []string `json:"set_headers"`
	// Cache keeps answers, off by default.
	Cache HydratorCache `json:"cache"`
}

// HydratorAPI is the service.
type HydratorAPI struct {
	// URL is asked with POST. Templates may stand in its path and query. Required.
	URL  string        `json:"url"`
	Auth outbound.Auth `json:"auth"`
	// ForwardHTTPHeaders names the request's fields that the service sees, as its own
	// request's fields and in the session; none by default.
	ForwardHTTPHeaders []string         `json:"forward_http_headers"`
	Timeout            handler.Duration `json:"timeout"` // of an attempt; default 5s
	Retry              outbound.Retry   `json:"retry"`
}

// HydratorCache keeps answers in memory.
type HydratorCache struct {
	Enabled bool             `json:"enabled"`
	TTL     handler.Duration `json:"ttl"` // default 1m, at most 1h
	// Key is a template of what an answer depends on beside the subject and its claims;
	// empty: everything that is sent.
	Key string `json:"key"`
}

func defaultHydrator() HydratorConfig {
	return HydratorConfig{
		API:   HydratorAPI{Timeout: outbound.DefaultTimeout, Retry: outbound.DefaultRetry()},
		Cache: HydratorCache{TTL: handler.Duration(time.Minute)},
	}
}

const maxHydratorTTL = handler.Duration(time.Hour)

type hydrator struct {
	service  *outbound.Service
	url      *templates.URL
	auth     outbound.Auth
	send     []string // canonical names
	set      []string // canonical names
	cache    *hydrations
	key      *templates.Text // nil: what is sent
	ttl      time.Duration
	identity [sha256.Size]byte
	observe  func(cache string, hit bool)
	now      func() time.Time
}

var (
	_ Mutator     = (*hydrator)(nil)
	_ HeaderOwner = (*hydrator)(nil)
)

func newHydrator(d Deps, cache *hydrations, c HydratorConfig) (Mutator, error) {
	h := &hydrator{auth: c.API.Auth, ttl: time.Duration(c.Cache.TTL), observe: d.Observe, now: d.Now}
	if h.now == nil {
		h.now = time.Now
	}
	if h.observe == nil {
		h.observe = func(string, bool) {}
	}
	var errs [7]error
	h.url, errs[0] = templates.CompileURL("api.url", c.API.URL)
	h.service, errs[1] = outbound.New(outbound.Options{Name: "hydrator", HTTP: d.HTTP, Timeout: c.API.Timeout, Retry: c.API.Retry})
	errs[2] = c.API.Auth.Check("api.auth")
	h.send, errs[3] = templates.FieldNames("api.forward_http_headers", c.API.ForwardHTTPHeaders)
	h.set, errs[4] = templates.FieldNames("set_headers", c.SetHeaders)
	if c.Cache.Enabled {
		h.cache = cache
		if c.Cache.TTL <= 0 || c.Cache.TTL > maxHydratorTTL {
			errs[5] = fmt.Errorf("cache.ttl: must be more than 0s and at most %s", time.Duration(maxHydratorTTL))
		}
	}
	if c.Cache.Key != "" {
		h.key, errs[6] = templates.Compile("cache.key", c.Cache.Key)
	}
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	raw, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	h.identity = sha256.Sum256(raw)
	return h, nil
}

// session is what the service is asked and answers, in Oathkeeper's shape.
type session struct {
	Subject string         `json:"subject"`
	Extra   map[string]any `json:"extra"`
	// Header holds the fields for the upstream.
	Header       http.Header   `json:"header"`
	MatchContext *matchContext `json:"match_context"`
}

type matchContext struct {
	RegexpCaptureGroups []string    `json:"regexp_capture_groups"`
	URL                 *url.URL    `json:"url"`
	Method              string      `json:"method"`
	Header              http.Header `json:"header"`
}

// Mutate replaces the subject's claims by those that the service knows, and sets the
// header fields that it may set. The subject stays who it is.
func (h *hydrator) Mutate(ctx context.Context, in access.Input, p *access.Pass) error {
	err := ctx.Err()
	if err != nil {
		err = h.service.Unusable(err)
	}
	var known *hydration
	if err == nil {
		known, err = h.hydrate(ctx, &in, p)
	}
	if err != nil {
		return fmt.Errorf("hydrator: %w", err)
	}
	p.Subject = in.Subject
	p.Subject.Extra = known.extra
	if p.Set == nil {
		p.Set = make(http.Header, len(known.header))
	}
	for name, values := range known.header {
		p.Set[name] = values
	}
	return nil
}

func (h *hydrator) hydrate(ctx context.Context, in *access.Input, p *access.Pass) (*hydration, error) {
	question, err := h.question(in, p)
	if err != nil {
		return nil, err
	}
	u, err := h.url.Render(in, p.Set)
	if err != nil {
		return nil, err
	}
	fields := h.seen(in) // a copy: the question may outlive the request
	ask := func(ctx context.Context) (*hydration, error) { return h.ask(ctx, in.Subject.ID, u, fields, question) }
	if h.cache == nil {
		return ask(ctx)
	}
	depends := question
	if h.key != nil {
		key, err := h.key.Render(in, p.Set)
		if err != nil {
			return nil, err
		}
		depends = []byte(key)
	}
	// An answer usually repeats the claims that it was asked about, so it is good for
	// the same claims only; they include the token's own expiry.
	claims, err := json.Marshal(in.Subject.Extra)
	if err != nil {
		return nil, err
	}
	key := h.identity[:]
	for _, part := range [][]byte{[]byte(in.Subject.ID), []byte(in.Subject.Via), claims, []byte(u.String()), depends} {
		key = appendPart(key[:len(key):len(key)], part)
	}
	known, hit, err := h.cache.load(ctx, sha256.Sum256(key), h.now(), h.ttl, time.Minute, ask)
	h.observe("hydrator", hit)
	if errors.Is(err, context.Canceled) {
		err = h.service.Unusable(err)
	}
	return known, err
}

// question returns the session as the service sees it.
func (h *hydrator) question(in *access.Input, p *access.Pass) ([]byte, error) {
	if in.Request == nil || in.Request.URL == nil {
		return nil, errors.New("no request")
	}
	s := session{Subject: in.Subject.ID, Extra: in.Subject.Extra, Header: p.Set, MatchContext: &matchContext{
		RegexpCaptureGroups: in.Captures, URL: in.Request.URL, Method: in.Request.Method,
	}}
	s.MatchContext.Header = h.seen(in)
	return json.Marshal(s)
}

// seen returns the fields of the request that the service may see.
func (h *hydrator) seen(in *access.Input) http.Header {
	fields := make(http.Header, len(h.send))
	for _, name := range h.send {
		if values := in.Request.Header[name]; len(values) > 0 {
			fields[name] = slices.Clone(values)
		}
	}
	return fields
}

func (h *hydrator) ask(ctx context.Context, subject string, u *url.URL, fields http.Header, question []byte) (*hydration, error) {
	answer, err := h.service.Ask(ctx, func(ctx context.Context) (*http.Request, error) {
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(question))
		if err != nil {
			return nil, h.service.Unusable(err)
		}
		r.Header = fields.Clone()
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Accept", "application/json")
		h.auth.Apply(r)
		return r, nil
	})
	if err != nil {
		return nil, err
	}
	if answer.Status != http.StatusOK {
		return nil, h.service.Unusable(fmt.Errorf("answered %d", answer.Status))
	}
	known, err := h.read(answer.Body, subject, question)
	if err != nil {
		return nil, h.service.Unusable(fmt.Errorf("the answer is not valid: %w", err))
	}
	return known, nil
}

// read checks an answer: one session of the same subject, which sets no header field
// but those it may. What it repeats of the question is not looked at.
func (h *hydrator) read(body []byte, subject string, question []byte) (*hydration, error) {
	var s, asked session
	if err := strictjson.Unmarshal(body, &s); err != nil {
		return nil, fmt.Errorf("not a session with subject, extra, header and match_context: %w", err)
	}
	if s.Subject != subject {
		return nil, errors.New("another subject")
	}
	if err := json.Unmarshal(question, &asked); err != nil {
		return nil, err
	}
	known := &hydration{extra: s.Extra, size: len(body)}
	for name, values := range s.Header {
		canonical, err := templates.FieldName(name)
		if err != nil {
			return nil, fmt.Errorf("header %q: %w", name, err)
		}
		if slices.Equal(asked.Header[canonical], values) {
			continue
		}
		if !slices.Contains(h.set, canonical) {
			return nil, fmt.Errorf("the header %s is not one of set_headers", canonical)
		}
		if slices.ContainsFunc(values, func(v string) bool { return !templates.ValidFieldValue(v) }) {
			return nil, fmt.Errorf("the header %s has a value that cannot be passed on", canonical)
		}
		if known.header == nil {
			known.header = http.Header{}
		}
		if _, twice := known.header[canonical]; twice {
			return nil, fmt.Errorf("the header %s occurs twice", canonical)
		}
		known.header[canonical] = values
	}
	return known, nil
}

// OwnedHeaders returns the fields that an answer may set, but for the standard ones
// that clients send for reasons of their own.
func (h *hydrator) OwnedHeaders() []string { return templates.Owned(h.set) }
