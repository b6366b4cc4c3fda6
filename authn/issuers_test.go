package authn

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/go-jose/go-jose/v4"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/keys"
)

const issA, issB = "https://a.example", "https://b.example"

// namesake is another issuer whose key has the same id as one of newIssuer's.
func namesake(t testing.TB) issuer {
	private := ed25519.NewKeyFromSeed([]byte(strings.Repeat("b", ed25519.SeedSize)))
	set := must(json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: private, KeyID: "ed", Algorithm: "EdDSA", Use: "sig"}}}))(t)
	return issuer{must(keys.FixedRing("keys of the namesake", set))(t)}
}

// chain asks handlers in order, as a rule does.
func chain(t testing.TB, r *access.Request, handlers ...Authenticator) string {
	for _, a := range handlers {
		s, err := a.Authenticate(t.Context(), r)
		if !errors.Is(err, ErrNoCredentials) {
			return outcome(s, err)
		}
	}
	return "no credentials"
}

func TestATokenIsVerifiedWithTheKeysOfItsOwnIssuerOnly(t *testing.T) {
	a, b, c := newIssuer(t), namesake(t), newClock()
	one := func(iss string, i issuer, more string) string {
		return fmt.Sprintf(`{"issuer":%q,"jwks_urls":[%q]%s}`, iss, i.location(t), more)
	}
	config := func(more string) string {
		return `{"allowed_algorithms":["EdDSA"],"issuers":[` + one(issA, a, `,"allowed_algorithms":["EdDSA","ES256"]`) + "," + one(issB, b, `,"target_audience":["other"]`) + `]` + more + `}`
	}
	refuse, next := build(t, Deps{Now: c.Now}, "jwt", config("")), build(t, Deps{Now: c.Now}, "jwt", config(`,"foreign_issuer":"next"`))
	ofA := build(t, Deps{Now: c.Now}, "jwt", fmt.Sprintf(`{"jwks_urls":[%q],"allowed_algorithms":["EdDSA"],"trusted_issuers":[%q],"foreign_issuer":"next"}`, a.location(t), issA))
	ofB := build(t, Deps{Now: c.Now}, "jwt", fmt.Sprintf(`{"jwks_urls":[%q],"allowed_algorithms":["EdDSA"],"trusted_issuers":[%q],"target_audience":["other"],"foreign_issuer":"next"}`, b.location(t), issB))
	sign := func(i issuer, iss any, more map[string]any) string {
		m := map[string]any{"iss": iss}
		for k, v := range more {
			m[k] = v
		}
		return i.sign(t, "EdDSA", nil, claims(m))
	}
	raw := func(i issuer, payload string) string {
		return must(i.Sign(t.Context(), "EdDSA", "JWT", []byte(payload), time.Time{}))(t)
	}
	const rest = `,"sub":"alice","aud":"other","exp":1893456000}`
	for name, row := range map[string]struct {
		token                string
		refuse, next, chains string
	}{
		"of the first":                {sign(a, issA, nil), "subject alice", "subject alice", "subject alice"},
		"of the second":               {sign(b, issB, nil), "subject alice", "subject alice", "subject alice"},
		"the first says the second":   {sign(a, issB, nil), "unauthenticated", "unauthenticated", "unauthenticated"},
		"the second says the first":   {sign(b, issA, nil), "unauthenticated", "unauthenticated", "unauthenticated"},
		"of nobody we know":           {sign(a, "https://c.example", nil), "unauthenticated", "no credentials", "no credentials"},
		"almost the first":            {sign(a, issA+"/", nil), "unauthenticated", "no credentials", "no credentials"},
		"without an issuer":           {sign(a, nil, nil), "unauthenticated", "no credentials", "no credentials"},
		"with an empty one":           {sign(a, "", nil), "unauthenticated", "no credentials", "no credentials"},
		"with a list":                 {sign(a, []string{issA}, nil), "unauthenticated", "no credentials", "no credentials"},
		"with two, ours first":        {raw(a, `{"iss":"`+issA+`","iss":"`+issB+`"`+rest), "unauthenticated", "unauthenticated", "unauthenticated"},
		"with two, ours last":         {raw(a, `{"iss":"`+issB+`","iss":"`+issA+`"`+rest), "unauthenticated", "unauthenticated", "unauthenticated"},
		"with two in two spellings":   {raw(a, `{"iss":"`+issB+`","\u0069ss":"`+issA+`"`+rest), "unauthenticated", "unauthenticated", "unauthenticated"},
		"spelt with escapes":          {raw(a, `{"\u0069ss":"https:\/\/a.example"`+rest), "subject alice", "subject alice", "subject alice"},
		"in other letters":            {raw(a, `{"ISS":"`+issA+`"`+rest), "unauthenticated", "no credentials", "no credentials"},
		"nested":                      {raw(a, `{"x":{"iss":"`+issA+`"}`+rest), "unauthenticated", "no credentials", "no credentials"},
		"no object":                   {raw(a, `["iss"]`), "unauthenticated", "no credentials", "no credentials"},
		"the audience of the second":  {sign(b, issB, map[string]any{"aud": "api"}), "unauthenticated", "unauthenticated", "unauthenticated"},
		"expired":                     {sign(a, issA, map[string]any{"exp": start.Unix() - 60}), "unauthenticated", "unauthenticated", "unauthenticated"},
		"no JWT":                      {"opaque", "no credentials", "no credentials", "no credentials"},
		"signature of another token":  {cutSignature(sign(a, issA, nil)) + sign(a, issA, map[string]any{"sub": "x"})[strings.LastIndex(sign(a, issA, map[string]any{"sub": "x"}), "."):], "unauthenticated", "unauthenticated", "unauthenticated"},
		"claims that are not base64":  {"e30.?.AAAA", "unauthenticated", "unauthenticated", "unauthenticated"},
		"an algorithm of the first":   {a.sign(t, "ES256", nil, claims(map[string]any{"iss": issA})), "subject alice", "subject alice", "unauthenticated"},
		"not one of the second's":     {a.sign(t, "ES256", nil, claims(map[string]any{"iss": issB})), "unauthenticated", "unauthenticated", "unauthenticated"},
		"in a file that is not there": {"e30.e30.", "unauthenticated", "no credentials", "no credentials"},
	} {
		for range 3 { // with and without the cache
			r := bearerRequest(row.token)
			if got := chain(t, r, refuse); got != row.refuse {
				t.Errorf("%s: refused as %s, want %s", name, got, row.refuse)
			}
			if got := chain(t, r, next); got != row.next {
				t.Errorf("%s, next: got %s, want %s", name, got, row.next)
			}
			for _, order := range [][]Authenticator{{ofA, ofB}, {ofB, ofA}} {
				if got := chain(t, r, order...); got != row.chains {
					t.Errorf("%s, two handlers: got %s, want %s", name, got, row.chains)
				}
			}
		}
	}
}

func cutSignature(token string) string { return token[:strings.LastIndex(token, ".")] }

func TestTheEmbeddedServerIsOneOfSeveralIssuers(t *testing.T) {
	own, other := newIssuer(t), namesake(t)
	a := build(t, Deps{Now: newClock().Now, OwnKeys: own}, "jwt", fmt.Sprintf(`{"allowed_algorithms":["EdDSA"],"issuers":[{"issuer":%q},{"issuer":%q,"jwks_urls":[%q]}]}`, issA, issB, other.location(t)))
	for name, row := range map[string]struct{ token, want string }{
		"its own":            {own.sign(t, "EdDSA", nil, claims(map[string]any{"iss": issA})), "subject alice"},
		"the other's":        {other.sign(t, "EdDSA", nil, claims(map[string]any{"iss": issB})), "subject alice"},
		"the other's as own": {other.sign(t, "EdDSA", nil, claims(map[string]any{"iss": issA})), "unauthenticated"},
	} {
		if got := chain(t, bearerRequest(row.token), a); got != row.want {
			t.Errorf("%s: got %s, want %s", name, got, row.want)
		}
	}
}

func TestATokenThatClaimsAForeignIssuerIsNotSentToAnEndpoint(t *testing.T) {
	unsigned := func(iss string) string {
		return "e30." + base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"`+iss+`"}`)) + ".AAAA"
	}
	e := newEndpoint(t, says(`{"active":true,"sub":"alice","iss":"`+issA+`"}`))
	next := build(t, Deps{}, "oauth2_introspection", e.config(`"trusted_issuers":["`+issA+`"],"foreign_issuer":"next"`))
	refuse := build(t, Deps{}, "oauth2_introspection", e.config(`"trusted_issuers":["`+issA+`"]`))
	liar := newEndpoint(t, says(`{"active":true,"sub":"alice","iss":"`+issB+`"}`))
	bound := build(t, Deps{}, "oauth2_introspection", liar.config(`"trusted_issuers":["`+issA+`"],"foreign_issuer":"next"`))
	for name, row := range map[string]struct {
		token, next, refuse, bound string
		asked                      int32
	}{
		"opaque":             {"opaque", "subject alice", "subject alice", "forbidden", 1},
		"trusted":            {unsigned(issA), "subject alice", "subject alice", "forbidden", 1},
		"foreign":            {unsigned(issB), "no credentials", "subject alice", "no credentials", 0},
		"opaque with dots":   {"a.b.c", "subject alice", "subject alice", "forbidden", 1},
		"a JWT of no issuer": {"e30.e30.AAAA", "subject alice", "subject alice", "forbidden", 1},
	} {
		before := e.asked.Load()
		got := chain(t, bearerRequest(row.token), next)
		if asked := e.asked.Load() - before; got != row.next || asked != row.asked {
			t.Errorf("%s: got %s after %d questions, want %s after %d", name, got, asked, row.next, row.asked)
		}
		if got := chain(t, bearerRequest(row.token), refuse); got != row.refuse {
			t.Errorf("%s: without next: got %s, want %s", name, got, row.refuse)
		}
		if got := chain(t, bearerRequest(row.token), bound); got != row.bound {
			t.Errorf("%s: an answer of another issuer: got %s, want %s", name, got, row.bound)
		}
	}
}

func TestABadIssuersConfigNamesTheField(t *testing.T) {
	for config, want := range map[string]string{
		`{"jwks_urls":["https://a/"],"foreign_issuer":"ignore"}`:                                            "foreign_issuer",
		`{"jwks_urls":["https://a/"],"foreign_issuer":"next"}`:                                              "foreign_issuer: next needs",
		`{"jwks_urls":["https://a/"],"issuers":[{"issuer":"a","jwks_urls":["https://a/"]}]}`:                "issuers cannot be combined",
		`{"trusted_issuers":["a"],"issuers":[{"issuer":"a","jwks_urls":["https://a/"]}]}`:                   "issuers cannot be combined",
		`{"issuers":[{"jwks_urls":["https://a/"]}]}`:                                                        "issuers[0]: issuer must not be empty",
		`{"issuers":[{"issuer":"a","jwks_urls":["https://a/"]},{"issuer":"a","jwks_urls":["https://b/"]}]}`: "issuers[1]: the issuer is there already",
		`{"issuers":[{"issuer":"a","jwks_urls":["ftp://a/"]}]}`:                                             "issuers[0]: jwks_urls",
		`{"issuers":[{"issuer":"a","jwks_urls":["https://a/"]},{"issuer":"b"}]}`:                            "issuers[1]: jwks_urls is required",
		`{"issuers":[{"issuer":"a","jwks_urls":["https://a/"],"allowed_algorithms":["HS256"]}]}`:            "issuers[0]: allowed_algorithms",
		`{"issuers":[{"issuer":"a","jwks_urls":["https://a/"],"audience":["x"]}]}`:                          "unknown field",
	} {
		if _, err := Catalog(Deps{}).Build("jwt", nil, []byte(config)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want it to name %s", config, err, want)
		}
	}
	if _, err := Catalog(Deps{}).Build("oauth2_introspection", nil, []byte(`{"introspection_url":"https://a/","foreign_issuer":"next"}`)); err == nil || !strings.Contains(err.Error(), "foreign_issuer: next needs") {
		t.Error(err)
	}
}

func FuzzClaimedIssuer(f *testing.F) {
	f.Add(`{"iss":"a"}`)
	f.Add(`{"iss":"a","iss":"b`)
	f.Add("\x00{")
	f.Fuzz(func(t *testing.T, payload string) {
		if !utf8.ValidString(payload) || strings.Contains(payload, `\u`) {
			return // readers differ in what they put for broken text, and such an issuer is trusted nowhere
		}
		got, isJWT := claimedIssuer("e30." + base64.RawURLEncoding.EncodeToString([]byte(payload)) + ".")
		if !isJWT {
			t.Error("three parts are a JWT")
		}
		// What a strict reader sees is what was chosen by, wherever it sees anything.
		if verified, err := (&jwt{}).claims([]byte(payload)); err == nil && verified.issuer != got {
			t.Errorf("%q: chosen by %q, verified %q", payload, got, verified.issuer)
		}
	})
}
