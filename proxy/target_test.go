package proxy

import (
	"net/url"
	"testing"

	"github.com/gatewarden/gatewarden/access"
)

func TestThePathIsJoinedToTheUpstreams(t *testing.T) {
	for _, c := range []struct{ upstream, strip, path, want string }{
		{"http://api", "", "/users/1", "http://api/users/1"},
		{"http://api/", "", "/users/1", "http://api/users/1"},
		{"http://api", "", "/", "http://api/"},
		{"http://api/v1", "", "/users/1", "http://api/v1/users/1"},
		{"http://api/v1/", "", "/users/", "http://api/v1/users/"},
		{"http://api/v1", "", "/", "http://api/v1/"},
		{"http://api", "api", "/api/users", "http://api/users"},
		{"http://api", "/api/", "/api/users", "http://api/users"},
		{"http://api", "/api", "/api", "http://api/"},
		{"http://api", "/api", "/api/", "http://api/"},
		{"http://api/v1", "/api", "/api", "http://api/v1"},
		{"http://api/api", "/api", "/api/v1", "http://api/api/v1"},
		{"http://api", "/api", "/apiary", "http://api/apiary"},
		{"http://api", "/api", "/v1/api/x", "http://api/v1/api/x"},
		{"http://api", "/a/b", "/a/b/c%3Bd", "http://api/c%3Bd"},
		{"http://api", "/a/b", "/a/b", "http://api/"},
		{"http://api", "/a b", "/a%20b/c%3Bd", "http://api/c%3Bd"},
		{"http://api", "/a(b", "/a%28b/c", "http://api/c"},
		{"http://api/x%3By", "", "/a", "http://api/x%3By/a"},
		{"http://api/v1", "/a%3Bb", "/a%3Bb", "http://api/v1/a%3Bb"},
		{"http://api/v1", "/a;b", "/a%3Bb", "http://api/v1"},
		{"http://api", "", "/x?a=%zz;b&c", "http://api/x?a=%zz;b&c"},
		{"http://api", "", "/x?", "http://api/x?"},
		{"h2c://api:9", "", "/x", "http://api:9/x"},
	} {
		up, err := url.Parse(c.upstream)
		if err != nil {
			t.Fatal(err)
		}
		in, err := url.ParseRequestURI(c.path)
		if err != nil {
			t.Fatal(err)
		}
		got := target(&access.Upstream{URL: up, StripPath: c.strip}, in)
		if got.String() != c.want {
			t.Errorf("%s strip %q, %s: got %s, want %s", c.upstream, c.strip, c.path, &got, c.want)
		}
	}
}
