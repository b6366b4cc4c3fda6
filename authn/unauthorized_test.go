package authn

import (
	"testing"

	"github.com/gatewarden/gatewarden/fault"
)

func TestUnauthorizedRefusesGoodCredentialsToo(t *testing.T) {
	_, err := build(t, Deps{}, "unauthorized", "").Authenticate(t.Context(), bearerRequest("good"))
	if !fault.Is(err, fault.Unauthenticated) || fault.ReasonOf(err) != "unauthorized" {
		t.Errorf("got %v", err)
	}
}
