package api_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/internal/testopenapi"
	"github.com/gatewarden/gatewarden/keys"
	"github.com/gatewarden/gatewarden/manage"
	"github.com/gatewarden/gatewarden/manage/api"
	"github.com/gatewarden/gatewarden/oauth2"
	"github.com/gatewarden/gatewarden/oauth2/secrets"
	"github.com/gatewarden/gatewarden/passwords"
	"github.com/gatewarden/gatewarden/policies"
	"github.com/gatewarden/gatewarden/rules/spec"
	"github.com/gatewarden/gatewarden/store/sql"
)

// fixture is the API over a real store, with doubles for the rule compiler and the
// authorization server.
type fixture struct {
	t     *testing.T
	api   *api.API
	http  http.Handler // api, held to openapi.yaml
	deps  api.Deps
	store *sql.Store
	apps  *apps
	rules *compiler
}

// compiler refuses rules whose description is "refuse me" and counts reloads.
type compiler struct {
	mu      sync.Mutex
	reloads int
	fail    error
	files   []spec.Rule
}

func (c *compiler) Check(_ context.Context, r spec.Rule) error {
	if r.Description == "refuse me" {
		return errors.Join(r.FaultAt("/description", "is refused"), r.FaultAt("/match/url", "is broken"))
	}
	return nil
}

func (c *compiler) Reload(context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reloads++
	return c.fail
}

func (c *compiler) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reloads
}

// registered is a client as the store gives it.
func registered() oauth2.Client {
	return oauth2.Client{ID: "app", Secret: "must not be shown", SubjectType: "public", TokenEndpointAuthMethod: "client_secret_basic", UserinfoAlg: "none"}
}

// apps is the authorization server as login apps see it. The challenge "good" is
// open, "used" was answered, all others are unknown.
type apps struct {
	mu    sync.Mutex
	calls []string
}

func (a *apps) did(call string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calls = append(a.calls, call)
}

func known(challenge string) error {
	switch challenge {
	case "good":
		return nil
	case "used":
		return &oauth2.Handled{RedirectTo: "https://as/again"}
	}
	return fault.New(fault.NotFound, "unknown_challenge", "there is no such request")
}

func (a *apps) LoginRequest(_ context.Context, c string) (oauth2.LoginRequest, error) {
	return oauth2.LoginRequest{Challenge: c, RequestedScope: []string{}, RequestedAudience: []string{}, Client: registered()}, known(c)
}

func (a *apps) AcceptLogin(_ context.Context, c string, body oauth2.AcceptLogin) (string, error) {
	if known(c) == nil && body.Subject == "" {
		return "", &fault.Error{Kind: fault.Invalid, Pointer: "/subject", Message: "must not be empty"}
	}
	a.did("login " + body.Subject)
	return "https://as/login", known(c)
}

func (a *apps) AcceptUserCode(_ context.Context, c string, body oauth2.AcceptUserCode) (string, error) {
	a.did("user code " + body.UserCode)
	return "https://as/device", known(c)
}

func (a *apps) BackchannelRequests(_ context.Context, subject string) ([]oauth2.BackchannelRequest, error) {
	return []oauth2.BackchannelRequest{{ID: "good", Subject: subject, Client: registered(), RequestedScope: []string{"openid"}, RequestedAudience: []string{}}}, nil
}

func (a *apps) AcceptBackchannel(_ context.Context, id string, body oauth2.AcceptBackchannel) error {
	a.did("backchannel " + body.Subject)
	return known(id)
}

func (a *apps) RejectBackchannel(_ context.Context, id, subject string) error {
	a.did("no backchannel " + subject)
	return known(id)
}

func (a *apps) RejectLogin(_ context.Context, c string, r oauth2.Rejection) (string, error) {
	a.did("no login " + r.Error)
	return "https://as/login", known(c)
}

func (a *apps) ConsentRequest(_ context.Context, c string) (oauth2.ConsentRequest, error) {
	return oauth2.ConsentRequest{Challenge: c, RequestedScope: []string{}, RequestedAudience: []string{}, Client: registered()}, known(c)
}

func (a *apps) AcceptConsent(_ context.Context, c string, body oauth2.AcceptConsent) (string, error) {
	a.did("consent " + strings.Join(body.GrantScope, " "))
	return "https://as/consent", known(c)
}

func (a *apps) RejectConsent(_ context.Context, c string, r oauth2.Rejection) (string, error) {
	a.did("no consent " + r.Error)
	return "https://as/consent", known(c)
}

func (a *apps) LogoutRequest(_ context.Context, c string) (oauth2.LogoutRequest, error) {
	return oauth2.LogoutRequest{Challenge: c}, known(c)
}

func (a *apps) AcceptLogout(_ context.Context, c string) (string, error) {
	a.did("logout")
	return "https://as/logout", known(c)
}

func (a *apps) RejectLogout(_ context.Context, c string) error {
	a.did("no logout")
	return known(c)
}

func (a *apps) CountConsentSessions(_ context.Context, f oauth2.ConsentFilter) (int, error) {
	list, err := a.ConsentSessions(context.Background(), f, 1, 0)
	return len(list), err
}

func (a *apps) RevokeConsent(_ context.Context, id string) error {
	a.did("revoke consent " + id)
	return nil
}

func (a *apps) EarlyConsentRequest(_ context.Context, id string) (oauth2.EarlyConsentRequest, error) {
	return oauth2.EarlyConsentRequest{ID: id, RequestedScopes: []string{"photos"}, ClientID: "app", ExpiresAt: time.Unix(1, 0).UTC(), RedirectURL: "https://as/back"}, known(id)
}

func (a *apps) AcceptEarlyConsent(_ context.Context, id string, body oauth2.EarlyConsent) error {
	a.did("early consent of " + body.Subject + " to " + strings.Join(body.GrantScopes, " "))
	return known(id)
}

func (a *apps) RejectEarlyConsent(_ context.Context, id string, r oauth2.EarlyRejection) error {
	a.did("no early consent: " + r.Reason)
	return known(id)
}

func (a *apps) ConsentSessions(_ context.Context, f oauth2.ConsentFilter, limit, offset int) ([]oauth2.ConsentGrant, error) {
	subject := f.Subject
	if subject != "alice" || f.LoginSessionID == "another" || offset > 0 || limit == 0 {
		return nil, nil
	}
	return []oauth2.ConsentGrant{{AcceptConsent: oauth2.AcceptConsent{GrantScope: []string{"openid"}}, ConsentRequest: oauth2.ConsentRequest{Subject: subject, RequestedScope: []string{}, RequestedAudience: []string{}, Client: registered()}}}, nil
}

func (a *apps) RevokeConsents(_ context.Context, subject, client string) error {
	a.did("revoke consents of " + subject + " for " + client)
	return nil
}

func (a *apps) RevokeLoginSessions(_ context.Context, subject string) error {
	a.did("end logins of " + subject)
	return nil
}

func (a *apps) RevokeLoginSession(_ context.Context, sid string) error {
	a.did("end login " + sid)
	return nil
}

func introspect(_ context.Context, token, scope string) (oauth2.Introspection, error) {
	switch {
	case token == "down":
		return oauth2.Introspection{}, fault.New(fault.Unavailable, "store_down", "the store does not answer")
	case token == "alice's" && (scope == "" || scope == "photos"):
		return oauth2.Introspection{Active: true, Subject: "alice", ClientID: "app", Scope: "photos", TokenUse: "access_token", Issuer: "https://as", IssuedAt: 1, ExpiresAt: 2}, nil
	case token == "refresh":
		return oauth2.Introspection{Active: true, Subject: "alice", TokenUse: "refresh_token"}, nil
	}
	return oauth2.Introspection{}, nil
}

// decisions stands for the decision edge.
type decisions struct{}

func (decisions) Handles(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, "/decisions") }
func (decisions) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Path", r.URL.EscapedPath())
	w.WriteHeader(http.StatusForbidden)
}

func newFixture(t *testing.T, change func(*api.Deps)) *fixture {
	t.Helper()
	store, err := sql.Open(t.Context(), sql.Options{DSN: "memory"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	hasher, err := secrets.New(secrets.Options{Keys: [][]byte{[]byte("a system secret of tests")}})
	if err != nil {
		t.Fatal(err)
	}
	engine := policies.New(store, store, nil)
	if err := engine.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signing := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: private, KeyID: "gateway", Algorithm: "ES256", Use: "sig"}}}
	f := &fixture{t: t, store: store, apps: &apps{}, rules: &compiler{}}
	f.deps = api.Deps{
		Rules:       &manage.Rules{Store: store, Checker: f.rules, Reload: f.rules, Others: func() []spec.Rule { return f.rules.files }},
		Policies:    &manage.Policies{Store: store, Engine: engine},
		Groups:      &manage.Groups{Store: store, Engine: engine},
		Warden:      engine,
		Clients:     &manage.Clients{Store: store, Hasher: hasher, Now: time.Now},
		Users:       &manage.Users{Store: store, Factors: store, Now: time.Now},
		Keys:        &manage.Keys{Store: store, Own: map[string]*keys.Ring{"own": nil}, Now: time.Now},
		GatewayKeys: func(context.Context) (jose.JSONWebKeySet, error) { return manage.PublicKeys(signing), nil },
		LoginApp:    f.apps, LogoutApp: f.apps, DeviceApp: f.apps, BackchannelApp: f.apps, ConsentApp: f.apps,
		Sessions:    &manage.Sessions{Server: f.apps},
		TrustGrants: &manage.TrustGrants{Store: store, Now: time.Now},
		Tokens:      &manage.Tokens{Introspect: introspect, Store: store, Sweeper: store, Now: time.Now},
		Decisions:   decisions{},
		Upstreams:   func() any { return []string{} },
		Metrics:     http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "up 1\n") }),
		Reload:      func(context.Context) (api.Reloaded, error) { return api.Reloaded{Rules: 1}, nil },
		Build:       api.Build{Version: "v1.2.3"},
		Guard:       api.Guard{Local: true},
	}
	if change != nil {
		change(&f.deps)
	}
	f.api = api.New(f.deps)
	f.http = testopenapi.Handler(t, "management", f.api)
	return f
}

// bearers are static tokens as they are configured.
func bearers(t *testing.T, configured ...string) api.BearerTokens {
	t.Helper()
	b, err := manage.ParseBearerTokens(configured, passwords.New(passwords.Options{}))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// answer is what came back.
type answer struct {
	t      *testing.T
	status int
	header http.Header
	body   string
}

// call sends a request; a body is sent as JSON. Headers are name, value, ...
func (f *fixture) call(method, target, body string, headers ...string) answer {
	f.t.Helper()
	r := httptest.NewRequest(method, "http://127.0.0.1:4456"+target, strings.NewReader(body))
	r.RemoteAddr = "127.0.0.1:50000"
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	if host := r.Header.Get("Host"); host != "" {
		r.Host = host
	}
	if peer := r.Header.Get("Test-Peer"); peer != "" {
		r.RemoteAddr = peer
		r.Header.Del("Test-Peer")
	}
	if subject := r.Header.Get("Test-Certificate"); subject != "" {
		r = r.WithContext(context.WithValue(r.Context(), certificate{}, subject))
		r.Header.Del("Test-Certificate")
	}
	w := httptest.NewRecorder()
	f.http.ServeHTTP(w, r)
	return answer{f.t, w.Code, w.Header(), w.Body.String()}
}

// want fails unless the status is the expected one; it returns the body.
func (a answer) want(status int) map[string]any {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("status %d, want %d: %s", a.status, status, a.body)
	}
	var v map[string]any
	if strings.HasPrefix(a.body, "{") {
		if err := json.Unmarshal([]byte(a.body), &v); err != nil {
			a.t.Fatalf("%v: %s", err, a.body)
		}
	}
	return v
}

// ids returns the member of every object of a list.
func (a answer) ids(member string) []string {
	a.t.Helper()
	a.want(http.StatusOK)
	var list []map[string]any
	if err := json.Unmarshal([]byte(a.body), &list); err != nil {
		a.t.Fatalf("%v: %s", err, a.body)
	}
	ids := []string{}
	for _, v := range list {
		ids = append(ids, v[member].(string))
	}
	return ids
}
