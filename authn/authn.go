// Package authn answers who is asking: one file per authenticator, listed in catalog.go.
//
// A rule runs its authenticators in order. The first that is responsible decides:
// ErrNoCredentials hands the request to the next one, any other error ends the
// chain, and bad credentials are never ErrNoCredentials.
package authn

import (
	"context"
	"errors"

	"github.com/gatewarden/gatewarden/access"
)

// ErrNoCredentials means that the request carries nothing for this authenticator.
var ErrNoCredentials = errors.New("no credentials for this authenticator")

// Authenticator establishes the subject of a request. Errors: ErrNoCredentials,
// fault.Unauthenticated for bad credentials, fault.Forbidden for good credentials
// that do not reach (scope, audience, issuer), fault.Unavailable or fault.Timeout
// when it could not be found out.
type Authenticator interface {
	Authenticate(ctx context.Context, r *access.Request) (access.Subject, error)
}

// Introspector finds out what an access token stands for. An unknown, expired or
// revoked token is an inactive access.Token and no error; an error means that it
// could not be found out (fault.Unavailable, fault.Timeout).
type Introspector interface {
	Introspect(ctx context.Context, token string) (access.Token, error)
}
