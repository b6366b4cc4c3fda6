package authn

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/keys"
)

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// start is when tests happen unless they move the clock.
var start = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: start} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// request is a GET with header fields, given as name, value pairs.
func request(target string, header ...string) *access.Request {
	u, err := url.Parse(target)
	if err != nil {
		panic(err)
	}
	r := &access.Request{Method: "GET", URL: u, Header: http.Header{}}
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	return r
}

func bearerRequest(token string) *access.Request {
	return request("https://api.example/", "Authorization", "Bearer "+token)
}

func build(t testing.TB, d Deps, name, config string) Authenticator {
	t.Helper()
	return must(Catalog(d).Build(name, nil, []byte(config)))(t)
}

// outcome puts what Authenticate answered into one word.
func outcome(s access.Subject, err error) string {
	switch {
	case errors.Is(err, ErrNoCredentials):
		return "no credentials"
	case err != nil:
		return fault.KindOf(err).String()
	}
	return "subject " + s.ID
}

// server is an embedded authorization server that knows some tokens.
type server map[string]access.Token

func (s server) Introspect(ctx context.Context, token string) (access.Token, error) {
	if err := ctx.Err(); err != nil {
		return access.Token{}, err
	}
	return s[token], nil
}

// issuer signs tokens with a ring of one key per algorithm.
type issuer struct{ *keys.Ring }

var issuerSet = sync.OnceValue(func() []byte {
	var list []json.RawMessage
	for _, raw := range []string{ // fixed, so that no test waits for an RSA key to be made
		`{"kty":"OKP","crv":"Ed25519","kid":"ed","alg":"EdDSA","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`,
		`{"kty":"EC","crv":"P-256","kid":"es","alg":"ES256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0","d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"}`,
	} {
		list = append(list, json.RawMessage(raw))
	}
	raw, err := json.Marshal(map[string]any{"keys": list})
	if err != nil {
		panic(err)
	}
	return raw
})

func newIssuer(t testing.TB) issuer {
	return issuer{must(keys.FixedRing("test keys", issuerSet()))(t)}
}

// location is the issuer's JWK set as an inline URL.
func (i issuer) location(t testing.TB) string {
	return "inline://" + base64.StdEncoding.EncodeToString(must(json.Marshal(i.Public()))(t))
}

// claims are good claims with changes; a nil value removes a claim.
func claims(change map[string]any) map[string]any {
	c := map[string]any{
		"iss": "https://issuer.example", "sub": "alice", "aud": []string{"api", "other"}, "scope": "read write",
		"iat": start.Unix(), "nbf": start.Unix(), "exp": start.Add(time.Hour).Unix(),
	}
	maps.Copy(c, change)
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	return c
}

// sign returns a token with claims; header may replace typ.
func (i issuer) sign(t testing.TB, alg string, header, claims map[string]any) string {
	t.Helper()
	if header == nil {
		header = map[string]any{"typ": "at+jwt"}
	}
	return must(i.SignWith(t.Context(), alg, header, must(json.Marshal(claims))(t), time.Time{}))(t)
}

// signRaw signs any payload with any header by a key of the test's own.
func signRaw(t testing.TB, key any, alg jose.SignatureAlgorithm, header map[jose.HeaderKey]any, payload string) string {
	t.Helper()
	s := must(jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, &jose.SignerOptions{ExtraHeaders: header}))(t)
	return must(must(s.Sign([]byte(payload)))(t).CompactSerialize())(t)
}
