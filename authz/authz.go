// Package authz answers whether the subject may: one file per authorizer, listed in catalog.go.
package authz

import (
	"context"

	"github.com/gatewarden/gatewarden/access"
)

// Authorizer decides one request. An error means that it could not decide, which
// refuses the request: fault.Unavailable, fault.Timeout, fault.RateLimited; or
// fault.Forbidden, a denial whose cause the log should have.
type Authorizer interface {
	Authorize(ctx context.Context, in access.Input) (access.Verdict, error)
}

// Question is what a policy decision is about.
type Question struct {
	Subject, Action, Resource string
	Context                   map[string]any
}

// Warden decides by stored policies. The error means that it could not decide.
type Warden interface {
	Allowed(ctx context.Context, q Question) (Answer, error)
}

// Answer is a Warden's verdict; the zero value denies.
type Answer struct {
	Allow bool
	// Reason is policy_allowed, policy_denied (a deny policy matched) or no_policy_match.
	Reason string
	// Policies are the ids of the policies that decided.
	Policies []string
}
