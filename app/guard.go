package app

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/config"
	"github.com/gatewarden/gatewarden/edge"
	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/manage"
	"github.com/gatewarden/gatewarden/manage/api"
	"github.com/gatewarden/gatewarden/passwords"
)

// guard says who may call the management API at a listener.
func (a *App) guard(listener string, clients *manage.Clients) (api.Guard, error) {
	ways := a.cfg.Authentication()
	g := api.Guard{
		Local: a.cfg.Admits(config.Loopback), AllowedHosts: a.cfg.Management.AllowedHosts, CrossOrigin: a.crossOrigin(listener),
		Everybody: a.cfg.Management.Exposed && slices.Equal(ways, []string{config.Loopback}),
	}
	if a.cfg.Admits(config.StaticToken) {
		tokens, err := manage.ParseBearerTokens(a.cfg.Management.Tokens, passwords.New(passwords.Options{OnCache: func(hit bool) { a.metrics.Cache("management_token", hit) }}))
		if err != nil {
			return g, fmt.Errorf("management.tokens%w", err)
		}
		g.Tokens = tokens
	}
	if a.cfg.Admits(config.ClientCertified) {
		subjects := a.cfg.Serve.Management.CertificateSubjects
		g.Certified = func(ctx context.Context) bool { return certified(edge.CertificateOf(ctx), subjects) }
	}
	if a.cfg.Admits(config.OwnToken) {
		g.Own = a.ownTokens(clients)
	}
	return g, nil
}

// ownTokens admits holders of tokens of this server whom policies allow what they do.
func (a *App) ownTokens(clients *manage.Clients) *api.Own {
	return &api.Own{
		Introspect: a.oauth2.IntrospectWire, Warden: a.policies, Prefix: a.cfg.Serve.Management.ResourcePrefix,
		Client: func(ctx context.Context, id string) (bool, error) {
			_, err := clients.Get(ctx, id)
			if fault.Is(err, fault.NotFound) {
				return false, nil
			}
			return err == nil, err
		},
	}
}

// certified reports whether a certificate is verified and has one of the names:
// dns:, uri: or email: and a subject alternative name, or a distinguished name.
func certified(shown *access.ClientCertificate, names []string) bool {
	if shown == nil || !shown.Verified {
		return false
	}
	for _, name := range names {
		kind, value, _ := strings.Cut(name, ":")
		switch kind {
		case "dns":
			if slices.ContainsFunc(shown.Leaf.DNSNames, func(n string) bool { return strings.EqualFold(n, value) }) {
				return true
			}
		case "email":
			if slices.Contains(shown.Leaf.EmailAddresses, value) {
				return true
			}
		case "uri":
			for _, u := range shown.Leaf.URIs {
				if u.String() == value {
					return true
				}
			}
		default:
			if subject, ok := shown.SubjectDN(); ok && subject == access.NormalDN(name) {
				return true
			}
		}
	}
	return false
}

// callerCertificates finds the certificates of callers of the management API: those of
// the listener's own handshakes. Nil: certificates open nothing.
func (a *App) callerCertificates(listener string) (*edge.ClientCertificates, error) {
	if !a.cfg.Admits(config.ClientCertified) {
		return nil, nil
	}
	authorities, err := clientAuthorities(tlsOf(a.cfg, listener))
	if err != nil {
		return nil, fmt.Errorf("tls.client_ca: %w", err) // the caller puts the listener in front
	}
	return edge.NewClientCertificates(edge.Certificates{Authorities: authorities, Now: a.now}, edge.Trusted{})
}

// crossOrigin reports whether scripts of an origin may call the management API: of one
// that is named, or any that the policy allows when they have to know a token.
func (a *App) crossOrigin(listener string) func(origin string) bool {
	policy, trusting := a.policy(listener), a.cfg.AskedWithoutToken()
	return func(origin string) bool {
		p := policy()
		return p.Names(origin) || !trusting && p.Allows(origin)
	}
}
