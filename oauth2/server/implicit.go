package server

import (
	"context"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/ory/fosite"

	"github.com/gatewarden/gatewarden/oauth2"
)

// warnLegacy tells the operator what is on that better were off.
func (s *Server) warnLegacy() {
	for _, switched := range []struct {
		on        bool
		key, what string
	}{
		{s.o.Legacy.Implicit, "oauth2.grant.implicit.enabled", "access tokens go through browsers' addresses and are bound to nobody (RFC 9700 section 2.1.2)"},
		{s.o.Legacy.Hybrid, "oauth2.grant.hybrid.enabled", "tokens go through browsers' addresses (RFC 9700 section 2.1.2)"},
		{s.o.Legacy.Password != nil, "oauth2.grant.password.enabled", "clients see passwords (RFC 9700 section 2.4)"},
	} {
		if switched.on {
			s.o.Log.Warn("a grant that OAuth 2.1 has removed is on, which is for certification and migration only", "key", switched.key, "danger", switched.what)
		}
	}
}

// respond makes the success of an authorization request: the code that fosite makes, and
// the tokens of the implicit and hybrid flows (OpenID Connect Core sections 3.2 and 3.3).
func (s *Server) respond(ctx context.Context, request *fosite.AuthorizeRequest, about *session) (url.Values, error) {
	asked, _ := s.askedFor(request.Form)
	params := url.Values{}
	if asked.code {
		answer, err := s.fosite.NewAuthorizeResponse(ctx, request, about)
		if err != nil {
			return nil, err
		}
		params = answer.GetParameters()
	}
	if !asked.front() {
		return params, nil
	}
	request.SetSession(about)
	return params, s.issueAtFront(ctx, request, about, asked, params)
}

// issueAtFront adds tokens to an authorization response. They belong to the family of
// the code that comes with them, end with it, and buy no others: there is no refresh
// token. They pass the same gate as those of the token endpoint.
func (s *Server) issueAtFront(ctx context.Context, request *fosite.AuthorizeRequest, about *session, asked responseType, params url.Values) error {
	c, ok := request.Client.(*client)
	if !ok {
		return fosite.ErrServerError
	}
	granted, err := grantOf(request)
	if err != nil {
		return err
	}
	u := &unit{client: c, grantType: implicitGrantType, now: s.now()}
	granted.RequestedAt = u.now
	ctx = context.WithValue(ctx, unitKey{}, u)
	if err := s.askHooks(ctx, u, request); err != nil {
		return err
	}
	if granted.Session, err = about.encode(); err != nil { // hooks have their say
		return err
	}
	u.front = &granted
	if asked.token {
		token, signature, err := (&strategy{s}).GenerateAccessToken(ctx, request)
		if err != nil {
			return err
		}
		u.access = &oauth2.Token{Signature: signature, Grant: granted, ExpiresAt: s.accessExpiry(u)}
		params.Set("access_token", token)
		params.Set("token_type", "bearer")
		params.Set("expires_in", strconv.FormatInt(int64(u.access.ExpiresAt.Sub(u.now).Seconds()), 10))
		params.Set("scope", strings.Join(granted.GrantedScope, " "))
	}
	if asked.idToken {
		if !slices.Contains(granted.GrantedScope, "openid") {
			return fosite.ErrAccessDenied.WithHint("The person did not grant scope 'openid'.")
		}
		token, err := s.idToken(ctx, u, about, request.Form.Get("nonce"), params.Get("code"))
		if err != nil {
			return err
		}
		params.Set("id_token", token)
	}
	if err := s.settle(ctx, u); err != nil {
		return err
	}
	if asked.token {
		s.o.Metrics.TokenIssued(u.grantType, "access_token")
	}
	if asked.idToken {
		s.o.Metrics.TokenIssued(u.grantType, "id_token")
	}
	return nil
}
