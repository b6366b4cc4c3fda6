package cors

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func policy(t testing.TB, o Options) *Policy {
	t.Helper()
	p, problems := New(o)
	if problems != nil {
		t.Fatal(problems)
	}
	return p
}

func TestAnOriginMatchesAsAWholeOrWithItsOneWildcard(t *testing.T) {
	for _, c := range []struct {
		allowed, sent, want string
	}{
		{"https://app.example", "https://app.example", "https://app.example"},
		{"https://App.Example", "https://app.example", "https://app.example"},
		{"https://app.example", "http://app.example", ""},
		{"https://app.example", "https://app.example:8443", ""},
		{"https://app.example", "https://app.example.evil", ""},
		{"https://app.example", "https://evil.app.example", ""},
		{"https://app.example:8443", "https://app.example:8443", "https://app.example:8443"},
		{"https://*.example", "https://a.example", "https://a.example"},
		{"https://*.example", "https://a.b.example", "https://a.b.example"},
		{"https://*.example", "https://example", ""},
		{"https://*.example", "https://.example", ""},
		{"https://*.example", "https://evil/.example", ""},
		{"https://*.example", "https://evil:1.example", ""},
		{"https://*.example", "https://evil@a.example", ""},
		{"https://*.example", "http://a.example", ""},
		{"https://*.example", "https://a.example.evil", ""},
		{"https://*.example:8443", "https://a.example:8443", "https://a.example:8443"},
		{"http://localhost:*", "http://localhost:3000", "http://localhost:3000"},
		{"http://localhost:*", "http://localhost:", ""},
		{"http://localhost:*", "http://localhost:3000.evil", ""},
		{"*", "https://any.example", "*"},
		{"*", "null", "*"},
		{"https://app.example", "null", ""},
		{"https://app.example", "", ""},
	} {
		p := policy(t, Options{AllowedOrigins: []string{c.allowed}})
		if got := p.grant([]string{c.sent}); got != c.want {
			t.Errorf("allowed %s, sent %s: got %q, want %q", c.allowed, c.sent, got, c.want)
		}
	}
	if got := policy(t, Options{}).grant([]string{"https://a", "https://b"}); got != "" {
		t.Errorf("two Origin fields: got %q", got)
	}
}

func TestAPolicyThatWouldAllowStrangersIsAFault(t *testing.T) {
	for _, c := range []struct {
		name string
		o    Options
		want []string
	}{
		{"credentials for everybody", Options{AllowCredentials: true}, []string{"/allow_credentials"}},
		{"credentials for everybody beside a name", Options{AllowedOrigins: []string{"https://a.example", "*"}, AllowCredentials: true}, []string{"/allow_credentials"}},
		{"a wildcard inside a label", Options{AllowedOrigins: []string{"https://*example.com"}}, []string{"/allowed_origins/0"}},
		{"a wildcard at the end of a name", Options{AllowedOrigins: []string{"https://ok.example", "https://example*"}}, []string{"/allowed_origins/1"}},
		{"two wildcards", Options{AllowedOrigins: []string{"https://*.a.*"}}, []string{"/allowed_origins/0"}},
		{"any scheme", Options{AllowedOrigins: []string{"*://a.example"}}, []string{"/allowed_origins/0"}},
		{"null", Options{AllowedOrigins: []string{"null"}}, []string{"/allowed_origins/0"}},
		{"a path", Options{AllowedOrigins: []string{"https://a.example/"}}, []string{"/allowed_origins/0"}},
		{"no scheme", Options{AllowedOrigins: []string{"a.example"}}, []string{"/allowed_origins/0"}},
		{"a default port", Options{AllowedOrigins: []string{"https://a.example:443"}}, []string{"/allowed_origins/0"}},
		{"user information", Options{AllowedOrigins: []string{"https://u@a.example"}}, []string{"/allowed_origins/0"}},
		{"no method", Options{AllowedMethods: []string{"GET POST"}}, []string{"/allowed_methods/0"}},
		{"no field", Options{AllowedHeaders: []string{"X:Y"}, ExposedHeaders: []string{""}}, []string{"/allowed_headers/0", "/exposed_headers/0"}},
		{"all fields with credentials", Options{AllowedOrigins: []string{"https://a.example"}, ExposedHeaders: []string{"*"}, AllowCredentials: true}, []string{"/exposed_headers/0"}},
	} {
		_, problems := New(c.o)
		var got []string
		for _, p := range problems {
			got = append(got, p.Pointer)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got)\n%s", c.name, diff)
		}
	}
}

func TestPreflights(t *testing.T) {
	named := Options{AllowedOrigins: []string{"https://a.example"}, AllowCredentials: true, MaxAge: 600}
	vary := "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"
	for _, c := range []struct {
		name    string
		o       Options
		request http.Header
		reason  string
		want    http.Header
	}{
		{
			"granted", named,
			http.Header{"Origin": {"https://a.example"}, "Access-Control-Request-Method": {"PUT"}, "Access-Control-Request-Headers": {"authorization, Content-Type"}, "Access-Control-Request-Private-Network": {"true"}},
			"", http.Header{
				"Access-Control-Allow-Origin": {"https://a.example"}, "Access-Control-Allow-Methods": {"PUT"}, "Access-Control-Allow-Headers": {"authorization, content-type"},
				"Access-Control-Allow-Credentials": {"true"}, "Access-Control-Max-Age": {"600"}, "Vary": {vary},
			},
		},
		{
			"everybody, never with credentials", Options{MaxAge: -1},
			http.Header{"Origin": {"https://b.example"}, "Access-Control-Request-Method": {"GET"}},
			"", http.Header{"Access-Control-Allow-Origin": {"*"}, "Access-Control-Allow-Methods": {"GET"}, "Access-Control-Max-Age": {"0"}, "Vary": {vary}},
		},
		{
			"any method and field", Options{AllowedMethods: []string{"*"}, AllowedHeaders: []string{"*"}},
			http.Header{"Origin": {"https://b.example"}, "Access-Control-Request-Method": {"PURGE"}, "Access-Control-Request-Headers": {"x-a", "x-b,,x-c"}},
			"", http.Header{"Access-Control-Allow-Origin": {"*"}, "Access-Control-Allow-Methods": {"PURGE"}, "Access-Control-Allow-Headers": {"x-a, x-b, x-c"}, "Vary": {vary}},
		},
		{"another origin", named, http.Header{"Origin": {"https://b.example"}, "Access-Control-Request-Method": {"PUT"}}, ReasonOrigin, http.Header{"Vary": {vary}}},
		{"another method", named, http.Header{"Origin": {"https://a.example"}, "Access-Control-Request-Method": {"PURGE"}}, ReasonMethod, http.Header{"Vary": {vary}}},
		{"no method at all", Options{AllowedMethods: []string{"*"}}, http.Header{"Origin": {"https://a.example"}, "Access-Control-Request-Method": {"A\tB"}}, ReasonMethod, http.Header{"Vary": {vary}}},
		{"another field", named, http.Header{"Origin": {"https://a.example"}, "Access-Control-Request-Method": {"PUT"}, "Access-Control-Request-Headers": {"x-other"}}, ReasonHeader, http.Header{"Vary": {vary}}},
		{"no field at all", Options{AllowedHeaders: []string{"*"}}, http.Header{"Origin": {"https://a.example"}, "Access-Control-Request-Method": {"PUT"}, "Access-Control-Request-Headers": {"x y"}}, ReasonHeader, http.Header{"Vary": {vary}}},
	} {
		answer := http.Header{}
		if reason := policy(t, c.o).Preflight(c.request, answer); reason != c.reason {
			t.Errorf("%s: got reason %q, want %q", c.name, reason, c.reason)
		}
		if diff := cmp.Diff(c.want, answer); diff != "" {
			t.Errorf("%s (-want +got)\n%s", c.name, diff)
		}
	}
}

func TestThePolicyReplacesTheUpstreamsFields(t *testing.T) {
	upstream := http.Header{
		"Access-Control-Allow-Origin": {"*"}, "Access-Control-Allow-Credentials": {"true"}, "Access-Control-Allow-Private-Network": {"true"},
		"Vary": {"Accept-Encoding"}, "Content-Type": {"text/plain"},
	}
	named := policy(t, Options{AllowedOrigins: []string{"https://a.example"}, AllowCredentials: true, ExposedHeaders: []string{"X-Total", "Link"}})
	for _, c := range []struct {
		name   string
		policy *Policy
		origin []string
		want   http.Header
	}{
		{"an allowed origin", named, []string{"https://a.example"}, http.Header{
			"Access-Control-Allow-Origin": {"https://a.example"}, "Access-Control-Allow-Credentials": {"true"}, "Access-Control-Expose-Headers": {"X-Total, Link"},
			"Vary": {"Accept-Encoding", "Origin"}, "Content-Type": {"text/plain"},
		}},
		{"another origin", named, []string{"https://b.example"}, http.Header{"Vary": {"Accept-Encoding", "Origin"}, "Content-Type": {"text/plain"}}},
		{"no origin", named, nil, http.Header{"Vary": {"Accept-Encoding", "Origin"}, "Content-Type": {"text/plain"}}},
		{"no policy", nil, []string{"https://a.example"}, upstream},
		{"a policy that is off", &Policy{}, []string{"https://a.example"}, upstream},
	} {
		got := upstream.Clone()
		c.policy.Answer(c.origin, got)
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got)\n%s", c.name, diff)
		}
	}
	h := http.Header{"Vary": {"accept, origin"}}
	named.Answer(nil, h)
	if diff := cmp.Diff(http.Header{"Vary": {"accept, origin"}}, h); diff != "" {
		t.Errorf("Vary is not repeated (-want +got)\n%s", diff)
	}
}

func FuzzOrigin(f *testing.F) {
	for _, s := range []string{"https://a.example", "https://*.example", "*", "null", "https://a.example:1", "https://evil/.example"} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, allowed, sent string) {
		p, problems := New(Options{AllowedOrigins: []string{allowed}})
		if problems != nil || allowed == "*" {
			return
		}
		if granted := p.grant([]string{sent}); granted != "" && granted != sent {
			t.Errorf("allowed %q, sent %q: granted %q", allowed, sent, granted)
		}
	})
}
