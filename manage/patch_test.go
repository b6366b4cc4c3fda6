package manage

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The examples of RFC 6902 appendix A, and what they leave out.
func TestPatchesFollowRFC6902(t *testing.T) {
	for name, c := range map[string]struct{ doc, patch, want string }{
		"A.1 add a member":            {`{"foo":"bar"}`, `[{"op":"add","path":"/baz","value":"qux"}]`, `{"baz":"qux","foo":"bar"}`},
		"A.2 add an element":          {`{"foo":["bar","baz"]}`, `[{"op":"add","path":"/foo/1","value":"qux"}]`, `{"foo":["bar","qux","baz"]}`},
		"A.3 remove a member":         {`{"baz":"qux","foo":"bar"}`, `[{"op":"remove","path":"/baz"}]`, `{"foo":"bar"}`},
		"A.4 remove an element":       {`{"foo":["bar","qux","baz"]}`, `[{"op":"remove","path":"/foo/1"}]`, `{"foo":["bar","baz"]}`},
		"A.5 replace":                 {`{"baz":"qux"}`, `[{"op":"replace","path":"/baz","value":"boo"}]`, `{"baz":"boo"}`},
		"A.6 move":                    {`{"foo":{"bar":"baz","waldo":"fred"},"qux":{"corge":"grault"}}`, `[{"op":"move","from":"/foo/waldo","path":"/qux/thud"}]`, `{"foo":{"bar":"baz"},"qux":{"corge":"grault","thud":"fred"}}`},
		"A.7 move an element":         {`{"foo":["all","grass","cows","eat"]}`, `[{"op":"move","from":"/foo/1","path":"/foo/3"}]`, `{"foo":["all","cows","eat","grass"]}`},
		"A.8 test":                    {`{"baz":"qux","foo":["a",2,"c"]}`, `[{"op":"test","path":"/baz","value":"qux"},{"op":"test","path":"/foo/1","value":2}]`, `{"baz":"qux","foo":["a",2,"c"]}`},
		"A.9 test fails":              {`{"baz":"qux"}`, `[{"op":"test","path":"/baz","value":"bar"}]`, ""},
		"A.10 add a nested object":    {`{"foo":"bar"}`, `[{"op":"add","path":"/child","value":{"grandchild":{}}}]`, `{"child":{"grandchild":{}},"foo":"bar"}`},
		"A.12 add to what is missing": {`{"foo":"bar"}`, `[{"op":"add","path":"/baz/bat","value":"qux"}]`, ""},
		"A.14 escapes":                {`{"/":9,"~1":10}`, `[{"op":"test","path":"/~01","value":10}]`, `{"/":9,"~1":10}`},
		"A.15 strings are no numbers": {`{"/":9,"~1":10}`, `[{"op":"test","path":"/~01","value":"10"}]`, ""},
		"A.16 append":                 {`{"foo":["bar"]}`, `[{"op":"add","path":"/foo/-","value":["abc","def"]}]`, `{"foo":["bar",["abc","def"]]}`},
		"add null":                    {`{}`, `[{"op":"add","path":"/a","value":null}]`, `{"a":null}`},
		"copy is deep":                {`{"a":{"b":1}}`, `[{"op":"copy","from":"/a","path":"/c"},{"op":"replace","path":"/c/b","value":2}]`, `{"a":{"b":1},"c":{"b":2}}`},
		"move into itself":            {`{"a":{"b":1}}`, `[{"op":"move","from":"/a","path":"/a/b/c"}]`, ""},
		"remove what is missing":      {`{}`, `[{"op":"remove","path":"/a"}]`, ""},
		"replace what is missing":     {`{}`, `[{"op":"replace","path":"/a","value":1}]`, ""},
		"an index with a zero":        {`{"a":[1,2]}`, `[{"op":"remove","path":"/a/01"}]`, ""},
		"an index beyond the end":     {`{"a":[1]}`, `[{"op":"add","path":"/a/2","value":1}]`, ""},
		"a negative index":            {`{"a":[1]}`, `[{"op":"remove","path":"/a/-1"}]`, ""},
		"the end is nothing to read":  {`{"a":[1]}`, `[{"op":"remove","path":"/a/-"}]`, ""},
		"below a string":              {`{"a":"b"}`, `[{"op":"add","path":"/a/b","value":1}]`, ""},
		"no value":                    {`{}`, `[{"op":"add","path":"/a"}]`, ""},
		"a bomb":                      {`{"a":[1]}`, `[` + strings.TrimSuffix(strings.Repeat(`{"op":"copy","from":"/a","path":"/a/-"},`, 60), ",") + `]`, ""},
		"too many":                    {`{"a":[1]}`, `[` + strings.TrimSuffix(strings.Repeat(`{"op":"test","path":"/a/0","value":1},`, 101), ",") + `]`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var doc any
			var operations []Operation
			if err := json.Unmarshal([]byte(c.doc), &doc); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal([]byte(c.patch), &operations); err != nil {
				t.Fatal(err)
			}
			got, err := patch(doc, operations)
			if c.want == "" {
				if err == nil {
					t.Fatalf("got %v, want an error", got)
				}
				return
			}
			text, _ := json.Marshal(got)
			if diff := cmp.Diff(c.want, string(text)); diff != "" || err != nil {
				t.Errorf("%v\n%s", err, diff)
			}
		})
	}
}

// Any patch must be applied or refused, and must not panic.
func FuzzPatch(f *testing.F) {
	f.Add(`{"a":[1,{"b":2}],"c":null}`, `[{"op":"move","from":"/a/1","path":"/a/0/b"},{"op":"remove","path":""}]`)
	f.Add(`[1]`, `[{"op":"copy","from":"","path":"/0"},{"op":"add","path":"/-","value":{}}]`)
	f.Fuzz(func(t *testing.T, document, operations string) {
		var doc any
		var list []Operation
		if json.Unmarshal([]byte(document), &doc) != nil || json.Unmarshal([]byte(operations), &list) != nil {
			return
		}
		if got, err := patch(doc, list); err == nil && size(got) > maxValues && len(list) > 0 {
			t.Errorf("grew to %d values", size(got))
		}
	})
}
