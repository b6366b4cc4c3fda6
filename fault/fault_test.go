package fault

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWhatAnErrorSaysToWhom(t *testing.T) {
	cause := errors.New("password of the database is wrong")
	type said struct {
		Kind    Kind
		Reason  string
		Message string // what callers are told
	}
	for _, c := range []struct {
		name string
		err  error
		want said
	}{
		{"an error of its own kind", New(Forbidden, "policy_denied", "not allowed"), said{Forbidden, "policy_denied", "not allowed"}},
		{"a wrapped one", fmt.Errorf("deciding: %w", New(NotFound, "", "no such rule")), said{NotFound, "not_found", "no such rule"}},
		{"the outermost kind counts", Wrap(Unavailable, "", "try later", New(Forbidden, "inner", "x")), said{Unavailable, "inner", "try later"}},
		{"anything else is internal and says nothing", cause, said{Internal, "internal", ""}},
		{"internal text stays inside", Wrap(Internal, "", "broken", cause), said{Internal, "internal", ""}},
		{"a deadline is a timeout", fmt.Errorf("asking: %w", context.DeadlineExceeded), said{Timeout, "timeout", ""}},
		{"a cause is not told", Wrap(Unavailable, "database_unavailable", "try later", cause), said{Unavailable, "database_unavailable", "try later"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := said{KindOf(c.err), ReasonOf(c.err), MessageOf(c.err)}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestEveryKindHasItsStatus(t *testing.T) {
	got := map[string]int{}
	for k := Internal; k <= TooLong+1; k++ {
		got[fmt.Sprint(int(k), " ", k)] = k.HTTPStatus()
	}
	want := map[string]int{
		"0 internal": 500, "1 invalid": 400, "2 unauthenticated": 401, "3 forbidden": 403, "4 not_found": 404, "5 conflict": 409,
		"6 too_large": 413, "7 rate_limited": 429, "8 unavailable": 503, "9 timeout": 504, "10 too_long": 414, "11 internal": 500,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestWrappingNothingIsNothing(t *testing.T) {
	if err := Wrap(Invalid, "x", "y", nil); err != nil {
		t.Errorf("got %v, want nil", err)
	}
	if Is(nil, Internal) {
		t.Error("nil has a kind")
	}
}

func TestTheZeroErrorIsInternal(t *testing.T) {
	if got := KindOf(&Error{}); got != Internal {
		t.Errorf("got %v, want internal", got)
	}
}

func TestTheFirstHeaderOfAChainIsTheErrors(t *testing.T) {
	inner := &Error{Header: http.Header{"Dpop-Nonce": {"n"}}}
	for _, c := range []struct {
		err  error
		want http.Header
	}{
		{nil, nil}, {errors.New("x"), nil}, {New(Invalid, "a", "b"), nil},
		{fmt.Errorf("x: %w", Wrap(Forbidden, "a", "b", inner)), inner.Header},
		{&Error{Header: http.Header{"A": {"outer"}}, Err: inner}, http.Header{"A": {"outer"}}},
	} {
		if diff := cmp.Diff(c.want, HeaderOf(c.err)); diff != "" {
			t.Errorf("%v (-want +got):\n%s", c.err, diff)
		}
	}
}
