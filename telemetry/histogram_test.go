package telemetry

import (
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/testing/protocmp"
)

// Whatever is observed, a scrape reads what it would read from the client library's
// histogram with the same buckets.
func TestAHistogramReadsAsTheClientLibrarysDoes(t *testing.T) {
	for seed := range uint64(30) {
		random := rand.New(rand.NewPCG(seed, 1))
		ours := newHistogram(time.Now())
		theirs := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "x", Buckets: classicBuckets[:],
			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: maxBuckets})
		for range 2000 {
			// From 1 ns to ever longer times: the later runs have to widen their buckets.
			d := time.Duration(math.Exp2(random.Float64() * float64(seed+5)))
			switch random.IntN(40) {
			case 0:
				d = 0
			case 1:
				d = time.Duration(classicBuckets[random.IntN(len(classicBuckets))] * 1e9) // on a bound
			}
			ours.Observe(d)
			theirs.Observe(d.Seconds())
		}
		var want dto.Metric
		if err := theirs.Write(&want); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want.Histogram, ours.read(), protocmp.Transform(), protocmp.IgnoreFields(&dto.Histogram{}, "created_timestamp"),
			cmpopts.EquateApprox(1e-9, 0)); diff != "" {
			t.Fatalf("seed %d (-theirs +ours)\n%s", seed, diff)
		}
	}
}

func TestANegativeDurationCountsAsNone(t *testing.T) {
	h := newHistogram(time.Now())
	h.Observe(-time.Second)
	if got := h.read(); got.GetZeroCount() != 1 || got.GetSampleSum() != 0 || got.GetSampleCount() != 1 {
		t.Errorf("%v", got)
	}
}

// A histogram never has more than so many buckets, whatever comes.
func TestAHistogramIsBounded(t *testing.T) {
	h := newHistogram(time.Now())
	for d := time.Duration(1); d > 0; d += d/16 + 1 {
		h.Observe(d)
	}
	total := uint64(0)
	for _, b := range h.native {
		total += b.count
	}
	if len(h.native) > maxBuckets || total != h.count {
		t.Errorf("%d buckets with %d of %d observations", len(h.native), total, h.count)
	}
}

func TestNothingIsLostWhenManyCountAtOnce(t *testing.T) {
	m := New(Build{})
	const workers, each = 8, 500
	var wait sync.WaitGroup
	for range workers {
		wait.Go(func() {
			for i := range each {
				m.Request(Request{Listener: "proxy", Rule: fmt.Sprint("rule ", i%50), Outcome: "allow", Reason: "allowed", Forwarded: true, UpstreamStatus: 200, Upstream: time.Duration(i)})
			}
		})
	}
	wait.Wait()
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, metric := range f.Metric {
			switch f.GetName() {
			case Prefix + "requests_total":
				got["requests"] += metric.GetCounter().GetValue()
			case Prefix + "upstream_duration_seconds":
				got["upstream"] += float64(metric.GetHistogram().GetSampleCount())
			}
		}
	}
	want := map[string]float64{"requests": workers * each, "upstream": workers * each}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
