package rules

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync/atomic"
	"testing"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/authn"
	"github.com/gatewarden/gatewarden/authz"
	"github.com/gatewarden/gatewarden/errorhandlers"
	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/handler"
	"github.com/gatewarden/gatewarden/mutators"
	"github.com/gatewarden/gatewarden/rules/match"
	"github.com/gatewarden/gatewarden/rules/spec"
)

// config is the configuration of every handler of these tests.
type config struct {
	Value  string `json:"value"`
	Do     string `json:"do"` // none, fail, panic, deny
	Reason string `json:"reason"`
	When   string `json:"when"` // reason id
}

var errBroken = fault.New(fault.Unavailable, "broken", "it is broken")

type fakeAuthn config

func (f fakeAuthn) Authenticate(_ context.Context, r *access.Request) (access.Subject, error) {
	switch f.Do {
	case "none":
		return access.Subject{}, authn.ErrNoCredentials
	case "fail":
		return access.Subject{}, errBroken
	case "cookie":
		return access.Subject{ID: f.Value, ResponseHeader: http.Header{"Set-Cookie": {"session=1"}}}, nil
	case "challenge":
		return access.Subject{}, fmt.Errorf("fake: %w", &fault.Error{Kind: fault.Unauthenticated, Reason: "challenged", Header: http.Header{"Dpop-Nonce": {"n"}}})
	case "panic":
		panic("secret of the authenticator")
	}
	return access.Subject{ID: f.Value}, nil
}

type fakeAuthz config

func (f fakeAuthz) Authorize(_ context.Context, in access.Input) (access.Verdict, error) {
	switch f.Do {
	case "deny":
		return access.Verdict{Reason: f.Reason}, nil
	case "explain":
		return access.Verdict{Reason: f.Reason, Message: f.Value}, nil
	case "fail":
		return access.Verdict{Allow: true}, errBroken
	case "cookie":
		return access.Verdict{}, &fault.Error{Kind: fault.Forbidden, Reason: "step_up", Header: http.Header{"Set-Cookie": {"state=2"}}}
	case "panic":
		panic("authorizer")
	case "quiet":
		return access.Verdict{Allow: true}, nil
	}
	return access.Verdict{Allow: true, Header: http.Header{"x-verdict": {f.Value}}}, nil
}

type fakeMutator struct {
	config
	calls *atomic.Int64
}

func (f *fakeMutator) Mutate(_ context.Context, in access.Input, p *access.Pass) error {
	f.calls.Add(1)
	switch f.Do {
	case "fail":
		return errors.New("an error without a kind")
	case "panic":
		panic("mutator")
	case "rename":
		p.Subject.ID = f.Value
		return nil
	}
	p.Set.Set("X-"+f.Value, in.Subject.ID+" "+in.RuleID)
	return nil
}

func (f *fakeMutator) OwnedHeaders() []string { return []string{"x-" + f.Value} }

type fakeError config

func (f fakeError) Answers(_ *access.Request, err error) bool {
	return f.When == "" || fault.ReasonOf(err) == f.When
}

func (f fakeError) Refuse(_ *access.Request, err error) access.Response {
	if f.Do == "panic" {
		panic("error handler")
	}
	return access.Response{Status: 400 + int(fault.KindOf(err)), Body: []byte(f.Value)}
}

// compiler knows the handler x in every stage, and y that is not enabled. Built
// counts the handlers that were made.
func compiler() (c *Compiler, built *atomic.Int64) {
	built = new(atomic.Int64)
	on := map[string]Settings{"x": {Enabled: true, Config: handler.Raw(`{"value":"base"}`)}, "json": {Enabled: true, Config: handler.Raw(`{"value":"fallback"}`)}}
	zero := func() config { return config{} }
	authenticator := handler.Of(zero, func(c config) (authn.Authenticator, error) {
		built.Add(1)
		if c.Value == "bad" {
			return nil, errors.New("value must not be bad")
		}
		return fakeAuthn(c), nil
	})
	refuser := handler.Of(zero, func(c config) (errorhandlers.Handler, error) { return fakeError(c), nil })
	return &Compiler{
		Authenticators: Stage[authn.Authenticator]{handler.Catalog[authn.Authenticator]{"x": authenticator, "y": authenticator}, on},
		Authorizers: Stage[authz.Authorizer]{handler.Catalog[authz.Authorizer]{"x": handler.Of(zero, func(c config) (authz.Authorizer, error) {
			return fakeAuthz(c), nil
		})}, on},
		Mutators: Stage[mutators.Mutator]{handler.Catalog[mutators.Mutator]{"x": handler.Of(zero, func(c config) (mutators.Mutator, error) {
			return &fakeMutator{c, new(atomic.Int64)}, nil
		})}, on},
		ErrorHandlers: Stage[errorhandlers.Handler]{handler.Catalog[errorhandlers.Handler]{"x": refuser, "json": refuser}, on},
		Strategy:      match.Regexp,
	}, built
}

func x(raw string) spec.Handler { return spec.Handler{Handler: "x", Config: handler.Raw(raw)} }

// definition returns a good rule that allows GET of pattern.
func definition(id, pattern string) spec.Rule {
	authorizer := x("")
	return spec.Rule{ID: id, Match: spec.Match{URL: pattern, Methods: []string{"GET"}},
		Authenticators: []spec.Handler{x(`{"value":"alice"}`)}, Authorizer: &authorizer, Origin: spec.Origin{Source: id + ".yaml", Line: 7}}
}

func engine(t testing.TB, defs ...spec.Rule) *Engine {
	t.Helper()
	c, _ := compiler()
	set, err := c.Compile(spec.ListOf(defs...), nil)
	if err != nil {
		t.Fatal(err)
	}
	e := &Engine{}
	e.Swap(set)
	return e
}

func get(t testing.TB, rawURL string) *access.Request {
	t.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	return &access.Request{Method: "GET", URL: u, Header: http.Header{}}
}
