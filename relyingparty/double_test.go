package relyingparty

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/keys"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start is when tests happen unless they move the clock.
var start = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

const issuer = "https://login.example/realm"

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// idp is a provider that can be told to lie. It binds codes to their challenge and
// rotates refresh tokens as a good one does.
type idp struct {
	*clock
	ring *keys.Ring

	mu sync.Mutex
	// metadata, claims and answer replace members; a nil value removes one.
	metadata, claims, answer map[string]any
	// userinfo is the answer of that endpoint; nil: it is broken.
	userinfo map[string]any
	// sign makes the ID token; nil: as it should be.
	sign func(claims []byte) string
	// status is what the token endpoint answers; 0: 200. body goes with it.
	status int
	body   string
	// asked are the forms that the token endpoint got, with the client's credentials.
	asked   []url.Values
	revoked []string
	codes   map[string]url.Values // authorization requests by code
	refresh string
	// hold, when not nil, keeps the token endpoint waiting.
	hold chan struct{}
}

const signingKeys = `{"keys":[{"kty":"EC","crv":"P-256","kid":"es","alg":"ES256","use":"sig","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0","d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"}]}`

func newIDP(t testing.TB) *idp {
	t.Helper()
	ring, err := keys.FixedRing("test keys", []byte(signingKeys))
	if err != nil {
		t.Fatal(err)
	}
	return &idp{clock: &clock{now: start}, ring: ring, codes: map[string]url.Values{}}
}

func replaced(m, by map[string]any) map[string]any {
	maps.Copy(m, by)
	maps.DeleteFunc(m, func(_ string, v any) bool { return v == nil })
	return m
}

func (i *idp) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	send := func(v any) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v)
	}
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		i.mu.Lock()
		defer i.mu.Unlock()
		send(replaced(map[string]any{
			"issuer": issuer, "authorization_endpoint": issuer + "/auth?tenant=1", "token_endpoint": issuer + "/token", "jwks_uri": issuer + "/keys",
			"end_session_endpoint": issuer + "/logout", "revocation_endpoint": issuer + "/revoke", "authorization_response_iss_parameter_supported": true,
		}, i.metadata))
	case "/revoke":
		_ = r.ParseForm()
		i.revoked = append(i.revoked, r.PostForm.Get("token"))
	case "/userinfo":
		i.mu.Lock()
		defer i.mu.Unlock()
		if i.userinfo == nil || r.Header.Get("Authorization") != "Bearer at-authorization_code" {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		send(i.userinfo)
	case "/token":
		i.token(w, r, send)
	default:
		http.NotFound(w, r)
	}
}

func (i *idp) token(w http.ResponseWriter, r *http.Request, send func(any)) {
	_ = r.ParseForm()
	form := r.PostForm
	if id, secret, ok := r.BasicAuth(); ok {
		form.Set("basic", id+":"+secret)
	}
	i.mu.Lock()
	i.asked = append(i.asked, form)
	hold := i.hold
	i.mu.Unlock()
	if hold != nil {
		<-hold
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.status != 0 {
		w.WriteHeader(i.status)
		_, _ = w.Write([]byte(i.body))
		return
	}
	claims := map[string]any{
		"iss": issuer, "sub": "ada", "aud": "web", "iat": i.Now().Unix(), "exp": i.Now().Add(time.Hour).Unix(), "sid": "s1",
		"auth_time": start.Unix(), "email": "ada@example.org", "secret": "not kept", "at_hash": halfHash("ES256", "at-"+form.Get("grant_type")),
	}
	fail := func() {
		w.WriteHeader(http.StatusBadRequest)
		send(map[string]any{"error": "invalid_grant"})
	}
	if form.Get("grant_type") == "refresh_token" {
		if form.Get("refresh_token") != i.refresh {
			fail()
			return
		}
		i.refresh += "+"
	} else {
		asked, ok := i.codes[form.Get("code")]
		sum := sha256.Sum256([]byte(form.Get("code_verifier")))
		if !ok || asked.Get("code_challenge") != base64.RawURLEncoding.EncodeToString(sum[:]) || asked.Get("redirect_uri") != form.Get("redirect_uri") {
			fail()
			return
		}
		delete(i.codes, form.Get("code"))
		claims["nonce"] = asked.Get("nonce")
		i.refresh = "rt"
	}
	payload, _ := json.Marshal(replaced(claims, i.claims))
	sign := i.sign
	if sign == nil {
		sign = func(payload []byte) string { return i.signed(payload, "") }
	}
	send(replaced(map[string]any{"access_token": "at-" + form.Get("grant_type"), "token_type": "Bearer", "expires_in": 3600, "refresh_token": i.refresh, "id_token": sign(payload)}, i.answer))
}

func (i *idp) signed(payload []byte, typ string) string {
	header := map[string]any{}
	if typ != "" {
		header["typ"] = typ
	}
	t, err := i.ring.SignWith(context.Background(), "ES256", header, payload, time.Time{})
	if err != nil {
		panic(err)
	}
	return t
}

// set changes the provider while nobody asks it.
func (i *idp) set(change func(*idp)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	change(i)
}

func (i *idp) grants() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return len(i.asked)
}

// party returns a Party at the provider.
func (i *idp) party(t testing.TB, change ...func(*Options)) *Party {
	t.Helper()
	o := options(i)
	for _, c := range change {
		c(&o)
	}
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func options(i *idp) Options {
	return Options{
		ClientOptions: ClientOptions{
			ClientID: "web", ClientSecret: "a secret%", Scope: []string{"openid", "offline_access"}, Algorithms: []string{"RS256", "ES256"},
			Local: &Local{Issuer: issuer, Handler: i, Keys: i.ring}, Now: i.Now,
		},
		Claims:     []string{"email"},
		CookieName: "gw", Callback: "/cb", Login: "/login", Logout: "/logout", Idle: 2 * time.Hour, Lifetime: 12 * time.Hour, RenewBefore: time.Minute,
		Secrets: [][]byte{[]byte("the first secret of the tests")},
	}
}

// browser keeps the cookies of one host as a browser does.
type browser struct {
	origin  string
	cookies map[string]string
	order   []string
}

func newBrowser() *browser {
	return &browser{origin: "https://app.example", cookies: map[string]string{}}
}

// request is a navigation, or a script's request when accept is not HTML.
func (b *browser) request(method, target string, header ...string) *access.Request {
	u, err := url.Parse(b.origin + target)
	if err != nil {
		panic(err)
	}
	r := &access.Request{Method: method, URL: u, Header: http.Header{}}
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	for _, name := range b.order {
		if value, ok := b.cookies[name]; ok {
			r.Cookies = append(r.Cookies, &http.Cookie{Name: name, Value: value})
		}
	}
	return r
}

func (b *browser) navigate(target string) *access.Request {
	return b.request("GET", target, "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Sec-Fetch-Site", "same-origin")
}

func (b *browser) script(target string) *access.Request {
	return b.request("GET", target, "Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty", "Sec-Fetch-Site", "same-origin")
}

// take stores the cookies of a response and checks what every one must have.
func (b *browser) take(t testing.TB, h http.Header) {
	t.Helper()
	res := http.Response{Header: h}
	for _, c := range res.Cookies() {
		https := strings.HasPrefix(b.origin, "https:")
		if !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" || c.Secure != https || strings.HasPrefix(c.Name, "__Host-") != https || len(c.Raw) > 4096 {
			t.Errorf("the cookie %s lacks an attribute or is too long: %.200s", c.Name, c.Raw)
		}
		if c.MaxAge < 0 {
			delete(b.cookies, c.Name)
			continue
		}
		if _, known := b.cookies[c.Name]; !known {
			b.order = append(b.order, c.Name)
		}
		b.cookies[c.Name] = c.Value
	}
}

// named are the names of the cookies that begin with a prefix.
func (b *browser) named(kind string) []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(b.cookies)) {
		if strings.Contains(name, "gw_"+kind+"_") {
			out = append(out, name)
		}
	}
	return out
}

// follow returns the response of a *access.Reply and stores its cookies.
func (b *browser) follow(t testing.TB, err error) access.Response {
	t.Helper()
	var reply *access.Reply
	if !errors.As(err, &reply) {
		t.Fatalf("got %v, want a reply", err)
	}
	b.take(t, reply.Response.Header)
	return reply.Response
}

// authorize is the person at the provider: it returns where the browser is sent back to.
func (i *idp) authorize(t testing.TB, location string) *url.URL {
	t.Helper()
	u, err := url.Parse(location)
	if err != nil || !strings.HasPrefix(location, issuer+"/auth?") {
		t.Fatalf("%q is not the provider's", location)
	}
	q := u.Query()
	code := "code-" + q.Get("state")
	i.set(func(i *idp) { i.codes[code] = q })
	back, err := url.Parse(q.Get("redirect_uri"))
	if err != nil {
		t.Fatal(err)
	}
	back.RawQuery = url.Values{"code": {code}, "state": {q.Get("state")}, "iss": {issuer}}.Encode()
	return back
}

// login walks through a login that a request for target begins, and returns where the
// browser ends.
func (b *browser) login(t testing.TB, i *idp, p *Party, target string) string {
	t.Helper()
	sent := b.follow(t, p.Challenge(t.Context(), b.navigate(target)))
	back := i.authorize(t, sent.Header.Get("Location"))
	done := b.follow(t, p.Serve(t.Context(), b.navigate(back.RequestURI())))
	if done.Status != http.StatusSeeOther {
		t.Fatalf("the callback answered %d %v", done.Status, done.Header)
	}
	return done.Header.Get("Location")
}

// outcome puts what a request led to into one word, and stores the cookies.
func (b *browser) outcome(t testing.TB, p *Party, r *access.Request) string {
	t.Helper()
	s, h, err := p.Session(t.Context(), r)
	b.take(t, h)
	var reply *access.Reply
	switch {
	case errors.Is(err, ErrNoSession):
		return "no session"
	case errors.As(err, &reply):
		b.take(t, reply.Response.Header)
		return "login: " + fault.ReasonOf(reply.Err)
	case err != nil:
		b.take(t, fault.HeaderOf(err))
		return fault.KindOf(err).String() + ": " + fault.ReasonOf(err)
	}
	return s.Subject
}
