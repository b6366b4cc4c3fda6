package config

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// section merges one handler section of a file into what earlier files said.
func (l *loader) section(part string, value any, place func(string) string) {
	tree, isMap := value.(map[string]any)
	if value != nil && !isMap {
		l.fault(place(part), "%s must be an object", part)
		return
	}
	prefix := part + "."
	if part == "errors" {
		for key, v := range tree {
			switch key {
			case "fallback":
				list, err := stringList(v)
				if err != nil {
					l.fault(place("errors.fallback"), "errors.fallback must be a list of strings")
					continue
				}
				l.fallback = list
				l.origins["errors.fallback"] = place("errors.fallback")
			case "handlers":
			default:
				l.fault(place("errors."+key), "unknown key errors.%s, known are fallback and handlers", key)
			}
		}
		prefix = "errors.handlers."
		handlers, present := tree["handlers"]
		if tree, isMap = handlers.(map[string]any); present && handlers != nil && !isMap {
			l.fault(place("errors.handlers"), "errors.handlers must be an object")
			return
		}
	}
	for name, v := range tree {
		entry, isMap := v.(map[string]any)
		if v != nil && !isMap {
			l.fault(place(prefix+name), "%s%s must be an object", prefix, name)
			continue
		}
		s := l.handler(part, name)
		l.origins[part+"."+name] = place(prefix + name)
		for key, v := range entry {
			at := place(prefix + name + "." + key)
			switch key {
			case "enabled":
				on, isBool := v.(bool)
				if !isBool {
					l.fault(at, "%s%s.enabled must be true or false", prefix, name)
					continue
				}
				s.enabled = &on
			case "config":
				sub, isMap := v.(map[string]any)
				if v != nil && !isMap {
					l.fault(at, "%s%s.config must be an object", prefix, name)
					continue
				}
				merge(s.config, sub)
			default:
				l.fault(at, "unknown key %s%s.%s, known are enabled and config", prefix, name, key)
			}
		}
	}
}

// handler returns the entry of a handler, making it when it is new.
func (l *loader) handler(part, name string) *section {
	if l.sections[part] == nil {
		l.sections[part] = map[string]*section{}
	}
	s := l.sections[part][name]
	if s == nil {
		s = &section{config: map[string]any{}}
		l.sections[part][name] = s
	}
	return s
}

// merge overlays from on into: objects member by member, anything else replaces.
func merge(into, from map[string]any) {
	for k, v := range from {
		if sub, isMap := v.(map[string]any); isMap {
			if old, wasMap := into[k].(map[string]any); wasMap {
				merge(old, sub)
				continue
			}
			fresh := map[string]any{}
			merge(fresh, sub)
			v = fresh
		}
		into[k] = v
	}
}

// names reports sections of handlers that do not exist; known maps part and name to
// the handler's configuration, and without it nothing is reported.
func (l *loader) names(known map[string]map[string]any) {
	for _, name := range l.fallback {
		if handlers := known["errors"]; handlers != nil && handlers[name] == nil {
			l.fault(l.origins["errors.fallback"], "errors.fallback: unknown handler %s, known are %s", name, strings.Join(slices.Sorted(maps.Keys(handlers)), ", "))
		}
	}
	for part, handlers := range known {
		for _, name := range slices.Sorted(maps.Keys(l.sections[part])) {
			if _, exists := handlers[name]; exists {
				continue
			}
			on := l.sections[part][name].enabled
			key, place := part+"."+name, l.origins[part+"."+name]
			switch {
			case on != nil && !*on:
			default:
				l.fault(place, "unknown handler %s, known are %s", key, strings.Join(slices.Sorted(maps.Keys(handlers)), ", "))
			}
		}
	}
}

// handlers moves the merged sections into cfg. Those that
// exist are checked.
func (l *loader) handlers(cfg *Config, known map[string]map[string]any, check func(json.RawMessage, any) error) {
	target := map[string]*map[string]Handler{
		"authenticators": &cfg.Authenticators, "authorizers": &cfg.Authorizers,
		"mutators": &cfg.Mutators, "errors": &cfg.Errors.Handlers,
	}
	if l.fallback != nil {
		cfg.Errors.Fallback = l.fallback
	}
	for part, into := range target {
		*into = map[string]Handler{}
		for _, name := range slices.Sorted(maps.Keys(l.sections[part])) {
			s := l.sections[part][name]
			h := Handler{Disabled: s.enabled != nil && !*s.enabled}
			if len(s.config) > 0 {
				raw, err := json.Marshal(s.config)
				if err != nil {
					l.fault(l.place(part+"."+name), "%s.%s.config: %v", part, name, err)
					continue
				}
				h.Config = raw
				if defaults := known[part][name]; defaults != nil && check != nil {
					if err := check(raw, defaults); err != nil {
						l.fault(l.place(part+"."+name), "%s.%s: %v", part, name, err)
					}
				}
			}
			(*into)[name] = h
		}
	}
}

// hydra applies the variables by which the first generations named their Hydra: the
// gateway gets itself a token there and asks it about the tokens of others. When the
// address is this program's own, the embedded server is asked as usual.
func (l *loader) hydra(cfg *Config) {
	address, place, found := l.lookup("HYDRA_URL")
	id, _, withID := l.lookup("HYDRA_CLIENT_ID")
	secret, _, withSecret := l.lookup("HYDRA_CLIENT_SECRET")
	if !found || !withID || !withSecret {
		return // without credentials the variable is the command line's
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		l.fault(place, "must be an absolute http or https URL")
		return
	}
	base := strings.TrimRight(address, "/")
	own := loopback(u.Hostname()) && u.Port() == strconv.Itoa(cfg.Serve.Public.Port)
	if own || base == strings.TrimRight(cfg.URLs.Self.Issuer, "/") {
		return
	}
	s := l.handler("authenticators", "oauth2_introspection")
	if s.config["introspection_url"] != nil {
		return
	}
	l.origins["authenticators.oauth2_introspection"] = place
	merge(s.config, map[string]any{
		"introspection_url": base + "/oauth2/introspect",
		"pre_authorization": map[string]any{
			"enabled": true, "client_id": id, "client_secret": secret, "token_url": base + "/oauth2/token", "scope": []any{"hydra.introspect"},
		},
	})
	l.warnings = append(l.warnings, place+": tokens are introspected there; policies are this program's own")
}

// handlerEnvironment applies the variables of handlers: AUTHENTICATORS_JWT_ENABLED,
// AUTHENTICATORS_JWT_CONFIG_JWKS_URLS, ERRORS_HANDLERS_JSON_CONFIG_VERBOSE and the
// early names.
func (l *loader) handlerEnvironment(known map[string]map[string]any) {
	if v, place, found := l.lookup("ERRORS_FALLBACK"); found {
		list, err := decodeList(nil, reflect.TypeFor[[]string](), v)
		if err != nil {
			l.fault(place, "must be a list of strings")
		} else {
			l.fallback = list.([]string)
			l.origins["errors.fallback"] = place
		}
	}
	for part, handlers := range known {
		for name, defaults := range handlers {
			prefix := part + "."
			if part == "errors" {
				prefix = "errors.handlers."
			}
			prefix = variable(prefix + name)
			if v, place, found := l.lookup(prefix + "_ENABLED"); found {
				on, err := strconv.ParseBool(v)
				if err != nil {
					l.fault(place, "must be true or false")
				} else {
					l.handler(part, name).enabled = &on
				}
			}
			for path, typ := range fields(reflect.TypeOf(defaults), "") {
				names := append([]string{prefix + "_CONFIG_" + variable(path)}, earlyHandler[part+"."+name+"."+path]...)
				for _, n := range names {
					if v, place, found := l.lookup(n); found {
						value, err := typed(v, typ)
						if err != nil {
							l.fault(place, "%v", err)
							continue
						}
						l.origins[part+"."+name] = place
						merge(l.handler(part, name).config, nest(path, value))
						break
					}
				}
			}
		}
	}
}

// earlyHandler maps handler keys to the variables of the first generations.
var earlyHandler = map[string][]string{
	"authenticators.anonymous.subject":                                    {"AUTHENTICATOR_ANONYMOUS_USERNAME"},
	"authenticators.jwt.jwks_urls":                                        {"AUTHENTICATOR_JWT_JWKS_URL"},
	"authenticators.jwt.scope_strategy":                                   {"AUTHENTICATOR_JWT_SCOPE_STRATEGY"},
	"authenticators.oauth2_introspection.introspection_url":               {"AUTHENTICATOR_OAUTH2_INTROSPECTION_URL", "AUTHENTICATOR_OAUTH2_INTROSPECTION_INTROSPECT_URL"},
	"authenticators.oauth2_introspection.scope_strategy":                  {"AUTHENTICATOR_OAUTH2_INTROSPECTION_SCOPE_STRATEGY"},
	"authenticators.oauth2_introspection.pre_authorization.client_id":     {"AUTHENTICATOR_OAUTH2_INTROSPECTION_AUTHORIZATION_CLIENT_ID", "AUTHENTICATOR_OAUTH2_INTROSPECTION_CLIENT_ID"},
	"authenticators.oauth2_introspection.pre_authorization.client_secret": {"AUTHENTICATOR_OAUTH2_INTROSPECTION_AUTHORIZATION_CLIENT_SECRET", "AUTHENTICATOR_OAUTH2_INTROSPECTION_CLIENT_SECRET"},
	"authenticators.oauth2_introspection.pre_authorization.token_url":     {"AUTHENTICATOR_OAUTH2_INTROSPECTION_AUTHORIZATION_TOKEN_URL", "AUTHENTICATOR_OAUTH2_INTROSPECTION_TOKEN_URL"},
	"mutators.id_token.issuer_url":                                        {"CREDENTIALS_ISSUER_ID_TOKEN_ISSUER"},
	"mutators.id_token.ttl":                                               {"CREDENTIALS_ISSUER_ID_TOKEN_LIFESPAN"},
}

// fields lists the dotted JSON paths of a configuration struct with their types.
func fields(t reflect.Type, prefix string) map[string]reflect.Type {
	all := map[string]reflect.Type{}
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == nil || t.Kind() != reflect.Struct {
		return all
	}
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && name == "" {
			maps.Copy(all, fields(f.Type, prefix))
			continue
		}
		if name == "" || name == "-" || !f.IsExported() {
			continue
		}
		all[prefix+name] = f.Type
		inner := f.Type
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		if inner.Kind() == reflect.Struct && !reflect.PointerTo(inner).Implements(reflect.TypeFor[json.Unmarshaler]()) {
			maps.Copy(all, fields(inner, prefix+name+"."))
		}
	}
	return all
}

// typed reads a variable's text as a value of type t.
func typed(text string, t reflect.Type) (any, error) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	custom := reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]())
	switch {
	case strings.HasPrefix(text, "{") || strings.HasPrefix(text, "["):
		var v any
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			return nil, fmt.Errorf("is not valid JSON: %w", err)
		}
		return v, nil
	case custom, t == reflect.TypeFor[time.Duration](), t.Kind() == reflect.String:
		return text, nil
	case t.Kind() == reflect.Slice:
		return decodeList(nil, reflect.TypeFor[[]string](), text)
	case t.Kind() == reflect.Bool:
		on, err := strconv.ParseBool(text)
		if err != nil {
			return nil, fmt.Errorf("must be true or false")
		}
		return on, nil
	case t.Kind() >= reflect.Int && t.Kind() <= reflect.Float64:
		n, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, fmt.Errorf("must be a number")
		}
		return n, nil
	}
	return nil, fmt.Errorf("must be JSON")
}

// nest puts value at a dotted path.
func nest(path string, value any) map[string]any {
	first, rest, more := strings.Cut(path, ".")
	if !more {
		return map[string]any{first: value}
	}
	return map[string]any{first: nest(rest, value)}
}

func stringList(v any) ([]string, error) {
	if s, isText := v.(string); isText {
		return []string{s}, nil
	}
	list, isList := v.([]any)
	if !isList {
		return nil, fmt.Errorf("not a list")
	}
	out := make([]string, 0, len(list))
	for _, e := range list {
		s, isText := e.(string)
		if !isText {
			return nil, fmt.Errorf("not a list of strings")
		}
		out = append(out, s)
	}
	return out, nil
}
