package templates

import (
	"encoding/json"
	"strings"

	"github.com/gatewarden/gatewarden/fault"
)

var (
	errTooLarge = fault.New(fault.TooLarge, "template_output_too_large", "the request is too large for this route")
	errSteps    = fault.New(fault.TooLarge, "template_too_many_steps", "the request is too large for this route")
	errNotName  = fault.New(fault.Invalid, "template_value_not_a_name", "the request holds a value that cannot be passed on")
	errNotJSON  = fault.New(fault.Invalid, "template_value_not_json", "the request holds a value that cannot be passed on")
)

// place is what a template renders, and so how values are encoded.
type place uint8

const (
	plainText place = iota
	jsonValue
	urlReference // an absolute URL
	identifier   // one name in another system's syntax
)

// sink takes the output of one rendering. In a JSON document and a URL it follows
// the text, so that it knows where a value is being put.
type sink struct {
	buf   []byte
	steps int
	place place

	// In a JSON document.
	inString bool // inside a string literal of the template
	escape   bool // after a backslash in one

	// In a URL.
	inQuery bool
	segment int  // where the path segment starts in buf
	filled  bool // a value is part of the segment
}

// Write takes text from text/template; values carry the marker unless
// the place is plain text.
func (s *sink) Write(p []byte) (int, error) {
	var err error
	if s.steps++; s.steps > maxSteps {
		return 0, errSteps
	}
	if s.place != plainText && strings.HasPrefix(string(p), marker) {
		err = s.value(string(p[len(marker):]))
	} else {
		err = s.literal(string(p))
	}
	return len(p), err
}

// literal appends text of the template itself.
func (s *sink) literal(text string) error {
	if len(s.buf)+len(text) > MaxOutput {
		return errTooLarge
	}
	if s.place == urlReference {
		return s.urlText(text)
	}
	s.buf = append(s.buf, text...)
	if s.place != jsonValue {
		return nil
	}
	for i := range len(text) {
		switch c := text[i]; {
		case s.escape:
			s.escape = false
		case s.inString && c == '\\':
			s.escape = true
		case c == '"':
			s.inString = !s.inString
		}
	}
	return nil
}

// value appends what an action shows. In a JSON document a value inside a string literal
// stays inside it, and any other value must be a whole JSON value.
func (s *sink) value(text string) error {
	if len(s.buf)+len(text) > MaxOutput {
		return errTooLarge
	}
	switch s.place {
	case urlReference:
		return s.urlValue(text)
	case identifier:
		if !plainName(text) {
			return errNotName
		}
	}
	switch {
	case s.place != jsonValue || text == "":
	case s.escape: // "\{{ value }}": the backslash would swallow the value's first byte
		return errNotJSON
	case s.inString:
		s.buf = appendEscaped(s.buf, text)
		if len(s.buf) > MaxOutput {
			return errTooLarge
		}
		return nil
	case !valid([]byte(text)):
		return errNotJSON
	}
	s.buf = append(s.buf, text...)
	return nil
}

func valid(doc []byte) bool { return json.Valid(doc) }

// appendEscaped appends text as the inside of a JSON string literal (RFC 8259
// section 7).
func appendEscaped(dst []byte, text string) []byte {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			quoted, err := json.Marshal(text)
			if err != nil { // cannot happen: text is a string
				return dst
			}
			return append(dst, quoted[1:len(quoted)-1]...)
		}
	}
	return append(dst, text...)
}
