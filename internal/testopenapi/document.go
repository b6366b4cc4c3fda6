// Package testopenapi holds the traffic of tests to openapi.yaml, in both directions: what a
// listener answers must be described, and so must be what it accepts. It is for tests.
package testopenapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/gatewarden/gatewarden/manage/api"
)

// document is the description, ready to be asked.
type document struct {
	tree     map[string]any
	paths    []*path
	mu       sync.Mutex // of compiler and schemas
	compiler *jsonschema.Compiler
	schemas  map[string]*jsonschema.Schema
}

// path is one path template.
type path struct {
	template  string
	segments  []string
	listeners []string
	item      map[string]any
}

// description is read once: every test asks the same.
var description = sync.OnceValues(load)

func load() (*document, error) {
	read := func() (any, error) { return jsonschema.UnmarshalJSON(bytes.NewReader(api.Document())) }
	whole, err := read()
	if err != nil {
		return nil, err
	}
	d := &document{schemas: map[string]*jsonschema.Schema{}, compiler: jsonschema.NewCompiler()}
	d.tree, _ = whole.(map[string]any)
	components := at(d.tree, "components")
	schemas, opened := at(components, "schemas"), map[string]any{}
	for name, schema := range schemas {
		opened[name] = closing(schema, false)
		schemas[name] = closing(schema, true)
	}
	components["open"] = opened
	d.tree["paths"] = closed(d.tree["paths"])
	for _, kind := range []string{"responses", "requestBodies", "parameters"} {
		components[kind] = closed(components[kind])
	}
	for template, item := range at(d.tree, "paths") {
		p := &path{template: template, segments: strings.Split(template, "/"), listeners: []string{"management"}}
		p.item, _ = item.(map[string]any)
		if named, ok := p.item["x-listeners"].([]any); ok {
			p.listeners = nil
			for _, l := range named {
				p.listeners = append(p.listeners, fmt.Sprint(l))
			}
		}
		d.paths = append(d.paths, p)
	}
	// Fewer variables first: they are what the router prefers.
	slices.SortFunc(d.paths, func(a, b *path) int { return strings.Count(a.template, "{") - strings.Count(b.template, "{") })
	d.compiler.DefaultDraft(jsonschema.Draft2020)
	return d, d.compiler.AddResource("openapi.json", d.tree)
}

// at returns the object at a member; nil: there is none.
func at(v map[string]any, names ...string) map[string]any {
	for _, name := range names {
		v, _ = v[name].(map[string]any)
	}
	return v
}

// closed closes every schema below v, which is no schema itself.
func closed(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for name, inner := range v {
			if name == "schema" {
				v[name] = closing(inner, true)
			} else {
				v[name] = closed(inner)
			}
		}
	case []any:
		for i := range v {
			v[i] = closed(v[i])
		}
	}
	return v
}

// closing returns a copy of a schema in which an object has the members that are described
// and no others, unless it says otherwise or is a part of allOf, where the whole has them.
func closing(v any, close bool) any {
	schema, ok := v.(map[string]any)
	if !ok {
		return v
	}
	out := map[string]any{}
	for name, inner := range schema {
		out[name] = inner
		switch name {
		case "properties":
			members := map[string]any{}
			for member, of := range at(schema, "properties") {
				members[member] = closing(of, true)
			}
			out[name] = members
		case "items", "additionalProperties":
			out[name] = closing(inner, true)
		case "allOf":
			var parts []any
			for _, part := range inner.([]any) {
				parts = append(parts, closing(part, false))
			}
			out[name] = parts
		case "$ref":
			if !close {
				out[name] = strings.Replace(inner.(string), "#/components/schemas/", "#/components/open/", 1)
			}
		}
	}
	_, described := out["properties"]
	_, composed := out["allOf"]
	_, said := out["additionalProperties"]
	if close && !said && (described || composed) {
		out["unevaluatedProperties"] = false
	}
	return out
}

// find returns the path of a listener that a URL belongs to; nil: none.
func (d *document) find(listener, escaped string) (p *path, variables map[string]string) {
	segments := strings.Split(strings.TrimSuffix(escaped, "/"), "/")
	for _, p := range d.paths {
		if len(p.segments) != len(segments) || !slices.Contains(p.listeners, listener) {
			continue
		}
		variables := map[string]string{}
		if !slices.ContainsFunc(enumerated(segments), func(s segment) bool { return !p.matches(s, variables) }) {
			return p, variables
		}
	}
	return nil, nil
}

type segment struct {
	index int
	text  string
}

func enumerated(list []string) (all []segment) {
	for i, text := range list {
		all = append(all, segment{i, text})
	}
	return all
}

func (p *path) matches(s segment, variables map[string]string) bool {
	want := p.segments[s.index]
	text, err := url.PathUnescape(s.text)
	if name, ok := strings.CutPrefix(want, "{"); ok {
		variables[strings.TrimSuffix(name, "}")] = text
		return err == nil && text != ""
	}
	return text == want
}

// resolved follows a reference, and returns the pointer of what it names.
func (d *document) resolved(pointer string, v map[string]any) (string, map[string]any) {
	for {
		ref, ok := v["$ref"].(string)
		if !ok {
			return pointer, v
		}
		pointer = strings.TrimPrefix(ref, "#")
		v = at(d.tree, strings.Split(strings.TrimPrefix(pointer, "/"), "/")...)
	}
}

// check holds a value to the schema at a pointer.
func (d *document) check(pointer string, value any) error {
	d.mu.Lock()
	schema, err := d.schemas[pointer], error(nil)
	if schema == nil {
		schema, err = d.compiler.Compile("openapi.json#" + pointer)
		d.schemas[pointer] = schema
	}
	d.mu.Unlock()
	if err != nil {
		return fmt.Errorf("the schema at %s: %w", pointer, err)
	}
	return schema.Validate(value)
}

// checkJSON holds a text to the schema at a pointer.
func (d *document) checkJSON(pointer string, text []byte) error {
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return fmt.Errorf("not JSON: %w", err)
	}
	return d.check(pointer, value)
}

// checkForm holds parameters to the schema of an object at a pointer: one value is a
// string, several are a list.
func (d *document) checkForm(pointer string, form url.Values) error {
	object := map[string]any{}
	for name, values := range form {
		object[name] = values[0]
		if len(values) > 1 {
			var list []any
			for _, v := range values {
				list = append(list, v)
			}
			object[name] = list
		}
	}
	return d.check(pointer, object)
}

// checkText holds a parameter to its schema: JSON's numbers and booleans are written as
// they are, all else is a string.
func (d *document) checkText(pointer, text string) error {
	var scalar any
	if err := json.Unmarshal([]byte(text), &scalar); err == nil {
		if value, err := jsonschema.UnmarshalJSON(strings.NewReader(text)); err == nil && d.check(pointer, value) == nil {
			return nil
		}
	}
	return d.check(pointer, text)
}

// escaped makes a name a token of a JSON pointer, as it is written in a URL fragment.
func escaped(name string) string {
	return strings.NewReplacer("~", "~0", "/", "~1", "{", "%7B", "}", "%7D", " ", "%20", "+", "%2B").Replace(name)
}
