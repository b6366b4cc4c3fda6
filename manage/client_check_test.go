package manage

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/oauth2"
)

const (
	publicJWK  = `{"kty":"EC","crv":"P-256","kid":"a","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}`
	privateJWK = `{"kty":"EC","crv":"P-256","kid":"a","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0","d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"}`
)

func TestClientsAreChecked(t *testing.T) {
	redirects := func(list ...string) func(*oauth2.Client) {
		return func(c *oauth2.Client) { c.RedirectURIs = list }
	}
	for name, c := range map[string]struct {
		change func(*oauth2.Client)
		want   []string // reason and pointer
	}{
		"a plain client":            {func(*oauth2.Client) {}, nil},
		"native and loopback":       {redirects("com.example.app:/cb", "http://127.0.0.1/cb", "http://[::1]:5555/cb", "https://app.example/cb?a=b"), nil},
		"a relative redirect":       {redirects("/cb"), []string{"invalid_redirect_uri /redirect_uris/0"}},
		"a fragment":                {redirects("https://app/cb#x"), []string{"invalid_redirect_uri /redirect_uris/0"}},
		"an empty fragment":         {redirects("https://app/cb#"), []string{"invalid_redirect_uri /redirect_uris/0"}},
		"scripts":                   {redirects("javascript:alert(1)", "DATA:text/html,x", "https://good/"), []string{"invalid_redirect_uri /redirect_uris/0", "invalid_redirect_uri /redirect_uris/1"}},
		"user information":          {redirects("https://good@evil/cb"), []string{"invalid_redirect_uri /redirect_uris/0"}},
		"a backslash":               {redirects(`https://good\@evil/cb`), []string{"invalid_redirect_uri /redirect_uris/0"}},
		"a control byte":            {redirects("https://good/\ncb"), []string{"invalid_redirect_uri /redirect_uris/0"}},
		"a wildcard host":           {redirects("https://*.example/cb"), []string{"invalid_redirect_uri /redirect_uris/0"}},
		"no host":                   {redirects("https:///cb"), []string{"invalid_redirect_uri /redirect_uris/0"}},
		"logout to the same origin": {func(c *oauth2.Client) { c.PostLogoutRedirectURIs = []string{"https://APP.example:443/bye"} }, nil},
		"logout to another origin":  {func(c *oauth2.Client) { c.PostLogoutRedirectURIs = []string{"https://evil.example/bye"} }, []string{"invalid_redirect_uri /post_logout_redirect_uris/0"}},
		"told of logouts": {func(c *oauth2.Client) {
			c.BackchannelLogoutURI, c.FrontchannelLogoutURI = "http://10.0.0.1:4455/out?a=b", "https://app.example/out?a=b"
		}, nil},
		"told of logouts with a fragment": {func(c *oauth2.Client) {
			c.BackchannelLogoutURI, c.FrontchannelLogoutURI = "https://app.example/out#a", "https://app.example/out#a"
		}, []string{"invalid_client_metadata /backchannel_logout_uri", "invalid_client_metadata /frontchannel_logout_uri"}},
		"told of logouts in a frame of another site": {func(c *oauth2.Client) { c.FrontchannelLogoutURI = "https://evil.example/out" }, []string{"invalid_client_metadata /frontchannel_logout_uri"}},
		"a public client told without TLS": {func(c *oauth2.Client) {
			c.TokenEndpointAuthMethod, c.BackchannelLogoutURI = "none", "http://app.example/out"
		}, []string{"invalid_client_metadata /backchannel_logout_uri"}},
		"an unknown auth method":   {func(c *oauth2.Client) { c.TokenEndpointAuthMethod = "smile" }, []string{"invalid_client_metadata /token_endpoint_auth_method"}},
		"an unknown grant type":    {func(c *oauth2.Client) { c.GrantTypes = []string{"magic"} }, []string{"invalid_client_metadata /grant_types/0"}},
		"an unknown response type": {func(c *oauth2.Client) { c.ResponseTypes = []string{"code", "code magic", ""} }, []string{"invalid_client_metadata /response_types/1", "invalid_client_metadata /response_types/2"}},
		"a broken scope":           {func(c *oauth2.Client) { c.Scope = `a "b"` }, []string{"invalid_client_metadata /scope"}},
		"pairwise subjects":        {func(c *oauth2.Client) { c.SubjectType = "pairwise" }, nil},
		"subjects of another kind": {func(c *oauth2.Client) { c.SubjectType = "secret" }, []string{"invalid_client_metadata /subject_type"}},
		"pairwise subjects of one host": {func(c *oauth2.Client) {
			c.SubjectType, c.RedirectURIs = "pairwise", []string{"https://app.example/cb", "https://app.example/other"}
		}, nil},
		"pairwise subjects of two hosts": {func(c *oauth2.Client) {
			c.SubjectType, c.RedirectURIs = "pairwise", []string{"https://app.example/cb", "https://app2.example/cb"}
		}, []string{"invalid_client_metadata /sector_identifier_uri"}},
		"pairwise subjects of no host": {func(c *oauth2.Client) {
			c.SubjectType, c.RedirectURIs = "pairwise", []string{"org.example:/cb"}
		}, []string{"invalid_client_metadata /sector_identifier_uri"}},
		"a sector that anybody on the way can join": {func(c *oauth2.Client) { c.SectorIdentifierURI = "http://app.example/list" }, []string{"invalid_client_metadata /sector_identifier_uri"}},
		"an id with a control byte":                 {func(c *oauth2.Client) { c.ID = "a\x00" }, []string{"invalid_client_metadata /client_id"}},
		"an unsigned ID token":                      {func(c *oauth2.Client) { c.IDTokenAlg = "none" }, []string{"invalid_client_metadata /id_token_signed_response_alg"}},
		"an unsigned request object":                {func(c *oauth2.Client) { c.RequestObjectAlg = "none" }, []string{"invalid_client_metadata /request_object_signing_alg"}},
		"a symmetric assertion":                     {func(c *oauth2.Client) { c.TokenEndpointAuthAlg = "HS256" }, []string{"invalid_client_metadata /token_endpoint_auth_signing_alg"}},
		"a key of its own": {func(c *oauth2.Client) {
			c.TokenEndpointAuthMethod, c.JWKS = "private_key_jwt", json.RawMessage(`{"keys":[`+publicJWK+`]}`)
		}, nil},
		"a key of its own that nobody knows": {func(c *oauth2.Client) { c.TokenEndpointAuthMethod = "private_key_jwt" }, []string{"invalid_client_metadata /jwks"}},
		"keys that others can replace":       {func(c *oauth2.Client) { c.JWKSURI = "http://app.example/jwks" }, []string{"invalid_client_metadata /jwks_uri"}},
		"keys on this machine":               {func(c *oauth2.Client) { c.JWKSURI = "http://127.0.0.1:8080/jwks" }, nil},
		"a certificate of its own":           {func(c *oauth2.Client) { c.TokenEndpointAuthMethod = "self_signed_tls_client_auth" }, []string{"invalid_client_metadata /jwks"}},
		"a certificate's name": {func(c *oauth2.Client) {
			c.TokenEndpointAuthMethod, c.TLSClientAuthSubjectDN = "tls_client_auth", "CN=app"
		}, nil},
		"a certificate without name": {func(c *oauth2.Client) { c.TokenEndpointAuthMethod = "tls_client_auth" }, []string{"invalid_client_metadata /token_endpoint_auth_method"}},
		"two names": {func(c *oauth2.Client) {
			c.TokenEndpointAuthMethod, c.TLSClientAuthSANDNS, c.TLSClientAuthSANIP = "tls_client_auth", "app", "everywhere"
		}, []string{"invalid_client_metadata /tls_client_auth_san_ip", "invalid_client_metadata /token_endpoint_auth_method"}},
		"a name for a secret":                     {func(c *oauth2.Client) { c.TLSClientAuthSANDNS = "app" }, []string{"invalid_client_metadata /tls_client_auth_san_dns"}},
		"a name that is none":                     {func(c *oauth2.Client) { c.TokenEndpointAuthMethod, c.TLSClientAuthSubjectDN = "tls_client_auth", "app" }, []string{"invalid_client_metadata /tls_client_auth_subject_dn"}},
		"an ID token that the server cannot sign": {func(c *oauth2.Client) { c.IDTokenAlg = "PS512" }, []string{"invalid_client_metadata /id_token_signed_response_alg"}},
		"a private key in jwks":                   {func(c *oauth2.Client) { c.JWKS = json.RawMessage(`{"keys":[` + privateJWK + `]}`) }, []string{"invalid_client_metadata /jwks/keys/0"}},
		"a secret in jwks":                        {func(c *oauth2.Client) { c.JWKS = json.RawMessage(`{"keys":[{"kty":"oct","k":"AAAA"}]}`) }, []string{"invalid_client_metadata /jwks/keys/0"}},
		"no keys in jwks":                         {func(c *oauth2.Client) { c.JWKS = json.RawMessage(`{"keys":[]}`) }, []string{"invalid_client_metadata /jwks"}},
		"jwks and jwks_uri": {func(c *oauth2.Client) {
			c.JWKSURI, c.JWKS = "https://app/jwks", json.RawMessage(`{"keys":[`+publicJWK+`]}`)
		}, []string{"invalid_client_metadata /jwks"}},
		"addresses of other kinds": {func(c *oauth2.Client) {
			c.LogoURI, c.JWKSURI, c.BackchannelLogoutURI = "javascript:x", "file:///etc/passwd", "gopher://x"
		}, []string{"invalid_client_metadata /backchannel_logout_uri", "invalid_client_metadata /jwks_uri", "invalid_client_metadata /logo_uri"}},
		"a wildcard origin": {func(c *oauth2.Client) {
			c.AllowedCORSOrigins = []string{"*", "https://app.example", "https://*.example", "https://app/x"}
		}, []string{"invalid_client_metadata /allowed_cors_origins/0", "invalid_client_metadata /allowed_cors_origins/2", "invalid_client_metadata /allowed_cors_origins/3"}},
		"lifespans of devices and assertions": {func(c *oauth2.Client) {
			c.DeviceGrantAccess, c.DeviceGrantID, c.DeviceGrantRefresh, c.JWTBearerGrantAccess = "soon", "0s", "-1h", "1d"
		}, []string{
			"invalid_client_metadata /device_authorization_grant_access_token_lifespan", "invalid_client_metadata /device_authorization_grant_id_token_lifespan",
			"invalid_client_metadata /device_authorization_grant_refresh_token_lifespan", "invalid_client_metadata /jwt_bearer_grant_access_token_lifespan",
		}},
		"a negative lifespan":     {func(c *oauth2.Client) { c.ClientCredentialsGrantAccess, c.RefreshTokenGrantID = "-1h", "1h" }, []string{"invalid_client_metadata /client_credentials_grant_access_token_lifespan"}},
		"metadata that is a list": {func(c *oauth2.Client) { c.Metadata = json.RawMessage(`[]`) }, []string{"invalid_client_metadata /metadata"}},
		"an unknown token form":   {func(c *oauth2.Client) { c.AccessTokenStrategy = "paper" }, []string{"invalid_client_metadata /access_token_strategy"}},
	} {
		t.Run(name, func(t *testing.T) {
			client := oauth2.Client{
				ID: "app", RedirectURIs: []string{"https://app.example/cb"}, GrantTypes: []string{"authorization_code", "urn:ietf:params:oauth:grant-type:jwt-bearer"},
				ResponseTypes: []string{"code", "code id_token"}, Scope: "openid photos.read", SubjectType: "public", TokenEndpointAuthMethod: "client_secret_basic", UserinfoAlg: "none",
			}
			c.change(&client)
			var got []string
			if joined, ok := checkClient(client, []string{"public", "pairwise"}).(interface{ Unwrap() []error }); ok {
				for _, err := range joined.Unwrap() {
					var f *fault.Error
					if !errors.As(err, &f) || f.Kind != fault.Invalid {
						t.Fatalf("not an Invalid fault: %v", err)
					}
					got = append(got, f.Reason+" "+f.Pointer)
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("faults (-want +got):\n%s", diff)
			}
		})
	}
}
