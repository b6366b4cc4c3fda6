package authn

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"github.com/gatewarden/gatewarden/access"
)

// jwtIssuer is one of several issuers of the authenticator jwt.
type jwtIssuer struct {
	// Issuer is the value of iss.
	Issuer string `json:"issuer"`
	// JWKSURLs are the sets that hold this issuer's keys and verify no other's tokens;
	// empty: the keys of the embedded authorization server.
	JWKSURLs []string `json:"jwks_urls"`
	// TargetAudience and AllowedAlgorithms replace those of the handler; absent: they
	// do not.
	TargetAudience    []string `json:"target_audience"`
	AllowedAlgorithms []string `json:"allowed_algorithms"`
}

// tokenHandler is what byIssuer chooses from.
type tokenHandler interface {
	Authenticator
	Challengeable
	access.Lease
}

// byIssuer chooses a handler by the iss that a token claims before anybody verified
// it. That is only a question of who is asked: each handler trusts its own issuer
// alone, and checks it with the signature.
type byIssuer struct {
	token    tokenReader
	handlers map[string]tokenHandler
	opaque   tokenHandler // for tokens that show no issuer; nil: these are foreign
	foreign  error        // for tokens of any other issuer

	challenges []string // the same for all handlers
}

var (
	_ CredentialReader = (*byIssuer)(nil)
	_ SchemeReader     = (*byIssuer)(nil)
	_ Challengeable    = (*byIssuer)(nil)
	_ access.Lease     = (*byIssuer)(nil)
	_ FileReader       = (*byIssuer)(nil)
)

// foreignIssuer returns what happens to tokens of issuers that are not trusted.
func foreignIssuer(setting string, known bool) (next bool, err error) {
	switch {
	case setting == "refuse":
		return false, nil
	case setting != "next":
		return false, fmt.Errorf("foreign_issuer %q is not refuse or next", setting)
	case !known:
		return false, errors.New("foreign_issuer: next needs issuers that are trusted")
	}
	return true, nil
}

// newJWTs returns the handler for a configuration of jwt: one, or one per issuer.
func newJWTs(c jwtConfig, d Deps, cache *factsCache) (Authenticator, error) {
	next, err := foreignIssuer(c.ForeignIssuer, len(c.Issuers)+len(c.TrustedIssuers) > 0)
	if err != nil {
		return nil, err
	}
	if len(c.Issuers) == 0 {
		a, err := newJWT(c, d, cache)
		if err != nil || !next {
			return a, err
		}
		return trusting(c.TrustedIssuers, a.token, a, nil), nil
	}
	if len(c.JWKSURLs) > 0 || len(c.TrustedIssuers) > 0 {
		return nil, errors.New("issuers cannot be combined with jwks_urls and trusted_issuers; each has its own")
	}
	all := &byIssuer{handlers: map[string]tokenHandler{}, foreign: invalidToken("the token's issuer is not trusted here", nil)}
	if next {
		all.foreign = ErrNoCredentials
	}
	for i, issuer := range c.Issuers {
		switch {
		case issuer.Issuer == "":
			return nil, fmt.Errorf("issuers[%d]: issuer must not be empty", i)
		case all.handlers[issuer.Issuer] != nil:
			return nil, fmt.Errorf("issuers[%d]: the issuer is there already", i)
		}
		one := c
		one.Issuers, one.TrustedIssuers, one.JWKSURLs = nil, []string{issuer.Issuer}, issuer.JWKSURLs
		if issuer.TargetAudience != nil {
			one.TargetAudience = issuer.TargetAudience
		}
		if issuer.AllowedAlgorithms != nil {
			one.AllowedAlgorithms = issuer.AllowedAlgorithms
		}
		a, err := newJWT(one, d, cache)
		if err != nil {
			return nil, fmt.Errorf("issuers[%d]: %w", i, err)
		}
		all.token, all.challenges, all.handlers[issuer.Issuer] = a.token, a.binding.challenges, a
	}
	return all, nil
}

// trusting leaves tokens of issuers that a does not trust to the next authenticator.
func trusting(issuers []string, token tokenReader, a, opaque tokenHandler) *byIssuer {
	all := &byIssuer{token: token, handlers: map[string]tokenHandler{}, opaque: opaque, foreign: ErrNoCredentials, challenges: a.Challenges()}
	for _, issuer := range issuers {
		all.handlers[issuer] = a
	}
	return all
}

// CredentialPlaces implements CredentialReader.
func (a *byIssuer) CredentialPlaces() (headers, cookies []string) { return a.token.places() }

// Schemes implements SchemeReader.
func (a *byIssuer) Schemes() []string { return a.token.schemes() }

// Challenges implements Challengeable.
func (a *byIssuer) Challenges() []string { return a.challenges }

// Files implements FileReader.
func (a *byIssuer) Files() (files []FileState) {
	for _, h := range a.handlers {
		if reader, ok := h.(FileReader); ok {
			files = append(files, reader.Files()...)
		}
	}
	return files
}

// Authenticate returns ErrNoCredentials for a token of a foreign issuer when it is to
// be left to the next authenticator.
func (a *byIssuer) Authenticate(ctx context.Context, r *access.Request) (access.Subject, error) {
	h, err := a.choose(r)
	if err != nil {
		return access.Subject{}, err
	}
	return h.Authenticate(ctx, r)
}

// Renew implements access.Lease.
func (a *byIssuer) Renew(ctx context.Context, r *access.Request) (time.Time, error) {
	h, err := a.choose(r)
	if err != nil {
		return time.Time{}, err
	}
	return h.Renew(ctx, r)
}

func (a *byIssuer) choose(r *access.Request) (tokenHandler, error) {
	token, err := a.token.read(r)
	if err != nil {
		return nil, err
	}
	issuer, isJWT := claimedIssuer(token)
	switch h := a.handlers[issuer]; {
	case issuer != "" && h != nil:
		return h, nil
	case issuer == "" && a.opaque != nil:
		return a.opaque, nil
	case !isJWT && a.opaque == nil:
		return nil, ErrNoCredentials
	}
	return nil, a.foreign
}

// claimedIssuer reads iss from a token that nobody verified; empty when there is none
// to be read. A token that is not three parts separated by dots is no JWT.
func claimedIssuer(token string) (issuer string, isJWT bool) {
	if strings.Count(token, ".") != 2 {
		return "", false
	}
	_, rest, _ := strings.Cut(token, ".")
	payload, _, _ := strings.Cut(rest, ".")
	raw, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil {
		return "", true
	}
	if iss := gjson.GetBytes(raw, "iss"); iss.Type == gjson.String {
		return iss.Str, true
	}
	return "", true
}
