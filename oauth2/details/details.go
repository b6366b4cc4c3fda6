// Package details is about authorization_details (RFC 9396): which types there are, what
// their objects may hold, and when one grants no more than another.
//
// A type is registered by name, with or without a JSON schema. What is of no registered
// type, or has a member that its type does not know, is refused: an API must never see a
// permission that nobody has understood.
package details

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/gatewarden/gatewarden/strictjson"
)

const (
	maxText    = 16 << 10 // bytes of one parameter
	maxObjects = 32       // in one parameter
)

// Types are the registered ones. Nil: none is, and every detail is refused.
type Types struct {
	names   []string
	schemas map[string]*jsonschema.Schema
}

// base is what every object may hold (RFC 9396 section 2.2). Members beyond it are those
// of the type's schema, and no others unless the schema says so itself.
const base = `{
	"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", "required": ["type"],
	"properties": {
		"type": {"const": %s}, "identifier": {"type": "string"},
		"locations": {"$ref": "#/$defs/words"}, "actions": {"$ref": "#/$defs/words"}, "datatypes": {"$ref": "#/$defs/words"}, "privileges": {"$ref": "#/$defs/words"}
	},
	"$defs": {"words": {"type": "array", "items": {"type": "string"}, "minItems": 1}},
	%s"unevaluatedProperties": false
}`

// Load returns the types. The schema of a type (JSON Schema, draft 2020-12 unless it says
// another) is the file with its name, percent-encoded as a path segment, and the ending
// .json in folder; folder may be empty, and a type without a file has no members of its
// own. An error names the type or the file.
func Load(names []string, folder string) (*Types, error) {
	if len(names) == 0 {
		return nil, nil
	}
	t := &Types{names: names, schemas: map[string]*jsonschema.Schema{}}
	for _, name := range names {
		if name == "" || t.schemas[name] != nil {
			return nil, fmt.Errorf("types: %q is empty or there twice", name)
		}
		var err error
		if t.schemas[name], err = compile(name, folder); err != nil {
			return nil, err
		}
	}
	return t, nil
}

func compile(name, folder string) (*jsonschema.Schema, error) {
	c := jsonschema.NewCompiler() // without a loader: a schema refers to nothing outside of itself
	c.UseLoader(jsonschema.SchemeURLLoader{})
	c.AssertFormat()
	own := ""
	if folder != "" {
		file := filepath.Join(folder, url.PathEscape(name)+".json")
		text, err := os.ReadFile(file)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return nil, fmt.Errorf("schemas: %w", err)
		default:
			schema, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
			if err == nil {
				err = c.AddResource("mem:///own.json", schema)
			}
			if err == nil {
				_, err = c.Compile("mem:///own.json")
			}
			if err != nil {
				return nil, fmt.Errorf("schemas: %s: %w", file, err)
			}
			own = `"allOf": [{"$ref": "mem:///own.json"}], `
		}
	}
	quoted, err := json.Marshal(name)
	if err != nil {
		return nil, err
	}
	schema, err := jsonschema.UnmarshalJSON(bytes.NewReader(fmt.Appendf(nil, base, quoted, own)))
	if err == nil {
		err = c.AddResource("mem:///type.json", schema)
	}
	if err != nil {
		return nil, err
	}
	return c.Compile("mem:///type.json")
}

// Names returns the registered types; nil when there are none.
func (t *Types) Names() []string {
	if t == nil {
		return nil
	}
	return t.names
}

// Parse reads the parameter authorization_details: objects of registered types that may
// have what they hold, and of which all are among allowed. Errors are for clients.
func (t *Types) Parse(text string, allowed []string) ([]json.RawMessage, error) {
	var objects []json.RawMessage
	if len(text) > maxText {
		return nil, fmt.Errorf("more than %d bytes", maxText)
	}
	// A member that is there twice, at any depth, may be seen by one reader only.
	if strictjson.Check([]byte(text), nil) != nil || json.Unmarshal([]byte(text), &objects) != nil || len(objects) == 0 {
		return nil, errors.New("not a list of JSON objects whose members are there once")
	}
	if len(objects) > maxObjects {
		return nil, fmt.Errorf("more than %d objects", maxObjects)
	}
	for i, raw := range objects {
		if err := t.check(raw, allowed); err != nil {
			return nil, fmt.Errorf("object %d: %w", i+1, err)
		}
		var compact bytes.Buffer
		if err := json.Compact(&compact, raw); err != nil {
			return nil, err
		}
		objects[i] = compact.Bytes()
	}
	return objects, nil
}

func (t *Types) check(raw json.RawMessage, allowed []string) error {
	name := TypeOf(raw)
	if t == nil || t.schemas[name] == nil {
		return errors.New("the type is not known")
	}
	if !slices.Contains(allowed, name) {
		return errors.New("the client is not registered for the type")
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		return errors.New("not a JSON object")
	}
	if err := t.schemas[name].Validate(value); err != nil {
		return errors.New("its members are not those of the type")
	}
	return nil
}

// Known reports whether all objects are of types that are registered and among allowed.
func (t *Types) Known(objects []json.RawMessage, allowed []string) bool {
	return !slices.ContainsFunc(objects, func(raw json.RawMessage) bool {
		name := TypeOf(raw)
		return t == nil || t.schemas[name] == nil || !slices.Contains(allowed, name)
	})
}

// Of returns the objects of the types that are registered and among allowed.
func (t *Types) Of(objects []json.RawMessage, allowed []string) (of []json.RawMessage) {
	for _, one := range objects {
		if t.Known([]json.RawMessage{one}, allowed) {
			of = append(of, one)
		}
	}
	return of
}

// TypeOf returns the type of an object; empty for what has none.
func TypeOf(raw json.RawMessage) string {
	var object map[string]json.RawMessage
	var name string
	if strictjson.Unmarshal(raw, &object) != nil || json.Unmarshal(object["type"], &name) != nil {
		return ""
	}
	return name
}

// lists are the members of which fewer words mean less. One that is not there, or empty,
// may mean everything, so it is never less.
var lists = []string{"locations", "actions", "datatypes", "privileges"}

// Narrowed reports whether every asked object grants no more than one of granted: it is
// the same, or has fewer words in some of its lists.
func Narrowed(asked, granted []json.RawMessage) bool {
	return !slices.ContainsFunc(asked, func(a json.RawMessage) bool {
		return !slices.ContainsFunc(granted, func(g json.RawMessage) bool { return within(a, g) })
	})
}

func within(asked, granted json.RawMessage) bool {
	a, aok := object(asked)
	g, gok := object(granted)
	if !aok || !gok || len(a) != len(g) {
		return false
	}
	for name, had := range g {
		has, ok := a[name]
		if !ok || !reflect.DeepEqual(has, had) && !(slices.Contains(lists, name) && fewer(has, had)) {
			return false
		}
	}
	return true
}

func object(raw json.RawMessage) (map[string]any, bool) {
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw)) // numbers as they are written
	o, ok := value.(map[string]any)
	return o, err == nil && ok
}

// fewer reports whether has are some of the words of had, and at least one.
func fewer(has, had any) bool {
	some, ok := has.([]any)
	all, of := had.([]any)
	return ok && of && len(some) > 0 && !slices.ContainsFunc(some, func(one any) bool {
		_, word := one.(string)
		return !word || !slices.Contains(all, one)
	})
}
