// Package ratelimit counts requests. A Limit is compiled once; Buckets hold the state
// of all limits in memory, bounded, or share it through Redis, by the generic cell rate
// algorithm: one time per bucket, which a request moves on or is refused.
package ratelimit

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/fault"
)

// Reason is the reason id of a refusal.
const Reason = "rate_limited"

// Options are a limit as it is written.
type Options struct {
	// Key says what is counted apart: client (an IPv4 address, or an IPv6 network of 64
	// bits), subject, global for everything together, or header:Name.
	Key string `json:"key"`
	// Rate is how many requests a Window may have on average; Window is a Go duration,
	// default 1s.
	Rate   int    `json:"rate"`
	Window string `json:"window,omitempty"`
	// Burst is how many may come at once; default Rate.
	Burst int `json:"burst,omitempty"`
}

// Limit is a compiled limit of one rule. It is immutable.
type Limit struct {
	kind, header string
	id           []byte // of the rule and the limit, in front of what is counted
	interval     time.Duration
	burst        int64
	policy       string // an item of the RateLimit-Policy field
}

// New compiles the limit that stands at index in a rule. The error is about o.
func New(rule string, index int, o Options) (*Limit, error) {
	l := &Limit{kind: o.Key, burst: int64(o.Burst)}
	if name, ok := strings.CutPrefix(o.Key, "header:"); ok {
		l.kind, l.header = "header", http.CanonicalHeaderKey(name)
		if name == "" || strings.ContainsAny(name, " \t:,;") {
			return nil, fmt.Errorf("key %q names no header field", o.Key)
		}
	}
	switch l.kind {
	case "client", "subject", "global", "header":
	default:
		return nil, fmt.Errorf("key must be client, subject, global or header:Name, not %q", o.Key)
	}
	window := time.Second
	if o.Window != "" {
		var err error
		if window, err = time.ParseDuration(o.Window); err != nil || window < time.Millisecond || window > 24*time.Hour {
			return nil, fmt.Errorf("window %q is not a duration from 1ms to 24h", o.Window)
		}
	}
	if o.Rate < 1 || o.Rate > 1_000_000 || window/time.Duration(o.Rate) == 0 {
		return nil, fmt.Errorf("rate must be from 1 to 1000000 and leave at least a nanosecond of the window for each")
	}
	if o.Burst < 0 || o.Burst > 1_000_000 {
		return nil, fmt.Errorf("burst must be from 1 to 1000000")
	}
	if l.burst == 0 {
		l.burst = int64(o.Rate)
	}
	l.interval = window / time.Duration(o.Rate)
	l.id = part(nil, rule)
	l.id = part(l.id, fmt.Sprint(index, " ", o.Key, " ", l.interval, " ", l.burst))
	l.policy = fmt.Sprintf("%q;q=%d;w=%d", l.name(), o.Rate, int64(math.Ceil(window.Seconds())))
	return l, nil
}

// name is what clients are told that is counted.
func (l *Limit) name() string { return l.kind }

// AfterAuthentication reports whether the limit counts by subject.
func (l *Limit) AfterAuthentication() bool { return l.kind == "subject" }

// part appends text with its length, so that no two lists of texts are alike.
func part(b []byte, text string) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(text)))
	return append(b, text...)
}

// key is what a request is counted under.
func (l *Limit) key(r *access.Request, s *access.Subject) bucketKey {
	var space [256]byte
	b := append(space[:0], l.id...)
	switch l.kind {
	case "client":
		b = address(b, r.Client)
	case "subject":
		if s.ID == "" { // nobody in particular: by address, so that they do not share one
			b = address(append(b, 0), r.Client)
		} else {
			b = part(append(b, 1), s.ID)
		}
	case "header":
		for _, v := range r.Header[l.header] {
			b = part(b, v)
		}
	}
	return sha256.Sum256(b)
}

// address appends what one client has of the address space: all of an IPv4 address,
// the network of an IPv6 one.
func address(b []byte, a netip.Addr) []byte {
	if a.Is4() || a.Is4In6() {
		four := a.Unmap().As4()
		return append(b, four[:]...)
	}
	if !a.IsValid() {
		return b
	}
	sixteen := a.As16()
	return append(b, sixteen[:8]...)
}

type bucketKey [sha256.Size]byte

// Buckets is the state of limits. Use NewBuckets.
type Buckets struct {
	now     func() time.Time
	shared  *Shared                                // nil: counts are this process's own
	buckets *otter.Cache[bucketKey, *atomic.Int64] // theoretical arrival times in ns
}

// NewBuckets returns Buckets for at most size keys. Beyond it, those that were not
// used for long begin anew. Nil now is time.Now.
func NewBuckets(size int, now func() time.Time) *Buckets {
	if now == nil {
		now = time.Now
	}
	return &Buckets{now: now, buckets: otter.Must(&otter.Options[bucketKey, *atomic.Int64]{MaximumSize: size})}
}

// Share lets b count in Redis together with others. Call it before b is used.
func (b *Buckets) Share(s *Shared) { b.shared = s }

// take counts one request at now.
func (b *Buckets) take(k bucketKey, l *Limit, now int64) taken {
	bucket, ok := b.buckets.GetIfPresent(k)
	if !ok {
		bucket, _ = b.buckets.SetIfAbsent(k, new(atomic.Int64))
	}
	interval, depth := int64(l.interval), int64(l.interval)*l.burst
	for {
		was := bucket.Load()
		next := max(was, now) + interval
		if over := next - now - depth; over > 0 {
			return taken{wait: time.Duration(over)}
		}
		if bucket.CompareAndSwap(was, next) {
			return taken{left: (depth - (next - now)) / interval}
		}
	}
}

// taken is what became of one request at one bucket.
type taken struct {
	left int64         // how many more could come at once
	wait time.Duration // positive: this one is too many and was not counted
}

// Check counts a request under those of the limits that are due: before or after
// authentication. The first that is exceeded refuses with fault.RateLimited; what was
// counted before it stays counted. Where counts are shared and cannot be had, it counts
// alone or refuses with fault.Unavailable. Header holds the fields RateLimit and
// RateLimit-Policy (draft-ietf-httpapi-ratelimit-headers-10) for the answer.
func (b *Buckets) Check(ctx context.Context, limits []*Limit, after bool, r *access.Request, s *access.Subject) (header http.Header, err error) {
	var space [4]bucket
	due := space[:0]
	for _, l := range limits {
		if l.AfterAuthentication() == after {
			due = append(due, bucket{l, l.key(r, s)})
		}
	}
	if len(due) == 0 {
		return nil, nil
	}
	var counted []taken
	if b.shared != nil {
		if counted, err = b.shared.take(ctx, due); err != nil {
			if b.shared.Alone != nil && ctx.Err() == nil {
				b.shared.Alone()
			}
			if b.shared.Refuse {
				return nil, unavailable(err)
			}
		}
	}
	if counted == nil {
		counted = b.alone(due)
	}
	return answer(due, counted)
}

// alone counts in memory.
func (b *Buckets) alone(due []bucket) []taken {
	now := b.now().UnixNano()
	counted := make([]taken, 0, len(due))
	for _, d := range due {
		t := b.take(d.key, d.limit, now)
		if counted = append(counted, t); t.wait > 0 {
			break
		}
	}
	return counted
}

// answer tells the client what was counted.
func answer(due []bucket, counted []taken) (http.Header, error) {
	rates, policies := make([]string, len(counted)), make([]string, len(counted))
	for i, t := range counted {
		l := due[i].limit
		if t.wait > 0 {
			seconds := strconv.FormatInt(int64(math.Ceil(t.wait.Seconds())), 10)
			return nil, &fault.Error{Kind: fault.RateLimited, Reason: Reason, Message: "too many requests", RetryAfter: t.wait, Header: http.Header{
				"Retry-After": {seconds}, "Ratelimit": {strconv.Quote(l.name()) + ";r=0;t=" + seconds}, "Ratelimit-Policy": {l.policy},
			}}
		}
		rates[i] = strconv.Quote(l.name()) + ";r=" + strconv.FormatInt(t.left, 10)
		policies[i] = l.policy
	}
	return http.Header{"Ratelimit": {strings.Join(rates, ", ")}, "Ratelimit-Policy": {strings.Join(policies, ", ")}}, nil
}
