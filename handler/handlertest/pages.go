// Package handlertest checks what the handlers of every catalog have in common. It
// is for tests only.
package handlertest

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/gatewarden/gatewarden/handler"
)

// Pages checks the documentation of a catalog: folder holds a page prefix-NAME.md
// for every handler, which names every configuration key and has at least one
// example, a yaml block with handler and config that the catalog builds.
func Pages[H any](t *testing.T, catalog handler.Catalog[H], folder, prefix string) {
	t.Helper()
	for _, name := range catalog.Names() {
		file := filepath.Join(folder, prefix+"-"+name+".md")
		page, err := os.ReadFile(file)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, field := range reflect.VisibleFields(reflect.TypeOf(catalog[name].Config())) {
			key, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			if key == "" {
				continue // its members are listed
			}
			if !bytes.Contains(page, []byte("`"+key+"`")) {
				t.Errorf("%s does not name the key %s", file, key)
			}
		}
		examples := strings.Split(string(page), "```yaml\n")[1:]
		if len(examples) == 0 {
			t.Errorf("%s has no example", file)
		}
		for _, text := range examples {
			text, _, _ = strings.Cut(text, "```")
			if err := build(catalog, name, text); err != nil {
				t.Errorf("%s: %v:\n%s", file, err, text)
			}
		}
	}
}

func build[H any](catalog handler.Catalog[H], name, text string) error {
	var example struct {
		Handler string
		Config  map[string]any
	}
	d := yaml.NewDecoder(strings.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(&example); err != nil {
		return err
	}
	if example.Handler != name {
		return &handler.UnknownError{Name: example.Handler, Known: []string{name}}
	}
	raw, err := json.Marshal(example.Config)
	if err != nil {
		return err
	}
	_, err = catalog.Build(name, nil, raw)
	return err
}
