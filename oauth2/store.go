// Package oauth2 is the vocabulary of the authorization server: clients, grants,
// flows, what login apps are asked, and the small store interfaces. The endpoints
// are in oauth2/server, and types of fosite and of go-jose v3 never leave that.
//
// Where security rests on atomicity a store method is one named transition
// (RedeemCode, RotateRefresh, AdvanceFlow, UseJTI): one conditional statement
// with a row count inside one transaction, never get and save. Tokens enter the
// store as signatures only.
package oauth2

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"time"
)

// ErrSpent is returned by a transition that somebody else made first: a code or
// refresh token that was used, a flow that moved on, a jti that was seen.
var ErrSpent = errors.New("already used")

// Grant is what the code and the tokens of one authorization share.
type Grant struct {
	// RequestID is the family: revoking it ends every token of the authorization.
	RequestID         string          `json:"request_id"`
	ClientID          string          `json:"client_id"`
	Subject           string          `json:"subject"`
	RequestedAt       time.Time       `json:"requested_at"`
	RequestedScope    []string        `json:"requested_scope,omitempty"`
	GrantedScope      []string        `json:"granted_scope,omitempty"`
	RequestedAudience []string        `json:"requested_audience,omitempty"`
	GrantedAudience   []string        `json:"granted_audience,omitempty"`
	Form              url.Values      `json:"form,omitempty"` // sanitised: no secrets, no verifiers
	Session           json.RawMessage `json:"session,omitempty"`
	ConsentID         string          `json:"consent_id,omitempty"`
	SessionID         string          `json:"session_id,omitempty"` // login session (sid)
}

// Token is one stored code, access token or refresh token.
type Token struct {
	// Signature identifies the token; the token itself is not stored.
	Signature string
	Grant     Grant
	ExpiresAt time.Time // zero: never
	// Spent is when a code was redeemed or a refresh token rotated; zero: usable.
	Spent time.Time
	// AccessSignature is the access token that was issued with a refresh token.
	AccessSignature string
}

// Issue is the set of tokens that one grant stores at once; nil members are not issued.
type Issue struct {
	Access, Refresh *Token
}

// ClientFilter selects clients; zero fields select all.
type ClientFilter struct {
	Name, Owner   string
	Limit, Offset int
}

// ClientStore keeps clients.
type ClientStore interface {
	CreateClient(ctx context.Context, c Client) error      // fault.Conflict
	Client(ctx context.Context, id string) (Client, error) // fault.NotFound
	// UpdateClient returns fault.NotFound, or fault.Conflict when c.ETag is not empty
	// and not the stored one.
	UpdateClient(ctx context.Context, c Client) error
	DeleteClient(ctx context.Context, id string) error             // fault.NotFound; its codes, tokens, consents go with it
	Clients(ctx context.Context, f ClientFilter) ([]Client, error) // ordered by id
	CountClients(ctx context.Context, f ClientFilter) (int, error) // limit and offset do not count
}

// TokenStore keeps codes and tokens.
type TokenStore interface {
	CreateCode(ctx context.Context, code Token) error
	// Code returns fault.NotFound, or the code with Spent set when it was redeemed.
	Code(ctx context.Context, signature string) (Token, error)
	// RedeemCode spends the code and stores what it buys, or returns ErrSpent and
	// stores nothing. Of parallel calls exactly one wins.
	RedeemCode(ctx context.Context, signature string, buy Issue) error
	// IssueTokens stores tokens that no code or refresh token is spent for.
	IssueTokens(ctx context.Context, buy Issue) error
	AccessToken(ctx context.Context, signature string) (Token, error)  // fault.NotFound
	RefreshToken(ctx context.Context, signature string) (Token, error) // fault.NotFound; Spent set when rotated
	// RotateRefresh spends the refresh token, deletes the access tokens of its
	// family and stores the successors, or returns ErrSpent and stores nothing.
	RotateRefresh(ctx context.Context, signature string, buy Issue) error
	// ReuseRefresh stores what a refresh token buys that was rotated at since or later and
	// is still there, or returns ErrSpent and stores nothing. It ends no other tokens.
	ReuseRefresh(ctx context.Context, signature string, since time.Time, buy Issue) error
	DeleteAccessToken(ctx context.Context, signature string) error // idempotent
	// RevokeFamily deletes every code, access and refresh token of the request id.
	RevokeFamily(ctx context.Context, requestID string) error // idempotent
	// RevokeClientTokens deletes every access and refresh token of the client.
	RevokeClientTokens(ctx context.Context, clientID string) error
}

// FlowState is how far an authorization request has come.
type FlowState int

// The states of a device's request (RFC 8628) before a person logs in for it. The
// LoginChallenge of FlowDevice is the hash of the user code, and the flow's id the
// signature of the device code. FlowUserCodeAsked is that of a browser that was asked
// for a code; it is finished when one was accepted.
const (
	FlowDevice           FlowState = -4
	FlowUserCodeAccepted FlowState = -3
	FlowUserCodeAsked    FlowState = -2
)

// FlowBackchannel is the state of a request that the client itself has made (OpenID CIBA
// Core), and that waits for a person on a device of the person's. The flow's id is the
// signature of the auth_req_id, its subject the person. Its LoginChallenge is the hash of
// what it is answered by. It is finished when the person has answered.
const FlowBackchannel FlowState = -5

// Polled reports whether the client of a flow that begins in the state polls for the
// answer.
func (s FlowState) Polled() bool { return s == FlowDevice || s == FlowBackchannel }

// FlowPushed is the state of a request that the client has pushed (RFC 9126) and that no
// browser has come for. Its LoginChallenge is the hash of the request_uri.
const FlowPushed FlowState = -1

// The states of a Flow. A transition goes from exactly one state to a later one.
const (
	FlowLoginRequested FlowState = iota + 1
	FlowLoginAnswered            // accepted or rejected by the login app
	FlowLoginVerified            // the browser came back with the login verifier
	FlowConsentRequested
	FlowConsentAnswered
	FlowFinished // the consent verifier was used
)

// Flow is one authorization request on its way through login and consent.
// Challenges and verifiers are stored as hashes.
type Flow struct {
	ID               string
	State            FlowState
	LoginChallenge   string
	LoginVerifier    string
	ConsentChallenge string
	ConsentVerifier  string
	ClientID         string
	Subject          string
	SessionID        string
	ExpiresAt        time.Time
	// Data is everything else as JSON; the store encrypts it.
	Data json.RawMessage
}

// FlowKey names the column that a flow is looked up by.
type FlowKey string

// The keys of Flow lookups.
const (
	ByLoginChallenge   FlowKey = "login_challenge"
	ByLoginVerifier    FlowKey = "login_verifier"
	ByConsentChallenge FlowKey = "consent_challenge"
	ByConsentVerifier  FlowKey = "consent_verifier"
	ByID               FlowKey = "id"
)

// FlowStore keeps flows.
type FlowStore interface {
	CreateFlow(ctx context.Context, f Flow) error
	// Flow returns fault.NotFound also for an expired flow.
	Flow(ctx context.Context, by FlowKey, hash string) (Flow, error)
	// AdvanceFlow replaces the flow if it is still in state from, or returns ErrSpent.
	AdvanceFlow(ctx context.Context, from FlowState, f Flow) error
	// WaitingFlows lists the polled flows (FlowState.Polled) that were created for a subject,
	// are in a state and have not expired, at most limit, those that expire first first.
	WaitingFlows(ctx context.Context, subject string, state FlowState, limit int) ([]Flow, error)
	// PollFlow notes that the client asks for the answer to a polled flow, and reports
	// whether it did so sooner than interval after it asked last. Each time it did, it has
	// to wait longer by PollPenalty from then on. A flow that is unknown, of another client
	// or not polled is never asked for too soon.
	PollFlow(ctx context.Context, id, clientID string, interval time.Duration) (tooSoon bool, err error)
}

// PollPenalty is how much longer a client has to wait each time that it asked too soon
// (RFC 8628 section 3.5).
const PollPenalty = 5 * time.Second

// LoginSession is a browser's login that is remembered or still in use (sid).
type LoginSession struct {
	ID              string
	Subject         string
	AuthenticatedAt time.Time
	ExpiresAt       time.Time
	Remember        bool
	ACR             string
	AMR             []string
}

// Participant is a client that a login session was used for.
type Participant struct{ SessionID, ClientID string }

// SessionStore keeps login sessions.
type SessionStore interface {
	SaveLoginSession(ctx context.Context, s LoginSession) error        // insert or replace
	LoginSession(ctx context.Context, id string) (LoginSession, error) // fault.NotFound, also when expired
	// LoginSessions lists the sessions of a subject that have not expired, at most limit.
	LoginSessions(ctx context.Context, subject string, limit int) ([]LoginSession, error)
	// DeleteLoginSession and DeleteLoginSessions end sessions and return who took part in
	// them, ordered; of a subject all end but the one to keep, which may be empty. They
	// are idempotent; of parallel calls one is told of each.
	DeleteLoginSession(ctx context.Context, id string) ([]Participant, error)
	DeleteLoginSessions(ctx context.Context, subject, keep string) ([]Participant, error)
}

// Consent is an answered consent request.
type Consent struct {
	ID              string
	Subject         string
	ClientID        string
	LoginSessionID  string
	GrantedScope    []string
	GrantedAudience []string
	// Remember makes the consent count for later requests until ExpiresAt (zero: for good).
	Remember  bool
	ExpiresAt time.Time
	HandledAt time.Time
	// Data is the answer and the request as JSON; the store encrypts it.
	Data json.RawMessage
}

// ConsentFilter selects consents of Subject; further fields that are not empty select
// among them.
type ConsentFilter struct{ Subject, ClientID, LoginSessionID string }

// ConsentStore keeps consents.
type ConsentStore interface {
	// SaveConsent makes the client a participant of the consent's login session.
	SaveConsent(ctx context.Context, c Consent) error
	// Consents lists the consents of a subject that have not expired, newest first.
	Consents(ctx context.Context, f ConsentFilter, limit, offset int) ([]Consent, error)
	// CountConsents counts what Consents lists.
	CountConsents(ctx context.Context, f ConsentFilter) (int, error)
	// RevokeConsent is RevokeConsents of one consent; it returns its subject, empty when
	// there is none of that id.
	RevokeConsent(ctx context.Context, id string) (subject string, err error)
	// RevokeConsents deletes consents and, in the same transaction, the codes and
	// tokens issued under them; an empty clientID means all clients. Idempotent.
	RevokeConsents(ctx context.Context, subject, clientID string) error
}

// ReplayStore remembers one-time values for all nodes.
type ReplayStore interface {
	// UseJTI records (namespace, jti) until expires, or returns ErrSpent.
	UseJTI(ctx context.Context, namespace, jti string, expires time.Time) error
}
