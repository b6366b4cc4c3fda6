package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	auth "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// hostile is one request of testdata/hostile.tsv.
type hostile struct {
	line   int
	name   string
	first  string // request line
	fields string // header lines
	// proxy and adapters are outcomes; adapters is empty for none.
	proxy, adapters string
}

func readCorpus(t testing.TB) []hostile {
	t.Helper()
	text, err := os.ReadFile("testdata/hostile.tsv")
	if err != nil {
		t.Fatal(err)
	}
	var list []hostile
	for i, line := range strings.Split(string(text), "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		columns := append(strings.Split(line, "\t"), "", "")
		h := hostile{line: i + 1, name: columns[0]}
		for n, into := range []*string{&h.first, &h.fields, &h.proxy, &h.adapters} {
			if *into, err = strconv.Unquote(`"` + strings.ReplaceAll(columns[1+n], `"`, `\"`) + `"`); err != nil {
				t.Fatalf("testdata/hostile.tsv:%d: %v", i+1, err)
			}
		}
		switch h.adapters {
		case "":
			h.adapters = h.proxy
		case "-":
			h.adapters = ""
		}
		list = append(list, h)
	}
	return list
}

// host returns the Host field.
func (h *hostile) host() string {
	for line := range strings.SplitSeq(h.fields, "\r\n") {
		if name, value, _ := strings.Cut(line, ":"); strings.EqualFold(name, "Host") {
			return strings.TrimSpace(value)
		}
	}
	return "api.example.com"
}

// wire is the request as bytes.
func (h *hostile) wire() string {
	if all, bare := strings.CutPrefix(h.fields, "!"); bare {
		return h.first + "\r\n" + all
	}
	fields := h.fields
	if !strings.Contains(strings.ToLower("\r\n"+fields), "\r\nhost") {
		fields = "Host: api.example.com\r\n" + fields
	}
	if !strings.Contains(fields, "Connection:") {
		fields += "Connection: close\r\n"
	}
	return h.first + "\r\n" + fields + "\r\n"
}

// question returns what a front proxy that parsed the request passes on. Fields that
// the adapter's contract has it set, and those in drop, are not the client's.
func (h *hostile) question(drop ...string) (method, target string, fields []string) {
	method, rest, _ := strings.Cut(h.first, " ")
	target, _, _ = strings.Cut(rest, " HTTP/")
	for line := range strings.SplitSeq(h.fields, "\r\n") {
		name, _, _ := strings.Cut(line, ":")
		if name != "" && !strings.EqualFold(name, "Host") && !slices.ContainsFunc(drop, func(d string) bool { return strings.EqualFold(d, name) }) {
			fields = append(fields, line)
		}
	}
	return method, target, fields
}

// outcome is a status with the reason id of the gateway's answer, "-" for another
// answer, "" for none that has a body.
func outcome(status int, body []byte) string {
	var document struct{ Error struct{ ID string } }
	reason := "-"
	if json.Unmarshal(body, &document) == nil && document.Error.ID != "" {
		reason = document.Error.ID
	}
	return strconv.Itoa(status) + " " + reason
}

// roundTrip writes bytes and reads one answer; status 0 when the connection ended.
func roundTrip(t testing.TB, address, request, method string) (int, http.Header, []byte) {
	t.Helper()
	c, err := net.DialTimeout("tcp", address, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	_, _ = io.WriteString(c, request) // the server may have answered already
	res, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) {
		return 0, nil, nil
	}
	if err != nil {
		t.Fatalf("%q: %v", request, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil && !errors.Is(err, syscall.ECONNRESET) { // the server did not wait for the rest
		t.Fatalf("%q: %v", request, err)
	}
	return res.StatusCode, res.Header, body
}

// matches reports whether got is one of the statuses with the reason of want. Without
// a reason in want any is right, and got has none for an answer without a body.
func matches(want, got string) bool {
	statuses, reason, given := strings.Cut(want, " ")
	status, had, _ := strings.Cut(got, " ")
	if status == "0" { // what the HTTP server refuses may be cut off before its answer is read
		return reason == "-"
	}
	return slices.Contains(strings.Split(statuses, "|"), status) && (!given || had == "" || had == reason)
}

// arena is the program with every way to ask it, and an API that tells what it saw.
type arena struct {
	proxy, management string // addresses
	checks            auth.AuthorizationClient
	http              *http.Client
	saw               chan arrival
}

type arrival struct {
	target, host string
	header       http.Header
}

// newArena starts the program; fast says by which server of HTTP.
func newArena(t testing.TB, fast bool) *arena {
	t.Helper()
	a := &arena{saw: make(chan arrival, 1), http: &http.Client{Timeout: 30 * time.Second}}
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-a.saw: // of an answer that nobody asked about
		default:
		}
		a.saw <- arrival{r.RequestURI, r.Host, r.Header}
	}))
	t.Cleanup(api.Close)
	t.Cleanup(a.http.CloseIdleConnections)
	rule := `{"id":"%s","match":{"url":"http://api.example.com</%s(/.*)?>","methods":["GET","POST"]},"authenticators":[{"handler":"anonymous","config":{"subject":"alice"}}],` +
		`"authorizer":{"handler":"%s"},"mutators":[%s],"upstream":{"url":"` + api.URL + `","preserve_host":true}}`
	header := `{"handler":"header","config":{"headers":{"X-User":"{{ print .Subject }}"}}}`
	list := "[" + fmt.Sprintf(rule, "open", "open", "allow", `{"handler":"noop"}`) + "," + fmt.Sprintf(rule, "user", "user", "allow", header) + "," + fmt.Sprintf(rule, "deny", "deny", "deny", `{"handler":"noop"}`) + "," +
		strings.Replace(fmt.Sprintf(rule, "token", "token", "allow", `{"handler":"noop"}`), `"anonymous","config":{"subject":"alice"}`, `"unauthorized"`, 1) + "]"
	p := start(t, settings{rules: list, keys: map[string]string{
		"serve.api.trusted_proxies": "127.0.0.1", "serve.api.nginx.trusted_proxies": "127.0.0.1", "serve.api.envoy.trusted_proxies": "127.0.0.1",
		"serve.ext_authz.port": "0", "serve.ext_authz.trusted_proxies": "127.0.0.1",
		"serve.proxy.fast": strconv.FormatBool(fast), "serve.api.fast": strconv.FormatBool(fast),
	}})
	a.proxy, a.management = strings.TrimPrefix(p.proxy, "http://"), strings.TrimPrefix(p.management, "http://")
	conn, err := grpc.NewClient(p.app.Addresses()["ext_authz"], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	a.checks = auth.NewAuthorizationClient(conn)
	return a
}

// through sends h to the proxy. A 200 is told as the target and X-User that the API
// saw; anything else that it must not see fails the test.
func (a *arena) through(t testing.TB, h *hostile) string {
	t.Helper()
	method, _, _ := strings.Cut(h.first, " ")
	status, header, body := roundTrip(t, a.proxy, h.wire(), method)
	if status != http.StatusOK {
		if got := outcome(status, body); got[4:] != "-" && header.Get("X-Decision-Id") == "" {
			t.Errorf("%q: no decision id in %v", h.wire(), header)
		} else if method == http.MethodHead {
			return got[:3]
		} else {
			return got
		}
	}
	var s arrival
	select {
	case s = <-a.saw:
	default:
		t.Errorf("%q: 200, but the API saw nothing", h.wire())
	}
	user := ""
	for name, values := range s.header {
		switch folded := foldName(name); {
		case folded == "X-User":
			if name != "X-User" || len(values) != 1 {
				t.Errorf("%q: the API saw %s: %q", h.wire(), name, values)
			}
			user = " " + strings.Join(values, ",")
		case folded == "X-Forwarded-For" && slices.Equal(values, []string{"127.0.0.1"}) && name == folded:
		case folded == "X-Forwarded-Host" && slices.Equal(values, []string{"api.example.com"}) && name == folded:
		case folded == "X-Forwarded-Proto" && slices.Equal(values, []string{"http"}) && name == folded:
		case folded == "X-Request-Id" && len(values) == 1 && len(values[0]) == 26 && name == folded:
		case folded == "Te" && slices.Equal(values, []string{"trailers"}):
		case slices.Contains([]string{"Forwarded", "X-Real-Ip", "X-Rewrite-Url", "X-Request-Id", "X-Decision-Id", "Proxy", "Upgrade", "Connection", "Proxy-Connection", "Proxy-Authorization", "Http2-Settings", "Te", "Host"}, folded),
			strings.HasPrefix(folded, "X-Forwarded-"), strings.HasPrefix(folded, "X-Original-"):
			t.Errorf("%q: the API saw %s: %q", h.wire(), name, values)
		}
	}
	if s.host != "api.example.com" {
		t.Errorf("%q: the API saw the host %q", h.wire(), s.host)
	}
	return "200 " + s.target + user
}

// foldName is the field that a lenient server reads name as.
func foldName(name string) string {
	return http.CanonicalHeaderKey(strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, name))
}

// asked is an adapter's outcome: a refusal, or 200 with the X-User of the answer.
func asked(status int, header http.Header, body []byte) string {
	if status == http.StatusOK {
		return strings.TrimSuffix("200 "+header.Get("X-User"), " ")
	}
	return outcome(status, body)
}

// adapters are the ways to ask about h. They return an outcome, or "" for a request
// that cannot be put in this way.
var adapters = map[string]func(t testing.TB, a *arena, h *hostile) string{
	"forward auth": func(t testing.TB, a *arena, h *hostile) string {
		method, target, fields := h.question("X-Forwarded-Method", "X-Forwarded-Uri", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-For", "Forwarded")
		fields = append(fields, "X-Forwarded-Method: "+method, "X-Forwarded-Uri: "+target, "X-Forwarded-Host: "+h.host(), "X-Forwarded-Proto: http", "X-Forwarded-For: 127.0.0.1")
		return asked(a.ask(t, "GET", "/decisions", "gateway", fields))
	},
	"path after the prefix": func(t testing.TB, a *arena, h *hostile) string {
		method, target, fields := h.question("X-Forwarded-Method", "X-Forwarded-Uri", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-For", "Forwarded")
		return a.below(t, h, method, "/decisions"+target, fields)
	},
	"nginx": func(t testing.TB, a *arena, h *hostile) string {
		method, target, fields := h.question("X-Original-Method", "X-Original-Uri", "X-Original-Url", "X-Original-Host", "X-Original-Proto", "X-Forwarded-For")
		fields = append(fields, "X-Original-Method: "+method, "X-Original-Uri: "+target, "X-Original-Host: "+h.host(), "X-Original-Proto: http", "X-Forwarded-For: 127.0.0.1")
		status, header, body := a.ask(t, "GET", "/decisions/nginx", "gateway", fields)
		if real := header.Get("X-Decision-Status"); status == 403 && real != "" {
			if status, _ = strconv.Atoi(real); status == 401 {
				t.Errorf("%q: 401 as 403", h.first)
			}
		}
		return asked(status, header, body)
	},
	"Envoy over HTTP": func(t testing.TB, a *arena, h *hostile) string {
		method, target, fields := h.question("X-Forwarded-Proto", "X-Forwarded-For")
		return a.below(t, h, method, "/decisions/envoy"+target, append(fields, "X-Forwarded-Proto: http", "X-Forwarded-For: 127.0.0.1"))
	},
	"Envoy over gRPC": func(t testing.TB, a *arena, h *hostile) string {
		method, target, fields := h.question()
		check := &auth.AttributeContext_HttpRequest{Method: method, Path: target, Host: h.host(), Scheme: "http", HeaderMap: &core.HeaderMap{}}
		if !utf8.ValidString(method + target + h.host()) {
			return ""
		}
		for _, f := range fields {
			name, value, _ := strings.Cut(f, ":")
			check.HeaderMap.Headers = append(check.HeaderMap.Headers, &core.HeaderValue{Key: strings.ToLower(name), RawValue: []byte(strings.TrimSpace(value))})
		}
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		answer, err := a.checks.Check(ctx, &auth.CheckRequest{Attributes: &auth.AttributeContext{
			Source:  &auth.AttributeContext_Peer{Address: &core.Address{Address: &core.Address_SocketAddress{SocketAddress: &core.SocketAddress{Address: "127.0.0.1", PortSpecifier: &core.SocketAddress_PortValue{PortValue: 1}}}}},
			Request: &auth.AttributeContext_Request{Http: check},
		}})
		if err != nil {
			t.Fatalf("%q: %v", h.first, err)
		}
		if d := answer.GetDeniedResponse(); d != nil {
			return outcome(int(d.GetStatus().GetCode()), []byte(d.GetBody()))
		}
		user := ""
		for _, o := range answer.GetOkResponse().GetHeaders() {
			if o.GetHeader().GetKey() == "x-user" && o.GetAppendAction() == core.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD {
				user = " " + o.GetHeader().GetValue()
			}
		}
		for _, f := range fields { // what is not ours to set is to be removed
			name, _, _ := strings.Cut(f, ":")
			if name = strings.ToLower(name); foldName(name) == "X-User" && (user == "" || name != "x-user") && !slices.Contains(answer.GetOkResponse().GetHeadersToRemove(), name) {
				t.Errorf("%q: Envoy is not told to remove %s", h.first, name)
			}
		}
		return "200" + user
	},
	"AuthZEN": func(t testing.TB, a *arena, h *hostile) string {
		method, target, fields := h.question()
		if !utf8.ValidString(method+target+h.host()) || strings.ContainsAny(h.host(), "/?") {
			return ""
		}
		headers := map[string]string{}
		for _, f := range fields {
			name, value, _ := strings.Cut(f, ":")
			headers[name] = strings.TrimSpace(value)
		}
		question, err := json.Marshal(map[string]any{
			"subject": map[string]any{"type": "user", "id": "alice"}, "action": map[string]any{"name": method},
			"resource": map[string]any{"type": "route", "id": "http://" + h.host() + target}, "context": map[string]any{"headers": headers},
		})
		if err != nil {
			t.Fatal(err)
		}
		res, err := a.http.Post("http://"+a.management+"/access/v1/evaluation", "application/json", bytes.NewReader(question))
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		var answer struct {
			Decision bool
			Context  struct{ Reason, Rule string }
		}
		if err := json.NewDecoder(res.Body).Decode(&answer); err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("%s: %d %v", question, res.StatusCode, err)
		}
		switch {
		case answer.Decision && answer.Context.Rule == "user":
			return "200 alice"
		case answer.Decision:
			return "200"
		}
		return "0 " + answer.Context.Reason
	},
}

// ask sends a question of a front proxy over a raw connection.
func (a *arena) ask(t testing.TB, method, target, host string, fields []string) (int, http.Header, []byte) {
	t.Helper()
	request := method + " " + target + " HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n" + strings.Join(append(fields, ""), "\r\n") + "\r\n"
	return roundTrip(t, a.management, request, method)
}

// below asks with the request itself after a prefix.
func (a *arena) below(t testing.TB, h *hostile, method, target string, fields []string) string {
	t.Helper()
	status, header, body := a.ask(t, method, target, h.host(), fields)
	got := asked(status, header, body)
	if method == http.MethodHead {
		return got[:3]
	}
	if got == "400 -" && strings.HasPrefix(h.adapters, "400 ") { // refused by the HTTP server, since it is a request of its own
		return h.adapters
	}
	return got
}

// TestHostileRequestsAreRefusedOrReachTheAPIAsTheyWereJudged sends the corpus through
// the proxy and asks every adapter about it, behind each of the two servers of HTTP.
func TestHostileRequestsAreRefusedOrReachTheAPIAsTheyWereJudged(t *testing.T) {
	corpus := readCorpus(t)
	if len(corpus) < 300 {
		t.Fatalf("the corpus has %d requests", len(corpus))
	}
	for server, fast := range map[string]bool{"the loop": true, "net http": false} {
		t.Run(server, func(t *testing.T) {
			a := newArena(t, fast)
			t.Run("the proxy", func(t *testing.T) {
				t.Parallel()
				for _, h := range corpus {
					if got := a.through(t, &h); got != h.proxy && !matches(h.proxy, got) {
						t.Errorf("testdata/hostile.tsv:%d: %s: got %s, want %s", h.line, h.name, got, h.proxy)
					}
				}
			})
			for name, adapter := range adapters {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					for _, h := range corpus {
						want := h.expected(name)
						if want == "" {
							continue
						}
						if got := adapter(t, a, &h); got != "" && got != want && !matches(want, got) {
							t.Errorf("testdata/hostile.tsv:%d: %s: got %s, want %s", h.line, h.name, got, want)
						}
					}
				})
			}
		})
	}
}

// expected is the outcome at an adapter; empty when it is not asked.
func (h *hostile) expected(adapter string) string {
	if h.adapters == "" {
		return ""
	}
	parts := strings.Fields(h.adapters)
	if parts[len(parts)-1] == "header_alias" && (strings.HasPrefix(adapter, "Envoy") || adapter == "AuthZEN") {
		parts = strings.Fields(h.proxy) // Envoy can be told to remove other spellings
	}
	switch {
	case parts[0] == "200": // an adapter says nothing of the target
		return strings.Join(append(parts[:1:1], parts[2:]...), " ")
	case adapter != "AuthZEN":
		return strings.Join(parts, " ")
	case len(parts) == 1: // AuthZEN has reasons but no statuses
		return ""
	}
	return "0 " + parts[1]
}
