// Package store is the sum of the domains' own store interfaces. It adds nothing
// but the life cycle; store/sql is the one implementation and store/storetest the
// behaviour that every dialect must show.
package store

import (
	"context"
	"time"

	"github.com/gatewarden/gatewarden/keys"
	"github.com/gatewarden/gatewarden/oauth2"
	"github.com/gatewarden/gatewarden/policies"
	"github.com/gatewarden/gatewarden/relyingparty"
	"github.com/gatewarden/gatewarden/rules/spec"
	"github.com/gatewarden/gatewarden/users"
)

// Store is everything that is kept.
type Store interface {
	spec.Store
	policies.Store
	policies.GroupStore
	keys.Store
	oauth2.ClientStore
	oauth2.RegistrationStore
	oauth2.TokenStore
	oauth2.FlowStore
	oauth2.SessionStore
	oauth2.ConsentStore
	oauth2.ReplayStore
	oauth2.TrustStore
	users.Store
	users.IdentityStore
	users.AttemptStore
	users.FactorStore
	relyingparty.LogoutStore
	Changes

	// Ping reports whether the database answers and its schema is the program's.
	Ping(ctx context.Context) error
	// Sweep deletes up to limit rows that expired before now; it reports how many.
	Sweep(ctx context.Context, now time.Time, limit int) (int, error)
	Close() error
}

// Topic says what sort of thing changed.
type Topic string

// The topics of Changes.
const (
	Rules    Topic = "rules"
	Policies Topic = "policies" // and groups
	Keys     Topic = "keys"
	Clients  Topic = "clients"
	Tokens   Topic = "tokens"  // revocations; Item is a request id, or client:<id>, or access:<signature>
	Logouts  Topic = "logouts" // of providers; Item is the name of sessions
)

// Topics returns all topics.
func Topics() [6]Topic { return [...]Topic{Rules, Policies, Keys, Clients, Tokens, Logouts} }

// Change is one committed write that other nodes must hear of.
type Change struct {
	Revision int64
	Topic    Topic
	Item     string
}

// Changes is the revision log: every write of a topic appends to it in its own
// transaction.
type Changes interface {
	// Revision returns the newest revision; 0 for an empty log. Every change up to it
	// is committed. It may wait for writes that are under way: call it once, before
	// loading everything, and ChangesSince from then on.
	Revision(ctx context.Context) (int64, error)
	// ChangesSince returns changes after revision in order, at most limit. It returns
	// fault.Conflict when such changes were swept away, or when the log does not reach
	// revision because the database was restored: load everything anew.
	ChangesSince(ctx context.Context, revision int64, limit int) ([]Change, error)
}
