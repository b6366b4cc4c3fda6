package match

import (
	"regexp/syntax"
	"strings"
	"unicode"
	"unicode/utf8"
)

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
