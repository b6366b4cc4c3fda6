package rules

import (
	"net"
	"net/url"
	"strings"
	"testing"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/fault"
)

// hostile are captures that have led proxies elsewhere: user information, ports, other
// spellings of addresses, of dots and of letters, ends of the authority, of lines and
// of strings.
var hostile = []string{
	"", ".", "..", "-", "x.", ".x", "x..y", "x-", "evil.example", "evil.example/", "evil.example#", "evil.example?", "evil.example\\", "evil.example:80", "x@evil.example",
	"x:y@evil.example", "@", ":", "[::1]", "::1", "[::ffff:169.254.169.254]", "127.0.0.1", "127.1", "0", "0x7f000001", "2130706433", "0177.0.0.1", "169.254.169.254",
	"169.254.169.254#", "169.254.169.254/latest/meta-data", "metadata.google.internal", "metadata.google.internal#", "metadata.google.internal\x00", "localhost", "localhost#",
	"evil.example%23", "evil.example%2f", "evil%2eexample", "%00", "\x00", "\r\nHost: evil", "x\ny", "x y", "\t", "evil。example", "evil.example", "ⓛocalhost", "١٢٧.0.0.1",
	"\u212aernel", "\u017fecret", "x\u00ad", "x\u200b", "\u202e", "\xff", "*", "*.svc.local", "svc.local", "xsvc.local", "a.svc.local.evil.example", strings.Repeat("a", 64), strings.Repeat("a.", 127),
	"http://evil.example", "//evil.example", "${1}", "$1", "xn--e1afmkfd", "_dmarc",
}

// dynamic is an upstream whose host and path are a capture each.
func dynamic(t testing.TB, text string, allowed ...string) *address {
	t.Helper()
	a, err := newAddress(text, 2)
	if err != nil {
		t.Fatal(err)
	}
	a.allowed = allowed
	return a
}

// checkPlace fails when u is not where a rule for *.svc.local and one.example may lead.
func checkPlace(t testing.TB, u *url.URL, captures []string) {
	t.Helper()
	again, err := url.Parse(u.String()) // what a reader of the text would make of it
	if err != nil {
		t.Fatalf("%q: %v", captures, err)
	}
	for _, u := range []*url.URL{u, again} {
		host := u.Hostname()
		if host != "one.example" && (!strings.HasSuffix(host, ".svc.local") || len(host) == len(".svc.local")) {
			t.Errorf("%q leads to the host %q", captures, host)
		}
		if u.Port() != "8080" || u.Scheme != "http" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || net.ParseIP(host) != nil {
			t.Errorf("%q leads to %s", captures, u)
		}
		if path := u.EscapedPath(); !strings.HasPrefix(path, "/base/") || ambiguousPath(path) {
			t.Errorf("%q leads to the path %q", captures, path)
		}
		for _, c := range []byte(u.String()) {
			if c <= ' ' || c >= 0x7f {
				t.Errorf("%q leads to %q", captures, u)
			}
		}
	}
}

func TestNoCaptureLeadsToAHostThatIsNotAllowed(t *testing.T) {
	for text, most := range map[string]int{"http://${1}.svc.local:8080/base/${2}": 60, "http://${1}:8080/base/${2}": 0, "http://x${1}:8080/base/${2}": 0} {
		a := dynamic(t, text, "*.svc.local", "one.example")
		reached := map[string]bool{}
		for _, host := range hostile {
			for _, path := range append([]string{"p"}, hostile...) {
				captures := []string{host, path}
				u, err := a.resolve(captures)
				if err != nil {
					if !fault.Is(err, fault.Forbidden) && !fault.Is(err, fault.Invalid) {
						t.Errorf("%s %q: got %v", text, captures, err)
					}
					continue
				}
				reached[u.Host] = true
				checkPlace(t, u, captures)
			}
		}
		if len(reached) > most {
			t.Errorf("%s leads to %v", text, reached)
		}
	}
	u, err := dynamic(t, "http://${1}:8080/base/${2}", "*.svc.local", "one.example").resolve([]string{"ONE.example", "p"})
	if err != nil || u.String() != "http://one.example:8080/base/p" {
		t.Errorf("a host that is allowed: got %v, %v", u, err)
	}
}

// TestAHostIsReachedUnderTheNameThatWasJudged: a letter that becomes ASCII only by
// being folded is another name to everybody who read the request before.
func TestAHostIsReachedUnderTheNameThatWasJudged(t *testing.T) {
	a := dynamic(t, "http://${1}.svc.local:8080/base/${2}", "*.svc.local")
	if u, err := a.resolve([]string{"\u212aernel", "p"}); err == nil { // the sign for kelvin
		t.Errorf("got %s", u)
	}
}

func TestARewriteBySomethingHostileKeepsItsHost(t *testing.T) {
	r := &resolver{base: &access.Upstream{URL: &url.URL{Scheme: "http", Host: "b"}}}
	var err error
	if r.path, err = newPath("/base/${1}", 1); err != nil {
		t.Fatal(err)
	}
	for _, capture := range hostile {
		up, err := r.resolve(access.Input{Captures: []string{capture}})
		if err != nil {
			if fault.ReasonOf(err) != ReasonRewriteRefused {
				t.Errorf("%q: got %v", capture, err)
			}
			continue
		}
		u, err := url.Parse("http://b" + up.Rewritten)
		if err != nil || u.Host != "b" || u.RawQuery != "" || u.Fragment != "" || !strings.HasPrefix(up.Rewritten, "/base/") || ambiguousPath(up.Rewritten) || *up.URL != *r.base.URL {
			t.Errorf("%q leads to %s %q, %v", capture, up.URL, up.Rewritten, err)
		}
	}
}

func FuzzCaptures(f *testing.F) {
	for i, c := range hostile {
		f.Add(c, hostile[len(hostile)-1-i])
	}
	a := dynamic(f, "http://${1}:8080/base/${2}", "*.svc.local", "one.example")
	f.Fuzz(func(t *testing.T, host, path string) {
		for _, captures := range [][]string{{host, path}, {host + ".svc.local", path}} {
			if u, err := a.resolve(captures); err == nil {
				checkPlace(t, u, captures)
			}
		}
	})
}
