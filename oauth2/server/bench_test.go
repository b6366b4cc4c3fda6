package server_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gatewarden/gatewarden/oauth2/server"
)

// BenchmarkClientCredentials issues tokens through the handler, embedded store
// included.
func BenchmarkClientCredentials(b *testing.B) {
	for _, strategy := range []string{server.Opaque, server.JWT} {
		b.Run(strategy, func(b *testing.B) {
			r := start(b, func(o *server.Options) { o.AccessTokenStrategy, o.AccessTokenAlg = strategy, "EdDSA" })
			r.client()
			h := r.server.Public()
			body := pairs("grant_type", "client_credentials", "scope", "read write", "audience", "api").Encode()
			b.ReportAllocs()
			b.SetParallelism(16)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					req := httptest.NewRequest("POST", "/oauth2/token", strings.NewReader(body))
					req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
					req.SetBasicAuth("app", "secret")
					w := httptest.NewRecorder()
					if h.ServeHTTP(w, req); w.Code != http.StatusOK {
						b.Fatal(w.Body)
					}
				}
			})
		})
	}
}

// BenchmarkIntrospectWarm asks in process about a token that is cached.
func BenchmarkIntrospectWarm(b *testing.B) {
	r := start(b)
	r.client()
	token, ctx := r.machineToken(), context.Background()
	b.ReportAllocs()
	for b.Loop() {
		if t, err := r.server.Introspect(ctx, token); err != nil || !t.Active {
			b.Fatal(t, err)
		}
	}
}

// BenchmarkIntrospectEndpoint is the same over HTTP, with client authentication.
func BenchmarkIntrospectEndpoint(b *testing.B) {
	r := start(b)
	r.client()
	h, body := r.server.Public(), pairs("token", r.machineToken()).Encode()
	b.ReportAllocs()
	for b.Loop() {
		req := httptest.NewRequest("POST", "/oauth2/introspect", strings.NewReader(body))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.SetBasicAuth("app", "secret")
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, req); w.Code != http.StatusOK {
			b.Fatal(w.Body)
		}
	}
}

func BenchmarkDiscovery(b *testing.B) {
	r := start(b)
	h := r.server.Public()
	req := httptest.NewRequest("GET", "/.well-known/openid-configuration", nil)
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(httptest.NewRecorder(), req)
	}
}
