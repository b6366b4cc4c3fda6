package match

import (
	"regexp"
	"strings"

	"github.com/gobwas/glob"
	"github.com/gobwas/glob/syntax"
)

// notSeparator is what * and ? stand for: anything but the two separators that
// Oathkeeper uses for globs.
const notSeparator = `[^./]`

// fromGlob translates a glob of gobwas/glob with the separators . and / to a
// regular expression. Translated, a glob runs in linear time, shares the index
// with regexp patterns and yields captures; matching it directly backtracks.
func fromGlob(pattern string) (string, error) {
	if _, err := glob.Compile(pattern, '.', '/'); err != nil {
		return "", err
	}
	var b strings.Builder
	class := false // a class has begun: [ or [!
	for lex := syntax.NewLexer(pattern); ; {
		switch token := lex.Next(); token.Type {
		case syntax.EOF:
			return b.String(), nil
		case syntax.Text:
			if class {
				for _, c := range token.Data {
					b.WriteString(quoteInClass(c))
				}
			} else {
				b.WriteString(regexp.QuoteMeta(token.Data))
			}
		case syntax.Any:
			b.WriteString(notSeparator + "*")
		case syntax.Super:
			b.WriteString("(?s:.*)")
		case syntax.Single:
			b.WriteString(notSeparator)
		case syntax.RangeOpen:
			class = true
			b.WriteByte('[')
		case syntax.Not:
			b.WriteByte('^')
		case syntax.RangeLo, syntax.RangeHi:
			for _, c := range token.Data {
				b.WriteString(quoteInClass(c))
			}
		case syntax.RangeBetween:
			b.WriteByte('-')
		case syntax.RangeClose:
			class = false
			b.WriteByte(']')
		case syntax.TermsOpen:
			b.WriteString("(?:")
		case syntax.TermSeparator:
			b.WriteByte('|')
		case syntax.TermsClose:
			b.WriteByte(')')
		case syntax.Error:
			return "", &glob.SyntaxError{Offset: lex.Offset(), Reason: token.Data}
		}
	}
}

// quoteInClass escapes a character for use inside a character class.
func quoteInClass(c rune) string {
	if strings.ContainsRune(`\^-[]&~`, c) {
		return `\` + string(c)
	}
	return string(c)
}
