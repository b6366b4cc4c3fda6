package server_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/oauth2"
	"github.com/gatewarden/gatewarden/oauth2/server"
)

const documentID = "https://client.example/app.json"

// shelf is one document that tests change.
type shelf struct {
	mu     sync.Mutex
	client oauth2.Client
	err    error
	named  bool
	asked  int
}

func (s *shelf) Names(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.named && id == documentID
}

func (s *shelf) Client(_ context.Context, id string) (oauth2.Client, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	return s.client, s.err
}

func (s *shelf) set(change func(*shelf)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

var goneDocument = fault.New(fault.NotFound, "client_metadata_document", "There is no usable client metadata document: it is gone.")

// described starts a server with a public client that is a document.
func described(t *testing.T, changes ...func(*oauth2.Client)) (*rig, *shelf) {
	t.Helper()
	s := &shelf{named: true, client: oauth2.Client{
		ID: documentID, Name: "App", Scope: "openid offline_access read write", Audience: []string{"api"}, Origin: oauth2.ByDocument,
		GrantTypes: []string{"authorization_code", "refresh_token"}, ResponseTypes: []string{"code"}, RedirectURIs: []string{"https://app.example/cb"},
		TokenEndpointAuthMethod: "none", AuthMethodSet: true, PostLogoutRedirectURIs: []string{"https://app.example/bye"},
	}}
	for _, change := range changes {
		change(&s.client)
	}
	r := start(t, func(o *server.Options) { o.Documents = s })
	return r, s
}

// forget makes the server look at its clients anew, as it does after a minute.
func (r *rig) forget() { r.server.EvictClient(documentID) }

func (r *rig) documentTokens() answer {
	r.t.Helper()
	code := r.code("client_id", documentID, "redirect_uri", "https://app.example/cb")
	a := r.post("/oauth2/token", "", "grant_type", "authorization_code", "code", code, "redirect_uri", "https://app.example/cb", "code_verifier", verifier, "client_id", documentID)
	if a.status != 200 {
		r.t.Fatalf("redeem: %d %s", a.status, a.raw)
	}
	return a
}

func (r *rig) documentRefresh(token string) answer {
	return r.post("/oauth2/token", "", "grant_type", "refresh_token", "refresh_token", token, "client_id", documentID)
}

func TestAClientThatIsADocumentUsesEveryFlow(t *testing.T) {
	r, _ := described(t)
	a := r.documentTokens()
	if !r.isActive(a.str("access_token")) {
		t.Fatal("its access token is not active")
	}
	a = r.documentRefresh(a.str("refresh_token"))
	if a.status != 200 || !r.isActive(a.str("access_token")) {
		t.Fatalf("refresh: %d %s", a.status, a.raw)
	}
	v := request("client_id", documentID, "redirect_uri", "https://app.example/cb")
	pushed := r.postRaw("/oauth2/par", "", v.Encode())
	if pushed.status != 201 {
		t.Fatalf("push: %d %s", pushed.status, pushed.raw)
	}
	b := r.browser()
	to := b.consent(b.login(pairs("client_id", documentID, "request_uri", pushed.str("request_uri")), oauth2.AcceptLogin{Subject: "alice"}))
	if to.Query().Get("code") == "" {
		t.Errorf("pushed: %s", to)
	}
	if got := r.post("/oauth2/revoke", "", "token", a.str("access_token"), "client_id", documentID); got.status != 200 || r.isActive(a.str("access_token")) {
		t.Errorf("revoke: %d %s", got.status, got.raw)
	}
	if to := b.open(r.url + "/oauth2/sessions/logout?" + pairs("client_id", documentID, "post_logout_redirect_uri", "https://app.example/bye").Encode()); to.String() != "https://app.example/bye" {
		t.Errorf("logout: %s", to)
	}
	r.wants(r.post("/oauth2/token", "", "grant_type", "client_credentials", "client_id", documentID), 400, "unauthorized_client")
	r.wants(r.post("/oauth2/token", documentID+":secret", "grant_type", "refresh_token", "refresh_token", "x"), 401, "invalid_client")
	if d := r.get("/.well-known/oauth-authorization-server"); d.json["client_id_metadata_document_supported"] != true {
		t.Errorf("got %s", d.raw)
	}
	plain := start(t)
	if d := plain.get("/.well-known/oauth-authorization-server"); d.json["client_id_metadata_document_supported"] != nil {
		t.Errorf("got %s", d.raw)
	}
	plain.wants(plain.documentRefresh("x"), 401, "invalid_client")
}

func TestAClientThatIsADocumentAuthenticatesWithItsKey(t *testing.T) {
	s := newSigner(t, "k1", "ES256")
	r, _ := described(t, func(c *oauth2.Client) { c.TokenEndpointAuthMethod, c.JWKS = "private_key_jwt", s.jwks() })
	claims := r.assertion("1")
	claims["iss"], claims["sub"] = documentID, documentID
	code := r.code("client_id", documentID, "redirect_uri", "https://app.example/cb")
	form := []string{"grant_type", "authorization_code", "code", code, "redirect_uri", "https://app.example/cb", "code_verifier", verifier}
	r.wants(r.post("/oauth2/token", "", append(form, "client_id", documentID)...), 401, "invalid_client")
	a := r.post("/oauth2/token", "", append(form, "client_assertion_type", assertionType, "client_assertion", s.sign(claims, "kid", "k1"))...)
	if a.status != 200 {
		t.Errorf("got %d %s", a.status, a.raw)
	}
}

func TestConsentToADocumentIsAskedForAlways(t *testing.T) {
	r, _ := described(t)
	v := request("client_id", documentID, "redirect_uri", "https://app.example/cb")
	b := r.browser()
	for range 2 {
		challenge := b.login(v, oauth2.AcceptLogin{Subject: "alice", Remember: true})
		asked, err := r.server.ConsentRequest(t.Context(), challenge)
		if err != nil || asked.Skip || asked.Client.Origin != oauth2.ByDocument {
			t.Fatalf("%v: got %+v", err, asked)
		}
		b.consent(challenge, func(a *oauth2.AcceptConsent) { a.Remember = true })
	}
	v.Set("prompt", "none")
	challenge := b.open(r.authURL(v)).Query().Get("login_challenge")
	next, err := r.server.AcceptLogin(t.Context(), challenge, oauth2.AcceptLogin{Subject: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	if to := b.open(next); to.Query().Get("error") != "consent_required" {
		t.Errorf("got %s", to)
	}
}

// What becomes of tokens is told in docs/decisions.
func TestTokensOfADocumentThatIsGoneEndWithTheirTimeAndBuyNothing(t *testing.T) {
	r, s := described(t)
	a := r.documentTokens()
	access, refresh := a.str("access_token"), a.str("refresh_token")

	s.set(func(s *shelf) { s.err = fault.New(fault.Unavailable, "", "its host is away") })
	r.forget()
	asked := s.asked
	if !r.isActive(access) || s.asked != asked {
		t.Errorf("an access token while the host is away; asked %d times", s.asked-asked)
	}
	r.wants(r.documentRefresh(refresh), 503, "temporarily_unavailable")

	s.set(func(s *shelf) { s.err = goneDocument })
	r.forget()
	if !r.isActive(access) {
		t.Error("an access token ended with the document")
	}
	r.wants(r.documentRefresh(refresh), 401, "invalid_client")
	to := r.browser().open(r.authURL(request("client_id", documentID, "redirect_uri", "https://app.example/cb")))
	if to.Host != "login.test" || to.Query().Get("error") != "invalid_client" || !strings.Contains(to.Query().Get("error_description"), "it is gone") {
		t.Errorf("a new request: %s", to)
	}
	// Nothing was spent: with the document back, the refresh token is good.
	s.set(func(s *shelf) { s.err = nil })
	r.forget()
	if a = r.documentRefresh(refresh); a.status != 200 {
		t.Fatalf("with the document back: %d %s", a.status, a.raw)
	}
	r.wait(2 * time.Hour)
	if r.isActive(a.str("access_token")) {
		t.Error("an access token has no end")
	}
}

func TestAChangedDocumentCountsForWhatComes(t *testing.T) {
	r, s := described(t)
	a := r.documentTokens()
	s.set(func(s *shelf) {
		s.client.RedirectURIs, s.client.Scope = []string{"https://app.example/other"}, "openid offline_access read"
	})
	r.forget()
	to := r.browser().open(r.authURL(request("client_id", documentID, "redirect_uri", "https://app.example/cb")))
	if to.Host != "login.test" || to.Query().Get("error") != "invalid_request" {
		t.Errorf("a redirect URI that is gone: %s", to)
	}
	s.set(func(s *shelf) { s.client.GrantTypes = []string{"authorization_code"} })
	r.forget()
	r.wants(r.documentRefresh(a.str("refresh_token")), 400, "unauthorized_client")
}

func TestAnOperatorEndsAClientThatIsADocument(t *testing.T) {
	// With a client of the same id, which counts instead.
	r, s := described(t)
	a := r.documentTokens()
	if err := r.store.CreateClient(t.Context(), oauth2.Client{ID: documentID, TokenEndpointAuthMethod: "none", Disabled: true}); err != nil {
		t.Fatal(err)
	}
	r.forget() // the change is heard of
	asked := s.asked
	if r.isActive(a.str("access_token")) {
		t.Error("its access token is active")
	}
	r.wants(r.documentRefresh(a.str("refresh_token")), 401, "invalid_client")
	if s.asked != asked {
		t.Error("the document was asked for")
	}

	// With its host, or all documents, taken out of the configuration.
	r, s = described(t)
	a = r.documentTokens()
	s.set(func(s *shelf) { s.named = false })
	r.forget()
	if r.isActive(a.str("access_token")) {
		t.Error("its access token is active")
	}
	r.wants(r.documentRefresh(a.str("refresh_token")), 401, "invalid_client")

	// With its tokens.
	r, _ = described(t)
	a = r.documentTokens()
	if err := r.store.RevokeClientTokens(t.Context(), documentID); err != nil {
		t.Fatal(err)
	}
	r.forget()
	r.wants(r.documentRefresh(a.str("refresh_token")), 400, "invalid_grant")
}

func TestAHostThatIsAwayIsNoUnknownClient(t *testing.T) {
	r, s := described(t)
	s.set(func(s *shelf) {
		s.err = fault.New(fault.Unavailable, "client_metadata_document_unavailable", "dial 10.0.0.1: refused")
	})
	to := r.browser().open(r.authURL(request("client_id", documentID, "redirect_uri", "https://app.example/cb")))
	if to.Host != "login.test" || to.Query().Get("error") != "temporarily_unavailable" || strings.Contains(to.String(), "10.0.0.1") {
		t.Errorf("got %s", to)
	}
	r.wants(r.postRaw("/oauth2/par", "", request("client_id", documentID, "redirect_uri", "https://app.example/cb").Encode()), 503, "temporarily_unavailable")
	if strings.Contains(r.log.String(), "level=ERROR") {
		t.Errorf("strangers bring about errors of ours: %s", r.log)
	}
}
