package match

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/rules/spec"
)

func onePattern(t *testing.T, m spec.Match) *Pattern {
	t.Helper()
	m.Methods = []string{"GET"}
	p, problems := NewCompiler(Regexp).Compile(m)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return p
}

func TestAPatternKnowsTheHostsThatItMayBeFor(t *testing.T) {
	for pattern, want := range map[string]map[string]bool{
		"https://a.example/<.*>":                     {"a.example": true, "b.example": false, "a.example:8443": false},
		"https://a.example:8443/<.*>":                {"a.example": false, "a.example:8443": true},
		"<https?>://<[a-z]+>.example/x":              {"a.example": true, "a.b.example": false, "example": false, "xexample": false},
		"http://<[^/]+>/<.*>":                        {"a.example": true, "b:1": true},
		"http://<.*>/users":                          {"a.example": true},
		"<.*>":                                       {"a.example": true},
		"https://<(?!admin)[a-z]+>.example/<.*>":     {"a.example": true},
		"https://<{a,b}>.example/<(?!secret)[a-z]+>": {"c.other": false},
	} {
		got := map[string]bool{}
		for host := range want {
			got[host] = onePattern(t, spec.Match{URL: pattern}).OnHost(host)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", pattern, diff)
		}
	}
	structured := onePattern(t, spec.Match{Hosts: []string{"a.example", "*.b.example"}, Paths: []string{"/x"}})
	for host, want := range map[string]bool{"a.example": true, "a.example:8443": true, "c.b.example": true, "b.example": false} {
		if got := structured.OnHost(host); got != want {
			t.Errorf("%s: got %t, want %t", host, got, want)
		}
	}
	if (*Pattern)(nil).OnHost("a") {
		t.Error("a pattern that could not be read is on a host")
	}
}

func TestAPatternNamesAPathOnlyInFullAndOnTheSameHost(t *testing.T) {
	everywhere, a := onePattern(t, spec.Match{URL: "https://<[^/]+>/<.*>"}), onePattern(t, spec.Match{URL: "https://a.example/<.*>"})
	for _, c := range []struct {
		pattern string
		hosts   *Pattern
		want    bool
	}{
		{"https://a.example/cb", a, true},
		{"https://b.example/cb", a, false},
		{"https://b.example/cb", everywhere, true},
		{"https://<[^/]+>/cb", a, true},
		{"https://a.example/cb/more", a, false},
		{"https://a.example/c<.*>", a, false},
		{"https://a.example/cb", nil, false},
	} {
		if got := onePattern(t, spec.Match{URL: c.pattern}).Names("/cb", c.hosts); got != c.want {
			t.Errorf("%s: got %t, want %t", c.pattern, got, c.want)
		}
	}
}
