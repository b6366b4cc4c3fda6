package match

import (
	"regexp/syntax"
	"slices"
	"strings"
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
