package login

import (
	"errors"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/oauth2"
	"github.com/gatewarden/gatewarden/users"
)

// maxHint is the longest login that is shown again, in bytes.
const maxHint = 254

// loginPage is what login.html shows.
type loginPage struct {
	Challenge, Client, Login string
	Keep                     bool
	Providers                []providerChoice
	// Passkey is nil where there are none.
	Passkey *ceremony
}

// loginRequest reads the request of a challenge for the browser that it belongs to.
func (x *exchange) loginRequest(challenge string) (oauth2.LoginRequest, error) {
	if err := x.mine(oauth2.ByLoginChallenge, challenge); err != nil {
		return oauth2.LoginRequest{}, err
	}
	asked, err := x.p.o.Requests.LoginRequest(x.ctx, challenge)
	if err == nil && len(asked.OIDCContext.UILocales) > 0 {
		x.v.speak(x.p.look.messages.choose(strings.Join(asked.OIDCContext.UILocales, " "), x.r.Header.Get("Accept-Language")))
	}
	return asked, err
}

// mine refuses a challenge that another browser began.
func (x *exchange) mine(by oauth2.FlowKey, challenge string) error {
	yes, err := x.p.o.Requests.BelongsTo(x.ctx, x.r, by, challenge)
	if err == nil && !yes {
		err = fault.New(fault.Forbidden, "another_browser", "the request was begun in another browser")
	}
	return err
}

// showLogin is GET /login. Who is logged in is not asked again, unless the person may
// not log in any more.
func (x *exchange) showLogin() error {
	asked, err := x.loginRequest(x.r.URL.Query().Get("login_challenge"))
	if err != nil {
		return err
	}
	if asked.Skip {
		enough, err := x.suffices(asked)
		if err != nil {
			return err
		}
		if enough || slices.Contains(asked.Prompt, "none") {
			return x.skipLogin(asked, enough)
		}
	}
	return x.loginForm(http.StatusOK, asked, loginPage{Login: x.hinted(asked)})
}

// skipLogin answers for the session, or rejects what it is not enough for.
func (x *exchange) skipLogin(asked oauth2.LoginRequest, enough bool) error {
	u, err := x.p.o.Users.User(x.ctx, asked.Subject)
	if err != nil && !fault.Is(err, fault.NotFound) {
		return err
	}
	var to string
	if err != nil || u.Disabled {
		to, err = x.p.o.Requests.RejectLogin(x.ctx, asked.Challenge, oauth2.Rejection{Error: "login_required", ErrorDescription: "The user is not known any more."})
	} else if !enough {
		to, err = x.p.o.Requests.RejectLogin(x.ctx, asked.Challenge, oauth2.Rejection{Error: "login_required", ErrorDescription: "A second factor is needed."})
	} else {
		to, err = x.p.o.Requests.AcceptLogin(x.ctx, asked.Challenge, oauth2.AcceptLogin{Subject: asked.Subject})
	}
	if err == nil {
		x.redirect(to)
	}
	return err
}

// hinted is the login that the client expects: login_hint, or whom id_token_hint names.
func (x *exchange) hinted(asked oauth2.LoginRequest) string {
	if hint := asked.OIDCContext.LoginHint; hint != "" {
		return hint[:min(len(hint), maxHint)]
	}
	if sub, _ := asked.OIDCContext.IDTokenHintClaims["sub"].(string); sub != "" {
		if u, err := x.p.o.Users.User(x.ctx, sub); err == nil {
			return loginOf(u)
		}
	}
	return ""
}

func loginOf(u users.User) string {
	if u.Username != "" {
		return u.Username
	}
	return u.Email
}

func (x *exchange) loginForm(status int, asked oauth2.LoginRequest, page loginPage) error {
	page.Challenge, page.Client, page.Providers = asked.Challenge, clientName(asked.Client), x.p.providerChoices()
	var err error
	if page.Passkey, err = x.offerPasskey(asked); err != nil {
		return err
	}
	x.protect(LoginPath, asked.Challenge)
	x.render(status, "login", page)
	return nil
}

// clientName is what people are told of a client; empty for none.
func clientName(c oauth2.Client) string {
	if name := strings.TrimSpace(c.Name); name != "" {
		return name
	}
	return c.ID
}

// submitLogin is POST /login.
func (x *exchange) submitLogin() error {
	asked, err := x.loginRequest(x.form.Get("login_challenge"))
	if err != nil {
		return err
	}
	page := loginPage{Login: x.form.Get("login"), Keep: x.form.Get("keep") != ""}
	page.Login = page.Login[:min(len(page.Login), maxHint)]
	if err := x.checkToken(asked.Challenge); err != nil {
		x.fault("", "fault.form")
		return x.loginForm(http.StatusForbidden, asked, page)
	}
	if x.form.Get("action") == "cancel" {
		to, err := x.p.o.Requests.RejectLogin(x.ctx, asked.Challenge, oauth2.Rejection{Error: "access_denied", ErrorDescription: "The person cancelled the login."})
		if err == nil {
			x.leave(to)
		}
		return err
	}
	switch x.form.Get("action") {
	case "code":
		return x.submitCode(asked)
	case "passkey":
		return x.submitPasskeyStep(asked)
	case "confirm-generator":
		return x.submitEnrolment(asked)
	case "seen":
		return x.submitSeen(asked)
	}
	if id := x.form.Get("provider"); id != "" {
		return x.submitProvider(asked, page, id)
	}
	login, password := strings.TrimSpace(x.form.Get("login")), x.form.Get("password")
	if login == "" {
		x.fault("login", "fault.no_login")
	}
	if password == "" {
		x.fault("password", "fault.no_password")
	}
	if len(x.v.Faults) > 0 {
		return x.loginForm(http.StatusBadRequest, asked, page)
	}
	u, err := x.authenticate(login, password)
	if status := x.refused(err); status != 0 {
		return x.loginForm(status, asked, page)
	}
	if err != nil {
		return err
	}
	return x.proceed(asked, progress{Subject: u.ID, AMR: []string{"pwd"}, Login: login, Keep: page.Keep})
}

// loginRefused begins a login again that cannot go on: as after a wrong password.
func (x *exchange) loginRefused(asked oauth2.LoginRequest, p progress) error {
	x.fault("login", "fault.refused")
	return x.loginForm(http.StatusForbidden, asked, loginPage{Login: p.Login, Keep: p.Keep})
}

// submitProvider begins a login at a provider.
func (x *exchange) submitProvider(asked oauth2.LoginRequest, page loginPage, id string) error {
	provider := x.p.provider(id)
	if provider == nil {
		return fault.New(fault.Invalid, "invalid_form", "there is no such provider")
	}
	extra, maxAge := demands(asked, provider)
	err := x.beginUpstream(provider, extra, upstreamAttempt{Challenge: asked.Challenge, Keep: page.Keep, MaxAge: maxAge})
	if status := x.upstreamRefused(provider, err); status != 0 {
		return x.loginForm(status, asked, page)
	}
	return err
}

// fault adds to what is wrong with the form.
func (x *exchange) fault(field, key string, pairs ...string) {
	x.v.Faults = append(x.v.Faults, Fault{Field: field, Text: x.v.T(key, pairs...)})
}

// refused tells of an error of authenticate that is the person's to mend, and returns
// the status; 0 for any other error.
func (x *exchange) refused(err error) int {
	var slow *errSlow
	switch {
	case errors.Is(err, errRefused):
		x.fault("login", "fault.refused")
		return http.StatusForbidden
	case errors.Is(err, errCode):
		x.fault("code", "fault.code")
		return http.StatusForbidden
	case errors.As(err, &slow):
		x.w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(slow.wait.Seconds()))))
		x.fault("", "fault.slow", "minutes", strconv.Itoa(int(math.Ceil(slow.wait.Minutes()))))
		return http.StatusTooManyRequests
	case fault.Is(err, fault.RateLimited): // too many hashes at once
		x.w.Header().Set("Retry-After", "5")
		x.fault("", "fault.busy")
		return http.StatusTooManyRequests
	}
	return 0
}
