package rules

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/authn"
	"github.com/gatewarden/gatewarden/handler"
	"github.com/gatewarden/gatewarden/mutators"
	"github.com/gatewarden/gatewarden/rules/spec"
)

// secretive is an authenticator that reads a field for itself and keeps it.
type secretive struct{ field string }

func (s secretive) WithheldHeaders() []string { return []string{s.field} }

func (s secretive) Authenticate(_ context.Context, r *access.Request) (access.Subject, error) {
	if r.Header.Get(s.field) != "secret" {
		return access.Subject{}, authn.ErrNoCredentials
	}
	return access.Subject{ID: s.field}, nil
}

// appender is a mutator that takes another field away.
type appender struct{}

func (appender) Mutate(_ context.Context, _ access.Input, p *access.Pass) error {
	p.Remove = append(p.Remove, "X-Other")
	return nil
}

func TestCredentialsForTheGatewayAloneDoNotGoUpstream(t *testing.T) {
	c, _ := compiler()
	for name, field := range map[string]string{"key": "X-Key", "user": "Authorization"} {
		c.Authenticators.Catalog[name] = handler.Of(func() config { return config{} }, func(config) (authn.Authenticator, error) { return secretive{field}, nil })
		c.Authenticators.Settings[name] = Settings{Enabled: true}
	}
	c.Authenticators.Catalog["any"] = handler.Of(func() config { return config{} }, func(config) (authn.Authenticator, error) { return &fakeAuthn{}, nil })
	c.Authenticators.Settings["any"] = Settings{Enabled: true}
	c.Mutators.Catalog["append"] = handler.Of(func() config { return config{} }, func(config) (mutators.Mutator, error) { return appender{}, nil })
	c.Mutators.Settings["append"] = Settings{Enabled: true}
	all := definition("all", "http://a/all")
	all.Authenticators = []spec.Handler{{Handler: "key"}, {Handler: "user"}, {Handler: "any"}}
	all.Mutators = nil
	appended := definition("appended", "http://a/appended")
	appended.Authenticators, appended.Mutators = all.Authenticators, []spec.Handler{{Handler: "append"}}
	open := definition("open", "http://a/open")
	open.Authenticators, open.Mutators = []spec.Handler{{Handler: "any"}}, nil
	set, err := c.Compile(spec.ListOf(all, appended, open), nil)
	if err != nil || set.Refused() != 0 {
		t.Fatal(err, set.Faults())
	}
	e := &Engine{}
	e.Swap(set)
	for _, row := range []struct {
		name, path string
		header     []string
		want       []string
	}{
		{"a key", "all", []string{"X-Key", "secret"}, []string{"X-Key"}},
		{"a key beside what is in Authorization", "all", []string{"X-Key", "secret", "Authorization", "Bearer x"}, []string{"X-Key"}},
		{"a user", "all", []string{"Authorization", "secret"}, []string{"Authorization", "X-Key"}},
		{"another's token in Authorization stays, a key does not", "all", []string{"X-Key", "wrong", "Authorization", "Bearer x"}, []string{"X-Key"}},
		{"mutators remove more", "appended", []string{"X-Key", "secret"}, []string{"X-Key", "X-Other"}},
		{"mutators of another request do not see that", "appended", []string{"Authorization", "secret"}, []string{"Authorization", "X-Key", "X-Other"}},
		{"no rule of theirs", "open", []string{"X-Key", "secret"}, nil},
	} {
		r := get(t, "http://a/"+row.path)
		for i := 0; i < len(row.header); i += 2 {
			r.Header.Set(row.header[i], row.header[i+1])
		}
		d := e.Decide(t.Context(), r)
		if diff := cmp.Diff(row.want, d.Pass.Remove); diff != "" || !d.Allow {
			t.Errorf("%s: %v %v %s", row.name, d.Allow, d.Err, diff)
		}
	}
}
