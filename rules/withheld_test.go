package rules

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/authn"
	"github.com/gatewarden/gatewarden/authz"
	"github.com/gatewarden/gatewarden/handler"
	"github.com/gatewarden/gatewarden/mutators"
	"github.com/gatewarden/gatewarden/rules/spec"
)

// passwords takes Basic credentials and keeps them to itself.
type passwords struct{ schemed }

func (passwords) WithheldHeaders() []string { return []string{"Authorization"} }

// schemed takes credentials of a scheme.
type schemed struct{ scheme string }

func (s schemed) Schemes() []string { return []string{s.scheme} }

func (s schemed) Authenticate(_ context.Context, r *access.Request) (access.Subject, error) {
	for _, field := range r.Header["Authorization"] {
		if strings.HasPrefix(field, s.scheme+" ") {
			return access.Subject{ID: s.scheme}, nil
		}
	}
	return access.Subject{}, authn.ErrNoCredentials
}

// witness is an authenticator, authorizer and mutator that keeps what it was shown.
type witness struct{ shown *[]http.Header }

func (w witness) Discloses() {}

func (w witness) see(r *access.Request) { *w.shown = append(*w.shown, r.Header) }

func (w witness) Authenticate(_ context.Context, r *access.Request) (access.Subject, error) {
	w.see(r)
	if r.Header.Get("Cookie") == "" {
		return access.Subject{}, authn.ErrNoCredentials
	}
	return access.Subject{ID: "session"}, nil
}

func (w witness) Renew(_ context.Context, r *access.Request) (time.Time, error) {
	w.see(r)
	return time.Time{}, nil
}

func (w witness) Authorize(_ context.Context, in access.Input) (access.Verdict, error) {
	w.see(in.Request)
	return access.Verdict{Allow: true}, nil
}

func (w witness) Mutate(_ context.Context, in access.Input, _ *access.Pass) error {
	w.see(in.Request)
	return nil
}

func TestWithheldCredentialsAreShownToNoService(t *testing.T) {
	c, _ := compiler()
	w := witness{new([]http.Header)}
	for name, a := range map[string]authn.Authenticator{"session": w, "key": secretive{"X-Key"}, "password": passwords{schemed{"Basic"}}, "token": schemed{"Bearer"}} {
		c.Authenticators.Catalog[name] = handler.Of(func() config { return config{} }, func(config) (authn.Authenticator, error) { return a, nil })
		c.Authenticators.Settings[name] = Settings{Enabled: true}
	}
	c.Authorizers.Catalog["ask"] = handler.Of(func() config { return config{} }, func(config) (authz.Authorizer, error) { return w, nil })
	c.Mutators.Catalog["ask"] = handler.Of(func() config { return config{} }, func(config) (mutators.Mutator, error) { return w, nil })
	c.Authorizers.Settings["ask"], c.Mutators.Settings["ask"] = Settings{Enabled: true}, Settings{Enabled: true}
	rule := definition("all", "http://a/all")
	rule.Authenticators = []spec.Handler{{Handler: "session"}, {Handler: "token"}, {Handler: "password"}, {Handler: "key"}}
	rule.Authorizer, rule.Mutators = &spec.Handler{Handler: "ask"}, []spec.Handler{{Handler: "ask"}}
	set, err := c.Compile(spec.ListOf(rule), nil)
	if err != nil || set.Refused() != 0 {
		t.Fatal(err, set.Faults())
	}
	e := &Engine{}
	e.Swap(set)
	for name, row := range map[string]struct {
		sent, seen http.Header // beside X-Other
		remove     []string
	}{
		"a session beside a password":         {http.Header{"Cookie": {"s=1"}, "Authorization": {"basic eDp5"}}, http.Header{"Cookie": {"s=1"}}, []string{"Authorization", "X-Key"}},
		"a session beside a key":              {http.Header{"Cookie": {"s=1"}, "X-Key": {"secret"}}, http.Header{"Cookie": {"s=1"}}, []string{"X-Key"}},
		"a session beside a token":            {http.Header{"Cookie": {"s=1"}, "Authorization": {"Bearer x"}}, http.Header{"Cookie": {"s=1"}, "Authorization": {"Bearer x"}}, []string{"X-Key"}},
		"a session beside all of them":        {http.Header{"Cookie": {"s=1"}, "Authorization": {"Bearer x", "Basic eDp5"}}, http.Header{"Cookie": {"s=1"}}, []string{"Authorization", "X-Key"}},
		"a password":                          {http.Header{"Authorization": {"Basic eDp5"}}, http.Header{}, []string{"Authorization", "X-Key"}},
		"a key beside a password for nothing": {http.Header{"X-Key": {"secret"}, "Authorization": {"Digest x"}}, http.Header{"Authorization": {"Digest x"}}, []string{"X-Key"}},
		"a token":                             {http.Header{"Authorization": {"Bearer x"}}, http.Header{"Authorization": {"Bearer x"}}, []string{"X-Key"}},
	} {
		*w.shown = nil
		r := get(t, "http://a/all")
		for name, values := range row.sent {
			r.Header[name] = values
		}
		row.sent["X-Other"], row.seen["X-Other"] = []string{"1"}, []string{"1"}
		r.Header.Set("X-Other", "1")
		d := e.Decide(t.Context(), r)
		if !d.Allow {
			t.Errorf("%s: %v", name, d.Err)
		}
		if d.Lease != nil {
			if _, err := d.Lease.Renew(t.Context(), r); err != nil {
				t.Error(err)
			}
		}
		for i, shown := range *w.shown {
			if diff := cmp.Diff(row.seen, shown); diff != "" {
				t.Errorf("%s: question %d shows %s", name, i+1, diff)
			}
		}
		removed := slices.Sorted(slices.Values(d.Pass.Remove))
		if diff := cmp.Diff(row.remove, removed); diff != "" || len(*w.shown) < 3 {
			t.Errorf("%s: %d questions %s", name, len(*w.shown), diff)
		}
		if diff := cmp.Diff(row.sent, r.Header); diff != "" {
			t.Errorf("%s: the request itself was changed: %s", name, diff)
		}
	}
}
