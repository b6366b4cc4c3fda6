package registration

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/oauth2"
)

// host serves documents over https and counts who asks.
type host struct {
	t      *testing.T
	server *httptest.Server
	asked  atomic.Int32
	ahead  atomic.Int64
	answer atomic.Pointer[http.HandlerFunc]
	docs   *Documents
	mu     sync.Mutex
	codes  []string
}

func newHost(t *testing.T, changes ...func(*DocumentsOptions)) *host {
	t.Helper()
	h := &host{t: t}
	h.server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.asked.Add(1)
		(*h.answer.Load())(w, r)
	}))
	t.Cleanup(h.server.Close)
	o := DocumentsOptions{HTTP: h.server.Client(), Policy: policy(), Fetched: func(code string) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.codes = append(h.codes, code)
	},
		Now: func() time.Time { return time.Now().Add(time.Duration(h.ahead.Load())) }}
	for _, change := range changes {
		change(&o)
	}
	h.docs = NewDocuments(o)
	t.Cleanup(h.docs.Close)
	h.serve(h.document(nil))
	return h
}

func (h *host) id() string { return h.server.URL + "/client.json" }

// document is a good one, as changed; nil removes a member.
func (h *host) document(changes object) string {
	doc := object{"client_id": h.id(), "client_name": "App", "redirect_uris": []string{"https://app.example/cb", "http://127.0.0.1/cb"}}
	for name, value := range changes {
		if doc[name] = value; value == nil {
			delete(doc, name)
		}
	}
	text, err := json.Marshal(doc)
	if err != nil {
		h.t.Fatal(err)
	}
	return string(text)
}

func (h *host) serve(body string, header ...string) {
	h.do(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		_, _ = w.Write([]byte(body))
	})
}

func (h *host) do(f http.HandlerFunc) { h.answer.Store(&f) }

func (h *host) status(code int) {
	h.do(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) })
}

func (h *host) get() (oauth2.Client, error) { return h.docs.Client(context.Background(), h.id()) }

func (h *host) wait(d time.Duration) { h.ahead.Add(int64(d)) }

func TestADocumentIsAClientWithinThePolicy(t *testing.T) {
	h := newHost(t)
	common := oauth2.Client{
		ID: h.id(), Name: "App", RedirectURIs: []string{"https://app.example/cb", "http://127.0.0.1/cb"}, Scope: "openid offline_access", Audience: []string{"https://api.example/"},
		GrantTypes: []string{"authorization_code"}, ResponseTypes: []string{"code"}, SubjectType: "public", UserinfoAlg: "none", TokenEndpointAuthMethod: "none", AuthMethodSet: true, Origin: oauth2.ByDocument,
	}
	with := func(change func(*oauth2.Client)) oauth2.Client {
		c := common
		change(&c)
		return c
	}
	for _, c := range []struct {
		name    string
		changes object
		want    oauth2.Client
	}{
		{"as little as there may be", nil, common},
		// It is written for many servers.
		{"more than is open", object{
			"scope": "openid read admin", "grant_types": []string{"authorization_code", "client_credentials", "refresh_token"}, "response_types": []string{"code", "token"},
			"redirect_uris": []string{"https://app.example/cb", "cursor://cb", "http://app.example/cb"}, "audience": []string{"https://other.example/"}, "unknown": 1,
		}, with(func(c *oauth2.Client) {
			c.Scope, c.GrantTypes, c.RedirectURIs = "openid read", []string{"authorization_code", "refresh_token"}, []string{"https://app.example/cb"}
		})},
		{"what is the operators'", object{
			"skip_consent": true, "skip_logout_consent": true, "metadata": object{"a": 1}, "owner": "me", "disabled": true, "origin": "", "access_token_strategy": "jwt", "allowed_cors_origins": []string{"https://a.example"},
			"authorization_code_grant_access_token_lifespan": "10000h",
		}, common},
	} {
		h.serve(h.document(c.changes))
		h.wait(2 * time.Hour)
		got, err := h.get()
		if diff := cmp.Diff(c.want, got, cmpopts.EquateEmpty()); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", c.name, err, diff)
		}
	}
	// Its sector is its own address, whatever it says.
	pairwise := newHost(t, func(o *DocumentsOptions) { o.Policy.SubjectTypes = []string{"pairwise"} })
	pairwise.serve(pairwise.document(object{"sector_identifier_uri": "https://bank.example/list"}))
	if got, err := pairwise.get(); err != nil || got.SubjectType != "pairwise" || got.SectorIdentifierURI != pairwise.id() {
		t.Errorf("%v: got %+v", err, got)
	}
	p := newPublisher(t, "k")
	h.serve(h.document(object{"token_endpoint_auth_method": "private_key_jwt", "jwks": object{"keys": []any{p.key.Public()}}}))
	h.wait(2 * time.Hour)
	if got, err := h.get(); err != nil || got.TokenEndpointAuthMethod != "private_key_jwt" || len(got.JWKS) == 0 || got.SecretHash != "" {
		t.Errorf("%v: got %+v", err, got)
	}
}

func TestABadDocumentIsNoClientAndItsAuthorLearnsWhy(t *testing.T) {
	h := newHost(t)
	for _, c := range []struct{ name, body, want string }{
		{"another client's", h.document(object{"client_id": h.server.URL + "/other.json"}), "letter for letter"},
		{"almost its address", h.document(object{"client_id": strings.Replace(h.id(), "client.json", "CLIENT.json", 1)}), "letter for letter"},
		{"no client_id", h.document(object{"client_id": nil}), "letter for letter"},
		{"a secret", h.document(object{"client_secret": "hunter2"}), "client_secret"},
		{"a secret that does not end", h.document(object{"client_secret_expires_at": 0}), "client_secret"},
		{"authentication by a secret", h.document(object{"token_endpoint_auth_method": "client_secret_basic"}), "must be none or private_key_jwt"},
		{"a certificate", h.document(object{"token_endpoint_auth_method": "tls_client_auth", "tls_client_auth_san_dns": "a"}), "must be none or private_key_jwt"},
		{"keys that are missing", h.document(object{"token_endpoint_auth_method": "private_key_jwt"}), "/jwks"},
		{"no redirect URI", h.document(object{"redirect_uris": nil}), "/redirect_uris"},
		{"no redirect URI that is open", h.document(object{"redirect_uris": []string{"cursor://cb", "javascript:alert(1)"}}), "/redirect_uris"},
		{"no grant that is open", h.document(object{"grant_types": []string{"client_credentials"}}), "/grant_types"},
		{"subjects that there are not", h.document(object{"subject_type": "pairwise"}), "/subject_type"},
		{"keys by http", h.document(object{"jwks_uri": "http://127.0.0.1/"}), "/jwks_uri"},
		{"a name that turns what follows", h.document(object{"client_name": "a\u202eb"}), "/client_name"},
		{"a member twice", strings.Replace(h.document(nil), "{", `{"client_name":"x",`, 1), "occurs twice"},
		{"HTML", "<html>", "not JSON"},
		{"nothing", "", "not JSON"},
		{"too long", strings.Repeat(" ", maxDocument) + h.document(nil), "32 KiB"},
	} {
		h.serve(c.body)
		h.wait(2 * time.Hour)
		got, err := h.get()
		if !fault.Is(err, fault.NotFound) || !strings.Contains(fault.MessageOf(err), c.want) || got.ID != "" || strings.Contains(fault.MessageOf(err), "hunter2") {
			t.Errorf("%s: got %+v, %v, want %q", c.name, got, err, c.want)
		}
	}
	for name, answer := range map[string]http.HandlerFunc{
		"a redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, h.server.URL+"/elsewhere", http.StatusFound)
		},
		"a type that is not JSON": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = w.Write([]byte(h.document(nil)))
		},
		"203": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(203)
			_, _ = w.Write([]byte(h.document(nil)))
		},
	} {
		h.do(answer)
		h.wait(2 * time.Hour)
		before := h.asked.Load()
		if got, err := h.get(); !fault.Is(err, fault.NotFound) || h.asked.Load() != before+1 {
			t.Errorf("%s: got %+v, %v after %d questions", name, got, err, h.asked.Load()-before)
		}
	}
	for _, code := range h.codes {
		if code != "unusable" {
			t.Errorf("counted as %q", code)
		}
	}
}

func TestOnlyAnAddressInItsOneFormNamesADocument(t *testing.T) {
	d := NewDocuments(DocumentsOptions{HTTP: http.DefaultClient, Policy: policy()})
	defer d.Close()
	for id, want := range map[string]bool{
		"https://app.example/client.json": true, "https://app.example/": true, "https://app.example:8443/a/b": true, "https://app.example/a?b=c": true, "https://xn--bcher-kva.example/a": true,
		"http://app.example/a": false, "HTTPS://app.example/a": false, "https://app.example": false, "https:///a": false, "https:app.example/a": false,
		"https://App.example/a": false, "https://app.example./a": false, "https://app.example:443/a": false, "https://app.example:/a": false,
		"https://u@app.example/a": false, "https://u:p@app.example/a": false, "https://@app.example/a": false,
		"https://app.example/a#b": false, "https://app.example/a#": false,
		"https://app.example/./a": false, "https://app.example/a/..": false, "https://app.example/../a": false, "https://app.example/%2e%2e/a": false, "https://app.example/%2E/a": false, "https://app.example/a%2fb": false, "https://app.example/a%5cb": false, "https://app.example/a%00": false,
		`https://app.example\@evil.example/a`: false, "https://app.example/a b": false, "https://app.example/\u00e4": false, "https://app.example/a\n": false, "https://app.example/%zz": false,
		"https://app.example/" + strings.Repeat("a", 240): false, "": false, "app": false, "javascript:https://app.example/a": false,
	} {
		if got := d.Names(id); got != want {
			t.Errorf("%q: got %v", id, got)
		}
		if want {
			continue
		}
		if _, err := d.Client(t.Context(), id); !fault.Is(err, fault.NotFound) {
			t.Errorf("%q: %v", id, err)
		}
	}
	few := NewDocuments(DocumentsOptions{HTTP: http.DefaultClient, Policy: policy(), Hosts: []string{"app.example", "*.below.example"}})
	defer few.Close()
	for id, want := range map[string]bool{
		"https://app.example/a": true, "https://a.below.example/a": true, "https://below.example/a": false, "https://evilbelow.example/a": false, "https://app.example.evil.example/a": false, "https://other.example/a": false,
	} {
		if got := few.Names(id); got != want {
			t.Errorf("%q of few hosts: got %v", id, got)
		}
	}
}

func TestADocumentIsKeptAsItsHostSaysWithinLimits(t *testing.T) {
	for _, c := range []struct {
		cacheControl string
		kept         time.Duration
	}{
		{"", 5 * time.Minute}, {"max-age=600", 10 * time.Minute}, {"public, max-age=120", 2 * time.Minute}, {"max-age=1", time.Minute}, {"max-age=0", time.Minute},
		{"no-store", time.Minute}, {"no-cache, max-age=600", time.Minute}, {"max-age=31536000", time.Hour}, {"max-age=-1", 5 * time.Minute}, {"max-age=99999999999999999999", 5 * time.Minute},
	} {
		h := newHost(t)
		h.serve(h.document(nil), "Cache-Control", c.cacheControl)
		for _, step := range []struct {
			wait  time.Duration
			asked int32
		}{{0, 1}, {c.kept - 5*time.Second, 1}, {10 * time.Second, 2}} {
			h.wait(step.wait)
			if _, err := h.get(); err != nil || h.asked.Load() != step.asked {
				t.Errorf("%q: asked %d times, want %d: %v", c.cacheControl, h.asked.Load(), step.asked, err)
			}
		}
	}
}

func TestADocumentIsUsedWhileItsHostIsAwayButNotWhenItIsGone(t *testing.T) {
	h := newHost(t)
	if _, err := h.get(); err != nil {
		t.Fatal(err)
	}
	h.status(503)
	h.wait(6 * time.Minute)
	for range 3 {
		if c, err := h.get(); err != nil || c.Name != "App" {
			t.Fatalf("while its host is away: %v", err)
		}
	}
	if n := h.asked.Load(); n != 2 {
		t.Errorf("a host that is away was asked %d times", n)
	}
	h.wait(time.Hour)
	if _, err := h.get(); !fault.Is(err, fault.Unavailable) {
		t.Errorf("its host is away for long: %v", err)
	}
	// What changed counts from the next fetch on, and what is gone is gone at once.
	h.serve(h.document(object{"client_name": "New"}))
	h.wait(11 * time.Second)
	if c, err := h.get(); err != nil || c.Name != "New" {
		t.Errorf("got %+v, %v", c, err)
	}
	for _, end := range []func(){func() { h.status(404) }, func() { h.status(410) }, func() { h.serve(h.document(object{"client_id": "x"})) }} {
		h.serve(h.document(nil))
		h.wait(2 * time.Hour)
		if _, err := h.get(); err != nil {
			t.Fatal(err)
		}
		end()
		h.wait(6 * time.Minute)
		if _, err := h.get(); !fault.Is(err, fault.NotFound) {
			t.Errorf("gone: %v", err)
		}
		before := h.asked.Load()
		if _, err := h.get(); !fault.Is(err, fault.NotFound) || h.asked.Load() != before {
			t.Errorf("asked again at once: %v", err)
		}
	}
}

func TestManyWaitersMakeOneFetchOfADocumentAndFewFetchesRunAtOnce(t *testing.T) {
	h := newHost(t)
	release := make(chan struct{})
	good := h.document(nil)
	h.do(func(w http.ResponseWriter, r *http.Request) {
		<-release
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(good))
	})
	var wait sync.WaitGroup
	for range 50 {
		wait.Go(func() {
			if _, err := h.get(); err != nil {
				t.Error(err)
			}
		})
	}
	for deadline := time.Now().Add(10 * time.Second); h.asked.Load() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nobody asks")
		}
	}
	// Others of the same host fill the places, and one too many is turned away at once.
	turnedAway := false
	var others sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	for i := range 10 * atOnce {
		id := fmt.Sprint(h.server.URL, "/", i)
		running := make(chan error, 1)
		others.Go(func() {
			_, err := h.docs.Client(ctx, id)
			running <- err
		})
		select {
		case err := <-running:
			turnedAway = turnedAway || fault.Is(err, fault.Unavailable)
		case <-time.After(5 * time.Millisecond):
		}
		if turnedAway {
			break
		}
	}
	if !turnedAway {
		t.Error("there is no bound")
	}
	cancel()
	others.Wait()
	close(release)
	wait.Wait()
	if n := h.asked.Load(); n > atOnce {
		t.Errorf("asked %d times", n)
	}
}

func TestAHostIsNotFloodedWithFetches(t *testing.T) {
	var hosts []string
	h := newHost(t, func(o *DocumentsOptions) {
		o.Limit = func(_ context.Context, host string) error {
			hosts = append(hosts, host)
			return fault.New(fault.RateLimited, "rate_limited", "too many requests")
		}
	})
	if _, err := h.get(); !fault.Is(err, fault.Unavailable) || h.asked.Load() != 0 {
		t.Errorf("asked %d times: %v", h.asked.Load(), err)
	}
	if diff := cmp.Diff([]string{"127.0.0.1"}, hosts); diff != "" {
		t.Error(diff)
	}
}

func FuzzDocument(f *testing.F) {
	const id = "https://app.example/client.json"
	f.Add(id, []byte(`{"client_id":"https://app.example/client.json","redirect_uris":["https://app.example/cb"]}`))
	f.Add("https://app.example/%2e%2e/a", []byte(`{"client_id":"https://app.example/client.json","redirect_uris":["http://localhost/cb"],"grant_types":["password"],"skip_consent":true}`))
	p := policy()
	d := NewDocuments(DocumentsOptions{HTTP: http.DefaultClient, Policy: p})
	f.Cleanup(d.Close)
	f.Fuzz(func(t *testing.T, id string, body []byte) {
		if d.Names(id) && (!strings.HasPrefix(id, "https://") || strings.ContainsAny(id, "#\\ \n") || strings.Contains(id, "/../")) {
			t.Errorf("%q names a document", id)
		}
		c, err := p.document(id, body)
		if err != nil {
			if !fault.Is(err, fault.NotFound) {
				t.Errorf("%q: %v", body, err)
			}
			return
		}
		if c.ID != id || c.Origin != oauth2.ByDocument || c.SkipConsent || c.SecretHash != "" || c.Secret != "" || len(c.RedirectURIs) == 0 || c.Disabled || len(c.Metadata) > 0 {
			t.Errorf("%q: got %+v", body, c)
		}
		for _, g := range c.GrantTypes {
			if g != "authorization_code" && g != "refresh_token" {
				t.Errorf("%q: grant %q", body, g)
			}
		}
	})
}
