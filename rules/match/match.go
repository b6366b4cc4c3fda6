// Package match finds the rule that a request is for.
//
// A Compiler turns a rule's match into a Pattern, New turns the patterns of a rule
// set into an immutable Index. The index looks a request up by host, then by the
// literal text that the path begins with, and runs only what is left of the
// patterns found there, so that the cost does not grow with the number of rules.
// Common shapes are matched step by step (see sequence), all others on RE2, in
// linear time; those that RE2 cannot express (look-around) run on a backtracking
// engine under a time limit that refuses the request.
//
// What is matched is the canonical URL of access.Request without its query:
// scheme://host/path, the path decoded. A pattern matches the whole of it.
//
// Of several matching rules the one with the higher priority wins, then the one
// with the longer literal prefix (the scheme apart), then the one with more literal
// characters, those of header and query conditions included, then the one whose
// path is literal to its end. A remaining tie is an *AmbiguousError.
package match

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/gatewarden/gatewarden/access"
)

// ErrNone means that no rule matches.
var ErrNone = errors.New("no rule matches")

// AmbiguousError means that two rules match and neither comes first.
type AmbiguousError struct{ Rules [2]int }

// Error names the rules by their indices.
func (e *AmbiguousError) Error() string {
	return fmt.Sprintf("rules %d and %d match and neither comes first", e.Rules[0], e.Rules[1])
}

// TimeoutError means that it could not be found out in time whether a rule
// matches. The request must be refused: another rule is not the answer.
type TimeoutError struct {
	Rule int
	Err  error
}

// Error names the rule by its index.
func (e *TimeoutError) Error() string {
	return fmt.Sprintf("the pattern of rule %d exceeded its time: %v", e.Rule, e.Err)
}

// Unwrap returns the engine's error.
func (e *TimeoutError) Unwrap() error { return e.Err }

// Result is the rule that a request is for.
type Result struct {
	// Rule is the index of the Entry given to New.
	Rule int
	// Captures are the groups of the pattern in order, without the whole match.
	Captures []string
}

// Find returns the rule for r. Errors: ErrNone, *AmbiguousError, *TimeoutError.
func (x *Index) Find(r *access.Request) (Result, error) {
	s := x.search(r)
	if err := s.find(x); err != nil {
		return Result{}, err
	}
	captures, err := s.captures(s.found)
	if err != nil {
		return Result{}, &TimeoutError{Rule: int(s.found.rule), Err: err}
	}
	return Result{Rule: int(s.found.rule), Captures: captures}, nil
}

// Match is Find for callers that need no captures. It allocates nothing, but for
// patterns that have to be run over the whole URL, and for errors.
func (x *Index) Match(r *access.Request) (rule int, err error) {
	s := x.search(r)
	if err := s.find(x); err != nil {
		return 0, err
	}
	return int(s.found.rule), nil
}

func (x *Index) search(r *access.Request) search {
	return search{r: r, path: r.URL.Path, method: methodBit(r.Method), scheme: schemeBit(r.URL.Scheme), strict: x.strict, best: -1, late: -1}
}

// find sets found, or returns an error of Find.
func (s *search) find(x *Index) error {
	host := s.r.URL.Host
	s.chain(x.hosts.exact[host])
	if len(x.hosts.below) > 0 {
		s.below(x.hosts.below, host)
	}
	if len(x.portless.exact)+len(x.portless.below) > 0 {
		name, _, _ := cutPort(host)
		s.chain(x.portless.exact[name])
		s.below(x.portless.below, name)
	}
	s.chain(x.any)
	if x.floats {
		s.float(x.floating)
	}
	switch {
	case s.late >= 0 && (s.late >= s.best || x.strict):
		return &TimeoutError{Rule: s.lateRule, Err: s.lateErr}
	case s.found == nil:
		return ErrNone
	case s.tie != nil:
		return &AmbiguousError{[2]int{int(s.found.rule), int(s.tie.rule)}}
	}
	return nil
}

// search is the state of one Find.
type search struct {
	r      *access.Request
	path   string // what prefixes are compared with: the path, or the end of it
	method uint16 // 0: an uncommon one
	scheme uint8  // likewise
	strict bool

	found, tie *entry
	best       int32 // rank of found

	late     int32 // highest rank of a pattern that ran out of time
	lateRule int
	lateErr  error

	url   string     // the text of whole patterns, made when first needed
	query url.Values // likewise
}

// below searches the trees of all domains that host is below.
func (s *search) below(trees map[string]*node, host string) {
	for i := range len(host) {
		if host[i] == '.' && i > 0 {
			s.chain(trees[host[i+1:]])
		}
	}
}

// float tries the entries of targets that may begin at any slash of the path.
func (s *search) float(tree *node) {
	path := s.path
	for i := range len(path) {
		if path[i] == '/' {
			s.path = path[i:]
			s.chain(tree)
		}
	}
	s.path = path
}

// chain tries the entries on the way from the root of tree to where the path
// leads, the longest prefix first.
func (s *search) chain(tree *node) {
	if tree == nil {
		return
	}
	for n := tree.deepest(s.path); n != nil; n = n.up {
		if n.best < s.best && !s.strict {
			return
		}
		for i := range n.entries {
			e := &n.entries[i]
			if e.rank < s.best && !s.strict {
				break
			}
			s.try(e)
		}
	}
}

func (s *search) try(e *entry) {
	same := s.found != nil && s.found.rule == e.rule
	if same && e.rank <= s.best {
		return
	}
	if s.method != 0 && e.methods&s.method == 0 || s.method == 0 && !e.pattern.methods.has(s.r.Method) ||
		s.scheme != 0 && e.schemes&s.scheme == 0 || s.scheme == 0 && !e.target.schemes.has(s.r.URL.Scheme) {
		return
	}
	ok, err := s.matches(e)
	if !ok && err == nil || e.conditions && !s.fields(e.pattern) {
		return
	}
	switch {
	case err != nil:
		if e.rank > s.late {
			s.late, s.lateRule, s.lateErr = e.rank, int(e.rule), err
		}
	case s.found == nil, same && s.strict:
		s.found, s.best = e, e.rank
	case s.strict, e.rank == s.best:
		s.tie = e
	case e.rank > s.best:
		s.found, s.tie, s.best = e, nil, e.rank
	}
}

// matches runs what is left of an entry whose prefix s.path is known to begin with.
func (s *search) matches(e *entry) (bool, error) {
	switch t := e.target; {
	case !e.special:
	case t.whole != nil:
		return t.whole.match(s.subject(t))
	default:
		return s.floats(t, len(s.r.URL.Path)-len(s.path)), nil
	}
	if e.exact && len(s.path) != int(e.length) {
		return false, nil
	}
	if e.host != nil {
		if ok, err := e.host.match(s.r.URL.Host); !ok || err != nil {
			return false, err
		}
	}
	if e.rest == nil {
		return true, nil
	}
	return e.rest.match(s.path[e.length:])
}

// floats reports whether t matches with its prefix, which is there, at the given
// place of the path. What precedes it is matched in two pieces, the host and the
// start of the path: both are any text, of which one must not be empty for <.+>.
func (s *search) floats(t *target, at int) bool {
	var ignored marks
	u, any := s.r.URL, &t.host.re.sequence.pieces[0]
	if len(u.Host)+at < any.min || any.set.span(u.Host, 0, -1) != len(u.Host) || any.set.span(u.Path[:at], 0, -1) != at {
		return false
	}
	return t.rest.sequence.match(u.Path[at+len(t.prefix):], &ignored)
}

// subject returns the text that t.whole runs over.
func (s *search) subject(t *target) string {
	if t.onPath {
		return s.r.URL.Path
	}
	return s.text()
}

func (s *search) text() string {
	if s.url == "" {
		s.url = s.r.URL.Scheme + "://" + s.r.URL.Host + s.r.URL.Path
	}
	return s.url
}

func (s *search) captures(e *entry) (out []string, err error) {
	u, host, rest := s.r.URL, s.r.URL.Host, 0
	if e.special {
		t := e.target
		switch {
		case t.groups == 0:
			return nil, nil
		case t.whole != nil:
			return t.whole.captures(s.subject(t))
		}
		// The host takes as much as it can, so the last place is the one.
		rest = strings.LastIndex(u.Path, t.prefix)
		for !s.floats(t, rest) {
			rest = strings.LastIndex(u.Path[:rest+len(t.prefix)-1], t.prefix)
		}
		host += u.Path[:rest]
	}
	groups := e.host.size() + e.rest.size()
	if e.inScheme {
		groups += e.target.schemes.groups()
	}
	if groups == 0 {
		return nil, nil
	}
	out = make([]string, 0, groups)
	if e.inScheme {
		out, err = e.target.schemes.others.captures(out, u.Scheme)
	}
	if e.host.size() > 0 && err == nil {
		out, err = e.host.captures(out, host)
	}
	if e.rest.size() > 0 && err == nil {
		out, err = e.rest.captures(out, u.Path[rest+int(e.length):])
	}
	return out, err
}

// fields reports whether the header and query conditions of p hold.
func (s *search) fields(p *Pattern) bool {
	for _, c := range p.headers {
		if !oneOf(s.r.Header[c.name], c.value) {
			return false
		}
	}
	if len(p.query) > 0 && s.query == nil {
		s.query, _ = url.ParseQuery(s.r.URL.RawQuery) // what is malformed is left out
	}
	for _, c := range p.query {
		if !oneOf(s.query[c.name], c.value) {
			return false
		}
	}
	return true
}

func oneOf(values []string, want string) bool {
	for _, v := range values {
		if want == "*" || v == want {
			return true
		}
	}
	return false
}

// methodSet is a set of request methods.
type methodSet struct {
	bits   uint16
	others []string // methods without a bit, upper case
	any    bool
}

func (m *methodSet) add(name string) {
	if bit := methodBit(name); bit != 0 {
		m.bits |= bit
		return
	}
	m.others = append(m.others, name)
}

// mask returns the bits of the common methods in the set.
func (m *methodSet) mask() uint16 {
	if m.any {
		return ^uint16(0)
	}
	return m.bits
}

// has reports whether a method is in the set that has no bit as it is spelled.
func (m *methodSet) has(name string) bool {
	if m.any || m.bits&methodBit(strings.ToUpper(name)) != 0 {
		return true
	}
	for _, o := range m.others {
		if strings.EqualFold(o, name) {
			return true
		}
	}
	return false
}

func (m *methodSet) overlaps(o *methodSet) bool {
	if m.any || o.any || m.bits&o.bits != 0 {
		return true
	}
	for _, name := range m.others {
		if o.has(name) {
			return true
		}
	}
	return false
}

// methodBit returns the bit of a method in upper case, 0 for uncommon ones.
func methodBit(name string) uint16 {
	switch name {
	case http.MethodGet:
		return 1
	case http.MethodHead:
		return 1 << 1
	case http.MethodPost:
		return 1 << 2
	case http.MethodPut:
		return 1 << 3
	case http.MethodPatch:
		return 1 << 4
	case http.MethodDelete:
		return 1 << 5
	case http.MethodOptions:
		return 1 << 6
	case http.MethodConnect:
		return 1 << 7
	case http.MethodTrace:
		return 1 << 8
	}
	return 0
}

// schemeSet is a set of URL schemes; http and https are decided beforehand.
type schemeSet struct {
	http, https bool
	others      *part // nil: any
}

var anyScheme = schemeSet{http: true, https: true}

func (c *Compiler) schemeSet(tokens []token) (*schemeSet, error) {
	key := source(tokens)
	if known, ok := c.schemes[key]; ok {
		return known, nil
	}
	p, err := c.part(tokens)
	if err != nil {
		return nil, err
	}
	s := &schemeSet{others: p}
	if s.http, err = p.match("http"); err == nil {
		s.https, err = p.match("https")
	}
	if err == nil {
		c.schemes[key] = s
	}
	return s, err
}

// groups returns the number of captures.
func (s *schemeSet) groups() int {
	if s.others == nil {
		return 0
	}
	return s.others.groups
}

// mask returns the bits of http and https.
func (s *schemeSet) mask() (bits uint8) {
	if s.http {
		bits |= schemeBit("http")
	}
	if s.https {
		bits |= schemeBit("https")
	}
	return bits
}

func schemeBit(scheme string) uint8 {
	switch scheme {
	case "http":
		return 1
	case "https":
		return 2
	}
	return 0
}

// has reports whether a scheme without a bit is in the set.
func (s *schemeSet) has(scheme string) bool {
	if s.others == nil {
		return true
	}
	ok, err := s.others.match(scheme)
	return ok && err == nil
}
