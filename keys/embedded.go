package keys

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"
)

// Embedded returns the public key that the header carries (jwk, RFC 7515 section
// 4.1.3) and its SHA-256 thumbprint (RFC 7638) in base64url. Whoever made the message
// chose the key: it is for messages that prove the possession of a key and nothing
// else, such as DPoP proofs. Refused are private and symmetric keys, any private
// member, and keys that are not for verifying.
func (t *JWS) Embedded() (k jose.JSONWebKey, thumb string, err error) {
	refuse := func(format string, args ...any) (jose.JSONWebKey, string, error) {
		return jose.JSONWebKey{}, "", fmt.Errorf("embedded key: "+format, args...)
	}
	if t.key == nil {
		return refuse("jwk is missing")
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(t.key, &members); err != nil {
		return refuse("%w", err)
	}
	for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"} {
		if _, ok := members[private]; ok {
			return refuse("it has the private member %s", private)
		}
	}
	if raw, ok := members["key_ops"]; ok {
		var operations []string
		if err := json.Unmarshal(raw, &operations); err != nil || !slices.Contains(operations, "verify") {
			return refuse("key_ops has no verify")
		}
	}
	if k, err = parseKey(t.key); err != nil {
		return refuse("%w", err)
	}
	if !k.IsPublic() {
		return refuse("it is not public")
	}
	if err := fits(k, t.Algorithm); err != nil {
		return refuse("%w", err)
	}
	sum := thumbprint(k)
	if sum == nil {
		return jose.JSONWebKey{}, "", errors.New("embedded key: it has no thumbprint")
	}
	return k, base64.RawURLEncoding.EncodeToString(sum), nil
}
