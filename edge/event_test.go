package edge

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"testing"
	"time"
)

// slogs is e as slog writes it, without the start of the line.
func slogs(t testing.TB, e *Event) string {
	var b bytes.Buffer
	r := slog.NewRecord(time.Time{}, slog.LevelInfo, "request", 0)
	r.AddAttrs(slog.Any("", e))
	if err := slog.NewJSONHandler(&b, nil).Handle(context.Background(), r); err != nil {
		t.Fatal(err)
	}
	_, members, _ := bytes.Cut(b.Bytes(), []byte(`"msg":"request"`))
	return string(bytes.TrimSuffix(members, []byte("}\n")))
}

func TestAnEventIsTheLineThatSlogWrites(t *testing.T) {
	plain := Event{Listener: "proxy", ID: "UO2M6JZ5", Client: netip.MustParseAddr("192.0.2.1"), Method: "GET", Scheme: "http", Host: "api.example", Path: "/orders/7",
		Rule: "orders", Subject: "alice", Outcome: OutcomeAllow, Reason: "allowed", Status: 200, Bytes: 11,
		Decided: 12 * time.Microsecond, Upstream: 1234567 * time.Nanosecond, Took: 3 * time.Second, UpstreamStatus: 200, Forwarded: true, Aborted: true}
	for name, change := range map[string]func(*Event){
		"plain":         func(*Event) {},
		"IPv6":          func(e *Event) { e.Client = netip.MustParseAddr("2001:db8::1") },
		"IPv4 in IPv6":  func(e *Event) { e.Client = netip.MustParseAddr("::ffff:192.0.2.1") },
		"no address":    func(e *Event) { e.Client = netip.Addr{} },
		"not forwarded": func(e *Event) { e.Forwarded, e.Aborted = false, false },
		"no time":       func(e *Event) { e.Took, e.Decided, e.Upstream = 0, 999, 1000 },
		"tenths and hundredths": func(e *Event) {
			e.Took, e.Decided, e.Upstream = 100*time.Microsecond, 120*time.Microsecond, 1120*time.Microsecond
		},
		"a year":                 func(e *Event) { e.Took = 365 * 24 * time.Hour },
		"everything at its zero": func(e *Event) { *e = Event{} },
	} {
		e := plain
		change(&e)
		got, ok := e.AppendJSON(nil)
		if want := slogs(t, &e); !ok || string(got) != want {
			t.Errorf("%s: got %v %s\nwant %s", name, ok, got, want)
		}
	}
}

func TestAnEventThatNeedsEscapingIsLeftToSlog(t *testing.T) {
	for _, e := range []Event{{Subject: `a"b`}, {Path: "/\n"}, {Host: "é"}, {Rule: `\`}, {Err: errors.New("x")}, {Took: -1}, {Client: netip.MustParseAddr(`fe80::1%a"b`)}} {
		if b, ok := e.AppendJSON(nil); ok {
			t.Errorf("%+v: got %s", e, b)
		}
	}
}

func FuzzEventsAreTheLinesOfSlog(f *testing.F) {
	f.Add("proxy", "alice", "/x", 200, int64(11), int64(1200), int64(1), true)
	f.Fuzz(func(t *testing.T, listener, subject, path string, status int, size, took, decided int64, forwarded bool) {
		e := Event{Listener: listener, Subject: subject, Path: path, Status: status, Bytes: size, Took: time.Duration(took), Decided: time.Duration(decided),
			Upstream: time.Duration(took ^ decided), Forwarded: forwarded}
		if got, ok := e.AppendJSON(nil); ok && string(got) != slogs(t, &e) {
			t.Errorf("got %s\nwant %s", got, slogs(t, &e))
		}
	})
}
