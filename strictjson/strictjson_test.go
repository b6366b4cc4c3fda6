package strictjson

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

type embedded struct {
	Deep string `json:"deep"`
	Name int    `json:"name"` // hidden
}

type document struct {
	Name    string            `json:"name"`
	Sub     *document         `json:"sub"`
	List    []document        `json:"list"`
	Headers map[string]string `json:"headers"`
	Of      map[string]embedded
	Any     any             `json:"any"`
	Raw     json.RawMessage `json:"raw"`
	At      time.Time       `json:"at"`
	Never   string          `json:"-"`
	Dash    string          `json:"-,"`
	embedded
	private string
}

func TestWhatTwoReadersMayReadInTwoWaysIsRefused(t *testing.T) {
	for text, want := range map[string]*Error{
		`{"name":"a","sub":{"list":[{"name":"b"}]},"deep":"c","Of":{"x":{"deep":"d"}},"-":"e"}`:                 nil,
		`{"headers":{"a":"1","A":"2"},"any":{"name":1,"NAME":2},"raw":{"Sub":[1]},"at":"2026-01-02T03:04:05Z"}`: nil,
		` null `:                            nil,
		`{"NAME":"a"}`:                      {"/NAME", 1, Unknown, "NAME"},
		`{"ſub":{}}`:                        {"/ſub", 1, Unknown, "ſub"}, // folds to s
		`{"name":"a","Name":"b"}`:           {"/Name", 12, Unknown, "Name"},
		`{"name":"a", "name":"b"}`:          {"/name", 13, Repeated, "name"},
		`{"na\u006de":"a","name":"b"}`:      {"/name", 17, Repeated, "name"},
		`{"sub":{"list":[{},{"nme":1}]}}`:   {"/sub/list/1/nme", 20, Unknown, "nme"},
		`{"headers":{"a/b":"1","a/b":"2"}}`: {"/headers/a~1b", 22, Repeated, "a/b"},
		`{"Of":{"x":{"DEEP":"d"}}}`:         {"/Of/x/DEEP", 12, Unknown, "DEEP"},
		`{"any":[[{"a":1,"a":2}]]}`:         {"/any/0/0/a", 16, Repeated, "a"},
		`{"raw":{"a":{"~":1,"~":2}}}`:       {"/raw/a/~0", 19, Repeated, "~"},
		`{"Never":"x"}`:                     {"/Never", 1, Unknown, "Never"},
		`{"private":"x"}`:                   {"/private", 1, Unknown, "private"},
		`{"embedded":{}}`:                   {"/embedded", 1, Unknown, "embedded"},
		`{} {}`:                             {"", 3, Trailing, ""},
		"{\"name\":\"\xff\"}":               {"", 0, NotUTF8, ""},
		strings.Repeat("[", 600) + strings.Repeat("]", 600): {strings.Repeat("/0", 513), 513, TooDeep, ""},
	} {
		var got *Error
		err := Check([]byte(text), &document{})
		if err != nil && !errors.As(err, &got) {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
	}
}

func TestWhatIsNoJSONIsRefused(t *testing.T) {
	for _, text := range []string{``, ` `, `{`, `[1,`, `{"name"`, `{"name":}`, `{1:2}`, `nul`, `[1}`, `{"a":1,}`, `"`} {
		var d any
		if err := Unmarshal([]byte(text), &d); err == nil {
			t.Errorf("%q was accepted", text)
		}
	}
}

func TestMessagesNameTheMember(t *testing.T) {
	for text, want := range map[string]string{
		`{"NAME":1}`:                  `unknown field "NAME"`,
		`{"sub":{"x":1}}`:             `unknown field "x" in /sub`,
		`{"headers":{"a":"","a":""}}`: `member "a" occurs twice in /headers`,
		`1 2`:                         "has more after the JSON value",
	} {
		if err := Check([]byte(text), &document{}); err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
}

func TestAbsentMembersKeepWhatIsThere(t *testing.T) {
	got := document{Name: "a", Headers: map[string]string{"A": "1"}}
	if err := Unmarshal([]byte(`{"headers":{"B":"2"}}`), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(document{Name: "a", Headers: map[string]string{"A": "1", "B": "2"}}, got, cmp.AllowUnexported(document{}, embedded{})); diff != "" {
		t.Error(diff)
	}
}

// FuzzUnmarshal: what is accepted is what encoding/json reads without regard to the
// order of members, and every name in it is one that the struct has.
func FuzzUnmarshal(f *testing.F) {
	for _, seed := range []string{`{"name":"a","NAME":"b"}`, `{"sub":{"list":[{}]},"any":{"a":[1,{"b":null}]}}`, `{"headers":{"a":"1"}}`, `[]`, `{"Of":{"x":{"deep":""}}}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var got, want document
		if err := Unmarshal(text, &got); err != nil {
			return
		}
		if err := json.Unmarshal(text, &want); err != nil {
			t.Fatalf("%q was accepted: %v", text, err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%q: got %+v, want %+v", text, got, want)
		}
		var tree any
		if err := json.Unmarshal(text, &tree); err != nil {
			t.Fatal(err)
		}
		object, _ := tree.(map[string]any)
		for name := range object {
			switch name {
			case "name", "sub", "list", "headers", "Of", "any", "raw", "at", "-", "deep":
			default:
				t.Fatalf("%q: the member %q was accepted", text, name)
			}
		}
		// Sorted and written again, it is the same.
		again, err := json.Marshal(tree)
		if err != nil {
			t.Fatal(err)
		}
		var sorted document
		if err := Unmarshal(again, &sorted); err != nil {
			t.Fatalf("%q is refused when it is written as %q: %v", text, again, err)
		}
		sorted.Raw, got.Raw = nil, nil // keeps its spaces
		if !reflect.DeepEqual(got, sorted) {
			t.Fatalf("%q: got %+v, sorted %+v", text, got, sorted)
		}
	})
}
