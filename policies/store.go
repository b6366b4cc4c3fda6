// Package policies decides by Ladon policies: an index finds candidates, patterns
// are compiled once, and a deny policy whose condition cannot be evaluated denies.
package policies

import (
	"context"
	"encoding/json"
)

// Policy is a Ladon policy as written (ladon.DefaultPolicy's JSON).
type Policy struct {
	ID          string                     `json:"id"`
	Description string                     `json:"description"`
	Subjects    []string                   `json:"subjects"`
	Effect      string                     `json:"effect"`
	Resources   []string                   `json:"resources"`
	Actions     []string                   `json:"actions"`
	Conditions  map[string]json.RawMessage `json:"conditions"`
	// Meta is base64 on the wire.
	Meta []byte `json:"meta,omitempty"`
}

// Group is a warden group: its id is a subject in policies.
type Group struct {
	ID      string   `json:"id"`
	Members []string `json:"members"`
}

// Store keeps policies.
type Store interface {
	CreatePolicy(ctx context.Context, p Policy) error                  // fault.Conflict
	UpdatePolicy(ctx context.Context, p Policy) error                  // fault.NotFound
	Policy(ctx context.Context, id string) (Policy, error)             // fault.NotFound
	DeletePolicy(ctx context.Context, id string) error                 // fault.NotFound
	Policies(ctx context.Context, limit, offset int) ([]Policy, error) // ordered by id
}

// GroupStore keeps warden groups.
type GroupStore interface {
	CreateGroup(ctx context.Context, g Group) error      // fault.Conflict
	Group(ctx context.Context, id string) (Group, error) // fault.NotFound; members in order
	DeleteGroup(ctx context.Context, id string) error    // fault.NotFound
	// AddMembers and RemoveMembers are idempotent; fault.NotFound for the group.
	AddMembers(ctx context.Context, id string, members []string) error
	RemoveMembers(ctx context.Context, id string, members []string) error
	// Groups lists by id; a non-empty member selects the groups it is in.
	Groups(ctx context.Context, member string, limit, offset int) ([]Group, error)
}
