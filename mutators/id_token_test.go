package mutators

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/handler"
)

// ring signs with one key for each algorithm; own is the alg for an empty one.
type ring struct {
	keys       map[string]crypto.Signer
	own        string
	generation atomic.Uint64
	signed     atomic.Int64
	err        error
}

var testKeys = sync.OnceValue(func() map[string]crypto.Signer {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	rs, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	return map[string]crypto.Signer{"ES256": ec, "RS256": rs, "EdDSA": ed}
})

func newRing() *ring { return &ring{keys: testKeys(), own: "EdDSA"} }

func (r *ring) Generation() uint64 { return r.generation.Load() }

func (r *ring) Sign(_ context.Context, alg, typ string, payload []byte, _ time.Time) (string, error) {
	if r.err != nil {
		return "", r.err
	}
	r.signed.Add(1)
	if alg == "" {
		alg = r.own
	}
	if r.keys[alg] == nil {
		return "", errors.New("no key for " + alg)
	}
	key := jose.SigningKey{Algorithm: jose.SignatureAlgorithm(alg), Key: jose.JSONWebKey{Key: r.keys[alg], KeyID: strconv.FormatUint(r.Generation(), 10)}}
	s, err := jose.NewSigner(key, (&jose.SignerOptions{}).WithType(jose.ContentType(typ)))
	if err != nil {
		return "", err
	}
	jws, err := s.Sign(payload)
	if err != nil {
		return "", err
	}
	return jws.CompactSerialize()
}

// clock is a clock that tests move.
type clock struct{ nanos atomic.Int64 }

func (c *clock) Now() time.Time          { return time.Unix(0, c.nanos.Load()) }
func (c *clock) Advance(d time.Duration) { c.nanos.Add(int64(d)) }

func newClock() *clock {
	c := &clock{}
	c.nanos.Store(time.Date(2026, 5, 4, 3, 2, 1, 500e6, time.UTC).UnixNano())
	return c
}

func deps(t testing.TB) Deps {
	tokens := NewTokenCache()
	t.Cleanup(tokens.Close)
	return Deps{
		Signer: newRing(),
		LoadSigner: func(location string) (Signer, error) {
			if location != "file:///keys.json" {
				return nil, errors.New("no such file")
			}
			return newRing(), nil
		},
		Tokens: tokens,
		HTTP:   &http.Client{Transport: transport(services)},
		Now:    newClock().Now,
	}
}

// mint returns the token that goes upstream.
func mint(t testing.TB, m Mutator, in access.Input) string {
	t.Helper()
	var p access.Pass
	if err := m.Mutate(t.Context(), in, &p); err != nil {
		t.Fatal(err)
	}
	token, ok := strings.CutPrefix(p.Set.Get("Authorization"), "Bearer ")
	if !ok || len(p.Set) != 1 {
		t.Fatalf("pass sets %v", p.Set)
	}
	return token
}

// claims verifies the token and returns its header and claims.
func claims(t testing.TB, token, alg string) (jose.Header, map[string]any) {
	t.Helper()
	jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(alg)})
	if err != nil {
		t.Fatal(err)
	}
	payload, err := jws.Verify(testKeys()[alg].Public())
	if err != nil {
		t.Fatal(err)
	}
	var c map[string]any
	if err := json.Unmarshal(payload, &c); err != nil {
		t.Fatal(err)
	}
	return jws.Signatures[0].Header, c
}

func TestTheTokenSaysWhoAskedAndVerifies(t *testing.T) {
	for _, c := range []struct{ config, alg string }{
		{`"ttl":"2m"`, "ES256"}, {`"alg":"ES256","ttl":"2m"`, "ES256"}, {`"alg":"RS256","ttl":"2m"`, "RS256"}, {`"alg":"EdDSA","ttl":"2m"`, "EdDSA"},
		{`"jwks_url":"file:///keys.json","ttl":"2m"`, "EdDSA"}, {`"jwks_url":"file:///keys.json","alg":"RS256","ttl":"2m"`, "RS256"},
	} {
		m := build(t, deps(t), "id_token", `{"issuer_url":"https://gw.example.com/","claims":"{\"aud\":[\"api\"],\"groups\":{{ toJson .Extra.groups }},\"big\":9007199254740993,\"iss\":\"evil\",\"sub\":\"evil\",\"exp\":99999999999,\"nbf\":0,\"iat\":0,\"jti\":\"evil\"}",`+c.config+`}`)
		header, got := claims(t, mint(t, m, input()), c.alg)
		jti, _ := got["jti"].(string)
		if len(jti) < 22 || jti == "evil" {
			t.Errorf("jti is %q", jti)
		}
		issued := float64(time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC).Unix())
		want := map[string]any{"iss": "https://gw.example.com/", "sub": "alice", "iat": issued, "nbf": issued, "exp": issued + 120, "jti": got["jti"],
			"aud": []any{"api"}, "groups": []any{"dev", "ops"}, "big": float64(9007199254740993)}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: claims (-want +got):\n%s", c.config, diff)
		}
		if header.ExtraHeaders[jose.HeaderType] != "JWT" || header.Algorithm != c.alg || header.KeyID == "" {
			t.Errorf("%s: header %+v", c.config, header)
		}
	}
}

func TestATokenLivesOneMinuteByDefault(t *testing.T) {
	_, got := claims(t, mint(t, build(t, deps(t), "id_token", `{"issuer_url":"https://gw"}`), input()), "ES256")
	if life := got["exp"].(float64) - got["iat"].(float64); life != 60 {
		t.Errorf("life is %v s", life)
	}
}

func TestATokenIsReusedWhileAFifthOfItsLifeIsLeft(t *testing.T) {
	d, now, looked := deps(t), newClock(), map[bool]int{}
	d.Now, d.Observe = now.Now, func(cache string, hit bool) { looked[hit]++ }
	m := build(t, d, "id_token", `{"issuer_url":"https://gw","ttl":"100s"}`)
	first := mint(t, m, input())
	now.Advance(79 * time.Second)
	if mint(t, m, input()) != first {
		t.Error("a fresh token was not reused")
	}
	now.Advance(time.Second)
	if mint(t, m, input()) == first {
		t.Error("a token with less than a fifth of its life was handed out")
	}
	if looked[true] != 1 || looked[false] != 2 {
		t.Errorf("look-ups by hit: %v", looked)
	}
	d.Tokens = nil
	m = build(t, d, "id_token", `{"issuer_url":"https://gw"}`)
	if mint(t, m, input()) == mint(t, m, input()) {
		t.Error("a token was reused without a cache")
	}
}

// Whatever goes into a token is part of its cache key.
func TestATokenIsNeverHandedToAnotherSubjectClaimConfigurationOrKey(t *testing.T) {
	d := deps(t)
	signer := newRing()
	d.Signer = signer
	seen := map[string]string{}
	check := func(what string, m Mutator, in access.Input) {
		t.Helper()
		token := mint(t, m, in)
		if other, ok := seen[token]; ok {
			t.Errorf("%s got the token of %s", what, other)
		}
		if mint(t, m, in) != token {
			t.Errorf("%s: the token was not cached", what)
		}
		seen[token] = what
	}
	const claims = `,"claims":"{\"e\":\"{{ print .Extra.email }}\"}"`
	m := build(t, d, "id_token", `{"issuer_url":"https://gw"`+claims+`}`)
	check("alice", m, input())
	in := input()
	in.Subject.ID = "bob"
	check("bob", m, in)
	in.Subject.ID = ""
	check("nobody", m, in)
	in = input()
	in.Subject.Extra = map[string]any{"email": "b@example.com"}
	check("alice with another claim", m, in)
	check("another issuer", build(t, d, "id_token", `{"issuer_url":"https://gw2"`+claims+`}`), input())
	check("another ttl", build(t, d, "id_token", `{"issuer_url":"https://gw","ttl":"2m"`+claims+`}`), input())
	check("another alg", build(t, d, "id_token", `{"issuer_url":"https://gw","alg":"EdDSA"`+claims+`}`), input())
	check("another key set", build(t, d, "id_token", `{"issuer_url":"https://gw","jwks_url":"file:///keys.json"`+claims+`}`), input())
	check("no claims", build(t, d, "id_token", `{"issuer_url":"https://gw"}`), input())
	signer.generation.Add(1)
	check("alice after a rotation", m, input())
}

func TestAValueCannotAddOrRepeatAClaim(t *testing.T) {
	d := deps(t)
	in := input()
	in.Subject.ID = hostile
	in.Subject.Extra = map[string]any{"k": "role"}
	in.Request.URL.RawQuery = `1,"role":"admin"`
	_, got := claims(t, mint(t, build(t, d, "id_token", `{"issuer_url":"https://gw","claims":"{\"u\":\"{{ .Subject }}\",\"q\":\"{{ .MatchContext.URL.RawQuery }}\"}"}`), in), "ES256")
	if got["role"] != nil || got["u"] != hostile || got["sub"] != hostile {
		t.Errorf("claims %v", got)
	}
	for config, want := range map[string]fault.Kind{
		`{\"q\":{{ .MatchContext.URL.RawQuery }}}`:         fault.Invalid,
		`{\"role\":\"user\",\"{{ .Extra.k }}\":\"admin\"}`: fault.Invalid,
		`[1]`:                       fault.Internal,
		`null`:                      fault.Internal,
		`{\"a\":{{ .Extra.none }}}`: fault.Internal,
	} {
		m := build(t, d, "id_token", `{"issuer_url":"https://gw","claims":"`+config+`"}`)
		var p access.Pass
		if err := m.Mutate(t.Context(), in, &p); err == nil || fault.KindOf(err) != want || p.Set != nil {
			t.Errorf("%s: got %v (%s), pass %v; want kind %s", config, err, fault.KindOf(err), p, want)
		}
	}
}

func TestASignerThatFailsRefusesTheRequest(t *testing.T) {
	d := deps(t)
	d.Signer = &ring{err: fault.New(fault.Unavailable, "no_signing_key", "")}
	var p access.Pass
	err := build(t, d, "id_token", `{"issuer_url":"https://gw"}`).Mutate(t.Context(), input(), &p)
	if !fault.Is(err, fault.Unavailable) || p.Set != nil {
		t.Errorf("got %v, pass %v", err, p)
	}
}

func TestIDTokenWithoutKeysIsALoadError(t *testing.T) {
	for _, config := range []string{`{"issuer_url":"https://gw"}`, `{"issuer_url":"https://gw","jwks_url":"file:///keys.json"}`} {
		if m, err := Catalog(Deps{}).Build("id_token", nil, handler.Raw(config)); err == nil {
			t.Errorf("built %v", m)
		}
	}
}

func TestTheTokenCacheIsBoundedAndClosesClean(t *testing.T) {
	before := goleak.IgnoreCurrent()
	const bound = 64 << 10
	c := newTokenCache(bound)
	for i := range 1000 {
		m := minted{header: strings.Repeat("x", 800), freshUntil: time.Now().Add(time.Hour), freshFor: time.Hour}
		c.put(c.key(uint64(i), "", "", nil), m)
	}
	c.tokens.CleanUp()
	if size := c.tokens.WeightedSize(); size == 0 || size > bound {
		t.Errorf("holds %d of %d bytes", size, bound)
	}
	c.Close()
	goleak.VerifyNone(t, before)
}

func BenchmarkIDToken(b *testing.B) {
	const config = `{"issuer_url":"https://gw.example.com/","claims":"{\"aud\":[\"api\"],\"email\":\"{{ .Extra.email }}\"}","alg":`
	for _, alg := range []string{"ES256", "EdDSA"} {
		for _, cached := range []bool{true, false} {
			d := deps(b)
			if !cached {
				d.Tokens = nil
			}
			m := build(b, d, "id_token", config+`"`+alg+`"}`)
			b.Run(alg+"/cached="+strconv.FormatBool(cached), func(b *testing.B) {
				in := input()
				b.ReportAllocs()
				for b.Loop() {
					p := access.Pass{}
					if err := m.Mutate(b.Context(), in, &p); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
