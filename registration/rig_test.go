package registration

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gatewarden/gatewarden/internal/testopenapi"
	"github.com/gatewarden/gatewarden/manage"
	"github.com/gatewarden/gatewarden/oauth2"
	"github.com/gatewarden/gatewarden/oauth2/secrets"
	"github.com/gatewarden/gatewarden/store/sql"
)

const issuer = "https://id.example"

// rig is an endpoint over a database.
type rig struct {
	t        *testing.T
	store    *sql.Store
	hasher   *secrets.Hasher
	endpoint *Endpoint
	handler  http.Handler // checks that what is sent conforms to openapi.yaml
	codes    []string     // of answers
}

func policy() *Policy {
	return &Policy{
		DefaultScope: []string{"openid", "offline_access"}, Scopes: []string{"read"}, Audience: []string{"https://api.example/"},
		GrantTypes: []string{"authorization_code", "refresh_token"}, AuthMethods: []string{"none", "client_secret_basic", "private_key_jwt"},
		RedirectSchemes: []string{"https", "http", "org.example.app"},
	}
}

func start(t *testing.T, changes ...func(*Options)) *rig {
	t.Helper()
	st, err := sql.Open(context.Background(), sql.Options{DSN: "memory"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	h, err := secrets.New(secrets.Options{Keys: [][]byte{[]byte("a system secret of the test")}})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, store: st, hasher: h}
	o := Options{
		Issuer: issuer, Policy: policy(), VerifySecret: h.VerifyAny, Done: func(code string) { r.codes = append(r.codes, code) },
		Clients: &manage.Registrations{Clients: &manage.Clients{Store: st, Hasher: h, Now: time.Now}, Store: st, Tokens: h, Most: 100},
	}
	for _, change := range changes {
		change(&o)
	}
	r.endpoint = New(o)
	r.handler = testopenapi.Handler(t, "public", r.endpoint)
	return r
}

// answer is a decoded answer.
type answer struct {
	status int
	header http.Header
	raw    string
	json   map[string]any
}

func (a answer) str(name string) string { s, _ := a.json[name].(string); return s }

// call makes a request; token may be empty.
func (r *rig) call(method, path, token, body string) answer {
	r.t.Helper()
	q := httptest.NewRequest(method, path, strings.NewReader(body))
	if body != "" {
		q.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		q.Header.Set("Authorization", "Bearer "+token)
	}
	return r.serve(q)
}

func (r *rig) serve(q *http.Request) answer {
	r.t.Helper()
	w := httptest.NewRecorder()
	r.handler.ServeHTTP(w, q)
	a := answer{status: w.Code, header: w.Header(), raw: w.Body.String()}
	if a.raw != "" {
		if err := json.Unmarshal([]byte(a.raw), &a.json); err != nil {
			r.t.Fatalf("%s: %v", a.raw, err)
		}
	}
	return a
}

func (r *rig) register(body string) answer {
	r.t.Helper()
	a := r.call("POST", Path, "", body)
	if a.status != http.StatusCreated {
		r.t.Fatalf("%s: got %d %s", body, a.status, a.raw)
	}
	return a
}

// wants fails unless the answer is the error.
func (r *rig) wants(what string, a answer, status int, code, text string) {
	r.t.Helper()
	if a.status != status || a.str("error") != code || !strings.Contains(a.str("error_description"), text) {
		r.t.Errorf("%s: got %d %s, want %d %s with %q", what, a.status, a.raw, status, code, text)
	}
}

func (r *rig) stored(id string) oauth2.Client {
	r.t.Helper()
	c, err := r.store.Client(context.Background(), id)
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}
