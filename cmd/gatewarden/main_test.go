package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write what the commands answer into testdata")

// output collects what a running program writes.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// server is serve, run by its command line.
type server struct {
	proxy, management, public string // base URLs; empty where the part does not run
	log                       *output
	stop                      func() int
}

var listening = regexp.MustCompile(`"server":"(\w+)","address":"([^"]+)"`)

// serve runs a serve command on free ports until the end of the test.
func serve(t *testing.T, listeners int, args []string, environ ...string) *server {
	t.Helper()
	s := &server{log: new(output)}
	ctx, cancel := context.WithCancel(context.Background())
	code := make(chan int, 1)
	environ = append([]string{
		"SERVE_PROXY_HOST=127.0.0.1", "SERVE_PUBLIC_HOST=127.0.0.1", "PROXY_PORT=0", "MANAGEMENT_PORT=0", "PUBLIC_PORT=0",
	}, environ...)
	go func() {
		code <- run(ctx, append([]string{"serve"}, args...), environ, strings.NewReader(""), s.log, s.log)
	}()
	s.stop = sync.OnceValue(func() int { cancel(); return <-code })
	t.Cleanup(func() { s.stop() })
	until(t, "it listens", func() bool {
		select {
		case c := <-code:
			t.Fatalf("serve ended with %d:\n%s", c, s.log)
		default:
		}
		found := listening.FindAllStringSubmatch(s.log.String(), -1)
		for _, f := range found {
			switch f[1] {
			case "proxy":
				s.proxy = "http://" + f[2]
			case "management":
				s.management = "http://" + f[2]
			case "public":
				s.public = "http://" + f[2]
			}
		}
		return len(found) == listeners
	})
	return s
}

func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if holds() {
			return
		}
	}
	t.Fatalf("did not come true: %s", what)
}

// gatewarden runs one command line.
func gatewarden(t *testing.T, args, environ []string) (stdout, stderr string, code int) {
	t.Helper()
	var out, err bytes.Buffer
	code = run(t.Context(), args, environ, strings.NewReader(`{"id": "from-stdin", "match": {"url": "http://a/<.*>", "methods": ["GET"]},
		"authenticators": [{"handler": "noop"}], "authorizer": {"handler": "allow"}, "mutators": [{"handler": "noop"}]}`), &out, &err)
	return out.String(), err.String(), code
}

// changing are the parts of answers that differ from run to run.
var changing = []struct {
	pattern *regexp.Regexp
	with    string
}{
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`), "TIME"},
	{regexp.MustCompile(`\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b`), "UUID"},
	{regexp.MustCompile(`(ory_at_)[\w-]{43}\.[\w-]{43}`), "${1}TOKEN"},
	{regexp.MustCompile(`(Secret: )\S{20,}`), "${1}SECRET"},
	{regexp.MustCompile(`("(?:exp|iat|nbf|expires_in)": ?)\d+`), "${1}0"},
	{regexp.MustCompile(`("(?:access_token|x|y|d|k|jti)": ?)"[^"]+"`), `${1}"..."`},
	{regexp.MustCompile(`\b([xyd]): \S{20,}`), "$1: ..."},
	{regexp.MustCompile(`go1\.\S+`), "go1"},
	{regexp.MustCompile(`gw_mgmt_[A-Z2-7]{52}\b`), "gw_mgmt_TOKEN"},
	{regexp.MustCompile(`sha256:[0-9a-f]{64}\b`), "sha256:HASH"},
}

// TestCommands runs the command lines of testdata/*.txt, each file against a server of
// its own. A line that begins with $ is a command; what follows is its standard
// output, its standard error with "! " before each line, and its exit code unless that
// is 0. -update writes the files anew.
func TestCommands(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			s := serve(t, 3, []string{"all"})
			dir := t.TempDir()
			names := strings.NewReplacer("$MANAGEMENT", s.management, "$PUBLIC", s.public, "$DIR", dir)
			values := strings.NewReplacer(s.management, "$MANAGEMENT", s.public, "$PUBLIC", dir, "$DIR")
			var got strings.Builder
			last := ""
			for _, line := range strings.Split(string(data), "\n") {
				command, isCommand := strings.CutPrefix(line, "$ ")
				if strings.HasPrefix(line, "#") {
					fmt.Fprintln(&got, line)
				}
				if !isCommand {
					continue
				}
				environ := []string{"GATEWARDEN_ADMIN_URL=" + s.management, "HYDRA_URL=" + s.public}
				var args []string
				for _, word := range words(command) {
					word = names.Replace(strings.ReplaceAll(word, "$LAST", last))
					if args == nil && strings.Contains(word, "=") {
						environ = append([]string{word}, environ...)
						continue
					}
					args = append(args, word)
				}
				stdout, stderr, code := gatewarden(t, args[1:], environ)
				last = strings.TrimSpace(stdout)
				fmt.Fprintln(&got, line)
				text := stdout
				if stderr != "" {
					text += "! " + strings.ReplaceAll(strings.TrimSuffix(stderr, "\n"), "\n", "\n! ") + "\n"
				}
				text = values.Replace(text)
				for _, c := range changing {
					text = c.pattern.ReplaceAllString(text, c.with)
				}
				got.WriteString(text)
				if code != 0 {
					fmt.Fprintf(&got, "exit %d\n", code)
				}
				fmt.Fprintln(&got)
			}
			if *update {
				if err := os.WriteFile(file, []byte(got.String()), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(data), got.String()); diff != "" {
				t.Errorf("(-want +got; -update accepts it)\n%s", diff)
			}
		})
	}
}

// words splits a command line at spaces that no quotes enclose.
func words(line string) []string {
	var all []string
	for _, w := range regexp.MustCompile(`(?:'[^']*'|[^\s'])+`).FindAllString(line, -1) {
		all = append(all, strings.ReplaceAll(w, "'", ""))
	}
	return all
}

func TestEveryCommandHasHelpAndAScript(t *testing.T) {
	var scripts strings.Builder
	files, _ := filepath.Glob("testdata/*.txt")
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		scripts.Write(data)
	}
	var visit func(path string)
	visit = func(path string) {
		stdout, stderr, code := gatewarden(t, append(strings.Fields(path)[1:], "--help"), nil)
		if code != 0 || stderr != "" || !strings.Contains(stdout, "Usage:\n  "+path) {
			t.Errorf("%s --help: code %d, stderr %q, stdout %q", path, code, stderr, stdout)
		}
		_, below, found := strings.Cut(stdout, "Available Commands:\n")
		if !found {
			if path != "gatewarden version" && !strings.HasPrefix(path, "gatewarden serve") && !regexp.MustCompile(`(?m)^\$ .*`+path+`\b`).MatchString(scripts.String()) {
				t.Errorf("no script in testdata runs %s", path)
			}
			return
		}
		below, _, _ = strings.Cut(below, "\n\n")
		for _, line := range strings.Split(below, "\n") {
			if name := strings.Fields(line)[0]; name != "completion" && name != "help" {
				visit(path + " " + name)
			}
		}
	}
	visit("gatewarden")
}

func TestEachPartAndItsAliasesServe(t *testing.T) {
	for args, listeners := range map[string]int{
		"": 3, "all": 3, "all --demo": 3, "all --sqa-opt-out --disable-telemetry": 3,
		"proxy": 1, "management": 1, "api": 1, "admin": 1, "public": 1, "oauth2 --dangerous-force-http": 1,
	} {
		t.Run(args, func(t *testing.T) {
			s := serve(t, listeners, strings.Fields(args))
			if strings.Contains(args, "demo") != strings.Contains(s.log.String(), "The demo is running") {
				until(t, "the demo is introduced", func() bool { return strings.Contains(s.log.String(), "The demo is running") })
			}
			if code := s.stop(); code != 0 {
				t.Errorf("after the signal: got %d, want 0\n%s", code, s.log)
			}
		})
	}
}

func TestAStartThatFailsIsOneLineAndExitOne(t *testing.T) {
	s := serve(t, 1, []string{"public"})
	_, port, _ := strings.Cut(strings.TrimPrefix(s.public, "http://"), ":")
	config := filepath.Join(t.TempDir(), "gatewarden.yaml")
	if err := os.WriteFile(config, []byte("serve:\n  proxy:\n    prot: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		args    []string
		environ []string
		want    string
	}{
		{"a taken port", nil, []string{"SERVE_PROXY_HOST=127.0.0.1", "PROXY_PORT=" + port}, "gatewarden: serve.proxy.port: cannot listen on 127.0.0.1:" + port + ": bind: address already in use\n"},
		{"an unknown key", []string{"-c", config}, nil, "gatewarden: " + config + ":3: unknown key serve.proxy.prot, did you mean serve.proxy.port?\n"},
		{"a missing file", []string{"-c", "absent.yaml"}, nil, "gatewarden: --config absent.yaml: no such file or directory\n"},
		{"a database without secrets", nil, []string{"DSN=sqlite:///tmp/x.db"}, "gatewarden: configuration: secrets.system must be set when dsn is not memory: it encrypts what is stored\n"},
		{"a value of the wrong type", nil, []string{"PROXY_PORT=http"}, "gatewarden: environment PROXY_PORT: serve.proxy.port must be a whole number\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			environ := append([]string{"PROXY_PORT=0", "MANAGEMENT_PORT=0", "PUBLIC_PORT=0"}, c.environ...)
			stdout, stderr, code := gatewarden(t, append([]string{"serve", "all"}, c.args...), environ)
			if diff := cmp.Diff([]any{"", c.want, 1}, []any{stdout, stderr, code}); diff != "" {
				t.Errorf("stdout, stderr, code (-want +got)\n%s", diff)
			}
		})
	}
}

func TestAHangupReloadsTheRules(t *testing.T) {
	rules := filepath.Join(t.TempDir(), "rules.json")
	if err := os.WriteFile(rules, []byte("[]"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := serve(t, 3, []string{"all"}, "ACCESS_RULES_REPOSITORIES=file://"+rules)
	if err := syscall.Kill(syscall.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	until(t, "the rules are loaded again", func() bool { return strings.Contains(s.log.String(), "the rules were read again") })
}

func TestAskingForTheStatusMakesNoDatabase(t *testing.T) {
	file := filepath.Join(t.TempDir(), "absent.db")
	stdout, stderr, code := gatewarden(t, []string{"migrate", "sql", "status", "sqlite://" + file}, nil)
	if code != 0 || stderr != "" || !strings.Contains(stdout, "pending") {
		t.Errorf("got %d %q %q, want pending steps", code, stdout, stderr)
	}
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("the file is there (%v)", err)
	}
}
