package errorhandlers

import (
	"errors"
	"net/url"
	"strings"

	"github.com/gatewarden/gatewarden/fault"
)

// realm is the protection space of challenges that name none (RFC 9110 section 11.5).
const realm = `realm="gatewarden"`

// challenge returns the value of WWW-Authenticate for err with a realm (RFC 6750
// section 3) and, when metadata is not empty, with the place of the resource's
// metadata (RFC 9728 section 5.1). A 401 always has one (RFC 9110 section 15.5.2), a
// 403 has one when err says so; empty: none.
func challenge(err error, metadata string) string {
	kind := fault.KindOf(err)
	if kind != fault.Unauthenticated && kind != fault.Forbidden {
		return ""
	}
	own := challengeOf(err)
	if own == "" {
		if kind == fault.Forbidden {
			return ""
		}
		own = "Bearer"
	}
	return withMetadata(withRealm(own, realm), metadata)
}

// challengeOf returns the challenge that err brings, without a realm as a rule.
func challengeOf(err error) string {
	for e := next(err); e != nil; e = next(e.Err) {
		if e.Challenge != "" && printable(e.Challenge) {
			return e.Challenge
		}
	}
	return ""
}

func withRealm(challenge, realm string) string {
	scheme, params, more := strings.Cut(challenge, " ")
	if strings.Contains(params, "realm=") {
		return challenge
	}
	if !more {
		return scheme + " " + realm
	}
	return scheme + " " + realm + ", " + params
}

// withMetadata adds resource_metadata to the challenge of a token scheme.
func withMetadata(challenge, metadata string) string {
	if metadata == "" || !isTokenScheme(challenge) || strings.Contains(challenge, "resource_metadata=") {
		return challenge
	}
	return challenge + ", resource_metadata=" + quote(metadata)
}

func isTokenScheme(challenge string) bool {
	scheme, _, _ := strings.Cut(challenge, " ")
	return strings.EqualFold(scheme, "Bearer") || strings.EqualFold(scheme, "DPoP")
}

// checkMetadata accepts an absolute http or https URL, or nothing.
func checkMetadata(text string) error {
	if text == "" {
		return nil
	}
	u, err := url.Parse(text)
	if err != nil || !printable(text) || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.Fragment != "" {
		return errors.New("resource_metadata: must be an absolute http or https URL without fragment")
	}
	return nil
}
