package handler

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type config struct {
	Name    string            `json:"name"`
	Headers map[string]string `json:"headers"`
	List    []string          `json:"list"`
}

func catalog() Catalog[config] {
	return Catalog[config]{"x": Of(
		func() config { return config{Name: "default", List: []string{"a", "b"}} },
		func(c config) (config, error) { return c, nil },
	)}
}

func TestOverrideMergesObjectsAndReplacesLists(t *testing.T) {
	got, err := catalog().Build("x", Raw(`{"headers":{"A":"1","B":"2"}}`), Raw(`{"headers":{"B":"3"},"list":["c"]}`))
	if err != nil {
		t.Fatal(err)
	}
	want := config{Name: "default", Headers: map[string]string{"A": "1", "B": "3"}, List: []string{"c"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestUnknownAndDuplicateMembersAndNamesAreRefused(t *testing.T) {
	for _, raw := range []string{`{"nmae":"x"}`, `{"Name":"x"}`, "{\"name\":\"\xff\"}", `{"name":"a","name":"b"}`, `{"headers":{"A":"1","A":"2"}}`, `{"name":1}`, `[`} {
		if _, err := catalog().Build("x", nil, Raw(raw)); err == nil {
			t.Errorf("%s was accepted", raw)
		}
	}
	var unknown *UnknownError
	if _, err := catalog().Build("y", nil, nil); !errors.As(err, &unknown) {
		t.Errorf("got %v, want UnknownError", err)
	}
}
