package app

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
)

// heapFloor is what a heap may grow to before it is collected, however little of it
// is in use. Go's own rule, twice what is in use, collects the few megabytes of a
// gateway with few rules hundreds of times a second; above half of the floor it holds
// unchanged, so that large configurations take no more memory than before.
const heapFloor = 24 << 20

// TuneHeap keeps the floor until stop is called. It does nothing when GOGC is set in
// the environment. It is for a process that does nothing else, since there is one heap.
func TuneHeap() (stop func()) {
	if os.Getenv("GOGC") != "" {
		return func() {}
	}
	h := &heap{percent: 100, live: []metrics.Sample{{Name: "/gc/heap/live:bytes"}}}
	h.watch()
	return func() {
		h.stopped.Store(true)
		debug.SetGCPercent(100)
	}
}

type heap struct {
	percent int
	live    []metrics.Sample
	stopped atomic.Bool
}

// watch has the percentage set anew after every collection: a value that nobody holds
// is finalized then.
func (h *heap) watch() {
	type sentinel struct{ _ *heap }
	runtime.SetFinalizer(&sentinel{}, func(*sentinel) {
		if !h.stopped.Load() {
			h.adjust()
			h.watch()
		}
	})
}

// adjust changes the percentage when it is far from what it should be, because a
// change stops the world for a moment.
func (h *heap) adjust() {
	metrics.Read(h.live)
	want := heapPercent(h.live[0].Value.Uint64())
	if 8*want < 7*h.percent || 8*want > 9*h.percent {
		h.percent = want
		debug.SetGCPercent(want)
	}
}

// heapPercent is the percentage of growth (GOGC) at which a heap of which live bytes
// are in use reaches the floor.
func heapPercent(live uint64) int {
	const least = 1 << 20 // the first collections find nothing
	live = max(live, least)
	if 2*live >= heapFloor {
		return 100
	}
	return int((heapFloor - live) * 100 / live)
}
