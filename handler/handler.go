// Package handler turns a handler's name and raw configuration into a ready
// handler, once, at load.
//
// A Catalog maps names to Types. Decoding is layered and strict: fresh defaults,
// then the operator's configuration of that name, then the rule's override; an
// unknown field or a duplicate member is an error. What Build returns is
// runnable: nothing is decoded, merged or compiled on the request path.
package handler

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"sort"
	"strings"

	"github.com/gatewarden/gatewarden/strictjson"
)

// Raw is a configuration object as JSON; empty and null mean no configuration.
type Raw = json.RawMessage

// Type builds handlers of one kind. Use Of to make one.
type Type[H any] struct {
	build func(base, override Raw) (H, error)
	// Config returns a fresh defaults struct, for the JSON Schema and the docs.
	Config func() any
}

// Of returns a Type from a defaults function and a constructor. Defaults is a
// function because decoding one rule's override over a copied struct would
// rewrite slices and maps that other handlers share.
func Of[C, H any](defaults func() C, build func(C) (H, error)) Type[H] {
	return Type[H]{
		Config: func() any { return defaults() },
		build: func(base, override Raw) (H, error) {
			var none H
			c := defaults()
			for _, layer := range []Raw{base, override} {
				if err := Decode(layer, &c); err != nil {
					return none, err
				}
			}
			return build(c)
		},
	}
}

// Catalog maps handler names to their types.
type Catalog[H any] map[string]Type[H]

// UnknownError reports a handler name that is not in the catalog.
type UnknownError struct {
	Name  string
	Known []string
}

// Error names the handler and the known ones.
func (e *UnknownError) Error() string {
	return fmt.Sprintf("unknown handler %q, known are %s", e.Name, strings.Join(e.Known, ", "))
}

// Build returns a ready handler. It returns *UnknownError for a name that is not
// in the catalog; any other error names the field that is wrong.
func (c Catalog[H]) Build(name string, base, override Raw) (H, error) {
	t, ok := c[name]
	if !ok {
		var none H
		return none, &UnknownError{Name: name, Known: c.Names()}
	}
	h, err := t.build(base, override)
	if err != nil {
		return h, fmt.Errorf("handler %s: %w", name, err)
	}
	return h, nil
}

// Names returns the names in order.
func (c Catalog[H]) Names() []string {
	names := make([]string, 0, len(c))
	for n := range c {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}

// Decode overlays raw on the configuration that v points to: objects merge member by
// member, lists replace. An unknown field, one in
// another spelling and a duplicate member are errors.
func Decode(raw Raw, v any) error {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 || bytes.Equal(raw, []byte("null")) {
		return nil
	}
	if err := strictjson.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("config: %w", plain(err))
	}
	return nil
}

// plain rewords the errors of encoding/json so that they name the field.
func plain(err error) error {
	var te *json.UnmarshalTypeError
	if errors.As(err, &te) {
		field := te.Field
		if field == "" {
			field = "value"
		}
		return fmt.Errorf("%s must be %s, not %s", field, te.Type, te.Value)
	}
	return errors.New(strings.TrimPrefix(err.Error(), "json: "))
}
