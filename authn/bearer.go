package authn

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/fault"
)

// maxToken is the longest token that is looked at, in bytes.
const maxToken = 16 << 10

// TokenFrom says where a token is in a request. Exactly one field is set; none at
// all means the Authorization header with the Bearer scheme.
type TokenFrom struct {
	// Header holds the token alone, without a scheme, unless it is Authorization.
	Header string `json:"header,omitempty"`
	// QueryParameter holds the token (RFC 6750 section 2.3). Such tokens end up in
	// logs and histories of others; use it only where nothing else works.
	QueryParameter string `json:"query_parameter,omitempty"`
	// Cookie holds the token.
	Cookie string `json:"cookie,omitempty"`
}

// tokenReader finds the one token of a request.
type tokenReader struct {
	from   TokenFrom
	bearer bool
	dpop   bool // the scheme DPoP is accepted too (RFC 9449 section 7.1)
	prefix string
}

func newTokenReader(from *TokenFrom, prefix string) (tokenReader, error) {
	if from == nil {
		return tokenReader{bearer: true, prefix: prefix}, nil
	}
	r := tokenReader{from: *from, prefix: prefix}
	set := 0
	for _, name := range []string{from.Header, from.QueryParameter, from.Cookie} {
		if name != "" {
			set++
		}
	}
	if set != 1 {
		return r, errors.New("token_from must have exactly one of header, query_parameter and cookie")
	}
	r.from.Header = http.CanonicalHeaderKey(from.Header)
	r.bearer = r.from.Header == "Authorization"
	return r, nil
}

// places are the CredentialPlaces of CredentialReader. Authorization is the client's
// own, whatever mutators write to it.
func (t *tokenReader) places() (headers, cookies []string) {
	switch {
	case t.bearer:
	case t.from.Header != "":
		headers = []string{t.from.Header}
	case t.from.Cookie != "":
		cookies = []string{t.from.Cookie}
	}
	return headers, cookies
}

// schemes are the Schemes of SchemeReader.
func (t *tokenReader) schemes() []string {
	switch {
	case t.bearer && t.dpop:
		return []string{"Bearer", "DPoP"}
	case t.bearer:
		return []string{"Bearer"}
	}
	return nil
}

// challenges are the Challenges of Challengeable for tokens that need no proof.
func (t *tokenReader) challenges() []string {
	if t.bearer {
		return bearerChallenges
	}
	return nil
}

// bearerChallenges is never changed.
var bearerChallenges = []string{"Bearer"}

// read returns the token of a request. It returns ErrNoCredentials when there is
// none at the configured place, of the scheme and with the prefix, and a fault
// when there are several or the token is malformed.
func (t *tokenReader) read(r *access.Request) (string, error) {
	token, err := t.find(r)
	if err != nil {
		return "", err
	}
	if err := t.check(token); err != nil {
		return "", err
	}
	return token, nil
}

// find is read for callers that know well-formed tokens when they see them, and check
// others.
func (t *tokenReader) find(r *access.Request) (string, error) {
	var token string
	var found int
	switch {
	case t.bearer:
		token, found = t.authorization(r.Header["Authorization"])
		if found == 1 && hasParameter(r.URL, "access_token") {
			found++ // RFC 6750 section 2: never by more than one method
		}
	case t.from.Header != "":
		token, found = single(r.Header[t.from.Header])
	case t.from.QueryParameter != "":
		token, found = parameter(r.URL, t.from.QueryParameter)
	default:
		token, found = cookie(r.Header["Cookie"], t.from.Cookie)
	}
	switch {
	case found > 1:
		return "", &fault.Error{Kind: fault.Invalid, Reason: "ambiguous_credentials",
			Message: "the request carries more than one token", Challenge: `Bearer error="invalid_request"`}
	case found == 0:
		return "", ErrNoCredentials
	}
	return token, nil
}

// check returns what read does about what find found.
func (t *tokenReader) check(token string) error {
	switch {
	case len(token) > maxToken || t.bearer && !isToken68(token) || !t.bearer && !isVisible(token):
		return invalidToken("the token is malformed", nil)
	case !strings.HasPrefix(token, t.prefix):
		return ErrNoCredentials
	}
	return nil
}

// authorization reads Authorization fields. Any number but one of fields is ambiguous
// as soon as one of them has the scheme Bearer, or DPoP.
func (t *tokenReader) authorization(fields []string) (token string, found int) {
	if token, found = withScheme(fields, "Bearer"); found == 0 && t.dpop {
		return withScheme(fields, "DPoP")
	}
	return token, found
}

func withScheme(fields []string, wanted string) (token string, found int) {
	for _, field := range fields {
		scheme, rest, _ := strings.Cut(field, " ")
		if len(scheme) == len(wanted) && strings.EqualFold(scheme, wanted) {
			token, found = strings.TrimLeft(rest, " "), len(fields)
		}
	}
	return token, found
}

func single(fields []string) (string, int) {
	if len(fields) == 1 && fields[0] == "" {
		return "", 0
	}
	if len(fields) == 0 {
		return "", 0
	}
	return fields[0], len(fields)
}

func parameter(u *url.URL, name string) (value string, found int) {
	for query := u.RawQuery; query != ""; {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		key, text, _ := strings.Cut(pair, "=")
		if unescape(key) == name {
			if value, found = unescape(text), found+1; value == "" {
				found--
			}
		}
	}
	return value, found
}

func hasParameter(u *url.URL, name string) bool {
	if u == nil || u.RawQuery == "" {
		return false
	}
	_, found := parameter(u, name)
	return found > 0
}

// unescape decodes a query component; what cannot be decoded becomes a value that
// is no token and no name.
func unescape(s string) string {
	if !strings.ContainsAny(s, "%+") {
		return s
	}
	decoded, err := url.QueryUnescape(s)
	if err != nil {
		return "\x00"
	}
	return decoded
}

// cookie reads Cookie fields (RFC 6265 section 4.2.1). Several cookies of one name
// are ambiguous: a subdomain may have added the second.
func cookie(fields []string, name string) (value string, found int) {
	for _, field := range fields {
		for rest := field; rest != ""; {
			var pair string
			pair, rest, _ = strings.Cut(rest, ";")
			key, text, ok := strings.Cut(strings.TrimSpace(pair), "=")
			if ok && key == name && text != "" {
				value, found = strings.Trim(text, `"`), found+1
			}
		}
	}
	return value, found
}

// notToken68 is 0 for the characters of a b64token before its padding, 1 for others.
var notToken68 = func() (table [256]byte) {
	for c := range table {
		table[c] = 1
	}
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/") {
		table[c] = 0
	}
	return table
}()

// isToken68 reports whether s is a b64token of RFC 6750 section 2.1.
func isToken68(s string) bool {
	text := strings.TrimRight(s, "=")
	other := byte(0) // joined, because a branch for each byte takes twice as long
	for i := range len(text) {
		other |= notToken68[text[i]]
	}
	return text != "" && other == 0
}

// isVisible reports whether s is not empty and has visible ASCII characters only.
func isVisible(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return s != ""
}
