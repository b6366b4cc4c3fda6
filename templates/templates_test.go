package templates

import (
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/fault"
)

func input() *access.Input {
	u, err := url.Parse("https://api.example.com/users/42?q=a&q=b")
	if err != nil {
		panic(err)
	}
	return &access.Input{
		Request: &access.Request{Method: "GET", URL: u, Header: http.Header{"X-Trace": {"t1"}}},
		Subject: access.Subject{ID: "alice", Extra: map[string]any{
			"email": "a@example.com", "n": float64(12345678), "ratio": 0.5, "admin": true,
			"groups": []any{"dev", "ops"}, "deep": map[string]any{"a": map[string]any{"b": "c"}}, "null": nil,
			"quote": `","role":"admin`, "list": []string{"b", "a"},
		}},
		Captures: []string{"users", "42"},
	}
}

func TestTheDialectShowsWhatOathkeeperShows(t *testing.T) {
	for _, c := range []struct{ template, want string }{
		{``, ``},
		{`plain`, `plain`},
		{`{{ print .Subject }}`, `alice`},
		{`{{ .Subject }}`, `alice`},
		{`{{ .Subject | print }}`, `alice`},
		{`u:{{ print .Subject }}/{{ .Extra.email }}`, `u:alice/a@example.com`},
		{`{{ print .Extra.missing }}|{{ .Extra.missing }}|{{ .Extra.null }}`, `||`},
		{`{{ .Extra.deep.a.b }}`, `c`},
		{`{{ .Extra.n }} {{ print .Extra.n }} {{ .Extra.ratio }} {{ .Extra.admin }}`, `12345678 12345678 0.5 true`},
		{`{{ print .Extra.groups }}`, `[dev ops]`},
		{`{{ printIndex .MatchContext.RegexpCaptureGroups 1 }}`, `42`},
		{`{{ printIndex .MatchContext.RegexpCaptureGroups 7 }}`, ``},
		{`{{ printIndex .MatchContext.RegexpCaptureGroups -1 }}`, ``},
		{`{{ printIndex .Extra.groups 0 }}{{ printIndex .Extra.missing 0 }}`, `dev`},
		{`{{ .MatchContext.Method }} {{ .MatchContext.URL }} {{ .MatchContext.URL.Path }}`, `GET https://api.example.com/users/42?q=a&q=b /users/42`},
		{`{{ .MatchContext.URL.Scheme }} {{ .MatchContext.URL.Host }} {{ .MatchContext.URL.RawQuery }} {{ .MatchContext.URL.Query.Get "q" }}`, `https api.example.com q=a&q=b a`},
		{`{{ .MatchContext.Header.Get "x-trace" }} {{ .Header.Get "X-Set" }}`, `t1 before`},
		{`{{ range $i, $g := .Extra.groups }}{{ if $i }},{{ end }}{{ $g | upper }}{{ end }}`, `DEV,OPS`},
		{`{{ with .Extra.deep }}{{ .a.b }}{{ $.Subject }}{{ end }}`, `calice`},
		{`{{ define "x" }}<{{ . }}>{{ end }}{{ template "x" .Subject }}`, `<alice>`},
		{`{{ join "," .Extra.groups }} {{ default "none" .Extra.missing }} {{ b64enc .Subject }} {{ .Extra.groups | toJson }}`, `dev,ops none YWxpY2U= ["dev","ops"]`},
		{`{{ repeat 3 "ab" }}{{ indent 2 "x\ny" }}{{ nindent 1 "z" }}`, "ababab  x\n  y\n z"},
		{`{{ "I am Bob" | replace " " "-" }}`, `I-am-Bob`},
		{`{{ until 3 }} {{ untilStep 6 0 -2 }} {{ seq 3 }}|{{ seq 3 1 }}|{{ seq 0 2 5 }}|{{ seq 5 1 2 }}|{{ seq }}`, `[0 1 2] [6 4 2] 1 2 3|3 2 1|0 2 4||`},
	} {
		tmpl, err := Compile("f", c.template)
		if err != nil {
			t.Errorf("%s: %v", c.template, err)
			continue
		}
		got, err := tmpl.Render(input(), http.Header{"X-Set": {"before"}})
		if err != nil || got != c.want {
			t.Errorf("%s: got %q, %v; want %q", c.template, got, err, c.want)
		}
	}
}

func TestMistakesAreFoundAtLoadAndNameTheField(t *testing.T) {
	for _, template := range []string{
		`{{ print .Subject`, `{{ .Subjct }}`, `{{ print .MatchContext.Ur }}`, `{{ .MatchContext.URL.Pth }}`, `{{ if .Sub }}{{ end }}`,
		`{{ with .Extra }}{{ $.Nope }}{{ end }}`, `{{ (.MatchContext.Foo).Bar }}`, `{{ print (.Foo) }}`, `{{ .Subject.Foo }}`,
		`{{ nosuch }}`, `{{ end }}`, "\xff", strings.Repeat("x", MaxSource+1), `{{ template "x" }}{{ define "y" }}{{ .A }}{{ end }}{{ .Nope }}`,
	} {
		for _, compile := range []func() error{
			func() error { _, err := Compile("headers.X-User", template); return err },
			func() error { _, err := CompileJSON("headers.X-User", template); return err },
		} {
			if err := compile(); err == nil || !strings.HasPrefix(err.Error(), "headers.X-User:") {
				t.Errorf("%.60q: got %v, want an error that starts with the field", template, err)
			}
		}
	}
}

// The list is written out so that an upgrade of sprig cannot add a function unseen.
func TestTemplatesReachNoEnvironmentNetworkClockOrKeys(t *testing.T) {
	m := functions(plainText)
	for _, name := range append([]string{"env", "expandenv", "getHostByName", "now", "date", "uuidv4", "randAlpha", "randBytes"}, removed...) {
		if _, ok := m[name]; ok {
			t.Errorf("%s is callable", name)
		}
		if _, err := Compile("f", "{{ "+name+" }}"); err == nil {
			t.Errorf("a template may call %s", name)
		}
	}
	reviewed := strings.Fields(`
		_bound _emit abbrev abbrevboth add add1 add1f addf adler32sum all any append atoi b32dec b32enc b64dec b64enc base biggest camelcase cat ceil
		chunk clean coalesce compact concat contains deepCopy deepEqual default dict dig dir div divf duration empty ext fail first float64 floor
		fromJson get has hasKey hasPrefix hasSuffix indent initial initials int int64 isAbs join kebabcase keys kindIs kindOf last list lower max
		maxf merge mergeOverwrite min minf mod mul mulf mustAppend mustChunk mustCompact mustDateModify mustDeepCopy mustFirst mustFromJson mustHas
		mustInitial mustLast mustMerge mustMergeOverwrite mustPrepend mustPush mustRegexFind mustRegexFindAll mustRegexMatch mustRegexReplaceAll
		mustRegexReplaceAllLiteral mustRegexSplit mustRest mustReverse mustSlice mustToJson mustToPrettyJson mustToRawJson mustUniq mustWithout
		must_date_modify nindent nospace omit osBase osClean osDir osExt osIsAbs pick pluck plural prepend print printIndex push quote regexFind
		regexFindAll regexMatch regexQuoteMeta regexReplaceAll regexReplaceAllLiteral regexSplit repeat replace rest reverse round semver
		semverCompare seq set sha1sum sha256sum sha512sum slice snakecase sortAlpha split splitList splitn squote sub subf substr swapcase ternary
		title toDecimal toJson toPrettyJson toRawJson toString toStrings trim trimAll trimPrefix trimSuffix trimall trunc tuple typeIs typeIsLike
		typeOf uniq unixEpoch unset until untilStep untitle upper urlJoin urlParse values without wrap wrapWith`)
	if diff := cmp.Diff(reviewed, slices.Sorted(maps.Keys(m))); diff != "" {
		t.Errorf("functions (-reviewed +callable):\n%s", diff)
	}
}

func TestOutputStepsAndListsAreBounded(t *testing.T) {
	in := input()
	in.Subject.ID = strings.Repeat("s", MaxOutput)
	for template, want := range map[string]fault.Kind{
		`{{ .Subject }}x`:                                              fault.TooLarge,
		`{{ upper .Subject }}x`:                                        fault.TooLarge,
		`{{ range 100000000 }}{{ end }}`:                               fault.TooLarge,
		`{{ range 100000000 }}{{ $.Subject }}{{ end }}`:                fault.TooLarge,
		`{{ repeat 100000000000 "x" }}`:                                fault.TooLarge,
		`{{ indent 1000 "\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n" }}`: fault.TooLarge,
		`{{ indent 100000000000 "x" }}`:                                fault.Internal,
		`{{ until 100000000 }}`:                                        fault.Internal,
		`{{ seq 100000000 }}`:                                          fault.Internal,
		`{{ $x := "0123456789" }}{{ range until 100 }}{{ $x = cat $x $x }}{{ end }}`:           fault.TooLarge,
		`{{ $x := list 1 }}{{ range until 100 }}{{ $x = list $x $x }}{{ end }}{{ toJson $x }}`: fault.TooLarge,
		`{{ $x := upper .Subject }}{{ replace "S" $x (replace "S" $x $x) }}`:                   fault.TooLarge,
		`{{ $d := dict }}{{ $d := set $d "self" $d }}{{ print $d }}`:                           fault.TooLarge,
		`{{ $d := dict "in" (dict) }}{{ $_ := set (get $d "in") "up" $d }}{{ $d }}`:            fault.TooLarge,
		`{{ fail "stop" }}`:           fault.Internal,
		`{{ .Extra.missing.deeper }}`: fault.Internal,
		`{{ regexFind "[" "x" }}`:     fault.Internal, // panics inside
		`{{ define "x" }}{{ if gt . 0 }}{{ template "x" (sub . 1) }}{{ template "x" (sub . 1) }}{{ end }}{{ end }}{{ template "x" 60 }}`: fault.TooLarge,
	} {
		tmpl, err := Compile("f", template)
		if err != nil {
			t.Errorf("%s: %v", template, err)
			continue
		}
		got, err := tmpl.Render(in, nil)
		if err == nil || got != "" || fault.KindOf(err) != want {
			t.Errorf("%s: got %.20q, %v (%s); want kind %s", template, got, err, fault.KindOf(err), want)
		}
		if fault.KindOf(err) == fault.Internal && !strings.Contains(err.Error(), "template f") {
			t.Errorf("%s: error does not name the field: %v", template, err)
		}
	}
	for _, garbage := range []*access.Input{{}, {Request: &access.Request{}}} {
		tmpl, err := Compile("f", `{{ .MatchContext.URL.Path }}{{ .MatchContext.URL.Query }}`)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tmpl.Render(garbage, nil); err == nil {
			t.Error("an input without a request was rendered")
		}
	}
}

func TestAValueCannotLeaveItsPlaceInJSON(t *testing.T) {
	in := input()
	in.Subject.ID = `x","role":"admin`
	in.Request.URL.RawQuery = `1,"role":"admin"`
	in.Captures = []string{`"`, "a\\\x00\n\xff<é", `u0022,"role":1`}
	for _, c := range []struct {
		template, want string
		kind           fault.Kind
	}{
		{template: `{"s":"{{ .Subject }}"}`, want: `{"s":"x\",\"role\":\"admin"}`},
		{template: `{"s":"{{ print .Subject }}","t":"{{ upper .Subject }}"}`, want: `{"s":"x\",\"role\":\"admin","t":"X\",\"ROLE\":\"ADMIN"}`},
		{template: `{"{{ .Subject }}":1}`, want: `{"x\",\"role\":\"admin":1}`},
		{template: `{"s":"a\"{{ printIndex .MatchContext.RegexpCaptureGroups 0 }}"}`, want: `{"s":"a\"\""}`},
		{template: `{"s":"{{ printIndex .MatchContext.RegexpCaptureGroups 1 }}"}`, want: `{"s":"a\\\u0000\n\ufffd\u003cé"}`},
		{template: `{"g":{{ toJson .Extra.groups }},"n":{{ .Extra.n }},"b":{{ .Extra.admin }}}`, want: `{"g":["dev","ops"],"n":12345678,"b":true}`},
		{template: `{"g":[{{ range $i, $g := .Extra.groups }}{{ if $i }},{{ end }}"{{ $g }}"{{ end }}]}`, want: `{"g":["dev","ops"]}`},
		{template: `{{ .Extra.deep | toJson }}`, want: `{"a":{"b":"c"}}`},
		{template: `{{ if eq .MatchContext.Method "GET" }}{"s":"{{ .Extra.quote }}"}{{ else }}{}{{ end }}`, want: `{"s":"\",\"role\":\"admin"}`},
		{template: `{{ $x := .Subject }}{"s":"{{ $x }}"}`, want: `{"s":"x\",\"role\":\"admin"}`},
		{template: `{"q":{{ .MatchContext.URL.RawQuery }}}`, kind: fault.Invalid},
		{template: `{"q":{{ .MatchContext.URL.RawQuery | trim }}}`, kind: fault.Invalid},
		{template: `{"s":"\{{ printIndex .MatchContext.RegexpCaptureGroups 2 }}"}`, kind: fault.Invalid},
		{template: `{"s":"\{{ printIndex .MatchContext.RegexpCaptureGroups 2 | trim }}"}`, kind: fault.Invalid},
		{template: `{"s":{{ .Extra.missing }}}`, kind: fault.Internal},
		{template: `{"s":"`, kind: fault.Internal},
	} {
		tmpl, err := CompileJSON("claims", c.template)
		if err != nil {
			t.Errorf("%s: %v", c.template, err)
			continue
		}
		got, err := tmpl.Render(in, nil)
		if c.want == "" {
			if err == nil || fault.KindOf(err) != c.kind {
				t.Errorf("%s: got %s, %v; want kind %s", c.template, got, err, c.kind)
			}
			continue
		}
		if err != nil || string(got) != c.want {
			t.Errorf("%s: got %s, %v; want %s", c.template, got, err, c.want)
		}
	}
}

// Claims are shared by all requests of a cached token.
func TestATemplateCannotChangeWhatItReads(t *testing.T) {
	in, same := input(), input()
	written := http.Header{"X-Set": {"before"}}
	for _, template := range []string{
		`{{ set .Extra "admin" "yes" }}`, `{{ unset .Extra "email" }}`, `{{ merge .Extra.deep (dict "x" 1) }}`,
		`{{ mergeOverwrite .Extra (dict "email" "evil") }}`, `{{ mustMerge .Extra (dict "x" 1) }}`, `{{ mustMergeOverwrite .Extra (dict "x" 1) }}`,
		`{{ sortAlpha .Extra.list }}`, `{{ sortAlpha .MatchContext.RegexpCaptureGroups }}`, `{{ sortAlpha (index .Header "X-Set") }}`,
		`{{ $x := set (index .Extra.deep "a") "b" "d" }}{{ $x }}`,
		`{{ .MatchContext.URL.UnmarshalBinary (.MatchContext.URL.JoinPath "../admin").MarshalBinary }}`,
	} {
		tmpl, err := Compile("f", template)
		if err != nil {
			t.Errorf("%s: %v", template, err)
			continue
		}
		var wait sync.WaitGroup
		for range 4 { // the race detector sees a write to what is shared
			wait.Go(func() {
				if _, err := tmpl.Render(in, written); err != nil {
					t.Errorf("%s: %v", template, err)
				}
			})
		}
		wait.Wait()
		if diff := cmp.Diff(same, in, cmpopts.EquateComparable(netip.Addr{})) + cmp.Diff(http.Header{"X-Set": {"before"}}, written); diff != "" {
			t.Errorf("%s changed its input:\n%s", template, diff)
		}
	}
}

// Any template compiles or is refused, renders or fails, within bounds; and the
// short way shows what the general form shows.
func FuzzTheShortWayShowsTheSameAsTheGeneralForm(f *testing.F) {
	f.Add("alice", "email", "a@b", "u:{{ print .Subject }}{{ .Extra.email }}", 0)
	f.Add(`"`, "a", "\xff", `{"x":"{{ .Extra.a }}{{ .MatchContext.URL.Path }}"}`, 1)
	f.Add("", "", "", `{{ printIndex .MatchContext.RegexpCaptureGroups 0 }}{{ .MatchContext.Header.Get "a" }}{{ print (print .Extra.deep.a) }}`, 2)
	f.Add("a", "b", "c", `{{ range $i, $g := .Extra.groups }}{{ if $i }},{{ end }}"{{ $g | upper }}"{{ end }}{{ with .Extra }}{{ .a }}{{ end }}`, 3)
	f.Fuzz(func(t *testing.T, id, key, value, template string, n int) {
		in := input()
		in.Subject.ID, in.Subject.Extra[key] = id, value
		in.Request.URL.Path, in.Captures = value, []string{id, value}
		if n%2 == 0 {
			in.Subject.Extra[key] = float64(n)
		}
		for _, where := range []place{plainText, jsonValue, urlReference, identifier} {
			p, err := compile("f", template, where)
			if err != nil {
				continue
			}
			general, generalErr := p.runGeneral(in, nil)
			if len(general) > MaxOutput {
				t.Errorf("%q renders %d bytes", template, len(general))
			}
			if !p.simple {
				continue
			}
			short, ok, shortErr := p.runParts(in)
			if !ok && shortErr == nil {
				continue
			}
			if fmt.Sprint(fault.KindOf(shortErr), shortErr == nil) != fmt.Sprint(fault.KindOf(generalErr), generalErr == nil) || string(short) != string(general) {
				t.Errorf("%q: short %q, %v; general %q, %v", template, short, shortErr, general, generalErr)
			}
		}
	})
}

func TestEveryTemplateOfTheDocumentationRenders(t *testing.T) {
	pages, err := filepath.Glob("../docs/handlers/*.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, name := range pages {
		page, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range regexp.MustCompile("`([^`]*\\{\\{.*?\\}\\})`").FindAllSubmatch(page, -1) {
			found++
			tmpl, err := Compile(name, string(match[1]))
			if err == nil {
				_, err = tmpl.Render(input(), nil)
			}
			if err != nil {
				t.Errorf("%s: %v", match[1], err)
			}
		}
	}
	if found < 10 {
		t.Errorf("found %d templates only", found)
	}
}

func TestSimpleTemplatesDoNotAllocate(t *testing.T) {
	in := input()
	for _, template := range []string{`constant`, `{{ print .Subject }}`, `{{ .Extra.email }}`, `{{ printIndex .MatchContext.RegexpCaptureGroups 0 }}`} {
		tmpl, err := Compile("f", template)
		if err != nil {
			t.Fatal(err)
		}
		if n := testing.AllocsPerRun(100, func() { _, _ = tmpl.Render(in, nil) }); n != 0 {
			t.Errorf("%s: %v allocations", template, n)
		}
	}
}

func BenchmarkRender(b *testing.B) {
	in := input()
	for _, c := range []struct{ name, template string }{
		{"one look-up", `{{ print .Subject }}`},
		{"several look-ups", `{{ print .Subject }}/{{ .Extra.email }}/{{ .MatchContext.Method }}`},
		{"general", `{{ .Subject | upper }}`},
	} {
		tmpl, err := Compile("f", c.template)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := tmpl.Render(in, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	claims, err := CompileJSON("claims", `{"aud":["api"],"email":"{{ .Extra.email }}"}`)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("claims", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := claims.Render(in, nil); err != nil {
				b.Fatal(err)
			}
		}
	})
}
