package mutators

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/fault"
)

// ClientCredentialsConfig says which token of the gateway's own goes upstream.
type ClientCredentialsConfig struct{ TokenRequest }

func defaultClientCredentials() ClientCredentialsConfig {
	return ClientCredentialsConfig{TokenRequest: defaultTokenRequest()}
}

type clientCredentials struct{ *foreignToken }

var (
	_ Mutator     = (*clientCredentials)(nil)
	_ HeaderOwner = (*clientCredentials)(nil)
)

func newClientCredentials(d Deps, c ClientCredentialsConfig) (Mutator, error) {
	f, err := newForeignToken(d, "oauth2_client_credentials", c.TokenRequest, c)
	if c.ClientSecret == "" {
		err = errors.Join(err, errors.New("client_secret: required"))
	}
	if err != nil {
		return nil, err
	}
	return &clientCredentials{f}, nil
}

// Mutate sets a token that was issued to the gateway itself (RFC 6749 section 4.4).
func (m *clientCredentials) Mutate(ctx context.Context, _ access.Input, p *access.Pass) error {
	if err := ctx.Err(); err != nil {
		return m.failed(err)
	}
	err := m.set(ctx, p, "grant_type", "client_credentials")
	if fault.Is(err, fault.Forbidden) { // it is the gateway that was refused, not the client
		return fault.Wrap(fault.Unavailable, m.name+"_unavailable", "a service that this request depends on is not available", fmt.Errorf("refused: %w", errors.Unwrap(err)))
	}
	return err
}

func joinScope(scope []string) string { return strings.Join(scope, " ") }
