package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/gatewarden/gatewarden/config"
	"github.com/gatewarden/gatewarden/decision"
	"github.com/gatewarden/gatewarden/edge"
	"github.com/gatewarden/gatewarden/keys"
	"github.com/gatewarden/gatewarden/login"
	"github.com/gatewarden/gatewarden/manage"
	"github.com/gatewarden/gatewarden/manage/api"
	"github.com/gatewarden/gatewarden/proxy"
	"github.com/gatewarden/gatewarden/registration"
	"github.com/gatewarden/gatewarden/rules"
	"github.com/gatewarden/gatewarden/rules/spec"
)

// listen binds the addresses of all parts, before anything else is opened: a taken
// port is noticed first, and the bound port may be part of the issuer.
func (a *App) listen(context.Context) error {
	s := a.cfg.Serve
	for _, l := range []struct {
		on            bool
		name, setting string
		config.Listener
	}{
		{a.parts&Proxy != 0, "proxy", "serve.proxy", s.Proxy.Listener},
		{a.parts&Public != 0, "public", "serve.public", s.Public.Listener},
		{a.parts&Management != 0, "management", "serve.api", s.API.Listener},
		{a.parts&Management != 0 && s.Admin.On(), "admin", "serve.admin", s.Admin.Listener},
		{a.parts&Management != 0 && s.ExtAuthz.On(), "ext_authz", "serve.ext_authz", s.ExtAuthz.Listener},
		{a.acme != nil && a.cfg.ACME.HTTP.Port >= 0, "acme", "acme.http", config.Listener{Host: a.cfg.ACME.HTTP.Host, Port: a.cfg.ACME.HTTP.Port}},
		{s.Prometheus.Port >= 0, "metrics", "serve.prometheus", config.Listener{Host: s.Prometheus.Host, Port: s.Prometheus.Port}},
	} {
		if !l.on {
			continue
		}
		if err := a.bind(l.name, l.setting, l.Listener); err != nil {
			return err
		}
	}
	return a.process.Left()
}

// port returns the bound port of a listener; empty when it is not open.
func (a *App) port(name string) string {
	for _, l := range a.listeners {
		if l.name == name {
			_, port, _ := net.SplitHostPort(l.Addr().String())
			return port
		}
	}
	return ""
}

// mount makes the edges and gives each listener its server.
func (a *App) mount(context.Context) error {
	s := a.cfg.Serve
	for i := range a.listeners {
		l := &a.listeners[i]
		o := edge.ServerOptions{TLS: l.tls.config(), H2C: true, ProxyProtocol: l.proxied, Standard: !a.fast(l.name), Farewell: s.Farewell, Log: a.log}
		var err error
		switch l.name {
		case "proxy":
			o.ReadHeaderTimeout, o.IdleTimeout, o.MaxHeaderBytes = s.Proxy.Timeout.Read, s.Proxy.Timeout.Idle, s.Proxy.Limits.Header
			o.ConnectionsPerClient, o.Refused = s.Proxy.Limits.ConnectionsPerClient, func() { a.metrics.ConnectionRefused("proxy") }
			o.Exempt = func(peer netip.Addr) bool { return a.settings.Load().proxy.Trusted.Contains(peer) }
			o.Handler, err = a.proxyEdge()
		case "public":
			o.ReadHeaderTimeout, o.IdleTimeout = s.Public.Timeout.Read, s.Public.Timeout.Idle
			o.Handler, err = a.publicEdge()
		case "management", "admin":
			o.ReadHeaderTimeout, o.IdleTimeout = s.API.Timeout.Read, s.API.Timeout.Idle
			o.Handler, err = a.managementEdge(l.name)
		case "ext_authz":
			o.Handler, err = a.extAuthzEdge()
		case "acme":
			o.Handler = a.acme.HTTP01()
		case "metrics":
			mux := http.NewServeMux()
			mux.Handle("GET "+s.Prometheus.MetricsPath, a.metrics.Handler())
			o.Handler = mux
		}
		if err != nil {
			return fmt.Errorf("%s: %w", l.setting, err)
		}
		if l.packets != nil {
			a.serveHTTP3(l, &o)
		}
		l.server = edge.NewServer(o)
	}
	return nil
}

// fast reports whether a listener serves plain requests by the loop of package
// edge/wire. Those of the metrics and of gRPC have no use for it.
func (a *App) fast(listener string) bool {
	s := a.cfg.Serve
	switch listener {
	case "proxy":
		return s.Proxy.Fast
	case "public":
		return s.Public.Fast
	case "management":
		return s.API.Fast
	case "admin":
		return s.Admin.Fast
	}
	return false
}

func (a *App) proxyEdge() (http.Handler, error) {
	o, err := a.edgeOptions("proxy", a.cfg.Serve.Proxy.Trust, a.settings.Load().proxy)
	if err != nil {
		return nil, err
	}
	up := a.cfg.Serve.Proxy.Upstream
	roots, err := authorities(up.CAFile)
	if err != nil {
		return nil, fmt.Errorf("upstream.ca_file: %w", err) // the caller puts serve.proxy in front
	}
	a.proxy, err = proxy.New(proxy.Options{Edge: o, Transport: proxy.Transport{
		DialTimeout: up.ConnectTimeout, ResponseHeaderTimeout: up.Timeout, IdleConnTimeout: up.IdleConnTimeout, MaxIdlePerHost: up.MaxIdlePerHost,
		MaxResponseHeaderBytes: up.MaxHeader, Standard: !up.Fast, RootCAs: roots, Guard: neverMetadata, Retried: a.metrics.Retry,
	}, Streams: proxy.Streams{Withdrawals: a.oauth2.Withdrawals, Recheck: a.cfg.Serve.Proxy.Streams.Recheck}})
	if err != nil {
		return nil, err
	}
	a.proxy.Follow(a.engine.Set().Routes())
	a.metrics.WatchUpstreams(a.upstreams)
	return a.proxy, nil
}

// publicEdge is the authorization server with the health of the process.
func (a *App) publicEdge() (http.Handler, error) {
	trust := a.cfg.Serve.Public.Trust
	believed, err := a.clientCertificates("public", trust)
	if err != nil {
		return nil, err
	}
	peers, err := trusted(trust.Trusted())
	if err != nil {
		return nil, err
	}
	certificates, err := edge.NewClientCertificates(believed, peers)
	if err != nil {
		return nil, err
	}
	probes := a.healthDeps("public")
	probes.Discreet = true
	health := api.New(probes)
	endpoints := edge.Guard{Listener: "public", Certificates: certificates, Log: a.log, Observe: func(r *http.Request, status int, took time.Duration) {
		a.metrics.HTTP("public", publicRoute(r.URL.Path), status, took)
	}}.Handler(a.publicPages())
	endpoints = edge.CrossOrigin(endpoints, a.policy("public"), navigated)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r = withoutSlash(r)
		switch r.URL.Path {
		case "/health/alive", "/health/ready":
			health.ServeHTTP(w, r)
		default:
			endpoints.ServeHTTP(w, r)
		}
	}), nil
}

// withoutSlash returns r without the slash at the end of its path, which Hydra 2 does not
// mind. It comes before everything that looks at paths.
func withoutSlash(r *http.Request) *http.Request {
	path := r.URL.Path
	if len(path) < 2 || path[len(path)-1] != '/' {
		return r
	}
	u := *r.URL
	u.Path, u.RawPath = path[:len(path)-1], strings.TrimSuffix(r.URL.RawPath, "/")
	r = r.WithContext(r.Context()) // a shallow copy
	r.URL = &u
	return r
}

// publicPages are the endpoints of the authorization server and the built-in pages.
func (a *App) publicPages() http.Handler {
	endpoints := a.oauth2.Public()
	if a.registration != nil {
		server := endpoints
		endpoints = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if registration.Handles(r.URL.Path) {
				a.registration.ServeHTTP(w, r)
				return
			}
			server.ServeHTTP(w, r)
		})
	}
	if a.login == nil {
		return endpoints
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if a.login.Handles(r.URL.Path) {
			a.login.ServeHTTP(w, r)
			return
		}
		endpoints.ServeHTTP(w, r)
	})
}

// pagePaths are those of the built-in pages, which browsers are sent to.
var pagePaths = []string{login.LoginPath, login.ConsentPath, login.LogoutPath, login.DonePath, login.ErrorPath, login.AccountPath}

// navigated reports whether r is for an endpoint that browsers are sent to, which
// scripts have no business with (RFC 9700 section 2.6).
func navigated(r *http.Request) bool {
	return r.URL.Path == "/oauth2/auth" || r.URL.Path == "/oauth2/device/verify" || r.URL.Path == "/oauth2/sessions/logout" || strings.HasPrefix(r.URL.Path, "/oauth2/fallbacks/") ||
		slices.Contains(pagePaths, r.URL.Path) || strings.HasPrefix(r.URL.Path, login.CallbackPath(""))
}

// publicRoute names the route of a path for metrics; what is no route is one label.
func publicRoute(path string) string {
	switch path {
	case "/oauth2/auth", "/oauth2/par", "/oauth2/device/auth", "/oauth2/device/verify", "/oauth2/token", "/oauth2/revoke", "/oauth2/introspect", "/oauth2/sessions/logout", "/userinfo",
		"/.well-known/openid-configuration", "/.well-known/oauth-authorization-server", "/.well-known/jwks.json":
		return path
	}
	if slices.Contains(pagePaths, path) {
		return path
	}
	if strings.HasPrefix(path, login.CallbackPath("")) {
		return login.CallbackPath("{provider}")
	}
	switch {
	case path == registration.Path:
		return path
	case registration.Handles(path):
		return registration.Path + "/{id}"
	}
	if strings.HasPrefix(path, "/oauth2/fallbacks/") {
		return "/oauth2/fallbacks/{page}"
	}
	return "other"
}

// healthDeps are what every listener with an API answers.
func (a *App) healthDeps(listener string) api.Deps {
	d := api.Deps{
		Checks: []api.Check{
			{Name: "database", Check: a.store.Ping},
			{Name: "changes", Check: a.hearings.ready},
			{Name: "access_rules", Check: a.rulesReady},
			{Name: "configuration", Check: a.configurationReady},
			{Name: "credential_files", Check: a.credentialsReady},
			{Name: "policies", Check: func(context.Context) error { return a.policies.Ready() }},
		},
		Draining:     a.draining.Load,
		LegacyErrors: a.cfg.OAuth2.LegacyErrors,
		Build:        api.Build{Version: a.build.Version, Commit: a.build.Commit, Date: a.build.Date},
		OnRequest: func(route string, status int, took time.Duration) {
			a.metrics.HTTP(listener, route, status, took)
		},
		Log: a.log,
	}
	if a.acme != nil && listener != "public" {
		d.Certificates = func() any { return a.acme.Status() }
	}
	return d
}

// stranger hints at the key that Oathkeeper does not have.
func (a *App) stranger(peer string) {
	a.log.Warn("refused a question at /decisions, because its peer is not trusted to ask for others (reason untrusted_proxy); "+
		"if it is your proxy, put its address into serve.api.trusted_proxies", "peer", peer)
}

// rulesReady reports sources that could not be read and rules that are refused.
func (a *App) rulesReady(context.Context) error {
	status := a.loader.Status()
	if status.OK {
		return nil
	}
	errs := []error{fmt.Errorf("version %d of the rules is in force, without what is at fault", status.Version)}
	for _, f := range status.Errors {
		errs = append(errs, f)
	}
	return errors.Join(errs...)
}

func (a *App) managementEdge(listener string) (http.Handler, error) {
	o, err := a.edgeOptions("decision", a.cfg.Serve.API.Trust, a.settings.Load().decision)
	if err != nil {
		return nil, err
	}
	points := decision.Options{Edge: o, Stranger: a.stranger}
	if points.Nginx, err = trusted(a.cfg.Serve.API.Nginx.TrustedProxies); err != nil {
		return nil, err
	}
	if points.Envoy, err = trusted(a.cfg.Serve.API.Envoy.TrustedProxies); err != nil {
		return nil, err
	}
	decisions, err := decision.New(points)
	if err != nil {
		return nil, err
	}
	routes := o
	routes.Trusted = edge.Trusted{}
	byRules, err := decision.NewRoutes(routes)
	if err != nil {
		return nil, err
	}
	a.decisions = append(a.decisions, decisions)
	caughtUp := manage.ReloadFunc(a.follower.poll)
	d := a.healthDeps(listener)
	d.Redis = a.redisState
	d.Sources = func() any { return a.loader.Status().Sources }
	d.CredentialFiles = func() any { return a.credentialFiles() }
	d.Rules = &manage.Rules{Store: a.store, Checker: ruleChecker{a}, Reload: caughtUp, Others: a.fileRules}
	if a.proxy != nil {
		d.Upstreams = func() any { return a.proxy.Upstreams() }
	}
	d.Policies = &manage.Policies{Store: a.store, Engine: a.policies}
	d.Groups = &manage.Groups{Store: a.store, Engine: a.policies}
	d.Warden, d.ByRules = a.policies, byRules
	d.Clients = a.clients()
	d.Users = &manage.Users{Store: a.store, Factors: a.store, Logins: a.oauth2, Reload: caughtUp, Now: a.now}
	d.Keys = &manage.Keys{Store: a.store, Own: map[string]*keys.Ring{
		idTokenKeys: a.rings.idToken, accessTokenKeys: a.rings.accessToken, a.cfg.IDToken.Set: a.rings.gateway,
	}, Reload: caughtUp, Now: a.now}
	d.GatewayKeys = func(context.Context) (jose.JSONWebKeySet, error) { return a.rings.public(), nil }
	d.LoginApp, d.LogoutApp, d.DeviceApp = a.oauth2, a.oauth2, a.oauth2
	if a.cfg.OAuth2.CIBA.Enabled {
		d.BackchannelApp = a.oauth2
	}
	d.TrustGrants = &manage.TrustGrants{Store: a.store, Now: a.now}
	d.Sessions = &manage.Sessions{Server: a.oauth2, Reload: caughtUp}
	d.Tokens = &manage.Tokens{Introspect: a.oauth2.IntrospectWire, Store: a.oauth2, Sweeper: a.store, Reload: caughtUp, Now: a.now}
	d.Decisions = decisions
	d.Reload = a.Reload
	d.Metrics = a.metrics.Handler()
	if d.Guard, err = a.guard(listener, d.Clients); err != nil {
		return nil, err
	}
	d.PageKey = []byte(a.secrets[0])
	certificates, err := a.callerCertificates(listener)
	if err != nil {
		return nil, err
	}
	guarded := edge.Guard{Listener: listener, Certificates: certificates, Log: a.log}.Handler(api.New(d))
	// An answer to a preflight would be a yes for who asks /decisions.
	return edge.CrossOrigin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if decisions.Handles(r) { // which has a gate of its own
			decisions.ServeHTTP(w, r)
			return
		}
		guarded.ServeHTTP(w, r)
	}), a.policy(listener), decisions.Handles), nil
}

// extAuthzEdge answers Envoy over gRPC.
func (a *App) extAuthzEdge() (http.Handler, error) {
	peers, err := trusted(a.cfg.Serve.ExtAuthz.TrustedProxies)
	if err != nil {
		return nil, err
	}
	o, err := a.edgeOptions("ext_authz", config.Trust{}, edge.Settings{Trusted: peers})
	if err != nil {
		return nil, err
	}
	a.extAuthz, err = decision.NewExtAuthz(o)
	return a.extAuthz, err
}

// ruleChecker compiles a rule as it would be compiled if it were stored.
type ruleChecker struct{ a *App }

// Check implements manage.RuleChecker.
func (c ruleChecker) Check(_ context.Context, r spec.Rule) error {
	current := c.a.engine.Set()
	set, err := c.a.compiler.Load().Compile(spec.ListOf(r), current)
	if err != nil {
		return err
	}
	defer func() { _ = rules.Retire(set, current) }()
	var errs []error
	for _, f := range set.Faults() {
		errs = append(errs, f)
	}
	return errors.Join(errs...)
}

// fileRules are the rules in force that do not come from the database.
func (a *App) fileRules() []spec.Rule {
	var list []spec.Rule
	if set := a.engine.Set(); set != nil {
		for _, r := range set.Rules() {
			if r.Origin.Source != spec.Database {
				list = append(list, r)
			}
		}
	}
	return list
}
