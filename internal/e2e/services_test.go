package e2e

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// oathkeeperServices has the sections of handlers that ask services, with every key of
// Oathkeeper's reference configuration.
const oathkeeperServices = `access_rules:
  repositories: [file://DIR/rules.yml]
authenticators:
  anonymous: {enabled: true, config: {subject: peter}}
authorizers:
  allow: {enabled: true}
  deny: {enabled: true}
  keto_engine_acp_ory:
    enabled: true
    config:
      base_url: SERVICES
      required_action: "read"
      required_resource: "articles:{{ printIndex .MatchContext.RegexpCaptureGroups 0 }}"
      subject: "users:{{ print .Subject }}"
      flavor: regex
  remote:
    enabled: true
    config:
      remote: SERVICES/remote
      headers:
        X-User: "{{ print .Subject }}"
      forward_response_headers_to_upstream: [X-Role]
      retry: {give_up_after: 3s, max_delay: 100ms}
  remote_json:
    enabled: true
    config:
      remote: SERVICES/remote-json
      headers:
        X-User: "{{ print .Subject }}"
      payload: |
        {"subject": "{{ print .Subject }}", "resource": "{{ printIndex .MatchContext.RegexpCaptureGroups 0 }}"}
      forward_response_headers_to_upstream: [X-Team]
      retry: {give_up_after: 3s, max_delay: 100ms}
mutators:
  noop: {enabled: true}
  header: {enabled: true, config: {headers: {X-Seen: "{{ .Header.Get \"X-Role\" }}"}}}
`

const serviceRules = `- id: remote
  upstream: {url: "UPSTREAM"}
  match: {url: "http://127.0.0.1:4455/remote/<.*>", methods: [GET, POST]}
  authenticators: [{handler: anonymous}]
  authorizer: {handler: remote}
  mutators: [{handler: header}]
- id: remote_json
  upstream: {url: "UPSTREAM"}
  match: {url: "http://127.0.0.1:4455/json/<.*>", methods: [GET]}
  authenticators: [{handler: anonymous}]
  authorizer: {handler: remote_json}
  mutators: [{handler: noop}]
- id: keto
  upstream: {url: "UPSTREAM"}
  match: {url: "http://127.0.0.1:4455/keto/<.*>", methods: [GET]}
  authenticators: [{handler: anonymous}]
  authorizer: {handler: keto_engine_acp_ory}
  mutators: [{handler: noop}]
- id: several
  upstream: {url: "UPSTREAM"}
  match: {url: "http://127.0.0.1:4455/several/<.*>", methods: [GET]}
  authenticators: [{handler: anonymous}]
  authorizers:
    - handler: cel
      config: {expressions: [{expression: 'captures[0] != "closed"', reason: closed, message: It is closed.}]}
    - handler: remote_json
    - handler: remote
  mutators: [{handler: header}]
`

// questions is a server that decides by what it is asked and keeps the questions.
func questions(t *testing.T) (server *httptest.Server, asked func() map[string]string) {
	t.Helper()
	got := map[string]string{}
	server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got[r.URL.Path] = r.Header.Get("X-User") + " " + string(body)
		w.Header().Set("X-Role", "editor")
		w.Header().Set("X-Team", "red")
		w.Header().Set("X-Admin", "yes")
		switch {
		case strings.Contains(string(body), "denied"):
			w.WriteHeader(http.StatusForbidden)
		case strings.Contains(string(body), "down"):
			w.WriteHeader(http.StatusNotImplemented)
		case strings.HasPrefix(r.URL.Path, "/engines/"):
			_, _ = io.WriteString(w, `{"allowed":true}`)
		}
	}))
	t.Cleanup(server.Close)
	return server, func() map[string]string { return got }
}

func TestTheReferenceConfigurationOfAuthorizersWorksUnchanged(t *testing.T) {
	services, asked := questions(t)
	fill := strings.NewReplacer("SERVICES", services.URL)
	dir := files(t, upstream(t).URL, map[string]string{"oathkeeper.yml": fill.Replace(oathkeeperServices), "rules.yml": serviceRules})
	p := start(t, settings{files: []string{filepath.Join(dir, "oathkeeper.yml")}, keys: map[string]string{"serve.proxy.trusted_proxies": "127.0.0.1"}})
	ask := func(method, path, body string) answer {
		return send(t, method, p.proxy+path, body, "X-Forwarded-Host", "127.0.0.1:4455", "X-Role", "admin", "x_team", "blue", "X-Admin", "no")
	}
	for _, c := range []struct {
		method, path, body string
		want               int
		question           string
	}{
		{"GET", "/remote/a", "", 200, "/remote peter "},
		{"POST", "/remote/a", "fine", 200, "/remote peter fine"},
		{"POST", "/remote/a", "denied", 403, "/remote peter denied"},
		{"POST", "/remote/a", "down", 503, "/remote peter down"},
		{"GET", "/json/a", "", 200, `/remote-json peter {"subject": "peter", "resource": "a"}` + "\n"},
		{"GET", "/json/denied", "", 403, ""},
		{"GET", "/keto/a", "", 200, ""},
		{"GET", "/keto/denied", "", 403, ""},
		{"GET", "/keto/down", "", 503, ""},
		{"GET", "/several/a", "", 200, ""},
		{"GET", "/several/closed", "", 403, ""},
		{"GET", "/several/denied", "", 403, ""},
	} {
		a := ask(c.method, c.path, c.body)
		if a.status != c.want {
			t.Errorf("%s %s %s: got %d %s, want %d", c.method, c.path, c.body, a.status, a.body, c.want)
		}
		if path, said, found := strings.Cut(c.question, " "); found && asked()[path] != said {
			t.Errorf("%s %s: the service was asked %q, want %q", c.method, c.path, asked()[path], said)
		}
	}
	var q map[string]any
	if err := json.Unmarshal([]byte(strings.TrimSpace(asked()["/engines/acp/ory/regex/allowed"])), &q); err != nil {
		t.Fatal(err)
	}
	delete(q, "context")
	if diff := cmp.Diff(map[string]any{"subject": "users:peter", "action": "read", "resource": "articles:down"}, q); diff != "" {
		t.Errorf("Keto was asked (-want +got):\n%s", diff)
	}

	var told seen
	ask("POST", "/remote/a", "fine").want(t, http.StatusOK).decode(t, &told)
	got := []string{told.Header.Get("X-Role"), told.Header.Get("X-Seen"), told.Header.Get("X-Team"), told.Header.Get("X-Admin"), told.Header.Get("X_team")}
	if diff := cmp.Diff([]string{"editor", "editor", "", "no", ""}, got); diff != "" {
		t.Errorf("the upstream was told (-want +got):\n%s", diff)
	}
	var both seen
	ask("GET", "/several/a", "").want(t, http.StatusOK).decode(t, &both)
	if got := both.Header.Get("X-Role") + both.Header.Get("X-Team"); got != "editorred" {
		t.Errorf("fields of several authorizers: got %q", got)
	}
}

// oathkeeperHydrator has every key of Oathkeeper's reference configuration of hydrator.
const oathkeeperHydrator = `access_rules:
  repositories: [file://DIR/rules.yml]
authenticators:
  anonymous: {enabled: true, config: {subject: peter}}
authorizers:
  allow: {enabled: true}
mutators:
  hydrator:
    enabled: true
    config:
      api:
        url: SERVICES/hydrate
        auth: {basic: {username: user, password: pass}}
        retry: {give_up_after: 2s, max_delay: 100ms}
      cache: {enabled: true, ttl: 60s}
  header: {enabled: true, config: {headers: {X-Plan: "{{ print .Extra.plan }}"}}}
`

func TestTheReferenceConfigurationOfTheHydratorWorksUnchanged(t *testing.T) {
	asked := 0
	services := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		var s map[string]any
		body, _ := io.ReadAll(r.Body)
		if user, password, ok := r.BasicAuth(); !ok || user+password != "userpass" || json.Unmarshal(body, &s) != nil || strings.Contains(string(body), "secret") || len(r.Cookies()) > 0 {
			t.Errorf("the hydrator was asked %v %s", r.Header, body)
		}
		s["extra"] = map[string]any{"plan": "gold"}
		_ = json.NewEncoder(w).Encode(s)
	}))
	t.Cleanup(services.Close)
	fill := strings.NewReplacer("SERVICES", services.URL)
	dir := files(t, upstream(t).URL, map[string]string{"oathkeeper.yml": fill.Replace(oathkeeperHydrator), "rules.yml": `- id: hydrated
  upstream: {url: "UPSTREAM"}
  match: {url: "http://127.0.0.1:4455/<.*>", methods: [GET]}
  authenticators: [{handler: anonymous}]
  authorizer: {handler: allow}
  mutators: [{handler: hydrator}, {handler: header}]
`})
	p := start(t, settings{files: []string{filepath.Join(dir, "oathkeeper.yml")}, keys: map[string]string{"serve.proxy.trusted_proxies": "127.0.0.1"}})
	for range 2 {
		var told seen
		send(t, "GET", p.proxy+"/a", "", "X-Forwarded-Host", "127.0.0.1:4455", "Cookie", "session=secret").want(t, http.StatusOK).decode(t, &told)
		if told.Header.Get("X-Plan") != "gold" || told.Header.Get("Cookie") != "session=secret" {
			t.Errorf("the upstream was told %v", told.Header)
		}
	}
	if asked != 1 {
		t.Errorf("the hydrator was asked %d times, want once", asked)
	}
}

func TestATokenIsExchangedAtTheEmbeddedServer(t *testing.T) {
	api := upstream(t)
	p := start(t, settings{keys: map[string]string{"serve.proxy.trusted_proxies": "127.0.0.1"}, rules: `[{"id": "exchanged", "upstream": {"url": "` + api.URL + `"},
		"match": {"url": "http://127.0.0.1:4455/<.*>", "methods": ["GET"]}, "authenticators": [{"handler": "oauth2_introspection"}], "authorizer": {"handler": "allow"},
		"mutators": [{"handler": "token_exchange", "config": {"client_id": "gate", "client_secret": "something-secure", "scope": ["read"]}}]}]`})
	post(t, p.management+"/clients", `{"client_id": "app", "client_secret": "something-secure", "scope": "read write", "grant_types": ["client_credentials"]}`).want(t, http.StatusCreated)
	post(t, p.management+"/clients", `{"client_id": "gate", "client_secret": "something-secure", "scope": "read", "grant_types": ["urn:ietf:params:oauth:grant-type:token-exchange"]}`).want(t, http.StatusCreated)
	ask := func(token string) answer {
		return send(t, "GET", p.proxy+"/a", "", "X-Forwarded-Host", "127.0.0.1:4455", "Authorization", "Bearer "+token)
	}
	token := clientToken(t, p, "app", "something-secure", "read write")
	var told seen
	ask(token).want(t, http.StatusOK).decode(t, &told)
	exchanged, found := strings.CutPrefix(told.Header.Get("Authorization"), "Bearer ")
	if !found || exchanged == token {
		t.Fatal("the client's own token went upstream")
	}
	var said struct {
		Active     bool
		Sub, Scope string
		ClientID   string `json:"client_id"`
		Act        struct{ Sub string }
	}
	send(t, "POST", p.management+"/oauth2/introspect", "token="+exchanged, "Content-Type", "application/x-www-form-urlencoded").want(t, http.StatusOK).decode(t, &said)
	if !said.Active || said.Sub != "app" || said.Scope != "read" || said.ClientID != "gate" || said.Act.Sub != "gate" {
		t.Errorf("the exchanged token is %+v", said)
	}
	// A token without the scope cannot get it.
	ask(clientToken(t, p, "app", "something-secure", "write")).want(t, http.StatusForbidden)
}

func TestATokenBesideTheOneThatWasJudgedIsNotExchanged(t *testing.T) {
	api := upstream(t)
	p := start(t, settings{keys: map[string]string{"serve.proxy.trusted_proxies": "127.0.0.1"}, rules: `[{"id": "exchanged", "upstream": {"url": "` + api.URL + `"},
		"match": {"url": "http://127.0.0.1:4455/<.*>", "methods": ["GET"]}, "authenticators": [{"handler": "oauth2_introspection", "config": {"token_from": {"header": "X-Token"}}}], "authorizer": {"handler": "allow"},
		"mutators": [{"handler": "token_exchange", "config": {"client_id": "gate", "client_secret": "something-secure"}}]}]`})
	post(t, p.management+"/clients", `{"client_id": "gate", "client_secret": "something-secure", "scope": "read", "grant_types": ["urn:ietf:params:oauth:grant-type:token-exchange"]}`).want(t, http.StatusCreated)
	tokens := map[string]string{}
	for _, id := range []string{"mallory", "alice"} {
		post(t, p.management+"/clients", `{"client_id": "`+id+`", "client_secret": "something-secure", "scope": "read", "grant_types": ["client_credentials"]}`).want(t, http.StatusCreated)
		tokens[id] = clientToken(t, p, id, "something-secure", "read")
	}
	var told seen
	send(t, "GET", p.proxy+"/a", "", "X-Forwarded-Host", "127.0.0.1:4455", "X-Token", tokens["mallory"], "Authorization", "Bearer "+tokens["alice"]).want(t, http.StatusOK).decode(t, &told)
	exchanged, _ := strings.CutPrefix(told.Header.Get("Authorization"), "Bearer ")
	var said struct{ Sub string }
	send(t, "POST", p.management+"/oauth2/introspect", "token="+exchanged, "Content-Type", "application/x-www-form-urlencoded").want(t, http.StatusOK).decode(t, &said)
	if said.Sub != "mallory" {
		t.Errorf("mallory was let in, and the upstream was told of %q", said.Sub)
	}
}
