package relyingparty

import (
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// hostile are return targets that some browser or some library on the way reads as
// another host, as a script, or as a path of the gateway's own.
func hostile() []string {
	list := []string{
		"", "evil.example", "https://evil.example", "HTTPS://evil.example", "http:evil.example", "https:/evil.example", "https:///evil.example",
		"javascript:alert(1)", "JaVaScRiPt:alert(1)", "data:text/html,x", "vbscript:x", "blob:x", "file:///etc/passwd", "//evil.example@app.example",
		"https://app.example@evil.example", "https://app.example.evil.example", "https://app.example:443@evil.example/", "?x", "#x", ".", "..", "./x", "../x", "x/y",
		"/cb", "/login", "/logout", "/cb?x=1", "/logout?x", "/%6cogout", "/login#x", "/" + strings.Repeat("x", maxTarget),
		"/x\r\nSet-Cookie: a=b", "/x\nLocation: //evil.example", "/\x00", "/ü", "/a b", "/%zz", "/%", "/a/../logout", "/./logout", "/..", "/a/..",
	}
	// What is in front of a host: slashes and what browsers take for them, with what they
	// skip, plain and encoded.
	for _, prefix := range []string{"//", "///", "////", `/\`, `\/`, `\\`, `/\/`, `/\\`, `//\`, "/\t/", "/\n/", "/\r/", "\t//", " //", "\n//", "\x00//", "\x0b//", "/ /", "/\x1f/",
		"/%2f", "/%2F/", "/%5c", "/%5C/", "/%09/", "/%0a/", "/%0d/", "/%00/", "/.//", "/..//", "/./%2f", "/%2e%2e//", "/;/../", "/x/..//"} {
		for _, host := range []string{"evil.example", "evil.example/", "evil.example/%2f..", "evil.example:443", "a@evil.example", "evil%2eexample", "[::1]", "2130706433"} {
			list = append(list, prefix+host)
		}
	}
	return list
}

func TestHostileReturnTargetsLeadToTheFrontPage(t *testing.T) {
	p := newIDP(t).party(t)
	for _, to := range hostile() {
		got := p.localTarget(to)
		if got != "/" && mayLeave(to) {
			t.Errorf("%q is accepted as %q", to, got)
		}
		if got != "/" && got != to {
			t.Errorf("%q is changed to %q", to, got)
		}
	}
	if n := len(hostile()); n < 200 {
		t.Errorf("the corpus has %d targets", n)
	}
	for _, to := range []string{"/", "/x", "/x/y?z=1#f", "/x?next=https://other.example", "/x//y", "/caf%C3%A9", "/a;b=1", "/logout/x"} {
		if got := p.localTarget(to); got != to {
			t.Errorf("%q becomes %q", to, got)
		}
	}
}

// mayLeave is what a careless reader of a URL reference makes of its path: it strips what
// browsers strip (WHATWG URL, section 4.4), decodes once, takes a backslash for a
// slash and looks for a host or a scheme, or for a dot segment that uncovers one.
func mayLeave(to string) bool {
	if strings.ContainsAny(to, "\r\n\x00") {
		return true
	}
	for _, encoded := range []bool{true, false} {
		s := strings.ReplaceAll(strings.TrimLeft(strings.NewReplacer("\t", "", "\n", "", "\r", "").Replace(to), "\x00\x01\x0b\x1f "), `\`, "/")
		if i := strings.IndexAny(s, "?#"); i >= 0 {
			s = s[:i]
		}
		if !strings.HasPrefix(s, "/") || strings.HasPrefix(s, "//") || strings.Contains(s, "/./") || strings.Contains(s, "/../") || strings.HasSuffix(s, "/..") || strings.ContainsAny(s, "\r\n\x00") {
			return true
		}
		if encoded {
			decoded, err := url.PathUnescape(s)
			if err != nil {
				return true
			}
			to = decoded
		}
	}
	return false
}

func FuzzReturnTargets(f *testing.F) {
	p := newIDP(f).party(f)
	for _, to := range append(hostile(), "/#%00", "/x?to=/../y", "/%25") {
		f.Add(to)
	}
	f.Fuzz(func(t *testing.T, to string) {
		got := p.localTarget(to)
		if got != "/" && mayLeave(got) {
			t.Errorf("%q becomes %q", to, got)
		}
		base, _ := url.Parse("https://app.example/page")
		u, err := base.Parse(got)
		if err != nil || u.Host != "app.example" || u.Scheme != "https" || p.Endpoints()[u.Path] != "" {
			t.Errorf("%q becomes %q, which is %v, %v", to, got, u, err)
		}
	})
}

func TestAPathThatLooksLikeAHostIsReturnedToBehindTheOrigin(t *testing.T) {
	i := newIDP(t)
	p := i.party(t)
	got := map[string]string{}
	want := map[string]string{
		"//evil.example/x": "https://app.example//evil.example/x", "/x?to=//evil.example": "https://app.example/x?to=//evil.example",
		"/" + strings.Repeat("x", maxTarget): "https://app.example/",
	}
	for to := range want {
		b := newBrowser()
		got[to] = b.login(t, i, p, to)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
