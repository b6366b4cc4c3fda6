package spec

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxAliased bounds the values that aliases may add, which a few lines of
// nested aliases could otherwise multiply without end.
const maxAliased = 100_000

// yamlReader builds values from YAML nodes.
type yamlReader struct {
	aliased int
	item    func(*value)
}

// parseYAML passes the values of all documents of data to document, or returns an
// error that names the line. The items of outermost lists are passed to item and
// not kept.
func parseYAML(data []byte, item func(*value), document func(value)) error {
	d := yaml.NewDecoder(bytes.NewReader(data))
	p := &yamlReader{item: item}
	for {
		var doc yaml.Node
		if err := d.Decode(&doc); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return errors.New(strings.TrimPrefix(err.Error(), "yaml: "))
		}
		if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 {
			continue
		}
		v, err := p.value(doc.Content[0], 0, false)
		if err != nil {
			return err
		}
		document(v)
	}
}

func (p *yamlReader) value(n *yaml.Node, depth int, aliased bool) (value, error) {
	if depth > maxDepth {
		return value{}, fmt.Errorf("line %d: nested deeper than %d", n.Line, maxDepth)
	}
	if aliased {
		if p.aliased++; p.aliased > maxAliased {
			return value{}, fmt.Errorf("line %d: aliases expand to more than %d values", n.Line, maxAliased)
		}
	}
	v := value{line: n.Line}
	switch n.Kind {
	case yaml.AliasNode:
		return p.value(n.Alias, depth+1, true)
	case yaml.SequenceNode:
		v.kind = list
		for _, c := range n.Content {
			item, err := p.value(c, depth+1, aliased)
			if err != nil {
				return v, err
			}
			if depth == 0 {
				p.item(&item)
				continue
			}
			v.items = append(v.items, item)
		}
	case yaml.MappingNode:
		v.kind = object
		return v, p.mapping(&v, n, depth, aliased)
	default:
		scalar(&v, n)
	}
	return v, nil
}

// mapping reads an object. Members that come by a merge key (<<) yield to the
// object's own, wherever they stand.
func (p *yamlReader) mapping(v *value, n *yaml.Node, depth int, aliased bool) error {
	seen := map[string]bool{}
	var merged []value
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		item, err := p.value(n.Content[i+1], depth+1, aliased)
		if err != nil {
			return err
		}
		switch {
		case key.Kind == yaml.ScalarNode && key.ShortTag() == "!!merge" && item.kind == list:
			merged = append(merged, item.items...)
		case key.Kind == yaml.ScalarNode && key.ShortTag() == "!!merge":
			merged = append(merged, item)
		case key.Kind != yaml.ScalarNode || key.ShortTag() == "!!null":
			v.wrong = fmt.Sprintf("has a key on line %d that is not a string", key.Line)
		default:
			v.add(member{name: key.Value, line: key.Line, value: item}, seen)
		}
	}
	for _, m := range merged {
		if m.kind != object {
			v.wrong = "merges (<<) a value that is not an object"
		}
		for _, inherited := range m.members {
			if !seen[inherited.name] {
				v.add(inherited, seen)
			}
		}
	}
	return nil
}

// jsonNumber is a number as JSON spells it (RFC 8259 section 6).
var jsonNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$`)

// scalar converts a YAML scalar to its JSON counterpart. A number keeps its
// spelling where JSON allows it, so 1.10 stays 1.10.
func scalar(v *value, n *yaml.Node) {
	switch n.ShortTag() {
	case "!!null":
		v.kind = null
	case "!!bool":
		v.kind, v.text = boolean, strings.ToLower(n.Value)
	case "!!int":
		v.kind, v.text = number, n.Value
		if !jsonNumber.MatchString(n.Value) {
			i, ok := new(big.Int).SetString(strings.TrimPrefix(n.Value, "+"), 0)
			if !ok {
				v.wrong = fmt.Sprintf("%s is not an integer that JSON can express", n.Value)
				return
			}
			v.text = i.String()
		}
	case "!!float":
		v.kind, v.text = number, n.Value
		if !jsonNumber.MatchString(n.Value) {
			var f float64
			err := n.Decode(&f)
			spelled, marshalErr := json.Marshal(f) // fails for infinities and NaN
			if err != nil || marshalErr != nil {
				v.wrong = fmt.Sprintf("%s is not a number that JSON can express", n.Value)
				return
			}
			v.text = string(spelled)
		}
	case "!!str", "!!timestamp":
		v.kind, v.text = text, n.Value
	default:
		v.wrong = fmt.Sprintf("YAML type %s has no counterpart in JSON", n.Tag)
	}
}
