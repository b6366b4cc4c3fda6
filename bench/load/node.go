package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// node is one running gateway.
type node struct {
	name               string
	rules              int    // beside those for each kind of request
	proxy, api, public server // one process
	// Credentials, all but token as values of Authorization.
	token, bearer, jwt, basic string
}

const form = "application/x-www-form-urlencoded"

// gatewayCases are the requests that the gateway decides and forwards.
func (n *node) gatewayCases() []kase {
	return []kase{
		{name: "proxy: anonymous, allow, header", at: n.proxy, path: "/anonymous/x", goal: "<= 0.50 x, <= 75 k"},
		{name: "proxy: bearer, scope, policy, id_token", at: n.proxy, path: "/bearer/x", authorization: n.bearer, goal: "<= 0.77 x, <= 115 k"},
		{name: "proxy: JWT, scope, policy, id_token", at: n.proxy, path: "/jwt-bearer/x", authorization: n.jwt, goal: "<= 0.77 x, <= 115 k"},
		{name: "decisions: anonymous", at: n.api, path: "/decisions/anonymous/x", goal: "<= 0.33 x, <= 50 k"},
		{name: "decisions: bearer", at: n.api, path: "/decisions/bearer/x", authorization: n.bearer, goal: "<= 0.57 x, <= 85 k"},
		{name: "decisions: JWT", at: n.api, path: "/decisions/jwt-bearer/x", authorization: n.jwt, goal: "<= 0.57 x, <= 85 k"},
	}
}

// adapterCases are the questions of other proxies.
func (n *node) adapterCases() []kase {
	nginx := func(path string) [][2]string {
		return [][2]string{{"X-Original-Method", "GET"}, {"X-Original-URI", path}, {"X-Original-Host", n.api.address}, {"X-Original-Proto", "http"}, {"X-Forwarded-For", "192.0.2.1"}}
	}
	question := fmt.Sprintf(`{"subject":{"type":"user","id":"x"},"resource":{"type":"route","id":"http://%s/anonymous/x"},"action":{"name":"GET"}}`, n.api.address)
	envoy := [][2]string{{"X-Forwarded-Proto", "http"}, {"X-Forwarded-For", "192.0.2.1"}}
	return []kase{
		{name: "decisions, nginx: anonymous", at: n.api, path: "/decisions/nginx", fields: nginx("/anonymous/x"), goal: "<= 0.33 x, <= 50 k"},
		{name: "decisions, nginx: bearer", at: n.api, path: "/decisions/nginx", fields: nginx("/bearer/x"), authorization: n.bearer, goal: "<= 0.57 x, <= 85 k"},
		{name: "decisions, Envoy: anonymous", at: n.api, path: "/decisions/envoy/anonymous/x", fields: envoy, goal: "<= 0.33 x, <= 50 k"},
		{name: "decisions, Envoy: bearer", at: n.api, path: "/decisions/envoy/bearer/x", fields: envoy, authorization: n.bearer, goal: "<= 0.57 x, <= 85 k"},
		{name: "decisions, AuthZEN: anonymous", at: n.api, path: "/access/v1/evaluation", json: question, goal: "<= 0.33 x, <= 50 k"},
	}
}

// kindCases are one request for each kind of work, on as many rules as n has.
func (n *node) kindCases() []kase {
	var cases []kase
	for _, k := range kinds {
		c := kase{name: fmt.Sprintf("%d rules: %s", max(n.rules, 1), k.name), at: n.proxy, path: "/" + k.path + "/x"}
		switch {
		case k.jwt:
			c.authorization = n.jwt
		case k.bearer:
			c.authorization = n.bearer
		}
		cases = append(cases, c)
	}
	return cases
}

// spreadCase asks for the resources of all rules in turn.
func (n *node) spreadCase() kase {
	return kase{name: fmt.Sprintf("proxy: anonymous, spread over %d rules", n.rules), at: n.proxy, path: "/resources/%d/items", spread: n.rules,
		goal: "within 10 % of one rule"}
}

// tokenCase issues tokens.
func (n *node) tokenCase(name, goal string) kase {
	return kase{name: name, at: n.public, path: "/oauth2/token", form: "grant_type=client_credentials&scope=orders", authorization: n.basic, goal: goal}
}

// serverCases are the requests to the authorization server.
func (n *node) serverCases() []kase {
	return []kase{
		n.tokenCase("token: client_credentials, embedded", ">= 5 000/s"),
		{name: "introspection", at: n.api, path: "/oauth2/introspect", form: "token=" + n.token, goal: ">= 20 000/s"},
		{name: "discovery", at: n.public, path: "/.well-known/openid-configuration", against: bareDocument, goal: "<= 1.1 x bare handler"},
		{name: "JWKS", at: n.public, path: "/.well-known/jwks.json", against: bareKeys, goal: "<= 1.1 x bare handler"},
	}
}

// gatewarden starts the program with rules for every case and n of their own. An
// empty dsn is an SQLite file.
func (l *load) gatewarden(name, upstream, dsn string, n int) (node, error) {
	rules, err := json.Marshal(ruleFile(upstream, n))
	if err != nil {
		return node{}, err
	}
	file := func(suffix string) string { return filepath.Join(l.dir, name+suffix) }
	if err := os.WriteFile(file("-rules.json"), rules, 0o600); err != nil {
		return node{}, err
	}
	if err := os.WriteFile(file("-keys.json"), l.issuer.jwk, 0o600); err != nil {
		return node{}, err
	}
	var addresses, ports [3]string
	for i := range addresses {
		if addresses[i], err = freeAddress(); err != nil {
			return node{}, err
		}
		_, ports[i], _ = net.SplitHostPort(addresses[i])
	}
	if dsn == "" {
		dsn = "sqlite://" + file(".db")
	}
	text := fmt.Sprintf(`dsn: %q
auto_migrate: true
secrets: {system: [a-secret-for-the-load-program]}
access_rules: {repositories: ["file://%s"]}
serve:
  proxy: {host: 127.0.0.1, port: %s}
  api:
    host: 127.0.0.1
    port: %s
    nginx: {trusted_proxies: [127.0.0.1/32]}
    envoy: {trusted_proxies: [127.0.0.1/32]}
  public: {host: 127.0.0.1, port: %s}
urls: {self: {issuer: %[6]q}, login: "http://login.invalid/", consent: "http://consent.invalid/"}
authenticators: {jwt: {config: {jwks_urls: ["file://%[7]s"], scope_strategy: exact}}}
mutators: {id_token: {config: {issuer_url: %[6]q}}}
`, dsn, file("-rules.json"), ports[0], ports[1], ports[2], "http://"+addresses[2], file("-keys.json"))
	if err := os.WriteFile(file(".yaml"), []byte(text), 0o600); err != nil {
		return node{}, err
	}
	output, err := os.Create(file(".log"))
	if err != nil {
		return node{}, err
	}
	started := time.Now()
	process, err := l.start(l.binary, output, "serve", "all", "-c", file(".yaml"))
	if err != nil {
		return node{}, err
	}
	g := node{name: name, rules: n, proxy: process.on(addresses[0]), api: process.on(addresses[1]), public: process.on(addresses[2])}
	if err := wait(g.api.url() + "/health/ready"); err != nil {
		text, _ := os.ReadFile(output.Name())
		return node{}, fmt.Errorf("%w\n%s", err, text)
	}
	if l.emulator == nil {
		fmt.Printf("%s: ready %v after start, with %d rules\n", name, time.Since(started).Round(time.Millisecond), n+len(kinds)+2)
	}
	return g, g.prepare(l.issuer)
}

// kind is one kind of work that a rule asks for.
type kind struct {
	name, path          string
	bearer, jwt         bool
	scope, policy, mint bool
}

// kinds are measured on few and on many rules.
var kinds = []kind{
	{name: "anonymous", path: "anonymous"},
	{name: "JWT", path: "jwt", jwt: true},
	{name: "introspected", path: "introspected", bearer: true},
	{name: "introspected, policy", path: "policy", bearer: true, policy: true},
	{name: "introspected, id_token", path: "minted", bearer: true, mint: true},
}

// everything is what the goals for tokens are set for.
var everything = []kind{
	{path: "bearer", bearer: true, scope: true, policy: true, mint: true},
	{path: "jwt-bearer", jwt: true, scope: true, policy: true, mint: true},
}

// ruleFile is a rule for each kind and n anonymous ones for the resources 0 to n-1.
func ruleFile(upstream string, n int) []map[string]any {
	var rules []map[string]any
	for _, k := range slices.Concat(kinds, everything) {
		rules = append(rules, k.rule(k.path, "http://<[^/]+>/"+k.path+"/<.*>", upstream))
	}
	for i := range n {
		rules = append(rules, kinds[0].rule(fmt.Sprintf("resource-%d", i), fmt.Sprintf("http://<[^/]+>/resources/%d/<(items|parts)>", i), upstream))
	}
	return rules
}

func (k kind) rule(id, pattern, upstream string) map[string]any {
	type object = map[string]any
	authenticator := object{"handler": "anonymous"}
	switch {
	case k.jwt:
		authenticator = object{"handler": "jwt"}
	case k.bearer:
		authenticator = object{"handler": "oauth2_introspection"}
	}
	if k.scope {
		authenticator["config"] = object{"required_scope": []string{"orders"}}
	}
	authorizer := object{"handler": "allow"}
	if k.policy {
		authorizer = object{"handler": "policy", "config": object{"resource": "orders:{{ .MatchContext.URL.Path }}", "action": "read"}}
	}
	mutator := object{"handler": "header", "config": object{"headers": object{"X-User": "{{ print .Subject }}"}}}
	if k.mint {
		mutator = object{"handler": "id_token"}
	}
	return object{
		"id": id, "match": object{"url": pattern, "methods": []string{"GET"}}, "upstream": object{"url": upstream},
		"authenticators": []any{authenticator}, "authorizer": authorizer, "mutators": []any{mutator},
	}
}

// prepare creates a client, a policy and tokens.
func (n *node) prepare(tokens issuer) error {
	var client struct {
		Secret string `json:"client_secret"`
	}
	registration := `{"client_id":"load","grant_types":["client_credentials","authorization_code","refresh_token"],"response_types":["code"],
		"redirect_uris":["` + callback + `"],"scope":"orders offline_access"}`
	if err := send(http.MethodPost, n.api.url()+"/clients", "application/json", registration, "", &client); err != nil {
		return err
	}
	policy := `{"id":"orders","description":"","subjects":["load"],"effect":"allow","resources":["orders:<.*>"],"actions":["read"]}`
	if err := send(http.MethodPost, n.api.url()+"/policies", "application/json", policy, "", nil); err != nil {
		return err
	}
	r, _ := http.NewRequest(http.MethodGet, "http://x", nil)
	r.SetBasicAuth("load", url.QueryEscape(client.Secret))
	n.basic = r.Header.Get("Authorization")
	var err error
	if n.token, err = n.issue(); err != nil {
		return err
	}
	jwt, err := tokens.token("load")
	n.bearer, n.jwt = "Bearer "+n.token, "Bearer "+jwt
	return err
}

// issue returns a fresh token.
func (n *node) issue() (string, error) {
	var token struct {
		AccessToken string `json:"access_token"`
	}
	err := send(http.MethodPost, n.public.url()+"/oauth2/token", form, "grant_type=client_credentials&scope=orders", n.basic, &token)
	return token.AccessToken, err
}

// useTokens issues count tokens and passes the proxy with each.
func (n *node) useTokens(count int) error {
	const workers = 32
	var wait sync.WaitGroup
	failed := make(chan error, workers)
	for range workers {
		wait.Go(func() {
			for range count / workers {
				token, err := n.issue()
				if err == nil {
					err = send(http.MethodGet, n.proxy.url()+"/bearer/x", "", "", "Bearer "+token, nil)
				}
				if err != nil {
					failed <- err
					return
				}
			}
		})
	}
	wait.Wait()
	close(failed)
	return <-failed
}

// client is for what is not measured by wrk.
var client = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 256},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

// send sends a request and decodes the answer, which must be 2xx.
func send(method, target, contentType, body, authorization string, answer any) error {
	r, err := http.NewRequest(method, target, strings.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", contentType)
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	res, err := client.Do(r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	var text json.RawMessage
	err = json.NewDecoder(res.Body).Decode(&text)
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("%s: %s %s", target, res.Status, text)
	}
	if answer == nil || err != nil {
		return err
	}
	return json.Unmarshal(text, answer)
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// wait polls until the address answers 200.
func wait(address string) error {
	client := &http.Client{Timeout: time.Second}
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if res, err := client.Get(address); err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return nil
			}
		}
	}
	return fmt.Errorf("%s does not answer 200", address)
}
