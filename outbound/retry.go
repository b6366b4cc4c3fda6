package outbound

import (
	"context"
	"time"

	"github.com/gatewarden/gatewarden/handler"
)

// Retry says how long a service is asked again, by Oathkeeper's names.
type Retry struct {
	// GiveUpAfter is how long after the first attempt another may start; default 1s.
	GiveUpAfter handler.Duration `json:"give_up_after"`
	// MaxDelay is the longest pause between two attempts; default 100ms.
	MaxDelay handler.Duration `json:"max_delay"`
}

// DefaultRetry returns the retry of handlers that configure none.
func DefaultRetry() Retry {
	return Retry{GiveUpAfter: handler.Duration(time.Second), MaxDelay: handler.Duration(100 * time.Millisecond)}
}

// Longest is the most time that Do takes when one attempt is bounded by timeout.
func (c Retry) Longest(timeout time.Duration) time.Duration {
	return time.Duration(c.GiveUpAfter) + 2*timeout
}

// Do makes attempts until one succeeds or says that another is not promising, it is too
// late for another, or ctx is over. It returns the error of the last one.
func (c Retry) Do(ctx context.Context, attempt func(context.Context) (again bool, err error)) error {
	return c.do(ctx, func() bool { return true }, attempt)
}

// do is Do, and asks may before it repeats.
func (c Retry) do(ctx context.Context, may func() bool, attempt func(context.Context) (again bool, err error)) error {
	giveUp := time.Now().Add(time.Duration(c.GiveUpAfter))
	longest := max(time.Duration(c.MaxDelay), 10*time.Millisecond)
	pause := min(25*time.Millisecond, longest)
	for {
		again, err := attempt(ctx)
		if err == nil || !again || ctx.Err() != nil || time.Now().Add(pause).After(giveUp) || !may() {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return err
		}
		pause = min(2*pause, longest)
	}
}
