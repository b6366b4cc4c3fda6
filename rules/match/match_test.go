package match

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/gobwas/glob"
	"github.com/google/go-cmp/cmp"
	"github.com/ory/ladon/compiler"
	"pgregory.net/rapid"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/rules/spec"
)

func request(t testing.TB, method, rawURL string) *access.Request {
	t.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	return &access.Request{Method: method, URL: u, Header: http.Header{}}
}

func index(t testing.TB, strategy Strategy, strict bool, matches ...spec.Match) *Index {
	t.Helper()
	var entries []Entry
	c := NewCompiler(strategy)
	for _, m := range matches {
		if m.Methods == nil {
			m.Methods = []string{"GET"}
		}
		p, problems := c.Compile(m)
		if problems != nil {
			t.Fatalf("%+v: %v", m, problems)
		}
		entries = append(entries, Entry{Pattern: p})
	}
	return New(entries, strict)
}

func TestPatternsMatchTheWholeCanonicalURL(t *testing.T) {
	for _, c := range []struct {
		strategy     Strategy
		pattern, url string
		match        bool
		captures     []string
	}{
		{Regexp, "http://a/users", "http://a/users", true, nil},
		{Regexp, "http://a/users", "http://a/users/", false, nil},
		{Regexp, "http://a/users", "http://a/users/1", false, nil},
		{Regexp, "http://a/users", "http://a/user", false, nil},
		{Regexp, "http://a/users", "https://a/users", false, nil},
		{Regexp, "http://a/users", "http://ab/users", false, nil},
		{Regexp, "http://a/users", "http://a/users?x=/y", true, nil},
		{Regexp, "http://a/users/<[0-9]+>", "http://a/users/42", true, []string{"42"}},
		{Regexp, "http://a/users/<[0-9]+>", "http://a/users/42x", false, nil},
		{Regexp, "http://a/users/<[0-9]+>", "http://a/users/", false, nil},
		{Regexp, "http://a/users/<[0-9]{2,3}>/p", "http://a/users/1234/p", false, nil},
		{Regexp, "http://a/users/<[0-9]{2,3}>/p", "http://a/users/123/p", true, []string{"123"}},
		{Regexp, "http://a/<[^/]+>/posts/<.*>", "http://a/é/posts/x/y", true, []string{"é", "x/y"}},
		{Regexp, "http://a/<.*>", "http://a/", true, []string{""}},
		{Regexp, "http://a/<.*>/x", "http://a/x/x/x", true, []string{"x/x"}},
		{Regexp, "http://a/<.*?>/<.*>", "http://a/1/2/3", true, []string{"1", "2/3"}},
		{Regexp, "http://a/<(v1|v2)>/<[a-z]+>", "http://a/v2/q", true, []string{"v2", "v2", "q"}},
		{Regexp, "http://a/<v[12]>/x", "http://a/v2/x", true, []string{"v2"}},
		{Regexp, "http://a/u<(?P<id>[0-9])>", "http://a/u7", true, []string{"7", "7"}},
		{Regexp, "<https?>://a/<.*>", "https://a/x", true, []string{"https", "x"}},
		{Regexp, "<(http|https)>://a/x", "https://a/x", true, []string{"https", "https"}},
		{Regexp, "http<s?>://a/x", "http://a/x", true, []string{""}},
		{Regexp, "<https?>://a/<.*>", "ftp://a/x", false, nil},
		{Regexp, "<[a-z]+>://a/x", "ws://a/x", true, []string{"ws"}},
		{Regexp, "https://<[a-z]+>.Example.com/<.*>", "https://api.example.com/x", true, []string{"api", "x"}},
		{Regexp, "https://<[A-Z]+>.example.com/x", "https://api.example.com/x", true, []string{"api"}},
		{Regexp, "https://<[a-z]+>.example.com/x", "https://a.b.example.com/x", false, nil},
		{Regexp, "https://<[a-z]+>/x", "https://api/x", true, []string{"api"}},
		{Regexp, "https://<.*>", "https://api/x", true, []string{"api/x"}},
		{Regexp, "https://a<.*>", "https://api/x", true, []string{"pi/x"}},
		{Regexp, "<.*>", "https://api/x", true, []string{"https://api/x"}},
		{Regexp, "<.*>://api/x", "https://api/x", true, []string{"https"}},
		{Regexp, "https://EXAMPLE.com:443/x", "https://example.com/x", true, nil},
		{Regexp, "http://example.com.:80/x", "http://example.com/x", true, nil},
		{Regexp, "http://example.com:8080/x", "http://example.com/x", false, nil},
		{Regexp, "http://[::1]:8080/x", "http://[::1]:8080/x", true, nil},
		{Regexp, "http://a", "http://a/", true, nil},
		{Regexp, "http://a/Case", "http://a/case", false, nil},
		{Regexp, "http://a/x.y", "http://a/xzy", false, nil},
		{Regexp, "http://a/<(?!admin).*>", "http://a/user", true, []string{"user"}},
		{Regexp, "http://a/<(?!admin).*>", "http://a/admin/x", false, nil},
		{Regexp, "http://a/<x$>", "http://a/x", true, []string{"x"}},
		{Regexp, "http://a/<^x>", "http://a/x", false, nil},
		{Regexp, `http://a/x<\b.*>`, "http://a/xy", false, nil},
		{Regexp, `http://a/x<\b.*>`, "http://a/x/y", true, []string{"/y"}},

		{Regexp, "http://<[^/]+>/r/1/<(items|parts)>", "http://a:81/r/1/parts", true, []string{"a:81", "parts", "parts"}},
		{Regexp, "http://<[^/]+>/r/1/<(items|parts)>", "http://a/r/1/partsx", false, nil},
		{Regexp, "http://<.*>/r/1/<(items|parts)>", "http://a/r/1/items", true, []string{"a", "items", "items"}},
		{Regexp, "http://<.*>/r/1/<(items|parts)>", "http://a/r/1/x/r/1/items", true, []string{"a/r/1/x", "items", "items"}},
		{Regexp, "http://<.*>/r/1/<(items|parts)>", "http://a/r/1/x/r/2/items", false, nil},
		{Regexp, "http://<.*>/r/<.*>", "http://a/r/r/r/x", true, []string{"a/r/r", "x"}},
		{Regexp, "http://<.*>/r/r", "http://a/r/r/r", true, []string{"a/r"}},
		{Regexp, "http://<.*>/a/b<[^/]*>/c", "http://h/a/b/a/b/c", true, []string{"h/a/b", ""}},
		{Regexp, "<https?>://<.+>/r", "https://a/r", true, []string{"https", "a"}},
		{Regexp, "http://<.+>/r", "http:///r", false, nil},
		{Regexp, "http://<.+>/r", "http:///x/r", true, []string{"/x"}},
		{Regexp, "http://<.*>/r", "http://a/x%0a/r", false, nil},
		{Regexp, "http://<.*>.a.io/<(v[12])>", "http://x.a.io.a.io/v2", true, []string{"x.a.io", "v2", "v2"}},
		{Regexp, "http://<(www|api|)>a.io/x", "http://wwwa.io/x", true, []string{"www", "www"}},
		{Regexp, "http://<(API|WWW)>.a.io/x", "http://api.a.io/x", true, []string{"api", "api"}},
		{Regexp, "http://a/r<(/.*)?>", "http://a/r", true, []string{"", ""}},
		{Regexp, "http://a/r<(/.*)?>", "http://a/r/", true, []string{"/", "/"}},
		{Regexp, "http://a/r<(/.*)?>", "http://a/rx", false, nil},
		{Regexp, "http://a/<(/[a-z]+)?>x/<(a(b)?)>", "http://a/x/ab", true, []string{"", "", "ab", "ab", "b"}},
		{Regexp, "http://a/<(v1|v10)>0", "http://a/v10", true, []string{"v1", "v1"}},
		{Regexp, "http://a/<(?i:k)>x", "http://a/\u212ax", true, []string{"\u212a"}},

		// Line feeds, which canonical URLs never hold, do not end a pattern.
		{Regexp, "http://a/x", "http://a/x%0a", false, nil},
		{Regexp, "http://a/<[a-z]+>", "http://a/x%0a", false, nil},
		{Regexp, "http://a/<x$>", "http://a/x%0a", false, nil},
		{Regexp, "http://a/<(?!y)x$>", "http://a/x%0a", false, nil},
		{Regexp, "http://a/<(?m)x$>", "http://a/x%0ay", false, nil},
		{Regexp, "http://a/<.*>", "http://a/x%0ay", false, nil},
		{Regexp, "http://a/<.*>x", "http://a/%0ax", false, nil},

		{Glob, "https://example.com/<*>/x", "https://example.com/a/x", true, []string{"a"}},
		{Glob, "https://example.com/<*>/x", "https://example.com/a/b/x", false, nil},
		{Glob, "https://example.com/<*>/x", "https://example.com/a.b/x", false, nil},
		{Glob, "https://example.com/<**>/x", "https://example.com/a/b/x", true, []string{"a/b"}},
		{Glob, "https://<*>.example.com/<**>", "https://api.example.com/a/b", true, []string{"api", "a/b"}},
		{Glob, "https://<*>.example.com/<**>", "https://a.b.example.com/a/b", false, nil},
		{Glob, "<{http,https}>://a/<?>", "https://a/b", true, []string{"https", "b"}},
		{Glob, "http://a/<[a-c]>/<[!x]>/<{b,cd}>", "http://a/b/y/cd", true, []string{"b", "y", "cd"}},
		{Glob, "http://a/*", "http://a/b", false, nil},
	} {
		x := index(t, c.strategy, false, spec.Match{URL: c.pattern})
		got, err := x.Find(request(t, "GET", c.url))
		if (err == nil) != c.match || err != nil && !errors.Is(err, ErrNone) || err == nil && !slices.Equal(got.Captures, c.captures) {
			t.Errorf("%s %s: got %q, %v, want %v %q", c.pattern, c.url, got.Captures, err, c.match, c.captures)
		}
	}
}

func TestHostsPathsHeadersAndQuery(t *testing.T) {
	for _, c := range []struct {
		match  spec.Match
		url    string
		header http.Header
		want   bool
	}{
		{spec.Match{Hosts: []string{"a.io"}}, "http://a.io/x", nil, true},
		{spec.Match{Hosts: []string{"A.io."}}, "https://a.io:8443/x", nil, true},
		{spec.Match{Hosts: []string{"a.io:8443"}}, "https://a.io:8443/x", nil, true},
		{spec.Match{Hosts: []string{"a.io:8443"}}, "https://a.io/x", nil, false},
		{spec.Match{Hosts: []string{"*.a.io"}}, "http://b.a.io/x", nil, true},
		{spec.Match{Hosts: []string{"*.a.io"}}, "http://c.b.a.io:81/x", nil, true},
		{spec.Match{Hosts: []string{"*.a.io"}}, "http://a.io/x", nil, false},
		{spec.Match{Hosts: []string{"*.a.io"}}, "http://.a.io/x", nil, false},
		{spec.Match{Hosts: []string{"*.a.io"}}, "http://ba.io/x", nil, false},
		{spec.Match{Hosts: []string{"[::1]"}}, "http://[::1]:80/x", nil, true},
		{spec.Match{Hosts: []string{"*"}, Paths: []string{"/x/<.*>"}}, "http://q/x/y", nil, true},
		{spec.Match{Paths: []string{"/a", "/b/<[0-9]+>"}}, "http://q/b/1", nil, true},
		{spec.Match{Paths: []string{"/a", "/b/<[0-9]+>"}}, "http://q/b/x", nil, false},
		{spec.Match{Paths: []string{"/<(?!b).*>"}}, "http://q/b", nil, false},
		{spec.Match{Hosts: []string{"q"}, Paths: []string{"/<(?!b).*>"}}, "http://q/a", nil, true},
		{spec.Match{URL: "http://q/", Headers: map[string]string{"x-a": "1", "X-B": "*"}}, "http://q/", http.Header{"X-A": {"0", "1"}, "X-B": {""}}, true},
		{spec.Match{URL: "http://q/", Headers: map[string]string{"x-a": "1", "X-B": "*"}}, "http://q/", http.Header{"X-A": {"1"}}, false},
		{spec.Match{URL: "http://q/", Headers: map[string]string{"x-a": "1"}}, "http://q/", http.Header{"X-A": {"11"}}, false},
		{spec.Match{URL: "http://q/", Query: map[string]string{"a": "1", "b": "*"}}, "http://q/?b&a=2&a=1", nil, true},
		{spec.Match{URL: "http://q/", Query: map[string]string{"a": "1"}}, "http://q/?A=1", nil, false},
		{spec.Match{URL: "http://q/", Query: map[string]string{"a": "1"}}, "http://q/?a=%zz&a=1;b", nil, false},
	} {
		r := request(t, "GET", c.url)
		r.Header = c.header
		if _, err := index(t, Regexp, false, c.match).Find(r); (err == nil) != c.want {
			t.Errorf("%+v %s %v: %v", c.match, c.url, c.header, err)
		}
	}
}

func TestMethodsAreComparedWithoutCase(t *testing.T) {
	x := index(t, Regexp, false, spec.Match{URL: "http://a/", Methods: []string{"get", "Propfind"}})
	for method, want := range map[string]bool{"GET": true, "get": true, "PROPFIND": true, "propfind": true, "POST": false, "HEAD": false, "": false, "LOCK": false} {
		if _, err := x.Find(request(t, method, "http://a/")); (err == nil) != want {
			t.Errorf("%s: %v", method, err)
		}
	}
}

func TestPrecedence(t *testing.T) {
	u := func(s string) spec.Match { return spec.Match{URL: s} }
	for name, c := range map[string]struct {
		matches    []spec.Match
		priorities []int
		url        string
		want       int // -1: ambiguous
	}{
		"the longer literal prefix":                   {[]spec.Match{u("http://a/<.*>"), u("http://a/b/<.*>")}, nil, "http://a/b/c", 1},
		"the shorter where the longer does not match": {[]spec.Match{u("http://a/<.*>"), u("http://a/b/<[0-9]>")}, nil, "http://a/b/c", 0},
		"priority before prefix":                      {[]spec.Match{u("http://a/<.*>"), u("http://a/b/<.*>")}, []int{1, 0}, "http://a/b/c", 0},
		"negative priority":                           {[]spec.Match{u("http://a/<.*>"), u("http://a/b/<.*>")}, []int{0, -1}, "http://a/b/c", 0},
		"more literal characters":                     {[]spec.Match{u("http://a/<.*>/cd"), u("http://a/<.*>/d"), u("http://a/<[a-z/]+>d")}, nil, "http://a/b/cd", 0},
		"a literal before a pattern that goes on":     {[]spec.Match{u("http://a/b<.*>"), u("http://a/b")}, nil, "http://a/b", 1},
		"the scheme is no part of the prefix":         {[]spec.Match{u("http://<.*>"), u("<https?>://a/<.*>")}, nil, "http://a/b", 1},
		"a host before a pattern of hosts":            {[]spec.Match{{Hosts: []string{"*.a.io"}, Paths: []string{"/b/c"}}, {Hosts: []string{"x.a.io"}}}, nil, "http://x.a.io/b/c", 1},
		"a header condition":                          {[]spec.Match{{URL: "http://a/"}, {URL: "http://a/", Headers: map[string]string{"X": "*"}}}, nil, "http://a/", 1},
		"a tie is ambiguous":                          {[]spec.Match{u("http://a/<[a-z]+>"), u("http://a/<.*>")}, nil, "http://a/b", -1},
		"a tie below the winner does not matter":      {[]spec.Match{u("http://a/<[a-z]+>"), u("http://a/<.*>"), u("http://a/b")}, nil, "http://a/b", 2},
		"a tie of other hosts' patterns does not":     {[]spec.Match{u("http://a/<[a-z]+>"), u("http://a/<[0-9]+>")}, nil, "http://a/1", 1},
		"a rule does not tie with itself":             {[]spec.Match{{Paths: []string{"/<[a-z]+>", "/<.*>"}}}, nil, "http://a/b", 0},
		"the best of a rule's targets counts":         {[]spec.Match{{Paths: []string{"/<.*>", "/b"}}, {Paths: []string{"/<[b]>", "/c"}}}, nil, "http://a/b", 0},
		"a tie that a better target resolves":         {[]spec.Match{{Hosts: []string{"a", "*.x"}, Paths: []string{"/<.*>"}}, {Hosts: []string{"*", "a"}, Paths: []string{"/<.*>", "/b"}}}, nil, "http://a/b", 1},
	} {
		var entries []Entry
		for i, m := range c.matches {
			m.Methods = []string{"GET"}
			p, problems := NewCompiler(Regexp).Compile(m)
			if problems != nil {
				t.Fatal(problems)
			}
			e := Entry{Pattern: p}
			if c.priorities != nil {
				e.Priority = c.priorities[i]
			}
			entries = append(entries, e)
		}
		r := request(t, "GET", c.url)
		r.Header.Set("X", "1")
		got, err := New(entries, false).Find(r)
		var ambiguous *AmbiguousError
		if c.want < 0 && !errors.As(err, &ambiguous) || c.want >= 0 && (err != nil || got.Rule != c.want) {
			t.Errorf("%s: got %v, %v", name, got, err)
		}
		_, err = New(entries, true).Find(r)
		if several := len(c.matches) > 1 && name != "the shorter where the longer does not match" && !strings.Contains(name, "other hosts"); errors.As(err, &ambiguous) != several {
			t.Errorf("%s, strict: %v", name, err)
		}
	}
}

func TestAPatternThatExceedsItsTimeRefuses(t *testing.T) {
	evil := "http://a/<(?!x)(a+)+b>"
	x := index(t, Regexp, false, spec.Match{URL: evil}, spec.Match{URL: "http://a<.*>"})
	_, err := x.Find(request(t, "GET", "http://a/"+strings.Repeat("a", 64)))
	var timeout *TimeoutError
	if !errors.As(err, &timeout) || timeout.Rule != 0 {
		t.Errorf("got %v, want a TimeoutError of rule 0", err)
	}
	x = index(t, Regexp, false, spec.Match{URL: evil}, spec.Match{URL: "http://a/" + strings.Repeat("a", 64)})
	if got, err := x.Find(request(t, "GET", "http://a/"+strings.Repeat("a", 64))); err != nil || got.Rule != 1 {
		t.Errorf("a rule that comes first anyhow: got %v, %v", got, err)
	}
}

func TestProblemsNameTheField(t *testing.T) {
	get := []string{"GET"}
	for _, c := range []struct {
		strategy Strategy
		match    spec.Match
		want     string
		usable   bool // the URLs are known all the same
	}{
		{Regexp, spec.Match{Methods: get}, "/match/url must be set, or hosts and paths", false},
		{Regexp, spec.Match{URL: "http://a/", Hosts: []string{"a"}, Methods: get}, "/match url cannot be combined with hosts and paths", true},
		{Regexp, spec.Match{URL: "http://a/"}, "/match/methods must name at least one method", true},
		{Regexp, spec.Match{URL: "http://a/", Methods: []string{"GET", "*"}}, `/match/methods/1 "*" is not a method`, true},
		{Regexp, spec.Match{URL: "http://a/<", Methods: get}, `/match/url has a < without > in "http://a/<"`, false},
		{Regexp, spec.Match{URL: "http://a/>", Methods: get}, `/match/url has a > without < in "http://a/>"`, false},
		{Regexp, spec.Match{URL: "http://a/<[>", Methods: get}, "/match/url <[> is not a regular expression: error parsing regexp: missing closing ]: `[)`", false},
		{Regexp, spec.Match{URL: "http://a/<a)(b>", Methods: get}, "/match/url <a)(b> is not a regular expression: error parsing regexp: unexpected ): `a)(b`", false},
		{Regexp, spec.Match{URL: "http://a/?x=<.*>", Methods: get}, `/match/url has a query or fragment outside < and > in "http://a/?x=<.*>"; the query is not part of the URL that is matched, use match.query`, false},
		{Regexp, spec.Match{URL: "https:///x", Methods: get}, "/match/url has no host", false},
		{Glob, spec.Match{URL: "http://a/<{a>", Methods: get}, "/match/url glob: syntax error at 2: unclosed `{`", false},
		{Regexp, spec.Match{Hosts: []string{"a", "x y"}, Methods: get}, `/match/hosts/1 "x y" is not a host name, *.name or *`, true},
		{Regexp, spec.Match{Hosts: []string{"a:x"}, Methods: get}, `/match/hosts/0 "a:x" has no valid port`, false},
		{Regexp, spec.Match{Paths: []string{"a"}, Methods: get}, "/match/paths/0 must begin with /", false},
		{Regexp, spec.Match{URL: "http://a/", Methods: get, Headers: map[string]string{"a b": ""}}, `/match/headers "a b" is not a header name`, true},
		{"perl", spec.Match{URL: "http://a/", Methods: get}, ` unknown matching strategy "perl"`, false},
	} {
		p, problems := NewCompiler(c.strategy).Compile(c.match)
		if len(problems) != 1 || problems[0].Pointer+" "+problems[0].Message != c.want || (p != nil) != c.usable {
			t.Errorf("%+v: got %v, usable %v", c.match, problems, p != nil)
		}
	}
}

func TestConflictsAreFoundAtLoad(t *testing.T) {
	u := func(s string, methods ...string) spec.Match { return spec.Match{URL: s, Methods: methods} }
	x := index(t, Regexp, false,
		u("http://a/<[a-z]+>"), u("http://a/<[a-c]*>"), // 0 1 tie
		u("http://a/<[0-9]+>"), u("http://a/<[a-z]+>", "POST"), // neither with these
		u("http://a/x/<.*>/p"), u("http://a/x/<.*>/q"), u("http://a/x/<q.*>/p"), // 4 6 tie
		u("http://b/same"), u("http://b/same"), // 7 8 tie
		u("http://b/<(?!x).*>"), u("http://b/<(?!x).*>"), // 9 10 tie
		spec.Match{Hosts: []string{"c"}, Paths: []string{"/y/<.*>"}}, spec.Match{URL: "<https?>://c/y/<[0-9]>"}, // 11 has fewer literals
		spec.Match{Paths: []string{"/z/<.*>"}}, spec.Match{Hosts: []string{"*"}, Paths: []string{"/z/<[a-z]>"}}, // 13 14 tie
		spec.Match{URL: "http://d/", Headers: map[string]string{"X": "1"}}, spec.Match{URL: "http://d/", Headers: map[string]string{"X": "2"}},
	)
	want := []Conflict{{[2]int{0, 1}}, {[2]int{4, 6}}, {[2]int{7, 8}}, {[2]int{9, 10}}, {[2]int{13, 14}}}
	if diff := cmp.Diff(want, x.Conflicts()); diff != "" {
		t.Error(diff)
	}
}

// oracle decides as Oathkeeper would: every pattern is run over the whole URL.
func oracle(t *rapid.T, patterns []string, priorities []int, methods []string, strict bool, method, rawURL string) (rule int, err error, captures []string) {
	best := [4]int{-1 << 31, 0, 0, 0}
	rule = -1
	ambiguous := false
	for i, p := range patterns {
		re, err := compiler.CompileRegex(p, '<', '>')
		if err != nil {
			t.Fatal(err)
		}
		m, err := re.FindStringMatch(rawURL)
		if err != nil {
			t.Fatal(err)
		}
		if m == nil || methods[i] != method {
			continue
		}
		_, rest, _ := strings.Cut(p, "://")
		literal, _, _ := strings.Cut(rest, "<")
		exact := 0
		host, path, _ := strings.Cut(rest, "/")
		if !strings.Contains(path, "<") && !strings.HasSuffix(host, "<.*>") && !strings.HasSuffix(host, "<.+>") && !strings.HasPrefix(host, "<.*>") {
			exact = 1
		}
		level, literals := 0, 0
		for _, c := range []byte(p) {
			switch {
			case c == '<':
				level++
			case c == '>':
				level--
			case level == 0:
				literals++
			}
		}
		rank := [4]int{priorities[i], len(literal), literals, exact}
		switch order := slices.Compare(rank[:], best[:]); {
		case rule < 0, order > 0 && !strict:
			rule, best, ambiguous, captures = i, rank, false, nil
			for _, g := range m.Groups()[1:] {
				captures = append(captures, g.String())
			}
		case order == 0, strict:
			ambiguous = true
		}
	}
	switch {
	case rule < 0:
		return 0, ErrNone, nil
	case ambiguous:
		return 0, &AmbiguousError{}, nil
	}
	return rule, nil, captures
}

func TestTheIndexAnswersLikeAScanOfAllRules(t *testing.T) {
	scheme := rapid.SampledFrom([]string{"http", "https", "<https?>", "http<s?>", "<(http|https)>"})
	host := rapid.SampledFrom([]string{"a.io", "b.a.io", "a.io:81", "<[a-z]+>.a.io", "<(a|b)>.io", "<[a-z.]+>", "<.*>", "a<.*>", "<.+>", "<[^/]+>", `<(a|b\.a)>.io`, "<.*>.io"})
	segment := rapid.SampledFrom([]string{"a", "ab", "b", "<[a-z]+>", "<[^/]+>", "<.*>", "<(a|b)>", "a<.+>", "<[a-b]?>", "<[a-z]{1,2}>b", "<a*><b+>", "<(?!a).*>", "<(ab?)>", "<(a|ab|b)>", "<(b/.*)?>", "a<(/.*)?>", `<\b[a-z]*>`, "<b$>", ""})
	word := rapid.SampledFrom([]string{"a", "b", "ab", "abb", "x", "1", "é", ""})
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 12).Draw(t, "rules")
		strict := rapid.Bool().Draw(t, "strict")
		patterns, priorities, methods := make([]string, n), make([]int, n), make([]string, n)
		var entries []Entry
		compiler := NewCompiler(Regexp)
		for i := range n {
			patterns[i] = scheme.Draw(t, "scheme") + "://" + host.Draw(t, "host") + "/" + strings.Join(rapid.SliceOfN(segment, 0, 3).Draw(t, "path"), "/")
			priorities[i] = rapid.SampledFrom([]int{0, 0, 0, 1}).Draw(t, "priority")
			methods[i] = rapid.SampledFrom([]string{"GET", "GET", "POST"}).Draw(t, "method")
			p, problems := compiler.Compile(spec.Match{URL: patterns[i], Methods: methods[i : i+1]})
			if problems != nil {
				t.Fatal(patterns[i], problems)
			}
			entries = append(entries, Entry{Pattern: p, Priority: priorities[i]})
		}
		x := New(entries, strict)
		for range 8 {
			r := &access.Request{Method: "GET", URL: &url.URL{
				Scheme: rapid.SampledFrom([]string{"http", "https"}).Draw(t, "scheme"),
				Host:   rapid.SampledFrom([]string{"a.io", "b.a.io", "a.io:81", "c.b.a.io", "b.io"}).Draw(t, "host"),
				Path:   "/" + strings.Join(rapid.SliceOfN(word, 0, 4).Draw(t, "path"), "/"),
			}}
			text := r.URL.Scheme + "://" + r.URL.Host + r.URL.Path
			rule, wantErr, captures := oracle(t, patterns, priorities, methods, strict, "GET", text)
			got, err := x.Find(r)
			var a, b *AmbiguousError
			if errors.Is(err, ErrNone) != errors.Is(wantErr, ErrNone) || errors.As(err, &a) != errors.As(wantErr, &b) ||
				err == nil && (got.Rule != rule || !slices.Equal(got.Captures, captures)) {
				t.Fatalf("%s in %q %v: got %v %v, want %d %q %v", text, patterns, priorities, got, err, rule, captures, wantErr)
			}
		}
	})
}

// FuzzPattern compares one pattern through the index with the same pattern run by
// RE2 over the whole URL, captures included, and by Oathkeeper's compiler.
func FuzzPattern(f *testing.F) {
	for _, p := range []string{"http://a/<.*>", "http://a/<[0-9]+>/x", "<https?>://<[a-z]+>.a/<(?!x).*>", "http://a/<x|y>z", "http://a/<$>", "http://<[^/]*>/<[^a]*>a", `http://a/<(?i)k+>`, `http://a/<[\x{0}-\x{fff}]+>/<[^.]?>`,
		"http://<[^/]+>/r/<(items|parts)>", "http://<.*>/r/<(items|parts)>", "http://<.+>/x/<[^/]+>/<.*>", "http://<(b|b.)>a/x<(/.*)?>", "http://<.*>.a/<[0-9]{2}>/<((a)|b)>", "<(http|https)>://<[a-z0-9.-]+>/<(v1|v10)?>x", "http://<.*>/<[a-z]+>x", "http://a/<.+?>/<(a(/b)?)*>"} {
		f.Add(p, "a", "/x")
		f.Add(p, "b.a", "/12/x")
		f.Add(p, "b.a", "/r/r/items")
	}
	f.Fuzz(func(t *testing.T, pattern, host, path string) {
		for _, s := range []string{pattern, host} { // hosts are canonical, and patterns are made so
			if s != strings.ToLower(s) || strings.Contains(s, ":80") || strings.Contains(s, ":443") || strings.Contains(s, ".:") || strings.Contains(s, "./") {
				return
			}
		}
		if strings.ContainsAny(host, "/?#") || host == "" || strings.HasSuffix(host, ".") || !strings.HasPrefix(path, "/") || len(path) > 100 || len(pattern) > 200 || strings.ToValidUTF8(path+host+pattern, "") != path+host+pattern {
			return
		}
		p, problems := NewCompiler(Regexp).Compile(spec.Match{URL: pattern, Methods: []string{"GET"}})
		if problems != nil {
			return
		}
		target := p.targets[0]
		if target.whole != nil && target.whole.backtrack != nil || !strings.Contains(pattern, "/") {
			return // backtracking is compared by the table
		}
		if _, rest, ok := strings.Cut(pattern, "://"); ok && !strings.Contains(rest, "/") {
			return // an empty path is / here
		}
		r := &access.Request{Method: "GET", URL: &url.URL{Scheme: "http", Host: host, Path: path}}
		text := "http://" + host + path
		whole, err := regexp.Compile(`\A(?:` + source(target.tokens) + `)\z`)
		got, findErr := New([]Entry{{Pattern: p}}, false).Find(r)
		if err == nil {
			var want []string
			if groups := whole.FindStringSubmatch(text); len(groups) > 1 {
				want = groups[1:]
			}
			if whole.MatchString(text) != (findErr == nil) || !slices.Equal(got.Captures, want) {
				t.Fatalf("%q against %s: got %q %v, want %q", pattern, text, got.Captures, findErr, want)
			}
		}
		if target.host.re != nil && !target.floating {
			return // hosts ignore case here
		}
		re, err := compiler.CompileRegex(pattern, '<', '>')
		if err != nil {
			return // RE2 knows more classes
		}
		want, err := re.MatchString(text)
		if err != nil {
			return
		}
		if got := findErr == nil; got != want {
			t.Fatalf("%q against %s: got %v, want %v", pattern, text, got, want)
		}
	})
}

// TestAFloatingPatternLooksNearby keeps the time linear in the length of the path:
// what could be tried anew from every slash to the end runs as one regular expression.
func TestAFloatingPatternLooksNearby(t *testing.T) {
	for pattern, want := range map[string]bool{
		"http://<.*>/x": true, "http://<.+>/x/<[^/]+>/y/<(a|b)>": true, "http://<.*>/<[^/]*>/<.*>": true,
		"http://<.*>/<[a-z/]+>x": false, "http://<.*>/<[^x]*>": false, "http://<.*?>/x": false, "http://<[a-z/]*>/x": false, "http://<.*>.a.io/x": false,
	} {
		p, problems := NewCompiler(Regexp).Compile(spec.Match{URL: pattern, Methods: []string{"GET"}})
		if problems != nil {
			t.Fatal(problems)
		}
		if got := p.targets[0]; got.floating != want || (got.whole == nil) != want {
			t.Errorf("%s: floating %v, want %v", pattern, got.floating, want)
		}
	}
}

// TestCommonPatternsNeedNoEngine keeps the patterns that most rules consist of off
// the regular expression engines.
func TestCommonPatternsNeedNoEngine(t *testing.T) {
	for _, pattern := range []string{
		"http://a/x", "http://<[^/]+>/r/<(items|parts)>", "http://<.*>/r/<(items|parts)>", "<https?>://<.+>/r/<[0-9]+>/x/<.*>",
		"<(http|https)>://<[a-z0-9-]+>.a.io/<(v1|v2)>/<[^/]+>", "http://<[^/]*>.a.io/r<(/.*)?>", "http://<(www|api)>.a.io:81/<[a-f0-9-]{36}>", "http://a/<.+>/x",
	} {
		p, problems := NewCompiler(Regexp).Compile(spec.Match{URL: pattern, Methods: []string{"GET"}})
		if problems != nil {
			t.Fatal(problems)
		}
		g := p.targets[0]
		if g.whole != nil || g.schemes.others.engine != nil || g.rest != nil && g.rest.engine != nil || g.host.re != nil && g.host.re.engine != nil {
			t.Errorf("%s needs an engine", pattern)
		}
	}
}

// FuzzGlob compares the translation with the library whose syntax it is.
func FuzzGlob(f *testing.F) {
	for _, p := range []string{"*", "**", "?", "a*b", "{a,b*}c", "[a-z]", "[!a-c]x", "[abc]", `\*`, "{,a}", "{{a,b},c}", `[\]]`, "[!-a]", "a,b"} {
		f.Add(p, "a.b")
		f.Add(p, "abc")
	}
	f.Fuzz(func(t *testing.T, pattern, text string) {
		want, err := glob.Compile(pattern, '.', '/')
		expr, translateErr := fromGlob(pattern)
		if (err == nil) != (translateErr == nil) {
			t.Fatalf("%q: %v, translated %v", pattern, err, translateErr)
		}
		if err != nil || len(pattern) > 40 || len(text) > 40 || strings.ToValidUTF8(text, "") != text {
			return
		}
		e, _, err := newEngine([]token{{text: expr, expr: true}})
		if err != nil {
			t.Fatalf("%q became %q: %v", pattern, expr, err)
		}
		if got, _ := e.match(text); got != want.Match(text) {
			t.Fatalf("%q (%s) against %q: got %v, want %v", pattern, expr, text, got, !got)
		}
	})
}

func TestAMatchAllocatesNothing(t *testing.T) {
	x := index(t, Regexp, false,
		spec.Match{URL: "http://api.example/literal", Methods: []string{"GET"}},
		spec.Match{URL: "http://<[^/]+>/users/<[0-9]+>/posts/<(items|parts)>", Methods: []string{"GET"}},
		spec.Match{URL: "http://<.*>/floating/<(items|parts)>", Methods: []string{"GET"}})
	for want, url := range []string{"http://api.example/literal", "http://api.example/users/12/posts/parts", "http://api.example/floating/items"} {
		r := request(t, "GET", url)
		if got, err := x.Match(r); err != nil || got != want {
			t.Fatalf("%s: got %d, %v, want %d", url, got, err, want)
		}
		if n := testing.AllocsPerRun(100, func() { _, _ = x.Match(r) }); n != 0 {
			t.Errorf("%s: %v allocations", url, n)
		}
	}
}

// BenchmarkFind matches requests that are spread over 64 rules of n (hot), as
// caches see it when some routes get most of the traffic, and over all (cold).
func BenchmarkFind(b *testing.B) {
	for _, kind := range []struct{ name, pattern, host, path string }{
		{"literal", "http://api.example.com:8080/svc%d/v1/users", "api.example.com:8080", "/svc%d/v1/users"},
		{"prefix", "http://api.example.com:8080/svc%d/<.*>", "api.example.com:8080", "/svc%d/v1/users/42"},
		{"sequence", "http://api.example.com:8080/svc%d/users/<[0-9]+>/posts/<[^/]+>", "api.example.com:8080", "/svc%d/users/4711/posts/abc"},
		{"regexp", "http://api.example.com:8080/svc%d/<(users|posts)/[0-9]+>", "api.example.com:8080", "/svc%d/users/42"},
		{"host", "http://<[a-z]+>.svc%d.example.com/users/<[0-9]+>", "api.svc%d.example.com", "/users/42"},
		{"anyhost", "http://<[^/]+>/resources/%d/<(items|parts)>", "api.example.com:8080", "/resources/%d/parts"},
		{"floating", "http://<.*>/resources/%d/<(items|parts)>", "api.example.com:8080", "/resources/%d/parts"},
	} {
		for _, n := range []int{10, 1000, 10000} {
			matches := make([]spec.Match, n)
			hosts, paths := make([]string, n), make([]string, n)
			for i := range n {
				number := strconv.Itoa(i)
				matches[i] = spec.Match{URL: strings.Replace(kind.pattern, "%d", number, 1), Methods: []string{"GET"}}
				hosts[i], paths[i] = strings.Replace(kind.host, "%d", number, 1), strings.Replace(kind.path, "%d", number, 1)
			}
			x := index(b, Regexp, false, matches...)
			r := request(b, "GET", "http://h/")
			for name, spread := range map[string]int{"hot": min(n, 64), "cold": n} {
				b.Run(fmt.Sprintf("%s/%d/%s", kind.name, n, name), func(b *testing.B) {
					b.ReportAllocs()
					i := 0
					for b.Loop() {
						i += 7919
						want := i % spread * (n / spread)
						r.URL.Host, r.URL.Path = hosts[want], paths[want]
						if got, err := x.Find(r); err != nil || got.Rule != want {
							b.Fatal(got, err, want)
						}
					}
				})
				b.Run(fmt.Sprintf("%s/%d/%s/match", kind.name, n, name), func(b *testing.B) {
					b.ReportAllocs()
					i := 0
					for b.Loop() {
						i += 7919
						want := i % spread * (n / spread)
						r.URL.Host, r.URL.Path = hosts[want], paths[want]
						if got, err := x.Match(r); err != nil || got != want {
							b.Fatal(got, err, want)
						}
					}
				})
			}
		}
	}
}
