package api_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

func (a answer) keys(status int) jose.JSONWebKeySet {
	a.t.Helper()
	a.want(status)
	var set jose.JSONWebKeySet
	if err := json.Unmarshal([]byte(a.body), &set); err != nil {
		a.t.Fatal(err)
	}
	return set
}

func TestKeysAreMadeReadReplacedAndDeleted(t *testing.T) {
	f := newFixture(t, nil)
	f.call("GET", "/keys/mine", "").want(404)
	for _, alg := range []string{"RS256", "ES256", "ES512", "EdDSA", "HS256"} {
		set := f.call("POST", "/keys/mine", `{"alg":"`+alg+`","use":"sig","kid":"`+alg+`"}`).keys(201)
		if len(set.Keys) != 1 || set.Keys[0].KeyID != alg || set.Keys[0].Algorithm != alg || set.Keys[0].Use != "sig" || set.Keys[0].IsPublic() {
			t.Errorf("%s: %+v", alg, set)
		}
	}
	f.call("POST", "/keys/mine", `{"alg":"ES256","kid":"ES256"}`).want(409)
	if set := f.call("GET", "/admin/keys/mine", "").keys(200); len(set.Keys) != 5 {
		t.Errorf("%d keys", len(set.Keys))
	}
	one := f.call("GET", "/keys/mine/ES256", "")
	if set := one.keys(200); len(set.Keys) != 1 || set.Keys[0].IsPublic() {
		t.Errorf("got %s", one.body)
	}
	f.call("GET", "/keys/mine/none", "").want(404)

	f.call("PUT", "/keys/mine", one.body).want(200)
	if set := f.call("GET", "/keys/mine", "").keys(200); len(set.Keys) != 1 {
		t.Errorf("%d keys after the set was replaced", len(set.Keys))
	}
	jwk := strings.TrimSuffix(strings.TrimPrefix(one.body, `{"keys":[`), `]}`)
	f.call("PUT", "/keys/mine/other", jwk).want(400)
	f.call("PUT", "/keys/mine/other", strings.Replace(jwk, `"kid":"ES256"`, `"kid":"other"`, 1)).want(200)
	f.call("DELETE", "/keys/mine/ES256", "").want(204)
	f.call("DELETE", "/keys/mine/ES256", "").want(404)
	f.call("DELETE", "/keys/mine", "").want(204)
	f.call("DELETE", "/keys/mine", "").want(404)
}

func TestPrivateKeysThatTheProgramSignsWithNeverLeave(t *testing.T) {
	f := newFixture(t, nil)
	for _, alg := range []string{"RS256", "ES256", "EdDSA", "HS256"} {
		answers := []answer{
			f.call("POST", "/keys/own", `{"alg":"`+alg+`","kid":"`+alg+`"}`),
			f.call("GET", "/keys/own", ""), f.call("GET", "/admin/keys/own", ""), f.call("GET", "/keys/own/"+alg, ""),
		}
		for i, a := range answers {
			if alg == "HS256" && i == 3 {
				a.want(404) // a symmetric key has no public form
				continue
			}
			for _, k := range a.keys(map[bool]int{true: 201, false: 200}[i == 0]).Keys {
				if !k.IsPublic() {
					t.Errorf("%s: answer %d holds private key %s", alg, i, k.KeyID)
				}
			}
		}
	}
}

func TestWeakAndBrokenKeysAreRefused(t *testing.T) {
	f := newFixture(t, nil)
	for _, c := range [][3]string{
		{"POST", "/keys/mine", `{"alg":"none"}`},
		{"POST", "/keys/mine", `{"alg":"ES256","use":"both"}`},
		{"POST", "/keys/mine", `{"alg":"ES256","kid":"a b"}`},
		{"POST", "/keys/a%20b", `{"alg":"ES256"}`},
		{"PUT", "/keys/mine", `{"keys":[]}`},
		{"PUT", "/keys/mine", `{"keys":[{"kty":"moon"}]}`},
		{"PUT", "/keys/mine", `{"keys":[{"kty":"RSA","kid":"small","n":"rEHcM2_nS4Fk3pJcmwPYZuBjnPAp6_Y2Li4pG1ZsVrX6MTHiBYhCwNYO1tvhgcnmgL8b8LXzBAxmNAWUWCYjpQ","e":"AQAB"}]}`},
		{"PUT", "/keys/mine/k", `{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}`},
	} {
		if a := f.call(c[0], c[1], c[2]); a.status != 400 || !enveloped(a, "hydra") {
			t.Errorf("%v: %d %s", c, a.status, a.body)
		}
	}
}

func TestTheGatewaysPublicKeysAreServedTwice(t *testing.T) {
	f := newFixture(t, nil)
	for _, path := range []string{"/.well-known/jwks.json", "/keys/id-token.public"} {
		a := f.call("GET", path, "")
		set := a.keys(200)
		if len(set.Keys) != 1 || set.Keys[0].KeyID != "gateway" || !set.Keys[0].IsPublic() || strings.Contains(a.body, `"d":`) {
			t.Errorf("%s: %s", path, a.body)
		}
	}
	var first jose.JSONWebKey // as Oathkeeper 0.0.20's clients read it
	if err := json.Unmarshal([]byte(f.call("GET", "/keys/id-token.public", "").body), &first); err != nil || first.KeyID != "gateway" {
		t.Errorf("got %+v, %v", first, err)
	}
	for _, method := range []string{"PUT", "POST", "DELETE"} {
		f.call(method, "/keys/id-token.public", `{"alg":"ES256"}`).want(403)
		if method != "POST" {
			f.call(method, "/keys/id-token.public/x", `{}`).want(403)
		}
	}
}

func TestASchedulesAnswerHoldsNoKey(t *testing.T) {
	f := newFixture(t, nil)
	f.call("GET", "/keys/mine/schedule", "").want(404)
	f.call("POST", "/keys/mine/rotate", "").want(404)
	f.call("POST", "/keys/mine", `{"alg":"ES256","kid":"first"}`).want(201)
	for _, a := range []answer{f.call("GET", "/keys/mine/schedule", ""), f.call("POST", "/keys/mine/rotate", ""), f.call("POST", "/admin/keys/mine/rotate", "")} {
		if a.want(200); !strings.Contains(a.body, `"kid":"first"`) || strings.Contains(a.body, `"d":`) || strings.Contains(a.body, `"x":`) {
			t.Errorf("got %s", a.body)
		}
	}
	if set := f.call("GET", "/keys/mine", "").keys(200); len(set.Keys) != 3 {
		t.Errorf("%d keys after two rotations", len(set.Keys))
	}
	f.call("POST", "/keys/mine", `{"alg":"ES256","kid":"rotate"}`).want(400)
	f.call("POST", "/keys/id-token.public/rotate", "").want(403)
}
