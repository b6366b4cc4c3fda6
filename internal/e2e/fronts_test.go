package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/internal/testenv"
)

// frontRules: /open lets anybody in and writes nothing, /user writes X-User, the others
// refuse in the ways that a client can tell apart.
const frontRules = `[
{"id":"open","match":{"url":"<https?>://<[^/]+></open(/.*)?>","methods":["GET","POST"]},"authenticators":[{"handler":"anonymous"}],"authorizer":{"handler":"allow"},"mutators":[{"handler":"noop"}]},
{"id":"user","match":{"url":"<https?>://<[^/]+></user(/.*)?>","methods":["GET","POST"]},"authenticators":[{"handler":"anonymous","config":{"subject":"alice"}}],"authorizer":{"handler":"allow"},
 "mutators":[{"handler":"header","config":{"headers":{"X-User":"{{ print .Subject }}"}}}]},
{"id":"deny","match":{"url":"<https?>://<[^/]+></deny(/.*)?>","methods":["GET"]},"authenticators":[{"handler":"anonymous"}],"authorizer":{"handler":"deny"},"mutators":[{"handler":"noop"}]},
{"id":"token","match":{"url":"<https?>://<[^/]+>/token","methods":["GET"]},"authenticators":[{"handler":"unauthorized"}],"authorizer":{"handler":"allow"},"mutators":[{"handler":"noop"}]},
{"id":"login","match":{"url":"<https?>://<[^/]+>/login","methods":["GET"]},"authenticators":[{"handler":"unauthorized"}],"authorizer":{"handler":"allow"},"mutators":[{"handler":"noop"}],
 "errors":[{"handler":"redirect","config":{"to":"https://login.example.com/in","return_to_query_param":"back"}}]}]`

// block returns the first fenced block of a language below a heading of any level of
// docs/decision-points.md, so that what is documented is what runs.
func block(t *testing.T, heading, language string) string {
	t.Helper()
	page, err := os.ReadFile("../../docs/decision-points.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(page), "# "+heading+"\n")
	_, text, has := strings.Cut(section, "```"+language+"\n")
	text, _, closed := strings.Cut(text, "```")
	if !found || !has || !closed {
		t.Fatalf("docs/decision-points.md has no %s block below %s", language, heading)
	}
	return text
}

// front is a proxy in front of an API, which asks the program.
type front struct {
	name, program string
	// start writes the configuration into folder and returns the arguments. The
	// addresses are put into what is documented.
	start func(t *testing.T, folder string, replace *strings.Replacer) []string
	// alias is the answer to a request with X_User: 200 when the proxy removes it.
	alias int
	// named is X-User after a client named it in Connection: Caddy then removes the field
	// that it copied, so that the API knows nobody.
	named []string
}

func write(t *testing.T, folder, name, text string) string {
	t.Helper()
	path := filepath.Join(folder, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// nginx writes a configuration with a server block and returns the arguments.
func nginx(t *testing.T, folder, server string) []string {
	t.Helper()
	temp := ""
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		temp += kind + "_temp_path " + folder + "/" + kind + ";\n"
	}
	conf := "daemon off;\nmaster_process off;\npid " + folder + "/pid;\nerror_log stderr;\nevents {}\nhttp {\naccess_log off;\n" + temp + server + "}\n"
	return []string{"-p", folder, "-e", "stderr", "-c", write(t, folder, "nginx.conf", conf)}
}

var fronts = []front{
	{name: "nginx", program: "nginx", alias: 200, named: []string{"alice"}, start: func(t *testing.T, folder string, replace *strings.Replacer) []string {
		return nginx(t, folder, replace.Replace(block(t, "nginx", "nginx")))
	}},
	{name: "HAProxy", program: "haproxy", alias: 400, named: []string{"alice"}, start: func(t *testing.T, folder string, replace *strings.Replacer) []string {
		lua := write(t, folder, "decide.lua", block(t, "HAProxy", "lua"))
		conf := strings.Replace(replace.Replace(block(t, "HAProxy", "haproxy")), "decide.lua", lua, 1)
		return []string{"-db", "-f", write(t, folder, "haproxy.cfg", conf)}
	}},
	{name: "Caddy", program: "caddy", alias: 400, start: func(t *testing.T, folder string, replace *strings.Replacer) []string {
		conf := "{\n  admin off\n  auto_https off\n}\n" + replace.Replace(block(t, "Caddy", "caddyfile"))
		return []string{"run", "--adapter", "caddyfile", "--config", write(t, folder, "Caddyfile", conf)}
	}},
}

// sendRaw sends bytes to a front proxy and returns the answer and what the API saw;
// nothing when it saw none.
func sendRaw(t *testing.T, address, request string) (answer, seen) {
	t.Helper()
	c, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("%q: %v", request, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("%q: %v", request, err)
	}
	var s seen
	if res.StatusCode == http.StatusOK {
		if err := json.Unmarshal(body, &s); err != nil {
			t.Fatalf("%q: %v in %q", request, err, body)
		}
	}
	return answer{res.StatusCode, res.Header, string(body)}, s
}

func get(target string, fields ...string) string {
	return fmt.Sprintf("GET %s HTTP/1.1\r\nHost: api.example.com\r\nConnection: close\r\n%s\r\n", target, strings.Join(append(fields, ""), "\r\n"))
}

// startFront starts the program, an API and a front proxy, and returns the address of
// the last.
func startFront(t *testing.T, f front) string {
	t.Helper()
	path := testenv.Program(t, f.program)
	p := start(t, settings{rules: frontRules, keys: map[string]string{
		"serve.api.trusted_proxies": "127.0.0.1", "serve.api.nginx.trusted_proxies": "127.0.0.1", "serve.api.envoy.trusted_proxies": "127.0.0.1",
	}})
	api, address := upstream(t), testenv.FreeAddress(t)
	replace := strings.NewReplacer("127.0.0.1:4456", strings.TrimPrefix(p.management, "http://"), "127.0.0.1:3000", strings.TrimPrefix(api.URL, "http://"),
		"listen 8080", "listen "+address, "bind :8080", "bind "+address, ":8080 {", "http://:"+address[strings.LastIndex(address, ":")+1:]+" {\n  bind 127.0.0.1")
	folder := t.TempDir()
	testenv.Serve(t, address, path, f.start(t, folder, replace)...)
	return address
}

// TestFrontProxiesAskAsTheirPagesSay runs the configurations of docs/decision-points.md
// in the real proxies.
func TestFrontProxiesAskAsTheirPagesSay(t *testing.T) {
	for _, f := range fronts {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			address := startFront(t, f)
			for name, c := range map[string]struct {
				request string
				status  int
				// user is what the API saw in X-User.
				user []string
				uri  string
			}{
				"an open route":                  {get("/open/x?a=b;c&d=%zz"), 200, nil, "/open/x?a=b;c&d=%zz"},
				"a client's identity, open":      {get("/open", "X-User: evil"), 200, nil, "/open"},
				"an identity":                    {get("/user"), 200, []string{"alice"}, "/user"},
				"a client's identity, replaced":  {get("/user", "X-User: evil", "X-User: evil"), 200, []string{"alice"}, "/user"},
				"named in Connection":            {"GET /user HTTP/1.1\r\nHost: api.example.com\r\nConnection: close, X-User\r\n\r\n", 200, f.named, "/user"},
				"another spelling":               {get("/open", "X_User: evil"), f.alias, nil, ""},
				"denied":                         {get("/deny"), 403, nil, ""},
				"no credentials":                 {get("/token"), 401, nil, ""},
				"to the login":                   {get("/login"), 302, nil, ""},
				"no rule":                        {get("/none"), 404, nil, ""},
				"a method that no rule has":      {strings.Replace(get("/open"), "GET", "DELETE", 1), 404, nil, ""},
				"a needless escape":              {get("/%64eny"), 403, nil, ""},
				"dots":                           {get("/open/../deny"), 400, nil, ""},
				"dots out of what is refused":    {get("/deny/../open"), 400, nil, ""},
				"encoded dots":                   {get("/open/%2e%2e/deny"), 400, nil, ""},
				"an encoded slash":               {get("/open/..%2fdeny"), 400, nil, ""},
				"parameters":                     {get("/open/..;/deny"), 400, nil, ""},
				"empty segments":                 {get("//deny"), 400, nil, ""},
				"fields of Traefik of a client":  {get("/deny", "X-Forwarded-Uri: /open", "X-Forwarded-Method: POST", "X-Forwarded-Host: evil", "X-Forwarded-Proto: https"), 403, nil, ""},
				"fields of nginx of a client":    {get("/deny", "X-Original-URI: /open", "X-Original-Method: POST", "X-Original-Host: evil", "X-Original-URL: http://evil/open", "X-Rewrite-URL: /open"), 403, nil, ""},
				"spelt otherwise":                {get("/deny", "X_Forwarded_Uri: /open", "X_Original_URI: /open", "X_Original_URL: http://evil/open"), 403, nil, ""},
				"an override of the method":      {get("/deny", "X-HTTP-Method-Override: POST", "X-Method-Override: POST"), 403, nil, ""},
				"a client that calls it trusted": {get("/deny", "X-Forwarded-For: 127.0.0.1", "X-Real-IP: 127.0.0.1", "Forwarded: for=127.0.0.1;host=evil"), 403, nil, ""},
			} {
				a, s := sendRaw(t, address, c.request)
				if a.status != c.status {
					t.Errorf("%s: got %d %s, want %d", name, a.status, a.body, c.status)
					continue
				}
				user := s.Header["X-User"]
				if len(user) == 1 && user[0] == "" {
					user = nil
				}
				if diff := cmp.Diff(c.user, user); diff != "" || c.uri != "" && s.URI != c.uri || s.Header["X_user"] != nil || s.Header["X_User"] != nil {
					t.Errorf("%s: the API saw %+v (-want +got):\n%s", name, s, diff)
				}
				if c.status != 200 && c.status != 400 && a.header.Get("X-Decision-Id") == "" {
					t.Errorf("%s: no decision id in %v", name, a.header)
				}
				if c.status == 302 && !strings.HasPrefix(a.header.Get("Location"), "https://login.example.com/in?back=http%3A%2F%2Fapi.example.com") {
					t.Errorf("%s: goes to %q", name, a.header.Get("Location"))
				}
				if c.status == 401 && !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Bearer") {
					t.Errorf("%s: the challenge is %q", name, a.header["Www-Authenticate"])
				}
			}
		})
	}
}
