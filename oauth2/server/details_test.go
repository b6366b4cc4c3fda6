package server_test

import (
	"context"
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/oauth2"
	"github.com/gatewarden/gatewarden/oauth2/details"
	"github.com/gatewarden/gatewarden/oauth2/server"
)

const payment = `{"type":"payment","actions":["initiate","status"],"amount":{"currency":"EUR","value":"12.50"}}`

// withDetails registers the types payment, which has a schema, and files, which has none.
func withDetails(t testing.TB) change {
	folder := t.TempDir()
	schema := `{"properties":{"amount":{"type":"object","required":["currency","value"],"additionalProperties":false,"properties":{"currency":{"type":"string"},"value":{"type":"string"}}}},"required":["amount"]}`
	if err := os.WriteFile(filepath.Join(folder, "payment.json"), []byte(schema), 0o600); err != nil {
		t.Fatal(err)
	}
	types, err := details.Load([]string{"payment", "files", "other"}, folder)
	if err != nil {
		t.Fatal(err)
	}
	return func(o *server.Options) { o.Details = types }
}

func pays(c *oauth2.Client) { c.AuthorizationDetailsTypes = []string{"payment", "files"} }

func same(t *testing.T, what string, got any, want string) {
	t.Helper()
	raw, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	var a, b any
	_, _ = json.Unmarshal(raw, &a), json.Unmarshal([]byte(want), &b)
	if d := cmp.Diff(b, a); d != "" {
		t.Errorf("%s: %s", what, d)
	}
}

func TestAuthorizationDetailsGoFromTheRequestToTheTokens(t *testing.T) {
	r := start(t, withDetails(t))
	r.client(pays, func(c *oauth2.Client) { c.AccessTokenStrategy = "jwt" })
	asked := "[" + payment + `,{"type":"files","locations":["https://a.test/","https://b.test/"]}]`
	b := r.browser()
	challenge := b.login(request("authorization_details", asked), oauth2.AcceptLogin{Subject: "alice"})
	shown, err := r.server.ConsentRequest(context.Background(), challenge)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "the consent request", shown.RequestedDetails, asked)
	accept := func(grant ...string) error {
		a := oauth2.AcceptConsent{GrantScope: shown.RequestedScope}
		for _, g := range grant {
			a.GrantDetails = append(a.GrantDetails, json.RawMessage(g))
		}
		next, err := r.server.AcceptConsent(context.Background(), challenge, a)
		if err == nil {
			challenge = next
		}
		return err
	}
	for _, more := range []string{
		`{"type":"payment","actions":["initiate","status"],"amount":{"currency":"EUR","value":"99.00"}}`, `{"type":"payment","actions":["initiate","status"]}`,
		`{"type":"payment","actions":[],"amount":{"currency":"EUR","value":"12.50"}}`, `{"type":"payment","amount":{"currency":"EUR","value":"12.50"}}`,
		`{"type":"payment","actions":["refund"],"amount":{"currency":"EUR","value":"12.50"}}`, `{"type":"files"}`, `{"type":"other"}`, `null`, `[]`,
	} {
		if err := accept(more); !fault.Is(err, fault.Invalid) {
			t.Errorf("granting %s: %v", more, err)
		}
	}
	granted := []string{`{"type":"payment","amount":{"value":"12.50","currency":"EUR"},"actions":["status","initiate"]}`, `{"type":"files","locations":["https://b.test/"]}`}
	if err := accept(granted...); err != nil {
		t.Fatal(err)
	}
	all := "[" + strings.Join(granted, ",") + "]"
	narrow := `[{"type":"payment","actions":["status"],"amount":{"currency":"EUR","value":"12.50"}}]`
	code := b.open(challenge).Query().Get("code")
	r.wants(r.redeem(code, "authorization_details", asked), 400, "invalid_authorization_details")
	got := r.redeem(code, "authorization_details", narrow)
	if got.status != 200 {
		t.Fatal(got.raw)
	}
	same(t, "the answer", got.json["authorization_details"], narrow)
	same(t, "the token", partOf(t, got.str("access_token"), 1)["authorization_details"], narrow)
	known := r.post("/oauth2/introspect", "app:secret", "token", got.str("access_token"))
	same(t, "introspection", known.json["authorization_details"], narrow)
	same(t, "introspection of the refresh token", r.post("/oauth2/introspect", "app:secret", "token", got.str("refresh_token")).json["authorization_details"], all)

	again := r.post("/oauth2/token", "app:secret", "grant_type", "refresh_token", "refresh_token", got.str("refresh_token"))
	same(t, "the refreshed token", again.json["authorization_details"], all)
	r.wants(r.post("/oauth2/token", "app:secret", "grant_type", "refresh_token", "refresh_token", again.str("refresh_token"), "authorization_details", "["+payment+`,{"type":"files"}]`), 400, "invalid_authorization_details")
	less := r.post("/oauth2/token", "app:secret", "grant_type", "refresh_token", "refresh_token", again.str("refresh_token"), "authorization_details", narrow)
	same(t, "the narrowed one", less.json["authorization_details"], narrow)
	inProcess, err := r.server.Introspect(context.Background(), less.str("access_token"))
	if err != nil {
		t.Fatal(err)
	}
	same(t, "in process", inProcess.Claims["authorization_details"], narrow)
}

func TestAuthorizationDetailsThatNobodyUnderstandsAreRefused(t *testing.T) {
	r := start(t, withDetails(t))
	r.client(pays)
	for name, text := range map[string]string{
		"no JSON": `x`, "no list": `{"type":"payment"}`, "an empty list": `[]`, "no object": `["payment"]`, "null": `[null]`, "no type": `[{"actions":["a"]}]`,
		"unknown type": `[{"type":"x"}]`, "a type of another client": `[{"type":"other"}]`, "type is no string": `[{"type":["payment"]}]`, "another case": `[{"Type":"files"}]`,
		"unknown member": `[{"type":"files","size":1}]`, "unknown member beside a schema": `[` + strings.Replace(payment, `"actions"`, `"x":1,"actions"`, 1) + `]`,
		"not as the schema says": `[{"type":"payment","amount":{"currency":"EUR"}}]`, "missing": `[{"type":"payment"}]`, "words are none": `[{"type":"files","actions":"read"}]`,
		"a member twice": `[{"type":"files","type":"files"}]`, "a member twice inside": `[{"type":"payment","amount":{"currency":"EUR","value":"1","value":"2"}}]`,
		"more after it": `[{"type":"files"}] x`, "too many": `[` + strings.TrimSuffix(strings.Repeat(`{"type":"files"},`, 33), ",") + `]`,
		"too long": `[{"type":"files","identifier":"` + strings.Repeat("x", 17<<10) + `"}]`, "no words": `[{"type":"files","actions":[]}]`,
	} {
		to := r.browser().open(r.authURL(request("authorization_details", text)))
		if got := to.Query().Get("error"); got != "invalid_authorization_details" {
			t.Errorf("%s: sent to %s", name, to)
		}
		r.wants(r.postRaw("/oauth2/par", "app:secret", request("authorization_details", text).Encode()), 400, "invalid_authorization_details")
		r.wants(r.post("/oauth2/token", "app:secret", "grant_type", "client_credentials", "authorization_details", text), 400, "invalid_authorization_details")
	}
	none := start(t)
	none.client(pays)
	none.wants(none.post("/oauth2/token", "app:secret", "grant_type", "client_credentials", "authorization_details", `[{"type":"files"}]`), 400, "invalid_authorization_details")
	if a := none.get("/.well-known/openid-configuration"); a.json["authorization_details_types_supported"] != nil {
		t.Errorf("listed: %v", a.json["authorization_details_types_supported"])
	}
	same(t, "metadata", r.get("/.well-known/openid-configuration").json["authorization_details_types_supported"], `["payment","files","other"]`)
}

func TestAClientThatActsForItselfGetsTheDetailsThatItAsksFor(t *testing.T) {
	r := start(t, withDetails(t))
	client := r.client(pays, func(c *oauth2.Client) { c.GrantTypes = append(c.GrantTypes, exchangeGrant) })
	a := r.post("/oauth2/token", "app:secret", "grant_type", "client_credentials", "authorization_details", "["+payment+"]")
	same(t, "the answer", a.json["authorization_details"], "["+payment+"]")
	// A token that is exchanged keeps those that the client who exchanges it is registered for.
	r.client(func(c *oauth2.Client) { c.ID, c.GrantTypes = "actor", []string{exchangeGrant} })
	swap := func(basic string, more ...string) answer {
		return r.post("/oauth2/token", basic, append([]string{"grant_type", exchangeGrant, "subject_token", a.str("access_token"), "subject_token_type", accessToken}, more...)...)
	}
	same(t, "the same client", swap("app:secret").json["authorization_details"], "["+payment+"]")
	if got := swap("actor:secret"); got.status != 200 || got.json["authorization_details"] != nil {
		t.Errorf("another client: %d %s", got.status, got.raw)
	}
	r.wants(swap("app:secret", "authorization_details", "["+payment+"]"), 400, "invalid_request")
	// What was taken from the client since is not granted.
	code := r.code("authorization_details", "["+payment+"]")
	b := r.browser()
	challenge := b.login(request("authorization_details", "["+payment+"]"), oauth2.AcceptLogin{Subject: "alice"})
	next := b.consent(challenge, func(a *oauth2.AcceptConsent) { a.GrantDetails = []json.RawMessage{json.RawMessage(payment)} })
	client.AuthorizationDetailsTypes = nil
	if err := r.store.UpdateClient(context.Background(), client); err != nil {
		t.Fatal(err)
	}
	r.server.EvictClient("app")
	r.wants(r.redeem(next.Query().Get("code")), 400, "invalid_authorization_details")
	if got := r.redeem(code); got.status != 200 || got.json["authorization_details"] != nil {
		t.Errorf("a code for which no details were granted: %d %s", got.status, got.raw)
	}
}

// An earlier consent was about other details.
func TestAuthorizationDetailsAreAskedAboutEachTime(t *testing.T) {
	r := start(t, withDetails(t))
	r.client(pays)
	b := r.browser()
	remember := func(a *oauth2.AcceptConsent) { a.Remember = true }
	b.consent(b.login(request(), oauth2.AcceptLogin{Subject: "alice"}), remember)
	for name, tc := range map[string]struct {
		form url.Values
		skip bool
	}{"without details": {request(), true}, "with details": {request("authorization_details", `[{"type":"files"}]`), false}} {
		asked, err := r.server.ConsentRequest(context.Background(), b.login(tc.form, oauth2.AcceptLogin{Subject: "alice"}))
		if err != nil || asked.Skip != tc.skip {
			t.Errorf("%s: skip is %v, %v", name, asked.Skip, err)
		}
	}
}

func FuzzAuthorizationDetails(f *testing.F) {
	types, err := details.Load([]string{"files"}, "")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(`[{"type":"files","actions":["a"]}]`)
	f.Add(`[{"type":"files","type":"x"}]`)
	f.Add(`[{"type":"files","identifier":1e400}]`)
	f.Fuzz(func(t *testing.T, text string) {
		objects, err := types.Parse(text, []string{"files"})
		if err != nil {
			return
		}
		for _, o := range objects {
			if details.TypeOf(o) != "files" {
				t.Fatalf("%s is of another type", o)
			}
		}
		if !details.Narrowed(objects, objects) {
			t.Fatalf("%s is more than itself", text)
		}
	})
}
