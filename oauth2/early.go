package oauth2

import (
	"context"
	"time"
)

// EarlyConsentRequest is what the one app for login and consent of Hydra 0.10 and 0.11 is
// asked.
type EarlyConsentRequest struct {
	ID              string    `json:"id"`
	RequestedScopes []string  `json:"requestedScopes"`
	ClientID        string    `json:"clientId"`
	ExpiresAt       time.Time `json:"expiresAt"`
	// RedirectURL is where the app sends the browser after its answer. It is a secret
	// that the browser must not learn earlier.
	RedirectURL string `json:"redirectUrl"`
}

// EarlyConsent is the app's yes: who has logged in, and what that person grants.
type EarlyConsent struct {
	Subject          string         `json:"subject"`
	GrantScopes      []string       `json:"grantScopes"`
	AccessTokenExtra map[string]any `json:"accessTokenExtra"`
	IDTokenExtra     map[string]any `json:"idTokenExtra"`
}

// EarlyRejection is the app's no.
type EarlyRejection struct {
	Reason string `json:"reason"`
}

// ConsentApp is the headless side of the authorization endpoint for that app. Errors as
// LoginApp's.
type ConsentApp interface {
	EarlyConsentRequest(ctx context.Context, id string) (EarlyConsentRequest, error)
	AcceptEarlyConsent(ctx context.Context, id string, a EarlyConsent) error
	RejectEarlyConsent(ctx context.Context, id string, r EarlyRejection) error
}
