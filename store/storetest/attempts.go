package storetest

import (
	"testing"
	"time"

	"github.com/gatewarden/gatewarden/store"
	"github.com/gatewarden/gatewarden/users"
)

func attemptsRace(t *testing.T, s store.Store) {
	c := ctx(t)
	p := users.Pace{Interval: time.Hour, Burst: 7}
	waits := make([]time.Duration, parallel)
	passed := 0
	for i, err := range race(parallel, func(i int) (err error) {
		waits[i], err = s.TakeAttempt(c, "key", p)
		return err
	}) {
		check(t, err)
		if waits[i] == 0 {
			passed++
		} else if waits[i] < 25*time.Minute || waits[i] > 35*time.Minute {
			t.Errorf("a loser is told to wait %s, want about half an hour", waits[i])
		}
	}
	equal(t, "number of attempts that passed", passed, p.Burst)
	equal(t, "another key waits", must(s.TakeAttempt(c, "key ", p))(t), time.Duration(0))
	swept := must(s.Sweep(c, now().Add(30*time.Minute), 100))(t)
	equal(t, "swept while they count", swept, 0)
	swept = must(s.Sweep(c, now().Add(8*time.Hour), 100))(t)
	equal(t, "swept when they do not count any more", swept, 2)
}

func attemptsReturn(t *testing.T, s store.Store) {
	c := ctx(t)
	p := users.Pace{Interval: time.Hour, Burst: 2}
	for range 5 { // what succeeds does not use the limit up
		equal(t, "wait", must(s.TakeAttempt(c, "key", p))(t), time.Duration(0))
		check(t, s.ReturnAttempt(c, "key", p))
	}
	for range 2 {
		equal(t, "wait", must(s.TakeAttempt(c, "key", p))(t), time.Duration(0))
	}
	if must(s.TakeAttempt(c, "key", p))(t) == 0 {
		t.Error("more than the burst passed")
	}
	check(t, s.ReturnAttempt(c, "unknown", p))
}
