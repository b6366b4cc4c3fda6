package manage

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/gatewarden/gatewarden/keys"
	"github.com/gatewarden/gatewarden/oauth2"
)

// TrustGrants manages whose assertions buy access tokens (RFC 7523 section 2.1).
type TrustGrants struct {
	Store oauth2.TrustStore
	Now   func() time.Time
}

// NewTrustGrant is what is said of a new grant, in Hydra's JSON.
type NewTrustGrant struct {
	Issuer          string          `json:"issuer"`
	Subject         string          `json:"subject"`
	AllowAnySubject bool            `json:"allow_any_subject"`
	Scope           []string        `json:"scope"`
	JWK             json.RawMessage `json:"jwk"`
	ExpiresAt       time.Time       `json:"expires_at"`
}

// List returns grants by id, and how many there are; an empty issuer means all.
func (s *TrustGrants) List(ctx context.Context, issuer string, limit, offset int) ([]oauth2.TrustGrant, int, error) {
	list, err := s.Store.TrustGrants(ctx, issuer, limit, offset)
	if err != nil {
		return nil, 0, err
	}
	for i := range list {
		list[i].JWK = nil
	}
	total, err := s.Store.CountTrustGrants(ctx, issuer)
	return list, total, err
}

// Get returns one grant.
func (s *TrustGrants) Get(ctx context.Context, id string) (oauth2.TrustGrant, error) {
	g, err := s.Store.TrustGrant(ctx, id)
	g.JWK = nil
	return g, err
}

// Create stores a new grant.
func (s *TrustGrants) Create(ctx context.Context, n NewTrustGrant) (oauth2.TrustGrant, error) {
	key, err := s.check(n)
	if err != nil {
		return oauth2.TrustGrant{}, err
	}
	g := oauth2.TrustGrant{
		ID: newID(), Issuer: n.Issuer, Subject: n.Subject, AllowAnySubject: n.AllowAnySubject, Scope: slices.Clone(n.Scope),
		PublicKey: oauth2.TrustedKey{Set: n.Issuer, KeyID: key.KeyID}, CreatedAt: s.Now().UTC().Truncate(time.Second), ExpiresAt: n.ExpiresAt.UTC(), JWK: n.JWK,
	}
	if g.Scope == nil {
		g.Scope = []string{}
	}
	err = s.Store.CreateTrustGrant(ctx, g)
	g.JWK = nil
	return g, err
}

// Delete ends the trust. Tokens that were bought under it live on.
func (s *TrustGrants) Delete(ctx context.Context, id string) error {
	return s.Store.DeleteTrustGrant(ctx, id)
}

func (s *TrustGrants) check(n NewTrustGrant) (key jose.JSONWebKey, err error) {
	var faults []error
	fail := func(pointer, message string) { faults = append(faults, invalid(pointer, message)) }
	if n.Issuer == "" || len(n.Issuer) > 255 {
		fail("/issuer", "must have 1 to 255 bytes")
	}
	switch {
	case n.Subject == "" && !n.AllowAnySubject:
		fail("/subject", "must be set, or allow_any_subject be true")
	case n.Subject != "" && n.AllowAnySubject:
		fail("/subject", "must not be set with allow_any_subject")
	case len(n.Subject) > 255:
		fail("/subject", "must have at most 255 bytes")
	}
	for _, scope := range n.Scope {
		if !scopeToken.MatchString(scope) {
			fail("/scope", "must be a list of scopes (RFC 6749 section 3.3)")
		}
	}
	if !n.ExpiresAt.After(s.Now()) {
		fail("/expires_at", "must be in the future")
	}
	key, err = keys.ParseKey(n.JWK)
	switch {
	case err != nil || !key.IsPublic():
		fail("/jwk", "must be a public key for signatures; RSA keys need at least 2048 bits")
	case key.KeyID == "":
		fail("/jwk/kid", "must be set")
	}
	return key, errors.Join(faults...)
}
