package policies

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dlclark/regexp2"
)

// truth is the outcome of a test that may be impossible to carry out. What is
// unknown counts against the caller: a deny policy applies, an allow policy does not.
type truth uint8

const (
	no truth = iota
	yes
	unknown
)

func truthOf(b bool) truth {
	if b {
		return yes
	}
	return no
}

const (
	maxTemplate     = 4096 // bytes of one subject, action or resource
	maxAlternatives = 16   // literals that a template is spelled out into
	// slowLimit bounds one match of a backtracking pattern and, being the budget of
	// the whole decision, all of them together. The clock of regexp2 ticks every
	// 100 ms, so that an evil pair of pattern and value costs up to 0.2 s, once.
	slowLimit = 20 * time.Millisecond
)

// pattern is one subject, action or resource of a policy. Exactly one of
// literals, rest, re, slow and broken decides.
type pattern struct {
	prefix   string // every match begins with it
	literals []string
	rest     bool // anything may follow the prefix
	oneLine  bool // but no line feed
	re       *regexp.Regexp
	slow     *regexp2.Regexp
	broken   error
}

// compilePattern compiles a template of Ladon: what is between < and > is a
// regular expression, all else is literal, and the whole value must match. A
// template without < is a literal.
//
// Two traps of Ladon are closed. The end of the pattern is the end of the value,
// never a line feed before it. And in a deny policy "." matches a line feed too,
// so that no value slips past <.*> by having one.
func compilePattern(template string, deny bool) pattern {
	if len(template) > maxTemplate || !utf8.ValidString(template) {
		return pattern{broken: fmt.Errorf("must be UTF-8 of at most %d bytes", maxTemplate)}
	}
	if !strings.Contains(template, "<") {
		return pattern{prefix: template, literals: []string{template}}
	}
	parts, err := split(template)
	if err != nil {
		return pattern{broken: err}
	}
	if literals := spellOut(parts); literals != nil {
		return pattern{prefix: parts[0], literals: literals}
	}
	if len(parts) == 3 && parts[1] == ".*" && parts[2] == "" {
		return pattern{prefix: parts[0], rest: true, oneLine: !deny}
	}
	p := pattern{prefix: parts[0]}
	flags := ""
	if deny {
		flags = "(?s)"
	}
	if p.re, err = regexp.Compile(flags + join(parts, "(?:")); err == nil {
		// Each group must be an expression of its own: a)|(b is not.
		err = eachGroup(parts, func(group string) error { _, err := regexp.Compile(group); return err })
		if err != nil {
			return pattern{broken: err}
		}
		return p
	}
	// Look-around and back references are beyond RE2.
	if p.slow, err = regexp2.Compile(flags+join(parts, "("), regexp2.RE2); err == nil {
		err = eachGroup(parts, func(group string) error { _, err := regexp2.Compile(group, regexp2.RE2); return err })
	}
	if err != nil {
		return pattern{broken: fmt.Errorf("not a regular expression: %w", err)}
	}
	p.slow.MatchTimeout = slowLimit
	return p
}

// split returns literal, group, literal, group, ..., literal; delimiters nest.
func split(template string) ([]string, error) {
	var parts []string
	level, start := 0, 0
	for i := 0; i < len(template); i++ {
		switch template[i] {
		case '<':
			if level++; level == 1 {
				parts = append(parts, template[start:i])
				start = i + 1
			}
		case '>':
			if level--; level < 0 {
				return nil, errors.New("a > without its <")
			} else if level == 0 {
				parts = append(parts, template[start:i])
				start = i + 1
			}
		}
	}
	if level != 0 {
		return nil, errors.New("a < without its >")
	}
	return append(parts, template[start:]), nil
}

func join(parts []string, open string) string {
	var b strings.Builder
	b.WriteString(`\A`)
	for i, part := range parts {
		if i%2 == 0 {
			b.WriteString(regexp.QuoteMeta(part))
		} else {
			b.WriteString(open + part + ")")
		}
	}
	b.WriteString(`\z`)
	return b.String()
}

func eachGroup(parts []string, try func(string) error) error {
	for i := 1; i < len(parts); i += 2 {
		if err := try(parts[i]); err != nil {
			return fmt.Errorf("not a regular expression: %w", err)
		}
	}
	return nil
}

// spellOut returns the values of a template whose groups are alternatives of
// plain text such as <create|update>; nil when it is not one or has too many.
func spellOut(parts []string) []string {
	values := []string{""}
	for i, part := range parts {
		options := []string{part}
		if i%2 == 1 {
			options = strings.Split(part, "|")
			for _, o := range options {
				if regexp.QuoteMeta(o) != o {
					return nil
				}
			}
		}
		if len(values)*len(options) > maxAlternatives {
			return nil
		}
		next := make([]string, 0, len(values)*len(options))
		for _, v := range values {
			for _, o := range options {
				next = append(next, v+o)
			}
		}
		values = next
	}
	return values
}

// match compares the value. A backtracking pattern runs only while clock has
// time, and not at all without a clock.
func (p *pattern) match(value string, clock *budget) truth {
	switch {
	case p.broken != nil:
		return unknown
	case p.literals != nil:
		for _, l := range p.literals {
			if l == value {
				return yes
			}
		}
		return no
	case !strings.HasPrefix(value, p.prefix):
		return no
	case p.rest:
		return truthOf(!p.oneLine || strings.IndexByte(value[len(p.prefix):], '\n') < 0)
	case p.re != nil:
		return truthOf(p.re.MatchString(value))
	}
	return clock.match(p.slow, value)
}

// budget is the time that one decision may spend on backtracking patterns.
type budget struct {
	spent   time.Duration
	expired bool
}

func (b *budget) match(re *regexp2.Regexp, value string) truth {
	if b == nil {
		return unknown
	}
	if b.spent >= slowLimit {
		b.expired = true
		return unknown
	}
	start := time.Now()
	ok, err := re.MatchString(value)
	b.spent += time.Since(start)
	if err != nil {
		b.expired = true
		return unknown
	}
	return truthOf(ok)
}
