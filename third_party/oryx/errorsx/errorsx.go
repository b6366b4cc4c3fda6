// Package errorsx holds the error helpers that fosite calls.
package errorsx

import "errors"

// WithStack returns err unchanged. The original records a stack trace; fosite
// calls it for every refused request, where a trace costs more than it tells.
func WithStack(err error) error { return err }

// Cause returns the innermost error that is reached through Cause methods.
func Cause(err error) error {
	for {
		var c interface{ Cause() error }
		if !errors.As(err, &c) {
			return err
		}
		next := c.Cause()
		if next == nil {
			return err
		}
		err = next
	}
}

// StatusCodeCarrier is an error that knows its HTTP status code.
type StatusCodeCarrier interface{ StatusCode() int }

// RequestIDCarrier is an error that knows the request it belongs to.
type RequestIDCarrier interface{ RequestID() string }

// ReasonCarrier is an error that explains itself.
type ReasonCarrier interface{ Reason() string }

// DebugCarrier is an error with text for developers only.
type DebugCarrier interface{ Debug() string }

// StatusCarrier is an error that knows its HTTP status text.
type StatusCarrier interface{ Status() string }

// DetailsCarrier is an error with structured details.
type DetailsCarrier interface{ Details() map[string]any }
