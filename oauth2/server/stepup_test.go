package server_test

import (
	"testing"

	"github.com/gatewarden/gatewarden/oauth2"
)

func TestARememberedLoginOfAWeakerClassIsNotEnough(t *testing.T) {
	r := start(t)
	r.client()
	for name, c := range map[string]struct {
		has, asked string
		skip       bool
	}{
		"the class": {"gold", "silver gold", true}, "another one": {"silver", "gold", false}, "none is asked for": {"silver", "-", true},
		"the app names none": {"", "gold", true}, "more": {"aal2", "aal1", true}, "less": {"aal1", "aal2 aal3", false}, "the same level": {"aal2", "aal2", true},
		"a level and something else": {"gold", "aal1", false}, "something else and a level": {"aal3", "gold", false},
	} {
		b := r.browser()
		b.login(request(), oauth2.AcceptLogin{Subject: "alice", Remember: true, ACR: c.has})
		asked, err := r.server.LoginRequest(t.Context(), b.open(r.authURL(request("acr_values", c.asked))).Query().Get("login_challenge"))
		if err != nil || asked.Skip != c.skip {
			t.Errorf("%s: skip is %v, want %v; %v", name, asked.Skip, c.skip, err)
		}
		silent := b.open(r.authURL(request("acr_values", c.asked, "prompt", "none")))
		if got := silent.Query().Get("error") != "login_required"; got != c.skip {
			t.Errorf("%s: without asking %s", name, silent)
		}
		// The stronger login is what counts afterwards.
		if !c.skip {
			want := map[string]string{"gold": "gold", "aal2 aal3": "aal3", "aal1": "aal1"}[c.asked]
			to := b.consent(b.login(request("acr_values", c.asked), oauth2.AcceptLogin{Subject: "alice", Remember: true, ACR: want}))
			if acr := said(t, r.redeem(to.Query().Get("code")).str("id_token"), "JWT")["acr"]; acr != want {
				t.Errorf("%s: acr is %v", name, acr)
			}
			if asked, _ := r.server.LoginRequest(t.Context(), b.open(r.authURL(request("acr_values", c.asked))).Query().Get("login_challenge")); !asked.Skip {
				t.Errorf("%s: asked again after the stronger login", name)
			}
		}
	}
}
