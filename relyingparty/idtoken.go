package relyingparty

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"

	"github.com/gatewarden/gatewarden/keys"
)

// wanted is what an ID token must agree with.
type wanted struct {
	// nonce is the one that was sent; empty for a token that came with a refresh.
	nonce string
	// subject is that of the session that is renewed; empty at a login.
	subject     string
	accessToken string
}

// idToken verifies an ID token (OpenID Connect Core 1.0 sections 3.1.3.7 and 12.2) and
// returns its claims. An error of kind Unavailable or Timeout means that the keys could
// not be had; every other says what is wrong with the token.
func (c *Client) idToken(ctx context.Context, from Keys, raw string, want wanted) (map[string]any, error) {
	claims, alg, err := c.verify(ctx, from, raw, "jwt")
	if err != nil {
		return nil, err
	}
	return claims, c.judge(claims, alg, want)
}

// verify returns the claims of a token that the provider signed. Types are those of the
// tokens it may be, in lower case, where it has one. Errors as of idToken.
func (c *Client) verify(ctx context.Context, from Keys, raw string, types ...string) (map[string]any, jose.SignatureAlgorithm, error) {
	var algorithms []jose.SignatureAlgorithm
	for _, name := range c.o.Algorithms {
		algorithms = append(algorithms, jose.SignatureAlgorithm(name))
	}
	t, err := keys.ParseJWS(raw, algorithms)
	switch {
	case err != nil:
		return nil, "", err
	case t.Type != "" && !slices.Contains(types, t.Type):
		return nil, "", fmt.Errorf("typ is %q", t.Type)
	case t.KeyID == "":
		return nil, "", errors.New("kid is missing")
	}
	candidates, err := from.Keys(ctx, t.KeyID)
	if err != nil {
		return nil, "", err
	}
	cause := errors.New("kid is in no key set")
	for _, k := range candidates {
		var payload []byte
		if payload, cause = t.Verify(k); cause != nil {
			continue
		}
		var claims map[string]any
		if err := json.Unmarshal(payload, &claims); err != nil { // refuses duplicate members
			return nil, "", fmt.Errorf("claims: %w", err)
		}
		return claims, t.Algorithm, nil
	}
	return nil, "", cause
}

// judge checks the claims of a verified token.
func (c *Client) judge(claims map[string]any, alg jose.SignatureAlgorithm, want wanted) error {
	text := func(name string) string { s, _ := claims[name].(string); return s }
	if text("iss") != c.o.Issuer {
		return errors.New("iss is another issuer")
	}
	if err := c.audience(claims); err != nil {
		return err
	}
	sub := text("sub")
	switch {
	case sub == "" || len(sub) > 255:
		return errors.New("sub is missing or too long")
	case want.subject != "" && sub != want.subject:
		return errors.New("sub is another person than the session's")
	case want.nonce != "" && subtle.ConstantTimeCompare([]byte(text("nonce")), []byte(want.nonce)) != 1:
		return errors.New("nonce is not the one that was sent")
	case claims["events"] != nil:
		return errors.New("events marks a logout token or security event")
	case claims["cnf"] != nil:
		return errors.New("cnf binds the token to a key")
	}
	if err := c.times(claims); err != nil {
		return err
	}
	if _, ok := claims["at_hash"]; ok && subtle.ConstantTimeCompare([]byte(text("at_hash")), []byte(halfHash(alg, want.accessToken))) != 1 {
		return errors.New("at_hash is of another access token")
	}
	return nil
}

// audience checks aud and azp: the token must be for this client, and when it is for
// others too, this client must be the one it was issued to.
func (c *Client) audience(claims map[string]any) error {
	var list []string
	switch aud := claims["aud"].(type) {
	case string:
		list = []string{aud}
	case []any:
		for _, v := range aud {
			s, ok := v.(string)
			if !ok {
				return errors.New("aud is not a list of strings")
			}
			list = append(list, s)
		}
	}
	if !slices.Contains(list, c.o.ClientID) {
		return errors.New("aud is another client")
	}
	azp, ok := claims["azp"]
	if ok && azp != c.o.ClientID || !ok && len(list) > 1 {
		return errors.New("azp is missing or another client")
	}
	return nil
}

func (c *Client) times(claims map[string]any) error {
	now, leeway := c.o.Now(), c.o.Leeway
	exp, err := date(claims, "exp")
	switch {
	case err != nil:
		return err
	case exp.IsZero():
		return errors.New("exp is missing")
	case !now.Add(-leeway).Before(exp):
		return errors.New("the token has expired")
	}
	iat, err := date(claims, "iat")
	if err != nil {
		return err
	}
	if iat.IsZero() {
		return errors.New("iat is missing")
	}
	nbf, err := date(claims, "nbf")
	if err != nil {
		return err
	}
	if limit := now.Add(leeway); iat.After(limit) || nbf.After(limit) {
		return errors.New("the token is from the future")
	}
	_, err = date(claims, "auth_time")
	return err
}

// date reads a NumericDate (RFC 7519 section 2); zero when it is missing.
func date(claims map[string]any, name string) (time.Time, error) {
	v, ok := claims[name]
	if !ok {
		return time.Time{}, nil
	}
	n, isNumber := v.(float64)
	if !isNumber || math.IsNaN(n) || n < 1 || n > 1<<40 {
		return time.Time{}, fmt.Errorf("%s is not a date", name)
	}
	return time.Unix(int64(n), 0), nil
}

// halfHash is at_hash: the left half of the hash that belongs to the signature
// algorithm (section 3.1.3.6; Ed25519 uses SHA-512).
func halfHash(alg jose.SignatureAlgorithm, token string) string {
	var sum []byte
	switch {
	case strings.HasSuffix(string(alg), "384"):
		s := sha512.Sum384([]byte(token))
		sum = s[:]
	case strings.HasSuffix(string(alg), "512") || alg == jose.EdDSA:
		s := sha512.Sum512([]byte(token))
		sum = s[:]
	default:
		s := sha256.Sum256([]byte(token))
		sum = s[:]
	}
	return base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2])
}
