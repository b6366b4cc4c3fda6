package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/go-jose/go-jose/v4"

	"github.com/gatewarden/gatewarden/keys"
	"github.com/gatewarden/gatewarden/mutators"
	"github.com/gatewarden/gatewarden/store"
)

// The names of the authorization server's key sets, as in Hydra.
const (
	idTokenKeys     = "hydra.openid.id-token"
	accessTokenKeys = "hydra.jwt.access-token"
)

// maxKeySet bounds a file that a rule names, in bytes.
const maxKeySet = 1 << 20

// rings are the program's own signing keys.
type rings struct {
	idToken, accessToken *keys.Ring // the authorization server's
	gateway              *keys.Ring // the id_token mutator's

	mu sync.Mutex
	// fixed are the operator's own sets, by jwks_url.
	fixed map[string]*keys.Ring
}

// openKeys reads or makes the keys. Making RSA keys takes a moment, so the sets are
// opened side by side.
func (a *App) openKeys(ctx context.Context) error {
	a.rings.fixed = map[string]*keys.Ring{}
	a.remotes = keys.NewRemotes(keys.RemotesOptions{HTTP: outbound(), File: a.credentials})
	var wait sync.WaitGroup
	var errs [3]error
	for i, r := range []struct {
		into       **keys.Ring
		set        string
		algorithms []string
		keep       keys.RingOptions
	}{
		{&a.rings.idToken, idTokenKeys, []string{a.cfg.OIDC.IDTokenAlg, "RS256", "ES256"}, keys.RingOptions{KeepFor: a.cfg.TTL.IDToken}},
		{&a.rings.accessToken, accessTokenKeys, []string{"RS256"}, keys.RingOptions{KeepFor: a.cfg.TTL.AccessToken}},
		{&a.rings.gateway, a.cfg.IDToken.Set, []string{"ES256"}, keys.RingOptions{}},
	} {
		wait.Go(func() {
			o := r.keep
			o.Fresh = a.hearings[store.Keys].fresh
			o.Set, o.Store, o.Algorithms, o.Period = r.set, a.store, r.algorithms, a.cfg.Keys.RotationPeriod
			ring, err := keys.OpenRing(ctx, o)
			if err != nil {
				errs[i] = fmt.Errorf("key set %s: %w", r.set, err)
				return
			}
			*r.into = ring
		})
	}
	wait.Wait()
	return errors.Join(errs[:]...)
}

// reload reads the sets again.
func (r *rings) reload(ctx context.Context) error {
	return errors.Join(r.idToken.Reload(ctx), r.accessToken.Reload(ctx), r.gateway.Reload(ctx))
}

// load returns the ring over an operator's private key set at a file URL.
func (r *rings) load(location string) (mutators.Signer, error) {
	path, isFile := strings.CutPrefix(location, "file://")
	if !isFile {
		return nil, fmt.Errorf("jwks_url must be a file URL, because private keys do not travel: %s", location)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if ring := r.fixed[location]; ring != nil {
		return ring, nil
	}
	if info, err := os.Stat(path); err == nil && (!info.Mode().IsRegular() || info.Size() > maxKeySet) {
		return nil, fmt.Errorf("jwks_url: %s is not a regular file of at most %d bytes", path, maxKeySet)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("jwks_url: %w", err)
	}
	ring, err := keys.FixedRing(location, data)
	if err != nil {
		return nil, fmt.Errorf("jwks_url: %w", err)
	}
	r.fixed[location] = ring
	return ring, nil
}

// public returns what upstreams verify minted tokens with.
func (r *rings) public() jose.JSONWebKeySet {
	set := r.gateway.Public()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, ring := range r.fixed {
		set.Keys = append(set.Keys, ring.Public().Keys...)
	}
	return set
}
