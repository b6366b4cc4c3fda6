package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/internal/testca"
	"github.com/gatewarden/gatewarden/internal/testenv"
)

// web is a site as people see it: pages at app.example behind the gateway, the provider
// at id.example and its login app at login.example, which are three sites to a browser.
type web struct {
	*program
	browser *testenv.Browser
}

// secretPage is on every page that needs a login.
const secretPage = "the orders of"

// careless is an app that says how long to keep one page alone.
func careless(t *testing.T) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		if r.URL.Path == "/app/last" {
			w.Header().Set("Cache-Control", "no-store")
		}
		if r.URL.Path == "/open" {
			fmt.Fprint(w, "<!doctype html><title>open</title><p>welcome</p>")
			return
		}
		fmt.Fprintf(w, `<!doctype html><title>app</title><p>%s %s at %q with %q</p><form method="post" action="/.gatewarden/logout"><button id="logout">log out</button></form>`,
			secretPage, r.Header.Get("X-User"), r.RequestURI, r.Header.Get("Cookie"))
	}))
	t.Cleanup(s.Close)
	return s
}

// serving is what a listener with a certificate needs.
func serving(t *testing.T, listener string, c testca.Issued) map[string]string {
	t.Helper()
	return map[string]string{
		"serve." + listener + ".tls.cert.base64": base64.StdEncoding.EncodeToString(testca.PEM(c.Leaf)),
		"serve." + listener + ".tls.key.base64":  base64.StdEncoding.EncodeToString(c.KeyPEM(t)),
	}
}

// openNames makes the certificates of the three sites and the settings of a program that
// is their provider.
func openNames(t *testing.T) (app, id, login testca.Issued, keys map[string]string) {
	t.Helper()
	authority := testca.New(t, "web", time.Now())
	certificate := func(name string) testca.Issued {
		return authority.Issue(t, func(c *x509.Certificate) {
			c.ExtKeyUsage, c.DNSNames = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, []string{name}
		})
	}
	app, id, login = certificate("app.example"), certificate("id.example"), certificate("login.example")
	keys = serving(t, "public", id)
	for name, value := range map[string]string{
		"urls.self.issuer": "https://id.example", "urls.login": "https://login.example/login", "urls.consent": "https://login.example/consent", "urls.logout": "https://login.example/logout",
		"serve.api.nginx.trusted_proxies": "127.0.0.1", "serve.proxy.trusted_proxies": "127.0.0.1",
	} {
		keys[name] = value
	}
	return app, id, login, keys
}

// openWeb starts everything, with nginx in front of the pages if asked for.
func openWeb(t *testing.T, behindNginx bool) *web {
	t.Helper()
	testenv.Program(t, "chromium") // before anything is started for nothing
	app, id, login, keys := openNames(t)
	if !behindNginx {
		for name, value := range serving(t, "proxy", app) {
			keys[name] = value
		}
	}
	api := careless(t)
	rules := pagesBehindLogin(api.URL, `{"client_id": "gateway", "client_secret": "a-secret-of-the-gateway", "scope": ["openid", "offline_access"], "post_logout_redirect": "/open"}`)
	p := start(t, settings{rules: strings.ReplaceAll(rules, "http://<[^/]+>", "https://app.example"), keys: keys})
	p.register(t, "https://app.example")
	at := p.app.Addresses()
	names := map[string]string{"app.example:443": at["proxy"], "id.example:443": at["public"], "login.example:443": serveLoginApp(t, p.management, login.TLS())}
	if behindNginx {
		folder, address := t.TempDir(), testenv.FreeAddress(t)
		replace := strings.NewReplacer("127.0.0.1:4456", strings.TrimPrefix(p.management, "http://"), "127.0.0.1:4455", at["proxy"], "127.0.0.1:3000", strings.TrimPrefix(api.URL, "http://"),
			"listen 8443", "listen "+address, "app.example.pem", write(t, folder, "app.pem", string(testca.PEM(app.Leaf))), "app.example.key", write(t, folder, "app.key", string(app.KeyPEM(t))))
		testenv.Serve(t, address, testenv.Program(t, "nginx"), nginx(t, folder, replace.Replace(block(t, "Logins behind nginx", "nginx")))...)
		names["app.example:443"] = address
	}
	return &web{p, testenv.Chromium(t, names, app.Leaf, id.Leaf, login.Leaf)}
}

// login is ada at the login app, in a tab that was sent there.
func (w *web) login(t *testing.T, tab *testenv.Tab) {
	t.Helper()
	if at := tab.Address(); !strings.HasPrefix(at, "https://login.example/login?login_challenge=") {
		t.Fatalf("the tab is at %s and not at the login", at)
	}
	tab.Fill(`[name="user"]`, "ada")
	tab.Fill(`[name="password"]`, loginPassword)
	tab.Click("button")
	tab.Click("button") // the consent
}

// cookies are those of a host, without the part of their names that changes with the
// configuration.
func (w *web) cookies(t *testing.T, host string) (list []testenv.Cookie) {
	t.Helper()
	for _, c := range w.browser.Cookies(t) {
		if c.Domain == host {
			if c.Domain == "app.example" {
				name, piece, _ := strings.Cut(c.Name, ".")
				c.Name = name[:strings.LastIndex(name, "_")] + "." + piece
			}
			list = append(list, c)
		}
	}
	return list
}

func TestChromiumLogsInThroughTheGatewayAndOut(t *testing.T) {
	for name, behindNginx := range map[string]bool{"at the gateway's own proxy": false, "behind nginx": true} {
		t.Run(name, func(t *testing.T) {
			w := openWeb(t, behindNginx)
			first, second, script := w.browser.Tab(t), w.browser.Tab(t), w.browser.Tab(t)

			// Two tabs are sent to the login, a script is told so.
			first.Open("https://app.example/app/page?x=1&to=%2Fa")
			second.Open("https://app.example/app/other")
			script.Open("https://app.example/open")
			if got := script.Fetch("/app/data"); got.Status != http.StatusUnauthorized || got.Redirected || strings.Contains(got.Body, secretPage) {
				t.Errorf("a script without a session got %+v", got)
			}
			// The second logs in first; each comes back to its own page.
			w.login(t, second)
			w.login(t, first)
			for page, tab := range map[string]*testenv.Tab{"/app/page?x=1&to=%2Fa": first, "/app/other": second} {
				if got := tab.Address(); got != "https://app.example"+page {
					t.Errorf("the login ends at %s, want %s", got, page)
				}
				if got, want := tab.Text(), fmt.Sprintf("%s ada at %q with %q", secretPage, page, ""); !strings.Contains(got, want) {
					t.Errorf("%s shows %q, want %q", page, got, want)
				}
			}
			if got := script.Fetch("/app/data"); got.Status != http.StatusOK || got.Cookies != "" {
				t.Errorf("a script with the session got %+v", got)
			}
			session := testenv.Cookie{Name: "__Host-gatewarden_s.0", Domain: "app.example", Path: "/", Secure: true, HTTPOnly: true, SameSite: "Lax"}
			if diff := cmp.Diff([]testenv.Cookie{session}, w.cookies(t, "app.example")); diff != "" {
				t.Errorf("cookies of the gateway (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff([]testenv.Cookie{
				{Name: "__Host-ory_hydra_login_csrf", Domain: "id.example", Path: "/", Secure: true, HTTPOnly: true, SameSite: "Lax"},
				{Name: "__Host-ory_hydra_session", Domain: "id.example", Path: "/", Secure: true, HTTPOnly: true, SameSite: "Lax"},
			}, w.cookies(t, "id.example")); diff != "" {
				t.Errorf("cookies of the provider (-want +got):\n%s", diff)
			}

			// A logout ends it here and there, and the browser forgets what it has kept. It
			// keeps the page that the logout was asked for on, unless that says no-store.
			first.Open("https://app.example/app/last")
			first.Click("#logout")
			if at := first.Address(); !strings.HasPrefix(at, "https://login.example/logout?logout_challenge=") {
				t.Fatalf("the logout goes on at %s", at)
			}
			first.Click("button")
			if at := first.Address(); at != "https://app.example/open" {
				t.Errorf("the logout ends at %s", at)
			}
			if left := w.cookies(t, "app.example"); left != nil {
				t.Errorf("the gateway left %v", left)
			}
			for _, c := range w.cookies(t, "id.example") {
				if c.Name == "__Host-ory_hydra_session" {
					t.Error("the provider left its session")
				}
			}
			first.Back(2) // over the question whether to log out
			last := first.Text()
			first.Back(1)
			if before := first.Text(); strings.Contains(last, secretPage) || strings.Contains(before, secretPage) {
				t.Errorf("after the logout, back shows %q, and %q before", last, before)
			}
			if got := script.Fetch("/app/data"); got.Status != http.StatusUnauthorized {
				t.Errorf("after the logout a script got %+v", got)
			}
			second.Open("https://app.example/app/other")
			if at, text := second.Address(), second.Text(); !strings.HasPrefix(at, "https://login.example/login?") || strings.Contains(text, secretPage) {
				t.Errorf("after the logout a page is at %s and shows %q", at, text)
			}
		})
	}
}

// balancer is a proxy with TLS in front of nodes, which sends all requests to one of them.
type balancer struct {
	address string
	node    atomic.Pointer[program]
}

func balance(t *testing.T, certificate testca.Issued) *balancer {
	t.Helper()
	b := &balancer{}
	s := httptest.NewUnstartedServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.Out.URL.Scheme, r.Out.URL.Host = "http", strings.TrimPrefix(b.node.Load().proxy, "http://")
		r.Out.Host = r.In.Host
		r.SetXForwarded()
	}})
	s.TLS = &tls.Config{Certificates: []tls.Certificate{certificate.TLS()}}
	s.StartTLS()
	t.Cleanup(s.Close)
	b.address = s.Listener.Addr().String()
	return b
}

// The provider runs on the first of two nodes, its back-channel leads to the second, and
// the browser's session ends on both, and a copy of its cookie with it.
func TestALogoutAtTheProviderEndsTheGatewaysSessionOnAllNodes(t *testing.T) {
	testenv.Program(t, "chromium")
	app, id, login, keys := openNames(t)
	api := careless(t)
	s := settings{dsn: testenv.Postgres(t), keys: keys,
		rules: strings.ReplaceAll(pagesBehindLogin(api.URL, `{"client_id": "gateway", "client_secret": "a-secret-of-the-gateway", "scope": ["openid", "offline_access"]}`), "http://<[^/]+>", "https://app.example")}
	// The provider reaches the gateway by an address of its own.
	s.rules = strings.Replace(s.rules, "https://app.example/<(app.*)>", "<https?>://<[^/]+>/<(app.*)>", 1)
	nodes := []*program{start(t, s), start(t, s)}
	post(t, nodes[0].management+"/clients", `{"client_id": "gateway", "client_secret": "a-secret-of-the-gateway", "redirect_uris": ["https://app.example/.gatewarden/callback"],
		"grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"], "scope": "openid offline_access",
		"backchannel_logout_uri": "`+nodes[1].proxy+`/.gatewarden/backchannel-logout", "backchannel_logout_session_required": true}`).want(t, http.StatusCreated)
	front := balance(t, app)
	w := &web{nodes[0], testenv.Chromium(t, map[string]string{"app.example:443": front.address, "id.example:443": nodes[0].app.Addresses()["public"],
		"login.example:443": serveLoginApp(t, nodes[0].management, login.TLS())}, app.Leaf, id.Leaf, login.Leaf)}
	page, provider := w.browser.Tab(t), w.browser.Tab(t)
	front.node.Store(nodes[0])
	page.Open("https://app.example/app/page")
	w.login(t, page)
	stolen := w.browser.CookieField(t, "app.example")
	statuses := func() (list []int) {
		for _, n := range nodes {
			list = append(list, send(t, "GET", n.proxy+"/app/data", "", "Cookie", stolen, "X-Forwarded-Proto", "https", "X-Forwarded-Host", "app.example").status)
		}
		return list
	}
	if got := statuses(); !cmp.Equal(got, []int{200, 200}) {
		t.Fatalf("the nodes answer %d", got)
	}
	provider.Open("https://id.example/oauth2/sessions/logout")
	provider.Click("button")
	began := time.Now()
	eventually(t, "the session has ended on both nodes", func() bool { return cmp.Equal(statuses(), []int{401, 401}) })
	t.Logf("the session ended on both nodes within %v", time.Since(began))
	front.node.Store(nodes[1])
	page.Open("https://app.example/app/page")
	if at, text := page.Address(), page.Text(); !strings.HasPrefix(at, "https://login.example/login?") || strings.Contains(text, secretPage) {
		t.Errorf("after the logout a page is at %s and shows %q", at, text)
	}
}
