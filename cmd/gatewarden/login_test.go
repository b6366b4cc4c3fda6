package main

import (
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestThePageOfTheLoginWorks types the commands of docs/login.md and walks through the
// pages as a browser without scripts does.
func TestThePageOfTheLoginWorks(t *testing.T) {
	page, err := os.ReadFile("../../docs/login.md")
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, 3, []string{"all"})
	commands := regexp.MustCompile(`(?m)^ {4}gatewarden (.*)$`).FindAllStringSubmatch(string(page), -1)
	if len(commands) != 2 {
		t.Fatalf("the page has %d commands, want 2", len(commands))
	}
	for _, c := range commands {
		if _, stderr, code := gatewarden(t, words(c[1]), []string{"GATEWARDEN_ADMIN_URL=" + s.management}); code != 0 {
			t.Fatalf("%s: %d %s", c[1], code, stderr)
		}
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	// visit follows what the answers say, as far as this server goes.
	visit := func(method, address, form string) (at *url.URL, body string) {
		t.Helper()
		for range 10 {
			r, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(form))
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(address, s.public+"/") {
				return r.URL, ""
			}
			if method == http.MethodPost {
				r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			}
			res, err := client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(res.Body)
			res.Body.Close()
			if err != nil {
				t.Fatal(err)
			}
			method, form = http.MethodGet, ""
			if address = res.Header.Get("Location"); address == "" {
				if address = strings.TrimPrefix(res.Header.Get("Refresh"), "0; url="); address == "" {
					return r.URL, string(text)
				}
			}
		}
		t.Fatal("the redirects do not end")
		return nil, ""
	}
	hidden := func(body string) url.Values {
		form := url.Values{}
		for _, m := range regexp.MustCompile(`<input type="hidden" name="([^"]+)" value="([^"]*)">`).FindAllStringSubmatch(body, -1) {
			form.Set(m[1], html.UnescapeString(m[2]))
		}
		return form
	}
	_, body := visit(http.MethodGet, s.public+"/oauth2/auth?"+url.Values{
		"client_id": {"shop"}, "response_type": {"code"}, "redirect_uri": {"http://127.0.0.1:9010/callback"}, "scope": {"openid email"}, "state": {"some-state-of-it"},
		"code_challenge": {"E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"}, "code_challenge_method": {"S256"}, "ui_locales": {"de"},
	}.Encode(), "")
	if !strings.Contains(body, "um bei shop fortzufahren") {
		t.Fatalf("this is not the login page: %s", body)
	}
	form := hidden(body)
	form.Set("login", "ada@example.com")
	form.Set("password", "correct-horse")
	form.Set("action", "login")
	at, body := visit(http.MethodPost, s.public+"/login", form.Encode())
	if !strings.Contains(body, "Zugriff erlauben?") {
		t.Fatalf("this is not the consent page: %s %s", at, body)
	}
	form = hidden(body)
	form.Set("action", "allow")
	form.Set("scope", "email")
	if at, body = visit(http.MethodPost, s.public+"/consent", form.Encode()); at.Host != "127.0.0.1:9010" || at.Query().Get("code") == "" {
		t.Fatalf("came back to %s: %s", at, body)
	}
	if _, body = visit(http.MethodGet, s.public+"/account", ""); !strings.Contains(body, "Ada L.") || !strings.Contains(body, "see your email address") {
		t.Errorf("this is not the account page: %s", body)
	}
	_, body = visit(http.MethodGet, s.public+"/oauth2/auth?client_id=nobody", "")
	s.stop() // which writes what the log still holds
	id := regexp.MustCompile(`<dt>Request</dt><dd>(\w+)</dd>`).FindStringSubmatch(body)
	if id == nil || !strings.Contains(s.log.String(), id[1]) {
		t.Errorf("the error page has no request id that is in the log: %s", body)
	}
	for what, secret := range map[string]string{"the password": "correct-horse", "the code": at.Query().Get("code"), "the CSRF token": form.Get("csrf_token")} {
		if strings.Contains(s.log.String(), secret) {
			t.Errorf("the log holds %s", what)
		}
	}
}
