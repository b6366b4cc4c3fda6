package rules

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/authn"
	"github.com/gatewarden/gatewarden/handler"
	"github.com/gatewarden/gatewarden/rules/spec"
)

// closable is an authenticator that notes when it is closed.
type closable struct {
	fakeAuthn
	closed *[]string
}

func (c closable) Close() error {
	*c.closed = append(*c.closed, c.Value)
	return nil
}

func TestHandlersThatAReloadDropsAreClosedOnceAndOthersLive(t *testing.T) {
	var closed []string
	c, _ := compiler()
	c.Authenticators.Catalog = handler.Catalog[authn.Authenticator]{"x": handler.Of(func() config { return config{} }, func(v config) (authn.Authenticator, error) {
		return closable{fakeAuthn(v), &closed}, nil
	})}
	defs := func(values ...string) (list []spec.Rule) {
		for _, v := range values {
			list = append(list, spec.Rule{ID: v, Match: spec.Match{URL: "http://h/" + v, Methods: []string{"GET"}},
				Authenticators: []spec.Handler{{Handler: "x", Config: []byte(`{"value": "` + v + `"}`)}}, Authorizer: &spec.Handler{Handler: "x"}})
		}
		return list
	}
	first, err := c.Compile(spec.ListOf(defs("a", "b")...), nil)
	if err != nil {
		t.Fatal(err)
	}
	second, err := c.Compile(spec.ListOf(defs("b", "c")...), first)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		name      string
		old, next *Set
		want      []string
	}{
		{"nothing before", nil, first, nil},
		{"a is dropped, b is kept", first, second, []string{"a"}},
	} {
		closed = nil
		if err := Retire(step.old, step.next); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(step.want, closed); diff != "" {
			t.Errorf("%s (-want +got)\n%s", step.name, diff)
		}
	}
	closed = nil
	if err := Retire(second, nil); err != nil || len(closed) != 2 {
		t.Errorf("at the end: closed %v, %v", closed, err)
	}
}
