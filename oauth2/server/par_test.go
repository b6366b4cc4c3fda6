package server_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatewarden/gatewarden/oauth2"
	"github.com/gatewarden/gatewarden/oauth2/server"
)

// push pushes a request of client app.
func (r *rig) push(v url.Values) answer {
	r.t.Helper()
	return r.postRaw("/oauth2/par", "app:secret", v.Encode())
}

func (r *rig) pushedURL(v url.Values, more ...string) string {
	r.t.Helper()
	a := r.push(v)
	if a.status != http.StatusCreated || !strings.HasPrefix(a.str("request_uri"), "urn:ietf:params:oauth:request_uri:") || a.json["expires_in"] != 60.0 {
		r.t.Fatalf("push: %d %s", a.status, a.raw)
	}
	return r.authURL(pairs(append([]string{"client_id", "app", "request_uri", a.str("request_uri")}, more...)...))
}

// codeFrom follows a flow of alice that begins at link.
func (b *browser) codeFrom(link string) (code string, to *url.URL) {
	b.r.t.Helper()
	challenge := b.open(link).Query().Get("login_challenge")
	if challenge == "" {
		b.r.t.Fatal("no login was asked for")
	}
	next, err := b.r.server.AcceptLogin(context.Background(), challenge, oauth2.AcceptLogin{Subject: "alice"})
	if err != nil {
		b.r.t.Fatal(err)
	}
	to = b.consent(b.open(next).Query().Get("consent_challenge"))
	return to.Query().Get("code"), to
}

func TestAPushedRequestIsWhatWasPushedAndNothingElse(t *testing.T) {
	r := start(t)
	r.client()
	// Everything that could be amended is tried; nothing of it counts.
	link := r.pushedURL(request("nonce", "-", "prompt", "-", "audience", "-"), "scope", "write", "nonce", "injected", "prompt", "none", "audience", "other", "dpop_jkt", s256("x"),
		"redirect_uri", "https://app.test/cb?x=y", "state", "injected", "code_challenge", s256("injected"), "response_mode", "fragment", "max_age", "0")
	b := r.browser()
	challenge := b.open(link).Query().Get("login_challenge")
	asked, err := r.server.LoginRequest(context.Background(), challenge)
	if err != nil || strings.Join(asked.RequestedScope, " ") != "openid offline_access read" || len(asked.RequestedAudience) != 0 {
		t.Fatalf("%+v %v", asked, err)
	}
	if u, _ := url.Parse(asked.RequestURL); u.Query().Get("client_id") != "app" || u.Query().Get("request_uri") == "" || len(u.Query()) != 2 {
		t.Errorf("request_url %s", asked.RequestURL)
	}
	next, err := r.server.AcceptLogin(context.Background(), challenge, oauth2.AcceptLogin{Subject: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	to := b.consent(b.open(next).Query().Get("consent_challenge"))
	if to.Host != "127.0.0.1" || to.Query().Get("state") != "the-state-of-it" || to.Query().Get("iss") != r.url {
		t.Errorf("sent to %s", to)
	}
	a := r.redeem(to.Query().Get("code"))
	if a.status != 200 || partOf(t, a.str("id_token"), 1)["nonce"] != nil {
		t.Errorf("%d %s", a.status, a.raw)
	}
}

func TestAPushedRequestIsGoodOnceForItsClientAndForAMinute(t *testing.T) {
	r := start(t)
	r.client()
	r.client(func(c *oauth2.Client) { c.ID = "other" })
	link := r.pushedURL(request())
	foreign := strings.Replace(link, "client_id=app", "client_id=other", 1)
	refused := func(link string) {
		t.Helper()
		to := r.browser().open(link)
		if to.Host != "login.test" || to.Path != "/error" || to.Query().Get("error") != "invalid_request_uri" {
			t.Errorf("sent to %s", to)
		}
	}
	refused(foreign) // and the owner can still use it
	if code, _ := r.browser().codeFrom(link); code == "" {
		t.Error("no code")
	}
	refused(link)
	late := r.pushedURL(request())
	r.wait(61 * time.Second)
	refused(late)

	link = r.pushedURL(request())
	var won atomic.Int32
	var group sync.WaitGroup
	for range 64 {
		group.Go(func() {
			if r.browser().open(link).Query().Get("login_challenge") != "" {
				won.Add(1)
			}
		})
	}
	group.Wait()
	if won.Load() != 1 {
		t.Errorf("%d of 64 browsers won", won.Load())
	}
}

func TestPushedRequestsAreCheckedWhenTheyArePushed(t *testing.T) {
	r := start(t)
	r.client()
	for name, c := range map[string]struct {
		form url.Values
		code string
	}{
		"a redirect URI that is not registered": {request("redirect_uri", "https://evil.test/"), "invalid_request"},
		"no PKCE":                               {request("code_challenge", "-", "code_challenge_method", "-"), "invalid_request"},
		"a scope beyond the client's":           {request("scope", "openid admin"), "invalid_scope"},
		"another response type":                 {request("response_type", "token"), "unsupported_response_type"},
		"another client":                        {request("client_id", "other"), "invalid_request"},
		"a request_uri":                         {request("request_uri", "urn:ietf:params:oauth:request_uri:x"), "invalid_request"},
		"an unsigned object":                    {request("request", "eyJhbGciOiJub25lIn0.e30."), "invalid_request_object"},
	} {
		if a := r.push(c.form); a.status != 400 || a.str("error") != c.code {
			t.Errorf("%s: %d %s", name, a.status, a.raw)
		}
	}
	r.wants(r.postRaw("/oauth2/par", "app:wrong", request().Encode()), 401, "invalid_client")
	r.wants(r.postRaw("/oauth2/par", "", request().Encode()), 401, "invalid_client")
}

func TestRequestsMustBePushedWhereThatIsRequired(t *testing.T) {
	for name, r := range map[string]*rig{
		"by the server": start(t, func(o *server.Options) { o.PAR.Required = true }),
		"by the client": start(t),
	} {
		r.client(func(c *oauth2.Client) { c.RequirePAR = name == "by the client" })
		if to := r.browser().open(r.authURL(request())); to.Path != "/error" || to.Query().Get("error") != "invalid_request" {
			t.Errorf("%s: sent to %s", name, to)
		}
		if code, _ := r.browser().codeFrom(r.pushedURL(request())); code == "" {
			t.Errorf("%s: no code", name)
		}
	}
}

func TestAPushedProofBindsTheCode(t *testing.T) {
	r := start(t)
	r.client()
	s, other := newSigner(t, "", "ES256"), newSigner(t, "", "ES256")
	form := []string{}
	for name, values := range request() {
		form = append(form, name, values[0])
	}
	proof := func() []string { return []string{s.proof(with(r.proofClaims(), "htu", r.url+"/oauth2/par"))} }
	r.wants(r.postWith(proof(), "/oauth2/par", "app:secret", append(form, "dpop_jkt", other.jkt())...), 400, "invalid_request")
	a := r.postWith(proof(), "/oauth2/par", "app:secret", form...)
	code, _ := r.browser().codeFrom(r.authURL(pairs("client_id", "app", "request_uri", a.str("request_uri"))))
	r.wants(r.redeem(code), 400, "invalid_grant")
	if a := r.tokenWith(s, "grant_type", "authorization_code", "code", code, "redirect_uri", "http://127.0.0.1/cb", "code_verifier", verifier); a.status != 200 {
		t.Errorf("%d %s", a.status, a.raw)
	}
}

// A client that is told the nonce pushes the same request object again.
func TestAProofThatIsRefusedSpendsNoRequestObject(t *testing.T) {
	r, s := start(t, func(o *server.Options) {
		o.DPoP = server.DPoP{NonceTTL: time.Minute, NonceKeys: [][]byte{[]byte("a key of nonces")}}
	}), newSigner(t, "k1", "ES256")
	r.client(func(c *oauth2.Client) { c.JWKS = s.jwks() })
	object := s.sign(with(r.requestClaims(), "jti", "1"))
	push := func(nonce any) answer {
		return r.postWith([]string{s.proof(with(with(r.proofClaims(), "htu", r.url+"/oauth2/par"), "nonce", nonce))}, "/oauth2/par", "app:secret", "request", object)
	}
	refused := push(nil)
	r.wants(refused, 400, "use_dpop_nonce")
	nonce := refused.header.Get("DPoP-Nonce")
	if a := push(nonce); a.status != 201 {
		t.Errorf("%d %s", a.status, a.raw)
	}
	r.wants(push(nonce), 400, "invalid_request_object")
}

// partOf decodes a part of a compact JWS.
func partOf(t *testing.T, compact string, i int) (members object) {
	t.Helper()
	parts := strings.Split(compact, ".")
	if len(parts) != 3 {
		t.Fatalf("%q is no compact JWS", compact)
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[i])
	if err != nil || json.Unmarshal(raw, &members) != nil {
		t.Fatalf("%q: %v", compact, err)
	}
	return members
}

// requestClaims are those of a good request object of client app.
func (r *rig) requestClaims(overrides ...string) object {
	now := time.Now().Add(time.Duration(r.ahead.Load()))
	c := object{"iss": "app", "aud": r.url, "exp": now.Add(time.Minute).Unix(), "nbf": now.Unix()}
	for name, values := range request(overrides...) {
		c[name] = values[0]
	}
	return c
}

func TestASignedRequestIsWhatWasSignedAndNothingElse(t *testing.T) {
	r, s := start(t), newSigner(t, "k1", "ES256")
	r.client(func(c *oauth2.Client) { c.JWKS, c.RequireSignedRequestObject = s.jwks(), true })
	signed := s.sign(with(with(r.requestClaims("audience", "-"), "max_age", 3600), "audience", []string{"api", "other"}), "typ", "oauth-authz-req+jwt")
	b := r.browser()
	challenge := b.open(r.authURL(pairs("client_id", "app", "request", signed, "scope", "write", "state", "injected", "prompt", "none"))).Query().Get("login_challenge")
	asked, err := r.server.LoginRequest(context.Background(), challenge)
	if err != nil || strings.Join(asked.RequestedScope, " ") != "openid offline_access read" || strings.Join(asked.RequestedAudience, " ") != "api other" {
		t.Fatalf("%+v %v", asked, err)
	}
	next, err := r.server.AcceptLogin(context.Background(), challenge, oauth2.AcceptLogin{Subject: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	if to := b.consent(b.open(next).Query().Get("consent_challenge")); to.Query().Get("state") != "the-state-of-it" || r.redeem(to.Query().Get("code")).status != 200 {
		t.Errorf("sent to %s", to)
	}
	// By value inside of a pushed request, too.
	a := r.push(pairs("request", s.sign(r.requestClaims())))
	if code, _ := r.browser().codeFrom(r.authURL(pairs("client_id", "app", "request_uri", a.str("request_uri")))); code == "" {
		t.Errorf("%d %s", a.status, a.raw)
	}
	// An object with a jti is good once.
	once := r.authURL(pairs("client_id", "app", "request", s.sign(with(r.requestClaims(), "jti", "1"))))
	if code, _ := r.browser().codeFrom(once); code == "" {
		t.Error("no code")
	}
	if to := r.browser().open(once); to.Query().Get("error") != "invalid_request_object" {
		t.Errorf("a second time: %s", to)
	}
}

func TestHostileRequestObjectsBeginNothing(t *testing.T) {
	r, s, stranger := start(t), newSigner(t, "k1", "ES256"), newSigner(t, "k1", "ES256")
	r.client(func(c *oauth2.Client) { c.JWKS, c.RequireSignedRequestObject = s.jwks(), true })
	r.client(func(c *oauth2.Client) { c.ID = "other"; c.JWKS = stranger.jwks() })
	good := r.requestClaims()
	for name, compact := range map[string]string{
		"another's signature":     stranger.sign(good),
		"another's object":        stranger.sign(with(with(good, "iss", "other"), "client_id", "other")),
		"another client inside":   s.sign(with(good, "client_id", "other")),
		"another issuer":          s.sign(with(good, "iss", "other")),
		"no issuer":               s.sign(with(good, "iss", nil)),
		"another server":          s.sign(with(good, "aud", "https://evil.test")),
		"no audience":             s.sign(with(good, "aud", nil)),
		"no exp":                  s.sign(with(good, "exp", nil)),
		"it has expired":          s.sign(with(good, "exp", time.Now().Add(-time.Minute).Unix())),
		"it lives too long":       s.sign(with(good, "exp", time.Now().Add(2*time.Hour).Unix())),
		"it is not valid yet":     s.sign(with(good, "nbf", time.Now().Add(time.Minute).Unix())),
		"a request_uri inside":    s.sign(with(good, "request_uri", "urn:ietf:params:oauth:request_uri:x")),
		"a request inside":        s.sign(with(good, "request", "x")),
		"a client assertion":      s.sign(with(good, "sub", "app")),
		"an access token's type":  s.sign(good, "typ", "at+jwt"),
		"a list where none is":    s.sign(with(good, "scope", []string{"openid", "write"})),
		"a NUL":                   s.sign(with(good, "state", "a\x00b")),
		"no signature":            strings.Join([]string{part(`{"alg":"none"}`), part(`{"iss":"app"}`), ""}, "."),
		"a symmetric algorithm":   strings.Join([]string{part(`{"alg":"HS256"}`), part(`{"iss":"app"}`), part("x")}, "."),
		"an encrypted one":        "a.b.c.d.e",
		"no object in the object": s.sign(`[]`),
	} {
		to := r.browser().open(r.authURL(pairs("client_id", "app", "request", compact)))
		if to.Host != "login.test" || to.Query().Get("error") != "invalid_request_object" {
			t.Errorf("%s: sent to %s", name, to)
		}
	}
	if to := r.browser().open(r.authURL(request())); to.Path != "/error" || to.Query().Get("error") != "invalid_request" {
		t.Errorf("an unsigned request: %s", to)
	}
	// What is signed is checked like everything else.
	if to := r.browser().open(r.authURL(pairs("client_id", "app", "request", s.sign(with(good, "redirect_uri", "https://evil.test/"))))); to.Host != "login.test" {
		t.Errorf("a foreign redirect URI: %s", to)
	}
}

func TestASignedAnswerIsForTheClientAndSaysWhatThePlainOneSays(t *testing.T) {
	r := start(t)
	r.client(func(c *oauth2.Client) { c.AuthorizationResponseAlg = "ES256" })
	read := func(compact string) object {
		t.Helper()
		payload, err := ring().Verify(context.Background(), compact, "JWT")
		if err != nil || partOf(t, compact, 0)["alg"] != "ES256" || len(payload) == 0 {
			t.Fatalf("response %q: %v", compact, err)
		}
		return partOf(t, compact, 1)
	}
	for mode, from := range map[string]func(*url.URL) string{
		"jwt": func(u *url.URL) string { return u.Query().Get("response") }, "query.jwt": func(u *url.URL) string { return u.Query().Get("response") },
		"fragment.jwt": func(u *url.URL) string { v, _ := url.ParseQuery(u.Fragment); return v.Get("response") },
	} {
		_, to := r.browser().codeFrom(r.authURL(request("response_mode", mode)))
		if to.Query().Get("code") != "" || to.Query().Get("state") != "" {
			t.Errorf("%s: also in the open: %s", mode, to)
		}
		said := read(from(to))
		if said["iss"] != r.url || said["aud"] != "app" || said["state"] != "the-state-of-it" || said["exp"] == nil {
			t.Errorf("%s: %v", mode, said)
		}
		if code, _ := said["code"].(string); r.redeem(code).status != 200 {
			t.Errorf("%s: the code is not good", mode)
		}
	}
	// Errors are signed, too.
	to := r.browser().open(r.authURL(request("response_mode", "query.jwt", "prompt", "none")))
	if said := read(to.Query().Get("response")); said["error"] != "login_required" || said["state"] != "the-state-of-it" {
		t.Errorf("an error: %v", said)
	}
	if to := r.browser().open(r.authURL(request("response_mode", "web_message.jwt"))); to.Query().Get("error") == "" && to.Query().Get("response") == "" {
		t.Errorf("an unknown mode: %s", to)
	}
}

func TestResourcesNarrowTheAudience(t *testing.T) {
	r := start(t)
	r.client(func(c *oauth2.Client) { c.Audience = []string{"api", "https://a.test/x", "https://b.test/"} })
	audience := func(a answer) string {
		t.Helper()
		if a.status != 200 {
			t.Fatalf("%d %s", a.status, a.raw)
		}
		got, err := r.server.Introspect(context.Background(), a.str("access_token"))
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(got.Audience, " ")
	}
	v := request("audience", "-")
	v["resource"] = []string{"https://a.test/x", "https://b.test/"}
	code := func() string { c, _ := r.browser().codeFrom(r.authURL(v)); return c }
	if got := audience(r.redeem(code())); got != "https://a.test/x https://b.test/" {
		t.Errorf("all that was asked for: %s", got)
	}
	a := r.redeem(code(), "resource", "https://b.test/")
	if got := audience(a); got != "https://b.test/" {
		t.Errorf("narrowed by the token request: %s", got)
	}
	refresh := func(token string, more ...string) answer {
		return r.post("/oauth2/token", "app:secret", append([]string{"grant_type", "refresh_token", "refresh_token", token}, more...)...)
	}
	b := refresh(a.str("refresh_token"), "resource", "https://a.test/x")
	if got := audience(b); got != "https://a.test/x" {
		t.Errorf("the other one by the refresh token: %s", got)
	}
	r.wants(refresh(b.str("refresh_token"), "resource", "https://evil.test/"), 400, "invalid_target")
	if got := audience(refresh(b.str("refresh_token"))); got != "https://a.test/x https://b.test/" {
		t.Errorf("everything again: %s", got)
	}
	if got := audience(r.post("/oauth2/token", "app:secret", "grant_type", "client_credentials", "resource", "https://a.test/x")); got != "https://a.test/x" {
		t.Errorf("of a client itself: %s", got)
	}
	for name, resource := range map[string]string{"foreign": "https://evil.test/", "relative": "/x", "with a fragment": "https://a.test/x#y", "longer than registered": "https://a.test/x/y"} {
		r.wants(r.post("/oauth2/token", "app:secret", "grant_type", "client_credentials", "resource", resource), 400, "invalid_target")
		if to := r.browser().open(r.authURL(request("resource", resource))); to.Host != "127.0.0.1" || to.Query().Get("error") != "invalid_target" {
			t.Errorf("%s: %s", name, to)
		}
	}
	narrow := request("audience", "-", "resource", "https://a.test/x")
	c, _ := r.browser().codeFrom(r.authURL(narrow))
	r.wants(r.redeem(c, "resource", "https://b.test/"), 400, "invalid_target")
}

// FuzzRequestObject: whatever comes as a request object leads to the error page.
func FuzzRequestObject(f *testing.F) {
	r, s := start(f), newSigner(f, "k1", "ES256")
	r.client(func(c *oauth2.Client) { c.JWKS, c.RequireSignedRequestObject = s.jwks(), true })
	f.Add(newSigner(f, "k1", "ES256").sign(r.requestClaims()))
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	h := r.server.Public()
	f.Fuzz(func(t *testing.T, compact string) {
		req := httptest.NewRequest("GET", "/oauth2/auth?"+pairs("client_id", "app", "request", compact).Encode(), nil)
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, req); w.Code != http.StatusSeeOther || !strings.HasPrefix(w.Header().Get("Location"), "http://login.test/error?") {
			t.Fatalf("%d %s %s", w.Code, w.Header().Get("Location"), w.Body)
		}
	})
}
