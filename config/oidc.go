package config

import "slices"

// OIDC is about OpenID Connect.
type OIDC struct {
	Registration Registration `key:"dynamic_client_registration"`
	// IDTokenAlg signs the ID tokens, and other signed answers, of clients that registered
	// no algorithm: RS256, ES256, PS256 or EdDSA.
	IDTokenAlg string   `key:"id_token_signing_alg"`
	Subjects   Subjects `key:"subject_identifiers"`
}

// Subjects are how clients know people (OpenID Connect Core section 8).
type Subjects struct {
	Types    []string `key:"supported_types"` // public, pairwise
	Pairwise Pairwise `key:"pairwise"`
}

// Pairwise is about subjects that are others for every sector of clients.
type Pairwise struct {
	// Salt is a secret that must never change: every pairwise subject would.
	Salt string `key:"salt"`
}

// checkOIDC checks what is said about OpenID Connect.
func (c *Config) checkOIDC(v *validation) {
	v.oneOf("oidc.id_token_signing_alg", c.OIDC.IDTokenAlg, "RS256", "ES256", "PS256", "EdDSA")
	const key = "oidc.subject_identifiers."
	types := c.OIDC.Subjects.Types
	if len(types) == 0 {
		v.fault(key+"supported_types", "must hold public, pairwise or both")
	}
	for _, t := range types {
		v.oneOf(key+"supported_types", t, "public", "pairwise")
	}
	if slices.Contains(types, "pairwise") && len(c.OIDC.Subjects.Pairwise.Salt) < 8 {
		v.fault(key+"pairwise.salt", "must have at least 8 characters when there are pairwise subjects")
	}
}
