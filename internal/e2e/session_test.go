package e2e

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// pagesBehindLogin are pages for people who log in by oidc_session with a
// configuration, and one that is open.
func pagesBehindLogin(upstream, config string) string {
	return `[{
		"id": "pages",
		"match": {"url": "http://<[^/]+>/<(app.*)>", "methods": ["GET", "POST"]},
		"upstream": {"url": "` + upstream + `"},
		"authenticators": [{"handler": "oidc_session", "config": ` + config + `}],
		"authorizer": {"handler": "allow"},
		"mutators": [{"handler": "header", "config": {"headers": {"X-User": "{{ print .Subject }}", "X-Team": "{{ print .Extra.team }}", "X-Access-Token": "{{ print .Extra.access_token }}"}}}]
	}, {
		"id": "open",
		"match": {"url": "http://<[^/]+>/open", "methods": ["GET"]},
		"upstream": {"url": "` + upstream + `"},
		"authenticators": [{"handler": "anonymous"}], "authorizer": {"handler": "allow"}, "mutators": [{"handler": "noop"}]
	}]`
}

const sessionClient = `{"client_id": "gateway", "client_secret": "a-secret-of-the-gateway", "claims": ["team"], "scope": ["openid", "offline_access"], "forward_access_token": true`

// register makes the client of a gateway at a provider.
func (p *program) register(t *testing.T, gateway string) {
	t.Helper()
	post(t, p.management+"/clients", `{"client_id": "gateway", "client_secret": "a-secret-of-the-gateway", "redirect_uris": ["`+gateway+`/.gatewarden/callback"], "post_logout_redirect_uris": ["`+gateway+`/open"],
		"grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"], "scope": "openid offline_access"}`).want(t, http.StatusCreated)
}

// open asks for a page as a browser that navigates does, and follows nothing.
func (b *browser) open(t *testing.T, method, address string, header ...string) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(header) == 0 {
		header = []string{"Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Sec-Fetch-Site", "same-origin"}
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	res, err := b.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, string(body)}
}

func (b *browser) script(t *testing.T, address string) answer {
	t.Helper()
	return b.open(t, "GET", address, "Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty", "Accept", "application/json")
}

// authenticate is ada at the provider, from where the gateway sent her to where she is
// sent back.
func (b *browser) authenticate(t *testing.T, provider *program, location string) *url.URL {
	t.Helper()
	login := b.get(t, location)
	consent := b.get(t, provider.accept(t, "login", login.Query().Get("login_challenge"), `{"subject": "ada", "remember": true, "remember_for": 600}`))
	return b.get(t, provider.accept(t, "consent", consent.Query().Get("consent_challenge"), `{"grant_scope": ["openid", "offline_access"], "session": {"id_token": {"team": "engines", "salary": "high"}}}`))
}

// page is what the upstream saw of a page.
func (a answer) page(t *testing.T) seen {
	t.Helper()
	var s seen
	a.want(t, http.StatusOK).decode(t, &s)
	return s
}

var loginApp = map[string]string{"urls.login": "http://login.example/login", "urls.consent": "http://login.example/consent"}

func TestABrowserLogsInThroughTheGateway(t *testing.T) {
	for _, where := range []string{"at the embedded server", "at another provider"} {
		t.Run(where, func(t *testing.T) {
			api := upstream(t)
			provider := start(t, settings{keys: loginApp})
			config := sessionClient + `, "issuer": "` + provider.public + `"}`
			if where == "at the embedded server" {
				config = sessionClient + `, "post_logout_redirect": "/open"}`
			}
			gateway := start(t, settings{dsn: "sqlite://" + filepath.Join(t.TempDir(), "gw.db"), rules: pagesBehindLogin(api.URL, config), keys: loginApp})
			if where == "at the embedded server" {
				provider = gateway
			}
			provider.register(t, gateway.proxy)
			b := newBrowser(t)

			// A script is told to log in, a browser is sent to the provider.
			told := b.script(t, gateway.proxy+"/app/data").want(t, http.StatusUnauthorized)
			if got, want := told.header.Get("Www-Authenticate"), `Session realm="gatewarden", login_uri="`+gateway.proxy+`/.gatewarden/login"`; got != want {
				t.Errorf("a script is told %q, want %q", got, want)
			}
			// Two tabs, of which the first to be opened is the last to log in.
			first := b.open(t, "GET", gateway.proxy+"/app/page?x=1").want(t, http.StatusFound)
			second := b.open(t, "GET", gateway.proxy+"/app/other").want(t, http.StatusFound)
			for _, tab := range []struct {
				sent answer
				page string
			}{{second, "/app/other"}, {first, "/app/page?x=1"}} {
				back := b.authenticate(t, provider, tab.sent.header.Get("Location"))
				done := b.open(t, "GET", back.String()).want(t, http.StatusSeeOther)
				if got := done.header.Get("Location"); got != gateway.proxy+tab.page {
					t.Errorf("the login ends at %s, want %s", got, tab.page)
				}
				b.open(t, "GET", back.String()).want(t, http.StatusBadRequest) // once
			}

			// The upstream knows who it is and nothing of the session.
			home, _ := url.Parse(gateway.proxy)
			b.client.Jar.SetCookies(home, []*http.Cookie{{Name: "theme", Value: "dark", Path: "/"}})
			got := b.open(t, "GET", gateway.proxy+"/app/page?x=1").page(t)
			if diff := cmp.Diff([]string{"ada", "engines", "theme=dark"}, []string{got.Header.Get("X-User"), got.Header.Get("X-Team"), onlyOurs(got.Header.Get("Cookie"))}); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if got := b.open(t, "GET", gateway.proxy+"/open").page(t); strings.Contains(got.Header.Get("Cookie"), "gatewarden_") {
				t.Errorf("an open route shows the session: %s", got.Header.Get("Cookie"))
			}

			// What belongs to the gateway is never forwarded and never falls to a rule.
			for _, path := range []string{"/.gatewarden/callback", "/.gatewarden/callback?state=x&code=y"} {
				b.open(t, "GET", gateway.proxy+path).want(t, http.StatusBadRequest)
			}
			b.open(t, "POST", gateway.proxy+"/.gatewarden/logout", "Sec-Fetch-Site", "cross-site").want(t, http.StatusForbidden)
			b.script(t, gateway.proxy+"/app/data").want(t, http.StatusOK)
			out := b.open(t, "GET", gateway.proxy+"/.gatewarden/logout").want(t, http.StatusSeeOther)
			if to := out.header.Get("Location"); !strings.HasPrefix(to, provider.public+"/oauth2/sessions/logout?") || !strings.Contains(to, "id_token_hint=") {
				t.Errorf("the logout goes on at %s", to)
			}
			b.script(t, gateway.proxy+"/app/data").want(t, http.StatusUnauthorized)
			for _, text := range []string{gateway.log.String(), provider.log.String()} {
				for _, secret := range []string{"a-secret-of-the-gateway", got.Header.Get("X-Access-Token"), "id_token_hint"} {
					if secret == "" || strings.Contains(text, secret) {
						t.Errorf("a log has %q", secret)
					}
				}
			}
		})
	}
}

// onlyOurs leaves the cookies out that the provider keeps for the same address, which
// in a test is that of another port.
func onlyOurs(line string) string {
	var kept []string
	for part := range strings.SplitSeq(line, "; ") {
		if !strings.HasPrefix(part, "ory_hydra_") {
			kept = append(kept, part)
		}
	}
	return strings.Join(kept, "; ")
}

func TestARenewedSessionOutlivesItsTokensWhateverRunsInParallel(t *testing.T) {
	api := upstream(t)
	keys := map[string]string{"ttl.access_token": "1s"}
	for name, value := range loginApp {
		keys[name] = value
	}
	p := start(t, settings{rules: pagesBehindLogin(api.URL, sessionClient+`}`), keys: keys})
	p.register(t, p.proxy)
	b := newBrowser(t)
	back := b.authenticate(t, p, b.open(t, "GET", p.proxy+"/app/").want(t, http.StatusFound).header.Get("Location"))
	b.open(t, "GET", back.String()).want(t, http.StatusSeeOther)
	token := b.script(t, p.proxy+"/app/").page(t).Header.Get("X-Access-Token")
	for range 3 {
		eventually(t, "the access token is another one", func() bool {
			var wait sync.WaitGroup
			next := make([]string, 6)
			for n := range next {
				wait.Go(func() {
					a := b.script(t, p.proxy+"/app/")
					var s seen
					if err := json.Unmarshal([]byte(a.body), &s); a.status != http.StatusOK || err != nil {
						t.Errorf("got %d %s", a.status, a.body)
					}
					next[n] = s.Header.Get("X-Access-Token")
				})
			}
			wait.Wait()
			before := token
			token = next[0]
			return before != token || t.Failed()
		})
	}
}

func TestALoginWorksBehindAProxyThatAsksForDecisions(t *testing.T) {
	api := upstream(t)
	keys := map[string]string{"serve.api.trusted_proxies": "127.0.0.1"}
	for name, value := range loginApp {
		keys[name] = value
	}
	p := start(t, settings{rules: strings.ReplaceAll(pagesBehindLogin(api.URL, sessionClient+`}`), "http://<", "https://<"), keys: keys})
	p.register(t, "https://app.example")
	site, err := url.Parse("https://app.example")
	if err != nil {
		t.Fatal(err)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	// ask is a request of the browser, as Traefik asks about it.
	ask := func(uri string, header ...string) answer {
		t.Helper()
		var line []string
		for _, c := range jar.Cookies(site) {
			line = append(line, c.String())
		}
		a := send(t, "GET", p.management+"/decisions", "", append(header, "Cookie", strings.Join(append(line, "theme=dark"), "; "),
			"X-Forwarded-Method", "GET", "X-Forwarded-Proto", "https", "X-Forwarded-Host", "app.example", "X-Forwarded-Uri", uri)...)
		jar.SetCookies(site, (&http.Response{Header: a.header}).Cookies())
		return a
	}
	navigate := []string{"Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Sec-Fetch-Site", "none"}
	ask("/app/page").want(t, http.StatusUnauthorized)
	sent := ask("/app/page", navigate...).want(t, http.StatusFound)
	back := newBrowser(t).authenticate(t, p, sent.header.Get("Location"))
	done := ask(back.RequestURI(), navigate...).want(t, http.StatusSeeOther)
	if got := done.header.Get("Location"); got != "https://app.example/app/page" {
		t.Errorf("the login ends at %s", got)
	}
	for _, c := range jar.Cookies(site) {
		if !strings.HasPrefix(c.Name, "__Host-gatewarden_s_") {
			t.Errorf("the browser has the cookie %s", c.Name)
		}
	}
	got := ask("/app/page").want(t, http.StatusOK)
	if diff := cmp.Diff([]string{"ada", "theme=dark"}, []string{got.header.Get("X-User"), got.header.Get("Cookie")}); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
