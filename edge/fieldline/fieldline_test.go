package fieldline

import (
	"bufio"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"testing"
)

func TestALineIsCutAtCRLFAlone(t *testing.T) {
	for text, want := range map[string][3]string{
		"a: b\r\nc":    {"a: b", "c", "true"},
		"a:\tb\r\n":    {"a:\tb", "", "true"},
		"\r\nrest":     {"", "rest", "true"},
		"a: \xff\r\n":  {"a: \xff", "", "true"}, // obs-text
		"a: b\nc: d":   {"a: b", ": d", "false"},
		"a: b\rc: d":   {"a: b", ": d", "false"},
		"a: b\r":       {"a: b", "", "false"},
		"a: \x00b\r\n": {"a: ", "\r\n", "false"},
		"a: \x7f\r\n":  {"a: ", "\n", "false"},
		"a: b":         {"a: b", "", "false"},
		"":             {"", "", "false"},
	} {
		line, rest, ok := Cut(text)
		if got := [3]string{line, rest, strconv.FormatBool(ok)}; got[0] != want[0] || got[2] != want[2] || ok && got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

func TestANameIsATokenFollowedByItsColon(t *testing.T) {
	for line, want := range map[string][2]string{
		"Host: a":             {"Host", "a"},
		"hOST:a":              {"Host", "a"},
		"content-length:\t5 ": {"Content-Length", "5"},
		"X_y: 1":              {"X_y", "1"},
		"x-Y-z:":              {"X-Y-Z", ""},
		"a: b: c":             {"A", "b: c"},
		"!#$%&'*+-.^_`|~9: v": {"!#$%&'*+-.^_`|~9", "v"},
	} {
		if name, value, ok := Parse(line); !ok || name != want[0] || value != want[1] {
			t.Errorf("%q: got %q %q %v, want %q", line, name, value, ok, want)
		}
	}
	for _, line := range []string{"", ":", ": v", "name", "Host : a", " Host: a", "\tHost: a", "a b: c", "a\x00: b", "ä: b", "(a): b", "a/b: c", "a,b: c", `"a": b`, "a@b: c", "[a]: b", "a;b: c", "a=b: c"} {
		if name, value, ok := Parse(line); ok {
			t.Errorf("%q was read as %q %q", line, name, value)
		}
	}
}

func TestALengthIsDigits(t *testing.T) {
	for value, want := range map[string]int64{"0": 0, "00": 0, "5": 5, "999999999999999": 999999999999999} {
		if n, ok := Length(value); !ok || n != want {
			t.Errorf("%q: got %d %v", value, n, ok)
		}
	}
	for _, value := range []string{"", "-1", "+1", " 1", "1 ", "1,1", "0x1", "1e3", "1_000", "1.0", "٣", "1000000000000000", strings.Repeat("9", 40)} {
		if n, ok := Length(value); ok {
			t.Errorf("%q was read as %d", value, n)
		}
	}
}

func TestTokens(t *testing.T) {
	for c := range 256 {
		s := string([]byte{byte(c)})
		want := c < 0x80 && (strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z')
		if IsToken(s) != want || IsToken("a"+s) != want {
			t.Errorf("%q: got %v", s, !want)
		}
	}
	if IsToken("") {
		t.Error("nothing is a token")
	}
}

// FuzzLine: a line that is read here is read alike by the standard library.
func FuzzLine(f *testing.F) {
	for _, s := range []string{"Host: a\r\n", "content-LENGTH: 5\r\nx", "a : b\r\n", " folded\r\n", "a: \tb \r\n", "X_y:\xff\r\n", "a: b\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		line, rest, ok := Cut(text)
		if !ok {
			return
		}
		if line+"\r\n"+rest != text {
			t.Fatalf("%q was cut into %q and %q", text, line, rest)
		}
		name, value, ok := Parse(line)
		if !ok {
			return
		}
		header, err := textproto.NewReader(bufio.NewReader(strings.NewReader(line + "\r\n\r\n"))).ReadMIMEHeader()
		if err != nil {
			t.Fatalf("%q is read as %q %q, and not by the standard library: %v", line, name, value, err)
		}
		if got := http.Header(header)[name]; len(header) != 1 || len(got) != 1 || got[0] != value {
			t.Fatalf("%q is read as %q %q, by the standard library as %q", line, name, value, header)
		}
		if n, ok := Length(value); ok {
			if other, err := strconv.ParseUint(value, 10, 63); err != nil || int64(other) != n {
				t.Fatalf("the length %q is %d, for the standard library %d, %v", value, n, other, err)
			}
		}
	})
}
