package manage

import (
	"context"
	"errors"
	"time"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/oauth2"
)

// RegistrationTokens makes and checks registration access tokens (RFC 7592 section 3).
type RegistrationTokens interface {
	GenerateToken() (plain, hash string)
	// MatchToken compares in constant time; an empty hash matches nothing.
	MatchToken(hash, plain string) bool
}

// Registrations manages the clients that registered themselves, for who holds a client's
// registration access token: the checks are those of Clients, and policy is the caller's.
type Registrations struct {
	Clients *Clients
	Store   oauth2.RegistrationStore
	Tokens  RegistrationTokens
	// Most is how many of them there may be.
	Most int
}

// Create stores a client under a random id; the answer holds its secret, if it has one.
// The error is fault.Forbidden when there are too many.
func (s *Registrations) Create(ctx context.Context, c oauth2.Client) (created oauth2.Client, token string, err error) {
	c.ID = newID()
	c.AuthMethodSet = c.TokenEndpointAuthMethod != ""
	c.Secret, c.SecretHash, c.RotatedSecretHashes, c.Origin = "", "", nil, oauth2.ByRegistration
	c.CreatedAt = s.Clients.Now().UTC().Truncate(time.Second)
	c.UpdatedAt = c.CreatedAt
	secret, err := s.Clients.settle(ctx, &c, oauth2.Client{})
	if err != nil {
		return c, "", err
	}
	token, hash := s.Tokens.GenerateToken()
	if err := s.Store.RegisterClient(ctx, c, hash, s.Most); err != nil {
		return c, "", err
	}
	c, err = s.Clients.changed(ctx, c, secret)
	return c, token, err
}

// Get returns the client whose registration access token is shown: fault.Unauthenticated
// for any other token and for a client that does not exist (RFC 7592 section 2.1), and
// fault.Forbidden for one that an operator has disabled.
func (s *Registrations) Get(ctx context.Context, id, token string) (oauth2.Client, error) {
	c, _, err := s.admit(ctx, id, token)
	return Shown(c), err
}

// admit returns the client as it is stored, with the hash of its token.
func (s *Registrations) admit(ctx context.Context, id, token string) (c oauth2.Client, hash string, err error) {
	hash, err = s.Store.RegistrationToken(ctx, id)
	if err != nil && !fault.Is(err, fault.NotFound) {
		return c, "", err
	}
	if !s.Tokens.MatchToken(hash, token) {
		return c, "", unregistered()
	}
	c, err = s.Clients.Store.Client(ctx, id)
	switch {
	case fault.Is(err, fault.NotFound):
		return c, "", unregistered()
	case err == nil && c.Disabled:
		return c, "", fault.New(fault.Forbidden, "client_disabled", "the client is disabled")
	}
	return c, hash, err
}

func unregistered() error {
	return fault.New(fault.Unauthenticated, "invalid_token", "the registration access token is not one of this client")
}

// Replace writes what edit makes of the client. The token that was shown is spent; the
// answer holds another. Of parallel calls with one token one wins.
func (s *Registrations) Replace(ctx context.Context, id, token string, edit func(current oauth2.Client) (oauth2.Client, error)) (c oauth2.Client, next string, err error) {
	for attempt := 1; ; attempt++ {
		old, spent, err := s.admit(ctx, id, token)
		if err != nil {
			return old, "", err
		}
		if c, err = edit(old); err != nil {
			return old, "", err
		}
		c.ID, c.Origin, c.ETag = old.ID, old.Origin, old.ETag
		c.Secret, c.SecretHash, c.RotatedSecretHashes = "", old.SecretHash, old.RotatedSecretHashes
		c.AuthMethodSet = c.TokenEndpointAuthMethod != "" && (old.AuthMethodSet || c.TokenEndpointAuthMethod != old.TokenEndpointAuthMethod)
		c.CreatedAt, c.UpdatedAt = old.CreatedAt, s.Clients.Now().UTC().Truncate(time.Second)
		secret, err := s.Clients.settle(ctx, &c, old)
		if err != nil {
			return c, "", err
		}
		next, hash := s.Tokens.GenerateToken()
		switch err := s.Store.UpdateRegistration(ctx, c, spent, hash); {
		case errors.Is(err, oauth2.ErrSpent):
			return c, "", unregistered()
		case fault.Is(err, fault.Conflict) && attempt < changeAttempts: // an operator was faster
		case err != nil:
			return c, "", err
		default:
			c, err := s.Clients.changed(ctx, c, secret)
			return c, next, err
		}
	}
}

// Delete removes the client.
func (s *Registrations) Delete(ctx context.Context, id, token string) error {
	if _, _, err := s.admit(ctx, id, token); err != nil {
		return err
	}
	err := s.Clients.Delete(ctx, id)
	if fault.Is(err, fault.NotFound) {
		return unregistered()
	}
	return err
}
