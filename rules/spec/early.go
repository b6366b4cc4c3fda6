package spec

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// isEarly reports whether v is a rule in the format of Oathkeeper v0.0.14 to v0.11.
func isEarly(v *value) bool {
	for i := range v.members {
		switch v.members[i].name {
		case "matchesUrl", "matchesMethods":
			return true
		}
	}
	return false
}

// early decodes the early format and converts it: a mode, or three booleans of
// which the first that is set wins, becomes a pipeline. Two things are stricter
// than they were: a bad token is refused in mode anonymous too, and the URL is
// matched without its query.
func (d *decoder) early(v *value) {
	r := &d.rule
	var mode, action, resource string
	var scopes []string
	var passThrough, anonymous, basic bool
	d.fields(v, "", []field{
		{"id", d.string(&r.ID)},
		{"description", d.string(&r.Description)},
		{"matchesUrl", d.string(&r.Match.URL)},
		{"matchesMethods", d.strings(&r.Match.Methods)},
		{"requiredScopes", d.strings(&scopes)},
		{"requiredAction", d.string(&action)},
		{"requiredResource", d.string(&resource)},
		{"mode", d.string(&mode)},
		{"passThroughModeEnabled", d.boolean(&passThrough)},
		{"allowAnonymousModeEnabled", d.boolean(&anonymous)},
		{"basicAuthorizationModeEnabled", d.boolean(&basic)},
	})
	if mode == "" {
		switch {
		case passThrough:
			mode = "bypass"
		case anonymous:
			mode = "anonymous"
		case basic:
			mode = "authenticated"
		default:
			mode = "policy"
		}
	}
	introspection := Handler{Handler: "oauth2_introspection"}
	if len(scopes) > 0 {
		introspection.Config = config(map[string]any{"required_scope": scopes})
	}
	r.Authorizer = &Handler{Handler: "allow"}
	r.Mutators = []Handler{{Handler: "id_token"}}
	switch mode {
	case "bypass":
		r.Authenticators = []Handler{{Handler: "noop"}}
		r.Mutators = []Handler{{Handler: "noop"}}
	case "anonymous": // required scopes were never enforced here
		r.Authenticators = []Handler{{Handler: "oauth2_introspection"}, {Handler: "anonymous"}}
	case "authenticated", "token":
		r.Authenticators = []Handler{introspection}
	case "policy":
		if action == "" {
			d.fault("/requiredAction", v.line, "must be set in mode policy")
		}
		if resource == "" {
			d.fault("/requiredResource", v.line, "must be set in mode policy")
		}
		r.Authenticators = []Handler{introspection}
		r.Authorizer = &Handler{Handler: "policy", Config: config(map[string]any{
			"action":   d.template(action, "/requiredAction", v.line),
			"resource": d.template(resource, "/requiredResource", v.line),
		})}
	default:
		d.fault("/mode", v.line, fmt.Sprintf("must be bypass, anonymous, authenticated or policy, not %q", mode))
	}
}

// config returns v as JSON, members in order of their names.
func config(v map[string]any) json.RawMessage {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(fmt.Sprintf("a configuration could not be encoded: %v", err)) // strings and lists of strings only
	}
	return bytes.TrimSpace(b.Bytes())
}

// group is a reference to a capture group in the replacement text of a regexp.
var group = regexp.MustCompile(`\$(\$|[0-9A-Za-z_]+|\{[0-9A-Za-z_]+\})`)

// template converts a replacement text ($1, ${1}, $$) to a template.
func (d *decoder) template(replacement, pointer string, line int) string {
	literal := strings.NewReplacer("{{", `{{ "{{" }}`).Replace(replacement)
	return group.ReplaceAllStringFunc(literal, func(ref string) string {
		name := strings.Trim(ref[1:], "{}")
		if name == "$" {
			return "$"
		}
		n, err := strconv.Atoi(name)
		if err != nil || n < 1 {
			d.fault(pointer, line, fmt.Sprintf("%s is not a capture group, write ${1} where text follows the number", ref))
			return ""
		}
		return capture(n)
	})
}

// capture returns the template for the nth capture group, counted from 1.
func capture(n int) string {
	return fmt.Sprintf("{{ printIndex .MatchContext.RegexpCaptureGroups %d }}", n-1)
}
