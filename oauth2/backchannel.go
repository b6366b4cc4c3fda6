package oauth2

import (
	"context"
	"encoding/json"
	"time"
)

// BackchannelRequest is a request that a client made for a person without a browser
// (OpenID CIBA Core), and that waits for the person's answer.
type BackchannelRequest struct {
	ID                string            `json:"id"`
	Subject           string            `json:"subject"`
	Client            Client            `json:"client"`
	RequestedScope    []string          `json:"requested_scope"`
	RequestedAudience []string          `json:"requested_access_token_audience"`
	RequestedDetails  []json.RawMessage `json:"requested_authorization_details,omitempty"`
	// BindingMessage is shown on both devices, so that the person can compare.
	BindingMessage string    `json:"binding_message,omitempty"`
	ACRValues      []string  `json:"acr_values,omitempty"`
	RequestedAt    time.Time `json:"requested_at"`
	ExpiresAt      time.Time `json:"expires_at"`
}

// AcceptBackchannel is the person's yes. What it grants must have been requested.
type AcceptBackchannel struct {
	// Subject is the person; it must be the one of the request.
	Subject       string            `json:"subject"`
	GrantScope    []string          `json:"grant_scope"`
	GrantAudience []string          `json:"grant_access_token_audience"`
	GrantDetails  []json.RawMessage `json:"grant_authorization_details,omitempty"`
	Session       ConsentSession    `json:"session"`
	ACR           string            `json:"acr,omitempty"`
	AMR           []string          `json:"amr,omitempty"`
	// AuthTime is when the person logged in; zero: now.
	AuthTime time.Time `json:"auth_time,omitzero"`
	// SessionID is the login session in which the person answers; empty: none.
	SessionID string `json:"-"`
}

// BackchannelApp is the headless side of requests that wait for a person. Errors:
// fault.NotFound for a request that is unknown, has expired, was answered or is another
// person's; fault.Invalid for an answer that names the wrong field.
type BackchannelApp interface {
	// BackchannelRequests lists what waits for a person, what ends first first.
	BackchannelRequests(ctx context.Context, subject string) ([]BackchannelRequest, error)
	AcceptBackchannel(ctx context.Context, id string, a AcceptBackchannel) error
	RejectBackchannel(ctx context.Context, id, subject string) error
}
