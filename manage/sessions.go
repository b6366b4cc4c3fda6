package manage

import (
	"context"
	"time"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/oauth2"
)

// SessionServer is the part of the authorization server that keeps remembered
// consents and logins; revoking ends what is cached too.
type SessionServer interface {
	ConsentSessions(ctx context.Context, f oauth2.ConsentFilter, limit, offset int) ([]oauth2.ConsentGrant, error)
	CountConsentSessions(ctx context.Context, f oauth2.ConsentFilter) (int, error)
	RevokeConsent(ctx context.Context, id string) error
	RevokeConsents(ctx context.Context, subject, clientID string) error
	RevokeLoginSessions(ctx context.Context, subject string) error
	RevokeLoginSession(ctx context.Context, sessionID string) error
}

// Sessions manages remembered consents and logins.
type Sessions struct {
	Server SessionServer
	Reload Reloader
}

// List returns the consents of a subject, newest first, and how many there are.
func (s *Sessions) List(ctx context.Context, f oauth2.ConsentFilter, limit, offset int) ([]oauth2.ConsentGrant, int, error) {
	if f.Subject == "" {
		return nil, 0, missing("subject")
	}
	grants, err := s.Server.ConsentSessions(ctx, f, limit, offset)
	if err != nil {
		return nil, 0, err
	}
	for i := range grants {
		grants[i].ConsentRequest.Client = Shown(grants[i].ConsentRequest.Client)
	}
	total, err := s.Server.CountConsentSessions(ctx, f)
	return grants, total, err
}

// RevokeConsent deletes one consent, by the id of its request, with everything issued
// under it.
func (s *Sessions) RevokeConsent(ctx context.Context, id string) error {
	if err := s.Server.RevokeConsent(ctx, id); err != nil {
		return err
	}
	return apply(ctx, s.Reload)
}

// RevokeConsents deletes the consents of a subject with everything issued under
// them. Client names one client; without it, all must be true.
func (s *Sessions) RevokeConsents(ctx context.Context, subject, client string, all bool) error {
	switch {
	case subject == "":
		return missing("subject")
	case client == "" && !all:
		return fault.New(fault.Invalid, "invalid_request", "either the query parameter client must name a client or all must be true")
	case client != "" && all:
		return fault.New(fault.Invalid, "invalid_request", "the query parameters client and all exclude each other")
	}
	if err := s.Server.RevokeConsents(ctx, subject, client); err != nil {
		return err
	}
	return apply(ctx, s.Reload)
}

// RevokeLogins ends the logins of a subject, or the one of a session id.
func (s *Sessions) RevokeLogins(ctx context.Context, subject, sessionID string) (err error) {
	switch {
	case subject == "" && sessionID == "":
		return missing("subject")
	case subject != "" && sessionID != "":
		return fault.New(fault.Invalid, "invalid_request", "the query parameters subject and sid exclude each other")
	case subject != "":
		err = s.Server.RevokeLoginSessions(ctx, subject)
	default:
		err = s.Server.RevokeLoginSession(ctx, sessionID)
	}
	if err != nil {
		return err
	}
	return apply(ctx, s.Reload)
}

// Introspector finds out what a token stands for and whether it has the scopes,
// which are separated by spaces. An unknown token is inactive and no error.
type Introspector func(ctx context.Context, token, scope string) (oauth2.Introspection, error)

// Sweeper deletes up to limit rows that expired before now.
type Sweeper interface {
	Sweep(ctx context.Context, now time.Time, limit int) (int, error)
}

// ClientTokens revokes the tokens of a client.
type ClientTokens interface {
	RevokeClientTokens(ctx context.Context, clientID string) error
}

// Tokens manages issued tokens. What needs a field that is nil is not offered.
type Tokens struct {
	Introspect Introspector
	Store      ClientTokens
	Sweeper    Sweeper
	Reload     Reloader
	Now        func() time.Time
}

// RevokeOfClient ends every access and refresh token of the client.
func (s *Tokens) RevokeOfClient(ctx context.Context, clientID string) error {
	if clientID == "" {
		return missing("client_id")
	}
	if err := s.Store.RevokeClientTokens(ctx, clientID); err != nil {
		return err
	}
	return apply(ctx, s.Reload)
}

// sweepBatch is how many rows one statement deletes, so that it does not block.
const sweepBatch = 1000

// Flush deletes what expired before notAfter, but nothing that is still good; zero
// means now.
func (s *Tokens) Flush(ctx context.Context, notAfter time.Time) error {
	if now := s.Now(); notAfter.IsZero() || notAfter.After(now) {
		notAfter = now
	}
	for {
		n, err := s.Sweeper.Sweep(ctx, notAfter, sweepBatch)
		if err != nil || n < sweepBatch {
			return err
		}
	}
}

func missing(parameter string) error {
	return fault.New(fault.Invalid, "invalid_request", "the query parameter "+parameter+" is missing")
}
