package oauth2

import (
	"context"
	"encoding/json"
	"time"

	"github.com/gatewarden/gatewarden/access"
)

// OIDCContext is what an authorization request asked of OpenID Connect.
type OIDCContext struct {
	ACRValues         []string       `json:"acr_values,omitempty"`
	UILocales         []string       `json:"ui_locales,omitempty"`
	Display           string         `json:"display,omitempty"`
	LoginHint         string         `json:"login_hint,omitempty"`
	IDTokenHintClaims map[string]any `json:"id_token_hint_claims,omitempty"`
}

// LoginRequest is what a login app is asked, in Hydra's JSON.
type LoginRequest struct {
	Challenge         string      `json:"challenge"`
	RequestedScope    []string    `json:"requested_scope"`
	RequestedAudience []string    `json:"requested_access_token_audience"`
	Skip              bool        `json:"skip"`
	Subject           string      `json:"subject"`
	OIDCContext       OIDCContext `json:"oidc_context"`
	Client            Client      `json:"client"`
	RequestURL        string      `json:"request_url"`
	SessionID         string      `json:"session_id"`
	// Prompt are the values of prompt, and MaxAge is max_age in seconds, nil for none
	// (OpenID Connect Core section 3.1.2.1). Hydra's JSON does not have them.
	Prompt []string `json:"-"`
	MaxAge *int     `json:"-"`
}

// AcceptLogin is a login app's yes.
type AcceptLogin struct {
	Subject                   string         `json:"subject"`
	Remember                  bool           `json:"remember"`
	RememberFor               int            `json:"remember_for"` // seconds; 0: as long as the browser runs
	ExtendSessionLifespan     bool           `json:"extend_session_lifespan,omitempty"`
	ACR                       string         `json:"acr,omitempty"`
	AMR                       []string       `json:"amr,omitempty"`
	Context                   map[string]any `json:"context,omitempty"`
	ForceSubjectIdentifier    string         `json:"force_subject_identifier,omitempty"`
	IdentityProviderSessionID string         `json:"identity_provider_session_id,omitempty"`
	// AuthenticatedAt is when the person was authenticated, if that was before now: at
	// another provider, which remembered it. It becomes auth_time.
	AuthenticatedAt time.Time `json:"-"`
}

// Rejection is a login or consent app's no; it becomes the error of the
// authorization response (RFC 6749 section 4.1.2.1).
type Rejection struct {
	Error            string `json:"error"`
	ErrorDescription string `json:"error_description"`
	ErrorHint        string `json:"error_hint,omitempty"`
	ErrorDebug       string `json:"error_debug,omitempty"`
	StatusCode       int    `json:"status_code,omitempty"`
}

// ConsentRequest is what a consent app is asked, in Hydra's JSON.
type ConsentRequest struct {
	Challenge         string   `json:"challenge"`
	ConsentRequestID  string   `json:"consent_request_id,omitempty"`
	RequestedScope    []string `json:"requested_scope"`
	RequestedAudience []string `json:"requested_access_token_audience"`
	// RequestedDetails are authorization_details (RFC 9396), objects with a type.
	RequestedDetails []json.RawMessage `json:"requested_authorization_details,omitempty"`
	Skip             bool              `json:"skip"`
	Subject          string            `json:"subject"`
	OIDCContext      OIDCContext       `json:"oidc_context"`
	Client           Client            `json:"client"`
	RequestURL       string            `json:"request_url"`
	LoginChallenge   string            `json:"login_challenge"`
	LoginSessionID   string            `json:"login_session_id"`
	ACR              string            `json:"acr"`
	AMR              []string          `json:"amr,omitempty"`
	Context          map[string]any    `json:"context"`
}

// ConsentSession holds the claims that a consent app adds.
type ConsentSession struct {
	AccessToken map[string]any `json:"access_token,omitempty"`
	IDToken     map[string]any `json:"id_token,omitempty"`
}

// AcceptConsent is a consent app's yes. What it grants must have been requested.
type AcceptConsent struct {
	GrantScope    []string `json:"grant_scope"`
	GrantAudience []string `json:"grant_access_token_audience"`
	// GrantDetails are requested ones, or such with fewer words in locations, actions,
	// datatypes or privileges. Empty: none is granted.
	GrantDetails []json.RawMessage `json:"grant_authorization_details,omitempty"`
	Session      ConsentSession    `json:"session"`
	Remember     bool              `json:"remember"`
	RememberFor  int               `json:"remember_for"` // seconds; 0: for good
	HandledAt    time.Time         `json:"handled_at,omitzero"`
	Context      map[string]any    `json:"context,omitempty"`
}

// ConsentGrant is one remembered consent, as the session listing shows it.
type ConsentGrant struct {
	AcceptConsent
	ConsentRequestID string         `json:"consent_request_id"`
	ConsentRequest   ConsentRequest `json:"consent_request"`
}

// LogoutRequest is what a logout app is asked, in Hydra's JSON.
type LogoutRequest struct {
	Challenge   string    `json:"challenge"`
	Subject     string    `json:"subject"`
	SessionID   string    `json:"sid"`
	RequestURL  string    `json:"request_url"`
	RPInitiated bool      `json:"rp_initiated"`
	Client      *Client   `json:"client,omitempty"`
	RequestedAt time.Time `json:"requested_at,omitzero"`
	ExpiresAt   time.Time `json:"expires_at,omitzero"`
	// Proven says that an ID token of the session came with the request, so that no
	// other site can have made it (OpenID Connect RP-Initiated Logout 1.0 section 2).
	Proven bool `json:"-"`
}

// Introspection is the answer of RFC 7662 section 2.2 in Hydra's shape.
type Introspection struct {
	Active   bool   `json:"active"`
	Scope    string `json:"scope,omitempty"`
	ClientID string `json:"client_id,omitempty"`
	Subject  string `json:"sub,omitempty"`
	// ObfuscatedSubject is the subject of ID tokens where that is another one.
	ObfuscatedSubject string         `json:"obfuscated_subject,omitempty"`
	Username          string         `json:"username,omitempty"`
	ExpiresAt         int64          `json:"exp,omitempty"`
	IssuedAt          int64          `json:"iat,omitempty"`
	NotBefore         int64          `json:"nbf,omitempty"`
	ID                string         `json:"jti,omitempty"`
	Audience          []string       `json:"aud,omitempty"`
	Issuer            string         `json:"iss,omitempty"`
	TokenType         string         `json:"token_type,omitempty"`
	TokenUse          string         `json:"token_use,omitempty"`
	Extra             map[string]any `json:"ext,omitempty"`
	// Bound is what the sender of the token must prove to hold (RFC 8705 section 3.2,
	// RFC 9449 section 6.2).
	Bound *access.Confirmation `json:"cnf,omitempty"`
	// Act is who acts for the subject (RFC 8693 section 4.1): sub, and act in it.
	Act any `json:"act,omitempty"`
	// Details are authorization_details (RFC 9396 section 9.2).
	Details any `json:"authorization_details,omitempty"`
}

// Handled is the error of an answer to a request that was answered before: HTTP
// 410 with the address of the authorization request, so that the app can send the
// browser there.
type Handled struct{ RedirectTo string }

// Error says that the request was handled.
func (h *Handled) Error() string { return "this request was answered before" }

// LoginApp is the headless side of the authorization endpoint: what login and
// consent apps call. Every answer returns the address to send the browser to.
// Errors: fault.NotFound for an unknown or expired challenge, fault.Invalid for an
// answer that names the wrong field, *Handled for a second answer.
type LoginApp interface {
	LoginRequest(ctx context.Context, challenge string) (LoginRequest, error)
	AcceptLogin(ctx context.Context, challenge string, a AcceptLogin) (redirectTo string, err error)
	RejectLogin(ctx context.Context, challenge string, r Rejection) (redirectTo string, err error)
	ConsentRequest(ctx context.Context, challenge string) (ConsentRequest, error)
	AcceptConsent(ctx context.Context, challenge string, a AcceptConsent) (redirectTo string, err error)
	RejectConsent(ctx context.Context, challenge string, r Rejection) (redirectTo string, err error)
}

// LogoutApp is the headless side of the logout endpoint; errors as LoginApp's.
type LogoutApp interface {
	LogoutRequest(ctx context.Context, challenge string) (LogoutRequest, error)
	AcceptLogout(ctx context.Context, challenge string) (redirectTo string, err error)
	RejectLogout(ctx context.Context, challenge string) error
}

// AcceptUserCode is what a person has entered for a device (RFC 8628).
type AcceptUserCode struct {
	UserCode string `json:"user_code"`
}

// DeviceApp is the headless side of the page on which people enter the codes of
// devices. Errors: fault.NotFound for an unknown challenge, fault.Invalid for a code
// that is wrong or was used, fault.RateLimited for too many of them.
type DeviceApp interface {
	AcceptUserCode(ctx context.Context, challenge string, a AcceptUserCode) (redirectTo string, err error)
}

// SecretHasher makes and checks what is stored of client secrets.
type SecretHasher interface {
	// Generate returns a new secret of 256 random bits and its keyed hash.
	Generate() (plain, hash string, err error)
	// Hash returns the argon2id hash of a secret that a person chose.
	Hash(plain string) (hash string, err error)
}
