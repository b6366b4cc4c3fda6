package spec

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// issuer decodes the single credentials_issuer (v0.13) or mutator (v0.16) into
// the list of mutators, with the handler names of today.
func (d *decoder) issuer(v *value, pointer string) {
	var h Handler
	d.handler(&h)(v, pointer)
	switch h.Handler {
	case "headers":
		h.Handler = "header"
	case "cookies":
		h.Handler = "cookie"
	case "id_token":
		// Until v0.18 the audience was the list aud; since then claims is a template.
		var old struct {
			Audience []string `json:"aud"`
		}
		if json.Unmarshal(h.Config, &old) == nil && old.Audience != nil {
			claims := config(map[string]any{"aud": old.Audience})
			h.Config = config(map[string]any{"claims": strings.ReplaceAll(string(claims), "{{", `{{ "{{" }}`)})
		}
	}
	d.rule.Mutators = append(d.rule.Mutators, h)
}

// version is the part of a semantic version that migrations look at.
type version struct {
	major, minor, patch int
	pre                 bool // 0.32.0-beta.1 comes before 0.32.0
}

var versionFormat = regexp.MustCompile(`^v?([0-9]{1,6})(?:\.([0-9]{1,6}))?(?:\.([0-9]{1,6}))?(-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?$`)

func parseVersion(s string) (version, bool) {
	m := versionFormat.FindStringSubmatch(s)
	if m == nil {
		return version{}, false
	}
	var n [3]int
	for i := range n {
		n[i], _ = strconv.Atoi(m[i+1]) // a missing part is 0
	}
	return version{n[0], n[1], n[2], m[4] != ""}, true
}

// before reports whether v comes before major.minor.0, pre-releases of it not counted.
func (v version) before(major, minor int) bool {
	return v.major < major || v.major == major && v.minor < minor
}

// is reports whether v is major.minor.0 or a pre-release of it.
func (v version) is(major, minor int) bool {
	return v.major == major && v.minor == minor && v.patch == 0
}

// migrate rewrites handler configurations of older versions, as Oathkeeper does on
// load. A rule without a version is in the newest format. The error is a Fault.
func migrate(r *Rule) error {
	if r.Version == "" || r.Version == "unknown" {
		return nil
	}
	v, ok := parseVersion(r.Version)
	if !ok {
		return Fault{Pointer: "/version", Message: fmt.Sprintf("%q is not a version such as 0.36.0", r.Version)}
	}
	if v.before(0, 32) || v.is(0, 32) && v.pre {
		for i := range r.Mutators {
			if r.Mutators[i].Handler == "hydrator" {
				r.Mutators[i].Config = migrateRetry(r.Mutators[i].Config)
			}
		}
	}
	if (v.before(0, 37) || v.is(0, 37)) && r.Authorizer != nil && r.Authorizer.Handler == "keto_engine_acp_ory" {
		r.Authorizer.Config = migrateReferences(r.Authorizer.Config)
	}
	return nil
}

// migrateRetry replaces the retry counts of v0.32 and before by durations.
func migrateRetry(raw json.RawMessage) json.RawMessage {
	var c map[string]json.RawMessage
	var retry map[string]json.RawMessage
	if json.Unmarshal(raw, &c) != nil || json.Unmarshal(c["retry"], &retry) != nil {
		return raw // the strict decoding of the handler says what is wrong
	}
	delay, retries := int64(100), int64(3)
	hasDelay := json.Unmarshal(retry["delay_in_milliseconds"], &delay) == nil
	hasRetries := json.Unmarshal(retry["number_of_retries"], &retries) == nil
	if hasDelay {
		delete(retry, "delay_in_milliseconds")
		retry["max_delay"] = quoted(fmt.Sprintf("%dms", delay))
	}
	if hasRetries {
		delete(retry, "number_of_retries")
		retry["give_up_after"] = quoted(fmt.Sprintf("%dms", retries*delay))
	}
	return replaced(c, "retry", retry, raw)
}

var reference = regexp.MustCompile(`\$([0-9]{1,3})`)

// migrateReferences replaces $1 by a template in the two texts of the Keto authorizer.
func migrateReferences(raw json.RawMessage) json.RawMessage {
	var c map[string]json.RawMessage
	if json.Unmarshal(raw, &c) != nil {
		return raw
	}
	for _, name := range []string{"required_action", "required_resource"} {
		var s string
		if json.Unmarshal(c[name], &s) != nil {
			continue
		}
		c[name] = quoted(reference.ReplaceAllStringFunc(s, func(ref string) string {
			n, err := strconv.Atoi(ref[1:])
			if err != nil || n < 1 {
				return ref
			}
			return capture(n)
		}))
	}
	return encoded(c, raw)
}

func replaced(c map[string]json.RawMessage, name string, v any, otherwise json.RawMessage) json.RawMessage {
	c[name] = encoded(v, otherwise)
	return encoded(c, otherwise)
}

func quoted(s string) json.RawMessage { return encoded(s, nil) }

func encoded(v any, otherwise json.RawMessage) json.RawMessage {
	out, err := json.Marshal(v)
	if err != nil {
		return otherwise
	}
	return out
}
