package app

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/go-jose/go-jose/v4"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/keys"
	"github.com/gatewarden/gatewarden/manage"
	"github.com/gatewarden/gatewarden/manage/api"
	"github.com/gatewarden/gatewarden/oauth2"
	"github.com/gatewarden/gatewarden/policies"
)

// earlyDeps are the parts of the management API that Hydra had before 1.0.
func (a *App) earlyDeps(d *api.Deps) {
	caughtUp := manage.ReloadFunc(a.follower.poll)
	d.Policies = &manage.Policies{Store: a.store, Engine: a.policies}
	d.Groups = &manage.Groups{Store: a.store, Engine: a.policies}
	d.Warden, d.Clients = a.policies, a.clients()
	d.Keys = &manage.Keys{Store: a.store, Own: map[string]*keys.Ring{
		idTokenKeys: a.rings.idToken, accessTokenKeys: a.rings.accessToken, a.cfg.IDToken.Set: a.rings.gateway,
	}, Reload: caughtUp, Now: a.now}
	d.GatewayKeys = func(context.Context) (jose.JSONWebKeySet, error) { return a.rings.public(), nil }
	d.Tokens = &manage.Tokens{Introspect: a.oauth2.IntrospectWire, Store: a.oauth2, Sweeper: a.store, Reload: caughtUp, Now: a.now}
	d.PageKey = []byte(a.secrets[0])
	if a.cfg.Early() {
		d.Compatibility, d.ConsentApp = api.Compatibility(a.cfg.OAuth2.Compatibility), a.oauth2
	}
}

// withEarlyAPI serves the API of early Hydra beside the endpoints of OAuth 2.0 when one
// is imitated, because it had one port. Only its own access tokens open it there.
func (a *App) withEarlyAPI(endpoints http.Handler) http.Handler {
	if !a.cfg.Early() {
		return endpoints
	}
	d := api.Deps{Log: a.log}
	a.earlyDeps(&d)
	policy := a.policy("public")
	d.Guard = api.Guard{Own: a.ownTokens(d.Clients), CrossOrigin: func(origin string) bool { return policy().Allows(origin) }}
	early := api.New(d)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if api.Early(r) {
			early.ServeHTTP(w, r)
			return
		}
		endpoints.ServeHTTP(w, r)
	})
}

// rootPolicy is the id of the policy for the root client, as in early Hydra.
const rootPolicy = "default-admin-policy"

// openRootClient makes the configured root client and its policy unless they are there.
func (a *App) openRootClient(ctx context.Context) error {
	if a.cfg.OAuth2.RootClient == "" || a.parts&(Management|Public) == 0 {
		return nil
	}
	id, secret, err := a.cfg.OAuth2.Root()
	if err != nil {
		return fmt.Errorf("oauth2.root_client: %w", err)
	}
	_, err = a.clients().Create(ctx, oauth2.Client{
		ID: id, Name: "Root", Secret: secret, GrantTypes: []string{"client_credentials"}, Scope: "hydra hydra.* openid offline offline_access",
	})
	switch {
	case err == nil:
		a.log.Info("the root client of oauth2.root_client was created", "client", id)
	case fault.Is(err, fault.Conflict):
		a.log.Info("the root client of oauth2.root_client is there and stays as it is, its secret too", "client", id)
	default:
		return fmt.Errorf("oauth2.root_client: %w", err)
	}
	rights := manage.Policies{Store: a.store, Engine: a.policies}
	_, err = rights.Create(ctx, policies.Policy{
		ID: rootPolicy, Description: "Lets the root client do everything.",
		Subjects: []string{id}, Effect: "allow", Resources: []string{a.cfg.Serve.Management.ResourcePrefix + ":<.*>"}, Actions: []string{"<.*>"},
	})
	if err == nil {
		a.log.Info("a policy lets the root client do everything", "client", id, "policy", rootPolicy)
	}
	if !fault.Is(err, fault.Conflict) {
		return err
	}
	stored, err := rights.Get(ctx, rootPolicy)
	if err == nil && !slices.Contains(stored.Subjects, id) {
		a.log.Warn("the policy for the root client is there and is for others; it stays as it is", "client", id, "policy", rootPolicy, "subjects", stored.Subjects)
	}
	return err
}
