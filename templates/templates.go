// Package templates renders the templates that access rules hold: Oathkeeper's
// dialect of text/template with sprig functions.
//
// A template is compiled once, at load; a mistake is an error that names the
// field. What it can reach is one request: the subject, its claims, the header
// fields written so far, and the matched request. It reaches no environment, no
// file, no network, no clock and no randomness, so equal requests render equal
// text. Steps, values and output are bounded, and a template cannot change what it
// reads.
//
// Text is for header fields, cookies and policy questions; whoever writes the
// result encodes it for that place. JSON is for claims: every value is encoded
// for the place in the document where it is put, so that no value can add a member.
//
// Templates made of plain text and simple look-ups, which is most of them, are
// rendered without text/template.
package templates

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"text/template"
	"unicode/utf8"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/fault"
)

// Limits of one template.
const (
	MaxSource = 64 << 10 // bytes of template text
	MaxOutput = 16 << 10 // bytes of one rendering
	maxSteps  = 10_000   // writes and loop rounds of one rendering
	maxValue  = 64 << 10 // size of what one function returns, in bytes and elements
	maxList   = 1_000    // elements that until, untilStep and seq make
)

// Text is a compiled template whose output is plain text. The zero value renders
// nothing; use Compile. It is safe for concurrent use.
type Text struct{ p program }

// JSON is a compiled template whose output is one JSON value. Use CompileJSON. It
// is safe for concurrent use.
type JSON struct{ p program }

// Compile parses text. Field names the template in errors, here and at Render.
func Compile(field, text string) (*Text, error) {
	p, err := compile(field, text, plainText)
	if err != nil {
		return nil, err
	}
	return &Text{p: p}, nil
}

// CompileJSON parses text, which renders a JSON value.
func CompileJSON(field, text string) (*JSON, error) {
	p, err := compile(field, text, jsonValue)
	if err != nil {
		return nil, err
	}
	return &JSON{p: p}, nil
}

// Render returns the text for one request. Written holds the header fields written
// so far, for .Header; it may be nil. Errors: fault.TooLarge beyond the limits, else
// fault.Internal.
func (t *Text) Render(in *access.Input, written http.Header) (string, error) {
	if text, ok := t.p.single(in); ok {
		return text, nil
	}
	out, err := t.p.run(in, written)
	return string(out), err
}

// Render returns the document for one request. It is valid JSON; members may
// still be repeated. Errors are those of Text.Render, and fault.Invalid when a
// value outside of a string literal is not one JSON value.
func (t *JSON) Render(in *access.Input, written http.Header) ([]byte, error) {
	out, err := t.p.run(in, written)
	if err != nil {
		return nil, err
	}
	if !valid(out) {
		return nil, t.p.fail(errors.New("the output is not valid JSON"))
	}
	return out, nil
}

// program is a compiled template: the parts when it is a simple one, and always
// the general form, which is also the fallback for values the parts cannot render.
type program struct {
	field    string
	place    place
	parts    []part
	simple   bool
	general  *template.Template
	isolated bool // calls functions that change their arguments
	size     int  // a guess of the output's
}

func compile(field, text string, where place) (program, error) {
	if len(text) > MaxSource {
		return program{}, fmt.Errorf("%s: template is longer than %d bytes", field, MaxSource)
	}
	if !utf8.ValidString(text) {
		return program{}, fmt.Errorf("%s: template is not valid UTF-8", field)
	}
	t, err := template.New(field).Option("missingkey=zero").Funcs(functions(where)).Parse(text)
	if err != nil {
		return program{}, errors.New(strings.TrimPrefix(err.Error(), "template: "))
	}
	p := program{field: field, place: where, general: t, size: len(text) + 128}
	if t.Tree == nil { // nothing but definitions
		return program{}, fmt.Errorf("%s: template has no body", field)
	}
	p.parts, p.simple = parts(t.Root)
	called, err := prepare(t)
	if err != nil {
		return program{}, fmt.Errorf("%s: %w", field, err)
	}
	for _, name := range mutating {
		p.isolated = p.isolated || called[name]
	}
	return p, nil
}

// single renders a template that is one text or one look-up, without copying.
func (p *program) single(in *access.Input) (string, bool) {
	if !p.simple || len(p.parts) > 1 {
		return "", false
	}
	if len(p.parts) == 0 {
		return "", true
	}
	text, ok := p.parts[0].show(in)
	return text, ok && len(text) <= MaxOutput
}

func (p *program) run(in *access.Input, written http.Header) ([]byte, error) {
	if p.simple {
		if out, ok, err := p.runParts(in); ok || err != nil {
			return out, err
		}
	}
	return p.runGeneral(in, written)
}

func (p *program) runParts(in *access.Input) (out []byte, ok bool, err error) {
	s := sink{place: p.place, buf: make([]byte, 0, p.size)}
	for i := range p.parts {
		part := &p.parts[i]
		text, ok := part.show(in)
		if !ok {
			return nil, false, nil
		}
		if part.what == literal {
			err = s.literal(text)
		} else {
			err = s.value(text)
		}
		if err != nil {
			return nil, false, p.fail(err)
		}
	}
	if err := s.end(); err != nil {
		return nil, false, p.fail(err)
	}
	return s.buf, true, nil
}

func (p *program) runGeneral(in *access.Input, written http.Header) (out []byte, err error) {
	defer func() {
		if r := recover(); r != nil {
			out, err = nil, p.fail(fmt.Errorf("panic: %v", r))
		}
	}()
	if in.Request == nil || p.general == nil {
		return nil, p.fail(errors.New("nothing to render"))
	}
	s := &sink{place: p.place, buf: make([]byte, 0, p.size)}
	if err := p.general.Execute(s, newSession(in, written, p.isolated)); err != nil {
		return nil, p.fail(err)
	}
	if err := s.end(); err != nil {
		return nil, p.fail(err)
	}
	return s.buf, nil
}

// fail keeps the kind of err and adds the field.
func (p *program) fail(err error) error {
	if fault.KindOf(err) != fault.Internal {
		return err
	}
	return fault.Wrap(fault.Internal, "template_failed", "render template "+p.field, err)
}
