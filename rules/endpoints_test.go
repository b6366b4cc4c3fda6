package rules

import (
	"context"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/authn"
	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/handler"
	"github.com/gatewarden/gatewarden/rules/spec"
)

// session is an authenticator that keeps sessions. Do says what it does with a
// request: none, refresh, withdraw, allow.
type session struct {
	config
	paths map[string]string
	serve func(*access.Request) error
}

func (s *session) Authenticate(context.Context, *access.Request) (access.Subject, error) {
	switch s.Do {
	case "refresh":
		return access.Subject{ID: "alice", ResponseHeader: http.Header{"Set-Cookie": {"s=new"}, "Dpop-Nonce": {"1"}}}, nil
	case "withdraw":
		return access.Subject{}, &fault.Error{Kind: fault.Unauthenticated, Reason: "expired", Header: http.Header{"Set-Cookie": {"s="}}}
	}
	return access.Subject{}, authn.ErrNoCredentials
}

func (s *session) Challenge(context.Context, *access.Request) error {
	if s.Value == "no" {
		return nil
	}
	return &access.Reply{Reason: "login_required", Response: access.Response{Status: 302, Header: http.Header{"Location": {"/login"}}}}
}

func (s *session) Challenges() []string { return []string{"Session"} }

func (s *session) SessionCookies() []string { return []string{"s_", "__Host-s_"} }

func (s *session) Endpoints() map[string]string { return s.paths }

func (s *session) Serve(_ context.Context, r *access.Request) error { return s.serve(r) }

func sessions(t *testing.T, build func(config) *session, defs ...spec.Rule) *Set {
	t.Helper()
	c, _ := compiler()
	c.Authenticators.Catalog["s"] = handler.Of(func() config { return config{} }, func(c config) (authn.Authenticator, error) { return build(c), nil })
	c.Authenticators.Settings["s"] = Settings{Enabled: true}
	set, err := c.Compile(spec.ListOf(defs...), nil)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func with(d spec.Rule, authenticators ...spec.Handler) spec.Rule {
	d.Authenticators = authenticators
	return d
}

func s(raw string) spec.Handler { return spec.Handler{Handler: "s", Config: handler.Raw(raw)} }

func TestWhatAnAuthenticatorTellsTheClientIsToldWhateverBecomesOfTheRequest(t *testing.T) {
	for name, c := range map[string]struct {
		rule spec.Rule
		want access.Decision
	}{
		"allowed": {with(definition("r", "http://a/"), s(`{"do":"refresh"}`)), access.Decision{
			Allow: true, RuleID: "r", Reason: "allowed", Subject: access.Subject{ID: "alice", Via: "s"},
			Pass:           access.Pass{Subject: access.Subject{ID: "alice", Via: "s"}, Set: http.Header{"X-Verdict": {"base"}}},
			ResponseHeader: http.Header{"Set-Cookie": {"s=new"}, "Dpop-Nonce": {"1"}},
		}},
		"denied": {func() spec.Rule {
			d := with(definition("r", "http://a/"), s(`{"do":"refresh"}`))
			d.Authorizer.Config = []byte(`{"do":"deny"}`)
			return d
		}(), access.Decision{
			RuleID: "r", Reason: "access_denied", Subject: access.Subject{ID: "alice", Via: "s"},
			ResponseHeader: http.Header{"Set-Cookie": {"s=new"}, "Dpop-Nonce": {"1"}}, Refusal: access.Response{Status: 403, Body: []byte("fallback")},
		}},
		"refused by the authenticator": {with(definition("r", "http://a/"), s(`{"do":"withdraw"}`)), access.Decision{
			RuleID: "r", Reason: "expired", ResponseHeader: http.Header{"Set-Cookie": {"s="}}, Refusal: access.Response{Status: 402, Body: []byte("fallback")},
		}},
	} {
		e := &Engine{}
		e.Swap(sessions(t, func(c config) *session { return &session{config: c} }, c.rule))
		if diff := cmp.Diff(c.want, e.Decide(t.Context(), get(t, "http://a/")), sameDecision); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestARedirectForALoginIsTheAnswerOnlyWhenNobodyIsResponsible(t *testing.T) {
	login := access.Decision{RuleID: "r", Reason: "login_required", Refusal: access.Response{Status: 302, Header: http.Header{"Location": {"/login"}}}}
	missing := access.Decision{RuleID: "r", Reason: "missing_credentials", Refusal: access.Response{Status: 402, Body: []byte("fallback")}}
	alice := access.Decision{Allow: true, RuleID: "r", Reason: "allowed", Subject: access.Subject{ID: "alice", Via: "x"},
		Pass: access.Pass{Subject: access.Subject{ID: "alice", Via: "x"}, Set: http.Header{"X-Verdict": {"base"}}}}
	broken := access.Decision{RuleID: "r", Reason: "broken", Refusal: access.Response{Status: 408, Body: []byte("fallback")}}
	for name, c := range map[string]struct {
		authenticators []spec.Handler
		want           access.Decision
	}{
		"alone":                         {[]spec.Handler{s("")}, login},
		"after one without credentials": {[]spec.Handler{x(`{"do":"none"}`), s("")}, login},
		"before one that vouches":       {[]spec.Handler{s(""), x(`{"value":"alice"}`)}, alice},
		"before one that fails":         {[]spec.Handler{s(""), x(`{"do":"fail"}`)}, broken},
		"with no challenge to make":     {[]spec.Handler{s(`{"value":"no"}`)}, missing},
	} {
		d := with(definition("r", "http://a/"), c.authenticators...)
		d.Errors = []spec.Handler{} // nor would a handler of the rule's own be asked
		e := &Engine{}
		e.Swap(sessions(t, func(c config) *session { return &session{config: c} }, d))
		if diff := cmp.Diff(c.want, e.Decide(t.Context(), get(t, "http://a/")), sameDecision); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestErrorHandlersNeverReplaceAReply(t *testing.T) {
	d := with(definition("r", "http://a/"), s(""))
	d.Errors = []spec.Handler{x(`{"value":"own"}`)}
	e := &Engine{}
	e.Swap(sessions(t, func(c config) *session { return &session{config: c} }, d))
	if got := e.Decide(t.Context(), get(t, "http://a/")); got.Refusal.Status != 302 {
		t.Errorf("got %+v, want the redirect", got.Refusal)
	}
}

func TestPathsOfAHandlerAreItsOwnOnTheHostsOfItsRulesOnly(t *testing.T) {
	build := func(c config) *session {
		return &session{config: c, paths: map[string]string{"/cb": "callback"}, serve: func(r *access.Request) error {
			switch who := r.URL.Query().Get("for"); who {
			case c.Value:
				return &access.Reply{Reason: "served_by_" + who, Response: access.Response{Status: 303}}
			case "bad":
				return fault.New(fault.Invalid, "bad_callback", "this is no callback")
			}
			return fault.Wrap(fault.NotFound, "unknown_login", "this login was not begun here", authn.ErrNoCredentials)
		}}
	}
	e := &Engine{}
	e.Swap(sessions(t, build,
		with(definition("one", "http://a/<.*>"), s(`{"value":"1"}`)), with(definition("two", "http://a/two/<.*>"), s(`{"value":"2"}`)),
		with(definition("also one", "http://c/<.*>"), s(`{"value":"1"}`)), definition("other", "http://b/<.*>")))
	for url, want := range map[string]access.Decision{
		"http://a/cb?for=1":   {RuleID: "one", Reason: "served_by_1", Served: true, Refusal: access.Response{Status: 303}},
		"http://a/cb?for=2":   {RuleID: "two", Reason: "served_by_2", Served: true, Refusal: access.Response{Status: 303}},
		"http://c/cb?for=1":   {RuleID: "also one", Reason: "served_by_1", Served: true, Refusal: access.Response{Status: 303}},
		"http://c/cb?for=2":   {RuleID: "also one", Reason: "unknown_login", Served: true, Refusal: access.Response{Status: 404, Body: []byte("fallback")}},
		"http://a/cb":         {RuleID: "two", Reason: "unknown_login", Served: true, Refusal: access.Response{Status: 404, Body: []byte("fallback")}},
		"http://a/cb?for=bad": {RuleID: "one", Reason: "bad_callback", Served: true, Refusal: access.Response{Status: 401, Body: []byte("fallback")}},
		"http://b/cb?for=1": {Allow: true, RuleID: "other", Reason: "allowed", Subject: access.Subject{ID: "alice", Via: "x"},
			Pass: access.Pass{Subject: access.Subject{ID: "alice", Via: "x"}, Set: http.Header{"X-Verdict": {"base"}}}},
	} {
		if diff := cmp.Diff(want, e.Decide(t.Context(), get(t, url)), sameDecision); diff != "" {
			t.Errorf("%s (-want +got):\n%s", url, diff)
		}
	}
}

func TestARuleThatNamesAPathOfAHandlerIsAFault(t *testing.T) {
	build := func(c config) *session {
		purposes := map[string]string{"/cb": "callback"}
		if c.Value == "logout" {
			purposes = map[string]string{"/cb": "logout"}
		}
		return &session{config: c, paths: purposes}
	}
	set := sessions(t, build,
		with(definition("login", "http://a/<.*>"), s("")), with(definition("elsewhere", "http://b/<.*>"), s(`{"value":"logout"}`)),
		with(definition("mixed", "http://a/x<.*>"), s(`{"value":"logout"}`)), definition("taken", "http://a/cb"), definition("free", "http://c/cb"))
	var got []string
	for _, f := range set.Faults() {
		got = append(got, f.RuleID+" "+f.Pointer+" "+f.Message)
	}
	want := []string{
		`mixed /authenticators uses the path "/cb" for logout, which rule "login" uses for callback on the same host`,
		`taken /match names the path "/cb", which an authenticator of rule "login" (login.yaml:7) answers itself`,
	}
	if diff := cmp.Diff(want, got); diff != "" || set.Refused() != 2 {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"__Host-s_", "s_"}, set.SessionCookies()); diff != "" {
		t.Error(diff)
	}
}
