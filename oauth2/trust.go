package oauth2

import (
	"context"
	"encoding/json"
	"time"
)

// TrustGrant says whose assertions buy access tokens (RFC 7523 section 2.1), in Hydra's
// JSON.
type TrustGrant struct {
	ID     string `json:"id"`
	Issuer string `json:"issuer"`
	// Subject is the one whom assertions may be about; empty with AllowAnySubject.
	Subject         string     `json:"subject"`
	AllowAnySubject bool       `json:"allow_any_subject"`
	Scope           []string   `json:"scope"` // at most this can be had
	PublicKey       TrustedKey `json:"public_key"`
	CreatedAt       time.Time  `json:"created_at"`
	ExpiresAt       time.Time  `json:"expires_at"`
	// JWK is the public key that assertions are signed with. It is not listed.
	JWK json.RawMessage `json:"jwk,omitempty"`
}

// TrustedKey names the key of a TrustGrant.
type TrustedKey struct {
	Set   string `json:"set"` // the issuer
	KeyID string `json:"kid"`
}

// TrustStore keeps trust grants.
type TrustStore interface {
	CreateTrustGrant(ctx context.Context, g TrustGrant) error // fault.Conflict: of id, or of issuer, subject and key
	TrustGrant(ctx context.Context, id string) (TrustGrant, error)
	DeleteTrustGrant(ctx context.Context, id string) error
	// TrustGrants lists by id; an empty issuer means all.
	TrustGrants(ctx context.Context, issuer string, limit, offset int) ([]TrustGrant, error)
	CountTrustGrants(ctx context.Context, issuer string) (int, error)
}
