package sql

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/gatewarden/gatewarden/fault"
)

// purpose separates the keys of what is sealed: a blob of one table is noise in
// another.
type purpose string

const (
	sealMeta       purpose = "meta"
	sealKeys       purpose = "keys"
	sealTokens     purpose = "tokens"
	sealFlows      purpose = "flows"
	sealSessions   purpose = "login_sessions"
	sealConsents   purpose = "consents"
	sealUsers      purpose = "users"
	sealGenerators purpose = "user_generators"
	sealPasskeys   purpose = "user_passkeys"
	sealIdentities purpose = "user_identities"
)

// purposes are those of all tables that hold something sealed.
func purposes() []purpose {
	all := []purpose{sealedMeta.purpose}
	for _, t := range sealedTables {
		all = append(all, t.purpose)
	}
	return all
}

const (
	// sealVersion is the first byte of every sealed value; the key id, the nonce and
	// the AES-256-GCM ciphertext follow.
	sealVersion = 1
	keyIDSize   = 4
	headerSize  = 1 + keyIDSize
	// minSecret is Hydra's bound for a system secret.
	minSecret = 16
)

var errUnknownSecret = errors.New("sealed with a secret that is not in secrets.system")

// ring seals with the key of the first system secret and opens with any.
type ring struct{ keys []ringKey }

type ringKey struct {
	id    [keyIDSize]byte
	aeads map[purpose]cipher.AEAD
}

func newRing(secrets []string, memory bool) (*ring, error) {
	if len(secrets) == 0 {
		if !memory {
			return nil, fault.New(fault.Invalid, "missing_system_secret", "secrets.system: a database other than memory needs a system secret")
		}
		secrets = []string{rand.Text()}
	}
	r := &ring{}
	for i, secret := range secrets {
		if len(secret) < minSecret {
			return nil, fault.New(fault.Invalid, "short_system_secret",
				fmt.Sprintf("secrets.system[%d]: a system secret has at least %d characters", i, minSecret))
		}
		key, err := newRingKey(secret)
		if err != nil {
			return nil, err
		}
		r.keys = append(r.keys, key)
	}
	return r, nil
}

func newRingKey(secret string) (ringKey, error) {
	k := ringKey{aeads: map[purpose]cipher.AEAD{}}
	id, err := hkdf.Key(sha256.New, []byte(secret), nil, "gatewarden/store/v1/id", keyIDSize)
	if err != nil {
		return k, err
	}
	copy(k.id[:], id)
	for _, p := range purposes() {
		key, err := hkdf.Key(sha256.New, []byte(secret), nil, "gatewarden/store/v1/seal/"+string(p), 32)
		if err != nil {
			return k, err
		}
		block, err := aes.NewCipher(key)
		if err != nil {
			return k, err
		}
		if k.aeads[p], err = cipher.NewGCMWithRandomNonce(block); err != nil {
			return k, err
		}
	}
	return k, nil
}

// seal encrypts plain for the row with the given id; it opens only there.
func (r *ring) seal(p purpose, id string, plain []byte) []byte {
	k := r.keys[0]
	aead := k.aeads[p]
	sealed := make([]byte, 0, headerSize+len(plain)+aead.Overhead())
	sealed = append(append(sealed, sealVersion), k.id[:]...)
	return aead.Seal(sealed, nil, plain, binding(p, id))
}

func (r *ring) open(p purpose, id string, sealed []byte) ([]byte, error) {
	if len(sealed) < headerSize || sealed[0] != sealVersion {
		return nil, errors.New("not a sealed value")
	}
	for _, k := range r.keys {
		if !bytes.Equal(k.id[:], sealed[1:headerSize]) {
			continue
		}
		plain, err := k.aeads[p].Open(nil, nil, sealed[headerSize:], binding(p, id))
		if err != nil {
			return nil, fmt.Errorf("open %s: %w", p, err)
		}
		return plain, nil
	}
	return nil, fmt.Errorf("open %s: %w", p, errUnknownSecret)
}

// header begins what is sealed with the first secret.
func (r *ring) header() []byte { return append([]byte{sealVersion}, r.keys[0].id[:]...) }

// current reports whether sealed is under the first secret.
func (r *ring) current(sealed []byte) bool {
	return bytes.Equal(r.keys[0].id[:], sealed[1:headerSize])
}

// binding ties a sealed value to its table and row, so that rows cannot be swapped.
func binding(p purpose, id string) []byte {
	return append(append(make([]byte, 0, len(p)+1+len(id)), p...), "\x00"+id...)
}
