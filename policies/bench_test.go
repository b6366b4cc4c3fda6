package policies_test

import (
	"fmt"
	"testing"

	"github.com/gatewarden/gatewarden/authz"
	"github.com/gatewarden/gatewarden/policies"
)

// BenchmarkAllowed asks sets of 10, 1 000 and 100 000 policies of three shapes: one
// subject each, one resource prefix each, one subject expression each.
func BenchmarkAllowed(b *testing.B) {
	shapes := map[string]func(i int) policies.Policy{
		"literal": func(i int) policies.Policy {
			return policies.Policy{Subjects: []string{fmt.Sprintf("users:%d", i)}, Resources: []string{"articles:<.*>"}, Actions: []string{"get", "<create|update>"}}
		},
		"resource": func(i int) policies.Policy {
			return policies.Policy{Subjects: []string{"<.*>"}, Resources: []string{fmt.Sprintf("articles:%d:<[a-z0-9]+>", i)}, Actions: []string{"get"}}
		},
		"expression": func(i int) policies.Policy {
			return policies.Policy{Subjects: []string{fmt.Sprintf("users:%d:<[a-z]+>", i)}, Resources: []string{"articles:<.*>"}, Actions: []string{"<.*>"}}
		},
	}
	for _, n := range []int{10, 1000, 100000} {
		for _, shape := range []string{"literal", "resource", "expression"} {
			m := newMemory()
			for i := range n {
				p := shapes[shape](i)
				p.ID, p.Effect = fmt.Sprintf("p%d", i), "allow"
				m.put(p)
			}
			e := loaded(b, m)
			k := n / 2
			yes := map[string]authz.Question{
				"literal":    {Subject: fmt.Sprintf("users:%d", k), Action: "get", Resource: "articles:1"},
				"resource":   {Subject: "bob", Action: "get", Resource: fmt.Sprintf("articles:%d:abc", k)},
				"expression": {Subject: fmt.Sprintf("users:%d:bob", k), Action: "get", Resource: "articles:1"},
			}[shape]
			no := yes
			no.Resource = "articles"
			for name, q := range map[string]authz.Question{"allow": yes, "deny": no} {
				b.Run(fmt.Sprintf("%s/%s/%d", shape, name, n), func(b *testing.B) {
					b.ReportAllocs()
					for b.Loop() {
						if a, err := e.Allowed(b.Context(), q); err != nil || a.Allow != (name == "allow") {
							b.Fatal(a, err)
						}
					}
				})
			}
		}
	}
}

// BenchmarkRefresh is one write to a set of 100 000 policies.
func BenchmarkRefresh(b *testing.B) {
	m := newMemory()
	for i := range 100000 {
		m.put(policies.Policy{ID: fmt.Sprintf("p%d", i), Effect: "allow", Subjects: []string{fmt.Sprintf("users:%d", i)}, Resources: []string{"<.*>"}, Actions: []string{"get"}})
	}
	e := loaded(b, m)
	for i := 0; b.Loop(); i++ {
		if err := e.Refresh(b.Context(), fmt.Sprintf("p%d", i%100000)); err != nil {
			b.Fatal(err)
		}
	}
}
