package login_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatewarden/gatewarden/internal/testenv"
	"github.com/gatewarden/gatewarden/login"
	"github.com/gatewarden/gatewarden/oauth2"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// A browser enforces the policy of the pages, runs their one script and goes on by
// itself where they say so.
func TestChromiumWalksThePages(t *testing.T) {
	testenv.Program(t, "chromium")
	r := startAt(t, "localhost", func(*login.Options) {})
	client := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		fmt.Fprintf(w, "the app got a code: %t", q.URL.Query().Has("code"))
	}))
	t.Cleanup(client.Close)
	r.app(func(c *oauth2.Client) {
		c.ID, c.RedirectURIs = "web", []string{client.URL + "/cb"}
		c.GrantTypes = append(c.GrantTypes, "urn:ietf:params:oauth:grant-type:device_code")
	})
	at := strings.TrimPrefix(r.url, "http://")
	tab := testenv.Chromium(t, map[string]string{at: strings.Replace(at, "localhost", "127.0.0.1", 1)}).Tab(t)
	password := func() {
		t.Helper()
		tab.See("Password")
		tab.Fill("#login", "ada")
		tab.Fill("#password", "correct horse")
		tab.Click(`button[value="login"]`)
	}
	logout := func() {
		t.Helper()
		tab.Open(r.url + "/oauth2/sessions/logout")
		tab.See("Sign out?")
		tab.Click(`button[value="logout"]`)
		tab.See("You are signed out")
	}
	sum := sha256.Sum256([]byte(verifier))
	authorize := r.url + "/oauth2/auth?" + url.Values{"client_id": {"web"}, "response_type": {"code"}, "redirect_uri": {client.URL + "/cb"}, "scope": {"openid"},
		"state": {"a state of it"}, "code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"}}.Encode()

	// Login, consent, logout.
	tab.Open(authorize)
	password()
	tab.See("Allow access?")
	tab.Click(`button[value="allow"]`)
	tab.See("the app got a code: true")
	logout()

	// A device.
	res, err := http.PostForm(strings.Replace(r.url, "http://", "http://web:secret@", 1)+"/oauth2/device/auth", url.Values{"scope": {"openid"}})
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var device struct {
		Complete string `json:"verification_uri_complete"`
	}
	if err := json.NewDecoder(res.Body).Decode(&device); err != nil || device.Complete == "" {
		t.Fatalf("no address to verify the device at: %v", err)
	}
	tab.Open(device.Complete)
	tab.Click(`button[type="submit"]`)
	password()
	tab.See("Allow access?")
	tab.Click(`button[value="allow"]`)
	tab.See("The device is connected")

	// An app for one-time codes, whose clock is the machine's.
	tab.Open(r.url + login.AccountPath)
	tab.Fill("#factor_password", "correct horse")
	tab.Click(`button[value="add-generator"]`)
	tab.See("Key for the app")
	a := &app{t: t, now: &atomic.Int64{}, secret: strings.ReplaceAll(regexp.MustCompile(`[A-Z2-7]{4}( [A-Z2-7]{4}){7}`).FindString(tab.Text()), " ", "")}
	a.now.Store(time.Now().Unix())
	tab.Fill("#code", a.code(0))
	tab.Click(`button[value="confirm-generator"]`)
	tab.See("Your recovery codes")
	logout()
	tab.Open(authorize)
	password()
	tab.See("Code of your authenticator app")
	a.now.Store(max(time.Now().Unix(), a.now.Load()+30)) // a later step than the first code's
	tab.Fill("#code", a.code(0))
	tab.Click(`button[value="code"]`)
	tab.See("Allow access?")

	// A passkey.
	tab.Authenticator()
	tab.Open(r.url + login.AccountPath)
	tab.Fill("#factor_password", "correct horse")
	tab.Click(`button[value="add-passkey"]`)
	tab.Fill("#name", "phone")
	tab.Click(`button[value="confirm-passkey"]`)
	tab.See("The passkey was added.")
	logout()
	tab.Open(authorize)
	tab.Click(`button[value="passkey"]`)
	tab.See("Allow access?")
	tab.Click(`button[value="allow"]`)
	tab.See("the app got a code: true")
}
