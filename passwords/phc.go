package passwords

import (
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

// The argon2id parameters of new hashes: OWASP's first choice of 19 MiB.
const (
	argonMemory  = 19 * 1024 // KiB
	argonTime    = 2
	argonThreads = 1
	argonSalt    = 16
	argonKey     = 32
)

// The most that a stored hash may ask for: about a second of one processor.
const (
	maxArgonMemory  = 128 * 1024 // KiB
	maxArgonTime    = 16
	maxArgonThreads = 16
	maxBcryptCost   = 14
	maxIterations   = 2_000_000
)

var encoding = base64.RawStdEncoding.Strict()

var errUnknownHash = errors.New("not a hash of a known form (argon2id, bcrypt, PBKDF2) within the limits")

// Hash returns the argon2id hash of a password in PHC string format.
func Hash(plain string) string {
	salt := make([]byte, argonSalt)
	_, _ = rand.Read(salt) // never fails
	key := argon2.IDKey([]byte(plain), salt, argonTime, argonMemory, argonThreads, argonKey)
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, argonMemory, argonTime, argonThreads,
		encoding.EncodeToString(salt), encoding.EncodeToString(key))
}

// Outdated reports whether Hash would make another kind of hash today: other schemes, and
// other costs, are read and not written.
func Outdated(stored string) bool {
	return !strings.HasPrefix(stored, fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$", argon2.Version, argonMemory, argonTime, argonThreads))
}

// Check reports why a stored hash cannot be verified; nil when it can. It does none of
// the work.
func Check(stored string) error {
	_, err := parse(stored)
	return err
}

// parse returns the comparison with a hash in PHC string format or in bcrypt's
// own. It does none of the work.
func parse(stored string) (check func(plain string) bool, err error) {
	scheme, _, _ := strings.Cut(strings.TrimPrefix(stored, "$"), "$")
	switch scheme {
	case "argon2id":
		return parseArgon2id(stored)
	case "2a", "2b", "2y":
		if cost, err := bcrypt.Cost([]byte(stored)); err != nil || cost > maxBcryptCost {
			return nil, errUnknownHash
		}
		return func(plain string) bool {
			// Bcrypt would take what begins with the same 72 bytes for the same.
			return bcrypt.CompareHashAndPassword([]byte(stored), []byte(plain)) == nil && len(plain) <= 72
		}, nil
	case "pbkdf2-sha256":
		return parsePBKDF2(stored, sha256.New)
	case "pbkdf2-sha512":
		return parsePBKDF2(stored, sha512.New)
	}
	return nil, errUnknownHash
}

// parseArgon2id reads $argon2id$v=19$m=19456,t=2,p=1$salt$key.
func parseArgon2id(stored string) (func(string) bool, error) {
	parts := strings.Split(stored, "$")
	if len(parts) != 6 || parts[2] != "v="+strconv.Itoa(argon2.Version) {
		return nil, errUnknownHash
	}
	m, okM := parameter(parts[3], "m", maxArgonMemory)
	t, okT := parameter(parts[3], "t", maxArgonTime)
	p, okP := parameter(parts[3], "p", maxArgonThreads)
	salt, want, err := saltAndKey(parts[4], parts[5])
	if !okM || !okT || !okP || err != nil {
		return nil, errUnknownHash
	}
	return func(plain string) bool {
		got := argon2.IDKey([]byte(plain), salt, uint32(t), uint32(m), uint8(p), uint32(len(want)))
		return subtle.ConstantTimeCompare(got, want) == 1
	}, nil
}

// parsePBKDF2 reads $pbkdf2-sha256$i=25000,l=32$salt$key, as Hydra writes it.
func parsePBKDF2(stored string, h func() hash.Hash) (func(string) bool, error) {
	parts := strings.Split(stored, "$")
	if len(parts) != 5 {
		return nil, errUnknownHash
	}
	iterations, okI := parameter(parts[2], "i", maxIterations)
	length, okL := parameter(parts[2], "l", 64)
	salt, want, err := saltAndKey(parts[3], parts[4])
	if !okI || !okL || err != nil || length != len(want) {
		return nil, errUnknownHash
	}
	return func(plain string) bool {
		got, err := pbkdf2.Key(h, plain, salt, iterations, length)
		return err == nil && subtle.ConstantTimeCompare(got, want) == 1
	}, nil
}

// parameter reads name=value from a comma separated list; 1 to most.
func parameter(list, name string, most int) (int, bool) {
	for pair := range strings.SplitSeq(list, ",") {
		if key, value, _ := strings.Cut(pair, "="); key == name {
			n, err := strconv.Atoi(value)
			return n, err == nil && n >= 1 && n <= most
		}
	}
	return 0, false
}

func saltAndKey(saltText, keyText string) (salt, key []byte, err error) {
	if salt, err = encoding.DecodeString(saltText); err != nil {
		return nil, nil, err
	}
	if key, err = encoding.DecodeString(keyText); err != nil {
		return nil, nil, err
	}
	if len(salt) < 8 || len(salt) > 64 || len(key) < 16 || len(key) > 64 {
		return nil, nil, errUnknownHash
	}
	return salt, key, nil
}
