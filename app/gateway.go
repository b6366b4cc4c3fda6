package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/authn"
	"github.com/gatewarden/gatewarden/authz"
	"github.com/gatewarden/gatewarden/config"
	"github.com/gatewarden/gatewarden/edge"
	"github.com/gatewarden/gatewarden/errorhandlers"
	"github.com/gatewarden/gatewarden/handler"
	"github.com/gatewarden/gatewarden/mutators"
	"github.com/gatewarden/gatewarden/passwords"
	"github.com/gatewarden/gatewarden/proxy"
	"github.com/gatewarden/gatewarden/relyingparty"
	"github.com/gatewarden/gatewarden/rules"
	"github.com/gatewarden/gatewarden/rules/match"
	"github.com/gatewarden/gatewarden/rules/source"
	"github.com/gatewarden/gatewarden/telemetry"
)

// openCompiler makes the catalogs of handlers, which last as long as the program.
func (a *App) openCompiler(context.Context) error {
	nonces, err := a.nonceKeys()
	if err != nil {
		return err
	}
	a.tokens = mutators.NewTokenCache()
	a.catalogs = rules.Compiler{
		Buckets: a.buckets(),
		Authenticators: rules.Stage[authn.Authenticator]{Catalog: authn.Catalog(authn.Deps{
			Introspector: a.oauth2, OwnKeys: a.rings.accessToken, Keys: a.remotes, HTTP: outbound(),
			Replays: usedProofs{a.store}, NonceKeys: nonces, CanonicalURL: edge.CanonicalURL,
			Cache: a.metrics.Cache, Introspection: a.metrics.Introspection, Now: a.now, File: a.credentials,
			Passwords: passwords.New(passwords.Options{OnCache: func(hit bool) { a.metrics.Cache("password", hit) }}),
			Provider:  &relyingparty.Local{Issuer: a.issuer(), Handler: a.oauth2.Public(), Keys: a.rings.idToken},
			Secrets:   keyed(a.secrets), Logouts: a.logouts,
		})},
		Authorizers: rules.Stage[authz.Authorizer]{Catalog: authz.Catalog(authz.Deps{Warden: a.policies, HTTP: outbound()})},
		Mutators: rules.Stage[mutators.Mutator]{Catalog: mutators.Catalog(mutators.Deps{
			Signer: a.rings.gateway, LoadSigner: a.rings.load, HTTP: outbound(), Tokens: a.tokens,
			OwnServer: &http.Client{Transport: relyingparty.InProcess(a.oauth2.Public(), "")}, Observe: a.metrics.Cache,
		})},
		ErrorHandlers: rules.Stage[errorhandlers.Handler]{Catalog: errorhandlers.Catalog()},
		CheckRoute:    proxy.CheckRoute,
	}
	a.compiler.Store(a.newCompiler(a.cfg))
	return nil
}

// newCompiler is a compiler of the configuration's handlers.
func (a *App) newCompiler(cfg *config.Config) *rules.Compiler {
	c := a.catalogs
	c.Authenticators.Settings = handlerSettings(cfg.Authenticators, c.Authenticators.Catalog)
	c.Authorizers.Settings = handlerSettings(cfg.Authorizers, c.Authorizers.Catalog)
	c.Mutators.Settings = handlerSettings(a.mutators(cfg), c.Mutators.Catalog)
	c.ErrorHandlers.Settings = handlerSettings(cfg.Errors.Handlers, c.ErrorHandlers.Catalog)
	c.Fallback = cfg.Errors.Fallback
	c.Upstream = a.upstream(cfg)
	c.Strategy = match.Strategy(cfg.AccessRules.MatchingStrategy)
	c.RefuseOverlap = cfg.AccessRules.OnOverlap == "refuse"
	return &c
}

// credentials tells that a file of users or keys was read again.
func (a *App) credentials(path string, err error) {
	if err != nil {
		a.log.Error("a file of credentials cannot be used; what it held before stays in force", "file", path, "error", err.Error())
		return
	}
	a.log.Info("read a file of credentials again", "file", path)
}

// credentialFile is the state of a file of users or keys in /health/ready?verbose.
type credentialFile struct {
	File   string     `json:"file"`
	OK     bool       `json:"ok"`
	Error  string     `json:"error,omitempty"`
	ReadAt *time.Time `json:"read_at,omitempty"`
}

// credentialFiles lists the files that the rules in force read while they run.
func (a *App) credentialFiles() []credentialFile {
	out := []credentialFile{}
	for _, f := range a.engine.Set().Files() {
		one := credentialFile{File: f.Path, OK: f.Err == nil}
		if f.Err != nil {
			one.Error = f.Err.Error()
		}
		if !f.ReadAt.IsZero() {
			at := f.ReadAt.UTC()
			one.ReadAt = &at
		}
		out = append(out, one)
	}
	return out
}

// credentialsReady is part of readiness.
func (a *App) credentialsReady(context.Context) error {
	var errs []error
	for _, f := range a.credentialFiles() {
		if !f.OK {
			errs = append(errs, fmt.Errorf("%s: %s; what it held before is in force", f.File, f.Error))
		}
	}
	return errors.Join(errs...)
}

// watchCredentials makes the states of files of credentials metrics.
func (a *App) watchCredentials() {
	a.metrics.WatchCredentialFiles(func() map[string]bool {
		up := map[string]bool{}
		for _, f := range a.credentialFiles() {
			up[f.File] = f.OK
		}
		return up
	})
}

// lasting are the keys of what must not end with a system secret: tokens, codes and the
// hashes of generated client secrets. The database's own root makes them; what was made
// with a system secret before there was a root is good as long as that is listed.
func (a *App) lasting() [][]byte { return append([][]byte{a.store.Root()}, keyed(a.secrets)...) }

// keyed returns secrets as keys.
func keyed(secrets []string) [][]byte {
	out := make([][]byte, len(secrets))
	for i, secret := range secrets {
		out[i] = []byte(secret)
	}
	return out
}

// openRules compiles the rules and puts them in force.
func (a *App) openRules(ctx context.Context) error {
	repositories := a.cfg.AccessRules.Repositories
	if a.demo != nil {
		repositories = append(slices.Clone(repositories), a.demo.rules())
	}
	loader, err := source.New(source.Options{
		Compiler: a.compiler.Load(), Engine: a.engine, Repositories: repositories, Store: a.store,
		HTTP: outbound(), Dial: outboundDialer().DialContext,
		CacheDir: a.cfg.AccessRules.CacheDir, RefuseMissing: a.cfg.AccessRules.OnMissing == "refuse", RemotePoll: a.cfg.AccessRules.PollInterval,
		Reloaded: a.reloaded, Log: a.log, Observe: func(sources []source.SourceStatus) {
			for _, s := range sources {
				a.metrics.RuleSource(s.Name, s.OK, s.ReadAt)
			}
		},
	})
	if err != nil {
		return err
	}
	a.loader = loader
	if err := loader.Load(ctx); err != nil {
		return fmt.Errorf("access_rules.repositories: %s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return nil
}

// reloaded tells what depends on the rules that they were loaded.
func (a *App) reloaded(ok bool, version uint64, active, refused int) {
	a.metrics.Reload(ok, version, active, refused)
	if a.proxy != nil {
		a.proxy.Follow(a.engine.Set().Routes())
	}
}

// mutators gives id_token the program's issuer when the operator named none.
func (a *App) mutators(cfg *config.Config) map[string]config.Handler {
	all := map[string]config.Handler{}
	for name, h := range cfg.Mutators {
		all[name] = h
	}
	base := map[string]json.RawMessage{}
	h := all["id_token"]
	if len(h.Config) > 0 && json.Unmarshal(h.Config, &base) != nil {
		return all // not an object: the handler's own decoding says so
	}
	if _, set := base["issuer_url"]; !set {
		base["issuer_url"], _ = json.Marshal(a.issuer())
		h.Config, _ = json.Marshal(base)
		all["id_token"] = h
	}
	return all
}

func (a *App) upstream(cfg *config.Config) string {
	if cfg.BackendURL == "" && a.demo != nil {
		return a.demo.backend()
	}
	return cfg.BackendURL
}

// handlerSettings joins a catalog with what the operator configured. A handler that
// was not mentioned may be used; enabled: false takes it away.
func handlerSettings[H any](configured map[string]config.Handler, catalog handler.Catalog[H]) map[string]rules.Settings {
	settings := map[string]rules.Settings{}
	for _, name := range catalog.Names() {
		settings[name] = rules.Settings{Enabled: true}
	}
	for name, h := range configured {
		settings[name] = rules.Settings{Enabled: !h.Disabled, Config: h.Config}
	}
	return settings
}

// HandlerDefaults lists the handlers and their configurations for config.Sources.
func HandlerDefaults() map[string]map[string]any {
	return map[string]map[string]any{
		"authenticators": defaults(authn.Catalog(authn.Deps{})),
		"authorizers":    defaults(authz.Catalog(authz.Deps{})),
		"mutators":       defaults(mutators.Catalog(mutators.Deps{})),
		"errors":         defaults(errorhandlers.Catalog()),
	}
}

// CheckHandler reports unknown keys and wrong types in a handler's configuration, for
// config.Sources.
func CheckHandler(config json.RawMessage, defaults any) error {
	target := reflect.New(reflect.TypeOf(defaults))
	target.Elem().Set(reflect.ValueOf(defaults))
	return handler.Decode(config, target.Interface())
}

func defaults[H any](catalog handler.Catalog[H]) map[string]any {
	all := map[string]any{}
	for name, t := range catalog {
		all[name] = t.Config()
	}
	return all
}

// decider is the engine with the header fields and cookies that its rules own.
type decider struct{ *rules.Engine }

// OwnedHeaders implements edge.HeaderOwner.
func (d decider) OwnedHeaders() []string {
	if s := d.Set(); s != nil {
		return s.OwnedHeaders()
	}
	return nil
}

// OwnedCookies implements edge.CookieOwner.
func (d decider) OwnedCookies() []string {
	if s := d.Set(); s != nil {
		return s.OwnedCookies()
	}
	return nil
}

// trusted are the peers that the configuration names.
func trusted(named []config.Peer) (edge.Trusted, error) {
	var peers []string
	for _, p := range named {
		peers = append(peers, p.String())
	}
	return edge.ParseTrusted(peers, false)
}

// SessionCookies implements edge.SessionOwner.
func (d decider) SessionCookies() []string {
	if s := d.Set(); s != nil {
		return s.SessionCookies()
	}
	return nil
}

// edgeOptions are what proxy and decision have in common.
func (a *App) edgeOptions(name string, trust config.Trust, s edge.Settings) (edge.Options, error) {
	certificates, err := a.clientCertificates(name, trust)
	if err != nil {
		return edge.Options{}, err
	}
	return edge.Options{
		Listener: name, Decider: decider{a.engine}, Trusted: s.Trusted, CORS: s.CORS, MaxBody: s.MaxBody, MaxURI: s.MaxURI, MaxRequests: s.MaxRequests, Certificates: certificates, Log: a.log,
		ReadIdle: time.Minute, WriteIdle: time.Minute,
		Observe: func(e *edge.Event) {
			a.metrics.Request(telemetry.Request{
				Listener: e.Listener, Rule: e.Rule, Outcome: e.Outcome, Reason: e.Reason, Decided: e.Decided,
				Forwarded: e.Forwarded, UpstreamStatus: e.UpstreamStatus, Upstream: e.Upstream,
			})
		},
	}, nil
}

// Explain decides a request as the proxy would and lists the steps.
func (a *App) Explain(ctx context.Context, method string, u *url.URL, h http.Header) access.Decision {
	return a.engine.DecideTraced(ctx, &access.Request{Method: method, URL: u, Header: h})
}

func (a *App) now() time.Time { return time.Now() }

var (
	_ edge.HeaderOwner  = decider{}
	_ edge.CookieOwner  = decider{}
	_ edge.SessionOwner = decider{}
)

// Metrics returns the program's collectors.
func (a *App) Metrics() *telemetry.Metrics { return a.metrics }
