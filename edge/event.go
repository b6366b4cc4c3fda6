package edge

import (
	"context"
	"log/slog"
	"net/netip"
	"strconv"
	"time"
)

// Outcomes of a request, in events and metrics.
const (
	OutcomeAllow = "allow"
	OutcomeDeny  = "deny"
	OutcomeError = "error"
	// OutcomeServed is a request for a path of the gateway's own.
	OutcomeServed = "served"
)

// Event is what is recorded of one request. It holds no header fields, no body,
// and the query only when asked for.
type Event struct {
	Listener string
	// ID is the decision id.
	ID     string
	Start  time.Time
	Client netip.Addr
	Method string
	Scheme string
	Host   string
	Path   string
	// Rule is empty when none matched.
	Rule    string
	Subject string
	// Allowed is the decision; Outcome is allow, deny, served, or error when the
	// request could not be decided or forwarded.
	Allowed bool
	Outcome string
	// Reason is the reason id of the decision or of the failure behind it.
	Reason string
	Err    error
	// Status is what the client got; 0 when nothing was sent.
	Status int
	// Bytes of the response body.
	Bytes int64
	// Decided is the time until the decision, Upstream from there until the
	// upstream's response header (0: none), Took the whole.
	Decided, Upstream, Took time.Duration
	// UpstreamStatus is the upstream's status; 0: none.
	UpstreamStatus int
	// Forwarded says that an upstream was called.
	Forwarded bool
	// Aborted says that the response was cut.
	Aborted bool
}

func outcomeOf(allowed bool, status int) string {
	switch {
	case allowed:
		return OutcomeAllow
	case status >= 500 || status == 0:
		return OutcomeError
	}
	return OutcomeDeny
}

// log writes e as one record.
func (e *Event) log(ctx context.Context, l *slog.Logger) {
	h := l.Handler()
	if !h.Enabled(ctx, slog.LevelInfo) {
		return
	}
	// Without the place in the source, which is always this one and dear to find.
	r := slog.NewRecord(e.Start.Add(e.Took), slog.LevelInfo, "request", 0)
	r.AddAttrs(slog.Any("", e))
	_ = h.Handle(ctx, r) // as slog.Logger does: there is nowhere to tell
}

// LogValue implements slog.LogValuer: a handler that does not know AppendJSON writes
// these attributes.
func (e *Event) LogValue() slog.Value {
	attrs := make([]slog.Attr, 0, 20)
	attrs = append(attrs,
		slog.String("listener", e.Listener),
		slog.String("decision_id", e.ID),
		slog.String("outcome", e.Outcome),
		slog.String("reason", e.Reason),
		slog.String("rule", e.Rule),
		slog.String("subject", e.Subject),
		slog.String("client", e.Client.String()),
		slog.String("method", e.Method),
		slog.String("scheme", e.Scheme),
		slog.String("host", e.Host),
		slog.String("path", e.Path),
		slog.Int("status", e.Status),
		slog.Int64("bytes", e.Bytes),
		slog.Float64("duration_ms", milliseconds(e.Took)),
		slog.Float64("decision_ms", milliseconds(e.Decided)),
	)
	if e.Forwarded {
		attrs = append(attrs, slog.Int("upstream_status", e.UpstreamStatus), slog.Float64("upstream_ms", milliseconds(e.Upstream)))
	}
	if e.Err != nil {
		attrs = append(attrs, slog.String("error", e.Err.Error()))
	}
	if e.Aborted {
		attrs = append(attrs, slog.Bool("aborted", true))
	}
	return slog.GroupValue(attrs...)
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// AppendJSON appends what slog.JSONHandler writes for LogValue, a comma before each
// member. It reports false, and what it appended is void, when a text has to be
// escaped: the handler's own code does that.
func (e *Event) AppendJSON(b []byte) (_ []byte, ok bool) {
	if e.Err != nil || e.Took < 0 || e.Decided < 0 || e.Upstream < 0 {
		return b, false
	}
	for _, s := range [...]string{e.Listener, e.ID, e.Outcome, e.Reason, e.Rule, e.Subject, e.Client.Zone(), e.Method, e.Scheme, e.Host, e.Path} {
		if !isPlainText(s) {
			return b, false
		}
	}
	b = append(append(b, `,"listener":"`...), e.Listener...)
	b = append(append(b, `","decision_id":"`...), e.ID...)
	b = append(append(b, `","outcome":"`...), e.Outcome...)
	b = append(append(b, `","reason":"`...), e.Reason...)
	b = append(append(b, `","rule":"`...), e.Rule...)
	b = append(append(b, `","subject":"`...), e.Subject...)
	b = append(b, `","client":"`...)
	if e.Client.IsValid() {
		b = e.Client.AppendTo(b)
	} else {
		b = append(b, e.Client.String()...)
	}
	b = append(append(b, `","method":"`...), e.Method...)
	b = append(append(b, `","scheme":"`...), e.Scheme...)
	b = append(append(b, `","host":"`...), e.Host...)
	b = append(append(b, `","path":"`...), e.Path...)
	b = strconv.AppendInt(append(b, `","status":`...), int64(e.Status), 10)
	b = strconv.AppendInt(append(b, `,"bytes":`...), e.Bytes, 10)
	b = appendMilliseconds(append(b, `,"duration_ms":`...), e.Took)
	b = appendMilliseconds(append(b, `,"decision_ms":`...), e.Decided)
	if e.Forwarded {
		b = strconv.AppendInt(append(b, `,"upstream_status":`...), int64(e.UpstreamStatus), 10)
		b = appendMilliseconds(append(b, `,"upstream_ms":`...), e.Upstream)
	}
	if e.Aborted {
		b = append(b, `,"aborted":true`...)
	}
	return b, true
}

// appendMilliseconds appends milliseconds(d) as the shortest text of that number; d is
// not negative.
func appendMilliseconds(b []byte, d time.Duration) []byte {
	micros := d.Microseconds()
	b = strconv.AppendInt(b, micros/1000, 10)
	if rest := micros % 1000; rest > 0 {
		digits := [4]byte{'.', byte('0' + rest/100), byte('0' + rest/10%10), byte('0' + rest%10)}
		n := len(digits)
		for digits[n-1] == '0' {
			n--
		}
		b = append(b, digits[:n]...)
	}
	return b
}

// isPlainText reports whether s is the same text in JSON.
func isPlainText(s string) bool {
	other := byte(0)
	for i := range len(s) {
		other |= notPlainText[s[i]]
	}
	return other == 0
}

// notPlainText is 0 for bytes that are the same text in JSON, 1 for others.
var notPlainText = func() (table [256]byte) {
	for c := range table {
		if c < ' ' || c >= 0x7f || c == '"' || c == '\\' {
			table[c] = 1
		}
	}
	return table
}()

// clip bounds text that was not parsed.
func clip(s string) string {
	const most = 512
	if len(s) > most {
		return s[:most]
	}
	return s
}
