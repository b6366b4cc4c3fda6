package fieldline

import (
	"net/textproto"
	"strings"
	"testing"

	"golang.org/x/net/http/httpguts"
)

// slowCut is Cut byte by byte.
func slowCut(s string) (line, rest string, ok bool) {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return s[:i], s[min(i+2, len(s)):], c == '\r' && i+1 < len(s) && s[i+1] == '\n'
		}
	}
	return s, "", false
}

func checkCut(t *testing.T, s string) {
	t.Helper()
	line, rest, ok := Cut(s)
	if wantLine, wantRest, wantOK := slowCut(s); line != wantLine || rest != wantRest || ok != wantOK {
		t.Fatalf("%q: %q, %q, %v; want %q, %q, %v", s, line, rest, ok, wantLine, wantRest, wantOK)
	}
}

func TestCutFindsEveryByteAtEveryPlace(t *testing.T) {
	for _, filler := range []string{"a", "\t", " ", "\x80", "\xff", "~"} {
		for place := range 20 {
			for c := range 256 {
				before := strings.Repeat(filler, place) + string([]byte{byte(c)})
				for _, after := range []string{"", "\n", "\nX: y\r\n", "bcdefghijkl\r\n"} {
					checkCut(t, before+after)
				}
			}
		}
	}
}

func FuzzCut(f *testing.F) {
	for _, s := range []string{"", "\r\n", "Host: a\r\nX: y\r\n", "X:\t y\x7f\r\n", "X: \x1f\r", "X: \x00\n"} {
		f.Add(s)
	}
	f.Fuzz(checkCut)
}

// checkParse compares with what the standard library says of names and values.
func checkParse(t *testing.T, line string) {
	t.Helper()
	wantName, wantValue, wantOK := strings.Cut(line, ":")
	if wantOK = wantOK && httpguts.ValidHeaderFieldName(wantName); wantOK {
		wantName, wantValue = textproto.CanonicalMIMEHeaderKey(wantName), strings.Trim(wantValue, " \t")
	} else {
		wantName, wantValue = "", ""
	}
	if name, value, ok := Parse(line); name != wantName || value != wantValue || ok != wantOK {
		t.Fatalf("%q: %q, %q, %v; want %q, %q, %v", line, name, value, ok, wantName, wantValue, wantOK)
	}
}

func TestParseReadsEveryByteOfANameAsTheStandardLibraryDoes(t *testing.T) {
	for c := range 256 {
		b := string([]byte{byte(c)})
		for _, name := range []string{b, "X" + b, "x" + b, b + "x", "X-" + b, "X-" + b + "y", "X" + b + "-Y", "Content" + b + "Type"} {
			for _, rest := range []string{"", ":", ": ", ":a", ": a b\t ", " : a", ":a:b"} {
				checkParse(t, name+rest)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"", ":", "Host: a", "x-y-Z:\t v ", "a b: c", "\x00: x", "É: x"} {
		f.Add(s)
	}
	f.Fuzz(checkParse)
}
