package server

//lint:file-ignore ST1005 errors are shown to clients, as sentences

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/ory/fosite"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/keys"
	"github.com/gatewarden/gatewarden/oauth2"
)

// What RFC 7523 section 2.2 calls the one type of assertion that clients
// authenticate with.
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// AssertionAudience says whom a client assertion must be addressed to.
type AssertionAudience int

// The choices of AssertionAudience.
const (
	// AudienceIssuer wants the issuer and nobody else (draft-ietf-oauth-rfc7523bis,
	// FAPI 2.0): an assertion that another server was sent cannot be used here.
	AudienceIssuer AssertionAudience = iota
	// AudienceEndpoints accepts the token endpoint and the endpoint that is called too,
	// and further audiences beside them (RFC 7523 section 3).
	AudienceEndpoints
)

// assertion is a client assertion (RFC 7523 section 2.2) of which nothing but its form
// is known.
type assertion struct {
	*keys.JWS
	clientID string // sub, which nobody has vouched for yet
}

// parseAssertion reads a client assertion. The error is for the client.
func parseAssertion(compact string) (*assertion, error) {
	t, err := keys.ParseJWS(compact, keys.Asymmetric())
	if err != nil {
		return nil, fosite.ErrInvalidClient.WithHint("The parameter 'client_assertion' is not a JWT that is signed with an allowed algorithm.")
	}
	switch t.Type {
	case "", "jwt", "client-authentication+jwt":
	default:
		// A token that was made for another purpose authenticates nobody.
		return nil, fosite.ErrInvalidClient.WithHint("The client assertion has the type of another kind of token.")
	}
	c, err := readClaims(t.Unverified())
	if err != nil {
		return nil, fosite.ErrInvalidClient.WithHint(err.Error())
	}
	if c.text("sub") == "" {
		return nil, fosite.ErrInvalidClient.WithHint("The client assertion has no claim 'sub'.")
	}
	return &assertion{JWS: t, clientID: c.text("sub")}, nil
}

// verifyAssertion authenticates the client with private_key_jwt (OpenID Connect Core
// section 9). Spending the jti is the last step, so that only the client itself can
// make the replay store grow.
func (s *Server) verifyAssertion(ctx context.Context, c *client, a *assertion, endpoint string) error {
	invalid := func(err error) error { return fosite.ErrInvalidClient.WithHint("The client assertion: " + err.Error()) }
	said, err := s.verifyByClient(ctx, c, a.JWS, c.TokenEndpointAuthAlg)
	var known *fault.Error
	if errors.As(err, &known) {
		return err // the client's keys cannot be had, which is not its fault
	}
	if err != nil {
		return invalid(err)
	}
	expires, err := said.fresh(s.o.Now(), s.o.ClientAssertions.MaxLifespan)
	if err != nil {
		return invalid(err)
	}
	id, err := said.jti()
	switch {
	case err != nil:
		return invalid(err)
	case said.text("iss") != c.ID || said.text("sub") != c.ID:
		return invalid(errors.New("The claims 'iss' and 'sub' must be the client id."))
	case !s.addressed(said.audience(), endpoint):
		return invalid(errors.New("The claim 'aud' must be the issuer."))
	}
	return s.useOnce(ctx, "client assertion "+c.ID, id, expires.Add(clockSkew), fosite.ErrInvalidClient.WithHint("The client assertion was used before."))
}

// addressed reports whether an assertion for these audiences is for this server.
func (s *Server) addressed(audience []string, endpoint string) bool {
	if s.o.ClientAssertions.Audience == AudienceIssuer {
		return len(audience) == 1 && audience[0] == s.o.Issuer
	}
	return slices.ContainsFunc(audience, func(a string) bool {
		return a == s.o.Issuer || a == s.base+tokenPath || a == s.base+endpoint
	})
}

// useOnce spends a one-time value of all nodes; spent is the error for who comes late.
func (s *Server) useOnce(ctx context.Context, namespace, id string, expires time.Time, spent error) error {
	err := s.o.Store.UseJTI(ctx, namespace, id, expires)
	if errors.Is(err, oauth2.ErrSpent) {
		return spent
	}
	return err
}
