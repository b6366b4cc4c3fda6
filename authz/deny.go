package authz

import (
	"context"

	"github.com/gatewarden/gatewarden/access"
)

// DenyConfig is empty: deny has nothing to set.
type DenyConfig struct{}

type deny struct{}

var _ Authorizer = (*deny)(nil)

func newDeny(DenyConfig) (Authorizer, error) { return &deny{}, nil }

// Authorize denies every request.
func (*deny) Authorize(context.Context, access.Input) (access.Verdict, error) {
	return access.Verdict{Reason: "denied"}, nil
}
