package config

import (
	"reflect"
	"strings"
)

// leaf is one key of the schema and the field it fills.
type leaf struct {
	key   string
	index []int
	typ   reflect.Type
}

// leaves lists the schema in the order of the struct.
func leaves() []leaf { return collect(reflect.TypeFor[Config](), "", nil) }

func collect(t reflect.Type, prefix string, index []int) []leaf {
	var all []leaf
	for i := range t.NumField() {
		f := t.Field(i)
		tag, found := f.Tag.Lookup("key")
		if !found || tag == "-" {
			continue
		}
		at := append(append([]int(nil), index...), i)
		if tag == ",inline" {
			all = append(all, collect(f.Type, prefix, at)...)
			continue
		}
		if f.Type.Kind() == reflect.Struct && f.Type.PkgPath() == t.PkgPath() {
			all = append(all, collect(f.Type, prefix+tag+".", at)...)
			continue
		}
		all = append(all, leaf{key: prefix + tag, index: at, typ: f.Type})
	}
	return all
}

// Keys returns every key of the schema, handler sections excluded.
func Keys() []string {
	var keys []string
	for _, l := range leaves() {
		keys = append(keys, l.key)
	}
	return keys
}

// idle are keys of Oathkeeper's and Hydra's files that have no effect here; they
// draw a warning. Keys that would change who gets in are never in this list.
var idle = map[string]string{
	"version":                       "the file's version is not needed",
	"sqa":                           "no telemetry is ever sent",
	"tracing":                       "traces are not exported",
	"profiling":                     "profiles are not written",
	"cgroups":                       "Go reads the limits of the control group itself",
	"db":                            "unknown columns are never an issue",
	"webfinger":                     "the discovery document is made from what is switched on",
	"serve.tls":                     "each listener has its own tls section",
	"oauth2.grant.jwt.iat_optional": "an assertion needs exp, not iat",
	"oauth2.grant.jwt.omit_assertion_audience":  "the audience of an assertion is never that of the token",
	"oauth2.device_authorization.user_code":     "user codes are eight letters that are not mistaken",
	"urls.registration":                         "prompt=registration is not served",
	"urls.identity_provider":                    "sessions of an identity provider are not ended",
	"log.leak_sensitive_values":                 "secrets are never logged",
	"log.redaction_text":                        "secrets are never logged",
	"log.additional_redacted_headers":           "headers are never logged",
	"oauth2.hashers":                            "chosen secrets are hashed with argon2id",
	"oauth2.session":                            "sessions are always encrypted",
	"oauth2.preserve_ext_claims":                "claims of ext are kept",
	"serve.prometheus.metric_name_prefix":       "metrics have one prefix",
	"serve.prometheus.hide_request_paths":       "paths are never labels",
	"serve.prometheus.collapse_request_paths":   "paths are never labels",
	"serve.public.access_log":                   "health checks are not logged",
	"serve.admin.access_log":                    "health checks are not logged",
	"serve.public.request_log":                  "health checks are not logged",
	"serve.admin.request_log":                   "health checks are not logged",
	"serve.proxy.cors.debug":                    "every preflight of the proxy is in the log",
	"serve.api.cors.debug":                      "every preflight of the proxy is in the log",
	"serve.admin.cors.debug":                    "every preflight of the proxy is in the log",
	"serve.public.cors.debug":                   "every preflight of the proxy is in the log",
	"serve.cookies.same_site_legacy_workaround": "no browser in use needs it",
	"secrets.cookie":                            "cookies are sealed with secrets.system",
	"urls.self.public":                          "the endpoints lie below urls.self.issuer",
	"urls.self.admin":                           "nothing points browsers to the management API",
	"strategies.jwt":                            "JWT access tokens carry scope and scp (RFC 9068)",
	"oauth2.expose_internal_errors":             "internal text never leaves the process",
	"oauth2.exclude_not_before_claim":           "nbf is harmless to those who do not know it",
	"oauth2.pkce.enforced_for_public_clients":   "public clients always need PKCE",
	"access_rules.refresh_interval":             "changes are heard of at once",
	"serve.proxy.timeout.write":                 "it would cut long streams",
	"serve.api.timeout.write":                   "it would cut long streams",
	"serve.public.timeout.write":                "it would cut long streams",
	"secrets.pagination":                        "page tokens use secrets.system",
}

// idleReason says why key has no effect; empty when it is not idle.
func idleReason(key string) string {
	for k := key; k != ""; {
		if why := idle[k]; why != "" {
			return why
		}
		i := strings.LastIndexByte(k, '.')
		if i < 0 {
			break
		}
		k = k[:i]
	}
	return ""
}

// nearest returns the known key with the smallest edit distance, or empty when
// none is close.
func nearest(key string, known []string) string {
	best, least := "", len(key)/3+2
	for _, k := range known {
		if d := distance(key, k); d < least {
			best, least = k, d
		}
	}
	return best
}

// distance is the Levenshtein distance of a and b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			next := diagonal
			if a[i] != b[j] {
				next = min(diagonal, row[j], row[j+1]) + 1
			}
			diagonal, row[j+1] = row[j+1], next
		}
	}
	return row[len(b)]
}
