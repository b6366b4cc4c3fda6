package errorhandlers

import (
	"errors"
	"net/url"
	"strings"

	"github.com/gatewarden/gatewarden/fault"
)

// realm is the protection space of challenges that name none (RFC 9110 section 11.5).
const realm = `realm="gatewarden"`

// challenges returns the values of WWW-Authenticate for err with a realm (RFC 6750
// section 3) and, when metadata is not empty, with the place of the resource's
// metadata (RFC 9728 section 5.1). A 401 always has one (RFC 9110 section 15.5.2):
// Bearer when err says none. A 403 has one when err says so.
func challenges(err error, metadata string) []string {
	said := saidChallenges(err, metadata)
	if len(said) == 0 && fault.KindOf(err) == fault.Unauthenticated {
		said = []string{withMetadata(withRealm("Bearer", realm), metadata)}
	}
	return said
}

// saidChallenges are those challenges that err says.
func saidChallenges(err error, metadata string) []string {
	if kind := fault.KindOf(err); kind != fault.Unauthenticated && kind != fault.Forbidden {
		return nil
	}
	said := challengesOf(err)
	for i, c := range said {
		said[i] = withMetadata(withRealm(c, realm), metadata)
	}
	return said
}

// challengesOf returns the challenges that err brings, without a realm as a rule.
func challengesOf(err error) (said []string) {
	for e := next(err); e != nil; e = next(e.Err) {
		for _, c := range append([]string{e.Challenge}, e.OtherChallenges...) {
			if c != "" && printable(c) {
				said = append(said, c)
			}
		}
		if len(said) > 0 {
			break
		}
	}
	return said
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
