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

// keyContext separates the keys of cookies from all others that are derived from the
// system secrets.
const keyContext = "gatewarden/relyingparty/v1/cookie"

var errSealed = errors.New("not sealed with a known secret for this purpose")

// sealer encrypts cookies with XChaCha20-Poly1305, whose random nonces may be used
// without counting. Keys are derived from the system secrets with HKDF (RFC 5869).
type sealer struct{ keys []cipher.AEAD }

func newSealer(secrets [][]byte) (*sealer, error) {
	s := &sealer{}
	for _, secret := range secrets {
		key, err := hkdf.Key(sha256.New, secret, nil, keyContext, chacha20poly1305.KeySize)
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

// seal returns plain, sealed with the first key, in base64url.
func (s *sealer) seal(plain, binding []byte) string {
	out := make([]byte, chacha20poly1305.NonceSizeX, chacha20poly1305.NonceSizeX+len(plain)+chacha20poly1305.Overhead)
	_, _ = rand.Read(out) // never fails; crypto/rand ends the program instead
	return base64.RawURLEncoding.EncodeToString(s.keys[0].Seal(out, out, plain, binding))
}

// open returns what was sealed with any key under the same binding. Current says that
// it was the first key.
func (s *sealer) open(text string, binding []byte) (plain []byte, current bool, err error) {
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
