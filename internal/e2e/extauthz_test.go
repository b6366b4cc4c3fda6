package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"net"
	"testing"
	"time"

	auth "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/gatewarden/gatewarden/internal/testca"
)

// TestEnvoyMustShowTheCertificateThatIsAskedFor configures mutual TLS for ext_authz over
// gRPC: who has no certificate of the authority gets no decision.
func TestEnvoyMustShowTheCertificateThatIsAskedFor(t *testing.T) {
	now := time.Now()
	clients, servers := testca.New(t, "clients", now), testca.New(t, "servers", now)
	server := servers.Issue(t, func(c *x509.Certificate) {
		c.ExtKeyUsage, c.IPAddresses = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, []net.IP{net.IPv4(127, 0, 0, 1)}
	})
	envoy, stranger := clients.Issue(t, nil).TLS(), testca.New(t, "others", now).Issue(t, nil).TLS()
	asServer := clients.Issue(t, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }).TLS()
	stale := clients.Issue(t, func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Minute) }).TLS()
	p := start(t, settings{
		rules: `[{"id":"open","match":{"url":"http://api.example.com/open","methods":["GET"]},"authenticators":[{"handler":"anonymous"}],"authorizer":{"handler":"allow"},"mutators":[{"handler":"noop"}],"upstream":{"url":"http://127.0.0.1:1"}}]`,
		keys: map[string]string{
			"serve.ext_authz.port": "0", "serve.ext_authz.trusted_proxies": "127.0.0.1",
			"serve.ext_authz.tls.cert.base64": base64.StdEncoding.EncodeToString(testca.PEM(server.Leaf)), "serve.ext_authz.tls.key.base64": base64.StdEncoding.EncodeToString(server.KeyPEM(t)),
			"serve.ext_authz.tls.client_auth": "verify", "serve.ext_authz.tls.client_ca.base64": base64.StdEncoding.EncodeToString(testca.PEM(clients.Certificate)),
		},
	})
	shows := func(shown *tls.Certificate) credentials.TransportCredentials {
		config := &tls.Config{RootCAs: servers.Pool}
		if shown != nil { // whatever the server says that it accepts
			config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return shown, nil }
		}
		return credentials.NewTLS(config)
	}
	for _, c := range []struct {
		name string
		by   credentials.TransportCredentials
		want codes.Code
	}{
		{"the certificate of Envoy", shows(&envoy), codes.OK},
		{"no certificate", shows(nil), codes.Unavailable},
		{"of another authority", shows(&stranger), codes.Unavailable},
		{"of a server", shows(&asServer), codes.Unavailable},
		{"one that has ended", shows(&stale), codes.Unavailable},
		{"no TLS", insecure.NewCredentials(), codes.Unavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn, err := grpc.NewClient(p.app.Addresses()["ext_authz"], grpc.WithTransportCredentials(c.by))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			answer, err := auth.NewAuthorizationClient(conn).Check(t.Context(), &auth.CheckRequest{Attributes: &auth.AttributeContext{
				Request: &auth.AttributeContext_Request{Http: &auth.AttributeContext_HttpRequest{Method: "GET", Host: "api.example.com", Path: "/open", Scheme: "http"}},
			}})
			if got := status.Code(err); got != c.want {
				t.Fatalf("got %s, %v", got, err)
			}
			if c.want == codes.OK && codes.Code(answer.GetStatus().GetCode()) != codes.OK {
				t.Errorf("the check was answered %v", answer)
			}
		})
	}
}
