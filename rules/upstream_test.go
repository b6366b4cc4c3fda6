package rules

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/rules/spec"
)

// upstreamRule reads a rule for every path below http://a/ with the given upstream.
func upstreamRule(t *testing.T, pattern, upstream string) spec.Rule {
	t.Helper()
	defs, err := spec.Decode("r.json", []byte(`{"id":"r","match":{"url":"`+pattern+`","methods":["GET"]},
		"authenticators":[{"handler":"x"}],"authorizer":{"handler":"x"},"upstream":`+upstream+`}`))
	if err != nil {
		t.Fatal(err)
	}
	return defs[0]
}

func TestFaultsOfUpstreamsNameTheirField(t *testing.T) {
	for upstream, want := range map[string]string{
		`{"url":"http://b","urls":["http://c"]}`:                                      "/upstream: url, urls and targets exclude each other",
		`{"urls":["http://b","http://b"]}`:                                            `/upstream/urls/1: "http://b" is there twice`,
		`{"url":"unix://x"}`:                                                          `/upstream/url: "unix://x" must be unix:// and the absolute path of a socket`,
		`{"url":"http://${1}.b"}`:                                                     "/upstream/allowed_hosts: must be set when url has capture groups",
		`{"url":"http://${2}.b.c","allowed_hosts":["*.b.c"]}`:                         "/upstream/url: ${2} is not one of the 1 capture groups",
		`{"url":"http://b:${1}","allowed_hosts":["b"]}`:                               "/upstream/url: must have a port of digits, or none: capture groups may stand in host and path only",
		`{"url":"http://${1}.b.c","allowed_hosts":["*"]}`:                             `/upstream/allowed_hosts/0: "*" must be a host name in lower case, or *. and one with at least two labels`,
		`{"url":"http://b","rewrite":{"path":"x"}}`:                                   "/upstream/rewrite/path: must begin with /",
		`{"url":"http://b","rewrite":{"path":"/../x"}}`:                               `/upstream/rewrite/path: "/../x" is not a path in encoded form without dot segments, query and fragment`,
		`{"url":"http://b","rewrite":{"path":"/x"},"strip_path":"/a"}`:                "/upstream/rewrite: cannot be combined with strip_path",
		`{"url":"http://b","timeouts":{"idle":"5"}}`:                                  `/upstream/timeouts/idle: "5" is not a positive duration such as 5s`,
		`{"url":"http://b","retry":{"on":["teapot"]}}`:                                `/upstream/retry/on/0: must be connect_failure, reset or a status from 400 to 599, not "teapot"`,
		`{"url":"http://b","retry":{"budget":2}}`:                                     "/upstream/retry/budget: must be a number from 0 to 1",
		`{"url":"http://b","balance":{"policy":"hash"}}`:                              "/upstream/balance/key: must be subject, client, header:NAME or cookie:NAME",
		`{"url":"http://b","health":{"active":{"path":"x"}}}`:                         "/upstream/health/active/path: must be an absolute path such as /healthz",
		`{"url":"http://b","tls":{"ca_file":"x"}}`:                                    "/upstream/tls: is for https upstreams",
		`{"url":"https://b","tls":{"cert_file":"x"}}`:                                 "/upstream/tls: needs both cert_file and key_file",
		`{"url":"https://b","tls":{"insecure_skip_verify":true}}`:                     "/upstream/tls/insecure_skip_verify: unknown field",
		`{"url":"http://b","circuit_breaker":{"max_pending":1}}`:                      "/upstream/circuit_breaker/max_pending: needs max_requests",
		`{"url":"http://${1}.b.c","allowed_hosts":["*.b.c"],"health":{"passive":{}}}`: "/upstream/health: needs addresses that are known; url has capture groups",
	} {
		c, _ := compiler()
		set, err := c.Compile(spec.ListOf(upstreamRule(t, "http://a/<.*>", upstream)), nil)
		if err != nil {
			t.Fatal(err)
		}
		if f := set.Faults(); len(f) != 1 || !strings.HasSuffix(f[0].Error(), want) || set.Refused() != 1 {
			t.Errorf("%s: got  %v\nwant %s", upstream, f, want)
		}
	}
}

func TestAPlainUpstreamHasNoRoute(t *testing.T) {
	for upstream, plain := range map[string]bool{
		`{"url":"http://b","strip_path":"/x","timeout":"1s","preserve_host":true}`: true,
		`{"urls":["http://b"]}`:                      true,
		`{"urls":["http://b","http://c"]}`:           false,
		`{"url":"unix:///x"}`:                        false,
		`{"url":"http://b","retry":{"attempts":2}}`:  false,
		`{"url":"http://b","rewrite":{"path":"/x"}}`: true,
	} {
		e := engine(t, upstreamRule(t, "http://a/<.*>", upstream))
		if d := e.Decide(t.Context(), get(t, "http://a/y")); !d.Allow || (d.Upstream.Route == nil) != plain {
			t.Errorf("%s: %+v", upstream, d)
		}
	}
}

func TestEqualRoutesAreOneAndSurviveAReload(t *testing.T) {
	c, _ := compiler()
	one := upstreamRule(t, "http://a/<.*>", `{"urls":["http://b","http://c"]}`)
	two := upstreamRule(t, "http://b/<.*>", `{"urls":["http://b","http://c"],"strip_path":"/x"}`)
	two.ID = "two"
	first, err := c.Compile(spec.ListOf(one, two), nil)
	if err != nil || len(first.Routes()) != 1 {
		t.Fatalf("got %d routes, %v", len(first.Routes()), err)
	}
	other := upstreamRule(t, "http://c/<.*>", `{"urls":["http://b","http://d"]}`)
	other.ID = "other"
	second, err := c.Compile(spec.ListOf(two, other), first)
	if err != nil || len(second.Routes()) != 2 {
		t.Fatalf("got %d routes, %v", len(second.Routes()), err)
	}
	if r := second.Routes(); r[0] != first.Routes()[0] && r[1] != first.Routes()[0] {
		t.Error("the route that stayed was made anew")
	}
	third, err := c.Compile(spec.ListOf(other), second)
	if err != nil || len(third.Routes()) != 1 {
		t.Errorf("got %d routes, %v", len(third.Routes()), err)
	}
}

// resolved is where a request goes, or why it is refused.
func resolved(d access.Decision) string {
	if !d.Allow {
		return d.Reason
	}
	return d.Upstream.URL.String() + " " + d.Upstream.Rewritten
}

func TestAnUpstreamHostFromCapturesIsOneThatIsAllowed(t *testing.T) {
	e := engine(t, upstreamRule(t, "http://a/<[^/]+>/<.*>", `{"url":"http://${1}.svc.local:8080/base/${2}","allowed_hosts":["*.svc.local"]}`))
	plain := engine(t, upstreamRule(t, "http://a/<[^/]+>/<.*>", `{"url":"http://${1}","allowed_hosts":["*.svc.local","one.example"]}`))
	got := map[string]string{}
	for _, path := range []string{"/Orders/x", "/orders/a%3Bb/c", "/a.b/x", "/evil%40host/x", "/a:80/x", "/169.254.169.254%23/x", "/-/x", "/.../x"} {
		got[path] = resolved(e.Decide(t.Context(), get(t, "http://a"+path)))
	}
	want := map[string]string{
		"/Orders/x": "http://orders.svc.local:8080/base/x ", "/orders/a%3Bb/c": "http://orders.svc.local:8080/base/a%3Bb/c ", "/a.b/x": "http://a.b.svc.local:8080/base/x ",
		"/evil%40host/x": "upstream_not_allowed", "/a:80/x": "upstream_not_allowed", "/169.254.169.254%23/x": "upstream_not_allowed",
		"/-/x": "upstream_not_allowed", "/.../x": "upstream_not_allowed",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got): %s", diff)
	}
	for host, want := range map[string]string{"one.example": "http://one.example ", "x.svc.local": "http://x.svc.local ", "svc.local": "upstream_not_allowed",
		"xsvc.local": "upstream_not_allowed", "two.one.example": "upstream_not_allowed", "127.0.0.1": "upstream_not_allowed"} {
		if got := resolved(plain.Decide(t.Context(), get(t, "http://a/"+host+"/"))); got != want {
			t.Errorf("%s: got %s, want %s", host, got, want)
		}
	}
}

func TestARewrittenPathCannotLeaveItsPlace(t *testing.T) {
	for _, c := range []struct{ pattern, rewrite, path, want string }{
		{"http://a/v1/<.*>", `{"path":"/v2/${1}"}`, "/v1/x/y", "http://b /v2/x/y"},
		{"http://a/v1<.*>", `{"path":"/v2/${1}"}`, "/v1/x", "http://b /v2/x"},
		{"http://a/v1/<.*>", `{"path":"/v2/${1}"}`, "/v1/a%3Bb%3Fc%23d%25", "http://b /v2/a%3Bb%3Fc%23d%25"},
		{"http://a/x<.*>", `{"path":"/${1}./admin"}`, "/x.", "rewrite_refused"},
		{"http://a/x<.*>", `{"path":"/${1}./admin"}`, "/x", "rewrite_refused"},
		{"http://a/x<.*>", `{"path":"/${1}.%3Bx/admin"}`, "/x.", "rewrite_refused"},
		{"http://a/<.*>", `{"regex":"/old/([0-9]+)","path":"/new/${1}"}`, "/old/7", "http://b /new/7"},
		{"http://a/<.*>", `{"regex":"/old/([0-9]+)","path":"/new/${1}"}`, "/very/old/7", "http://b "},
	} {
		e := engine(t, upstreamRule(t, c.pattern, `{"url":"http://b","rewrite":`+c.rewrite+`}`))
		if got := resolved(e.Decide(t.Context(), get(t, "http://a"+c.path))); got != c.want {
			t.Errorf("%s %s: got %s, want %s", c.rewrite, c.path, got, c.want)
		}
	}
}
