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
	// method is client_secret_basic, client_secret_post, private_key_jwt, or none, which
	// is the method of a client that shows a certificate too.
	method     string
	id, secret string
	// rawID and rawSecret are basic credentials that were not form-encoded.
	rawID, rawSecret string
	assertion        *assertion // of private_key_jwt
}

// clientCredentials reads the client's credentials (RFC 6749 section 2.3.1). More
// than one method is an error (section 2.3).
func clientCredentials(r *http.Request, form url.Values) (credentials, error) {
	_, hasSecret := form["client_secret"]
	header := r.Header.Values("Authorization")
	if form.Has("client_assertion") || form.Has("client_assertion_type") {
		if len(header) > 0 || hasSecret {
			return credentials{}, fosite.ErrInvalidRequest.WithHint("A client must authenticate with exactly one method.")
		}
		return assertedCredentials(form)
	}
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

// assertedCredentials reads a client assertion (RFC 7521 section 4.2).
func assertedCredentials(form url.Values) (credentials, error) {
	if form.Get("client_assertion_type") != assertionType {
		return credentials{}, fosite.ErrInvalidClient.WithHintf("The parameter 'client_assertion_type' must be '%s'.", assertionType)
	}
	a, err := parseAssertion(form.Get("client_assertion"))
	if err != nil {
		return credentials{}, err
	}
	if named := form.Get("client_id"); named != "" && named != a.clientID {
		return credentials{}, fosite.ErrInvalidClient.WithHint("The parameter 'client_id' names another client than the client assertion.")
	}
	return credentials{method: "private_key_jwt", id: a.clientID, assertion: a}, nil
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
		c, err = &client{}, nil // whose authentication fails
	}
	if err == nil {
		err = s.verifyCredentials(ctx, c, creds, r.URL.Path)
	}
	if err != nil {
		return nil, err
	}
	if c.Disabled {
		return nil, fosite.ErrInvalidClient.WithHint("The client is disabled.")
	}
	return c, nil
}

// verifyCredentials checks the credentials by the client's registered method. A client
// without id stands for an unknown one.
func (s *Server) verifyCredentials(ctx context.Context, c *client, creds credentials, endpoint string) error {
	switch method := c.TokenEndpointAuthMethod; {
	case creds.assertion != nil && method == "private_key_jwt":
		return s.verifyAssertion(ctx, c, creds.assertion, endpoint)
	case creds.assertion != nil:
		return fosite.ErrInvalidClient
	case creds.method == "none" && c.Public():
		return nil
	case creds.method == "none" && (method == "tls_client_auth" || method == "self_signed_tls_client_auth"):
		return s.verifyCertificate(ctx, c)
	case c.Public() && creds.secret == "":
		return nil
	case c.Public():
		return s.verifySecret(ctx, &client{}, creds)
	}
	return s.verifySecret(ctx, c, creds)
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
	hashes := []string{s.o.DummySecretHash}
	if c.SecretHash != "" {
		hashes = append([]string{c.SecretHash}, c.RotatedSecretHashes...)
	}
	err := s.o.ClientSecrets.VerifyAny(ctx, hashes, creds.secret)
	if fault.Is(err, fault.Unauthenticated) && creds.rawSecret != "" && creds.rawSecret != creds.secret {
		// Many clients send the secret as it is instead of form-encoded.
		err = s.o.ClientSecrets.VerifyAny(ctx, hashes, creds.rawSecret)
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
		return failed.WithHintf("The client must authenticate with '%s'.", c.TokenEndpointAuthMethod)
	case c.SecretExpiresAt > 0 && s.o.Now().Unix() >= c.SecretExpiresAt:
		return failed.WithHint("The client secret has expired.")
	}
	return nil
}

// authenticatedClient gives fosite the client that the endpoint authenticated.
func (s *Server) authenticatedClient(ctx context.Context, _ *http.Request, _ url.Values) (fosite.Client, error) {
	return unitOf(ctx).client, nil
}
