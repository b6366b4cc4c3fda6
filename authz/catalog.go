package authz

import (
	"time"

	"github.com/gatewarden/gatewarden/handler"
)

// Deps are what authorizers need.
type Deps struct {
	// Warden answers the policy authorizer. Nil: a rule that names policy is refused
	// at load.
	Warden Warden
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Catalog returns the authorizers by name.
func Catalog(d Deps) handler.Catalog[Authorizer] {
	return handler.Catalog[Authorizer]{
		"allow":  handler.Of(defaults[AllowConfig], newAllow),
		"deny":   handler.Of(defaults[DenyConfig], newDeny),
		"policy": handler.Of(defaultPolicy, func(c PolicyConfig) (Authorizer, error) { return newPolicy(d, c) }),
	}
}

// defaults is the defaults function of a handler whose defaults are zero values.
func defaults[C any]() C {
	var c C
	return c
}
