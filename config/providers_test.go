package config

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestProvidersComeWithTheirDefaultsAndSecrets(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("from the file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, _, err := Load(Sources{Files: []string{write(t, "c.yaml", `
login:
  providers:
    - {id: corp, name: Corp, issuer: https://login.corp.example, client_id: gw, client_secret_file: `+secret+`, create: true,
       email_domains: [corp.example], claims: {username: upn}, pass_acr: true, trust_mfa: true, link_by_verified_email: true}
    - id: open
      issuer: http://127.0.0.1:4444
      client_id: gw
      token_endpoint_auth_method: none
      scope: [openid]
      allowed_algorithms: [EdDSA]
`)}})
	if err != nil {
		t.Fatal(err)
	}
	want := []Provider{
		{ID: "corp", Name: "Corp", Issuer: "https://login.corp.example", ClientID: "gw", ClientSecret: "from the file", ClientSecretFile: secret, Scope: []string{"openid", "profile", "email"},
			Algorithms: []string{"RS256", "ES256"}, Claims: map[string]string{"username": "upn"}, Create: true, EmailDomains: []string{"corp.example"}, LinkByEmail: true, PassACR: true, TrustMFA: true},
		{ID: "open", Name: "open", Issuer: "http://127.0.0.1:4444", ClientID: "gw", AuthMethod: "none", Scope: []string{"openid"}, Algorithms: []string{"EdDSA"}},
	}
	if diff := cmp.Diff(want, cfg.Login.Providers); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
