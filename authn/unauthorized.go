package authn

import (
	"context"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/fault"
)

// unauthorizedConfig has no fields.
type unauthorizedConfig struct{}

// unauthorized refuses every request with 401.
type unauthorized struct{}

func newUnauthorized(unauthorizedConfig) (Authenticator, error) { return unauthorized{}, nil }

// Authenticate always returns fault.Unauthenticated.
func (unauthorized) Authenticate(context.Context, *access.Request) (access.Subject, error) {
	return access.Subject{}, fault.New(fault.Unauthenticated, "unauthorized", "no request is let through here")
}
