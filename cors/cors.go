// Package cors is cross-origin resource sharing (Fetch standard, section 3.2) as a
// value: a Policy is compiled once and answers preflights or adds the fields of an
// answer. It decides nothing about access: a page that may not read an answer may
// still have sent the request.
package cors

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// Options are a policy as it is written, with Oathkeeper's and Hydra's keys. A nil
// list has the default of Defaults.
type Options struct {
	// AllowedOrigins are scheme://host with optional port, * for all, or with one
	// wildcard: https://*.example.com, or http://localhost:* for all ports.
	AllowedOrigins []string `json:"allowed_origins,omitzero"`
	// AllowedMethods are compared as they are; * is any.
	AllowedMethods []string `json:"allowed_methods,omitzero"`
	// AllowedHeaders are request fields; * is any.
	AllowedHeaders []string `json:"allowed_headers,omitzero"`
	// ExposedHeaders are response fields that scripts may read.
	ExposedHeaders []string `json:"exposed_headers,omitzero"`
	// AllowCredentials lets browsers send cookies; it needs named origins.
	AllowCredentials bool `json:"allow_credentials,omitempty"`
	// MaxAge is how many seconds a preflight may be kept; 0: the browser's default,
	// negative: not at all.
	MaxAge int `json:"max_age,omitempty"`
	// OptionsPassthrough has preflights decided and forwarded like other requests.
	OptionsPassthrough bool `json:"options_passthrough,omitempty"`
}

// Defaults returns Oathkeeper's.
func Defaults() Options {
	return Options{
		AllowedOrigins: []string{"*"},
		AllowedMethods: []string{"GET", "POST", "PUT", "PATCH", "DELETE"},
		AllowedHeaders: []string{"Authorization", "Content-Type"},
		ExposedHeaders: []string{"Content-Type"},
	}
}

// Problem is what is wrong with Options.
type Problem struct {
	// Pointer is a JSON pointer into Options such as /allowed_origins/0.
	Pointer, Message string
}

// Error returns both.
func (p Problem) Error() string { return p.Pointer + ": " + p.Message }

// Policy is a compiled policy. It is immutable. The zero Policy is off: it answers no
// preflight and leaves the fields of answers alone.
type Policy struct {
	on          bool
	all         bool // any origin
	origins     []origin
	anyMethod   bool
	methods     []string
	anyHeader   bool
	headers     map[string]bool // lower case
	exposed     []string        // one value, or none
	credentials bool
	maxAge      []string
	passthrough bool
}

// origin is one allowed origin: text before and after the wildcard.
type origin struct {
	before, after string
	wild          byte // 0: before is the whole; 'h': labels of a host; 'p': a port
}

// New compiles a policy. A Policy with problems must not be used.
func New(o Options) (*Policy, []Problem) {
	d := Defaults()
	for _, list := range []struct{ of, def *[]string }{
		{&o.AllowedOrigins, &d.AllowedOrigins}, {&o.AllowedMethods, &d.AllowedMethods},
		{&o.AllowedHeaders, &d.AllowedHeaders}, {&o.ExposedHeaders, &d.ExposedHeaders},
	} {
		if *list.of == nil {
			*list.of = *list.def
		}
	}
	p := &Policy{on: true, credentials: o.AllowCredentials, passthrough: o.OptionsPassthrough, headers: map[string]bool{}}
	var problems []Problem
	report := func(key string, i int, format string, args ...any) {
		problems = append(problems, Problem{fmt.Sprintf("/%s/%d", key, i), fmt.Sprintf(format, args...)})
	}
	for i, text := range o.AllowedOrigins {
		if text == "*" {
			p.all = true
			continue
		}
		at, wrong := parseOrigin(text)
		if wrong != "" {
			report("allowed_origins", i, "%q %s", text, wrong)
			continue
		}
		p.origins = append(p.origins, at)
	}
	for i, m := range o.AllowedMethods {
		if m != "*" && !httpguts.ValidHeaderFieldName(m) {
			report("allowed_methods", i, "%q is not a method", m)
		}
		p.anyMethod = p.anyMethod || m == "*"
		p.methods = append(p.methods, m)
	}
	for i, name := range o.AllowedHeaders {
		if name != "*" && !httpguts.ValidHeaderFieldName(name) {
			report("allowed_headers", i, "%q is not a field name", name)
		}
		p.anyHeader = p.anyHeader || name == "*"
		p.headers[strings.ToLower(name)] = true
	}
	for i, name := range o.ExposedHeaders {
		if name != "*" && !httpguts.ValidHeaderFieldName(name) {
			report("exposed_headers", i, "%q is not a field name", name)
		}
		if name == "*" && o.AllowCredentials {
			report("exposed_headers", i, "* means a field of that name when credentials are allowed; name the fields")
		}
	}
	if len(o.ExposedHeaders) > 0 {
		p.exposed = []string{strings.Join(o.ExposedHeaders, ", ")}
	}
	if p.all && o.AllowCredentials {
		problems = append(problems, Problem{"/allow_credentials", "would let every site act as the visitor: name the allowed_origins instead of *"})
	}
	if o.MaxAge != 0 {
		p.maxAge = []string{strconv.Itoa(max(o.MaxAge, 0))}
	}
	return p, problems
}

// parseOrigin reads one allowed origin; wrong says what is.
func parseOrigin(text string) (o origin, wrong string) {
	lower := strings.ToLower(text)
	if lower == "null" {
		return o, "stands for anybody: sandboxed frames and local files of every site have this origin"
	}
	if strings.Count(lower, "*") > 1 {
		return o, "has more than one *"
	}
	if before, after, wild := strings.Cut(lower, "*"); wild {
		switch {
		case strings.HasSuffix(before, "://") && strings.HasPrefix(after, "."):
			o = origin{before: before, after: after, wild: 'h'}
		case strings.HasSuffix(before, ":") && !strings.HasSuffix(before, "://") && after == "":
			o = origin{before: before, wild: 'p'}
		default:
			return o, "may have * for a whole port or for the labels in front of a dot only, as in https://*.example.com: anything else matches names of strangers"
		}
		lower = before + "1" + after // a label or a port
	} else {
		o = origin{before: lower}
	}
	u, err := url.Parse(lower)
	if err != nil || u.Scheme == "" || u.Host == "" || u.Hostname() == "" || lower != u.Scheme+"://"+u.Host {
		return o, "is not an origin such as https://app.example.com"
	}
	if u.Scheme == "http" && u.Port() == "80" || u.Scheme == "https" && u.Port() == "443" {
		return o, "has the default port, which browsers leave out"
	}
	return o, ""
}

// allows reports whether a browser's Origin is allowed.
func (o origin) allows(sent string) bool {
	if o.wild == 0 {
		return sent == o.before
	}
	rest, ok := strings.CutPrefix(sent, o.before)
	if !ok || len(rest) <= len(o.after) || !strings.HasSuffix(rest, o.after) {
		return false
	}
	rest = rest[:len(rest)-len(o.after)]
	for i := range len(rest) {
		c := rest[i]
		digit := c >= '0' && c <= '9'
		if !digit && (o.wild == 'p' || !(c >= 'a' && c <= 'z' || c == '-' || c == '_' || c == '.')) {
			return false
		}
	}
	return true
}

// Names reports whether sent is an allowed origin that was named: * does not count.
func (p *Policy) Names(sent string) bool {
	return p != nil && p.on && sent != "" && slices.ContainsFunc(p.origins, func(o origin) bool { return o.allows(sent) })
}

// Allows reports whether scripts of an origin may read answers.
func (p *Policy) Allows(sent string) bool { return p != nil && p.on && p.grant([]string{sent}) != "" }

// grant returns the value of Access-Control-Allow-Origin; empty: not allowed.
func (p *Policy) grant(sent []string) string {
	switch {
	case len(sent) != 1:
		return ""
	case p.Names(sent[0]):
		return sent[0]
	case p.all:
		return "*"
	}
	return ""
}

// IsPreflight reports whether a request asks for permission only.
func IsPreflight(method string, h http.Header) bool {
	return method == http.MethodOptions && len(h["Origin"]) > 0 && len(h["Access-Control-Request-Method"]) > 0
}

// Answers reports whether p, which may be nil, answers preflights.
func (p *Policy) Answers() bool { return p != nil && p.on && !p.passthrough }

// Refusals of preflights.
const (
	ReasonOrigin = "cors_origin_not_allowed"
	ReasonMethod = "cors_method_not_allowed"
	ReasonHeader = "cors_header_not_allowed"
)

// Preflight adds the fields of the answer to a preflight with header h. The reason
// is empty when the preflight is granted; else nothing but Vary was added, and the
// browser keeps the request to itself.
func (p *Policy) Preflight(h, answer http.Header) (reason string) {
	answer["Vary"] = []string{"Origin, Access-Control-Request-Method, Access-Control-Request-Headers"}
	granted := p.grant(h["Origin"])
	if granted == "" {
		return ReasonOrigin
	}
	method := h["Access-Control-Request-Method"]
	if len(method) != 1 || !httpguts.ValidHeaderFieldName(method[0]) || !p.anyMethod && !slices.Contains(p.methods, method[0]) {
		return ReasonMethod
	}
	var names []string
	for _, line := range h["Access-Control-Request-Headers"] {
		for name := range strings.SplitSeq(line, ",") {
			if name = strings.ToLower(strings.Trim(name, " \t")); name == "" {
				continue
			}
			if !httpguts.ValidHeaderFieldName(name) || !p.anyHeader && !p.headers[name] {
				return ReasonHeader
			}
			names = append(names, name)
		}
	}
	answer["Access-Control-Allow-Origin"] = []string{granted}
	answer["Access-Control-Allow-Methods"] = []string{method[0]}
	if len(names) > 0 {
		answer["Access-Control-Allow-Headers"] = []string{strings.Join(names, ", ")}
	}
	if p.credentials {
		answer["Access-Control-Allow-Credentials"] = []string{"true"}
	}
	if p.maxAge != nil {
		answer["Access-Control-Max-Age"] = []string{p.maxAge[0]}
	}
	return ""
}

// Answer puts the fields of p into the header of an answer, in place of those that an
// upstream has set; origin is the request's field.
func (p *Policy) Answer(origin []string, answer http.Header) {
	if p == nil || !p.on {
		return
	}
	for name := range answer {
		if strings.HasPrefix(name, "Access-Control-") {
			delete(answer, name)
		}
	}
	if !varies(answer["Vary"]) {
		answer["Vary"] = append(slices.Clip(answer["Vary"]), "Origin")
	}
	granted := p.grant(origin)
	if granted == "" {
		return
	}
	answer["Access-Control-Allow-Origin"] = []string{granted}
	if p.credentials {
		answer["Access-Control-Allow-Credentials"] = []string{"true"}
	}
	if p.exposed != nil {
		answer["Access-Control-Expose-Headers"] = []string{p.exposed[0]}
	}
}

// varies reports whether Vary names Origin already.
func varies(lines []string) bool {
	for _, line := range lines {
		for name := range strings.SplitSeq(line, ",") {
			if name = strings.TrimSpace(name); name == "*" || strings.EqualFold(name, "Origin") {
				return true
			}
		}
	}
	return false
}
