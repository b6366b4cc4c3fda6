package server_test

import (
	"encoding/json"
	"testing"

	"github.com/gatewarden/gatewarden/keys"
	"github.com/gatewarden/gatewarden/oauth2"
	"github.com/gatewarden/gatewarden/oauth2/server"
)

// said returns the claims of an ID token, or of another JWT of the ring.
func said(t *testing.T, token, typ string) map[string]any {
	t.Helper()
	payload, err := ring().Verify(t.Context(), token, typ)
	if err != nil {
		t.Fatalf("%q: %v", token, err)
	}
	var claims map[string]any
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	return claims
}

// info asks userinfo with an access token.
func (r *rig) info(token string) answer {
	r.t.Helper()
	req := must(newRequest(r.url + "/userinfo"))
	req.Header.Set("Authorization", "Bearer "+token)
	return r.do(r.http, req)
}

func TestWhatAClientGetsIsSignedAsItRegisteredOrAsTheServerIsToldTo(t *testing.T) {
	for _, alg := range []string{"RS256", "ES256", "PS256", "EdDSA"} {
		for name, r := range map[string]*rig{
			"registered": start(t), "by default": start(t, func(o *server.Options) { o.IDTokenAlg = alg }),
		} {
			r.client(func(c *oauth2.Client) {
				if c.UserinfoAlg = alg; name == "registered" {
					c.IDTokenAlg = alg
				}
			})
			tokens := r.tokens()
			for what, token := range map[string]string{"ID token": tokens.str("id_token"), "userinfo": r.info(tokens.str("access_token")).raw} {
				signed, err := keys.ParseJWS(token, keys.Asymmetric())
				if err != nil || string(signed.Algorithm) != alg {
					t.Errorf("%s %s: %s is signed with %s, %v", alg, name, what, signed.Algorithm, err)
					continue
				}
				if said(t, token, "JWT")["sub"] != "alice" {
					t.Errorf("%s %s: %s is %s", alg, name, what, token)
				}
			}
		}
	}
}
