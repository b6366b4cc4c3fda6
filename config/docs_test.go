package config

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTheDocumentationHasEveryKeyAndItsVariables(t *testing.T) {
	text, err := os.ReadFile("../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for _, l := range leaves() {
		var names []string
		if !flagOnly[l.key] {
			for _, name := range append([]string{variable(l.key)}, early[l.key]...) {
				names = append(names, "`"+name+"`")
			}
		}
		want[l.key] = strings.Join(names, ", ")
	}
	got := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z0-9_.]+)` \\| [^|]* \\| ([^|]*) \\|").FindAllStringSubmatch(string(text), -1) {
		got[row[1]] = row[2]
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestTheExamplesOfTheDocumentationLoad(t *testing.T) {
	for _, page := range []string{"../docs/configuration.md"} {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(text), -1)
		if len(blocks) == 0 {
			t.Errorf("%s has no example", page)
		}
		for _, b := range blocks {
			if _, _, err := Load(Sources{Files: []string{write(t, "c.yaml", b[1])}}); err != nil {
				t.Errorf("%s: %v in\n%s", page, err, b[1])
			}
		}
	}
}
