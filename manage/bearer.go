package manage

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/gatewarden/gatewarden/passwords"
)

// MinBearerToken is how many characters a token must have that is configured as it is.
const MinBearerToken = 16

// The hashes that stand for a bearer token.
const (
	sha256Prefix   = "sha256:"
	argon2idPrefix = "$argon2id$"
)

// BearerTokens are the static tokens of operators. Use ParseBearerTokens.
type BearerTokens struct {
	sums     [][sha256.Size]byte
	chosen   []string // argon2id hashes
	verifier *passwords.Verifier
}

// CheckBearerToken returns what is wrong with a configured token: a hash that cannot be
// checked, or a token that is too short. The error does not hold it.
func CheckBearerToken(configured string) error {
	switch {
	case strings.HasPrefix(configured, sha256Prefix):
		if sum, err := hex.DecodeString(configured[len(sha256Prefix):]); err != nil || len(sum) != sha256.Size {
			return errors.New("must be sha256: and 64 hexadecimal digits, as management-token create writes it")
		}
	case strings.HasPrefix(configured, argon2idPrefix):
		if err := passwords.Check(configured); err != nil {
			return errors.New("is no argon2id hash that can be checked; credentials hash writes one")
		}
	case len(configured) < MinBearerToken:
		return fmt.Errorf("must have at least %d characters each", MinBearerToken)
	}
	return nil
}

// ParseBearerTokens reads tokens as they are configured: sha256: and the SHA-256 of a
// random token in hexadecimal, the argon2id hash of one that a person chose, or the
// token itself.
func ParseBearerTokens(configured []string, verifier *passwords.Verifier) (*BearerTokens, error) {
	b := &BearerTokens{verifier: verifier}
	for i, c := range configured {
		if err := CheckBearerToken(c); err != nil {
			return nil, fmt.Errorf("[%d] %w", i, err)
		}
		switch {
		case strings.HasPrefix(c, argon2idPrefix):
			b.chosen = append(b.chosen, c)
		case strings.HasPrefix(c, sha256Prefix):
			sum, _ := hex.DecodeString(c[len(sha256Prefix):]) // CheckBearerToken has seen it
			b.sums = append(b.sums, [sha256.Size]byte(sum))
		default:
			b.sums = append(b.sums, sha256.Sum256([]byte(c)))
		}
	}
	return b, nil
}

// Knows reports whether the token is one of them, in constant time but for argon2id
// hashes, which are asked last. Errors: fault.RateLimited when too many hashes are
// being checked, and the context's.
func (b *BearerTokens) Knows(ctx context.Context, token string) (bool, error) {
	got := sha256.Sum256([]byte(token))
	known := 0
	for _, want := range b.sums {
		known |= subtle.ConstantTimeCompare(got[:], want[:])
	}
	if known == 1 {
		return true, nil
	}
	for _, hash := range b.chosen {
		err := b.verifier.Verify(ctx, hash, token)
		if err == nil {
			return true, nil
		}
		if !errors.Is(err, passwords.ErrWrong) {
			return false, err
		}
	}
	return false, nil
}
