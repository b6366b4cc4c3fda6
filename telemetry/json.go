package telemetry

import (
	"context"
	"io"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// NewJSON returns a handler that writes what slog.NewJSONHandler writes, byte for
// byte, at half the cost for records of plain ASCII texts, numbers and booleans, and
// at less for values that encode themselves (see Appender). Anything else is left to
// slog's handler. The writer gets one whole line per Write and must be safe for
// concurrent use, as a Buffer is.
func NewJSON(w io.Writer, level slog.Leveler) slog.Handler {
	return &jsonHandler{w: w, level: level, Handler: slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level}),
		lines: &sync.Pool{New: func() any { return new([]byte) }}}
}

// Appender is a slog.LogValuer whose value is a group, for an attribute without key.
// AppendJSON appends the members as slog's handler writes them, each with a comma
// before it, or reports false when it cannot.
type Appender interface {
	AppendJSON(b []byte) (_ []byte, ok bool)
}

// jsonHandler inherits WithAttrs and WithGroup, which return slog's handler.
type jsonHandler struct {
	slog.Handler
	w     io.Writer
	level slog.Leveler
	lines *sync.Pool // of *[]byte
	clock clock
}

// clock writes times in the form of time.RFC3339Nano. What many lines have in common,
// all but the fraction of a second, it formats once.
type clock struct{ last atomic.Pointer[second] }

type second struct {
	unix       int64
	in         *time.Location
	text, zone string
}

func (c *clock) append(b []byte, t time.Time) []byte {
	s := c.last.Load()
	if s == nil || s.unix != t.Unix() || s.in != t.Location() {
		s = &second{t.Unix(), t.Location(), t.Format("2006-01-02T15:04:05"), t.Format("Z07:00")}
		c.last.Store(s)
	}
	b = append(b, s.text...)
	if rest := t.Nanosecond(); rest > 0 {
		fraction := [10]byte{'.'}
		for i := 9; i > 0; i-- {
			fraction[i] = byte('0' + rest%10)
			rest /= 10
		}
		n := len(fraction)
		for fraction[n-1] == '0' {
			n--
		}
		b = append(b, fraction[:n]...)
	}
	return append(b, s.zone...)
}

// Enabled implements slog.Handler.
func (h *jsonHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level.Level() }

// Handle implements slog.Handler.
func (h *jsonHandler) Handle(ctx context.Context, r slog.Record) error {
	line := h.lines.Get().(*[]byte)
	defer h.lines.Put(line)
	b, ok := h.appendRecord((*line)[:0], &r)
	*line = b
	if !ok {
		return h.Handler.Handle(ctx, r)
	}
	_, err := h.w.Write(b)
	return err
}

// appendRecord reports false for a record that is slog's to write.
func (h *jsonHandler) appendRecord(b []byte, r *slog.Record) (_ []byte, ok bool) {
	year := r.Time.Year()
	if r.Time.IsZero() || year < 0 || year > 9999 || !isPlain(r.Message) {
		return b, false
	}
	b = h.clock.append(append(b, `{"time":"`...), r.Time)
	b = append(append(append(b, `","level":"`...), r.Level.String()...), `","msg":"`...)
	b = append(append(b, r.Message...), '"')
	ok = true
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "" {
			var members Appender
			if members, ok = a.Value.Any().(Appender); ok {
				b, ok = members.AppendJSON(b)
			}
			return ok
		}
		if ok = isPlain(a.Key); ok {
			b = append(append(append(b, ',', '"'), a.Key...), '"', ':')
			b, ok = appendValue(b, a.Value)
		}
		return ok
	})
	return append(b, '}', '\n'), ok
}

func appendValue(b []byte, v slog.Value) (_ []byte, ok bool) {
	switch v.Kind() {
	case slog.KindString:
		s := v.String()
		if !isPlain(s) {
			return b, false
		}
		return append(append(append(b, '"'), s...), '"'), true
	case slog.KindInt64:
		return strconv.AppendInt(b, v.Int64(), 10), true
	case slog.KindUint64:
		return strconv.AppendUint(b, v.Uint64(), 10), true
	case slog.KindBool:
		return strconv.AppendBool(b, v.Bool()), true
	case slog.KindFloat64:
		f := v.Float64()
		// Beyond these encoding/json writes exponents.
		if f != 0 && (f < 1e-6 || !(f < 1e21)) {
			return b, false
		}
		return strconv.AppendFloat(b, f, 'f', -1, 64), true
	}
	return b, false
}

// isPlain reports whether s is the same text in JSON.
func isPlain(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}
