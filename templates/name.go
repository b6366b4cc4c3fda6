package templates

import (
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/gatewarden/gatewarden/access"
)

// Name is a compiled template whose output names one thing in the syntax of
// relation-based systems, type:id or type:id#relation: no value can end its id or
// stand for everything. Use CompileName. It is safe for concurrent use.
type Name struct{ p program }

// CompileName parses text.
func CompileName(field, text string) (*Name, error) {
	p, err := compile(field, text, identifier)
	if err != nil {
		return nil, err
	}
	return &Name{p: p}, nil
}

// Render returns the name for one request. Errors are those of Text.Render, and
// fault.Invalid for a value that is empty, is *, or has a blank, a control
// character, a : or a #.
func (t *Name) Render(in *access.Input, written http.Header) (string, error) {
	out, err := t.p.run(in, written)
	return string(out), err
}

func plainName(value string) bool {
	return value != "" && value != "*" && utf8.ValidString(value) && !strings.ContainsFunc(value, func(r rune) bool {
		return r == ':' || r == '#' || unicode.IsSpace(r) || unicode.IsControl(r)
	})
}
