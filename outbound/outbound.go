// Package outbound asks the services that handlers are configured with: within a
// time, with bounded answers, again while that is promising, and never through a
// redirect. What cannot be had is a fault, so that callers fail closed.
package outbound

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/handler"
)

// DefaultTimeout bounds an attempt of handlers that configure none.
const DefaultTimeout = handler.Duration(5 * time.Second)

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
	client  *http.Client
	timeout time.Duration
	retry   Retry
	budget  budget
}

// New returns a Service; an error names the configuration key.
func New(o Options) (*Service, error) {
	if o.Timeout <= 0 {
		return nil, errors.New("timeout: must be positive")
	}
	if o.HTTP == nil {
		o.HTTP = &http.Client{}
	}
	return &Service{name: o.Name, client: Direct(o.HTTP), timeout: time.Duration(o.Timeout), retry: o.Retry}, nil
}

// Ask sends the request that build makes, for every attempt anew, and returns an answer
// of 2xx or 4xx. Connections that fail and answers of 5xx are tried again, so the question
// must be one that may be put twice. Errors: fault.RateLimited for 429 with its
// Retry-After, fault.Timeout, and fault.Unavailable for 5xx, 1xx, redirects, what is too
// long, and everything else.
func (s *Service) Ask(ctx context.Context, build func(context.Context) (*http.Request, error)) (a Answer, err error) {
	s.budget.deposit()
	err = s.retry.do(ctx, s.budget.withdraw, func(ctx context.Context) (again bool, err error) {
		a, again, err = s.once(ctx, build)
		return again, err
	})
	return a, err
}

// once makes one attempt and says whether another one is promising.
func (s *Service) once(ctx context.Context, build func(context.Context) (*http.Request, error)) (a Answer, again bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	req, err := build(ctx)
	if err != nil {
		return Answer{}, false, err
	}
	a, again, err = Do(s.client, req)
	switch {
	case a.Status == http.StatusTooManyRequests:
		return Answer{}, false, RateLimited(s.name+"_rate_limited", &a)
	case a.Status >= 500:
		return Answer{}, true, s.Unusable(fmt.Errorf("answered %d", a.Status))
	case err != nil:
		return Answer{}, again, s.failed(err)
	case !a.OK() && a.Status < 400:
		return Answer{}, false, s.Unusable(fmt.Errorf("answered %d, and redirects are not followed", a.Status))
	}
	return a, false, nil
}

// Unusable is the fault for an answer that decides nothing.
func (s *Service) Unusable(cause error) error {
	return fault.Wrap(fault.Unavailable, s.name+"_unavailable", "a service that this request depends on is not available", cause)
}

// failed is the fault for no answer.
func (s *Service) failed(err error) error {
	var n net.Error
	if errors.Is(err, context.DeadlineExceeded) || errors.As(err, &n) && n.Timeout() {
		return fault.Wrap(fault.Timeout, s.name+"_timeout", "a service that this request depends on did not answer in time", err)
	}
	return s.Unusable(err)
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
