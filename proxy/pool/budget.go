package pool

import "sync"

const (
	// budgetStart is how many retries may be made before there was traffic to share,
	// budgetMost how many can be saved up.
	budgetStart = 10
	budgetMost  = 100
)

// budget bounds retries to a share of requests, so that they cannot multiply the load
// of an upstream that fails.
type budget struct {
	mu    sync.Mutex
	share float64
	left  float64
}

func (b *budget) reset(share float64) { b.share, b.left = share, budgetStart }

// earn counts a request.
func (b *budget) earn() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left = min(budgetMost, b.left+b.share)
}

// spend reports whether one more retry may be made. With a share of 0 none may.
func (b *budget) spend() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.share == 0 || b.left < 1 {
		return false
	}
	b.left--
	return true
}
