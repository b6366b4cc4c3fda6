package authn

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/dpop"
	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/internal/testca"
)

// contract is how one authenticator must behave; every handler of the catalog has
// at least one row.
type contract struct {
	handler, config string
	wrongType       string          // config with a member of a wrong type
	good            *access.Request // nil: nothing is good enough
	subject         string          // of the good request
	none            string          // outcome without credentials
	garbage         string          // outcome with garbage in the place of credentials
	offline         bool            // asks nobody, so that a cancelled context does not matter
	challenges      string          // what it can be asked for, separated by |
}

func contracts(t *testing.T) (Deps, []contract) {
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.PostFormValue("token") == "good" {
			w.Write([]byte(`{"active":true,"sub":"alice"}`))
			return
		}
		w.Write([]byte(`{"active":false}`))
	}))
	t.Cleanup(endpoint.Close)
	others := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, secret, _ := r.BasicAuth()
		if secret == "good" || r.Header.Get("Cookie") == "sid=good" || r.Header.Get("Authorization") == "Bearer good" {
			w.Write([]byte(`{"sub":"alice","subject":"alice","access_token":"x"}`))
			return
		}
		w.WriteHeader(401)
	}))
	t.Cleanup(others.Close)
	check := `"check_session_url":"` + others.URL + `","retry":{"give_up_after":"0s"}`
	own := newIssuer(t)
	token := own.sign(t, "", nil, claims(nil))
	d := Deps{
		Introspector: server{"good": {Active: true, Subject: "alice"}},
		OwnKeys:      own,
		Now:          newClock().Now,
		Provider:     loginProvider(own),
		Secrets:      [][]byte{[]byte("a secret of the tests")},
	}
	url := `"introspection_url":"` + endpoint.URL + `"`
	return d, []contract{
		{handler: "noop", config: `{}`, wrongType: `[]`, good: bearerRequest("x"), none: "subject ", garbage: "subject ", offline: true},
		{handler: "unauthorized", config: `{}`, wrongType: `[]`, none: "unauthenticated", garbage: "unauthenticated", offline: true},
		{handler: "anonymous", config: `{}`, wrongType: `{"subject":1}`, good: request("https://api.example/"), subject: "anonymous",
			none: "subject anonymous", garbage: "no credentials", offline: true},
		{handler: "oidc_session", config: `{"client_id":"web"}`, wrongType: `{"scope":"openid"}`,
			good: login(t, d, `{"client_id":"web"}`), subject: "alice", none: "no credentials", garbage: "no credentials", offline: true, challenges: `Session`},
		{handler: "client_certificate", config: `{}`, wrongType: `{"ca":"file:///a"}`, good: shown(testca.New(t, "root", start).Issue(t, nil), true),
			subject: "CN=client", none: "no credentials", garbage: "no credentials", offline: true},
		{handler: "jwt", config: `{"jwks_urls":["` + own.location(t) + `"],"allowed_algorithms":["EdDSA"]}`, wrongType: `{"jwks_ttl":30}`,
			good: bearerRequest(token), subject: "alice", none: "no credentials", garbage: "unauthenticated", offline: true, challenges: `Bearer`},
		{handler: "jwt", config: `{}`, wrongType: `{"jwks_urls":"https://a"}`,
			good: bearerRequest(token), subject: "alice", none: "no credentials", garbage: "unauthenticated", offline: true, challenges: `Bearer`},
		{handler: "jwt", config: `{"require_binding":"any"}`, wrongType: `{"require_binding":true}`, challenges: `DPoP algs="` + strings.Join(dpop.DefaultAlgorithms(), " ") + `"|Bearer`,
			none: "no credentials", garbage: "unauthenticated", offline: true},
		{handler: "jwt", config: `{"require_binding":"dpop"}`, wrongType: `{"dpop":1}`, challenges: `DPoP algs="` + strings.Join(dpop.DefaultAlgorithms(), " ") + `"`,
			none: "no credentials", garbage: "unauthenticated", offline: true},
		{handler: "jwt", config: `{"require_binding":"mtls"}`, wrongType: `{"dpop":[]}`, challenges: `Bearer`,
			none: "no credentials", garbage: "unauthenticated", offline: true},
		{handler: "oauth2_introspection", config: `{}`, wrongType: `{"required_scope":"read"}`,
			good: bearerRequest("good"), subject: "alice", none: "no credentials", garbage: "unauthenticated", challenges: `Bearer`},
		{handler: "oauth2_introspection", config: `{` + url + `}`, wrongType: `{"cache":{"ttl":60}}`,
			good: bearerRequest("good"), subject: "alice", none: "no credentials", garbage: "unauthenticated", challenges: `Bearer`},
		{handler: "oauth2_introspection", config: `{` + url + `,"cache":{"enabled":true}}`, wrongType: `{"retry":"often"}`,
			good: bearerRequest("good"), subject: "alice", none: "no credentials", garbage: "unauthenticated", challenges: `Bearer`},
		{handler: "cookie_session", config: `{` + check + `}`, wrongType: `{"only":"sid"}`,
			good: request("https://api.example/", "Cookie", "sid=good"), subject: "alice", none: "no credentials", garbage: "no credentials"},
		{handler: "cookie_session", config: `{` + check + `,"cache":{"enabled":true}}`, wrongType: `{"cache":true}`,
			good: request("https://api.example/", "Cookie", "sid=good"), subject: "alice", none: "no credentials", garbage: "no credentials"},
		{handler: "bearer_token", config: `{` + check + `}`, wrongType: `{"prefix":1}`,
			good: bearerRequest("good"), subject: "alice", none: "no credentials", garbage: "unauthenticated", challenges: `Bearer`},
		{handler: "bearer_token", config: `{` + check + `,"cache":{"enabled":true}}`, wrongType: `{"token_from":"header"}`,
			good: bearerRequest("good"), subject: "alice", none: "no credentials", garbage: "unauthenticated", challenges: `Bearer`},
		{handler: "basic_auth", config: `{"users":[{"username":"alice","hash":"` + bcrypted("good") + `"}]}`, wrongType: `{"users":{"alice":"x"}}`,
			good: basicRequest("alice", "good"), subject: "alice", none: "no credentials", garbage: "no credentials", challenges: `Basic realm="gatewarden", charset="UTF-8"`},
		{handler: "api_key", config: keyConfig(), wrongType: `{"keys":[{"scope":"read"}]}`,
			good: request("https://api.example/", "X-Api-Key", keyA), subject: "alice", none: "no credentials", garbage: "no credentials", offline: true},
		{handler: "api_key", config: keyConfig(`"scheme":"Bearer"`), wrongType: `{"forward":"yes"}`,
			good: bearerRequest(keyA), subject: "alice", none: "no credentials", garbage: "unauthenticated", offline: true, challenges: `Bearer`},
		{handler: "oauth2_client_credentials", config: `{"token_url":"` + others.URL + `"}`, wrongType: `{"required_scope":"a"}`,
			good: basicRequest("alice", "good"), subject: "alice", none: "no credentials", garbage: "no credentials", challenges: `Basic`},
		{handler: "oauth2_client_credentials", config: `{"token_url":"` + others.URL + `","cache":{"enabled":true}}`, wrongType: `{"cache":{"max_tokens":"1"}}`,
			good: basicRequest("alice", "good"), subject: "alice", none: "no credentials", garbage: "no credentials", challenges: `Basic`},
	}
}

func TestEveryAuthenticatorKeepsTheContract(t *testing.T) {
	d, rows := contracts(t)
	catalog := Catalog(d)
	missing := map[string]bool{}
	for name := range catalog {
		missing[name] = true
	}
	for _, c := range rows {
		delete(missing, c.handler)
		t.Run(c.handler+" "+c.config, func(t *testing.T) { keepsContract(t, d, c) })
	}
	for name := range missing {
		t.Errorf("authenticator %s has no row in the contract table", name)
	}
}

func keepsContract(t *testing.T, d Deps, c contract) {
	catalog := Catalog(d)
	a := must(catalog.Build(c.handler, nil, []byte(c.config)))(t)
	ask := func(ctx context.Context, r *access.Request) string { return outcome(a.Authenticate(ctx, r)) }

	if got := ask(t.Context(), request("https://api.example/")); got != c.none {
		t.Errorf("no credentials: got %s, want %s", got, c.none)
	}
	challenges := ""
	if asked, ok := a.(Challengeable); ok {
		challenges = strings.Join(asked.Challenges(), "|")
	}
	if challenges != c.challenges {
		t.Errorf("it can be asked for %s, want %s", challenges, c.challenges)
	}
	for _, garbage := range []string{"Bearer", "bearer  ", "Bearer a b", "Bearer \x00", "Bearer ü.ü.ü", "Bearer a.b.c", "Bearer ..",
		"Bearer " + strings.Repeat("a.", 2) + strings.Repeat("A", 1<<20)} {
		if got := ask(t.Context(), request("https://api.example/", "Authorization", garbage)); got != c.garbage {
			t.Errorf("%.20q: got %s, want %s", garbage, got, c.garbage)
		}
	}
	for _, config := range []string{`{"no_such_field":1}`, `{"subject":"a","subject":"b"}`, c.wrongType, `{`, `"x"`} {
		if _, err := catalog.Build(c.handler, nil, []byte(config)); err == nil || !strings.Contains(err.Error(), c.handler) {
			t.Errorf("config %s: got %v, want an error that names the handler", config, err)
		}
	}
	if c.good == nil {
		return
	}
	want := "subject " + c.subject
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 20 {
				if got := ask(t.Context(), c.good); got != want {
					t.Errorf("good credentials: got %s, want %s", got, want)
					return
				}
			}
		})
	}
	wg.Wait()

	if lease, ok := a.(access.Lease); ok {
		if _, err := lease.Renew(t.Context(), c.good); err != nil {
			t.Errorf("good credentials are not renewed: %v", err)
		}
		for _, bad := range []*access.Request{request("https://api.example/"), request("https://api.example/", "Authorization", "Bearer a.b.c")} {
			if until, err := lease.Renew(t.Context(), bad); err == nil {
				t.Errorf("bad credentials are renewed until %v", until)
			}
		}
	}

	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	late, cancelLate := context.WithTimeout(t.Context(), -time.Second)
	defer cancelLate()
	fresh := must(Catalog(d).Build(c.handler, nil, []byte(c.config)))(t) // with empty caches
	for wanted, ctx := range map[string]context.Context{"unavailable": cancelled, "timeout": late} {
		if c.offline {
			wanted = want
		}
		s, err := fresh.Authenticate(ctx, c.good)
		if got := outcome(s, err); got != wanted {
			t.Errorf("context that is over: got %s, want %s", got, wanted)
		}
		if err != nil && (errors.Is(err, ErrNoCredentials) || s.ID != "" || fault.ReasonOf(err) == "") {
			t.Errorf("context that is over: got %+v, %v", s, err)
		}
	}
	if s, _ := a.Authenticate(t.Context(), c.good); s.Via != c.handler {
		t.Errorf("Via is %q, want %q", s.Via, c.handler)
	}
}
