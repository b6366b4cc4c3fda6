package manage

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/keys"
)

// Keys manages JWK sets. Answers hold private keys, as Hydra's administrative API
// does, except those of the program's own sets: nobody else has a use for them but
// to forge tokens.
type Keys struct {
	Store keys.Store
	// Own are the sets that this program signs with, by name.
	Own    map[string]*keys.Ring
	Reload Reloader
	Now    func() time.Time
}

// NewKey says what key to make.
type NewKey struct {
	Alg string `json:"alg"` // RS256, RS512, PS256, ES256, ES384, ES512, EdDSA, HS256, HS512
	Use string `json:"use"` // sig (default) or enc
	ID  string `json:"kid"` // default: a random UUID
}

// rsaBits is the size of new RSA keys; minSymmetric is what is accepted.
const (
	rsaBits      = 3072
	minSymmetric = 32 // bytes
)

var keyName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:@-]{0,254}$`)

// Set returns a whole set, newest key first.
func (s *Keys) Set(ctx context.Context, set string) (jose.JSONWebKeySet, error) {
	stored, err := s.Store.Keys(ctx, set)
	if err == nil && len(stored) == 0 {
		err = fault.New(fault.NotFound, "unknown_key_set", "there is no key set of that name")
	}
	var out jose.JSONWebKeySet
	for _, k := range stored {
		var key jose.JSONWebKey
		if err := key.UnmarshalJSON(k.JWK); err != nil {
			return out, fmt.Errorf("stored key %s/%s: %w", set, k.ID, err)
		}
		out.Keys = append(out.Keys, key)
	}
	return s.shown(set, out), err
}

// shown returns what may be answered of a set.
func (s *Keys) shown(set string, all jose.JSONWebKeySet) jose.JSONWebKeySet {
	if s.own(set) {
		return PublicKeys(all)
	}
	return all
}

func (s *Keys) own(set string) bool {
	_, own := s.Own[set]
	return own
}

// Key returns the key of that id as a set of one.
func (s *Keys) Key(ctx context.Context, set, id string) (jose.JSONWebKeySet, error) {
	all, err := s.Set(ctx, set)
	if err != nil {
		return all, err
	}
	for _, k := range all.Keys {
		if k.KeyID == id {
			return jose.JSONWebKeySet{Keys: []jose.JSONWebKey{k}}, nil
		}
	}
	return jose.JSONWebKeySet{}, fault.New(fault.NotFound, "unknown_key", "the set has no key of that id")
}

// Generate makes a key and adds it to the set.
func (s *Keys) Generate(ctx context.Context, set string, n NewKey) (jose.JSONWebKeySet, error) {
	if n.ID == "" {
		n.ID = newID()
	}
	if n.Use == "" {
		n.Use = "sig"
	}
	if n.Use != "sig" && n.Use != "enc" {
		return jose.JSONWebKeySet{}, invalid("/use", "must be sig or enc")
	}
	key, err := generate(n.Alg)
	if err != nil {
		return jose.JSONWebKeySet{}, err
	}
	one := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key, KeyID: n.ID, Algorithm: n.Alg, Use: n.Use}}}
	stored, err := s.prepare(set, one)
	if err != nil {
		return jose.JSONWebKeySet{}, err
	}
	if err := s.Store.AddKeys(ctx, stored); err != nil {
		return jose.JSONWebKeySet{}, err
	}
	return s.shown(set, one), apply(ctx, s.Reload)
}

func generate(alg string) (key any, err error) {
	random := func(n int) []byte {
		b := make([]byte, n)
		_, _ = rand.Read(b) // never fails
		return b
	}
	switch alg {
	case "RS256", "RS512", "PS256":
		key, err = rsa.GenerateKey(rand.Reader, rsaBits)
	case "ES256":
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ES384":
		key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "ES512", "ES521": // ES521 is how early Hydra wrote it
		key, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case "EdDSA":
		_, key, err = ed25519.GenerateKey(rand.Reader)
	case "HS256":
		key = random(32)
	case "HS512":
		key = random(64)
	default:
		err = invalid("/alg", "must be one of RS256, RS512, PS256, ES256, ES384, ES512, EdDSA, HS256, HS512")
	}
	return key, err
}

// Replace stores the whole set in place of what was there.
func (s *Keys) Replace(ctx context.Context, set string, with jose.JSONWebKeySet) error {
	stored, err := s.prepare(set, with)
	if err != nil {
		return err
	}
	if err := s.Store.ReplaceSet(ctx, set, stored); err != nil {
		return err
	}
	return apply(ctx, s.Reload)
}

// Put stores one key in place of the one of the same id.
func (s *Keys) Put(ctx context.Context, set string, key jose.JSONWebKey) error {
	stored, err := s.prepare(set, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{key}})
	if err == nil && s.own(set) {
		err = s.sameKey(ctx, &stored[0])
	}
	if err != nil {
		return err
	}
	if err := s.Store.PutKey(ctx, stored[0]); err != nil {
		return err
	}
	return apply(ctx, s.Reload)
}

// sameKey keeps the times of a key of the program's own that is there already, and
// refuses another one of the same id: verifiers keep keys by their id.
func (s *Keys) sameKey(ctx context.Context, put *keys.Stored) error {
	all, err := s.Store.Keys(ctx, put.Set)
	if err != nil {
		return err
	}
	for _, k := range all {
		if k.ID != put.ID {
			continue
		}
		if !bytes.Equal(k.JWK, put.JWK) {
			return fault.New(fault.Conflict, "key_exists", "another key of this set has this id; delete it first, or choose another id")
		}
		put.CreatedAt, put.NotBefore, put.Expires = k.CreatedAt, k.NotBefore, k.Expires
	}
	return nil
}

// Delete removes one key.
func (s *Keys) Delete(ctx context.Context, set, id string) error {
	if err := s.Store.DeleteKey(ctx, set, id); err != nil {
		return err
	}
	return apply(ctx, s.Reload)
}

// DeleteSet removes a set.
func (s *Keys) DeleteSet(ctx context.Context, set string) error {
	if err := s.Store.DeleteSet(ctx, set); err != nil {
		return err
	}
	return apply(ctx, s.Reload)
}

// prepare checks keys and turns them into rows.
func (s *Keys) prepare(set string, with jose.JSONWebKeySet) ([]keys.Stored, error) {
	if !keyName.MatchString(set) {
		return nil, invalid("", "a key set is named by letters, digits and . _ : @ -")
	}
	if len(with.Keys) == 0 {
		return nil, invalid("/keys", "must hold at least one key; use DELETE to remove a set")
	}
	now := s.Now().UTC()
	var rows []keys.Stored
	for i, k := range with.Keys {
		at := fmt.Sprintf("/keys/%d", i)
		if !keyName.MatchString(k.KeyID) {
			return nil, invalid(at+"/kid", "must be letters, digits and . _ : @ -")
		}
		if slices.ContainsFunc(rows, func(r keys.Stored) bool { return r.ID == k.KeyID }) {
			return nil, invalid(at+"/kid", "occurs twice")
		}
		if k.KeyID == "rotate" || k.KeyID == "schedule" {
			return nil, invalid(at+"/kid", "is the name of something else below a set")
		}
		if !strong(k) {
			return nil, invalid(at, fmt.Sprintf("must be a valid key; RSA keys need at least %d bits, symmetric ones %d bytes", keys.MinRSABits, minSymmetric))
		}
		if k.Algorithm == "ES521" {
			k.Algorithm = "ES512"
		}
		text, err := k.MarshalJSON()
		if err != nil {
			return nil, invalid(at, "must be a valid key")
		}
		row := keys.Stored{Set: set, ID: k.KeyID, JWK: text, CreatedAt: now, NotBefore: now}
		if ring, own := s.Own[set]; own {
			if err := signing(k, text); err != nil {
				return nil, invalid(at, err.Error())
			}
			if ring != nil && !k.IsPublic() {
				row.NotBefore = ring.Start(k.Algorithm).UTC() // published before it signs
			}
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// signing says why a key cannot be in a set that the program signs with: a ring that
// meets such a key stops. Symmetric keys are not its business.
func signing(k jose.JSONWebKey, text []byte) error {
	if _, symmetric := k.Key.([]byte); symmetric {
		return nil
	}
	if k.Algorithm == "" {
		return errors.New("must have alg: the program signs with this set")
	}
	if _, err := keys.ParseKey(text); err != nil {
		return fmt.Errorf("cannot sign: %w", err)
	}
	return nil
}

// strong reports whether a key is valid and long enough.
func strong(k jose.JSONWebKey) bool {
	switch key := k.Key.(type) {
	case []byte:
		return len(key) >= minSymmetric
	case *rsa.PrivateKey:
		return k.Valid() && key.N.BitLen() >= keys.MinRSABits
	case *rsa.PublicKey:
		return k.Valid() && key.N.BitLen() >= keys.MinRSABits
	}
	return k.Valid()
}

// ParseKeys reads a JWK set that somebody sent. Members it does not know are
// ignored (RFC 7517 section 4); a key that it cannot read is an error.
func ParseKeys(raw []byte) (jose.JSONWebKeySet, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(raw, &set); err != nil {
		return jose.JSONWebKeySet{}, invalid("/keys", "must be a list of keys")
	}
	var out jose.JSONWebKeySet
	for i, text := range set.Keys {
		key, err := ParseKey(text)
		if err != nil {
			return out, invalid(fmt.Sprintf("/keys/%d", i), "is not a key that can be read")
		}
		out.Keys = append(out.Keys, key)
	}
	return out, nil
}

// ParseKey reads one JWK.
func ParseKey(raw []byte) (jose.JSONWebKey, error) {
	var key jose.JSONWebKey
	if err := key.UnmarshalJSON(raw); err != nil {
		return key, fault.Wrap(fault.Invalid, "invalid_key", "is not a key that can be read", err)
	}
	return key, nil
}

// PublicKeys returns the public halves of asymmetric keys; symmetric keys have none.
func PublicKeys(set jose.JSONWebKeySet) jose.JSONWebKeySet {
	out := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for _, k := range set.Keys {
		switch k.Key.(type) {
		case crypto.Signer, *rsa.PublicKey, *ecdsa.PublicKey, ed25519.PublicKey:
			out.Keys = append(out.Keys, k.Public())
		}
	}
	return out
}
