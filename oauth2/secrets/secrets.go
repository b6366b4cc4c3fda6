// Package secrets makes and checks what is stored of OAuth 2.0 client secrets.
//
// A secret that the server generates has 256 random bits, so one keyed hash of it
// is enough and costs next to nothing to check. A secret that a person chose is a
// password (package passwords), stored as argon2id. Hashes that come from Hydra,
// bcrypt and PBKDF2, verify too.
package secrets

import (
	"context"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/oauth2"
	"github.com/gatewarden/gatewarden/passwords"
)

var encoding = base64.RawStdEncoding.Strict()

var errUnknownHash = errors.New("not a keyed hash")

// Prefix starts every generated secret, so that scanners recognise it.
const Prefix = "gw_cs_"

const (
	keyedScheme = "$hmac-sha256$"
	maxSecret   = passwords.MaxLength // bytes of a secret that is worth comparing
)

// Options of New.
type Options struct {
	// Keys are the system secrets, each of at least 16 bytes: the first hashes,
	// all verify.
	Keys [][]byte
	// Passwords bounds the checks of secrets that a person chose.
	Passwords passwords.Options
}

// Hasher makes and checks hashes. It is safe for concurrent use.
type Hasher struct {
	keys      [][]byte
	passwords *passwords.Verifier
	dummy     string
}

var _ oauth2.SecretHasher = (*Hasher)(nil)

// New returns a Hasher. Errors name the option that is wrong.
func New(o Options) (*Hasher, error) {
	if len(o.Keys) == 0 {
		return nil, errors.New("secrets.system: at least one is required")
	}
	h := &Hasher{passwords: passwords.New(o.Passwords)}
	for i, secret := range o.Keys {
		if len(secret) < 16 {
			return nil, fmt.Errorf("secrets.system[%d]: must have at least 16 bytes", i)
		}
		key, err := hkdf.Key(sha256.New, secret, nil, "gatewarden client secret", sha256.Size)
		if err != nil {
			return nil, fmt.Errorf("secrets.system[%d]: %w", i, err)
		}
		h.keys = append(h.keys, key)
	}
	var err error
	if h.dummy, err = h.Hash(rand.Text()); err != nil {
		return nil, err
	}
	return h, nil
}

// Generate returns a new secret of 256 random bits and its keyed hash.
func (h *Hasher) Generate() (plain, hash string, err error) {
	random := make([]byte, 32)
	_, _ = rand.Read(random)
	plain = Prefix + base64.RawURLEncoding.EncodeToString(random)
	return plain, keyedScheme + encoding.EncodeToString(keyed(h.keys[0], plain)), nil
}

// Hash returns the argon2id hash of a secret that a person chose.
func (h *Hasher) Hash(plain string) (string, error) {
	if len(plain) > maxSecret {
		return "", fault.New(fault.Invalid, "secret_too_long", fmt.Sprintf("a secret has at most %d bytes", maxSecret))
	}
	return passwords.Hash(plain), nil
}

// DummyHash is the hash of a secret that nobody knows. To compare with it takes as
// long as with the hash of a known client.
func (h *Hasher) DummyHash() string { return h.dummy }

// VerifyDummy does the work of Verify for a client that does not exist, and fails.
func (h *Hasher) VerifyDummy(ctx context.Context, plain string) error {
	return h.Verify(ctx, h.dummy, plain)
}

// Verify returns nil when hash was made of plain. Errors: fault.Unauthenticated
// for a wrong secret, fault.RateLimited when too many are being checked,
// fault.Internal for a hash that cannot be checked, and the context's.
func (h *Hasher) Verify(ctx context.Context, hash, plain string) error {
	return h.VerifyAny(ctx, []string{hash}, plain)
}

// VerifyAny is Verify for the secrets that a client has at one time, of which any may
// be shown.
func (h *Hasher) VerifyAny(ctx context.Context, hashes []string, plain string) error {
	if len(plain) > maxSecret {
		return wrong()
	}
	var chosen []string
	for _, hash := range hashes {
		if len(hash) <= len(keyedScheme) || hash[:len(keyedScheme)] != keyedScheme {
			if hash != "" && hash != h.dummy {
				chosen = append(chosen, hash)
			}
			continue
		}
		stored, err := encoding.DecodeString(hash[len(keyedScheme):])
		if err != nil || len(stored) != sha256.Size {
			return fault.Wrap(fault.Internal, "", "stored client secret", errUnknownHash)
		}
		for _, key := range h.keys {
			if hmac.Equal(stored, keyed(key, plain)) {
				return nil
			}
		}
	}
	for _, hash := range chosen {
		if err := h.passwords.Verify(ctx, hash, plain); !errors.Is(err, passwords.ErrWrong) {
			return err
		}
	}
	if len(chosen) > 0 {
		return wrong()
	}
	// Failing here faster than for an unknown client would tell that this one exists.
	if err := h.passwords.Fail(ctx, h.dummy, plain); !errors.Is(err, passwords.ErrWrong) {
		return err
	}
	return wrong()
}

func wrong() error {
	return fault.New(fault.Unauthenticated, "invalid_client", "the client secret is wrong")
}

func keyed(key []byte, plain string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(plain))
	return mac.Sum(nil)
}
