package authn

import (
	"encoding/json"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

var (
	yamlBlock = regexp.MustCompile("(?s)```yaml\n(.*?)```")
	keyCell   = regexp.MustCompile("`([a-z_.]+)`")
)

func page(t *testing.T, name string) string {
	t.Helper()
	return string(must(os.ReadFile("../docs/handlers/authenticator-" + name + ".md"))(t))
}

func TestTheExamplesOfEveryPageAreAccepted(t *testing.T) {
	catalog := Catalog(Deps{Introspector: server{}, OwnKeys: newIssuer(t), Provider: loginProvider(newIssuer(t))})
	for _, name := range catalog.Names() {
		blocks := yamlBlock.FindAllStringSubmatch(page(t, name), -1)
		if len(blocks) == 0 {
			t.Errorf("%s: the page has no example", name)
		}
		for _, block := range blocks {
			var example struct {
				Handler string         `yaml:"handler"`
				Config  map[string]any `yaml:"config"`
			}
			d := yaml.NewDecoder(strings.NewReader(block[1]))
			d.KnownFields(true)
			if err := d.Decode(&example); err != nil || example.Handler != name {
				t.Errorf("%s: handler %q, %v in\n%s", name, example.Handler, err, block[1])
				continue
			}
			config := must(json.Marshal(example.Config))(t)
			if _, err := catalog.Build(name, nil, config); err != nil {
				t.Errorf("%v in\n%s", err, block[1])
			}
		}
	}
}

func TestEveryConfigKeyIsOnItsPageAndNoOther(t *testing.T) {
	catalog := Catalog(Deps{})
	for _, name := range catalog.Names() {
		known := map[string]bool{}
		fields(reflect.TypeOf(catalog[name].Config()), "", known)
		documented := map[string]bool{}
		for line := range strings.Lines(page(t, name)) {
			cells := strings.Split(line, "|")
			if len(cells) < 5 { // a row of a table of three columns
				continue
			}
			group := ""
			for _, key := range keyCell.FindAllStringSubmatch(cells[1], -1) {
				full := key[1]
				if strings.HasPrefix(full, ".") {
					full = group + full
				}
				group, _, _ = strings.Cut(full, ".")
				documented[full] = true
				if !known[full] {
					t.Errorf("%s: the page has %s, the configuration has not", name, full)
				}
			}
		}
		for key := range known {
			if !documented[key] {
				t.Errorf("%s: %s is not on the page", name, key)
			}
		}
	}
}

// fields adds the names of a configuration's members, nested ones with dots.
// TokenFrom counts as one.
func fields(t reflect.Type, prefix string, into map[string]bool) {
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous {
			fields(f.Type, prefix, into)
			continue
		}
		if f.Type.Kind() == reflect.Struct {
			fields(f.Type, prefix+name+".", into)
			continue
		}
		into[prefix+name] = true
	}
}
