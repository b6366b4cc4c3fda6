package keys

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"
)

// MinRSABits is the smallest RSA modulus that signs or verifies here.
const MinRSABits = 2048

// ParseKey reads one JWK (RFC 7517) for signatures. It refuses keys for
// encryption, unknown types, RSA keys under MinRSABits, weak symmetric keys and
// keys whose alg does not fit their type. An absent alg is filled in when the
// type has one usual algorithm: RS256, ES256 to ES512 by curve, EdDSA.
func ParseKey(raw []byte) (jose.JSONWebKey, error) {
	k, err := parseKey(raw)
	if err == nil && k.Algorithm == "" {
		k.Algorithm = usualAlgorithm(k.Key)
	}
	return k, err
}

func parseKey(raw []byte) (jose.JSONWebKey, error) {
	var k jose.JSONWebKey
	if err := k.UnmarshalJSON(raw); err != nil {
		return k, fmt.Errorf("jwk: %w", err)
	}
	var more struct {
		Operations []string `json:"key_ops"`
	}
	if err := json.Unmarshal(raw, &more); err != nil {
		return k, fmt.Errorf("jwk: %w", err)
	}
	_, symmetric := k.Key.([]byte)
	switch {
	case k.Use != "" && k.Use != "sig":
		return k, fmt.Errorf("jwk: use is %q, not sig", k.Use)
	case more.Operations != nil && !slices.Contains(more.Operations, "verify") && !slices.Contains(more.Operations, "sign"):
		return k, errors.New("jwk: key_ops has neither sign nor verify")
	case !symmetric && !k.Valid():
		return k, errors.New("jwk: invalid key")
	}
	if key := publicOf(k); key != nil {
		if r, ok := key.(*rsa.PublicKey); ok && r.N.BitLen() < MinRSABits {
			return k, fmt.Errorf("jwk: RSA key has %d bits, %d are required", r.N.BitLen(), MinRSABits)
		}
	} else if secret, ok := k.Key.([]byte); !ok || len(secret) < 32 {
		return k, errors.New("jwk: symmetric key is shorter than 256 bits")
	}
	if k.Algorithm != "" {
		if err := fits(k, jose.SignatureAlgorithm(k.Algorithm)); err != nil {
			return k, fmt.Errorf("jwk: %w", err)
		}
	}
	return k, nil
}

// ParseSet reads a JWK set of somebody else: its public keys for signatures. Others
// are left out; only a malformed set is an error.
func ParseSet(raw []byte) ([]jose.JSONWebKey, error) {
	usable, _, err := parseSet(raw)
	return slices.DeleteFunc(usable, func(k jose.JSONWebKey) bool { return !k.IsPublic() }), err
}

// parseSet reads a JWK set. Keys that cannot be used are left out with the reason,
// as RFC 7517 section 5 asks; only a malformed set is an error.
func parseSet(raw []byte) (usable []jose.JSONWebKey, skipped []error, err error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(raw, &set); err != nil {
		return nil, nil, fmt.Errorf("jwks: %w", err)
	}
	if set.Keys == nil {
		return nil, nil, errors.New("jwks: member keys is missing")
	}
	for i, one := range set.Keys {
		k, err := parseKey(one)
		if err != nil {
			skipped = append(skipped, fmt.Errorf("keys/%d: %w", i, err))
			continue
		}
		usable = append(usable, k)
	}
	return usable, skipped, nil
}

// publicOf returns the public key, nil for symmetric and unknown keys.
func publicOf(k jose.JSONWebKey) crypto.PublicKey {
	public := k.Public()
	return public.Key
}

// isPrivate reports whether k can make asymmetric signatures.
func isPrivate(k jose.JSONWebKey) bool { return !k.IsPublic() && publicOf(k) != nil }

// fits reports why k may not be used with alg, by the key's own alg and use
// (RFC 7517 sections 4.2 and 4.4), its type and its curve.
func fits(k jose.JSONWebKey, alg jose.SignatureAlgorithm) error {
	if k.Algorithm != "" && k.Algorithm != string(alg) {
		return fmt.Errorf("key is for %s, not for %s", k.Algorithm, alg)
	}
	if k.Use != "" && k.Use != "sig" {
		return fmt.Errorf("key is for use %q, not for signatures", k.Use)
	}
	ok := false
	switch key := publicOf(k).(type) {
	case *rsa.PublicKey:
		ok = key.N.BitLen() >= MinRSABits && slices.Contains([]jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512}, alg)
	case *ecdsa.PublicKey:
		ok = string(alg) == usualAlgorithm(key)
	case ed25519.PublicKey:
		ok = alg == jose.EdDSA
	case nil:
		_, symmetric := k.Key.([]byte)
		ok = symmetric && slices.Contains([]jose.SignatureAlgorithm{jose.HS256, jose.HS384, jose.HS512}, alg)
	}
	if !ok {
		return fmt.Errorf("key does not fit algorithm %s", alg)
	}
	return nil
}

// usualAlgorithm is the algorithm of a key that does not name one.
func usualAlgorithm(key any) string {
	public := publicOf(jose.JSONWebKey{Key: key})
	switch p := public.(type) {
	case *rsa.PublicKey:
		return string(jose.RS256)
	case ed25519.PublicKey:
		return string(jose.EdDSA)
	case *ecdsa.PublicKey:
		switch p.Curve {
		case elliptic.P256():
			return string(jose.ES256)
		case elliptic.P384():
			return string(jose.ES384)
		case elliptic.P521():
			return string(jose.ES512)
		}
	}
	return ""
}

// generate makes a private signing key for ES256, RS256, PS256 or EdDSA.
func generate(alg, id string) (jose.JSONWebKey, error) {
	k := jose.JSONWebKey{KeyID: id, Algorithm: alg, Use: "sig"}
	var err error
	switch alg {
	case string(jose.ES256):
		k.Key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case string(jose.RS256), string(jose.PS256):
		k.Key, err = rsa.GenerateKey(rand.Reader, MinRSABits)
	case string(jose.EdDSA):
		_, k.Key, err = ed25519.GenerateKey(rand.Reader)
	default:
		err = fmt.Errorf("no key can be made for algorithm %q, only for ES256, RS256, PS256 and EdDSA", alg)
	}
	return k, err
}

// thumbprint is the RFC 7638 SHA-256 thumbprint; for symmetric keys too, which
// makes it a secret there.
func thumbprint(k jose.JSONWebKey) []byte {
	if secret, ok := k.Key.([]byte); ok {
		sum := sha256.Sum256(secret)
		return sum[:]
	}
	sum, err := k.Thumbprint(crypto.SHA256)
	if err != nil {
		return nil
	}
	return sum
}

// fingerprint identifies a list of keys, their order, ids and algorithms.
func fingerprint(keys []jose.JSONWebKey) uint64 {
	var all []byte
	for _, k := range keys {
		for _, part := range [][]byte{thumbprint(k), []byte(k.KeyID), []byte(k.Algorithm)} {
			all = binary.AppendUvarint(all, uint64(len(part)))
			all = append(all, part...)
		}
	}
	sum := sha256.Sum256(all)
	return binary.BigEndian.Uint64(sum[:8])
}
