package spec

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// maxDepth bounds nesting in rule files; handler configurations need a handful.
const maxDepth = 64

// kind is the JSON type of a value.
type kind uint8

const (
	null kind = iota
	boolean
	number
	text
	list
	object
)

var kindNames = [...]string{"null", "a boolean", "a number", "a string", "a list", "an object"}

func (k kind) String() string { return kindNames[k] }

// value is a parsed JSON or YAML value that remembers its line. Both formats are
// read into it, so that there is one decoder and one wording of faults.
type value struct {
	kind kind
	line int
	// text is a string's content, or the JSON spelling of a number or boolean.
	text    string
	items   []value
	members []member
	// wrong says why the value cannot be used, such as a member that occurs twice.
	wrong string
}

type member struct {
	name  string
	line  int
	value value
}

// add appends a member unless the name is taken, which makes the object wrong.
func (v *value) add(m member, seen map[string]bool) {
	if seen[m.name] {
		m.value = value{kind: null, line: m.line, wrong: "occurs twice"}
	}
	seen[m.name] = true
	v.members = append(v.members, m)
}

// json writes the value as compact JSON. Object members keep their order.
func (v *value) json(b *bytes.Buffer) {
	switch v.kind {
	case null:
		b.WriteString("null")
	case boolean, number:
		b.WriteString(v.text)
	case text:
		quote(b, v.text)
	case list:
		b.WriteByte('[')
		for i := range v.items {
			if i > 0 {
				b.WriteByte(',')
			}
			v.items[i].json(b)
		}
		b.WriteByte(']')
	case object:
		b.WriteByte('{')
		for i := range v.members {
			if i > 0 {
				b.WriteByte(',')
			}
			quote(b, v.members[i].name)
			b.WriteByte(':')
			v.members[i].value.json(b)
		}
		b.WriteByte('}')
	}
}

// quote writes s as a JSON string without the HTML escapes of encoding/json, so
// that patterns such as <.*> stay readable.
func quote(b *bytes.Buffer, s string) {
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		panic(fmt.Sprintf("a string could not be encoded: %v", err)) // encoding/json encodes every string
	}
	b.Truncate(b.Len() - 1) // the line feed that Encode adds
}

// faulty calls report for every value below v that cannot be used.
func (v *value) faulty(pointer string, report func(pointer string, line int, message string)) {
	if v.wrong != "" {
		report(pointer, v.line, v.wrong)
	}
	for i := range v.items {
		v.items[i].faulty(pointer+"/"+strconv.Itoa(i), report)
	}
	for i := range v.members {
		v.members[i].value.faulty(pointer+"/"+escape(v.members[i].name), report)
	}
}

// escape escapes one reference token of a JSON pointer (RFC 6901 section 3).
func escape(token string) string {
	if !strings.ContainsAny(token, "~/") {
		return token
	}
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(token)
}
