package server

import (
	"context"
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"

	"github.com/ory/fosite"

	"github.com/gatewarden/gatewarden/fault"
)

// credentials are what a client said about itself, by exactly one method.
type credentials struct {
	method     string // client_secret_basic, client_secret_post, none
	id, secret string
	// rawID and rawSecret are basic credentials that were not form-encoded.
	rawID, rawSecret string
}

// clientCredentials reads the client's credentials (RFC 6749 section 2.3.1). More
// than one method is an error (section 2.3).
func clientCredentials(r *http.Request, form url.Values) (credentials, error) {
	_, hasSecret := form["client_secret"]
	if form.Has("client_assertion") || form.Has("client_assertion_type") {
		return credentials{}, fosite.ErrInvalidClient.WithHint("Client assertions are not supported.")
	}
	header := r.Header.Values("Authorization")
	if len(header) == 0 {
		c := credentials{method: "none", id: form.Get("client_id")}
		if c.id == "" {
			return c, fosite.ErrInvalidClient.WithHint("Client credentials are missing.")
		}
		if hasSecret {
			c.method, c.secret = "client_secret_post", form.Get("client_secret")
		}
		return c, nil
	}
	if len(header) > 1 || hasSecret {
		return credentials{}, fosite.ErrInvalidRequest.WithHint("A client must authenticate with exactly one method.")
	}
	scheme, encoded, _ := strings.Cut(header[0], " ")
	decoded, err := base64.StdEncoding.Strict().DecodeString(strings.TrimSpace(encoded))
	id, secret, colon := strings.Cut(string(decoded), ":")
	if !strings.EqualFold(scheme, "Basic") || err != nil || !colon || id == "" {
		return credentials{}, fosite.ErrInvalidClient.WithHint("The Authorization header does not hold basic credentials.")
	}
	c := credentials{method: "client_secret_basic", id: id, secret: secret, rawID: id, rawSecret: secret}
	if plain, err := url.QueryUnescape(id); err == nil {
		c.id = plain
	}
	if plain, err := url.QueryUnescape(secret); err == nil {
		c.secret = plain
	}
	if named := form.Get("client_id"); named != "" && named != c.id && named != c.rawID {
		return credentials{}, fosite.ErrInvalidRequest.WithHint("The parameter 'client_id' names another client than the Authorization header.")
	}
	return c, nil
}

// authenticateClient returns the client that makes the request. An unknown client
// and a wrong secret get the same answer.
func (s *Server) authenticateClient(ctx context.Context, r *http.Request, form url.Values) (*client, error) {
	creds, err := clientCredentials(r, form)
	if err != nil {
		return nil, err
	}
	c, err := s.clients.get(ctx, creds.id)
	if fault.Is(err, fault.NotFound) && creds.rawID != "" && creds.rawID != creds.id {
		c, err = s.clients.get(ctx, creds.rawID)
	}
	if fault.Is(err, fault.NotFound) {
		return nil, s.verifySecret(ctx, &client{}, creds)
	}
	if err != nil {
		return nil, err
	}
	if c.Public() {
		if creds.method != "none" && creds.secret != "" {
			return nil, s.verifySecret(ctx, &client{}, creds)
		}
	} else if err := s.verifySecret(ctx, c, creds); err != nil {
		return nil, err
	}
	if c.Disabled {
		return nil, fosite.ErrInvalidClient.WithHint("The client is disabled.")
	}
	return c, nil
}

// verifySecret checks the secret first, so that only who knows it is told what else
// is wrong. It fails for a client without a secret, which stands for an unknown one
// too.
func (s *Server) verifySecret(ctx context.Context, c *client, creds credentials) error {
	failed := fosite.ErrInvalidClient
	if creds.method == "none" {
		return failed.WithHint("Client authentication is required.")
	}
	if creds.secret == "" {
		return failed
	}
	hash := c.SecretHash
	if hash == "" {
		hash = s.o.DummySecretHash
	}
	err := s.o.ClientSecrets.Verify(ctx, hash, creds.secret)
	if fault.Is(err, fault.Unauthenticated) && creds.rawSecret != "" && creds.rawSecret != creds.secret {
		// Many clients send the secret as it is instead of form-encoded.
		err = s.o.ClientSecrets.Verify(ctx, c.SecretHash, creds.rawSecret)
	}
	switch {
	case fault.Is(err, fault.Unauthenticated):
		return failed
	case err != nil:
		return err
	case c.SecretHash == "":
		return failed
	case c.AuthMethodSet && c.TokenEndpointAuthMethod != creds.method:
		return failed.WithHintf("The client must authenticate with '%s'.", c.TokenEndpointAuthMethod)
	case c.TokenEndpointAuthMethod != "" && c.TokenEndpointAuthMethod != "client_secret_basic" && c.TokenEndpointAuthMethod != "client_secret_post":
		return failed.WithHint("The client's authentication method is not supported.")
	case c.SecretExpiresAt > 0 && s.o.Now().Unix() >= c.SecretExpiresAt:
		return failed.WithHint("The client secret has expired.")
	}
	return nil
}

// authenticatedClient gives fosite the client that the endpoint authenticated.
func (s *Server) authenticatedClient(ctx context.Context, _ *http.Request, _ url.Values) (fosite.Client, error) {
	return unitOf(ctx).client, nil
}
