package authn

import (
	"fmt"
	"strings"
)

// scopeStrategy reports whether granted scopes cover a required one.
type scopeStrategy func(granted []string, required string) bool

// newScopeStrategy returns the strategy of a name: exact, hierarchic, wildcard, or
// nil for none.
func newScopeStrategy(name string) (scopeStrategy, error) {
	switch strings.ToLower(name) {
	case "", "none":
		return nil, nil
	case "exact":
		return each(func(granted, required string) bool { return granted == required }), nil
	case "hierarchic":
		return each(hierarchic), nil
	case "wildcard":
		return each(wildcard), nil
	}
	return nil, fmt.Errorf("scope_strategy %q is not exact, hierarchic, wildcard or none", name)
}

func each(covers func(granted, required string) bool) scopeStrategy {
	return func(granted []string, required string) bool {
		for _, g := range granted {
			if g != "" && covers(g, required) {
				return true
			}
		}
		return false
	}
}

// hierarchic: a covers a and a.b, not ab.
func hierarchic(granted, required string) bool {
	rest, ok := strings.CutPrefix(required, granted)
	return ok && (rest == "" || rest[0] == '.')
}

// wildcard: a * covers one segment, as the last one also several; segments are
// never empty.
func wildcard(granted, required string) bool {
	g, r := strings.Split(granted, "."), strings.Split(required, ".")
	if len(g) > len(r) || len(g) < len(r) && g[len(g)-1] != "*" {
		return false
	}
	for i, segment := range g {
		if segment != r[i] && (segment != "*" || r[i] == "") {
			return false
		}
	}
	return true
}

// checkScopes refuses what is no scope-token of RFC 6749 section 3.3.
func checkScopes(field string, scopes []string) error {
	for _, s := range scopes {
		if !isVisible(s) || strings.ContainsAny(s, `"\`) {
			return fmt.Errorf("%s: %q is not a scope", field, s)
		}
	}
	return nil
}
