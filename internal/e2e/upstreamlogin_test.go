package e2e

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/html"
)

// walker is a browser that reads pages, with cookies for each host and port: programs on
// one machine are strangers to each other.
type walker struct {
	t    *testing.T
	jars map[string]http.CookieJar
	at   *url.URL
	page string
	// home are the hosts that it goes to; it stops before all others.
	home map[string]bool
}

func newWalker(t *testing.T, programs ...*program) *walker {
	t.Helper()
	w := &walker{t: t, jars: map[string]http.CookieJar{}, home: map[string]bool{}}
	for _, p := range programs {
		jar, err := cookiejar.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		host := strings.TrimPrefix(p.public, "http://")
		w.jars[host], w.home[host] = jar, true
	}
	return w
}

func (w *walker) send(method, address, body string) *walker {
	w.t.Helper()
	for range 20 {
		r, err := http.NewRequestWithContext(w.t.Context(), method, address, strings.NewReader(body))
		if err != nil {
			w.t.Fatal(err)
		}
		from := w.at
		if w.at, w.page = r.URL, ""; !w.home[r.URL.Host] {
			return w
		}
		if method == http.MethodPost {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			r.Header.Set("Origin", from.Scheme+"://"+from.Host)
		}
		c := client()
		c.Jar = w.jars[r.URL.Host]
		res, err := c.Do(r)
		if err != nil {
			w.t.Fatal(err)
		}
		text, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil {
			w.t.Fatal(err)
		}
		w.page = string(text)
		_, refresh, _ := strings.Cut(res.Header.Get("Refresh"), "url=")
		next := cmpOr(res.Header.Get("Location"), refresh)
		if next == "" {
			return w
		}
		to, err := r.URL.Parse(next)
		if err != nil {
			w.t.Fatal(err)
		}
		method, body, address = http.MethodGet, "", to.String()
	}
	w.t.Fatal("the pages do not end")
	return nil
}

func cmpOr(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func (w *walker) open(address string) *walker {
	w.t.Helper()
	return w.send(http.MethodGet, address, "")
}

// press sends the form of the page that has a button, with what the person typed.
func (w *walker) press(name, value string, typed ...string) *walker {
	w.t.Helper()
	root, err := html.Parse(strings.NewReader(w.page))
	if err != nil {
		w.t.Fatal(err)
	}
	for form := range root.Descendants() {
		if form.Type != html.ElementNode || form.Data != "form" {
			continue
		}
		values, found, action := url.Values{}, false, ""
		for n := range form.Descendants() {
			of := map[string]string{}
			for _, a := range n.Attr {
				of[a.Key] = a.Val
			}
			_, checked := of["checked"]
			switch _, off := of["disabled"]; {
			case off || of["name"] == "":
			case n.Data == "button":
				found = found || of["name"] == name && of["value"] == value
			case n.Data == "input" && (of["type"] != "checkbox" || checked):
				values.Add(of["name"], of["value"])
			}
		}
		for _, a := range form.Attr {
			if a.Key == "action" {
				action = a.Val
			}
		}
		if !found {
			continue
		}
		values.Set(name, value)
		for i := 0; i+1 < len(typed); i += 2 {
			values.Set(typed[i], typed[i+1])
		}
		to, err := w.at.Parse(action)
		if err != nil {
			w.t.Fatal(err)
		}
		return w.send(http.MethodPost, to.String(), values.Encode())
	}
	w.t.Fatalf("%s has no button %s=%s: %s", w.at, name, value, w.page)
	return nil
}

// agree agrees wherever it is asked to, for good.
func (w *walker) agree() *walker {
	w.t.Helper()
	for strings.Contains(w.page, `value="allow"`) {
		w.press("action", "allow", "remember", "1")
	}
	return w
}

const walkersVerifier = "a-verifier-that-has-43-characters-or-more-0123456789"

// authorize begins an authorization request of the client app.
func (w *walker) authorize(p *program, pairs ...string) *walker {
	w.t.Helper()
	sum := sha256.Sum256([]byte(walkersVerifier))
	q := url.Values{"client_id": {"app"}, "response_type": {"code"}, "redirect_uri": {"http://127.0.0.1:9/app"}, "scope": {"openid profile email"},
		"state": {"a state of the app"}, "code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"}}
	for i := 0; i+1 < len(pairs); i += 2 {
		q.Set(pairs[i], pairs[i+1])
	}
	return w.open(p.public + "/oauth2/auth?" + q.Encode())
}

// claims are those of the ID token for the code that the walker came back with.
func (w *walker) claims(p *program) map[string]any {
	w.t.Helper()
	code := w.at.Query().Get("code")
	if code == "" {
		w.t.Fatalf("no code in %s: %s", w.at, w.page)
	}
	form := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {"http://127.0.0.1:9/app"}, "code_verifier": {walkersVerifier},
		"client_id": {"app"}, "client_secret": {"a-secret-of-the-app"}}
	var tokens struct {
		ID string `json:"id_token"`
	}
	send(w.t, http.MethodPost, p.public+"/oauth2/token", form.Encode(), "Content-Type", "application/x-www-form-urlencoded").want(w.t, http.StatusOK).decode(w.t, &tokens)
	return payloadOf(w.t, tokens.ID)
}

func payloadOf(t *testing.T, token string) map[string]any {
	t.Helper()
	var claims map[string]any
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("%q is no token", token)
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err == nil {
		err = json.Unmarshal(payload, &claims)
	}
	if err != nil {
		t.Fatal(err)
	}
	return claims
}

// appClient registers the client app at a program.
func (p *program) appClient(t *testing.T, more string) {
	t.Helper()
	post(t, p.management+"/clients", `{"client_id": "app", "client_name": "The App", "client_secret": "a-secret-of-the-app", "token_endpoint_auth_method": "client_secret_post",
		"redirect_uris": ["http://127.0.0.1:9/app"], "grant_types": ["authorization_code"], "response_types": ["code"], "scope": "openid profile email"`+more+`}`).want(t, http.StatusCreated)
}

func TestPeopleLogInWithAnotherGatewarden(t *testing.T) {
	provider := start(t, settings{})
	post(t, provider.management+"/users", `{"id": "ada-there", "username": "ada", "email": "ada@example.com", "email_verified": true, "claims": {"name": "Ada L."}, "password": "correct-horse"}`).want(t, http.StatusCreated)
	ours := start(t, settings{keys: map[string]string{"login.providers": `[{"id": "corp", "name": "Example Corp", "issuer": "` + provider.public + `", "client_id": "gw",
		"client_secret": "a-secret-of-ours-there", "create": true, "email_domains": ["example.com"]}]`}})
	post(t, provider.management+"/clients", `{"client_id": "gw", "client_name": "Ours", "client_secret": "a-secret-of-ours-there", "redirect_uris": ["`+ours.public+`/login/callback/corp"],
		"grant_types": ["authorization_code"], "response_types": ["code"], "scope": "openid profile email"}`).want(t, http.StatusCreated)
	ours.appClient(t, "")
	through := func(w *walker) map[string]any {
		t.Helper()
		w.authorize(ours).press("provider", "corp")
		if got := w.at.Host; got != strings.TrimPrefix(provider.public, "http://") {
			t.Fatalf("the browser is at %s, and not at the provider: %s", w.at, w.page)
		}
		return w.press("action", "login", "login", "ada", "password", "correct-horse").agree().claims(ours)
	}
	w := newWalker(t, provider, ours)
	first := through(w)
	got := map[string]any{}
	for _, name := range []string{"name", "email", "email_verified", "preferred_username", "acr"} {
		got[name] = first[name]
	}
	want := map[string]any{"name": "Ada L.", "email": "ada@example.com", "email_verified": true, "preferred_username": "ada", "acr": "aal1"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("claims (-want +got):\n%s", diff)
	}
	if first["sub"] == "ada-there" || first["sub"] == "" || first["iss"] != ours.public {
		t.Errorf("the subject is %v of %v", first["sub"], first["iss"])
	}
	// The login is one like any other: it is remembered, and it is the same person next time.
	if silent := w.authorize(ours, "prompt", "none").claims(ours); silent["sub"] != first["sub"] || silent["sid"] != first["sid"] {
		t.Errorf("with prompt=none it is %v, and not %v", silent["sub"], first["sub"])
	}
	if again := through(newWalker(t, provider, ours)); again["sub"] != first["sub"] {
		t.Errorf("another browser's is %v, and not %v", again["sub"], first["sub"])
	}
	if w := newWalker(t, provider, ours).authorize(ours, "prompt", "none"); w.at.Query().Get("error") != "login_required" {
		t.Errorf("a stranger's prompt=none ends at %s", w.at)
	}
	// A login that must be new is asked for there, although the provider remembers one.
	w.authorize(ours, "prompt", "login").press("provider", "corp")
	if !strings.Contains(w.page, `name="password"`) || w.at.Host != strings.TrimPrefix(provider.public, "http://") {
		t.Fatalf("the provider does not ask: %s %s", w.at, w.page)
	}
	w.press("action", "login", "login", "ada", "password", "correct-horse").agree()
	if renewed := w.claims(ours); renewed["sub"] != first["sub"] {
		t.Errorf("after prompt=login it is %v", renewed["sub"])
	}
	// The user is an ordinary one, whom an operator can lock out.
	sub, _ := first["sub"].(string)
	var user map[string]any
	send(t, http.MethodGet, ours.management+"/users/"+sub, "").want(t, http.StatusOK).decode(t, &user)
	user["disabled"] = true
	changed, err := json.Marshal(user)
	if err != nil {
		t.Fatal(err)
	}
	send(t, http.MethodPut, ours.management+"/users/"+sub, string(changed), "Content-Type", "application/json").want(t, http.StatusOK)
	if w.authorize(ours).press("provider", "corp").agree(); !strings.Contains(w.page, "You cannot sign in here") {
		t.Errorf("a disabled user is let in: %s %s", w.at, w.page)
	}
	if log := ours.log.String(); strings.Contains(log, "a-secret-of-ours-there") {
		t.Error("the secret of the provider is in the log")
	}
}

func TestClientsHearThatAnOwnNewPasswordEndedOtherSessions(t *testing.T) {
	told := make(chan string, 10)
	listener := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { told <- r.FormValue("logout_token") }))
	t.Cleanup(listener.Close)
	p := start(t, settings{})
	post(t, p.management+"/users", `{"id": "ada", "username": "ada", "password": "correct-horse"}`).want(t, http.StatusCreated)
	p.appClient(t, `, "backchannel_logout_uri": "`+listener.URL+`"`)
	logIn := func() (*walker, any) {
		t.Helper()
		w := newWalker(t, p).authorize(p).press("action", "login", "login", "ada", "password", "correct-horse").agree()
		return w, w.claims(p)["sid"]
	}
	here, _ := logIn()
	_, elsewhere := logIn()
	here.open(p.public+"/account").press("action", "password", "password", "correct-horse", "new_password", "another-horse")
	if !strings.Contains(here.page, "The password was changed") {
		t.Fatalf("%s: %s", here.at, here.page)
	}
	select {
	case token := <-told:
		if got := payloadOf(t, token)["sid"]; got != elsewhere {
			t.Errorf("the client was told of the session %v, not of %v", got, elsewhere)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the client was not told")
	}
	if err := p.stop(); err != nil { // which waits for what is on its way
		t.Fatal(err)
	}
	if n := len(told); n > 0 {
		t.Errorf("the client was told of %d sessions more", n)
	}
}
