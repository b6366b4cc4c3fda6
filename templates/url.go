package templates

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/fault"
)

var errNotURL = fault.New(fault.Invalid, "template_value_not_in_url", "the request holds a value that cannot be passed on")

// URL is a compiled template whose output is an absolute http or https URL. The
// scheme and host are text of the template; every value below them stays within its
// path segment or query value. Use CompileURL. It is safe for concurrent use.
type URL struct {
	p      program
	origin *url.URL
}

// CompileURL parses text.
func CompileURL(field, text string) (*URL, error) {
	p, err := compile(field, text, urlReference)
	if err != nil {
		return nil, err
	}
	fixed, _, templated := strings.Cut(text, "{{")
	u, err := url.Parse(fixed)
	switch {
	case text == "":
		return nil, fmt.Errorf("%s: required", field)
	case err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("%s: must be an absolute http or https URL", field)
	case templated && u.Path == "" && u.RawQuery == "" && !u.ForceQuery:
		return nil, fmt.Errorf("%s: scheme, host and port must not be templates", field)
	case u.User != nil:
		return nil, fmt.Errorf("%s: must not have user information", field)
	case u.Fragment != "" || strings.HasSuffix(fixed, "#"):
		return nil, fmt.Errorf("%s: must not have a fragment", field)
	}
	return &URL{p: p, origin: u}, nil
}

// Render returns the URL for one request. Errors are those of Text.Render, and
// fault.Invalid when a value would make an empty path segment or a dot segment.
func (t *URL) Render(in *access.Input, written http.Header) (*url.URL, error) {
	out, err := t.p.run(in, written)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(string(out))
	if err != nil || u.Scheme != t.origin.Scheme || u.Host != t.origin.Host || u.User != nil || u.Fragment != "" {
		return nil, t.p.fail(errors.New("the output is not a URL at the configured host"))
	}
	return u, nil
}

// urlText appends text of the template itself.
func (s *sink) urlText(text string) error {
	for i := range len(text) {
		c := text[i]
		if !s.inQuery && (c == '/' || c == '?') {
			if err := s.endSegment(); err != nil {
				return err
			}
			s.inQuery = c == '?'
			s.segment = len(s.buf) + 1
		}
		s.buf = append(s.buf, c)
	}
	return nil
}

// urlValue appends a value, encoded for the path segment or the query that it is in.
func (s *sink) urlValue(text string) error {
	if n := len(s.buf); n > 0 && s.buf[n-1] == '%' || n > 1 && s.buf[n-2] == '%' {
		return errNotURL // "%{{ value }}": the value would become part of the escape
	}
	if s.inQuery {
		s.buf = append(s.buf, url.QueryEscape(text)...)
	} else {
		s.buf = append(s.buf, url.PathEscape(text)...)
		s.filled = true
	}
	if len(s.buf) > MaxOutput {
		return errTooLarge
	}
	return nil
}

// endSegment refuses a path segment that a value made an empty one or a dot
// segment, which whoever reads the URL might remove.
func (s *sink) endSegment() error {
	if !s.filled {
		return nil
	}
	s.filled = false
	segment, err := url.PathUnescape(string(s.buf[s.segment:]))
	if err != nil || segment == "" || segment == "." || segment == ".." {
		return errNotURL
	}
	return nil
}

// end checks what is only certain when everything was written.
func (s *sink) end() error {
	if s.place == urlReference && !s.inQuery {
		return s.endSegment()
	}
	return nil
}
