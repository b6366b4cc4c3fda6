package server_test

import (
	"context"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/gatewarden/gatewarden/oauth2"
)

// TestEveryGrantChecksTheClientAsItIsNow crosses the grants with what may have been
// taken from a client since it was given a code or a refresh token.
func TestEveryGrantChecksTheClientAsItIsNow(t *testing.T) {
	without := func(list []string, gone string) (left []string) {
		for _, one := range list {
			if one != gone {
				left = append(left, one)
			}
		}
		return left
	}
	for grant, prepare := range map[string]func(r *rig) (use func() answer){
		"client_credentials": func(r *rig) func() answer {
			return func() answer {
				return r.post("/oauth2/token", "app:secret", "grant_type", "client_credentials", "scope", "write", "audience", "other")
			}
		},
		exchangeGrant: func(r *rig) func() answer {
			r.client(func(c *oauth2.Client) { c.ID = "subject" })
			subject := r.post("/oauth2/token", "subject:secret", "grant_type", "client_credentials", "scope", "read write", "audience", "other").str("access_token")
			return func() answer {
				return r.post("/oauth2/token", "app:secret", "grant_type", exchangeGrant, "subject_token", subject, "subject_token_type", accessToken, "scope", "write")
			}
		},
		"authorization_code": func(r *rig) func() answer {
			code := r.code("scope", "openid offline_access write", "audience", "other")
			return func() answer { return r.redeem(code) }
		},
		deviceGrant: func(r *rig) func() answer {
			a := r.post("/oauth2/device/auth", "app:secret", "scope", "openid offline_access write", "audience", "other")
			b := r.browser()
			b.agree(b.enter(a.str("user_code")))
			return func() answer {
				return r.post("/oauth2/token", "app:secret", "grant_type", deviceGrant, "device_code", a.str("device_code"))
			}
		},
		"refresh_token": func(r *rig) func() answer {
			token := r.redeem(r.code("scope", "openid offline_access write", "audience", "other")).str("refresh_token")
			return func() answer {
				return r.post("/oauth2/token", "app:secret", "grant_type", "refresh_token", "refresh_token", token)
			}
		},
	} {
		for _, c := range []struct {
			taken  string
			change func(*oauth2.Client)
			want   string // empty: the grant is honoured
		}{
			{"nothing", func(*oauth2.Client) {}, ""},
			{"everything", func(c *oauth2.Client) { c.Disabled = true }, "invalid_client"},
			{"the scope", func(c *oauth2.Client) { c.Scope = "openid offline_access read" }, "invalid_scope"},
			{"the audience", func(c *oauth2.Client) { c.Audience = without(c.Audience, "other") }, "invalid_request"},
			{"the grant type", func(c *oauth2.Client) { c.GrantTypes = without(c.GrantTypes, grant) }, "unauthorized_client"},
			{"the secret", func(c *oauth2.Client) { c.SecretHash = hashOf("another") }, "invalid_client"},
		} {
			t.Run(grant+" without "+c.taken, func(t *testing.T) {
				r := start(t, device)
				client := r.client(func(c *oauth2.Client) { c.GrantTypes = append(c.GrantTypes, exchangeGrant, deviceGrant) })
				use := prepare(r)
				c.change(&client)
				if err := r.store.UpdateClient(context.Background(), client); err != nil {
					t.Fatal(err)
				}
				r.server.EvictClient("app")
				a := use()
				if c.want == "" {
					if a.status != 200 || a.str("access_token") == "" {
						t.Fatalf("got %d %s", a.status, a.raw)
					}
					return
				}
				if a.status < 400 || a.status >= 500 || a.str("error") != c.want || a.str("access_token") != "" {
					t.Errorf("got %d %s, want %s", a.status, a.raw, c.want)
				}
			})
		}
	}
}

// TestNothingIsFetchedForAClient has a client name addresses wherever it can.
func TestNothingIsFetchedForAClient(t *testing.T) {
	var asked atomic.Int32
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	t.Cleanup(elsewhere.Close)
	r := start(t)
	r.client(func(c *oauth2.Client) {
		c.JWKSURI, c.TokenEndpointAuthMethod, c.TokenEndpointAuthAlg, c.AuthMethodSet = elsewhere.URL+"/jwks", "private_key_jwt", "RS256", true
		c.RequestURIs, c.RequestObjectAlg = []string{elsewhere.URL + "/request"}, "RS256"
		c.SectorIdentifierURI, c.BackchannelLogoutURI, c.FrontchannelLogoutURI = elsewhere.URL+"/sector", elsewhere.URL+"/out", elsewhere.URL+"/out"
	})
	assertion := strings.Join([]string{
		part(`{"alg":"RS256","kid":"k","jku":"` + elsewhere.URL + `","x5u":"` + elsewhere.URL + `"}`),
		part(`{"iss":"app","sub":"app","aud":"` + r.url + `/oauth2/token","jti":"1","exp":4102444800}`), part("signature"),
	}, ".")
	a := r.post("/oauth2/token", "", "grant_type", "client_credentials", "client_id", "app",
		"client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer", "client_assertion", assertion)
	if a.status < 400 || a.status >= 500 {
		t.Errorf("an assertion: %d %s", a.status, a.raw)
	}
	for _, more := range [][]string{{"request_uri", elsewhere.URL + "/request"}, {"request", assertion}, {"id_token_hint", assertion}} {
		req, err := http.NewRequest("GET", r.authURL(request(more...)), nil)
		if err != nil {
			t.Fatal(err)
		}
		if a := r.do(r.http, req); a.status >= 500 {
			t.Errorf("%s: %d %s", more[0], a.status, a.raw)
		}
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("the server asked %d times where a client said", n)
	}
}

// part is a part of a compact JWS.
func part(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
