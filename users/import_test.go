package users

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAnImportGivesEachUserItsLine(t *testing.T) {
	for name, text := range map[string]string{
		"NDJSON":         "{\"username\":\"a\"}\n{\"username\":\"b\"}\n\n{\"username\":\n\"c\"}\n",
		"a list":         "[{\"username\":\"a\"},\n{\"username\":\"b\"},\n\n{\"username\":\n\"c\"}]\n",
		"a list, spaced": "  [ {\"username\":\"a\"},\n\t{\"username\":\"b\"}\n,\n {\"username\":\"c\"}\n]",
	} {
		var got []string
		if err := Import(strings.NewReader(text), func(line int, u User) error {
			got = append(got, fmt.Sprint(line, u.Username))
			return nil
		}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff([]string{"1a", "2b", "4c"}, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestFaultsOfAnImportNameTheirLine(t *testing.T) {
	for text, want := range map[string]string{
		"{\"username\":\"a\"}\n{\"usrname\":\"b\"}":         `line 2: unknown field "usrname"`,
		"[{\"username\":\"a\"},\n 7]":                       "line 2: a user must be a JSON object",
		"{\"username\":\"a\"}\n{\"id\":\"1\",\"ID\":\"2\"}": `line 2: unknown field "ID"`,
		"{\"username\":\"a\"}\n\n{\"username\":":            "line 3: the text ends too early",
		"[{\"username\":\"a\"}":                             "line 1: the text ends too early",
		"{\"username\":\"a\"}\n{\"username\": nope}":        "line 2: not JSON: invalid character 'o' in literal null (expecting 'u')",
		"\n\nno": "line 3: not JSON: invalid character 'o' in literal null (expecting 'u')",
		"{\"id\":\"" + strings.Repeat("x", 64<<10) + "\"}":   "line 1: a user has at most 65536 bytes",
		"{\"username\":\"a\"}\n{\"username\":\"refuse me\"}": "line 2: refused",
	} {
		err := Import(strings.NewReader(text), func(_ int, u User) error {
			if u.Username == "refuse me" {
				return errors.New("refused")
			}
			return nil
		})
		if err == nil || err.Error() != want {
			t.Errorf("%.60q: got %v, want %s", text, err, want)
		}
	}
}

// FuzzImport holds that whatever is read comes back when it is written and read again,
// as a list and as lines, and that lines never fall.
func FuzzImport(f *testing.F) {
	for _, seed := range []string{"", "[]", "{}", "[{}]", "{\"id\":\"a\"}\n{\"id\":\"b\"}", "[{\"id\":\"a\"},{\"claims\":{\"name\":\"x\"}}]", "[[", "{\"id\":1}", "\xff", "[{}]{}", "null"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		read := func(text string) (all []User, err error) {
			last := 1
			err = Import(strings.NewReader(text), func(line int, u User) error {
				if line < last || line > 1+strings.Count(text, "\n") {
					t.Errorf("line %d after %d", line, last)
				}
				last = line
				all = append(all, u)
				return nil
			})
			return all, err
		}
		all, err := read(text)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "line ") {
				t.Errorf("an error without a line: %v", err)
			}
			return
		}
		var lines strings.Builder
		encoder := json.NewEncoder(&lines)
		for _, u := range all {
			if encoder.Encode(u) != nil {
				return // a time that JSON cannot write
			}
		}
		again, err := read(lines.String())
		if err != nil {
			t.Fatalf("lines cannot be read: %v", err)
		}
		if diff := cmp.Diff(all, again); diff != "" && !strings.Contains(text, "claims") {
			t.Errorf("lines (-first +second):\n%s", diff)
		}
		if len(all) != len(again) {
			t.Errorf("%d users became %d", len(all), len(again))
		}
	})
}
