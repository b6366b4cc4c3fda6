package match

import (
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
)

// Limits of the search for conflicts, which is quadratic where many rules have
// the same literal text. Beyond them ties are found by the requests alone.
const (
	maxPairs    = 1_000_000
	maxProducts = 2_000
	maxStates   = 20_000
)

// Conflict is a pair of rules, the earlier first, that tie for some requests.
type Conflict struct{ Rules [2]int }

// Conflicts returns the pairs of rules that are known to tie for some requests.
// Pairs that RE2 cannot express are reported when their texts are equal.
func (x *Index) Conflicts() []Conflict { return x.conflicts }

// conflicts compares rules that rank equal and begin with the same literal text:
// no others can tie. In strict mode ranks do not matter, and only rules with the
// same literal text are compared, as everything else would be reported too.
func conflicts(ranked []entry, entries []Entry, strict bool) []Conflict {
	type key struct {
		rank    int32
		literal string
	}
	groups := map[key][]entry{}
	var order []key
	for _, e := range ranked {
		k := key{e.rank, e.target.literal}
		if strict {
			k.rank = 0
		}
		if groups[k] == nil {
			order = append(order, k)
		}
		groups[k] = append(groups[k], e)
	}
	seen := map[Conflict]bool{}
	var out []Conflict
	pairs, products := 0, 0
	for _, k := range order {
		group := groups[k]
		slices.SortStableFunc(group, func(a, b entry) int { return strings.Compare(a.target.begins(), b.target.begins()) })
		for i, a := range group {
			for _, b := range group[i+1:] {
				if !strings.HasPrefix(b.target.begins(), a.target.begins()) {
					break // nor has any that comes later
				}
				if pairs++; pairs > maxPairs || products > maxProducts {
					return sorted(out)
				}
				c := Conflict{[2]int{int(min(a.rule, b.rule)), int(max(a.rule, b.rule))}}
				if a.rule == b.rule || seen[c] || !comparable(a, b) {
					continue
				}
				if products++; overlap(a.target, b.target) {
					seen[c] = true
					out = append(out, c)
				}
			}
		}
	}
	return sorted(out)
}

func sorted(out []Conflict) []Conflict {
	slices.SortFunc(out, func(a, b Conflict) int { return slices.Compare(a.Rules[:], b.Rules[:]) })
	return out
}

// comparable reports whether nothing but the URL patterns can keep two entries apart.
func comparable(a, b entry) bool {
	if a.target.floating && b.target.floating {
		m, fixed := a.target.slashes()
		n, alsoFixed := b.target.slashes()
		p, q := a.target.prefix, b.target.prefix
		if fixed && alsoFixed && m == n && !strings.HasPrefix(p, q) && !strings.HasPrefix(q, p) {
			return false // counted from the end, both begin at the same slash
		}
	}
	return a.pattern.methods.overlaps(&b.pattern.methods) &&
		!differ(a.pattern.headers, b.pattern.headers) && !differ(a.pattern.query, b.pattern.query)
}

// begins returns the text that every path begins with that t matches.
func (t *target) begins() string {
	if t.floating {
		return ""
	}
	return t.prefix
}

// overlap reports whether a URL exists that both targets match.
func overlap(a, b *target) bool {
	x, y := a.url(), b.url()
	if x == y {
		return true
	}
	p, errP := program(x)
	q, errQ := program(y)
	return errP == nil && errQ == nil && intersect(p, q)
}

// differ reports whether two conditions ask for different values of one field.
func differ(a, b []pair) bool {
	for _, x := range a {
		for _, y := range b {
			if x.name == y.name && x.value != y.value && x.value != "*" && y.value != "*" {
				return true
			}
		}
	}
	return false
}

// url returns a regular expression for the URLs that t matches.
func (t *target) url() string {
	if !t.onPath {
		return source(t.tokens)
	}
	var b strings.Builder
	b.WriteString("[a-z]+://")
	port := ""
	if t.host.portless {
		port = "(:[0-9]+)?"
	}
	switch {
	case t.host.exact != "":
		b.WriteString(regexp.QuoteMeta(t.host.exact) + port)
	case t.host.below != "":
		b.WriteString(`[^/]+\.` + regexp.QuoteMeta(t.host.below) + port)
	default:
		b.WriteString("[^/]+")
	}
	if t.anyPath {
		b.WriteString("/(?s:.*)")
	} else {
		b.WriteString(source(t.tokens))
	}
	return b.String()
}

func program(expr string) (*syntax.Prog, error) {
	re, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return nil, err
	}
	return syntax.Compile(re.Simplify())
}

// intersect reports whether a text exists that both programs match as a whole. It
// walks the product of the two automata. Assertions are taken to hold, so a pair
// that uses them may be reported without need.
func intersect(p, q *syntax.Prog) bool {
	type state struct{ p, q uint32 }
	todo := []state{{uint32(p.Start), uint32(q.Start)}}
	seen := map[state]bool{todo[0]: true}
	push := func(s state) {
		if !seen[s] {
			seen[s] = true
			todo = append(todo, s)
		}
	}
	for len(todo) > 0 && len(seen) < maxStates {
		s := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		x, y := &p.Inst[s.p], &q.Inst[s.q]
		if next, ok := epsilon(x); ok {
			for _, n := range next {
				push(state{n, s.q})
			}
			continue
		}
		if next, ok := epsilon(y); ok {
			for _, n := range next {
				push(state{s.p, n})
			}
			continue
		}
		if x.Op == syntax.InstMatch && y.Op == syntax.InstMatch {
			return true
		}
		if common(ranges(x), ranges(y)) {
			push(state{x.Out, y.Out})
		}
	}
	return false
}

// epsilon returns the successors of an instruction that consumes nothing.
func epsilon(i *syntax.Inst) ([]uint32, bool) {
	switch i.Op {
	case syntax.InstAlt, syntax.InstAltMatch:
		return []uint32{i.Out, i.Arg}, true
	case syntax.InstCapture, syntax.InstNop, syntax.InstEmptyWidth:
		return []uint32{i.Out}, true
	case syntax.InstFail:
		return nil, true
	}
	return nil, false
}

// ranges returns the characters that an instruction consumes, as pairs of bounds.
func ranges(i *syntax.Inst) []rune {
	switch i.Op {
	case syntax.InstRuneAny:
		return []rune{0, 0x10ffff}
	case syntax.InstRuneAnyNotNL:
		return []rune{0, '\n' - 1, '\n' + 1, 0x10ffff}
	case syntax.InstRune, syntax.InstRune1:
		if len(i.Rune) != 1 {
			return i.Rune
		}
		out := []rune{i.Rune[0], i.Rune[0]}
		if syntax.Flags(i.Arg)&syntax.FoldCase != 0 {
			for _, c := range strings.ToUpper(string(i.Rune)) + strings.ToLower(string(i.Rune)) {
				out = append(out, c, c)
			}
		}
		return out
	}
	return nil
}

func common(a, b []rune) bool {
	for i := 0; i+1 < len(a); i += 2 {
		for j := 0; j+1 < len(b); j += 2 {
			if a[i] <= b[j+1] && b[j] <= a[i+1] {
				return true
			}
		}
	}
	return false
}
