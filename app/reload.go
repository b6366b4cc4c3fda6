package app

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gatewarden/gatewarden/config"
	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/manage/api"
)

// watchEvery is how often the files of configuration and certificates are looked at.
// A look is a stat per file, which follows links as they are swapped in a ConfigMap
// and works on network file systems, where events do not.
const watchEvery = time.Second

// reloading is the state of reloads.
type reloading struct {
	mu sync.Mutex // held by a reload
	// cfg is the configuration in force; restart are keys that differ from it in the
	// files and need a restart.
	cfg     *config.Config
	restart []string

	statusMu sync.Mutex
	failed   error // of the last reload
}

// Reload reads configuration, certificates and rules again and puts in force what
// differs. Everything new is made before anything old goes: when the configuration or
// a certificate has a fault, or handlers of rules that work cannot be built with it,
// the error says so and the old configuration, handlers and certificates stay. Rules
// are read again in any case.
func (a *App) Reload(ctx context.Context) (api.Reloaded, error) {
	done, err := a.reloadConfiguration(ctx)
	rulesErr := a.loader.Reload(ctx)
	if rulesErr != nil {
		a.log.Error("the rules could not be reloaded", "error", rulesErr)
	} else {
		a.log.Info("the rules were read again", "version", a.engine.Set().Version(), "rules", a.engine.Set().Len())
	}
	done.Rules = a.engine.Set().Version()
	return done, errors.Join(err, rulesErr)
}

// reloadConfiguration is Reload without the sources of rules.
func (a *App) reloadConfiguration(ctx context.Context) (done api.Reloaded, err error) {
	r := &a.reloading
	r.mu.Lock()
	defer r.mu.Unlock()
	defer func() {
		a.metrics.ConfigurationReload(err == nil)
		r.statusMu.Lock()
		r.failed = err
		r.statusMu.Unlock()
		if err != nil {
			a.log.Error("the configuration could not be reloaded; the old one stays in force", "error", err)
		}
	}()
	next := r.cfg
	if a.read != nil {
		fresh, warnings, err := a.read()
		if err != nil {
			return done, fault.New(fault.Invalid, "invalid_configuration", err.Error())
		}
		next, done.Changed, done.Restart = r.cfg.Adopt(fresh)
		if len(done.Changed) > 0 {
			for _, w := range warnings {
				a.log.Warn(w)
			}
		}
	}
	swap, err := a.prepare(ctx, next, done.Changed)
	if err != nil {
		return api.Reloaded{}, fault.New(fault.Invalid, "invalid_configuration", err.Error())
	}
	swap()
	r.cfg = next
	if len(done.Restart) > 0 && !slices.Equal(done.Restart, r.restart) {
		a.log.Warn("these keys changed and need a restart; they stay as they were", "keys", done.Restart)
	}
	r.restart = done.Restart
	if len(done.Changed) > 0 {
		a.log.Info("the configuration was read again", "changed", done.Changed)
	}
	return done, nil
}

// prepare makes everything that cfg wants and puts the handlers in force, which is the
// last step that can fail; swap puts the rest in force.
func (a *App) prepare(ctx context.Context, cfg *config.Config, changed []string) (swap func(), err error) {
	set, err := newSettings(cfg)
	if err != nil {
		return nil, err
	}
	certificates, err := a.readCertificates(cfg)
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(changed, compiled) {
		c := a.newCompiler(cfg)
		if err := a.loader.Use(ctx, c); err != nil {
			return nil, err
		}
		a.compiler.Store(c)
	}
	return func() {
		a.manage(cfg)
		for l, loaded := range certificates {
			l.replace(loaded)
		}
		a.settings.Store(set)
		if a.proxy != nil {
			a.proxy.Configure(set.proxy)
		}
		for _, d := range a.decisions {
			d.Configure(set.decision)
		}
		if a.level != nil {
			a.level.Set(config.Level(cfg.Log.Level))
		}
	}, nil
}

// compiled reports whether a change of key changes what rules are compiled to.
func compiled(key string) bool {
	switch key {
	case "authenticators", "authorizers", "mutators", "errors", "backend_url":
		return true
	}
	return strings.HasPrefix(key, "access_rules.")
}

// readCertificates reads those of all listeners that speak TLS.
func (a *App) readCertificates(cfg *config.Config) (map[*secured]*identity, error) {
	read := map[*secured]*identity{}
	var errs []error
	for _, l := range a.listeners {
		if l.tls == nil {
			continue
		}
		loaded, err := loadTLS(tlsOf(cfg, l.name), a.acme)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("%s.tls%w", l.setting, err))
		case loaded == nil:
			errs = append(errs, fmt.Errorf("%s.tls: switching TLS off needs a restart", l.setting))
		default:
			read[l.tls] = loaded
		}
	}
	return read, errors.Join(errs...)
}

// tlsOf is the section of a listener.
func tlsOf(cfg *config.Config, listener string) config.TLS {
	switch s := cfg.Serve; listener {
	case "proxy":
		return s.Proxy.TLS
	case "public":
		return s.Public.TLS
	case "management":
		return s.API.TLS
	case "admin":
		return s.Admin.TLS
	case "ext_authz":
		return s.ExtAuthz.TLS
	}
	return config.TLS{}
}

// configurationReady is part of readiness.
func (a *App) configurationReady(context.Context) error {
	a.reloading.statusMu.Lock()
	defer a.reloading.statusMu.Unlock()
	return a.reloading.failed
}

// watch reloads when a file of the configuration or a certificate changes. It begins
// with a reload, so that no change since the start is missed.
func (a *App) watch(ctx context.Context) {
	seen := a.fingerprint()
	_, _ = a.reloadConfiguration(ctx)
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if now := a.fingerprint(); now != seen {
			seen = now
			_, _ = a.reloadConfiguration(ctx) // the error is logged and in the readiness
		}
	}
}

// fingerprint changes when one of the watched files does.
func (a *App) fingerprint() [sha256.Size]byte {
	a.reloading.mu.Lock()
	cfg := a.reloading.cfg
	a.reloading.mu.Unlock()
	names := slices.Clone(a.files)
	for _, l := range a.listeners {
		for _, pair := range tlsOf(cfg, l.name).All() {
			names = append(names, pair.Cert.Path, pair.Key.Path)
		}
	}
	h := sha256.New()
	for _, name := range names {
		if name == "" {
			continue
		}
		info, err := os.Stat(name)
		if err != nil {
			fmt.Fprintf(h, "%q %v\n", name, err)
			continue
		}
		fmt.Fprintf(h, "%q %d %d %v\n", name, info.Size(), info.ModTime().UnixNano(), info.Sys())
	}
	return [sha256.Size]byte(h.Sum(nil))
}
