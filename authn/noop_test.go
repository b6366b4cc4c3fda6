package authn

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/access"
)

func TestNoopVouchesForNobody(t *testing.T) {
	got := must(build(t, Deps{}, "noop", "").Authenticate(t.Context(), bearerRequest("x")))(t)
	if diff := cmp.Diff(access.Subject{Via: "noop"}, got); diff != "" {
		t.Error(diff)
	}
}
