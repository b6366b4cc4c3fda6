package policies_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/policies"
)

// places returns the JSON pointers of all faults in err.
func places(err error) []string {
	var list []string
	var walk func(error)
	walk = func(err error) {
		if many, ok := err.(interface{ Unwrap() []error }); ok {
			for _, e := range many.Unwrap() {
				walk(e)
			}
			return
		}
		var f *fault.Error
		if errors.As(err, &f) && f.Kind == fault.Invalid {
			list = append(list, f.Pointer)
		}
	}
	walk(err)
	slices.Sort(list)
	return list
}

func TestAPolicyIsCheckedBeforeItIsWritten(t *testing.T) {
	for name, c := range map[string]struct {
		policy string
		want   []string
	}{
		"good":              {`{"id":"a/b c","subjects":["<.*>"],"effect":"deny","resources":["r"],"actions":["<(?!x)y>"],"conditions":{"o":{"type":"EqualsSubjectCondition"},"p":{"type":"StringPairsEqualCondition","options":{}},"r":{"type":"ResourceContainsCondition","options":null}}}`, nil},
		"everything is off": {`{"id":"","subjects":[],"effect":"maybe","resources":["<"],"actions":["a","<a)|(b>"],"conditions":{"a/b":{"type":"X"},"c":{"type":"CIDRCondition","options":{"cidr":"x"}},"d":{"type":"BooleanCondition","options":{"valeu":true}},"e":{"kind":"X"},"f":{"type":"StringMatchCondition","options":{"matches":"("}},"g":{"type":"StringMatchCondition","options":{"matches":"a)|(?:b"}}}}`, []string{"/actions/1", "/conditions/a~1b/type", "/conditions/c/options", "/conditions/d/options", "/conditions/e", "/conditions/f/options", "/conditions/g/options", "/effect", "/id", "/resources/0", "/subjects"}},
		"control bytes":     {`{"id":"a\nb","subjects":["s"],"effect":"allow","resources":["r"],"actions":["a"]}`, []string{"/id"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := places(policies.Validate(written(t, c.policy)[0]))
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("places (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFaultsNamesBrokenStoredPolicies(t *testing.T) {
	e := loaded(t, newMemory(written(t, house+`{"id":"z","subjects":["<"],"effect":"deny","resources":["r"],"actions":["a"]}`)...))
	faults := e.Faults()
	if len(faults) != 1 || !slices.Equal(places(faults["z"]), []string{"/subjects/0"}) {
		t.Errorf("got %v", faults)
	}
}

// A policy of any text must be compiled or refused, and must not panic when asked.
func FuzzPolicy(f *testing.F) {
	for _, s := range []string{"a<b>c", "<", "<a|b>", "<(?!x).*>", `<\Q>x<\E>`, "<(?s)a>", "<a)|(b>", "<[>", "<(?<n>a)\\k<n>>"} {
		f.Add(s, "a", true)
	}
	f.Fuzz(func(t *testing.T, template, value string, deny bool) {
		effect := "allow"
		if deny {
			effect = "deny"
		}
		p := policies.Policy{ID: "p", Subjects: []string{template}, Actions: []string{"a"}, Resources: []string{"r"}, Effect: effect}
		e := loaded(t, newMemory(p))
		got := ask1(t, e, value)
		if got.Allow && deny {
			t.Errorf("a deny policy allowed %q by %q", value, template)
		}
		if got.Allow && policies.Validate(p) != nil {
			t.Errorf("a broken policy allowed %q by %q", value, template)
		}
	})
}
