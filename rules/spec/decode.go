package spec

import (
	"bytes"
	"encoding/json"
	"errors"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Decode reads the rules of one source: a JSON array or a single object, or the
// same as YAML. Source names the place in faults; an extension of .json, .yaml or
// .yml decides the format, anything else is told by the content.
//
// Every rule is returned, with its Origin; what is wrong with a single rule is in
// its Faults and affects no other rule. The error means that the source as a
// whole cannot be read; it names source and line. An empty source is an error,
// because that is what a file looks like while it is being rewritten: the list of
// no rules is written [].
func Decode(source string, data []byte) ([]Rule, error) {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	r := &reader{source: source, rules: []Rule{}, texts: map[string]string{}, configs: map[string]json.RawMessage{}}
	if err := r.read(data); err != nil {
		return nil, syntax(source, err)
	}
	anyList := false
	for _, doc := range r.docs {
		switch doc.kind {
		case list:
			anyList = true
		case object, null:
		default:
			return nil, Fault{Source: source, Line: doc.line, Message: "must be a list of rules, not " + doc.kind.String()}
		}
		if doc.wrong != "" && doc.kind != object {
			return nil, Fault{Source: source, Line: doc.line, Message: doc.wrong}
		}
	}
	if len(r.rules) == 0 && !anyList {
		return nil, Fault{Source: source, Message: "is empty; the list of no rules is written []"}
	}
	return r.rules, nil
}

// syntax is the fault of a source that cannot be read. Parsers put the line in front
// of what they say.
func syntax(source string, err error) Fault {
	f := Fault{Source: source, Message: err.Error()}
	if rest, ok := strings.CutPrefix(f.Message, "line "); ok {
		if number, text, ok := strings.Cut(rest, ": "); ok {
			if line, err := strconv.Atoi(number); err == nil && line > 0 {
				f.Line, f.Message = line, text
			}
		}
	}
	return f
}

// reader reads one source. Rules are decoded while the source is parsed, so that
// no more than one is held as a tree.
type reader struct {
	source string
	docs   []value
	rules  []Rule
	// texts and configs hold one copy of what many rules have in common.
	texts   map[string]string
	configs map[string]json.RawMessage
}

func (r *reader) read(data []byte) error {
	ext := strings.ToLower(filepath.Ext(r.source))
	if ext == ".yaml" || ext == ".yml" {
		return r.yaml(data)
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return nil
	}
	err := r.json(data)
	if err == nil || ext == ".json" {
		return err
	}
	r.docs, r.rules = nil, []Rule{}
	yamlErr := r.yaml(data)
	if start := bytes.TrimSpace(data)[0]; yamlErr != nil && (start == '[' || start == '{') {
		return err // it set out to be JSON
	}
	return yamlErr
}

func (r *reader) json(data []byte) error {
	doc, err := parseJSON(data, r.rule)
	if err == nil {
		r.document(doc)
	}
	return err
}

func (r *reader) yaml(data []byte) error {
	return parseYAML(data, r.rule, r.document)
}

// document notes a document, whose items are rules already when it is a list.
func (r *reader) document(doc value) {
	if doc.kind == object {
		r.rule(&doc)
	}
	r.docs = append(r.docs, doc)
}

// rule decodes v, the next rule.
func (r *reader) rule(v *value) {
	d := &decoder{reader: r, rule: Rule{Origin: Origin{Source: r.source, Line: v.line}}, name: "#" + strconv.Itoa(len(r.rules)+1)}
	d.decode(v)
	r.rules = append(r.rules, d.rule)
}

// text returns the one copy of text.
func (r *reader) text(text string) string {
	if known, ok := r.texts[text]; ok {
		return known
	}
	r.texts[text] = text
	return text
}

// config returns the one copy of raw.
func (r *reader) config(raw []byte) json.RawMessage {
	if known, ok := r.configs[string(raw)]; ok {
		return known
	}
	own := bytes.Clone(raw)
	r.configs[string(raw)] = own
	return own
}

// decoder decodes one rule and collects its faults.
type decoder struct {
	*reader
	rule Rule
	name string // the id, or #N while there is none
}

func (d *decoder) decode(v *value) {
	if v.kind != object {
		d.fault("", v.line, "must be an object, not "+v.kind.String())
		return
	}
	for i := range v.members {
		if m := &v.members[i]; m.name == "id" && m.value.kind == text && m.value.text != "" {
			d.name = m.value.text
			break
		}
	}
	v.faulty("", d.fault)
	if isEarly(v) {
		d.early(v)
	} else {
		d.current(v)
	}
	if err := migrate(&d.rule); err != nil {
		var f Fault
		errors.As(err, &f)
		d.fault(f.Pointer, v.line, f.Message)
	}
}

func (d *decoder) fault(pointer string, line int, message string) {
	d.rule.Faults = append(d.rule.Faults, Fault{Source: d.rule.Origin.Source, Line: line, RuleID: d.name, Pointer: pointer, Message: message})
}

// field is a member that an object may have.
type field struct {
	name   string
	decode func(v *value, pointer string)
}

// fields calls the decoder of each member; any other member is a fault.
func (d *decoder) fields(v *value, pointer string, known []field) {
	if v.kind != object {
		d.mismatch(v, pointer, object)
		return
	}
	for i := range v.members {
		m := &v.members[i]
		at := pointer + "/" + escape(m.name)
		n := slices.IndexFunc(known, func(f field) bool { return f.name == m.name })
		if n < 0 {
			d.fault(at, m.line, "unknown field"+hint(m.name, known))
			continue
		}
		if m.value.wrong == "" && m.value.kind != null {
			known[n].decode(&m.value, at)
		}
	}
}

func (d *decoder) mismatch(v *value, pointer string, want kind) {
	if v.wrong == "" {
		d.fault(pointer, v.line, "must be "+want.String()+", not "+v.kind.String())
	}
}

func (d *decoder) string(to *string) func(*value, string) {
	return func(v *value, pointer string) {
		if v.kind != text {
			d.mismatch(v, pointer, text)
			return
		}
		*to = v.text
	}
}

// common decodes a text that many rules share.
func (d *decoder) common(to *string) func(*value, string) {
	return func(v *value, pointer string) {
		d.string(to)(v, pointer)
		*to = d.text(*to)
	}
}

func (d *decoder) boolean(to *bool) func(*value, string) {
	return func(v *value, pointer string) {
		if v.kind != boolean {
			d.mismatch(v, pointer, boolean)
			return
		}
		*to = v.text == "true"
	}
}

func (d *decoder) strings(to *[]string) func(*value, string) {
	return func(v *value, pointer string) {
		if v.kind != list {
			d.mismatch(v, pointer, list)
			return
		}
		if len(v.items) == 0 {
			*to = []string{} // which is not the same as no list
		}
		for i := range v.items {
			var s string
			d.common(&s)(&v.items[i], pointer+"/"+strconv.Itoa(i))
			*to = append(*to, s)
		}
	}
}

func (d *decoder) stringMap(to *map[string]string) func(*value, string) {
	return func(v *value, pointer string) {
		if v.kind != object {
			d.mismatch(v, pointer, object)
			return
		}
		*to = map[string]string{}
		for i := range v.members {
			var s string
			d.string(&s)(&v.members[i].value, pointer+"/"+escape(v.members[i].name))
			(*to)[v.members[i].name] = s
		}
	}
}

func (d *decoder) handler(to *Handler) func(*value, string) {
	return func(v *value, pointer string) {
		d.fields(v, pointer, []field{
			{"handler", d.common(&to.Handler)},
			{"config", func(v *value, pointer string) {
				if v.kind != object {
					d.mismatch(v, pointer, object)
					return
				}
				var b bytes.Buffer
				v.json(&b)
				to.Config = d.config(b.Bytes())
			}},
		})
		if v.kind == object && to.Handler == "" {
			d.fault(pointer+"/handler", v.line, "must be set")
		}
	}
}

func (d *decoder) handlers(to *[]Handler) func(*value, string) {
	return func(v *value, pointer string) {
		if v.kind != list {
			d.mismatch(v, pointer, list)
			return
		}
		for i := range v.items {
			var h Handler
			d.handler(&h)(&v.items[i], pointer+"/"+strconv.Itoa(i))
			*to = append(*to, h)
		}
	}
}

// current decodes today's format, and the renamed members of v0.13 to v0.17.
func (d *decoder) current(v *value) {
	r := &d.rule
	d.fields(v, "", []field{
		{"id", d.string(&r.ID)},
		{"description", d.string(&r.Description)},
		{"version", func(v *value, pointer string) {
			if v.kind == number { // version: 0.36 is a number in YAML
				r.Version = v.text
				return
			}
			d.string(&r.Version)(v, pointer)
		}},
		{"match", func(v *value, pointer string) {
			d.fields(v, pointer, []field{
				{"url", d.string(&r.Match.URL)},
				{"methods", d.strings(&r.Match.Methods)},
				{"hosts", d.strings(&r.Match.Hosts)},
				{"paths", d.strings(&r.Match.Paths)},
				{"headers", d.stringMap(&r.Match.Headers)},
				{"query", d.stringMap(&r.Match.Query)},
			})
		}},
		{"authenticators", d.handlers(&r.Authenticators)},
		{"authorizer", func(v *value, pointer string) {
			r.Authorizer = &Handler{}
			d.handler(r.Authorizer)(v, pointer)
		}},
		{"authorizers", d.handlers(&r.Authorizers)},
		{"mutators", d.handlers(&r.Mutators)},
		{"mutator", d.issuer},
		{"credentials_issuer", d.issuer},
		{"errors", d.handlers(&r.Errors)},
		{"upstream", d.upstream(&r.Upstream)},
		{"cors", d.cors},
		{"rate_limit", d.rateLimits},
		{"priority", d.integer(&r.Priority)},
	})
}

// hint returns the known field that is nearest to name, as a suggestion.
func hint(name string, known []field) string {
	best, least := "", 3
	for _, k := range known {
		if n := distance(name, k.name); n < least || n == least && best != "" && k.name < best {
			best, least = k.name, n
		}
	}
	if best == "" {
		return ""
	}
	return ", did you mean " + strconv.Quote(best)
}

// distance is the edit distance of a and b, cut short when it cannot be small.
func distance(a, b string) int {
	if d := len(a) - len(b); d > 2 || d < -2 {
		return 3
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
