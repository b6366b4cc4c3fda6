package errorhandlers

import (
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/fault"
)

// response has what every refusal carries: it is never stored, never sniffed, and
// says when to come back.
func response(err error, status int, contentType string, body []byte) access.Response {
	h := http.Header{
		"Cache-Control":          {"no-store"},
		"Content-Type":           {contentType},
		"X-Content-Type-Options": {"nosniff"},
	}
	if seconds := retryAfter(err); seconds > 0 {
		h["Retry-After"] = []string{strconv.Itoa(seconds)}
	}
	return access.Response{Status: status, Header: h, Body: body}
}

// text is a plain text body with the decision id.
func text(r *access.Request, status int) []byte {
	line := http.StatusText(status)
	if r != nil && r.ID != "" {
		line += " (decision " + r.ID + ")"
	}
	return []byte(line + "\n")
}

// retryAfter returns whole seconds, rounded up (RFC 9110 section 10.2.3).
func retryAfter(err error) int {
	switch fault.KindOf(err) {
	case fault.RateLimited, fault.Unavailable:
		for e := next(err); e != nil; e = next(e.Err) {
			if e.RetryAfter > 0 {
				return int(math.Ceil(e.RetryAfter.Seconds()))
			}
		}
	}
	return 0
}

// next returns the outermost *fault.Error of err's chain.
func next(err error) *fault.Error {
	var e *fault.Error
	if errors.As(err, &e) {
		return e
	}
	return nil
}

// quote returns s as a quoted-string (RFC 9110 section 5.6.4); s is printable.
func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// printable reports whether s is ASCII without control characters.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
