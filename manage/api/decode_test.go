package api

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAFaultOfABodyNamesThePlace(t *testing.T) {
	type inner struct {
		N int `json:"n"`
	}
	type body struct {
		A  string         `json:"a"`
		L  []inner        `json:"l"`
		M  map[string]any `json:"m"`
		OK bool           `json:"ok"`
	}
	for name, c := range map[string]struct {
		text string
		want place
	}{
		"unknown member":         {"{\"a\":\"x\",\n\"b/c\":1}", place{"is not a known member", "/b~1c", 2}},
		"another spelling":       {"{\"a\":\"x\",\n\"A\":\"y\"}", place{"is not a known member", "/A", 2}},
		"not UTF-8":              {"{\"a\":\n\"\xff\"}", place{"is not valid UTF-8", "", 1}},
		"unknown nested member":  {"{\"l\":[{\"n\":1},\n{\"n\":2,\n\"q\":3}]}", place{"is not a known member", "/l/1/q", 3}},
		"wrong type":             {"{\"a\":\n7}", place{"must be a string, not number", "/a", 1}},
		"wrong type in a list":   {"{\"l\":[{\"n\":1},\n{\"n\":\"x\"}]}", place{"must be a number, not string", "/l/1/n", 2}},
		"an object for a list":   {"\n\n{\"l\":{}}", place{"must be a list, not object", "/l", 3}},
		"a string for a boolean": {"{\"ok\":\"yes\"}", place{"must be true or false, not string", "/ok", 1}},
		"repeated":               {"{\"m\":{\"x\":1,\n\"x\":2}}", place{"occurs twice", "/m/x", 2}},
		"more after the value":   {"{}\n{}", place{"there is more after the JSON value", "", 2}},
		"cut off":                {"{\"a\":\n\"x\"\n", place{"the JSON text ends too early", "", 3}},
		"null":                   {" null", place{"must not be null", "", 1}},
	} {
		t.Run(name, func(t *testing.T) {
			var v body
			var f *bodyFault
			if err := decode([]byte(c.text), &v); !errors.As(err, &f) {
				t.Fatalf("got %v", err)
			}
			if diff := cmp.Diff(c.want, f.place); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// What is decoded is JSON that encoding/json decodes to the same, and nothing panics.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{`{"subject":"a","context":{"x":[1,{"y":null}]}}`, `{"a":`, `[`, `{"a":1,"a":2}`, "{}\x00", `"\ud800"`, `{"subject":[]}`, `{1:2}`, `[1,]`, `{,}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		type question struct {
			Subject string         `json:"subject"`
			Context map[string]any `json:"context"`
		}
		var got, want question
		if err := decode(text, &got); err != nil {
			return
		}
		if err := json.Unmarshal(text, &want); err != nil {
			t.Fatalf("%q: decoded, but %v", text, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}
