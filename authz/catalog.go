package authz

import (
	"net/http"
	"time"

	"cel.dev/cel-go/cel"

	"github.com/gatewarden/gatewarden/handler"
)

// Deps are what authorizers need.
type Deps struct {
	// Warden answers the policy authorizer. Nil: a rule that names policy is refused
	// at load.
	Warden Warden
	// HTTP makes the requests to other services; nil: a client without guard.
	HTTP *http.Client
	// Now is the clock; nil means time.Now.
	Now func() time.Time

	// What expressions may speak of; Catalog sets it.
	inputWords, answerWords func() (*cel.Env, error)
}

// Catalog returns the authorizers by name.
func Catalog(d Deps) handler.Catalog[Authorizer] {
	d.inputWords, d.answerWords = vocabulary(declareInput), vocabulary(declareAnswer)
	return handler.Catalog[Authorizer]{
		"allow":               handler.Of(defaults[AllowConfig], newAllow),
		"deny":                handler.Of(defaults[DenyConfig], newDeny),
		"policy":              with(d, defaultPolicy, newPolicy),
		"remote":              with(d, defaultRemote, newRemote),
		"remote_json":         with(d, defaultRemoteJSON, newRemoteJSON),
		"keto_engine_acp_ory": with(d, defaultKeto, newKeto),
		"cel":                 with(d, defaults[CELConfig], newCEL),
		"openfga":             with(d, defaultOpenFGA, newOpenFGA),
		"authzen":             with(d, defaultAuthZEN, newAuthZEN),
	}
}

// defaults is the defaults function of a handler whose defaults are zero values.
func defaults[C any]() C {
	var c C
	return c
}

// with is the type of a handler that needs d.
func with[C any](d Deps, defaults func() C, build func(Deps, C) (Authorizer, error)) handler.Type[Authorizer] {
	return handler.Of(defaults, func(c C) (Authorizer, error) { return build(d, c) })
}
