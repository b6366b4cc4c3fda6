package config

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// knownHandlers stands for the program's catalogs.
var knownHandlers = map[string]map[string]any{
	"authenticators": {"noop": struct{}{}, "oauth2_introspection": struct{}{}},
	"authorizers":    {"allow": struct{}{}},
	"mutators":       {},
}

func TestTheQuickstartFileOfHydraLoads(t *testing.T) {
	file := write(t, "hydra.yml", `serve:
  cookies:
    same_site_mode: Lax
urls:
  self:
    issuer: http://127.0.0.1:4444
  consent: http://127.0.0.1:3000/consent
  login: http://127.0.0.1:3000/login
  logout: http://127.0.0.1:3000/logout
secrets:
  system:
    - youReallyNeedToChangeThis
oidc:
  subject_identifiers:
    supported_types:
      - pairwise
      - public
    pairwise:
      salt: youReallyNeedToChangeThis
`)
	cfg := load(t, Sources{Files: []string{file}, Environ: []string{"DSN=sqlite:///var/lib/sqlite/db.sqlite?_fk=true"}})
	if diff := cmp.Diff(Subjects{Types: []string{"pairwise", "public"}, Pairwise: Pairwise{Salt: "youReallyNeedToChangeThis"}}, cfg.OIDC.Subjects); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	got := []string{cfg.DSN, cfg.URLs.Self.Issuer, cfg.URLs.Login, cfg.URLs.Consent, cfg.URLs.Logout, cfg.Secrets.System[0]}
	want := []string{
		"sqlite:///var/lib/sqlite/db.sqlite?_fk=true", "http://127.0.0.1:4444", "http://127.0.0.1:3000/login",
		"http://127.0.0.1:3000/consent", "http://127.0.0.1:3000/logout", "youReallyNeedToChangeThis",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestAnEarlyHydraIsAskedAboutTokens(t *testing.T) {
	remote := `{"introspection_url":"http://hydra:4444/oauth2/introspect","pre_authorization":{"client_id":"gate","client_secret":"something-secure","enabled":true,"scope":["hydra.introspect"],"token_url":"http://hydra:4444/oauth2/token"}}`
	credentials := []string{"HYDRA_CLIENT_ID=gate", "HYDRA_CLIENT_SECRET=something-secure"}
	for _, c := range []struct {
		name    string
		environ []string
		want    string
	}{
		{"another machine", append(credentials, "HYDRA_URL=http://hydra:4444/"), remote},
		{"this program's own port", append(credentials, "HYDRA_URL=http://localhost:4444/"), ""},
		{"this program's own issuer", append(credentials, "HYDRA_URL=https://id.example.com/", "ISSUER_URL=https://id.example.com"), ""},
		{"another port of this machine", append(credentials, "HYDRA_URL=http://localhost:4400"), strings.ReplaceAll(remote, "hydra:4444", "localhost:4400")},
		{"no credentials: the command line's", []string{"HYDRA_URL=http://hydra:4444"}, ""},
		{"a URL of today's name wins", append(credentials, "HYDRA_URL=http://hydra:4444", "AUTHENTICATOR_OAUTH2_INTROSPECTION_URL=http://other/introspect"), `{"introspection_url":"http://other/introspect"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			known := map[string]map[string]any{"authenticators": {"oauth2_introspection": struct {
				URL string `json:"introspection_url"`
			}{}}}
			cfg := load(t, Sources{Environ: c.environ, Handlers: known})
			if diff := cmp.Diff(c.want, string(cfg.Authenticators["oauth2_introspection"].Config)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
	if _, _, err := Load(Sources{Environ: append(credentials, "HYDRA_URL=hydra:4444")}); err == nil || !strings.Contains(err.Error(), "HYDRA_URL") {
		t.Errorf("got %v, want a fault that names HYDRA_URL", err)
	}
}

func TestHandlersThatDoNotExistAreReported(t *testing.T) {
	file := write(t, "a.yaml", `authenticators:
  noop:
    enabled: true
  oauth2_introspektion:
    enabled: true
  oauth2_introspecttion:
    enabled: false
authorizers:
  allow:
    config: {x: 1}
`)
	check := func(config json.RawMessage, _ any) error {
		return errors.New("config: unknown field " + string(config))
	}
	_, warnings, err := Load(Sources{Files: []string{file}, Handlers: knownHandlers, Check: check})
	wantErr := file + ":4: unknown handler authenticators.oauth2_introspektion, known are noop, oauth2_introspection\n" +
		file + ":9: authorizers.allow: config: unknown field {\"x\":1}"
	if diff := cmp.Diff(wantErr, err.Error()); diff != "" {
		t.Errorf("faults (-want +got)\n%s", diff)
	}
	if len(warnings) > 0 {
		t.Errorf("warnings %q", warnings)
	}
}

func TestHooksAreWrittenAsInHydra(t *testing.T) {
	file := write(t, "hydra.yml", `oauth2:
  refresh_token_hook: https://hooks.example/refresh
  token_hook:
    url: https://hooks.example/token
    auth:
      type: api_key
      config: {in: cookie, name: key, value: secret}
  mirror_top_level_claims: false
`)
	cfg := load(t, Sources{Files: []string{file}})
	want := []Hook{{URL: "https://hooks.example/token", Auth: HookAuth{Type: "api_key", Config: HookAPIKey{In: "cookie", Name: "key", Value: "secret"}}}, {URL: "https://hooks.example/refresh"}}
	if diff := cmp.Diff(want, []Hook{cfg.OAuth2.TokenHook, cfg.OAuth2.RefreshTokenHook}); diff != "" || cfg.OAuth2.MirrorTopLevelClaims {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if cfg := load(t, Sources{Environ: []string{"OAUTH2_TOKEN_HOOK=https://hooks.example/short"}}); cfg.OAuth2.TokenHook.URL != "https://hooks.example/short" || !cfg.OAuth2.MirrorTopLevelClaims {
		t.Errorf("got %+v", cfg.OAuth2.TokenHook)
	}
}
