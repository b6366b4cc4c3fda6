package relyingparty

import (
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"

	"golang.org/x/crypto/chacha20poly1305"
)

// cookieKeys separates the keys of the gateway's cookies from all others that are derived
// from the system secrets.
const cookieKeys = "gatewarden/relyingparty/v1/cookie"

var errSealed = errors.New("not sealed with a known secret for this purpose")

// Sealer encrypts what browsers keep, with XChaCha20-Poly1305, whose random nonces may be
// used without counting. Use NewSealer.
type Sealer struct{ keys []cipher.AEAD }

// NewSealer derives the keys from the system secrets with HKDF (RFC 5869): the first
// seals, all open. What was sealed in one context is noise in every other.
func NewSealer(secrets [][]byte, context string) (*Sealer, error) {
	s := &Sealer{}
	if len(secrets) == 0 {
		return nil, errors.New("secrets.system: at least one is required")
	}
	for _, secret := range secrets {
		key, err := hkdf.Key(sha256.New, secret, nil, context, chacha20poly1305.KeySize)
		if err != nil {
			return nil, err
		}
		aead, err := chacha20poly1305.NewX(key)
		if err != nil {
			return nil, err
		}
		s.keys = append(s.keys, aead)
	}
	return s, nil
}

// Seal returns plain, sealed with the first key, in base64url.
func (s *Sealer) Seal(plain, binding []byte) string {
	out := make([]byte, chacha20poly1305.NonceSizeX, chacha20poly1305.NonceSizeX+len(plain)+chacha20poly1305.Overhead)
	_, _ = rand.Read(out) // never fails; crypto/rand ends the program instead
	return base64.RawURLEncoding.EncodeToString(s.keys[0].Seal(out, out, plain, binding))
}

// Open returns what was sealed with any key under the same binding. Current says that
// it was the first key.
func (s *Sealer) Open(text string, binding []byte) (plain []byte, current bool, err error) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(raw) < chacha20poly1305.NonceSizeX+chacha20poly1305.Overhead {
		return nil, false, errSealed
	}
	nonce, sealed := raw[:chacha20poly1305.NonceSizeX], raw[chacha20poly1305.NonceSizeX:]
	for i, key := range s.keys {
		if plain, err = key.Open(nil, nonce, sealed, binding); err == nil {
			return plain, i == 0, nil
		}
	}
	return nil, false, errSealed
}
