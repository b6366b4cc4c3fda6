// Package spec is an access rule as it is written: the wire formats, today's and
// the early one. It is data only; package rules compiles it.
package spec

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/gatewarden/gatewarden/cors"
	"github.com/gatewarden/gatewarden/ratelimit"
)

// Rule is one access rule in Oathkeeper's format plus our additions.
type Rule struct {
	ID          string `json:"id"`
	Version     string `json:"version,omitempty"`
	Description string `json:"description,omitempty"`
	// Match says which requests the rule is for.
	Match          Match     `json:"match"`
	Authenticators []Handler `json:"authenticators,omitempty"`
	// Authorizer is Oathkeeper's single authorizer; Authorizers must all allow.
	Authorizer  *Handler       `json:"authorizer,omitempty"`
	Authorizers []Handler      `json:"authorizers,omitempty"`
	Mutators    []Handler      `json:"mutators,omitempty"`
	Errors      []ErrorHandler `json:"errors,omitempty"`
	Upstream    Upstream       `json:"upstream,omitzero"`
	// CORS takes the place of the listener's policy.
	CORS *CORS `json:"cors,omitempty"`
	// RateLimits must all have room for a request.
	RateLimits []RateLimit `json:"rate_limit,omitempty"`
	// Priority decides between overlapping rules before specificity does; default 0.
	Priority int `json:"priority,omitempty"`

	// Origin is where the rule was read. It is not part of the wire format.
	Origin Origin `json:"-"`
	// Faults is what is wrong with the rule as it is written. A rule with faults is
	// never run, but it keeps the id, match and priority that could be read, so that
	// its requests are refused instead of falling to a broader rule.
	Faults []Fault `json:"-"`
}

// Match says which requests a rule is for.
type Match struct {
	// URL is a pattern for scheme://host/path in the configured strategy.
	URL string `json:"url,omitempty"`
	// Methods are compared without regard to case; at least one is needed.
	Methods []string `json:"methods,omitempty"`
	// Hosts and Paths are the alternative to URL. A host is a name, *.name for all
	// names below it, or *; without a port it stands for every port. A path is a
	// pattern in the configured strategy. Without hosts, every host is meant.
	Hosts []string `json:"hosts,omitempty"`
	Paths []string `json:"paths,omitempty"`
	// Headers and Query hold values that must be present and equal; * is any value.
	// Of several values of one name, one must be equal.
	Headers map[string]string `json:"headers,omitempty"`
	Query   map[string]string `json:"query,omitempty"`
}

// Handler names a handler and overrides its configuration.
type Handler struct {
	Handler string          `json:"handler"`
	Config  json.RawMessage `json:"config,omitempty"`
}

// ErrorHandler is a Handler of the error stage.
type ErrorHandler = Handler

// RateLimit is one limit of a rule.
type RateLimit = ratelimit.Options

// CORS is the policy of a rule's answers.
type CORS struct {
	// Disabled is enabled: false: the gateway adds nothing, and the upstream answers
	// preflights if a rule lets them through.
	Disabled bool
	cors.Options
}

// MarshalJSON writes today's format.
func (c CORS) MarshalJSON() ([]byte, error) {
	if c.Disabled {
		return json.Marshal(struct {
			Enabled bool `json:"enabled"`
			cors.Options
		}{false, c.Options})
	}
	return json.Marshal(c.Options)
}

// Database is the Source of rules from the database, which any node may change.
const Database = "database"

// Origin is where a rule was read.
type Origin struct {
	// Source is a file name, inline:#N or Database.
	Source string
	// Line is 1-based; 0 when unknown.
	Line int
}

// String returns source:line.
func (o Origin) String() string {
	if o.Line > 0 {
		return fmt.Sprintf("%s:%d", o.Source, o.Line)
	}
	return o.Source
}

// Stored is a rule in the database.
type Stored struct {
	Rule      Rule
	ETag      string // changes with every write
	CreatedAt time.Time
	UpdatedAt time.Time
}

// Store keeps the rules of the management API.
type Store interface {
	// CreateRule returns fault.Conflict when the id is taken.
	CreateRule(ctx context.Context, r Rule) (Stored, error)
	// ReplaceRule returns fault.NotFound, or fault.Conflict when etag is not empty
	// and not the stored one.
	ReplaceRule(ctx context.Context, r Rule, etag string) (Stored, error)
	// Rule returns fault.NotFound.
	Rule(ctx context.Context, id string) (Stored, error)
	// DeleteRule returns fault.NotFound, or fault.Conflict as ReplaceRule does.
	DeleteRule(ctx context.Context, id, etag string) error
	// Rules returns up to limit rules ordered by id, from offset on.
	Rules(ctx context.Context, limit, offset int) ([]Stored, error)
}
