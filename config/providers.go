package config

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/go-viper/mapstructure/v2"
)

// Provider is an OpenID provider that people may log in with at the built-in pages.
type Provider struct {
	ID               string            `key:"id"`
	Name             string            `key:"name"`   // default: the id
	Issuer           string            `key:"issuer"` // exactly as in its ID tokens
	ClientID         string            `key:"client_id"`
	ClientSecret     string            `key:"client_secret"`
	ClientSecretFile string            `key:"client_secret_file"`         // holds the secret
	AuthMethod       string            `key:"token_endpoint_auth_method"` // client_secret_basic (default), client_secret_post, none
	Scope            []string          `key:"scope"`                      // default openid, profile, email
	Algorithms       []string          `key:"allowed_algorithms"`         // default RS256, ES256
	Claims           map[string]string `key:"claims"`                     // member of a user -> claim of the provider
	Create           bool              `key:"create"`                     // an unknown identity becomes a user
	EmailDomains     []string          `key:"email_domains"`              // of unknown identities
	LinkByEmail      bool              `key:"link_by_verified_email"`
	PassACR          bool              `key:"pass_acr"`
	TrustMFA         bool              `key:"trust_mfa"`
}

// providers decodes login.providers entry by entry, so that a fault names its place.
func (l *loader) providers(raw any, place string) (list []Provider) {
	entries, ok := raw.([]any)
	if text, isText := raw.(string); isText {
		ok = json.Unmarshal([]byte(text), &entries) == nil
	}
	if !ok {
		l.fault(place, "login.providers must be a list of {id: ..., issuer: ..., client_id: ...}")
		return nil
	}
	known := map[string]int{}
	var names []string
	for i := range reflect.TypeFor[Provider]().NumField() {
		name := reflect.TypeFor[Provider]().Field(i).Tag.Get("key")
		known[name] = i
		names = append(names, name)
	}
	for n, entry := range entries {
		members, isMap := entry.(map[string]any)
		if !isMap {
			l.fault(place, "login.providers[%d] must be {id: ..., issuer: ..., client_id: ...}", n)
			continue
		}
		var p Provider
		for _, name := range slices.Sorted(maps.Keys(members)) {
			key := fmt.Sprintf("login.providers[%d].%s", n, name)
			i, found := known[name]
			if !found {
				hint := ""
				if near := nearest(name, names); near != "" {
					hint = "; did you mean " + near + "?"
				}
				l.fault(place, "%s is no setting of a provider%s", key, hint)
				continue
			}
			target := reflect.ValueOf(&p).Elem().Field(i)
			if err := mapstructure.Decode(members[name], target.Addr().Interface()); err != nil { // its text may hold the secret
				l.fault(place, "%s must be %s", key, expectedOfProvider(target.Type()))
			}
		}
		list = append(list, p)
	}
	return list
}

func expectedOfProvider(t reflect.Type) string {
	if t.Kind() == reflect.Map {
		return "names of members with names of claims, as in {username: upn}"
	}
	return expected(t)
}

// checkProviders checks login.providers, fills in what has a default, and reads secrets
// from their files.
func (c *Config) checkProviders(v *validation) {
	ids := map[string]bool{}
	for n := range c.Login.Providers {
		p := &c.Login.Providers[n]
		fault := func(member, format string, args ...any) {
			v.faults = append(v.faults, fmt.Errorf("%s: login.providers[%d].%s %s", v.place("login.providers"), n, member, fmt.Sprintf(format, args...)))
		}
		switch {
		case p.ID == "" || len(p.ID) > 64 || strings.ContainsFunc(p.ID, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
		}):
			fault("id", "must be 1 to 64 letters, digits, - and _: it is part of the callback's address")
		case ids[p.ID]:
			fault("id", "is that of another provider")
		}
		ids[p.ID] = true
		if p.Name == "" {
			p.Name = p.ID
		}
		if u, err := url.Parse(p.Issuer); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.RawQuery != "" || u.Fragment != "" {
			fault("issuer", "must be an https URL without query and fragment")
		} else if u.Scheme != "https" && !c.Dev && !loopback(u.Hostname()) {
			fault("issuer", "must use https; --dev allows http for trials")
		}
		if p.ClientID == "" {
			fault("client_id", "must be set")
		}
		p.secret(fault)
		if len(p.Scope) == 0 {
			p.Scope = []string{"openid", "profile", "email"}
		} else if !slices.Contains(p.Scope, "openid") {
			fault("scope", "must contain openid")
		}
		if len(p.Algorithms) == 0 {
			p.Algorithms = []string{"RS256", "ES256"}
		}
		for _, domain := range p.EmailDomains {
			if domain == "" || strings.ContainsAny(domain, "@ /*") {
				fault("email_domains", "must be names such as example.com, not %q", domain)
			}
		}
		if len(p.EmailDomains) > 0 && !p.Create && !p.LinkByEmail {
			fault("email_domains", "has no effect without create or link_by_verified_email")
		}
	}
	if len(c.Login.Providers) > 0 && c.URLs.Login != "" {
		v.fault("login.providers", "has no effect while urls.login is set: the app there logs people in")
	}
	if len(c.Login.Providers) > 0 && c.Serve.Cookies.SameSite == "Strict" {
		v.fault("serve.cookies.same_site_mode", "must not be Strict with login.providers: browsers would come back from them without cookies")
	}
}

// secret settles how the client authenticates.
func (p *Provider) secret(fault func(member, format string, args ...any)) {
	if p.ClientSecretFile != "" {
		if p.ClientSecret != "" {
			fault("client_secret_file", "and client_secret exclude each other")
		}
		data, err := os.ReadFile(p.ClientSecretFile)
		if err != nil {
			fault("client_secret_file", "cannot be read: %v", err)
			return
		}
		if p.ClientSecret = strings.TrimRight(string(data), "\r\n"); p.ClientSecret == "" {
			fault("client_secret_file", "is empty")
			return
		}
	}
	switch p.AuthMethod {
	case "":
		if p.ClientSecret == "" {
			fault("client_secret", "must be set, or token_endpoint_auth_method: none for a public client")
		}
	case "client_secret_basic", "client_secret_post":
		if p.ClientSecret == "" {
			fault("client_secret", "must be set for token_endpoint_auth_method %s", p.AuthMethod)
		}
	case "none":
		if p.ClientSecret != "" {
			fault("token_endpoint_auth_method", "none goes without client_secret")
		}
	default:
		fault("token_endpoint_auth_method", "must be one of client_secret_basic, client_secret_post, none")
	}
}
