package server

//lint:file-ignore ST1005 errors are shown to clients, as sentences

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"
	"github.com/maypok86/otter/v2"

	"github.com/gatewarden/gatewarden/keys"
)

const (
	// clockSkew is how far the clock of who signs a JWT may be off.
	clockSkew = 30 * time.Second
	// A fetched key set of a client is fresh for keysFresh; a request waits keysWait.
	keysFresh = 5 * time.Minute
	keysWait  = 5 * time.Second
	maxJTI    = 256 // bytes
)

// claims are those of a JWT that somebody else made (RFC 7519 section 4), without
// duplicates.
type claims map[string]any

func readClaims(payload []byte) (claims, error) {
	var c claims
	if err := json.Unmarshal(payload, &c); err != nil || c == nil { // refuses duplicate members
		return nil, errors.New("The claims are not a JSON object without duplicates.")
	}
	return c, nil
}

func (c claims) text(name string) string {
	text, _ := c[name].(string)
	return text
}

// audience returns aud, which is a string or a list of them; nil for anything else.
func (c claims) audience() []string {
	switch aud := c["aud"].(type) {
	case string:
		return []string{aud}
	case []any:
		all := make([]string, len(aud))
		for i, one := range aud {
			text, ok := one.(string)
			if !ok {
				return nil
			}
			all[i] = text
		}
		return all
	}
	return nil
}

// date returns a NumericDate (RFC 7519 section 2); the zero time when it is absent.
func (c claims) date(name string) (time.Time, error) {
	v, ok := c[name]
	if !ok {
		return time.Time{}, nil
	}
	seconds, ok := v.(float64)
	if !ok || seconds < 0 || seconds > 1<<40 {
		return time.Time{}, fmt.Errorf("The claim '%s' is not a date.", name)
	}
	// Not the zero time, which is none: exp 0 has passed.
	return time.UnixMilli(int64(seconds * 1000)), nil
}

// fresh checks exp, which must be there and at most longest away, nbf and iat, and
// returns exp.
func (c claims) fresh(now time.Time, longest time.Duration) (time.Time, error) {
	var at [3]time.Time
	for i, name := range []string{"exp", "nbf", "iat"} {
		var err error
		if at[i], err = c.date(name); err != nil {
			return time.Time{}, err
		}
	}
	exp, nbf, iat := at[0], at[1], at[2]
	switch {
	case exp.IsZero():
		return exp, errors.New("The claim 'exp' is missing.")
	case !now.Before(exp.Add(clockSkew)):
		return exp, errors.New("It has expired.")
	case exp.Sub(now) > longest+clockSkew:
		return exp, fmt.Errorf("The claim 'exp' is more than %s away.", longest)
	case nbf.Sub(now) > clockSkew || iat.Sub(now) > clockSkew:
		return exp, errors.New("It is not valid yet.")
	}
	return exp, nil
}

// jti returns the claim jti when it can be remembered.
func (c claims) jti() (string, error) {
	id := c.text("jti")
	if id == "" || len(id) > maxJTI {
		return "", fmt.Errorf("The claim 'jti' must have 1 to %d bytes.", maxJTI)
	}
	return id, nil
}

// errSignature says that none of the signer's keys has signed.
var errSignature = errors.New("The signature cannot be verified with a registered key.")

// clientKeySets remembers the key sets that were registered by address.
type clientKeySets struct {
	remotes *keys.Remotes // nil: none are fetched
	open    *otter.Cache[string, *keys.Remote]
}

func newClientKeySets(remotes *keys.Remotes, size int) *clientKeySets {
	return &clientKeySets{remotes: remotes, open: otter.Must(&otter.Options[string, *keys.Remote]{MaximumSize: size})}
}

// at returns the set at an http or https URL.
func (k *clientKeySets) at(location string) (*keys.Remote, error) {
	if found, ok := k.open.GetIfPresent(location); ok {
		return found, nil
	}
	if k.remotes == nil || !strings.HasPrefix(location, "https://") && !strings.HasPrefix(location, "http://") {
		return nil, errSignature
	}
	remote, err := k.remotes.Open([]string{location}, keysFresh, keysWait)
	if err != nil {
		return nil, err
	}
	k.open.Set(location, remote)
	return remote, nil
}

// clientKeys returns the registered keys of a client that are wanted.
func (s *Server) clientKeys(ctx context.Context, c *client, wanted func(jose.JSONWebKey) bool) (found []jose.JSONWebKey, err error) {
	if c.JWKSURI != "" {
		sets := s.keySets
		if c.Stranger() {
			sets = s.strangersKeySets
		}
		remote, err := sets.at(c.JWKSURI)
		if err != nil {
			return nil, err
		}
		return remote.Find(ctx, wanted)
	}
	for _, k := range c.keys {
		if wanted(k) {
			found = append(found, k)
		}
	}
	return found, nil
}

// verifyByClient returns the claims of a JWT that the client has signed, with the
// algorithm that it registered, if it did. The key is the one that kid names; without
// kid any of the client's may be it. Errors are errSignature, those of readClaims, and
// those of fetching keys, which are faults.
func (s *Server) verifyByClient(ctx context.Context, c *client, t *keys.JWS, pinned string) (claims, error) {
	if pinned != "" && pinned != string(t.Algorithm) {
		return nil, errSignature
	}
	candidates, err := s.clientKeys(ctx, c, func(k jose.JSONWebKey) bool { return t.KeyID == "" || k.KeyID == t.KeyID })
	if err != nil {
		return nil, err
	}
	return verifyWith(t, candidates)
}

func verifyWith(t *keys.JWS, candidates []jose.JSONWebKey) (claims, error) {
	// A set may hold many keys without kid; a look at a few is enough.
	for _, k := range candidates[:min(len(candidates), 8)] {
		if payload, err := t.Verify(k); err == nil {
			return readClaims(payload)
		}
	}
	return nil, errSignature
}

// asymmetricNames are the algorithms with which others may sign, for the metadata.
func asymmetricNames() []string {
	var names []string
	for _, alg := range keys.Asymmetric() {
		names = append(names, string(alg))
	}
	slices.Sort(names)
	return names
}
