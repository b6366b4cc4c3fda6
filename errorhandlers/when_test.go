package errorhandlers

import (
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"testing"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/handler"
)

func TestWhenChoosesAsOathkeeperDoes(t *testing.T) {
	unauthorized, forbidden := fault.New(fault.Unauthenticated, "", ""), fault.New(fault.Forbidden, "", "")
	for _, c := range []struct {
		when   string
		err    error
		client string
		header http.Header
		want   bool
	}{
		{when: `[]`, err: forbidden, want: true},
		{when: `[{}]`, err: forbidden, want: true},
		{when: `[{"error":["unauthorized"]}]`, err: unauthorized, want: true},
		{when: `[{"error":["unauthorized"]}]`, err: forbidden},
		{when: `[{"error":["unauthorized","forbidden"]}]`, err: forbidden, want: true},
		{when: `[{"error":["unauthorized"]},{"error":["forbidden"]}]`, err: forbidden, want: true},
		{when: `[{"error":["internal_server_error"]}]`, err: errors.New("x"), want: true},
		{when: `[{"error":["not_found"]}]`, err: errors.New("x")},
		{when: `[{"error":["request_uri_too_long"]}]`, err: fault.New(fault.TooLong, "", ""), want: true},
		{when: `[{"error":["too_many_requests"]}]`, err: fault.New(fault.RateLimited, "", ""), want: true},

		{when: `[{"error":["forbidden"],"request":{"header":{"accept":["text/html"]}}}]`, err: forbidden, header: http.Header{"Accept": {"text/html"}}, want: true},
		{when: `[{"error":["unauthorized"],"request":{"header":{"accept":["text/html"]}}}]`, err: forbidden, header: http.Header{"Accept": {"text/html"}}},
		{when: `[{"request":{"header":{"accept":["text/html"]}}}]`, header: http.Header{"Accept": {"application/json;q=0.9, Text/HTML;q=0.8"}}, want: true},
		{when: `[{"request":{"header":{"accept":["text/html"]}}}]`, header: http.Header{"Accept": {"application/json", "text/html"}}, want: true},
		{when: `[{"request":{"header":{"accept":["text/html"]}}}]`, header: http.Header{"Accept": {"text/html;q=0"}}},
		{when: `[{"request":{"header":{"accept":["text/html"]}}}]`, header: http.Header{"Accept": {"*/*"}}},
		{when: `[{"request":{"header":{"accept":["text/html"]}}}]`, header: http.Header{"Accept": {"text/*"}}},
		{when: `[{"request":{"header":{"accept":["text/*"]}}}]`, header: http.Header{"Accept": {"text/html"}}, want: true},
		{when: `[{"request":{"header":{"accept":["text/*"]}}}]`, header: http.Header{"Accept": {"text/*"}}, want: true},
		{when: `[{"request":{"header":{"accept":["text/*"]}}}]`, header: http.Header{"Accept": {"textual/html"}}},
		{when: `[{"request":{"header":{"accept":["*/*"]}}}]`, header: http.Header{"Accept": {"image/png"}}, want: true},
		{when: `[{"request":{"header":{"accept":["*/*"]}}}]`, header: http.Header{"Accept": {"*/*"}}, want: true},
		{when: `[{"request":{"header":{"accept":["text/html"]}}}]`},
		{when: `[{"request":{"header":{"accept":["application/octet-stream"]}}}]`, want: true},
		{when: `[{"request":{"header":{"content_type":["application/json"]}}}]`, header: http.Header{"Content-Type": {"application/json; charset=utf-8"}}, want: true},
		{when: `[{"request":{"header":{"content_type":["application/json"]}}}]`, header: http.Header{"Content-Type": {";broken"}}},
		{when: `[{"request":{"header":{"content_type":["application/octet-stream"]}}}]`, want: true},
		{when: `[{"request":{"header":{"content_type":["application/json"],"accept":["text/html"]}}}]`, header: http.Header{"Content-Type": {"application/json"}}},

		{when: `[{"request":{"cidr":["192.0.2.0/24"]}}]`, client: "192.0.2.7", want: true},
		{when: `[{"request":{"cidr":["192.0.2.0/24"]}}]`, client: "::ffff:192.0.2.7", want: true},
		{when: `[{"request":{"cidr":["10.0.0.0/8","2001:db8::/32"]}}]`, client: "2001:db8::1", want: true},
		{when: `[{"request":{"cidr":["192.0.2.0/24"]}}]`, client: "198.51.100.1"},
		{when: `[{"request":{"cidr":["0.0.0.0/0"]}}]`},
		{when: `[{"request":{"remote_ip":{"match":["192.0.2.0/24"]}}}]`, client: "192.0.2.7", want: true},
		{when: `[{"request":{"cidr":["192.0.2.0/24"],"header":{"accept":["text/html"]}}}]`, client: "192.0.2.7"},
		// What a client wrote into the field is no address of its.
		{when: `[{"request":{"remote_ip":{"match":["10.0.0.0/8"],"respect_forwarded_for_header":true}}}]`, client: "192.0.2.7", header: http.Header{"X-Forwarded-For": {"10.0.0.1"}}},
	} {
		r := &access.Request{Header: c.header}
		if c.client != "" {
			r.Client = netip.MustParseAddr(c.client)
		}
		for _, name := range []string{"html", "json", "www_authenticate", "redirect"} {
			h, err := Catalog().Build(name, handler.Raw(contract[name].config), handler.Raw(`{"when":`+c.when+`}`))
			if err != nil {
				t.Fatal(err)
			}
			if got := h.(Selective).Answers(r, c.err); got != c.want {
				t.Errorf("%s: when %s, error %v, client %s, header %v: got %t", name, c.when, c.err, c.client, c.header, got)
			}
		}
	}
}

func TestARulesWhenReplacesTheOperators(t *testing.T) {
	h, err := Catalog().Build("json", handler.Raw(`{"when":[{"error":["unauthorized"],"request":{"cidr":["10.0.0.0/8"]}}]}`), handler.Raw(`{"when":[{"error":["forbidden"]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	r := &access.Request{Client: netip.MustParseAddr("10.0.0.1")}
	if h.(Selective).Answers(r, fault.New(fault.Unauthenticated, "", "")) {
		t.Error("the operator's condition is still there")
	}
	if r.Client = netip.MustParseAddr("192.0.2.7"); !h.(Selective).Answers(r, fault.New(fault.Forbidden, "", "")) {
		t.Error("the rule's condition was mixed with the operator's")
	}
}

func TestWithoutWhenRedirectAndPageLeaveProgramsToTheNextHandler(t *testing.T) {
	for _, name := range []string{"redirect", "html"} {
		leavesPrograms(t, build(t, name, contract[name].config).(Selective))
	}
}

func leavesPrograms(t *testing.T, h Selective) {
	t.Helper()
	for accept, want := range map[string]bool{
		"": true, "*/*": true, "text/html,application/xhtml+xml;q=0.9": true, "text/*": true,
		"application/json": false, "application/json, text/html;q=0": false,
		"text/html;q=0, application/xhtml+xml;q=0, */*": false, "text/html;q=0, */*": true, "text/html;q=0, text/*": false, "text/html;q=nan": false, "text/html;q=x": true, "image/avif,image/webp": false, "broken": false,
	} {
		r := request()
		if r.Header.Set("Accept", accept); accept == "" {
			r.Header.Del("Accept")
		}
		if got := h.Answers(r, nil); got != want {
			t.Errorf("Accept: %s: got %t, want %t", accept, got, want)
		}
	}
}

// Whatever the request asks for, the browser goes where the operator said.
func TestARedirectNeverLeavesItsTarget(t *testing.T) {
	for _, to := range []string{"https://login.example.com/in?a=b&return_to=x#frag", "/login", "http://login.example.com"} {
		want, err := url.Parse(to)
		if err != nil {
			t.Fatal(err)
		}
		h := build(t, "redirect", `{"to":"`+to+`","return_to_query_param":"return_to"}`)
		for _, asked := range []*url.URL{
			{Scheme: "https", Host: "api.example.com", Path: "/\r\nSet-Cookie: a=b"}, {Scheme: "https", Host: "evil.example", Path: "//x"},
			{Scheme: "https", Host: "api.example.com", Path: "/", RawQuery: "a=1&return_to=2#x"}, {Scheme: "https", User: url.UserPassword("u", "p"), Host: "api.example.com", Path: `/\evil`},
			{Scheme: "javascript", Opaque: "alert(1)"},
		} {
			got, err := url.Parse(h.Refuse(&access.Request{URL: asked}, nil).Header.Get("Location"))
			if err != nil {
				t.Errorf("%s: %v", asked, err)
				continue
			}
			plain := *asked
			plain.User = nil
			values := got.Query()["return_to"]
			if got.Scheme != want.Scheme || got.Host != want.Host || got.Path != want.Path || got.Fragment != want.Fragment || got.Query().Get("a") != want.Query().Get("a") ||
				len(values) != 1 || values[0] != plain.String() {
				t.Errorf("%s to %s: goes to %s with %q", asked, to, got, values)
			}
		}
	}
	h := build(t, "redirect", `{"to":"/login?x=1","code":301}`)
	if resp := h.Refuse(request(), nil); resp.Status != 301 || resp.Header.Get("Location") != "/login?x=1" {
		t.Errorf("got %v", resp)
	}
}
