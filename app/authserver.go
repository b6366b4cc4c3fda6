package app

import (
	"context"
	"fmt"
	"net/http"
	"strconv"

	"github.com/gatewarden/gatewarden/config"
	"github.com/gatewarden/gatewarden/edge"
	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/keys"
	"github.com/gatewarden/gatewarden/manage"
	"github.com/gatewarden/gatewarden/oauth2/details"
	"github.com/gatewarden/gatewarden/oauth2/server"
	"github.com/gatewarden/gatewarden/store"
)

// openAuthorizationServer makes the OAuth 2.0 server. It is made in every process,
// because the gateway introspects with it.
func (a *App) openAuthorizationServer(context.Context) (err error) {
	pkce := server.PKCEForAll
	if !a.cfg.OAuth2.PKCE.Enforced {
		pkce = server.PKCEForPublicClients
	}
	audience := server.AudienceIssuer
	if a.cfg.OAuth2.ClientAssertion.Audience == "endpoints" {
		audience = server.AudienceEndpoints
	}
	proofs, err := a.boundTokens()
	if err != nil {
		return err
	}
	strange, err := strangers(a.cfg.Clients.HTTP)
	if err != nil {
		return err
	}
	theirs, operators, operatorsKeys := server.Strangers{HTTP: strange, Keys: keys.NewRemotes(keys.RemotesOptions{HTTP: strange})}, outbound(), a.remotes
	if a.cfg.Clients.HTTP.DisallowPrivate {
		operators, operatorsKeys = theirs.HTTP, theirs.Keys
	}
	a.sectors = &manage.Sectors{Operators: operators, Strangers: strange}
	subjects := a.cfg.OIDC.Subjects
	documents, err := a.documents(strange)
	if err != nil {
		return err
	}
	types, err := details.Load(a.cfg.OAuth2.Details.Types, a.cfg.OAuth2.Details.Schemas)
	if err != nil {
		return fmt.Errorf("oauth2.authorization_details.%w", err)
	}
	ttl := a.cfg.TTL
	a.oauth2, err = server.New(server.Options{
		Issuer: a.issuer(),
		URLs:   a.loginURLs(), Subject: a.subject(),
		Store: a.store, IDTokens: a.rings.idToken, IDTokenAlg: a.cfg.OIDC.IDTokenAlg,
		Subjects: server.Subjects{Types: subjects.Types, PairwiseSalt: subjects.Pairwise.Salt}, AccessTokens: a.rings.accessToken,
		ClientAssertions: server.ClientAssertions{Audience: audience, MaxLifespan: a.cfg.OAuth2.ClientAssertion.MaxTTL},
		ClientKeys:       operatorsKeys, Strangers: theirs, Registration: a.cfg.OIDC.Registration.Enabled, Documents: documents, Certificate: edge.CertificateOf,
		Device:               server.Device{Lifespan: ttl.DeviceUserCode, Interval: a.cfg.OAuth2.Device.Interval},
		RefreshGrace:         server.RefreshGrace{Period: a.cfg.OAuth2.Grant.RefreshToken.GracePeriod, Reuses: a.cfg.OAuth2.Grant.RefreshToken.GraceReuses},
		JWTBearerMaxLifespan: a.cfg.OAuth2.Grant.JWT.MaxTTL,

		Hooks:          server.Hooks{Token: hook(a.cfg.OAuth2.TokenHook), Refresh: hook(a.cfg.OAuth2.RefreshTokenHook), HTTP: outbound()},
		TopLevelClaims: a.cfg.OAuth2.TopLevelClaims, TopLevelClaimsOnly: !a.cfg.OAuth2.MirrorTopLevelClaims,
		LegacyErrors: a.cfg.OAuth2.LegacyErrors, MTLS: a.cfg.URLs.Self.MTLS,
		Legacy: a.legacyGrants(), Details: types, Backchannel: a.backchannel(),
		PAR: server.PAR{Required: a.cfg.OAuth2.PAR.Required, Lifespan: a.cfg.OAuth2.PAR.TTL}, DPoP: proofs, CanonicalURL: edge.CanonicalURL,
		ClientSecrets: a.hasher, DummySecretHash: a.hasher.DummyHash(), Secrets: a.lasting(),
		Lifespans: server.Lifespans{
			AccessToken: ttl.AccessToken, RefreshToken: ttl.RefreshToken, IDToken: ttl.IDToken, AuthorizeCode: ttl.AuthCode,
			LoginConsent: ttl.LoginConsentRequest, LoginSession: ttl.AuthenticationSession,
		},
		AccessTokenStrategy: a.cfg.Strategies.AccessToken, ScopeStrategy: a.cfg.Strategies.Scope, PKCE: pkce,
		GrantAllowedScope: a.cfg.OAuth2.ClientCredentials.DefaultGrantAllowedScope,
		Cookies:           server.Cookies{Domain: a.cfg.Serve.Cookies.Domain, SameSite: sameSite(a.cfg.Serve.Cookies)},
		CacheSize:         a.cfg.OAuth2.IntrospectionCacheSize,
		Metrics: server.Metrics{
			TokenIssued: a.metrics.TokenIssued, Introspection: a.metrics.Introspection, Cache: a.metrics.Cache, OAuth2: a.metrics.OAuth2,
		},
		Log: a.log, HTTP: operators,
		FreshClients: a.hearings[store.Clients].fresh, FreshTokens: a.hearings[store.Tokens].fresh,
	})
	if err != nil {
		return fmt.Errorf("authorization server: %w", err)
	}
	return nil
}

// backchannel is how people who are elsewhere are found: local users by what they log in
// with, others by their subject.
func (a *App) backchannel() server.Backchannel {
	c := a.cfg.OAuth2.CIBA
	if !c.Enabled {
		return server.Backchannel{}
	}
	person := func(_ context.Context, hint string) (string, error) { return hint, nil }
	if a.builtInLogin() {
		person = func(ctx context.Context, hint string) (string, error) {
			u, err := a.store.UserByLogin(ctx, hint)
			if err == nil && u.Disabled {
				err = fault.New(fault.NotFound, "user_disabled", "the user is disabled")
			}
			return u.ID, err
		}
	}
	return server.Backchannel{Person: person, Lifespan: c.TTL, Interval: c.Interval}
}

// legacyGrants are the grants of before OAuth 2.1 that are switched on.
func (a *App) legacyGrants() server.Legacy {
	grants := a.cfg.OAuth2.Grant
	legacy := server.Legacy{Implicit: grants.Implicit.Enabled, Hybrid: grants.Hybrid.Enabled}
	if grants.Password.Enabled {
		legacy.Password = func(ctx context.Context, clientID, login, password string) (server.PasswordLogin, error) {
			who, err := a.login.CheckPassword(ctx, clientID, login, password)
			return server.PasswordLogin{Subject: who.User.ID, ACR: who.ACR, AMR: who.AMR, Claims: who.User.Released}, err
		}
	}
	return legacy
}

// hook is a hook as the server asks it; nil for none.
func hook(h config.Hook) *server.Hook {
	if h.URL == "" {
		return nil
	}
	return &server.Hook{URL: h.URL, Name: h.Auth.Config.Name, Value: h.Auth.Config.Value, InCookie: h.Auth.Config.In == "cookie"}
}

// boundTokens says which proofs bind tokens to their sender.
func (a *App) boundTokens() (server.DPoP, error) {
	c := a.cfg.OAuth2.DPoP
	proofs := server.DPoP{Algorithms: c.Algorithms, MaxAge: c.MaxAge, Leeway: c.Leeway}
	if c.Nonce != "required" {
		return proofs, nil
	}
	keys, err := a.nonceKeys()
	proofs.NonceTTL, proofs.NonceKeys = c.NonceTTL, keys
	return proofs, err
}

// issuer is the configured issuer, or this machine's own public listener.
func (a *App) issuer() string {
	if a.cfg.URLs.Self.Issuer != "" {
		return a.cfg.URLs.Self.Issuer
	}
	scheme, port := "http", strconv.Itoa(a.cfg.Serve.Public.Port)
	if a.cfg.Serve.Public.TLS.On() {
		scheme = "https"
	}
	if bound := a.port("public"); bound != "" {
		port = bound // the configured one may have been 0
	}
	return scheme + "://127.0.0.1:" + port
}

func sameSite(c config.Cookies) http.SameSite {
	switch c.SameSite {
	case "Strict":
		return http.SameSiteStrictMode
	case "None":
		return http.SameSiteNoneMode
	}
	return http.SameSiteLaxMode
}
