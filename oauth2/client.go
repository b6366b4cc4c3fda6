package oauth2

import (
	"encoding/json"
	"time"
)

// Client is a registered OAuth 2.0 client (RFC 7591 section 2) in Hydra's JSON,
// both generations: unset members of the second one are omitted.
type Client struct {
	ID   string `json:"client_id"`
	Name string `json:"client_name"`
	// Secret is plain text on its way in, and in the one answer after creation. It
	// is never stored and never listed.
	Secret string `json:"client_secret,omitempty"`
	// SecretHash is a PHC string: argon2id, bcrypt, pbkdf2-sha256, or our keyed hash
	// of a generated secret ($hmac-sha256$...). Empty for public clients.
	SecretHash string `json:"-"`
	// RotatedSecretHashes are those of earlier secrets that are still good, the newest
	// first.
	RotatedSecretHashes     []string        `json:"-"`
	RedirectURIs            []string        `json:"redirect_uris"`
	GrantTypes              []string        `json:"grant_types"`
	ResponseTypes           []string        `json:"response_types"`
	Scope                   string          `json:"scope"`
	Audience                []string        `json:"audience"`
	Owner                   string          `json:"owner"`
	PolicyURI               string          `json:"policy_uri"`
	AllowedCORSOrigins      []string        `json:"allowed_cors_origins"`
	TermsOfServiceURI       string          `json:"tos_uri"`
	ClientURI               string          `json:"client_uri"`
	LogoURI                 string          `json:"logo_uri"`
	Contacts                []string        `json:"contacts"`
	SecretExpiresAt         int64           `json:"client_secret_expires_at"`
	SubjectType             string          `json:"subject_type"`
	SectorIdentifierURI     string          `json:"sector_identifier_uri,omitempty"`
	JWKSURI                 string          `json:"jwks_uri,omitempty"`
	JWKS                    json.RawMessage `json:"jwks,omitempty"`
	TokenEndpointAuthMethod string          `json:"token_endpoint_auth_method"`
	TokenEndpointAuthAlg    string          `json:"token_endpoint_auth_signing_alg,omitempty"`
	TLSClientAuthSubjectDN  string          `json:"tls_client_auth_subject_dn,omitempty"`
	TLSClientAuthSANDNS     string          `json:"tls_client_auth_san_dns,omitempty"`
	TLSClientAuthSANURI     string          `json:"tls_client_auth_san_uri,omitempty"`
	TLSClientAuthSANIP      string          `json:"tls_client_auth_san_ip,omitempty"`
	TLSClientAuthSANEmail   string          `json:"tls_client_auth_san_email,omitempty"`
	// Bound tokens are all that the client gets (RFC 9449 section 5.2, RFC 8705 section 3.4).
	DPoPBoundAccessTokens bool `json:"dpop_bound_access_tokens,omitempty"`
	TLSBoundAccessTokens  bool `json:"tls_client_certificate_bound_access_tokens,omitempty"`
	// RequirePAR and RequireSignedRequestObject refuse authorization requests that are not
	// pushed (RFC 9126 section 6), or not signed (RFC 9101 section 10.5).
	RequirePAR                 bool            `json:"require_pushed_authorization_requests,omitempty"`
	RequireSignedRequestObject bool            `json:"require_signed_request_object,omitempty"`
	AuthorizationResponseAlg   string          `json:"authorization_signed_response_alg,omitempty"` // of response modes that sign (JARM)
	AuthorizationDetailsTypes  []string        `json:"authorization_details_types,omitempty"`       // RFC 9396 section 10
	RequestURIs                []string        `json:"request_uris,omitempty"`
	RequestObjectAlg           string          `json:"request_object_signing_alg,omitempty"`
	UserinfoAlg                string          `json:"userinfo_signed_response_alg"`
	IDTokenAlg                 string          `json:"id_token_signed_response_alg,omitempty"`
	IntrospectionAlg           string          `json:"introspection_signed_response_alg,omitempty"` // RFC 9701
	CreatedAt                  time.Time       `json:"created_at"`
	UpdatedAt                  time.Time       `json:"updated_at"`
	FrontchannelLogoutURI      string          `json:"frontchannel_logout_uri,omitempty"`
	FrontchannelLogoutSID      bool            `json:"frontchannel_logout_session_required,omitempty"`
	PostLogoutRedirectURIs     []string        `json:"post_logout_redirect_uris,omitempty"`
	BackchannelLogoutURI       string          `json:"backchannel_logout_uri,omitempty"`
	BackchannelLogoutSID       bool            `json:"backchannel_logout_session_required,omitempty"`
	Metadata                   json.RawMessage `json:"metadata,omitempty"`
	SkipConsent                bool            `json:"skip_consent"`
	SkipLogoutConsent          *bool           `json:"skip_logout_consent,omitempty"`
	// AccessTokenStrategy is opaque, jwt, or empty for the server's default.
	AccessTokenStrategy string `json:"access_token_strategy,omitempty"`
	Lifespans
	// Disabled clients are refused by every grant.
	Disabled bool `json:"disabled,omitempty"`
	// Origin never changes.
	Origin Origin `json:"origin,omitempty"`
	// AuthMethodSet says that token_endpoint_auth_method was registered explicitly;
	// otherwise basic and post are both accepted.
	AuthMethodSet bool `json:"-"`
	// ETag changes with every write; a client that was read carries it.
	ETag string `json:"-"`
}

// Lifespans are per-client token lifespans as Go durations; empty: server default.
type Lifespans struct {
	AuthorizationCodeGrantAccess  string `json:"authorization_code_grant_access_token_lifespan,omitempty"`
	AuthorizationCodeGrantID      string `json:"authorization_code_grant_id_token_lifespan,omitempty"`
	AuthorizationCodeGrantRefresh string `json:"authorization_code_grant_refresh_token_lifespan,omitempty"`
	ClientCredentialsGrantAccess  string `json:"client_credentials_grant_access_token_lifespan,omitempty"`
	DeviceGrantAccess             string `json:"device_authorization_grant_access_token_lifespan,omitempty"`
	DeviceGrantID                 string `json:"device_authorization_grant_id_token_lifespan,omitempty"`
	DeviceGrantRefresh            string `json:"device_authorization_grant_refresh_token_lifespan,omitempty"`
	ImplicitGrantAccess           string `json:"implicit_grant_access_token_lifespan,omitempty"`
	ImplicitGrantID               string `json:"implicit_grant_id_token_lifespan,omitempty"`
	PasswordGrantAccess           string `json:"password_grant_access_token_lifespan,omitempty"`
	PasswordGrantRefresh          string `json:"password_grant_refresh_token_lifespan,omitempty"`
	JWTBearerGrantAccess          string `json:"jwt_bearer_grant_access_token_lifespan,omitempty"`
	RefreshTokenGrantAccess       string `json:"refresh_token_grant_access_token_lifespan,omitempty"`
	RefreshTokenGrantID           string `json:"refresh_token_grant_id_token_lifespan,omitempty"`
	RefreshTokenGrantRefresh      string `json:"refresh_token_grant_refresh_token_lifespan,omitempty"`
}

// Public reports whether the client authenticates with nothing but its id.
func (c Client) Public() bool { return c.TokenEndpointAuthMethod == "none" }
