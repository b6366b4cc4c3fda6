package config

import (
	"encoding/hex"
	"slices"
	"strings"
)

// The hashes that may stand for a token, as the commands management-token create and
// credentials hash write them.
const (
	sha256Prefix   = "sha256:"
	argon2idPrefix = "$argon2id$"
)

// plainToken reports whether a value of management.tokens is a token and not its hash.
func plainToken(value string) bool {
	return !strings.HasPrefix(value, sha256Prefix) && !strings.HasPrefix(value, argon2idPrefix)
}

// plainTokens warns of tokens that whoever reads the configuration could use.
func (l *loader) plainTokens(c *Config) {
	if slices.ContainsFunc(c.Management.Tokens, plainToken) {
		l.warnings = append(l.warnings, l.place("management.tokens")+": management.tokens holds a token as it is, so that whoever reads the configuration can call the management API; "+
			"put the hash there that gatewarden management-token create writes")
	}
}

// checkManagement checks who may call the management API.
func (c *Config) checkManagement(v *validation) {
	const authentication = "serve.management.authentication"
	for _, way := range c.Serve.Management.Authentication {
		v.oneOf(authentication, way, Loopback, StaticToken, ClientCertified, OwnToken)
	}
	for _, value := range c.Management.Tokens {
		sum, isSum := strings.CutPrefix(value, sha256Prefix)
		if raw, err := hex.DecodeString(sum); isSum && (err != nil || len(raw) != 32) {
			v.fault("management.tokens", "must have 64 hexadecimal digits after sha256:")
		}
		if len(value) < 16 {
			v.fault("management.tokens", "must have at least 16 characters each")
		}
	}
	switch {
	case c.Admits(StaticToken) && len(c.Management.Tokens) == 0:
		v.fault(authentication, "has token: set management.tokens")
	case !c.Admits(StaticToken) && len(c.Management.Tokens) > 0:
		v.fault(authentication, "must have token, because management.tokens are set")
	}
	subjects := c.Serve.Management.CertificateSubjects
	switch {
	case c.Admits(ClientCertified) && len(subjects) == 0:
		v.fault("serve.management.certificate_subjects", "must say whose certificates may call the management API")
	case !c.Admits(ClientCertified) && len(subjects) > 0:
		v.fault(authentication, "must have mtls, because serve.management.certificate_subjects are set")
	}
	if slices.Contains(subjects, "") {
		v.fault("serve.management.certificate_subjects", "must not have an empty one")
	}
	for _, l := range []struct {
		key string
		on  bool
		Listener
	}{{"serve.api", true, c.Serve.API.Listener}, {"serve.admin", c.Serve.Admin.On(), c.Serve.Admin.Listener}} {
		if l.on {
			c.checkManaged(v, l.key, l.Listener)
		}
	}
	if prefix := c.Serve.Management.ResourcePrefix; prefix == "" || strings.ContainsAny(prefix, "<>{}") {
		v.fault("serve.management.resource_prefix", "must be a name without <, >, { and }")
	}
}

// checkManaged checks a listener of the management API.
func (c *Config) checkManaged(v *validation, key string, l Listener) {
	if c.Admits(ClientCertified) && (!l.TLS.On() || l.TLS.ClientAuth == "none" || !l.TLS.ClientCA.Set()) {
		v.fault(key+".tls", "must be set with client_ca, and client_auth request, require or verify, for serve.management.authentication mtls")
	}
	if slices.Equal(c.Authentication(), []string{Loopback}) && !c.Management.Exposed && !loopback(l.Host) {
		v.fault(key+".host", "exposes the management API without authentication: set management.tokens, or another way in serve.management.authentication, "+
			"or --dangerous-expose-management if something in front authenticates")
	}
}

// AskedWithoutToken reports whether a browser of an operator would be answered without
// knowing a token.
func (c *Config) AskedWithoutToken() bool {
	return c.Admits(Loopback) || c.Admits(ClientCertified)
}
