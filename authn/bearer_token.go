package authn

import (
	"context"
	"time"

	"github.com/gatewarden/gatewarden/access"
)

// bearerTokenConfig configures the authenticator bearer_token.
type bearerTokenConfig struct {
	// TokenFrom says where the token is.
	TokenFrom *TokenFrom `json:"token_from"`
	// Prefix is what a token must start with to be looked at; it is not cut off.
	Prefix string `json:"prefix"`
	sessionConfig
}

func bearerTokenDefaults() bearerTokenConfig {
	return bearerTokenConfig{sessionConfig: sessionDefaults("sub")}
}

// bearerToken asks another service whose session a token is.
type bearerToken struct {
	token   tokenReader
	session *sessionEndpoint
}

var (
	_ CredentialReader = (*bearerToken)(nil)
	_ SchemeReader     = (*bearerToken)(nil)
	_ Challengeable    = (*bearerToken)(nil)
	_ Discloser        = (*bearerToken)(nil)
	_ access.Lease     = (*bearerToken)(nil)
)

func newBearerToken(c bearerTokenConfig, d Deps, cache *factsCache) (Authenticator, error) {
	token, err := newTokenReader(c.TokenFrom, c.Prefix)
	if err != nil {
		return nil, err
	}
	refuse := func(message string) error { return invalidToken(message, nil) }
	session, err := newSessionEndpoint(c.sessionConfig, "bearer_token", "Authorization", refuse, d, cache)
	if err != nil {
		return nil, err
	}
	return &bearerToken{token, session}, nil
}

// CredentialPlaces implements CredentialReader.
func (a *bearerToken) CredentialPlaces() (headers, cookies []string) { return a.token.places() }

// Schemes implements SchemeReader.
func (a *bearerToken) Schemes() []string { return a.token.schemes() }

// Challenges implements Challengeable.
func (a *bearerToken) Challenges() []string { return a.token.challenges() }

// Authenticate returns ErrNoCredentials when there is no token with the prefix.
func (a *bearerToken) Authenticate(ctx context.Context, r *access.Request) (access.Subject, error) {
	token, f, err := a.accept(ctx, r)
	if err != nil {
		return access.Subject{}, err
	}
	if !a.token.bearer { // the service is shown Authorization, whatever is in the other place
		return f.subject, nil
	}
	return withToken(f.subject, token), nil
}

// Discloses implements Discloser.
func (a *bearerToken) Discloses() {}

// Renew implements access.Lease. A cached answer holds until its time to live is over.
func (a *bearerToken) Renew(ctx context.Context, r *access.Request) (time.Time, error) {
	_, f, err := a.accept(ctx, r)
	if err != nil {
		return time.Time{}, err
	}
	return f.expires, nil
}

func (a *bearerToken) accept(ctx context.Context, r *access.Request) (token string, f *facts, err error) {
	if token, err = a.token.read(r); err != nil {
		return "", nil, err
	}
	f, err = a.session.accept(ctx, r)
	return token, f, err
}
