package server

import (
	"encoding/json"
	"time"

	"github.com/ory/fosite"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/oauth2"
)

// session is what a grant knows about the person and what the consent app added.
// It is stored as the grant's session.
type session struct {
	// ClientSubject is the subject that the client is shown; empty: the grant's.
	ClientSubject string         `json:"client_subject,omitempty"`
	AuthTime      int64          `json:"auth_time,omitempty"` // seconds since 1970
	RequestedAt   int64          `json:"rat,omitempty"`
	ACR           string         `json:"acr,omitempty"`
	AMR           []string       `json:"amr,omitempty"`
	AccessToken   map[string]any `json:"access_token,omitempty"`
	IDToken       map[string]any `json:"id_token,omitempty"`
	// Bound is what the grant's access tokens are bound to; nil: nothing.
	Bound *access.Confirmation `json:"cnf,omitempty"`
	// Details are the granted authorization_details.
	Details []json.RawMessage `json:"authorization_details,omitempty"`
	// Act is who acts for the subject, after a token exchange.
	Act *actor `json:"act,omitempty"`

	// What the grant has fields of its own for.
	subject, consentID, sessionID string
}

// Expiry is decided where a token is made, by the server's clock.
func (s *session) SetExpiresAt(fosite.TokenType, time.Time)        {}
func (s *session) GetExpiresAt(fosite.TokenType) (never time.Time) { return never }
func (s *session) GetUsername() string                             { return "" }
func (s *session) GetSubject() string                              { return s.subject }

func (s *session) Clone() fosite.Session {
	c := *s
	return &c
}

// encode returns what is stored; nil when there is nothing to say.
func (s *session) encode() (json.RawMessage, error) {
	if s.ClientSubject == "" && s.AuthTime == 0 && s.ACR == "" && len(s.AMR) == 0 && len(s.AccessToken) == 0 && len(s.IDToken) == 0 && s.Bound == nil && s.Act == nil && len(s.Details) == 0 {
		return nil, nil
	}
	return json.Marshal(s)
}

// sessionOf decodes the session of a grant.
func sessionOf(g oauth2.Grant) (*session, error) {
	s := &session{subject: g.Subject, consentID: g.ConsentID, sessionID: g.SessionID}
	if len(g.Session) > 0 {
		if err := json.Unmarshal(g.Session, s); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// shownSubject is the subject as the client sees it.
func (s *session) shownSubject() string {
	if s.ClientSubject != "" {
		return s.ClientSubject
	}
	return s.subject
}
