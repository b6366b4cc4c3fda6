package ratelimit

import (
	"context"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/fault"
)

// clock is a time that tests move.
type clock struct{ ns atomic.Int64 }

func (c *clock) now() time.Time          { return time.Unix(1000, c.ns.Load()) }
func (c *clock) advance(d time.Duration) { c.ns.Add(int64(d)) }

func limit(t testing.TB, rule string, o Options) *Limit {
	t.Helper()
	l, err := New(rule, 0, o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func from(client string) *access.Request {
	return &access.Request{Client: netip.MustParseAddr(client), Header: http.Header{}}
}

func TestABurstPassesAndThenTheRate(t *testing.T) {
	var c clock
	b := NewBuckets(100, c.now)
	l := []*Limit{limit(t, "r", Options{Key: "client", Rate: 2, Window: "10s", Burst: 3})}
	r := from("192.0.2.1")
	var got []string
	ask := func() {
		h, err := b.Check(context.Background(), l, false, r, &access.Subject{})
		if err != nil {
			h = fault.HeaderOf(err)
			if fault.KindOf(err) != fault.RateLimited || fault.ReasonOf(err) != Reason {
				t.Errorf("got %v", err)
			}
		}
		got = append(got, strings.TrimSpace(h.Get("RateLimit")+" "+h.Get("Retry-After")))
	}
	for range 4 {
		ask()
	}
	c.advance(4999 * time.Millisecond)
	ask()
	c.advance(time.Millisecond)
	ask()
	ask()
	c.advance(time.Hour) // no more than a burst is saved up
	for range 4 {
		ask()
	}
	want := []string{`"client";r=2`, `"client";r=1`, `"client";r=0`, `"client";r=0;t=5 5`, `"client";r=0;t=1 1`, `"client";r=0`, `"client";r=0;t=5 5`,
		`"client";r=2`, `"client";r=1`, `"client";r=0`, `"client";r=0;t=5 5`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestEachKeyIsCountedApart(t *testing.T) {
	header := func(values ...string) *access.Request {
		r := from("192.0.2.1")
		r.Header["X-Api-Key"] = values
		return r
	}
	type asked struct {
		rule, key string
		r         *access.Request
		subject   string
	}
	for _, c := range []struct {
		name   string
		a, b   asked
		shared bool
	}{
		{"one address", asked{"r", "client", from("192.0.2.1"), ""}, asked{"r", "client", from("::ffff:192.0.2.1"), ""}, true},
		{"two addresses", asked{"r", "client", from("192.0.2.1"), ""}, asked{"r", "client", from("192.0.2.2"), ""}, false},
		{"one network of IPv6", asked{"r", "client", from("2001:db8::1"), ""}, asked{"r", "client", from("2001:db8::ffff:1"), ""}, true},
		{"two networks of IPv6", asked{"r", "client", from("2001:db8::1"), ""}, asked{"r", "client", from("2001:db8:0:1::1"), ""}, false},
		{"two rules", asked{"r", "client", from("192.0.2.1"), ""}, asked{"s", "client", from("192.0.2.1"), ""}, false},
		{"everybody", asked{"r", "global", from("192.0.2.1"), "a"}, asked{"r", "global", from("192.0.2.2"), "b"}, true},
		{"one subject", asked{"r", "subject", from("192.0.2.1"), "a"}, asked{"r", "subject", from("192.0.2.2"), "a"}, true},
		{"two subjects", asked{"r", "subject", from("192.0.2.1"), "a"}, asked{"r", "subject", from("192.0.2.1"), "b"}, false},
		{"nobody, by address", asked{"r", "subject", from("192.0.2.1"), ""}, asked{"r", "subject", from("192.0.2.2"), ""}, false},
		{"a subject that is named like an address", asked{"r", "subject", from("0.0.0.1"), ""}, asked{"r", "subject", from("192.0.2.1"), "\x00\x00\x00\x01"}, false},
		{"one value", asked{"r", "header:x-api-key", header("k"), ""}, asked{"r", "header:X-Api-Key", header("k"), ""}, false /* another configuration */},
		{"one value of a field", asked{"r", "header:X-Api-Key", header("k"), ""}, asked{"r", "header:X-Api-Key", header("k"), ""}, true},
		{"values that are joined", asked{"r", "header:X-Api-Key", header("a", "b"), ""}, asked{"r", "header:X-Api-Key", header("ab"), ""}, false},
		{"none, which share one", asked{"r", "header:X-Api-Key", header(), ""}, asked{"r", "header:X-Api-Key", from("192.0.2.9"), ""}, true},
	} {
		var clock clock
		b := NewBuckets(100, clock.now)
		refused := false
		for _, a := range []asked{c.a, c.b} {
			l := limit(t, a.rule, Options{Key: a.key, Rate: 1, Window: "1h"})
			_, err := b.Check(context.Background(), []*Limit{l}, l.AfterAuthentication(), a.r, &access.Subject{ID: a.subject})
			refused = err != nil
		}
		if refused != c.shared {
			t.Errorf("%s: refused %v, want %v", c.name, refused, c.shared)
		}
	}
}

func TestOfManyAtOnceExactlyABurstPasses(t *testing.T) {
	var c clock
	b := NewBuckets(100, c.now)
	l := []*Limit{limit(t, "r", Options{Key: "global", Rate: 20, Window: "1h"})}
	var passed atomic.Int64
	var all sync.WaitGroup
	for range 64 {
		all.Go(func() {
			for range 5 {
				if _, err := b.Check(context.Background(), l, false, from("192.0.2.1"), &access.Subject{}); err == nil {
					passed.Add(1)
				}
			}
		})
	}
	all.Wait()
	if passed.Load() != 20 {
		t.Errorf("%d passed, want 20", passed.Load())
	}
}

func TestBucketsAreBounded(t *testing.T) {
	var c clock
	b := NewBuckets(64, c.now)
	l := limit(t, "r", Options{Key: "client", Rate: 1})
	for i := range 10_000 {
		a := netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
		_, _ = b.Check(context.Background(), []*Limit{l}, false, &access.Request{Client: a}, &access.Subject{})
	}
	b.buckets.CleanUp()
	if n := b.buckets.EstimatedSize(); n > 64 {
		t.Errorf("%d buckets, want 64 at most", n)
	}
}

func TestLimitsThatMeanNothingAreFaults(t *testing.T) {
	for _, c := range []struct {
		o    Options
		want string
	}{
		{Options{Key: "user", Rate: 1}, `key must be client, subject, global or header:Name, not "user"`},
		{Options{Key: "header:", Rate: 1}, `key "header:" names no header field`},
		{Options{Rate: 1}, "key must be"},
		{Options{Key: "client"}, "rate must be from 1"},
		{Options{Key: "client", Rate: -1}, "rate must be from 1"},
		{Options{Key: "client", Rate: 1, Window: "60"}, `window "60" is not a duration`},
		{Options{Key: "client", Rate: 1, Window: "-1s"}, "is not a duration"},
		{Options{Key: "client", Rate: 1, Burst: -1}, "burst must be"},
	} {
		if _, err := New("r", 0, c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: got %v, want %q", c.o, err, c.want)
		}
	}
}
