package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// measure is what one case cost in one round.
type measure struct {
	requests     int
	perSecond    float64
	p99          time.Duration
	user, system time.Duration // per request
	instructions float64       // per request, thousands, user space; 0: unknown
	failed       int
}

// userCost is what the first ratio is of.
func (m measure) userCost() float64 {
	if m.instructions > 0 {
		return m.instructions
	}
	return float64(m.user)
}

func (m measure) cpu() float64 { return float64(m.user + m.system) }

// measure loads one case and reads what it cost the process.
func (l *load) measure(c kase) (measure, error) {
	script := filepath.Join(l.dir, "case.lua")
	if err := os.WriteFile(script, []byte(c.script()), 0o600); err != nil {
		return measure{}, err
	}
	run := func(d time.Duration) (string, error) {
		out, err := exec.Command("wrk", "-t1", "-c", strconv.Itoa(l.connections), "-d", strconv.Itoa(int(d.Seconds()))+"s", "--latency", "-s", script, c.at.url()+c.first()).CombinedOutput()
		if err != nil {
			return "", fmt.Errorf("wrk: %w: %s", err, out)
		}
		return string(out), nil
	}
	if !l.warm[c.name] {
		l.warm[c.name] = true
		if _, err := run(time.Second); err != nil {
			return measure{}, err
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	counted := countByPerf(ctx, c.at.pid)
	userBefore, systemBefore, err := cpuTime(c.at.pid)
	if err != nil {
		return measure{}, err
	}
	out, err := run(l.duration)
	if err != nil {
		return measure{}, err
	}
	userAfter, systemAfter, err := cpuTime(c.at.pid)
	if err != nil {
		return measure{}, err
	}
	cancel()
	m := measure{}
	m.p99, _ = time.ParseDuration(find(out, `99%\s+(\S+)`))
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

// countByPerf counts the user instructions of a process until ctx ends; 0 when perf does
// not work here.
func countByPerf(ctx context.Context, pid int) <-chan float64 {
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

// resident returns the resident memory of a process, and what of it is not pages of
// the program's file.
func resident(pid int) string {
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	return find(string(data), `VmRSS:\s+(.*)`) + ", of it anonymous " + find(string(data), `RssAnon:\s+(.*)`)
}

func find(text, pattern string) string {
	m := regexp.MustCompile(pattern).FindStringSubmatch(text)
	if m == nil {
		return ""
	}
	return m[1]
}

// median returns the median of what f says of each of list.
func median[T any](list []T, f func(T) float64) float64 {
	values := make([]float64, len(list))
	for i, m := range list {
		values[i] = f(m)
	}
	slices.Sort(values)
	return (values[(len(values)-1)/2] + values[len(values)/2]) / 2
}

// micro is a duration in microseconds.
func micro(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
