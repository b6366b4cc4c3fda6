package server_test

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	xoauth2 "golang.org/x/oauth2"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/oauth2"
	"github.com/gatewarden/gatewarden/oauth2/server"
)

const deviceGrant = "urn:ietf:params:oauth:grant-type:device_code"

// tv is a public client of devices.
func tv(c *oauth2.Client) {
	public(c)
	c.ID, c.GrantTypes = "tv", []string{deviceGrant, "refresh_token"}
}

// ask asks for codes as a device does.
func (r *rig) ask(form ...string) answer {
	r.t.Helper()
	a := r.post("/oauth2/device/auth", "", append([]string{"client_id", "tv", "scope", "openid offline_access read", "audience", "api"}, form...)...)
	if a.status != 200 {
		r.t.Fatalf("device: %d %s", a.status, a.raw)
	}
	return a
}

func (r *rig) poll(device string, form ...string) answer {
	r.t.Helper()
	return r.post("/oauth2/token", "", append([]string{"grant_type", deviceGrant, "device_code", device, "client_id", "tv"}, form...)...)
}

// device starts a server with a page of the operator's.
func device(o *server.Options) {
	o.URLs.DeviceVerification, o.URLs.DeviceSuccess = "http://login.test/device", "http://login.test/connected"
}

// enter enters a code in the browser and returns where the login app is.
func (b *browser) enter(code string) (login *url.URL) {
	b.r.t.Helper()
	challenge := b.open(b.r.url + "/oauth2/device/verify").Query().Get("device_challenge")
	to, err := b.r.server.AcceptUserCode(context.Background(), challenge, oauth2.AcceptUserCode{UserCode: code})
	if err != nil {
		b.r.t.Fatal(err)
	}
	return b.open(to)
}

// agree goes on from the login app as alice and agrees to everything.
func (b *browser) agree(login *url.URL) *url.URL {
	b.r.t.Helper()
	next, err := b.r.server.AcceptLogin(context.Background(), login.Query().Get("login_challenge"), oauth2.AcceptLogin{Subject: "alice"})
	if err != nil {
		b.r.t.Fatal(err)
	}
	return b.consent(b.open(next).Query().Get("consent_challenge"))
}

func TestADeviceGetsWhatItsPersonAgreesTo(t *testing.T) {
	r := start(t, device)
	r.client(tv)
	a := r.ask()
	if !regexp.MustCompile(`^[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}$`).MatchString(a.str("user_code")) || !strings.HasPrefix(a.str("device_code"), "ory_dc_") ||
		a.str("verification_uri") != r.url+"/oauth2/device/verify" || a.json["interval"] != 5.0 || a.json["expires_in"] != 600.0 || len(a.json) != 6 {
		t.Fatalf("%s", a.raw)
	}
	r.wants(r.poll(a.str("device_code")), 400, "authorization_pending")
	b := r.browser()
	prefilled := b.open(a.str("verification_uri_complete"))
	if prefilled.Query().Get("user_code") != a.str("user_code") || prefilled.Query().Get("device_challenge") == "" {
		t.Errorf("sent to %s", prefilled)
	}
	login := b.enter(strings.ToLower(strings.ReplaceAll(a.str("user_code"), "-", " ")))
	asked, err := r.server.LoginRequest(context.Background(), login.Query().Get("login_challenge"))
	if err != nil || asked.Client.ID != "tv" || asked.RequestURL != r.url+"/oauth2/device/verify" {
		t.Fatalf("%+v %v", asked, err)
	}
	r.wait(6 * time.Second)
	r.wants(r.poll(a.str("device_code")), 400, "authorization_pending")
	if to := b.agree(login); to.String() != "http://login.test/connected" {
		t.Errorf("ends at %s", to)
	}
	r.wait(6 * time.Second)
	got := r.poll(a.str("device_code"))
	if got.status != 200 || got.str("refresh_token") == "" || partOf(t, got.str("id_token"), 1)["sub"] != "alice" || got.str("scope") != "openid offline_access read" {
		t.Fatalf("%d %s", got.status, got.raw)
	}
	if again := r.post("/oauth2/token", "", "grant_type", "refresh_token", "refresh_token", got.str("refresh_token"), "client_id", "tv"); again.status != 200 {
		t.Errorf("refresh: %d %s", again.status, again.raw)
	} else {
		got = again
	}
	// A code that comes again ends what it has bought.
	r.wait(6 * time.Second)
	r.wants(r.poll(a.str("device_code")), 400, "invalid_grant")
	if r.isActive(got.str("access_token")) {
		t.Error("the tokens of a code that was used twice are good")
	}
}

// The library polls until the person has agreed.
func TestADeviceOfTheGoLibraryIsConnected(t *testing.T) {
	r := start(t, device, func(o *server.Options) { o.Device.Interval = time.Second })
	r.client(tv)
	ctx := context.WithValue(context.Background(), xoauth2.HTTPClient, r.http)
	config := xoauth2.Config{ClientID: "tv", Scopes: []string{"openid", "read"}, Endpoint: xoauth2.Endpoint{
		DeviceAuthURL: r.url + "/oauth2/device/auth", TokenURL: r.url + "/oauth2/token", AuthStyle: xoauth2.AuthStyleInParams,
	}}
	codes, err := config.DeviceAuth(ctx)
	if err != nil {
		t.Fatal(err)
	}
	b := r.browser()
	b.agree(b.enter(codes.UserCode))
	token, err := config.DeviceAccessToken(ctx, codes)
	if err != nil || !r.isActive(token.AccessToken) {
		t.Fatalf("%v %v", token, err)
	}
}

func TestADeviceThatAsksTooOftenIsToldToSlowDown(t *testing.T) {
	r := start(t, device)
	r.client(tv)
	code := r.ask().str("device_code")
	r.wants(r.poll(code), 400, "authorization_pending")
	r.wants(r.poll(code), 400, "slow_down")
	r.wait(6 * time.Second)
	r.wants(r.poll(code), 400, "slow_down") // ten seconds by now
	r.wait(16 * time.Second)
	r.wants(r.poll(code), 400, "authorization_pending")
}

func TestADeviceIsToldHowItEnded(t *testing.T) {
	r := start(t, device)
	r.client(tv)
	r.client(func(c *oauth2.Client) { tv(c); c.ID = "other" })
	refused := r.ask()
	login := r.browser().enter(refused.str("user_code"))
	if _, err := r.server.RejectLogin(context.Background(), login.Query().Get("login_challenge"), oauth2.Rejection{Error: "access_denied"}); err != nil {
		t.Fatal(err)
	}
	r.wants(r.poll(refused.str("device_code")), 400, "access_denied")

	late := r.ask()
	r.wants(r.poll(late.str("device_code"), "client_id", "tv", "x", "y"), 400, "invalid_request") // client_id twice
	r.wants(r.post("/oauth2/token", "", "grant_type", deviceGrant, "device_code", late.str("device_code"), "client_id", "other"), 400, "invalid_grant")
	r.wants(r.poll("ory_dc_x"), 400, "invalid_grant")
	r.wants(r.poll(""), 400, "invalid_grant")
	r.wait(11 * time.Minute)
	r.wants(r.poll(late.str("device_code")), 400, "expired_token")
	challenge := r.browser().open(r.url + "/oauth2/device/verify").Query().Get("device_challenge")
	if _, err := r.server.AcceptUserCode(context.Background(), challenge, oauth2.AcceptUserCode{UserCode: late.str("user_code")}); !fault.Is(err, fault.Invalid) {
		t.Errorf("a code that has expired: %v", err)
	}
}

func TestWhatADeviceAsksForIsChecked(t *testing.T) {
	r := start(t, device)
	r.client(tv)
	r.client()
	r.wants(r.post("/oauth2/device/auth", "", "client_id", "tv", "scope", "admin"), 400, "invalid_scope")
	r.wants(r.post("/oauth2/device/auth", "", "client_id", "tv", "audience", "foreign"), 400, "invalid_request")
	r.wants(r.post("/oauth2/device/auth", "", "client_id", "tv", "resource", "https://foreign.test/"), 400, "invalid_target")
	r.wants(r.post("/oauth2/device/auth", "app:secret"), 400, "unauthorized_client")
	r.wants(r.post("/oauth2/device/auth", "", "client_id", "app"), 401, "invalid_client")
	r.wants(r.post("/oauth2/device/auth", "", "client_id", "nobody"), 401, "invalid_client")
}

func TestUserCodesAreGoodOnceAndCannotBeGuessed(t *testing.T) {
	r := start(t, device)
	r.client(tv)
	accept := func(challenge, code string) error {
		_, err := r.server.AcceptUserCode(context.Background(), challenge, oauth2.AcceptUserCode{UserCode: code})
		return err
	}
	challenge := func() string {
		return r.browser().open(r.url + "/oauth2/device/verify").Query().Get("device_challenge")
	}
	code := r.ask().str("user_code")
	challenges := make([]string, 64)
	for i := range challenges {
		challenges[i] = challenge()
	}
	var won atomic.Int32
	var group sync.WaitGroup
	for _, one := range challenges {
		group.Go(func() {
			switch err := accept(one, code); {
			case err == nil:
				won.Add(1)
			case !fault.Is(err, fault.Invalid):
				t.Error(err)
			}
		})
	}
	group.Wait()
	if won.Load() != 1 {
		t.Errorf("%d of 64 won", won.Load())
	}
	r.wait(time.Minute)
	// Five attempts in a browser, and then not even the right one.
	one, right := challenge(), r.ask().str("user_code")
	for range 5 {
		if err := accept(one, "BBBB-BBBB"); !fault.Is(err, fault.Invalid) {
			t.Error(err)
		}
	}
	if err := accept(one, right); !fault.Is(err, fault.RateLimited) {
		t.Errorf("a sixth attempt: %v", err)
	}
	// Many browsers do not help.
	var refused error
	for range 40 {
		one := challenge()
		for range 4 {
			if err := accept(one, "BBBB-BBBB"); fault.Is(err, fault.RateLimited) {
				refused = err
			}
		}
	}
	if err := accept(challenge(), right); refused == nil || !fault.Is(err, fault.RateLimited) {
		t.Errorf("after many wrong codes: %v", err)
	}
	r.wait(time.Minute)
	if err := accept(challenge(), right); err != nil {
		t.Errorf("a minute later: %v", err)
	}
	if err := accept("unknown", right); !fault.Is(err, fault.NotFound) {
		t.Errorf("an unknown challenge: %v", err)
	}
}

func TestADevicesFlowGoesOnInTheBrowserWhereTheCodeWasEntered(t *testing.T) {
	r := start(t, device)
	r.client(tv)
	code := r.ask().str("user_code")
	b := r.browser()
	challenge := b.open(r.url + "/oauth2/device/verify").Query().Get("device_challenge")
	to, err := r.server.AcceptUserCode(context.Background(), challenge, oauth2.AcceptUserCode{UserCode: code})
	if err != nil {
		t.Fatal(err)
	}
	if stranger := r.browser().open(to); stranger.Query().Get("error") != "request_forbidden" {
		t.Errorf("another browser: %s", stranger)
	}
	if login := b.open(to); login.Query().Get("login_challenge") == "" {
		t.Errorf("the browser itself: %s", login)
	}
	if again := b.open(to); again.Query().Get("error") != "access_denied" {
		t.Errorf("again: %s", again)
	}
}

func TestOfParallelPollsOneWins(t *testing.T) {
	r := start(t, device, func(o *server.Options) { o.Device.Interval = time.Nanosecond })
	r.client(func(c *oauth2.Client) { c.GrantTypes = append(c.GrantTypes, deviceGrant) })
	a := r.post("/oauth2/device/auth", "app:secret", "scope", "read")
	b := r.browser()
	b.agree(b.enter(a.str("user_code")))
	var won atomic.Int32
	var group sync.WaitGroup
	for range 64 {
		group.Go(func() {
			switch got := r.post("/oauth2/token", "app:secret", "grant_type", deviceGrant, "device_code", a.str("device_code")); {
			case got.status == 200:
				won.Add(1)
			case got.status != 400:
				t.Errorf("%d %s", got.status, got.raw)
			}
		})
	}
	group.Wait()
	if won.Load() != 1 {
		t.Errorf("%d of 64 won", won.Load())
	}
}

// The built-in page works without scripts, and for the browser that it was given to.
func TestTheBuiltInPageOfDevices(t *testing.T) {
	r := start(t)
	r.client(tv)
	a := r.ask()
	b := r.browser()
	open := func(code string) (challenge string) {
		req, err := http.NewRequest("GET", r.url+"/oauth2/device/verify?user_code="+url.QueryEscape(code), nil)
		if err != nil {
			t.Fatal(err)
		}
		got := r.do(b.http, req)
		found := regexp.MustCompile(`name="device_challenge" value="([^"]+)"`).FindStringSubmatch(got.raw)
		if got.status != 200 || found == nil || strings.Contains(got.raw, "<script") || !strings.Contains(got.header.Get("Content-Security-Policy"), "default-src 'none'") {
			t.Fatalf("%d %s", got.status, got.raw)
		}
		return found[1]
	}
	open(`"><script>alert(1)</script>`)
	challenge := open(a.str("user_code"))
	submit := func(c *http.Client, code string) answer {
		req, err := http.NewRequest("POST", r.url+"/oauth2/device/verify", strings.NewReader(pairs("device_challenge", challenge, "user_code", code).Encode()))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		return r.do(c, req)
	}
	if got := submit(b.http, "BBBB-BBBB"); got.status != 400 || !strings.Contains(got.raw, `role="alert"`) {
		t.Errorf("a wrong code: %d %s", got.status, got.raw)
	}
	if got := submit(r.browser().http, a.str("user_code")); !strings.Contains(got.header.Get("Location"), "request_forbidden") {
		t.Errorf("another browser: %d %s", got.status, got.header.Get("Location"))
	}
	got := submit(b.http, a.str("user_code"))
	if got.status != http.StatusSeeOther || !strings.HasPrefix(got.header.Get("Location"), r.url+"/oauth2/device/verify?device_verifier=") {
		t.Fatalf("%d %s", got.status, got.header.Get("Location"))
	}
	if to := b.agree(b.open(got.header.Get("Location"))); to.Path != "/oauth2/fallbacks/device/done" {
		t.Errorf("ends at %s", to)
	}
	if done := r.get("/oauth2/fallbacks/device/done"); done.status != 200 || !strings.Contains(done.raw, "connected") {
		t.Errorf("%d %s", done.status, done.raw)
	}
	if got := r.poll(a.str("device_code")); got.status != 200 {
		t.Errorf("%d %s", got.status, got.raw)
	}
}

// FuzzUserCode: whatever is typed is no code unless it is one, and never a fault of the
// server.
func FuzzUserCode(f *testing.F) {
	r := start(f)
	r.client(tv)
	r.ask()
	h := r.server.Public()
	f.Add("BBBB-BBBB", "x")
	f.Add("\x00", "")
	f.Add(strings.Repeat("ß", 100), "challenge")
	f.Fuzz(func(t *testing.T, code, challenge string) {
		body := bytes.NewBufferString(pairs("device_challenge", challenge, "user_code", code).Encode())
		req := httptest.NewRequest("POST", "/oauth2/device/verify", body)
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, req); w.Code >= 500 || strings.Contains(w.Header().Get("Location"), "device_verifier") || strings.Contains(w.Header().Get("Location"), "server_error") {
			t.Fatalf("%d %s %s", w.Code, w.Header().Get("Location"), w.Body)
		}
		if _, err := r.server.AcceptUserCode(context.Background(), challenge, oauth2.AcceptUserCode{UserCode: code}); err == nil {
			t.Fatal("an unknown challenge was answered")
		}
	})
}
