package edge

import (
	"net/url"
	"path"
	"strings"
	"testing"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/google/go-cmp/cmp"
)

func canonical(t testing.TB, target, scheme, host string) (*url.URL, error) {
	t.Helper()
	u, err := url.ParseRequestURI(target)
	if err != nil {
		return nil, invalid("invalid_path", err.Error())
	}
	var dst url.URL
	if err := canonicalURL(&dst, u, scheme, host); err != nil {
		return nil, err
	}
	return &dst, nil
}

func TestOneURLHasOneForm(t *testing.T) {
	for target, want := range map[string]struct{ path, wire string }{
		"/":                      {"/", "/"},
		"/a/b":                   {"/a/b", "/a/b"},
		"/a/b/":                  {"/a/b/", "/a/b/"},
		"//a///b//":              {"/a/b/", "/a/b/"},
		"/public/../admin":       {"/admin", "/admin"},
		"/public/./x/.":          {"/public/x/", "/public/x/"},
		"/a/..":                  {"/", "/"},
		"/../../x":               {"/x", "/x"},
		"/a//../b":               {"/b", "/b"},
		"/...":                   {"/...", "/..."},
		"/.well-known/x":         {"/.well-known/x", "/.well-known/x"},
		"/%61dmin":               {"/admin", "/admin"},
		"/a%20b":                 {"/a b", "/a%20b"},
		"/a%c3%a9":               {"/aé", "/a%C3%A9"},
		"/aé":                    {"/aé", "/a%C3%A9"},
		"/a;v=1/b":               {"/a;v=1/b", "/a;v=1/b"},
		"/a%3Bb":                 {"/a;b", "/a%3Bb"},
		"/a(b)!*'":               {"/a(b)!*'", "/a(b)!*'"},
		"/a%28b":                 {"/a(b", "/a%28b"},
		"/a%3fb":                 {"/a?b", "/a%3Fb"},
		"/100%25":                {"/100%", "/100%25"},
		"/a|b<c>":                {"/a|b<c>", "/a%7Cb%3Cc%3E"},
		"/a?x=%zz;y=/../&q=%2e#": {},
		"http://example.com":     {"/", "/"},
	} {
		u, err := canonical(t, target, "http", "example.com")
		if want.path == "" {
			if !fault.Is(err, fault.Invalid) {
				t.Errorf("%s: got %v, %v, want a refusal", target, u, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", target, err)
			continue
		}
		if got := (struct{ path, wire string }{u.Path, u.EscapedPath()}); got != want {
			t.Errorf("%s: got %q, want %q", target, got, want)
		}
	}
}

func TestAmbiguousTargetsAreRefused(t *testing.T) {
	for _, target := range []string{
		"/public/%2e%2e/admin", "/public/.%2E/admin", "/%2e/x", "/a%2ejson", // encoded dots
		"/public/..%2fadmin", "/a%2Fb", // encoded slashes
		`/public/..\admin`, "/public/..%5cadmin", // backslashes
		"/public/..;/admin", "/public/..;x=y/admin", "/public/..%3b/admin", "/.;/x", "/a;x/../b", "/%2e%2e;/x", // parameters on dot segments
		"/a%00b", "/a%0ab", "/a%0d%0aX-User:%20root", "/a%7f", "/a%c2%85", // control characters
		"/a%ff", "/a%c0%ae%c0%ae/x", "/a%ed%a0%80", // not UTF-8
		"/a%", "/a%2", "/a%zz", // broken encoding
		"/%252e%252e/admin", "/a%252fb", "/a%255cb", "/a%2500", "/a%25252f", // encoded twice
		"/a#b", "/a?b#c", "*", "",
	} {
		if u, err := canonical(t, target, "http", "example.com"); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: got %v, %v, want a refusal", target, u, err)
		}
	}
}

func TestTheQueryIsKeptByteForByte(t *testing.T) {
	for _, q := range []string{"?", "?a=b", "?a;b", "?a=%zz", "?/../", "?a=b?c", "?é", "?a=%2e%2E&&"} {
		u, err := canonical(t, "/x"+q, "http", "example.com")
		if err != nil || u.RequestURI() != "/x"+q {
			t.Errorf("%s: got %v, %v", q, u, err)
		}
	}
}

func TestOneHostHasOneForm(t *testing.T) {
	for in, want := range map[string]string{
		"example.com": "example.com", "EXAMPLE.com": "example.com", "example.com.": "example.com",
		"example.com:80": "example.com", "example.com:": "example.com", "Example.com.:0080": "example.com",
		"example.com:443": "example.com:443", "a_b.c-d:8080": "a_b.c-d:8080",
		"127.0.0.1:4455": "127.0.0.1:4455", "[::1]": "[::1]", "[0:0::1]:80": "[::1]", "[2001:DB8::1]:81": "[2001:db8::1]:81",
		"": "", "..": "", "a..b": "", ".a": "", "a b": "", "a@b": "", "a/b": "", "a:b": "", "a:1:2": "", "a:0": "", "a:65536": "", "a:+80": "",
		"::1": "", "[::1": "", "[::1]x": "", "[fe80::1%25eth0]": "", "[1.2.3.4]": "", "é.com": "", "a%2eb": "", "a\\b": "", "a#": "", "a?": "",
		strings.Repeat("a", 64) + ".com": "", "example.com..": "",
	} {
		got, err := canonicalHost(in, "http")
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: got %q, %v, want %q", in, got, err, want)
		}
	}
	if got, _ := canonicalHost("example.com:443", "https"); got != "example.com" {
		t.Errorf("got %q, want the default port of https removed", got)
	}
}

func TestMethodsAreUpperCaseTokens(t *testing.T) {
	for in, want := range map[string]string{"GET": "GET", "get": "GET", "M-SEARCH": "M-SEARCH", "": "", "CONNECT": "", "connect": "", "G T": "", "G\n": "", "É": ""} {
		if got, err := canonicalMethod(in); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: got %q, %v, want %q", in, got, err, want)
		}
	}
}

func FuzzCanonicalURL(f *testing.F) {
	for _, s := range []string{"/", "//a/../b;c/.", "/%2e%2e/%252f", "/a%20b?x=%zz", "/é%C3%A9%3b|", "/a/..;/b"} {
		f.Add(s, "Example.com:80")
	}
	f.Fuzz(func(t *testing.T, target, host string) {
		u, err := canonical(t, target, "http", host)
		if err != nil {
			if !fault.Is(err, fault.Invalid) {
				t.Fatalf("%q: %v is not an invalid request", target, err)
			}
			return
		}
		clean := path.Clean(u.Path)
		if strings.HasSuffix(u.Path, "/") && clean != "/" {
			clean += "/"
		}
		if clean != u.Path {
			t.Fatalf("%q: path %q is not clean", target, u.Path)
		}
		if strings.ContainsAny(u.Path, "\\\x00\r\n\x7f") || strings.Contains(u.Host, "..") {
			t.Fatalf("%q: path %q, host %q", target, u.Path, u.Host)
		}
		// What goes over the wire reads back as the same URL, and is final.
		again, err := canonical(t, u.RequestURI(), "http", u.Host)
		if err != nil {
			t.Fatalf("%q: canonical form %q is refused: %v", target, u.RequestURI(), err)
		}
		if diff := cmp.Diff(u, again); diff != "" {
			t.Fatalf("%q: not final: %s", target, diff)
		}
	})
}

func BenchmarkCanonicalURL(b *testing.B) {
	u, _ := url.ParseRequestURI("/api/v1/users/1234?expand=teams")
	var dst url.URL
	b.ReportAllocs()
	for b.Loop() {
		if err := canonicalURL(&dst, u, "http", "api.example.com"); err != nil {
			b.Fatal(err)
		}
	}
}

// Of whatever host, the quick way says nothing that the long way does not.
func TestAHostThatNeedsNoWorkIsTheOneThatWorkWouldGive(t *testing.T) {
	pieces := []string{"a", "example", "127.0.0.1", "[::1]", ".", "-", "_", ":", ":80", ":443", ":0", ":08", ":8080", ":65535", ":65536", ":+1", "A", "\x00", "é", strings.Repeat("x", 64)}
	for _, scheme := range []string{"http", "https"} {
		for _, a := range pieces {
			for _, b := range pieces {
				for _, c := range append(pieces, "") {
					host := a + b + c
					got, err := canonicalHost(host, scheme)
					want, wantErr := anyHost(host, scheme)
					if got != want || (err == nil) != (wantErr == nil) {
						t.Fatalf("%s %q: %q, %v; the long way %q, %v", scheme, host, got, err, want, wantErr)
					}
				}
			}
		}
	}
}
