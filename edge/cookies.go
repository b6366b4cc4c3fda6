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
// reader takes for the name, and reports whether there were any. Those of sessions
// are returned, in their own spelling only. All others stay byte for byte.
func (s *headerSet) stripCookies(h http.Header) (sessions []*http.Cookie, found bool) {
	if len(s.cookies) == 0 && len(s.sessions) == 0 {
		return nil, false
	}
	lines := h["Cookie"]
	var kept []string
	for _, line := range lines {
		for part := range strings.SplitSeq(line, ";") {
			if s.forbidsCookie(part) {
				found = true
				if c := s.session(part); c != nil {
					sessions = append(sessions, c)
				}
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
	return sessions, found
}

// session returns the session cookie that part is; nil for another one, and for
// what only a lenient reader takes for one.
func (s *headerSet) session(part string) *http.Cookie {
	name, value, ok := strings.Cut(strings.TrimSpace(part), "=")
	for _, prefix := range s.source[2] {
		if ok && strings.HasPrefix(name, prefix) {
			return &http.Cookie{Name: name, Value: value}
		}
	}
	return nil
}

// cleanAnswer removes from the header of an upstream's answer the cookies of
// sessions, which an upstream cannot set, in every spelling.
func (s *headerSet) cleanAnswer(h http.Header) {
	if len(s.sessions) == 0 {
		return
	}
	lines := h["Set-Cookie"]
	kept := lines[:0:0]
	for _, line := range lines {
		name, _, _ := strings.Cut(line, ";")
		name = strings.TrimLeft(name, "= \t") // without a name it comes back as what its value names
		if name, _, _ = strings.Cut(name, "="); !s.isSession(strings.TrimSpace(name)) {
			kept = append(kept, line)
		}
	}
	switch {
	case len(kept) == len(lines):
	case len(kept) == 0:
		delete(h, "Set-Cookie")
	default:
		h["Set-Cookie"] = kept
	}
}

func (s *headerSet) isSession(name string) bool {
	if len(s.sessions) == 0 {
		return false
	}
	folded := fold(name)
	for _, prefix := range s.sessions {
		if strings.HasPrefix(folded, prefix) {
			return true
		}
	}
	return false
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
		if s.cookies[fold(name)] || s.isSession(name) {
			return true
		}
	}
	return false
}
