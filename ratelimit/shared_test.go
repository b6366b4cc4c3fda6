package ratelimit

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	client "github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/internal/testenv"
	"github.com/gatewarden/gatewarden/redis"
)

// patient is a timeout for tests that are about something else.
const patient = 10 * time.Second

func connect(t testing.TB, url, prefix string) *redis.Client {
	t.Helper()
	c, err := redis.Open(redis.Options{URL: url, Timeout: patient, Probe: 5 * time.Millisecond, Prefix: prefix})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// said is what Check answered, in one line.
func said(h map[string][]string, err error) string {
	if err != nil {
		h = fault.HeaderOf(err)
	}
	return fmt.Sprint(fault.ReasonOf(err), h)
}

// A limit has a window of hours, so that no key is forgotten by Redis's own clock while
// the test's stands still.
func TestRedisAnswersAsMemoryDoes(t *testing.T) {
	s := testenv.Redis(t)
	shared := connect(t, "unix://"+s.Socket, "property:")
	run := 0
	rapid.Check(t, func(t *rapid.T) {
		run++
		var c clock
		alone, together := NewBuckets(1000, c.now), NewBuckets(1000, c.now)
		together.Share(&Shared{Redis: shared, now: c.now, Alone: func() { t.Fatal("Redis did not answer") }})
		var limits []*Limit
		for i := range rapid.IntRange(1, 3).Draw(t, "limits") {
			rate := rapid.SampledFrom([]int{1, 2, 3, 5, 8}).Draw(t, "rate")
			l, err := New(fmt.Sprint("r", run), i, Options{Key: rapid.SampledFrom([]string{"client", "global", "header:X"}).Draw(t, "key"), Rate: rate,
				Window: fmt.Sprintf("%dh", rate*rapid.IntRange(1, 2).Draw(t, "hours")), Burst: rapid.IntRange(0, 4).Draw(t, "burst")})
			if err != nil {
				t.Fatal(err)
			}
			limits = append(limits, l)
		}
		for range rapid.IntRange(1, 30).Draw(t, "requests") {
			c.advance(time.Duration(rapid.SampledFrom([]int64{0, 0, 0, 1, 1_000_000, 1_799_999_999, 3_600_000_000, 20_000_000_000}).Draw(t, "wait")) * time.Microsecond)
			r := from(rapid.SampledFrom([]string{"192.0.2.1", "192.0.2.2"}).Draw(t, "client"))
			r.Header["X"] = []string{rapid.SampledFrom([]string{"a", "b"}).Draw(t, "value")}
			h1, err1 := alone.Check(context.Background(), limits, false, r, &access.Subject{})
			h2, err2 := together.Check(context.Background(), limits, false, r, &access.Subject{})
			if diff := cmp.Diff(said(h1, err1), said(h2, err2)); diff != "" {
				t.Fatalf("(-memory +redis)\n%s", diff)
			}
		}
	})
}

func TestProcessesThatShareCountTogether(t *testing.T) {
	s := testenv.Redis(t)
	l := []*Limit{limit(t, "r", Options{Key: "global", Rate: 20, Window: "1h"})}
	var passed, alone atomic.Int64
	var all sync.WaitGroup
	for range 4 {
		b := NewBuckets(100, nil)
		b.Share(&Shared{Redis: connect(t, "redis://"+s.Address, "x:"), Alone: func() { alone.Add(1) }})
		for range 4 {
			all.Go(func() {
				for range 5 {
					if _, err := b.Check(context.Background(), l, false, from("192.0.2.1"), &access.Subject{}); err == nil {
						passed.Add(1)
					}
				}
			})
		}
	}
	all.Wait()
	if passed.Load() != 20 || alone.Load() != 0 {
		t.Errorf("%d passed, %d counted alone; want 20 and none", passed.Load(), alone.Load())
	}
}

func TestKeysInRedisTellNothingAndEnd(t *testing.T) {
	s := testenv.Redis(t)
	b := NewBuckets(100, nil)
	b.Share(&Shared{Redis: connect(t, "unix://"+s.Socket, "x:")})
	raw := client.NewClient(&client.Options{Network: "unix", Addr: s.Socket})
	defer raw.Close()
	l := []*Limit{limit(t, "a-rule", Options{Key: "subject", Rate: 1, Window: "1h"})}
	ask := func() error {
		_, err := b.Check(context.Background(), l, true, from("192.0.2.1"), &access.Subject{ID: "somebody"})
		return err
	}
	if err := ask(); err != nil {
		t.Fatal(err)
	}
	keys := raw.Keys(t.Context(), "x:limit:*").Val()
	if len(keys) != 1 || len(keys[0]) != len("x:limit:")+43 || strings.Contains(keys[0], "somebody") || strings.Contains(keys[0], "a-rule") {
		t.Fatalf("got keys %q", keys)
	}
	if left := raw.PTTL(t.Context(), keys[0]).Val(); left <= 0 || left > time.Hour {
		t.Errorf("the key lives for %v", left)
	}
	// What somebody else wrote there is replaced; a time beyond a full bucket is none that
	// a request made.
	for _, spoil := range []func(){
		func() { raw.Set(t.Context(), keys[0], "nonsense", 0) },
		func() { raw.Set(t.Context(), keys[0], "nan", 0) },
		func() { raw.Del(t.Context(), keys[0]); raw.LPush(t.Context(), keys[0], "a", "list") },
	} {
		spoil()
		if err := ask(); err != nil {
			t.Errorf("got %v", err)
		}
		if err := ask(); !fault.Is(err, fault.RateLimited) {
			t.Errorf("got %v, want that it counts again", err)
		}
	}
	raw.Set(t.Context(), keys[0], "9e15", 0)
	var e *fault.Error
	if err := ask(); !fault.Is(err, fault.RateLimited) {
		t.Errorf("got %v", err)
	} else if e, _ = err.(*fault.Error); e == nil || e.RetryAfter > time.Hour {
		t.Errorf("wait for %v, want an hour at most", e.RetryAfter)
	}
}

func TestWithoutRedisAProcessCountsAloneOrRefuses(t *testing.T) {
	s := testenv.Redis(t)
	l := []*Limit{limit(t, "r", Options{Key: "global", Rate: 1, Window: "1h"})}
	for _, refuse := range []bool{false, true} {
		var alone atomic.Int64
		shared := connect(t, "unix://"+s.Socket, fmt.Sprint(refuse, ":"))
		b := NewBuckets(100, nil)
		b.Share(&Shared{Redis: shared, Refuse: refuse, Alone: func() { alone.Add(1) }})
		reasons := func() (got []string) {
			for range 2 {
				_, err := b.Check(context.Background(), l, false, from("192.0.2.1"), &access.Subject{})
				got = append(got, fault.ReasonOf(err))
			}
			return got
		}
		got := [][]string{reasons()}
		s.Stop()
		got = append(got, reasons())
		s.Start()
		for deadline := time.Now().Add(20 * time.Second); !shared.Up() && time.Now().Before(deadline); {
			time.Sleep(time.Millisecond)
		}
		got = append(got, reasons())
		fresh, away := []string{fault.ReasonOf(nil), Reason}, []string{fault.ReasonOf(nil), Reason}
		if refuse {
			away = []string{ReasonUnavailable, ReasonUnavailable}
		}
		if diff := cmp.Diff([][]string{fresh, away, fresh}, got); diff != "" {
			t.Errorf("refuse %v (-want +got)\n%s", refuse, diff)
		}
		if alone.Load() != 2 {
			t.Errorf("refuse %v: told %d times that Redis did not answer, want 2", refuse, alone.Load())
		}
	}
}

func TestNothingIsAskedForWhereNothingIsDue(t *testing.T) {
	b := NewBuckets(100, nil)
	b.Share(&Shared{Refuse: true}) // without a Redis a question would panic
	l := []*Limit{limit(t, "r", Options{Key: "global", Rate: 1})}
	if h, err := b.Check(context.Background(), l, true, from("192.0.2.1"), &access.Subject{}); h != nil || err != nil {
		t.Errorf("got %v, %v", h, err)
	}
}

func TestAnAnswerThatIsNotTheScriptsIsNone(t *testing.T) {
	l := limit(t, "r", Options{Key: "global", Rate: 2, Window: "2s"})
	buckets := []bucket{{limit: l}, {limit: l}}
	for _, c := range []struct {
		answer []int64
		want   []taken
	}{
		{[]int64{1, 0}, []taken{{left: 1}, {left: 0}}},
		{[]int64{-1_000_000}, []taken{{wait: time.Second}}},
		{[]int64{0, -1}, []taken{{left: 0}, {wait: time.Microsecond}}},
		{nil, nil}, {[]int64{1}, nil}, {[]int64{1, 1, 1}, nil}, {[]int64{2, 0}, nil}, {[]int64{-1, 0}, nil}, {[]int64{-1_000_001}, nil},
	} {
		got, err := read(c.answer, buckets)
		if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(taken{})); diff != "" || (err == nil) != (c.want != nil) {
			t.Errorf("%v: %v (-want +got)\n%s", c.answer, err, diff)
		}
	}
}
