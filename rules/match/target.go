package match

import (
	"errors"
	"fmt"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"
)

// target is one URL pattern, taken apart so that the index can find it: the host
// and the literal start of the path are looked up, and only the rest is run.
type target struct {
	schemes *schemeSet
	host    host
	// prefix is the literal text that the path begins with.
	prefix string

	// How the rest is matched, in this order: exact means that nothing follows the
	// prefix, anyPath that anything may; rest is what follows the prefix; whole runs
	// over subject.
	exact, anyPath bool
	rest           *part
	whole          *engine
	// onPath: whole runs over the path and not over the URL.
	onPath bool
	// floating: the prefix may begin at any slash of the path, since host.re matches
	// slashes too.
	floating bool

	groups int // number of captures

	// literal is the literal text that the pattern begins with, the scheme apart. Its
	// length, then literals, the number of all literal characters, then exact decide
	// between overlapping rules.
	literal  string
	literals int
	// tokens are the whole pattern (the path's when onPath), for overlap.
	tokens []token
}

// host says which hosts a target is for. The zero host is any.
type host struct {
	// exact is a host as in the canonical URL; below is a suffix that a dot and
	// something must precede.
	exact, below string
	// portless hosts are compared without the port of the request.
	portless bool
	// re decides where the index cannot.
	re *part
}

// parseHost reads a member of match.hosts.
func parseHost(name string) (host, error) {
	h := strings.TrimSuffix(strings.ToLower(name), ".")
	if h == "*" {
		return host{}, nil
	}
	text, wildcard := strings.CutPrefix(h, "*.")
	name, port, _ := cutPort(text)
	if name == "" || strings.ContainsAny(name, "*<>/?#@ \t\\") || strings.Contains(name, "..") || strings.HasPrefix(name, ".") {
		return host{}, fmt.Errorf("%q is not a host name, *.name or *", h)
	}
	if n, err := strconv.ParseUint(port, 10, 16); port != "" && (err != nil || n == 0) {
		return host{}, fmt.Errorf("%q has no valid port", h)
	}
	if wildcard {
		return host{below: text, portless: port == ""}, nil
	}
	return host{exact: text, portless: port == ""}, nil
}

// cutPort splits host:port; an IPv6 address keeps its brackets.
func cutPort(text string) (name, port string, found bool) {
	i := strings.LastIndexByte(text, ':')
	if i < 0 || strings.IndexByte(text[i:], ']') >= 0 {
		return text, "", false
	}
	return text[:i], text[i+1:], true
}

// pathTarget returns a target for match.hosts and match.paths. Without tokens it
// stands for every path.
func (c *Compiler) pathTarget(h host, tokens []token) (*target, error) {
	t := &target{schemes: &anyScheme, host: h, onPath: true, tokens: tokens, literal: h.exact}
	t.literals = len(h.exact) + len(h.below)
	if tokens == nil {
		t.anyPath = true
		return t, nil
	}
	if h.exact != "" {
		t.literal += leading(tokens)
	}
	t.literals += literals(tokens)
	return t, c.path(t, tokens)
}

// urlTarget returns a target for match.url.
func (c *Compiler) urlTarget(pattern string) (*target, error) {
	tokens, err := c.split(pattern)
	if err != nil {
		return nil, err
	}
	t := &target{schemes: &anyScheme, tokens: tokens, literal: leading(tokens), literals: literals(tokens)}
	scheme, rest, ok := cut(tokens, "://", ":/")
	if !ok {
		return t, t.runWhole(tokens)
	}
	if t.schemes, err = c.schemeSet(scheme); err != nil {
		return nil, err
	}
	if len(rest) == 0 {
		return nil, errors.New("has no host")
	}
	name, path, ok := cut(rest, "/", "/")
	if !ok && hostOnly(rest) {
		name, path, ok = rest, nil, true // an empty path is / (RFC 3986 section 6.2.3)
	}
	if !ok {
		t.literal = leading(rest)
		if floats, err := c.float(t, rest); floats || err != nil {
			return t, err
		}
		return t, t.runWhole(tokens)
	}
	path = prepend("/", path)
	name = c.canonicalHost(scheme, name)
	tokens = slices.Concat(scheme, []token{{text: "://"}}, name, path)
	t.tokens, t.literals = tokens, literals(tokens)
	t.literal = leading(slices.Concat(name, path))
	if err := c.indexHost(t, name); err != nil {
		return nil, err
	}
	if err := c.path(t, path); err != nil {
		return nil, err
	}
	if t.whole != nil {
		return t, t.runWhole(tokens) // assertions in the path may look at what precedes it
	}
	t.groups += t.schemes.groups()
	if t.host.re != nil {
		t.groups += t.host.re.groups
	}
	return t, nil
}

// hostOnly reports whether tokens cannot match a slash.
func hostOnly(tokens []token) bool {
	for _, t := range tokens {
		if !t.plain() || t.reaches('/') {
			return false
		}
	}
	return len(tokens) > 0
}

// cut splits tokens at the first sep that stands in literal text. It reports false
// when an expression before sep could match one of the characters of stop, since
// then the place of sep in the URL is not known.
func cut(tokens []token, sep, stop string) (before, after []token, ok bool) {
	for i, t := range tokens {
		if t.expr {
			if !t.plain() || strings.ContainsFunc(stop, t.reaches) {
				return nil, nil, false
			}
			continue
		}
		left, right, found := strings.Cut(t.text, sep)
		if !found {
			if strings.ContainsAny(t.text, stop) {
				return nil, nil, false
			}
			continue
		}
		before = slices.Clone(tokens[:i])
		if left != "" {
			before = append(before, token{text: left})
		}
		after = tokens[i+1:]
		if right != "" {
			after = prepend(right, after)
		}
		return before, after, true
	}
	return nil, nil, false
}

// prepend puts literal text in front of tokens.
func prepend(text string, tokens []token) []token {
	if len(tokens) > 0 && !tokens[0].expr {
		return slices.Concat([]token{{text: text + tokens[0].text}}, tokens[1:])
	}
	return slices.Concat([]token{{text: text}}, tokens)
}

// canonicalHost writes a host pattern as hosts are written in canonical URLs: in
// lower case, without the default port and trailing dot. Expressions in it are
// made to ignore case.
func (c *Compiler) canonicalHost(scheme, name []token) []token {
	out := make([]token, len(name))
	for i, n := range name {
		if n.expr {
			if folded, err := c.folded(n); err == nil {
				n = folded
			}
		} else {
			n.text = strings.ToLower(n.text)
		}
		out[i] = n
	}
	if len(out) == 0 || out[len(out)-1].expr {
		return out
	}
	last := &out[len(out)-1]
	text, port, _ := cutPort(last.text)
	text = strings.TrimSuffix(text, ".")
	if port != "" && !isDefault(scheme, port) {
		text += ":" + port
	}
	last.text = text
	return out
}

// folded returns t made to ignore case.
func (c *Compiler) folded(t token) (token, error) {
	key := "(?i:" + t.text + ")"
	if known, ok := c.folds[key]; ok {
		return known, nil
	}
	folded, err := newExpr(key, Regexp)
	if err == nil {
		c.folds[key] = folded
	}
	return folded, err
}

// isDefault reports whether port is the default port of the literal scheme.
func isDefault(scheme []token, port string) bool {
	if len(scheme) != 1 || scheme[0].expr {
		return false
	}
	return scheme[0].text == "http" && port == "80" || scheme[0].text == "https" && port == "443"
}

// indexHost finds what the index can know of the host.
func (c *Compiler) indexHost(t *target, name []token) error {
	if len(name) == 1 && !name[0].expr {
		t.host.exact = name[0].text
		return nil
	}
	if len(name) == 0 {
		return errors.New("has no host")
	}
	if last := name[len(name)-1]; !last.expr {
		_, t.host.below, _ = strings.Cut(last.text, ".")
	}
	var err error
	t.host.re, err = c.part(name)
	return err
}

// path compiles the path's tokens. It sets whole when the path cannot be matched
// apart from its prefix.
func (c *Compiler) path(t *target, tokens []token) (err error) {
	t.prefix = leading(tokens)
	rest := tokens
	if t.prefix != "" {
		rest = tokens[1:]
	}
	if len(rest) == 0 {
		t.exact = true
		return nil
	}
	if slices.ContainsFunc(rest, func(r token) bool { return !r.plain() }) {
		t.whole, t.groups, err = newEngine(tokens)
		return err
	}
	if t.rest, err = c.part(rest); err == nil {
		t.groups = t.rest.groups
	}
	return err
}

// float reports whether t can be indexed though its host may match slashes, as in
// http://<.*>/users/<[0-9]+>: the literal that follows the host is looked up at every
// slash of the path. What follows that literal must not reach far, so that the time
// stays linear in the length of the path.
func (c *Compiler) float(t *target, rest []token) (bool, error) {
	if len(rest) < 2 || !rest[0].expr || !isAny(rest[0]) || rest[1].expr || rest[1].text[0] != '/' {
		return false, nil
	}
	after := rest[2:]
	if slices.ContainsFunc(after, func(r token) bool { return !r.plain() }) {
		return false, nil
	}
	tail, err := c.part(after)
	if err != nil || tail.sequence == nil || !tail.sequence.near() {
		return false, err
	}
	t.floating, t.prefix, t.rest = true, rest[1].text, tail
	if t.host.re, err = c.part(rest[:1]); err != nil {
		return false, err
	}
	t.groups = t.schemes.groups() + t.host.re.groups + tail.groups
	return true, nil
}

// isAny reports whether t is .* or .+, with or without line feeds, and prefers the
// longest text.
func isAny(t token) bool {
	if t.parsed == nil || t.parsed.Op != syntax.OpStar && t.parsed.Op != syntax.OpPlus || t.parsed.Flags&syntax.NonGreedy != 0 {
		return false
	}
	op := t.parsed.Sub[0].Op
	return op == syntax.OpAnyChar || op == syntax.OpAnyCharNotNL
}

// near reports whether repetitions end at the next slash, but for a last one that
// ends with the text.
func (q *sequence) near() bool {
	for n := range q.pieces {
		p := &q.pieces[n]
		last := n == len(q.pieces)-1 && p.set != nil && p.set.all && p.set.without == '\n' && p.max < 0 && p.min <= 1
		if p.set != nil && p.set.has('/') && p.max != 1 && !last {
			return false
		}
	}
	return true
}

// slashes returns how many slashes a floating target's pattern has after its host,
// false when their number varies.
func (t *target) slashes() (n int, fixed bool) {
	n = strings.Count(t.prefix, "/")
	for i := range t.rest.sequence.pieces {
		p := &t.rest.sequence.pieces[i]
		if p.set != nil && p.set.has('/') || p.optional > 0 ||
			p.words != nil && slices.ContainsFunc(p.words.list, func(w string) bool { return strings.Contains(w, "/") }) {
			return 0, false
		}
		n += strings.Count(p.literal, "/")
	}
	return n, true
}

// runWhole makes the target run tokens over the whole URL.
func (t *target) runWhole(tokens []token) (err error) {
	t.rest, t.exact, t.onPath = nil, false, false
	t.whole, t.groups, err = newEngine(tokens)
	return err
}

// leading returns the literal text that tokens begin with.
func leading(tokens []token) string {
	if len(tokens) == 0 || tokens[0].expr {
		return ""
	}
	return tokens[0].text + leading(tokens[1:])
}

// literals returns the number of literal characters.
func literals(tokens []token) int {
	n := 0
	for _, t := range tokens {
		if !t.expr {
			n += len(t.text)
		}
	}
	return n
}
