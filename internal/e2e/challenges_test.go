package e2e

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestA401AsksForEverythingThatTheRuleTakes is RFC 9110 section 11.6.1 over HTTP.
func TestA401AsksForEverythingThatTheRuleTakes(t *testing.T) {
	rule := func(path, authenticators, errors string) string {
		return `{"id":"` + path + `","match":{"url":"http://127.0.0.1:<.*>/` + path + `","methods":["GET"]},"authenticators":[` + authenticators + `],
			"authorizer":{"handler":"allow"},"errors":[` + errors + `],"upstream":{"url":"http://127.0.0.1:1"}}`
	}
	const bound, basic = `{"handler":"jwt","config":{"require_binding":"dpop","dpop":{"algorithms":["ES256"]}}}`,
		`{"handler":"basic_auth","config":{"realm":"staff","users":[{"username":"a","hash":"$2a$04$5yg6Dew4K08hq0st6/j6keIQTOIp/SmlIc9wVw8MUEmid7FRIzaSe"}]}}`
	p := start(t, settings{rules: `[` + rule("both", bound+","+basic, "") + `,` + rule("bound", bound, "") + `,` +
		rule("shown", `{"handler":"basic_auth","config":{"users":[{"username":"a","hash":"$2a$04$5yg6Dew4K08hq0st6/j6keIQTOIp/SmlIc9wVw8MUEmid7FRIzaSe"}]}}`,
			`{"handler":"www_authenticate","config":{"realm":"of the page"}}`) + `]`})
	for _, c := range []struct {
		path, credentials string
		want              []string
	}{
		{"both", "", []string{`DPoP realm="gatewarden", algs="ES256"`, `Basic realm="staff", charset="UTF-8"`}},
		{"both", "Basic YTpi", []string{`DPoP realm="gatewarden", algs="ES256"`, `Basic realm="staff", charset="UTF-8"`}},
		{"bound", "", []string{`DPoP realm="gatewarden", algs="ES256"`}},
		{"shown", "", []string{`Basic realm="of the page"`}},
	} {
		var header []string
		if c.credentials != "" {
			header = []string{"Authorization", c.credentials}
		}
		got := send(t, "GET", p.proxy+"/"+c.path, "", header...).want(t, http.StatusUnauthorized)
		if diff := cmp.Diff(c.want, got.header["Www-Authenticate"]); diff != "" {
			t.Errorf("%s %q (-want +got):\n%s", c.path, c.credentials, diff)
		}
		asked := send(t, "GET", p.management+"/decisions/"+c.path, "", append(header, "X-Forwarded-Proto", "http", "X-Forwarded-Host", "127.0.0.1:1", "X-Forwarded-Uri", "/"+c.path)...)
		if diff := cmp.Diff(c.want, asked.header["Www-Authenticate"]); diff != "" {
			t.Errorf("/decisions, %s %q (-want +got):\n%s", c.path, c.credentials, diff)
		}
	}
}
