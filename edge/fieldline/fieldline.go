// Package fieldline reads the lines of an HTTP/1.1 header (RFC 9112 section 5) in
// their one plain form: a name that is a token, a colon, a value without control
// characters, CR LF. Who reads with it leaves any other form to the standard library.
package fieldline

import (
	"net/textproto"
	"strings"
)

// Cut cuts the first line off. It reports false for a line that holds a control
// character other than a tab, or that ends in another way than CR LF.
func Cut(s string) (line, rest string, ok bool) {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return s[:i], s[min(i+2, len(s)):], c == '\r' && i+1 < len(s) && s[i+1] == '\n'
		}
	}
	return s, "", false
}

// Parse reads a line that was Cut. The name is canonical, and the value has no blanks
// around it. It reports false for a name that is no token or is followed by a blank.
func Parse(line string) (name, value string, ok bool) {
	i, canonical, upper := 0, true, true
	for ; i < len(line) && line[i] != ':'; i++ {
		c := line[i]
		kind := kinds[c]
		if kind == 0 {
			return "", "", false
		}
		canonical = canonical && (kind == other || (kind == capital) == upper)
		upper = c == '-'
	}
	if i == 0 || i == len(line) {
		return "", "", false
	}
	name = line[:i]
	if !canonical {
		name = textproto.CanonicalMIMEHeaderKey(name)
	}
	return name, strings.Trim(line[i+1:], " \t"), true
}

// lengthDigits is the longest Content-Length that Length reads.
const lengthDigits = 15

// Length reads the value of a Content-Length: one to 15 digits.
func Length(value string) (n int64, ok bool) {
	if value == "" || len(value) > lengthDigits {
		return 0, false
	}
	for i := 0; i < len(value); i++ {
		c := value[i]
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int64(c-'0')
	}
	return n, true
}

// IsToken reports whether s is a token, as names of fields are (RFC 9110 section
// 5.6.2).
func IsToken(s string) bool {
	for i := 0; i < len(s); i++ {
		if kinds[s[i]] == 0 {
			return false
		}
	}
	return s != ""
}

// kinds of the characters of a token.
const (
	capital = 1 + iota
	small
	other
)

var kinds = func() (k [256]byte) {
	for _, c := range []byte("!#$%&'*+-.^_`|~0123456789") {
		k[c] = other
	}
	for c := byte('a'); c <= 'z'; c++ {
		k[c], k[c-'a'+'A'] = small, capital
	}
	return k
}()
