package pool

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/gatewarden/gatewarden/access"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// endpoints have the names a, b, ... and the weights given.
func endpoints(weights ...int) (out []*endpoint) {
	for i, w := range weights {
		name := string(rune('a' + i))
		out = append(out, &endpoint{Target: access.Target{Weight: w}, name: name, hash: hash(name)})
	}
	return out
}

func always(*endpoint) bool { return true }

func TestOfTwoThatAreDrawnTheLessBusyIsTakenByItsWeight(t *testing.T) {
	for name, c := range map[string]struct {
		weights []int
		busy    []int64
		never   string
	}{
		"the busier of two":                    {[]int{1, 1}, []int64{3, 2}, "a"},
		"the busiest of three":                 {[]int{1, 1, 1}, []int64{1, 9, 1}, "b"},
		"as busy, but with a third the weight": {[]int{3, 1}, []int64{3, 3}, "b"},
		"one that is not usable":               {[]int{1, 1, 1}, []int64{0, 5, 5}, "a"},
	} {
		t.Run(name, func(t *testing.T) {
			all := endpoints(c.weights...)
			for i, n := range c.busy {
				all[i].busy.Store(n)
			}
			usable := func(e *endpoint) bool { return name != "one that is not usable" || e.name != "a" }
			b := newBalancer(access.Balance{Policy: access.LeastRequests}, all)
			for range 200 {
				if e := b.pick("", usable); e == nil || e.name == c.never {
					t.Fatalf("got %+v", e)
				}
			}
		})
	}
	none := newBalancer(access.Balance{Policy: access.LeastRequests}, endpoints(1, 1))
	if e := none.pick("", func(*endpoint) bool { return false }); e != nil {
		t.Errorf("got %s where nothing is usable", e.name)
	}
}

// placed is where each of n keys goes.
func placed(b balancer, n int, usable func(*endpoint) bool) map[string]string {
	out := map[string]string{}
	for i := range n {
		key := fmt.Sprint("key", i)
		out[key] = b.pick(key, usable).name
	}
	return out
}

func TestATargetThatLeavesMovesOnlyItsOwnKeysAndGetsThemBack(t *testing.T) {
	const n = 3000
	b := newBalancer(access.Balance{Policy: access.Hash}, endpoints(1, 1, 2))
	before := placed(b, n, always)
	share := map[string]int{}
	for _, at := range before {
		share[at]++
	}
	for name, want := range map[string]int{"a": n / 4, "b": n / 4, "c": n / 2} { // hashes are fixed: so is this
		if got := share[name]; got < want*9/10 || got > want*11/10 {
			t.Errorf("%s has %d of %d keys, want about %d", name, got, n, want)
		}
	}
	moved := placed(b, n, func(e *endpoint) bool { return e.name != "b" })
	for key, at := range before {
		if now := moved[key]; at == "b" && now == "b" || at != "b" && now != at {
			t.Fatalf("%s went from %s to %s when b left", key, at, now)
		}
	}
	if diff := cmp.Diff(before, placed(b, n, always)); diff != "" {
		t.Errorf("keys did not come back (-before +after): %s", diff)
	}
}

func TestAKeyGoesElsewhereWhileItsTargetHasMoreThanItsShare(t *testing.T) {
	all := endpoints(1, 1, 1)
	b := newBalancer(access.Balance{Policy: access.Hash}, all)
	own := b.pick("key", always)
	got := map[string]int64{}
	for range 30 { // all of one key, and none ends
		e := b.pick("key", always)
		e.busy.Add(1)
	}
	var most int64
	for _, e := range all {
		got[e.name] = e.busy.Load()
		most = max(most, e.busy.Load())
	}
	if most > 13 || own.busy.Load() != most { // ceil(1.25 * 30 / 3)
		t.Errorf("%s is the key's own; got %v", own.name, got)
	}
	own.busy.Store(0)
	if e := b.pick("key", always); e != own {
		t.Errorf("the key went to %s when its own, %s, had room", e.name, own.name)
	}
}

func TestTheKeyOfARequestIsWhatTheRuleNames(t *testing.T) {
	r := &access.Request{Client: netip.MustParseAddr("192.0.2.7"), Header: http.Header{"X-Tenant": {"a", "b"}, "Cookie": {"x=1; sid=s"}}}
	for want, b := range map[string]access.Balance{
		"192.0.2.7": {Key: access.HashClient},
		"alice":     {Key: access.HashSubject},
		"a,b":       {Key: access.HashHeader, Name: "X-Tenant"},
		"s":         {Key: access.HashCookie, Name: "sid"},
		"":          {Key: access.HashCookie, Name: "gone"},
	} {
		trip := &Trip{request: r, subject: "alice", pool: &pool{route: &access.Route{Balance: b}}}
		if got := trip.key(); got != want {
			t.Errorf("%+v: got %q, want %q", b, got, want)
		}
	}
	nobody := &Trip{request: &access.Request{}, pool: &pool{route: &access.Route{Balance: access.Balance{Key: access.HashClient}}}}
	if got := nobody.key(); got != "" {
		t.Errorf("a request without an address has the key %q", got)
	}
}

func TestRequestsWithoutAKeyAreSpread(t *testing.T) {
	b := newBalancer(access.Balance{Policy: access.Hash}, endpoints(1, 1))
	got := map[string]int{}
	for range 10 {
		got[b.pick("", always).name]++
	}
	if diff := cmp.Diff(map[string]int{"a": 5, "b": 5}, got); diff != "" {
		t.Errorf("(-want +got): %s", diff)
	}
}

func TestStatusesHaveOneOrder(t *testing.T) {
	p := New(Options{Transport: func(bool) *http.Transport { return &http.Transport{} }})
	defer p.Close()
	route := func(name string, hosts ...string) *access.Route {
		r := &access.Route{Name: name}
		for _, h := range hosts {
			r.Targets = append(r.Targets, access.Target{URL: &url.URL{Scheme: "http", Host: h}, Weight: 1})
		}
		return r
	}
	p.Follow([]*access.Route{route("c", "c"), route("b", "b", "d"), route("a", "z", "a"), route("b", "b", "c"), {Name: "by request", Guarded: true}})
	want := []Status{}
	for _, s := range [][2]string{{"a", "z"}, {"a", "a"}, {"b", "b"}, {"b", "c"}, {"b", "b"}, {"b", "d"}, {"c", "c"}} {
		want = append(want, Status{Route: s[0], Endpoint: "http://" + s[1], Healthy: true, Circuit: "closed"})
	}
	for range 20 {
		if diff := cmp.Diff(want, p.Statuses()); diff != "" {
			t.Fatalf("(-want +got): %s", diff)
		}
	}
}
