package e2e

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/app"
)

// listenerExample writes the example below a heading of the page of listeners, with
// folder in place of the one that it names.
func listenerExample(t *testing.T, heading, folder string) string {
	t.Helper()
	_, text, found := strings.Cut(read(t, root+"/docs/listeners.md"), "\n## "+heading+"\n")
	if !found {
		t.Fatalf("no heading %q", heading)
	}
	name := filepath.Join(t.TempDir(), "gate.yml")
	example := "dsn: memory\n" + strings.ReplaceAll(blocks(text, "yaml")[0], "/run/gatewarden", folder)
	if err := os.WriteFile(name, []byte(example), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func socketRules(api string) string {
	return `[{"id": "a", "match": {"paths": ["/<.*>"], "methods": ["GET"]}, "authenticators": [{"handler": "anonymous"}],
		"authorizer": {"handler": "allow"}, "upstream": {"url": "` + api + `"}}]`
}

func TestTheExampleOfUnixSocketsWorks(t *testing.T) {
	dir, err := os.MkdirTemp("", "gw") // names of sockets are short
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	s := settings{files: []string{listenerExample(t, "Unix sockets", dir)}, rules: socketRules(upstream(t).URL), parts: app.Proxy | app.Management,
		keys: map[string]string{"serve.proxy.host": "unix:" + dir + "/proxy.sock"}}
	p := start(t, s)
	over := func(socket string) *http.Client {
		return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(dir, socket))
		}}}
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://gate.test/x", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Forwarded-For", "192.0.2.1")
	res, err := over("proxy.sock").Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var got seen
	if err := json.NewDecoder(res.Body).Decode(&got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"192.0.2.1"}, got.Header["X-Forwarded-For"]); diff != "" {
		t.Errorf("a trusted peer's client (-want +got)\n%s", diff)
	}
	ready, err := over("management.sock").Get("http://localhost/rules")
	if err != nil {
		t.Fatal(err)
	}
	_ = ready.Body.Close()
	if ready.StatusCode != http.StatusOK {
		t.Errorf("management: got %d", ready.StatusCode)
	}
	if file, err := os.Stat(dir + "/proxy.sock"); err != nil || file.Mode().Perm() != 0o660 {
		t.Errorf("got %v, %v", file, err)
	}
	if _, err := app.New(t.Context(), app.Options{Config: configuration(t, s), Parts: s.parts}); err == nil ||
		err.Error() != "serve.proxy.host: cannot listen on "+dir+"/proxy.sock: the socket is in use" {
		t.Errorf("a second program: got %v", err)
	}
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(dir + "/*"); left != nil {
		t.Errorf("left %v", left)
	}
}

func TestTheExampleOfTheProxyProtocolWorks(t *testing.T) {
	p := start(t, settings{files: []string{listenerExample(t, "PROXY protocol", t.TempDir())}, rules: socketRules(upstream(t).URL),
		parts: app.Proxy | app.Management, keys: map[string]string{"serve.proxy.proxy_protocol.trusted": "127.0.0.1"}})
	for header, want := range map[string]string{"PROXY TCP4 192.0.2.1 192.0.2.2 7 80\r\n": `"X-Forwarded-For":["192.0.2.1"]`, "": ""} {
		c, err := new(net.Dialer).DialContext(t.Context(), "tcp", p.app.Addresses()["proxy"])
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(c, header+"GET /x HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 198.51.100.1\r\nConnection: close\r\n\r\n")
		answer, _ := io.ReadAll(c)
		_ = c.Close()
		if !strings.Contains(string(answer), want) || want == "" && len(answer) > 0 {
			t.Errorf("%q: got %s, want %s", header, answer, want)
		}
	}
}
