package templates

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/textproto"
	"slices"
	"strings"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/fault"
)

// Fields are compiled templates for header fields by name. Use CompileFields; the
// zero value has none. It is safe for concurrent use.
type Fields struct {
	names  []string // canonical, sorted as configured
	values []*Text
}

// CompileFields parses header fields; errors name them below field. Blanks around a
// template are not part of it. No name may occur twice or belong to the connection.
func CompileFields(field string, headers map[string]string) (Fields, error) {
	var f Fields
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		place := field + "." + name
		canonical, err := FieldName(name)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("%s: %w", place, err))
			continue
		case slices.Contains(f.names, canonical):
			errs = append(errs, fmt.Errorf("%s: %s is set twice", place, canonical))
			continue
		}
		t, err := Compile(place, strings.Trim(headers[name], " \t"))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		f.names, f.values = append(f.names, canonical), append(f.values, t)
	}
	return f, errors.Join(errs...)
}

// Names returns the canonical names.
func (f *Fields) Names() []string { return f.names }

// Render returns the values in the order of Names. Errors are those of Text.Render,
// and fault.Invalid for a value that no header field can hold.
func (f *Fields) Render(in *access.Input, written http.Header) ([]string, error) {
	values := make([]string, len(f.names))
	for i, t := range f.values {
		value, err := t.Render(in, written)
		if err != nil {
			return nil, err
		}
		if !ValidFieldValue(value) {
			return nil, fault.New(fault.Invalid, "invalid_header_value", "the request holds a value that cannot be passed on in "+f.names[i])
		}
		values[i] = value
	}
	return values, nil
}

// SetOn sets the fields whose values are not empty on h.
func (f *Fields) SetOn(h http.Header, in *access.Input, written http.Header) error {
	values, err := f.Render(in, written)
	for i, value := range values {
		if value != "" {
			h.Set(f.names[i], value)
		}
	}
	return err
}

// connectionFields are the fields that frame a message or belong to one connection
// (RFC 9110 section 7.6.1): whoever sends the message alone writes them.
var connectionFields = []string{
	"Connection", "Content-Length", "Expect", "Host", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization",
	"Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
}

// clientFields are the request fields that a client may send on any route although a
// rule writes them on its own: deleting them from every inbound request would
// take away its credentials or break plain HTTP. On the rule that writes one, the
// client's value is replaced.
var clientFields = []string{
	"Accept", "Accept-Charset", "Accept-Encoding", "Accept-Language", "Authorization", "Cache-Control", "Content-Encoding",
	"Content-Language", "Content-Type", "Cookie", "Date", "Forwarded", "If-Match", "If-Modified-Since", "If-None-Match",
	"If-Range", "If-Unmodified-Since", "Origin", "Pragma", "Range", "Referer", "Traceparent", "Tracestate", "User-Agent", "Via",
	"X-Forwarded-By", "X-Forwarded-Client-Cert", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Method", "X-Forwarded-Port",
	"X-Forwarded-Prefix", "X-Forwarded-Proto", "X-Forwarded-Protocol", "X-Forwarded-Scheme", "X-Forwarded-Server", "X-Forwarded-Ssl",
	"X-Forwarded-Uri", "X-Real-Ip", "X-Request-Id",
}

// Owned returns those of the names that belong to the gateway when a rule writes
// them: all but the standard fields that clients send for reasons of their own, such
// as Authorization.
func Owned(canonical []string) []string {
	var owned []string
	for _, name := range canonical {
		if !slices.Contains(clientFields, name) {
			owned = append(owned, name)
		}
	}
	return owned
}

// FieldName returns the canonical form of the name of a field that may be written.
func FieldName(name string) (string, error) {
	if !IsToken(name) {
		return "", errors.New("not a header field name")
	}
	canonical := textproto.CanonicalMIMEHeaderKey(name)
	if slices.Contains(connectionFields, canonical) {
		return "", fmt.Errorf("%s belongs to the connection and cannot be set", canonical)
	}
	return canonical, nil
}

// FieldNames returns the canonical forms of names, each of them once.
func FieldNames(field string, names []string) ([]string, error) {
	var list []string
	for i, name := range names {
		canonical, err := FieldName(name)
		if err != nil {
			return nil, fmt.Errorf("%s.%d: %q: %w", field, i, name, err)
		}
		if !slices.Contains(list, canonical) {
			list = append(list, canonical)
		}
	}
	return list, nil
}

// IsToken reports whether s is a token of RFC 9110 section 5.6.2.
func IsToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c < '!' || c > '~' || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return s != ""
}

// ValidFieldValue reports whether s can be a field value (RFC 9110 section 5.5): no
// control characters but the tab, so above all no CR, LF or NUL, and no blank at
// either end, which whoever reads the field would drop: another value than was meant.
func ValidFieldValue(s string) bool {
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
