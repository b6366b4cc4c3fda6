package login

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/oauth2"
	"github.com/gatewarden/gatewarden/users"
)

// spent remembers one-time values.
type spent struct {
	sync.Mutex
	used map[string]bool
}

func (s *spent) UseJTI(_ context.Context, namespace, jti string, _ time.Time) error {
	s.Lock()
	defer s.Unlock()
	if s.used[namespace+jti] {
		return oauth2.ErrSpent
	}
	s.used[namespace+jti] = true
	return nil
}

// carrier is pages at a time, and requests of one browser for them.
func carrier(t *testing.T, now *time.Time, replays oauth2.ReplayStore, secrets ...string) func(browser string) *exchange {
	t.Helper()
	var keys [][]byte
	for _, s := range secrets {
		keys = append(keys, []byte(s))
	}
	p, err := New(Options{Issuer: "https://id.example", Secrets: keys, Replays: replays, Now: func() time.Time { return *now }})
	if err != nil {
		t.Fatal(err)
	}
	return func(browser string) *exchange {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/login", nil)
		if browser != "" {
			r.AddCookie(&http.Cookie{Name: "__Host-" + csrfCookie, Value: strings.Repeat(browser, 26)})
		}
		return &exchange{p: p, w: httptest.NewRecorder(), r: r, ctx: r.Context()}
	}
}

func TestATicketIsGoodForItsBrowserPurposeAndSubjectInTimeAndOnce(t *testing.T) {
	now := time.Now()
	x := carrier(t, &now, &spent{used: map[string]bool{}}, "a secret of the test")
	given := progress{Subject: "ada", AMR: []string{"pwd"}, Login: "Ada", Keep: true}
	text, err := x("a").issueTicket("login", "a challenge", given, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || strings.Contains(string(raw), "ada") {
		t.Fatalf("the ticket can be read: %v %q", err, raw)
	}
	tampered := func(i int) string {
		other := append([]byte(nil), raw...)
		other[i] ^= 1
		return base64.RawURLEncoding.EncodeToString(other)
	}
	for name, c := range map[string]struct {
		browser, purpose, about, text string
		later                         time.Duration
	}{
		"of another browser":       {"b", "login", "a challenge", text, 0},
		"of no browser":            {"", "login", "a challenge", text, 0},
		"for another purpose":      {"a", "logins", "a challenge", text, 0},
		"about another challenge":  {"a", "login", "another challenge", text, 0},
		"with a part moved":        {"a", "logina", " challenge", text, 0},
		"at its end":               {"a", "login", "a challenge", text, time.Minute},
		"with another nonce":       {"a", "login", "a challenge", tampered(0), 0},
		"with another value":       {"a", "login", "a challenge", tampered(20), 0},
		"with another tag":         {"a", "login", "a challenge", tampered(len(raw) - 1), 0},
		"that is cut":              {"a", "login", "a challenge", text[:len(text)/2], 0},
		"that is too long":         {"a", "login", "a challenge", strings.Repeat("A", maxTicket+4), 0},
		"that is empty":            {"a", "login", "a challenge", "", 0},
		"that is no base64url":     {"a", "login", "a challenge", "+/=", 0},
		"that is shorter than one": {"a", "login", "a challenge", "AAAA", 0},
	} {
		now = now.Add(c.later)
		var got progress
		if _, err := x(c.browser).readTicket(c.purpose, c.about, c.text, &got); !errors.Is(err, errTicket) || got.Subject != "" {
			t.Errorf("a ticket %s: %v, %+v", name, err, got)
		}
		now = now.Add(-c.later)
	}

	rotated := carrier(t, &now, &spent{used: map[string]bool{}}, "a newer secret", "a secret of the test")
	var got progress
	if _, err := rotated("a").readTicket("login", "a challenge", text, &got); err != nil || cmp.Diff(given, got) != "" {
		t.Errorf("after a rotation of secrets: %v, %+v", err, got)
	}

	if err := x("a").useTicket(ticket{}); !errors.Is(err, errTicket) {
		t.Errorf("a ticket that was never read was used: %v", err)
	}
	var won sync.Map
	var group sync.WaitGroup
	for i := range 64 {
		group.Go(func() {
			mine := x("a")
			read, err := mine.readTicket("login", "a challenge", text, &progress{})
			if err == nil {
				err = mine.useTicket(read)
			}
			if err == nil {
				won.Store(i, true)
			} else if !errors.Is(err, errTicket) {
				t.Errorf("a loser got %v", err)
			}
		})
	}
	group.Wait()
	n := 0
	won.Range(func(any, any) bool { n++; return true })
	if n != 1 {
		t.Errorf("%d uses of one ticket won, want 1", n)
	}
}

func TestALoginGoesOnForTheOneWhoWasIdentifiedAlone(t *testing.T) {
	ada, pwd, both := users.User{ID: "ada"}, progress{Subject: "ada", AMR: []string{"pwd"}}, progress{Subject: "ada", Second: true}
	app := users.Factors{Generator: &users.Generator{}}
	key := users.Factors{Passkeys: []users.Passkey{{}}}
	for name, c := range map[string]struct {
		progress progress
		user     users.User
		factors  users.Factors
		policy   SecondFactor
		want     step
	}{
		"nothing at all":                         {progress{}, users.User{}, users.Factors{}, NoSecondFactor, stepRefuse},
		"nobody":                                 {progress{AMR: []string{"pwd"}, Second: true}, ada, users.Factors{}, 0, stepRefuse},
		"somebody else":                          {pwd, users.User{ID: "eve"}, users.Factors{}, 0, stepRefuse},
		"who is gone":                            {pwd, users.User{}, users.Factors{}, 0, stepRefuse},
		"who is disabled":                        {both, users.User{ID: "ada", Disabled: true}, users.Factors{}, 0, stepRefuse},
		"who has nothing else":                   {pwd, ada, users.Factors{}, SecondFactorOptional, stepFinish},
		"who showed two of it":                   {both, ada, users.Factors{}, SecondFactorOptional, stepFinish},
		"who has an app":                         {pwd, ada, app, SecondFactorOptional, stepCode},
		"who has a passkey":                      {pwd, ada, key, SecondFactorOptional, stepCode},
		"who has recovery codes alone":           {pwd, ada, users.Factors{RecoveryCodes: 3}, SecondFactorOptional, stepFinish},
		"who has an app and must":                {pwd, ada, app, SecondFactorRequired, stepCode},
		"who has nothing else and must":          {pwd, ada, users.Factors{}, SecondFactorRequired, stepEnrol},
		"who showed two of it and must":          {both, ada, app, SecondFactorRequired, stepFinish},
		"who has an app that nobody asks for":    {pwd, ada, app, NoSecondFactor, stepFinish},
		"who came from elsewhere and has an app": {progress{Subject: "ada"}, ada, app, SecondFactorOptional, stepCode},
	} {
		if got := next(c.progress, c.user, c.factors, c.policy); got != c.want {
			t.Errorf("%s: step %d, want %d", name, got, c.want)
		}
	}
	var zero step
	if zero != stepRefuse {
		t.Error("the zero value does not refuse")
	}
}

func TestAnIDTokenTellsHowThePersonWasIdentified(t *testing.T) {
	for _, c := range []struct {
		progress progress
		acr      string
		amr      []string
	}{
		{progress{AMR: []string{"pwd"}}, "aal1", []string{"pwd"}},
		{progress{}, "aal1", nil},
		{progress{AMR: []string{"pwd", "otp"}, Second: true}, "aal2", []string{"pwd", "otp", "mfa"}},
	} {
		acr, amr := c.progress.context()
		if acr != c.acr || cmp.Diff(c.amr, amr) != "" {
			t.Errorf("%+v: %s %v, want %s %v", c.progress, acr, amr, c.acr, c.amr)
		}
	}
}
