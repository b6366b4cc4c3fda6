package authn

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/gatewarden/gatewarden/handler"
)

// Whatever was asked before, by whichever rule: the answer is that of a gateway
// which has just started.
func TestACachedAnswerIsTheUncachedAnswer(t *testing.T) {
	i := newIssuer(t)
	tokens := []string{"opaque", "other", i.sign(t, "EdDSA", nil, claims(nil)), i.sign(t, "ES256", nil, claims(map[string]any{"scope": "admin", "exp": start.Unix() + 60, "aud": "other"}))}
	issuerOf := func(name string) *endpoint { // two servers that know the same tokens as different ones
		return newEndpoint(t, func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.PostFormValue("token"), "other") && name == "b" {
				fmt.Fprint(w, `{"active":false}`)
				return
			}
			fmt.Fprintf(w, `{"active":true,"sub":"%s-%s","iss":"%s","scope":"read %s","exp":%d}`, name, r.Header.Get("X-Tenant"), name, r.PostFormValue("scope"), start.Unix()+90)
		})
	}
	location := i.location(t)
	a, b := issuerOf("a"), issuerOf("b")
	rapid.Check(t, func(t *rapid.T) {
		c := newClock()
		shared := Catalog(Deps{Now: c.Now})
		for range rapid.IntRange(5, 30).Draw(t, "requests") {
			demand := rapid.SampledFrom([]string{
				``, `,"scope_strategy":"exact","required_scope":["read"]`, `,"scope_strategy":"exact","required_scope":["admin"]`,
				`,"target_audience":["api"]`, `,"trusted_issuers":["b"]`, `,"trusted_issuers":["https://issuer.example"]`}).Draw(t, "demand")
			name, config := "jwt", `{"jwks_urls":["`+location+`"],"allowed_algorithms":["`+rapid.SampledFrom([]string{"EdDSA", "ES256"}).Draw(t, "alg")+`"]`
			if rapid.Bool().Draw(t, "introspect") {
				name = "oauth2_introspection"
				config = `{"cache":{"enabled":true,"ttl":"1h"},"introspection_url":"` + rapid.SampledFrom([]string{a.URL, b.URL}).Draw(t, "issuer") + `/introspect",` +
					`"introspection_request_headers":{"X-Tenant":"` + rapid.SampledFrom([]string{"1", "2"}).Draw(t, "tenant") + `"}`
			}
			r := bearerRequest(rapid.SampledFrom(tokens).Draw(t, "token"))
			answer := func(catalog handler.Catalog[Authenticator]) string {
				a, err := catalog.Build(name, nil, []byte(config+demand+"}"))
				if err != nil {
					t.Fatal(err)
				}
				return outcome(a.Authenticate(t.Context(), r))
			}
			if cached, uncached := answer(shared), answer(Catalog(Deps{Now: c.Now})); cached != uncached {
				t.Fatalf("%s %s%s}: cached %q, uncached %q", name, config, demand, cached, uncached)
			}
			c.Add(time.Duration(rapid.IntRange(0, 20).Draw(t, "seconds")) * time.Second)
		}
	})
}
