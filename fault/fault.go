// Package fault classifies what went wrong.
//
// A Kind is the only classification inside the program. HTTPStatus is what the
// gateway and the management API answer; the OAuth 2.0 endpoints have a map of their
// own, because RFC 6749 does. Internal is the zero Kind, and its text never leaves
// the process. Anything that is not a *Error is Internal.
package fault

import (
	"context"
	"errors"
	"net/http"
	"time"
)

// Kind says what sort of thing went wrong.
type Kind uint8

// The kinds.
const (
	Internal Kind = iota // the text stays inside
	Invalid
	Unauthenticated
	Forbidden
	NotFound
	Conflict
	TooLarge
	RateLimited
	Unavailable
	Timeout
	TooLong // a URI
)

var names = [...]string{"internal", "invalid", "unauthenticated", "forbidden", "not_found", "conflict", "too_large", "rate_limited", "unavailable", "timeout", "too_long"}

// String returns the kind's name in snake_case.
func (k Kind) String() string {
	if int(k) < len(names) {
		return names[k]
	}
	return names[Internal]
}

var statuses = [...]int{
	Internal: http.StatusInternalServerError, Invalid: http.StatusBadRequest, Unauthenticated: http.StatusUnauthorized,
	Forbidden: http.StatusForbidden, NotFound: http.StatusNotFound, Conflict: http.StatusConflict,
	TooLarge: http.StatusRequestEntityTooLarge, RateLimited: http.StatusTooManyRequests,
	Unavailable: http.StatusServiceUnavailable, Timeout: http.StatusGatewayTimeout,
	TooLong: http.StatusRequestURITooLong,
}

// HTTPStatus returns the status (RFC 9110 section 15) that the kind is answered with;
// 500 for a kind that does not exist.
func (k Kind) HTTPStatus() int {
	if int(k) < len(statuses) {
		return statuses[k]
	}
	return statuses[Internal]
}

// Error is an error with a Kind. Message is safe to show to the caller; Err is not.
type Error struct {
	Kind Kind
	// Reason is a stable id in snake_case such as missing_credentials.
	Reason string
	// Message is plain text for the caller, without secrets.
	Message string
	// Pointer is the JSON pointer (RFC 6901) of the member of the caller's document
	// that is wrong; empty when unknown or when it is the whole document.
	Pointer string
	// Challenge is the scheme and parameters of a WWW-Authenticate answer (RFC 6750
	// section 3), without the realm; empty for none.
	Challenge string
	// OtherChallenges are those of other schemes that would do as well, in the same
	// form; each has a field of its own after Challenge (RFC 9110 section 11.6.1).
	OtherChallenges []string
	// RetryAfter is passed on with RateLimited and Unavailable when positive.
	RetryAfter time.Duration
	// Header holds further fields for the response, such as Set-Cookie and DPoP-Nonce,
	// whoever words it. Keys are canonical. Read-only: it may be shared.
	Header http.Header
	// Err is the cause, for the log.
	Err error
}

// New returns an *Error as error.
func New(kind Kind, reason, message string) error {
	return &Error{Kind: kind, Reason: reason, Message: message}
}

// Wrap returns an *Error around err, or nil when err is nil.
func Wrap(kind Kind, reason, message string, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Kind: kind, Reason: reason, Message: message, Err: err}
}

// Error joins place, message and cause; it is for logs.
func (e *Error) Error() string {
	text := e.Message
	if text == "" {
		text = e.Reason
	}
	if text == "" {
		text = e.Kind.String()
	}
	if e.Pointer != "" {
		text = e.Pointer + ": " + text
	}
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// KindOf returns the kind of the outermost *Error in err's chain. A deadline is
// Timeout; anything else is Internal.
func KindOf(err error) Kind {
	var e *Error
	switch {
	case errors.As(err, &e):
		return e.Kind
	case errors.Is(err, context.DeadlineExceeded):
		return Timeout
	}
	return Internal
}

// ReasonOf returns the first reason id in err's chain, or the kind's name.
func ReasonOf(err error) string {
	for next := err; next != nil; {
		var e *Error
		if !errors.As(next, &e) {
			break
		}
		if e.Reason != "" {
			return e.Reason
		}
		next = e.Err
	}
	return KindOf(err).String()
}

// MessageOf returns the text that may be shown to the caller; empty for Internal.
func MessageOf(err error) string {
	var e *Error
	if errors.As(err, &e) && e.Kind != Internal {
		return e.Message
	}
	return ""
}

// HeaderOf returns the first header in err's chain, nil for none.
func HeaderOf(err error) http.Header {
	for next := err; next != nil; {
		var e *Error
		if !errors.As(next, &e) {
			break
		}
		if e.Header != nil {
			return e.Header
		}
		next = e.Err
	}
	return nil
}

// Is reports whether err has the kind.
func Is(err error, kind Kind) bool { return err != nil && KindOf(err) == kind }
