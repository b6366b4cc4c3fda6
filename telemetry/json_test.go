package telemetry

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"math"
	"testing"
	"time"
)

// both writes one record with the handler and with slog's.
func both(t *testing.T, level slog.Level, at time.Time, msg string, attrs ...slog.Attr) {
	t.Helper()
	var got, want bytes.Buffer
	r := slog.NewRecord(at, level, msg, 0)
	r.AddAttrs(attrs...)
	if err := NewJSON(&got, slog.LevelInfo).Handle(context.Background(), r); err != nil {
		t.Fatal(err)
	}
	if err := slog.NewJSONHandler(&want, nil).Handle(context.Background(), r); err != nil {
		t.Fatal(err)
	}
	if got.String() != want.String() {
		t.Errorf("got %q, want %q", got.String(), want.String())
	}
}

func TestLinesAreThoseOfSlog(t *testing.T) {
	now := time.Now()
	for _, v := range []slog.Value{
		slog.StringValue(""), slog.StringValue("plain"), slog.StringValue(`a"b\c`), slog.StringValue("\n\x00\x7f"), slog.StringValue("é\u2028"), slog.StringValue("\xff"), slog.StringValue("<&>"),
		slog.IntValue(-7), slog.Int64Value(math.MinInt64), slog.Uint64Value(math.MaxUint64), slog.BoolValue(true), slog.BoolValue(false),
		slog.Float64Value(0), slog.Float64Value(math.Copysign(0, -1)), slog.Float64Value(0.123), slog.Float64Value(-1.5), slog.Float64Value(1e-7), slog.Float64Value(1e-6), slog.Float64Value(1e21), slog.Float64Value(123456789.25), slog.Float64Value(math.NaN()), slog.Float64Value(math.Inf(1)),
		slog.DurationValue(time.Second), slog.TimeValue(now), slog.AnyValue(errors.New("broken")), slog.AnyValue([]string{"x"}), slog.AnyValue(nil),
		slog.GroupValue(slog.Int("a", 1)), slog.GroupValue(),
	} {
		both(t, slog.LevelInfo, now, "request", slog.String("first", "x"), slog.Attr{Key: "value", Value: v}, slog.Int("last", 1))
	}
	both(t, slog.LevelInfo, now, "no attributes")
	both(t, slog.LevelWarn+1, now.UTC(), `a "message"`, slog.Bool("x", true))
	both(t, slog.LevelError, time.Time{}, "no time", slog.Bool("x", true))
	both(t, slog.LevelError, time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC), "late")
	both(t, slog.LevelInfo, now, "a key", slog.Bool(`k"`, true), slog.Bool("", true), slog.Attr{})
}

// encoded is an Appender, whose group it can encode or not.
type encoded struct {
	slog.Value
	ok bool
}

func (e encoded) LogValue() slog.Value { return e.Value }

func (e encoded) AppendJSON(b []byte) ([]byte, bool) { return append(b, `,"a":1`...), e.ok }

func TestAValueThatEncodesItselfIsTheLineOfSlog(t *testing.T) {
	now := time.Now()
	for _, ok := range []bool{true, false} {
		both(t, slog.LevelInfo, now, "request", slog.Int("first", 1), slog.Any("", encoded{slog.GroupValue(slog.Int("a", 1)), ok}), slog.Int("last", 1))
	}
}

func FuzzLinesAreThoseOfSlog(f *testing.F) {
	f.Add("msg", "key", "value", 1.5, int64(3))
	f.Add("\u2029", "é", "\x1b[0m", 1e-9, int64(-1))
	f.Fuzz(func(t *testing.T, msg, key, value string, number float64, n int64) {
		both(t, slog.LevelInfo, time.Unix(n%1e11, n%1e9), msg, slog.String(key, value), slog.Float64("f", number), slog.Int64("n", n))
	})
}

func TestTimesAreThoseOfRFC3339(t *testing.T) {
	var c clock
	east := time.FixedZone("", 5*3600+1800)
	now := time.Unix(1_700_000_000, 0)
	for _, at := range []time.Time{
		now, now.Add(1), now.Add(120 * time.Millisecond), now.UTC(), now.In(east), now.In(east).Add(time.Second - 1), now.Add(time.Second), now.Add(-time.Hour),
		time.Unix(-1, 5), time.Date(1, 1, 1, 0, 0, 0, 1, time.UTC), time.Unix(1_700_000_000, 100_000_000).UTC(),
	} {
		if got, want := string(c.append(nil, at)), at.Format(time.RFC3339Nano); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestTheLevelAndAttributesOfALoggerHold(t *testing.T) {
	var b bytes.Buffer
	l := slog.New(NewJSON(&b, slog.LevelWarn))
	l.Info("unseen")
	l.With("a", 1).WithGroup("g").Info("unseen")
	if b.Len() != 0 {
		t.Errorf("got %s, want nothing", b.String())
	}
	l.With("a", 1).WithGroup("g").Error("seen", "x", "y")
	if got := b.String(); !bytes.Contains(b.Bytes(), []byte(`"level":"ERROR","msg":"seen","a":1,"g":{"x":"y"}}`)) {
		t.Errorf("got %s", got)
	}
}

func BenchmarkAccessEvent(b *testing.B) {
	for name, h := range map[string]slog.Handler{"json": NewJSON(io.Discard, slog.LevelInfo), "slog": slog.NewJSONHandler(io.Discard, nil)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r := slog.NewRecord(time.Now(), slog.LevelInfo, "request", 0)
				r.AddAttrs(slog.String("listener", "proxy"), slog.String("decision_id", "UO2M6JZ5XMJ7QQ4T3ZB4XKZ2VA"), slog.String("outcome", "allow"), slog.String("rule", "orders"),
					slog.String("client", "192.0.2.1"), slog.String("method", "GET"), slog.String("host", "api.example"), slog.String("path", "/orders/7"),
					slog.Int("status", 200), slog.Int64("bytes", 11), slog.Float64("duration_ms", 0.217), slog.Float64("decision_ms", 0.012))
				_ = h.Handle(context.Background(), r)
			}
		})
	}
}
