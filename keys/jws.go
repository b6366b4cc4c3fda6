package keys

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"
)

// MaxJWS is the longest compact JWS that is looked at, in bytes.
const MaxJWS = 16 << 10

// Asymmetric lists every signature algorithm with a public key that is known here.
func Asymmetric() []jose.SignatureAlgorithm {
	return []jose.SignatureAlgorithm{
		jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
		jose.PS256, jose.PS384, jose.PS512, jose.RS256, jose.RS384, jose.RS512,
	}
}

// JWS is a signed message in compact serialization (RFC 7515 section 7.1) whose
// form and header were checked. Nothing in it may be believed before Verify.
type JWS struct {
	Algorithm jose.SignatureAlgorithm
	KeyID     string          // kid; empty when absent
	Type      string          // typ in lower case without "application/"; empty when absent
	key       json.RawMessage // jwk; nil when absent
	parsed    *jose.JSONWebSignature
}

type jwsHeader struct {
	Algorithm   *string         `json:"alg"`
	KeyID       string          `json:"kid"`
	Type        string          `json:"typ"`
	ContentType string          `json:"cty"`
	Critical    json.RawMessage `json:"crit"`
	Base64      json.RawMessage `json:"b64"`
	Zip         json.RawMessage `json:"zip"`
	Key         json.RawMessage `json:"jwk"`
}

// ParseJWS parses a compact JWS strictly: at most MaxJWS bytes, three parts,
// base64url without padding, line breaks or unused bits, a header without
// duplicate members, an algorithm of the list, and no crit (RFC 7515 section
// 4.1.11), b64 (RFC 7797), zip or nested token (RFC 7519 section 5.2). Keys that
// the header names or carries (jku, jwk, x5u, x5c) are not used; but see Embedded.
func ParseJWS(compact string, algorithms []jose.SignatureAlgorithm) (*JWS, error) {
	if len(compact) > MaxJWS {
		return nil, fmt.Errorf("token is longer than %d bytes", MaxJWS)
	}
	parts := strings.Split(compact, ".")
	if len(parts) != 3 {
		return nil, errors.New("token is not a compact JWS of three parts")
	}
	var decoded [3][]byte
	for i, part := range parts {
		var err error
		// The decoder skips line breaks, so they are looked for first.
		if strings.ContainsAny(part, "\r\n") {
			return nil, errors.New("token has line breaks")
		}
		if decoded[i], err = base64.RawURLEncoding.Strict().DecodeString(part); err != nil {
			return nil, errors.New("token is not strict base64url")
		}
	}
	var h jwsHeader
	if err := json.Unmarshal(decoded[0], &h); err != nil {
		return nil, fmt.Errorf("token header: %w", err)
	}
	switch {
	case h.Algorithm == nil || !slices.Contains(algorithms, jose.SignatureAlgorithm(*h.Algorithm)):
		return nil, errors.New("token algorithm is not allowed")
	case h.Critical != nil || h.Base64 != nil || h.Zip != nil:
		return nil, errors.New("token header has crit, b64 or zip")
	case MediaType(h.ContentType) == "jwt":
		return nil, errors.New("token is nested")
	}
	parsed, err := jose.ParseSignedCompact(compact, algorithms)
	if err != nil {
		return nil, fmt.Errorf("token: %w", err)
	}
	return &JWS{Algorithm: jose.SignatureAlgorithm(*h.Algorithm), KeyID: h.KeyID, Type: MediaType(h.Type), key: h.Key, parsed: parsed}, nil
}

// MediaType normalises a typ or cty value (RFC 7515 section 4.1.9): lower case,
// without the prefix "application/".
func MediaType(s string) string {
	return strings.TrimPrefix(strings.ToLower(s), "application/")
}

// Verify checks the signature with a key and returns the payload. It refuses a
// key whose own alg, use or type does not fit the token's algorithm.
func (t *JWS) Verify(k jose.JSONWebKey) ([]byte, error) {
	if err := fits(k, t.Algorithm); err != nil {
		return nil, err
	}
	return t.parsed.Verify(k.Key)
}

// Unverified returns the payload although nobody has vouched for it: for finding out
// whose keys to verify with, and for nothing else.
func (t *JWS) Unverified() []byte { return t.parsed.UnsafePayloadWithoutVerification() }
