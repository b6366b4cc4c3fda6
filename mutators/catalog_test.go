package mutators

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/handler"
	"github.com/gatewarden/gatewarden/handler/handlertest"
	"github.com/gatewarden/gatewarden/templates"
)

func input() access.Input {
	return access.Input{
		Request: &access.Request{
			Method: "GET",
			URL:    &url.URL{Scheme: "https", Host: "api.example.com", Path: "/articles/7", RawQuery: "q=1"},
			Header: http.Header{"X-Trace": {"t1"}},
		},
		Subject:  access.Subject{ID: "alice", Extra: map[string]any{"email": "a@example.com", "groups": []any{"dev", "ops"}}},
		Captures: []string{"7"},
	}
}

// hostile is a subject that tries to leave every place it can be written to.
const hostile = "x\r\nX-Admin: 1; role=admin\x00\",\"role\":\"admin"

// contract holds one row for each mutator of the catalog.
var contract = map[string]struct {
	config  string
	bad     []string // refused configurations, beside an unknown field
	owned   []string
	want    access.Pass // without id_token's Authorization, which differs each time
	hostile fault.Kind  // what a hostile subject is refused as
	accepts bool        // a hostile subject is encoded
	needs   bool        // a request that nobody vouched for is refused
}{
	"noop": {accepts: true},
	"header": {
		config: `{"headers":{"x-user":"{{ print .Subject }}","X-Email":"{{ .Extra.email }}","Authorization":"x","X-None":"{{ print .Extra.none }}"}}`,
		bad: []string{`{"headers":{"X":1}}`, `{"headers":[]}`, `{"headers":{"X":"{{"}}`, `{"headers":{"X":"{{ env \"HOME\" }}"}}`, `{"headers":{"X":"{{ .Nope }}"}}`,
			`{"headers":{"X-User":"a","x-user":"b"}}`, `{"headers":{"":"a"}}`, `{"headers":{"X User":"a"}}`, `{"headers":{"X:":"a"}}`, `{"headers":{"X\r\nY":"a"}}`,
			`{"headers":{"Host":"a"}}`, `{"headers":{"content-length":"1"}}`, `{"headers":{"Transfer-Encoding":"chunked"}}`, `{"headers":{"connection":"X-User"}}`,
			`{"headers":{"TE":"a"}}`, `{"headers":{"Upgrade":"h2c"}}`},
		owned:   []string{"X-Email", "X-None", "X-User"},
		want:    access.Pass{Set: http.Header{"X-User": {"alice"}, "X-Email": {"a@example.com"}, "Authorization": {"x"}, "X-None": {""}}},
		hostile: fault.Invalid,
	},
	"cookie": {
		config:  `{"cookies":{"user":"{{ print .Subject }}","mail":"{{ .Extra.email }}"}}`,
		bad:     []string{`{"cookies":{"a":1}}`, `{"cookies":[]}`, `{"cookies":{"a":"{{"}}`, `{"cookies":{"a b":"x"}}`, `{"cookies":{"a=":"x"}}`, `{"cookies":{"":"x"}}`, `{"cookies":{"a;":"x"}}`},
		want:    access.Pass{Cookies: []*http.Cookie{{Name: "mail", Value: "a@example.com"}, {Name: "user", Value: "alice"}}},
		accepts: true,
	},
	"client_certificate": {
		config:  `{"chain":true}`,
		bad:     []string{`{"chain":"yes"}`, `{"unverified":1}`},
		owned:   []string{"Client-Cert", "Client-Cert-Chain"},
		accepts: true,
	},
	"id_token": {
		config: `{"issuer_url":"https://gw.example.com/","claims":"{\"aud\":[\"api\"],\"user\":\"{{ .Subject }}\"}"}`,
		bad: []string{`{}`, `{"issuer_url":"gw"}`, `{"issuer_url":"https://gw","ttl":"x"}`, `{"issuer_url":"https://gw","ttl":"1s"}`, `{"issuer_url":"https://gw","ttl":"25h"}`,
			`{"issuer_url":"https://gw","ttl":"-1m"}`, `{"issuer_url":"https://gw","ttl":60}`, `{"issuer_url":"https://gw","alg":"HS256"}`, `{"issuer_url":"https://gw","alg":"none"}`,
			`{"issuer_url":"https://gw","claims":"{{"}`, `{"issuer_url":"https://gw","claims":"{{ .Nope }}"}`, `{"issuer_url":"https://gw","claims":{}}`,
			`{"issuer_url":"https://gw","jwks_url":"file:///missing.json"}`, `{"issuer_url":"https://gw","jwks_url":"file:///keys.json","alg":"ES384"}`,
			`{"issuer_url":"https://gw","jwks_url":"file:///keys.json","alg":"HS256"}`, `{"issuer_url":"https://gw","jwks_url":"file:///keys.json","alg":"none"}`},
		accepts: true,
	},
	"hydrator": {
		config: `{"api":{"url":"http://hydrator.example/session/{{ print .MatchContext.Method }}"},"set_headers":["x-role","Authorization"],"cache":{"enabled":true,"key":"-"}}`,
		bad: []string{`{}`, `{"api":{}}`, `{"api":{"url":"hydrator"}}`, `{"api":{"url":"http://{{ .Subject }}/"}}`, `{"api":{"url":"http://h/","timeout":"0s"}}`, `{"api":{"url":"http://h/","retry":{"max":"1s"}}}`,
			`{"api":{"url":"http://h/","auth":{"basic":{"user":"a"}}}}`, `{"api":{"url":"http://h/","auth":{"basic":{"username":"a"},"bearer":{"token":"b"}}}}`, `{"api":{"url":"http://h/","forward_http_headers":["a b"]}}`,
			`{"api":{"url":"http://h/"},"set_headers":["Host"]}`, `{"api":{"url":"http://h/"},"cache":{"enabled":true,"ttl":"0s"}}`, `{"api":{"url":"http://h/"},"cache":{"enabled":true,"ttl":"2h"}}`,
			`{"api":{"url":"http://h/"},"cache":{"key":"{{ .Nope }}"}}`, `{"api":"http://h/"}`},
		owned:   []string{"X-Role"},
		want:    access.Pass{Subject: access.Subject{ID: "alice", Extra: map[string]any{"email": "a@example.com", "groups": []any{"dev", "ops"}, "plan": "gold"}}, Set: http.Header{"X-Role": {"editor"}}},
		accepts: true,
	},
	"token_exchange": {
		config: `{"token_url":"http://sts.example/token","client_id":"gate","client_secret":"s","subject_token":"{{ print .Subject }}","audience":["orders"],"header":"X-Upstream-Token"}`,
		bad: append(badRequests, `{"token_url":"http://sts/","client_id":"a","subject_token":"{{ .Nope }}"}`, `{"token_url":"http://sts/","client_id":"a","actor_token":"{{"}`,
			`{"token_url":"http://sts/","client_id":"a","subject_token_type":""}`),
		owned:   []string{"X-Upstream-Token"},
		want:    access.Pass{Set: http.Header{"X-Upstream-Token": {"token-1"}}},
		accepts: true, needs: true,
	},
	"oauth2_client_credentials": {
		config:  `{"token_url":"http://sts.example/token","client_id":"gate","client_secret":"s","scope":["orders"]}`,
		bad:     append(badRequests, `{"token_url":"http://sts/","client_id":"a"}`),
		want:    access.Pass{Set: http.Header{"Authorization": {"Bearer token-1"}}},
		accepts: true,
	},
}

func build(t testing.TB, d Deps, name, config string) Mutator {
	t.Helper()
	m, err := Catalog(d).Build(name, nil, handler.Raw(config))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestEveryMutatorKeepsTheContract(t *testing.T) {
	d := deps(t)
	catalog := Catalog(d)
	if diff := cmp.Diff(catalog.Names(), slices.Sorted(maps.Keys(contract))); diff != "" {
		t.Fatalf("the table must name every mutator of the catalog (-catalog +table):\n%s", diff)
	}
	for name, c := range contract {
		t.Run(name, func(t *testing.T) {
			for _, bad := range append(c.bad, `{"no_such_field":1}`, `[]`, `"x"`, `{`) {
				if _, err := catalog.Build(name, nil, handler.Raw(bad)); err == nil {
					t.Errorf("config %s was accepted", bad)
				}
			}
			m := build(t, d, name, c.config)
			var owned []string
			if o, ok := m.(HeaderOwner); ok {
				owned = o.OwnedHeaders()
			}
			if diff := cmp.Diff(c.owned, owned, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("owned headers (-want +got):\n%s", diff)
			}
			check := func(in access.Input) {
				t.Helper()
				var p access.Pass
				if err := m.Mutate(t.Context(), in, &p); err != nil {
					t.Error(err)
				}
				if name == "id_token" {
					delete(p.Set, "Authorization")
				}
				if diff := cmp.Diff(c.want, p, cmpopts.EquateEmpty()); in.Subject.ID == "alice" && diff != "" {
					t.Errorf("pass (-want +got):\n%s", diff)
				}
			}
			check(input())
			nobody := input()
			nobody.Subject = access.Subject{}
			if !c.needs {
				check(nobody)
			} else if err := m.Mutate(t.Context(), nobody, &access.Pass{}); !fault.Is(err, fault.Unauthenticated) {
				t.Errorf("nobody: got %v, want fault.Unauthenticated", err)
			}

			bad := input()
			bad.Subject.ID = hostile
			var p access.Pass
			err := m.Mutate(t.Context(), bad, &p)
			if c.accepts != (err == nil) || !c.accepts && (fault.KindOf(err) != c.hostile || !cmp.Equal(p, access.Pass{})) {
				t.Errorf("hostile subject: %v, pass %v", err, p)
			}
			for _, garbage := range []access.Input{{}, {Request: &access.Request{}}, {Request: &access.Request{URL: &url.URL{Path: "\x00"}}, Subject: access.Subject{Extra: map[string]any{"email": func() {}}}}} {
				var p access.Pass
				if err := m.Mutate(t.Context(), garbage, &p); err != nil && !cmp.Equal(p, access.Pass{}) {
					t.Errorf("garbage: %v, but the pass was changed: %v", err, p)
				}
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if err := m.Mutate(ctx, input(), &access.Pass{}); (name == "id_token" || slices.Contains(asking, name)) && err == nil {
				t.Error("something was minted or asked for a cancelled request")
			}
			var wait sync.WaitGroup
			for range 8 {
				wait.Go(func() { check(input()) })
			}
			wait.Wait()
		})
	}
}

func TestALaterMutatorSeesAndReplacesWhatAnEarlierOneSet(t *testing.T) {
	d := deps(t)
	p := access.Pass{
		Set:     http.Header{"X-User": {"before"}, "X-Other": {"kept"}},
		Cookies: []*http.Cookie{{Name: "a", Value: "before"}, {Name: "b", Value: "kept"}},
	}
	header := build(t, d, "header", `{"headers":{"X-User":"{{ .Header.Get \"X-User\" }} and after"}}`)
	cookie := build(t, d, "cookie", `{"cookies":{"a":"after"}}`)
	for _, m := range []Mutator{header, cookie} {
		if err := m.Mutate(t.Context(), input(), &p); err != nil {
			t.Fatal(err)
		}
	}
	want := access.Pass{
		Set:     http.Header{"X-User": {"before and after"}, "X-Other": {"kept"}},
		Cookies: []*http.Cookie{{Name: "a", Value: "after"}, {Name: "b", Value: "kept"}},
	}
	if diff := cmp.Diff(want, p); diff != "" {
		t.Error(diff)
	}
}

func TestNoHeaderValueHoldsAControlCharacter(t *testing.T) {
	m := build(t, deps(t), "header", `{"headers":{"X-A":"fine","X-B":"{{ print .Subject }}"}}`)
	for c := range 256 {
		in := input()
		in.Subject.ID = "a" + string([]byte{byte(c)}) + "b"
		var p access.Pass
		err := m.Mutate(t.Context(), in, &p)
		control := c < 32 && c != '\t' || c == 127
		if control != fault.Is(err, fault.Invalid) || control != (p.Set == nil) {
			t.Errorf("byte %#x: error %v, pass %q", c, err, p.Set)
		}
	}
}

func TestNoBlankAroundAHeaderValueIsLostOnTheWay(t *testing.T) {
	// Readers drop blanks around a field's value (RFC 9110 section 5.5), so that
	// "admin " would be admin to the upstream and to nobody else.
	m := build(t, deps(t), "header", `{"headers":{"X-User":" {{ print .Subject }}\t"}}`)
	for subject, want := range map[string]string{"admin": "admin", "an admin": "an admin", "": "", "admin ": "refused", " admin": "refused", "\tadmin": "refused", " ": "refused"} {
		in, p := input(), access.Pass{}
		in.Subject.ID = subject
		got := "refused"
		if err := m.Mutate(t.Context(), in, &p); err == nil {
			got = p.Set.Get("X-User")
		} else if !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: %v", subject, err)
		}
		if got != want {
			t.Errorf("subject %q: the header is %q, want %q", subject, got, want)
		}
	}
}

func TestACookieValueCannotLeaveItsCookie(t *testing.T) {
	m := build(t, deps(t), "cookie", `{"cookies":{"user":"{{ print .Subject }}"}}`)
	for c := range 256 {
		in := input()
		in.Subject.ID = "a" + string([]byte{byte(c)}) + "b"
		var p access.Pass
		if err := m.Mutate(t.Context(), in, &p); err != nil {
			t.Fatal(err)
		}
		parsed, err := http.ParseCookie(p.Cookies[0].String() + "; next=1")
		if err != nil || len(parsed) != 2 || parsed[0].Value != p.Cookies[0].Value {
			t.Errorf("byte %#x: %q is read as %v, %v", c, p.Cookies[0], parsed, err)
			continue
		}
		if back, err := url.PathUnescape(parsed[0].Value); c != '%' && (err != nil || back != in.Subject.ID) {
			t.Errorf("byte %#x: comes back as %q, %v", c, back, err)
		}
	}
}

func TestEveryMutatorHasAPageWhoseExampleLoads(t *testing.T) {
	handlertest.Pages(t, Catalog(deps(t)), "../docs/handlers", "mutator")
}

func nameOf(field string) error {
	_, err := templates.FieldName(field)
	return err
}

func FuzzAnyConfigurationLoadsOrIsRefused(f *testing.F) {
	catalog := Catalog(deps(f))
	for name, c := range contract {
		f.Add(name, c.config)
		for _, bad := range c.bad {
			f.Add(name, bad)
		}
	}
	f.Fuzz(func(t *testing.T, name, config string) {
		m, err := catalog.Build(name, nil, handler.Raw(config))
		if err != nil {
			return
		}
		var p access.Pass
		if err := m.Mutate(t.Context(), input(), &p); err != nil {
			return
		}
		for field, values := range p.Set {
			if nameOf(field) != nil || !templates.ValidFieldValue(values[0]) {
				t.Errorf("%s %s sets %q: %q", name, config, field, values)
			}
		}
	})
}

func BenchmarkHeader(b *testing.B) {
	m := build(b, deps(b), "header", `{"headers":{"X-User":"{{ print .Subject }}","X-Path":"{{ .MatchContext.Method }} {{ .MatchContext.URL.Path }}"}}`)
	in := input()
	b.ReportAllocs()
	for b.Loop() {
		p := access.Pass{}
		if err := m.Mutate(b.Context(), in, &p); err != nil {
			b.Fatal(err)
		}
	}
}
