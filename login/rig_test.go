package login_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/login"
	"github.com/gatewarden/gatewarden/oauth2"
	"github.com/gatewarden/gatewarden/oauth2/server"
	"github.com/gatewarden/gatewarden/passwords"
	"github.com/gatewarden/gatewarden/store/sql"
	"github.com/gatewarden/gatewarden/users"
)

// hashes stands for passwords.Verifier: the hash of a password is h: and the password.
// It counts what would have been the work of one hash.
type hashes struct{ done atomic.Int64 }

func (h *hashes) Verify(_ context.Context, hash, plain string) error {
	h.done.Add(1)
	if hash != "h:"+plain {
		return passwords.ErrWrong
	}
	return nil
}

func (h *hashes) Fail(context.Context, string, string) error {
	h.done.Add(1)
	return passwords.ErrWrong
}

// accounts changes passwords without the work of hashing.
type accounts struct {
	store *sql.Store
	anew  *[]string // users whose passwords were to be hashed anew, with the password
}

func (a accounts) Rehash(_ context.Context, u users.User, password string) error {
	*a.anew = append(*a.anew, u.ID+" "+u.ETag+" "+password)
	return errors.New("the database is gone")
}

func (a accounts) SetPassword(ctx context.Context, id, password, keep string) error {
	if len(password) < 8 {
		return fault.New(fault.Invalid, "weak", "weak")
	}
	u, err := a.store.User(ctx, id)
	if err != nil {
		return err
	}
	u.PasswordHash = "h:" + password
	return a.store.ChangePassword(ctx, u, keep)
}

// signer signs with a key that all tests share.
type signer struct{ keys map[string]jose.SigningKey }

var shared = sync.OnceValue(func() signer {
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	e, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return signer{map[string]jose.SigningKey{"RS256": {Algorithm: jose.RS256, Key: r}, "ES256": {Algorithm: jose.ES256, Key: e}}}
})

func (s signer) Sign(_ context.Context, alg, typ string, payload []byte, _ time.Time) (string, error) {
	o, err := jose.NewSigner(s.keys[alg], (&jose.SignerOptions{}).WithType(jose.ContentType(typ)).WithHeader("kid", alg))
	if err != nil {
		return "", err
	}
	signed, err := o.Sign(payload)
	if err != nil {
		return "", err
	}
	return signed.CompactSerialize()
}

func (signer) Algorithms() []string { return []string{"ES256", "RS256"} }

func (s signer) Public() jose.JSONWebKeySet {
	return jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{KeyID: "RS256", Algorithm: "RS256", Use: "sig", Key: s.keys["RS256"].Key.(*rsa.PrivateKey).Public()}}}
}

func (s signer) Verify(_ context.Context, compact string, _ ...string) ([]byte, error) {
	signed, err := jose.ParseSigned(compact, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		return nil, fault.Wrap(fault.Unauthenticated, "bad", "bad", err)
	}
	payload, err := signed.Verify(s.keys["RS256"].Key.(*rsa.PrivateKey).Public())
	return payload, fault.Wrap(fault.Unauthenticated, "bad", "bad", err)
}

type secrets struct{}

func (secrets) VerifyAny(_ context.Context, hashes []string, plain string) error {
	if !slices.Contains(hashes, "h:"+plain) {
		return fault.New(fault.Unauthenticated, "wrong", "wrong")
	}
	return nil
}

// rig is the pages over a real server and store.
type rig struct {
	pages  *login.Pages
	t      *testing.T
	store  *sql.Store
	url    string
	hashes *hashes
	anew   []string     // see accounts
	client atomic.Value // the address that requests seem to come from
}

func start(t *testing.T, theme login.Theme, changes ...func(*server.Options)) *rig {
	t.Helper()
	return startWith(t, func(o *login.Options) { o.Theme = theme }, changes...)
}

// startWith is start with other options of the pages.
func startWith(t *testing.T, change func(*login.Options), changes ...func(*server.Options)) *rig {
	t.Helper()
	return startAt(t, "127.0.0.1", change, changes...)
}

// startAt is startWith at another name of this machine.
func startAt(t *testing.T, host string, change func(*login.Options), changes ...func(*server.Options)) *rig {
	t.Helper()
	st, err := sql.Open(t.Context(), sql.Options{DSN: "memory"})
	if err != nil {
		t.Fatal(err)
	}
	listener := httptest.NewUnstartedServer(nil)
	r := &rig{t: t, store: st, url: "http://" + strings.Replace(listener.Listener.Addr().String(), "127.0.0.1", host, 1), hashes: &hashes{}}
	r.client.Store(netip.MustParseAddr("192.0.2.1"))
	secret := [][]byte{[]byte("a system secret of the test")}
	o := server.Options{
		Issuer: r.url, Store: st, IDTokens: shared(), AccessTokens: shared(), ClientSecrets: secrets{}, DummySecretHash: "h:", Secrets: secret,
		URLs: server.URLs{Login: r.url + login.LoginPath, Consent: r.url + login.ConsentPath, Logout: r.url + login.LogoutPath,
			Error: r.url + login.ErrorPath, PostLogoutRedirect: r.url + login.DonePath},
	}
	for _, change := range changes {
		change(&o)
	}
	s, err := server.New(o)
	if err != nil {
		t.Fatal(err)
	}
	options := login.Options{
		Issuer: r.url, Requests: s, Sessions: s, Users: st, Passwords: r.hashes, DummyHash: "h:nobody's", Accounts: accounts{st, &r.anew}, Attempts: st, Replays: st, Factors: st,
		Client: func(*http.Request) netip.Addr { return r.client.Load().(netip.Addr) }, Secrets: secret, Keep: 720 * time.Hour, Identities: st,
	}
	change(&options)
	pages, err := login.New(options)
	if err != nil {
		t.Fatal(err)
	}
	endpoints := s.Public()
	r.pages = pages
	listener.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if pages.Handles(q.URL.Path) {
			pages.ServeHTTP(w, q)
			return
		}
		endpoints.ServeHTTP(w, q)
	})
	listener.Start()
	t.Cleanup(func() { listener.Close(); s.Close(); _ = st.Close() })
	for _, u := range []users.User{
		{ID: "ada", Username: "ada", Email: "ada@example.com", EmailVerified: true, PasswordHash: "h:correct horse", Claims: map[string]any{"name": "Ada <b>L.</b>"}},
		{ID: "off", Username: "off", PasswordHash: "h:correct horse", Disabled: true},
		{ID: "none", Username: "none"},
	} {
		if err := st.CreateUser(t.Context(), u); err != nil {
			t.Fatal(err)
		}
	}
	r.app(func(*oauth2.Client) {})
	return r
}

// app registers the client app, or another one.
func (r *rig) app(change func(*oauth2.Client)) {
	r.t.Helper()
	c := oauth2.Client{ID: "app", Name: "The App", SecretHash: "h:secret", Scope: "openid profile email read", GrantTypes: []string{"authorization_code"},
		ResponseTypes: []string{"code"}, RedirectURIs: []string{"http://127.0.0.1:9/cb"}, PostLogoutRedirectURIs: []string{"http://127.0.0.1:9/bye"}}
	change(&c)
	if err := r.store.CreateClient(r.t.Context(), c); err != nil {
		r.t.Fatal(err)
	}
}

// browser keeps cookies, follows redirects and refreshes to this server, and stops
// before any other.
type browser struct {
	r    *rig
	http *http.Client
	// at is the address of the page that is shown.
	at     *url.URL
	status int
	header http.Header
	body   string
	lang   string
}

func (r *rig) browser() *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		r.t.Fatal(err)
	}
	return &browser{r: r, http: &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

func (b *browser) send(method, address, body string, header ...string) *browser {
	b.r.t.Helper()
	for range 10 {
		q, err := http.NewRequestWithContext(b.r.t.Context(), method, address, strings.NewReader(body))
		if err != nil {
			b.r.t.Fatal(err)
		}
		if b.at = q.URL; !strings.HasPrefix(address, b.r.url+"/") {
			b.status, b.body = 0, ""
			return b // somebody else's
		}
		if method == http.MethodPost {
			q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		q.Header.Set("Accept-Language", b.lang)
		for i := 0; i+1 < len(header); i += 2 {
			q.Header.Set(header[i], header[i+1])
		}
		res, err := b.http.Do(q)
		if err != nil {
			b.r.t.Fatal(err)
		}
		text, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil {
			b.r.t.Fatal(err)
		}
		b.status, b.header, b.body = res.StatusCode, res.Header, string(text)
		method, body, header = http.MethodGet, "", nil
		switch {
		case res.StatusCode == http.StatusSeeOther:
			address = res.Header.Get("Location")
		case res.Header.Get("Refresh") != "":
			address = strings.TrimPrefix(res.Header.Get("Refresh"), "0; url=")
		default:
			return b
		}
	}
	b.r.t.Fatal("the redirects do not end")
	return nil
}

func (b *browser) open(path string) *browser {
	b.r.t.Helper()
	return b.send(http.MethodGet, b.r.url+path, "")
}

const verifier = "a-verifier-that-has-43-characters-or-more-0123456789"

// authorize begins an authorization request of the client app; pairs are overrides.
func (b *browser) authorize(pairs ...string) *browser {
	b.r.t.Helper()
	sum := sha256.Sum256([]byte(verifier))
	q := url.Values{"client_id": {"app"}, "response_type": {"code"}, "redirect_uri": {"http://127.0.0.1:9/cb"}, "scope": {"openid profile email"},
		"state": {"a state of it"}, "code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"}}
	for i := 0; i+1 < len(pairs); i += 2 {
		q.Set(pairs[i], pairs[i+1])
	}
	return b.open("/oauth2/auth?" + q.Encode())
}

var input = regexp.MustCompile(`<input[^>]* name="([^"]*)"[^>]*>`)
var value = regexp.MustCompile(` value="([^"]*)"`)

// fields are the first form of the page as it would be sent untouched.
func (b *browser) fields() url.Values {
	form := url.Values{}
	text, _, _ := strings.Cut(b.body, "</form>")
	for _, m := range input.FindAllStringSubmatch(text, -1) {
		if strings.Contains(m[0], `type="checkbox"`) && (!strings.Contains(m[0], " checked") || strings.Contains(m[0], " disabled")) {
			continue
		}
		if v := value.FindStringSubmatch(m[0]); v != nil {
			form.Add(m[1], html.UnescapeString(v[1]))
		}
	}
	return form
}

// submit sends the page's first form with what the person changed in it.
func (b *browser) submit(pairs ...string) *browser {
	b.r.t.Helper()
	form := b.fields()
	for i := 0; i+1 < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	return b.send(http.MethodPost, b.at.Scheme+"://"+b.at.Host+b.at.Path, form.Encode(), "Origin", b.r.url, "Sec-Fetch-Site", "same-origin")
}

// shows fails unless the page has the status and the texts.
func (b *browser) shows(status int, texts ...string) *browser {
	b.r.t.Helper()
	if b.status != status {
		b.r.t.Fatalf("%s: status %d, want %d: %s", b.at, b.status, status, b.body)
	}
	for _, text := range texts {
		if !strings.Contains(b.body, text) {
			b.r.t.Errorf("%s does not show %q: %s", b.at, text, b.body)
		}
	}
	return b
}

// signIn is a login of ada that ends at the consent page.
func (b *browser) signIn(pairs ...string) *browser {
	b.r.t.Helper()
	return b.authorize().shows(http.StatusOK, "Sign in").submit(append([]string{"login", "ada", "password", "correct horse", "action", "login"}, pairs...)...)
}

// claims redeems the code that the browser came back with and returns the claims of
// the ID token, with the token itself.
func (b *browser) claims() (claims map[string]any, token string) {
	b.r.t.Helper()
	code := b.at.Query().Get("code")
	if code == "" {
		b.r.t.Fatalf("no code in %s: %s", b.at, b.body)
	}
	res, err := http.PostForm(strings.Replace(b.r.url, "http://", "http://app:secret@", 1)+"/oauth2/token",
		url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {"http://127.0.0.1:9/cb"}, "code_verifier": {verifier}})
	if err != nil {
		b.r.t.Fatal(err)
	}
	defer res.Body.Close()
	var answer struct {
		IDToken string `json:"id_token"`
		Scope   string `json:"scope"`
		Error   string `json:"error"`
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		b.r.t.Fatal(err)
	}
	claims = map[string]any{"scope": answer.Scope, "error": answer.Error}
	if parts := strings.Split(answer.IDToken, "."); len(parts) == 3 {
		payload, err := base64.RawURLEncoding.DecodeString(parts[1])
		if err == nil {
			err = json.Unmarshal(payload, &claims)
		}
		if err != nil {
			b.r.t.Fatal(err)
		}
	}
	return claims, answer.IDToken
}
