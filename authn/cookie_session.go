package authn

import (
	"context"
	"errors"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

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

var (
	_ CredentialReader = (*cookieSession)(nil)
	_ Discloser        = (*cookieSession)(nil)
	_ access.Lease     = (*cookieSession)(nil)
)

func newCookieSession(c cookieSessionConfig, d Deps, cache *factsCache) (Authenticator, error) {
	for _, name := range c.Only {
		if !httpguts.ValidHeaderFieldName(name) {
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
	f, err := a.accept(ctx, r)
	if err != nil {
		return access.Subject{}, err
	}
	return f.subject, nil
}

// Discloses implements Discloser.
func (a *cookieSession) Discloses() {}

// Renew implements access.Lease. A cached answer holds until its time to live is over.
func (a *cookieSession) Renew(ctx context.Context, r *access.Request) (time.Time, error) {
	f, err := a.accept(ctx, r)
	if err != nil {
		return time.Time{}, err
	}
	return f.expires, nil
}

func (a *cookieSession) accept(ctx context.Context, r *access.Request) (*facts, error) {
	if !a.responsible(r) {
		return nil, ErrNoCredentials
	}
	return a.session.accept(ctx, r)
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
