package config

import (
	"encoding/base64"
	"net/netip"
	"net/url"
	"strings"
)

// Managed returns the hosts of all listeners that certificates are got for.
func (c *Config) Managed() []string {
	var all []string
	for _, l := range c.listeners() {
		all = append(all, l.TLS.ACME.Hosts...)
	}
	return all
}

// checkACME checks what certificates are got for, and where.
func (c *Config) checkACME(v *validation) {
	for _, l := range c.listeners() {
		for _, host := range l.TLS.ACME.Hosts {
			if why := uncertifiable(host); why != "" {
				v.fault(l.key+".tls.acme.hosts", "%q %s", host, why)
			}
		}
		if len(l.TLS.ACME.Hosts) > 0 && !c.ACME.AcceptTerms {
			v.fault(l.key+".tls.acme.hosts", "needs acme.accept_terms: true, which says that you agree to the terms of %s", c.ACME.Directory)
		}
	}
	a := c.ACME
	if u, err := url.Parse(a.Directory); err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		v.fault("acme.directory", "must be an https URL")
	}
	if a.AcceptTerms && a.Storage == "" {
		v.fault("acme.storage", "must name a folder for the certificates: without one each start would ask for new ones")
	}
	if strings.ContainsAny(a.Email, " ,<>?") || a.Email != "" && !strings.Contains(a.Email, "@") {
		v.fault("acme.email", "must be one address such as ops@example.com")
	}
	if (a.EAB.KeyID == "") != (a.EAB.HMACKey == "") {
		v.fault("acme.eab", "needs both key_id and hmac_key")
	} else if _, err := base64.RawURLEncoding.DecodeString(a.EAB.HMACKey); err != nil {
		v.fault("acme.eab.hmac_key", "must be base64url without padding, as the directory gives it")
	}
	if a.HTTP.Port >= 0 && !a.AcceptTerms {
		v.fault("acme.http.port", "needs acme.accept_terms: the listener answers challenges and nothing else")
	}
}

// uncertifiable says why no certificate can be got for a host; empty when one can.
func uncertifiable(host string) string {
	if strings.Contains(host, "*") {
		return "is a pattern, which would need DNS-01: name the hosts"
	}
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return "is an address: certificates are got for names"
	}
	if len(host) > 253 || !strings.Contains(host, ".") {
		return "must be a full host name"
	}
	for label := range strings.SplitSeq(host, ".") {
		plain := strings.Trim(label, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") == ""
		if label == "" || len(label) > 63 || !plain || label[0] == '-' || label[len(label)-1] == '-' {
			return "must be a host name without port, in ASCII (xn--...)"
		}
	}
	return ""
}
