package server

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/oauth2"
)

// plainRing signs nothing: tests see what would be signed.
type plainRing struct{}

func (plainRing) Sign(_ context.Context, alg, typ string, payload []byte, _ time.Time) (string, error) {
	return alg + " " + typ + " " + string(payload), nil
}
func (plainRing) Public() jose.JSONWebKeySet { return jose.JSONWebKeySet{} }
func (plainRing) Algorithms() []string       { return nil }
func (plainRing) Verify(context.Context, string, ...string) ([]byte, error) {
	return nil, errors.New("unused")
}

// told is a client that answers a logout as it is told to.
type told struct {
	mu      sync.Mutex
	answers []int // 0: no answer; the last one counts for all further attempts
	at      []time.Duration
	tokens  []string
	began   time.Time
}

func (c *told) RoundTrip(r *http.Request) (*http.Response, error) {
	body, _ := io.ReadAll(r.Body)
	form, _ := url.ParseQuery(string(body))
	c.mu.Lock()
	defer c.mu.Unlock()
	status := c.answers[min(len(c.at), len(c.answers)-1)]
	c.at, c.tokens = append(c.at, time.Since(c.began)), append(c.tokens, form.Get("logout_token"))
	if status == 0 {
		return nil, errors.New("no connection")
	}
	return &http.Response{StatusCode: status, Header: http.Header{"Location": {"http://elsewhere.example/"}}, Body: io.NopCloser(strings.NewReader("")), Request: r}, nil
}

func noticesTo(c *told) (*Server, *client, map[string]int) {
	results := map[string]int{}
	s := &Server{o: Options{Issuer: "https://id.example/", IDTokens: plainRing{}, IDTokenAlg: "ES256", Log: slog.New(slog.DiscardHandler), Now: time.Now,
		Metrics: Metrics{OAuth2: func(endpoint, code string) {
			c.mu.Lock()
			defer c.mu.Unlock()
			results[endpoint+" "+code]++
		}}}}
	c.began = time.Now()
	s.notices = newNotices(s, &http.Client{Transport: c}, nil)
	return s, &client{Client: oauth2.Client{ID: "app", BackchannelLogoutURI: "https://app.example/logout"}}, results
}

func TestAClientIsToldAgainWhileItFailsAndNotWhenItRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		answers []int
		at      []time.Duration
		result  string
	}{
		"taken":                       {[]int{200}, []time.Duration{0}, ""},
		"taken without content":       {[]int{204}, []time.Duration{0}, ""},
		"taken at the second attempt": {[]int{503, 200}, []time.Duration{0, time.Second}, ""},
		"away for long":               {[]int{0, 0, 429, 200}, []time.Duration{0, time.Second, 5 * time.Second, 20 * time.Second}, ""},
		"away for too long":           {[]int{0}, []time.Duration{0, time.Second, 5 * time.Second, 20 * time.Second}, "not_delivered"},
		"refused":                     {[]int{400}, []time.Duration{0}, "not_delivered"},
		"redirected":                  {[]int{302}, []time.Duration{0}, "not_delivered"},
		"answered with what is no":    {[]int{201}, []time.Duration{0}, "not_delivered"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				to := &told{answers: c.answers}
				s, who, results := noticesTo(to)
				if err := s.notices.add(notice{who, "the-session", time.Now()}); err != nil {
					t.Fatal(err)
				}
				s.notices.all.Wait()
				s.notices.close()
				if diff := cmp.Diff(c.at, to.at); diff != "" {
					t.Errorf("attempts (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(map[string]int{"backchannel_logout " + c.result: 1}, results); diff != "" {
					t.Errorf("results (-want +got):\n%s", diff)
				}
				ids := map[string]bool{}
				for i, token := range to.tokens {
					var claims map[string]any
					rest, typed := strings.CutPrefix(token, "ES256 logout+jwt ")
					if err := json.Unmarshal([]byte(rest), &claims); err != nil || !typed {
						t.Fatalf("%q: %v", token, err)
					}
					ids[claims["jti"].(string)] = true
					delete(claims, "jti")
					if diff := cmp.Diff(map[string]any{"iss": "https://id.example/", "aud": []any{"app"}, "sid": "the-session", "events": map[string]any{logoutEvent: map[string]any{}},
						"iat": float64(to.began.Unix()), "exp": float64(to.began.Add(to.at[i] + 2*time.Minute).Unix())}, claims); diff != "" {
						t.Errorf("token %d (-want +got):\n%s", i, diff)
					}
				}
				if len(ids) != len(to.tokens) {
					t.Errorf("%d tokens have %d ids", len(to.tokens), len(ids))
				}
			})
		})
	}
}

func TestAServerThatIsClosedWaitsForNoPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		to := &told{answers: []int{503}}
		s, who, results := noticesTo(to)
		if err := s.notices.add(notice{who, "s", time.Now()}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // until it pauses
		s.notices.close()
		if len(to.at) != 1 || time.Since(to.began) > 0 || results["backchannel_logout not_delivered"] != 1 {
			t.Errorf("%d attempts, closed after %v, %v", len(to.at), time.Since(to.began), results)
		}
		if err := s.notices.add(notice{who, "s", time.Now()}); err == nil {
			t.Error("a closed server takes more")
		}
	})
}

func TestClientsThatWaitToBeToldAreBoundedAndStrangersKeepNobodyWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		operators := &told{answers: []int{503}}
		s, who, _ := noticesTo(operators)
		s.notices.strangers.http = direct(&http.Client{Transport: &told{answers: []int{503}, began: time.Now()}})
		stranger := &client{Client: who.Client}
		stranger.Origin = oauth2.ByRegistration
		var refused error
		for range maxStrangeNotices + 1 {
			refused = s.notices.add(notice{stranger, "s", time.Now()})
		}
		if refused == nil {
			t.Error("there is no bound for strangers")
		}
		synctest.Wait()
		if err := s.notices.add(notice{who, "s", time.Now()}); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if len(operators.at) != 1 {
			t.Errorf("an operator's client was told %d times while strangers do not answer", len(operators.at))
		}
		for range maxNotices + 1 {
			refused = s.notices.add(notice{who, "s", time.Now()})
		}
		s.notices.close()
		if refused == nil {
			t.Error("there is no bound")
		}
	})
}

func TestAStrangerIsToldByTheClientForStrangersOnly(t *testing.T) {
	for _, origin := range []oauth2.Origin{oauth2.ByOperator, oauth2.ByRegistration, oauth2.ByDocument} {
		synctest.Test(t, func(t *testing.T) {
			operators, strangers := &told{answers: []int{200}}, &told{answers: []int{200}}
			s, who, results := noticesTo(operators)
			who.Origin = origin
			if origin != oauth2.ByOperator {
				// Without a client for strangers nobody else's is used.
				if err := s.notices.add(notice{who, "s", time.Now()}); err != nil {
					t.Fatal(err)
				}
				s.notices.all.Wait()
			}
			s.notices.strangers.http = direct(&http.Client{Transport: strangers})
			if err := s.notices.add(notice{who, "s", time.Now()}); err != nil {
				t.Fatal(err)
			}
			s.notices.close()
			want := [2]int{0, 1}
			if origin == oauth2.ByOperator {
				want = [2]int{1, 0}
			} else if results["backchannel_logout not_delivered"] != 1 {
				t.Errorf("%q: %v", origin, results)
			}
			if got := [2]int{len(operators.at), len(strangers.at)}; got != want {
				t.Errorf("%q: told %v, want %v", origin, got, want)
			}
		})
	}
}
