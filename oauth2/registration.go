package oauth2

import (
	"context"
	"time"
)

// Origin says who wrote the metadata of a client, and so how far it is trusted.
type Origin string

// The origins of clients.
const (
	// ByOperator is a client of the management API.
	ByOperator Origin = ""
	// ByRegistration is a client that registered itself (RFC 7591).
	ByRegistration Origin = "registered"
	// ByDocument is a client whose id is the address of its metadata
	// (draft-ietf-oauth-client-id-metadata-document). It is not stored.
	ByDocument Origin = "metadata_document"
)

// Stranger reports whether somebody unknown wrote the metadata of the client: what it
// names is fetched from public addresses only.
func (c Client) Stranger() bool { return c.Origin != ByOperator }

// RegistrationStore keeps the clients that registered themselves.
type RegistrationStore interface {
	// RegisterClient creates a client with the hash of its registration access token. It
	// returns fault.Conflict when the id is taken, and fault.Forbidden when there are most
	// such clients already; where writers run in parallel it may come to a few more.
	RegisterClient(ctx context.Context, c Client, tokenHash string, most int) error
	// RegistrationToken returns the hash of a client's registration access token, or
	// fault.NotFound for a client that did not register itself.
	RegistrationToken(ctx context.Context, clientID string) (hash string, err error)
	// UpdateRegistration replaces a client and its registration access token if that is
	// still the one with the hash spent; else ErrSpent. It returns fault.Conflict when
	// c.ETag is not empty and not the stored one.
	UpdateRegistration(ctx context.Context, c Client, spent, tokenHash string) error
	// SweepRegistrations deletes up to limit clients that registered themselves and held no
	// token since; it reports how many.
	SweepRegistrations(ctx context.Context, now, since time.Time, limit int) (int, error)
}
