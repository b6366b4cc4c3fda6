package pool

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/fault"
)

// pass sends one request through b and returns why it was refused.
func pass(t *testing.T, b *breaker, result outcome) string {
	t.Helper()
	trial, err := b.enter(t.Context())
	if err != nil {
		if !fault.Is(err, fault.Unavailable) {
			t.Errorf("got %v", err)
		}
		return fault.ReasonOf(err)
	}
	b.leave(trial, result)
	return ""
}

func TestACircuitClosesOnlyAfterOneRequestThatSucceeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBreaker(access.Breaker{ErrorRate: 0.5, MinRequests: 4, Window: 10 * time.Second, Open: 5 * time.Second})
		var got []string
		step := func(wait time.Duration, result outcome) {
			time.Sleep(wait)
			why := pass(t, b, result)
			got = append(got, why+" "+b.state(time.Now()))
		}
		step(0, failed)
		step(0, failed)
		step(0, succeeded) // 2 of 3: too few requests to judge by
		step(0, failed)    // 3 of 4
		step(0, succeeded) // refused
		step(4*time.Second, succeeded)
		step(time.Second, failed) // the trial
		step(4*time.Second, succeeded)
		step(time.Second, undecided) // the next trial says nothing
		step(0, succeeded)           // another one may try at once
		step(0, failed)              // what was before is forgotten
		want := []string{" closed", " closed", " closed", " open", "circuit_open open", "circuit_open open", " open", "circuit_open open", " half_open", " closed", " closed"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got): %s", diff)
		}
	})
}

func TestWhileOneRequestTriesAllOthersAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBreaker(access.Breaker{ErrorRate: 0.5, MinRequests: 1, Window: time.Second, Open: time.Second})
		late, err := b.enter(t.Context()) // begun before the circuit opens
		if err != nil || late {
			t.Fatalf("got trial %t, %v", late, err)
		}
		pass(t, b, failed)
		time.Sleep(time.Second)
		trial, err := b.enter(t.Context())
		if err != nil || !trial {
			t.Fatalf("got trial %t, %v", trial, err)
		}
		b.leave(late, succeeded)
		if why, state := pass(t, b, succeeded), b.state(time.Now()); why != ReasonCircuitOpen || state != "half_open" {
			t.Errorf("beside the trial: got %q %s", why, state)
		}
		b.leave(trial, succeeded)
		if why, state := pass(t, b, succeeded), b.state(time.Now()); why != "" || state != "closed" {
			t.Errorf("after the trial: got %q %s", why, state)
		}
	})
}

func TestFailuresOlderThanTheWindowAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBreaker(access.Breaker{ErrorRate: 0.5, MinRequests: 4, Window: 10 * time.Second, Open: time.Second})
		for range 3 {
			pass(t, b, failed)
		}
		time.Sleep(11 * time.Second)
		pass(t, b, failed)
		if state := b.state(time.Now()); state != "closed" {
			t.Errorf("got %s after one failure in the window", state)
		}
	})
}

func TestARequestWaitsForASlotAndGetsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBreaker(access.Breaker{MaxRequests: 1, MaxPending: 1, PendingTimeout: time.Minute})
		first, err := b.enter(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		waiting := make(chan string, 1)
		go func() { waiting <- pass(t, b, succeeded) }()
		synctest.Wait() // it holds the one place in the queue
		if why := pass(t, b, succeeded); why != ReasonOverloaded {
			t.Errorf("beyond max_pending: got %q", why)
		}
		select {
		case why := <-waiting:
			t.Errorf("it did not wait: %q", why)
		default:
		}
		b.leave(first, succeeded)
		if why := <-waiting; why != "" {
			t.Errorf("it waited for nothing: %q", why)
		}
		if why := pass(t, b, succeeded); why != "" {
			t.Errorf("a slot was lost: %q", why)
		}
	})
}

func TestAWaitForASlotEndsWithItsTimeOrItsClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBreaker(access.Breaker{MaxRequests: 1, MaxPending: 1, PendingTimeout: time.Second})
		first, err := b.enter(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if why := pass(t, b, succeeded); why != ReasonOverloaded || time.Since(began) != time.Second {
			t.Errorf("got %q after %s", why, time.Since(began))
		}
		gone := errors.New("the client left")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(100*time.Millisecond, func() { cancel(gone) })
		if _, err := b.enter(ctx); !errors.Is(err, gone) {
			t.Errorf("got %v", err)
		}
		b.leave(first, succeeded)
		if why := pass(t, b, succeeded); why != "" {
			t.Errorf("a slot or a place in the queue was lost: %q", why)
		}
	})
}

// TestATrialThatGetsNoSlotLeavesTheTrialToAnother: else the circuit stays open for good.
func TestATrialThatGetsNoSlotLeavesTheTrialToAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBreaker(access.Breaker{MaxRequests: 1, ErrorRate: 0.5, MinRequests: 1, Window: time.Second, Open: time.Second})
		pass(t, b, failed)
		b.slots <- struct{}{} // a request that was let pass before and goes on
		time.Sleep(time.Second)
		if why := pass(t, b, succeeded); why != ReasonOverloaded {
			t.Errorf("got %q", why)
		}
		<-b.slots
		if why, state := pass(t, b, succeeded), b.state(time.Now()); why != "" || state != "closed" {
			t.Errorf("got %q %s", why, state)
		}
	})
}

func TestProbesChangeTheirMindAfterAsManyResultsAsTheRuleSays(t *testing.T) {
	o := access.ActiveHealth{Healthy: 2, Unhealthy: 3}
	h := &health{}
	got := ""
	for _, r := range "--+---+-++-+++" { // two failures, a success, ...
		var err error
		if r == '-' {
			err = errors.New("status 500")
		}
		h.probed(o, err)
		got += map[bool]string{true: "u", false: "d"}[h.usable(time.Now())]
	}
	if want := "uuuuudddduuuuu"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestABudgetThatIsSpentFillsByItsShareAndNoFurtherThanItsBound(t *testing.T) {
	spend := func(b *budget) (n int) {
		for b.spend() {
			n++
		}
		return n
	}
	var b budget
	b.reset(0.5)
	got := []int{spend(&b)}
	for _, requests := range []int{1, 1, 4, 10_000} {
		for range requests {
			b.earn()
		}
		got = append(got, spend(&b))
	}
	if diff := cmp.Diff([]int{budgetStart, 0, 1, 2, budgetMost}, got); diff != "" {
		t.Errorf("(-want +got): %s", diff)
	}
}
