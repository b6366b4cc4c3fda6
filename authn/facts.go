package authn

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/fault"
)

// facts are what is known about a good token. They are what is cached: whether
// they suffice is asked of every request anew.
type facts struct {
	subject   access.Subject
	issuer    string
	audience  []string
	scope     []string
	bound     access.Confirmation
	notBefore time.Time // zero: any time
	expires   time.Time // zero: unknown
}

// demands are what a rule asks of a token.
type demands struct {
	issuers, audience, required []string
	strategy                    scopeStrategy // nil: scopes are not looked at
	leeway                      time.Duration
	// mismatch makes the error for a foreign issuer or audience.
	mismatch func(message string) error
}

func forbidden(message string) error {
	return fault.New(fault.Forbidden, "forbidden_token", message)
}

// check decides whether facts meet the demands at now.
func (d *demands) check(f *facts, now time.Time) error {
	if !f.expires.IsZero() && !now.Before(f.expires.Add(d.leeway)) {
		return invalidToken("the token is expired", nil)
	}
	if now.Before(f.notBefore.Add(-d.leeway)) {
		return invalidToken("the token is not valid yet", nil)
	}
	if len(d.issuers) > 0 && !slices.Contains(d.issuers, f.issuer) {
		return d.mismatch("the token's issuer is not trusted here")
	}
	for _, audience := range d.audience {
		if !slices.Contains(f.audience, audience) {
			return d.mismatch("the token is not meant for this audience")
		}
	}
	if d.strategy == nil {
		return nil
	}
	for _, scope := range d.required {
		if !d.strategy(f.scope, scope) {
			return insufficientScope(d.required)
		}
	}
	return nil
}

// stringOrList reads a claim that is one string or a list of them.
func stringOrList(v any) ([]string, error) {
	switch v := v.(type) {
	case nil:
		return nil, nil
	case string:
		return []string{v}, nil
	case []any:
		list := make([]string, 0, len(v))
		for _, e := range v {
			s, ok := e.(string)
			if !ok {
				return nil, errors.New("has an element that is not a string")
			}
			list = append(list, s)
		}
		return list, nil
	}
	return nil, errors.New("is neither a string nor a list of strings")
}

// numericDate reads a NumericDate (RFC 7519 section 2); the zero time when absent.
func numericDate(claims map[string]any, name string) (time.Time, error) {
	v, ok := claims[name]
	if !ok {
		return time.Time{}, nil
	}
	seconds, ok := v.(float64)
	if !ok || seconds < 0 || seconds > 253402300799 { // the end of the year 9999
		return time.Time{}, fmt.Errorf("%s is not a date", name)
	}
	whole := int64(seconds)
	return time.Unix(whole, int64((seconds-float64(whole))*1e9)), nil
}
