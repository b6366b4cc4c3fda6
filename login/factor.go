package login

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/oauth2"
	"github.com/gatewarden/gatewarden/users"
)

// SecondFactor says what the pages want beside a password or another provider.
type SecondFactor int

// The zero value asks those who have a second factor for it. With Required who has none
// gets one before the first login ends. With NoSecondFactor nobody is asked, whoever has
// one.
const (
	SecondFactorOptional SecondFactor = iota
	SecondFactorRequired
	NoSecondFactor
)

// The purposes of the tickets between the steps of a login.
const (
	codeTicket = "second factor"
	doneTicket = "recovery codes shown"
	// stepFor is how long a person may take for one step.
	stepFor = 10 * time.Minute
)

// codePage is what code.html shows: the question for a second factor.
type codePage struct {
	Challenge, Client, Ticket string
	// Generator and Passkeys say what the person can show.
	Generator, Passkeys bool
	// Passkey is nil for who has none.
	Passkey *ceremony
}

// codesPage is what codes.html shows: recovery codes, once. A login that waits goes on
// with a form, else there is the account page.
type codesPage struct {
	Codes             []string
	Challenge, Ticket string
}

// askCode asks for the second factor.
func (x *exchange) askCode(status int, asked oauth2.LoginRequest, p progress, f users.Factors) error {
	page := codePage{Challenge: asked.Challenge, Client: clientName(asked.Client), Generator: f.Generator != nil, Passkeys: len(f.Passkeys) > 0}
	var err error
	if page.Ticket, err = x.issueTicket(codeTicket, asked.Challenge, p, stepFor); err != nil {
		return err
	}
	if page.Passkeys {
		if page.Passkey, err = x.offerPasskey(asked); err != nil {
			return err
		}
	}
	x.protect(LoginPath, asked.Challenge)
	x.render(status, "code", page)
	return nil
}

// resume opens the ticket of a step of a login and reads its person anew. Where that is
// not possible ok is false and the login has begun again.
func (x *exchange) resume(asked oauth2.LoginRequest, purpose string, into any, p *progress) (t ticket, u users.User, ok bool, err error) {
	t, err = x.readTicket(purpose, asked.Challenge, x.form.Get("ticket"), into)
	if err == nil {
		u, err = x.p.o.Users.User(x.ctx, p.Subject)
	}
	switch {
	case errors.Is(err, errTicket):
		x.fault("", "fault.form")
		return t, u, false, x.loginForm(http.StatusForbidden, asked, loginPage{Login: x.hinted(asked)})
	case fault.Is(err, fault.NotFound) || err == nil && u.Disabled:
		return t, u, false, x.loginRefused(asked, *p)
	}
	return t, u, err == nil, err
}

// submitCode is the form of code.html.
func (x *exchange) submitCode(asked oauth2.LoginRequest) error {
	var p progress
	t, u, ok, err := x.resume(asked, codeTicket, &p, &p)
	if !ok {
		return err
	}
	f, err := x.p.o.Factors.Factors(x.ctx, u.ID)
	if err != nil {
		return err
	}
	typed := strings.TrimSpace(x.form.Get("code"))
	if typed == "" {
		x.fault("code", "fault.no_code")
		return x.askCode(http.StatusBadRequest, asked, p, f)
	}
	err = x.checkCode(u, f, typed)
	if status := x.refused(err); status != 0 {
		return x.askCode(status, asked, p, f)
	}
	if err == nil {
		err = x.useTicket(t)
	}
	if err != nil {
		return err
	}
	return x.proceed(asked, p.with("otp"))
}

// submitPasskeyStep is the answer of a passkey: as a second factor where a ticket says
// that the first was shown, else alone.
func (x *exchange) submitPasskeyStep(asked oauth2.LoginRequest) error {
	if x.p.passkeys == nil || x.p.o.SecondFactor == NoSecondFactor {
		return fault.New(fault.Invalid, "invalid_form", "there are no passkeys")
	}
	var p progress
	if !x.form.Has("ticket") {
		return x.submitPasskey(asked, p)
	}
	t, _, ok, err := x.resume(asked, codeTicket, &p, &p)
	if !ok {
		return err
	}
	if err := x.useTicket(t); err != nil {
		return err
	}
	return x.submitPasskey(asked, p)
}

// with is the progress after a second factor.
func (p progress) with(method string) progress {
	p.AMR, p.Second = append(slices.Clone(p.AMR), method), true
	return p
}

// submitEnrolment is the form of enrol.html in a login that cannot end without.
func (x *exchange) submitEnrolment(asked oauth2.LoginRequest) error {
	var e enrolment
	t, u, ok, err := x.resume(asked, enrolTicket, &e, &e.Progress)
	if !ok {
		return err
	}
	f, err := x.p.o.Factors.Factors(x.ctx, u.ID)
	if err != nil {
		return err
	}
	if f.Any() { // the page is of a time when there was none
		return x.proceed(asked, e.Progress)
	}
	codes, refused, err := x.confirmEnrolment(e, t, u)
	if refused {
		return x.showEnrolment(http.StatusForbidden, enrolPage{Where: LoginPath, Challenge: asked.Challenge}, asked.Challenge, e, u)
	}
	if err != nil {
		return err
	}
	page := codesPage{Codes: codes, Challenge: asked.Challenge}
	if page.Ticket, err = x.issueTicket(doneTicket, asked.Challenge, e.Progress.with("otp"), stepFor); err != nil {
		return err
	}
	x.protect(LoginPath, asked.Challenge)
	x.render(http.StatusOK, "codes", page)
	return nil
}

// submitSeen is the form of codes.html: the person has seen the recovery codes.
func (x *exchange) submitSeen(asked oauth2.LoginRequest) error {
	var p progress
	t, _, ok, err := x.resume(asked, doneTicket, &p, &p)
	if !ok {
		return err
	}
	if err := x.useTicket(t); err != nil {
		return err
	}
	return x.proceed(asked, p)
}

// suffices reports whether the session of the browser was begun with as many factors as
// are wanted now: the operator's, or those of acr_values where the person has them.
func (x *exchange) suffices(asked oauth2.LoginRequest) (bool, error) {
	wanted := x.p.o.SecondFactor == SecondFactorRequired
	if !wanted && x.p.o.SecondFactor != NoSecondFactor && slices.Contains(asked.OIDCContext.ACRValues, moreFactors) {
		f, err := x.p.o.Factors.Factors(x.ctx, asked.Subject)
		if err != nil {
			return false, err
		}
		wanted = f.Any()
	}
	if !wanted {
		return true, nil
	}
	session, err := x.p.o.Sessions.Session(x.ctx, x.r)
	if err != nil {
		return false, err
	}
	return session != nil && session.Subject == asked.Subject && slices.Contains(session.AMR, "mfa"), nil
}

// accountFactors is what the account page shows of second factors.
type accountFactors struct {
	// Since is when the generator was enrolled; empty: there is none.
	Since    string
	Recovery int
	Any      bool
	Passkeys []accountPasskey
	// CanPasskey says that passkeys can be added here.
	CanPasskey bool
}

// listFactors puts a person's second factors on the page.
func (x *exchange) listFactors(page *accountPage, u users.User) error {
	if x.p.o.SecondFactor == NoSecondFactor {
		return nil
	}
	f, err := x.p.o.Factors.Factors(x.ctx, u.ID)
	if err != nil {
		return err
	}
	page.Factors = &accountFactors{Recovery: f.RecoveryCodes, Any: f.Any(), Passkeys: listPasskeys(f), CanPasskey: x.p.passkeys != nil}
	if f.Generator != nil {
		page.Factors.Since = minute(f.Generator.CreatedAt)
	}
	return nil
}

// submitFactor is a form about second factors on the account page. All of them ask
// whether it is the person; enrolment is confirmed by a code besides.
func (x *exchange) submitFactor(session *oauth2.LoginSession, u users.User, action string) error {
	if x.p.o.SecondFactor == NoSecondFactor {
		return fault.New(fault.Invalid, "invalid_form", "there are no second factors")
	}
	switch {
	case action == "confirm-generator":
		return x.confirmGenerator(session, u)
	case x.p.passkeys == nil && (action == "add-passkey" || action == "confirm-passkey"):
		return fault.New(fault.Invalid, "invalid_form", "there are no passkeys at an address, or without TLS")
	case action == "confirm-passkey":
		return x.finishPasskey(session, u)
	}
	if ok, err := x.sure(session, u, "factor_password"); !ok {
		return err
	}
	switch action {
	case "add-generator":
		return x.showEnrolment(http.StatusOK, enrolPage{Where: AccountPath}, session.ID, enrolment{Generator: newGenerator(x.p.o.Now())}, u)
	case "add-passkey":
		return x.beginPasskey(session, u)
	case "remove-passkey":
		return x.removePasskey(session, u, x.form.Get("remove_passkey"))
	case "remove-generator":
		if err := x.p.o.Factors.RemoveGenerator(x.ctx, u.ID); err != nil {
			return err
		}
		x.p.o.Log.InfoContext(x.ctx, "a generator of one-time codes was removed", "user", u.ID)
		x.v.Notice = x.v.T("account.generator.removed")
		return x.account(http.StatusOK, session, u)
	default:
		codes, hashes := users.NewRecoveryCodes(u.ID)
		if err := x.p.o.Factors.ReplaceRecoveryCodes(x.ctx, u.ID, hashes); err != nil {
			return err
		}
		x.render(http.StatusOK, "codes", codesPage{Codes: codes})
		return nil
	}
}

// confirmGenerator is the form of enrol.html on the account page.
func (x *exchange) confirmGenerator(session *oauth2.LoginSession, u users.User) error {
	var e enrolment
	t, err := x.readTicket(enrolTicket, session.ID, x.form.Get("ticket"), &e)
	if err != nil {
		x.fault("", "fault.form")
		return x.account(http.StatusForbidden, session, u)
	}
	codes, refused, err := x.confirmEnrolment(e, t, u)
	if refused {
		return x.showEnrolment(http.StatusForbidden, enrolPage{Where: AccountPath}, session.ID, e, u)
	}
	if err != nil {
		return err
	}
	x.render(http.StatusOK, "codes", codesPage{Codes: codes})
	return nil
}
