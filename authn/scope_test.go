package authn

import "testing"

func TestScopeStrategies(t *testing.T) {
	for _, c := range []struct {
		granted, required           string
		exact, hierarchic, wildcard bool
	}{
		{"a", "a", true, true, true},
		{"a", "a.b", false, true, false},
		{"a", "ab", false, false, false},
		{"a.b", "a", false, false, false},
		{"a.", "a.b", false, false, false},
		{"a.*", "a.b", false, false, true},
		{"a.*", "a.b.c", false, false, true},
		{"a.*", "a", false, false, false},
		{"a.*", "a.", false, false, false},
		{"a.*.c", "a.b.c", false, false, true},
		{"a.*.c", "a.b.d", false, false, false},
		{"a.*.c", "a.b.c.d", false, false, false},
		{"*", "a", false, false, true},
		{"*", "a.b", false, false, true},
		{"*", "", false, false, false},
		{"", "a", false, false, false},
		{"", "", false, false, false},
		{"A", "a", false, false, false},
	} {
		for name, want := range map[string]bool{"exact": c.exact, "Hierarchic": c.hierarchic, "wildcard": c.wildcard} {
			s := must(newScopeStrategy(name))(t)
			if got := s([]string{"x", c.granted}, c.required); got != want {
				t.Errorf("%s: %q covers %q: got %v, want %v", name, c.granted, c.required, got, want)
			}
			if s(nil, c.required) {
				t.Errorf("%s: nothing covers %q", name, c.required)
			}
		}
	}
	if _, err := newScopeStrategy("exakt"); err == nil {
		t.Error("an unknown strategy was accepted")
	}
}
