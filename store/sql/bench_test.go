package sql

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatewarden/gatewarden/internal/testenv"
	"github.com/gatewarden/gatewarden/oauth2"
)

func benchToken(signature string) *oauth2.Token {
	return &oauth2.Token{
		Signature: signature, ExpiresAt: time.Now().Add(time.Hour),
		Grant: oauth2.Grant{
			RequestID: "request-" + signature, ClientID: "client", Subject: "subject", RequestedAt: time.Now(),
			RequestedScope: []string{"read", "write"}, GrantedScope: []string{"read", "write"}, GrantedAudience: []string{"https://api.example.com"},
			Form: url.Values{"grant_type": {"client_credentials"}, "scope": {"read write"}}, Session: json.RawMessage(`{"subject":"subject","extra":{"tenant":"a"}}`),
		},
	}
}

func benchStores(b *testing.B, run func(*testing.B, *Store)) {
	for _, database := range testenv.Databases() {
		b.Run(database.Name, func(b *testing.B) {
			s, err := Open(context.Background(), Options{DSN: database.DSN(b), Secrets: []string{testSecret}, AutoMigrate: true})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			run(b, s)
		})
	}
}

func BenchmarkIssueTokens(b *testing.B) {
	benchStores(b, func(b *testing.B, s *Store) {
		var n atomic.Int64
		issue := func() error {
			return s.IssueTokens(context.Background(), oauth2.Issue{Access: benchToken(fmt.Sprintf("%d-%020d", n.Add(1)*7919%1000003, n.Load()))})
		}
		b.Run("sequential", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := issue(); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("parallel", func(b *testing.B) {
			b.ReportAllocs()
			b.SetParallelism(16) // callers per CPU
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := issue(); err != nil {
						b.Error(err)
					}
				}
			})
		})
	})
}

func BenchmarkRotateRefresh(b *testing.B) {
	benchStores(b, func(b *testing.B, s *Store) {
		b.ReportAllocs()
		var family atomic.Int64
		b.SetParallelism(16)
		b.RunParallel(func(pb *testing.PB) {
			name := fmt.Sprintf("family-%d", family.Add(1))
			pair := func(i int) oauth2.Issue {
				access, refresh := benchToken(fmt.Sprintf("a-%s-%d", name, i)), benchToken(fmt.Sprintf("r-%s-%d", name, i))
				access.Grant.RequestID, refresh.Grant.RequestID = name, name
				return oauth2.Issue{Access: access, Refresh: refresh}
			}
			if err := s.IssueTokens(context.Background(), pair(0)); err != nil {
				b.Error(err)
			}
			for i := 1; pb.Next(); i++ {
				if err := s.RotateRefresh(context.Background(), fmt.Sprintf("r-%s-%d", name, i-1), pair(i)); err != nil {
					b.Error(err)
				}
			}
		})
	})
}

func BenchmarkAccessToken(b *testing.B) {
	benchStores(b, func(b *testing.B, s *Store) {
		const tokens = 1000
		for i := range tokens {
			if err := s.IssueTokens(context.Background(), oauth2.Issue{Access: benchToken(fmt.Sprint(i))}); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportAllocs()
		b.ResetTimer()
		b.RunParallel(func(pb *testing.PB) {
			for i := 0; pb.Next(); i++ {
				if _, err := s.AccessToken(context.Background(), fmt.Sprint(i%tokens)); err != nil {
					b.Error(err)
				}
			}
		})
	})
}
