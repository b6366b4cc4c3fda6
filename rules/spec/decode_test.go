package spec

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const jsonRules = `[
  {
    "id": "users",
    "version": "v0.36.0-beta.4",
    "match": {"url": "https://api.example.com/users/<[0-9]+>", "methods": ["GET", "post"]},
    "authenticators": [{"handler": "jwt", "config": {"required_scope": ["a"], "n": 1.10}}, {"handler": "anonymous"}],
    "authorizer": {"handler": "allow"},
    "mutators": [{"handler": "header", "config": {"headers": {"X-User": "{{ print .Subject }}"}}}],
    "errors": [{"handler": "json", "config": {"verbose": true}}],
    "upstream": {"url": "http://users:8080", "preserve_host": true, "strip_path": "/api"}
  },
  {"id": "extended", "match": {"hosts": ["*.example.com"], "paths": ["/<.*>"], "methods": ["GET"], "headers": {"X-A": "1"}, "query": {"q": "*"}},
   "authenticators": [{"handler": "noop"}], "authorizers": [{"handler": "allow"}, {"handler": "deny"}], "priority": -3, "upstream": {"timeout": "3s"}}
]`

const yamlRules = `# the same rules
- id: users
  version: v0.36.0-beta.4
  match: &m
    url: https://api.example.com/users/<[0-9]+>
    methods: [GET, post]
  authenticators:
    - handler: jwt
      config: {required_scope: [a], n: 1.10}
    - handler: anonymous
  authorizer: {handler: allow}
  mutators:
    - handler: header
      config:
        headers: {X-User: "{{ print .Subject }}"}
  errors:
    - {handler: json, config: {verbose: true}}
  upstream: {url: "http://users:8080", preserve_host: true, strip_path: /api}
- id: extended
  match: {hosts: ["*.example.com"], paths: ["/<.*>"], methods: [GET], headers: {X-A: "1"}, query: {q: "*"}}
  authenticators: [{handler: noop}]
  authorizers: [{handler: allow}, {handler: deny}]
  priority: -3
  upstream: {timeout: 3s}
`

func wanted(source string, lines ...int) []Rule {
	return []Rule{{
		ID: "users", Version: "v0.36.0-beta.4",
		Match:          Match{URL: "https://api.example.com/users/<[0-9]+>", Methods: []string{"GET", "post"}},
		Authenticators: []Handler{{Handler: "jwt", Config: json.RawMessage(`{"required_scope":["a"],"n":1.10}`)}, {Handler: "anonymous"}},
		Authorizer:     &Handler{Handler: "allow"},
		Mutators:       []Handler{{Handler: "header", Config: json.RawMessage(`{"headers":{"X-User":"{{ print .Subject }}"}}`)}},
		Errors:         []Handler{{Handler: "json", Config: json.RawMessage(`{"verbose":true}`)}},
		Upstream:       Upstream{URL: "http://users:8080", PreserveHost: true, StripPath: "/api"},
		Origin:         Origin{Source: source, Line: lines[0]},
	}, {
		ID:             "extended",
		Match:          Match{Hosts: []string{"*.example.com"}, Paths: []string{"/<.*>"}, Methods: []string{"GET"}, Headers: map[string]string{"X-A": "1"}, Query: map[string]string{"q": "*"}},
		Authenticators: []Handler{{Handler: "noop"}},
		Authorizers:    []Handler{{Handler: "allow"}, {Handler: "deny"}},
		Priority:       -3,
		Upstream:       Upstream{Timeout: "3s"},
		Origin:         Origin{Source: source, Line: lines[1]},
	}}
}

func TestJSONAndYAMLGiveTheSameRules(t *testing.T) {
	for source, c := range map[string]struct {
		data  string
		lines []int
	}{
		"r.json":    {jsonRules, []int{2, 12}},
		"r.yaml":    {yamlRules, []int{2, 19}},
		"r.yml":     {jsonRules, []int{2, 12}},
		"inline:#0": {jsonRules, []int{2, 12}},
		"inline:#1": {"\xef\xbb\xbf" + yamlRules, []int{2, 19}},
	} {
		got, err := Decode(source, []byte(c.data))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(wanted(source, c.lines...), got); diff != "" {
			t.Errorf("%s: %s", source, diff)
		}
	}
}

func TestASingleRuleNeedsNoList(t *testing.T) {
	for _, data := range []string{`{"id":"a"}`, "id: a"} {
		got, err := Decode("x", []byte(data))
		if diff := cmp.Diff([]Rule{{ID: "a", Origin: Origin{Source: "x", Line: 1}}}, got); diff != "" || err != nil {
			t.Error(diff, err)
		}
	}
}

func TestAFaultNamesFileLineRuleAndFieldAndAffectsOnlyItsRule(t *testing.T) {
	good := "- id: good\n  match: {url: 'http://a/', methods: [GET]}\n"
	for _, c := range []struct{ rule, want string }{
		{"- id: bad\n  authorizors: []\n", `r.yaml:4: rule "bad": /authorizors: unknown field, did you mean "authorizers"`},
		{"- id: bad\n  match:\n    url: x\n    metods: []\n", `r.yaml:6: rule "bad": /match/metods: unknown field, did you mean "methods"`},
		{"- id: bad\n  mutators:\n  - handler: noop\n    confg: {}\n", `r.yaml:6: rule "bad": /mutators/0/confg: unknown field, did you mean "config"`},
		{"- id: bad\n  match: {methods: [1]}\n", `r.yaml:4: rule "bad": /match/methods/0: must be a string, not a number`},
		{"- id: bad\n  match: x\n", `r.yaml:4: rule "bad": /match: must be an object, not a string`},
		{"- id: bad\n  authenticators: {}\n", `r.yaml:4: rule "bad": /authenticators: must be a list, not an object`},
		{"- id: bad\n  authenticators: [{}]\n", `r.yaml:4: rule "bad": /authenticators/0/handler: must be set`},
		{"- id: bad\n  authorizer: {handler: x, config: []}\n", `r.yaml:4: rule "bad": /authorizer/config: must be an object, not a list`},
		{"- id: bad\n  authorizer: {handler: x, config: {a: .nan}}\n", `r.yaml:4: rule "bad": /authorizer/config/a: .nan is not a number that JSON can express`},
		{"- id: bad\n  authorizer: {handler: x, config: {a/b: 1, a/b: 2}}\n", `r.yaml:4: rule "bad": /authorizer/config/a~1b: occurs twice`},
		{"- id: bad\n  upstream: {preserve_host: yes please}\n", `r.yaml:4: rule "bad": /upstream/preserve_host: must be a boolean, not a string`},
		{"- id: bad\n  priority: 1.5\n", `r.yaml:4: rule "bad": /priority: must be an integer of 32 bits`},
		{"- id: bad\n  version: new\n", `r.yaml:3: rule "bad": /version: "new" is not a version such as 0.36.0`},
		{"- id: bad\n  id: worse\n", `r.yaml:4: rule "bad": /id: occurs twice`},
		{"- description: nameless\n  x: 1\n", `r.yaml:4: rule "#2": /x: unknown field, did you mean "id"`},
		{"- just text\n", `r.yaml:3: rule "#2": must be an object, not a string`},
		{"- id: bad\n  matchesUrl: x\n  mode: bypas\n", `r.yaml:3: rule "bad": /mode: must be bypass, anonymous, authenticated or policy, not "bypas"`},
		{"- id: bad\n  matchesUrl: x\n  requiredAction: a\n", `r.yaml:3: rule "bad": /requiredResource: must be set in mode policy`},
		{"- id: bad\n  matchesUrl: x\n  requiredAction: a:$1b\n  requiredResource: r\n", `r.yaml:3: rule "bad": /requiredAction: $1b is not a capture group, write ${1} where text follows the number`},
	} {
		got, err := Decode("r.yaml", []byte(good+c.rule))
		if err != nil || len(got) != 2 {
			t.Errorf("%s: %d rules, %v", c.rule, len(got), err)
			continue
		}
		if got[0].Faults != nil || got[0].ID != "good" {
			t.Errorf("%s: the good rule became %+v", c.rule, got[0])
		}
		if len(got[1].Faults) != 1 || got[1].Faults[0].Error() != c.want {
			t.Errorf("got  %v\nwant %s", got[1].Faults, c.want)
		}
	}
}

func TestABrokenRuleKeepsItsMatch(t *testing.T) {
	got, err := Decode("r.json", []byte(`{"match":{"url":"http://a/<.*>","methods":["GET"]},"authorisers":[],"priority":7,"id":"a"}`))
	want := []Rule{{ID: "a", Match: Match{URL: "http://a/<.*>", Methods: []string{"GET"}}, Priority: 7, Origin: Origin{"r.json", 1},
		Faults: []Fault{{Source: "r.json", Line: 1, RuleID: "a", Pointer: "/authorisers", Message: `unknown field, did you mean "authorizers"`}}}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

func TestABrokenFileIsOneError(t *testing.T) {
	bomb := "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
	for i := 'b'; i < 'k'; i++ {
		p := string(i - 1)
		bomb += fmt.Sprintf("%c: &%c [%s]\n", i, i, strings.TrimSuffix(strings.Repeat("*"+p+",", 10), ","))
	}
	for _, c := range []struct{ source, data, want string }{
		{"r.json", "", "r.json: is empty; the list of no rules is written []"},
		{"r.yaml", "# nothing\n", "r.yaml: is empty; the list of no rules is written []"},
		{"r.yaml", "null", "r.yaml: is empty; the list of no rules is written []"},
		{"r.json", "[\n{\"id\":\"a\"},\n{\"id\"", "r.json:3: the JSON ends too early"},
		{"r.json", "[\n{\"id\":\"a\"},\n{\"id\"x", "r.json:3: invalid character 'x' after object key"},
		{"x", "[\n{\"id\":\"a\"},\n{\"id\": }", "x:3: invalid character '}' looking for beginning of value"},
		{"r.json", "[]\n[]", "r.json:2: there is text after the value"},
		{"r.json", "\"\xff\"", "r.json: not valid UTF-8"},
		{"r.yaml", "- id: a\n\t- b", "r.yaml:2: found a tab character that violates indentation"},
		{"r.yaml", "42", "r.yaml:1: must be a list of rules, not a number"},
		{"r.yaml", bomb, "r.yaml:1: aliases expand to more than 100000 values"},
		{"r.yaml", "&a [*a]", "r.yaml:1: nested deeper than 64"},
		{"r.json", strings.Repeat("[", 100), "r.json:1: nested deeper than 64"},
	} {
		got, err := Decode(c.source, []byte(c.data))
		if err == nil || err.Error() != c.want || got != nil {
			t.Errorf("%.60q: got %v, %v\nwant %s", c.data, got, err, c.want)
		}
	}
}

func TestYAMLScalarsReachHandlersAsJSON(t *testing.T) {
	got, err := Decode("r.yaml", []byte(`
- id: a
  version: 0.40
  authorizer:
    handler: h
    config:
      defaults: &d {a: 1, b: two}
      merged: {<<: *d, b: three}
      version: 0.40.1
      decimal: 1.10
      hex: 0x1F
      octal: 0o17
      grouped: 1_000
      exponent: 1.5e+3
      big: 123456789012345678901234567890
      point: .5
      date: 2020-01-02
      yes: yes
      true: True
      quoted: "1"
      empty:
      404: <b>
      multi: |
        a
        b
`))
	if err != nil || got[0].Faults != nil {
		t.Fatal(got, err)
	}
	want := `{"defaults":{"a":1,"b":"two"},"merged":{"b":"three","a":1},"version":"0.40.1","decimal":1.10,"hex":31,"octal":15,"grouped":1000,` +
		`"exponent":1.5e+3,"big":123456789012345678901234567890,"point":0.5,"date":"2020-01-02","yes":"yes","true":true,"quoted":"1","empty":null,"404":"<b>","multi":"a\nb\n"}`
	if diff := cmp.Diff(want, string(got[0].Authorizer.Config)); diff != "" {
		t.Error(diff)
	}
	if got[0].Version != "0.40" {
		t.Errorf("version %q", got[0].Version)
	}
}

func TestTheEarlyFormatBecomesAPipeline(t *testing.T) {
	noop, idToken, allow := Handler{Handler: "noop"}, Handler{Handler: "id_token"}, &Handler{Handler: "allow"}
	scoped := Handler{Handler: "oauth2_introspection", Config: json.RawMessage(`{"required_scope":["s"]}`)}
	bypass := Rule{Authenticators: []Handler{noop}, Authorizer: allow, Mutators: []Handler{noop}}
	anonymous := Rule{Authenticators: []Handler{{Handler: "oauth2_introspection"}, {Handler: "anonymous"}}, Authorizer: allow, Mutators: []Handler{idToken}}
	authenticated := Rule{Authenticators: []Handler{scoped}, Authorizer: allow, Mutators: []Handler{idToken}}
	policy := Rule{Authenticators: []Handler{scoped}, Mutators: []Handler{idToken}, Authorizer: &Handler{Handler: "policy",
		Config: json.RawMessage(`{"action":"get:{{ printIndex .MatchContext.RegexpCaptureGroups 0 }}x","resource":"cost $ {{ \"{{\" }} }}"}`)}}
	for mode, want := range map[string]Rule{
		`"mode":"bypass"`:                  bypass,
		`"mode":"anonymous"`:               anonymous,
		`"mode":"authenticated"`:           authenticated,
		`"mode":"token"`:                   authenticated,
		`"mode":"policy"`:                  policy,
		`"passThroughModeEnabled":true`:    bypass,
		`"allowAnonymousModeEnabled":true`: anonymous,
		`"passThroughModeEnabled":false`:   policy,
		`"basicAuthorizationModeEnabled":true, "allowAnonymousModeEnabled":false`:                               authenticated,
		`"basicAuthorizationModeEnabled":true, "allowAnonymousModeEnabled":true, "passThroughModeEnabled":true`: bypass,
	} {
		want.ID, want.Description, want.Origin = "a", "d", Origin{"r.json", 1}
		want.Match = Match{URL: "http://a/<.*>", Methods: []string{"GET"}}
		got, err := Decode("r.json", []byte(`{"id":"a","description":"d","matchesUrl":"http://a/<.*>","matchesMethods":["GET"],
			"requiredScopes":["s"],"requiredAction":"get:${1}x","requiredResource":"cost $$ {{ }}",`+mode+`}`))
		if diff := cmp.Diff([]Rule{want}, got); diff != "" || err != nil {
			t.Errorf("%s: %s %v", mode, diff, err)
		}
	}
}

func TestOlderVersionsAreMigrated(t *testing.T) {
	keto := `"authorizer":{"handler":"keto_engine_acp_ory","config":{"required_action":"my:$1","required_resource":"$2:x"}}`
	hydrator := `"mutators":[{"handler":"hydrator","config":{"api":{"url":"u"},"retry":{"number_of_retries":5,"delay_in_milliseconds":200}}}]`
	one := `{"required_action":"my:{{ printIndex .MatchContext.RegexpCaptureGroups 0 }}","required_resource":"{{ printIndex .MatchContext.RegexpCaptureGroups 1 }}:x"}`
	durations := `{"api":{"url":"u"},"retry":{"give_up_after":"1000ms","max_delay":"200ms"}}`
	for version, want := range map[string][2]string{
		"0.30.4": {one, durations}, "v0.32.0-beta.1": {one, durations}, "0.36.0": {one, ""}, "0.37.0": {one, ""}, "0.37.1": {"", ""}, "v26.2.0": {"", ""},
	} {
		got, err := Decode("r.json", []byte(`{"id":"a","version":"`+version+`",`+keto+`,`+hydrator+`}`))
		if err != nil || got[0].Faults != nil {
			t.Fatal(got, err)
		}
		for i, config := range []json.RawMessage{got[0].Authorizer.Config, got[0].Mutators[0].Config} {
			migrated := !strings.Contains(string(config), "$1") && !strings.Contains(string(config), "number_of")
			if migrated != (want[i] != "") || migrated && !sameJSON(t, config, want[i]) {
				t.Errorf("version %s: %s", version, config)
			}
		}
	}
}

func TestASingleIssuerOrMutatorBecomesAList(t *testing.T) {
	for in, want := range map[string]Handler{
		`"credentials_issuer":{"handler":"headers","config":{"headers":{}}}`: {Handler: "header", Config: json.RawMessage(`{"headers":{}}`)},
		`"mutator":{"handler":"cookies"}`:                                    {Handler: "cookie"},
		`"credentials_issuer":{"handler":"id_token","config":{"aud":["a"]}}`: {Handler: "id_token", Config: json.RawMessage(`{"claims":"{\"aud\":[\"a\"]}"}`)},
	} {
		got, err := Decode("r.json", []byte(`{"id":"a",`+in+`}`))
		if diff := cmp.Diff([]Rule{{ID: "a", Mutators: []Handler{want}, Origin: Origin{"r.json", 1}}}, got); diff != "" || err != nil {
			t.Error(diff, err)
		}
	}
}

func sameJSON(t *testing.T, a json.RawMessage, b string) bool {
	t.Helper()
	var x, y any
	if err := json.Unmarshal(a, &x); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(b), &y); err != nil {
		t.Fatal(err)
	}
	return reflect.DeepEqual(x, y)
}

// FuzzDecode shows that no input crashes the decoder, that every fault names its
// place, and that a rule without faults survives being written and read again.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{jsonRules, yamlRules, `{"matchesUrl":"x","mode":"policy","requiredAction":"$1"}`, "a: &a [*a]", "- {<<: [{a: 1}], ? [x] : y}", "--- [{id: a}]\n---\nid: b\n", `[{"id":"\ud83d\ude00"}]`} {
		f.Add("r.json", []byte(seed))
		f.Add("r.yaml", []byte(seed))
		f.Add("r", []byte(seed))
	}
	f.Fuzz(func(t *testing.T, source string, data []byte) {
		rules, err := Decode(source, data)
		if err != nil && (rules != nil || !strings.HasPrefix(err.Error(), source)) {
			t.Fatalf("%v with %d rules", err, len(rules))
		}
		for _, r := range rules {
			for _, fault := range r.Faults {
				if fault.Source != source || fault.RuleID == "" || fault.Message == "" {
					t.Fatalf("fault without a place: %#v", fault)
				}
			}
			if r.Faults != nil {
				continue
			}
			written, err := json.Marshal(r)
			if err != nil {
				t.Fatalf("%+v cannot be written: %v", r, err)
			}
			again, err := Decode("again.json", written)
			if err != nil || again[0].Faults != nil {
				t.Fatalf("%s cannot be read again: %v %v", written, err, again)
			}
			if rewritten, _ := json.Marshal(again[0]); string(rewritten) != string(written) {
				t.Fatalf("%s became %s", written, rewritten)
			}
		}
	})
}
