// Command load measures what one request costs the server process: CPU time from
// /proc and, where perf works, user-space instructions, over a fixed time of load
// by wrk. Every case is printed as a ratio (of instructions, or of user CPU time) to
// a bare tuned httputil.ReverseProxy that is measured in the same run, because
// machines differ and ratios do not.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

func main() {
	if len(os.Args) > 2 && os.Args[1] == "upstream" {
		exit(serveUpstream(os.Args[2]))
	}
	if len(os.Args) > 3 && os.Args[1] == "reference" {
		exit(serveReference(os.Args[2], os.Args[3]))
	}
	var l load
	flag.StringVar(&l.binary, "binary", "bin/gatewarden", "the program to measure")
	flag.DurationVar(&l.duration, "duration", 5*time.Second, "time of load for each case")
	flag.IntVar(&l.connections, "connections", 64, "connections")
	only := flag.String("only", "", "run the cases whose name matches this pattern")
	flag.Parse()
	l.only = regexp.MustCompile(*only)
	exit(l.run())
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// serveUpstream answers every request with a small body.
func serveUpstream(address string) error {
	body := []byte(`{"ok":true}`)
	return http.ListenAndServe(address, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Content-Type"] = []string{"application/json"}
		_, _ = w.Write(body)
	}))
}

// buffers is the pool of the reference.
type buffers chan []byte

func (b buffers) Get() []byte {
	select {
	case p := <-b:
		return p
	default:
		return make([]byte, 32<<10)
	}
}

func (b buffers) Put(p []byte) {
	select {
	case b <- p:
	default:
	}
}

// serveReference is what everything is compared with: ReverseProxy with a tuned
// transport and a buffer pool.
func serveReference(address, upstream string) error {
	target, err := url.Parse(upstream)
	if err != nil {
		return err
	}
	return http.ListenAndServe(address, &httputil.ReverseProxy{
		ErrorLog: log.New(io.Discard, "", 0), // wrk leaves in the middle of requests
		Rewrite:  func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport: &http.Transport{
			MaxIdleConns: 0, MaxIdleConnsPerHost: 512, IdleConnTimeout: 90 * time.Second,
			DisableCompression: true, WriteBufferSize: 4 << 10, ReadBufferSize: 4 << 10,
		},
		BufferPool: make(buffers, 256),
	})
}

// load is one run.
type load struct {
	binary      string
	duration    time.Duration
	connections int
	only        *regexp.Regexp
	dir         string
	children    []*exec.Cmd
}

// measure is what one case cost.
type measure struct {
	requests     int
	perSecond    float64
	p99          string
	user, system time.Duration // per request
	instructions float64       // per request, thousands, user space; 0: unknown
	failed       int
}

// kase is one kind of load.
type kase struct {
	name   string
	pid    int
	url    string
	script string // Lua for wrk
	goal   string
}

func (l *load) run() error {
	dir, err := os.MkdirTemp("", "gatewarden-load-")
	if err != nil {
		return err
	}
	l.dir = dir
	defer func() {
		for _, c := range l.children {
			_ = c.Process.Kill()
			_ = c.Wait()
		}
		_ = os.RemoveAll(dir)
	}()

	self, err := os.Executable()
	if err != nil {
		return err
	}
	upstream, err := freeAddress()
	if err != nil {
		return err
	}
	if _, err := l.start(self, nil, "upstream", upstream); err != nil {
		return err
	}
	bareAddress, err := freeAddress()
	if err != nil {
		return err
	}
	bare, err := l.start(self, nil, "reference", bareAddress, "http://"+upstream)
	if err != nil {
		return err
	}
	one, err := l.gatewarden("one", "http://"+upstream, 0)
	if err != nil {
		return err
	}
	many, err := l.gatewarden("many", "http://"+upstream, 10_000)
	if err != nil {
		return err
	}
	for _, address := range []string{upstream, bareAddress} {
		if err := wait("http://" + address + "/"); err != nil {
			return err
		}
	}

	bearer := fmt.Sprintf("wrk.headers[\"Authorization\"] = \"Bearer %s\"\n", one.token)
	form := "wrk.method = \"POST\"\nwrk.headers[\"Content-Type\"] = \"application/x-www-form-urlencoded\"\n"
	spread := `local n = 0
request = function()
  n = (n * 7919 + 1) % 10000
  return wrk.format("GET", "/resources/" .. n .. "/items")
end
`
	cases := []kase{
		{name: "bare ReverseProxy", pid: bare, url: "http://" + bareAddress + "/anonymous/x"},
		{name: "proxy: anonymous, allow, header", pid: one.pid, url: one.proxy + "/anonymous/x", goal: "<= 0.50 x bare, <= 75 k"},
		{name: "proxy: bearer, scope, policy, id_token", pid: one.pid, url: one.proxy + "/bearer/x", script: bearer, goal: "<= 115 k"},
		{name: "proxy: anonymous, 1 of 10 000 rules", pid: many.pid, url: many.proxy + "/resources/1/items", script: spread, goal: "within 10 % of one rule"},
		{name: "decisions: anonymous", pid: one.pid, url: one.api + "/decisions/anonymous/x", goal: "<= 50 k"},
		{name: "decisions: bearer", pid: one.pid, url: one.api + "/decisions/bearer/x", script: bearer, goal: "<= 85 k"},
		{name: "token: client_credentials", pid: one.pid, url: one.public + "/oauth2/token",
			script: form + "wrk.headers[\"Authorization\"] = \"" + one.basic + "\"\nwrk.body = \"grant_type=client_credentials&scope=orders\"\n", goal: ">= 5 000/s"},
		{name: "introspection", pid: one.pid, url: one.api + "/oauth2/introspect", script: form + "wrk.body = \"token=" + one.token + "\"\n", goal: ">= 20 000/s"},
		{name: "discovery", pid: one.pid, url: one.public + "/.well-known/openid-configuration", goal: "a cached byte slice"},
	}
	fmt.Printf("%-42s %9s %9s %8s %8s %8s %8s  %s\n", "case", "req/s", "p99", "user µs", "sys µs", "k instr", "x bare", "goal")
	var reference measure
	for i, c := range cases {
		if i > 0 && !l.only.MatchString(c.name) {
			continue
		}
		m, err := l.measure(c)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		if i == 0 {
			reference = m
		}
		instructions, ratio := "-", float64(m.user)/float64(reference.user)
		if m.instructions > 0 {
			instructions = fmt.Sprintf("%.0f", m.instructions)
			ratio = m.instructions / reference.instructions
		}
		fmt.Printf("%-42s %9.0f %9s %8.1f %8.1f %8s %8.2f  %s\n", c.name, m.perSecond, m.p99, micro(m.user), micro(m.system), instructions, ratio, c.goal)
		if m.failed > 0 {
			return fmt.Errorf("%s: %d of %d answers were not 2xx", c.name, m.failed, m.requests)
		}
	}
	for _, n := range []node{one, many} {
		fmt.Printf("resident memory of %s: %s\n", n.name, resident(n.pid))
	}
	return nil
}

// node is one running gateway.
type node struct {
	name               string
	pid                int
	proxy, api, public string
	token, basic       string
}

// gatewarden starts the program with rules for every case, or with n rules of
// their own when n is positive.
func (l *load) gatewarden(name, upstream string, n int) (node, error) {
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
	data, err := json.Marshal(rules)
	if err != nil {
		return node{}, err
	}
	rulesFile := filepath.Join(l.dir, name+"-rules.json")
	if err := os.WriteFile(rulesFile, data, 0o600); err != nil {
		return node{}, err
	}
	var addresses [3]string
	var ports [3]string
	for i := range addresses {
		if addresses[i], err = freeAddress(); err != nil {
			return node{}, err
		}
		_, ports[i], _ = net.SplitHostPort(addresses[i])
		addresses[i] = "http://" + addresses[i]
	}
	config := filepath.Join(l.dir, name+".yaml")
	text := fmt.Sprintf(`dsn: "sqlite://%s"
secrets: {system: [a-secret-for-the-load-script]}
access_rules: {repositories: ["file://%s"]}
serve:
  proxy: {host: 127.0.0.1, port: %s}
  api: {host: 127.0.0.1, port: %s}
  public: {host: 127.0.0.1, port: %s}
urls: {self: {issuer: %s}}
mutators: {id_token: {config: {issuer_url: %s}}}
`, filepath.Join(l.dir, name+".db"), rulesFile, ports[0], ports[1], ports[2], addresses[2], addresses[2])
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return node{}, err
	}
	output, err := os.Create(filepath.Join(l.dir, name+".log"))
	if err != nil {
		return node{}, err
	}
	started := time.Now()
	pid, err := l.start(l.binary, output, "serve", "all", "-c", config)
	if err != nil {
		return node{}, err
	}
	g := node{name: name, pid: pid, proxy: addresses[0], api: addresses[1], public: addresses[2]}
	if err := wait(g.api + "/health/ready"); err != nil {
		text, _ := os.ReadFile(output.Name())
		return node{}, fmt.Errorf("%w\n%s", err, text)
	}
	fmt.Printf("%s: ready %v after start with %d rules\n", name, time.Since(started).Round(time.Millisecond), len(rules))
	return g, g.prepare()
}

// prepare creates a client, a policy and a token.
func (g *node) prepare() error {
	var client struct {
		Secret string `json:"client_secret"`
	}
	if err := post(g.api+"/clients", "application/json", `{"client_id":"load","grant_types":["client_credentials"],"scope":"orders"}`, "", &client); err != nil {
		return err
	}
	policy := `{"id":"orders","description":"","subjects":["load"],"effect":"allow","resources":["orders:<.*>"],"actions":["read"]}`
	if err := post(g.api+"/policies", "application/json", policy, "", nil); err != nil {
		return err
	}
	r, _ := http.NewRequest(http.MethodGet, "http://x", nil)
	r.SetBasicAuth("load", url.QueryEscape(client.Secret))
	g.basic = r.Header.Get("Authorization")
	var token struct {
		AccessToken string `json:"access_token"`
	}
	err := post(g.public+"/oauth2/token", "application/x-www-form-urlencoded", "grant_type=client_credentials&scope=orders", g.basic, &token)
	g.token = token.AccessToken
	return err
}

func post(target, contentType, body, authorization string, answer any) error {
	r, err := http.NewRequest(http.MethodPost, target, strings.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", contentType)
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	res, err := (&http.Client{Timeout: 10 * time.Second}).Do(r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode/100 != 2 {
		var detail json.RawMessage
		_ = json.NewDecoder(res.Body).Decode(&detail)
		return fmt.Errorf("%s: %s %s", target, res.Status, detail)
	}
	if answer == nil {
		return nil
	}
	return json.NewDecoder(res.Body).Decode(answer)
}

// start runs a program until the end of the run.
func (l *load) start(program string, output *os.File, args ...string) (pid int, err error) {
	c := exec.Command(program, args...)
	c.Stdout, c.Stderr = output, output
	if output == nil {
		c.Stderr = os.Stderr
	}
	if err := c.Start(); err != nil {
		return 0, err
	}
	l.children = append(l.children, c)
	return c.Process.Pid, nil
}

// measure loads one case and reads what it cost the process.
func (l *load) measure(c kase) (measure, error) {
	script := filepath.Join(l.dir, "case.lua")
	if err := os.WriteFile(script, []byte(c.script), 0o600); err != nil {
		return measure{}, err
	}
	run := func(d time.Duration) (string, error) {
		out, err := exec.Command("wrk", "-t1", "-c", strconv.Itoa(l.connections), "-d", strconv.Itoa(int(d.Seconds()))+"s", "--latency", "-s", script, c.url).CombinedOutput()
		if err != nil {
			return "", fmt.Errorf("wrk: %w: %s", err, out)
		}
		return string(out), nil
	}
	if _, err := run(time.Second); err != nil { // warm
		return measure{}, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	counted := count(ctx, c.pid)
	userBefore, systemBefore, err := cpuTime(c.pid)
	if err != nil {
		return measure{}, err
	}
	out, err := run(l.duration)
	if err != nil {
		return measure{}, err
	}
	userAfter, systemAfter, err := cpuTime(c.pid)
	if err != nil {
		return measure{}, err
	}
	cancel()
	m := measure{p99: find(out, `99%\s+(\S+)`)}
	m.requests, _ = strconv.Atoi(find(out, `(\d+) requests in`))
	m.perSecond, _ = strconv.ParseFloat(find(out, `Requests/sec:\s+(\S+)`), 64)
	m.failed, _ = strconv.Atoi(find(out, `Non-2xx or 3xx responses: (\d+)`))
	if m.requests == 0 {
		return measure{}, errors.New("wrk counted no requests: " + out)
	}
	m.user = (userAfter - userBefore) / time.Duration(m.requests)
	m.system = (systemAfter - systemBefore) / time.Duration(m.requests)
	m.instructions = <-counted / float64(m.requests) / 1000
	return m, nil
}

// count counts the user instructions of a process until ctx ends; 0 when perf does
// not work here.
func count(ctx context.Context, pid int) <-chan float64 {
	result := make(chan float64, 1)
	perf := exec.Command("perf", "stat", "-x,", "-e", "instructions:u", "-p", strconv.Itoa(pid))
	var out strings.Builder
	perf.Stderr = &out
	if err := perf.Start(); err != nil {
		result <- 0
		return result
	}
	go func() {
		<-ctx.Done()
		_ = perf.Process.Signal(os.Interrupt)
		_ = perf.Wait()
		n, _ := strconv.ParseFloat(find(out.String(), `(?m)^(\d+),`), 64)
		result <- n
	}()
	return result
}

// cpuTime returns user and system time of a process (proc(5), fields 14 and 15).
func cpuTime(pid int) (user, system time.Duration, err error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, err
	}
	fields := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+2:]))
	const tick = 10 * time.Millisecond // 100 a second on Linux
	u, _ := strconv.ParseInt(fields[11], 10, 64)
	s, _ := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(u) * tick, time.Duration(s) * tick, nil
}

// micro is a duration in microseconds.
func micro(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// resident returns VmRSS of a process.
func resident(pid int) string {
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	return find(string(data), `VmRSS:\s+(.*)`)
}

func find(text, pattern string) string {
	m := regexp.MustCompile(pattern).FindStringSubmatch(text)
	if m == nil {
		return ""
	}
	return m[1]
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
