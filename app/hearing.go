package app

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/store"
)

// hearing knows how long ago this node last heard what others wrote of a topic. What it
// keeps of the database in memory is as old as that, and is not believed when that is
// too long ago.
type hearing struct {
	// bound is how old what is kept may be; zero: nothing is ever out of date, because no
	// other process writes to the database.
	bound time.Duration
	now   func() time.Time
	last  atomic.Pointer[time.Time]
}

// hearings are by topic. The map is never changed.
type hearings map[store.Topic]*hearing

func newHearings(bound time.Duration, now func() time.Time) hearings {
	h := hearings{}
	for _, t := range store.Topics() {
		h[t] = &hearing{bound: bound, now: now}
		h.heard(t, now())
	}
	return h
}

// heard notes that everything of the topic is in force that was committed before at.
func (h hearings) heard(t store.Topic, at time.Time) { h[t].last.Store(&at) }

// fresh reports whether what is kept may be believed. Both clocks count: the monotonic
// one stands still while a machine sleeps, and the other one may be set.
func (h *hearing) fresh() bool {
	if h.bound == 0 {
		return true
	}
	now, last := h.now(), *h.last.Load()
	elapsed, wall := now.Sub(last), now.Round(0).Sub(last.Round(0))
	return elapsed < h.bound && wall < h.bound && wall > -h.bound
}

// ready is the check of /health/ready: it names the topics that are out of date.
func (h hearings) ready(context.Context) error {
	var stale []string
	for t, of := range h {
		if !of.fresh() {
			stale = append(stale, string(t))
		}
	}
	if stale == nil {
		return nil
	}
	slices.Sort(stale)
	return fault.New(fault.Unavailable, "stale", fmt.Sprintf("what this node knows of %s may be older than storage.max_staleness (%s) and is not used",
		strings.Join(stale, ", "), h[store.Rules].bound))
}
