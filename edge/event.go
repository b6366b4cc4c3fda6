package edge

import (
	"context"
	"log/slog"
	"net/netip"
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
	// Without the place in the source, which is always this one and dear to find.
	r := slog.NewRecord(e.Start.Add(e.Took), slog.LevelInfo, "request", 0)
	r.AddAttrs(attrs...)
	_ = h.Handle(ctx, r) // as slog.Logger does: there is nowhere to tell
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// clip bounds text that was not parsed.
func clip(s string) string {
	const most = 512
	if len(s) > most {
		return s[:most]
	}
	return s
}
