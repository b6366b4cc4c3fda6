package outbound

import "sync/atomic"

// budget lets a tenth of the questions be repeated, and a few at once, so that a
// service in trouble does not get several times its load. The zero budget is full.
type budget struct{ spent atomic.Int64 }

const (
	perQuestion = 1   // what a question puts in
	perRetry    = 10  // what a retry takes out
	budgetSize  = 100 // what can be taken out at once
)

func (b *budget) deposit() {
	for {
		spent := b.spent.Load()
		if spent <= 0 || b.spent.CompareAndSwap(spent, max(0, spent-perQuestion)) {
			return
		}
	}
}

// withdraw reports whether there was enough left for a retry.
func (b *budget) withdraw() bool {
	for {
		spent := b.spent.Load()
		if spent+perRetry > budgetSize {
			return false
		}
		if b.spent.CompareAndSwap(spent, spent+perRetry) {
			return true
		}
	}
}
