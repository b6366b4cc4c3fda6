package acme

import (
	"context"
	"errors"
	"log/slog"

	"go.uber.org/zap/zapcore"
)

// bridge passes what certmagic logs on to slog. All of it is for debugging, because the
// Manager itself says what operators must know, except that a job was given up.
type bridge struct {
	log   *slog.Logger
	attrs []any
}

// Enabled implements zapcore.Core.
func (b bridge) Enabled(l zapcore.Level) bool {
	return b.log.Enabled(context.Background(), b.level(l, ""))
}

// level is what an entry is for us. Jobs are reported by loggers without a name.
func (bridge) level(l zapcore.Level, logger string) slog.Level {
	if l >= zapcore.ErrorLevel && logger == "" {
		return slog.LevelError
	}
	return slog.LevelDebug
}

// With implements zapcore.Core.
func (b bridge) With(fields []zapcore.Field) zapcore.Core {
	return bridge{log: b.log, attrs: append(b.attrs[:len(b.attrs):len(b.attrs)], attributes(fields)...)}
}

// Check implements zapcore.Core.
func (b bridge) Check(e zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if b.log.Enabled(context.Background(), b.level(e.Level, e.LoggerName)) {
		return checked.AddCore(e, b)
	}
	return checked
}

// Write implements zapcore.Core.
func (b bridge) Write(e zapcore.Entry, fields []zapcore.Field) error {
	level := b.level(e.Level, e.LoggerName)
	for _, f := range fields {
		if err, _ := f.Interface.(error); errors.Is(err, context.Canceled) {
			level = slog.LevelDebug // the host is not managed any more
		}
	}
	b.log.Log(context.Background(), level, "certificates: "+e.Message, append(attributes(fields), b.attrs...)...)
	return nil
}

// Sync implements zapcore.Core.
func (bridge) Sync() error { return nil }

// attributes makes fields key and value pairs.
func attributes(fields []zapcore.Field) []any {
	m := zapcore.NewMapObjectEncoder()
	for _, f := range fields {
		f.AddTo(m)
	}
	pairs := make([]any, 0, 2*len(m.Fields))
	for k, v := range m.Fields {
		pairs = append(pairs, k, v)
	}
	return pairs
}
