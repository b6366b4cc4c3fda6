package authn

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/fault"
)

// verifier is a jwt authenticator for the issuer's keys with further config members.
func (i issuer) verifier(t testing.TB, c *clock, more string) Authenticator {
	config := `{"jwks_urls":["` + i.location(t) + `"],"allowed_algorithms":["EdDSA","ES256"]`
	if more != "" {
		config += "," + more
	}
	return build(t, Deps{Now: c.Now}, "jwt", config+"}")
}

func TestAVerifiedTokensClaimsBecomeTheSubject(t *testing.T) {
	i := newIssuer(t)
	a := i.verifier(t, newClock(), "")
	token := i.sign(t, "ES256", nil, map[string]any{"sub": "alice", "exp": start.Add(time.Hour).Unix(), "scope": "read write", "tenant": map[string]any{"id": 7}})
	for range 3 { // verified, verified and kept, from the cache
		got := must(a.Authenticate(t.Context(), bearerRequest(token)))(t)
		want := access.Subject{ID: "alice", Via: "jwt", Token: token, Extra: map[string]any{
			"sub": "alice", "exp": float64(start.Add(time.Hour).Unix()), "scp": []string{"read", "write"}, "tenant": map[string]any{"id": 7.0}}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
}

func TestWhatAJWTMustSayToBeAccepted(t *testing.T) {
	i := newIssuer(t)
	hour := func(n int) int64 { return start.Add(time.Duration(n) * time.Hour).Unix() }
	for name, c := range map[string]struct {
		config         string
		header, claims map[string]any
		want           string
	}{
		"good":                         {"", nil, nil, "subject alice"},
		"expired":                      {"", nil, map[string]any{"exp": hour(-1)}, "unauthenticated"},
		"expired within the leeway":    {"", nil, map[string]any{"exp": start.Unix() - 4}, "subject alice"},
		"expired beyond the leeway":    {"", nil, map[string]any{"exp": start.Unix() - 5}, "unauthenticated"},
		"no leeway":                    {`"leeway":"0s"`, nil, map[string]any{"exp": start.Unix()}, "unauthenticated"},
		"exp missing":                  {"", nil, map[string]any{"exp": nil}, "unauthenticated"},
		"exp zero":                     {"", nil, map[string]any{"exp": 0}, "unauthenticated"},
		"exp negative":                 {"", nil, map[string]any{"exp": -1}, "unauthenticated"},
		"exp a string":                 {"", nil, map[string]any{"exp": "9999999999"}, "unauthenticated"},
		"exp overflows":                {"", nil, map[string]any{"exp": 1e300}, "unauthenticated"},
		"exp fractional":               {"", nil, map[string]any{"exp": float64(hour(1)) + .5}, "subject alice"},
		"not yet valid":                {"", nil, map[string]any{"nbf": hour(1)}, "unauthenticated"},
		"issued in the future":         {"", nil, map[string]any{"iat": hour(1)}, "unauthenticated"},
		"nbf a string":                 {"", nil, map[string]any{"nbf": "x"}, "unauthenticated"},
		"sub a number":                 {"", nil, map[string]any{"sub": 1}, "unauthenticated"},
		"iss a list":                   {"", nil, map[string]any{"iss": []string{"a"}}, "unauthenticated"},
		"aud a number":                 {"", nil, map[string]any{"aud": 1}, "unauthenticated"},
		"aud with a number":            {"", nil, map[string]any{"aud": []any{"api", 1}}, "unauthenticated"},
		"scope an object":              {"", nil, map[string]any{"scope": map[string]any{}}, "unauthenticated"},
		"issuer trusted":               {`"trusted_issuers":["x","https://issuer.example"]`, nil, nil, "subject alice"},
		"issuer foreign":               {`"trusted_issuers":["https://issuer.example/"]`, nil, nil, "unauthenticated"},
		"issuer missing":               {`"trusted_issuers":["x"]`, nil, map[string]any{"iss": nil}, "unauthenticated"},
		"audiences all there":          {`"target_audience":["api","other"]`, nil, nil, "subject alice"},
		"audience one missing":         {`"target_audience":["api","third"]`, nil, nil, "unauthenticated"},
		"audience a string":            {`"target_audience":["api"]`, nil, map[string]any{"aud": "api"}, "subject alice"},
		"audience absent":              {`"target_audience":["api"]`, nil, map[string]any{"aud": nil}, "unauthenticated"},
		"scope granted":                {`"scope_strategy":"exact","required_scope":["read","write"]`, nil, nil, "subject alice"},
		"scope missing":                {`"scope_strategy":"exact","required_scope":["read","admin"]`, nil, nil, "forbidden"},
		"scope as a list":              {`"scope_strategy":"exact","required_scope":["read"]`, nil, map[string]any{"scope": nil, "scopes": []string{"read"}}, "subject alice"},
		"scp is read before scope":     {`"scope_strategy":"exact","required_scope":["read"]`, nil, map[string]any{"scp": []string{"x"}}, "forbidden"},
		"scope by hierarchy":           {`"scope_strategy":"hierarchic","required_scope":["read.all"]`, nil, nil, "subject alice"},
		"typ JWT":                      {"", map[string]any{"typ": "JWT"}, nil, "subject alice"},
		"typ absent":                   {"", map[string]any{}, nil, "subject alice"},
		"typ in full":                  {"", map[string]any{"typ": "application/at+jwt"}, nil, "subject alice"},
		"a logout token by typ":        {"", map[string]any{"typ": "logout+jwt"}, nil, "unauthenticated"},
		"a DPoP proof":                 {"", map[string]any{"typ": "dpop+jwt"}, nil, "unauthenticated"},
		"a request object":             {"", map[string]any{"typ": "oauth-authz-req+jwt"}, nil, "unauthenticated"},
		"a logout token by claim":      {"", nil, map[string]any{"events": map[string]any{}}, "unauthenticated"},
		"an ID token":                  {"", nil, map[string]any{"at_hash": "x"}, "unauthenticated"},
		"an ID token that is allowed":  {`"allow_id_tokens":true`, nil, map[string]any{"at_hash": "x", "typ": "ID"}, "subject alice"},
		"an ID token of Keycloak":      {"", nil, map[string]any{"typ": "ID"}, "unauthenticated"},
		"a refresh token of Keycloak":  {`"allow_id_tokens":true`, nil, map[string]any{"typ": "Refresh"}, "unauthenticated"},
		"an access token of Keycloak":  {"", nil, map[string]any{"typ": "Bearer"}, "subject alice"},
		"bound to a key, no proof":     {"", nil, map[string]any{"cnf": map[string]any{"jkt": "x"}}, "unauthenticated"},
		"critical header":              {"", map[string]any{"typ": "JWT", "crit2": "x", "zip": "DEF"}, nil, "unauthenticated"},
		"nested":                       {"", map[string]any{"cty": "JWT"}, nil, "unauthenticated"},
		"a key set of its own is used": {"", map[string]any{"jku": "https://attacker.example/"}, nil, "subject alice"},
	} {
		t.Run(name, func(t *testing.T) {
			a := i.verifier(t, newClock(), c.config)
			token := i.sign(t, "", c.header, claims(c.claims))
			for range 3 { // with and without the cache
				if got := outcome(a.Authenticate(t.Context(), bearerRequest(token))); got != c.want {
					t.Errorf("got %s, want %s", got, c.want)
				}
			}
		})
	}
}

func TestATokenThatIsNoJWTIsForTheNextAuthenticator(t *testing.T) {
	a := newIssuer(t).verifier(t, newClock(), "")
	for _, token := range []string{"opaque", "a.b", "a.b.c.d", "a.b.c.d.e"} {
		if got := outcome(a.Authenticate(t.Context(), bearerRequest(token))); got != "no credentials" {
			t.Errorf("%s: got %s", token, got)
		}
	}
}

func TestForgedTokensAreRefused(t *testing.T) {
	i := newIssuer(t)
	a := i.verifier(t, newClock(), "")
	rsaKey := must(rsa.GenerateKey(rand.Reader, 2048))(t)
	good := i.sign(t, "", nil, claims(nil))
	p := strings.Split(good, ".")
	enc := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	body := string(must(json.Marshal(claims(nil)))(t))
	public := must(i.Keys(t.Context(), "ed"))(t)[0]
	secret := must(public.MarshalJSON())(t)
	for name, token := range map[string]string{
		"alg none":                     enc(`{"alg":"none","kid":"ed"}`) + "." + p[1] + ".",
		"HMAC with the public key":     signRaw(t, secret, jose.HS256, map[jose.HeaderKey]any{"kid": "ed"}, body),
		"an algorithm not listed":      signRaw(t, rsaKey, jose.RS256, map[jose.HeaderKey]any{"kid": "ed"}, body),
		"kid of another key":           enc(`{"alg":"EdDSA","kid":"es"}`) + "." + p[1] + "." + p[2],
		"unknown kid":                  enc(`{"alg":"EdDSA","kid":"x"}`) + "." + p[1] + "." + p[2],
		"kid that looks like a path":   enc(`{"alg":"EdDSA","kid":"../../etc/passwd"}`) + "." + p[1] + "." + p[2],
		"no kid":                       enc(`{"alg":"EdDSA"}`) + "." + p[1] + "." + p[2],
		"kid not a string":             enc(`{"alg":"EdDSA","kid":["ed"]}`) + "." + p[1] + "." + p[2],
		"crit":                         enc(`{"alg":"EdDSA","kid":"ed","crit":["exp"]}`) + "." + p[1] + "." + p[2],
		"b64 false":                    enc(`{"alg":"EdDSA","kid":"ed","b64":false,"crit":["b64"]}`) + "." + p[1] + "." + p[2],
		"payload of another":           p[0] + "." + enc(strings.Replace(body, "alice", "admin", 1)) + "." + p[2],
		"signature cut off":            p[0] + "." + p[1] + ".",
		"signature with padding":       good + "=",
		"one signature bit":            good[:len(good)-4] + "AAAA",
		"header, payload not base64":   "?.?.?",
		"payload with a member twice":  signEd(t, `{"sub":"alice","sub":"admin","exp":1893456000}`),
		"payload is a list":            signEd(t, `[]`),
		"payload is null":              signEd(t, `null`),
		"payload is empty":             signEd(t, ``),
		"payload with trailing data":   signEd(t, `{"sub":"alice","exp":1893456000}{}`),
		"payload is another signature": signEd(t, good),
	} {
		got := outcome(a.Authenticate(t.Context(), bearerRequest(token)))
		if got != "unauthenticated" {
			t.Errorf("%s: got %s, want unauthenticated", name, got)
		}
	}
	if got := outcome(a.Authenticate(t.Context(), bearerRequest(signEd(t, `{"sub":"alice","exp":1893456000}`)))); got != "subject alice" {
		t.Errorf("the control: got %s", got)
	}
}

// signEd signs any payload with the issuer's Ed25519 key.
func signEd(t testing.TB, payload string) string {
	return must(newIssuer(t).Sign(t.Context(), "EdDSA", "JWT", []byte(payload), time.Time{}))(t)
}

func TestTheCacheNeverAnswersForAnotherRule(t *testing.T) {
	i, c := newIssuer(t), newClock()
	catalog := Catalog(Deps{Now: c.Now})
	make := func(more string) Authenticator {
		return must(catalog.Build("jwt", []byte(`{"jwks_urls":["`+i.location(t)+`"],"allowed_algorithms":["EdDSA"]}`), []byte(more)))(t)
	}
	token := bearerRequest(i.sign(t, "", nil, claims(nil)))
	lax := make(`{}`)
	for range 3 {
		if got := outcome(lax.Authenticate(t.Context(), token)); got != "subject alice" {
			t.Fatal(got)
		}
	}
	for more, want := range map[string]string{
		`{"scope_strategy":"exact","required_scope":["admin"]}`: "forbidden",
		`{"target_audience":["third"]}`:                         "unauthenticated",
		`{"trusted_issuers":["https://other.example"]}`:         "unauthenticated",
		`{"allowed_algorithms":["ES256"]}`:                      "unauthenticated",
		`{"jwks_urls":["inline://eyJrZXlzIjpbeyJrdHkiOiJPS1AiLCJjcnYiOiJFZDI1NTE5Iiwia2lkIjoiZWQiLCJ4IjoiR0ZQcE5KYzFmZmRPYUVuUlZaV2t4SzA2V1lGZ1VZdTFZOFNCcWVhUUlfUSJ9XX0"]}`: "unauthenticated",
	} {
		if got := outcome(make(more).Authenticate(t.Context(), token)); got != want {
			t.Errorf("%s: got %s, want %s", more, got, want)
		}
	}
	id := bearerRequest(i.sign(t, "", nil, claims(map[string]any{"at_hash": "x"})))
	for range 3 {
		if got := outcome(make(`{"allow_id_tokens":true}`).Authenticate(t.Context(), id)); got != "subject alice" {
			t.Fatal(got)
		}
	}
	if got := outcome(lax.Authenticate(t.Context(), id)); got != "unauthenticated" {
		t.Errorf("an ID token that another rule accepts: got %s", got)
	}
	c.Add(2 * time.Hour)
	if got := outcome(lax.Authenticate(t.Context(), token)); got != "unauthenticated" {
		t.Errorf("an expired token was answered from the cache: %s", got)
	}
}

func TestAWithdrawnKeyEndsWhatItVerified(t *testing.T) {
	i, c := newIssuer(t), newClock()
	var set atomic.Pointer[[]byte]
	put := func(v any) { raw := must(json.Marshal(v))(t); set.Store(&raw) }
	put(i.Public())
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(*set.Load()) }))
	defer s.Close()
	hits := 0
	a := build(t, Deps{Now: c.Now, Cache: func(_ string, hit bool) {
		if hit {
			hits++
		}
	}}, "jwt", `{"jwks_urls":["`+s.URL+`"],"allowed_algorithms":["EdDSA"],"jwks_max_wait":"10s"}`)
	token := bearerRequest(i.sign(t, "EdDSA", nil, claims(nil)))
	for range 3 {
		if got := outcome(a.Authenticate(t.Context(), token)); got != "subject alice" {
			t.Fatal(got)
		}
	}
	if hits != 1 {
		t.Errorf("%d hits, want the third request to be one", hits)
	}
	left := must(i.Keys(t.Context(), "es"))(t)
	put(jose.JSONWebKeySet{Keys: left})
	c.Add(30 * time.Second)
	if got := outcome(a.Authenticate(t.Context(), token)); got != "unauthenticated" {
		t.Errorf("got %s, want unauthenticated", got)
	}
}

// rotating is a KeySource that is rotated while it is asked: the key it hands out
// is withdrawn by then.
type rotating struct {
	issuer
	asked uint64
}

func (r *rotating) Generation() uint64 { return r.asked + 1 }

func (r *rotating) Keys(ctx context.Context, kid string) ([]jose.JSONWebKey, error) {
	if r.asked++; r.asked > 1 {
		return nil, nil
	}
	return r.issuer.Keys(ctx, kid)
}

func TestWhatWasVerifiedDuringARotationIsNotKept(t *testing.T) {
	i := newIssuer(t)
	a := build(t, Deps{Now: newClock().Now, OwnKeys: &rotating{issuer: i}}, "jwt", `{}`)
	token := bearerRequest(i.sign(t, "", nil, claims(nil)))
	for _, want := range []string{"subject alice", "unauthenticated"} {
		if got := outcome(a.Authenticate(t.Context(), token)); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestATokenWithoutKidIsRefusedThoughAKeyHasNone(t *testing.T) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	set := must(json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: public}}}))(t)
	a := build(t, Deps{Now: newClock().Now}, "jwt", `{"jwks_urls":["inline://`+base64.StdEncoding.EncodeToString(set)+`"],"allowed_algorithms":["EdDSA"]}`)
	token := signRaw(t, private, jose.EdDSA, nil, string(must(json.Marshal(claims(nil)))(t)))
	if got := outcome(a.Authenticate(t.Context(), bearerRequest(token))); got != "unauthenticated" {
		t.Errorf("got %s", got)
	}
}

func TestKeysThatCannotBeHadMakeATokenUndecidedNotBad(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	s.Close()
	a := build(t, Deps{}, "jwt", `{"jwks_urls":["`+s.URL+`","file:///no/such/file"],"allowed_algorithms":["EdDSA"]}`)
	_, err := a.Authenticate(t.Context(), bearerRequest(newIssuer(t).sign(t, "", nil, claims(nil))))
	if !fault.Is(err, fault.Unavailable) || fault.ReasonOf(err) != "jwks_unavailable" || strings.Contains(fault.MessageOf(err), "file") {
		t.Errorf("got %v with message %q", err, fault.MessageOf(err))
	}
}

func TestTheEmbeddedServersOwnTokensAreAccessTokensOnly(t *testing.T) {
	i, c := newIssuer(t), newClock()
	a := build(t, Deps{Now: c.Now, OwnKeys: i}, "jwt", `{}`)
	for typ, want := range map[string]string{"at+jwt": "subject alice", "JWT": "unauthenticated", "logout+jwt": "unauthenticated"} {
		token := i.sign(t, "ES256", map[string]any{"typ": typ}, claims(nil))
		if got := outcome(a.Authenticate(t.Context(), bearerRequest(token))); got != want {
			t.Errorf("typ %s: got %s, want %s", typ, got, want)
		}
	}
}

func TestSymmetricKeysVerifyOnlyFromLocalSetsAndAlone(t *testing.T) {
	secret := []byte(strings.Repeat("s", 32))
	set := must(json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: secret, KeyID: "hs", Algorithm: "HS256"}}}))(t)
	local := "inline://" + base64.StdEncoding.EncodeToString(set)
	a := build(t, Deps{Now: newClock().Now}, "jwt", `{"jwks_urls":["`+local+`"],"allowed_algorithms":["HS256"]}`)
	token := signRaw(t, secret, jose.HS256, map[jose.HeaderKey]any{"kid": "hs"}, string(must(json.Marshal(claims(nil)))(t)))
	if got := outcome(a.Authenticate(t.Context(), bearerRequest(token))); got != "subject alice" {
		t.Errorf("got %s", got)
	}
	for _, config := range []string{
		`{"jwks_urls":["` + local + `"],"allowed_algorithms":["HS256","RS256"]}`,
		`{"jwks_urls":["` + local + `","https://a/"],"allowed_algorithms":["HS256"]}`,
		`{"allowed_algorithms":["HS256"]}`,
	} {
		if _, err := Catalog(Deps{OwnKeys: newIssuer(t)}).Build("jwt", nil, []byte(config)); err == nil || !strings.Contains(err.Error(), "allowed_algorithms") {
			t.Errorf("%s: got %v", config, err)
		}
	}
}

func TestABadJWTConfigNamesTheField(t *testing.T) {
	for config, want := range map[string]string{
		`{}`:                        "jwks_urls is required",
		`{"jwks_urls":["ftp://a"]}`: "jwks_urls: ",
		`{"jwks_urls":["https://a"],"scope_strategy":"x"}`:                                 "scope_strategy",
		`{"jwks_urls":["https://a"],"required_scope":["a"]}`:                               "required_scope needs scope_strategy",
		`{"jwks_urls":["https://a"],"scope_strategy":"exact","required_scope":["a\"b"]}`:   "required_scope: ",
		`{"jwks_urls":["https://a"],"allowed_algorithms":["none"]}`:                        "allowed_algorithms",
		`{"jwks_urls":["https://a"],"allowed_algorithms":["rs256"]}`:                       "allowed_algorithms",
		`{"jwks_urls":["https://a"],"token_from":{}}`:                                      "token_from",
		`{"jwks_urls":["https://a"],"jwks_ttl":"0s"}`:                                      "ttl",
		`{"jwks_urls":["https://a"],"jwks_max_wait":"1 second"}`:                           "jwks_max_wait must be",
		`{"jwks_urls":["https://a"],"leeway":"-1s"}`:                                       "leeway must be",
		`{"jwks_urls":["https://a"],"leeway":5}`:                                           "leeway must be",
		`{"jwks_urls":["https://a"],"token_from":{"header":"A","query_parameter":"b"}}`:    "token_from",
		`{"jwks_urls":["https://a"],"target_audience":{"a":1}}`:                            "target_audience",
		`{"jwks_urls":["https://user:hunter2@a","s3://bucket/x"],"allowed_algorithms":[]}`: "s3://bucket/x",
	} {
		_, err := Catalog(Deps{}).Build("jwt", nil, []byte(config))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got %v, want it to name %s", config, err, want)
		}
	}
}

func TestARefusedJWTSaysNothingOfItsClaims(t *testing.T) {
	i := newIssuer(t)
	a := i.verifier(t, newClock(), `"scope_strategy":"exact","required_scope":["admin"]`)
	_, err := a.Authenticate(t.Context(), bearerRequest(i.sign(t, "", nil, claims(map[string]any{"sub": "secret-subject"}))))
	var f *fault.Error
	if !errors.As(err, &f) {
		t.Fatal(err)
	}
	want := fault.Error{Kind: fault.Forbidden, Reason: "insufficient_scope", Message: "the token lacks a required scope", Challenge: `Bearer error="insufficient_scope", scope="admin"`}
	if diff := cmp.Diff(want, *f); diff != "" {
		t.Error(diff)
	}
}

func BenchmarkJWT(b *testing.B) {
	i := newIssuer(b)
	for _, alg := range []string{"ES256", "EdDSA"} {
		r := bearerRequest(i.sign(b, alg, nil, claims(nil)))
		b.Run(alg+" verified before", func(b *testing.B) {
			a := i.verifier(b, newClock(), `"scope_strategy":"exact","required_scope":["read"],"target_audience":["api"]`)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := a.Authenticate(b.Context(), r); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(alg+" verified anew", func(b *testing.B) {
			a := i.verifier(b, newClock(), "").(*jwt)
			token := i.sign(b, alg, nil, claims(nil))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := a.verify(b.Context(), token); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
