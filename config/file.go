package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"go.yaml.in/yaml/v3"
)

// file reads one file as a layer.
func (l *loader) file(name string) {
	data, err := os.ReadFile(name)
	if err != nil {
		l.fault("--config "+name, "%v", errors.Unwrap(err))
		return
	}
	var tree map[string]any
	lines := map[string]int{}
	if ext := strings.ToLower(filepath.Ext(name)); ext == ".toml" {
		if err := toml.Unmarshal(data, &tree); err != nil {
			var at *toml.DecodeError
			if errors.As(err, &at) {
				row, _ := at.Position()
				name = fmt.Sprintf("%s:%d", name, row)
			}
			l.fault(name, "%v", err)
			return
		}
	} else if tree, err = parseYAML(data, lines); err != nil {
		l.yaml(name, err)
		return
	}
	place := func(key string) string {
		if n := lines[key]; n > 0 {
			return fmt.Sprintf("%s:%d", name, n)
		}
		return name
	}
	for _, part := range []string{"authenticators", "authorizers", "mutators", "errors"} {
		if value, found := tree[part]; found {
			delete(tree, part)
			l.section(part, value, place)
		}
	}
	l.tree("", tree, place)
}

// yaml notes what a parser of YAML says about a file, of which each line may name the
// line that it is about.
func (l *loader) yaml(name string, err error) {
	text := strings.TrimPrefix(strings.TrimPrefix(err.Error(), "yaml: "), "unmarshal errors:\n")
	for said := range strings.SplitSeq(text, "\n") {
		place := name
		said = strings.TrimSpace(said)
		if rest, ok := strings.CutPrefix(said, "line "); ok {
			if number, message, ok := strings.Cut(rest, ": "); ok {
				place, said = name+":"+number, message
			}
		}
		l.fault(place, "%s", said)
	}
}

// parseYAML reads YAML or JSON and notes the line of every key.
func parseYAML(data []byte, lines map[string]int) (map[string]any, error) {
	d := yaml.NewDecoder(bytes.NewReader(data))
	var node yaml.Node
	if err := d.Decode(&node); errors.Is(err, io.EOF) {
		return map[string]any{}, nil
	} else if err != nil {
		return nil, err
	}
	if err := d.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, errors.New("the file holds more than one document")
	}
	var tree map[string]any
	if err := node.Decode(&tree); err != nil {
		return nil, err
	}
	note(&node, "", lines)
	return tree, nil
}

// note records where keys stand; aliases are left to the key that uses them.
func note(n *yaml.Node, prefix string, lines map[string]int) {
	switch n.Kind {
	case yaml.DocumentNode:
		note(n.Content[0], prefix, lines)
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := prefix + n.Content[i].Value
			lines[key] = n.Content[i].Line
			note(n.Content[i+1], key+".", lines)
		}
	}
}

// tree sets every leaf of a file and reports keys that are not in the schema.
func (l *loader) tree(prefix string, tree map[string]any, place func(string) string) {
	for name, value := range tree {
		key := prefix + name
		if _, known := l.schema[key]; known {
			if value != nil {
				l.set(key, value, place(key))
			}
			continue
		}
		if why, handled := l.outside(key, value, place(key)); handled {
			if why != "" {
				l.warnings = append(l.warnings, fmt.Sprintf("%s: %s has no effect: %s", place(key), key, why))
			}
			continue
		}
		if _, isText := value.(string); isText && slices.Contains(hookKeys, key) {
			l.set(key+".url", value, place(key)) // Hydra's short form
			continue
		}
		if sub, isMap := value.(map[string]any); isMap && l.parent(key) {
			l.tree(key+".", sub, place)
			continue
		}
		l.unknown(key, place(key))
	}
}

// outside handles keys of the older products that are not fields here.
func (l *loader) outside(key string, value any, place string) (why string, handled bool) {
	if why := idleReason(key); why != "" {
		return why, true
	}
	for _, k := range refused {
		if key != k && !strings.HasPrefix(key, k+".") {
			continue
		}
		if switchedOn(value) {
			l.fault(place, "%s is not supported", key)
		}
		return "", true
	}
	return "", false
}

// refused are keys of the older products whose effect is missed here: switching
// one on is an error, because ignoring it would change who gets in.
var refused = []string{
	"hsm", "clients",
	"oauth2.grant.jwt.jti_optional", "oidc.dynamic_client_registration",
	"feature_flags", "serve.cookies.names", "serve.cookies.paths", "serve.cookies.secure",
}

// switchedOn reports whether value holds anything but false, zero and empty.
func switchedOn(value any) bool {
	switch v := value.(type) {
	case map[string]any:
		if on, found := v["enabled"]; found {
			return switchedOn(on)
		}
		for _, member := range v {
			if switchedOn(member) {
				return true
			}
		}
		return false
	case []any:
		return len(v) > 0
	case nil:
		return false
	}
	return !slices.Contains([]string{"false", "0", "", "0s"}, fmt.Sprint(value))
}

// parent reports whether key has keys below it.
func (l *loader) parent(key string) bool {
	for known := range l.schema {
		if strings.HasPrefix(known, key+".") {
			return true
		}
	}
	for _, list := range [][]string{refused, idleKeys()} {
		for _, known := range list {
			if strings.HasPrefix(known, key+".") {
				return true
			}
		}
	}
	return false
}

func idleKeys() []string {
	keys := make([]string, 0, len(idle))
	for k := range idle {
		keys = append(keys, k)
	}
	return keys
}

func (l *loader) unknown(key, place string) {
	known := append(Keys(), "authenticators", "authorizers", "mutators", "errors")
	for _, k := range Keys() { // sections as well as leaves
		for i := strings.LastIndexByte(k, '.'); i > 0; i = strings.LastIndexByte(k[:i], '.') {
			known = append(known, k[:i])
		}
	}
	if near := nearest(key, known); near != "" {
		l.fault(place, "unknown key %s, did you mean %s?", key, near)
		return
	}
	l.fault(place, "unknown key %s", key)
}
