package rules

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/fault"
)

// Reason ids of requests whose upstream cannot be made.
const (
	ReasonUpstreamNotAllowed = "upstream_not_allowed"
	ReasonRewriteRefused     = "rewrite_refused"
)

// resolver makes the upstream of a request from the captures of its match.
type resolver struct {
	base    *access.Upstream
	address *address // nil: base.URL
	regex   *regexp.Regexp
	path    captureText // of the rewritten path; nil: it is not rewritten
}

// address is an upstream URL with captures.
type address struct {
	scheme     string
	host, path captureText
	port       string   // with its colon; may be empty
	allowed    []string // names and *.names
}

// captureText is text with captures in between.
type captureText []piece

// piece is a text, or a capture when group is positive.
type piece struct {
	text  string
	group int
}

var captureFormat = regexp.MustCompile(`\$\{([0-9]{1,3})\}`)

// newCaptureText reads a text in which ${1} stands for the first of up to most captures.
func newCaptureText(text string, most int) (captureText, error) {
	var out captureText
	last := 0
	for _, at := range captureFormat.FindAllStringSubmatchIndex(text, -1) {
		if at[0] > last {
			out = append(out, piece{text: text[last:at[0]]})
		}
		n, _ := strconv.Atoi(text[at[2]:at[3]]) // three digits
		if n < 1 || n > most {
			return nil, fmt.Errorf("${%d} is not one of the %d capture groups", n, most)
		}
		out = append(out, piece{group: n})
		last = at[1]
	}
	if last < len(text) {
		out = append(out, piece{text: text[last:]})
	}
	for _, p := range out {
		if strings.Contains(p.text, "${") {
			return nil, fmt.Errorf("%q has a ${ that is not followed by a number and }", text)
		}
	}
	return out, nil
}

// expand puts captures in, as encode writes them. It reports false when there is no
// such capture.
func (t captureText) expand(captures []string, encode func(string) string) (string, bool) {
	var b strings.Builder
	for _, p := range t {
		switch {
		case p.group == 0:
			b.WriteString(p.text)
		case p.group > len(captures):
			return "", false
		default:
			b.WriteString(encode(captures[p.group-1]))
		}
	}
	return b.String(), true
}

// resolver compiles what differs by request; nil when nothing does.
func (r *routing) resolver(groups int) *resolver {
	out := &resolver{}
	if strings.Contains(r.URL, "${") {
		a, err := newAddress(r.URL, groups)
		if err != nil {
			r.fault("/url", "%s", err)
			return nil
		}
		out.address = a
		if len(r.AllowedHosts) == 0 {
			r.fault("/allowed_hosts", "must be set when url has capture groups")
		}
	} else if len(r.AllowedHosts) > 0 {
		r.fault("/allowed_hosts", "is for a url with capture groups")
	}
	for i, pattern := range r.AllowedHosts {
		name := strings.TrimPrefix(pattern, "*.")
		if !isHostName(name) || name != strings.ToLower(name) || !strings.Contains(name, ".") && name != pattern {
			r.fault("/allowed_hosts/"+strconv.Itoa(i), "%q must be a host name in lower case, or *. and one with at least two labels", pattern)
		} else if out.address != nil {
			out.address.allowed = append(out.address.allowed, pattern)
		}
	}
	if r.Rewrite != nil {
		r.rewrite(out, groups)
	}
	if out.address == nil && r.Rewrite == nil {
		return nil
	}
	return out
}

// rewrite compiles the new path.
func (r *routing) rewrite(out *resolver, groups int) {
	if strings.Trim(r.StripPath, "/") != "" {
		r.fault("/rewrite", "cannot be combined with strip_path")
	}
	if r.Rewrite.Regex != "" {
		// Anchored: an expression that may match anywhere rewrites what nobody meant.
		re, err := regexp.Compile(`\A(?:` + r.Rewrite.Regex + `)\z`)
		if err != nil {
			r.fault("/rewrite/regex", "is not a regular expression: %s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
			return
		}
		out.regex, groups = re, re.NumSubexp()
	}
	path, err := newPath(r.Rewrite.Path, groups)
	if err != nil {
		r.fault("/rewrite/path", "%s", err)
	}
	out.path = path
}

// newPath reads an absolute path, encoded, with captures.
func newPath(text string, groups int) (captureText, error) {
	if !strings.HasPrefix(text, "/") {
		return nil, errors.New("must begin with /")
	}
	t, err := newCaptureText(text, groups)
	if err != nil {
		return nil, err
	}
	sample, _ := t.expand(make([]string, groups), func(string) string { return "x" })
	u, err := url.ParseRequestURI(sample)
	if err != nil || u.RawQuery != "" || u.ForceQuery || strings.Contains(sample, "#") || u.EscapedPath() != sample || ambiguousPath(sample) {
		return nil, fmt.Errorf("%q is not a path in encoded form without dot segments, query and fragment", text)
	}
	return t, nil
}

// newAddress reads an upstream URL with captures in its host and path.
func newAddress(text string, groups int) (*address, error) {
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok || scheme != "http" && scheme != "https" && scheme != "h2c" {
		return nil, fmt.Errorf("%q must begin with http://, https:// or h2c://", text)
	}
	authority, path := rest, ""
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		authority, path = rest[:i], strings.TrimSuffix(rest[i:], "/")
	}
	a := &address{scheme: scheme}
	host := authority
	if i := strings.LastIndexByte(authority, ':'); i >= 0 {
		if n, err := strconv.ParseUint(authority[i+1:], 10, 16); err != nil || n == 0 {
			return nil, errors.New("must have a port of digits, or none: capture groups may stand in host and path only")
		}
		host, a.port = authority[:i], authority[i:]
	}
	var err error
	if a.host, err = newCaptureText(host, groups); err != nil {
		return nil, err
	}
	if sample, _ := a.host.expand(make([]string, groups), func(string) string { return "x" }); !isHostName(sample) {
		return nil, fmt.Errorf("%q has a host that is not a name", text)
	}
	if path != "" {
		if a.path, err = newPath(path, groups); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// resolve returns the upstream of a request. Errors are fault.Forbidden for a host that
// is not allowed, fault.Invalid for a path that cannot be.
func (r *resolver) resolve(in access.Input) (*access.Upstream, error) {
	out := *r.base
	if r.address != nil {
		u, err := r.address.resolve(in.Captures)
		if err != nil {
			return nil, err
		}
		out.URL = u
	}
	if r.path == nil {
		return &out, nil
	}
	captures := in.Captures
	if r.regex != nil {
		found := r.regex.FindStringSubmatch(in.Request.URL.Path)
		if found == nil {
			return &out, nil // the path stays as it is
		}
		captures = found[1:]
	}
	path, err := expandPath(r.path, captures)
	if err != nil {
		return nil, err
	}
	out.Rewritten = path
	return &out, nil
}

func (a *address) resolve(captures []string) (*url.URL, error) {
	refuse := func(host string) error {
		return &fault.Error{Kind: fault.Forbidden, Reason: ReasonUpstreamNotAllowed, Message: "the request leads to no upstream",
			Err: fmt.Errorf("upstream host %.255q is not one of allowed_hosts", host)}
	}
	valid := true
	host, ok := a.host.expand(captures, func(c string) string {
		// Before folding: letters such as the sign for kelvin become ASCII by it.
		valid = valid && isHostName(c)
		return strings.ToLower(c) // from a path; a host has one spelling
	})
	if !ok || !valid || !isHostName(host) || !a.allows(host) {
		return nil, refuse(host)
	}
	u := &url.URL{Scheme: a.scheme, Host: host + a.port}
	if a.path != nil {
		path, err := expandPath(a.path, captures)
		if err != nil {
			return nil, err
		}
		if u.Path, err = url.PathUnescape(path); err != nil {
			return nil, err
		}
		u.RawPath = path
	}
	return u, nil
}

func (a *address) allows(host string) bool {
	for _, pattern := range a.allowed {
		if name, below := strings.CutPrefix(pattern, "*"); below && len(host) > len(name) && strings.HasSuffix(host, name) || pattern == host {
			return true
		}
	}
	return false
}

// expandPath returns an absolute path in encoded form. Captures keep their slashes;
// everything else that has a meaning in a path is encoded.
func expandPath(t captureText, captures []string) (string, error) {
	path, ok := t.expand(captures, func(c string) string {
		segments := strings.Split(c, "/")
		for i, s := range segments {
			segments[i] = url.PathEscape(s)
		}
		return strings.Join(segments, "/")
	})
	for strings.Contains(path, "//") {
		path = strings.ReplaceAll(path, "//", "/")
	}
	if !ok || ambiguousPath(path) {
		return "", &fault.Error{Kind: fault.Invalid, Reason: ReasonRewriteRefused, Message: "the path cannot be rewritten",
			Err: fmt.Errorf("the rewritten path would be %.255q", path)}
	}
	return path, nil
}

// ambiguousPath reports dot segments, which would lead out of the path they are in.
func ambiguousPath(escaped string) bool {
	for segment := range strings.SplitSeq(escaped, "/") {
		plain, err := url.PathUnescape(segment)
		if name, _, _ := strings.Cut(plain, ";"); err != nil || name == "." || name == ".." || strings.ContainsAny(plain, "/\\\x00") {
			return true
		}
	}
	return false
}

// isHostName reports whether s is labels of letters, digits, hyphens and underscores
// with dots in between.
func isHostName(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := 0; i < len(label); i++ {
			if c := label[i]; (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return false
			}
		}
	}
	return true
}
