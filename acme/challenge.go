package acme

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"net"
	"net/http"
	"strings"

	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
)

// challenges keeps what the directory will look for in the storage, where every node
// that shares it finds the answer: the directory may reach any of them. It implements
// acmez.Solver.
type challenges struct{ *issuer }

// Present implements acmez.Solver.
func (c challenges) Present(ctx context.Context, challenge acme.Challenge) error {
	text, err := json.Marshal(challenge)
	if err != nil {
		return err
	}
	return c.storage.Store(ctx, c.challengeAt(challenge.Identifier.Value), text)
}

// CleanUp implements acmez.Solver.
func (c challenges) CleanUp(ctx context.Context, challenge acme.Challenge) error {
	return c.storage.Delete(context.WithoutCancel(ctx), c.challengeAt(challenge.Identifier.Value))
}

// challengeAt is the one challenge of a host: a lock makes sure that one node asks for
// its certificate at a time.
func (i *issuer) challengeAt(host string) string { return i.at("challenges", host+".json") }

// pending returns the challenge of one of the hosts that is waited for.
func (m *Manager) pending(ctx context.Context, host, kind string) (challenge acme.Challenge, ok bool) {
	host = strings.ToLower(host)
	if (*m.hosts.Load())[host] == nil { // so a client cannot name files
		return challenge, false
	}
	text, err := m.issuer.storage.Load(ctx, m.issuer.challengeAt(host))
	if err != nil || json.Unmarshal(text, &challenge) != nil {
		return challenge, false
	}
	return challenge, challenge.Type == kind
}

// Challenge returns how to answer a handshake of TLS-ALPN-01 (RFC 8737), nil for any
// other one. Without a challenge that is waited for it fails. net/http closes the
// connection after it.
func (m *Manager) Challenge(hello *tls.ClientHelloInfo) *tls.Config {
	if len(hello.SupportedProtos) != 1 || hello.SupportedProtos[0] != acmez.ACMETLS1Protocol {
		return nil
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{acmez.ACMETLS1Protocol}, SessionTicketsDisabled: true,
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			challenge, ok := m.pending(hello.Context(), hello.ServerName, acme.ChallengeTypeTLSALPN01)
			if !ok {
				return nil, nil
			}
			return acmez.TLSALPN01ChallengeCert(challenge)
		},
	}
}

// HTTP01 answers challenges of HTTP-01 (RFC 8555 section 8.3) and 404 to all else.
func (m *Manager) HTTP01() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		challenge, ok := m.pending(r.Context(), host, acme.ChallengeTypeHTTP01)
		if !ok || r.Method != http.MethodGet || r.URL.Path != challenge.HTTP01ResourcePath() {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		_, _ = w.Write([]byte(challenge.KeyAuthorization)) // the directory tries again
	})
}
