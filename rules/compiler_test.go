package rules

import (
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/authn"
	"github.com/gatewarden/gatewarden/handler"
	"github.com/gatewarden/gatewarden/mutators"
	"github.com/gatewarden/gatewarden/rules/spec"
)

func TestFaultsNameFileLineRuleAndFieldAndRefuseOnlyTheirRule(t *testing.T) {
	for _, c := range []struct {
		edit func(*spec.Rule)
		want string
	}{
		{func(d *spec.Rule) { d.ID = "" }, "bad.yaml:7: /id: must be set"},
		{func(d *spec.Rule) { d.ID = "good" }, `bad.yaml:7: rule "good": /id: is taken by the rule at good.yaml:7`},
		{func(d *spec.Rule) { d.ID = "a\nb" }, `bad.yaml:7: rule "a\nb": /id: has a control character`},
		{func(d *spec.Rule) { d.Match.Methods = nil }, `bad.yaml:7: rule "bad": /match/methods: must name at least one method`},
		{func(d *spec.Rule) { d.Match.URL = "http://b/<[>" }, "bad.yaml:7: rule \"bad\": /match/url: <[> is not a regular expression: error parsing regexp: missing closing ]: `[)`"},
		{func(d *spec.Rule) { d.Authenticators = nil }, `bad.yaml:7: rule "bad": /authenticators: must name at least one handler`},
		{func(d *spec.Rule) { d.Authorizer = nil }, `bad.yaml:7: rule "bad": /authorizer: must be set`},
		{func(d *spec.Rule) { d.Authorizers = []spec.Handler{x("")} }, `bad.yaml:7: rule "bad": /authorizers: cannot be combined with authorizer`},
		{func(d *spec.Rule) { d.Authenticators[0].Handler = "z" }, `bad.yaml:7: rule "bad": /authenticators/0: unknown handler "z", known are x, y`},
		{func(d *spec.Rule) { d.Authenticators[0].Handler = "y" }, `bad.yaml:7: rule "bad": /authenticators/0: handler "y" is not enabled, set authenticators.y.enabled`},
		{func(d *spec.Rule) { d.Authenticators[0] = x(`{"value":"bad"}`) }, `bad.yaml:7: rule "bad": /authenticators/0: handler x: value must not be bad`},
		{func(d *spec.Rule) { d.Mutators = []spec.Handler{x(`{"vlaue":""}`)} }, `bad.yaml:7: rule "bad": /mutators/0: handler x: config: unknown field "vlaue"`},
		{func(d *spec.Rule) { d.Errors = []spec.Handler{{Handler: "q"}} }, `bad.yaml:7: rule "bad": /errors/0: unknown handler "q", known are json, x`},
		{func(d *spec.Rule) { d.Upstream.URL = "users:80" }, `bad.yaml:7: rule "bad": /upstream/url: "users:80" must begin with http://, https:// or h2c://`},
		{func(d *spec.Rule) { d.Upstream.URL = "http://" }, `bad.yaml:7: rule "bad": /upstream/url: "http://" has no host`},
		{func(d *spec.Rule) { d.Upstream.URL = "http://u:p@a" }, `bad.yaml:7: rule "bad": /upstream/url: must not have user information, a query or a fragment`},
		{func(d *spec.Rule) { d.Upstream.Timeout = "3" }, `bad.yaml:7: rule "bad": /upstream/timeout: "3" is not a positive duration such as 5s`},
		{func(d *spec.Rule) { d.Faults = []spec.Fault{{RuleID: "bad", Message: "as written"}} }, `rule "bad": as written`},
	} {
		good, bad := definition("good", "http://a/<.*>"), definition("bad", "http://a/b/<.*>")
		c.edit(&bad)
		compiler, _ := compiler()
		set, err := compiler.Compile(spec.ListOf(good, bad), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := set.Faults(); len(got) != 1 || got[0].Error() != c.want || set.Len() != 2 || set.Refused() != 1 {
			t.Errorf("got  %v\nwant %s", got, c.want)
		}
		if diff := cmp.Diff(set.Faults(), set.Rules()[1].Faults); diff != "" {
			t.Error(diff)
		}
		e := &Engine{}
		e.Swap(set)
		if d := e.Decide(t.Context(), get(t, "http://a/c")); !d.Allow {
			t.Errorf("%s: the good rule refuses: %v", c.want, d.Err)
		}
		d := e.Decide(t.Context(), get(t, "http://a/b/c"))
		if known := !strings.Contains(c.want, "/match/url"); d.Allow == known || known && d.Reason != ReasonRuleBroken {
			t.Errorf("%s: a request of the bad rule: %+v", c.want, d)
		}
	}
}

func TestABrokenRuleRefusesWhateverItMayHaveMeant(t *testing.T) {
	for _, written := range []string{
		`"match":{"url":"http://a/b","methods":"GET"}`,
		`"match":{"url":"http://a/b","methods":["GET","*"]}`,
		`"match":{"url":"http://a/b","methods":["GET"],"headers":{"X":1}}`,
		`"match":{"url":"http://a/b","methods":["GET"],"headers":{"X Y":"1"}}`,
		`"match":{"url":"http://a/b","methods":["GET"],"query":{"q":{}}}`,
		`"match":{"url":"http://a/b","methods":["GET"]},"authorizers":[{"handler":"x"}],"unknown":1`,
		`"matchesUrl":"http://a/b","matchesMethods":["GET"],"mode":"unknown"`,
	} {
		bad, err := spec.Decode("r.json", []byte(`{"id":"bad",`+written+`}`))
		if err != nil {
			t.Fatal(err)
		}
		e := engine(t, definition("broad", "http://a/<.*>"), bad[0])
		if d := e.Decide(t.Context(), get(t, "http://a/b")); d.Allow || d.Reason != ReasonRuleBroken {
			t.Errorf("%s: %+v", written, d)
		}
	}
}

func TestAWrongCompilerGivesNoSet(t *testing.T) {
	for want, edit := range map[string]func(*Compiler){
		`errors.fallback: unknown handler "z", known are json, x`:                          func(c *Compiler) { c.Fallback = []string{"z"} },
		`errors.fallback: handler "x" is not enabled, set errors.handlers.x.enabled`:       func(c *Compiler) { c.Fallback, c.ErrorHandlers.Settings = []string{"x"}, nil },
		`errors.fallback: handler "json" is not enabled, set errors.handlers.json.enabled`: func(c *Compiler) { c.ErrorHandlers.Settings = map[string]Settings{"json": {}} },
		`default upstream "backend" must begin with http://, https:// or h2c://`:           func(c *Compiler) { c.Upstream = "backend" },
		`errors.fallback: handler json: config: unknown field "x"`:                         func(c *Compiler) { c.ErrorHandlers.Settings["json"] = Settings{true, handler.Raw(`{"x":1}`)} },
	} {
		c, _ := compiler()
		edit(c)
		if set, err := c.Compile(spec.List{}, nil); set != nil || err == nil || err.Error() != want {
			t.Errorf("got %v\nwant %s", err, want)
		}
	}
}

func TestTheFallbackJSONNeedsNoSettings(t *testing.T) {
	c, _ := compiler()
	c.ErrorHandlers.Settings = nil
	if _, err := c.Compile(spec.List{}, nil); err != nil {
		t.Error(err)
	}
}

func TestRulesWithoutAnUpstreamUseTheDefault(t *testing.T) {
	c, _ := compiler()
	c.Upstream = "http://backend:8080"
	own := definition("own", "http://a/own")
	own.Upstream.URL = "http://own"
	set, err := c.Compile(spec.ListOf(definition("default", "http://a/"), own), nil)
	if err != nil {
		t.Fatal(err)
	}
	e := &Engine{}
	e.Swap(set)
	for url, want := range map[string]string{"http://a/": "http://backend:8080", "http://a/own": "http://own"} {
		if got := e.Decide(t.Context(), get(t, url)).Upstream; got == nil || got.URL.String() != want {
			t.Errorf("%s: %v", url, got)
		}
	}
	if got := engine(t, definition("a", "http://a/")).Decide(t.Context(), get(t, "http://a/")); !got.Allow || got.Upstream != nil {
		t.Errorf("a rule without any upstream: %+v", got)
	}
}

func TestEqualHandlersAreSharedAndSurviveAReload(t *testing.T) {
	c, built := compiler()
	defs := []spec.Rule{definition("a", "http://a/"), definition("b", "http://b/"), definition("c", "http://c/")}
	defs[1].Authenticators = []spec.Handler{x(`{ "value" : "alice" }`)}
	defs[2].Authenticators = []spec.Handler{x(`{"value":"carol"}`)}
	first, err := c.Compile(spec.ListOf(defs...), nil)
	if err != nil {
		t.Fatal(err)
	}
	if n := built.Load(); n != 2 {
		t.Errorf("%d authenticators were built for two configurations", n)
	}
	defs[2].Authenticators = []spec.Handler{x(`{"value":"dave"}`)}
	second, err := c.Compile(spec.ListOf(defs...), first)
	if err != nil {
		t.Fatal(err)
	}
	if n := built.Load(); n != 3 {
		t.Errorf("%d authenticators were built, want one more for the changed configuration", n)
	}
	c.Authenticators.Settings = map[string]Settings{"x": {Enabled: true, Config: handler.Raw(`{"value":"changed"}`)}}
	third, err := c.Compile(spec.ListOf(defs[:1]...), second)
	if err != nil {
		t.Fatal(err)
	}
	if n := built.Load(); n != 4 {
		t.Errorf("%d authenticators were built, want one more for the changed base", n)
	}
	if first.Version() != 1 || second.Version() != 2 || third.Version() != 3 {
		t.Errorf("versions %d %d %d", first.Version(), second.Version(), third.Version())
	}
}

func TestOwnedHeadersAreThoseOfAllMutators(t *testing.T) {
	c, _ := compiler()
	c.OwnedHeaders = []string{"x-always"}
	a, b := definition("a", "http://a/"), definition("b", "http://b/")
	a.Mutators = []spec.Handler{x(`{"value":"user"}`), x("")}
	b.Mutators = []spec.Handler{x(`{"value":"user"}`), x(`{"value":"role"}`)}
	set, err := c.Compile(spec.ListOf(a, b), nil)
	if diff := cmp.Diff([]string{"X-Always", "X-Base", "X-Role", "X-User"}, set.OwnedHeaders()); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

// placed is an authenticator that reads a credential from places of its own.
type placed struct {
	fakeAuthn
	header, cookie string
}

func (p placed) CredentialPlaces() (headers, cookies []string) {
	if p.header != "" {
		headers = []string{p.header}
	}
	if p.cookie != "" {
		cookies = []string{"other", p.cookie}
	}
	return headers, cookies
}

// baker is a mutator that writes a cookie.
type baker struct{ fakeMutator }

func (*baker) OwnedCookies() []string { return []string{"user_id"} }

func TestACredentialThatAMutatorWritesIsAFaultOfTheRuleThatReadsIt(t *testing.T) {
	for _, c := range []struct {
		reader placed
		want   string
	}{
		{placed{header: "X_user"}, "reads its credentials from the header X_user, which a mutator writes and which is removed from every request"},
		{placed{cookie: "User.ID"}, "reads its credentials from the cookie User.ID, which a mutator writes and which is removed from every request"},
		{placed{header: "X-Token", cookie: ""}, ""},
		{placed{cookie: "X-User"}, ""},
		{placed{}, ""},
	} {
		compiler, _ := compiler()
		compiler.Authenticators.Catalog["p"] = handler.Of(func() config { return config{} }, func(config) (authn.Authenticator, error) { return c.reader, nil })
		compiler.Authenticators.Settings["p"] = Settings{Enabled: true}
		compiler.Mutators.Catalog["b"] = handler.Of(func() config { return config{} }, func(config) (mutators.Mutator, error) { return &baker{}, nil })
		compiler.Mutators.Settings["b"] = Settings{Enabled: true}
		writer, reader := definition("writer", "http://a/w"), definition("reader", "http://a/r")
		writer.Mutators = []spec.Handler{x(`{"value":"user"}`), {Handler: "b"}}
		reader.Authenticators = []spec.Handler{{Handler: "p"}}
		set, err := compiler.Compile(spec.ListOf(reader, writer), nil)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range set.Faults() {
			got = append(got, f.RuleID+" "+f.Pointer+" "+f.Message)
		}
		var want []string
		if c.want != "" {
			want = []string{"reader /authenticators/0 " + c.want}
		}
		if diff := cmp.Diff(want, got); diff != "" || set.Refused() != len(want) {
			t.Errorf("%+v (-want +got):\n%s", c.reader, diff)
		}
		e := &Engine{}
		e.Swap(set)
		if d := e.Decide(t.Context(), get(t, "http://a/r")); c.want != "" && (d.Allow || d.Reason != ReasonRuleBroken) {
			t.Errorf("%+v: %+v", c.reader, d)
		}
		if diff := cmp.Diff([]string{"user_id"}, set.OwnedCookies()); diff != "" {
			t.Error(diff)
		}
	}
}

func TestTiesAreReportedAtLoadAsWarnings(t *testing.T) {
	set := engine(t, definition("a", "http://a/<.*>"), definition("b", "http://a/<[a-z]+>")).Set()
	want := []spec.Fault{{Source: "b.yaml", Line: 7, RuleID: "b", Pointer: "/match", Warning: true,
		Message: `matches some of the requests of rule "a" (a.yaml:7) and neither comes first; these are refused, set a priority`}}
	if diff := cmp.Diff(want, set.Faults()); diff != "" || set.Refused() != 0 {
		t.Error(diff)
	}
}

func TestRefuseOverlapMakesEverySecondMatchAmbiguous(t *testing.T) {
	c, _ := compiler()
	c.RefuseOverlap = true
	set, err := c.Compile(spec.ListOf(definition("a", "http://a/<.*>"), definition("b", "http://a/b")), nil)
	if err != nil {
		t.Fatal(err)
	}
	e := &Engine{}
	e.Swap(set)
	for url, want := range map[string]string{"http://a/b": ReasonAmbiguousRules, "http://a/c": ReasonAllowed} {
		if got := e.Decide(t.Context(), get(t, url)).Reason; got != want {
			t.Errorf("%s: %s", url, got)
		}
	}
}

func TestARuleIsFoundByItsID(t *testing.T) {
	set := engine(t, definition("a", "http://a/"), definition("b", "http://b/")).Set()
	if r, ok := set.Rule("b"); !ok || r.Match.URL != "http://b/" {
		t.Errorf("%+v", r)
	}
	if _, ok := set.Rule("c"); ok {
		t.Error("an unknown rule was found")
	}
}

// BenchmarkCompile reports what stays in memory per rule, the definition included.
func BenchmarkCompile(b *testing.B) {
	for _, kind := range []struct{ name, pattern string }{
		{"host", "http://a/svc%d/<[^/]+>/x"},
		{"anyhost", "http://<[^/]+>/resources/%d/<(items|parts)>"},
		{"floating", "http://<.*>/resources/%d/<(items|parts)>"},
		{"domain", "https://<[a-z]+>.svc%d.example.com/<.*>"},
		{"engine", "http://<[^/]+>/resources/%d/<((a|b)/)*c>"},
	} {
		b.Run(kind.name+"/10000", func(b *testing.B) {
			c, _ := compiler()
			rules := make([]map[string]any, 10_000)
			for i := range rules {
				x := map[string]any{"handler": "x", "config": map[string]string{"value": "alice"}}
				rules[i] = map[string]any{"id": "resource-" + strconv.Itoa(i), "match": map[string]any{"url": fmt.Sprintf(kind.pattern, i), "methods": []string{"GET"}},
					"upstream": map[string]string{"url": "http://127.0.0.1:9"}, "authenticators": []any{x}, "authorizer": x, "mutators": []any{x}}
			}
			data, err := json.Marshal(rules)
			if err != nil {
				b.Fatal(err)
			}
			rules = nil //nolint:ineffassign // it must not count
			before := heap()
			defs, err := spec.Decode("rules.json", data)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			var set *Set
			for b.Loop() {
				if set, err = c.Compile(spec.ListOf(defs...), nil); err != nil || set.Faults() != nil {
					b.Fatal(err, set.Faults())
				}
			}
			b.ReportMetric(float64(heap()-before)/float64(len(defs)), "live-B/rule")
			runtime.KeepAlive(data)
			runtime.KeepAlive(set)
		})
	}
}

// heap returns how much memory is alive.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestAPolicyOfARuleIsCheckedAndKept(t *testing.T) {
	text := `[{"id": "r", "match": {"url": "http://h/r", "methods": ["GET"]}, "authenticators": [{"handler": "x"}], "authorizer": {"handler": "x"}, "cors": %s}]`
	for _, c := range []struct {
		name, cors string
		want       []string
	}{
		{"a policy", `{"allowed_origins": ["https://a.example"], "max_age": 5, "allowed_headers": []}`, nil},
		{"switched off", `{"enabled": false}`, nil},
		{"no origin", `{}`, []string{"/cors/allowed_origins must be set"}},
		{"a bad origin and credentials for all", `{"allowed_origins": ["*", "x"], "allow_credentials": true}`,
			[]string{`/cors/allowed_origins/1 "x" is not an origin such as https://app.example.com`, "/cors/allow_credentials would let every site act as the visitor: name the allowed_origins instead of *"}},
		{"wrong types", `{"allowed_origins": "*", "max_age": "1h", "origins": []}`,
			[]string{"/cors/allowed_origins must be a list, not a string", "/cors/max_age must be an integer of 32 bits", "/cors/origins unknown field", "/cors/allowed_origins must be set"}},
	} {
		defs, err := spec.Decode("r.json", fmt.Appendf(nil, text, c.cors))
		if err != nil {
			t.Fatal(err)
		}
		again, err := json.Marshal(defs)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := spec.Decode("r.json", again); err != nil || len(c.want) == 0 && !cmp.Equal(defs[0].CORS, back[0].CORS) {
			t.Errorf("%s: %v, as JSON it is %s", c.name, err, again)
		}
		compile, _ := compiler()
		set, err := compile.Compile(spec.ListOf(defs...), nil)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range set.Faults() {
			got = append(got, f.Pointer+" "+f.Message)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got)\n%s", c.name, diff)
		}
	}
}

func TestDefinitionsThatWereGivenStayAsTheyAre(t *testing.T) {
	c, _ := compiler()
	defs := []spec.Rule{{ID: "a"}, {ID: "a", Faults: make([]spec.Fault, 0, 8)}}
	want := slices.Clone(defs)
	set, err := c.Compile(spec.ListOf(defs...), nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, defs); diff != "" {
		t.Errorf("their source compiles them again (-given +now)\n%s", diff)
	}
	if spare := defs[1].Faults[:1][0]; spare != (spec.Fault{}) {
		t.Errorf("%v was written behind the faults of the source", spare)
	}
	for i, r := range set.Rules() {
		if len(r.Faults) == 0 {
			t.Errorf("rule %d is refused and says no fault", i)
		}
	}
}
