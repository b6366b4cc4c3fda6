package spec

import (
	"fmt"
	"strings"
	"testing"
)

// manyRules is a file of n rules of the common form.
func manyRules(n int) []byte {
	var b strings.Builder
	b.WriteByte('[')
	for i := range n {
		if i > 0 {
			b.WriteString(",\n")
		}
		fmt.Fprintf(&b, `{"id":"resource-%d","match":{"url":"http://<[^/]+>/resources/%d/<(items|parts)>","methods":["GET"]},`+
			`"upstream":{"url":"http://127.0.0.1:9"},"authenticators":[{"handler":"anonymous"}],"authorizer":{"handler":"allow"},`+
			`"mutators":[{"handler":"header","config":{"headers":{"X-User":"{{ print .Subject }}"}}}]}`, i, i)
	}
	b.WriteByte(']')
	return []byte(b.String())
}

func BenchmarkDecode(b *testing.B) {
	for _, source := range []string{"rules.json", "rules.yaml"} {
		b.Run(source+"/10000", func(b *testing.B) {
			data := manyRules(10_000)
			b.ReportAllocs()
			for b.Loop() {
				if rules, err := Decode(source, data); err != nil || len(rules) != 10_000 || rules[9_999].Faults != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
