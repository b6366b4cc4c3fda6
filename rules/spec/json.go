package spec

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// jsonReader builds values from JSON tokens and counts lines as it goes.
type jsonReader struct {
	data   []byte
	d      *json.Decoder
	offset int64 // up to which lines are counted
	line   int
	item   func(*value)
}

// parseJSON returns the one value of data, or an error that begins with line N. The
// items of an outermost list are passed to item and not kept.
func parseJSON(data []byte, item func(*value)) (value, error) {
	if !utf8.Valid(data) {
		return value{}, errors.New("not valid UTF-8")
	}
	p := &jsonReader{data: data, d: json.NewDecoder(bytes.NewReader(data)), line: 1, item: item}
	p.d.UseNumber()
	v, err := p.value(0)
	if err != nil {
		return v, p.explain(err)
	}
	if _, err := p.d.Token(); !errors.Is(err, io.EOF) {
		return v, fmt.Errorf("line %d: there is text after the value", p.at())
	}
	return v, nil
}

// at returns the line of the token that was read last.
func (p *jsonReader) at() int {
	end := p.d.InputOffset()
	p.line += bytes.Count(p.data[p.offset:end], []byte("\n"))
	p.offset = end
	return p.line
}

func (p *jsonReader) explain(err error) error {
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax):
		end := min(max(syntax.Offset, 0), int64(len(p.data)))
		return fmt.Errorf("line %d: %s", 1+bytes.Count(p.data[:end], []byte("\n")), strings.TrimPrefix(err.Error(), "json: "))
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("line %d: the JSON ends too early", 1+bytes.Count(p.data, []byte("\n")))
	}
	return fmt.Errorf("line %d: %w", p.at(), err)
}

func (p *jsonReader) value(depth int) (value, error) {
	if depth > maxDepth {
		return value{}, fmt.Errorf("nested deeper than %d", maxDepth)
	}
	token, err := p.d.Token()
	if err != nil {
		return value{}, err
	}
	v := value{line: p.at()}
	switch t := token.(type) {
	case nil:
		v.kind = null
	case bool:
		v.kind, v.text = boolean, fmt.Sprint(t)
	case json.Number:
		v.kind, v.text = number, t.String()
	case string:
		v.kind, v.text = text, t
	case json.Delim:
		if t == '[' {
			v.kind = list
			return v, p.list(&v, depth)
		}
		v.kind = object
		return v, p.object(&v, depth)
	}
	return v, nil
}

func (p *jsonReader) list(v *value, depth int) error {
	for p.d.More() {
		item, err := p.value(depth + 1)
		if err != nil {
			return err
		}
		if depth == 0 {
			p.item(&item)
			continue
		}
		v.items = append(v.items, item)
	}
	_, err := p.d.Token()
	return err
}

func (p *jsonReader) object(v *value, depth int) error {
	seen := map[string]bool{}
	for p.d.More() {
		token, err := p.d.Token()
		if err != nil {
			return err
		}
		name, line := token.(string), p.at()
		item, err := p.value(depth + 1)
		if err != nil {
			return err
		}
		v.add(member{name: name, line: line, value: item}, seen)
	}
	_, err := p.d.Token()
	return err
}
