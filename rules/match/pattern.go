package match

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"

	"github.com/dlclark/regexp2"
	"golang.org/x/net/http/httpguts"

	"github.com/gatewarden/gatewarden/rules/spec"
)

// Strategy says how the <...> parts of a pattern are read.
type Strategy string

// The strategies of access_rules.matching_strategy.
const (
	Regexp Strategy = "regexp" // the default
	Glob   Strategy = "glob"
)

// Limits of one pattern.
const (
	// maxPattern bounds the length of a pattern.
	maxPattern = 4096
	// maxTargets bounds hosts times paths of one rule.
	maxTargets = 1024
)

// Problem is one thing that is wrong with a match.
type Problem struct {
	Pointer string // JSON pointer inside the rule
	Message string
}

// Pattern is a compiled spec.Match.
type Pattern struct {
	targets []*target
	methods methodSet
	headers []pair
	query   []pair
}

// pair is a header field or query parameter that must be present; any value is
// good when value is *.
type pair struct{ name, value string }

// Compiler compiles the matches of a rule set. What their patterns have in common
// is compiled once and shared. It is not safe for concurrent use.
type Compiler struct {
	strategy Strategy
	exprs    map[string]token
	folds    map[string]token // without regard to case
	parts    map[string]*part
	schemes  map[string]*schemeSet
}

// NewCompiler returns a Compiler for patterns of the strategy.
func NewCompiler(strategy Strategy) *Compiler {
	return &Compiler{strategy, map[string]token{}, map[string]token{}, map[string]*part{}, map[string]*schemeSet{}}
}

// Compile compiles m. When there are problems the rule must not be run; the
// Pattern is still returned if it is known which URLs were meant, so that they can
// be refused. It is nil otherwise.
func (c *Compiler) Compile(m spec.Match) (*Pattern, []Problem) {
	p := &Pattern{}
	var problems []Problem
	report := func(pointer, format string, args ...any) {
		problems = append(problems, Problem{pointer, fmt.Sprintf(format, args...)})
	}
	if c.strategy != Regexp && c.strategy != Glob {
		report("", "unknown matching strategy %q", c.strategy)
		return nil, problems
	}
	switch structured := len(m.Hosts) > 0 || len(m.Paths) > 0; {
	case m.URL == "" && !structured:
		report("/match/url", "must be set, or hosts and paths")
	case m.URL != "" && structured:
		report("/match", "url cannot be combined with hosts and paths")
		fallthrough
	case m.URL != "":
		t, err := c.urlTarget(m.URL)
		if err != nil {
			report("/match/url", "%s", err)
			break
		}
		p.targets = []*target{t}
	default:
		p.targets = c.structuredTargets(m, report)
	}
	if len(m.Methods) == 0 {
		report("/match/methods", "must name at least one method")
		p.methods.any = true
	}
	for i, name := range m.Methods {
		if name == "*" || !httpguts.ValidHeaderFieldName(name) {
			report(fmt.Sprintf("/match/methods/%d", i), "%q is not a method", name)
			p.methods.any = true
			continue
		}
		p.methods.add(strings.ToUpper(name))
	}
	p.headers = pairs(m.Headers, http.CanonicalHeaderKey)
	for _, h := range p.headers {
		if !httpguts.ValidHeaderFieldName(h.name) {
			report("/match/headers", "%q is not a header name", h.name)
			p.headers = nil
			break
		}
	}
	p.query = pairs(m.Query, func(name string) string { return name })
	if len(p.targets) == 0 {
		return nil, problems
	}
	extra := 0 // conditions on fields make a rule more specific
	for _, list := range [][]pair{p.headers, p.query} {
		for _, c := range list {
			extra += len(c.name) + len(strings.TrimPrefix(c.value, "*"))
		}
	}
	for _, t := range p.targets {
		t.literals += extra
	}
	return p, problems
}

func pairs(m map[string]string, canonical func(string) string) []pair {
	out := make([]pair, 0, len(m))
	for name, value := range m {
		out = append(out, pair{canonical(name), value})
	}
	slices.SortFunc(out, func(a, b pair) int { return strings.Compare(a.name, b.name) })
	return out
}

func (c *Compiler) structuredTargets(m spec.Match, report func(pointer, format string, args ...any)) []*target {
	if len(m.Hosts)*max(len(m.Paths), 1) > maxTargets || len(m.Paths) > maxTargets {
		report("/match", "has more than %d combinations of hosts and paths", maxTargets)
		return nil
	}
	hosts := []host{{}}
	if len(m.Hosts) > 0 {
		hosts = nil
	}
	for i, name := range m.Hosts {
		h, err := parseHost(name)
		if err != nil {
			report(fmt.Sprintf("/match/hosts/%d", i), "%s", err)
			continue
		}
		hosts = append(hosts, h)
	}
	var targets []*target
	add := func(tokens []token) error {
		for _, h := range hosts {
			t, err := c.pathTarget(h, tokens)
			if err != nil {
				return err
			}
			targets = append(targets, t)
		}
		return nil
	}
	if len(m.Paths) == 0 {
		_ = add(nil) // every path needs no pattern
	}
	for i, path := range m.Paths {
		tokens, err := c.split(path)
		if err == nil && path[0] != '/' && path[0] != '<' {
			err = errors.New("must begin with /")
		}
		if err == nil {
			err = add(tokens)
		}
		if err != nil {
			report(fmt.Sprintf("/match/paths/%d", i), "%s", err)
		}
	}
	return targets
}

// token is a part of a pattern: literal text, or what stood between < and > as a
// regular expression.
type token struct {
	text string
	expr bool
	// parsed is nil for a regular expression that RE2 cannot express.
	parsed *syntax.Regexp
}

// split cuts a pattern at its outermost < and >.
func (c *Compiler) split(pattern string) ([]token, error) {
	if pattern == "" {
		return nil, errors.New("must not be empty")
	}
	if len(pattern) > maxPattern {
		return nil, fmt.Errorf("is longer than %d bytes", maxPattern)
	}
	var tokens []token
	level, start := 0, 0
	for i := range len(pattern) {
		switch pattern[i] {
		case '<':
			if level++; level == 1 {
				if i > start {
					tokens = append(tokens, token{text: pattern[start:i]})
				}
				start = i + 1
			}
		case '>':
			if level--; level < 0 {
				return nil, fmt.Errorf("has a > without < in %q", pattern)
			}
			if level == 0 {
				t, err := c.expr(pattern[start:i])
				if err != nil {
					return nil, err
				}
				tokens = append(tokens, t)
				start = i + 1
			}
		}
	}
	if level != 0 {
		return nil, fmt.Errorf("has a < without > in %q", pattern)
	}
	if start < len(pattern) {
		tokens = append(tokens, token{text: pattern[start:]})
	}
	for _, t := range tokens {
		if !t.expr && strings.ContainsAny(t.text, "?#") {
			return nil, fmt.Errorf("has a query or fragment outside < and > in %q; the query is not part of the URL that is matched, use match.query", pattern)
		}
	}
	return tokens, nil
}

// expr returns the token for what stood between < and >.
func (c *Compiler) expr(text string) (token, error) {
	if known, ok := c.exprs[text]; ok {
		return known, nil
	}
	t, err := newExpr(text, c.strategy)
	if err == nil {
		c.exprs[text] = t
	}
	return t, err
}

func newExpr(text string, strategy Strategy) (token, error) {
	t := token{text: text, expr: true}
	var err error
	if strategy == Glob {
		if t.text, err = fromGlob(text); err != nil {
			return t, err
		}
	}
	if _, err = regexp.Compile("(" + t.text + ")"); err == nil {
		t.parsed, err = syntax.Parse(t.text, syntax.Perl)
	}
	if err == nil || strategy == Glob {
		return t, err
	}
	t.parsed = nil
	if _, backtracking := regexp2.Compile(t.text, regexp2.RE2); backtracking != nil {
		return t, fmt.Errorf("<%s> is not a regular expression: %w", text, err)
	}
	return t, nil
}

// plain reports whether an expression means the same on a part of the URL as on
// the whole: it has no look-around and no assertion such as ^, $ and \b.
func (t token) plain() bool { return !t.expr || t.parsed != nil && !asserts(t.parsed) }

func asserts(re *syntax.Regexp) bool {
	switch re.Op {
	case syntax.OpBeginLine, syntax.OpEndLine, syntax.OpBeginText, syntax.OpEndText, syntax.OpWordBoundary, syntax.OpNoWordBoundary:
		return true
	}
	return slices.ContainsFunc(re.Sub, asserts)
}

// reaches reports whether a token may match text with the character c in it.
func (t token) reaches(c rune) bool {
	if !t.expr {
		return strings.ContainsRune(t.text, c)
	}
	return t.parsed == nil || contains(t.parsed, c)
}

func contains(re *syntax.Regexp, c rune) bool {
	switch re.Op {
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return true
	case syntax.OpLiteral:
		return slices.Contains(re.Rune, c)
	case syntax.OpCharClass:
		for i := 0; i < len(re.Rune); i += 2 {
			if re.Rune[i] <= c && c <= re.Rune[i+1] {
				return true
			}
		}
	}
	return slices.ContainsFunc(re.Sub, func(sub *syntax.Regexp) bool { return contains(sub, c) })
}

// source returns the regular expression of tokens, without anchors.
func source(tokens []token) string {
	var b strings.Builder
	for _, t := range tokens {
		if t.expr {
			b.WriteString("(" + t.text + ")")
		} else {
			b.WriteString(regexp.QuoteMeta(t.text))
		}
	}
	return b.String()
}

// Groups returns how many captures every match of the pattern has at least.
func (p *Pattern) Groups() int {
	if p == nil || len(p.targets) == 0 {
		return 0
	}
	least := p.targets[0].groups
	for _, t := range p.targets[1:] {
		least = min(least, t.groups)
	}
	return least
}
