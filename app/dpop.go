package app

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/oauth2"
)

// usedProofs is the store of one-time values as authenticators know it.
type usedProofs struct{ store oauth2.ReplayStore }

// UseJTI implements authn.ReplayStore.
func (u usedProofs) UseJTI(ctx context.Context, namespace, jti string, expires time.Time) error {
	err := u.store.UseJTI(ctx, namespace, jti, expires)
	if errors.Is(err, oauth2.ErrSpent) {
		return fault.Wrap(fault.Conflict, "already_used", "the value was used before", err)
	}
	return err
}

// nonceKeys are the keys of nonces that DPoP proofs must hold, of every system secret.
func (a *App) nonceKeys() ([][]byte, error) {
	keys := make([][]byte, len(a.secrets))
	for i, secret := range a.secrets {
		key, err := hkdf.Key(sha256.New, []byte(secret), nil, "gatewarden dpop nonce", sha256.Size)
		if err != nil {
			return nil, fmt.Errorf("secrets.system: %w", err)
		}
		keys[i] = key
	}
	return keys, nil
}
