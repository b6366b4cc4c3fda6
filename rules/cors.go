package rules

import (
	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/cors"
	"github.com/gatewarden/gatewarden/rules/spec"
)

// crossOrigin compiles the policy of a rule; nil for none.
func crossOrigin(c *spec.CORS, report reporter) *cors.Policy {
	switch {
	case c == nil:
		return nil
	case c.Disabled:
		return &cors.Policy{}
	case c.AllowedOrigins == nil:
		report("/cors/allowed_origins", "must be set")
		return nil
	}
	policy, problems := cors.New(c.Options)
	for _, p := range problems {
		report("/cors"+p.Pointer, "%s", p.Message)
	}
	return policy
}

// CORS returns the policy and the id of the rule that matches r, which is the request
// that a preflight asks about. The policy is nil when the rule has none of its own or
// is broken, and when no rule matches: the listener's is in force then.
func (e *Engine) CORS(r *access.Request) (policy *cors.Policy, rule string) {
	set := e.current.Load()
	if set == nil {
		return nil, ""
	}
	found, err := set.index.Match(r)
	if err != nil || set.rules[found].broken {
		return nil, ""
	}
	return set.rules[found].cors, set.rules[found].id
}
