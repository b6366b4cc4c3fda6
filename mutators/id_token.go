package mutators

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/strictjson"
	"github.com/gatewarden/gatewarden/templates"
)

// IDTokenConfig says which token goes upstream.
type IDTokenConfig struct {
	// IssuerURL is the claim iss. Required.
	IssuerURL string `json:"issuer_url"`
	// JWKSURL is where the private key set to sign with lies. Empty: the gateway's
	// own keys, whose public parts are at /.well-known/jwks.json.
	JWKSURL string `json:"jwks_url"`
	// Alg is ES256 (default), RS256 or EdDSA. With jwks_url it is the algorithm of a
	// key there; default that of the first private key.
	Alg string `json:"alg"`
	// TTL is the life of a token, a Go duration from 5s to 24h; default 1m.
	TTL string `json:"ttl"`
	// Claims is a template that renders a JSON object of further claims.
	Claims string `json:"claims"`
}

func defaultIDToken() IDTokenConfig { return IDTokenConfig{TTL: "1m"} }

// Bounds of ttl.
const (
	minTTL = 5 * time.Second
	maxTTL = 24 * time.Hour
)

type idToken struct {
	signer  Signer
	tokens  *TokenCache
	observe func(cache string, hit bool)
	now     func() time.Time
	issuer  string
	alg     string
	ttl     time.Duration
	claims  *templates.JSON // nil: none
	// identity tells tokens of differently configured instances apart in the cache.
	identity string
}

var (
	_ Mutator     = (*idToken)(nil)
	_ HeaderOwner = (*idToken)(nil)
)

func newIDToken(d Deps, c IDTokenConfig) (Mutator, error) {
	m := &idToken{signer: d.Signer, tokens: d.Tokens, observe: d.Observe, now: d.Now, issuer: c.IssuerURL, alg: c.Alg}
	if m.now == nil {
		m.now = time.Now
	}
	if m.observe == nil {
		m.observe = func(string, bool) {}
	}
	var errs []error
	if u, err := url.Parse(c.IssuerURL); err != nil || u.Scheme == "" {
		errs = append(errs, errors.New("issuer_url: must be a URL"))
	}
	var err error
	if m.ttl, err = time.ParseDuration(c.TTL); err != nil || m.ttl < minTTL || m.ttl > maxTTL {
		errs = append(errs, fmt.Errorf("ttl: must be a duration from %s to %s, not %q", minTTL, maxTTL, c.TTL))
	}
	if strings.TrimSpace(c.Claims) != "" {
		m.claims, err = templates.CompileJSON("claims", c.Claims)
		errs = append(errs, err)
	}
	errs = append(errs, m.chooseSigner(d, c))
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	for _, part := range []string{"id_token", m.issuer, m.alg, m.ttl.String(), c.JWKSURL} {
		m.identity = string(appendPart([]byte(m.identity), part))
	}
	return m, nil
}

func (m *idToken) chooseSigner(d Deps, c IDTokenConfig) error {
	if c.JWKSURL == "" {
		if d.Signer == nil {
			return errors.New("jwks_url: required, the gateway has no signing keys of its own")
		}
		if m.alg == "" {
			m.alg = "ES256"
		}
		if !slices.Contains([]string{"ES256", "RS256", "EdDSA"}, m.alg) {
			return fmt.Errorf("alg: must be ES256, RS256 or EdDSA, not %q", c.Alg)
		}
		return nil
	}
	if d.LoadSigner == nil {
		return errors.New("jwks_url: cannot be used here, leave it out to sign with the gateway's own keys")
	}
	if strings.HasPrefix(c.Alg, "HS") || c.Alg == "none" {
		return fmt.Errorf("alg: must be an algorithm with a public key, not %q", c.Alg)
	}
	s, err := d.LoadSigner(c.JWKSURL)
	if err != nil {
		return fmt.Errorf("jwks_url: %w", err)
	}
	if s == nil {
		return errors.New("jwks_url: no signer")
	}
	// A set without a key for alg is found here and not by a request.
	if _, err := s.Sign(context.Background(), c.Alg, "JWT", []byte("{}"), time.Time{}); err != nil {
		return fmt.Errorf("jwks_url: cannot sign: %w", err)
	}
	m.signer = s
	return nil
}

// Mutate sets Authorization to a token for the subject: a cached one while at
// least a fifth of its life is left, else a new one. Errors: those of the template
// and of the signer.
func (m *idToken) Mutate(ctx context.Context, in access.Input, p *access.Pass) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("id_token: %w", err)
	}
	var claims []byte
	if m.claims != nil {
		var err error
		if claims, err = m.claims.Render(&in, p.Set); err != nil {
			return fmt.Errorf("id_token: %w", err)
		}
	}
	value, err := m.token(ctx, in.Subject.ID, claims)
	if err != nil {
		return fmt.Errorf("id_token: %w", err)
	}
	if p.Set == nil {
		p.Set = make(http.Header, 1)
	}
	p.Set["Authorization"] = []string{value}
	return nil
}

func (m *idToken) token(ctx context.Context, subject string, claims []byte) (string, error) {
	now := m.now()
	if m.tokens == nil {
		t, err := m.mint(ctx, now, subject, claims)
		return t.header, err
	}
	// The generation is read before signing: when the key changes in between, the
	// new token lies under the old generation, where nobody looks any more.
	key := m.tokens.key(m.signer.Generation(), m.identity, subject, claims)
	t, hit := m.tokens.get(key, now)
	m.observe("id_token", hit)
	if hit {
		return t.header, nil
	}
	t, err := m.mint(ctx, now, subject, claims)
	if err != nil {
		return "", err
	}
	m.tokens.put(key, t)
	return t.header, nil
}

func (m *idToken) mint(ctx context.Context, now time.Time, subject string, templated []byte) (minted, error) {
	claims := map[string]any{}
	if templated != nil {
		if err := strictjson.Check(templated, nil); err != nil {
			return minted{}, fault.Wrap(fault.Invalid, "duplicate_claim", "the request holds a value that cannot be passed on", err)
		}
		d := json.NewDecoder(bytes.NewReader(templated))
		d.UseNumber() // large integers stay what they are
		if err := d.Decode(&claims); err != nil || claims == nil {
			return minted{}, fault.Wrap(fault.Internal, "template_failed", "claims", errors.New("not a JSON object"))
		}
	}
	issued := now.Truncate(time.Second)
	claims["iss"] = m.issuer
	claims["sub"] = subject
	claims["iat"] = issued.Unix()
	claims["nbf"] = issued.Unix()
	expires := issued.Add(m.ttl)
	claims["exp"] = expires.Unix()
	claims["jti"] = rand.Text()
	payload, err := json.Marshal(claims)
	if err != nil {
		return minted{}, err
	}
	jws, err := m.signer.Sign(ctx, m.alg, "JWT", payload, expires)
	if err != nil {
		return minted{}, err
	}
	freshFor := m.ttl - m.ttl/5
	return minted{header: "Bearer " + jws, freshUntil: issued.Add(freshFor), freshFor: freshFor}, nil
}

// OwnedHeaders is empty: Authorization carries the client's own credentials, which
// authenticators must see. Here it is replaced, and a forged token does not verify.
func (m *idToken) OwnedHeaders() []string { return nil }
