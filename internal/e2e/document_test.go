package e2e

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

func TestAClientIsTheDocumentAtItsID(t *testing.T) {
	var asked atomic.Int32
	var id string
	documents := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{
			"client_id": id, "client_name": "Notes", "redirect_uris": []string{"http://127.0.0.1/cb"}, "grant_types": []string{"authorization_code", "refresh_token"},
			"token_endpoint_auth_method": "none", "scope": "openid offline_access everything", "skip_consent": true,
		})
	}))
	t.Cleanup(documents.Close)
	id = documents.URL + "/client.json"
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: documents.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	const verifier = "a-verifier-that-has-43-characters-or-more-0123456789"
	sum := sha256.Sum256([]byte(verifier))
	request := url.Values{"client_id": {id}, "response_type": {"code"}, "redirect_uri": {"http://127.0.0.1:9/cb"}, "scope": {"openid offline_access"}, "state": {"the-state-of-it"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"}}.Encode()
	on := map[string]string{"oauth2.client_id_metadata_documents.enabled": "true", "clients.http.ca_file": ca}

	// This machine is no place that a stranger can have asked.
	guarded := start(t, settings{keys: on})
	if a := send(t, "GET", guarded.public+"/oauth2/auth?"+request, ""); a.status != http.StatusSeeOther || !strings.Contains(a.header.Get("Location"), "temporarily_unavailable") {
		t.Errorf("got %d %v", a.status, a.header)
	}
	if n := asked.Load(); n != 0 {
		t.Fatalf("this machine was asked %d times", n)
	}

	on = maps.Clone(on) // the first one reads its own again
	on["clients.http.allowed_networks"] = "127.0.0.0/8"
	p := start(t, settings{keys: on, rules: protected(upstream(t).URL)})
	if a := send(t, "GET", p.public+"/.well-known/oauth-authorization-server", ""); !strings.Contains(a.body, `"client_id_metadata_document_supported":true`) {
		t.Errorf("got %s", a.body)
	}
	post(t, p.management+"/users", `{"id": "ada", "username": "ada", "password": "correct-horse"}`).want(t, http.StatusCreated)
	home, _ := url.Parse(p.public)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	ada := &person{home: home.Host, transport: http.DefaultTransport, browsers: map[string]http.CookieJar{"one": jar}}
	end, err := ada.walk("one", p.public+"/oauth2/auth?"+request)
	if err != nil {
		t.Fatal(err)
	}
	back, err := url.Parse(end)
	if err != nil || back.Query().Get("code") == "" || back.Query().Get("iss") != p.public {
		t.Fatalf("came back to %s: %v", end, err)
	}
	var tokens struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
		Scope   string `json:"scope"`
	}
	form := func(pairs url.Values) answer {
		pairs.Set("client_id", id)
		return send(t, "POST", p.public+"/oauth2/token", pairs.Encode(), "Content-Type", "application/x-www-form-urlencoded")
	}
	form(url.Values{"grant_type": {"authorization_code"}, "code": {back.Query().Get("code")}, "redirect_uri": {"http://127.0.0.1:9/cb"}, "code_verifier": {verifier}}).want(t, http.StatusOK).decode(t, &tokens)
	if tokens.Scope != "openid offline_access" {
		t.Errorf("granted %q", tokens.Scope)
	}
	form(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {tokens.Refresh}}).want(t, http.StatusOK).decode(t, &tokens)
	send(t, "GET", p.public+"/userinfo", "", "Authorization", "Bearer "+tokens.Access).want(t, http.StatusOK)
	if a := send(t, "POST", p.management+"/oauth2/introspect", "token="+tokens.Access, "Content-Type", "application/x-www-form-urlencoded"); !strings.Contains(a.body, `"active":true`) || !strings.Contains(a.body, id) {
		t.Errorf("got %s", a.body)
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("the document was asked for %d times", n)
	}
	// It is stored nowhere, and an operator ends it by its id.
	if a := send(t, "GET", p.management+"/clients", ""); strings.Contains(a.body, id) {
		t.Errorf("got %s", a.body)
	}
	post(t, p.management+"/clients", `{"client_id": "`+id+`", "token_endpoint_auth_method": "none", "disabled": true}`).want(t, http.StatusCreated)
	if a := send(t, "POST", p.management+"/oauth2/introspect", "token="+tokens.Access, "Content-Type", "application/x-www-form-urlencoded"); !strings.Contains(a.body, `"active":false`) {
		t.Errorf("got %s", a.body)
	}
	form(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {tokens.Refresh}}).want(t, http.StatusUnauthorized)
}
