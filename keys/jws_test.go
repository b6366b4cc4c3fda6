package keys

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// signWith makes a token with any header, which no library would make.
func signWith(t testing.TB, k jose.JSONWebKey, header map[jose.HeaderKey]any) string {
	t.Helper()
	s := must(jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(k.Algorithm), Key: k}, &jose.SignerOptions{ExtraHeaders: header}))(t)
	return must(must(s.Sign([]byte(`{"sub":"a"}`)))(t).CompactSerialize())(t)
}

func TestHostileTokensAreRefusedBeforeAnyKeyIsLookedUp(t *testing.T) {
	k := newKey(t, "ES256", "k")
	good := signWith(t, k, nil)
	p := strings.Split(good, ".")
	token := func(header string) string { return b64(header) + "." + p[1] + "." + p[2] }
	last := p[2][len(p[2])-1]
	for name, bad := range map[string]string{
		"empty":                    "",
		"two parts":                p[0] + "." + p[1],
		"four parts":               good + ".x",
		"five parts (JWE)":         good + ".x.x",
		"JSON serialization":       `{"payload":"` + p[1] + `","protected":"` + p[0] + `","signature":"` + p[2] + `"}`,
		"padding":                  good + "==",
		"line break":               p[0] + "." + p[1] + "\n." + p[2],
		"unused bits":              good[:len(good)-1] + string(last+1),
		"standard base64":          p[0] + "." + p[1] + ".++//",
		"oversized":                p[0] + "." + strings.Repeat("A", MaxJWS) + "." + p[2],
		"alg none":                 token(`{"alg":"none","kid":"k"}`),
		"alg None":                 token(`{"alg":"None","kid":"k"}`),
		"alg HS256":                token(`{"alg":"HS256","kid":"k"}`),
		"alg in lower case":        token(`{"alg":"es256","kid":"k"}`),
		"alg missing":              token(`{"kid":"k"}`),
		"alg null":                 token(`{"alg":null}`),
		"alg twice":                token(`{"alg":"ES256","alg":"none","kid":"k"}`),
		"kid twice":                token(`{"alg":"ES256","kid":"k","kid":"l"}`),
		"kid a number":             token(`{"alg":"ES256","kid":1}`),
		"crit unknown":             token(`{"alg":"ES256","kid":"k","crit":["x"],"x":1}`),
		"crit empty":               token(`{"alg":"ES256","kid":"k","crit":[]}`),
		"crit null":                token(`{"alg":"ES256","kid":"k","crit":null}`),
		"unencoded payload":        token(`{"alg":"ES256","kid":"k","b64":false,"crit":["b64"]}`),
		"b64 without crit":         token(`{"alg":"ES256","kid":"k","b64":false}`),
		"zip":                      token(`{"alg":"ES256","kid":"k","zip":"DEF"}`),
		"nested":                   token(`{"alg":"ES256","kid":"k","cty":"application/JWT"}`),
		"header is no object":      token(`[]`),
		"header is not JSON":       token(`alg`),
		"trailing data in header":  token(`{"alg":"ES256"}{}`),
		"embedded key, none":       token(`{"alg":"none","jwk":{"kty":"oct","k":"AA"}}`),
		"empty header":             "." + p[1] + "." + p[2],
		"control character inside": p[0] + "." + p[1] + "\x00." + p[2],
	} {
		if got, err := ParseJWS(bad, Asymmetric()); err == nil {
			t.Errorf("%s was accepted: %+v", name, got)
		}
	}
	parsed := must(ParseJWS(good, Asymmetric()))(t)
	if _, err := parsed.Verify(k.Public()); err != nil {
		t.Errorf("the good token: %v", err)
	}
}

func TestAKeyThatTheTokenCarriesIsNeverUsed(t *testing.T) {
	k, attacker := newKey(t, "ES256", "k"), newKey(t, "ES256", "k")
	token := signWith(t, attacker, map[jose.HeaderKey]any{"jwk": attacker.Public(), "jku": "https://attacker.example/jwks"})
	if _, err := must(ParseJWS(token, Asymmetric()))(t).Verify(k.Public()); err == nil {
		t.Error("the token's own key was used")
	}
}

func TestAKeyVerifiesOnlyWhatItIsFor(t *testing.T) {
	rs, es, ed := newKey(t, "RS256", "k"), newKey(t, "ES256", "k"), newKey(t, "EdDSA", "k")
	hs := jose.JSONWebKey{Key: []byte(strings.Repeat("s", 32)), KeyID: "k", Algorithm: "HS256"}
	ps := rs
	ps.Algorithm = "PS256"
	enc := es.Public()
	enc.Use = "enc"
	all := append(Asymmetric(), jose.HS256)
	for name, c := range map[string]struct{ signer, verifier jose.JSONWebKey }{
		"PS256 with a key for RS256":      {ps, rs.Public()},
		"ES256 with a key for encryption": {es, enc},
		"ES256 with an RSA key":           {es, jose.JSONWebKey{Key: rs.Public().Key}},
		"HS256 with an RSA key":           {hs, jose.JSONWebKey{Key: rs.Public().Key}},
		"RS256 with a symmetric key":      {rs, jose.JSONWebKey{Key: hs.Key}},
		"EdDSA with an EC key":            {ed, jose.JSONWebKey{Key: es.Public().Key}},
		"no key":                          {es, jose.JSONWebKey{}},
	} {
		if _, err := must(ParseJWS(signWith(t, c.signer, nil), all))(t).Verify(c.verifier); err == nil {
			t.Errorf("%s verified", name)
		}
	}
	if _, err := must(ParseJWS(signWith(t, ps, nil), all))(t).Verify(jose.JSONWebKey{Key: rs.Public().Key}); err != nil {
		t.Errorf("a key without alg: %v", err)
	}
}

func FuzzParseJWS(f *testing.F) {
	k := newKey(f, "EdDSA", "k")
	f.Add(signWith(f, k, nil))
	f.Add("e30.e30.e30")
	f.Add(b64(`{"alg":"EdDSA","crit":["b64"],"b64":false}`) + ".e30.e30")
	good := signWith(f, k, nil)
	f.Fuzz(func(t *testing.T, token string) {
		parsed, err := ParseJWS(token, Asymmetric())
		if err != nil {
			return
		}
		if _, err := parsed.Verify(k.Public()); err == nil && token != good {
			t.Errorf("%q verifies but was never signed", token)
		}
	})
}
