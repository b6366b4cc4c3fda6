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
	"slices"
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
func Check(text []byte, v any) error { return CheckTo(maxDepth, text, v) }

// CheckTo is Check with a depth of its own to which text may nest.
func CheckTo(depth int, text []byte, v any) error {
	if !utf8.Valid(text) {
		return &Error{Reason: NotUTF8}
	}
	if !json.Valid(text) {
		return invalid(text)
	}
	w := walk{text: text, depth: depth}
	return w.value(place{start: int64(w.space())}, reflect.TypeOf(v), 0)
}

// invalid returns what is wrong with a text that is not one JSON value.
func invalid(text []byte) error {
	d := json.NewDecoder(bytes.NewReader(text))
	var first json.RawMessage
	if err := d.Decode(&first); errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	} else if err != nil {
		return err
	}
	w := walk{text: text, at: int(d.InputOffset())}
	return &Error{Offset: int64(w.space()), Reason: Trailing}
}

// walk goes through a text that is one JSON value, so that it need not look for anything
// that could be missing.
type walk struct {
	text  []byte
	at    int
	depth int
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
	if depth > w.depth {
		return &Error{Pointer: at.pointer(), Offset: at.start, Reason: TooDeep}
	}
	switch w.text[w.at] {
	case '{':
		return w.object(&at, readInto(t), depth)
	case '[':
		return w.list(&at, readInto(t), depth)
	case '"':
		w.skip()
	default: // a number, true, false or null
		for w.at < len(w.text) && strings.IndexByte(" \t\r\n,]}", w.text[w.at]) < 0 {
			w.at++
		}
	}
	return nil
}

func (w *walk) list(at *place, t reflect.Type, depth int) error {
	at.list = true
	var element reflect.Type
	if t != nil && (t.Kind() == reflect.Slice || t.Kind() == reflect.Array) {
		element = t.Elem()
	}
	w.at++ // [
	for i := 0; w.more(']'); i++ {
		if err := w.value(place{parent: at, index: i, start: int64(w.at)}, element, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (w *walk) object(at *place, t reflect.Type, depth int) error {
	var each reflect.Type
	if t != nil && t.Kind() == reflect.Map {
		each = t.Elem()
	}
	known := t != nil && t.Kind() == reflect.Struct
	var seen names
	w.at++ // {
	for w.more('}') {
		start := int64(w.at)
		name := w.name()
		member := place{parent: at, member: name, start: start}
		if !seen.add(name) {
			return &Error{member.pointer(), start, Repeated, name}
		}
		kind := each
		if known {
			var found bool
			if kind, found = field(t, name); !found {
				return &Error{member.pointer(), start, Unknown, name}
			}
		}
		w.space()
		w.at++ // :
		w.space()
		if err := w.value(member, kind, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// space goes to the next token and returns where that is.
func (w *walk) space() int {
	for w.at < len(w.text) && strings.IndexByte(" \t\r\n", w.text[w.at]) >= 0 {
		w.at++
	}
	return w.at
}

// more goes to the next item of a list or an object, or behind its end.
func (w *walk) more(end byte) bool {
	if w.text[w.space()] == ',' {
		w.at++
		w.space()
	}
	if w.text[w.at] == end {
		w.at++
		return false
	}
	return true
}

// skip goes behind a string and returns it as it is written, with its quotes.
func (w *walk) skip() (written []byte, escaped bool) {
	start := w.at
	for w.at++; w.text[w.at] != '"'; w.at++ {
		if w.text[w.at] == '\\' {
			escaped = true
			w.at++
		}
	}
	w.at++
	return w.text[start:w.at], escaped
}

// name goes behind the name of a member and returns it.
func (w *walk) name() string {
	written, escaped := w.skip()
	if !escaped {
		return string(written[1 : len(written)-1])
	}
	var name string
	_ = json.Unmarshal(written, &name) // which is valid
	return name
}

// names are those of an object, few as a rule.
type names struct {
	few  []string
	many map[string]bool
}

// add reports whether the name is new.
func (n *names) add(name string) bool {
	if n.many != nil {
		known := n.many[name]
		n.many[name] = true
		return !known
	}
	if slices.Contains(n.few, name) {
		return false
	}
	if n.few = append(n.few, name); len(n.few) > 16 {
		n.many = make(map[string]bool, 2*len(n.few))
		for _, known := range n.few {
			n.many[known] = true
		}
	}
	return true
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

// field returns the type of the field that encoding/json reads a member into; fields of
// a struct hide those of structs that it embeds.
func field(t reflect.Type, name string) (reflect.Type, bool) {
	for i := range t.NumField() {
		f := t.Field(i)
		tag := f.Tag.Get("json")
		if tag == "-" || !f.IsExported() || inlined(f, tag) != nil {
			continue
		}
		own, _, _ := strings.Cut(tag, ",")
		if own == name || own == "" && f.Name == name {
			return f.Type, true
		}
	}
	for i := range t.NumField() {
		f := t.Field(i)
		if inner := inlined(f, f.Tag.Get("json")); inner != nil {
			if found, ok := field(inner, name); ok {
				return found, true
			}
		}
	}
	return nil, false
}

// inlined returns the struct whose fields count as those of the one that has f; nil for
// an ordinary field.
func inlined(f reflect.StructField, tag string) reflect.Type {
	if !f.Anonymous || tag != "" && tag[0] != ',' {
		return nil
	}
	t := f.Type
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return nil
	}
	return t
}
