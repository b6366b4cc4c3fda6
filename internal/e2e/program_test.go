package e2e

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatewarden/gatewarden/app"
	"github.com/gatewarden/gatewarden/config"
	"github.com/gatewarden/gatewarden/internal/testenv"
	"github.com/gatewarden/gatewarden/internal/testopenapi"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// transcript collects everything that the program writes.
type transcript struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (t *transcript) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.Write(p)
}

func (t *transcript) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.String()
}

// program is the whole program in process.
type program struct {
	app *app.App
	// proxy, management and public are base URLs.
	proxy, management, public string
	log, output               *transcript
	level                     *slog.LevelVar
	stop                      func() error
}

// settings configure a program; keys win over everything else.
type settings struct {
	dsn     string
	files   []string // configuration files
	environ []string
	rules   string // JSON, put into access_rules.repositories as inline://
	keys    map[string]string
	parts   app.Parts
}

const systemSecret = "a-system-secret-for-the-tests"

// configuration returns what start uses, for tests that expect a failure.
func configuration(t testing.TB, s settings) *config.Config {
	t.Helper()
	cfg, _, err := config.Load(sources(s))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// sources are the layers of a configuration.
func sources(s settings) config.Sources {
	keys := map[string]string{
		"serve.proxy.host": "127.0.0.1", "serve.public.host": "127.0.0.1",
		"serve.proxy.port": "0", "serve.api.port": "0", "serve.public.port": "0",
		"serve.farewell": "0s", // tests keep connections that nobody will use again
	}
	if s.files == nil {
		keys["secrets.system"], keys["auto_migrate"], keys["dsn"] = systemSecret, "true", "memory"
	}
	if s.dsn != "" {
		keys["dsn"] = s.dsn
	}
	if s.rules != "" {
		keys["access_rules.repositories"] = "inline://" + base64.StdEncoding.EncodeToString([]byte(s.rules))
	}
	for k, v := range s.keys {
		keys[k] = v
	}
	var flags []config.Flag
	for k, v := range keys {
		flags = append(flags, config.Flag{Name: k, Key: k, Value: v})
	}
	return config.Sources{Files: s.files, Environ: s.environ, Flags: flags, Handlers: app.HandlerDefaults(), Check: app.CheckHandler}
}

// start runs the program until the end of the test.
func start(t testing.TB, s settings) *program {
	t.Helper()
	p := &program{log: new(transcript), output: new(transcript), level: new(slog.LevelVar)}
	p.level.Set(slog.LevelDebug)
	a, err := app.New(t.Context(), app.Options{
		Config: configuration(t, s), Parts: s.parts, Output: p.output,
		Log:  slog.New(slog.NewJSONHandler(p.log, &slog.HandlerOptions{Level: p.level})),
		Read: func() (*config.Config, []string, error) { return config.Load(sources(s)) }, Files: s.files, Level: p.level,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	var once sync.Once
	var result error
	p.stop = func() error {
		once.Do(func() {
			cancel()
			result = <-done
			if err := a.Close(); result == nil {
				result = err
			}
		})
		return result
	}
	t.Cleanup(func() {
		if err := p.stop(); err != nil {
			t.Error("stop:", err)
		}
		if t.Failed() {
			t.Log(p.log.String())
		}
	})
	p.app = a
	at := a.Addresses()
	for name, address := range at {
		listeners.Store(address, name)
	}
	p.proxy, p.management, p.public = "http://"+at["proxy"], "http://"+at["management"], "http://"+at["public"]
	return p
}

// answer is what a server answered.
type answer struct {
	status int
	header http.Header
	body   string
}

// decode reads the body as JSON.
func (a answer) decode(t *testing.T, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(a.body), v); err != nil {
		t.Fatalf("%v in %q", err, a.body)
	}
}

// client follows no redirects, so that tests see each answer.
func client() *http.Client {
	return &http.Client{
		Timeout:       20 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// listeners are those of all programs, by their addresses.
var listeners sync.Map

// described returns c, whose traffic with the listeners of the API must be as openapi.yaml
// says.
func described(t testing.TB, c *http.Client) *http.Client {
	held := *c
	base := c.Transport
	if base == nil {
		base = http.DefaultTransport
	}
	held.Transport = testopenapi.Transport(t, func(r *http.Request) string {
		switch name, _ := listeners.Load(r.URL.Host); name {
		case "management", "admin":
			return "management"
		case "public":
			return "public"
		}
		return ""
	}, base)
	return &held
}

// send makes one request; header pairs are name, value.
func send(t *testing.T, method, target, body string, header ...string) answer {
	t.Helper()
	return sendWith(t, client(), method, target, body, header...)
}

// sendWith is send with a client of the test's own.
func sendWith(t *testing.T, c *http.Client, method, target, body string, header ...string) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	defer c.CloseIdleConnections()
	res, err := described(t, c).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, string(data)}
}

// want fails the test when the status is another one.
func (a answer) want(t *testing.T, status int) answer {
	t.Helper()
	if a.status != status {
		t.Fatalf("got %d %s, want %d", a.status, a.body, status)
	}
	return a
}

// post sends JSON.
func post(t *testing.T, target, body string) answer {
	t.Helper()
	return send(t, http.MethodPost, target, body, "Content-Type", "application/json")
}

// seen is what the upstream got.
type seen struct {
	Method, URI string
	Header      http.Header
}

// upstream is an API that answers with what it saw.
func upstream(t *testing.T) *httptest.Server {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(seen{r.Method, r.RequestURI, r.Header})
	}))
	t.Cleanup(s.Close)
	return s
}
