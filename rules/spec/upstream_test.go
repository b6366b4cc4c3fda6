package spec

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// everything is a rule with all fields of upstream, cors and rate_limit. An address and
// targets exclude each other, but that is for who compiles the rule to say.
const everything = `[{"id":"r","match":{"url":"http://a/<.*>","methods":["GET"]},"authenticators":[{"handler":"noop"}],"authorizer":{"handler":"allow"},
"upstream":{
 "url":"http://${1}.b.c","urls":["http://b","http://c"],"targets":[{"url":"http://d","weight":3}],"allowed_hosts":["*.b.c"],"preserve_host":true,"strip_path":"/x",
 "rewrite":{"regex":"/(.*)","path":"/y/${1}"},"timeout":"1s","timeouts":{"connect":"2s","idle":"3s","total":"4s"},
 "retry":{"attempts":3,"on":["reset",503],"budget":0,"backoff":"5ms","max_backoff":"6ms","attempt_timeout":"7s","max_body":0},
 "balance":{"policy":"hash","key":"header:X-Tenant"},
 "health":{"active":{"path":"/h","host":"h.b","interval":"8s","timeout":"9s","healthy":1,"unhealthy":2,"statuses":[200,204]},"passive":{"failures":4,"ejection":"10s"}},
 "circuit_breaker":{"max_requests":5,"max_pending":6,"pending_timeout":"11s","error_rate":0.5,"min_requests":7,"window":"12s","open":"13s"},
 "tls":{"ca_file":"ca","cert_file":"c","key_file":"k","server_name":"s","min_version":1.3,"http2":false,"dangerous":{"insecure_skip_verify":true}},
 "limits":{"request_body":8,"response_body":9,"response_header":10}},
"cors":{"enabled":false,"allowed_origins":["https://a"],"allowed_methods":["GET"],"allowed_headers":["X-A"],"exposed_headers":["X-B"],"allow_credentials":true,"max_age":11,"options_passthrough":true},
"rate_limit":[{"key":"subject","rate":12,"window":"1m","burst":13}]}]`

// unset are the fields of v, and of what it holds, that have their zero value.
func unset(v reflect.Value, path string) (out []string) {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return []string{path}
		}
		if v.Elem().Kind() != reflect.Struct {
			return nil // a pointer tells zero from missing
		}
		return unset(v.Elem(), path)
	case reflect.Struct:
		for i := range v.NumField() {
			out = append(out, unset(v.Field(i), path+"."+v.Type().Field(i).Name)...)
		}
		return out
	case reflect.Slice:
		for i := range v.Len() {
			out = append(out, unset(v.Index(i), path)...)
		}
	}
	if v.IsZero() {
		out = append(out, path)
	}
	return out
}

func TestWhatARuleSaysOfItsUpstreamCORSAndLimitsSurvivesBeingWritten(t *testing.T) {
	first, err := Decode("r.json", []byte(everything))
	if err != nil || len(first[0].Faults) > 0 {
		t.Fatalf("%v %v", err, first[0].Faults)
	}
	for name, v := range map[string]any{"upstream": first[0].Upstream, "cors": first[0].CORS, "rate_limit": first[0].RateLimits} {
		if missing := unset(reflect.ValueOf(v), name); missing != nil {
			t.Errorf("not read, or not in this test: %v", missing)
		}
	}
	text, err := json.Marshal(first)
	if err != nil {
		t.Fatal(err)
	}
	second, err := Decode("r.json", text)
	if err != nil {
		t.Fatal(err)
	}
	second[0].Origin = first[0].Origin
	if diff := cmp.Diff(first, second); diff != "" {
		t.Errorf("(-read +written and read): %s\n%s", diff, text)
	}
}

func TestAFieldThatNobodyKnowsIsNamedWithItsLine(t *testing.T) {
	for pointer, field := range map[string]string{
		"/upstream": `"upstream":{FIELD}`, "/upstream/targets/0": `"upstream":{"targets":[{FIELD}]}`, "/upstream/rewrite": `"upstream":{"rewrite":{FIELD}}`,
		"/upstream/timeouts": `"upstream":{"timeouts":{FIELD}}`, "/upstream/retry": `"upstream":{"retry":{FIELD}}`, "/upstream/balance": `"upstream":{"balance":{FIELD}}`,
		"/upstream/health": `"upstream":{"health":{FIELD}}`, "/upstream/health/active": `"upstream":{"health":{"active":{FIELD}}}`,
		"/upstream/health/passive": `"upstream":{"health":{"passive":{FIELD}}}`, "/upstream/circuit_breaker": `"upstream":{"circuit_breaker":{FIELD}}`,
		"/upstream/tls": `"upstream":{"tls":{FIELD}}`, "/upstream/tls/dangerous": `"upstream":{"tls":{"dangerous":{FIELD}}}`, "/upstream/limits": `"upstream":{"limits":{FIELD}}`,
		"/cors": `"cors":{FIELD}`, "/rate_limit": `"rate_limit":{FIELD}`, "/rate_limit/0": `"rate_limit":[{FIELD}]`,
	} {
		rule := "[{\"id\":\"r\",\n" + strings.Replace(field, "FIELD", "\n\"no_such\":1", 1) + "}]"
		defs, err := Decode("r.json", []byte(rule))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range defs[0].Faults {
			got = append(got, f.Error())
		}
		if len(got) != 1 || !strings.Contains(got[0], "r.json:3") || !strings.Contains(got[0], pointer+"/no_such: unknown field") {
			t.Errorf("%s: got %q", pointer, got)
		}
	}
}
