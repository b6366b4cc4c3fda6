package registration

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/oauth2"
)

const minimal = `{"redirect_uris": ["https://app.example/cb"]}`

func TestAClientRegistersItselfAndIsToldHowToGoOn(t *testing.T) {
	r := start(t)
	a := r.register(`{"redirect_uris": ["https://app.example/cb", "http://127.0.0.1/cb"], "client_name": "App", "client_name#de": "Anwendung", "unknown": {"x": 1},
		"scope": "openid read", "grant_types": ["authorization_code", "refresh_token"], "skip_consent": false, "audience": [], "metadata": {}, "owner": ""}`)
	id := a.str("client_id")
	c := r.stored(id)
	want := oauth2.Client{
		ID: id, Name: "App", RedirectURIs: []string{"https://app.example/cb", "http://127.0.0.1/cb"}, Scope: "openid read", Audience: []string{"https://api.example/"},
		GrantTypes: []string{"authorization_code", "refresh_token"}, ResponseTypes: []string{"code"}, SubjectType: "public", UserinfoAlg: "none",
		TokenEndpointAuthMethod: "client_secret_basic", Origin: oauth2.ByRegistration,
	}
	if diff := cmp.Diff(want, c, cmpopts.IgnoreFields(oauth2.Client{}, "SecretHash", "CreatedAt", "UpdatedAt", "ETag")); diff != "" {
		t.Errorf("stored (-want +got):\n%s", diff)
	}
	if err := r.hasher.Verify(t.Context(), c.SecretHash, a.str("client_secret")); err != nil {
		t.Errorf("the secret of the answer is not the client's: %v", err)
	}
	if a.str("registration_client_uri") != issuer+Path+"/"+id || a.header.Get("Location") != issuer+Path+"/"+id || a.json["client_secret_expires_at"] != 0.0 || a.json["client_id_issued_at"] == 0.0 {
		t.Errorf("got %s, Location %s", a.raw, a.header.Get("Location"))
	}
	if a.header.Get("Cache-Control") != "no-store" || !strings.HasPrefix(a.header.Get("Content-Type"), "application/json") {
		t.Errorf("got %v", a.header)
	}
	if a.json["origin"] != nil || a.json["metadata"] != nil {
		t.Errorf("the answer tells what is the operator's: %s", a.raw)
	}
	for name, value := range a.json {
		if value == "" || value == "none" {
			t.Errorf("the answer has %s, which says nothing", name)
		}
	}
	got := r.call("GET", Path+"/"+id, a.str("registration_access_token"), "")
	if got.status != 200 || got.json["client_secret"] != nil || got.str("registration_access_token") != a.str("registration_access_token") || got.str("client_name") != "App" {
		t.Errorf("got %d %s", got.status, got.raw)
	}
	if public := r.register(`{"redirect_uris": ["org.example.app:/cb"], "token_endpoint_auth_method": "none"}`); public.json["client_secret"] != nil || public.str("scope") != "openid offline_access" {
		t.Errorf("got %s", public.raw)
	}
}

func TestWhatAStrangerSaysIsCheckedByPolicyAndLikeEveryClient(t *testing.T) {
	r := start(t, func(o *Options) {
		o.Policy.RedirectHosts = []string{"app.example", "*.below.example", "127.0.0.1", "localhost"}
	})
	with := func(members string) string { return `{"redirect_uris": ["https://app.example/cb"], ` + members + `}` }
	redirect := func(uri string) string { return `{"redirect_uris": ["` + uri + `"]}` }
	for _, c := range []struct{ name, body, code, text string }{
		{"no redirect URI", `{}`, invalidRedirect, "/redirect_uris must have at least one"},
		{"a script", redirect("javascript:alert(1)"), invalidRedirect, "schemes"},
		{"a scheme that is not open", redirect("com.other.app:/cb"), invalidRedirect, "schemes"},
		{"a fragment", redirect("https://app.example/cb#x"), invalidRedirect, "no fragment"},
		{"a user", redirect("https://u@app.example/cb"), invalidRedirect, "no user information"},
		{"a wildcard", redirect("https://*.below.example/cb"), invalidRedirect, "wildcard"},
		{"http elsewhere", redirect("http://app.example/cb"), invalidRedirect, "must be https"},
		{"http at a name that begins like this machine", redirect("http://localhost.app.example/cb"), invalidRedirect, "must be https"},
		{"another host", redirect("https://evil.example/cb"), invalidRedirect, "must not be at host"},
		{"a host that ends alike", redirect("https://evilapp.example/cb"), invalidRedirect, "must not be at host"},
		{"the name above", redirect("https://below.example/cb"), invalidRedirect, "must not be at host"},
		{"a logout elsewhere", with(`"post_logout_redirect_uris": ["https://evil.example/"]`), invalidRedirect, "/post_logout_redirect_uris/0"},
		{"two kinds of faults", `{"redirect_uris": ["https://evil.example/"], "scope": "admin"}`, invalidMetadata, "/scope"},
		{"a scope that is not open", with(`"scope": "openid admin"`), invalidMetadata, `/scope "admin" is not open`},
		{"every scope", with(`"scope": "*"`), invalidMetadata, "/scope"},
		{"an audience that is not open", with(`"audience": ["https://other.example/"]`), invalidMetadata, "/audience"},
		{"a grant that operators reserve", with(`"grant_types": ["authorization_code", "client_credentials"]`), invalidMetadata, `/grant_types "client_credentials" is not open`},
		{"a response type without its grant", with(`"response_types": ["code id_token"]`), invalidMetadata, "/response_types/0"},
		{"an authentication that is not open", with(`"token_endpoint_auth_method": "client_secret_post"`), invalidMetadata, "/token_endpoint_auth_method"},
		{"a certificate", with(`"token_endpoint_auth_method": "tls_client_auth", "tls_client_auth_subject_dn": "CN=a"`), invalidMetadata, "/token_endpoint_auth_method"},
		{"keys that are missing", with(`"token_endpoint_auth_method": "private_key_jwt"`), invalidMetadata, "/jwks"},
		{"private keys", with(`"jwks": {"keys": [{"kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0", "d": "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"}]}`), invalidMetadata, "/jwks"},
		{"keys by http", with(`"jwks_uri": "http://127.0.0.1/jwks"`), invalidMetadata, "/jwks_uri must be an https URL"},
		{"keys from a file", with(`"jwks_uri": "file:///etc/passwd"`), invalidMetadata, "/jwks_uri"},
		{"a logout by http", with(`"backchannel_logout_uri": "http://169.254.169.254/"`), invalidMetadata, "/backchannel_logout_uri"},
		{"a logo that is a script", with(`"logo_uri": "data:text/html,x"`), invalidMetadata, "/logo_uri"},
		{"a name that turns what follows", with(`"client_name": "evil\u202elive"`), invalidMetadata, "/client_name"},
		{"a name of two lines", with(`"client_name": "a\nb"`), invalidMetadata, "/client_name"},
		{"a name that is too long", with(`"client_name": "` + strings.Repeat("x", 201) + `"`), invalidMetadata, "/client_name"},
		{"too many addresses", `{"redirect_uris": [` + strings.Repeat(`"https://app.example/cb", `, 32) + `"https://app.example/cb"]}`, invalidMetadata, "/redirect_uris must have at most 32"},
		{"an id of its choice", with(`"client_id": "admin"`), invalidMetadata, "/client_id cannot be chosen"},
		{"a secret of its choice", with(`"client_secret": "password"`), invalidMetadata, "/client_secret cannot be chosen"},
		{"another subject type", with(`"subject_type": "other"`), invalidMetadata, "/subject_type"},
		{"a list that is none", `{"redirect_uris": "https://app.example/cb"}`, invalidMetadata, "/redirect_uris must not be string"},
		{"a member twice", `{"redirect_uris": [], "redirect_uris": ["https://app.example/cb"]}`, invalidMetadata, "occurs twice"},
		{"a list", `[]`, invalidMetadata, "must be a JSON object"},
		{"null", `null`, invalidMetadata, "must be a JSON object"},
		{"half of it", `{"redirect_uris": [`, invalidMetadata, "not JSON"},
		{"too deep", strings.Repeat(`{"a":`, 100) + "1" + strings.Repeat("}", 100), invalidMetadata, "nests too deep"},
		{"a statement", with(`"software_statement": "a.b.c"`), unapprovedSoftware, "/software_statement"},
	} {
		r.wants(c.name, r.call("POST", Path, "", c.body), 400, c.code, c.text)
	}
	for _, body := range []string{redirect("https://app.example/cb"), redirect("https://a.below.example/cb"), redirect("http://127.0.0.1:8080/cb"), redirect("http://localhost/cb"), redirect("org.example.app:/cb"),
		with(`"frontchannel_logout_uri": "https://app.example/out", "client_uri": "https://app.example/", "contacts": ["a@app.example"]`)} {
		r.register(body)
	}
}

// What a new member of a client means is decided here: it cannot be set by strangers.
func TestEveryMemberOfAClientThatIsNotListedIsTheOperators(t *testing.T) {
	r := start(t)
	listed := append(slices.Clone(settable), echoed...)
	reserved := 0
	for _, f := range fields() {
		if slices.Contains(listed, f.name) {
			continue
		}
		var value any
		switch kind := reflect.TypeFor[oauth2.Client]().FieldByIndex(f.index).Type; kind.Kind() {
		case reflect.Bool, reflect.Pointer:
			value = true
		case reflect.String:
			value = "1h"
		case reflect.Slice:
			if value = []string{"x"}; kind == reflect.TypeFor[json.RawMessage]() {
				value = map[string]string{"x": "y"}
			}
		default:
			value = 1
		}
		reserved++
		body, err := json.Marshal(map[string]any{"redirect_uris": []string{"https://app.example/cb"}, f.name: value})
		if err != nil {
			t.Fatal(err)
		}
		r.wants(f.name, r.call("POST", Path, "", string(body)), 400, invalidMetadata, "/"+f.name)
		r.register(strings.Replace(string(body), `"`+f.name+`"`, `"`+strings.ToUpper(f.name)+`"`, 1)) // which is another member, and ignored
	}
	if reserved < 15 {
		t.Errorf("only %d members are the operator's", reserved)
	}
	for _, name := range []string{"skip_consent", "skip_logout_consent", "metadata", "owner", "access_token_strategy", "allowed_cors_origins", "disabled", "origin", "authorization_code_grant_access_token_lifespan"} {
		if !slices.ContainsFunc(fields(), func(f field) bool { return f.name == name }) || slices.Contains(listed, name) {
			t.Errorf("%s is not the operator's", name)
		}
	}
	all, err := r.store.Clients(t.Context(), oauth2.ClientFilter{Limit: 500})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range all {
		want := oauth2.Client{ID: c.ID, RedirectURIs: []string{"https://app.example/cb"}, GrantTypes: []string{"authorization_code"}, ResponseTypes: []string{"code"},
			Scope: "openid offline_access", Audience: []string{"https://api.example/"}, TokenEndpointAuthMethod: "client_secret_basic", SubjectType: "public", UserinfoAlg: "none", Origin: oauth2.ByRegistration}
		if diff := cmp.Diff(want, c, cmpopts.IgnoreFields(oauth2.Client{}, "SecretHash", "CreatedAt", "UpdatedAt", "ETag")); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func TestAClientManagesItselfWithItsTokenOnly(t *testing.T) {
	r := start(t)
	a, b := r.register(minimal), r.register(minimal)
	id, token := a.str("client_id"), a.str("registration_access_token")
	body := `{"client_id": "` + id + `", "redirect_uris": ["https://app.example/other"]}`
	changed := token[:len(token)-2] + "AA"
	if changed == token {
		changed = token[:len(token)-2] + "QQ"
	}
	for name, other := range map[string]string{"none": "", "another client's": b.str("registration_access_token"), "changed": changed, "the client's secret": a.str("client_secret"), "the hash": r.hash(id)} {
		for _, method := range []string{"GET", "PUT", "DELETE"} {
			got := r.call(method, Path+"/"+id, other, body)
			r.wants(name+" "+method, got, 401, "request_unauthorized", "")
			if !strings.HasPrefix(got.header.Get("WWW-Authenticate"), "Bearer ") {
				t.Errorf("%s: %v", name, got.header)
			}
		}
	}
	basic := httptest.NewRequest("GET", Path+"/"+id, nil)
	basic.SetBasicAuth(id, a.str("client_secret"))
	r.wants("basic credentials", r.serve(basic), 401, "request_unauthorized", "")
	two := httptest.NewRequest("GET", Path+"/"+id, nil)
	two.Header["Authorization"] = []string{"Bearer " + token, "Bearer " + token}
	r.wants("two tokens", r.serve(two), 401, "request_unauthorized", "")
	r.wants("a client that does not exist", r.call("GET", Path+"/nobody", token, ""), 401, "request_unauthorized", "")

	next := r.call("PUT", Path+"/"+id, token, body)
	if next.status != 200 || next.str("registration_access_token") == token || next.json["client_secret"] != nil {
		t.Fatalf("got %d %s", next.status, next.raw)
	}
	r.wants("the token that was spent", r.call("GET", Path+"/"+id, token, ""), 401, "request_unauthorized", "")
	token = next.str("registration_access_token")
	if got := r.stored(id); got.RedirectURIs[0] != "https://app.example/other" || r.hasher.Verify(t.Context(), got.SecretHash, a.str("client_secret")) != nil {
		t.Errorf("got %+v", got)
	}
	if got := r.call("DELETE", Path+"/"+id, token, ""); got.status != 204 || got.raw != "" {
		t.Errorf("got %d %s", got.status, got.raw)
	}
	r.wants("a client that is gone", r.call("GET", Path+"/"+id, token, ""), 401, "request_unauthorized", "")
	if _, err := r.store.Client(t.Context(), id); !fault.Is(err, fault.NotFound) {
		t.Errorf("the client is still there: %v", err)
	}
}

func (r *rig) hash(id string) string {
	hash, err := r.store.RegistrationToken(r.t.Context(), id)
	if err != nil {
		r.t.Fatal(err)
	}
	return hash
}

func TestWhatOperatorsGaveToARegisteredClientStaysAndIsNotTheClients(t *testing.T) {
	r := start(t)
	a := r.register(minimal)
	id, token := a.str("client_id"), a.str("registration_access_token")
	c := r.stored(id)
	c.Audience, c.Scope, c.SkipConsent, c.Metadata, c.Owner = []string{"inner"}, "openid admin", true, json.RawMessage(`{"k":"v"}`), "team"
	c.AccessTokenStrategy, c.RedirectURIs, c.GrantTypes = "jwt", append(c.RedirectURIs, "other:/cb"), append(c.GrantTypes, "client_credentials")
	c.ETag = ""
	if err := r.store.UpdateClient(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	// What was answered may be sent back as it is.
	got := r.call("GET", Path+"/"+id, token, "")
	got.json["client_secret"] = a.str("client_secret")
	text, _ := json.Marshal(got.json)
	put := r.call("PUT", Path+"/"+id, token, string(text))
	if put.status != 200 {
		t.Fatalf("got %d %s", put.status, put.raw)
	}
	if strings.Contains(put.raw, `"k"`) || strings.Contains(put.raw, "team") {
		t.Errorf("the operator's notes are shown: %s", put.raw)
	}
	if diff := cmp.Diff(c, r.stored(id), cmpopts.EquateEmpty(), cmpopts.IgnoreFields(oauth2.Client{}, "UpdatedAt", "ETag")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	token = put.str("registration_access_token")
	for name, members := range map[string]string{"/access_token_strategy": `"access_token_strategy": "opaque"`, "/skip_logout_consent": `"skip_logout_consent": false`, "/scope": `"scope": "openid admin more"`, "/audience": `"audience": ["inner", "more"]`,
		"/client_secret": `"client_secret": "another secret"`, "/client_id": `"client_id": "other"`} {
		text := `{"client_id": "` + id + `", "redirect_uris": ["https://app.example/cb"], ` + members + `}`
		if name == "/client_id" {
			text = `{"redirect_uris": ["https://app.example/cb"], ` + members + `}`
		}
		r.wants(name, r.call("PUT", Path+"/"+id, token, text), 400, invalidMetadata, name)
	}
	c = r.stored(id)
	c.Disabled = true
	if err := r.store.UpdateClient(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	for _, method := range []string{"GET", "PUT", "DELETE"} {
		r.wants(method, r.call(method, Path+"/"+id, token, `{"client_id": "`+id+`", "redirect_uris": ["https://app.example/cb"]}`), 403, "request_forbidden", "disabled")
	}
	operators := oauth2.Client{ID: "operators", Scope: "openid"}
	if err := r.store.CreateClient(t.Context(), operators); err != nil {
		t.Fatal(err)
	}
	r.wants("an operator's client", r.call("GET", Path+"/operators", token, ""), 401, "request_unauthorized", "")
}

func TestAClientThatBecomesConfidentialGetsASecret(t *testing.T) {
	r := start(t)
	a := r.register(`{"redirect_uris": ["https://app.example/cb"], "token_endpoint_auth_method": "none"}`)
	id := a.str("client_id")
	put := r.call("PUT", Path+"/"+id, a.str("registration_access_token"), `{"client_id": "`+id+`", "redirect_uris": ["https://app.example/cb"], "token_endpoint_auth_method": "client_secret_basic"}`)
	if put.status != 200 || r.hasher.Verify(t.Context(), r.stored(id).SecretHash, put.str("client_secret")) != nil {
		t.Errorf("got %d %s", put.status, put.raw)
	}
}

func TestOfParallelChangesWithOneTokenOneWins(t *testing.T) {
	r := start(t)
	a := r.register(minimal)
	id, token := a.str("client_id"), a.str("registration_access_token")
	r.endpoint.o.Done = func(string) {}
	var won atomic.Int32
	var wait sync.WaitGroup
	for range 64 {
		wait.Go(func() {
			switch got := r.call("PUT", Path+"/"+id, token, `{"client_id": "`+id+`", "redirect_uris": ["https://app.example/cb"]}`); got.status {
			case 200:
				won.Add(1)
			case 401:
			default:
				t.Errorf("got %d %s", got.status, got.raw)
			}
		})
	}
	wait.Wait()
	if won.Load() != 1 {
		t.Errorf("%d won", won.Load())
	}
}

func TestAnInitialTokenIsNeededWhereThereAreSome(t *testing.T) {
	first, second := "gw-initial-1-0123456789abcdef", "gw-initial-2-0123456789abcdef"
	r := start(t, func(o *Options) {
		o.InitialTokens = [][32]byte{sha256.Sum256([]byte(first)), sha256.Sum256([]byte(second))}
	})
	for _, token := range []string{"", "x", first + "x", first[:len(first)-1], "sha256:" + first} {
		a := r.call("POST", Path, token, minimal)
		r.wants(token, a, 401, "request_unauthorized", "")
		if got := strings.Contains(a.header.Get("WWW-Authenticate"), `error="invalid_token"`); got != (token != "") {
			t.Errorf("%q: %v", token, a.header)
		}
	}
	for _, token := range []string{first, second} {
		if a := r.call("POST", Path, token, minimal); a.status != 201 {
			t.Errorf("got %d %s", a.status, a.raw)
		}
	}
}

func TestRegistrationsAreBoundedInNumberRateAndSize(t *testing.T) {
	r := start(t, func(o *Options) { o.Clients.Most = 1 })
	r.register(minimal)
	r.wants("one too many", r.call("POST", Path, "", minimal), 403, "request_forbidden", "no more clients")
	r.wants("a long body", r.call("POST", Path, "", `{"x": "`+strings.Repeat("x", maxBody)+`"}`), 413, "invalid_request", "64 KiB")

	limited := start(t, func(o *Options) {
		o.Limit = func(*http.Request) (http.Header, error) {
			return nil, &fault.Error{Kind: fault.RateLimited, Message: "too many requests", Header: http.Header{"Retry-After": {"7"}}}
		}
	})
	a := limited.call("POST", Path, "", minimal)
	limited.wants("too often", a, 429, "slow_down", "too many requests")
	if a.header.Get("Retry-After") != "7" {
		t.Errorf("got %v", a.header)
	}
	if diff := cmp.Diff([]string{"slow_down"}, limited.codes); diff != "" {
		t.Error(diff)
	}
}

func TestWhatIsNoRegistrationIsAnError(t *testing.T) {
	r := start(t)
	r.wants("GET", r.call("GET", Path, "", ""), 405, "invalid_request", "")
	r.wants("POST to a client", r.call("POST", Path+"/x", "", minimal), 405, "invalid_request", "")
	r.wants("a path below", r.call("GET", Path+"/x/y", "", ""), 404, "not_found", "")
	form := httptest.NewRequest("POST", Path, strings.NewReader("a=b"))
	form.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.wants("a form", r.serve(form), 415, "invalid_request", "application/json")
	r.handler = r.endpoint // openapi.yaml has no path like this
	r.wants("no id", r.call("GET", Path+"/", "", ""), 404, "not_found", "")
	broken := start(t, func(o *Options) {
		o.Clients.Store = downStore{}
	})
	a := broken.call("POST", Path, "", minimal)
	broken.wants("a database that is away", a, 503, "temporarily_unavailable", "")
	if strings.Contains(a.raw, "detail") {
		t.Errorf("got %s", a.raw)
	}
	if wire(errors.New("detail")) != (wireError{500, "server_error", ""}) {
		t.Errorf("got %+v", wire(errors.New("detail")))
	}
}

// downStore is a database that is away.
type downStore struct{ oauth2.RegistrationStore }

func (downStore) RegisterClient(context.Context, oauth2.Client, string, int) error {
	return fault.New(fault.Unavailable, "database_unavailable", "detail of the database")
}

func FuzzMetadata(f *testing.F) {
	f.Add([]byte(minimal))
	f.Add([]byte(`{"redirect_uris":["http://localhost"],"skip_consent":true,"scope":"*","grant_types":["implicit"],"jwks":{"keys":[]}}`))
	f.Add([]byte(`{"Scope":"admin","SKIP_CONSENT":true,"metadata":{"a":[]},"redirect_uris":["org.example.app:/"]}`))
	p := policy()
	f.Fuzz(func(t *testing.T, body []byte) {
		m, err := read(body)
		if err != nil {
			return
		}
		c, err := p.client(m, oauth2.Client{})
		if err != nil {
			return
		}
		for _, scope := range strings.Fields(c.Scope) {
			if !slices.Contains([]string{"openid", "offline_access", "read"}, scope) {
				t.Errorf("%s: scope %q", body, scope)
			}
		}
		if c.SkipConsent || c.SkipLogoutConsent != nil || len(c.Metadata) > 0 || c.Owner != "" || c.Disabled || c.Origin != "" || c.AccessTokenStrategy != "" || c.Lifespans != (oauth2.Lifespans{}) || c.Secret != "" || c.ID != "" {
			t.Errorf("%s: got %+v", body, c)
		}
		for _, g := range c.GrantTypes {
			if g != "authorization_code" && g != "refresh_token" {
				t.Errorf("%s: grant %q", body, g)
			}
		}
	})
}
