package authn

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/handler"
	"github.com/gatewarden/gatewarden/relyingparty"
)

// oidcSessionConfig configures the authenticator oidc_session.
type oidcSessionConfig struct {
	// Issuer is the OpenID provider, exactly as in its ID tokens. Empty: the embedded
	// authorization server.
	Issuer string `json:"issuer"`
	// ClientID and ClientSecret are those of a client that is registered there with
	// the callback as a redirect URI. Without a secret it is a public client.
	ClientID     string `json:"client_id"`
	ClientSecret string `json:"client_secret"`
	// TokenEndpointAuthMethod is client_secret_basic, client_secret_post or none;
	// default client_secret_basic, none without a secret.
	TokenEndpointAuthMethod string `json:"token_endpoint_auth_method"`
	// The endpoints, in place of those that the issuer publishes.
	AuthorizationEndpoint string `json:"authorization_endpoint"`
	TokenEndpoint         string `json:"token_endpoint"`
	JWKSURI               string `json:"jwks_uri"`
	EndSessionEndpoint    string `json:"end_session_endpoint"`
	RevocationEndpoint    string `json:"revocation_endpoint"`
	// AllowedAlgorithms of ID tokens' signatures.
	AllowedAlgorithms []string `json:"allowed_algorithms"`
	// Scope is asked for; it contains openid. offline_access brings a refresh token.
	Scope []string `json:"scope"`
	// AuthorizationParameters are added to the authorization request.
	AuthorizationParameters map[string]string `json:"authorization_parameters"`
	// RequiredACR are the accepted values of acr; empty: any.
	RequiredACR []string `json:"required_acr"`
	// MaxAge is how long ago the person may have been authenticated; 0: any time.
	MaxAge handler.Duration `json:"max_age"`
	// Claims of the ID token that are kept.
	Claims []string `json:"claims"`
	// ForwardAccessToken keeps the access token, for templates to use.
	ForwardAccessToken bool `json:"forward_access_token"`
	// CookieName begins the names of the cookies.
	CookieName string `json:"cookie_name"`
	// IdleTimeout ends a session that is not used, Lifetime every session.
	IdleTimeout handler.Duration `json:"idle_timeout"`
	Lifetime    handler.Duration `json:"lifetime"`
	// RefreshBefore is how long before their end tokens are renewed.
	RefreshBefore handler.Duration `json:"refresh_before"`
	// Leeway is the tolerated difference of clocks.
	Leeway handler.Duration `json:"leeway"`
	// CallbackPath, LoginPath, LogoutPath and BackchannelLogoutPath are reserved on the
	// hosts of the rule; all but the first may be empty.
	CallbackPath          string `json:"callback_path"`
	LoginPath             string `json:"login_path"`
	LogoutPath            string `json:"logout_path"`
	BackchannelLogoutPath string `json:"backchannel_logout_path"`
	// PostLogoutRedirect is where a logout ends: a URL or a path. Empty: a page that
	// says so.
	PostLogoutRedirect string `json:"post_logout_redirect"`
}

func oidcSessionDefaults() oidcSessionConfig {
	return oidcSessionConfig{
		AllowedAlgorithms: []string{"RS256", "ES256"}, Scope: []string{"openid"},
		Claims:     []string{"name", "preferred_username", "email", "email_verified", "groups"},
		CookieName: "gatewarden", IdleTimeout: handler.Duration(time.Hour), Lifetime: handler.Duration(12 * time.Hour),
		RefreshBefore: handler.Duration(time.Minute), Leeway: handler.Duration(5 * time.Second),
		CallbackPath: "/.gatewarden/callback", LoginPath: "/.gatewarden/login", LogoutPath: "/.gatewarden/logout",
		BackchannelLogoutPath: "/.gatewarden/backchannel-logout",
	}
}

// oidcSession logs browsers in at an OpenID provider.
type oidcSession struct{ party *relyingparty.Party }

var (
	_ Challenger    = (*oidcSession)(nil)
	_ SessionOwner  = (*oidcSession)(nil)
	_ EndpointOwner = (*oidcSession)(nil)
	_ access.Lease  = (*oidcSession)(nil)
)

func newOIDCSession(c oidcSessionConfig, d Deps) (Authenticator, error) {
	switch c.TokenEndpointAuthMethod {
	case "", "client_secret_basic", "client_secret_post":
		if c.TokenEndpointAuthMethod != "" && c.ClientSecret == "" {
			return nil, fmt.Errorf("client_secret is required for token_endpoint_auth_method %s", c.TokenEndpointAuthMethod)
		}
	case "none":
		if c.ClientSecret != "" {
			return nil, errors.New("token_endpoint_auth_method none goes without client_secret")
		}
	default:
		return nil, fmt.Errorf("token_endpoint_auth_method: %q is not client_secret_basic, client_secret_post or none", c.TokenEndpointAuthMethod)
	}
	party, err := relyingparty.New(relyingparty.Options{
		ClientOptions: relyingparty.ClientOptions{
			Issuer: c.Issuer, ClientID: c.ClientID, ClientSecret: c.ClientSecret, PostSecret: c.TokenEndpointAuthMethod == "client_secret_post",
			Endpoints: relyingparty.Endpoints{Authorization: c.AuthorizationEndpoint, Token: c.TokenEndpoint, JWKS: c.JWKSURI,
				EndSession: c.EndSessionEndpoint, Revocation: c.RevocationEndpoint},
			Algorithms: c.AllowedAlgorithms, Scope: c.Scope, Parameters: c.AuthorizationParameters, Leeway: time.Duration(c.Leeway),
			Local: d.Provider, HTTP: d.HTTP, Remotes: d.Keys, Now: d.Now,
		},
		ACR: c.RequiredACR, MaxAge: time.Duration(c.MaxAge), Claims: c.Claims, KeepAccessToken: c.ForwardAccessToken, CookieName: c.CookieName,
		Idle: time.Duration(c.IdleTimeout), Lifetime: time.Duration(c.Lifetime), RenewBefore: time.Duration(c.RefreshBefore),
		Callback: c.CallbackPath, Login: c.LoginPath, Logout: c.LogoutPath, Backchannel: c.BackchannelLogoutPath, AfterLogout: c.PostLogoutRedirect,
		Secrets: d.Secrets, Once: d.once, Logouts: d.Logouts,
	})
	if err != nil {
		return nil, err
	}
	return &oidcSession{party}, nil
}

// once reports whether nobody, on any node, has claimed an id before. The claim ends at
// the time.
func (d *Deps) once(ctx context.Context, id string, until time.Time) (first bool, err error) {
	if d.Replays == nil {
		return true, nil
	}
	err = d.Replays.UseJTI(ctx, "oidc_session", id, until)
	if fault.Is(err, fault.Conflict) {
		return false, nil
	}
	return err == nil, err
}

// Authenticate returns the person of the session's cookie, and ErrNoCredentials
// without one. A cookie that is worth nothing never is.
func (a *oidcSession) Authenticate(ctx context.Context, r *access.Request) (access.Subject, error) {
	s, header, err := a.party.Session(ctx, r)
	if errors.Is(err, relyingparty.ErrNoSession) {
		return access.Subject{}, ErrNoCredentials
	}
	if err != nil {
		return access.Subject{}, err
	}
	return access.Subject{ID: s.Subject, Via: "oidc_session", Extra: s.Extra(), ResponseHeader: header}, nil
}

// Renew implements access.Lease: what a session opened ends with the tokens of the
// cookie that opened it.
func (a *oidcSession) Renew(ctx context.Context, r *access.Request) (time.Time, error) {
	return a.party.Until(ctx, r)
}

// Challenge sends a browser that navigates to the provider.
func (a *oidcSession) Challenge(ctx context.Context, r *access.Request) error {
	return a.party.Challenge(ctx, r)
}

// Challenges implements Challengeable; where the login is depends on the request, so
// only Challenge says it.
func (a *oidcSession) Challenges() []string { return []string{"Session"} }

// SessionCookies implements SessionOwner.
func (a *oidcSession) SessionCookies() []string { return a.party.CookiePrefixes() }

// Endpoints implements EndpointOwner.
func (a *oidcSession) Endpoints() map[string]string { return a.party.Endpoints() }

// Serve answers callback, login and logouts.
func (a *oidcSession) Serve(ctx context.Context, r *access.Request) error {
	err := a.party.Serve(ctx, r)
	switch { // perhaps another handler's on the same path
	case errors.Is(err, relyingparty.ErrUnknownLogin):
		return fault.Wrap(fault.Invalid, "unknown_login", err.Error(), ErrNoCredentials)
	case errors.Is(err, relyingparty.ErrForeignLogout):
		return fault.Wrap(fault.Invalid, "foreign_logout_token", err.Error(), ErrNoCredentials)
	}
	return err
}
