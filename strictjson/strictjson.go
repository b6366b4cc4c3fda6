// Package strictjson reads JSON from outside as it is written. encoding/json takes
// "SUBJECT" for the member subject, the last of two members of one name, and a
// replacement character for bytes that are not UTF-8: two readers of one text may then
// see different things.
package strictjson

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxDepth is how deep a text may nest.
const maxDepth = 512

// The reasons of Error.
const (
	Unknown  = "is not a known member"
	Repeated = "occurs twice"
	TooDeep  = "nests too deep"
	NotUTF8  = "is not valid UTF-8"
	Trailing = "has more after the JSON value"
)

// Error says what is wrong with a text that is JSON.
type Error struct {
	Pointer string // RFC 6901
	Offset  int64  // of the value, or of the member that holds it
	Reason  string
	Member  string // its name, when the reason is Unknown or Repeated
}

// Error names the member and the object that it is in.
func (e *Error) Error() string {
	within, at := "", strings.LastIndexByte(e.Pointer, '/')
	if at > 0 {
		within = " in " + e.Pointer[:at]
	}
	switch e.Reason {
	case Unknown:
		return fmt.Sprintf("unknown field %q%s", e.Member, within)
	case Repeated:
		return fmt.Sprintf("member %q occurs twice%s", e.Member, within)
	}
	return strings.TrimLeft(e.Pointer+" "+e.Reason, " ")
}

// Unmarshal reads the one value of text into v like json.Unmarshal, and refuses what
// Check does. A v that holds values keeps those that text does not have.
func Unmarshal(text []byte, v any) error {
	if err := Check(text, v); err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	return d.Decode(v)
}

// Check returns an *Error when text has a member twice, is not UTF-8 or nests too deep,
// or when an object that v reads into a struct has a member whose name is not exactly
// one of the struct's, and another error when text is not one JSON value. A type with
// UnmarshalJSON checks what it reads itself. Nil for v: any member is known.
func Check(text []byte, v any) error {
	w := walk{text: text, d: json.NewDecoder(bytes.NewReader(text))}
	w.d.UseNumber() // a number that is no float64 is for the reader to judge
	if !utf8.Valid(text) {
		return &Error{Reason: NotUTF8}
	}
	if err := w.value(place{}, reflect.TypeOf(v), 0); err != nil {
		if errors.Is(err, io.EOF) {
			return io.ErrUnexpectedEOF
		}
		return err
	}
	if _, err := w.d.Token(); !errors.Is(err, io.EOF) {
		return &Error{Offset: w.d.InputOffset(), Reason: Trailing}
	}
	return nil
}

type walk struct {
	text []byte
	d    *json.Decoder
}

// place is where a value is. Pointers are written when they are needed only.
type place struct {
	parent *place
	member string
	index  int // in a list, when member is empty and parent a list
	list   bool
	start  int64
}

func (p *place) pointer() string {
	switch {
	case p.parent == nil:
		return ""
	case p.parent.list:
		return p.parent.pointer() + "/" + strconv.Itoa(p.index)
	}
	return p.parent.pointer() + "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(p.member)
}

func (w *walk) value(at place, t reflect.Type, depth int) error {
	if depth > maxDepth {
		return &Error{Pointer: at.pointer(), Offset: at.start, Reason: TooDeep}
	}
	token, err := w.d.Token()
	if err != nil {
		return err
	}
	t = readInto(t)
	switch token {
	case json.Delim('{'):
		if err := w.object(&at, t, depth); err != nil {
			return err
		}
	case json.Delim('['):
		at.list = true
		var element reflect.Type
		if t != nil && (t.Kind() == reflect.Slice || t.Kind() == reflect.Array) {
			element = t.Elem()
		}
		for i := 0; w.d.More(); i++ {
			if err := w.value(place{parent: &at, index: i, start: w.next()}, element, depth+1); err != nil {
				return err
			}
		}
	default:
		return nil
	}
	_, err = w.d.Token() // the end
	return err
}

func (w *walk) object(at *place, t reflect.Type, depth int) error {
	var known map[string]reflect.Type
	var each reflect.Type
	if t != nil {
		switch t.Kind() {
		case reflect.Struct:
			known = map[string]reflect.Type{}
			members(t, known)
		case reflect.Map:
			each = t.Elem()
		}
	}
	seen := map[string]bool{}
	for w.d.More() {
		start := w.next()
		token, err := w.d.Token()
		if err != nil {
			return err
		}
		name, ok := token.(string)
		if !ok {
			return errors.New("the name of a member must be a string")
		}
		member := place{parent: at, member: name, start: start}
		if seen[name] {
			return &Error{member.pointer(), start, Repeated, name}
		}
		seen[name] = true
		kind, found := known[name]
		switch {
		case known == nil:
			kind = each
		case !found:
			return &Error{member.pointer(), start, Unknown, name}
		}
		if err := w.value(member, kind, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// next is where the next token begins.
func (w *walk) next() int64 {
	at := w.d.InputOffset()
	for at < int64(len(w.text)) && strings.IndexByte(" \t\r\n,:", w.text[at]) >= 0 {
		at++
	}
	return at
}

// readInto returns what a value is read into; nil for what checks itself or takes
// anything.
func readInto(t reflect.Type) reflect.Type {
	for t != nil {
		to := reflect.PointerTo(t)
		switch {
		case to.Implements(reflect.TypeFor[json.Unmarshaler]()), to.Implements(reflect.TypeFor[encoding.TextUnmarshaler]()), t.Kind() == reflect.Interface:
			return nil
		case t.Kind() != reflect.Pointer:
			return t
		}
		t = t.Elem()
	}
	return nil
}

// members adds the names that encoding/json knows for a struct; those of the outer one
// hide those of structs that it embeds.
func members(t reflect.Type, into map[string]reflect.Type) {
	var embedded []reflect.Type
	for i := range t.NumField() {
		f := t.Field(i)
		tag := f.Tag.Get("json")
		name, _, _ := strings.Cut(tag, ",")
		if f.Anonymous && name == "" {
			inner := f.Type
			if inner.Kind() == reflect.Pointer {
				inner = inner.Elem()
			}
			if inner.Kind() == reflect.Struct {
				embedded = append(embedded, inner)
				continue
			}
		}
		if !f.IsExported() || tag == "-" {
			continue
		}
		if name == "" {
			name = f.Name
		}
		if _, hidden := into[name]; !hidden {
			into[name] = f.Type
		}
	}
	for _, inner := range embedded {
		members(inner, into)
	}
}
