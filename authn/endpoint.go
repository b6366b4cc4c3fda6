package authn

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gatewarden/gatewarden/fault"
)

// maxAnswerBytes is the longest answer of an endpoint that is read.
const maxAnswerBytes = 1 << 20

// retryConfig says how often an endpoint is asked again.
type retryConfig struct {
	// MaxDelay is the longest pause between two attempts.
	MaxDelay Duration `json:"max_delay"`
	// GiveUpAfter is how long after the first attempt the last one may start.
	GiveUpAfter Duration `json:"give_up_after"`
}

func retryDefaults() retryConfig {
	return retryConfig{MaxDelay: Duration(100 * time.Millisecond), GiveUpAfter: Duration(time.Second)}
}

// longest is the most time that do takes when one attempt is bounded by timeout.
func (c retryConfig) longest(timeout time.Duration) time.Duration {
	return time.Duration(c.GiveUpAfter) + 2*timeout
}

// do makes attempts until one succeeds, says that another is not promising, or it is
// too late for another.
func (c retryConfig) do(ctx context.Context, attempt func(context.Context) (again bool, err error)) error {
	giveUp := time.Now().Add(time.Duration(c.GiveUpAfter))
	longestPause := max(time.Duration(c.MaxDelay), 10*time.Millisecond)
	pause := min(25*time.Millisecond, longestPause)
	for {
		again, err := attempt(ctx)
		if err == nil || !again || time.Now().Add(pause).After(giveUp) {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return err
		}
		pause = min(2*pause, longestPause)
	}
}

// direct returns a client that follows no redirects: they would send credentials to
// whom nobody named.
func direct(client *http.Client) *http.Client {
	c := *client
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &c
}

// checkURL refuses what is no absolute http or https URL.
func checkURL(field, raw string) error {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("%s must be an http or https URL", field) // without the value: it may hold a password
	}
	return nil
}

// headerFields returns configured fields in canonical spelling. A name or value that
// cannot be sent is an error, without the value: it may be a secret.
func headerFields(field string, fields map[string]string) (http.Header, error) {
	h := http.Header{}
	for name, value := range fields {
		if !isToken(name) {
			return nil, fmt.Errorf("%s: %q is no name of a header field", field, name)
		}
		if strings.ContainsFunc(value, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }) {
			return nil, fmt.Errorf("%s: the value of %s has a control character", field, name)
		}
		if h.Get(name) != "" {
			return nil, fmt.Errorf("%s: %s occurs twice", field, http.CanonicalHeaderKey(name))
		}
		h.Set(name, value)
	}
	return h, nil
}

// isToken reports whether s is a token of RFC 9110 section 5.6.2.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) {
			return false
		}
	}
	return s != ""
}

// rateLimited passes on that an endpoint asks for fewer requests.
func rateLimited(reason, retryAfter string) error {
	seconds, _ := strconv.ParseUint(retryAfter, 10, 16)
	return &fault.Error{Kind: fault.RateLimited, Reason: reason, Message: "too many requests",
		RetryAfter: time.Duration(seconds) * time.Second}
}

// undecided makes an error that has no kind of its own Unavailable or Timeout: not
// knowing is never a reason to call credentials bad.
func undecided(reason, message string, err error) error {
	var known *fault.Error
	if errors.As(err, &known) && known.Kind != fault.Internal {
		return err
	}
	kind := fault.Unavailable
	if errors.Is(err, context.DeadlineExceeded) {
		kind = fault.Timeout
	}
	return fault.Wrap(kind, reason, message, err)
}
