package fingerprint

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/quick"
)

func TestTheSameTupleHasTheSameFingerprintWhoeverAsksAtOnce(t *testing.T) {
	m := NewMaker()
	var wait sync.WaitGroup
	for i := range 8 {
		wait.Go(func() {
			text := strings.Repeat(fmt.Sprint(i), 1000*i)
			want := m.Of("who", text, "")
			for range 200 {
				if got := m.Of("who", text, ""); got != want {
					t.Errorf("%x, before %x", got, want)
					return
				}
			}
		})
	}
	wait.Wait()
}

// Every cut of a text into parts is a tuple of its own, and so is every text.
func TestNoTwoTuplesShareAFingerprint(t *testing.T) {
	m := NewMaker()
	seen := map[Key]string{}
	add := func(who string, parts ...string) {
		k, name := m.Of(who, parts...), fmt.Sprintf("%q", append([]string{who}, parts...))
		if old, ok := seen[k]; ok && old != name {
			t.Fatalf("%s and %s have the same fingerprint", old, name)
		}
		seen[k] = name
	}
	const text = "a\x00bb\x00\x00\x00\x00\x00\x00\x00\x01c"
	for i := range len(text) + 1 {
		add(text[:i], text[i:])
		for j := i; j <= len(text); j++ {
			add(text[:i], text[i:j], text[j:])
		}
	}
	for n := range 300 { // padding to blocks is not part of the text
		add(strings.Repeat("\x00", n))
		add("", strings.Repeat("\x00", n))
	}
	flips := func(who, token string, at uint16) bool {
		if token == "" {
			return true
		}
		other := []byte(token)
		other[int(at)%len(other)] ^= 1 << (at % 8)
		return m.Of(who, token) != m.Of(who, string(other)) && m.Of(who, token) != m.Of(token, who, "")
	}
	if err := quick.Check(flips, nil); err != nil {
		t.Error(err)
	}
}

// Who knows the fingerprints of one process, or one start of it, knows none of another.
func TestEveryMakerHasAKeyOfItsOwn(t *testing.T) {
	if NewMaker().Of("x") == NewMaker().Of("x") {
		t.Error("two makers agree")
	}
}

func TestTokensDoNotStayInTheBuffer(t *testing.T) {
	m := NewMaker()
	w := new(work)
	m.pool.New = func() any { return w }
	m.Of("who", "a-token")
	m.Of("x")
	if text := string(w.tuple[:cap(w.tuple)]); strings.Contains(text, "token") {
		t.Errorf("%q is left", text)
	}
}

func TestAFingerprintAllocatesNothing(t *testing.T) {
	m, token := NewMaker(), strings.Repeat("x", 700)
	m.Of("who", token)
	if n := testing.AllocsPerRun(100, func() { m.Of("who", token) }); n >= 1 { // the pool may be emptied in between
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkOf(b *testing.B) {
	m := NewMaker()
	for _, n := range []int{80, 650, 2000} {
		token := strings.Repeat("x", n)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				m.Of("01234567890123456789012345678901", token)
			}
		})
	}
}
