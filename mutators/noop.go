package mutators

import (
	"context"

	"github.com/gatewarden/gatewarden/access"
)

// NoopConfig is empty: noop has nothing to set.
type NoopConfig struct{}

type noop struct{}

var _ Mutator = (*noop)(nil)

func newNoop(NoopConfig) (Mutator, error) { return &noop{}, nil }

// Mutate adds nothing.
func (*noop) Mutate(context.Context, access.Input, *access.Pass) error { return nil }
