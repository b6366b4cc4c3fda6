package e2e

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/gatewarden/gatewarden/internal/testenv"
)

// protected asks for a token with scope orders, asks the policies, and tells the
// upstream by ID token and header.
func protected(upstream string) string {
	return `[{
		"id": "orders",
		"match": {"url": "http://<[^/]+>/orders<(/.*)?>", "methods": ["GET", "DELETE"]},
		"upstream": {"url": "` + upstream + `"},
		"authenticators": [{"handler": "oauth2_introspection", "config": {"required_scope": ["orders"]}}],
		"authorizer": {"handler": "policy", "config": {"resource": "orders:{{ printIndex .MatchContext.RegexpCaptureGroups 1 }}", "action": "{{ print .MatchContext.Method }}"}},
		"mutators": [{"handler": "id_token", "config": {"claims": "{\"aud\": [\"orders\"]}"}}, {"handler": "header", "config": {"headers": {"X-User": "{{ print .Subject }}"}}}]
	}, {
		"id": "open",
		"match": {"url": "http://<[^/]+>/open", "methods": ["GET"]},
		"upstream": {"url": "` + upstream + `"},
		"authenticators": [{"handler": "anonymous"}], "authorizer": {"handler": "allow"}, "mutators": [{"handler": "noop"}]
	}]`
}

// through asks one of the edges about a request and returns the status and what the
// upstream is told.
type through struct {
	name string
	ask  func(t *testing.T, p *program, method, path string, header ...string) (status int, told http.Header)
}

func edges() []through {
	return []through{
		{"proxy", func(t *testing.T, p *program, method, path string, header ...string) (int, http.Header) {
			a := send(t, method, p.proxy+path, "", header...)
			if a.status != http.StatusOK {
				return a.status, a.header
			}
			var s seen
			a.decode(t, &s)
			return a.status, s.Header
		}},
		{"decision", func(t *testing.T, p *program, method, path string, header ...string) (int, http.Header) {
			a := send(t, method, p.management+"/decisions"+path, "", header...)
			return a.status, a.header
		}},
	}
}

func TestIssuedTokensOpenWhatRulesAndPoliciesAllowAndNothingElse(t *testing.T) {
	for _, db := range testenv.Databases() {
		t.Run(db.Name, func(t *testing.T) {
			p := start(t, settings{dsn: db.DSN(t), rules: protected(upstream(t).URL)})
			var created struct {
				Secret string `json:"client_secret"`
			}
			post(t, p.management+"/clients", `{"client_id": "shop", "grant_types": ["client_credentials"], "scope": "orders other"}`).want(t, http.StatusCreated).decode(t, &created)
			post(t, p.management+"/policies", `{"id": "read", "subjects": ["shop"], "effect": "allow", "resources": ["orders:<.*>"], "actions": ["GET"]}`).want(t, http.StatusCreated)

			provider, err := oidc.NewProvider(t.Context(), p.public)
			if err != nil {
				t.Fatal(err)
			}
			credentials := func(scopes ...string) *oauth2.Token {
				c := clientcredentials.Config{ClientID: "shop", ClientSecret: created.Secret, TokenURL: provider.Endpoint().TokenURL, Scopes: scopes}
				token, err := c.Token(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				return token
			}
			for _, e := range edges() {
				t.Run(e.name, func(t *testing.T) {
					token := credentials("orders")
					bearer := []string{"Authorization", "Bearer " + token.AccessToken}
					for _, c := range []struct {
						name, method, path string
						header             []string
						want               int
					}{
						{"nobody", "GET", "/orders", nil, 401},
						{"garbage", "GET", "/orders", []string{"Authorization", "Bearer garbage"}, 401},
						{"a token without the scope", "GET", "/orders", []string{"Authorization", "Bearer " + credentials("other").AccessToken}, 403},
						{"what no policy allows", "DELETE", "/orders/7", bearer, 403},
						{"a method that no rule has", "PUT", "/orders/7", bearer, 404},
						{"a path that no rule has", "GET", "/elsewhere", bearer, 404},
						{"an ambiguous path", "GET", "/orders/%2e%2e/open", bearer, 400},
						{"the right token", "GET", "/orders/7", bearer, 200},
					} {
						if got, _ := e.ask(t, p, c.method, c.path, c.header...); got != c.want {
							t.Errorf("%s: got %d, want %d", c.name, got, c.want)
						}
					}

					// The upstream is told by a token that it can verify, and by a header that
					// nobody else can set.
					spoofed := append(bearer, "X-User", "root", "x_user", "root")
					if e.name == "decision" { // which cannot have another spelling removed
						if got, _ := e.ask(t, p, "GET", "/orders/7", spoofed...); got != http.StatusBadRequest {
							t.Errorf("another spelling of X-User: got %d, want 400", got)
						}
						spoofed = spoofed[:len(spoofed)-2]
					}
					_, told := e.ask(t, p, "GET", "/orders/7", spoofed...)
					if got := told.Values("X-User"); !cmp.Equal(got, []string{"shop"}) {
						t.Errorf("X-User: got %q, want shop", got)
					}
					minted := strings.TrimPrefix(told.Get("Authorization"), "Bearer ")
					set := oidc.NewRemoteKeySet(context.WithoutCancel(t.Context()), p.management+"/.well-known/jwks.json")
					verified, err := oidc.NewVerifier(p.public, set, &oidc.Config{ClientID: "orders", SupportedSigningAlgs: []string{"ES256"}}).Verify(t.Context(), minted)
					if err != nil {
						t.Fatalf("the minted token: %v", err)
					}
					if verified.Subject != "shop" || time.Until(verified.Expiry) > 5*time.Minute {
						t.Errorf("got subject %q for %v, want shop for a short time", verified.Subject, time.Until(verified.Expiry))
					}

					// A revoked token is worth nothing on the very next request.
					form := url.Values{"token": {token.AccessToken}}
					r, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, p.public+"/oauth2/revoke", strings.NewReader(form.Encode()))
					r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
					r.SetBasicAuth("shop", created.Secret)
					res, err := client().Do(r)
					if err != nil {
						t.Fatal(err)
					}
					res.Body.Close()
					if res.StatusCode != http.StatusOK {
						t.Fatalf("revocation: %s", res.Status)
					}
					if got, _ := e.ask(t, p, "GET", "/orders/7", bearer...); got != 401 {
						t.Errorf("a revoked token: got %d, want 401", got)
					}
				})
			}
		})
	}
}

func TestABrowserLogsInAndTheRefreshedTokenOpensTheAPI(t *testing.T) {
	for _, db := range testenv.Databases() {
		t.Run(db.Name, func(t *testing.T) {
			p := start(t, settings{dsn: db.DSN(t), rules: protected(upstream(t).URL), keys: map[string]string{
				"urls.login": "http://login.example/login", "urls.consent": "http://login.example/consent",
			}})
			const callback = "http://127.0.0.1:9/callback"
			post(t, p.management+"/admin/clients", `{"client_id": "web", "client_secret": "chosen by a person", "redirect_uris": ["`+callback+`"],
				"grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"], "scope": "openid offline orders"}`).want(t, http.StatusCreated)
			post(t, p.management+"/policies", `{"id": "read", "subjects": ["ada"], "effect": "allow", "resources": ["orders:<.*>"], "actions": ["GET"]}`).want(t, http.StatusCreated)
			provider, err := oidc.NewProvider(t.Context(), p.public)
			if err != nil {
				t.Fatal(err)
			}
			c := oauth2.Config{ClientID: "web", ClientSecret: "chosen by a person", Endpoint: provider.Endpoint(), RedirectURL: callback, Scopes: []string{"openid", "offline", "orders"}}
			verifier := oauth2.GenerateVerifier()
			b := newBrowser(t)
			login := b.get(t, c.AuthCodeURL("a-state-of-enough-length", oauth2.S256ChallengeOption(verifier), oidc.Nonce("a-nonce-of-enough-length")))
			toConsent := p.accept(t, "login", login.Query().Get("login_challenge"), `{"subject": "ada", "remember": true, "remember_for": 60}`)
			consent := b.get(t, toConsent)
			back := b.get(t, p.accept(t, "consent", consent.Query().Get("consent_challenge"), `{"grant_scope": ["openid", "offline", "orders"], "session": {"id_token": {"team": "engines"}}}`))
			if got := back.Query(); got.Get("state") != "a-state-of-enough-length" || got.Get("iss") != p.public {
				t.Fatalf("got callback %s, want the state and the issuer", back)
			}
			token, err := c.Exchange(t.Context(), back.Query().Get("code"), oauth2.VerifierOption(verifier))
			if err != nil {
				t.Fatal(err)
			}
			id, err := provider.Verifier(&oidc.Config{ClientID: "web"}).Verify(t.Context(), token.Extra("id_token").(string))
			if err != nil {
				t.Fatal(err)
			}
			if err := id.VerifyAccessToken(token.AccessToken); err != nil {
				t.Error(err)
			}
			var claims struct {
				Team string `json:"team"`
			}
			if err := id.Claims(&claims); err != nil {
				t.Fatal(err)
			}
			if got, want := []string{id.Subject, id.Nonce, claims.Team}, []string{"ada", "a-nonce-of-enough-length", "engines"}; !cmp.Equal(got, want) {
				t.Errorf("ID token: got %q, want %q", got, want)
			}
			info, err := provider.UserInfo(t.Context(), oauth2.StaticTokenSource(token))
			if err != nil || info.Subject != "ada" {
				t.Errorf("userinfo: got %v, %v, want ada", info, err)
			}

			// Refreshing rotates; the old refresh token ends the family.
			expired := *token
			expired.Expiry = time.Now().Add(-time.Hour)
			fresh, err := c.TokenSource(t.Context(), &expired).Token()
			if err != nil {
				t.Fatal(err)
			}
			if fresh.RefreshToken == token.RefreshToken || fresh.RefreshToken == "" {
				t.Error("the refresh token was not rotated")
			}
			open := func() int {
				return send(t, "GET", p.proxy+"/orders/1", "", "Authorization", "Bearer "+fresh.AccessToken).status
			}
			if got := open(); got != http.StatusOK {
				t.Errorf("the refreshed token: got %d, want 200", got)
			}
			if _, err := c.TokenSource(t.Context(), &expired).Token(); err == nil {
				t.Error("a spent refresh token was accepted")
			}
			if got := open(); got != http.StatusUnauthorized {
				t.Errorf("a token of a family whose refresh token was reused: got %d, want 401", got)
			}

			// The login is remembered: the login app is asked to skip.
			again := b.get(t, c.AuthCodeURL("a-state-of-enough-length", oauth2.S256ChallengeOption(verifier)))
			var asked struct {
				Skip    bool   `json:"skip"`
				Subject string `json:"subject"`
			}
			send(t, "GET", p.management+"/oauth2/auth/requests/login?login_challenge="+again.Query().Get("login_challenge"), "").want(t, http.StatusOK).decode(t, &asked)
			if !asked.Skip || asked.Subject != "ada" {
				t.Errorf("got %+v, want ada to be remembered", asked)
			}
		})
	}
}

// accept answers a login or consent request as the login app and returns where the
// browser goes.
func (p *program) accept(t *testing.T, kind, challenge, body string) string {
	t.Helper()
	if challenge == "" {
		t.Fatalf("there is no %s challenge", kind)
	}
	a := send(t, http.MethodPut, p.management+"/oauth2/auth/requests/"+kind+"/accept?"+kind+"_challenge="+url.QueryEscape(challenge), body, "Content-Type", "application/json")
	var next struct {
		RedirectTo string `json:"redirect_to"`
	}
	a.want(t, http.StatusOK).decode(t, &next)
	return next.RedirectTo
}
