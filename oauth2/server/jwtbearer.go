package server

//lint:file-ignore ST1005 errors are shown to clients, as sentences

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/ory/fosite"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/keys"
	"github.com/gatewarden/gatewarden/oauth2"
)

const (
	jwtBearerGrantType = "urn:ietf:params:oauth:grant-type:jwt-bearer"
	maxTrustGrants     = 500 // of one issuer that are looked at
)

// bearerAssertion is what is spent for the tokens of a JWT bearer grant.
type bearerAssertion struct {
	issuer, jti string
	expires     time.Time
}

// jwtBearerGrant is RFC 7523 section 2.1: an access token for an assertion of an issuer
// that an operator trusts. There is no refresh token: who has the assertion can get another one.
type jwtBearerGrant struct{ grant }

var _ fosite.TokenEndpointHandler = (*jwtBearerGrant)(nil)

func (h *jwtBearerGrant) HandleTokenEndpointRequest(ctx context.Context, r fosite.AccessRequester) error {
	u, s := unitOf(ctx), h.s
	invalid := func(err error) error { return fosite.ErrInvalidGrant.WithHint("The assertion: " + err.Error()) }
	t, err := keys.ParseJWS(r.GetRequestForm().Get("assertion"), keys.Asymmetric())
	if err != nil || t.Type != "" && t.Type != "jwt" {
		return fosite.ErrInvalidGrant.WithHint("The parameter 'assertion' is not a JWT that is signed with an allowed algorithm.")
	}
	unproved, err := readClaims(t.Unverified())
	if err != nil {
		return invalid(err)
	}
	trusted, said, err := s.trustedAssertion(ctx, t, unproved.text("iss"), unproved.text("sub"))
	var known *fault.Error
	if errors.As(err, &known) {
		u.failure = err
		return err
	}
	if err != nil {
		return invalid(err)
	}
	expires, err := said.fresh(s.o.Now(), s.o.JWTBearerMaxLifespan)
	if err != nil {
		return invalid(err)
	}
	id, err := said.jti()
	if err != nil {
		return invalid(err)
	}
	if !slices.ContainsFunc(said.audience(), func(a string) bool { return a == s.o.Issuer || a == s.base+tokenPath }) {
		return invalid(errors.New("The claim 'aud' must hold the issuer or the token endpoint."))
	}
	for _, scope := range r.GetRequestedScopes() {
		if !slices.Contains(trusted.Scope, scope) {
			return fosite.ErrInvalidScope.WithHintf("The issuer of the assertion is not trusted with scope '%s'.", scope)
		}
		r.GrantScope(scope)
	}
	for _, audience := range r.GetRequestedAudience() {
		r.GrantAudience(audience) // the gate compares it with the client's
	}
	u.assertion = &bearerAssertion{issuer: trusted.Issuer, jti: id, expires: expires.Add(clockSkew)}
	r.SetSession(&session{subject: said.text("sub")})
	return nil
}

// trustedAssertion returns the grant that trusts the assertion, and its claims. A grant
// is for one issuer and one subject, or any, and until it expires.
func (s *Server) trustedAssertion(ctx context.Context, t *keys.JWS, issuer, subject string) (oauth2.TrustGrant, claims, error) {
	untrusted := errors.New("Its issuer is not trusted for the subject.")
	if issuer == "" || subject == "" || len(subject) > maxSubject {
		return oauth2.TrustGrant{}, nil, untrusted
	}
	all, err := s.o.Store.TrustGrants(ctx, issuer, maxTrustGrants, 0)
	if err != nil {
		return oauth2.TrustGrant{}, nil, err
	}
	err = untrusted
	tried := 0
	for _, g := range all {
		if !s.o.Now().Before(g.ExpiresAt) || !g.AllowAnySubject && g.Subject != subject || t.KeyID != "" && t.KeyID != g.PublicKey.KeyID {
			continue
		}
		if tried++; tried > 8 {
			break
		}
		key, bad := keys.ParseKey(g.JWK)
		if bad != nil {
			continue
		}
		var said claims
		if said, err = verifyWith(t, []jose.JSONWebKey{key}); err == nil {
			return g, said, nil
		}
	}
	return oauth2.TrustGrant{}, nil, err
}

// buyWithAssertion spends the assertion and stores the token.
func (s *Server) buyWithAssertion(ctx context.Context, u *unit) error {
	spent := fosite.ErrInvalidGrant.WithHint("The assertion was used before.")
	if err := s.useOnce(ctx, "jwt bearer "+u.assertion.issuer, u.assertion.jti, u.assertion.expires, spent); err != nil {
		return err
	}
	return s.o.Store.IssueTokens(ctx, oauth2.Issue{Access: u.access})
}
