package server_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/internal/testopenapi"
	"github.com/gatewarden/gatewarden/keys"
	"github.com/gatewarden/gatewarden/oauth2"
	"github.com/gatewarden/gatewarden/oauth2/server"
	"github.com/gatewarden/gatewarden/store/sql"
)

// hashes verifies secrets that are stored as hex SHA-256.
type hashes struct{ calls atomic.Int64 }

func (h *hashes) VerifyAny(_ context.Context, hashes []string, plain string) error {
	h.calls.Add(1)
	if slices.Contains(hashes, hashOf(plain)) {
		return nil
	}
	return fault.New(fault.Unauthenticated, "invalid_secret", "wrong secret")
}

func hashOf(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// ring is shared by the tests because RSA keys take long to make.
var ring = sync.OnceValue(func() *keys.Ring {
	st, err := sql.Open(context.Background(), sql.Options{DSN: "memory"})
	if err != nil {
		panic(err)
	}
	r, err := keys.OpenRing(context.Background(), keys.RingOptions{Set: "test", Store: st, Algorithms: []string{"RS256", "ES256", "PS256", "EdDSA"}})
	if err != nil {
		panic(err)
	}
	return r
})

// flaky is a store that can be told to fail, and to let something happen in the
// middle of a call, once.
type flaky struct {
	*sql.Store
	down          atomic.Bool
	beforeRedeem  once
	beforeRotate  once
	beforeIssue   once
	mu            sync.Mutex
	issued        []string // signatures of access tokens that IssueTokens stored
	afterReadback once     // of an access token
	session       []byte   // replaces that of access tokens; nil: does not
}

// once is a hook that runs at most once.
type once struct{ do atomic.Pointer[func()] }

func (o *once) set(do func()) { o.do.Store(&do) }

func (o *once) run() {
	if do := o.do.Swap(nil); do != nil {
		(*do)()
	}
}

func (f *flaky) RedeemCode(ctx context.Context, signature string, buy oauth2.Issue) error {
	f.beforeRedeem.run()
	return f.Store.RedeemCode(ctx, signature, buy)
}

func (f *flaky) RotateRefresh(ctx context.Context, signature string, buy oauth2.Issue) error {
	f.beforeRotate.run()
	return f.Store.RotateRefresh(ctx, signature, buy)
}

func (f *flaky) err() error {
	if f.down.Load() {
		return fault.New(fault.Unavailable, "store_down", "secret detail of the database")
	}
	return nil
}

func (f *flaky) AccessToken(ctx context.Context, s string) (oauth2.Token, error) {
	if err := f.err(); err != nil {
		return oauth2.Token{}, err
	}
	t, err := f.Store.AccessToken(ctx, s)
	if f.session != nil {
		t.Grant.Session = f.session
	}
	f.afterReadback.run()
	return t, err
}

func (f *flaky) IssueTokens(ctx context.Context, buy oauth2.Issue) error {
	if err := f.err(); err != nil {
		return err
	}
	f.beforeIssue.run()
	f.mu.Lock()
	f.issued = append(f.issued, buy.Access.Signature)
	f.mu.Unlock()
	return f.Store.IssueTokens(ctx, buy)
}

func (f *flaky) RevokeFamily(ctx context.Context, id string) error {
	if err := f.err(); err != nil {
		return err
	}
	return f.Store.RevokeFamily(ctx, id)
}

// rig is a running server.
type rig struct {
	t       testing.TB
	url     string
	server  *server.Server
	store   *flaky
	secrets *hashes
	log     *bytes.Buffer
	ahead   atomic.Int64 // how far the clock is ahead, in nanoseconds
	http    *http.Client // of a machine: no cookies, no redirects
}

func (r *rig) wait(d time.Duration) { r.ahead.Add(int64(d)) }

type change func(*server.Options)

func start(t testing.TB, changes ...change) *rig {
	t.Helper()
	return startAt(t, "memory", changes...)
}

// startAt is start with a database.
func startAt(t testing.TB, dsn string, changes ...change) *rig {
	t.Helper()
	r := &rig{t: t, secrets: &hashes{}, log: &bytes.Buffer{}}
	now := func() time.Time { return time.Now().Add(time.Duration(r.ahead.Load())) }
	st, err := sql.Open(context.Background(), sql.Options{DSN: dsn, Secrets: []string{"a system secret of the test"}, AutoMigrate: true, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	r.store = &flaky{Store: st}
	public := httptest.NewUnstartedServer(nil)
	o := server.Options{
		Issuer: "http://" + public.Listener.Addr().String(),
		URLs: server.URLs{Login: "http://login.test/login?a=b", Consent: "http://login.test/consent", Logout: "http://login.test/logout",
			Error: "http://login.test/error", PostLogoutRedirect: "http://login.test/bye"},
		Store: r.store, IDTokens: ring(), AccessTokens: ring(), ClientSecrets: r.secrets, DummySecretHash: hashOf("dummy"),
		Secrets: [][]byte{[]byte("a system secret of the test")}, Now: now, Log: slog.New(slog.NewTextHandler(r.log, nil)),
	}
	for _, c := range changes {
		c(&o)
	}
	if r.server, err = server.New(o); err != nil {
		t.Fatal(err)
	}
	public.Config.Handler = r.server.Public()
	if _, isTest := t.(*testing.T); isTest { // benchmarks measure the server alone
		public.Config.Handler = testopenapi.Handler(t, "public", public.Config.Handler)
	}
	if strings.HasPrefix(o.Issuer, "https:") {
		public.StartTLS()
	} else {
		public.Start()
	}
	r.url = public.URL
	r.http = &http.Client{Transport: public.Client().Transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	t.Cleanup(func() { public.Close(); r.server.Close(); _ = st.Close() })
	return r
}

// client registers a confidential client with secret "secret", id "app" and every
// grant, as changed.
func (r *rig) client(changes ...func(*oauth2.Client)) oauth2.Client {
	r.t.Helper()
	c := oauth2.Client{
		ID: "app", SecretHash: hashOf("secret"), Scope: "openid offline_access read write", Audience: []string{"api", "other"},
		GrantTypes:             []string{"authorization_code", "refresh_token", "client_credentials"},
		ResponseTypes:          []string{"code"},
		RedirectURIs:           []string{"http://127.0.0.1/cb", "https://app.test/cb?x=y"},
		PostLogoutRedirectURIs: []string{"https://app.test/bye"},
	}
	for _, change := range changes {
		change(&c)
	}
	if err := r.store.CreateClient(context.Background(), c); err != nil {
		r.t.Fatal(err)
	}
	return c
}

func public(c *oauth2.Client) {
	c.ID, c.SecretHash, c.TokenEndpointAuthMethod, c.AuthMethodSet = "spa", "", "none", true
}

// answer is a decoded JSON answer.
type answer struct {
	status int
	header http.Header
	raw    string
	json   map[string]any
}

func (a answer) str(name string) string { s, _ := a.json[name].(string); return s }

func (r *rig) do(c *http.Client, req *http.Request) answer {
	r.t.Helper()
	res, err := c.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	raw, _ := io.ReadAll(res.Body)
	a := answer{status: res.StatusCode, header: res.Header, raw: string(raw)}
	_ = json.Unmarshal(raw, &a.json)
	return a
}

// post sends a form with basic credentials "id:secret"; empty for none.
func (r *rig) post(path, basic string, form ...string) answer {
	r.t.Helper()
	return r.postRaw(path, basic, pairs(form...).Encode())
}

func (r *rig) postRaw(path, basic, body string) answer {
	r.t.Helper()
	req, err := http.NewRequest("POST", r.url+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if basic != "" {
		req.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(basic)))
	}
	return r.do(r.http, req)
}

func (r *rig) get(path string) answer {
	r.t.Helper()
	req, err := http.NewRequest("GET", r.url+path, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	return r.do(r.http, req)
}

func pairs(form ...string) url.Values {
	v := url.Values{}
	for i := 0; i < len(form); i += 2 {
		v.Add(form[i], form[i+1])
	}
	return v
}

// wants fails unless the answer is the error.
func (r *rig) wants(a answer, status int, code string) {
	r.t.Helper()
	if a.status != status || a.str("error") != code {
		r.t.Fatalf("got %d %s, want %d %s", a.status, a.raw, status, code)
	}
}

// machineToken returns an access token of the client credentials grant.
func (r *rig) machineToken(form ...string) string {
	r.t.Helper()
	a := r.post("/oauth2/token", "app:secret", append([]string{"grant_type", "client_credentials"}, form...)...)
	if a.status != 200 {
		r.t.Fatalf("token: %d %s", a.status, a.raw)
	}
	return a.str("access_token")
}

// isActive asks the server in process.
func (r *rig) isActive(token string) bool {
	r.t.Helper()
	t, err := r.server.Introspect(context.Background(), token)
	if err != nil {
		r.t.Fatal(err)
	}
	return t.Active
}

// browser is a person's browser: it keeps cookies and stops at every redirect.
type browser struct {
	r    *rig
	http *http.Client
}

func (r *rig) browser() *browser {
	jar, _ := cookiejar.New(nil)
	return &browser{r: r, http: &http.Client{Transport: r.http.Transport, Jar: jar, CheckRedirect: r.http.CheckRedirect}}
}

// open follows one link and returns where it leads.
func (b *browser) open(link string) *url.URL {
	b.r.t.Helper()
	req, err := http.NewRequest("GET", link, nil)
	if err != nil {
		b.r.t.Fatal(err)
	}
	a := b.r.do(b.http, req)
	if a.status != http.StatusSeeOther {
		b.r.t.Fatalf("%s: got %d %s, want a redirect", link, a.status, a.raw)
	}
	to, err := url.Parse(a.header.Get("Location"))
	if err != nil {
		b.r.t.Fatal(err)
	}
	return to
}

const verifier = "a-verifier-that-has-43-characters-or-more-0123456789"

func s256(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// request is a complete authorization request of client app, with overrides; the
// value "-" removes a parameter.
func request(overrides ...string) url.Values {
	v := pairs("client_id", "app", "response_type", "code", "redirect_uri", "http://127.0.0.1/cb", "scope", "openid offline_access read",
		"state", "the-state-of-it", "nonce", "the-nonce-of-it", "audience", "api", "code_challenge", s256(verifier), "code_challenge_method", "S256")
	for i := 0; i < len(overrides); i += 2 {
		if v.Set(overrides[i], overrides[i+1]); overrides[i+1] == "-" {
			v.Del(overrides[i])
		}
	}
	return v
}

func (r *rig) authURL(v url.Values) string { return r.url + "/oauth2/auth?" + v.Encode() }

// login begins a flow, accepts the login and returns the consent challenge.
func (b *browser) login(v url.Values, accept oauth2.AcceptLogin) string {
	b.r.t.Helper()
	challenge := b.open(b.r.authURL(v)).Query().Get("login_challenge")
	next, err := b.r.server.AcceptLogin(context.Background(), challenge, accept)
	if err != nil {
		b.r.t.Fatal(err)
	}
	to := b.open(next)
	consent := to.Query().Get("consent_challenge")
	if consent == "" {
		b.r.t.Fatalf("no consent challenge in %s", to)
	}
	return consent
}

// consent accepts everything that was requested and returns the client's callback.
func (b *browser) consent(challenge string, changes ...func(*oauth2.AcceptConsent)) *url.URL {
	b.r.t.Helper()
	asked, err := b.r.server.ConsentRequest(context.Background(), challenge)
	if err != nil {
		b.r.t.Fatal(err)
	}
	accept := oauth2.AcceptConsent{GrantScope: asked.RequestedScope, GrantAudience: asked.RequestedAudience}
	for _, change := range changes {
		change(&accept)
	}
	next, err := b.r.server.AcceptConsent(context.Background(), challenge, accept)
	if err != nil {
		b.r.t.Fatal(err)
	}
	return b.open(next)
}

// code goes through a whole flow of alice and returns the code.
func (r *rig) code(overrides ...string) string {
	r.t.Helper()
	b := r.browser()
	to := b.consent(b.login(request(overrides...), oauth2.AcceptLogin{Subject: "alice"}))
	code := to.Query().Get("code")
	if code == "" {
		r.t.Fatalf("no code in %s", to)
	}
	return code
}

// redeem exchanges a code of client app.
func (r *rig) redeem(code string, form ...string) answer {
	r.t.Helper()
	v := pairs("grant_type", "authorization_code", "code", code, "redirect_uri", "http://127.0.0.1/cb", "code_verifier", verifier)
	for i := 0; i < len(form); i += 2 {
		if v.Set(form[i], form[i+1]); form[i+1] == "-" {
			v.Del(form[i])
		}
	}
	return r.postRaw("/oauth2/token", "app:secret", v.Encode())
}

// tokens returns the answer of a successful code flow.
func (r *rig) tokens() answer {
	r.t.Helper()
	a := r.redeem(r.code())
	if a.status != 200 {
		r.t.Fatalf("redeem: %d %s", a.status, a.raw)
	}
	return a
}
