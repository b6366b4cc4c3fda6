package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/go-viper/mapstructure/v2"
	"github.com/spf13/viper"
)

// Sources says where the layers come from.
type Sources struct {
	// Files are read in order; later ones win. YAML, JSON or TOML by name.
	Files []string
	// Environ is the environment as os.Environ gives it.
	Environ []string
	// Flags are keys that were set on the command line.
	Flags []Flag
	// Handlers holds the defaults of every handler: section (authenticators,
	// authorizers, mutators, errors), handler name, configuration struct. They say
	// which environment variables a handler has.
	Handlers map[string]map[string]any
	// Check decodes a handler's configuration over one of the defaults; nil: handlers
	// are not checked here.
	Check func(config json.RawMessage, defaults any) error
}

// Flag is one key set by a command line flag.
type Flag struct {
	Name  string // --dsn
	Key   string // dsn
	Value string
}

// Load returns the validated configuration and warnings for the log. The error
// joins every fault that was found; each names its place: file:line, variable or
// flag.
func Load(s Sources) (*Config, []string, error) {
	l := &loader{
		viper:   viper.NewWithOptions(viper.KeyDelimiter(".")),
		origins: map[string]string{},
		schema:  map[string]leaf{},
		env:     map[string]string{},
		asked:   map[string]bool{},
	}
	for _, f := range leaves() {
		l.schema[f.key] = f
	}
	cfg := Default()
	l.sections = map[string]map[string]*section{}
	for _, name := range s.Files {
		l.file(name)
	}
	for _, e := range s.Environ {
		name, value, _ := strings.Cut(e, "=")
		l.env[name] = value
	}
	l.environment()
	l.handlerEnvironment(s.Handlers)
	l.strayVariables()
	for _, f := range s.Flags {
		l.set(f.Key, f.Value, "flag "+f.Name)
	}
	l.fill(&cfg)
	l.hydra(&cfg)
	l.names(s.Handlers)
	l.handlers(&cfg, s.Handlers, s.Check)
	l.faults = append(l.faults, cfg.validate(l.place)...)
	l.plainTokens(&cfg)
	slices.SortFunc(l.faults, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return &cfg, l.warnings, errors.Join(l.faults...)
}

// loader collects the layers. Viper merges them; the origins say where a value
// came from, which viper does not.
type loader struct {
	viper    *viper.Viper
	schema   map[string]leaf
	env      map[string]string
	asked    map[string]bool // variables that mean something
	origins  map[string]string
	sections map[string]map[string]*section
	fallback []string
	faults   []error
	warnings []string
}

// section is one handler's merged configuration.
type section struct {
	enabled *bool
	config  map[string]any
}

func (l *loader) fault(place, format string, args ...any) {
	l.faults = append(l.faults, fmt.Errorf("%s: %s", place, fmt.Sprintf(format, args...)))
}

// place names where key was set.
func (l *loader) place(key string) string {
	if at := l.origins[key]; at != "" {
		return at
	}
	return "configuration"
}

// set puts one value in force.
func (l *loader) set(key string, value any, place string) {
	nested := map[string]any{}
	at := nested
	parts := strings.Split(key, ".")
	for _, p := range parts[:len(parts)-1] {
		next := map[string]any{}
		at[p] = next
		at = next
	}
	at[parts[len(parts)-1]] = value
	if err := l.viper.MergeConfigMap(nested); err != nil {
		l.fault(place, "%v", err)
		return
	}
	l.origins[key] = place
}

// lookup returns a variable, or the content of the file that NAME_FILE names, and
// where it was set.
func (l *loader) lookup(name string) (value, place string, found bool) {
	l.asked[name] = true
	if v := l.env[name]; v != "" {
		if l.env[name+"_FILE"] != "" {
			l.fault("environment "+name, "%s_FILE is set as well; set one of the two", name)
		}
		return v, "environment " + name, true
	}
	if path := l.env[name+"_FILE"]; path != "" {
		place := "environment " + name + "_FILE"
		data, err := os.ReadFile(path)
		if err != nil {
			l.fault(place, "%v", err)
			return "", "", false
		}
		return strings.TrimRight(string(data), "\r\n"), place, true
	}
	return "", "", false
}

// environment applies variables: every key in capitals with underscores, the early
// names, and NAME_FILE for each.
func (l *loader) environment() {
	for _, key := range slices.Sorted(maps.Keys(l.schema)) {
		if flagOnly[key] {
			continue
		}
		// The key's own name wins over the early ones.
		for _, name := range append([]string{variable(key)}, early[key]...) {
			if v, place, found := l.lookup(name); found {
				if l.schema[key].typ == reflect.TypeFor[[]string]() && name != variable(key) && !strings.HasPrefix(v, "[") {
					l.set(key, []string{v}, place) // an early secret may contain a comma
				} else {
					l.set(key, v, place)
				}
				break
			}
		}
	}
}

// strayVariables warns of variables that begin like settings and are none: a misspelt one
// would be as good as absent. They are no faults, because the environment is not ours alone.
func (l *loader) strayVariables() {
	for key := range idle {
		l.asked[variable(key)] = true
	}
	for key := range flagOnly {
		l.asked[variable(key)] = true
	}
	known := slices.Sorted(maps.Keys(l.asked))
	for _, name := range slices.Sorted(maps.Keys(l.env)) {
		plain := strings.TrimSuffix(name, "_FILE")
		ours := slices.ContainsFunc(ourVariables, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
		// A service of Kubernetes by the name of serve-proxy makes SERVE_PROXY_SERVICE_HOST
		// and SERVE_PROXY_PORT_4455_TCP.
		foreign := strings.Contains(name, "_SERVICE_") || strings.Contains(name, "_TCP") || strings.Contains(name, "_UDP")
		if !ours || foreign || l.asked[name] || l.asked[plain] || idleVariable(name) {
			continue
		}
		warning := "environment " + name + ": is no setting"
		near := nearest(name, known)
		for _, setting := range known { // SERVE_PROXY_HTTP3_ENABLED
			if strings.HasPrefix(name, setting+"_") {
				near = setting
			}
		}
		if near != "" {
			warning += "; did you mean " + near + "?"
		}
		l.warnings = append(l.warnings, warning)
	}
}

// ourVariables are what variables begin with that are hardly anybody else's.
var ourVariables = []string{"SERVE_PROXY_", "SERVE_API_", "SERVE_PUBLIC_", "SERVE_ADMIN_", "SERVE_EXT_AUTHZ_", "ACCESS_RULES_",
	"AUTHENTICATORS_", "AUTHORIZERS_", "MUTATORS_", "ERRORS_HANDLERS_"}

// idleVariable reports whether a variable belongs to a key that has no effect, or to one
// below it.
func idleVariable(name string) bool {
	for key := range idle {
		if strings.HasPrefix(name, variable(key)+"_") {
			return true
		}
	}
	return false
}

// fill decodes what was merged into cfg, key by key, so that a value of the wrong
// type is reported with its place.
func (l *loader) fill(cfg *Config) {
	root := reflect.ValueOf(cfg).Elem()
	for _, key := range l.viper.AllKeys() {
		f, known := l.schema[key]
		if !known {
			continue // reported when its layer was read
		}
		if f.typ == reflect.TypeFor[[]Provider]() {
			root.FieldByIndex(f.index).Set(reflect.ValueOf(l.providers(l.viper.Get(key), l.place(key))))
			continue
		}
		target := reflect.New(f.typ)
		d, err := mapstructure.NewDecoder(&mapstructure.DecoderConfig{
			Result:           target.Interface(),
			WeaklyTypedInput: true,
			TagName:          "key",
			ErrorUnused:      true,
			DecodeHook:       mapstructure.ComposeDecodeHookFunc(decodeDuration, decodeList, decodePeer),
		})
		if err == nil {
			err = d.Decode(l.viper.Get(key))
		}
		if err != nil {
			l.fault(l.place(key), "%s must be %s", key, expected(f.typ))
			continue
		}
		root.FieldByIndex(f.index).Set(target.Elem())
	}
}

// expected names what a key wants, for people.
func expected(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[time.Duration]():
		return "a duration such as 30s or 1h"
	case t == reflect.TypeFor[[]Peer]():
		return "a list of networks such as 10.0.0.0/8, and unix"
	case t == reflect.TypeFor[[]Certificate]():
		return "a list of {key: {path: ...}, cert: {path: ...}}"
	case t.Kind() == reflect.Slice:
		return "a list of strings"
	case t.Kind() == reflect.Bool:
		return "true or false"
	case t.Kind() == reflect.Int, t.Kind() == reflect.Int64:
		return "a whole number"
	}
	return "a string"
}

func decodeDuration(from, to reflect.Type, v any) (any, error) {
	if to != reflect.TypeFor[time.Duration]() {
		return v, nil
	}
	switch text := fmt.Sprint(v); text {
	case "-1":
		return time.Duration(-1), nil
	case "0":
		return time.Duration(0), nil
	default:
		return time.ParseDuration(text)
	}
}

// decodeList accepts a list, one string, JSON in a string, or values with commas.
func decodeList(from, to reflect.Type, v any) (any, error) {
	text, isText := v.(string)
	if !isText || to.Kind() != reflect.Slice {
		return v, nil
	}
	if to.Elem().Kind() == reflect.Struct && to.Elem() != reflect.TypeFor[Peer]() {
		var list []map[string]any
		err := json.Unmarshal([]byte(text), &list)
		return list, err
	}
	if strings.HasPrefix(strings.TrimSpace(text), "[") {
		var list []string
		err := json.Unmarshal([]byte(text), &list)
		return list, err
	}
	var list []string
	for _, part := range strings.Split(text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			list = append(list, part)
		}
	}
	return list, nil
}

func decodePeer(from, to reflect.Type, v any) (any, error) {
	text, isText := v.(string)
	if !isText || to != reflect.TypeFor[Peer]() {
		return v, nil
	}
	if text == "unix" {
		return Peer{Unix: true}, nil
	}
	if addr, err := netip.ParseAddr(text); err == nil {
		return Peer{Network: netip.PrefixFrom(addr, addr.BitLen())}, nil
	}
	p, err := netip.ParsePrefix(text)
	return Peer{Network: p.Masked()}, err
}

// variable returns the environment variable of a key.
func variable(key string) string {
	return strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(key))
}

// flagOnly are keys that a forgotten variable must not switch on.
var flagOnly = map[string]bool{"demo": true, "dev": true, "management.dangerous_expose": true}

// early maps keys to the variables of the first generations.
var early = map[string][]string{
	"dsn":                              {"DATABASE_URL"},
	"secrets.system":                   {"SYSTEM_SECRET"},
	"serve.proxy.host":                 {"PROXY_HOST"},
	"serve.proxy.port":                 {"PROXY_PORT"},
	"serve.api.host":                   {"MANAGEMENT_HOST"},
	"serve.api.port":                   {"MANAGEMENT_PORT"},
	"serve.admin.host":                 {"ADMIN_HOST"},
	"serve.admin.port":                 {"ADMIN_PORT"},
	"serve.public.host":                {"PUBLIC_HOST"},
	"serve.public.port":                {"PUBLIC_PORT"},
	"serve.proxy.tls.key.base64":       {"HTTPS_TLS_KEY", "HTTP_TLS_KEY"},
	"serve.proxy.tls.cert.base64":      {"HTTPS_TLS_CERT", "HTTP_TLS_CERT"},
	"serve.proxy.tls.key.path":         {"HTTPS_TLS_KEY_PATH"},
	"serve.proxy.tls.cert.path":        {"HTTPS_TLS_CERT_PATH"},
	"serve.cookies.same_site_mode":     {"COOKIE_SAME_SITE_MODE"},
	"urls.self.issuer":                 {"ISSUER", "ISSUER_URL", "OAUTH2_ISSUER_URL"},
	"urls.login":                       {"OAUTH2_LOGIN_URL"},
	"urls.consent":                     {"CONSENT_URL", "OAUTH2_CONSENT_URL"},
	"urls.error":                       {"OAUTH2_ERROR_URL"},
	"urls.post_logout_redirect":        {"OAUTH2_LOGOUT_REDIRECT_URL"},
	"ttl.login_consent_request":        {"LOGIN_CONSENT_REQUEST_LIFESPAN"},
	"ttl.access_token":                 {"ACCESS_TOKEN_LIFESPAN"},
	"ttl.refresh_token":                {"REFRESH_TOKEN_LIFESPAN"},
	"ttl.id_token":                     {"ID_TOKEN_LIFESPAN"},
	"ttl.auth_code":                    {"AUTH_CODE_LIFESPAN"},
	"strategies.scope":                 {"SCOPE_STRATEGY"},
	"strategies.access_token":          {"OAUTH2_ACCESS_TOKEN_STRATEGY"},
	"id_token.jwk_set_id":              {"HYDRA_JWK_SET_ID"},
	"serve.management.resource_prefix": {"RESOURCE_NAME_PREFIX"},

	"oidc.subject_identifiers.supported_types": {"OIDC_SUBJECT_TYPES_SUPPORTED"},
	"oidc.subject_identifiers.pairwise.salt":   {"OIDC_SUBJECT_TYPE_PAIRWISE_SALT"},
	"oauth2.token_hook.url":                    {"OAUTH2_TOKEN_HOOK"},
	"oauth2.refresh_token_hook.url":            {"OAUTH2_REFRESH_TOKEN_HOOK"},
}
