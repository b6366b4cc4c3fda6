package server_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/internal/testenv"
	"github.com/gatewarden/gatewarden/oauth2"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// attempts is how many ask for the same at once.
const attempts = 64

// race calls attempt at once from everywhere and returns how many won, and whether the
// database was too busy for any. An attempt that is neither won nor refused fails the test.
func race(t *testing.T, attempt func(i int) answer, won func(answer) bool) (winners int64, busy bool) {
	t.Helper()
	var count, late atomic.Int64
	var group sync.WaitGroup
	begin := make(chan struct{})
	for i := range attempts {
		group.Go(func() {
			<-begin
			switch a := attempt(i); {
			case won(a):
				count.Add(1)
			case a.status == http.StatusServiceUnavailable:
				late.Add(1)
			case a.status >= 500:
				t.Errorf("a loser was answered %d %s", a.status, a.raw)
			}
		})
	}
	close(begin)
	group.Wait()
	return count.Load(), late.Load() > 0
}

// visit opens a link with the cookies of b.
func (b *browser) visit(link string) answer {
	req, err := http.NewRequest("GET", link, nil)
	if err != nil {
		b.r.t.Error(err)
		return answer{}
	}
	return b.r.do(b.http, req)
}

// app is an answer of the apps' interface as one over HTTP: 200, or the status of the
// refusal.
func app(to string, err error) answer {
	var handled *oauth2.Handled
	switch {
	case err == nil:
		return answer{status: http.StatusOK, raw: to}
	case errors.As(err, &handled):
		return answer{status: http.StatusGone}
	}
	return answer{status: fault.KindOf(err).HTTPStatus(), raw: err.Error()}
}

func ok(a answer) bool { return a.status == http.StatusOK }

// leadsTo is a win that sends the browser to an address with a parameter.
func leadsTo(parameter string) func(answer) bool {
	return func(a answer) bool { return strings.Contains(a.header.Get("Location"), parameter+"=") }
}

// TestOfSixtyFourUsesAtOnceExactlyOneWinsOnEveryDatabase asks 64 times at once, over HTTP,
// for everything that is good once.
func TestOfSixtyFourUsesAtOnceExactlyOneWinsOnEveryDatabase(t *testing.T) {
	for _, database := range testenv.Databases() {
		t.Run(database.Name, func(t *testing.T) {
			r := startAt(t, database.DSN(t), device)
			r.client()
			r.client(tv)
			s := newSigner(t, "k1", "ES256")
			r.client(func(c *oauth2.Client) {
				c.ID, c.SecretHash, c.TokenEndpointAuthMethod, c.AuthMethodSet, c.JWKS = "signs", "", "private_key_jwt", true, s.jwks()
			})
			for name, setup := range singleUses(r, s) {
				attempt, won := setup()
				winners, busy := race(t, attempt, won)
				if winners > 1 || winners == 0 && !busy {
					t.Errorf("%s: %d of %d won", name, winners, attempts)
				}
			}
		})
	}
}

type use func() (attempt func(i int) answer, won func(answer) bool)

// singleUses are all that is good once; each sets up what is then asked for.
func singleUses(r *rig, s signer) map[string]use {
	ctx := context.Background()
	return map[string]use{
		"code": func() (func(int) answer, func(answer) bool) {
			code := r.code()
			return func(int) answer { return r.redeem(code) }, ok
		},
		"refresh token": func() (func(int) answer, func(answer) bool) {
			token := r.tokens().str("refresh_token")
			return func(int) answer {
				return r.post("/oauth2/token", "app:secret", "grant_type", "refresh_token", "refresh_token", token)
			}, ok
		},
		"pushed request": func() (func(int) answer, func(answer) bool) {
			link := r.pushedURL(request())
			return func(int) answer { return r.browser().visit(link) }, leadsTo("login_challenge")
		},
		"client assertion": func() (func(int) answer, func(answer) bool) {
			assertion := s.sign(with(with(r.assertion("raced"), "iss", "signs"), "sub", "signs"))
			return func(int) answer { return r.assert(assertion) }, ok
		},
		"proof": func() (func(int) answer, func(answer) bool) {
			proof := newSigner(r.t, "", "ES256").proof(r.proofClaims())
			return func(int) answer {
				return r.postWith([]string{proof}, "/oauth2/token", "app:secret", "grant_type", "client_credentials")
			}, ok
		},
		"device code": func() (func(int) answer, func(answer) bool) {
			a, b := r.ask(), r.browser()
			b.agree(b.enter(a.str("user_code")))
			return func(int) answer { return r.poll(a.str("device_code")) }, ok
		},
		"user code": func() (func(int) answer, func(answer) bool) {
			code := r.ask().str("user_code")
			challenges := make([]string, attempts)
			for i := range challenges {
				challenges[i] = r.browser().open(r.url + "/oauth2/device/verify").Query().Get("device_challenge")
			}
			return func(i int) answer {
				return app(r.server.AcceptUserCode(ctx, challenges[i], oauth2.AcceptUserCode{UserCode: code}))
			}, ok
		},
		"login": func() (func(int) answer, func(answer) bool) {
			challenge := r.browser().open(r.authURL(request())).Query().Get("login_challenge")
			return func(int) answer {
				return app(r.server.AcceptLogin(ctx, challenge, oauth2.AcceptLogin{Subject: "alice"}))
			}, ok
		},
		"login verifier": func() (func(int) answer, func(answer) bool) {
			b := r.browser()
			next, err := r.server.AcceptLogin(ctx, b.open(r.authURL(request())).Query().Get("login_challenge"), oauth2.AcceptLogin{Subject: "alice"})
			if err != nil {
				r.t.Fatal(err)
			}
			return func(int) answer { return b.visit(next) }, leadsTo("consent_challenge")
		},
		"consent": func() (func(int) answer, func(answer) bool) {
			challenge := r.browser().login(request(), oauth2.AcceptLogin{Subject: "alice"})
			return func(int) answer {
				return app(r.server.AcceptConsent(ctx, challenge, oauth2.AcceptConsent{GrantScope: []string{"openid"}}))
			}, ok
		},
		"consent verifier": func() (func(int) answer, func(answer) bool) {
			b := r.browser()
			next, err := r.server.AcceptConsent(ctx, b.login(request(), oauth2.AcceptLogin{Subject: "alice"}), oauth2.AcceptConsent{GrantScope: []string{"openid"}})
			if err != nil {
				r.t.Fatal(err)
			}
			return func(int) answer { return b.visit(next) }, leadsTo("code")
		},
	}
}

// TestARaceThatTwoWinIsNoticed shows that the test above can fail.
func TestARaceThatTwoWinIsNoticed(t *testing.T) {
	winners, _ := race(t, func(i int) answer { return answer{status: map[bool]int{true: 200, false: 400}[i < 2]} }, ok)
	if winners != 2 {
		t.Errorf("got %d winners, want 2", winners)
	}
}
