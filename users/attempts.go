package users

import (
	"context"
	"time"
)

// Pace is a limit on attempts: Burst at once, and one more after each Interval.
type Pace struct {
	Interval time.Duration
	Burst    int
}

// AttemptStore counts attempts to log in for all nodes, by the generic cell rate
// algorithm. It outlives a restart.
type AttemptStore interface {
	// TakeAttempt counts one attempt under key, or returns how long to wait for the
	// next one and counts nothing. Of parallel attempts exactly the burst passes.
	TakeAttempt(ctx context.Context, key string, p Pace) (wait time.Duration, err error)
	// ReturnAttempt takes one counted attempt back, which succeeded.
	ReturnAttempt(ctx context.Context, key string, p Pace) error
}
