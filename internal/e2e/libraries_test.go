package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gatewarden/gatewarden/internal/testca"
	"github.com/gatewarden/gatewarden/internal/testenv"
)

// TestClientLibrariesOfOtherLanguagesWork runs scripts that use the libraries as their
// documentation says, with all of their checks, against a server with TLS; each ends
// with "done".
func TestClientLibrariesOfOtherLanguagesWork(t *testing.T) {
	folder := filepath.Join("testdata", "libraries")
	for _, row := range []struct {
		script string
		start  func(t *testing.T) *exec.Cmd
	}{
		{"openid-client.mjs", inNode}, {"oauth4webapi.mjs", inNode},
		{"with_requests_oauthlib.py", inPython("requests_oauthlib")}, {"with_authlib.py", inPython("authlib", "requests")},
	} {
		t.Run(row.script, func(t *testing.T) {
			cmd := row.start(t)
			if cmd.Dir == "" {
				cmd.Dir = folder
			}
			cmd.Args = append(cmd.Args, row.script)
			cmd.Env = append(os.Environ(), libraryWorld(t)...)
			output, err := cmd.CombinedOutput()
			if err != nil || !strings.HasSuffix(string(output), "done\n") {
				t.Fatalf("%v: %s", err, output)
			}
		})
	}
}

func inNode(t *testing.T) *exec.Cmd {
	node, folder := testenv.Node(t, filepath.Join("testdata", "libraries"))
	cmd := exec.Command(node)
	cmd.Dir = folder
	return cmd
}

func inPython(modules ...string) func(t *testing.T) *exec.Cmd {
	return func(t *testing.T) *exec.Cmd { return exec.Command(testenv.Python(t, modules...), "-B") }
}

// libraryWorld starts a server, an API behind the proxy and a person, and returns what a
// script must know of them.
func libraryWorld(t *testing.T) (environ []string) {
	authority := testca.New(t, "authority", time.Now())
	certificate := authority.Issue(t, func(c *x509.Certificate) {
		c.ExtKeyUsage, c.IPAddresses = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, []net.IP{net.IPv4(127, 0, 0, 1)}
	})
	at := testenv.FreeAddress(t)
	issuer := "https://" + at
	keys := map[string]string{"urls.self.issuer": issuer, "serve.public.port": strings.TrimPrefix(at, "127.0.0.1:"), "oauth2.dpop.nonce": "required",
		"oidc.dynamic_client_registration.enabled": "true", "oidc.dynamic_client_registration.allowed_scopes": "profile"}
	for _, listener := range []string{"proxy", "public"} {
		keys["serve."+listener+".tls.cert.base64"] = base64.StdEncoding.EncodeToString(testca.PEM(certificate.Leaf))
		keys["serve."+listener+".tls.key.base64"] = base64.StdEncoding.EncodeToString(certificate.KeyPEM(t))
	}
	p := start(t, settings{keys: keys, rules: rulesOf(upstream(t).URL, map[string]string{
		"introspected": `{"handler": "oauth2_introspection"}`, "verified": `{"handler": "jwt"}`,
	})})
	post(t, p.management+"/users", `{"id": "ada", "username": "ada", "password": "correct-horse", "claims": {"name": "Ada L."}}`).want(t, http.StatusCreated)
	roots := write(t, t.TempDir(), "roots.pem", string(testca.PEM(authority.Certificate)))
	home := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: authority.Pool}}
	t.Cleanup(home.CloseIdleConnections)
	return []string{
		"ISSUER=" + issuer, "MANAGEMENT=" + p.management, "API=https://" + p.app.Addresses()["proxy"], "CALLBACK=https://app.example/callback",
		"PERSON=" + servePerson(t, at, home), "NODE_EXTRA_CA_CERTS=" + roots, "REQUESTS_CA_BUNDLE=" + roots, "NO_PROXY=127.0.0.1",
	}
}
