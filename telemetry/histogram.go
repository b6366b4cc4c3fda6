package telemetry

import (
	"math"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// histograms are a histogram of durations for each rule, classic and native. The
// client library's take 2.5 KB in 40 pieces for a series, which with thousands of rules
// is more memory, and more work for every collection of garbage, than the rules; these
// take about 0.5 KB in three.
type histograms struct {
	desc *prometheus.Desc
	all  known[upstreamKey, *histogram]
}

func (v *histograms) of(k upstreamKey) *histogram {
	return v.all.of(k, func(upstreamKey) *histogram { return newHistogram(time.Now()) })
}

// Describe implements prometheus.Collector.
func (v *histograms) Describe(c chan<- *prometheus.Desc) { c <- v.desc }

// Collect implements prometheus.Collector.
func (v *histograms) Collect(c chan<- prometheus.Metric) {
	v.all.each(func(k upstreamKey, h *histogram) { c <- histogramMetric{v.desc, []string{k.rule, k.class}, h} })
}

// histogramMetric is one series when it is asked for.
type histogramMetric struct {
	desc   *prometheus.Desc
	labels []string
	h      *histogram
}

// Desc implements prometheus.Metric.
func (m histogramMetric) Desc() *prometheus.Desc { return m.desc }

// Write implements prometheus.Metric.
func (m histogramMetric) Write(out *dto.Metric) error {
	out.Label = prometheus.MakeLabelPairs(m.desc, m.labels)
	out.Histogram = m.h.read()
	return nil
}

// classicBuckets are upper bounds in seconds.
var classicBuckets = [...]float64{.00001, .000025, .00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

// Of native buckets: the schema is 3 to begin with, eight buckets between a number and
// its double. When a series has values in more than maxBuckets, each two become one,
// which is one schema less.
const (
	firstSchema = 3
	maxBuckets  = 100
)

// histogram counts durations. The zero value is not usable; use newHistogram. It is
// safe for concurrent use.
type histogram struct {
	created time.Time
	mu      sync.Mutex
	schema  int32
	count   uint64
	sum     float64 // seconds
	zero    uint64  // durations of 0
	classic [len(classicBuckets)]uint64
	native  []nativeBucket // sorted by index
}

// nativeBucket counts numbers up to 2^(index/2^schema) that are beyond the bucket
// before.
type nativeBucket struct {
	index int32
	count uint64
}

func newHistogram(now time.Time) *histogram { return &histogram{created: now, schema: firstSchema} }

// Observe counts d; a negative one counts as 0.
func (h *histogram) Observe(d time.Duration) {
	seconds := max(d, 0).Seconds()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.count++
	h.sum += seconds
	if i, _ := slices.BinarySearch(classicBuckets[:], seconds); i < len(classicBuckets) {
		h.classic[i]++
	}
	if seconds == 0 {
		h.zero++
		return
	}
	index := nativeIndex(seconds, h.schema)
	i, found := slices.BinarySearchFunc(h.native, index, func(b nativeBucket, index int32) int { return int(b.index - index) })
	if found {
		h.native[i].count++
		return
	}
	h.native = slices.Insert(h.native, i, nativeBucket{index, 1})
	for len(h.native) > maxBuckets {
		h.widen()
	}
}

// eighths are the bounds of the buckets of schema 3 in the upper half of 1.
var eighths = [8]float64{
	0.5, 0.5452538663326288, 0.5946035575013605, 0.6484197773255048,
	0.7071067811865475, 0.7711054127039704, 0.8408964152537144, 0.9170040432046711,
}

// nativeIndex returns the bucket of v, which is positive, in a schema up to 3.
func nativeIndex(v float64, schema int32) int32 {
	fraction, exponent := math.Frexp(v)
	i := int32(0)
	for i < 8 && eighths[i] < fraction {
		i++
	}
	return wider(i+8*int32(exponent-1), firstSchema-schema)
}

// wider is the index after doubling buckets n times.
func wider(index, n int32) int32 { return (index + 1<<n - 1) >> n }

func (h *histogram) widen() {
	h.schema--
	merged := h.native[:0]
	for _, b := range h.native {
		b.index = wider(b.index, 1)
		if n := len(merged); n > 0 && merged[n-1].index == b.index {
			merged[n-1].count += b.count
		} else {
			merged = append(merged, b)
		}
	}
	h.native = merged
}

// read returns what was counted so far.
func (h *histogram) read() *dto.Histogram {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := &dto.Histogram{
		SampleCount: proto.Uint64(h.count), SampleSum: proto.Float64(h.sum), CreatedTimestamp: timestamppb.New(h.created),
		Schema: proto.Int32(h.schema), ZeroThreshold: proto.Float64(prometheus.DefNativeHistogramZeroThreshold), ZeroCount: proto.Uint64(h.zero),
	}
	cumulative := uint64(0)
	for i, bound := range classicBuckets {
		cumulative += h.classic[i]
		out.Bucket = append(out.Bucket, &dto.Bucket{CumulativeCount: proto.Uint64(cumulative), UpperBound: proto.Float64(bound)})
	}
	before, next := uint64(0), int32(0)
	add := func(count uint64) {
		*out.PositiveSpan[len(out.PositiveSpan)-1].Length++
		out.PositiveDelta = append(out.PositiveDelta, int64(count-before))
		before = count
	}
	for i, b := range h.native {
		// Gaps of one or two are written as empty buckets, as the client library does.
		if gap := b.index - next; i == 0 || gap > 2 {
			out.PositiveSpan = append(out.PositiveSpan, &dto.BucketSpan{Offset: proto.Int32(gap), Length: proto.Uint32(0)})
		} else {
			for range gap {
				add(0)
			}
		}
		add(b.count)
		next = b.index + 1
	}
	return out
}
