package authn

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"golang.org/x/net/http/httpguts"

	"github.com/gatewarden/gatewarden/fault"
)

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
		if !httpguts.ValidHeaderFieldName(name) {
			return nil, fmt.Errorf("%s: %q is no name of a header field", field, name)
		}
		if !httpguts.ValidHeaderFieldValue(value) {
			return nil, fmt.Errorf("%s: the value of %s has a control character", field, name)
		}
		if h.Get(name) != "" {
			return nil, fmt.Errorf("%s: %s occurs twice", field, http.CanonicalHeaderKey(name))
		}
		h.Set(name, value)
	}
	return h, nil
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
