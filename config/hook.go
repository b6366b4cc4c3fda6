package config

import "strings"

// Hook is an address that is asked before tokens are issued. In a file it may be the URL
// alone.
type Hook struct {
	URL  string   `key:"url"`
	Auth HookAuth `key:"auth"`
}

// HookAuth is how a hook knows who asks.
type HookAuth struct {
	Type   string     `key:"type"` // api_key; empty: it does not
	Config HookAPIKey `key:"config"`
}

// HookAPIKey is a field or cookie with a secret.
type HookAPIKey struct {
	In    string `key:"in"` // header or cookie
	Name  string `key:"name"`
	Value string `key:"value"`
}

// hookKeys are the settings that are hooks.
var hookKeys = []string{"oauth2.token_hook", "oauth2.refresh_token_hook"}

// checkHooks checks the hooks of the token endpoint.
func (c *Config) checkHooks(v *validation) {
	for i, h := range []Hook{c.OAuth2.TokenHook, c.OAuth2.RefreshTokenHook} {
		key, auth := hookKeys[i], h.Auth
		if auth.Type == "" && auth.Config == (HookAPIKey{}) {
			continue
		}
		v.oneOf(key+".auth.type", auth.Type, "api_key")
		v.oneOf(key+".auth.config.in", auth.Config.In, "header", "cookie")
		if auth.Config.Name == "" || strings.ContainsFunc(auth.Config.Name, notToken) {
			v.fault(key+".auth.config.name", "must be the name of a field or cookie")
		}
		if auth.Config.Value == "" || strings.ContainsFunc(auth.Config.Value, func(r rune) bool { return r < ' ' || r > '~' }) {
			v.fault(key+".auth.config.value", "must be a secret of printable ASCII characters")
		}
		if h.URL == "" {
			v.fault(key+".url", "must be set when auth is")
		}
	}
}

// notToken reports whether r is none of the characters of a token (RFC 9110 section 5.6.2).
func notToken(r rune) bool {
	return r <= ' ' || r >= 0x7f || strings.ContainsRune(`()<>@,;:\"/[]?={}`, r)
}
