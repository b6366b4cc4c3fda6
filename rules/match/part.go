package match

import (
	"regexp"
	"time"

	"github.com/dlclark/regexp2"
)

// matchTimeout bounds one run of a pattern that RE2 cannot express.
const matchTimeout = 100 * time.Millisecond

// engine runs one regular expression over a whole text: RE2, or a backtracking
// engine under a time limit where the expression needs one.
type engine struct {
	re2       *regexp.Regexp
	backtrack *regexp2.Regexp
}

// newEngine compiles tokens and counts their groups; \A and \z leave no gap for a line feed.
func newEngine(tokens []token) (e *engine, groups int, err error) {
	expr := `\A(?:` + source(tokens) + `)\z`
	if re, err := regexp.Compile(expr); err == nil {
		return &engine{re2: re}, re.NumSubexp(), nil
	}
	re, err := regexp2.Compile(expr, regexp2.RE2)
	if err != nil {
		return nil, 0, err
	}
	re.MatchTimeout = matchTimeout
	return &engine{backtrack: re}, len(re.GetGroupNumbers()) - 1, nil
}

// part matches one part of the URL as a whole: by a sequence where its pattern is
// one, else by an engine.
type part struct {
	sequence *sequence
	engine   *engine
	groups   int
}

// part returns the matcher for tokens, all of them plain.
func (c *Compiler) part(tokens []token) (*part, error) {
	key := source(tokens)
	if known, ok := c.parts[key]; ok {
		return known, nil
	}
	p := &part{sequence: newSequence(tokens)}
	if p.sequence != nil {
		p.groups = len(p.sequence.captures)
	} else {
		var err error
		if p.engine, p.groups, err = newEngine(tokens); err != nil {
			return nil, err
		}
	}
	c.parts[key] = p
	return p, nil
}

// match returns an error when the time limit was reached.
func (p *part) match(text string) (bool, error) {
	if p.sequence == nil {
		return p.engine.match(text)
	}
	var at marks
	return p.sequence.match(text, &at), nil
}

// size returns the number of captures; none for no part.
func (p *part) size() int {
	if p == nil {
		return 0
	}
	return p.groups
}

// captures appends the groups of a text that matches to out.
func (p *part) captures(out []string, text string) ([]string, error) {
	if p.sequence == nil {
		groups, err := p.engine.captures(text)
		return append(out, groups...), err
	}
	var at marks
	p.sequence.match(text, &at)
	for _, c := range p.sequence.captures {
		out = append(out, text[at[c[0]]:at[c[1]]])
	}
	return out, nil
}

// match returns an error when the time limit was reached.
func (e *engine) match(text string) (bool, error) {
	if e.re2 != nil {
		return e.re2.MatchString(text), nil
	}
	return e.backtrack.MatchString(text)
}

// captures returns the groups of a text that matches, without the whole match.
func (e *engine) captures(text string) ([]string, error) {
	if e.re2 != nil {
		return e.re2.FindStringSubmatch(text)[1:], nil
	}
	m, err := e.backtrack.FindStringMatch(text)
	if err != nil {
		return nil, err
	}
	groups := m.Groups()[1:]
	out := make([]string, len(groups))
	for i := range groups {
		out[i] = groups[i].String()
	}
	return out, nil
}
