package errorhandlers

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/handler"
	"github.com/gatewarden/gatewarden/handler/handlertest"
)

func request() *access.Request {
	return &access.Request{
		ID:     "d-1",
		Method: "GET",
		URL:    &url.URL{Scheme: "https", Host: "api.example.com", Path: "/a b", RawQuery: "x=1&y=//evil.example"},
		Header: http.Header{"Accept": {"text/html"}},
		Client: netip.MustParseAddr("192.0.2.7"),
	}
}

func build(t testing.TB, name, config string) Handler {
	t.Helper()
	h, err := Catalog().Build(name, nil, handler.Raw(config))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

var badWhen = []string{`{"when":{}}`, `{"when":[1]}`, `{"when":[{"errors":["forbidden"]}]}`, `{"when":[{"error":["teapot"]}]}`, `{"when":[{"request":{"cidr":["192.0.2.7"]}}]}`,
	`{"when":[{"request":{"remote_ip":{"match":["x"]}}}]}`, `{"when":[{"request":{"header":{"accept":["html"]}}}]}`, `{"when":[{"request":{"header":{"content_type":[""]}}}]}`,
	`{"when":[{"request":{"cidr":["10.0.0.0/8"],"remote_ip":{"match":["10.0.0.0/8"]}}}]}`, `{"when":[{"request":{"header":{"x":[]}}}]}`}

// contract holds one row for each error handler of the catalog.
var contract = map[string]struct {
	config string
	bad    []string // refused configurations, beside an unknown field and a bad when
	want   access.Response
}{
	"html": {
		config: `{"verbose":true,"contact":"Ask <ops@example.com>."}`,
		bad:    []string{`{"verbose":1}`, `{"contact":[]}`, `{"resource_metadata":"/x"}`},
		want: access.Response{Status: 401, Header: http.Header{
			"Cache-Control": {"no-store"}, "Content-Type": {"text/html; charset=utf-8"}, "X-Content-Type-Options": {"nosniff"}, "Referrer-Policy": {"no-referrer"},
			"Content-Security-Policy": {"default-src 'none'; style-src 'sha256-" + styleHash() + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"},
			"Www-Authenticate":        {`Bearer realm="gatewarden", error="invalid_token"`},
		}, Body: []byte("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n<title>401 Unauthorized</title>\n<style>" + style +
			"</style>\n</head>\n<body>\n<h1>Unauthorized</h1>\n<p>the token is not valid</p>\n<p>Ask &lt;ops@example.com&gt;.</p>\n<p><small>Decision <code>d-1</code></small></p>\n</body>\n</html>\n")},
	},
	"json": {
		config: `{"verbose":true}`,
		bad:    []string{`{"verbose":"yes"}`, `{"format":"xml"}`, `{"resource_metadata":"ftp://a/b"}`, `{"resource_metadata":"https://a/b#c"}`, `{"resource_metadata":"https://a/\u0000"}`},
		want: access.Response{Status: 401, Header: http.Header{
			"Cache-Control": {"no-store"}, "Content-Type": {"application/json"}, "X-Content-Type-Options": {"nosniff"},
			"Www-Authenticate": {`Bearer realm="gatewarden", error="invalid_token"`},
		}, Body: []byte(`{"error":{"id":"invalid_credentials","code":401,"status":"Unauthorized","request":"d-1","message":"the token is not valid"}}`)},
	},
	"redirect": {
		config: `{"to":"https://login.example.com/?a=b","return_to_query_param":"return_to"}`,
		bad: []string{`{}`, `{"to":""}`, `{"to":1}`, `{"to":"/x","code":200}`, `{"to":"/x","code":"302"}`, `{"to":"//evil.example"}`, `{"to":"///evil.example"}`, `{"to":"/\\evil.example"}`, `{"to":"javascript:alert(1)"}`,
			`{"to":"login"}`, `{"to":"https:///x"}`, `{"to":"https://a/\r\nX: y"}`, `{"to":"data:text/html,x"}`},
		want: access.Response{Status: 302, Header: http.Header{
			"Cache-Control": {"no-store"}, "Content-Type": {"text/plain; charset=utf-8"}, "X-Content-Type-Options": {"nosniff"},
			"Location": {"https://login.example.com/?a=b&return_to=https%3A%2F%2Fapi.example.com%2Fa%2520b%3Fx%3D1%26y%3D%2F%2Fevil.example"},
		}, Body: []byte("Found (decision d-1)\n")},
	},
	"www_authenticate": {
		config: `{"realm":"my \"realm\""}`,
		bad: []string{`{"realm":1}`, `{"realm":"a\nb"}`, `{"scheme":"Digest"}`, `{"scheme":""}`, `{"scope":"a"}`, `{"max_age":1}`, `{"resource_metadata":"https://a/b"}`,
			`{"scheme":"Bearer","max_age":-1}`, `{"scheme":"Bearer","acr_values":"a\"b"}`, `{"scheme":"Bearer","scope":"a  b"}`, `{"scheme":"DPoP","resource_metadata":"x"}`},
		want: access.Response{Status: 401, Header: http.Header{
			"Cache-Control": {"no-store"}, "Content-Type": {"text/plain; charset=utf-8"}, "X-Content-Type-Options": {"nosniff"},
			"Www-Authenticate": {`Basic realm="my \"realm\""`, `Bearer realm="gatewarden", error="invalid_token"`},
		}, Body: []byte("Unauthorized (decision d-1)\n")},
	},
}

func TestEveryErrorHandlerKeepsTheContract(t *testing.T) {
	catalog := Catalog()
	if diff := cmp.Diff(catalog.Names(), slices.Sorted(maps.Keys(contract))); diff != "" {
		t.Fatalf("the table must name every error handler of the catalog (-catalog +table):\n%s", diff)
	}
	refused := fault.Wrap(fault.Unauthenticated, "", "the token is not valid",
		&fault.Error{Kind: fault.Unauthenticated, Reason: "invalid_credentials", Challenge: `Bearer error="invalid_token"`, Err: errors.New("secret detail")})
	for name, c := range contract {
		t.Run(name, func(t *testing.T) {
			for _, bad := range append(c.bad, `{"no_such_field":1}`, `[]`, `"x"`, `{`) {
				if _, err := catalog.Build(name, nil, handler.Raw(bad)); err == nil {
					t.Errorf("config %s was accepted", bad)
				}
			}
			for _, bad := range badWhen {
				if _, err := catalog.Build(name, handler.Raw(c.config), handler.Raw(bad)); err == nil {
					t.Errorf("config %s was accepted", bad)
				}
			}
			h := build(t, name, c.config)
			check := func() {
				t.Helper()
				if diff := cmp.Diff(c.want, h.Refuse(request(), refused)); diff != "" {
					t.Errorf("response (-want +got):\n%s", diff)
				}
			}
			check()
			for _, r := range []*access.Request{nil, {}, {URL: &url.URL{}}, {ID: "\r\n", URL: &url.URL{Host: "\r\n", Path: "\x00"}, Header: http.Header{"Accept": {";;,,"}, "Content-Type": {"\xff"}}}} {
				for _, err := range []error{nil, errors.New("secret detail"), context.Canceled, context.DeadlineExceeded, fault.New(99, "\r\n", "")} {
					if s, ok := h.(Selective); ok {
						s.Answers(r, err)
					}
					resp := h.Refuse(r, err)
					if resp.Status < 300 || len(resp.Body) == 0 {
						t.Errorf("Refuse(%v, %v) = %v", r, err, resp)
					}
					for field, values := range resp.Header {
						if strings.ContainsAny(strings.Join(values, ""), "\r\n\x00") {
							t.Errorf("%s holds %q", field, values)
						}
					}
				}
			}
			var wait sync.WaitGroup
			for range 8 {
				wait.Go(check)
			}
			wait.Wait()
		})
	}
}

func TestInternalTextNeverLeaves(t *testing.T) {
	for name, c := range contract {
		h := build(t, name, c.config)
		for _, err := range []error{
			errors.New("secret"), fault.New(fault.Internal, "broken", "secret"), fault.New(fault.Internal, "a secret", "secret"),
			fault.Wrap(fault.Forbidden, "", "", errors.New("secret")), fmt.Errorf("secret: %w", fault.New(fault.Unavailable, "", "try later")),
			fault.Wrap(fault.Unavailable, "", "", fault.New(fault.Internal, "x", "secret")),
		} {
			resp := h.Refuse(request(), err)
			if strings.Contains(fmt.Sprint(resp.Header)+string(resp.Body), "secret") {
				t.Errorf("%s: %v leaves as %s", name, err, resp.Body)
			}
		}
	}
}

func TestEveryKindHasItsStatusAndAGenericText(t *testing.T) {
	h := build(t, "json", `{}`)
	for kind, want := range map[fault.Kind]int{
		fault.Internal: 500, fault.Invalid: 400, fault.Unauthenticated: 401, fault.Forbidden: 403, fault.NotFound: 404, fault.Conflict: 409,
		fault.TooLarge: 413, fault.RateLimited: 429, fault.Unavailable: 503, fault.Timeout: 504, 99: 500,
	} {
		resp := h.Refuse(request(), fault.New(kind, "why", "own text"))
		var got struct {
			Error struct {
				ID, Status, Request, Message string
				Code                         int
			}
		}
		if err := json.Unmarshal(resp.Body, &got); err != nil {
			t.Fatal(err)
		}
		e := got.Error
		if resp.Status != want || e.Code != want || e.ID != "why" || e.Request != "d-1" || e.Status != http.StatusText(want) || e.Message == "" || e.Message == "own text" {
			t.Errorf("%s: status %d, body %s", kind, resp.Status, resp.Body)
		}
		if want != 500 && e.Message == generic(500) {
			t.Errorf("%s has no text", kind)
		}
	}
	if resp := h.Refuse(request(), context.DeadlineExceeded); resp.Status != 504 {
		t.Errorf("a deadline is %d", resp.Status)
	}
	if resp := h.Refuse(nil, nil); resp.Status != 500 {
		t.Errorf("nothing is %d", resp.Status)
	}
}

func TestChallengesFollowRFC6750(t *testing.T) {
	h := build(t, "json", `{}`)
	for _, c := range []struct {
		kind            fault.Kind
		challenge, want string
	}{
		{fault.Unauthenticated, ``, `Bearer realm="gatewarden"`},
		{fault.Unauthenticated, `Bearer`, `Bearer realm="gatewarden"`},
		{fault.Unauthenticated, `Bearer error="invalid_token", error_description="expired"`, `Bearer realm="gatewarden", error="invalid_token", error_description="expired"`},
		{fault.Unauthenticated, `DPoP realm="own"`, `DPoP realm="own"`},
		{fault.Unauthenticated, "Bearer x=\"\r\nSet-Cookie: a\"", `Bearer realm="gatewarden"`},
		{fault.Forbidden, `Bearer error="insufficient_scope", scope="a"`, `Bearer realm="gatewarden", error="insufficient_scope", scope="a"`},
		{fault.Forbidden, ``, ``},
		{fault.NotFound, `Bearer`, ``},
		{fault.Internal, `Bearer`, ``},
	} {
		resp := h.Refuse(request(), &fault.Error{Kind: c.kind, Challenge: c.challenge})
		if got := resp.Header.Get("WWW-Authenticate"); got != c.want {
			t.Errorf("%s %q: got %q, want %q", c.kind, c.challenge, got, c.want)
		}
	}
}

func styleHash() string {
	sum := sha256.Sum256([]byte(style))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// RFC 9470 section 3 and RFC 9728 section 5.1.
func TestChallengesNameTheStepUpAndTheResourcesMetadata(t *testing.T) {
	invalid := &fault.Error{Kind: fault.Unauthenticated, Challenge: `Bearer error="invalid_token"`}
	stepUp := &fault.Error{Kind: fault.Unauthenticated, Challenge: `Bearer error="insufficient_user_authentication", acr_values="urn:mfa"`}
	scope := &fault.Error{Kind: fault.Forbidden, Challenge: `Bearer error="insufficient_scope", scope="a"`}
	several := &fault.Error{Kind: fault.Unauthenticated, Challenge: `DPoP algs="ES256"`, OtherChallenges: []string{"Bearer", "X\nY", `Basic realm="x"`}}
	const at, metadata = `"resource_metadata":"https://api.example.com/.well-known/oauth-protected-resource"`, `, resource_metadata="https://api.example.com/.well-known/oauth-protected-resource"`
	for _, c := range []struct {
		handler, config string
		err             error
		want            []string
	}{
		{"json", `{}`, stepUp, []string{`Bearer realm="gatewarden", error="insufficient_user_authentication", acr_values="urn:mfa"`}},
		{"json", `{` + at + `}`, invalid, []string{`Bearer realm="gatewarden", error="invalid_token"` + metadata}},
		{"html", `{` + at + `}`, invalid, []string{`Bearer realm="gatewarden", error="invalid_token"` + metadata}},
		{"json", `{` + at + `}`, fault.New(fault.Unauthenticated, "", ""), []string{`Bearer realm="gatewarden"` + metadata}},
		{"json", `{` + at + `}`, scope, []string{`Bearer realm="gatewarden", error="insufficient_scope", scope="a"` + metadata}},
		{"json", `{` + at + `}`, fault.New(fault.Forbidden, "", ""), nil},
		{"json", `{` + at + `}`, &fault.Error{Kind: fault.Unauthenticated, Challenge: `Basic realm="x"`}, []string{`Basic realm="x"`}},
		{"www_authenticate", `{"scheme":"Bearer","realm":"api",` + at + `}`, invalid, []string{`Bearer realm="api", error="invalid_token"` + metadata}},
		{"www_authenticate", `{"scheme":"Bearer","realm":"api","scope":"a b"}`, invalid, []string{`Bearer realm="api", error="invalid_token", scope="a b"`}},
		{"www_authenticate", `{"scheme":"Bearer","realm":"api","scope":"a b"}`, scope, []string{`Bearer realm="api", scope="a b"`}},
		{"www_authenticate", `{"scheme":"Bearer","realm":"api","acr_values":"urn:mfa urn:otp","max_age":300}`, fault.New(fault.Forbidden, "", ""),
			[]string{`Bearer realm="api", error="insufficient_user_authentication", error_description="a different authentication level is required", acr_values="urn:mfa urn:otp", max_age="300"`}},
		{"www_authenticate", `{"scheme":"DPoP","realm":"api","max_age":0}`, invalid,
			[]string{`DPoP realm="api", error="insufficient_user_authentication", error_description="a different authentication level is required", max_age="0"`, `Bearer realm="gatewarden", error="invalid_token"`}},
		{"json", `{` + at + `}`, several, []string{`DPoP realm="gatewarden", algs="ES256"` + metadata, `Bearer realm="gatewarden"` + metadata, `Basic realm="x"`}},
		{"html", `{}`, several, []string{`DPoP realm="gatewarden", algs="ES256"`, `Bearer realm="gatewarden"`, `Basic realm="x"`}},
		{"www_authenticate", `{"realm":"staff"}`, several, []string{`Basic realm="staff"`, `DPoP realm="gatewarden", algs="ES256"`, `Bearer realm="gatewarden"`}},
		{"www_authenticate", `{"scheme":"Bearer","realm":"api"}`, several, []string{`Bearer realm="api"`, `DPoP realm="gatewarden", algs="ES256"`, `Basic realm="x"`}},
		{"www_authenticate", `{"realm":"staff"}`, fault.New(fault.Unauthenticated, "missing_credentials", ""), []string{`Basic realm="staff"`}},
	} {
		resp := build(t, c.handler, c.config).Refuse(request(), c.err)
		if diff := cmp.Diff(c.want, resp.Header["Www-Authenticate"]); diff != "" {
			t.Errorf("%s %s, %v (-want +got):\n%s", c.handler, c.config, c.err, diff)
		}
	}
}

// RFC 9457.
func TestAProblemIsAnsweredToThoseWhoAskForOne(t *testing.T) {
	want := `{"type":"about:blank","title":"Not Found","status":404,"detail":"The requested resource could not be found","reason":"no_rule_match","decision_id":"d-1"}`
	err := fault.New(fault.NotFound, "no_rule_match", "own text")
	for _, c := range []struct {
		config, accept string
		problem        bool
	}{
		{`{}`, "", false}, {`{}`, "*/*", false}, {`{}`, "application/*", false}, {`{}`, "application/json", false},
		{`{}`, "application/problem+json", true}, {`{}`, "application/json, application/problem+json", true},
		{`{}`, "application/json, application/problem+json;q=0.5", false}, {`{}`, "application/problem+json;q=0", false},
		{`{"format":"problem"}`, "", true}, {`{"format":"problem"}`, "application/json", true}, {`{"format":"oathkeeper"}`, "application/problem+json", false},
	} {
		r := request()
		if r.Header.Set("Accept", c.accept); c.accept == "" {
			r.Header.Del("Accept")
		}
		resp := build(t, "json", c.config).Refuse(r, err)
		if got := resp.Header.Get("Content-Type") == "application/problem+json" && string(resp.Body) == want; got != c.problem || !got && resp.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s, Accept: %s: got %v %s", c.config, c.accept, resp.Header, resp.Body)
		}
	}
}

func TestThePageEscapesWhatItShows(t *testing.T) {
	r := request()
	r.ID = `"><script>alert(1)</script>`
	body := string(build(t, "html", `{"verbose":true,"contact":"<b>&"}`).Refuse(r, fault.New(fault.Forbidden, "", `<img src=x onerror=alert(1)>`)).Body)
	if strings.Contains(body, "<script") || strings.Contains(body, "<img") || strings.Contains(body, "<b>") || !strings.Contains(body, "&lt;img src=x") {
		t.Errorf("got %s", body)
	}
}

func TestRetryAfterIsInWholeSecondsRoundedUp(t *testing.T) {
	for name, c := range contract {
		h := build(t, name, c.config)
		for _, c := range []struct {
			kind  fault.Kind
			after time.Duration
			want  string
		}{{fault.RateLimited, 1500 * time.Millisecond, "2"}, {fault.Unavailable, time.Second, "1"}, {fault.RateLimited, 0, ""}, {fault.RateLimited, -time.Second, ""}, {fault.Forbidden, time.Second, ""}} {
			err := fmt.Errorf("wrapped: %w", &fault.Error{Kind: c.kind, Err: &fault.Error{Kind: c.kind, RetryAfter: c.after}})
			if got := h.Refuse(request(), err).Header.Get("Retry-After"); got != c.want {
				t.Errorf("%s: %s %s: got %q, want %q", name, c.kind, c.after, got, c.want)
			}
		}
	}
}

func TestEveryErrorHandlerHasAPageWhoseExampleLoads(t *testing.T) {
	handlertest.Pages(t, Catalog(), "../docs/handlers", "error")
}

func FuzzAnyConfigurationLoadsOrIsRefused(f *testing.F) {
	for name, c := range contract {
		f.Add(name, c.config, "text/html")
		for _, bad := range append(c.bad, badWhen...) {
			f.Add(name, bad, "*/*;q=0.1")
		}
	}
	f.Fuzz(func(t *testing.T, name, config, accept string) {
		h, err := Catalog().Build(name, nil, handler.Raw(config))
		if err != nil {
			return
		}
		r := request()
		r.Header.Set("Accept", accept)
		h.(Selective).Answers(r, nil)
		for field, values := range h.Refuse(r, nil).Header {
			if !printable(strings.Join(values, "")) {
				t.Errorf("%s %s sets %q: %q", name, config, field, values)
			}
		}
	})
}

func BenchmarkJSON(b *testing.B) {
	h, r := build(b, "json", `{}`), request()
	err := fault.New(fault.Unauthenticated, "missing_credentials", "no credentials")
	b.ReportAllocs()
	for b.Loop() {
		h.Refuse(r, err)
	}
}
