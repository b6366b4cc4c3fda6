package app

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/oauth2"
	"github.com/gatewarden/gatewarden/passwords"
	"github.com/gatewarden/gatewarden/policies"
	"github.com/gatewarden/gatewarden/users"
)

// demo is the content of serve --demo: an API that answers with what it saw, rules
// that protect it, a client and a policy. It uses nothing that an operator's own
// set-up would not use.
type demo struct {
	api      *http.Server
	listener net.Listener
	secret   string
	password string // of the user who is called like the client
}

const demoClient = "demo"

// demoRules protect the echo API: reading and deleting orders need a token with the
// scope orders and a policy that allows it.
const demoRules = `[
  {
    "id": "demo-orders",
    "description": "Orders: a token with scope orders, and a policy that allows what is asked.",
    "match": {"url": "http://<[^/]+>/orders<(/[^/]*)?>", "methods": ["GET", "POST", "DELETE"]},
    "authenticators": [{"handler": "oauth2_introspection", "config": {"required_scope": ["orders"]}}],
    "authorizer": {"handler": "policy", "config": {"resource": "demo:orders", "action": "{{ print .MatchContext.Method }}"}},
    "mutators": [
      {"handler": "id_token"},
      {"handler": "header", "config": {"headers": {"X-User": "{{ print .Subject }}"}}}
    ],
    "errors": [{"handler": "json"}]
  },
  {
    "id": "demo-public",
    "description": "Anyone may ask how the API is doing.",
    "match": {"url": "http://<[^/]+>/status", "methods": ["GET"]},
    "authenticators": [{"handler": "anonymous"}],
    "authorizer": {"handler": "allow"},
    "mutators": [{"handler": "noop"}]
  }
]`

// newDemo starts the echo API.
func newDemo() (*demo, error) {
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("--demo: the echo API cannot listen: %w", err)
	}
	d := &demo{listener: l, api: &http.Server{Handler: http.HandlerFunc(echo), ReadHeaderTimeout: 5 * time.Second}}
	go func() { _ = d.api.Serve(l) }()
	return d, nil
}

// echo answers with what the API saw, above all who the gateway says is asking.
func echo(w http.ResponseWriter, r *http.Request) {
	answer := map[string]any{
		"method": r.Method, "path": r.URL.Path, "user": r.Header.Get("X-User"),
	}
	if _, token, found := strings.Cut(r.Header.Get("Authorization"), " "); found {
		if parts := strings.Split(token, "."); len(parts) == 3 {
			if claims, err := base64.RawURLEncoding.DecodeString(parts[1]); err == nil {
				answer["identity"] = json.RawMessage(claims)
			}
		}
	}
	w.Header().Set("Content-Type", "application/json")
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	_ = e.Encode(answer)
}

func (d *demo) backend() string { return "http://" + d.listener.Addr().String() }

// rules returns the rules as a repository.
func (d *demo) rules() string {
	return "inline://" + base64.StdEncoding.EncodeToString([]byte(demoRules))
}

// fill stores the client, the user and the policy.
func (d *demo) fill(ctx context.Context, s interface {
	oauth2.ClientStore
	policies.Store
	users.Store
}, hasher oauth2.SecretHasher) error {
	plain, hash, err := hasher.Generate()
	if err != nil {
		return err
	}
	d.secret = plain
	now := time.Now().UTC()
	if err := s.CreateClient(ctx, oauth2.Client{
		ID: demoClient, Name: "Demo", SecretHash: hash, GrantTypes: []string{"client_credentials"}, Scope: "orders",
		SubjectType: "public", TokenEndpointAuthMethod: "client_secret_basic", CreatedAt: now, UpdatedAt: now,
	}); err != nil {
		return err
	}
	d.password = rand.Text()[:12]
	if err := s.CreateUser(ctx, users.User{
		ID: demoClient, Username: demoClient, Claims: map[string]any{"name": "Demo"}, PasswordHash: passwords.Hash(d.password), CreatedAt: now, UpdatedAt: now,
	}); err != nil {
		return err
	}
	return s.CreatePolicy(ctx, policies.Policy{
		ID: "demo-read-orders", Description: "The client demo may read orders, not delete them.",
		Subjects: []string{demoClient}, Effect: "allow", Resources: []string{"demo:orders"}, Actions: []string{"GET"},
		Conditions: map[string]json.RawMessage{},
	})
}

// introduce gets a token the way any client would and prints what to try.
func (d *demo) introduce(ctx context.Context, a *App) error {
	at := a.Addresses()
	proxy, public, management := "http://"+at["proxy"], "http://"+at["public"], "http://"+at["management"]
	token, err := d.token(ctx, public)
	if err != nil {
		return err
	}
	orders := local(proxy) + "/orders"
	_, err = fmt.Fprintf(a.output, `
The demo is running. An API with orders stands behind the gateway. Try:

# 401: nobody said who is asking
curl -i %[1]s

# 403: the token is good, but no policy lets it delete
curl -i -X DELETE -H "Authorization: Bearer %[2]s" %[1]s/1

# 200: the API sees who is asking
curl -i -H "Authorization: Bearer %[2]s" %[1]s

More:  curl -u %[3]s:%[4]s -d grant_type=client_credentials -d scope=orders %[5]s/oauth2/token
       curl %[6]s/rules        curl %[6]s/policies
       in a browser: %[5]s/account, user %[3]s, password %[7]s
Stop with Ctrl-C. Everything is in memory and gone then.
`, orders, token, demoClient, d.secret, local(public), local(management), d.password)
	return err
}

// local makes the address of a listener on all interfaces one to type.
func local(address string) string {
	return strings.NewReplacer("[::]", "127.0.0.1", "0.0.0.0", "127.0.0.1").Replace(address)
}

func (d *demo) token(ctx context.Context, public string) (string, error) {
	form := url.Values{"grant_type": {"client_credentials"}, "scope": {"orders"}}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, local(public)+"/oauth2/token", strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth(demoClient, d.secret)
	res, err := (&http.Client{Timeout: 5 * time.Second}).Do(r)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		return "", err
	}
	if answer.AccessToken == "" {
		return "", fault.New(fault.Internal, "", "the token endpoint answered "+res.Status)
	}
	return answer.AccessToken, nil
}

func (d *demo) close() { _ = d.api.Close() }
