package edge

import (
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/gatewarden/gatewarden/fault"
)

// invalid is a request that is refused before it is matched.
func invalid(reason, message string) error { return fault.New(fault.Invalid, reason, message) }

// canonicalURL writes the one canonical form of u to dst (RFC 3986 section 6.2.2):
//
//   - scheme and host in lower case, without default port and trailing dot;
//   - the path without dot segments and without empty segments ("//"), a trailing
//     slash kept, needless percent-encoding undone, hex digits in upper case;
//   - the query byte for byte.
//
// Forms that two parsers may read differently are refused with fault.Invalid:
// percent-encoded '.', '/' and '\', a backslash, control bytes, invalid UTF-8,
// '#', a second layer of percent-encoding over these, and path parameters (';')
// on or beside dot segments.
func canonicalURL(dst, u *url.URL, scheme, host string) error {
	if u.Opaque != "" || u.User != nil || u.Scheme != "" && (u.Scheme != scheme || u.Host == "") {
		return invalid("invalid_target", "the request target is not a path or a URL of this server")
	}
	h, err := canonicalHost(host, scheme)
	if err != nil {
		return err
	}
	p, raw, err := canonicalPath(u)
	if err != nil {
		return err
	}
	for i := 0; i < len(u.RawQuery); i++ {
		if c := u.RawQuery[i]; c <= ' ' || c == 0x7f || c == '#' {
			return invalid("invalid_query", "the query holds a character that is not allowed")
		}
	}
	*dst = url.URL{Scheme: scheme, Host: h, Path: p, RawPath: raw, RawQuery: u.RawQuery, ForceQuery: u.ForceQuery}
	return nil
}

// CanonicalURL returns the canonical form of an absolute http or https URL: the one
// that a request for it has when it is judged. Errors are fault.Invalid.
func CanonicalURL(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, invalid("invalid_target", "the text is not an http or https URL")
	}
	canonical := new(url.URL)
	return canonical, canonicalURL(canonical, u, u.Scheme, u.Host)
}

// parseTarget parses a request target in origin form (RFC 9112 section 3.2.1) into u,
// which is zero.
func parseTarget(u *url.URL, target string) error {
	if !strings.HasPrefix(target, "/") {
		return invalid("invalid_target", "the request target is not an absolute path")
	}
	if path, query, found := strings.Cut(target, "?"); isSimple(path) && !(found && query == "") {
		u.Path, u.RawQuery = path, query // as ParseRequestURI does; canonicalURL checks the query
		return nil
	}
	parsed, err := url.ParseRequestURI(target)
	if err != nil {
		return invalid("invalid_path", "the request target cannot be parsed")
	}
	*u = *parsed
	return nil
}

// SentPath is the path of a received request as it came over the wire, for edges that
// find the target in it. URL.EscapedPath alone would repair what is to be refused.
func SentPath(u *url.URL) string {
	if u.RawPath != "" {
		return u.RawPath
	}
	if isSimple(u.Path) {
		return u.Path
	}
	return u.EscapedPath()
}

// isSimple reports whether s has only characters that are the same encoded or not, and
// slashes.
func isSimple(s string) bool {
	other := byte(0) // joined: a branch for each byte takes twice as long
	for i := range len(s) {
		other |= notSimple[s[i]]
	}
	return other == 0
}

// notSimple is 0 for what isSimple accepts, 1 for other bytes.
var notSimple = func() (table [256]byte) {
	for c := range table {
		if !isUnreserved(byte(c)) && c != '/' {
			table[c] = 1
		}
	}
	return table
}()

func canonicalPath(u *url.URL) (path, raw string, err error) {
	if u.RawPath == "" && isPlainPath(u.Path) {
		return u.Path, "", nil
	}
	wire := u.RawPath
	if wire == "" {
		wire = u.EscapedPath()
	}
	if wire == "" && u.Host != "" { // absolute form without a path
		return "/", "", nil
	}
	if wire == "" || wire[0] != '/' {
		return "", "", invalid("invalid_path", "the path is not absolute")
	}
	if wire, err = canonicalEncoding(wire); err != nil {
		return "", "", err
	}
	if wire, err = removeDotSegments(wire); err != nil {
		return "", "", err
	}
	if path, err = url.PathUnescape(wire); err != nil {
		return "", "", invalid("invalid_path", "the path has an invalid percent-encoding")
	}
	if err := checkDecoded(path); err != nil {
		return "", "", err
	}
	if (&url.URL{Path: path}).EscapedPath() != wire {
		raw = wire
	}
	return path, raw, nil
}

// isPlainPath reports whether a decoded path whose wire form is the default
// encoding needs no work; most do not.
func isPlainPath(p string) bool {
	if p == "" || p[0] != '/' {
		return false
	}
	prev := byte(0)
	for i := 0; i < len(p); i++ {
		c := p[i]
		if c < ' ' || c >= 0x7f || c == '\\' || c == ';' || c == '%' || c == '#' || prev == '/' && (c == '/' || c == '.') {
			return false
		}
		prev = c
	}
	return true
}

// canonicalEncoding decodes what needs no encoding, encodes what does, and
// refuses encodings that hide structure.
func canonicalEncoding(wire string) (string, error) {
	var b strings.Builder
	b.Grow(len(wire) + 8)
	for i := 0; i < len(wire); i++ {
		c, encoded := wire[i], false
		if c == '%' {
			if i+2 >= len(wire) || !isHex(wire[i+1]) || !isHex(wire[i+2]) {
				return "", invalid("invalid_path", "the path has an invalid percent-encoding")
			}
			c, encoded = unhex(wire[i+1])<<4|unhex(wire[i+2]), true
			i += 2
		}
		switch {
		case c < ' ' || c == 0x7f:
			return "", invalid("invalid_path", "the path holds a control character")
		case c == '\\' || encoded && (c == '/' || c == '.'):
			return "", invalid("ambiguous_path", "the path holds a backslash or an encoded dot or slash")
		case !encoded && (c == '#' || c == '?'):
			return "", invalid("invalid_path", "the path holds a character that is not allowed")
		case isUnreserved(c), !encoded && strings.IndexByte("!$&'()*+,;=:@/", c) >= 0:
			b.WriteByte(c)
		default:
			b.WriteByte('%')
			b.WriteByte(upperHex[c>>4])
			b.WriteByte(upperHex[c&15])
		}
	}
	return b.String(), nil
}

const upperHex = "0123456789ABCDEF"

// removeDotSegments applies RFC 3986 section 5.2.4 after dropping empty segments.
func removeDotSegments(wire string) (string, error) {
	parameters := strings.Contains(wire, ";") || strings.Contains(wire, "%3B")
	segments := strings.Split(wire[1:], "/")
	kept := segments[:0]
	for i, s := range segments {
		last := i == len(segments)-1
		if parameters && isDots(s) || isDots(beforeParameter(s)) && beforeParameter(s) != s {
			return "", invalid("ambiguous_path", "the path mixes path parameters and dot segments")
		}
		switch {
		case s == "..":
			kept = kept[:max(len(kept)-1, 0)]
		case s != "" && s != ".":
			kept = append(kept, s)
			continue
		}
		if last { // the path ends in a directory
			kept = append(kept, "")
		}
	}
	return "/" + strings.Join(kept, "/"), nil
}

func isDots(s string) bool { return s == "." || s == ".." }

func beforeParameter(s string) string {
	s, _, _ = strings.Cut(s, ";")
	s, _, _ = strings.Cut(s, "%3B")
	return s
}

// checkDecoded refuses a decoded path that is not text, or that a second decoding
// would change the structure of.
func checkDecoded(p string) error {
	if !utf8.ValidString(p) {
		return invalid("invalid_path", "the path is not valid UTF-8")
	}
	for _, r := range p {
		if r >= 0x80 && r < 0xa0 {
			return invalid("invalid_path", "the path holds a control character")
		}
	}
	for i := strings.IndexByte(p, '%'); i >= 0 && i+2 < len(p); i++ {
		if p[i] == '%' && isHex(p[i+1]) && isHex(p[i+2]) {
			switch c := unhex(p[i+1])<<4 | unhex(p[i+2]); {
			case c < ' ', c == '.', c == '/', c == '\\', c == ';', c == '%':
				return invalid("ambiguous_path", "the path is percent-encoded twice")
			}
		}
	}
	return nil
}

// canonicalHost returns host in lower case without default port and trailing dot;
// IPv6 addresses in the form of RFC 5952.
func canonicalHost(host, scheme string) (string, error) {
	if name, port, found := strings.Cut(host, ":"); isPlainHost(name) && (!found || isPlainPort(port, scheme)) {
		return host, nil
	}
	return anyHost(host, scheme)
}

// anyHost is canonicalHost for hosts that may need work.
func anyHost(host, scheme string) (string, error) {
	name, port := host, ""
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		name, port = host[:i], host[i+1:]
		n, err := strconv.ParseUint(port, 10, 16)
		if port != "" && (err != nil || n == 0 || port[0] == '+') {
			return "", errHost
		}
		port = ""
		if err == nil && !(n == 80 && scheme == "http" || n == 443 && scheme == "https") {
			port = ":" + strconv.FormatUint(n, 10)
		}
	}
	if strings.HasPrefix(name, "[") {
		a, err := netip.ParseAddr(strings.Trim(name, "[]"))
		if err != nil || !a.Is6() || a.Zone() != "" || "["+strings.Trim(name, "[]")+"]" != name {
			return "", errHost
		}
		return "[" + a.String() + "]" + port, nil
	}
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if !isPlainHost(name) {
		return "", errHost
	}
	if port != "" && len(name)+len(port) == len(host) && host[:len(name)] == name && host[len(name):] == port {
		return host, nil
	}
	return name + port, nil
}

var errHost = invalid("invalid_host", "the host is missing or not a host name or address")

// isPlainPort reports whether s is a port in its shortest form, and not the scheme's.
func isPlainPort(s, scheme string) bool {
	if len(s) == 0 || len(s) > 5 || s[0] == '0' {
		return false
	}
	n := 0
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
		n = 10*n + int(s[i]-'0')
	}
	return n < 1<<16 && !(n == 80 && scheme == "http") && !(n == 443 && scheme == "https")
}

// isPlainHost accepts lower-case names of letters, digits, '-' and '_' in
// non-empty labels of at most 63 bytes, 253 in all.
func isPlainHost(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	label := 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-', c == '_':
			if label++; label > 63 {
				return false
			}
		case c == '.' && label > 0:
			label = 0
		default:
			return false
		}
	}
	return label > 0
}

// canonicalMethod returns an HTTP method in upper case (RFC 9110 section 9.1).
// CONNECT asks for a tunnel, which the gateway does not open.
func canonicalMethod(m string) (string, error) {
	upper := true
	for i := 0; i < len(m); i++ {
		c := m[i]
		if !isAlnum(c) && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return "", invalid("invalid_method", "the method is not a token")
		}
		upper = upper && (c < 'a' || c > 'z')
	}
	if !upper {
		m = strings.ToUpper(m)
	}
	if m == "" || m == "CONNECT" {
		return "", invalid("invalid_method", "the method is not supported")
	}
	return m, nil
}

func isAlnum(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

func isUnreserved(c byte) bool {
	return isAlnum(c) || c == '-' || c == '.' || c == '_' || c == '~'
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c&^0x20 - 'A' + 10
}
