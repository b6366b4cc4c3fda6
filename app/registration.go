package app

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/config"
	"github.com/gatewarden/gatewarden/manage"
	"github.com/gatewarden/gatewarden/oauth2/server"
	"github.com/gatewarden/gatewarden/ratelimit"
	"github.com/gatewarden/gatewarden/registration"
)

// clients is the management of clients.
func (a *App) clients() *manage.Clients {
	return &manage.Clients{Store: a.store, Hasher: a.hasher, Reload: manage.ReloadFunc(a.follower.poll), Now: a.now, SubjectTypes: a.cfg.OIDC.Subjects.Types, Sectors: a.sectors,
		DefaultScope: strings.Join(a.cfg.OIDC.Registration.DefaultScope, " ")}
}

// registrationPolicy is what strangers may have.
func (a *App) registrationPolicy() *registration.Policy {
	r := a.cfg.OIDC.Registration
	return &registration.Policy{DefaultScope: r.DefaultScope, Scopes: r.Scopes, Audience: r.Audience, GrantTypes: r.GrantTypes, AuthMethods: r.AuthMethods,
		RedirectSchemes: r.RedirectSchemes, RedirectHosts: r.RedirectHosts, SubjectTypes: a.cfg.OIDC.Subjects.Types}
}

// documents are the clients whose ids are addresses; nil: there are none.
func (a *App) documents(strangers *http.Client) (server.Documents, error) {
	d := a.cfg.OAuth2.Documents
	if !d.Enabled {
		return nil, nil
	}
	// A host is not to be flooded through us by who makes up addresses at it.
	limit, err := ratelimit.New("oauth2.client_id_metadata_documents", 0, ratelimit.Options{Key: "subject", Rate: 30, Window: time.Minute.String()})
	if err != nil {
		return nil, err
	}
	buckets, limits := a.buckets(), []*ratelimit.Limit{limit}
	a.metadata = registration.NewDocuments(registration.DocumentsOptions{
		HTTP: strangers, Policy: a.registrationPolicy(), Hosts: d.AllowedHosts, MaxAge: d.MaxAge, Now: a.now,
		Limit: func(ctx context.Context, host string) error {
			_, err := buckets.Check(ctx, limits, true, &access.Request{}, &access.Subject{ID: host})
			return err
		},
		Fetched: func(code string) { a.metrics.OAuth2("client_metadata_document", code) },
	})
	return a.metadata, nil
}

// openRegistration makes the endpoint at which clients register themselves.
func (a *App) openRegistration(context.Context) error {
	const key = "oidc.dynamic_client_registration."
	r := a.cfg.OIDC.Registration
	if !r.Enabled || a.parts&Public == 0 {
		return nil
	}
	o := registration.Options{
		Issuer: a.issuer(), Policy: a.registrationPolicy(), VerifySecret: a.hasher.VerifyAny,
		Clients: &manage.Registrations{Clients: a.clients(), Store: a.store, Tokens: a.hasher, Most: r.MaxClients},
		Done:    func(code string) { a.metrics.OAuth2("register", code) }, Log: a.log, Now: a.now,
	}
	for _, text := range r.InitialTokens {
		sum, _ := config.InitialToken(text) // which config has checked
		o.InitialTokens = append(o.InitialTokens, sum)
	}
	if len(r.Statements.Issuers) > 0 {
		set, err := a.remotes.Open(r.Statements.JWKSURLs, 5*time.Minute, 5*time.Second)
		if err != nil {
			return fmt.Errorf("%ssoftware_statements.jwks_urls: %w", key, err)
		}
		o.Statements = registration.Statements{Keys: set, Issuers: r.Statements.Issuers, Required: r.Statements.Required}
	}
	var err error
	if o.Limit, err = a.registrationLimit(); err != nil {
		return fmt.Errorf("%srate_limit: %w", key, err)
	}
	a.registration = registration.New(o)
	return nil
}

// registrationLimit counts requests by address; nil: no limit.
func (a *App) registrationLimit() (func(*http.Request) (http.Header, error), error) {
	rate := a.cfg.OIDC.Registration.RateLimit
	if rate.Rate == 0 {
		return nil, nil
	}
	limit, err := ratelimit.New("oidc.dynamic_client_registration", 0, ratelimit.Options{Key: "client", Rate: rate.Rate, Window: rate.Window.String()})
	if err != nil {
		return nil, err
	}
	peers, err := trusted(a.cfg.Serve.Public.Trusted())
	if err != nil {
		return nil, err
	}
	buckets, limits := a.buckets(), []*ratelimit.Limit{limit}
	return func(r *http.Request) (http.Header, error) {
		return buckets.Check(r.Context(), limits, false, &access.Request{Client: peers.Client(r)}, nil)
	}, nil
}

// sweepRegistrations ends clients that registered themselves and hold nothing any more.
func (a *App) sweepRegistrations(ctx context.Context) error {
	for {
		n, err := a.store.SweepRegistrations(ctx, a.now(), a.now().Add(-a.cfg.OIDC.Registration.UnusedTTL), sweepBatch)
		if n > 0 {
			a.log.Info("clients that registered themselves were unused and are gone", "count", n)
			if err == nil {
				err = a.follower.poll(ctx)
			}
		}
		if err != nil || n < sweepBatch {
			return err
		}
	}
}
