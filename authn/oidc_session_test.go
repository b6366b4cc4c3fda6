package authn

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/relyingparty"
)

// loginProvider is an OpenID provider that issues a code for every nonce: the code is
// the nonce. Package relyingparty tests what bad ones do.
func loginProvider(own issuer) *relyingparty.Local {
	const name = "https://login.example"
	mux := http.NewServeMux()
	send := func(w http.ResponseWriter, v any) { _ = json.NewEncoder(w).Encode(v) }
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		send(w, map[string]any{"issuer": name, "authorization_endpoint": name + "/auth", "token_endpoint": name + "/token"})
	})
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		raw, err := json.Marshal(map[string]any{"iss": name, "sub": "alice", "aud": "web", "nonce": r.PostFormValue("code"), "email": "alice@example.org",
			"iat": start.Unix(), "exp": start.Add(time.Hour).Unix()})
		if err != nil {
			panic(err)
		}
		id, err := own.SignWith(r.Context(), "ES256", map[string]any{"typ": "JWT"}, raw, time.Time{})
		if err != nil {
			panic(err)
		}
		send(w, map[string]any{"access_token": "at", "token_type": "Bearer", "expires_in": 3600, "id_token": id})
	})
	return &relyingparty.Local{Issuer: name, Handler: mux, Keys: own}
}

// login walks through a login and returns a request with its session.
func login(t testing.TB, d Deps, config string) *access.Request {
	t.Helper()
	a, ok := build(t, d, "oidc_session", config).(interface {
		Challenger
		EndpointOwner
	})
	if !ok {
		t.Fatal("oidc_session neither challenges nor answers")
	}
	cookies := func(r *access.Request, err error) (*access.Request, string) {
		var reply *access.Reply
		if !errors.As(err, &reply) {
			t.Fatal(err)
		}
		for _, line := range reply.Response.Header["Set-Cookie"] {
			c := must(http.ParseSetCookie(line))(t)
			r.Cookies = append(r.Cookies, &http.Cookie{Name: c.Name, Value: c.Value})
		}
		return r, reply.Response.Header.Get("Location")
	}
	page := request("https://api.example/page", "Sec-Fetch-Mode", "navigate")
	page, location := cookies(page, a.Challenge(t.Context(), page))
	asked := must(url.Parse(location))(t).Query()
	back := request(asked.Get("redirect_uri")+"?"+url.Values{"state": {asked.Get("state")}, "code": {asked.Get("nonce")}}.Encode(), "Sec-Fetch-Mode", "navigate")
	back.Cookies = page.Cookies
	done, _ := cookies(request("https://api.example/page"), a.Serve(t.Context(), back))
	done.Cookies = slices.DeleteFunc(done.Cookies, func(c *http.Cookie) bool { return c.Value == "" })
	return done
}

func TestASessionIsASubjectWithTheClaimsThatWereAskedFor(t *testing.T) {
	d := Deps{Provider: loginProvider(newIssuer(t)), Now: newClock().Now}
	d.Secrets = [][]byte{[]byte("a secret of the tests")}
	config := `{"client_id":"web","claims":["email"],"forward_access_token":true}`
	got, err := build(t, d, "oidc_session", config).Authenticate(t.Context(), login(t, d, config))
	want := access.Subject{ID: "alice", Via: "oidc_session", Extra: map[string]any{"iss": "https://login.example", "email": "alice@example.org", "access_token": "at"}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestACallbackOfNobodysLoginIsLeftToTheNextHandler(t *testing.T) {
	d := Deps{Provider: loginProvider(newIssuer(t))}
	a := build(t, d, "oidc_session", `{"client_id":"web"}`).(EndpointOwner)
	want := map[string]string{"/.gatewarden/callback": "callback", "/.gatewarden/login": "login", "/.gatewarden/logout": "logout"}
	if diff := cmp.Diff(want, a.Endpoints()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	err := a.Serve(t.Context(), request("https://api.example/.gatewarden/callback?state=x&code=y"))
	if !errors.Is(err, ErrNoCredentials) || !fault.Is(err, fault.Invalid) || fault.ReasonOf(err) != "unknown_login" {
		t.Errorf("got %v", err)
	}
}

func TestAuthenticationMethodsOfAClientFitItsSecret(t *testing.T) {
	d := Deps{Provider: loginProvider(newIssuer(t))}
	for config, want := range map[string]string{
		`{"client_id":"web"}`: "",
		`{"client_id":"web","client_secret":"x","token_endpoint_auth_method":"client_secret_post"}`: "",
		`{"client_id":"web","token_endpoint_auth_method":"client_secret_basic"}`:                    "client_secret is required",
		`{"client_id":"web","client_secret":"x","token_endpoint_auth_method":"none"}`:               "goes without client_secret",
		`{"client_id":"web","token_endpoint_auth_method":"private_key_jwt"}`:                        "token_endpoint_auth_method",
		`{}`: "client_id is required",
	} {
		_, err := Catalog(d).Build("oidc_session", nil, []byte(config))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", config, err, want)
		}
	}
	if _, err := Catalog(Deps{}).Build("oidc_session", nil, []byte(`{"client_id":"web"}`)); err == nil || !strings.Contains(err.Error(), "issuer is required") {
		t.Errorf("without an embedded server: %v", err)
	}
}
