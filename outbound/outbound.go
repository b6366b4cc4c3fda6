// Package outbound asks the services that handlers are configured with: within a
// time, with bounded answers, again while that is promising, and never through a
// redirect. What cannot be had is a fault, so that callers fail closed.
package outbound

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/handler"
)

// MaxAnswer bounds the body of an answer, in bytes.
const MaxAnswer = 1 << 20

// Retry says how long a service is asked again, by Oathkeeper's names.
type Retry struct {
	// GiveUpAfter is how long after the first attempt another may start; default 1s.
	GiveUpAfter handler.Duration `json:"give_up_after"`
	// MaxDelay is the longest pause between two attempts; default 100ms.
	MaxDelay handler.Duration `json:"max_delay"`
}

// DefaultTimeout bounds an attempt of handlers that configure none.
const DefaultTimeout = handler.Duration(5 * time.Second)

// DefaultRetry returns the retry of handlers that configure none.
func DefaultRetry() Retry {
	return Retry{GiveUpAfter: handler.Duration(time.Second), MaxDelay: handler.Duration(100 * time.Millisecond)}
}

// Options are what a Service needs.
type Options struct {
	// Name begins the reason ids of the faults: name_unavailable, name_timeout,
	// name_rate_limited.
	Name string
	// HTTP makes the requests. Its redirect policy is not used; its Timeout, when it
	// has one, bounds each attempt too. Nil: a client of its own.
	HTTP *http.Client
	// Timeout bounds each attempt; it must be positive.
	Timeout handler.Duration
	Retry   Retry
}

// Service asks one kind of question of one service. It is safe for concurrent use.
type Service struct {
	name    string
	client  http.Client
	timeout time.Duration
	retry   Retry
	budget  budget
}

// New returns a Service; an error names the configuration key.
func New(o Options) (*Service, error) {
	if o.Timeout <= 0 {
		return nil, errors.New("timeout: must be positive")
	}
	s := &Service{name: o.Name, timeout: time.Duration(o.Timeout), retry: o.Retry}
	if o.HTTP != nil {
		s.client = *o.HTTP
	}
	// A redirect would send the question to whom nobody named.
	s.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return s, nil
}

// Answer is what a service said: a status of 2xx or 4xx, and the whole body.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// OK reports a status of 2xx.
func (a *Answer) OK() bool { return a.Status >= 200 && a.Status <= 299 }

// Ask sends the request that build makes, for every attempt anew. Connections that
// fail and answers of 5xx are tried again, so the question must be one that may be
// put twice. Errors: fault.RateLimited for 429 with its Retry-After, fault.Timeout,
// and fault.Unavailable for 5xx, 1xx, redirects, what is too long, and everything else.
func (s *Service) Ask(ctx context.Context, build func(context.Context) (*http.Request, error)) (Answer, error) {
	s.budget.deposit()
	giveUp := time.Now().Add(time.Duration(s.retry.GiveUpAfter))
	longest := max(time.Duration(s.retry.MaxDelay), 10*time.Millisecond)
	pause := min(25*time.Millisecond, longest)
	for {
		a, again, err := s.once(ctx, build)
		if err == nil || !again || ctx.Err() != nil || time.Now().Add(pause).After(giveUp) || !s.budget.withdraw() {
			return a, err
		}
		wait := time.NewTimer(pause)
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return a, err
		}
		pause = min(2*pause, longest)
	}
}

// once makes one attempt and says whether another one is promising.
func (s *Service) once(ctx context.Context, build func(context.Context) (*http.Request, error)) (a Answer, again bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	req, err := build(ctx)
	if err != nil {
		return a, false, err
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return a, true, s.failed(err)
	}
	defer resp.Body.Close()
	a = Answer{Status: resp.StatusCode, Header: resp.Header}
	switch {
	case a.Status == http.StatusTooManyRequests:
		return Answer{}, false, &fault.Error{Kind: fault.RateLimited, Reason: s.name + "_rate_limited", Message: "too many requests",
			RetryAfter: retryAfter(a.Header.Get("Retry-After"), time.Now())}
	case a.Status >= 500:
		return Answer{}, true, s.Unusable(fmt.Errorf("answered %d", a.Status))
	case a.Status < 200 || a.Status >= 300 && a.Status <= 399:
		return Answer{}, false, s.Unusable(fmt.Errorf("answered %d, and redirects are not followed", a.Status))
	}
	if a.Body, err = io.ReadAll(io.LimitReader(resp.Body, MaxAnswer+1)); err != nil {
		return Answer{}, true, s.failed(err)
	}
	if len(a.Body) > MaxAnswer {
		return Answer{}, false, s.Unusable(fmt.Errorf("the answer is longer than %d bytes", MaxAnswer))
	}
	return a, false, nil
}

// Unusable is the fault for an answer that decides nothing.
func (s *Service) Unusable(cause error) error {
	return fault.Wrap(fault.Unavailable, s.name+"_unavailable", "a service that this request depends on is not available", cause)
}

// failed is the fault for no answer. The text of a url.Error would repeat the URL,
// which may hold what a client sent.
func (s *Service) failed(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	var n net.Error
	if errors.Is(err, context.DeadlineExceeded) || errors.As(err, &n) && n.Timeout() {
		return fault.Wrap(fault.Timeout, s.name+"_timeout", "a service that this request depends on did not answer in time", err)
	}
	return s.Unusable(err)
}

// retryAfter reads a Retry-After field (RFC 9110 section 10.2.3), at most an hour.
func retryAfter(text string, now time.Time) time.Duration {
	const most = time.Hour
	if seconds, err := strconv.ParseUint(text, 10, 32); err == nil {
		return min(time.Duration(seconds)*time.Second, most)
	}
	if at, err := http.ParseTime(text); err == nil {
		return min(max(0, at.Sub(now).Round(time.Second)), most)
	}
	return 0
}

// CheckBase refuses what CheckURL refuses, and a query: a path is added to it.
func CheckBase(field, text string) error {
	if err := CheckURL(field, text); err != nil {
		return err
	}
	if strings.Contains(text, "?") {
		return fmt.Errorf("%s: must not have a query", field)
	}
	return nil
}

// CheckURL refuses what is not an absolute http or https URL without user
// information and fragment; field names it in the error.
func CheckURL(field, text string) error {
	u, err := url.Parse(text)
	switch {
	case text == "":
		return fmt.Errorf("%s: required", field)
	case err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("%s: must be an absolute http or https URL", field)
	case u.User != nil:
		return fmt.Errorf("%s: must not have user information", field)
	case u.Fragment != "":
		return fmt.Errorf("%s: must not have a fragment", field)
	}
	return nil
}
