package edge

import (
	"net/http"
	"net/url"
	"strings"
)

// newCookieSet returns the folded names of cookies that clients may not send.
func newCookieSet(names []string) map[string]bool {
	set := make(map[string]bool, len(names))
	for _, name := range names {
		set[fold(name)] = true
	}
	return set
}

// stripCookies removes the set's cookies from h, in every spelling that a lenient
// reader takes for the name, and reports whether there were any. All others stay
// byte for byte.
func (s *headerSet) stripCookies(h http.Header) (found bool) {
	if len(s.cookies) == 0 {
		return false
	}
	lines := h["Cookie"]
	var kept []string
	for _, line := range lines {
		for part := range strings.SplitSeq(line, ";") {
			if s.forbidsCookie(part) {
				found = true
			} else if part = strings.TrimSpace(part); part != "" {
				kept = append(kept, part)
			}
		}
	}
	switch {
	case !found:
	case len(kept) == 0:
		delete(h, "Cookie")
	default:
		h["Cookie"] = []string{strings.Join(kept, "; ")}
	}
	return found
}

// forbidsCookie reports whether what stands between two semicolons can be read as a
// cookie of the set. Old readers also end a cookie at a comma or a space (RFC 2109),
// decode names, ignore their case, and turn marks in them into '_'.
func (s *headerSet) forbidsCookie(part string) bool {
	for piece := range strings.FieldsFuncSeq(part, func(c rune) bool { return c == ',' || c <= ' ' }) {
		name, _, _ := strings.Cut(piece, "=")
		if plain, err := url.PathUnescape(name); err == nil {
			name = plain
		}
		if s.cookies[fold(name)] {
			return true
		}
	}
	return false
}
