package authn

import (
	"encoding/base64"
	"strings"
	"unicode"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/fault"
)

// maxBasic is the longest field of Basic credentials that is looked at, in bytes.
const maxBasic = 4 << 10

// basicCredentials reads the Authorization field of a request as RFC 7617 has it. It
// returns ErrNoCredentials when it has another scheme, and a fault with the challenge
// when there are several fields or the credentials are malformed.
func basicCredentials(r *access.Request, challenge string) (user, password string, err error) {
	fields := r.Header["Authorization"]
	var encoded string
	found := false
	for _, field := range fields {
		scheme, rest, _ := strings.Cut(field, " ")
		if len(scheme) == len("Basic") && strings.EqualFold(scheme, "Basic") {
			encoded, found = strings.Trim(rest, " "), true
		}
	}
	if !found {
		return "", "", ErrNoCredentials
	}
	if len(fields) > 1 {
		return "", "", &fault.Error{Kind: fault.Invalid, Reason: "ambiguous_credentials", Message: "the request carries more than one Authorization field"}
	}
	malformed := badCredentials("the Basic credentials are malformed", challenge)
	// The decoder skips line breaks, so they are looked for first.
	if len(encoded) > maxBasic || strings.ContainsAny(encoded, "\r\n") {
		return "", "", malformed
	}
	decoded, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return "", "", malformed
	}
	// A password may hold colons, a user name may not.
	user, password, found = strings.Cut(string(decoded), ":")
	if !found || strings.ContainsFunc(string(decoded), unicode.IsControl) {
		return "", "", malformed
	}
	return user, password, nil
}

// badCredentials refuses credentials with the challenge of their scheme.
func badCredentials(message, challenge string) error {
	return &fault.Error{Kind: fault.Unauthenticated, Reason: "invalid_credentials", Message: message, Challenge: challenge}
}
