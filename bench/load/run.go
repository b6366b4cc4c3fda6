package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"time"
)

// load is one run.
type load struct {
	binary, postgres    string
	duration            time.Duration
	rounds, connections int
	only                *regexp.Regexp
	dir                 string
	warm                map[string]bool
	children            []*exec.Cmd
}

// kase is one kind of load.
type kase struct {
	name   string
	pid    int
	url    string
	script string // Lua for wrk
	// against is the case that it is compared with; empty: proxying.
	against string
	goal    string
}

// Names of the references.
const (
	bareProxy    = "bare ReverseProxy, tuned"
	plainProxy   = "bare ReverseProxy, as it comes"
	bareHandler  = "bare handler"
	bareDocument = "bare handler, size of the discovery document"
)

func (l *load) run() error {
	dir, err := os.MkdirTemp("", "gatewarden-load-")
	if err != nil {
		return err
	}
	l.dir, l.warm = dir, map[string]bool{}
	defer func() {
		for _, c := range l.children {
			_ = c.Process.Kill()
			_ = c.Wait()
		}
		_ = os.RemoveAll(dir)
	}()
	cases, nodes, err := l.prepare()
	if err != nil {
		return err
	}
	measured := map[string][]measure{}
	for range l.rounds {
		for _, c := range cases {
			m, err := l.measure(c)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			if m.failed > 0 {
				return fmt.Errorf("%s: %d of %d answers were not 2xx", c.name, m.failed, m.requests)
			}
			measured[c.name] = append(measured[c.name], m)
		}
	}
	fmt.Printf("\n%-46s %8s %8s %8s %8s %8s %7s %7s  %s\n", "case", "req/s", "p99 ms", "user µs", "sys µs", "k instr", "x user", "x CPU", "goal")
	for _, c := range cases {
		report(c, measured)
	}
	for _, n := range nodes {
		if err := l.reportNode(n); err != nil {
			return err
		}
	}
	return nil
}

// report prints the medians of one case.
func report(c kase, measured map[string][]measure) {
	list, reference := measured[c.name], measured[c.against]
	if reference == nil {
		reference = measured[bareProxy]
	}
	type pair struct{ m, r measure }
	pairs := make([]pair, len(list))
	for i := range list {
		pairs[i] = pair{list[i], reference[i]}
	}
	instructions := "-"
	if n := median(list, func(m measure) float64 { return m.instructions }); n > 0 {
		instructions = fmt.Sprintf("%.0f", n)
	}
	fmt.Printf("%-46s %8.0f %8.1f %8.1f %8.1f %8s %7.2f %7.2f  %s\n", c.name,
		median(list, func(m measure) float64 { return m.perSecond }),
		median(list, func(m measure) float64 { return micro(m.p99) / 1000 }),
		median(list, func(m measure) float64 { return micro(m.user) }),
		median(list, func(m measure) float64 { return micro(m.system) }),
		instructions,
		median(pairs, func(p pair) float64 { return p.m.userCost() / p.r.userCost() }),
		median(pairs, func(p pair) float64 { return p.m.cpu() / p.r.cpu() }),
		c.goal)
}

// prepare starts everything and lists the cases.
func (l *load) prepare() (cases []kase, nodes []node, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	upstream, _, err := l.serve(self, "upstream")
	if err != nil {
		return nil, nil, err
	}
	handler, handlerPID, err := l.serve(self, "handler")
	if err != nil {
		return nil, nil, err
	}
	bare, barePID, err := l.serve(self, "tuned", upstream)
	if err != nil {
		return nil, nil, err
	}
	plain, plainPID, err := l.serve(self, "plain", upstream)
	if err != nil {
		return nil, nil, err
	}
	one, err := l.gatewarden("one", upstream, "", 0)
	if err != nil {
		return nil, nil, err
	}
	many, err := l.gatewarden("many", upstream, "", 10_000)
	if err != nil {
		return nil, nil, err
	}
	nodes = []node{one, many}
	document, err := sizeOf(one.public + "/.well-known/openid-configuration")
	if err != nil {
		return nil, nil, err
	}
	cases = []kase{
		{name: bareProxy, pid: barePID, url: bare + "/anonymous/x"},
		{name: plainProxy, pid: plainPID, url: plain + "/anonymous/x"},
		{name: bareHandler, pid: handlerPID, url: handler + "/0", against: bareHandler},
		{name: bareDocument, pid: handlerPID, url: handler + "/" + strconv.Itoa(document), against: bareDocument},
	}
	all := append(one.gatewayCases(), many.spreadCase())
	all = append(all, one.serverCases()...)
	if l.postgres != "" {
		pg, err := l.gatewarden("postgres", upstream, l.postgres, 0)
		if err != nil {
			return nil, nil, err
		}
		nodes = append(nodes, pg)
		all = append(all, pg.tokenCase("token: client_credentials, PostgreSQL", ">= 3 000/s"))
	}
	for _, c := range all {
		if l.only.MatchString(c.name) {
			cases = append(cases, c)
		}
	}
	return cases, nodes, nil
}

// reportNode prints what is measured without wrk.
func (l *load) reportNode(n node) error {
	if l.only.MatchString("refresh rotation") {
		rate, err := n.rotate(l.connections, l.duration)
		if err != nil {
			return fmt.Errorf("refresh rotation: %w", err)
		}
		fmt.Printf("%s: %.0f refresh rotations/s\n", n.name, rate)
	}
	if n.rules < 1000 || !l.only.MatchString("memory") {
		return nil
	}
	const tokens = 10_000
	if err := n.useTokens(tokens); err != nil {
		return err
	}
	fmt.Printf("%s: resident memory with %d rules and %d tokens in use: %s\n", n.name, n.rules, tokens, resident(n.pid))
	return nil
}

// serve starts one of this program's own servers and returns its base URL.
func (l *load) serve(self, what string, more ...string) (base string, pid int, err error) {
	address, err := freeAddress()
	if err != nil {
		return "", 0, err
	}
	if pid, err = l.start(self, nil, append([]string{what, address}, more...)...); err != nil {
		return "", 0, err
	}
	return "http://" + address, pid, wait("http://" + address + "/")
}

// start runs a program until the end of the run.
func (l *load) start(program string, output *os.File, args ...string) (pid int, err error) {
	c := exec.Command(program, args...)
	c.Stdout, c.Stderr = output, output
	if output == nil {
		c.Stdout, c.Stderr = nil, os.Stderr
	}
	if err := c.Start(); err != nil {
		return 0, err
	}
	l.children = append(l.children, c)
	return c.Process.Pid, nil
}

func sizeOf(address string) (int, error) {
	res, err := http.Get(address)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	n, err := io.Copy(io.Discard, res.Body)
	return int(n), err
}
