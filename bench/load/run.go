package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"time"
)

// load is one run.
type load struct {
	binary, postgres              string
	duration                      time.Duration
	rounds, connections, requests int
	functions                     int // how many are printed for each case
	only                          *regexp.Regexp
	dir                           string
	issuer                        issuer
	emulator                      *emulator // nil: processes run as they are
	warm                          map[string]bool
	children                      []*exec.Cmd
}

// Names of the references.
const (
	bareProxy    = "bare ReverseProxy, tuned"
	plainProxy   = "bare ReverseProxy, as it comes"
	bareHandler  = "bare handler"
	bareDocument = "bare handler, size of the discovery document"
	bareKeys     = "bare handler, size of the key set"
)

// run measures by load and, where that counted no instructions, counts them under
// emulation. Instructions alone need no wrk.
func (l *load) run(instructionsOnly bool) (err error) {
	if l.dir, err = os.MkdirTemp("", "gatewarden-load-"); err != nil {
		return err
	}
	whole := l.dir
	defer os.RemoveAll(whole)
	defer l.stop()
	if l.issuer, err = newIssuer(); err != nil {
		return err
	}
	if !instructionsOnly {
		counted, err := l.runLoad()
		if counted || err != nil {
			return err
		}
		l.stop()
		if err := os.Mkdir(filepath.Join(l.dir, "counted"), 0o700); err != nil {
			return err
		}
		l.dir = filepath.Join(l.dir, "counted") // databases begin anew
	}
	if l.emulator, err = newEmulator(l.dir); err != nil {
		fmt.Printf("\nuser instructions are not counted: neither perf nor an emulator does here: %v\n", err)
		return nil
	}
	return l.runEmulated()
}

// stop ends all processes.
func (l *load) stop() {
	for _, c := range l.children {
		_ = c.Process.Kill()
		_ = c.Wait()
	}
	l.children = nil
}

// runLoad measures under load by wrk, and reports whether instructions were counted.
func (l *load) runLoad() (counted bool, err error) {
	l.warm = map[string]bool{}
	cases, nodes, err := l.prepare()
	if err != nil {
		return false, err
	}
	measured := map[string][]measure{}
	for range l.rounds {
		for _, c := range cases {
			m, err := l.measure(c)
			if err != nil {
				return false, fmt.Errorf("%s: %w", c.name, err)
			}
			if m.failed > 0 {
				return false, fmt.Errorf("%s: %d of %d answers were not 2xx", c.name, m.failed, m.requests)
			}
			measured[c.name] = append(measured[c.name], m)
			counted = m.instructions > 0
		}
	}
	fmt.Printf("\n%-46s %8s %8s %8s %8s %8s %7s %7s  %s\n", "case", "req/s", "p99 ms", "user µs", "sys µs", "k instr", "x user", "x CPU", "goal")
	for _, c := range cases {
		report(c, measured)
	}
	for _, n := range nodes {
		if err := l.reportNode(n); err != nil {
			return false, err
		}
	}
	return counted, nil
}

// runEmulated counts the instructions of each case.
func (l *load) runEmulated() error {
	cases, _, err := l.prepare()
	if err != nil {
		return err
	}
	fmt.Printf("\nuser instructions per request, counted by %s; x is beside the tuned ReverseProxy or the bare handler\n", filepath.Base(l.emulator.qemu))
	fmt.Println("the emulated processor has no instructions for SHA-256, which take 0.1 k for each 64 bytes where there are some; SHA is what hashing took here")
	fmt.Printf("%-46s %8s %7s %8s  %s\n", "case", "k instr", "x", "SHA", "goal")
	all := map[string]float64{}
	for _, c := range cases {
		n, err := l.count(c)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		all[c.name] = n.instructions
		reference := all[c.against]
		if reference == 0 {
			reference = all[bareProxy]
		}
		fmt.Printf("%-46s %8.1f %7.2f %8.1f  %s\n", c.name, n.instructions, n.instructions/reference, n.functions.hashing(), c.goal)
		n.functions.print(l.functions)
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
	emulator := l.emulator
	l.emulator = nil // the upstream is not measured
	upstream, err := l.serve(self, "upstream")
	if err != nil {
		return nil, nil, err
	}
	l.emulator = emulator
	servers := map[string]server{}
	for _, what := range []string{"handler", "tuned", "plain"} {
		if servers[what], err = l.serve(self, what, upstream.url()); err != nil {
			return nil, nil, err
		}
	}
	for _, n := range []node{{name: "one"}, {name: "hundred", rules: 100}, {name: "many", rules: 10_000}} {
		if n.rules > 0 && !l.wants(&n) {
			nodes = append(nodes, node{})
			continue
		}
		started, err := l.gatewarden(n.name, upstream.url(), "", n.rules)
		if err != nil {
			return nil, nil, err
		}
		nodes = append(nodes, started)
	}
	one, many := nodes[0], nodes[2]
	cases = []kase{
		{name: bareProxy, at: servers["tuned"], path: "/anonymous/x"},
		{name: plainProxy, at: servers["plain"], path: "/anonymous/x"},
		{name: bareHandler, at: servers["handler"], path: "/0", against: bareHandler},
	}
	for name, path := range map[string]string{bareDocument: "/.well-known/openid-configuration", bareKeys: "/.well-known/jwks.json"} {
		size, err := sizeOf(one.public.url() + path)
		if err != nil {
			return nil, nil, err
		}
		cases = append(cases, kase{name: name, at: servers["handler"], path: "/" + strconv.Itoa(size), against: name})
	}
	all := one.gatewayCases()
	if many.name != "" {
		all = append(all, many.spreadCase())
	}
	all = append(all, one.adapterCases()...)
	all = append(all, one.serverCases()...)
	nodes = slices.DeleteFunc(nodes, func(n node) bool { return n.name == "" })
	for i := range nodes {
		all = append(all, nodes[i].kindCases()...)
	}
	if l.postgres != "" && l.emulator == nil {
		pg, err := l.gatewarden("postgres", upstream.url(), l.postgres, 0)
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

// wants reports whether anything is to be measured on a node that has many rules.
func (l *load) wants(n *node) bool {
	return slices.ContainsFunc(append(n.kindCases(), n.spreadCase()), func(c kase) bool { return l.only.MatchString(c.name) }) ||
		l.measuresMemory(n)
}

func (l *load) measuresMemory(n *node) bool {
	return n.rules >= 1000 && l.only.MatchString("memory") && l.emulator == nil
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
	if !l.measuresMemory(&n) {
		return nil
	}
	const tokens = 10_000
	if err := n.useTokens(tokens); err != nil {
		return err
	}
	fmt.Printf("%s: resident memory with %d rules and %d tokens in use: %s\n", n.name, n.rules, tokens, resident(n.proxy.pid))
	return nil
}

// serve starts one of this program's own servers.
func (l *load) serve(self, what string, more ...string) (server, error) {
	address, err := freeAddress()
	if err != nil {
		return server{}, err
	}
	s, err := l.start(self, nil, append([]string{what, address}, more...)...)
	if err != nil {
		return server{}, err
	}
	s = s.on(address)
	return s, wait(s.url() + "/")
}

// start runs a program until the end of the run, or until stop.
func (l *load) start(program string, output *os.File, args ...string) (server, error) {
	c, counts := exec.Command(program, args...), ""
	if l.emulator != nil {
		var err error
		if c, counts, err = l.emulator.command(program, args); err != nil {
			return server{}, err
		}
	}
	c.Stdout, c.Stderr = output, output
	if output == nil {
		c.Stdout, c.Stderr = nil, os.Stderr
	}
	if err := c.Start(); err != nil {
		return server{}, err
	}
	l.children = append(l.children, c)
	s := server{pid: c.Process.Pid, counts: counts}
	if l.emulator != nil {
		var err error
		if s.functions, err = l.emulator.functions(program); err != nil {
			return server{}, err
		}
	}
	return s, nil
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
