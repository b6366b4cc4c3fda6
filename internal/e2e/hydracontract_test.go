package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// contract is one request of Hydra's API and what is answered.
type contract struct {
	method, path, body string
	status             int
	// want is the whole body: JSON, or other text as it is; * stands for any value.
	want string
	// header are fields of the answer, name and value in turn; an empty value: not there.
	header []string
}

// volatile are the parts of answers that differ from run to run.
var volatile = []struct {
	pattern *regexp.Regexp
	with    string
}{
	{regexp.MustCompile(`"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"`), `"TIME"`},
	{regexp.MustCompile(`"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"`), `"UUID"`},
	{regexp.MustCompile(`"((?:login_)?session_id|sid|consent_request_id)":"[\w-]{16,}"`), `"$1":"ID"`},
	{regexp.MustCompile(`"gw_cs_[\w-]+"`), `"SECRET"`},
	{regexp.MustCompile(`"(n|e|d|p|q|dp|dq|qi|x|y|k)":"[\w-]{40,}"`), `"$1":"KEY"`},
	{regexp.MustCompile(`"(exp|iat|nbf)":\d+`), `"$1":0`},
}

// holds sends the request and compares all of the answer.
func (c contract) holds(t *testing.T, base string) answer {
	t.Helper()
	contentType := "application/json"
	if strings.HasSuffix(c.path, "/introspect") {
		contentType = "application/x-www-form-urlencoded"
	}
	a := send(t, c.method, base+c.path, c.body, "Content-Type", contentType)
	name := c.method + " " + c.path
	if a.status != c.status {
		t.Errorf("%s: got %d, want %d: %s", name, a.status, c.status, a.body)
		return a
	}
	for i := 0; i+1 < len(c.header); i += 2 {
		if got := a.header.Get(c.header[i]); got != c.header[i+1] {
			t.Errorf("%s: field %s is %q, want %q", name, c.header[i], got, c.header[i+1])
		}
	}
	if got := a.header.Get("Content-Type"); a.body != "" && got != "application/json" {
		t.Errorf("%s: Content-Type %q", name, got)
	}
	if c.want == "*" {
		return a
	}
	got := a.body
	for _, v := range volatile {
		got = v.pattern.ReplaceAllString(got, v.with)
	}
	if diff := cmp.Diff(parsed(c.want), parsed(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s\n%s", name, diff, a.body)
	}
	return a
}

// parsed returns the value of JSON, or text that is none.
func parsed(text string) any {
	var v any
	if json.Unmarshal([]byte(text), &v) != nil {
		return text
	}
	return v
}

// hydraClient is a client as Hydra prints it, with members changed or added.
func hydraClient(id string, changes ...string) string {
	c := map[string]any{
		"client_id": id, "client_name": "", "redirect_uris": []string{}, "grant_types": []string{"authorization_code"}, "response_types": []string{"code"},
		"scope": "offline_access offline openid", "audience": []string{}, "owner": "", "policy_uri": "", "allowed_cors_origins": []string{}, "tos_uri": "", "client_uri": "",
		"logo_uri": "", "contacts": []string{}, "client_secret_expires_at": 0, "subject_type": "public", "jwks": map[string]any{}, "metadata": map[string]any{},
		"token_endpoint_auth_method": "client_secret_basic", "userinfo_signed_response_alg": "none", "created_at": "TIME", "updated_at": "TIME", "skip_consent": false,
	}
	for i := 0; i+1 < len(changes); i += 2 {
		c[changes[i]] = parsed(changes[i+1])
	}
	text, err := json.Marshal(c)
	if err != nil {
		panic(err)
	}
	return string(text)
}

func hydraError(code, description string) string {
	text, err := json.Marshal(map[string]string{"error": code, "error_description": description})
	if err != nil {
		panic(err)
	}
	return string(text)
}

const (
	notFound  = "Unable to locate the resource"
	conflicts = "Unable to insert or update resource because a resource with that value exists already"
)

// TestTheAdministrativeAPIIsHydras walks the administrative API of Hydra 1, without a
// prefix, and of Hydra 2, below /admin, in the order in which the requests build on
// each other.
func TestTheAdministrativeAPIIsHydras(t *testing.T) {
	for _, prefix := range []string{"", "/admin"} {
		t.Run("prefix "+prefix, func(t *testing.T) {
			p := start(t, settings{})
			for _, rows := range [][]contract{clientsContract(prefix), keysContract(), trustContract(), sessionsContract(), tokensContract()} {
				for _, c := range rows {
					c.path = prefix + c.path
					c.holds(t, p.management)
				}
			}
		})
	}
}

func clientsContract(prefix string) []contract {
	const fields = `"redirect_uris":["https://app.example/cb"],"client_name":"App","owner":"ada"`
	app := []string{"redirect_uris", `["https://app.example/cb"]`, "client_name", "App", "owner", "ada"}
	shop := func(more ...string) string { return hydraClient("app", append(app, more...)...) }
	return []contract{
		{"GET", "/clients", "", 200, `[]`, []string{"X-Total-Count", "0"}},
		{"POST", "/clients", `{"client_id":"app","client_secret":"some-secret",` + fields + `}`, 201, shop("client_secret", "some-secret"), []string{"Location", prefix + "/clients/app"}},
		{"POST", "/clients", `{"client_id":"app"}`, 409, hydraError(conflicts, "the client exists already"), nil},
		{"POST", "/clients", `{}`, 201, hydraClient("UUID", "client_secret", "SECRET"), nil},
		{"POST", "/clients", `{"client_id":"b","subject_type":"nonsense"}`, 400, `*`, nil},
		{"POST", "/clients", `{"redirect_uris":["https://app.example/#x"]}`, 400, hydraError("invalid_redirect_uri", "/redirect_uris/0 must have no fragment (RFC 6749 section 3.1.2)"), nil},
		{"POST", "/clients", `{`, 400, hydraError("invalid_request", "the JSON text ends too early"), nil},
		{"GET", "/clients/app", "", 200, shop(), []string{"Cache-Control", "no-store"}},
		{"GET", "/clients/nobody", "", 404, hydraError(notFound, "there is no such client"), nil},
		{"PUT", "/clients/app", `{` + fields + `,"scope":"read","metadata":{"a":1}}`, 200, shop("scope", "read", "metadata", `{"a":1}`), nil},
		{"PUT", "/clients/nobody", `{}`, 404, hydraError(notFound, "there is no such client"), nil},
		{"PUT", "/clients/app", `{"client_id":"other"}`, 400, `*`, nil},
		{"PATCH", "/clients/app", `[{"op":"add","path":"/metadata/b","value":2}]`, 200, shop("scope", "read", "metadata", `{"a":1,"b":2}`), nil},
		{"PATCH", "/clients/app", `[{"op":"replace","path":"/metadata","value":{}}]`, 200, shop("scope", "read"), nil},
		{"PATCH", "/clients/app", `[{"op":"add","path":"/metadata/c","value":3}]`, 200, shop("scope", "read", "metadata", `{"c":3}`), nil},
		{"PATCH", "/clients/app", `[{"op":"replace","path":"/id","value":"x"}]`, 400, hydraError("invalid_request", "/0/path id cannot be changed"), nil},
		{"PATCH", "/clients/nobody", `[]`, 404, hydraError(notFound, "there is no such client"), nil},
		{"PUT", "/clients/app/lifespans", `{"refresh_token_grant_access_token_lifespan":"30m","jwt_bearer_grant_access_token_lifespan":null}`, 200,
			shop("scope", "read", "metadata", `{"c":3}`, "refresh_token_grant_access_token_lifespan", "30m"), nil},
		{"POST", "/clients/app/secrets/rotate", "", 200, shop("scope", "read", "metadata", `{"c":3}`, "refresh_token_grant_access_token_lifespan", "30m", "client_secret", "SECRET"), nil},
		{"DELETE", "/clients/app/secrets/rotate", "", 200, shop("scope", "read", "metadata", `{"c":3}`, "refresh_token_grant_access_token_lifespan", "30m"), nil},
		{"GET", "/clients?client_name=App&owner=ada", "", 200, `[` + shop("scope", "read", "metadata", `{"c":3}`, "refresh_token_grant_access_token_lifespan", "30m") + `]`, []string{"X-Total-Count", "1"}},
		{"GET", "/clients?owner=nobody", "", 200, `[]`, []string{"X-Total-Count", "0"}},
		{"GET", "/clients?limit=1&offset=1", "", 200, `*`, []string{"X-Total-Count", "2", "Link",
			fmt.Sprintf(`<%[1]s/clients?limit=1&offset=0>; rel="first",<%[1]s/clients?limit=1&offset=0>; rel="prev",<%[1]s/clients?limit=1&offset=1>; rel="last"`, prefix)}},
		{"GET", "/clients?limit=-1", "", 400, `*`, nil},
		{"GET", "/clients?page_token=forged", "", 400, hydraError("invalid_request", "the page token is not one of this list"), nil},
		{"DELETE", "/clients/app", "", 204, ``, nil},
		{"DELETE", "/clients/app", "", 404, hydraError(notFound, "there is no such client"), nil},
	}
}

func keysContract() []contract {
	const key = `{"alg":"ES256","crv":"P-256","kid":"k","kty":"EC","use":"sig","d":"KEY","x":"KEY","y":"KEY"}`
	const given = `{"alg":"HS256","k":"c29tZS1zZWNyZXQtb2YtdGhpcnR5LXR3by1ieXRlcy1vci1tb3Jl","kid":"given","kty":"oct","use":"sig"}`
	const shown = `{"alg":"HS256","k":"KEY","kid":"given","kty":"oct","use":"sig"}`
	return []contract{
		{"POST", "/keys/set", `{"alg":"ES256","use":"sig","kid":"k"}`, 201, `{"keys":[` + key + `]}`, nil},
		{"POST", "/keys/set", `{"alg":"nonsense","use":"sig","kid":"k2"}`, 400, `*`, nil},
		{"POST", "/keys/set", `{"alg":"ES256","use":"sig","kid":"k"}`, 409, hydraError(conflicts, "the key exists already"), nil},
		{"GET", "/keys/set", "", 200, `{"keys":[` + key + `]}`, nil},
		{"GET", "/keys/set/k", "", 200, `{"keys":[` + key + `]}`, nil},
		{"GET", "/keys/set/other", "", 404, hydraError("Not Found", "the set has no key of that id"), nil},
		{"GET", "/keys/nothing", "", 404, hydraError("Not Found", "there is no key set of that name"), nil},
		{"PUT", "/keys/set/given", given, 200, shown, nil},
		{"PUT", "/keys/set/another", given, 400, `*`, nil},
		{"PUT", "/keys/set", `{"keys":[` + given + `]}`, 200, `{"keys":[` + shown + `]}`, nil},
		{"GET", "/keys/set/k", "", 404, hydraError("Not Found", "the set has no key of that id"), nil},
		{"DELETE", "/keys/set/given", "", 204, ``, nil},
		{"DELETE", "/keys/set/given", "", 404, hydraError("Not Found", "there is no such key"), nil},
		{"DELETE", "/keys/set", "", 404, hydraError("Not Found", "there is no such key set"), nil},
		{"POST", "/keys/set", `{"alg":"ES256","use":"sig","kid":"k"}`, 201, `{"keys":[` + key + `]}`, nil},
		{"DELETE", "/keys/set", "", 204, ``, nil},
	}
}

func trustContract() []contract {
	const at = "/trust/grants/jwt-bearer/issuers"
	const jwk = `{"kty":"EC","crv":"P-256","kid":"k1","use":"sig","alg":"ES256","x":"0UulCi4V2-YWFghrrR0uuJrwNdxkUhwpywtK2aDpirM","y":"dYbcitYq4_toC9mR5YPieqa8wO1GVe_GN4DNTeFUufE"}`
	const body = `{"issuer":"https://issuer.example","subject":"ada","scope":["read"],"jwk":` + jwk + `,"expires_at":"2100-01-01T00:00:00Z"}`
	const grant = `{"id":"UUID","issuer":"https://issuer.example","subject":"ada","allow_any_subject":false,"scope":["read"],"public_key":{"set":"https://issuer.example","kid":"k1"},"created_at":"TIME","expires_at":"TIME"}`
	return []contract{
		{"GET", at, "", 200, `[]`, []string{"X-Total-Count", "0"}},
		{"POST", at, body, 201, grant, nil},
		{"POST", at, body, 409, hydraError(conflicts, "the trust grant exists already"), nil},
		{"POST", at, `{"issuer":"x"}`, 400, `*`, nil},
		{"GET", at, "", 200, `[` + grant + `]`, []string{"X-Total-Count", "1"}},
		{"GET", at + "?issuer=https%3A%2F%2Fissuer.example", "", 200, `[` + grant + `]`, []string{"X-Total-Count", "1"}},
		{"GET", at + "?issuer=nobody", "", 200, `[]`, []string{"X-Total-Count", "0"}},
		{"GET", at + "/nothing", "", 404, hydraError(notFound, "there is no such trust grant"), nil},
		{"DELETE", at + "/nothing", "", 404, hydraError(notFound, "there is no such trust grant"), nil},
	}
}

func sessionsContract() []contract {
	const consents, logins = "/oauth2/auth/sessions/consent", "/oauth2/auth/sessions/login"
	missing := hydraError("invalid_request", "the query parameter subject is missing")
	return []contract{
		{"GET", consents, "", 400, missing, nil},
		{"GET", consents + "?subject=ada", "", 200, `[]`, []string{"X-Total-Count", "0"}},
		{"DELETE", consents, "", 400, missing, nil},
		{"DELETE", consents + "?subject=ada", "", 400, hydraError("invalid_request", "either the query parameter client must name a client or all must be true"), nil},
		{"DELETE", consents + "?subject=ada&client=app", "", 204, ``, nil},
		{"DELETE", consents + "?subject=ada&all=true", "", 204, ``, nil},
		{"DELETE", consents + "?consent_request_id=unknown", "", 204, ``, nil},
		{"DELETE", logins, "", 400, missing, nil},
		{"DELETE", logins + "?subject=ada", "", 204, ``, nil},
		{"DELETE", logins + "?sid=unknown", "", 204, ``, nil},
		{"GET", "/oauth2/auth/requests/login", "", 400, hydraError("invalid_request", "the query parameter login_challenge is missing"), nil},
		{"GET", "/oauth2/auth/requests/login?login_challenge=x", "", 404, hydraError(notFound, "there is no such flow"), nil},
		{"PUT", "/oauth2/auth/requests/login/accept?login_challenge=x", `{"subject":"ada"}`, 404, hydraError(notFound, "there is no such flow"), nil},
		{"PUT", "/oauth2/auth/requests/login/reject?login_challenge=x", `{}`, 404, hydraError(notFound, "there is no such flow"), nil},
		{"GET", "/oauth2/auth/requests/consent?consent_challenge=x", "", 404, hydraError(notFound, "there is no such flow"), nil},
		{"PUT", "/oauth2/auth/requests/consent/accept?consent_challenge=x", `{}`, 404, hydraError(notFound, "there is no such flow"), nil},
		{"PUT", "/oauth2/auth/requests/consent/reject?consent_challenge=x", `{}`, 404, hydraError(notFound, "there is no such flow"), nil},
		{"GET", "/oauth2/auth/requests/logout?logout_challenge=x", "", 404, hydraError(notFound, "there is no such flow"), nil},
		{"PUT", "/oauth2/auth/requests/logout/accept?logout_challenge=x", "", 404, hydraError(notFound, "there is no such flow"), nil},
		{"PUT", "/oauth2/auth/requests/logout/reject?logout_challenge=x", "", 404, hydraError(notFound, "there is no such flow"), nil},
		{"PUT", "/oauth2/auth/requests/device/accept?device_challenge=x", `{"user_code":"AAAA-AAAA"}`, 404, hydraError(notFound, "there is no such flow"), nil},
	}
}

func tokensContract() []contract {
	return []contract{
		{"POST", "/oauth2/introspect", "token=unknown", 200, `{"active":false}`, nil},
		{"POST", "/oauth2/introspect", "", 400, hydraError("invalid_request", "the parameter token is missing"), nil},
		{"POST", "/oauth2/flush", `{"notAfter":"2020-01-01T00:00:00Z"}`, 204, ``, nil},
		{"POST", "/oauth2/flush", `{}`, 204, ``, nil},
		{"DELETE", "/oauth2/tokens?client_id=app", "", 204, ``, nil},
		{"DELETE", "/oauth2/tokens", "", 400, hydraError("invalid_request", "the query parameter client_id is missing"), nil},
	}
}

func TestAListIsReadWholeByTheTokensOfItsLinks(t *testing.T) {
	p := start(t, settings{})
	for i := range 5 {
		post(t, p.management+"/clients", fmt.Sprintf(`{"client_id":"c%d","token_endpoint_auth_method":"none"}`, i)).want(t, http.StatusCreated)
	}
	next, rel := "/admin/clients?page_size=2", regexp.MustCompile(`<([^>]+)>; rel="next"`)
	var got []string
	for next != "" {
		a := send(t, "GET", p.management+next, "").want(t, 200)
		var page []struct {
			ID string `json:"client_id"`
		}
		a.decode(t, &page)
		for _, c := range page {
			got = append(got, c.ID)
		}
		if a.header.Get("X-Total-Count") != "5" || strings.Contains(a.header.Get("Link"), "offset") {
			t.Errorf("X-Total-Count %q, Link %q", a.header.Get("X-Total-Count"), a.header.Get("Link"))
		}
		next = ""
		if m := rel.FindStringSubmatch(a.header.Get("Link")); m != nil {
			next = m[1]
		}
	}
	if diff := cmp.Diff([]string{"c0", "c1", "c2", "c3", "c4"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestThePublicAPIIsHydras asks every public endpoint for what needs no login.
func TestThePublicAPIIsHydras(t *testing.T) {
	p := start(t, settings{})
	post(t, p.management+"/clients", `{"client_id":"app","client_secret":"some-secret","grant_types":["client_credentials"],"scope":"read","audience":["api"]}`).want(t, 201)
	token := clientToken(t, p, "app", "some-secret", "read")
	basic := []string{"Authorization", "Basic YXBwOnNvbWUtc2VjcmV0", "Content-Type", "application/x-www-form-urlencoded"}
	for _, c := range []struct {
		name, method, path, body string
		header                   []string
		status                   int
		want                     string // JSON; * any body
		field, value             string
	}{
		{"a token", "POST", "/oauth2/token", "grant_type=client_credentials&scope=read", basic, 200, `{"access_token":"TOKEN","expires_in":3600,"scope":"read","token_type":"bearer"}`, "Cache-Control", "no-store"},
		{"a token for an audience", "POST", "/oauth2/token", "grant_type=client_credentials&audience=api", basic, 200, `{"access_token":"TOKEN","expires_in":3600,"scope":"","token_type":"bearer"}`, "Pragma", "no-cache"},
		{"a scope of others", "POST", "/oauth2/token", "grant_type=client_credentials&scope=write", basic, 400, hydraError("invalid_scope", "The requested scope is invalid, unknown, or malformed. The OAuth 2.0 Client is not allowed to request scope 'write'."), "", ""},
		{"an audience of others", "POST", "/oauth2/token", "grant_type=client_credentials&audience=other", basic, 400, `*`, "", ""},
		{"a wrong secret", "POST", "/oauth2/token", "grant_type=client_credentials", []string{"Authorization", "Basic YXBwOng=", "Content-Type", "application/x-www-form-urlencoded"}, 401,
			hydraError("invalid_client", "Client authentication failed (e.g., unknown client, no client authentication included, or unsupported authentication method)."), "Www-Authenticate", `Basic realm="oauth2", charset="UTF-8"`},
		{"another grant", "POST", "/oauth2/token", "grant_type=nonsense", basic, 400, `*`, "", ""},
		{"a revocation", "POST", "/oauth2/revoke", "token=" + token, basic, 200, ``, "", ""},
		{"a revocation of nothing", "POST", "/oauth2/revoke", "token=unknown", basic, 200, ``, "", ""},
		{"a revocation by nobody", "POST", "/oauth2/revoke", "token=unknown", []string{"Content-Type", "application/x-www-form-urlencoded"}, 401, `*`, "", ""},
		{"userinfo without a token", "GET", "/userinfo", "", nil, 401, hydraError("invalid_token", "An access token is required."), "Www-Authenticate", `Bearer realm="oauth2"`},
		{"keys", "GET", "/.well-known/jwks.json", "", nil, 200, `*`, "", ""},
		{"discovery", "GET", "/.well-known/openid-configuration", "", nil, 200, `*`, "", ""},
		{"metadata", "GET", "/.well-known/oauth-authorization-server", "", nil, 200, `*`, "", ""},
		{"a slash at the end", "GET", "/.well-known/jwks.json/", "", nil, 200, `*`, "", ""},
		{"alive", "GET", "/health/alive", "", nil, 200, `{"status":"ok"}`, "", ""},
		{"ready", "GET", "/health/ready", "", nil, 200, `{"status":"ok"}`, "", ""},
		{"version is not for strangers", "GET", "/version", "", nil, 404, `*`, "", ""},
		{"clients are not for strangers", "GET", "/clients", "", nil, 404, `*`, "", ""},
		{"clients of version 2 are not either", "GET", "/admin/clients", "", nil, 404, `*`, "", ""},
		{"a path that is not there", "GET", "/nothing", "", nil, 404, `*`, "", ""},
		{"the fallback for logins", "GET", "/oauth2/fallbacks/login", "", nil, 200, `*`, "", ""},
		{"the fallback for consents", "GET", "/oauth2/fallbacks/consent", "", nil, 200, `*`, "", ""},
		{"the fallback for logouts", "GET", "/oauth2/fallbacks/logout", "", nil, 200, `*`, "", ""},
		{"the page after a logout", "GET", "/oauth2/fallbacks/logout/callback", "", nil, 200, `*`, "", ""},
		{"the error page", "GET", "/oauth2/fallbacks/error?error=x&error_description=y", "", nil, 200, `*`, "", ""},
		{"the page for devices", "GET", "/oauth2/fallbacks/device", "", nil, 303, ``, "Location", p.public + "/oauth2/device/verify"},
		{"the page after a device", "GET", "/oauth2/fallbacks/device/done", "", nil, 200, `*`, "", ""},
		{"a logout without a session", "GET", "/oauth2/sessions/logout", "", nil, 303, `*`, "", ""},
	} {
		a := send(t, c.method, p.public+c.path, c.body, c.header...)
		got := regexp.MustCompile(`"ory_at_[\w.-]+"`).ReplaceAllString(a.body, `"TOKEN"`)
		if a.status != c.status || c.field != "" && a.header.Get(c.field) != c.value {
			t.Errorf("%s: %d, %s %q: %s", c.name, a.status, c.field, a.header.Get(c.field), a.body)
		}
		if c.want == "*" {
			continue
		}
		if diff := cmp.Diff(parsed(c.want), parsed(got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}
