package users

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"time"
)

// Generator is what makes a user's one-time codes (RFC 6238: SHA-1, six digits, 30
// seconds).
type Generator struct {
	// ID tells it from the one that the user had before.
	ID        string    `json:"id"`
	Secret    []byte    `json:"secret"`
	CreatedAt time.Time `json:"created_at,omitzero"`
}

// Passkey is a WebAuthn credential of a user.
type Passkey struct {
	// ID is the credential's own (WebAuthn section 4, Credential ID), unique for everybody.
	ID []byte `json:"id"`
	// Name is what the person calls it.
	Name string `json:"name,omitempty"`
	// SignCount is the highest signature counter that was seen; 0 when the credential
	// has none (WebAuthn section 6.1.1).
	SignCount uint32 `json:"sign_count,omitempty"`
	// Credential is the public key and what else is known of the credential, as the
	// login pages have it.
	Credential json.RawMessage `json:"credential"`
	CreatedAt  time.Time       `json:"created_at,omitzero"`
	UsedAt     time.Time       `json:"used_at,omitzero"`
}

// Factors are what a user can show beside a password. The zero value is none.
type Factors struct {
	// Generator is nil where there is none.
	Generator *Generator
	// Passkeys are ordered by when they were added.
	Passkeys []Passkey
	// RecoveryCodes is how many are left. They stand for the others and are none.
	RecoveryCodes int
}

// Any reports whether the user has a second factor.
func (f Factors) Any() bool { return f.Generator != nil || len(f.Passkeys) > 0 }

// ErrUsed refuses what is good once: a one-time code whose step, or a later one, was
// accepted before, a recovery code that is unknown or spent, a passkey whose counter did
// not rise.
var ErrUsed = errors.New("it was used before, or is not the user's any more")

// FactorStore keeps second factors. Each change is one transaction.
type FactorStore interface {
	// Factors returns the zero value for a user who has none, or who is unknown.
	Factors(ctx context.Context, userID string) (Factors, error)
	// EnrolGenerator gives the user a generator whose code of step was just shown, and
	// recovery codes in place of all others. Errors: fault.NotFound without the user,
	// fault.Conflict when the user has a generator.
	EnrolGenerator(ctx context.Context, userID string, g Generator, step int64, codes []string) error
	// UseCode accepts the code of a step of the generator named; ErrUsed unless the step
	// is later than every one that was accepted before.
	UseCode(ctx context.Context, userID, generator string, step int64) error
	// RemoveGenerator returns fault.NotFound when there is none. With the last second
	// factor the recovery codes go, here and in RemovePasskey.
	RemoveGenerator(ctx context.Context, userID string) error
	// ReplaceRecoveryCodes puts hashes of new codes in place of all others; fault.NotFound
	// when the user is unknown.
	ReplaceRecoveryCodes(ctx context.Context, userID string, codes []string) error
	// UseRecoveryCode spends the code of the hash; ErrUsed when there is none.
	UseRecoveryCode(ctx context.Context, userID, code string) error
	// AddPasskey returns fault.NotFound without the user, and fault.Conflict when the
	// credential is somebody's already or the user has too many.
	AddPasskey(ctx context.Context, userID string, p Passkey) error
	// PasskeyOwner returns who has the credential; fault.NotFound.
	PasskeyOwner(ctx context.Context, id []byte) (userID string, err error)
	// UsePasskey stores what a login has changed of it. ErrUsed when the counter did not
	// rise above the stored one (both 0: there is none), or the user does not have it.
	UsePasskey(ctx context.Context, userID string, p Passkey) error
	// RemovePasskey returns fault.NotFound when the user does not have it.
	RemovePasskey(ctx context.Context, userID string, id []byte) error
	// ResetFactors takes everything away; fault.NotFound without the user.
	ResetFactors(ctx context.Context, userID string) error
}

// MaxPasskeys is how many passkeys a user can have.
const MaxPasskeys = 20

// RecoveryCodes is how many recovery codes a user gets.
const RecoveryCodes = 10

// recoverySize is the size of a recovery code in bytes: 80 random bits cannot be guessed
// from a hash either.
const (
	recoverySize   = 10
	recoveryLength = 16 // in letters
)

var recoveryLetters = base32.StdEncoding.WithPadding(base32.NoPadding)

// NewRecoveryCodes returns codes for people, and what is stored of them.
func NewRecoveryCodes(userID string) (codes, hashes []string) {
	for range RecoveryCodes {
		var b [recoverySize]byte
		_, _ = rand.Read(b[:]) // never fails; crypto/rand ends the program instead
		text := recoveryLetters.EncodeToString(b[:])
		codes = append(codes, text[:4]+"-"+text[4:8]+"-"+text[8:12]+"-"+text[12:])
		hashes = append(hashes, RecoveryHash(userID, text))
	}
	return codes, hashes
}

// RecoveryHash is what is stored of a recovery code as somebody typed it: case, blanks
// and dashes do not count. Empty: it can be nobody's.
func RecoveryHash(userID, typed string) string {
	text := strings.NewReplacer("-", "", " ", "", "\t", "", "0", "O", "1", "I", "8", "B").Replace(strings.ToUpper(typed))
	if raw, err := recoveryLetters.DecodeString(text); err != nil || len(raw) != recoverySize || len(text) != recoveryLength {
		return ""
	}
	sum := sha256.Sum256([]byte("gatewarden recovery code\x00" + text + "\x00" + userID))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
