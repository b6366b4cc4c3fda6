package manage

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Operation is one step of a JSON Patch (RFC 6902 section 4).
type Operation struct {
	Op    string          `json:"op"`
	Path  string          `json:"path"`
	From  string          `json:"from,omitempty"`
	Value json.RawMessage `json:"value,omitempty"`
}

// What a patch may do: copies of copies would grow without end.
const (
	maxOperations = 100
	maxValues     = 10_000
)

// patch applies operations to doc, which is what encoding/json decodes into any,
// and returns the result; doc may be changed. Faults name the operation.
func patch(doc any, operations []Operation) (any, error) {
	if len(operations) > maxOperations {
		return nil, invalid("", fmt.Sprintf("a patch has at most %d operations", maxOperations))
	}
	for i, o := range operations {
		var err error
		if doc, err = o.apply(doc); err == nil && size(doc) > maxValues {
			err = fmt.Errorf("makes the document too large")
		}
		if err != nil {
			return nil, invalid(fmt.Sprintf("/%d", i), err.Error())
		}
	}
	return doc, nil
}

// size counts values.
func size(v any) int {
	n := 1
	switch v := v.(type) {
	case map[string]any:
		for _, member := range v {
			n += size(member)
		}
	case []any:
		for _, element := range v {
			n += size(element)
		}
	}
	return n
}

func (o Operation) apply(doc any) (any, error) {
	path, err := tokens(o.Path)
	if err != nil {
		return nil, err
	}
	var value any
	switch o.Op {
	case "add", "replace", "test":
		if o.Value == nil {
			return nil, fmt.Errorf("%s needs a value", o.Op)
		}
		if err := json.Unmarshal(o.Value, &value); err != nil {
			return nil, fmt.Errorf("value: %w", err)
		}
	case "move", "copy":
		from, err := tokens(o.From)
		if err != nil {
			return nil, err
		}
		if value, err = get(doc, from); err != nil {
			return nil, err
		}
		if o.Op == "copy" {
			value = clone(value)
			break
		}
		if len(path) > len(from) && slices.Equal(path[:len(from)], from) {
			return nil, fmt.Errorf("cannot move %s into itself", o.From)
		}
		if doc, err = change(doc, from, "remove", nil); err != nil {
			return nil, err
		}
	case "remove":
	default:
		return nil, fmt.Errorf("unknown op %q", o.Op)
	}
	switch o.Op {
	case "test":
		have, err := get(doc, path)
		if err == nil && !reflect.DeepEqual(have, value) {
			err = fmt.Errorf("test of %s failed", o.Path)
		}
		return doc, err
	case "move", "copy":
		return change(doc, path, "add", value)
	}
	return change(doc, path, o.Op, value)
}

// tokens splits a JSON pointer (RFC 6901 section 3).
func tokens(pointer string) ([]string, error) {
	if pointer == "" {
		return nil, nil
	}
	if pointer[0] != '/' {
		return nil, fmt.Errorf("%q is not a JSON pointer", pointer)
	}
	list := strings.Split(pointer[1:], "/")
	for i, t := range list {
		list[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(t)
	}
	return list, nil
}

func get(doc any, path []string) (any, error) {
	for _, token := range path {
		switch v := doc.(type) {
		case map[string]any:
			next, ok := v[token]
			if !ok {
				return nil, fmt.Errorf("there is no %s", token)
			}
			doc = next
		case []any:
			i, err := position(token, len(v)-1)
			if err != nil {
				return nil, err
			}
			doc = v[i]
		default:
			return nil, fmt.Errorf("there is no %s", token)
		}
	}
	return doc, nil
}

// change adds, replaces or removes at the path and returns the new document.
func change(doc any, path []string, op string, value any) (any, error) {
	if len(path) == 0 {
		return value, nil
	}
	token, rest := path[0], path[1:]
	switch v := doc.(type) {
	case map[string]any:
		old, ok := v[token]
		if !ok && (len(rest) > 0 || op != "add") {
			return nil, fmt.Errorf("there is no %s", token)
		}
		if len(rest) == 0 && op == "remove" {
			delete(v, token)
			return v, nil
		}
		next, err := change(old, rest, op, value)
		v[token] = next
		return v, err
	case []any:
		if len(rest) == 0 && op == "add" {
			if token == "-" {
				return append(v, value), nil
			}
			i, err := position(token, len(v))
			if err != nil {
				return nil, err
			}
			return slices.Insert(v, i, value), nil
		}
		i, err := position(token, len(v)-1)
		if err != nil {
			return nil, err
		}
		if len(rest) == 0 && op == "remove" {
			return slices.Delete(v, i, i+1), nil
		}
		v[i], err = change(v[i], rest, op, value)
		return v, err
	}
	return nil, fmt.Errorf("there is no %s", token)
}

// position reads an array index of 0 to last, without leading zeros.
func position(token string, last int) (int, error) {
	i, err := strconv.Atoi(token)
	if err != nil || i < 0 || i > last || strconv.Itoa(i) != token {
		return 0, fmt.Errorf("there is no element %s", token)
	}
	return i, nil
}

func clone(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := maps.Clone(v)
		for k := range out {
			out[k] = clone(out[k])
		}
		return out
	case []any:
		out := slices.Clone(v)
		for i := range out {
			out[i] = clone(out[i])
		}
		return out
	}
	return v
}
