package server

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/ory/fosite"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/oauth2"
)

// Introspect returns what is known about an access token of this server. An
// unknown, expired or revoked token, and every token of a client that is disabled
// or gone, is the zero access.Token. An error means that it could not be found out
// (fault.Unavailable, fault.Timeout).
func (s *Server) Introspect(ctx context.Context, token string) (access.Token, error) {
	t, err := s.introspect(ctx, token)
	switch {
	case err != nil:
		s.o.Metrics.Introspection("error")
	case t.Active:
		s.o.Metrics.Introspection("active")
	default:
		s.o.Metrics.Introspection("inactive")
	}
	return t, err
}

func (s *Server) introspect(ctx context.Context, token string) (access.Token, error) {
	key := s.tokens.prints.Of(token)
	hit, ok := s.tokens.get(key)
	// A token of a client that was disabled is evicted when that is heard of.
	ok = ok && s.o.FreshTokens() && s.o.FreshClients()
	s.o.Metrics.Cache("introspection", ok)
	if ok {
		if !s.o.Now().Before(hit.token.ExpiresAt) {
			return access.Token{}, nil
		}
		return hit.token, nil
	}
	epoch := s.tokens.epoch.Load()
	stored, err := s.activeAccess(ctx, token)
	if err != nil || stored == nil {
		return access.Token{}, err
	}
	t, err := s.describe(*stored, "access_token")
	if err != nil {
		return access.Token{}, err
	}
	if strings.Count(token, ".") == 2 {
		t.ID = stored.Signature // the jti of a JWT
	}
	g := stored.Grant
	s.tokens.put(epoch, key, t, [indexes]string{
		byFamily: g.RequestID, byClient: g.ClientID, bySubject: g.Subject, bySignature: stored.Signature,
	}, s.o.Now())
	return t, nil
}

// activeAccess returns the stored access token; nil when it is not active.
func (s *Server) activeAccess(ctx context.Context, token string) (*oauth2.Token, error) {
	signature, ok, err := s.accessSignature(ctx, token)
	if err != nil || !ok {
		return nil, unavailable(err)
	}
	return s.active(ctx, signature, s.o.Store.AccessToken)
}

// active reads a token and returns nil when it is spent, expired or its client
// may no longer have it.
func (s *Server) active(ctx context.Context, signature string, read func(context.Context, string) (oauth2.Token, error)) (*oauth2.Token, error) {
	t, err := read(ctx, signature)
	if fault.Is(err, fault.NotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, unavailable(err)
	}
	if s.expired(t) || !t.Spent.IsZero() {
		return nil, nil
	}
	if may, err := s.clients.holds(ctx, t.Grant.ClientID); err != nil || !may {
		return nil, unavailable(err)
	}
	return &t, nil
}

// unavailable gives an error of the store the kind that callers of Introspect know.
func unavailable(err error) error {
	if err == nil || fault.Is(err, fault.Timeout) {
		return err
	}
	return fault.Wrap(fault.Unavailable, "introspection_failed", "the token could not be looked up", err)
}

// describe returns what a stored token stands for.
func (s *Server) describe(t oauth2.Token, use string) (access.Token, error) {
	about, err := sessionOf(t.Grant)
	if err != nil {
		return access.Token{}, err
	}
	issued, bound, kind := t.Grant.RequestedAt, access.Confirmation{}, "Bearer"
	if about.Bound != nil && use == "access_token" {
		if bound = *about.Bound; bound.JKT != "" {
			kind = "DPoP"
		}
	}
	var claims map[string]any
	if about.Act != nil {
		claims = map[string]any{"act": about.Act.claim()}
	}
	if len(about.Details) > 0 {
		if claims == nil {
			claims = map[string]any{}
		}
		if claims[detailsClaim], err = plainDetails(about.Details); err != nil {
			return access.Token{}, err
		}
	}
	return access.Token{
		Claims: claims,
		Active: true, Subject: t.Grant.Subject, ClientSubject: about.ClientSubject, ClientID: t.Grant.ClientID, Issuer: s.o.Issuer,
		TokenType: kind, TokenUse: use, Bound: bound, Scope: t.Grant.GrantedScope, Audience: t.Grant.GrantedAudience,
		IssuedAt: issued, NotBefore: issued, ExpiresAt: t.ExpiresAt, Extra: about.AccessToken,
	}, nil
}

// IntrospectWire is introspection for the wire (RFC 7662), of access and refresh
// tokens. With a scope the token is active only if it has all of it.
func (s *Server) IntrospectWire(ctx context.Context, token, scope string) (oauth2.Introspection, error) {
	t, err := s.anyToken(ctx, token)
	if err != nil || !t.Active {
		return oauth2.Introspection{}, err
	}
	for _, name := range strings.Fields(scope) {
		if !slices.Contains(t.Scope, name) {
			return oauth2.Introspection{}, nil
		}
	}
	seconds := func(t time.Time) int64 {
		if t.IsZero() {
			return 0
		}
		return t.Unix()
	}
	var bound *access.Confirmation
	if t.Bound != (access.Confirmation{}) {
		bound = &t.Bound
	}
	return oauth2.Introspection{
		Act: t.Claims["act"], Details: t.Claims[detailsClaim], Active: true, Scope: strings.Join(t.Scope, " "), ClientID: t.ClientID, Subject: t.Subject, ObfuscatedSubject: t.ClientSubject, ExpiresAt: seconds(t.ExpiresAt),
		IssuedAt: seconds(t.IssuedAt), NotBefore: seconds(t.NotBefore), ID: t.ID, Audience: t.Audience, Issuer: t.Issuer,
		TokenType: t.TokenType, TokenUse: t.TokenUse, Extra: t.Extra, Bound: bound,
	}, nil
}

func (s *Server) anyToken(ctx context.Context, token string) (access.Token, error) {
	signature, ok := s.refreshTokens.signature(token)
	if !ok {
		return s.Introspect(ctx, token)
	}
	t, err := s.active(ctx, signature, s.o.Store.RefreshToken)
	if err != nil || t == nil {
		return access.Token{}, err
	}
	return s.describe(*t, "refresh_token")
}

// IntrospectHandler is POST /oauth2/introspect for the management listener, which
// has authenticated the caller: every token may be asked about.
func (s *Server) IntrospectHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		form, err := postForm(w, r)
		if err == nil {
			s.answerIntrospection(w, r, form.Get("token"), form.Get("scope"), nil)
			return
		}
		s.fail(w, r, "introspect", err)
	})
}

// introspectAsClient is POST /oauth2/introspect on the public listener. A client
// is told about tokens that were issued to it or are meant for it (its id is in
// the audience); any other token is inactive for it (RFC 7662 section 4).
func (s *Server) introspectAsClient(w http.ResponseWriter, r *http.Request) {
	form, err := postForm(w, r)
	if err != nil {
		s.fail(w, r, "introspect", err)
		return
	}
	c, err := s.authenticateClient(r.Context(), r, form)
	if err == nil && c.Public() {
		err = fosite.ErrInvalidClient.WithHint("A public client cannot introspect.")
	}
	if err != nil {
		s.fail(w, r, "introspect", err)
		return
	}
	s.answerIntrospection(w, r, form.Get("token"), form.Get("scope"), c)
}

// answerIntrospection answers a client about what it may know, or, with none, an operator
// about any token. A client may have the answer signed (RFC 9701); for an operator there
// is no name to sign it for.
func (s *Server) answerIntrospection(w http.ResponseWriter, r *http.Request, token, scope string, c *client) {
	if token == "" {
		s.fail(w, r, "introspect", fosite.ErrInvalidRequest.WithHint("The parameter 'token' is missing."))
		return
	}
	answer, err := s.IntrospectWire(r.Context(), token, scope)
	if err != nil {
		s.fail(w, r, "introspect", err)
		return
	}
	if c != nil && answer.ClientID != c.ID && !slices.Contains(answer.Audience, c.ID) {
		answer = oauth2.Introspection{}
	}
	if c != nil {
		if answer, err = s.shownTo(c, answer); err != nil {
			s.fail(w, r, "introspect", err)
			return
		}
	}
	if c != nil && wantsSigned(r) {
		signed, err := s.signIntrospection(r.Context(), c, answer)
		if err != nil {
			s.fail(w, r, "introspect", err)
			return
		}
		s.o.Metrics.OAuth2("introspect", "")
		noStore(w)
		w.Header().Set("Content-Type", "application/"+signedIntrospection)
		_, _ = w.Write([]byte(signed))
		return
	}
	s.o.Metrics.OAuth2("introspect", "")
	writeJSON(w, http.StatusOK, answer)
}
