package match

import (
	"regexp/syntax"
	"strings"
)

// maxPieces bounds a sequence; longer patterns run as regular expressions.
const maxPieces = 16

// sequence is a pattern that can be matched from left to right without going
// back, such as <[0-9]+>/posts/<.*>. Most patterns of rules are of this sort, and
// matching them this way costs a fraction of the regular expression, which means
// the same.
type sequence struct {
	pieces   []piece
	captures [][2]int // first piece and the one after the last, per capture group
}

// piece is a literal, or a repeated set of characters when set is not nil.
type piece struct {
	literal  string
	set      *set
	min, max int // characters; max -1 means no limit
}

// set is a set of characters: single ASCII ones, and all or none of the others.
type set struct {
	ascii [2]uint64
	other bool
	// without is the one character that is missing from an otherwise full set,
	// or 0; such sets ([^/], .) are searched and not stepped through.
	without byte
}

func (s *set) has(c byte) bool {
	if c >= 0x80 {
		return s.other
	}
	return s.ascii[c>>6]&(1<<(c&63)) != 0
}

// span returns how many bytes at the start of text are in the set.
func (s *set) span(text string) int {
	if s.without != 0 {
		if i := strings.IndexByte(text, s.without); i >= 0 {
			return i
		}
		return len(text)
	}
	for i := range len(text) {
		if !s.has(text[i]) {
			return i
		}
	}
	return len(text)
}

// match reports whether all of text matches, and notes where each piece begins.
func (q *sequence) match(text string, at *[maxPieces + 1]int) bool {
	i := 0
	for n := range q.pieces {
		p := &q.pieces[n]
		at[n] = i
		if p.set == nil {
			if !strings.HasPrefix(text[i:], p.literal) {
				return false
			}
			i += len(p.literal)
			continue
		}
		length := p.set.span(text[i:])
		if p.max >= 0 && length > p.max {
			length = p.max
		}
		if length < p.min {
			return false
		}
		i += length
	}
	at[len(q.pieces)] = i
	return i == len(text)
}

// newSequence returns nil when the tokens do not make a sequence.
func newSequence(tokens []token) *sequence {
	q := &sequence{}
	for _, t := range tokens {
		from := len(q.pieces)
		if !t.expr {
			q.pieces = append(q.pieces, piece{literal: t.text})
			continue
		}
		re, err := syntax.Parse(t.text, syntax.Perl)
		if err != nil || !q.add(re) {
			return nil
		}
		q.captures = append(q.captures, [2]int{from, len(q.pieces)})
	}
	if len(q.pieces) > maxPieces || !q.deterministic() {
		return nil
	}
	return q
}

// add appends the pieces of re; it reports false when re is not made of pieces.
func (q *sequence) add(re *syntax.Regexp) bool {
	switch re.Op {
	case syntax.OpEmptyMatch:
		return true
	case syntax.OpLiteral:
		if re.Flags&syntax.FoldCase != 0 {
			return false
		}
		q.pieces = append(q.pieces, piece{literal: string(re.Rune)})
		return true
	case syntax.OpConcat:
		for _, sub := range re.Sub {
			if !q.add(sub) {
				return false
			}
		}
		return true
	case syntax.OpStar:
		return q.repeat(re.Sub[0], 0, -1)
	case syntax.OpPlus:
		return q.repeat(re.Sub[0], 1, -1)
	case syntax.OpQuest:
		return q.repeat(re.Sub[0], 0, 1)
	case syntax.OpRepeat:
		return q.repeat(re.Sub[0], re.Min, re.Max)
	}
	return q.repeat(re, 1, 1)
}

func (q *sequence) repeat(re *syntax.Regexp, least, most int) bool {
	s := newSet(re)
	if s == nil || s.other && (least > 1 || most >= 0) { // length counts bytes, so only ASCII can be counted
		return false
	}
	q.pieces = append(q.pieces, piece{set: s, min: least, max: most})
	return true
}

// newSet returns the set that re stands for, nil when it is not one character or
// holds some but not all characters beyond ASCII.
func newSet(re *syntax.Regexp) *set {
	var ranges []rune
	switch re.Op {
	case syntax.OpCharClass:
		ranges = re.Rune
	case syntax.OpAnyChar:
		ranges = []rune{0, 0x10ffff}
	case syntax.OpAnyCharNotNL:
		ranges = []rune{0, '\n' - 1, '\n' + 1, 0x10ffff}
	case syntax.OpLiteral:
		if len(re.Rune) != 1 || re.Flags&syntax.FoldCase != 0 {
			return nil
		}
		ranges = []rune{re.Rune[0], re.Rune[0]}
	default:
		return nil
	}
	s := &set{}
	count := 0
	for i := 0; i < len(ranges); i += 2 {
		lo, hi := ranges[i], ranges[i+1]
		if hi >= 0x80 {
			if max(lo, 0x80) != 0x80 || hi != 0x10ffff {
				return nil
			}
			s.other = true
		}
		for c := lo; c <= min(hi, 0x7f); c++ {
			s.ascii[c>>6] |= 1 << (c & 63)
			count++
		}
	}
	if s.other && count == 127 {
		for c := byte(1); c < 0x80; c++ {
			if !s.has(c) {
				s.without = c
			}
		}
	}
	return s
}

// deterministic reports whether each repetition ends where the next piece begins,
// so that there is one way to match.
func (q *sequence) deterministic() bool {
	for i := 0; i+1 < len(q.pieces); i++ {
		p, next := &q.pieces[i], &q.pieces[i+1]
		if p.set == nil || p.min == p.max {
			continue
		}
		if next.set == nil {
			if next.literal == "" || p.set.has(next.literal[0]) {
				return false
			}
			continue
		}
		if next.min == 0 || p.set.other && next.set.other ||
			p.set.ascii[0]&next.set.ascii[0]|p.set.ascii[1]&next.set.ascii[1] != 0 {
			return false
		}
	}
	return true
}
