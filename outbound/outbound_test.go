package outbound

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/handler"
)

// transport answers requests in a test, without a network.
type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func answer(status int, body string, header ...string) (*http.Response, error) {
	h := http.Header{}
	for i := 0; i+1 < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body))}, nil
}

func service(t *testing.T, f transport) *Service {
	t.Helper()
	s, err := New(Options{Name: "test", HTTP: &http.Client{Transport: f}, Timeout: DefaultTimeout, Retry: DefaultRetry()})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func question(ctx context.Context) (*http.Request, error) {
	return http.NewRequestWithContext(ctx, http.MethodPost, "http://service.example/ask?subject=secret", strings.NewReader("{}"))
}

func TestWhatIsNoAnswerIsAFault(t *testing.T) {
	for _, c := range []struct {
		name     string
		answer   transport
		kind     fault.Kind
		reason   string
		attempts int // at least 2 when repeated
	}{
		{"a connection that fails", func(*http.Request) (*http.Response, error) { return nil, errors.New("refused") }, fault.Unavailable, "test_unavailable", 2},
		{"500", func(*http.Request) (*http.Response, error) { return answer(500, "") }, fault.Unavailable, "test_unavailable", 2},
		{"503", func(*http.Request) (*http.Response, error) { return answer(503, "") }, fault.Unavailable, "test_unavailable", 2},
		{"a redirect", func(*http.Request) (*http.Response, error) {
			return answer(307, "", "Location", "http://evil.example/")
		}, fault.Unavailable, "test_unavailable", 1},
		{"304", func(*http.Request) (*http.Response, error) { return answer(304, "") }, fault.Unavailable, "test_unavailable", 1},
		{"101", func(*http.Request) (*http.Response, error) { return answer(101, "") }, fault.Unavailable, "test_unavailable", 1},
		{"too long", func(*http.Request) (*http.Response, error) { return answer(200, strings.Repeat("x", MaxAnswer+1)) }, fault.Unavailable, "test_unavailable", 1},
		{"a body that breaks off", func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Body: io.NopCloser(io.MultiReader(strings.NewReader(`{"allow":true`), broken{}))}, nil
		}, fault.Unavailable, "test_unavailable", 2},
		{"silence", func(r *http.Request) (*http.Response, error) { <-r.Context().Done(); return nil, r.Context().Err() }, fault.Timeout, "test_timeout", 1},
		{"429", func(*http.Request) (*http.Response, error) { return answer(429, "", "Retry-After", "7") }, fault.RateLimited, "test_rate_limited", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				attempts := 0
				s := service(t, func(r *http.Request) (*http.Response, error) { attempts++; return c.answer(r) })
				begin := time.Now()
				a, err := s.Ask(t.Context(), question)
				if fault.KindOf(err) != c.kind || fault.ReasonOf(err) != c.reason || a.OK() || min(attempts, 2) != c.attempts {
					t.Errorf("after %d attempts: %v (%s %s), answer %v", attempts, err, fault.KindOf(err), fault.ReasonOf(err), a)
				}
				if took := time.Since(begin); took > 7*time.Second {
					t.Errorf("took %s", took)
				}
				if strings.Contains(err.Error(), "secret") {
					t.Errorf("the error repeats the URL: %v", err)
				}
				var f *fault.Error
				if errors.As(err, &f) && c.kind == fault.RateLimited && f.RetryAfter != 7*time.Second {
					t.Errorf("Retry-After: %s", f.RetryAfter)
				}
			})
		})
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("reset") }

func TestAnAttemptThatFailsIsRepeatedWithinItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		attempts := 0
		s := service(t, func(r *http.Request) (*http.Response, error) {
			attempts++
			if body, err := io.ReadAll(r.Body); err != nil || string(body) != "{}" {
				t.Errorf("attempt %d sent %q, %v", attempts, body, err)
			}
			if attempts < 3 {
				return answer(502, "")
			}
			return answer(404, "no")
		})
		a, err := s.Ask(t.Context(), question)
		if diff := cmp.Diff(Answer{Status: 404, Header: http.Header{}, Body: []byte("no")}, a); err != nil || diff != "" || attempts != 3 {
			t.Errorf("after %d attempts: %v\n%s", attempts, err, diff)
		}
	})
}

func TestNothingIsRepeatedForARequestThatIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		attempts := 0
		s := service(t, func(*http.Request) (*http.Response, error) { attempts++; cancel(); return answer(503, "") })
		if _, err := s.Ask(ctx, question); err == nil || attempts != 1 {
			t.Errorf("%d attempts, %v", attempts, err)
		}
	})
}

func TestAServiceInTroubleIsNotFlooded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		attempts := 0
		s := service(t, func(*http.Request) (*http.Response, error) { attempts++; return answer(503, "") })
		const questions = 500
		for range questions {
			if _, err := s.Ask(t.Context(), question); err == nil {
				t.Fatal("no error")
			}
		}
		if most := questions + questions*perQuestion/perRetry + budgetSize/perRetry; attempts > most || attempts < questions+10 {
			t.Errorf("%d questions made %d attempts, want at most %d", questions, attempts, most)
		}
	})
}

func TestRetryAfterIsReadInBothForms(t *testing.T) {
	now := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 0, "x": 0, "-1": 0, "7": 7 * time.Second, "999999": time.Hour, "99999999999999999999": 0,
		"Mon, 04 May 2026 03:02:31 GMT": 30 * time.Second, "Mon, 04 May 2026 03:02:00 GMT": 0, "Mon, 04 May 2099 03:02:00 GMT": time.Hour,
	} {
		if got := retryAfter(text, now); got != want {
			t.Errorf("%q: got %s, want %s", text, got, want)
		}
	}
}

func TestWrongSettingsAreNamed(t *testing.T) {
	if _, err := New(Options{}); err == nil || !strings.HasPrefix(err.Error(), "timeout:") {
		t.Error(err)
	}
	if s, err := New(Options{Timeout: handler.Duration(time.Second)}); err != nil || s == nil {
		t.Error(err)
	}
	for _, text := range []string{"", "x", "/x", "ftp://h", "http://", "http://u:p@h/", "http://h/#f", "http://h\n"} {
		if err := CheckURL("url", text); err == nil || !strings.HasPrefix(err.Error(), "url:") {
			t.Errorf("%q: %v", text, err)
		}
	}
	for _, a := range []Auth{{Basic: Basic{Username: "a"}, Bearer: Bearer{Token: "b"}}, {Bearer: Bearer{Token: "a b"}}, {Bearer: Bearer{Token: "a\n"}}} {
		if err := a.Check("auth"); err == nil || !strings.HasPrefix(err.Error(), "auth") {
			t.Errorf("%v: %v", a, err)
		}
	}
	for want, a := range map[string]Auth{"": {}, "Bearer t": {Bearer: Bearer{Token: "t"}}, "Basic dTpw": {Basic: Basic{Username: "u", Password: "p"}}} {
		r, err := question(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		a.Apply(r)
		if got := r.Header.Get("Authorization"); got != want || a.Check("auth") != nil {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestAnAnswerThatCannotBeReadKeepsItsStatus(t *testing.T) {
	for _, c := range []struct {
		name  string
		body  io.Reader
		again bool
	}{
		{"too long", strings.NewReader(strings.Repeat("x", MaxAnswer+1)), false},
		{"breaks off", io.MultiReader(strings.NewReader("{"), broken{}), true},
	} {
		r, err := question(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		client := Direct(&http.Client{Transport: transport(func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 401, Header: http.Header{"A": {"b"}}, Body: io.NopCloser(c.body)}, nil
		})})
		a, again, err := Do(client, r)
		if diff := cmp.Diff(Answer{Status: 401, Header: http.Header{"A": {"b"}}}, a); err == nil || again != c.again || diff != "" {
			t.Errorf("%s: again %v, %v\n%s", c.name, again, err, diff)
		}
	}
}

func TestAClientAuthenticatesItselfInOneWay(t *testing.T) {
	for _, c := range []struct {
		client                    Client
		wantBody, wantCredentials string
	}{
		{Client{ClientID: "a b", ClientSecret: "c:d"}, "k=v", "Basic YStiOmMlM0Fk"}, // a+b:c%3Ad
		{Client{ClientID: "a", ClientSecret: "b", ClientAuth: "client_secret_post"}, "client_id=a&client_secret=b&k=v", ""},
		{Client{ClientID: "a"}, "client_id=a&k=v", ""},
	} {
		r, err := c.client.Request(t.Context(), "http://sts.example/token", url.Values{"k": {"v"}})
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r.Body)
		if got := r.Header.Get("Authorization"); err != nil || string(body) != c.wantBody || got != c.wantCredentials {
			t.Errorf("%+v: sent %q with %q, %v", c.client, body, got, err)
		}
	}
}
