package authn

import (
	"context"
	"errors"

	"github.com/gatewarden/gatewarden/access"
)

// anonymousConfig configures the authenticator anonymous.
type anonymousConfig struct {
	// Subject is the subject of requests without an Authorization header.
	Subject string `json:"subject"`
}

// anonymous gives requests that carry no Authorization header a fixed subject.
type anonymous struct{ subject access.Subject }

func newAnonymous(c anonymousConfig) (Authenticator, error) {
	if c.Subject == "" {
		return nil, errors.New("subject must not be empty")
	}
	return &anonymous{access.Subject{ID: c.Subject, Via: "anonymous"}}, nil
}

// Authenticate returns ErrNoCredentials when there is an Authorization header.
func (a *anonymous) Authenticate(_ context.Context, r *access.Request) (access.Subject, error) {
	for _, field := range r.Header["Authorization"] {
		if field != "" {
			return access.Subject{}, ErrNoCredentials
		}
	}
	return a.subject, nil
}
