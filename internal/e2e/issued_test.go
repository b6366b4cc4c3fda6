package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"net"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/gatewarden/gatewarden/internal/testca"
)

// TestABoundTokenIsIssuedAndOpensOnlyWithItsKey goes the whole way: the embedded server
// binds a token to a key or a certificate, and the gateway wants it.
func TestABoundTokenIsIssuedAndOpensOnlyWithItsKey(t *testing.T) {
	now := time.Now()
	clients, servers := testca.New(t, "clients", now), testca.New(t, "servers", now)
	server := servers.Issue(t, func(c *x509.Certificate) {
		c.ExtKeyUsage, c.IPAddresses = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, []net.IP{net.IPv4(127, 0, 0, 1)}
	})
	keys := map[string]string{"strategies.access_token": "jwt"}
	for _, listener := range []string{"proxy", "public"} {
		keys["serve."+listener+".tls.cert.base64"] = base64.StdEncoding.EncodeToString(testca.PEM(server.Leaf))
		keys["serve."+listener+".tls.key.base64"] = base64.StdEncoding.EncodeToString(server.KeyPEM(t))
		keys["serve."+listener+".tls.client_auth"] = "request"
		keys["serve."+listener+".tls.client_ca.base64"] = base64.StdEncoding.EncodeToString(testca.PEM(clients.Certificate))
	}
	p := start(t, settings{keys: keys, rules: rulesOf(upstream(t).URL, map[string]string{
		"introspected": `{"handler": "oauth2_introspection"}`, "verified": `{"handler": "jwt"}`,
	})})
	management, public, proxy := "http://"+p.app.Addresses()["management"], "https://"+p.app.Addresses()["public"], "https://"+p.app.Addresses()["proxy"]
	mine, other := clients.Issue(t, func(c *x509.Certificate) { c.DNSNames = []string{"app.test"} }), clients.Issue(t, nil)
	post(t, management+"/clients", `{"client_id": "keys", "client_secret": "some-secret", "grant_types": ["client_credentials"], "dpop_bound_access_tokens": true}`).want(t, 201)
	post(t, management+"/clients", `{"client_id": "certificates", "grant_types": ["client_credentials"], "token_endpoint_auth_method": "tls_client_auth",
		"tls_client_auth_san_dns": "app.test", "tls_client_certificate_bound_access_tokens": true}`).want(t, 201)

	// as sends a request of a client with a certificate, or without one.
	as := func(shown *testca.Issued, method, target string, form url.Values, header ...string) answer {
		c := client()
		settings := &tls.Config{RootCAs: servers.Pool}
		if shown != nil {
			settings.Certificates = []tls.Certificate{shown.TLS()}
		}
		c.Transport = &http.Transport{TLSClientConfig: settings}
		return sendWith(t, c, method, target, form.Encode(), header...)
	}
	token := func(shown *testca.Issued, form url.Values, header ...string) (text, kind string) {
		form.Set("grant_type", "client_credentials")
		var got struct {
			Token string `json:"access_token"`
			Kind  string `json:"token_type"`
		}
		as(shown, "POST", public+"/oauth2/token", form, append(header, "Content-Type", "application/x-www-form-urlencoded")...).want(t, 200).decode(t, &got)
		return got.Token, got.Kind
	}
	holder, thief := newKeyHolder(t), newKeyHolder(t)
	secret := "Basic " + base64.StdEncoding.EncodeToString([]byte("keys:some-secret"))
	bound, kind := token(nil, url.Values{}, "Authorization", secret, "DPoP", holder.proof(t, "", "POST", public+"/oauth2/token", ""))
	if kind != "DPoP" {
		t.Errorf("token_type %q", kind)
	}
	certified, _ := token(&mine, url.Values{"client_id": {"certificates"}})
	as(&other, "POST", public+"/oauth2/token", url.Values{"grant_type": {"client_credentials"}, "client_id": {"certificates"}}, "Content-Type", "application/x-www-form-urlencoded").want(t, 401)
	as(nil, "POST", public+"/oauth2/token", url.Values{"grant_type": {"client_credentials"}, "client_id": {"certificates"}}, "Content-Type", "application/x-www-form-urlencoded").want(t, 401)
	for _, rule := range []string{"introspected", "verified"} {
		at := proxy + "/" + rule
		as(nil, "GET", at, nil, "Authorization", "DPoP "+bound, "DPoP", holder.proof(t, bound, "GET", at, "")).want(t, 200)
		as(nil, "GET", at, nil, "Authorization", "DPoP "+bound, "DPoP", thief.proof(t, bound, "GET", at, "")).want(t, 401)
		as(nil, "GET", at, nil, "Authorization", "Bearer "+bound).want(t, 401)
		as(&mine, "GET", at, nil, "Authorization", "Bearer "+certified).want(t, 200)
		as(&other, "GET", at, nil, "Authorization", "Bearer "+certified).want(t, 401)
		as(nil, "GET", at, nil, "Authorization", "Bearer "+certified).want(t, 401)
	}
}
