package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/strictjson"
)

// maxDepth is how deep a body may nest.
const maxDepth = 64

// value is where one JSON value of a body is.
type value struct {
	pointer    string
	start, end int64 // bytes; start is where its member begins
}

// layout finds every value of a JSON text, outer ones first.
type layout struct {
	text   []byte
	d      *json.Decoder
	values []value
}

// newLayout refuses what encoding/json would let pass when it reads text into v: members
// that v does not have or that are repeated, text after the value, and depth. Nil for v:
// any member is one that it has.
func newLayout(text []byte, v any) (*layout, error) {
	l := &layout{text: text, d: json.NewDecoder(bytes.NewReader(text))}
	l.d.UseNumber()
	if err := l.value("", 0, 0); err != nil {
		return l, err
	}
	var inexact *strictjson.Error
	if errors.As(strictjson.Check(text, v), &inexact) {
		message := inexact.Reason
		if message == strictjson.Trailing {
			message = "there is more after the JSON value"
		}
		return l, l.fault(inexact.Pointer, inexact.Offset, message)
	}
	return l, nil
}

func (l *layout) value(pointer string, start int64, depth int) error {
	if depth > maxDepth {
		return l.fault("", start, "nests too deep")
	}
	at := len(l.values)
	l.values = append(l.values, value{pointer: pointer, start: start})
	token, err := l.d.Token()
	if err != nil {
		return l.syntax(err)
	}
	switch token {
	case json.Delim('{'):
		err = l.members(pointer, depth)
	case json.Delim('['):
		for i := 0; err == nil && l.d.More(); i++ {
			err = l.value(pointer+"/"+strconv.Itoa(i), l.next(), depth+1)
		}
		err = l.closing(err)
	}
	l.values[at].end = l.d.InputOffset()
	return err
}

func (l *layout) members(pointer string, depth int) error {
	for l.d.More() {
		start := l.next()
		token, err := l.d.Token()
		if err != nil {
			return l.syntax(err)
		}
		name, ok := token.(string)
		if !ok {
			return l.fault("", start, "a member name must be a string")
		}
		at := pointer + "/" + escaped(name)
		if err := l.value(at, start, depth+1); err != nil {
			return err
		}
	}
	return l.closing(nil)
}

func (l *layout) closing(err error) error {
	if err == nil {
		if _, end := l.d.Token(); end != nil {
			return l.syntax(end)
		}
	}
	return err
}

// next is where the next token begins.
func (l *layout) next() int64 {
	at := l.d.InputOffset()
	for at < int64(len(l.text)) && strings.IndexByte(" \t\r\n,:", l.text[at]) >= 0 {
		at++
	}
	return at
}

func (l *layout) syntax(err error) error {
	at := l.d.InputOffset()
	var se *json.SyntaxError
	if errors.As(err, &se) {
		at = se.Offset
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		if len(bytes.TrimSpace(l.text)) == 0 {
			return fault.New(fault.Invalid, "invalid_json", "the body is empty; it must be JSON")
		}
		return l.fault("", int64(len(l.text)), "the JSON text ends too early")
	}
	return l.fault("", at, "not JSON: "+strings.TrimPrefix(err.Error(), "json: "))
}

// line is 1-based.
func (l *layout) line(offset int64) int {
	return 1 + bytes.Count(l.text[:min(max(offset, 0), int64(len(l.text)))], []byte("\n"))
}

func (l *layout) fault(pointer string, offset int64, message string) error {
	return &bodyFault{place: place{Detail: message, Pointer: pointer, Line: l.line(offset)}}
}

// at returns the line of a pointer; 0 when there is no such value.
func (l *layout) at(pointer string) int {
	for _, v := range l.values {
		if v.pointer == pointer {
			return l.line(v.start)
		}
	}
	return 0
}

// bodyFault is a fault.Invalid that knows its line.
type bodyFault struct{ place }

// Error names the place.
func (f *bodyFault) Error() string {
	return fmt.Sprintf("line %d: %s %s", f.Line, f.Pointer, f.Detail)
}

// decode reads one JSON value into v, strictly.
func decode(text []byte, v any) error {
	// The layout is for faults alone, and costs more than all else.
	if strictjson.CheckTo(maxDepth, text, v) == nil && string(bytes.TrimSpace(text)) != "null" && json.Unmarshal(text, v) == nil {
		return nil
	}
	l, err := newLayout(text, v)
	if err != nil {
		return err
	}
	if string(bytes.TrimSpace(text)) == "null" {
		return l.fault("", 0, "must not be null")
	}
	err = json.Unmarshal(text, v)
	var te *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &te):
		in := value{}
		for _, v := range l.values { // the innermost that holds the offset
			if v.start < te.Offset && te.Offset <= v.end {
				in = v
			}
		}
		return l.fault(in.pointer, in.start, fmt.Sprintf("must be %s, not %s", typeName(te.Type.Kind().String()), te.Value))
	}
	return fault.New(fault.Invalid, "invalid_json", strings.TrimPrefix(err.Error(), "json: "))
}

func typeName(kind string) string {
	switch {
	case kind == "slice" || kind == "array":
		return "a list"
	case kind == "map" || kind == "struct":
		return "an object"
	case kind == "bool":
		return "true or false"
	case strings.HasPrefix(kind, "int") || strings.HasPrefix(kind, "uint") || strings.HasPrefix(kind, "float"):
		return "a number"
	}
	return "a " + kind
}

// escaped returns a name as a token of a JSON pointer (RFC 6901 section 3). A Replacer
// for each of the many names that need none showed in profiles.
func escaped(name string) string {
	if !strings.ContainsAny(name, "~/") {
		return name
	}
	return strings.ReplaceAll(strings.ReplaceAll(name, "~", "~0"), "/", "~1")
}
