package authn

import (
	"context"
	"time"

	"github.com/gatewarden/gatewarden/dpop"
	"github.com/gatewarden/gatewarden/handler"
)

// dpopConfig says which DPoP proofs are good (RFC 9449).
type dpopConfig struct {
	// Algorithms of proofs, asymmetric ones. Default: ES256, ES384, ES512, EdDSA, PS256
	// and RS256.
	Algorithms []string `json:"algorithms"`
	// MaxAge is how old a proof may be, by its iat.
	MaxAge handler.Duration `json:"max_age"`
	// Leeway is the tolerated difference of clocks.
	Leeway handler.Duration `json:"leeway"`
	// Nonce is off, or required: proofs must hold a nonce of ours (RFC 9449 section 9).
	Nonce string `json:"nonce"`
	// NonceTTL is how long a nonce is good. Halfway clients are given the next one.
	NonceTTL handler.Duration `json:"nonce_ttl"`
}

func dpopDefaults() dpopConfig {
	return dpopConfig{Algorithms: dpop.DefaultAlgorithms(),
		MaxAge: handler.Duration(time.Minute), Leeway: handler.Duration(5 * time.Second), Nonce: "off", NonceTTL: handler.Duration(5 * time.Minute)}
}

// ReplayStore remembers what may be used once, for all nodes.
type ReplayStore interface {
	// UseJTI records (namespace, jti) until expires. It is fault.Conflict when it was
	// used before; any other error means that it could not be found out.
	UseJTI(ctx context.Context, namespace, jti string, expires time.Time) error
}

func newProofs(c dpopConfig, d Deps) (*dpop.Checker, error) {
	return dpop.New(dpop.Options{
		Algorithms: c.Algorithms, MaxAge: time.Duration(c.MaxAge), Leeway: time.Duration(c.Leeway),
		Nonce: c.Nonce, NonceTTL: time.Duration(c.NonceTTL), NonceKeys: d.NonceKeys, Replays: d.Replays, CanonicalURL: d.CanonicalURL, Now: d.Now,
	})
}
