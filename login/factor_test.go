package login_test

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pquerna/otp/totp"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/login"
	"github.com/gatewarden/gatewarden/users"
)

// app is an authenticator app: its secret, and a clock that the pages go by too.
type app struct {
	t      *testing.T
	now    *atomic.Int64
	secret string
}

func startFactors(t *testing.T, policy login.SecondFactor) (*rig, *app) {
	a := &app{t: t, now: &atomic.Int64{}}
	a.now.Store(time.Now().Unix())
	r := startWith(t, func(o *login.Options) {
		o.SecondFactor, o.Now = policy, func() time.Time { return time.Unix(a.now.Load(), 0) }
	})
	return r, a
}

// next is the code of the app after a step of its clock.
func (a *app) next() string {
	a.now.Add(30)
	return a.code(0)
}

// code is the code of so many steps from now.
func (a *app) code(steps int64) string {
	a.t.Helper()
	code, err := totp.GenerateCode(a.secret, time.Unix(a.now.Load()+30*steps, 0))
	if err != nil {
		a.t.Fatal(err)
	}
	return code
}

// other is a code that is none of now.
func (a *app) other() string {
	for i := int64(5); ; i++ {
		if c := a.code(i); c != a.code(-1) && c != a.code(0) && c != a.code(1) {
			return c
		}
	}
}

var secretShown = regexp.MustCompile(`<code>([A-Z2-7 ]{39})</code>`)
var codesShown = regexp.MustCompile(`<li><code>([A-Z2-7-]{19})</code></li>`)

// scan reads the secret of the page.
func (a *app) scan(b *browser) {
	a.t.Helper()
	m := secretShown.FindStringSubmatch(b.body)
	if m == nil {
		a.t.Fatalf("no secret: %s", b.body)
	}
	a.secret = strings.ReplaceAll(m[1], " ", "")
}

func recoveryCodes(b *browser) (codes []string) {
	for _, m := range codesShown.FindAllStringSubmatch(b.body, -1) {
		codes = append(codes, m[1])
	}
	return codes
}

// account sends a form of the account page.
func (b *browser) account(pairs ...string) *browser {
	b.r.t.Helper()
	b.open(login.AccountPath)
	form := url.Values{"csrf_token": {b.fields().Get("csrf_token")}}
	for i := 0; i+1 < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	return b.send(http.MethodPost, b.r.url+login.AccountPath, form.Encode())
}

// enrol gives ada an app and returns her recovery codes.
func (b *browser) enrol(a *app) []string {
	b.r.t.Helper()
	b.open(login.AccountPath).submit("login", "ada", "password", "correct horse", "action", "login").shows(http.StatusOK, "There is no authenticator app.")
	a.scan(b.account("action", "add-generator", "password", "correct horse").shows(http.StatusOK, `<svg class="qr"`, `action="/account"`))
	codes := recoveryCodes(b.submit("code", a.next(), "action", "confirm-generator").shows(http.StatusOK, "Your recovery codes"))
	if len(codes) != 10 {
		b.r.t.Fatalf("%d recovery codes", len(codes))
	}
	return codes
}

func TestAnAppIsEnrolledByItsCodeAndAskedForFromThenOn(t *testing.T) {
	r, a := startFactors(t, login.SecondFactorOptional)
	b := r.browser()
	b.open(login.AccountPath).submit("login", "ada", "password", "correct horse", "action", "login")
	b.account("action", "add-generator", "password", "wrong horse").shows(http.StatusForbidden, "The current password is wrong.")
	a.scan(b.account("action", "add-generator", "password", "correct horse").shows(http.StatusOK, "Set up an authenticator app"))
	if strings.Contains(b.body, "<img") || strings.Contains(b.body, " style=") || b.header.Get("Cache-Control") != "no-store" {
		t.Errorf("the page needs more than its policy allows, or is kept: %s", b.body)
	}
	page := *b
	b.submit("code", a.other(), "action", "confirm-generator").shows(http.StatusForbidden, "The code is wrong")
	if f, err := r.store.Factors(t.Context(), "ada"); err != nil || f.Any() {
		t.Errorf("an app counts without a code of it: %v %v", f, err)
	}
	r.browser().signIn().shows(http.StatusOK, "Allow access?") // it does not count yet
	b.submit("code", a.code(0), "action", "confirm-generator").shows(http.StatusOK, "Your recovery codes")
	page.submit("code", a.code(1), "action", "confirm-generator").shows(http.StatusConflict) // there is one now
	b.open(login.AccountPath).shows(http.StatusOK, "An authenticator app is set up since", "Recovery codes that are left: 10")

	c := r.browser()
	c.signIn().shows(http.StatusOK, "Code of your authenticator app", "to continue to The App", `autocomplete="one-time-code"`)
	c.submit("action", "code").shows(http.StatusBadRequest, "Enter the code.")
	c.submit("code", a.code(0), "action", "code").shows(http.StatusForbidden, "was used before") // at enrolment
	c.submit("code", a.code(1), "action", "code").shows(http.StatusOK, "Allow access?").submit("action", "allow")
	claims, _ := c.claims()
	got := map[string]any{"acr": claims["acr"], "amr": claims["amr"], "sub": claims["sub"]}
	if diff := cmp.Diff(map[string]any{"acr": "aal2", "amr": []any{"pwd", "otp", "mfa"}, "sub": "ada"}, got); diff != "" {
		t.Errorf("claims (-want +got):\n%s", diff)
	}

	b.account("action", "remove-generator", "password", "wrong horse").shows(http.StatusForbidden)
	b.account("action", "remove-generator").shows(http.StatusForbidden)
	b.account("action", "remove-generator", "password", "correct horse").shows(http.StatusOK, "The authenticator app was removed.", "There is no authenticator app.")
	r.browser().signIn().shows(http.StatusOK, "Allow access?")
}

func TestASecondFactorCannotBeLeftOutReplayedOrGuessed(t *testing.T) {
	r, a := startFactors(t, login.SecondFactorOptional)
	r.browser().enrol(a)
	b := r.browser()
	b.signIn().shows(http.StatusOK, "Code of your authenticator app")
	ticket := b.fields()
	other := r.browser().signIn()
	for name, change := range map[string]func(url.Values){
		"the next step without this one": func(f url.Values) { f.Set("action", "seen") },
		"enrolment of another app":       func(f url.Values) { f.Set("action", "confirm-generator") },
		"no ticket":                      func(f url.Values) { f.Del("ticket") },
		"another browser's ticket":       func(f url.Values) { f.Set("ticket", other.fields().Get("ticket")) },
	} {
		form := url.Values{"action": {"code"}, "code": {a.code(1)}}
		for k, v := range ticket {
			if k != "code" {
				form[k] = v
			}
		}
		change(form)
		page := *b
		if page.send(http.MethodPost, r.url+login.LoginPath, form.Encode()); page.status != http.StatusForbidden || strings.Contains(page.body, "Allow access?") {
			t.Errorf("%s: %d %s", name, page.status, page.body)
		}
	}
	// The same code from many browsers at once opens one login.
	browsers := make([]*browser, 8)
	for i := range browsers {
		browsers[i] = r.browser().signIn()
	}
	code := a.code(1)
	var passed atomic.Int64
	var group sync.WaitGroup
	for _, one := range browsers {
		form := one.fields()
		form.Set("code", code)
		form.Set("action", "code")
		group.Go(func() {
			if one.send(http.MethodPost, r.url+login.LoginPath, form.Encode()); strings.Contains(one.body, "Allow access?") {
				passed.Add(1)
			}
		})
	}
	group.Wait()
	if passed.Load() != 1 {
		t.Errorf("one code opened %d logins", passed.Load())
	}

	a.now.Add(24 * 3600) // tickets end
	b.send(http.MethodPost, r.url+login.LoginPath, func() string { ticket.Set("action", "code"); ticket.Set("code", a.code(0)); return ticket.Encode() }()).
		shows(http.StatusForbidden, "open for too long", "Password")

	limited := 0
	for range 12 {
		if b.signIn().submit("code", a.other(), "action", "code"); b.status == http.StatusTooManyRequests {
			limited++
		}
	}
	if limited == 0 {
		t.Error("codes can be guessed without limit")
	}
	b.submit("code", a.next(), "action", "code").shows(http.StatusTooManyRequests, "too many attempts")
}

func TestARecoveryCodeStandsForTheAppOnce(t *testing.T) {
	r, a := startFactors(t, login.SecondFactorOptional)
	own := r.browser()
	codes := own.enrol(a)
	r.browser().signIn().submit("code", strings.ToLower(codes[3]), "action", "code").shows(http.StatusOK, "Allow access?")
	r.browser().signIn().submit("code", codes[3], "action", "code").shows(http.StatusForbidden, "was used before")
	own.open(login.AccountPath).shows(http.StatusOK, "Recovery codes that are left: 9")
	own.account("action", "new-codes", "password", "wrong").shows(http.StatusForbidden)
	fresh := recoveryCodes(own.account("action", "new-codes", "password", "correct horse").shows(http.StatusOK, "Your recovery codes"))
	r.browser().signIn().submit("code", codes[4], "action", "code").shows(http.StatusForbidden)
	b := r.browser().signIn().submit("code", fresh[0], "action", "code").shows(http.StatusOK, "Allow access?").submit("action", "allow")
	if claims, _ := b.claims(); cmp.Diff([]any{"pwd", "otp", "mfa"}, claims["amr"]) != "" {
		t.Errorf("amr %v", claims["amr"])
	}
}

func TestWhoMustHaveASecondFactorGetsOneDuringTheLogin(t *testing.T) {
	r, a := startFactors(t, login.SecondFactorRequired)
	b := r.browser()
	b.signIn().shows(http.StatusOK, "you need a second factor", `action="/login"`)
	a.scan(b)
	b.submit("action", "seen").shows(http.StatusForbidden)
	b.signIn()
	a.scan(b)
	b.submit("code", a.other(), "action", "confirm-generator").shows(http.StatusForbidden, "The code is wrong")
	if again := *a; func() bool { again.scan(b); return again.secret != a.secret }() {
		t.Error("after a wrong code the page has another secret")
	}
	b.submit("code", a.next(), "action", "confirm-generator").shows(http.StatusOK, "Your recovery codes")
	b.submit("action", "seen").shows(http.StatusOK, "Allow access?").submit("action", "allow")
	if claims, _ := b.claims(); claims["acr"] != "aal2" {
		t.Errorf("acr %v", claims["acr"])
	}
	r.browser().signIn().submit("code", a.next(), "action", "code").shows(http.StatusOK, "Allow access?")
}

func TestASessionWithTooFewFactorsIsAskedForMore(t *testing.T) {
	r, a := startFactors(t, login.SecondFactorOptional)
	b := r.browser()
	b.signIn().submit("action", "allow", "remember", "1") // one factor
	r.browser().enrol(a)
	if b.authorize(); b.at.Query().Get("code") == "" {
		t.Errorf("a session that suffices is asked: %s", b.body)
	}
	if b.authorize("acr_values", "aal2", "prompt", "none"); b.at.Query().Get("error") != "login_required" {
		t.Errorf("prompt=none came back with %s", b.at)
	}
	b.authorize("acr_values", "aal2").shows(http.StatusOK, "Password").submit("login", "ada", "password", "correct horse", "action", "login")
	b.shows(http.StatusOK, "Code of your authenticator app").submit("code", a.next(), "action", "code")
	if claims, _ := b.claims(); claims["acr"] != "aal2" {
		t.Errorf("acr %v", claims["acr"])
	}
	if b.authorize("acr_values", "aal2", "prompt", "none"); b.at.Query().Get("code") == "" {
		t.Errorf("the session does not remember its factors: %s", b.at)
	}
}

func TestWithoutSecondFactorsNobodyIsAskedForOne(t *testing.T) {
	r, a := startFactors(t, login.SecondFactorOptional)
	r.browser().enrol(a)
	off := startWith(t, func(o *login.Options) { o.SecondFactor, o.Factors = login.NoSecondFactor, r.store })
	b := off.browser()
	b.signIn().shows(http.StatusOK, "Allow access?")
	if b.open(login.AccountPath); strings.Contains(b.body, "authenticator") {
		t.Error("the account page offers what is off")
	}
	b.account("action", "add-generator", "password", "correct horse").shows(http.StatusBadRequest)
}

func TestAPersonWithoutPasswordChangesFactorsAfterAFreshLoginOnly(t *testing.T) {
	r, a := startFactors(t, login.SecondFactorOptional)
	b := r.browser()
	b.open(login.AccountPath).submit("login", "ada", "password", "correct horse", "action", "login").shows(http.StatusOK, "Your account")
	u, err := r.store.User(t.Context(), "ada")
	if err == nil {
		u.PasswordHash = ""
		err = r.store.UpdateUser(t.Context(), u)
	}
	if err != nil {
		t.Fatal(err)
	}
	b.account("action", "add-generator").shows(http.StatusOK, "Set up an authenticator app")
	a.now.Add(3600)
	b.account("action", "add-generator").shows(http.StatusOK, "Sign in")
}

func TestAPasswordAloneBuysNothingForWhoHasASecondFactor(t *testing.T) {
	var pages *login.Pages
	check := func() error {
		who, err := pages.CheckPassword(t.Context(), "app", "ada", "correct horse")
		if err != nil && who.User.ID != "" {
			t.Errorf("a refusal names %s", who.User.ID)
		}
		return err
	}
	r, a := startFactors(t, login.SecondFactorOptional)
	pages = r.pages
	if err := check(); err != nil {
		t.Errorf("who has no second factor: %v", err)
	}
	r.browser().enrol(a)
	if err := check(); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("who has one: %v", err)
	}
	r, _ = startFactors(t, login.SecondFactorRequired)
	pages = r.pages
	if err := check(); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("who must have one: %v", err)
	}
}

func TestAPageOfEnrolmentIsWorthNothingOnceThereIsASecondFactor(t *testing.T) {
	r, a := startFactors(t, login.SecondFactorRequired)
	thief := r.browser().signIn().shows(http.StatusOK, "you need a second factor")
	stolen := *a
	stolen.scan(thief)
	if err := r.store.AddPasskey(t.Context(), "ada", users.Passkey{ID: []byte("p"), Credential: []byte("{}")}); err != nil {
		t.Fatal(err)
	}
	thief.submit("code", stolen.next(), "action", "confirm-generator").shows(http.StatusOK, "One more step")
	if f, err := r.store.Factors(t.Context(), "ada"); err != nil || f.Generator != nil {
		t.Errorf("an app was enrolled: %v", err)
	}
}
