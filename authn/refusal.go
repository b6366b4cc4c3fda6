package authn

import (
	"strings"

	"github.com/gatewarden/gatewarden/fault"
)

// invalidToken refuses a token as RFC 6750 section 3.1 says. The cause is for the log.
func invalidToken(message string, cause error) error {
	return &fault.Error{Kind: fault.Unauthenticated, Reason: "invalid_credentials", Message: message,
		Challenge: `Bearer error="invalid_token"`, Err: cause}
}

// insufficientScope refuses a good token that lacks a scope. Required scopes were
// checked to have no quotes.
func insufficientScope(required []string) error {
	return &fault.Error{Kind: fault.Forbidden, Reason: "insufficient_scope", Message: "the token lacks a required scope",
		Challenge: `Bearer error="insufficient_scope", scope="` + strings.Join(required, " ") + `"`}
}
