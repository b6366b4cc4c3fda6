package relyingparty

import (
	"net/url"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/fault"
)

func TestAParameterOfOneRequestReplacesNothingThatProtectsIt(t *testing.T) {
	i := newIDP(t)
	o := options(i).ClientOptions
	o.Parameters = map[string]string{"prompt": "select_account", "audience": "api"}
	c, err := NewClient(o)
	if err != nil {
		t.Fatal(err)
	}
	extra := url.Values{"prompt": {"login"}, "max_age": {"0"}}
	for _, name := range []string{"response_type", "client_id", "redirect_uri", "scope", "state", "nonce", "code_challenge", "code_challenge_method"} {
		extra.Set(name, "of somebody else")
	}
	address, asked, err := c.Ask(t.Context(), "https://here.example/cb", extra)
	if err != nil {
		t.Fatal(err)
	}
	at, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	got := at.Query()
	challenge := got.Get("code_challenge")
	want := url.Values{
		"tenant": {"1"}, "response_type": {"code"}, "client_id": {"web"}, "redirect_uri": {"https://here.example/cb"}, "scope": {"openid offline_access"},
		"state": {asked.State}, "nonce": {asked.Nonce}, "code_challenge": {challenge}, "code_challenge_method": {"S256"},
		"prompt": {"login"}, "max_age": {"0"}, "audience": {"api"},
	}
	if diff := cmp.Diff(want, got); diff != "" || len(challenge) != 43 {
		t.Errorf("query (-want +got):\n%s", diff)
	}
	_, second, err := c.Ask(t.Context(), "https://here.example/cb", nil)
	if err != nil || second.State == asked.State || second.Nonce == asked.Nonce || second.Verifier == asked.Verifier {
		t.Errorf("two requests share a secret: %v", err)
	}
}

func TestUserinfoAddsWhatTheIDTokenLacksAboutTheSamePersonOnly(t *testing.T) {
	redeem := func(i *idp) (*Client, *Person) {
		c, err := NewClient(options(i).ClientOptions)
		if err != nil {
			t.Fatal(err)
		}
		address, asked, err := c.Ask(t.Context(), "https://here.example/cb", nil)
		if err != nil {
			t.Fatal(err)
		}
		who, err := c.Redeem(t.Context(), asked, "https://here.example/cb", i.authorize(t, address).Query())
		if err != nil {
			t.Fatal(err)
		}
		return c, who
	}
	i := newIDP(t)
	c, who := redeem(i)
	if err := c.Userinfo(t.Context(), who); err != nil || who.Claims["phone"] != nil {
		t.Errorf("without the endpoint: %v %v", err, who.Claims)
	}
	i = newIDP(t)
	i.metadata = map[string]any{"userinfo_endpoint": issuer + "/userinfo"}
	i.userinfo = map[string]any{"sub": "ada", "email": "of the userinfo", "phone": "1", "amr": []string{"mfa"}, "acr": "gold", "auth_time": 1}
	c, who = redeem(i)
	delete(who.Claims, "auth_time")
	if err := c.Userinfo(t.Context(), who); err != nil {
		t.Fatal(err)
	}
	got := map[string]any{}
	for _, name := range []string{"email", "phone", "amr", "acr", "auth_time"} {
		got[name] = who.Claims[name]
	}
	if diff := cmp.Diff(map[string]any{"email": "ada@example.org", "phone": "1", "amr": nil, "acr": nil, "auth_time": nil}, got); diff != "" {
		t.Errorf("claims (-want +got):\n%s", diff)
	}
	i.set(func(i *idp) { i.userinfo = map[string]any{"sub": "eve", "phone": "2"} })
	if err := c.Userinfo(t.Context(), who); !fault.Is(err, fault.Forbidden) || who.Claims["phone"] != "1" {
		t.Errorf("about somebody else: %v %v", err, who.Claims)
	}
	i.set(func(i *idp) { i.userinfo = nil })
	if err := c.Userinfo(t.Context(), who); !fault.Is(err, fault.Unavailable) {
		t.Errorf("of a provider that is down: %v", err)
	}
}

func TestAVerifiedAnswerSaysWhoAndWhen(t *testing.T) {
	i := newIDP(t)
	i.claims = map[string]any{"auth_time": start.Add(-time.Minute).Unix()}
	c, err := NewClient(options(i).ClientOptions)
	if err != nil {
		t.Fatal(err)
	}
	address, asked, err := c.Ask(t.Context(), "https://here.example/cb", nil)
	if err != nil {
		t.Fatal(err)
	}
	who, err := c.Redeem(t.Context(), asked, "https://here.example/cb", i.authorize(t, address).Query())
	if err != nil {
		t.Fatal(err)
	}
	if who.Subject != "ada" || !who.AuthenticatedAt.Equal(start.Add(-time.Minute)) || !who.IssuedAt.Equal(start) {
		t.Errorf("got %+v", who)
	}
}
