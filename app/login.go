package app

import (
	"context"
	"fmt"
	"strings"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/login"
	"github.com/gatewarden/gatewarden/manage"
	"github.com/gatewarden/gatewarden/oauth2/server"
	"github.com/gatewarden/gatewarden/passwords"
	"github.com/gatewarden/gatewarden/relyingparty"
)

// builtInLogin reports whether people log in at the built-in pages: nobody configured
// an app of their own.
func (a *App) builtInLogin() bool { return a.cfg.URLs.Login == "" }

// loginURLs are where browsers are sent: the operator's apps, else the built-in pages.
func (a *App) loginURLs() server.URLs {
	u := a.cfg.URLs
	urls := server.URLs{Login: u.Login, Consent: u.Consent, Logout: u.Logout, Error: u.Error, PostLogoutRedirect: u.PostLogoutRedirect,
		DeviceVerification: u.Device.Verification, DeviceSuccess: u.Device.Success}
	if !a.builtInLogin() {
		return urls
	}
	base := strings.TrimSuffix(a.issuer(), "/")
	for url, path := range map[*string]string{
		&urls.Login: login.LoginPath, &urls.Consent: login.ConsentPath, &urls.Logout: login.LogoutPath,
		&urls.Error: login.ErrorPath, &urls.PostLogoutRedirect: login.DonePath,
	} {
		if *url == "" {
			*url = base + path
		}
	}
	return urls
}

// subject refuses tokens to people who were deleted or disabled after they logged in;
// nil where people are somebody else's.
func (a *App) subject() func(ctx context.Context, id string) error {
	if !a.builtInLogin() {
		return nil
	}
	return func(ctx context.Context, id string) error {
		u, err := a.store.User(ctx, id)
		if err == nil && u.Disabled {
			err = fault.New(fault.Forbidden, "user_disabled", "the user is disabled")
		}
		return err
	}
}

// secondFactors are the words of login.second_factor, which config has checked.
var secondFactors = map[string]login.SecondFactor{"optional": login.SecondFactorOptional, "required": login.SecondFactorRequired, "off": login.NoSecondFactor}

// openLogin makes the built-in pages.
func (a *App) openLogin(context.Context) error {
	if !a.builtInLogin() || a.parts&Public == 0 {
		return nil
	}
	peers, err := trusted(a.cfg.Serve.Public.Trusted())
	if err != nil {
		return fmt.Errorf("serve.public.trusted_proxies: %w", err)
	}
	providers, err := a.loginProviders()
	if err != nil {
		return err
	}
	look := a.cfg.Login
	a.login, err = login.New(login.Options{
		Issuer: a.issuer(), Requests: a.oauth2, Sessions: a.oauth2, Users: a.store, Attempts: a.store, Replays: a.store, Factors: a.store, SecondFactor: secondFactors[look.SecondFactor], Client: peers.Client,
		Passwords: passwords.New(passwords.Options{OnCache: func(hit bool) { a.metrics.Cache("user_password", hit) }}), DummyHash: a.hasher.DummyHash(),
		Accounts: &manage.Users{Store: a.store, Factors: a.store, Logins: a.oauth2, Reload: manage.ReloadFunc(a.follower.poll), Now: a.now},
		Secrets:  keyed(a.secrets), Keep: a.cfg.TTL.AuthenticationSession,
		Providers: providers, Identities: a.store,
		Theme: login.Theme{Name: look.Name, Logo: look.Logo, Accent: look.Accent, Templates: look.Templates, Messages: look.Messages},
		Log:   a.log, Now: a.now,
	})
	return err
}

// loginProviders are the clients at the providers that people may log in with.
func (a *App) loginProviders() (list []login.Provider, err error) {
	for n, p := range a.cfg.Login.Providers {
		client, err := relyingparty.NewClient(relyingparty.ClientOptions{
			Issuer: p.Issuer, ClientID: p.ClientID, ClientSecret: p.ClientSecret, PostSecret: p.AuthMethod == "client_secret_post",
			Scope: p.Scope, Algorithms: p.Algorithms, Leeway: login.ProviderLeeway, HTTP: outbound(), Remotes: a.remotes, Now: a.now,
		})
		if err != nil {
			return nil, fmt.Errorf("login.providers[%d]: %w", n, err)
		}
		list = append(list, login.Provider{
			ID: p.ID, Name: p.Name, Client: client, Claims: p.Claims, Create: p.Create, EmailDomains: p.EmailDomains,
			LinkVerifiedEmail: p.LinkByEmail, PassACR: p.PassACR, TrustMFA: p.TrustMFA,
		})
	}
	return list, nil
}
