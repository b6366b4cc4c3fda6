package match

import (
	"regexp/syntax"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxPieces bounds a sequence; longer patterns run as regular expressions.
const maxPieces = 16

// sequence is a pattern that can be matched from left to right without going
// back, such as <[0-9]+>/posts/<(a|b)>. Most patterns of rules are of this sort,
// and matching them this way costs a fraction of the regular expression, which
// means the same: there is at most one way to match a text, so it does not matter
// which way an engine would prefer.
type sequence struct {
	pieces   []piece
	captures [][2]int // first piece and the one after the last, per capture group
	// suffix is the last piece when it is a literal. It is looked for at the end of
	// the text, so that what precedes it may reach into it, as in <.*>.example.com.
	suffix string
}

// piece is a literal; or a repeated set of characters when set is not nil; or one
// of words when there are any; or says that the next optional pieces may be absent.
type piece struct {
	literal  string
	set      *set
	min, max int // characters; max -1 means no limit
	words    *words
	// optional pieces follow that are all there when the text goes on with a byte of
	// first, and else all absent.
	optional int
	first    *byteSet
}

// marks are the places in a text where pieces begin. No URL is longer than they hold.
type marks [maxPieces + 1]int32

// match reports whether all of text matches, and notes where each piece begins.
func (q *sequence) match(text string, at *marks) bool {
	end := len(q.pieces)
	if q.suffix != "" {
		end--
		if !strings.HasSuffix(text, q.suffix) {
			return false
		}
		text = text[:len(text)-len(q.suffix)]
	}
	i := 0
	for n := 0; n < end; n++ {
		p := &q.pieces[n]
		at[n] = int32(i)
		switch {
		case p.set != nil:
			length := p.set.span(text[i:], p.min, p.max)
			if length < 0 {
				return false
			}
			i += length
		case p.words != nil:
			length := p.words.prefix(text[i:])
			if length < 0 {
				return false
			}
			i += length
		case p.optional > 0:
			if i == len(text) || !p.first.has(text[i]) {
				for range p.optional {
					n++
					at[n] = int32(i)
				}
			}
		default:
			if !strings.HasPrefix(text[i:], p.literal) {
				return false
			}
			i += len(p.literal)
		}
	}
	at[end] = int32(i)
	at[len(q.pieces)] = int32(i + len(q.suffix))
	return i == len(text)
}

// newSequence returns nil when the tokens do not make a sequence.
func newSequence(tokens []token) *sequence {
	q := &sequence{}
	for _, t := range tokens {
		if !t.expr {
			q.pieces = append(q.pieces, piece{literal: t.text})
			continue
		}
		if t.parsed == nil || !q.capture(t.parsed) {
			return nil
		}
	}
	if len(q.pieces) > maxPieces {
		return nil
	}
	if n := len(q.pieces); n > 0 && q.pieces[n-1].isLiteral() && !q.inOptional(n-1) {
		q.suffix = q.pieces[n-1].literal
	}
	if !q.deterministic() {
		return nil
	}
	return q
}

func (p *piece) isLiteral() bool { return p.set == nil && p.words == nil && p.optional == 0 }

// inOptional reports whether piece n may be absent.
func (q *sequence) inOptional(n int) bool {
	for i := range n {
		if i+q.pieces[i].optional >= n {
			return true
		}
	}
	return false
}

// capture adds a capture group around the pieces of re.
func (q *sequence) capture(re *syntax.Regexp) bool {
	n := len(q.captures)
	q.captures = append(q.captures, [2]int{len(q.pieces), 0})
	ok := q.add(re)
	q.captures[n][1] = len(q.pieces)
	return ok
}

// add appends the pieces of re; it reports false when re is not made of pieces.
func (q *sequence) add(re *syntax.Regexp) bool {
	switch re.Op {
	case syntax.OpEmptyMatch:
		return true
	case syntax.OpLiteral:
		if re.Flags&syntax.FoldCase != 0 {
			return q.oneOf(re)
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
	case syntax.OpCapture:
		return q.capture(re.Sub[0])
	case syntax.OpAlternate:
		return q.oneOf(re)
	case syntax.OpStar:
		return q.repeat(re.Sub[0], 0, -1)
	case syntax.OpPlus:
		return q.repeat(re.Sub[0], 1, -1)
	case syntax.OpQuest:
		return q.repeat(re.Sub[0], 0, 1) || q.oneOf(re) || q.option(re.Sub[0])
	case syntax.OpRepeat:
		return q.repeat(re.Sub[0], re.Min, re.Max)
	}
	return q.repeat(re, 1, 1)
}

func (q *sequence) repeat(re *syntax.Regexp, least, most int) bool {
	s := newSet(re)
	if s == nil {
		return false
	}
	q.pieces = append(q.pieces, piece{set: s, min: least, max: most})
	return true
}

func (q *sequence) oneOf(re *syntax.Regexp) bool {
	w := newWords(re)
	if w == nil {
		return false
	}
	q.pieces = append(q.pieces, piece{words: w})
	return true
}

// option adds re as pieces that may be absent.
func (q *sequence) option(re *syntax.Regexp) bool {
	n := len(q.pieces)
	q.pieces = append(q.pieces, piece{first: &byteSet{}})
	if !q.add(re) || len(q.pieces) == n+1 {
		return false
	}
	q.pieces[n].optional = len(q.pieces) - n - 1
	return !q.firsts(n+1, len(q.pieces), q.pieces[n].first)
}

// firsts adds to b the bytes that pieces from n up to end can begin with, and
// reports whether they can be empty.
func (q *sequence) firsts(n, end int, b *byteSet) (empty bool) {
	for n < end {
		p := &q.pieces[n]
		n++
		switch {
		case p.set != nil:
			b.addSet(p.set)
			if p.min > 0 && p.max != 0 {
				return false
			}
		case p.words != nil:
			for _, w := range p.words.list {
				if w != "" {
					b.addByte(w[0], p.words.fold)
				}
			}
			if !slices.Contains(p.words.list, "") {
				return false
			}
		case p.optional > 0:
			b.or(p.first)
			n += p.optional
		case p.literal != "":
			b.addByte(p.literal[0], false)
			return false
		}
	}
	return true
}

// deterministic reports whether the first byte of what follows tells for each
// piece where it ends, so that there is one way to match.
func (q *sequence) deterministic() bool {
	end := len(q.pieces)
	if q.suffix != "" {
		end--
	}
	for n := range end {
		p := &q.pieces[n]
		var own, next byteSet
		q.firsts(n+1+p.optional, end, &next)
		switch {
		case p.set != nil && p.min != p.max:
			own.addSet(p.set)
		case p.words != nil:
			for _, w := range p.words.list {
				for _, longer := range p.words.list {
					if len(longer) > len(w) && strings.HasPrefix(longer, w) {
						own.addByte(longer[len(w)], p.words.fold)
					}
				}
			}
		case p.optional > 0:
			own = *p.first
		}
		if own.meets(&next) {
			return false
		}
	}
	return true
}

// set is a set of characters.
type set struct {
	ascii [2]uint64
	// wide holds the characters beyond ASCII as pairs of bounds; all says that it is
	// all of them.
	wide []rune
	all  bool
	// without is the one character that is missing from an otherwise full set,
	// or 0; such sets ([^/], .) are searched and not stepped through.
	without byte
}

func (s *set) has(c byte) bool { return s.ascii[c>>6]&(1<<(c&63)) != 0 }

// span returns how many bytes at the start of text are in the set, up to most
// characters, and -1 when these are fewer than least.
func (s *set) span(text string, least, most int) int {
	if s.without != 0 && most < 0 && least <= 1 {
		i := strings.IndexByte(text, s.without)
		if i < 0 {
			i = len(text)
		}
		if i < least {
			return -1
		}
		return i
	}
	i, count := 0, 0
	for i < len(text) && count != most {
		size := 1
		if c := text[i]; c < utf8.RuneSelf {
			if !s.has(c) {
				break
			}
		} else {
			var r rune
			r, size = utf8.DecodeRuneInString(text[i:])
			if !s.all && !inRanges(s.wide, r) {
				break
			}
		}
		i += size
		count++
	}
	if count < least {
		return -1
	}
	return i
}

func inRanges(ranges []rune, r rune) bool {
	for i := 0; i+1 < len(ranges); i += 2 {
		if ranges[i] <= r && r <= ranges[i+1] {
			return true
		}
	}
	return false
}

// newSet returns the set that re stands for, nil when it is not one character.
func newSet(re *syntax.Regexp) *set {
	var ranges []rune
	switch re.Op {
	case syntax.OpCharClass:
		ranges = re.Rune
	case syntax.OpAnyChar:
		ranges = []rune{0, unicode.MaxRune}
	case syntax.OpAnyCharNotNL:
		ranges = []rune{0, '\n' - 1, '\n' + 1, unicode.MaxRune}
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
		if hi >= utf8.RuneSelf {
			s.wide = append(s.wide, max(lo, utf8.RuneSelf), hi)
		}
		for c := lo; c <= min(hi, unicode.MaxASCII); c++ {
			s.ascii[c>>6] |= 1 << (c & 63)
			count++
		}
	}
	s.all = len(s.wide) == 2 && s.wide[0] == utf8.RuneSelf && s.wide[1] == unicode.MaxRune
	if s.all && count == 127 {
		for c := byte(1); c < utf8.RuneSelf; c++ {
			if !s.has(c) {
				s.without = c
			}
		}
	}
	return s
}

// byteSet is a set of bytes.
type byteSet [4]uint64

func (b *byteSet) has(c byte) bool { return b[c>>6]&(1<<(c&63)) != 0 }

// addByte adds c, and what is equal to it without regard to case when fold is set.
// Beyond ASCII it may add too much.
func (b *byteSet) addByte(c byte, fold bool) {
	b[c>>6] |= 1 << (c & 63)
	if fold && 'a' <= c && c <= 'z' {
		b.addByte(c-'a'+'A', false)
		if c == 'k' || c == 's' {
			b[2], b[3] = ^uint64(0), ^uint64(0)
		}
	}
}

func (b *byteSet) addSet(s *set) {
	b[0] |= s.ascii[0]
	b[1] |= s.ascii[1]
	if len(s.wide) > 0 {
		b[2], b[3] = ^uint64(0), ^uint64(0)
	}
}

func (b *byteSet) or(o *byteSet) {
	for i := range b {
		b[i] |= o[i]
	}
}

func (b *byteSet) meets(o *byteSet) bool {
	return b[0]&o[0]|b[1]&o[1]|b[2]&o[2]|b[3]&o[3] != 0
}
