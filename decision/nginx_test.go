package decision

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/edge"
)

// points has every adapter on: 10.0.0.0/8 may speak nginx, 172.16.0.0/12 Envoy, and
// 192.168.0.0/16 /decisions.
func points(t testing.TB, d edge.Decider) *Handler {
	t.Helper()
	o := Options{Edge: edge.Options{Decider: d}}
	for network, into := range map[string]*edge.Trusted{"10.0.0.0/8": &o.Nginx, "172.16.0.0/12": &o.Envoy, "192.168.0.0/16": &o.Edge.Trusted} {
		peers, err := edge.ParseTrusted([]string{network}, false)
		if err != nil {
			t.Fatal(err)
		}
		*into = peers
	}
	h, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// seen is what was judged: method, URL, client.
func seen(into *string) edge.Decider {
	return decide(func(r *access.Request) access.Decision {
		*into = r.Method + " " + r.URL.String() + " " + r.Client.String()
		return access.Decision{Allow: true}
	})
}

// TestEachAdapterReadsItsOwnFieldsFromItsOwnPeers is the trust contract of the HTTP
// adapters.
func TestEachAdapterReadsItsOwnFieldsFromItsOwnPeers(t *testing.T) {
	const nginx, envoy, traefik = "10.0.0.1:1", "172.16.0.1:1", "192.168.0.1:1"
	parts := func(change http.Header) http.Header {
		h := http.Header{"X-Original-Method": {"put"}, "X-Original-Uri": {"/api/x?a=%zz"}, "X-Original-Host": {"Example.com:443"}, "X-Original-Proto": {"https"}, "X-Forwarded-For": {"198.51.100.1"}}
		for k, v := range change {
			if h[k] = v; v == nil {
				delete(h, k)
			}
		}
		return h
	}
	for name, c := range map[string]struct {
		remote, method, target string
		header                 http.Header
		status                 int
		judged                 string
	}{
		"nginx":                       {nginx, "GET", "/decisions/nginx", parts(nil), 200, "PUT https://example.com/api/x?a=%zz 198.51.100.1"},
		"nginx, query of its own":     {nginx, "GET", "/decisions/nginx?x=y", parts(nil), 200, "PUT https://example.com/api/x?a=%zz 198.51.100.1"},
		"nginx, whole URL":            {nginx, "GET", "/decisions/nginx", http.Header{"X-Original-Method": {"GET"}, "X-Original-Url": {"https://a.example/x?y"}}, 200, "GET https://a.example/x?y 10.0.0.1"},
		"nginx, URL and same parts":   {nginx, "GET", "/decisions/nginx", parts(http.Header{"X-Original-Url": {"https://Example.com:443/api/x?a=%zz"}}), 200, "PUT https://example.com/api/x?a=%zz 198.51.100.1"},
		"nginx, URL and other path":   {nginx, "GET", "/decisions/nginx", parts(http.Header{"X-Original-Url": {"https://Example.com:443/public"}}), 403, ""},
		"nginx, URL and other scheme": {nginx, "GET", "/decisions/nginx", parts(http.Header{"X-Original-Url": {"http://Example.com:443/api/x?a=%zz"}}), 403, ""},
		"nginx, relative URL":         {nginx, "GET", "/decisions/nginx", http.Header{"X-Original-Method": {"GET"}, "X-Original-Url": {"/x"}}, 403, ""},
		"nginx, URL without a path":   {nginx, "GET", "/decisions/nginx", http.Header{"X-Original-Method": {"GET"}, "X-Original-Url": {"https://a.example"}}, 403, ""},
		"nginx, URL with a user":      {nginx, "GET", "/decisions/nginx", http.Header{"X-Original-Method": {"GET"}, "X-Original-Url": {"https://a.example@evil/x"}}, 403, ""},
		"nginx, no method":            {nginx, "GET", "/decisions/nginx", parts(http.Header{"X-Original-Method": nil}), 403, ""},
		"nginx, no path":              {nginx, "GET", "/decisions/nginx", parts(http.Header{"X-Original-Uri": nil}), 403, ""},
		"nginx, no host":              {nginx, "GET", "/decisions/nginx", parts(http.Header{"X-Original-Host": nil}), 403, ""},
		"nginx, empty host":           {nginx, "GET", "/decisions/nginx", parts(http.Header{"X-Original-Host": {""}}), 403, ""},
		"nginx, no scheme":            {nginx, "GET", "/decisions/nginx", parts(http.Header{"X-Original-Proto": nil}), 403, ""},
		"nginx, odd scheme":           {nginx, "GET", "/decisions/nginx", parts(http.Header{"X-Original-Proto": {"ftp"}}), 403, ""},
		"nginx, two paths":            {nginx, "GET", "/decisions/nginx", parts(http.Header{"X-Original-Uri": {"/public", "/admin"}}), 403, ""},
		"nginx, two methods":          {nginx, "GET", "/decisions/nginx", parts(http.Header{"X-Original-Method": {"GET", "PUT"}}), 403, ""},
		"nginx, spelt otherwise":      {nginx, "GET", "/decisions/nginx", http.Header{"X_Original_Method": {"GET"}, "X_Original_Uri": {"/"}}, 403, ""},
		"nginx, dots":                 {nginx, "GET", "/decisions/nginx", parts(http.Header{"X-Original-Uri": {"/public/%2e%2e/admin"}}), 403, ""},
		"nginx, fields of Traefik mean nothing": {nginx, "GET", "/decisions/nginx", parts(http.Header{"X-Forwarded-Uri": {"/public"}, "X-Forwarded-Host": {"evil"}, "X-Forwarded-Proto": {"http"}, "X-Forwarded-Method": {"GET"}, "Forwarded": {"for=1.1.1.1;host=evil"}}),
			200, "PUT https://example.com/api/x?a=%zz 198.51.100.1"},
		"nginx, only fields of Traefik":      {nginx, "GET", "/decisions/nginx", http.Header{"X-Forwarded-Uri": {"/public"}, "X-Forwarded-Host": {"evil"}, "X-Forwarded-Proto": {"http"}, "X-Forwarded-Method": {"GET"}}, 403, ""},
		"nginx, Forwarded is not the client": {nginx, "GET", "/decisions/nginx", parts(http.Header{"X-Forwarded-For": nil, "Forwarded": {"for=1.1.1.1"}}), 200, "PUT https://example.com/api/x?a=%zz 10.0.0.1"},
		"nginx's from a stranger":            {"192.0.2.1:1", "GET", "/decisions/nginx", parts(nil), 403, ""},
		"nginx's from Traefik":               {traefik, "GET", "/decisions/nginx", parts(nil), 403, ""},
		"nginx's from Envoy":                 {envoy, "GET", "/decisions/nginx", parts(nil), 403, ""},

		"Envoy":                     {envoy, "DELETE", "/decisions/envoy/api/x?a=%zz", http.Header{"X-Forwarded-Proto": {"https"}, "X-Forwarded-For": {"198.51.100.1"}}, 200, "DELETE https://gw/api/x?a=%zz 198.51.100.1"},
		"Envoy, root":               {envoy, "GET", "/decisions/envoy/", http.Header{"X-Forwarded-Proto": {"http"}}, 200, "GET http://gw/ 172.16.0.1"},
		"Envoy, nothing":            {envoy, "GET", "/decisions/envoy", http.Header{"X-Forwarded-Proto": {"http"}}, 400, ""},
		"Envoy, no scheme":          {envoy, "GET", "/decisions/envoy/x", nil, 400, ""},
		"Envoy, two schemes":        {envoy, "GET", "/decisions/envoy/x", http.Header{"X-Forwarded-Proto": {"http", "https"}}, 400, ""},
		"Envoy, encoded dots":       {envoy, "GET", "/decisions/envoy/public/%2e%2e/admin", http.Header{"X-Forwarded-Proto": {"http"}}, 400, ""},
		"Envoy, dots":               {envoy, "GET", "/decisions/envoy/public/../admin", http.Header{"X-Forwarded-Proto": {"http"}}, 400, ""},
		"Envoy, dots to leave":      {envoy, "GET", "/decisions/envoy/../nginx", http.Header{"X-Forwarded-Proto": {"http"}}, 400, ""},
		"Envoy, others' fields":     {envoy, "GET", "/decisions/envoy/x", http.Header{"X-Forwarded-Proto": {"http"}, "X-Forwarded-Uri": {"/public"}, "X-Forwarded-Host": {"evil"}, "X-Forwarded-Method": {"PUT"}, "X-Original-Url": {"http://evil/"}}, 200, "GET http://gw/x 172.16.0.1"},
		"Envoy's from a stranger":   {"192.0.2.1:1", "GET", "/decisions/envoy/x", http.Header{"X-Forwarded-Proto": {"http"}}, 403, ""},
		"Envoy's from nginx":        {nginx, "GET", "/decisions/envoy/x", http.Header{"X-Forwarded-Proto": {"http"}}, 403, ""},
		"Traefik's from nginx":      {nginx, "GET", "/decisions", http.Header{"X-Forwarded-Uri": {"/x"}}, 403, ""},
		"a path that begins so":     {traefik, "GET", "/decisions/nginxes", nil, 200, "GET http://gw/nginxes 192.168.0.1"},
		"a path below nginx's":      {traefik, "GET", "/decisions/nginx/x", nil, 200, "GET http://gw/nginx/x 192.168.0.1"},
		"a path like Envoy's":       {traefik, "GET", "/decisions/envoys", nil, 200, "GET http://gw/envoys 192.168.0.1"},
		"nginx's fields at Traefik": {traefik, "GET", "/decisions", http.Header{"X-Original-Uri": {"/public"}, "X-Original-Method": {"PUT"}, "X-Forwarded-Uri": {"/x"}}, 200, "GET http://gw/x 192.168.0.1"},
	} {
		judged := ""
		h := points(t, seen(&judged))
		r := httptest.NewRequest(c.method, "http://gw"+c.target, nil)
		r.RemoteAddr = c.remote
		if r.Header = c.header; r.Header == nil {
			r.Header = http.Header{}
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != c.status || judged != c.judged || w.Header().Get(edge.DecisionID) == "" {
			t.Errorf("%s: got %d, judged %q, want %d, %q", name, w.Code, judged, c.status, c.judged)
		}
	}
}

func TestAnAdapterWithoutPeersDoesNotExist(t *testing.T) {
	for _, path := range []string{"/nginx", "/envoy", "/envoy/x"} {
		w, judged := ask(t, proxy, "GET", Prefix+path, "gw", http.Header{"X-Original-Url": {"http://evil/public"}, "X-Original-Method": {"PUT"}})
		if w.Code != 200 || judged != "GET http://gw"+path+" 10.0.0.1" {
			t.Errorf("%s: got %d, judged %q", path, w.Code, judged)
		}
	}
}

func TestNginxGetsStatusesThatItUnderstands(t *testing.T) {
	for status, want := range map[int]int{301: 401, 302: 401, 400: 403, 401: 401, 403: 403, 404: 403, 409: 403, 413: 403, 429: 403, 500: 500, 503: 503, 504: 504, 0: 500} {
		shared := http.Header{"Location": {"https://login.example.com/"}, "Www-Authenticate": {"Bearer", "Basic"}}
		h := points(t, decide(func(*access.Request) access.Decision {
			return access.Decision{Refusal: access.Response{Status: status, Header: shared, Body: []byte("no")}}
		}))
		r := httptest.NewRequest("GET", "/decisions/nginx", nil)
		r.RemoteAddr = "10.0.0.1:1"
		r.Header = http.Header{"X-Original-Method": {"GET"}, "X-Original-Url": {"http://a/"}}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		real := statusText(max(status, 0))
		if status == 0 {
			real = "500"
		}
		if w.Code != want || w.Header().Get(Status) != real || status != 0 && (w.Header().Get("Location") == "" || len(w.Header()["Www-Authenticate"]) != 2) {
			t.Errorf("%d: got %d %v, want %d", status, w.Code, w.Header(), want)
		}
		if shared[Status] != nil {
			t.Error("a shared header was changed")
		}
	}
}

// identities own two fields, a cookie and Authorization.
type identities struct{ pass access.Pass }

func (d identities) Decide(_ context.Context, r *access.Request) access.Decision {
	return access.Decision{Allow: true, Pass: d.pass}
}
func (identities) OwnedHeaders() []string { return []string{"Authorization", "X-Role", "X-User-Id"} }
func (identities) OwnedCookies() []string { return []string{"user"} }

// A proxy that copies a field from the answer replaces what the client sent, whether
// the rule writes it or not.
func TestAClientsIdentityFieldsNeverSurviveAnAnswer(t *testing.T) {
	sent := http.Header{"X-User-Id": {"evil"}, "X-Role": {"admin"}, "Authorization": {"Bearer own"}, "Cookie": {"user=evil; a=b"}, "X-Other": {"x"}}
	for name, c := range map[string]struct {
		pass access.Pass
		want http.Header
	}{
		"nothing is set": {access.Pass{}, http.Header{"X-User-Id": {""}, "X-Role": {""}, "Authorization": {"Bearer own"}, "Cookie": {"a=b"}}},
		"some are set":   {access.Pass{Set: http.Header{"X-User-Id": {"alice"}}}, http.Header{"X-User-Id": {"alice"}, "X-Role": {""}, "Authorization": {"Bearer own"}, "Cookie": {"a=b"}}},
		"all are set": {access.Pass{Set: http.Header{"X-User-Id": {"alice"}, "X-Role": {"user"}, "Authorization": {"Bearer new"}}, Cookies: []*http.Cookie{{Name: "user", Value: "alice"}}},
			http.Header{"X-User-Id": {"alice"}, "X-Role": {"user"}, "Authorization": {"Bearer new"}, "Cookie": {"user=alice; a=b"}}},
		"one is removed": {access.Pass{Remove: []string{"Authorization", "X-Other"}}, http.Header{"X-User-Id": {""}, "X-Role": {""}, "Authorization": {""}, "X-Other": {""}, "Cookie": {"a=b"}}},
	} {
		h := points(t, identities{c.pass})
		r := httptest.NewRequest("GET", "/decisions/x", nil)
		r.Header = sent.Clone()
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		got := w.Header()
		got.Del(edge.DecisionID)
		got.Del("Content-Length")
		if diff := cmp.Diff(c.want, got); diff != "" || w.Code != 200 {
			t.Errorf("%s: %d (-want +got):\n%s", name, w.Code, diff)
		}
	}
}

// nginx, Traefik, Caddy and HAProxy cannot be told to remove X_User_Id.
func TestAnotherSpellingOfAnIdentityFieldIsRefusedWhereItCannotBeRemoved(t *testing.T) {
	h := points(t, identities{})
	for _, name := range []string{"X_user_id", "X.user.id", "X_user-Id", "X_role"} {
		for target, remote := range map[string]string{"/decisions/x": "192.168.0.1:1", "/decisions/nginx": "10.0.0.1:1", "/decisions/envoy/x": "172.16.0.1:1"} {
			r := httptest.NewRequest("GET", target, nil)
			r.RemoteAddr = remote
			r.Header = http.Header{"X-Original-Method": {"GET"}, "X-Original-Url": {"http://a/"}, "X-Forwarded-Proto": {"http"}, name: {"evil"}}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			removed := strings.Contains(","+w.Header().Get("X-Envoy-Auth-Headers-To-Remove")+",", ","+strings.ToLower(name)+",")
			refused := w.Code == 400 || w.Code == 403 && w.Header().Get(Status) == "400"
			if envoy := strings.Contains(target, "envoy"); envoy != removed || envoy == refused {
				t.Errorf("%s at %s: got %d %v", name, target, w.Code, w.Header())
			}
		}
	}
}
