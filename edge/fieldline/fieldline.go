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
	for i := 0; i < len(s); {
		if i+8 <= len(s) && !hasControl(s[i:i+8]) {
			i += 8
			continue
		}
		for end := min(i+8, len(s)); i < end; i++ {
			if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
				return s[:i], s[min(i+2, len(s)):], c == '\r' && i+1 < len(s) && s[i+1] == '\n'
			}
		}
	}
	return s, "", false
}

// hasControl reports whether one of the 8 bytes of s is a control character, a tab
// included, all at once: a byte of a difference borrows only when it is too small.
func hasControl(s string) bool {
	const each, high = 0x0101010101010101, 0x8080808080808080
	_ = s[7]
	w := uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
	del := w ^ each*0x7f
	return ((w-each*' ')&^w|(del-each)&^del)&high != 0
}

// Parse reads a line that was Cut. The name is canonical, and the value has no blanks
// around it. It reports false for a name that is no token or is followed by a blank.
func Parse(line string) (name, value string, ok bool) {
	i, at, seen := 0, byte(wordBegins), byte(0) // joined: a branch for each byte takes twice as long
	for ; i < len(line) && line[i] != ':'; i++ {
		form := forms[at][line[i]]
		at = form & wordBegins
		seen |= form
	}
	if i == 0 || i == len(line) || seen&noToken != 0 {
		return "", "", false
	}
	name, value = line[:i], line[i+1:]
	if seen&otherCase != 0 {
		name = textproto.CanonicalMIMEHeaderKey(name)
	}
	for value != "" && isBlank(value[0]) {
		value = value[1:]
	}
	for value != "" && isBlank(value[len(value)-1]) {
		value = value[:len(value)-1]
	}
	return name, value, true
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

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
		if forms[0][s[i]]&noToken != 0 {
			return false
		}
	}
	return s != ""
}

// What a byte of a name is, at a place within a word (0) or where one begins.
const (
	wordBegins = 1 << iota // behind it
	otherCase              // not as in a canonical name
	noToken
)

var forms = func() (f [2][256]byte) {
	for c := range 256 {
		b := byte(c)
		isCapital, isSmall := b >= 'A' && b <= 'Z', b >= 'a' && b <= 'z'
		switch {
		case isCapital:
			f[0][c] = otherCase
		case isSmall:
			f[wordBegins][c] = otherCase
		case b == '-':
			f[0][c], f[wordBegins][c] = wordBegins, wordBegins
		case strings.IndexByte("!#$%&'*+.^_`|~0123456789", b) < 0:
			f[0][c], f[wordBegins][c] = noToken, noToken
		}
	}
	return f
}()
