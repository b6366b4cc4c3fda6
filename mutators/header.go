package mutators

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/textproto"
	"slices"
	"strings"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/templates"
)

// HeaderConfig says which header fields go upstream.
type HeaderConfig struct {
	// Headers maps field names to templates. A field replaces what the client sent.
	Headers map[string]string `json:"headers"`
}

type headerField struct {
	name  string // canonical
	value *templates.Text
}

type header struct {
	fields []headerField
	owned  []string
}

var (
	_ Mutator     = (*header)(nil)
	_ HeaderOwner = (*header)(nil)
)

func newHeader(c HeaderConfig) (Mutator, error) {
	var errs []error
	h := &header{}
	for _, name := range slices.Sorted(maps.Keys(c.Headers)) {
		field := "headers." + name
		canonical, err := fieldName(name)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", field, err))
			continue
		}
		if slices.ContainsFunc(h.fields, func(f headerField) bool { return f.name == canonical }) {
			errs = append(errs, fmt.Errorf("%s: %s is set twice", field, canonical))
			continue
		}
		t, err := templates.Compile(field, strings.Trim(c.Headers[name], " \t"))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		h.fields = append(h.fields, headerField{canonical, t})
		if !shared(canonical) {
			h.owned = append(h.owned, canonical)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return h, nil
}

// Mutate sets the fields, all or none. A value that no header field can hold is
// fault.Invalid.
func (h *header) Mutate(_ context.Context, in access.Input, p *access.Pass) error {
	// One array for the values of all fields: each is cut to its own element.
	values := make([]string, len(h.fields))
	for i, f := range h.fields {
		value, err := f.value.Render(&in, p.Set)
		if err != nil {
			return fmt.Errorf("header: %w", err)
		}
		if !validValue(value) {
			return fault.New(fault.Invalid, "invalid_header_value", "the request holds a value that cannot be passed on in "+f.name)
		}
		values[i] = value
	}
	if p.Set == nil {
		p.Set = make(http.Header, len(h.fields))
	}
	for i, f := range h.fields {
		p.Set[f.name] = values[i : i+1 : i+1]
	}
	return nil
}

// OwnedHeaders returns the configured names but for the standard fields that
// clients send for reasons of their own, such as Authorization.
func (h *header) OwnedHeaders() []string { return slices.Clone(h.owned) }

// forbidden are the fields that frame a message or belong to one connection
// (RFC 9110 section 7.6.1): the forwarder alone writes them.
var forbidden = []string{
	"Connection", "Content-Length", "Expect", "Host", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization",
	"Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
}

// standard are the request fields that a client may send on any route although a
// rule writes them on its own: deleting them from every inbound request would
// take away its credentials or break plain HTTP. On the rule that writes one, the
// client's value is replaced.
var standard = []string{
	"Accept", "Accept-Charset", "Accept-Encoding", "Accept-Language", "Authorization", "Cache-Control", "Content-Encoding",
	"Content-Language", "Content-Type", "Cookie", "Date", "Forwarded", "If-Match", "If-Modified-Since", "If-None-Match",
	"If-Range", "If-Unmodified-Since", "Origin", "Pragma", "Range", "Referer", "Traceparent", "Tracestate", "User-Agent", "Via",
	"X-Real-Ip", "X-Request-Id",
}

func shared(canonical string) bool {
	return slices.Contains(standard, canonical) || strings.HasPrefix(canonical, "X-Forwarded-")
}

// fieldName returns the canonical form of a field name that may be written.
func fieldName(name string) (string, error) {
	if !isToken(name) {
		return "", errors.New("not a header field name")
	}
	canonical := textproto.CanonicalMIMEHeaderKey(name)
	if slices.Contains(forbidden, canonical) {
		return "", fmt.Errorf("%s belongs to the connection and cannot be set", canonical)
	}
	return canonical, nil
}

// isToken reports whether s is a token of RFC 9110 section 5.6.2.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c < '!' || c > '~' || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return s != ""
}

// validValue reports whether s can be a field value (RFC 9110 section 5.5): no
// control characters but the tab, so above all no CR, LF or NUL, and no blank at
// either end, which whoever reads the field would drop: another value than was meant.
func validValue(s string) bool {
	if strings.Trim(s, " \t") != s {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < ' ' && c != '\t') || c == 0x7f {
			return false
		}
	}
	return true
}
