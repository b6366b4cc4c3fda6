package authn

import (
	"context"
	"errors"
	"strings"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/fault"
)

// cookieSessionConfig configures the authenticator cookie_session.
type cookieSessionConfig struct {
	// Only are the cookies of a session; empty: any cookie may be one.
	Only []string `json:"only"`
	sessionConfig
}

func cookieSessionDefaults() cookieSessionConfig {
	return cookieSessionConfig{sessionConfig: sessionDefaults("subject")}
}

// cookieSession asks another service, such as Ory Kratos, whose session the cookies of
// a request are.
type cookieSession struct {
	only    []string
	session *sessionEndpoint
}

var _ CredentialReader = (*cookieSession)(nil)

func newCookieSession(c cookieSessionConfig, d Deps, cache *factsCache) (Authenticator, error) {
	for _, name := range c.Only {
		if !isToken(name) {
			return nil, errors.New("only must list names of cookies")
		}
	}
	refuse := func(message string) error { return fault.New(fault.Unauthenticated, "invalid_credentials", message) }
	session, err := newSessionEndpoint(c.sessionConfig, "cookie_session", "Cookie", refuse, d, cache)
	if err != nil {
		return nil, err
	}
	return &cookieSession{c.Only, session}, nil
}

// CredentialPlaces implements CredentialReader.
func (a *cookieSession) CredentialPlaces() (headers, cookies []string) { return nil, a.only }

// Authenticate returns ErrNoCredentials when none of the cookies is there.
func (a *cookieSession) Authenticate(ctx context.Context, r *access.Request) (access.Subject, error) {
	if !a.responsible(r) {
		return access.Subject{}, ErrNoCredentials
	}
	return a.session.authenticate(ctx, r)
}

func (a *cookieSession) responsible(r *access.Request) bool {
	fields := r.Header["Cookie"]
	for _, name := range a.only {
		if _, found := cookie(fields, name); found > 0 {
			return true
		}
	}
	if len(a.only) > 0 {
		return false
	}
	for _, field := range fields {
		if strings.Contains(field, "=") {
			return true
		}
	}
	return false
}
