package edge

import (
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
)

// Whatever reads a request behind the gateway may fold header names: CGI and WSGI
// servers turn '-' and other marks into '_'. So two names are the same field when
// they agree after that, and a field that belongs to the gateway is removed in
// every spelling.

// credentials are read by authenticators, so that their own spelling stays even
// when a mutator writes the field; other spellings go.
func isCredential(name string) bool { return name == "Authorization" || name == "Cookie" }

// isGateways reports whether a canonical name is a field that the gateway writes
// or resolves itself.
func isGateways(name string) bool {
	switch name {
	case "Forwarded", "X-Real-Ip", "X-Rewrite-Url", DecisionID,
		"Proxy": // becomes HTTP_PROXY in CGI programs
		return true
	}
	return isCertificateField(name) || strings.HasPrefix(name, "X-Forwarded-") || strings.HasPrefix(name, "X-Original-")
}

// headerSet is a set of fields and cookies that clients may not send, compiled once
// per rule set.
type headerSet struct {
	source   [3][]string     // headers, cookies and sessions as the rules gave them, for comparison
	owned    map[string]bool // canonical names
	lengths  uint64          // bit n: a name of n bytes (modulo 64) is in owned
	cookies  map[string]bool // folded names
	sessions []string        // what folded names of session cookies begin with
	// spellings of owned, sorted by name.
	spellings []spelling
}

// spelling is a way to write an owned field.
type spelling struct {
	name   string // lower case
	field  string // canonical
	folded bool   // '_' in place of '-'
}

func newHeaderSet(headers, cookies, sessions []string) *headerSet {
	s := &headerSet{source: [3][]string{headers, cookies, sessions}, owned: map[string]bool{}, cookies: newCookieSet(cookies)}
	for _, prefix := range sessions {
		s.sessions = append(s.sessions, fold(prefix))
	}
	for _, name := range headers {
		if c := fold(name); !hopByHop(c) {
			s.owned[c] = true
			s.lengths |= 1 << (len(c) & 63)
		}
	}
	for field := range s.owned {
		name := strings.ToLower(field)
		s.spellings = append(s.spellings, spelling{name: name, field: field})
		if folded := strings.ReplaceAll(name, "-", "_"); folded != name {
			s.spellings = append(s.spellings, spelling{name: folded, field: field, folded: true})
		}
	}
	slices.SortFunc(s.spellings, func(a, b spelling) int { return strings.Compare(a.name, b.name) })
	return s
}

// strip removes the set's fields and the gateway's own from h and returns the names of
// the set's. It reports whether h has fields of the connection, which are for
// cleanHopByHop.
func (s *headerSet) strip(h http.Header) (removed []string, connection bool) {
	for name := range h {
		if s.forbids(name) {
			if len(s.owned) > 0 && (s.owned[name] || !isPlainName(name) && s.owned[fold(name)]) {
				removed = append(removed, name)
			}
			delete(h, name)
		} else if hopByHop(name) {
			connection = true
		}
	}
	return removed, connection
}

// forbids reports whether a client may not send the field name.
func (s *headerSet) forbids(name string) bool {
	if isPlainName(name) {
		return isGateways(name) || s.lengths&(1<<(len(name)&63)) != 0 && s.owned[name] && !isCredential(name)
	}
	c := fold(name)
	return s.owned[c] || isGateways(c) || isCredential(c) || c == RequestID || c == "Host" || hopByHop(c)
}

// isPlainName reports whether a canonical name has letters, digits and '-' only,
// so that it is the one spelling that nothing folds.
func isPlainName(name string) bool {
	for i := 0; i < len(name); i++ {
		if !plainNameBytes[name[i]] {
			return false
		}
	}
	return name != ""
}

var plainNameBytes = func() (plain [256]bool) {
	for c := range plain {
		plain[c] = isAlnum(byte(c)) || c == '-'
	}
	return plain
}()

// fold returns the canonical spelling of the field that name may be read as: every
// mark becomes '-'.
func fold(name string) string {
	b := []byte(name)
	for i, c := range b {
		if !isAlnum(c) {
			b[i] = '-'
		}
	}
	return http.CanonicalHeaderKey(string(b))
}

// RemoveHeader removes a field from h in every spelling.
func RemoveHeader(h http.Header, name string) {
	name = fold(name)
	delete(h, name)
	for k := range h {
		if !isPlainName(k) && fold(k) == name {
			delete(h, k)
		}
	}
}

// ownership compiles the names that the current rules own.
type ownership struct {
	headers, cookies, sessions func() []string // nil: none
	compiled                   atomic.Pointer[headerSet]
}

func (o *ownership) current() *headerSet {
	var headers, cookies, sessions []string
	if o.headers != nil {
		headers = o.headers()
	}
	if o.cookies != nil {
		cookies = o.cookies()
	}
	if o.sessions != nil {
		sessions = o.sessions()
	}
	if s := o.compiled.Load(); s != nil && same(s.source[0], headers) && same(s.source[1], cookies) && same(s.source[2], sessions) {
		return s
	}
	s := newHeaderSet(headers, cookies, sessions)
	o.compiled.Store(s)
	return s
}

// same compares by identity first: a rule set hands out one slice.
func same(a, b []string) bool {
	if len(a) != len(b) {
		return false
	}
	return len(a) == 0 || &a[0] == &b[0] || slices.Equal(a, b)
}

// hopByHop reports whether a canonical name is a field of one connection only
// (RFC 9110 section 7.6.1), which mutators cannot set either.
func hopByHop(name string) bool {
	switch name {
	case "Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization",
		"Te", "Trailer", "Transfer-Encoding", "Upgrade", "Http2-Settings", "Content-Length":
		return true
	}
	return false
}

// cleanHopByHop removes what the client named in Connection, before the request is
// decided and before identity fields are written, so that a client cannot name a
// field of ours. An upgrade stays when the protocol is allowed; TE stays for trailers.
func cleanHopByHop(r *http.Request, upgrades []string) {
	h := r.Header
	upgrade := false
	for _, v := range h["Connection"] {
		for name := range strings.SplitSeq(v, ",") {
			switch name = http.CanonicalHeaderKey(strings.TrimSpace(name)); name {
			case "Upgrade":
				upgrade = true
			case "", "Te", "Content-Length", "Host":
			default:
				delete(h, name)
			}
		}
	}
	upgrade = upgrade && r.ProtoMajor == 1 && !doubtful(r) && r.Method == http.MethodGet && len(h["Upgrade"]) == 1 &&
		slices.Contains(upgrades, strings.ToLower(h["Upgrade"][0]))
	for _, name := range [...]string{"Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Http2-Settings"} {
		delete(h, name)
	}
	if upgrade {
		h["Connection"] = []string{"Upgrade"}
	} else {
		delete(h, "Upgrade")
	}
}

// cleanTrailers removes announced trailers that a client may not send or that
// recipients might merge into fields that were already judged.
func (s *headerSet) cleanTrailers(trailer http.Header) {
	for name := range trailer {
		if s.forbids(name) || s.owned[name] || isCredential(name) || hopByHop(name) || name == RequestID || name == "Host" {
			delete(trailer, name)
		}
	}
}

// checkHost refuses an HTTP/2 Host field that differs from :authority (RFC 9113
// section 8.3.1). In HTTP/1 a Host field beside an absolute target is void (RFC 9112
// section 3.2.2), and several Host fields never get here.
func checkHost(r *http.Request) error {
	v, ok := r.Header["Host"]
	if !ok {
		return nil
	}
	delete(r.Header, "Host")
	if len(v) != 1 || !strings.EqualFold(v[0], r.Host) {
		return errHost
	}
	return nil
}
