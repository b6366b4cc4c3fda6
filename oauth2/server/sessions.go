package server

import (
	"context"
	"encoding/json"

	"github.com/gatewarden/gatewarden/oauth2"
)

// ConsentSessions lists what a subject has consented to, newest first.
func (s *Server) ConsentSessions(ctx context.Context, f oauth2.ConsentFilter, limit, offset int) ([]oauth2.ConsentGrant, error) {
	stored, err := s.o.Store.Consents(ctx, f, limit, offset)
	if err != nil {
		return nil, err
	}
	out := make([]oauth2.ConsentGrant, 0, len(stored))
	for _, c := range stored {
		var record consentRecord
		if err := json.Unmarshal(c.Data, &record); err != nil {
			return nil, err
		}
		out = append(out, oauth2.ConsentGrant{AcceptConsent: record.Answer, ConsentRequestID: c.ID, ConsentRequest: record.Request})
	}
	return out, nil
}

// CountConsentSessions counts what ConsentSessions lists.
func (s *Server) CountConsentSessions(ctx context.Context, f oauth2.ConsentFilter) (int, error) {
	return s.o.Store.CountConsents(ctx, f)
}

// RevokeConsent revokes one consent, by the id of its request, and every code and token
// that was issued under it.
func (s *Server) RevokeConsent(ctx context.Context, id string) error {
	subject, err := s.o.Store.RevokeConsent(ctx, id)
	if err == nil && subject != "" {
		s.tokens.evict(bySubject, subject)
	}
	return err
}

// RevokeConsents revokes the consents of a subject, for one client or (empty) all,
// and every code and token that was issued under them.
func (s *Server) RevokeConsents(ctx context.Context, subject, clientID string) error {
	if err := s.o.Store.RevokeConsents(ctx, subject, clientID); err != nil {
		return err
	}
	s.tokens.evict(bySubject, subject)
	return nil
}

// RevokeLoginSessions ends every login session of a subject, and tells the clients that
// have a back-channel. Tokens stay valid.
func (s *Server) RevokeLoginSessions(ctx context.Context, subject string) error {
	return s.RevokeOtherLoginSessions(ctx, subject, "")
}

// RevokeOtherLoginSessions is RevokeLoginSessions but for the session named, which may be
// empty.
func (s *Server) RevokeOtherLoginSessions(ctx context.Context, subject, keep string) error {
	told, err := s.o.Store.DeleteLoginSessions(ctx, subject, keep)
	s.farewell(ctx, told)
	return err
}

// RevokeLoginSession ends one login session, named by its sid, and tells the clients
// that have a back-channel. Tokens stay valid.
func (s *Server) RevokeLoginSession(ctx context.Context, sid string) error {
	told, err := s.o.Store.DeleteLoginSession(ctx, sid)
	s.farewell(ctx, told)
	return err
}

// LoginSessions lists the login sessions of a subject, at most limit.
func (s *Server) LoginSessions(ctx context.Context, subject string, limit int) ([]oauth2.LoginSession, error) {
	return s.o.Store.LoginSessions(ctx, subject, limit)
}
