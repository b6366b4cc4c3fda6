package relyingparty

import (
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/fault"
)

func TestALogoutEndsTheSessionHereAndAtTheProvider(t *testing.T) {
	noEnd := map[string]any{"end_session_endpoint": nil, "revocation_endpoint": nil}
	for name, c := range map[string]struct {
		metadata map[string]any
		after    string
		status   int
		location url.Values // of the provider's logout, without the hint
		plain    string
		revoked  []string
	}{
		"with a provider that can":     {nil, "", 303, url.Values{"client_id": {"web"}}, "", []string{"rt"}},
		"and comes back to a path":     {nil, "/bye", 303, url.Values{"client_id": {"web"}, "post_logout_redirect_uri": {"https://app.example/bye"}}, "", []string{"rt"}},
		"and comes back to a page":     {nil, "https://www.example/bye", 303, url.Values{"client_id": {"web"}, "post_logout_redirect_uri": {"https://www.example/bye"}}, "", []string{"rt"}},
		"with one that cannot":         {noEnd, "", 200, nil, "", nil},
		"with one that cannot, a path": {noEnd, "/bye", 303, nil, "https://app.example/bye", nil},
	} {
		t.Run(name, func(t *testing.T) {
			i := newIDP(t)
			i.set(func(i *idp) { i.metadata = c.metadata })
			p, b := i.party(t, func(o *Options) { o.AfterLogout = c.after }), newBrowser()
			b.login(t, i, p, "/")
			b.follow(t, p.Challenge(t.Context(), b.navigate("/"))) // a login in another tab
			res := b.follow(t, p.Serve(t.Context(), b.request("POST", "/logout", "Sec-Fetch-Site", "same-origin")))
			if res.Status != c.status || len(b.cookies) > 0 {
				t.Errorf("got %d, cookies left %v", res.Status, b.cookies)
			}
			if got := res.Header.Get("Clear-Site-Data"); got != `"cache"` {
				t.Errorf("the browser keeps its pages: %q", got)
			}
			location := res.Header.Get("Location")
			if c.location != nil {
				u, err := url.Parse(location)
				if err != nil || !strings.HasPrefix(location, issuer+"/logout?") || strings.Count(u.Query().Get("id_token_hint"), ".") != 2 {
					t.Fatalf("got %s, %v", location, err)
				}
				q := u.Query()
				q.Del("id_token_hint")
				if diff := cmp.Diff(c.location, q); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			} else if location != c.plain {
				t.Errorf("got %q, want %q", location, c.plain)
			}
			if diff := cmp.Diff(c.revoked, i.revoked); diff != "" {
				t.Errorf("revoked (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAnotherSiteCannotEndASession(t *testing.T) {
	for _, c := range []struct {
		method string
		header []string
		want   string
	}{
		{"GET", []string{"Sec-Fetch-Site", "same-origin"}, "ended"},
		{"GET", []string{"Sec-Fetch-Site", "none"}, "ended"},
		{"POST", []string{"Sec-Fetch-Site", "same-origin", "Origin", "https://app.example"}, "ended"},
		{"POST", []string{"Origin", "https://app.example"}, "ended"},
		{"GET", []string{"Referer", "https://app.example/page"}, "ended"},
		{"GET", []string{"Sec-Fetch-Site", "cross-site"}, "asked"},
		{"GET", []string{"Sec-Fetch-Site", "same-site"}, "asked"},
		{"GET", []string{"Sec-Fetch-Site", "same-origin", "Sec-Fetch-Site", "cross-site"}, "asked"},
		{"GET", []string{"Referer", "https://evil.example/https://app.example"}, "asked"},
		{"GET", []string{"Referer", "https://app.example.evil.example/"}, "asked"},
		{"GET", nil, "asked"},
		{"POST", []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://app.example"}, "refused"},
		{"POST", []string{"Sec-Fetch-Site", "same-site"}, "refused"},
		{"POST", []string{"Origin", "null"}, "refused"},
		{"POST", []string{"Origin", "https://evil.example", "Referer", "https://app.example/"}, "refused"},
		{"POST", []string{"Origin", "http://app.example"}, "refused"},
		{"POST", nil, "refused"},
	} {
		i := newIDP(t)
		p, b := i.party(t), newBrowser()
		b.login(t, i, p, "/")
		err := p.Serve(t.Context(), b.request(c.method, "/logout", c.header...))
		got := "refused"
		if !fault.Is(err, fault.Forbidden) {
			res := b.follow(t, err)
			got = "ended"
			if strings.Contains(string(res.Body), `<form method="post" action="/logout">`) && strings.Contains(res.Header.Get("Content-Security-Policy"), "frame-ancestors 'none'") {
				got = "asked"
			}
		}
		if left := len(b.named("s")) > 0; got != c.want || left == (got == "ended") {
			t.Errorf("%s %v: got %s, want %s; the session is left: %t", c.method, c.header, got, c.want, left)
		}
	}
}

func TestALogoutWorksWithoutTheProvider(t *testing.T) {
	i := newIDP(t)
	p, b := i.party(t), newBrowser()
	b.login(t, i, p, "/")
	i.set(func(i *idp) { i.metadata = map[string]any{"issuer": "down"} })
	fresh := i.party(t) // has not asked for the metadata yet
	res := b.follow(t, fresh.Serve(t.Context(), b.request("POST", "/logout", "Sec-Fetch-Site", "same-origin")))
	if res.Status != 200 || len(b.named("s")) > 0 {
		t.Errorf("got %d, cookies left %v", res.Status, b.cookies)
	}
}
