package server_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/oauth2"
	"github.com/gatewarden/gatewarden/oauth2/server"
)

func earlyConsent(o *server.Options) { o.EarlyConsent = true }

// consent is what a browser is sent to one app of Hydra 0.11 with.
func (b *browser) askedEarly(link string) string {
	b.r.t.Helper()
	to := b.open(link)
	if got := to.Scheme + "://" + to.Host + to.Path; got != "http://login.test/consent" {
		b.r.t.Fatalf("the browser was sent to %s", to)
	}
	return to.Query().Get("consent")
}

func TestOneAppOfEarlyHydraAnswersLoginAndConsentAtOnce(t *testing.T) {
	ctx := context.Background()
	r := start(t, earlyConsent)
	r.client()
	b := r.browser()
	id := b.askedEarly(r.authURL(request("scope", "openid read write")))
	asked, err := r.server.EarlyConsentRequest(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	back := asked.RedirectURL
	asked.RedirectURL = ""
	if left := time.Until(asked.ExpiresAt); left <= 0 || left > time.Hour {
		t.Errorf("it ends in %s", left)
	}
	asked.ExpiresAt = time.Time{}
	if diff := cmp.Diff(oauth2.EarlyConsentRequest{ID: id, ClientID: "app", RequestedScopes: []string{"openid", "read", "write"}}, asked); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if to := b.open(back); to.Query().Get("code") != "" || to.Query().Get("error") == "" {
		t.Errorf("before the answer: %s", to)
	}
	for field, bad := range map[string]oauth2.EarlyConsent{
		"subject":     {GrantScopes: []string{"read"}},
		"grantScopes": {Subject: "alice", GrantScopes: []string{"read", "admin"}},
	} {
		if err := r.server.AcceptEarlyConsent(ctx, id, bad); !fault.Is(err, fault.Invalid) || !strings.HasPrefix(fault.MessageOf(err), field+": ") {
			t.Errorf("%s: %v", field, err)
		}
	}
	if err := r.server.AcceptEarlyConsent(ctx, id, oauth2.EarlyConsent{
		Subject: "alice", GrantScopes: []string{"openid", "read"}, AccessTokenExtra: map[string]any{"team": "engines"}, IDTokenExtra: map[string]any{"nick": "al"},
	}); err != nil {
		t.Fatal(err)
	}
	for name, again := range map[string]error{
		"accept": r.server.AcceptEarlyConsent(ctx, id, oauth2.EarlyConsent{Subject: "mallory"}), "reject": r.server.RejectEarlyConsent(ctx, id, oauth2.EarlyRejection{}),
	} {
		var handled *oauth2.Handled
		if !errors.As(again, &handled) {
			t.Errorf("a second answer, %s: %v", name, again)
		}
	}
	if to := r.browser().open(back); to.Query().Get("code") != "" {
		t.Errorf("another browser got %s", to)
	}
	codes := make([]string, 5)
	var wg sync.WaitGroup
	for i := range codes {
		wg.Go(func() { codes[i] = b.open(back).Query().Get("code") })
	}
	wg.Wait()
	code := strings.Join(codes, "")
	if got := len(strings.Split(code, ".")); got != 2 {
		t.Fatalf("the address gave the codes %q", codes)
	}
	tokens := r.redeem(code)
	answer, err := r.server.IntrospectWire(ctx, tokens.str("access_token"), "")
	if err != nil {
		t.Fatal(err)
	}
	if got := []any{answer.Active, answer.Subject, answer.Scope, answer.Extra["team"]}; !cmp.Equal(got, []any{true, "alice", "openid read", "engines"}) {
		t.Errorf("got %v", got)
	}
	if tokens.str("id_token") == "" {
		t.Error("there is no ID token")
	}
}

func TestOnlyTheAppOfEarlyHydraLearnsWhereTheBrowserGoesBackTo(t *testing.T) {
	ctx := context.Background()
	r := start(t, earlyConsent)
	r.client()
	thief := r.browser()
	id := thief.askedEarly(r.authURL(request()))
	// Somebody else is made to answer the request that the thief began.
	if err := r.server.AcceptEarlyConsent(ctx, id, oauth2.EarlyConsent{Subject: "victim", GrantScopes: []string{"read"}}); err != nil {
		t.Fatal(err)
	}
	for _, guess := range []string{"consent=" + id, "login_verifier=" + id, "consent_verifier=" + id, "consent_challenge=" + id} {
		if to := thief.open(r.url + "/oauth2/auth?" + guess); to.Query().Get("code") != "" {
			t.Errorf("%s gave a code", guess)
		}
	}
}

func TestARejectionOfTheAppOfEarlyHydraReachesTheClient(t *testing.T) {
	ctx := context.Background()
	r := start(t, earlyConsent)
	r.client()
	b := r.browser()
	id := b.askedEarly(r.authURL(request()))
	asked, err := r.server.EarlyConsentRequest(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.server.RejectEarlyConsent(ctx, id, oauth2.EarlyRejection{Reason: "not today"}); err != nil {
		t.Fatal(err)
	}
	q := b.open(asked.RedirectURL).Query()
	if diff := cmp.Diff([]string{"access_denied", "not today", ""}, []string{q.Get("error"), q.Get("error_description"), q.Get("code")}); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestRequestsOfOtherAppsAreNoneOfEarlyHydra(t *testing.T) {
	ctx := context.Background()
	r := start(t)
	r.client()
	challenge := r.browser().open(r.authURL(request())).Query().Get("login_challenge")
	for _, id := range []string{challenge, "unknown", ""} {
		_, err := r.server.EarlyConsentRequest(ctx, id)
		for _, err := range []error{err, r.server.AcceptEarlyConsent(ctx, id, oauth2.EarlyConsent{Subject: "alice"}), r.server.RejectEarlyConsent(ctx, id, oauth2.EarlyRejection{})} {
			if !fault.Is(err, fault.NotFound) {
				t.Errorf("%q: %v", id, err)
			}
		}
	}
	early := start(t, earlyConsent)
	early.client()
	if to := early.browser().open(early.authURL(request("prompt", "none"))); to.Query().Get("error") != "login_required" {
		t.Errorf("prompt=none: %s", to)
	}
}
