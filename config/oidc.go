package config

// OIDC is about OpenID Connect.
type OIDC struct {
	Registration Registration `key:"dynamic_client_registration"`
	// IDTokenAlg signs the ID tokens, and other signed answers, of clients that registered
	// no algorithm: RS256, ES256, PS256 or EdDSA.
	IDTokenAlg string `key:"id_token_signing_alg"`
}

// checkOIDC checks what is said about OpenID Connect.
func (c *Config) checkOIDC(v *validation) {
	v.oneOf("oidc.id_token_signing_alg", c.OIDC.IDTokenAlg, "RS256", "ES256", "PS256", "EdDSA")
}
