package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// node is one running gateway.
type node struct {
	name               string
	pid                int
	rules              int
	proxy, api, public string
	token, basic       string
}

const form = "application/x-www-form-urlencoded"

// gatewayCases are the requests that the gateway decides.
func (n *node) gatewayCases() []kase {
	bearer := fmt.Sprintf("wrk.headers[\"Authorization\"] = \"Bearer %s\"\n", n.token)
	return []kase{
		{name: "proxy: anonymous, allow, header", pid: n.pid, url: n.proxy + "/anonymous/x", goal: "<= 0.50 x user, <= 75 k"},
		{name: "proxy: bearer, scope, policy, id_token", pid: n.pid, url: n.proxy + "/bearer/x", script: bearer, goal: "<= 0.77 x user, <= 115 k"},
		{name: "decisions: anonymous", pid: n.pid, url: n.api + "/decisions/anonymous/x", goal: "<= 0.33 x user, <= 50 k"},
		{name: "decisions: bearer", pid: n.pid, url: n.api + "/decisions/bearer/x", script: bearer, goal: "<= 0.57 x user, <= 85 k"},
	}
}

// spreadCase asks for the resources of all rules in turn.
func (n *node) spreadCase() kase {
	return kase{name: "proxy: anonymous, spread over 10 000 rules", pid: n.pid, url: n.proxy + "/resources/1/items", goal: "within 10 % of one rule",
		script: `local n = 0
request = function()
  n = (n * 7919 + 1) % 10000
  return wrk.format("GET", "/resources/" .. n .. "/items")
end
`}
}

// tokenCase issues tokens.
func (n *node) tokenCase(name, goal string) kase {
	return kase{name: name, pid: n.pid, url: n.public + "/oauth2/token", goal: goal,
		script: post("grant_type=client_credentials&scope=orders") + fmt.Sprintf("wrk.headers[\"Authorization\"] = %q\n", n.basic)}
}

// serverCases are the requests to the authorization server.
func (n *node) serverCases() []kase {
	return []kase{
		n.tokenCase("token: client_credentials, embedded", ">= 5 000/s"),
		{name: "introspection", pid: n.pid, url: n.api + "/oauth2/introspect", script: post("token=" + n.token), goal: ">= 20 000/s"},
		{name: "discovery", pid: n.pid, url: n.public + "/.well-known/openid-configuration", against: bareDocument, goal: "<= 1.1 x bare handler"},
		{name: "JWKS", pid: n.pid, url: n.public + "/.well-known/jwks.json", against: bareDocument, goal: "<= 1.1 x bare handler"},
	}
}

// post is a script that sends a form.
func post(body string) string {
	return fmt.Sprintf("wrk.method = \"POST\"\nwrk.headers[\"Content-Type\"] = %q\nwrk.body = %q\n", form, body)
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
	var addresses, ports [3]string
	for i := range addresses {
		if addresses[i], err = freeAddress(); err != nil {
			return node{}, err
		}
		_, ports[i], _ = net.SplitHostPort(addresses[i])
	}
	g := node{name: name, rules: n, proxy: "http://" + addresses[0], api: "http://" + addresses[1], public: "http://" + addresses[2]}
	if dsn == "" {
		dsn = "sqlite://" + file(".db")
	}
	text := fmt.Sprintf(`dsn: %q
auto_migrate: true
secrets: {system: [a-secret-for-the-load-program]}
access_rules: {repositories: ["file://%s"]}
serve:
  proxy: {host: 127.0.0.1, port: %s}
  api: {host: 127.0.0.1, port: %s}
  public: {host: 127.0.0.1, port: %s}
urls: {self: {issuer: %[6]s}, login: "http://login.invalid/", consent: "http://consent.invalid/"}
mutators: {id_token: {config: {issuer_url: %[6]s}}}
`, dsn, file("-rules.json"), ports[0], ports[1], ports[2], g.public)
	if err := os.WriteFile(file(".yaml"), []byte(text), 0o600); err != nil {
		return node{}, err
	}
	output, err := os.Create(file(".log"))
	if err != nil {
		return node{}, err
	}
	started := time.Now()
	if g.pid, err = l.start(l.binary, output, "serve", "all", "-c", file(".yaml")); err != nil {
		return node{}, err
	}
	if err := wait(g.api + "/health/ready"); err != nil {
		text, _ := os.ReadFile(output.Name())
		return node{}, fmt.Errorf("%w\n%s", err, text)
	}
	fmt.Printf("%s: ready %v after start, with %d rules\n", name, time.Since(started).Round(time.Millisecond), n+2)
	return g, g.prepare()
}

// ruleFile is a rule for each kind of request and n for the resources 0 to n-1.
func ruleFile(upstream string, n int) []map[string]any {
	var rules []map[string]any
	rule := func(id, pattern string, more map[string]any) {
		r := map[string]any{
			"id": id, "match": map[string]any{"url": pattern, "methods": []string{"GET"}}, "upstream": map[string]any{"url": upstream},
			"authenticators": []any{map[string]any{"handler": "anonymous"}}, "authorizer": map[string]any{"handler": "allow"},
			"mutators": []any{map[string]any{"handler": "header", "config": map[string]any{"headers": map[string]any{"X-User": "{{ print .Subject }}"}}}},
		}
		for k, v := range more {
			r[k] = v
		}
		rules = append(rules, r)
	}
	rule("anonymous", "http://<[^/]+>/anonymous/<.*>", nil)
	rule("bearer", "http://<[^/]+>/bearer/<.*>", map[string]any{
		"authenticators": []any{map[string]any{"handler": "oauth2_introspection", "config": map[string]any{"required_scope": []string{"orders"}}}},
		"authorizer": map[string]any{"handler": "policy", "config": map[string]any{
			"resource": "orders:{{ .MatchContext.URL.Path }}", "action": "read"}},
		"mutators": []any{map[string]any{"handler": "id_token"}},
	})
	for i := range n {
		rule(fmt.Sprintf("resource-%d", i), fmt.Sprintf("http://<[^/]+>/resources/%d/<(items|parts)>", i), nil)
	}
	return rules
}

// prepare creates a client, a policy and a token.
func (n *node) prepare() error {
	var client struct {
		Secret string `json:"client_secret"`
	}
	registration := `{"client_id":"load","grant_types":["client_credentials","authorization_code","refresh_token"],"response_types":["code"],
		"redirect_uris":["` + callback + `"],"scope":"orders offline_access"}`
	if err := send(http.MethodPost, n.api+"/clients", "application/json", registration, "", &client); err != nil {
		return err
	}
	policy := `{"id":"orders","description":"","subjects":["load"],"effect":"allow","resources":["orders:<.*>"],"actions":["read"]}`
	if err := send(http.MethodPost, n.api+"/policies", "application/json", policy, "", nil); err != nil {
		return err
	}
	r, _ := http.NewRequest(http.MethodGet, "http://x", nil)
	r.SetBasicAuth("load", url.QueryEscape(client.Secret))
	n.basic = r.Header.Get("Authorization")
	var err error
	n.token, err = n.issue()
	return err
}

// issue returns a fresh token.
func (n *node) issue() (string, error) {
	var token struct {
		AccessToken string `json:"access_token"`
	}
	err := send(http.MethodPost, n.public+"/oauth2/token", form, "grant_type=client_credentials&scope=orders", n.basic, &token)
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
					err = send(http.MethodGet, n.proxy+"/bearer/x", "", "", "Bearer "+token, nil)
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
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if res, err := client.Get(address); err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return nil
			}
		}
	}
	return fmt.Errorf("%s does not answer 200", address)
}
