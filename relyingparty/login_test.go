package relyingparty

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/fault"
)

func TestALoginAsksWithPKCEStateAndNonceAndReturnsToThePage(t *testing.T) {
	i := newIDP(t)
	p := i.party(t, func(o *Options) {
		o.Parameters, o.ACR, o.MaxAge = map[string]string{"prompt": "login"}, []string{"gold", "silver"}, time.Minute
	})
	b := newBrowser()
	sent := b.follow(t, p.Challenge(t.Context(), b.navigate("/page?a=1&b=%2F")))
	u, err := url.Parse(sent.Header.Get("Location"))
	if err != nil {
		t.Fatal(err)
	}
	got := u.Query()
	for _, name := range []string{"state", "nonce", "code_challenge"} {
		if len(got.Get(name)) != 43 {
			t.Errorf("%s is %q, want 256 bits", name, got.Get(name))
		}
		got.Del(name)
	}
	want := url.Values{"tenant": {"1"}, "response_type": {"code"}, "client_id": {"web"}, "redirect_uri": {"https://app.example/cb"}, "scope": {"openid offline_access"},
		"code_challenge_method": {"S256"}, "prompt": {"login"}, "acr_values": {"gold silver"}, "max_age": {"60"}}
	if diff := cmp.Diff(want, got); diff != "" || sent.Status != http.StatusFound || sent.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("%d %v (-want +got):\n%s", sent.Status, sent.Header, diff)
	}
	i.set(func(i *idp) { i.claims = map[string]any{"acr": "silver"} })
	done := b.follow(t, p.Serve(t.Context(), b.navigate(i.authorize(t, u.String()).RequestURI())))
	if got := done.Header.Get("Location"); got != "https://app.example/page?a=1&b=%2F" || done.Status != http.StatusSeeOther {
		t.Errorf("the login ends with %d at %s", done.Status, got)
	}
	form := i.asked[0]
	form.Del("code_verifier")
	form.Del("code")
	wantForm := url.Values{"grant_type": {"authorization_code"}, "redirect_uri": {"https://app.example/cb"}, "basic": {"web:a+secret%25"}}
	if diff := cmp.Diff(wantForm, form); diff != "" {
		t.Errorf("the code is spent with (-want +got):\n%s", diff)
	}
	s, header, err := p.Session(t.Context(), b.navigate("/"))
	if err != nil || header != nil {
		t.Fatal(header, err)
	}
	wantSession := &Session{Subject: "ada", RefreshToken: "rt", Began: start.Unix(), Issued: start.Unix(), Renewed: start.Unix(), Seen: start.Unix(), Expires: start.Add(time.Hour).Unix(),
		IDToken: s.IDToken, Claims: map[string]any{"iss": issuer, "sid": "s1", "acr": "silver", "auth_time": float64(start.Unix()), "email": "ada@example.org"}}
	if diff := cmp.Diff(wantSession, s); diff != "" || s.IDToken == "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if left := b.named("l"); len(left) > 0 {
		t.Errorf("cookies of the login are left: %v", left)
	}
}

func TestOnlyBrowsersThatNavigateAreSentToTheProvider(t *testing.T) {
	p := newIDP(t).party(t)
	for _, c := range []struct {
		method string
		header []string
		want   bool
	}{
		{"GET", []string{"Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Accept", "*/*"}, true},
		{"HEAD", []string{"Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}, true},
		{"GET", []string{"Sec-Fetch-Mode", "navigate"}, true},
		{"GET", []string{"Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe", "Accept", "text/html"}, false},
		{"GET", []string{"Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty", "Accept", "text/html"}, false},
		{"GET", []string{"Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "image", "Accept", "text/html"}, false},
		{"GET", []string{"Sec-Fetch-Dest", "document"}, false},
		{"POST", []string{"Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Accept", "text/html"}, false},
		{"GET", []string{"Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}, true},
		{"GET", []string{"Accept", "application/xml, text/html;q=0.5"}, true},
		{"GET", []string{"Accept", "application/json, text/html"}, false},
		{"GET", []string{"Accept", "text/html; q=0"}, false},
		{"GET", []string{"Accept", "text/html", "X-Requested-With", "XMLHttpRequest"}, false},
		{"GET", []string{"Accept", "text/html", "Upgrade", "websocket"}, false},
		{"GET", []string{"Accept", "*/*"}, false},
		{"GET", nil, false},
		{"PUT", []string{"Accept", "text/html"}, false},
	} {
		b := newBrowser()
		err := p.Challenge(t.Context(), b.request(c.method, "/x", c.header...))
		var reply *access.Reply
		var refusal *fault.Error
		switch {
		case c.want && !errors.As(err, &reply):
			t.Errorf("%s %v: got %v, want a redirect", c.method, c.header, err)
		case !c.want:
			if errors.As(err, &reply) || !errors.As(err, &refusal) {
				t.Errorf("%s %v: got %v, want a refusal", c.method, c.header, err)
				continue
			}
			want := &fault.Error{Kind: fault.Unauthenticated, Reason: "login_required", Message: "the request needs a login", Challenge: `Session login_uri="https://app.example/login"`}
			if diff := cmp.Diff(want, refusal); diff != "" {
				t.Errorf("%s %v (-want +got):\n%s", c.method, c.header, diff)
			}
		}
	}
}

func TestSeveralTabsLogInSideBySideWithinABound(t *testing.T) {
	i := newIDP(t)
	p, b := i.party(t), newBrowser()
	var backs []*url.URL
	for n := range maxAttempts + 2 {
		i.Add(time.Second)
		sent := b.follow(t, p.Challenge(t.Context(), b.navigate("/"+strings.Repeat("x", n+1))))
		backs = append(backs, i.authorize(t, sent.Header.Get("Location")))
	}
	if got := len(b.named("l")); got != maxAttempts {
		t.Errorf("%d logins are open, want %d", got, maxAttempts)
	}
	for n, back := range backs {
		err := p.Serve(t.Context(), b.navigate(back.RequestURI()))
		if n < 2 {
			if !errors.Is(err, ErrUnknownLogin) {
				t.Errorf("login %d: got %v, want it to be forgotten", n, err)
			}
			continue
		}
		if got, want := b.follow(t, err).Header.Get("Location"), "https://app.example/"+strings.Repeat("x", n+1); got != want {
			t.Errorf("login %d ends at %s", n, got)
		}
	}
	if got := b.named("l"); len(got) > 0 {
		t.Errorf("logins are still open: %v", got)
	}
}

func TestAForgedOrForeignCallbackLogsNobodyIn(t *testing.T) {
	for name, c := range map[string]struct {
		callback func(q url.Values)
		browser  func(b *browser)
		idp      func(i *idp)
		after    time.Duration
		want     string // kind and reason
		retry    bool   // the same login may be completed later
	}{
		"another state":                {callback: func(q url.Values) { q.Set("state", otherFirst(q.Get("state"))) }, want: "unknown"},
		"no state":                     {callback: func(q url.Values) { q.Del("state") }, want: "unknown"},
		"another browser":              {browser: func(b *browser) { clear(b.cookies) }, want: "unknown"},
		"a cookie that was changed":    {browser: func(b *browser) { flip(b, "l") }, want: "unknown"},
		"a cookie of another host":     {browser: func(b *browser) { b.origin = "https://other.example" }, want: "unknown"},
		"too late":                     {after: attemptFor, want: "unknown"},
		"a repeated parameter":         {callback: func(q url.Values) { q.Add("code", "2") }, want: "invalid invalid_query"},
		"no code":                      {callback: func(q url.Values) { q.Del("code") }, want: "forbidden login_failed"},
		"another code":                 {callback: func(q url.Values) { q.Set("code", "x") }, want: "forbidden login_failed"},
		"no iss, though promised":      {callback: func(q url.Values) { q.Del("iss") }, want: "forbidden login_failed"},
		"iss of another":               {callback: func(q url.Values) { q.Set("iss", "https://evil.example") }, want: "forbidden login_failed"},
		"iss of another, unpromised":   {callback: func(q url.Values) { q.Set("iss", "https://evil.example") }, idp: func(i *idp) { i.metadata = map[string]any{"authorization_response_iss_parameter_supported": nil} }, want: "forbidden login_failed"},
		"an error":                     {callback: func(q url.Values) { q.Del("code"); q.Set("error", "access_denied") }, want: "forbidden login_refused"},
		"an error with a strange code": {callback: func(q url.Values) { q.Set("error", "<script>") }, want: "forbidden login_refused"},
		"an error of another":          {callback: func(q url.Values) { q.Set("error", "access_denied"); q.Set("iss", "https://evil.example") }, want: "forbidden login_failed"},
		"no ID token":                  {idp: func(i *idp) { i.answer = map[string]any{"id_token": nil} }, want: "forbidden login_failed"},
		"no access token":              {idp: func(i *idp) { i.answer = map[string]any{"access_token": nil} }, want: "unavailable login_provider_unavailable", retry: true},
		"a token of another type":      {idp: func(i *idp) { i.answer = map[string]any{"token_type": "DPoP"} }, want: "unavailable login_provider_unavailable", retry: true},
		"the provider is down":         {idp: func(i *idp) { i.status = 503 }, want: "unavailable login_provider_unavailable", retry: true},
		"the client is unknown":        {idp: func(i *idp) { i.status, i.body = 401, `{"error":"invalid_client"}` }, want: "forbidden login_failed"},
		"an answer that is no JSON":    {idp: func(i *idp) { i.status, i.body = 200, `<html>` }, want: "unavailable login_provider_unavailable", retry: true},
		"acr is not what was asked":    {idp: func(i *idp) { i.claims = map[string]any{"acr": "bronze"} }, want: "forbidden insufficient_authentication"},
		"authenticated too long ago":   {idp: func(i *idp) { i.claims = map[string]any{"auth_time": start.Add(-time.Hour).Unix()} }, want: "forbidden insufficient_authentication"},
	} {
		t.Run(name, func(t *testing.T) {
			i := newIDP(t)
			i.set(func(i *idp) { i.claims = map[string]any{"acr": "gold"} })
			if c.idp != nil {
				i.set(c.idp)
			}
			p := i.party(t, func(o *Options) { o.ACR, o.MaxAge = []string{"gold"}, 10*time.Minute })
			b := newBrowser()
			back := i.authorize(t, b.follow(t, p.Challenge(t.Context(), b.navigate("/"))).Header.Get("Location"))
			q := back.Query()
			if c.callback != nil {
				c.callback(q)
			}
			if c.browser != nil {
				c.browser(b)
			}
			i.Add(c.after)
			err := p.Serve(t.Context(), b.navigate("/cb?"+q.Encode()))
			got := fault.KindOf(err).String() + " " + fault.ReasonOf(err)
			if errors.Is(err, ErrUnknownLogin) {
				got = "unknown"
			}
			if got != c.want || strings.Contains(fault.MessageOf(err), "<") {
				t.Errorf("got %s (%v), want %s", got, err, c.want)
			}
			open := len(b.named("l"))
			b.take(t, fault.HeaderOf(err))
			if left := len(b.named("l")); c.want != "unknown" && got != "invalid invalid_query" && c.retry != (left == open) {
				t.Errorf("%d of %d cookies of the login are left", left, open)
			}
			if len(b.named("s")) > 0 {
				t.Error("there is a session")
			}
		})
	}
}

// otherFirst is s with another first character, whatever that was.
func otherFirst(s string) string {
	if s[0] == 'x' {
		return "y" + s[1:]
	}
	return "x" + s[1:]
}

// flip changes a character in the middle of a cookie.
func flip(b *browser, kind string) {
	for _, name := range b.named(kind) {
		v := []byte(b.cookies[name])
		if v[len(v)/2]++; v[len(v)/2] == 'z'+1 || v[len(v)/2] == 'Z'+1 || v[len(v)/2] == '9'+1 || v[len(v)/2] == '-'+1 || v[len(v)/2] == '_'+1 {
			v[len(v)/2] = 'A'
		}
		b.cookies[name] = string(v)
	}
}

func TestHostileIDTokensLogNobodyIn(t *testing.T) {
	other := ed25519.NewKeyFromSeed(make([]byte, 32))
	raw := func(header, payload string, signature []byte) string {
		e := base64.RawURLEncoding
		return e.EncodeToString([]byte(header)) + "." + e.EncodeToString([]byte(payload)) + "." + e.EncodeToString(signature)
	}
	claim := func(name string, v any) func(*idp) { return func(i *idp) { i.claims = map[string]any{name: v} } }
	signed := func(sign func(i *idp, payload []byte) string) func(*idp) {
		return func(i *idp) { i.sign = func(payload []byte) string { return sign(i, payload) } }
	}
	for name, change := range map[string]func(*idp){
		"alg none":                  signed(func(_ *idp, p []byte) string { return raw(`{"alg":"none"}`, string(p), nil) }),
		"HS256 with the public key": signed(func(_ *idp, p []byte) string { return raw(`{"alg":"HS256","kid":"es"}`, string(p), []byte("x")) }),
		"an algorithm that is not allowed": signed(func(_ *idp, p []byte) string {
			return raw(`{"alg":"EdDSA","kid":"es"}`, string(p), ed25519.Sign(other, p))
		}),
		"no kid": signed(func(i *idp, p []byte) string {
			parts := strings.Split(i.signed(p, ""), ".")
			return raw(`{"alg":"ES256"}`, string(p), []byte(parts[2]))
		}),
		"a changed payload": signed(func(i *idp, p []byte) string {
			parts := strings.Split(i.signed(p, ""), ".")
			parts[1] = base64.RawURLEncoding.EncodeToString([]byte(strings.Replace(string(p), "ada", "bob", 1)))
			return strings.Join(parts, ".")
		}),
		"an access token": signed(func(i *idp, p []byte) string { return i.signed(p, "at+jwt") }),
		"a logout token":  signed(func(i *idp, p []byte) string { return i.signed(p, "logout+jwt") }),
		"duplicate members": signed(func(i *idp, p []byte) string {
			return i.signed([]byte(strings.Replace(string(p), `{`, `{"sub":"root",`, 1)), "")
		}),
		"garbage":                  signed(func(*idp, []byte) string { return "garbage" }),
		"events":                   claim("events", map[string]any{}),
		"cnf":                      claim("cnf", map[string]any{"jkt": "x"}),
		"another nonce":            claim("nonce", "another"),
		"no nonce":                 claim("nonce", nil),
		"another issuer":           claim("iss", "https://evil.example"),
		"an issuer with a slash":   claim("iss", issuer+"/"),
		"another client":           claim("aud", "other"),
		"no audience":              claim("aud", nil),
		"an audience of numbers":   claim("aud", []any{"web", 1}),
		"two clients, no azp":      claim("aud", []any{"web", "other"}),
		"another azp":              claim("azp", "other"),
		"no subject":               claim("sub", nil),
		"a subject that is a list": claim("sub", []any{"ada"}),
		"a long subject":           claim("sub", strings.Repeat("a", 256)),
		"expired":                  claim("exp", start.Unix()),
		"no expiry":                claim("exp", nil),
		"an expiry in text":        claim("exp", "4102444800"),
		"no issue time":            claim("iat", nil),
		"issued in the future":     claim("iat", start.Add(time.Minute).Unix()),
		"not valid yet":            claim("nbf", start.Add(time.Minute).Unix()),
		"another access token":     claim("at_hash", halfHash("ES256", "another")),
		"at_hash that is empty":    claim("at_hash", ""),
	} {
		t.Run(name, func(t *testing.T) {
			i := newIDP(t)
			i.set(change)
			p, b := i.party(t), newBrowser()
			back := i.authorize(t, b.follow(t, p.Challenge(t.Context(), b.navigate("/"))).Header.Get("Location"))
			err := p.Serve(t.Context(), b.navigate(back.RequestURI()))
			if got := fault.KindOf(err).String() + " " + fault.ReasonOf(err); got != "forbidden login_failed" || fault.MessageOf(err) != "the provider's ID token is not valid" {
				t.Errorf("got %s: %v", got, err)
			}
		})
	}
	for name, change := range map[string]func(*idp){
		"as it should be":     func(*idp) {},
		"typ JWT":             signed(func(i *idp, p []byte) string { return i.signed(p, "JWT") }),
		"two clients and azp": func(i *idp) { i.claims = map[string]any{"aud": []any{"web", "other"}, "azp": "web"} },
		"no at_hash":          claim("at_hash", nil),
		"a life in text":      func(i *idp) { i.answer = map[string]any{"expires_in": "60"} },
	} {
		i := newIDP(t)
		i.set(change)
		newBrowser().login(t, i, i.party(t), "/")
		_ = name
	}
}

func TestAPublicClientAndOneThatPostsItsSecretSaySo(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Options)
		want   url.Values
	}{
		"public": {func(o *Options) { o.ClientSecret = "" }, url.Values{"client_id": {"web"}}},
		"post":   {func(o *Options) { o.PostSecret = true }, url.Values{"client_id": {"web"}, "client_secret": {"a secret%"}}},
	} {
		i := newIDP(t)
		newBrowser().login(t, i, i.party(t, c.change), "/")
		got := i.asked[0]
		for _, n := range []string{"grant_type", "code", "code_verifier", "redirect_uri"} {
			got.Del(n)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestMetadataThatCannotBeTrustedBeginNoLogin(t *testing.T) {
	for name, metadata := range map[string]map[string]any{
		"another issuer":          {"issuer": "https://evil.example"},
		"no issuer":               {"issuer": nil},
		"an issuer in capitals":   {"issuer": nil, "ISSUER": issuer},
		"no token endpoint":       {"token_endpoint": nil},
		"an endpoint without TLS": {"token_endpoint": "http://login.example/token"},
		"a script as a page":      {"authorization_endpoint": "javascript:alert(1)"},
		"a logout without TLS":    {"end_session_endpoint": "http://login.example/logout"},
	} {
		i := newIDP(t)
		i.set(func(i *idp) { i.metadata = metadata })
		p, b := i.party(t), newBrowser()
		if err := p.Challenge(t.Context(), b.navigate("/")); !fault.Is(err, fault.Unavailable) {
			t.Errorf("%s: got %v, want unavailable", name, err)
		}
		// It is asked again, but not at once.
		i.set(func(i *idp) { i.metadata = nil })
		if err := p.Challenge(t.Context(), b.navigate("/")); !fault.Is(err, fault.Unavailable) {
			t.Errorf("%s: asked again at once: %v", name, err)
		}
		i.Add(retryAfter)
		b.login(t, i, p, "/")
	}
}

func TestALoginPageIsAskedForWithATargetOnThisHost(t *testing.T) {
	i := newIDP(t)
	p := i.party(t)
	for to, want := range map[string]string{"/next?x=1": "/next?x=1", "https://evil.example": "/", "": "/", "/logout": "/"} {
		b := newBrowser()
		sent := b.follow(t, p.Serve(t.Context(), b.navigate("/login?return_to="+url.QueryEscape(to))))
		done := b.follow(t, p.Serve(t.Context(), b.navigate(i.authorize(t, sent.Header.Get("Location")).RequestURI())))
		if got := done.Header.Get("Location"); got != "https://app.example"+want {
			t.Errorf("%q: the login ends at %s", to, got)
		}
	}
	for _, path := range []string{"/cb", "/login", "/logout"} {
		if got := newBrowser().follow(t, p.Serve(t.Context(), newBrowser().request("DELETE", path))).Status; got != 405 {
			t.Errorf("DELETE %s: got %d", path, got)
		}
	}
}

func TestBadOptionsAreNamed(t *testing.T) {
	i := newIDP(t)
	for want, change := range map[string]func(*Options){
		"issuer":                          func(o *Options) { o.Local = nil },
		"issuer must be":                  func(o *Options) { o.Issuer = "login.example" },
		"client_id":                       func(o *Options) { o.ClientID = "" },
		"secrets.system":                  func(o *Options) { o.Secrets = nil },
		"openid":                          func(o *Options) { o.Scope = []string{"profile"} },
		"scope: \"a b\"":                  func(o *Options) { o.Scope = []string{"openid", "a b"} },
		"cookie_name":                     func(o *Options) { o.CookieName = "a;b" },
		"idle_timeout":                    func(o *Options) { o.Idle = 0 },
		"authorization_parameters: state": func(o *Options) { o.Parameters = map[string]string{"state": "x"} },
		"allowed_algorithms: \"none\"":    func(o *Options) { o.Algorithms = []string{"none"} },
		"allowed_algorithms: \"HS256\"":   func(o *Options) { o.Algorithms = []string{"HS256"} },
		"allowed_algorithms must":         func(o *Options) { o.Algorithms = nil },
		"callback_path: \"\"":             func(o *Options) { o.Callback = "" },
		"callback_path: \"/\"":            func(o *Options) { o.Callback = "/" },
		"callback_path: \"cb\"":           func(o *Options) { o.Callback = "cb" },
		"login_path: \"/a/../b\"":         func(o *Options) { o.Login = "/a/../b" },
		"logout_path: \"/a?b\"":           func(o *Options) { o.Logout = "/a?b" },
		"login_path and logout_path":      func(o *Options) { o.Login, o.Logout = "/x", "/x" },
		"post_logout_redirect":            func(o *Options) { o.AfterLogout = "//evil.example" },
		"authorization_endpoint is":       func(o *Options) { o.Endpoints.Token = "https://login.example/token" },
		"jwks_uri": func(o *Options) {
			o.Local, o.Issuer, o.Endpoints = nil, "https://a.example", Endpoints{Authorization: "https://a.example/a", Token: "https://a.example/t"}
		},
		"token_endpoint must be an https": func(o *Options) {
			o.Endpoints = Endpoints{Authorization: "https://a.example/a", Token: "http://a.example/t", JWKS: "https://a.example/k"}
		},
	} {
		o := options(i)
		change(&o)
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error about %s", err, want)
		}
	}
}

func TestNoSecretIsInAnError(t *testing.T) {
	i := newIDP(t)
	p, b := i.party(t), newBrowser()
	back := i.authorize(t, b.follow(t, p.Challenge(t.Context(), b.navigate("/"))).Header.Get("Location"))
	i.set(func(i *idp) {
		i.status, i.body = 400, `{"error":"`+back.Query().Get("code")+`","error_description":"a secret%"}`
	})
	err := p.Serve(t.Context(), b.navigate(back.RequestURI()))
	text, _ := json.Marshal(err.Error())
	for _, secret := range []string{back.Query().Get("code"), back.Query().Get("state"), "a secret"} {
		if strings.Contains(string(text), secret) {
			t.Errorf("%s tells %s", text, secret)
		}
	}
}
