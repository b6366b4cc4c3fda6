package rules

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/authn"
	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/handler"
	"github.com/gatewarden/gatewarden/rules/spec"
)

// asked is an authenticator that can be asked for the challenges of Value, separated by
// semicolons. Do is the challenge with which it refuses; "none": it does not.
type asked config

func (a asked) Authenticate(context.Context, *access.Request) (access.Subject, error) {
	if a.Do == "none" {
		return access.Subject{}, authn.ErrNoCredentials
	}
	kind := fault.Unauthenticated
	if a.Reason == "insufficient_scope" {
		kind = fault.Forbidden
	}
	return access.Subject{}, &fault.Error{Kind: kind, Reason: a.Reason, Challenge: a.Do}
}

func (a asked) Challenges() []string { return strings.Split(a.Value, ";") }

// speaking is asked, and has an answer of its own to who has no credentials.
type speaking struct{ asked }

func (s speaking) Challenge(context.Context, *access.Request) error {
	return &fault.Error{Kind: fault.Unauthenticated, Reason: "login_required", Challenge: s.When}
}

// RFC 9110 section 11.6.1, RFC 9449 section 7.1.
func TestARefusalAsksForWhatAnyAuthenticatorOfTheRuleTakes(t *testing.T) {
	ask := func(name, raw string) spec.Handler { return spec.Handler{Handler: name, Config: handler.Raw(raw)} }
	const token, basic = `{"do":"none","value":"DPoP algs=\"ES256\";Bearer"}`, `{"do":"none","value":"Basic realm=\"staff\""}`
	for name, c := range map[string]struct {
		authenticators []spec.Handler
		reason         string
		want           []string
	}{
		"none can be asked for": {[]spec.Handler{x(`{"do":"none"}`)}, "missing_credentials", nil},
		"all, in their order": {[]spec.Handler{ask("asked", basic), x(`{"do":"none"}`), ask("asked", token)}, "missing_credentials",
			[]string{`Basic realm="staff"`, `DPoP algs="ES256"`, "Bearer"}},
		"a scheme once": {[]spec.Handler{ask("asked", token), ask("asked", `{"do":"none","value":"bearer"}`), ask("asked", token)}, "missing_credentials",
			[]string{`DPoP algs="ES256"`, "Bearer"}},
		"a scheme for two realms twice": {[]spec.Handler{ask("asked", basic), ask("asked", `{"do":"none","value":"Basic realm=\"guests\""}`)}, "missing_credentials",
			[]string{`Basic realm="staff"`, `Basic realm="guests"`}},
		"own words stand in their place": {[]spec.Handler{ask("asked", token), ask("speaking", `{"do":"none","value":"Session","when":"Session login_uri=\"/l\""}`), ask("asked", basic)},
			"login_required", []string{`DPoP algs="ES256"`, "Bearer", `Session login_uri="/l"`, `Basic realm="staff"`}},
		"what was refused says why, and the others say what they take": {[]spec.Handler{ask("asked", basic), ask("asked", `{"do":"Bearer error=\"invalid_token\"","reason":"bad","value":"DPoP algs=\"ES256\";Bearer"}`)},
			"bad", []string{`Basic realm="staff"`, `Bearer error="invalid_token"`, `DPoP algs="ES256"`}},
		"refused without a challenge of its own": {[]spec.Handler{ask("asked", `{"do":"","reason":"bad","value":"Session"}`), ask("asked", basic)},
			"bad", []string{"Session", `Basic realm="staff"`}},
		"refused alone": {[]spec.Handler{ask("asked", `{"do":"Bearer error=\"invalid_token\"","reason":"bad","value":"Bearer"}`)}, "bad", []string{`Bearer error="invalid_token"`}},
		"what does not reach is not asked for again": {[]spec.Handler{ask("asked", `{"do":"Bearer error=\"insufficient_scope\"","reason":"insufficient_scope","value":"Bearer"}`), ask("asked", basic)},
			"insufficient_scope", []string{`Bearer error="insufficient_scope"`}},
	} {
		t.Run(name, func(t *testing.T) {
			compiler, _ := compiler()
			stage := compiler.Authenticators
			zero := func() config { return config{} }
			stage.Catalog["asked"] = handler.Of(zero, func(c config) (authn.Authenticator, error) { return asked(c), nil })
			stage.Catalog["speaking"] = handler.Of(zero, func(c config) (authn.Authenticator, error) { return speaking{asked(c)}, nil })
			stage.Settings["asked"], stage.Settings["speaking"] = Settings{Enabled: true}, Settings{Enabled: true}
			d := definition("a", "http://a/")
			d.Authenticators = c.authenticators
			set, err := compiler.Compile(spec.ListOf(d), nil)
			if err != nil {
				t.Fatal(err)
			}
			e := &Engine{}
			e.Swap(set)
			for range 2 { // what is shared stays as it is
				got := e.Decide(t.Context(), get(t, "http://a/"))
				var f *fault.Error
				if !errors.As(got.Err, &f) || got.Reason != c.reason {
					t.Fatalf("got %+v", got)
				}
				var challenges []string
				if f.Challenge != "" {
					challenges = append([]string{f.Challenge}, f.OtherChallenges...)
				}
				if diff := cmp.Diff(c.want, challenges); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}
