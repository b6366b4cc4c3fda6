package login_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatewarden/gatewarden/login"
	"github.com/gatewarden/gatewarden/relyingparty"
)

// upstream is an OpenID provider that can be told to lie.
type upstream struct {
	t      *testing.T
	server *httptest.Server
	mu     sync.Mutex
	// claims replace those of ID tokens; nil removes one. userinfo are those of userinfo.
	claims, userinfo map[string]any
	// careless forgets about PKCE and redirect URIs.
	careless bool
	// down makes every endpoint fail.
	down   bool
	codes  map[string]url.Values // authorization requests by code
	tokens int                   // how often the token endpoint was asked
}

func newUpstream(t *testing.T) *upstream {
	t.Helper()
	u := &upstream{t: t, codes: map[string]url.Values{}}
	u.server = httptest.NewServer(u)
	t.Cleanup(u.server.Close)
	return u
}

// provider is a client at the provider.
func (u *upstream) provider(id string, change ...func(*login.Provider)) login.Provider {
	u.t.Helper()
	client, err := relyingparty.NewClient(relyingparty.ClientOptions{
		Issuer: u.server.URL, ClientID: "us", ClientSecret: "secret", Scope: []string{"openid", "email"}, Algorithms: []string{"RS256"}, Leeway: login.ProviderLeeway,
	})
	if err != nil {
		u.t.Fatal(err)
	}
	p := login.Provider{ID: id, Name: "Provider " + id, Client: client}
	for _, c := range change {
		c(&p)
	}
	return p
}

func (u *upstream) set(change func(*upstream)) {
	u.mu.Lock()
	defer u.mu.Unlock()
	change(u)
}

func (u *upstream) asked() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.tokens
}

func (u *upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	u.mu.Lock()
	defer u.mu.Unlock()
	send := func(v any) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v)
	}
	if u.down {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		send(map[string]any{"issuer": u.server.URL, "authorization_endpoint": u.server.URL + "/auth", "token_endpoint": u.server.URL + "/token",
			"jwks_uri": u.server.URL + "/keys", "userinfo_endpoint": u.server.URL + "/userinfo", "authorization_response_iss_parameter_supported": true})
	case "/keys":
		send(shared().Public())
	case "/userinfo":
		send(u.userinfo)
	case "/token":
		u.tokens++
		u.token(w, r, send)
	default:
		http.NotFound(w, r)
	}
}

func (u *upstream) token(w http.ResponseWriter, r *http.Request, send func(any)) {
	_ = r.ParseForm()
	asked, known := u.codes[r.PostForm.Get("code")]
	sum := sha256.Sum256([]byte(r.PostForm.Get("code_verifier")))
	bound := asked.Get("code_challenge") == base64.RawURLEncoding.EncodeToString(sum[:]) && asked.Get("redirect_uri") == r.PostForm.Get("redirect_uri")
	if !known || !u.careless && !bound {
		w.WriteHeader(http.StatusBadRequest)
		send(map[string]any{"error": "invalid_grant"})
		return
	}
	delete(u.codes, r.PostForm.Get("code"))
	now := time.Now()
	claims := map[string]any{"iss": u.server.URL, "sub": "sub-1", "aud": "us", "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(), "nonce": asked.Get("nonce")}
	maps.Copy(claims, u.claims)
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	payload, _ := json.Marshal(claims)
	token, err := shared().Sign(r.Context(), "RS256", "JWT", payload, now.Add(time.Minute))
	if err != nil {
		panic(err)
	}
	send(map[string]any{"access_token": "at", "token_type": "Bearer", "id_token": token})
}

// agrees is the person at the provider who logs in: it returns the address that the
// browser is sent back to. At is where the browser was sent.
func (u *upstream) agrees(at *url.URL) string {
	u.t.Helper()
	if !strings.HasPrefix(at.String(), u.server.URL+"/auth?") {
		u.t.Fatalf("the browser was not sent to the provider but to %s", at)
	}
	q := at.Query()
	code := "code-" + q.Get("state")
	u.set(func(u *upstream) { u.codes[code] = q })
	return q.Get("redirect_uri") + "?" + url.Values{"code": {code}, "state": {q.Get("state")}, "iss": {u.server.URL}}.Encode()
}

// begin goes to a provider from the login page, and returns where the provider sends the
// person back to.
func (b *browser) begin(u *upstream, id string, pairs ...string) string {
	b.r.t.Helper()
	b.authorize(pairs...).shows(http.StatusOK, "Sign in with Provider "+id).submit("provider", id)
	return u.agrees(b.at)
}

// through is a whole login with a provider.
func (b *browser) through(u *upstream, id string, pairs ...string) *browser {
	b.r.t.Helper()
	return b.send(http.MethodGet, b.begin(u, id, pairs...), "")
}
