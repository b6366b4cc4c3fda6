package e2e

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/gatewarden/gatewarden/manage/api"
)

// TestEveryDescribedPathOfThePublicListenerIsThere asks each by a method that none has:
// what is there refuses it. That all which is there is described is seen by the traffic of
// every other test.
func TestEveryDescribedPathOfThePublicListenerIsThere(t *testing.T) {
	p := start(t, settings{keys: map[string]string{"oidc.dynamic_client_registration.enabled": "true", "oauth2.ciba.enabled": "true"}})
	var doc struct {
		Paths map[string]struct {
			Listeners []string `json:"x-listeners"`
		} `json:"paths"`
	}
	if err := json.Unmarshal(api.Document(), &doc); err != nil {
		t.Fatal(err)
	}
	found := 0
	for template, item := range doc.Paths {
		if !slices.Contains(item.Listeners, "public") || strings.HasSuffix(template, "/{issuer}") { // the issuer has no path here
			continue
		}
		found++
		path := strings.NewReplacer("{page}", "login", "{id}", "somebody").Replace(template)
		if a := send(t, "BREW", p.public+path, ""); a.status != http.StatusMethodNotAllowed {
			t.Errorf("BREW %s: %d %s", path, a.status, a.body)
		}
	}
	if found < 18 {
		t.Errorf("found %d public paths; is the description still read right?", found)
	}
}
