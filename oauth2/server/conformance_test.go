package server_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gatewarden/gatewarden/oauth2"
	"github.com/gatewarden/gatewarden/oauth2/server"
)

// TestParametersThatOnlyInformLeaveTheFlowAsItIs goes through the code flow with what a
// request may say beside what it asks for (OpenID Connect Core section 3.1.2.1).
func TestParametersThatOnlyInformLeaveTheFlowAsItIs(t *testing.T) {
	r := start(t)
	r.client()
	long := strings.Repeat("0123456789", 30)
	for name, overrides := range map[string][]string{
		"an unknown parameter": {"extra", "foobar"}, "display page": {"display", "page"}, "display popup": {"display", "popup"},
		"languages of pages": {"ui_locales", "se de"}, "languages of claims": {"claims_locales", "se"}, "a login hint": {"login_hint", "ada@example.org"},
		"values of acr": {"acr_values", "1 2"}, "an age that is not reached": {"max_age", "10000"}, "no nonce": {"nonce", "-"}, "no state": {"state", "-"},
		"a nonce of 64 characters": {"nonce", long[:64]}, "a long nonce": {"nonce", long}, "another order of scopes": {"scope", "read openid offline_access"},
	} {
		a := r.redeem(r.code(overrides...))
		if a.status != http.StatusOK || a.str("id_token") == "" {
			t.Errorf("%s: %d %s", name, a.status, a.raw)
			continue
		}
		nonce, _ := partOf(t, a.str("id_token"), 1)["nonce"].(string)
		if want := request(overrides...).Get("nonce"); nonce != want {
			t.Errorf("%s: nonce %q, want %q", name, nonce, want)
		}
	}
	if _, to := r.browser().codeFrom(r.authURL(request("state", long))); to.Query().Get("state") != long {
		t.Errorf("a long state: the client got %q", to.Query().Get("state"))
	}
}

// TestWhatAnAuthorizationRequestLacksIsAnErrorAtTheRightPlace names what is missing at the
// client when it is known where that is, and on the error page else.
func TestWhatAnAuthorizationRequestLacksIsAnErrorAtTheRightPlace(t *testing.T) {
	r := start(t)
	r.client()
	for name, c := range map[string]struct {
		overrides []string
		host      string
	}{
		"no response type":             {[]string{"response_type", "-"}, "127.0.0.1"},
		"an ID token beside the code":  {[]string{"response_type", "code id_token"}, "127.0.0.1"},
		"an access token":              {[]string{"response_type", "token"}, "127.0.0.1"},
		"no redirect URI, and several": {[]string{"redirect_uri", "-"}, "login.test"},
		"another redirect URI":         {[]string{"redirect_uri", "https://app.test/other"}, "login.test"},
		"a query that is added":        {[]string{"redirect_uri", "http://127.0.0.1/cb?a=b"}, "login.test"},
		"another query":                {[]string{"redirect_uri", "https://app.test/cb?x=z"}, "login.test"},
		"a plain challenge":            {[]string{"code_challenge_method", "plain"}, "127.0.0.1"},
		"no challenge":                 {[]string{"code_challenge", "-", "code_challenge_method", "-"}, "127.0.0.1"},
		"an unsigned request object":   {[]string{"request", "eyJhbGciOiJub25lIn0.e30."}, "login.test"},
		"an address of a request":      {[]string{"request_uri", "https://app.test/request.jwt"}, "127.0.0.1"},
	} {
		to := r.browser().open(r.authURL(request(c.overrides...)))
		if to.Hostname() != c.host || to.Query().Get("error") == "" {
			t.Errorf("%s: sent to %s", name, to)
		}
	}
	if to := r.browser().open(r.authURL(request("redirect_uri", "https://app.test/cb?x=y"))); to.Query().Get("login_challenge") == "" {
		t.Errorf("the query that is registered: sent to %s", to)
	}
}

// TestProofsAndAssertionsMayBeAFewSecondsOff allows for clocks that differ a little, and
// for no more (FAPI 2.0 Security Profile section 5.3.2.1).
func TestProofsAndAssertionsMayBeAFewSecondsOff(t *testing.T) {
	r, s := start(t), newSigner(t, "k1", "ES256")
	r.signing(s)
	now := time.Now()
	at := func(d time.Duration) int64 { return now.Add(d).Unix() }
	for name, c := range map[string]struct {
		claim string
		off   time.Duration
		want  int
	}{
		"good in 8 seconds": {"nbf", 8 * time.Second, 200}, "good in 61 seconds": {"nbf", 61 * time.Second, 401},
		"issued in 8 seconds": {"iat", 8 * time.Second, 200}, "issued in 61 seconds": {"iat", 61 * time.Second, 401},
		"five minutes too late": {"exp", -5 * time.Minute, 401},
	} {
		if a := r.assert(s.sign(with(r.assertion(name), c.claim, at(c.off)))); a.status != c.want {
			t.Errorf("an assertion that is %s: %d %s", name, a.status, a.raw)
		}
	}
	holder := newSigner(t, "", "ES256")
	for name, c := range map[string]struct {
		off  time.Duration
		want int
	}{"9 seconds ago": {-9 * time.Second, 200}, "in 8 seconds": {8 * time.Second, 200}, "two minutes ago": {-2 * time.Minute, 400}, "in two minutes": {2 * time.Minute, 400}} {
		proof := holder.proof(with(r.proofClaims(), "iat", at(c.off)))
		a := r.postWith([]string{proof}, "/oauth2/token", "", "grant_type", "client_credentials", "client_assertion_type", assertionType, "client_assertion", s.sign(r.assertion("proof "+name)))
		if a.status != c.want {
			t.Errorf("a proof of %s: %d %s", name, a.status, a.raw)
		}
	}
}

// TestThePushEndpointTakesOneRequestByPostAlone answers no other method, no parameter
// twice, and no assertion that is for an endpoint.
func TestThePushEndpointTakesOneRequestByPostAlone(t *testing.T) {
	r, s := start(t), newSigner(t, "k1", "ES256")
	r.signing(s)
	for _, method := range []string{"GET", "PUT", "DELETE"} {
		req, err := http.NewRequest(method, r.url+"/oauth2/par", nil)
		if err != nil {
			t.Fatal(err)
		}
		if a := r.do(r.http, req); a.status != http.StatusMethodNotAllowed {
			t.Errorf("%s: %d", method, a.status)
		}
	}
	push := func(audience any, more string) answer {
		v := request()
		v.Set("client_assertion_type", assertionType)
		v.Set("client_assertion", s.sign(with(r.assertion(more+time.Now().String()), "aud", audience)))
		return r.postRaw("/oauth2/par", "", v.Encode()+more)
	}
	for name, c := range map[string]struct {
		audience any
		more     string
		want     int
	}{
		"the issuer":              {r.url, "", 201},
		"a parameter twice":       {r.url, "&state=" + url.QueryEscape("another-state"), 400},
		"a list of audiences":     {[]string{r.url, r.url + "/oauth2/par"}, "", 401},
		"the push endpoint":       {r.url + "/oauth2/par", "", 401},
		"the token endpoint":      {r.url + "/oauth2/token", "", 401},
		"an audience of somebody": {"https://evil.test", "", 401},
	} {
		if a := push(c.audience, c.more); a.status != c.want {
			t.Errorf("%s: %d %s", name, a.status, a.raw)
		}
	}
}

// TestASchemeOfATokenIsWrittenInAnyCase takes bearer and DPoP tokens whatever the case of
// their scheme is (RFC 9110 section 11.1).
func TestASchemeOfATokenIsWrittenInAnyCase(t *testing.T) {
	r := start(t, func(o *server.Options) { o.PKCE = server.PKCEForAll })
	r.client()
	token, s := r.tokens().str("access_token"), newSigner(t, "", "ES256")
	for _, scheme := range []string{"Bearer", "bearer", "BEARER"} {
		if a := r.userinfo(scheme, token); a.status != http.StatusOK {
			t.Errorf("%s: %d %s", scheme, a.status, a.raw)
		}
	}
	bound := r.postWith([]string{s.proof(r.proofClaims())}, "/oauth2/token", "app:secret", "grant_type", "authorization_code", "code", r.code(), "redirect_uri", "http://127.0.0.1/cb", "code_verifier", verifier).str("access_token")
	for _, scheme := range []string{"DPoP", "dpop", "DPOP"} {
		claims := with(with(with(r.proofClaims(), "htm", "GET"), "htu", r.url+"/userinfo"), "ath", s256(bound))
		if a := r.userinfo(scheme, bound, s.proof(claims)); a.status != http.StatusOK {
			t.Errorf("%s: %d %s", scheme, a.status, a.raw)
		}
	}
}

// TestACodeIsRefusedLateAgainAndWithoutItsVerifier is what attackers try with codes.
func TestACodeIsRefusedLateAgainAndWithoutItsVerifier(t *testing.T) {
	r := start(t)
	r.client()
	code := r.code()
	r.wants(r.redeem(r.code(), "code_verifier", "-"), 400, "invalid_grant")
	r.wants(r.redeem(r.code(), "code_verifier", strings.Repeat("x", 43)), 400, "invalid_grant")
	tokens := r.redeem(code)
	for _, later := range []time.Duration{time.Second, 30 * time.Second} {
		r.wait(later)
		r.wants(r.redeem(code), 400, "invalid_grant")
	}
	if r.isActive(tokens.str("access_token")) {
		t.Error("the tokens of a code that was used twice are good")
	}
	late := r.code()
	r.wait(11 * time.Minute)
	r.wants(r.redeem(late), 400, "invalid_grant")
}

// TestASecretIsTakenInTheHeaderOrTheBody authenticates a client either way.
func TestASecretIsTakenInTheHeaderOrTheBody(t *testing.T) {
	for method, c := range map[string][2]int{"client_secret_basic": {200, 401}, "client_secret_post": {401, 200}} {
		r := start(t)
		r.client(func(c *oauth2.Client) { c.TokenEndpointAuthMethod, c.AuthMethodSet = method, true })
		header := r.post("/oauth2/token", "app:secret", "grant_type", "client_credentials")
		body := r.post("/oauth2/token", "", "grant_type", "client_credentials", "client_id", "app", "client_secret", "secret")
		if header.status != c[0] || body.status != c[1] {
			t.Errorf("%s: %d in the header, %d in the body", method, header.status, body.status)
		}
	}
}

// TestRequestObjectsMayBeAFewSecondsOff takes objects whose clock is a little ahead and
// that are for others too, and none that leaves out where the answer goes.
func TestRequestObjectsMayBeAFewSecondsOff(t *testing.T) {
	r, s := start(t), newSigner(t, "k1", "ES256")
	r.client(func(c *oauth2.Client) { c.JWKS = s.jwks() })
	good := r.requestClaims()
	for name, claims := range map[string]object{
		"good in 8 seconds": with(good, "nbf", time.Now().Add(8*time.Second).Unix()),
		"several audiences": with(good, "aud", []string{"https://other.test", r.url}),
	} {
		if code, to := r.browser().codeFrom(r.authURL(pairs("client_id", "app", "request", s.sign(claims)))); code == "" {
			t.Errorf("%s: sent to %s", name, to)
		}
	}
	to := r.browser().open(r.authURL(pairs("client_id", "app", "request", s.sign(with(good, "redirect_uri", nil)), "redirect_uri", "http://127.0.0.1/cb")))
	if to.Host != "login.test" || to.Query().Get("error") == "" {
		t.Errorf("no redirect URI inside: sent to %s", to)
	}
}

// TestALogoutEndsWhereTheRequestMayLead leads on to registered addresses alone, with the
// state that was sent and none else (OpenID Connect RP-Initiated Logout 1.0 section 3).
func TestALogoutEndsWhereTheRequestMayLead(t *testing.T) {
	for name, c := range map[string]struct {
		parameters []string
		hint       bool
		end, err   string
	}{
		"no state":             {[]string{"post_logout_redirect_uri", "https://app.test/bye"}, true, "https://app.test/bye", ""},
		"no address":           {nil, true, "http://login.test/bye", ""},
		"a state alone":        {[]string{"state", "xyz"}, false, "http://login.test/bye", ""},
		"nothing":              {nil, false, "http://login.test/bye", ""},
		"a query that is more": {[]string{"post_logout_redirect_uri", "https://app.test/bye?more=1", "state", "xyz"}, true, "", "invalid_request"},
	} {
		r := start(t)
		r.client()
		b := r.remembered(oauth2.AcceptLogin{})
		if c.hint {
			token := r.redeem(b.consent(b.login(request(), oauth2.AcceptLogin{Subject: "alice"})).Query().Get("code")).str("id_token")
			c.parameters = append(c.parameters, "id_token_hint", token)
		}
		link := r.url + "/oauth2/sessions/logout?" + pairs(c.parameters...).Encode()
		if c.err != "" {
			if to := b.open(link); to.Host != "login.test" || to.Query().Get("error") != c.err {
				t.Errorf("%s: sent to %s", name, to)
			}
			continue
		}
		if to := b.logOut(link).header.Get("Location"); to != c.end {
			t.Errorf("%s: ends at %s, want %s", name, to, c.end)
		}
		if b.asked().Skip {
			t.Errorf("%s: the session is still there", name)
		}
	}
}
