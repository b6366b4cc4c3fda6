package e2e

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// hydraApp is a login and consent app that compares all that it is told.
type hydraApp struct {
	t       *testing.T
	p       *program
	admin   string // management API with the prefix of the generation
	browser *browser
	login   string // the challenge of the first login
}

// answer sends an app's answer and returns where the browser goes; a second answer gets
// 410 and the address of the authorization request.
func (a *hydraApp) answer(kind, verb, challenge, body string) string {
	a.t.Helper()
	at := "/oauth2/auth/requests/" + kind + "/" + verb + "?" + kind + "_challenge=" + challenge
	var next struct {
		RedirectTo string `json:"redirect_to"`
	}
	first := send(a.t, "PUT", a.admin+at, body, "Content-Type", "application/json").want(a.t, http.StatusOK)
	first.decode(a.t, &next)
	contract{"PUT", at, body, http.StatusGone, `{"redirect_to":"` + a.requestURL(kind) + `"}`, nil}.holds(a.t, a.admin)
	return next.RedirectTo
}

func (a *hydraApp) requestURL(kind string) string {
	if kind == "logout" {
		return a.p.public + "/oauth2/sessions/logout?id_token_hint=HINT&post_logout_redirect_uri=https%3A%2F%2Fapp.example%2Fbye&state=s"
	}
	return a.p.public + "/oauth2/auth?" + hydraAuthorization().Encode()
}

// hydraAuthorization asks for everything that a login app is told.
func hydraAuthorization() url.Values {
	return url.Values{
		"client_id": {"app"}, "response_type": {"code"}, "scope": {"openid offline read"}, "redirect_uri": {"https://app.example/callback"}, "state": {"a-state-of-enough-length"},
		"code_challenge": {"E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"}, "code_challenge_method": {"S256"}, "audience": {"api"}, "nonce": {"a-nonce"},
		"acr_values": {"1 2"}, "ui_locales": {"de en"}, "display": {"page"}, "login_hint": {"ada@example.org"},
	}
}

const hydraOIDC = `{"acr_values":["1","2"],"ui_locales":["de","en"],"display":"page","login_hint":"ada@example.org"}`

func (a *hydraApp) authorize(parameter string, change ...string) string {
	a.t.Helper()
	query := hydraAuthorization()
	for i := 0; i+1 < len(change); i += 2 {
		query.Set(change[i], change[i+1])
	}
	return a.challenge(a.browser.get(a.t, a.p.public+"/oauth2/auth?"+query.Encode()), parameter)
}

func (a *hydraApp) challenge(at *url.URL, parameter string) string {
	a.t.Helper()
	challenge := at.Query().Get(parameter)
	if challenge == "" {
		a.t.Fatalf("the browser is at %s, want a %s", at, parameter)
	}
	if len(challenge) > 64 {
		a.t.Errorf("a challenge of %d characters", len(challenge))
	}
	return challenge
}

// TestLoginConsentAndLogoutAreHydras goes through everything that apps of both
// generations see on the way from the authorization request to the logout.
func TestLoginConsentAndLogoutAreHydras(t *testing.T) {
	for _, prefix := range []string{"", "/admin"} {
		t.Run("prefix "+prefix, func(t *testing.T) {
			p := start(t, settings{keys: map[string]string{
				"urls.login": "http://127.0.0.1:1/login", "urls.consent": "http://127.0.0.1:1/consent", "urls.logout": "http://127.0.0.1:1/logout",
			}})
			a := &hydraApp{t: t, p: p, admin: p.management + prefix, browser: newBrowser(t)}
			created := hydraClient("app", "client_secret", "some-secret", "redirect_uris", `["https://app.example/callback"]`, "post_logout_redirect_uris", `["https://app.example/bye"]`,
				"grant_types", `["authorization_code","refresh_token"]`, "scope", "openid offline read", "audience", `["api"]`)
			shown := strings.Replace(created, `"client_secret":"some-secret",`, "", 1)
			body := strings.NewReplacer(`"created_at":"TIME",`, "", `"updated_at":"TIME",`, "", `,"updated_at":"TIME"`, "").Replace(created)
			contract{"POST", "/clients", body, 201, created, nil}.holds(t, a.admin)
			verifier := a.walk(shown)
			tokens := a.redeem(verifier)
			a.remembered(shown)
			a.logout(shown, tokens)
		})
	}
}

// walk goes through login and consent and returns the code.
func (a *hydraApp) walk(client string) (code string) {
	t := a.t
	t.Helper()
	requestURL, err := json.Marshal(a.requestURL("login"))
	if err != nil {
		t.Fatal(err)
	}
	about := `"requested_scope":["openid","offline","read"],"requested_access_token_audience":["api"],"oidc_context":` + hydraOIDC + `,"client":` + client + `,"request_url":` + string(requestURL)
	login := a.authorize("login_challenge")
	a.login = login
	contract{"GET", "/oauth2/auth/requests/login?login_challenge=" + login, "", 200,
		`{"challenge":"` + login + `","skip":false,"subject":"","session_id":"ID",` + about + `}`, nil}.holds(t, a.admin)
	contract{"GET", "/oauth2/auth/requests/login?challenge=" + login, "", 200, "*", nil}.holds(t, a.admin) // Hydra 1.0
	contract{"PUT", "/oauth2/auth/requests/login/accept?login_challenge=" + login, `{"remember":true}`, 400, hydraError("invalid_request", "subject: is required"), nil}.holds(t, a.admin)
	next := a.answer("login", "accept", login, `{"subject":"ada","remember":true,"remember_for":3600,"acr":"2","amr":["pwd"],"context":{"a":1}}`)
	consent := a.challenge(a.browser.get(t, next), "consent_challenge")
	contract{"GET", "/oauth2/auth/requests/consent?consent_challenge=" + consent, "", 200,
		`{"challenge":"` + consent + `","consent_request_id":"ID","skip":false,"subject":"ada","login_challenge":"` + login + `","login_session_id":"ID","acr":"2","amr":["pwd"],"context":{"a":1},` + about + `}`, nil}.holds(t, a.admin)
	contract{"PUT", "/oauth2/auth/requests/consent/accept?consent_challenge=" + consent, `{"grant_scope":["write"]}`, 400, hydraError("invalid_request", "grant_scope: \"write\" was not requested"), nil}.holds(t, a.admin)
	next = a.answer("consent", "accept", consent, `{"grant_scope":["openid","offline","read"],"grant_access_token_audience":["api"],"remember":true,"remember_for":3600,"session":{"access_token":{"a":"b"},"id_token":{"team":"engines"}}}`)
	back := a.browser.get(t, next)
	code = back.Query().Get("code")
	if diff := cmp.Diff(url.Values{"code": {code}, "scope": {"openid offline read"}, "state": {"a-state-of-enough-length"}, "iss": {a.p.public}}, back.Query()); diff != "" || code == "" {
		t.Fatalf("the answer at the client (-want +got):\n%s", diff)
	}
	return code
}

// redeem buys tokens with the code and looks at what they say and what is listed.
func (a *hydraApp) redeem(code string) (idToken string) {
	t := a.t
	t.Helper()
	form := []string{"Content-Type", "application/x-www-form-urlencoded", "Authorization", "Basic YXBwOnNvbWUtc2VjcmV0"}
	var tokens struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
		ID      string `json:"id_token"`
		Type    string `json:"token_type"`
		Scope   string `json:"scope"`
		Expires int    `json:"expires_in"`
	}
	answered := send(t, "POST", a.p.public+"/oauth2/token", url.Values{
		"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {"https://app.example/callback"}, "code_verifier": {"dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"},
	}.Encode(), form...).want(t, http.StatusOK)
	answered.decode(t, &tokens)
	if !strings.HasPrefix(tokens.Access, "ory_at_") || !strings.HasPrefix(tokens.Refresh, "ory_rt_") || tokens.ID == "" || tokens.Type != "bearer" || tokens.Scope != "openid offline read" || tokens.Expires != 3600 {
		t.Errorf("the token answer is %s", answered.body)
	}
	introspected := `{"active":true,"scope":"openid offline read","client_id":"app","sub":"ada","exp":0,"iat":0,"nbf":0,"aud":["api"],"iss":"` + a.p.public + `","token_type":"Bearer","token_use":"access_token","ext":{"a":"b"}}`
	contract{"POST", "/oauth2/introspect", "token=" + tokens.Access, 200, introspected, nil}.holds(t, a.admin)
	contract{"POST", "/oauth2/introspect", "token=" + tokens.Refresh, 200, strings.Replace(introspected, "access_token", "refresh_token", 1), nil}.holds(t, a.admin)
	contract{"POST", "/oauth2/introspect", "token=" + tokens.Access + "&scope=write", 200, `{"active":false}`, nil}.holds(t, a.admin)
	info := send(t, "GET", a.p.public+"/userinfo", "", "Authorization", "Bearer "+tokens.Access).want(t, 200)
	if diff := cmp.Diff(map[string]any{"sub": "ada", "team": "engines"}, parsed(info.body)); diff != "" {
		t.Errorf("userinfo (-want +got):\n%s", diff)
	}
	return tokens.ID
}

// remembered looks at the list of consents, at requests that nobody has to answer
// again, and revokes.
func (a *hydraApp) remembered(client string) {
	t := a.t
	t.Helper()
	requestURL, err := json.Marshal(a.requestURL("consent"))
	if err != nil {
		t.Fatal(err)
	}
	list := contract{"GET", "/oauth2/auth/sessions/consent?subject=ada", "", 200, `[{"grant_scope":["openid","offline","read"],"grant_access_token_audience":["api"],
		"session":{"access_token":{"a":"b"},"id_token":{"team":"engines"}},"remember":true,"remember_for":3600,"handled_at":"TIME","consent_request_id":"ID",
		"consent_request":{"challenge":"","consent_request_id":"ID","requested_scope":["openid","offline","read"],"requested_access_token_audience":["api"],"skip":false,"subject":"ada",
		"oidc_context":` + hydraOIDC + `,"client":` + client + `,"request_url":` + string(requestURL) + `,"login_challenge":"` + a.login + `","login_session_id":"ID","acr":"2","amr":["pwd"],"context":{"a":1}}}]`,
		[]string{"X-Total-Count", "1"}}.holds(t, a.admin)
	var consents []struct {
		ID      string `json:"consent_request_id"`
		Request struct {
			Session string `json:"login_session_id"`
		} `json:"consent_request"`
	}
	list.decode(t, &consents)
	contract{"GET", "/oauth2/auth/sessions/consent?subject=ada&login_session_id=" + consents[0].Request.Session, "", 200, "*", []string{"X-Total-Count", "1"}}.holds(t, a.admin)
	contract{"GET", "/oauth2/auth/sessions/consent?subject=ada&login_session_id=another", "", 200, "[]", []string{"X-Total-Count", "0"}}.holds(t, a.admin)

	login := a.authorize("login_challenge")
	var asked struct {
		Skip    bool   `json:"skip"`
		Subject string `json:"subject"`
	}
	send(t, "GET", a.admin+"/oauth2/auth/requests/login?login_challenge="+login, "").want(t, 200).decode(t, &asked)
	if !asked.Skip || asked.Subject != "ada" {
		t.Errorf("a remembered login is asked for again: %+v", asked)
	}
	contract{"PUT", "/oauth2/auth/requests/login/accept?login_challenge=" + login, `{"subject":"eve"}`, 400, hydraError("invalid_request", "subject: must be the subject of the login request, because skip is true"), nil}.holds(t, a.admin)
	consent := a.challenge(a.browser.get(t, a.answer("login", "accept", login, `{"subject":"ada"}`)), "consent_challenge")
	send(t, "GET", a.admin+"/oauth2/auth/requests/consent?consent_challenge="+consent, "").want(t, 200).decode(t, &asked)
	if !asked.Skip {
		t.Error("a remembered consent is asked for again")
	}
	back := a.browser.get(t, a.answer("consent", "reject", consent, `{"error":"access_denied","error_description":"not today","error_hint":"h","error_debug":"d","status_code":403}`))
	if diff := cmp.Diff(url.Values{"error": {"access_denied"}, "error_description": {"not today h"}, "state": {"a-state-of-enough-length"}, "iss": {a.p.public}}, back.Query()); diff != "" {
		t.Errorf("a rejected consent (-want +got):\n%s", diff)
	}
	contract{"DELETE", "/oauth2/auth/sessions/consent?consent_request_id=" + consents[0].ID, "", 204, "", nil}.holds(t, a.admin)
	contract{"GET", "/oauth2/auth/sessions/consent?subject=ada", "", 200, "[]", []string{"X-Total-Count", "0"}}.holds(t, a.admin)
}

// logout asks for a logout twice: the first stays logged in, the second ends it.
func (a *hydraApp) logout(client, idToken string) {
	t := a.t
	t.Helper()
	at := strings.Replace(a.requestURL("logout"), "HINT", idToken, 1)
	for _, accept := range []bool{false, true} {
		logout := a.challenge(a.browser.get(t, at), "logout_challenge")
		contract{"GET", "/oauth2/auth/requests/logout?logout_challenge=" + logout, "", 200,
			`{"challenge":"` + logout + `","subject":"ada","sid":"ID","request_url":"` + at + `","rp_initiated":true,"client":` + client + `,"requested_at":"TIME","expires_at":"TIME"}`, nil}.holds(t, a.admin)
		if !accept {
			contract{"PUT", "/oauth2/auth/requests/logout/reject?logout_challenge=" + logout, "", 204, "", nil}.holds(t, a.admin)
			continue
		}
		var next struct {
			RedirectTo string `json:"redirect_to"`
		}
		send(t, "PUT", a.admin+"/oauth2/auth/requests/logout/accept?logout_challenge="+logout, "").want(t, 200).decode(t, &next)
		if !strings.HasPrefix(next.RedirectTo, a.p.public+"/oauth2/sessions/logout?logout_verifier=") {
			t.Errorf("after the logout the browser goes to %s", next.RedirectTo)
		}
		if end := a.browser.get(t, next.RedirectTo).String(); end != "https://app.example/bye?state=s" {
			t.Errorf("the logout ends at %s", end)
		}
	}
	if login := a.authorize("login_challenge"); login != "" {
		var asked struct {
			Skip bool `json:"skip"`
		}
		send(t, "GET", a.admin+"/oauth2/auth/requests/login?login_challenge="+login, "").want(t, 200).decode(t, &asked)
		if asked.Skip {
			t.Error("who logged out is still logged in")
		}
		back := a.browser.get(t, a.answer("login", "reject", login, `{"error":"access_denied","error_description":"closed"}`))
		if back.Query().Get("error") != "access_denied" || back.Query().Get("error_description") != "closed" {
			t.Errorf("a rejected login: %s", back)
		}
	}
}
