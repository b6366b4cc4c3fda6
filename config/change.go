package config

import (
	"reflect"
	"slices"
	"strings"
)

// reloadable are the keys, or with a final dot the sections, that a running program
// takes over. The sections of handlers are reloadable as well.
var reloadable = []string{
	"backend_url", "log.level", "access_rules.matching_strategy", "access_rules.on_overlap", "serve.proxy.limits.body",
	"serve.proxy.limits.uri", "serve.proxy.limits.requests",
	"serve.proxy.trusted_proxies", "serve.proxy.trust_forwarded_headers", "serve.api.trusted_proxies", "serve.api.trust_forwarded_headers",
	"serve.proxy.cors.", "serve.api.cors.", "serve.admin.cors.", "serve.public.cors.",
}

// reloads reports whether a running program takes over a change of key.
func reloads(key string) bool {
	if slices.ContainsFunc(reloadable, func(r string) bool { return key == r || strings.HasSuffix(r, ".") && strings.HasPrefix(key, r) }) {
		return true
	}
	_, tls, isTLS := strings.Cut(key, ".tls.")
	return isTLS && (tls == "certificates" || tls == "acme.hosts" || strings.HasPrefix(tls, "cert.") || strings.HasPrefix(tls, "key."))
}

// Adopt returns c with what of next can be put in force while the program runs. Changed
// are the keys that differ and are taken over, restart those that differ and stay as
// they were until the program is started again; sections of handlers are named as a
// whole.
func (c *Config) Adopt(next *Config) (adopted *Config, changed, restart []string) {
	merged := *c
	from, to := reflect.ValueOf(next).Elem(), reflect.ValueOf(&merged).Elem()
	for _, l := range leaves() {
		was, is := to.FieldByIndex(l.index), from.FieldByIndex(l.index)
		switch {
		case reflect.DeepEqual(was.Interface(), is.Interface()):
		case reloads(l.key):
			changed = append(changed, l.key)
			was.Set(is)
		default:
			restart = append(restart, l.key)
		}
	}
	for _, s := range []struct {
		name    string
		was, is any
	}{
		{"authenticators", c.Authenticators, next.Authenticators}, {"authorizers", c.Authorizers, next.Authorizers},
		{"mutators", c.Mutators, next.Mutators}, {"errors", c.Errors, next.Errors},
	} {
		if !reflect.DeepEqual(s.was, s.is) {
			changed = append(changed, s.name)
		}
	}
	merged.Authenticators, merged.Authorizers, merged.Mutators, merged.Errors = next.Authenticators, next.Authorizers, next.Mutators, next.Errors
	return &merged, changed, restart
}
