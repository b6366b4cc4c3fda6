package decision

import (
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"testing"

	"google.golang.org/grpc/peer"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/edge"
)

// A check without gRPC; BenchmarkExtAuthz has it, and Envoy's side too.
func BenchmarkCheck(b *testing.B) {
	_, s := dial(b, "127.0.0.0/8", decide(func(*access.Request) access.Decision {
		return access.Decision{Allow: true, RuleID: "rule", Reason: "allowed", Pass: access.Pass{Set: http.Header{"X-User": {"anonymous"}}}}
	}))
	question := checkOf(nil)
	ctx := peer.NewContext(b.Context(), &peer.Peer{Addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1000}})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Check(ctx, question); err != nil {
			b.Fatal(err)
		}
	}
}

// What AuthZEN asks about a route, without HTTP.
func BenchmarkRoutes(b *testing.B) {
	s, err := NewRoutes(edge.Options{Decider: decide(func(*access.Request) access.Decision {
		return access.Decision{Allow: true, RuleID: "rule", Reason: "allowed"}
	})})
	if err != nil {
		b.Fatal(err)
	}
	client := netip.MustParseAddr("192.0.2.1")
	b.ReportAllocs()
	for b.Loop() {
		if !s.Decide(b.Context(), "GET", "http://127.0.0.1:4456/anonymous/x", http.Header{}, client).Allow {
			b.Fatal("refused")
		}
	}
}

// sink is an answer that nobody reads.
type sink struct{ header http.Header }

func (w *sink) Header() http.Header         { return w.header }
func (w *sink) WriteHeader(int)             {}
func (w *sink) Write(p []byte) (int, error) { return len(p), nil }

// Without a server, rules and handlers: what a question costs at the adapter and the gate.
func BenchmarkAdapter(b *testing.B) {
	peers, err := edge.ParseTrusted([]string{"10.0.0.0/8"}, false)
	if err != nil {
		b.Fatal(err)
	}
	h, err := New(Options{Nginx: peers, Envoy: peers, Edge: edge.Options{
		Decider: decide(func(*access.Request) access.Decision {
			return access.Decision{Allow: true, RuleID: "rule", Reason: "allowed", Pass: access.Pass{Set: http.Header{"X-User": {"anonymous"}}}}
		}),
		Log: slog.New(slog.NewJSONHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelError})), Observe: func(*edge.Event) {},
	}})
	if err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct {
		name, target string
		header       http.Header
	}{
		{"forward auth", "/decisions/anonymous/x", http.Header{}},
		{"nginx", "/decisions/nginx", http.Header{"X-Original-Method": {"GET"}, "X-Original-Uri": {"/anonymous/x"}, "X-Original-Host": {"127.0.0.1:4456"}, "X-Original-Proto": {"http"}, "X-Forwarded-For": {"192.0.2.1"}}},
		{"envoy", "/decisions/envoy/anonymous/x", http.Header{"X-Forwarded-Proto": {"http"}, "X-Forwarded-For": {"192.0.2.1"}}},
	} {
		b.Run(c.name, func(b *testing.B) {
			u, err := url.ParseRequestURI(c.target)
			if err != nil {
				b.Fatal(err)
			}
			w, header := &sink{http.Header{}}, http.Header{}
			b.ReportAllocs()
			for b.Loop() {
				clear(w.header)
				clear(header)
				maps.Copy(header, c.header)
				h.ServeHTTP(w, &http.Request{Method: "GET", URL: u, Host: "127.0.0.1:4456", RemoteAddr: proxy, Header: header, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Body: http.NoBody})
			}
		})
	}
}
