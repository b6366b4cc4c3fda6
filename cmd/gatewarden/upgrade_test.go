//go:build unix

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// asProgram in the environment makes the test binary the program.
const asProgram = "GATEWARDEN_IS_THE_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	os.Exit(m.Run())
}

// process is the program in a process of its own, and those that follow it.
type process struct {
	cmd *exec.Cmd
	log *output
	// told is what systemd would hear.
	told *output
}

// startProcess starts serve all with the environment and, by prefix, another program
// that execs it.
func startProcess(t *testing.T, environ []string, prefix ...string) *process {
	t.Helper()
	dir := t.TempDir()
	if len(dir) > 80 { // a Unix socket's path is short
		short, err := os.MkdirTemp("", "gw")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(short) })
		dir = short
	}
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = notify.Close() })
	p := &process{log: new(output), told: new(output)}
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := notify.Read(buf)
			if err != nil {
				return
			}
			_, _ = p.told.Write(append(buf[:n:n], '\n'))
		}
	}()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	args := append(prefix, self, "serve", "all")
	p.cmd = exec.Command(args[0], args[1:]...)
	p.cmd.Env = append(os.Environ(), append([]string{
		asProgram + "=1", "NOTIFY_SOCKET=" + filepath.Join(dir, "notify"), "DSN=sqlite://" + filepath.Join(dir, "gw.db"), "AUTO_MIGRATE=true",
		"SECRETS_SYSTEM=a-secret-of-the-tests-of-upgrades", "LOG_LEVEL=info",
		"SERVE_PROXY_HOST=127.0.0.1", "SERVE_PUBLIC_HOST=127.0.0.1", "PROXY_PORT=0", "MANAGEMENT_PORT=0", "PUBLIC_PORT=0",
	}, environ...)...)
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	p.cmd.WaitDelay = time.Second // those that follow hold the output open
	return p
}

func (p *process) start(t *testing.T) {
	t.Helper()
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		for _, pid := range p.followers() {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		if t.Failed() {
			t.Log(p.log.String(), p.told.String())
		}
	})
	p.ready(t, 1)
	slowly(t, "it says where it listens", func() bool { return len(p.addresses()) == 3 }) // the log is written in pieces
}

// ready waits until systemd has been told so often that the program is ready.
func (p *process) ready(t *testing.T, times int) {
	t.Helper()
	slowly(t, fmt.Sprintf("ready %d times", times), func() bool { return strings.Count(p.told.String(), "READY=1\n") >= times })
}

// slowly is until with the patience for processes that start.
func slowly(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if holds() {
			return
		}
	}
	t.Fatalf("did not come true: %s", what)
}

var following = regexp.MustCompile(`"the next process serves","pid":(\d+)`)

// followers are the pids of the processes after the first one.
func (p *process) followers() (pids []int) {
	for _, f := range following.FindAllStringSubmatch(p.log.String(), -1) {
		pid, _ := strconv.Atoi(f[1])
		pids = append(pids, pid)
	}
	return pids
}

func (p *process) addresses() map[string]string {
	all := map[string]string{}
	for _, f := range listening.FindAllStringSubmatch(p.log.String(), -1) {
		all[f[1]] = f[2]
	}
	return all
}

// ask makes requests on connections that it keeps as long as answers let it, and does
// nothing again that fails, until stop is closed.
func ask(address string, stop <-chan struct{}, made *atomic.Int64) error {
	for {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			return err
		}
		r := bufio.NewReader(conn)
		for again := true; again; {
			select {
			case <-stop:
				return conn.Close()
			default:
			}
			if _, err := io.WriteString(conn, "GET /x HTTP/1.1\r\nHost: gate.test\r\n\r\n"); err != nil {
				return err
			}
			res, err := http.ReadResponse(r, nil)
			if err != nil {
				return fmt.Errorf("after %d requests: %w", made.Load(), err)
			}
			if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != http.StatusOK {
				return errors.Join(err, errors.New(res.Status))
			}
			made.Add(1)
			again = !res.Close
			time.Sleep(time.Millisecond) // what starts needs the processors, too
		}
		_ = conn.Close()
	}
}

// TestUpgradesAndReloadsUnderLoadLoseNoRequest replaces the process three times and
// reloads it twenty times while clients that never try again make requests.
func TestUpgradesAndReloadsUnderLoadLoseNoRequest(t *testing.T) {
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "the API") }))
	defer api.Close()
	p := startProcess(t, []string{"SERVE_FAREWELL=10s"})
	p.start(t)
	at := p.addresses()
	res, err := http.Post("http://"+at["management"]+"/rules", "application/json", strings.NewReader(`{"id": "api", "match": {"url": "http://gate.test/<.*>", "methods": ["GET"]},
		"upstream": {"url": "`+api.URL+`"}, "authenticators": [{"handler": "noop"}], "authorizer": {"handler": "allow"}, "mutators": [{"handler": "noop"}]}`))
	if err != nil || res.StatusCode != http.StatusCreated {
		t.Fatal(res, err)
	}
	_ = res.Body.Close()
	slowly(t, "the rule is in force", func() bool {
		res, err := http.Get("http://" + at["proxy"] + "/x")
		if err == nil {
			_ = res.Body.Close()
		}
		r, _ := http.NewRequest(http.MethodGet, "http://"+at["proxy"]+"/x", nil)
		r.Host = "gate.test"
		res, err = http.DefaultClient.Do(r)
		if err == nil {
			_ = res.Body.Close()
		}
		return err == nil && res.StatusCode == http.StatusOK
	})

	stop := make(chan struct{})
	var running sync.WaitGroup
	var made atomic.Int64
	for range 4 {
		running.Go(func() {
			if err := ask(at["proxy"], stop, &made); err != nil {
				t.Error(err)
			}
		})
	}
	progress := func() {
		t.Helper()
		before := made.Load()
		slowly(t, "requests are answered", func() bool { return made.Load() > before+8 || t.Failed() })
	}
	main, ready := p.cmd.Process.Pid, 1
	for n := range 20 {
		progress()
		if n%6 == 5 {
			if err := syscall.Kill(main, syscall.SIGUSR2); err != nil {
				t.Fatal(err)
			}
			upgrades := n/6 + 1
			slowly(t, "the next process serves", func() bool { return len(p.followers()) == upgrades })
			main = p.followers()[upgrades-1]
			ready++
			p.ready(t, ready)
			progress()
			slowly(t, "the old process has ended", func() bool { return strings.Count(p.log.String(), `"msg":"stopped"`) == upgrades })
		}
		if err := syscall.Kill(main, syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		ready++
		p.ready(t, ready)
	}
	progress()
	close(stop)
	running.Wait()
	if len(p.followers()) != 3 {
		t.Errorf("%d upgrades", len(p.followers()))
	}
	if err := syscall.Kill(main, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	slowly(t, "the last process has ended", func() bool { return strings.Count(p.log.String(), `"msg":"stopped"`) == 4 })
	if err := p.cmd.Wait(); err != nil && !errors.Is(err, exec.ErrWaitDelay) { // which closes the output of all
		t.Errorf("the first process: %v", err)
	}
	var heard []string
	for _, line := range strings.Split(strings.TrimSpace(p.told.String()), "\n") {
		line, _, _ = strings.Cut(line, "=")
		heard = append(heard, line)
	}
	if got := slices.Compact(slices.DeleteFunc(slices.Clone(heard), func(s string) bool { return s == "READY" || s == "RELOADING" || s == "MONOTONIC_USEC" })); !slices.Equal(got, []string{"MAINPID", "STOPPING"}) {
		t.Errorf("beside readiness and reloads, systemd heard %q", got)
	}
	t.Logf("%d requests", made.Load())
}

func TestAnUpgradeThatFailsLeavesTheOldProcessInPlace(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "gate.yml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("log: {level: info}\n")
	p := startProcess(t, nil)
	p.cmd.Args = append(p.cmd.Args, "-c", config)
	p.start(t)
	write("no_such_key: 1\n")
	if err := p.cmd.Process.Signal(syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	slowly(t, "the upgrade fails", func() bool {
		return strings.Contains(p.log.String(), "the new process ended with status 1 before it was ready")
	})
	res, err := http.Get("http://" + p.addresses()["management"] + "/health/alive")
	if err != nil || res.StatusCode != http.StatusOK {
		t.Errorf("%v %v", res, err)
	}
	if res != nil {
		_ = res.Body.Close()
	}
	// What failed can be tried again.
	write("log: {level: info}\n")
	if err := p.cmd.Process.Signal(syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	slowly(t, "the second upgrade", func() bool { return len(p.followers()) == 1 && strings.Contains(p.log.String(), `"msg":"stopped"`) })
}

// TestSystemdHandsSocketsOver starts the program as systemd does.
func TestSystemdHandsSocketsOver(t *testing.T) {
	activate := func(p *process, names string, sockets ...net.Listener) {
		for _, l := range sockets {
			f, err := l.(*net.TCPListener).File()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = f.Close() })
			p.cmd.ExtraFiles = append(p.cmd.ExtraFiles, f)
		}
		p.cmd.Env = append(p.cmd.Env, fmt.Sprint("LISTEN_FDS=", len(sockets)), "LISTEN_FDNAMES="+names)
	}
	open := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		return l
	}
	shell := []string{"/bin/sh", "-c", `LISTEN_PID=$$ exec "$0" "$@"`}
	proxy, management := open(), open()
	_, port, _ := net.SplitHostPort(management.Addr().String())
	p := startProcess(t, []string{"MANAGEMENT_PORT=" + port, "WATCHDOG_USEC=40000"}, shell...)
	activate(p, "proxy:gatewarden.socket", proxy, management)
	p.start(t)
	at := p.addresses()
	if at["proxy"] != proxy.Addr().String() || at["management"] != management.Addr().String() {
		t.Errorf("listens at %v, want %s and %s", at, proxy.Addr(), management.Addr())
	}
	res, err := http.Get("http://" + at["proxy"] + "/")
	if err != nil || res.StatusCode != http.StatusNotFound {
		t.Fatalf("%v %v", res, err)
	}
	_ = res.Body.Close()
	slowly(t, "the watchdog is kept quiet", func() bool { return strings.Count(p.told.String(), "WATCHDOG=1\n") > 2 })
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Wait(); err != nil {
		t.Error(err)
	}

	stray := startProcess(t, nil, shell...)
	activate(stray, "web", open())
	err = stray.cmd.Run()
	var ended *exec.ExitError
	if !errors.As(err, &ended) || ended.ExitCode() != 1 || !strings.Contains(stray.log.String(), `no listener is configured for: "web"`) {
		t.Errorf("a socket that nobody serves: %v %s", err, stray.log)
	}
}
