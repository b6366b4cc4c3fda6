package app

import (
	"context"
	"errors"
	"fmt"

	"github.com/gatewarden/gatewarden/config"
	"github.com/gatewarden/gatewarden/cors"
	"github.com/gatewarden/gatewarden/edge"
)

// settings are what the listeners use and a reload of the configuration may change.
// They are built whole and swapped at once.
type settings struct {
	proxy, decision edge.Settings
	// cors are policies by name of the listener; nil for none.
	cors map[string]*cors.Policy
}

// newSettings builds the settings of a configuration; the error names the key.
func newSettings(cfg *config.Config) (*settings, error) {
	s := &settings{cors: map[string]*cors.Policy{}}
	var errs []error
	for _, l := range []struct {
		name, key string
		config.CORS
	}{
		{"proxy", "serve.proxy", cfg.Serve.Proxy.CORS}, {"public", "serve.public", cfg.Serve.Public.CORS},
		{"management", "serve.api", cfg.Serve.API.CORS}, {"admin", "serve.admin", cfg.Serve.Admin.CORS},
	} {
		policy, problems := l.Policy()
		for _, p := range problems {
			errs = append(errs, fmt.Errorf("%s.cors: %w", l.key, p))
		}
		s.cors[l.name] = policy
	}
	peers := func(key string, t config.Trust) edge.Trusted {
		set, err := trusted(t.Trusted())
		if err != nil {
			errs = append(errs, fmt.Errorf("%s.trusted_proxies: %w", key, err))
		}
		return set
	}
	s.proxy = edge.Settings{
		Trusted: peers("serve.proxy", cfg.Serve.Proxy.Trust), CORS: s.cors["proxy"], MaxBody: cfg.Serve.Proxy.Limits.Body,
		MaxURI: cfg.Serve.Proxy.Limits.URI, MaxRequests: cfg.Serve.Proxy.Limits.Requests,
	}
	s.decision = edge.Settings{Trusted: peers("serve.api", cfg.Serve.API.Trust)}
	return s, errors.Join(errs...)
}

func (a *App) openSettings(context.Context) error {
	s, err := newSettings(a.cfg)
	a.settings.Store(s)
	return err
}

// policy returns how to find the CORS policy of a listener.
func (a *App) policy(listener string) func() *cors.Policy {
	return func() *cors.Policy { return a.settings.Load().cors[listener] }
}
