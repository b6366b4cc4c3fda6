package secrets

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"strings"
)

// TokenPrefix starts every registration access token, so that scanners recognise it and
// none is ever a client secret.
const TokenPrefix = "gw_rat_"

// GenerateToken returns a registration access token of 256 random bits and its keyed
// hash (RFC 7592 section 3).
func (h *Hasher) GenerateToken() (plain, hash string) {
	random := make([]byte, 32)
	_, _ = rand.Read(random)
	plain = TokenPrefix + base64.RawURLEncoding.EncodeToString(random)
	return plain, keyedScheme + encoding.EncodeToString(keyed(h.keys[0], plain))
}

// MatchToken reports whether hash was made of the token. It takes as long for an empty
// hash, which stands for a client that does not exist.
func (h *Hasher) MatchToken(hash, plain string) bool {
	stored, err := encoding.DecodeString(strings.TrimPrefix(hash, keyedScheme))
	known := err == nil && len(stored) == sha256.Size && strings.HasPrefix(plain, TokenPrefix)
	if !known {
		stored = make([]byte, sha256.Size)
	}
	matched := false
	for _, key := range h.keys {
		if hmac.Equal(stored, keyed(key, plain)) {
			matched = true
		}
	}
	return matched && known
}
