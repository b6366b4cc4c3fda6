package e2e

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// loginApp is an app as operators write it: forms for login, consent and logout that
// ask the management API what they are about, and tell it the answer.
type loginAppServer struct {
	management string
}

// serveLoginApp starts the app with a certificate and returns its address.
func serveLoginApp(t *testing.T, management string, certificate tls.Certificate) string {
	t.Helper()
	s := httptest.NewUnstartedServer(&loginAppServer{management})
	s.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

const loginPassword = "correct horse"

func (a *loginAppServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	kind := strings.TrimPrefix(r.URL.Path, "/")
	if kind != "login" && kind != "consent" && kind != "logout" {
		http.NotFound(w, r)
		return
	}
	challenge := r.FormValue(kind + "_challenge")
	var asked struct {
		Skip    bool     `json:"skip"`
		Subject string   `json:"subject"`
		Scope   []string `json:"requested_scope"`
	}
	if status := a.call(http.MethodGet, kind, challenge, "", nil, &asked); status != http.StatusOK {
		http.Error(w, "this is over", http.StatusGone)
		return
	}
	if r.Method == http.MethodPost || asked.Skip {
		answer := map[string]any{}
		switch {
		case kind == "login" && asked.Skip:
			answer["subject"] = asked.Subject
		case kind == "login" && r.PostFormValue("password") != loginPassword:
			http.Error(w, "wrong password", http.StatusForbidden)
			return
		case kind == "login":
			answer = map[string]any{"subject": r.PostFormValue("user"), "remember": true, "remember_for": 600}
		case kind == "consent":
			answer = map[string]any{"grant_scope": asked.Scope, "session": map[string]any{"id_token": map[string]any{"team": "engines"}}}
		}
		var next struct {
			RedirectTo string `json:"redirect_to"`
		}
		if status := a.call(http.MethodPut, kind, challenge, "/accept", answer, &next); status != http.StatusOK {
			http.Error(w, "this is over", http.StatusGone)
			return
		}
		http.Redirect(w, r, next.RedirectTo, http.StatusSeeOther)
		return
	}
	fields := ""
	if kind == "login" {
		fields = `<input name="user"><input name="password" type="password">`
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	fmt.Fprintf(w, `<!doctype html><title>%[1]s</title><form method="post"><h1>The %[1]s of %[2]s</h1><input type="hidden" name="%[1]s_challenge" value="%[3]s">%[4]s<button>go on</button></form>`,
		kind, html.EscapeString(asked.Subject), html.EscapeString(challenge), fields)
}

// call asks the management API about a challenge or answers it.
func (a *loginAppServer) call(method, kind, challenge, verb string, body, out any) int {
	data, err := json.Marshal(body)
	if err != nil {
		return 0
	}
	r, err := http.NewRequest(method, a.management+"/oauth2/auth/requests/"+kind+verb+"?"+kind+"_challenge="+url.QueryEscape(challenge), strings.NewReader(string(data)))
	if err != nil {
		return 0
	}
	r.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || json.Unmarshal(text, out) != nil {
		return 0
	}
	return res.StatusCode
}
