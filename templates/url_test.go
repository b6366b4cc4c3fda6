package templates

import (
	"net/url"
	"strings"
	"testing"

	"github.com/gatewarden/gatewarden/fault"
)

// hostileValues try to leave the place that they are put into.
var hostileValues = []string{
	"", ".", "..", "../admin", "..%2fadmin", "a/b", "a//b", "/", "//evil.example", `\`, `..\admin`, "a?x=1", "a#f", "a&role=admin", "a=b", "a;b", "a+b", "a b",
	"%", "%2e", "%2e%2e", "%2F", "%00", "\x00", "\r\nHost: evil", "\t", "@evil.example", ":8080", "http://evil.example/", "é", "\xff\xfe", "\u2028", "a,b", "*", "'\"<>{}|^`",
	"{{ .Subject }}", "\x7f", "\xffmarker",
}

func TestAValueStaysInItsPathSegmentAndItsQueryValue(t *testing.T) {
	tmpl, err := CompileURL("remote", "https://authz.example/v1/{{ print .Subject }}/check?who={{ .Subject }}&up={{ upper .Subject }}&fixed=1")
	if err != nil {
		t.Fatal(err)
	}
	for _, value := range hostileValues {
		in := input()
		in.Subject.ID = value
		u, err := tmpl.Render(in, nil)
		if value == "" || value == "." || value == ".." {
			if !fault.Is(err, fault.Invalid) {
				t.Errorf("%q: got %v, %v; want fault.Invalid", value, u, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", value, err)
			continue
		}
		segments := strings.Split(u.EscapedPath(), "/")
		if u.Scheme+u.Host != "httpsauthz.example" || len(segments) != 4 || segments[1] != "v1" || segments[3] != "check" {
			t.Errorf("%q: the URL is %s", value, u)
			continue
		}
		if got, err := url.PathUnescape(segments[2]); err != nil || got != value {
			t.Errorf("%q: the segment is %q, %v", value, got, err)
		}
		query, err := url.ParseQuery(u.RawQuery)
		if err != nil || len(query) != 3 || query.Get("who") != value || query.Get("up") != strings.ToUpper(value) || query.Get("fixed") != "1" {
			t.Errorf("%q: the query is %q, %v", value, query, err)
		}
	}
}

func TestNoValueMakesADotSegmentOrPartOfAnEscape(t *testing.T) {
	for _, c := range []struct{ template, value string }{
		{"https://h/.{{ .Subject }}/x", "."},
		{"https://h/%2e{{ .Subject }}/x", "."},
		{"https://h/a/{{ .Subject }}{{ .Subject }}", "."},
		{"https://h/a/{{ .Subject }}", ".."},
		{"https://h/a/{{ .Subject }}?q", ".."},
		{"https://h/a/{{ .Subject | lower }}/", ""},
		{"https://h/%{{ .Subject }}", "2e"},
		{"https://h/%2{{ .Subject }}", "e"},
		{"https://h/a?x=%{{ .Subject }}", "26"},
	} {
		tmpl, err := CompileURL("f", c.template)
		if err != nil {
			continue // refused even earlier
		}
		in := input()
		in.Subject.ID = c.value
		if u, err := tmpl.Render(in, nil); err == nil {
			t.Errorf("%s with %q renders %s", c.template, c.value, u)
		}
	}
}

func TestTheHostOfAURLIsNoTemplate(t *testing.T) {
	for _, text := range []string{
		"", "{{ .Subject }}", "https://{{ .Subject }}/", "https://h{{ .Subject }}/", "https://h:{{ .Subject }}/", "https://h.example{{ .Subject }}",
		"//h/x", "/x", "ftp://h/", "https:///x", "https://u:p@h/", "https://h/#f", "https://h/#{{ .Subject }}", "h", "https://h/{{", "https://h/{{ .Nope }}",
	} {
		if tmpl, err := CompileURL("remote", text); err == nil || !strings.HasPrefix(err.Error(), "remote:") {
			t.Errorf("%q: got %v, %v; want an error that names the key", text, tmpl, err)
		}
	}
	for _, text := range []string{"https://h", "http://[::1]:8080/a?b=c", "https://h?x={{ .Subject }}"} {
		tmpl, err := CompileURL("remote", text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if u, err := tmpl.Render(input(), nil); err != nil || u.String() != strings.ReplaceAll(text, "{{ .Subject }}", "alice") {
			t.Errorf("%s: got %v, %v", text, u, err)
		}
	}
}

func TestAValueCannotLeaveItsName(t *testing.T) {
	tmpl, err := CompileName("object", "article:{{ print .Subject }}")
	if err != nil {
		t.Fatal(err)
	}
	for _, value := range append(hostileValues, "a:b", "team:x#member", "#", " a", "a\u00a0b") {
		in := input()
		in.Subject.ID = value
		got, err := tmpl.Render(in, nil)
		refused := value == "" || value == "*" || strings.ContainsAny(value, ":# \t\r\n\x00\x7f\u00a0\u2028\xff\xfe") || strings.ContainsRune(value, '\uFFFD')
		if refused != fault.Is(err, fault.Invalid) || !refused && got != "article:"+value {
			t.Errorf("%q: got %q, %v", value, got, err)
		}
	}
}

func FuzzAURLStaysAtItsHostAndInItsSegment(f *testing.F) {
	for _, v := range hostileValues {
		f.Add(v)
	}
	tmpl, err := CompileURL("f", "https://h.example/a/{{ .Subject }}/b?x={{ .Subject }}")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, value string) {
		in := input()
		in.Subject.ID = value
		u, err := tmpl.Render(in, nil)
		if err != nil {
			return
		}
		query, queryErr := url.ParseQuery(u.RawQuery)
		if clean := u.JoinPath(); u.Host != "h.example" || u.Path != "/a/"+value+"/b" || clean.EscapedPath() != u.EscapedPath() ||
			strings.Count(u.EscapedPath(), "/") != 3 || queryErr != nil || len(query) != 1 || query.Get("x") != value {
			t.Errorf("%q renders %s", value, u)
		}
	})
}
