package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/authz"
	"github.com/gatewarden/gatewarden/manage"
	"github.com/gatewarden/gatewarden/manage/api"
	"github.com/gatewarden/gatewarden/manage/client"
	"github.com/gatewarden/gatewarden/oauth2"
	"github.com/gatewarden/gatewarden/oauth2/secrets"
	"github.com/gatewarden/gatewarden/policies"
	"github.com/gatewarden/gatewarden/rules/spec"
	"github.com/gatewarden/gatewarden/store/sql"
)

type anyRule struct{}

func (anyRule) Check(context.Context, spec.Rule) error { return nil }

const operatorToken = "the token of an operator"

// newAPI is the management API over a store in memory; it wants operatorToken.
func newAPI(t *testing.T, change func(*api.Deps)) http.Handler {
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
	tokens, err := manage.ParseBearerTokens([]string{operatorToken}, nil)
	if err != nil {
		t.Fatal(err)
	}
	deps := api.Deps{
		Rules:    &manage.Rules{Store: store, Checker: anyRule{}},
		Policies: &manage.Policies{Store: store, Engine: engine}, Groups: &manage.Groups{Store: store, Engine: engine}, Warden: engine,
		Clients: &manage.Clients{Store: store, Hasher: hasher, Now: time.Now}, Keys: &manage.Keys{Store: store, Now: time.Now},
		Tokens: &manage.Tokens{Store: store, Sweeper: store, Now: time.Now, Introspect: func(_ context.Context, token, scope string) (oauth2.Introspection, error) {
			return oauth2.Introspection{Active: token == "good" && scope != "none", Subject: "alice"}, nil
		}},
		Guard: api.Guard{Tokens: tokens},
		Build: api.Build{Version: "v1"},
	}
	if change != nil {
		change(&deps)
	}
	return api.New(deps)
}

func newClient(t *testing.T, h http.Handler) *client.Client {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	c, err := client.New(server.URL+"/", client.Options{Token: operatorToken})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestEverythingCanBeDoneThroughTheClient(t *testing.T) {
	c, ctx := newClient(t, newAPI(t, nil)), t.Context()
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	// Ids that a path could be confused by.
	for _, id := range []string{"plain", "a/b", "..", ".", "a b?c#d%2f", "ü"} {
		rule := spec.Rule{ID: id, Match: spec.Match{URL: "http://a/", Methods: []string{"GET"}}}
		_, err := c.Rules.Create(ctx, rule)
		ok(err)
		got, err := c.Rules.Get(ctx, id)
		ok(err)
		if got.ID != id {
			t.Errorf("got %q, want %q", got.ID, id)
		}
		_, err = c.Rules.Replace(ctx, id, rule)
		ok(err)
		ok(c.Rules.Delete(ctx, id))
	}
	_, err := c.Policies.Create(ctx, json.RawMessage(`{"id":"p","subjects":["admins"],"effect":"allow","resources":["r"],"actions":["a"]}`))
	ok(err)
	_, err = c.Groups.Create(ctx, policies.Group{ID: "admins"})
	ok(err)
	ok(c.AddMembers(ctx, "admins", []string{"peter", "zoe"}))
	ok(c.RemoveMembers(ctx, "admins", []string{"zoe"}))
	for subject, want := range map[string]bool{"peter": true, "zoe": false} {
		got, err := c.Allowed(ctx, authz.Question{Subject: subject, Action: "a", Resource: "r"})
		ok(err)
		if got != want {
			t.Errorf("%s: %t", subject, got)
		}
	}
	groups, err := c.Groups.All(ctx, url.Values{"member": {"peter"}})
	ok(err)
	if diff := cmp.Diff([]policies.Group{{ID: "admins", Members: []string{"peter"}}}, groups); diff != "" {
		t.Error(diff)
	}
	made, err := c.Clients.Create(ctx, oauth2.Client{ID: "app", Name: "App"})
	ok(err)
	if made.Secret == "" {
		t.Error("no secret")
	}
	patched, err := c.PatchClient(ctx, "app", []manage.Operation{{Op: "replace", Path: "/client_name", Value: json.RawMessage(`"New"`)}})
	ok(err)
	changed, err := c.SetLifespans(ctx, "app", oauth2.Lifespans{RefreshTokenGrantID: "1h"})
	ok(err)
	if patched.Name != "New" || changed.RefreshTokenGrantID != "1h" {
		t.Errorf("got %+v and %+v", patched, changed)
	}
	list, err := c.Clients.List(ctx, 10, 0, nil)
	ok(err)
	if len(list) != 1 || list[0].Secret != "" {
		t.Errorf("got %+v", list)
	}
	set, err := c.CreateKey(ctx, "mine", manage.NewKey{Alg: "ES256", ID: "k"})
	ok(err)
	ok(c.ReplaceKeys(ctx, "mine", set))
	ok(c.PutKey(ctx, "mine", set.Keys[0]))
	if one, err := c.Keys(ctx, "mine", "k"); err != nil || len(one.Keys) != 1 {
		t.Errorf("got %+v, %v", one, err)
	}
	ok(c.DeleteKeys(ctx, "mine", "k"))
	if answer, err := c.Introspect(ctx, "good", ""); err != nil || !answer.Active || answer.Subject != "alice" {
		t.Errorf("got %+v, %v", answer, err)
	}
	if answer, err := c.Introspect(ctx, "good", "none"); err != nil || answer.Active {
		t.Errorf("got %+v, %v", answer, err)
	}
	ok(c.RevokeClientTokens(ctx, "app"))
	ok(c.Flush(ctx, time.Now()))
	ok(c.Alive(ctx))
	ok(c.Ready(ctx))
	if v, err := c.Version(ctx); err != nil || v != "v1" {
		t.Errorf("version %q, %v", v, err)
	}
}

func TestErrorsSayWhatTheServerSaid(t *testing.T) {
	c, ctx := newClient(t, newAPI(t, func(d *api.Deps) {
		d.Checks = []api.Check{{Name: "database", Check: func(context.Context) error { return errors.New("gone") }}}
	})), t.Context()
	_, err := c.Policies.Create(ctx, json.RawMessage("{\"subjects\":[\"a\"],\n\"efect\":\"allow\"}"))
	var e *client.Error
	if !errors.As(err, &e) || e.Status != 400 || !cmp.Equal(e.Places, []client.Place{{Detail: "is not a known member", Pointer: "/efect", Line: 2}}) || !strings.Contains(err.Error(), "/efect") {
		t.Errorf("unknown member: %+v", err)
	}
	if _, err = c.Clients.Get(ctx, "x"); !errors.As(err, &e) || e.Status != 404 || e.Reason != "Unable to locate the resource" {
		t.Errorf("unknown client: %+v", err)
	}
	if err = c.Ready(ctx); !errors.As(err, &e) || e.Status != 503 || e.Message != "database: gone" {
		t.Errorf("not ready: %+v", err)
	}
}

func TestAWrongTokenIsSaid(t *testing.T) {
	server := httptest.NewServer(newAPI(t, nil))
	t.Cleanup(server.Close)
	c, err := client.New(server.URL, client.Options{Token: "wrong"})
	if err != nil {
		t.Fatal(err)
	}
	var e *client.Error
	if _, err := c.Rules.All(t.Context(), nil); !errors.As(err, &e) || e.Status != 401 {
		t.Errorf("got %v", err)
	}
}

func TestAServerThatIsNotThereIsUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	c, err := client.New("http://"+l.Addr().String(), client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Alive(t.Context()); !errors.Is(err, client.ErrUnreachable) {
		t.Errorf("got %v", err)
	}
	other := newClient(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) }))
	if _, err := other.Version(t.Context()); err == nil || !strings.Contains(err.Error(), "not the management API") {
		t.Errorf("got %v", err)
	}
}

func TestEndpointsAreChecked(t *testing.T) {
	for _, bad := range []string{"127.0.0.1:4456", "ftp://x", "http://", "unix://", "http://[::1", "::"} {
		if _, err := client.New(bad, client.Options{}); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
	if _, err := client.New("", client.Options{}); err != nil {
		t.Error(err)
	}
}

func TestAUnixSocketIsReached(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "api.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &httptest.Server{Listener: l, Config: &http.Server{Handler: newAPI(t, nil)}}
	server.Start()
	t.Cleanup(server.Close)
	c, err := client.New("unix://"+socket, client.Options{Token: operatorToken})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Alive(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestAllReadsEveryPage(t *testing.T) {
	c, ctx := newClient(t, newAPI(t, nil)), t.Context()
	const n = 501
	for range n {
		if _, err := c.Groups.Create(ctx, policies.Group{}); err != nil {
			t.Fatal(err)
		}
	}
	all, err := c.Groups.All(ctx, nil)
	if err != nil || len(all) != n {
		t.Errorf("got %d, %v", len(all), err)
	}
}
