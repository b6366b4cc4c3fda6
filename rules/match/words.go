package match

import (
	"regexp/syntax"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of words.
const (
	maxWords  = 32
	maxLength = 128
)

// words is a choice of texts, such as (items|parts).
type words struct {
	list []string // longest first
	// fold says that case is ignored; the list is in lower case and ASCII then.
	fold bool
}

// prefix returns the length of the longest word that text begins with, -1 for none.
func (w *words) prefix(text string) int {
	for _, word := range w.list {
		if w.fold {
			if n := foldedPrefix(text, word); n >= 0 {
				return n
			}
		} else if strings.HasPrefix(text, word) {
			return len(word)
		}
	}
	return -1
}

// foldedPrefix returns how many bytes at the start of text are word in any case, -1
// when it does not begin so. Two letters have a form beyond ASCII: ſ and the Kelvin
// sign.
func foldedPrefix(text, word string) int {
	i := 0
	for n := range len(word) {
		if i == len(text) {
			return -1
		}
		c := text[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		switch {
		case c == word[n]:
			i++
		case word[n] == 's' && strings.HasPrefix(text[i:], "\u017f"):
			i += len("\u017f")
		case word[n] == 'k' && strings.HasPrefix(text[i:], "\u212a"):
			i += len("\u212a")
		default:
			return -1
		}
	}
	return i
}

// newWords returns nil when re does not stand for a few texts or has groups.
func newWords(re *syntax.Regexp) *words {
	for _, fold := range []bool{false, true} {
		if list := texts(re, fold); list != nil {
			slices.SortStableFunc(list, func(a, b string) int { return len(b) - len(a) })
			return &words{list: list, fold: fold}
		}
	}
	return nil
}

// texts returns all texts that re matches, nil when they are not known. With fold,
// re must ignore case, and the texts are in lower case.
func texts(re *syntax.Regexp, fold bool) []string {
	switch re.Op {
	case syntax.OpEmptyMatch:
		return []string{""}
	case syntax.OpLiteral:
		var b strings.Builder
		for _, r := range re.Rune {
			if foldable(r) && fold != (re.Flags&syntax.FoldCase != 0) {
				return nil
			}
			if fold {
				r = lower(r)
			}
			if fold && r >= utf8.RuneSelf {
				return nil
			}
			b.WriteRune(r)
		}
		return []string{b.String()}
	case syntax.OpCharClass:
		return class(re.Rune, fold)
	case syntax.OpQuest:
		return union([]string{""}, texts(re.Sub[0], fold))
	case syntax.OpAlternate:
		list := []string{}
		for _, sub := range re.Sub {
			list = union(list, texts(sub, fold))
		}
		return list
	case syntax.OpConcat:
		list := []string{""}
		for _, sub := range re.Sub {
			list = product(list, texts(sub, fold))
		}
		return list
	}
	return nil
}

// class returns the characters of a class; with fold, nil unless it has each letter
// in every case.
func class(ranges []rune, fold bool) []string {
	list := []string{}
	for i := 0; i+1 < len(ranges); i += 2 {
		for r := ranges[i]; r <= ranges[i+1]; r++ {
			text := string(r)
			if fold {
				for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
					if !inRanges(ranges, f) {
						return nil
					}
				}
				if text = string(lower(r)); text[0] >= utf8.RuneSelf {
					return nil
				}
			}
			if list = union(list, []string{text}); list == nil {
				return nil
			}
		}
	}
	return list
}

// union returns nil when either list is nil or the whole is too long.
func union(a, b []string) []string {
	if a == nil || b == nil {
		return nil
	}
	for _, text := range b {
		if !slices.Contains(a, text) {
			a = append(a, text)
		}
	}
	if len(a) > maxWords {
		return nil
	}
	return a
}

func product(a, b []string) []string {
	if a == nil || b == nil || len(a)*len(b) > maxWords {
		return nil
	}
	out := []string{}
	for _, x := range a {
		for _, y := range b {
			if len(x)+len(y) > maxLength {
				return nil
			}
			if text := x + y; !slices.Contains(out, text) {
				out = append(out, text)
			}
		}
	}
	return out
}

// foldable reports whether r has forms of other case.
func foldable(r rune) bool { return unicode.SimpleFold(r) != r }

// lower returns the ASCII letter in lower case that is r in another case, or r.
func lower(r rune) rune {
	for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
		if 'a' <= f && f <= 'z' {
			return f
		}
	}
	return r
}
