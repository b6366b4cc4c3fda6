package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"testing"
)

const registered = `{"redirect_uris": ["https://app.example/cb"], "grant_types": ["client_credentials"], "scope": "orders"}`

func TestClientsRegisterThemselvesWhereThatIsOn(t *testing.T) {
	off := start(t, settings{})
	post(t, off.public+"/oauth2/register", registered).want(t, http.StatusNotFound)
	if a := send(t, "GET", off.public+"/.well-known/openid-configuration", ""); strings.Contains(a.body, "registration_endpoint") {
		t.Errorf("registration is advertised: %s", a.body)
	}

	const initial = "an-initial-access-token-of-the-test"
	sum := sha256.Sum256([]byte(initial))
	key := func(name string) string { return "oidc.dynamic_client_registration." + name }
	p := start(t, settings{rules: protected(upstream(t).URL), keys: map[string]string{
		key("enabled"): "true", key("allowed_grant_types"): "client_credentials", key("default_scope"): "orders", key("allowed_audience"): "https://api.example/",
		key("initial_access_tokens"): "sha256:" + hex.EncodeToString(sum[:]), key("rate_limit.rate"): "7",
		"serve.public.cors.enabled": "true", "serve.public.cors.allowed_origins": "https://spa.example",
	}})
	a := send(t, "GET", p.public+"/.well-known/oauth-authorization-server", "")
	if !strings.Contains(a.body, `"registration_endpoint":"`+p.public+`/oauth2/register"`) {
		t.Errorf("got %s", a.body)
	}
	a = send(t, "OPTIONS", p.public+"/oauth2/register", "", "Origin", "https://spa.example", "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization,content-type")
	if a.status != http.StatusNoContent || a.header.Get("Access-Control-Allow-Origin") != "https://spa.example" {
		t.Errorf("a preflight: %d %v", a.status, a.header)
	}
	post(t, p.public+"/oauth2/register", registered).want(t, http.StatusUnauthorized)
	var c struct {
		ID     string `json:"client_id"`
		Secret string `json:"client_secret"`
		Token  string `json:"registration_access_token"`
		URI    string `json:"registration_client_uri"`
	}
	send(t, "POST", p.public+"/oauth2/register", registered, "Content-Type", "application/json", "Authorization", "Bearer "+initial).want(t, http.StatusCreated).decode(t, &c)
	if c.URI != p.public+"/oauth2/register/"+c.ID {
		t.Errorf("got %+v", c)
	}
	token := clientToken(t, p, c.ID, c.Secret, "orders")
	if a := send(t, "GET", p.management+"/clients/"+c.ID, ""); !strings.Contains(a.body, `"origin":"registered"`) || strings.Contains(a.body, "registration_access_token") {
		t.Errorf("the management API says %s", a.body)
	}
	// default_scope is that of operators' clients too, as Hydra has it.
	if a := post(t, p.management+"/clients", `{"client_id": "operators"}`).want(t, http.StatusCreated); !strings.Contains(a.body, `"scope":"orders"`) {
		t.Errorf("got %s", a.body)
	}
	// A change of a client is in force at once.
	body := strings.Replace(registered, "{", `{"client_id": "`+c.ID+`", "client_name": "New", `, 1)
	spent := c.Token
	send(t, "PUT", c.URI, body, "Content-Type", "application/json", "Authorization", "Bearer "+spent).want(t, http.StatusOK).decode(t, &c)
	send(t, "GET", c.URI, "", "Authorization", "Bearer "+spent).want(t, http.StatusUnauthorized)
	send(t, "DELETE", c.URI, "", "Authorization", "Bearer "+c.Token).want(t, http.StatusNoContent)
	send(t, "POST", p.public+"/oauth2/token", "grant_type=client_credentials&client_id="+c.ID+"&client_secret="+c.Secret, "Content-Type", "application/x-www-form-urlencoded").want(t, http.StatusUnauthorized)
	if a := send(t, "GET", p.proxy+"/orders/1", "", "Authorization", "Bearer "+token); a.status == http.StatusOK {
		t.Error("a token of a client that is gone opens")
	}

	post(t, p.public+"/oauth2/register", registered).want(t, http.StatusUnauthorized)
	post(t, p.public+"/oauth2/register", registered).want(t, http.StatusUnauthorized)
	if a := post(t, p.public+"/oauth2/register", registered).want(t, http.StatusTooManyRequests); a.header.Get("Retry-After") == "" {
		t.Errorf("got %v", a.header)
	}
	metrics := send(t, "GET", p.management+"/metrics", "").body
	for _, want := range []string{`endpoint="register",error="request_unauthorized"`, `route="/oauth2/register/{id}"`} {
		if !strings.Contains(metrics, want) {
			t.Errorf("the metrics have no %s", want)
		}
	}
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{initial, spent, c.Token} {
		if strings.Contains(p.log.String(), secret) {
			t.Error("the log holds a token")
		}
	}
}
