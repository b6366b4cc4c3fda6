package login

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/oauth2"
	"github.com/gatewarden/gatewarden/users"
)

var errAnotherSession = fault.New(fault.Forbidden, "another_session", "the request is about the session of another browser")

// maxListed is how many sessions and consents the account page lists.
const maxListed = 100

// accountPage is what account.html shows.
type accountPage struct {
	// Waiting are requests of clients elsewhere.
	Waiting     []waitingRequest
	User, Login string
	HasPassword bool
	Sessions    []accountSession
	Consents    []accountConsent
	Identities  []accountIdentity
	// Factors are nil where second factors are off.
	Factors *accountFactors
	// Providers are those to link another identity of.
	Providers []providerChoice
}

type accountSession struct {
	ID, Since, Until string
	This             bool
}

type accountConsent struct {
	ClientID, Client, Since string
	Scopes                  []string
}

// person returns whose browser this is. Without a session, or with one of a user who is
// gone, the browser was sent to log in, and ok is false.
func (x *exchange) person() (session *oauth2.LoginSession, u users.User, ok bool, err error) {
	if session, err = x.p.o.Sessions.Session(x.ctx, x.r); err != nil {
		return nil, u, false, err
	}
	if session != nil {
		u, err = x.p.o.Users.User(x.ctx, session.Subject)
		if err != nil && !fault.Is(err, fault.NotFound) {
			return nil, u, false, err
		}
		if err == nil && !u.Disabled {
			return session, u, true, nil
		}
	}
	x.p.o.Sessions.SignIn(x.w, x.r, AccountPath, session != nil)
	return nil, u, false, nil
}

// showAccount is GET /account.
func (x *exchange) showAccount() error {
	session, u, ok, err := x.person()
	if !ok {
		return err
	}
	return x.account(http.StatusOK, session, u)
}

func (x *exchange) account(status int, session *oauth2.LoginSession, u users.User) error {
	page := accountPage{User: u.DisplayName(), Login: loginOf(u), HasPassword: u.PasswordHash != ""}
	sessions, err := x.p.o.Sessions.LoginSessions(x.ctx, u.ID, maxListed)
	if err != nil {
		return err
	}
	slices.SortFunc(sessions, func(a, b oauth2.LoginSession) int { return b.AuthenticatedAt.Compare(a.AuthenticatedAt) })
	for _, s := range sessions {
		page.Sessions = append(page.Sessions, accountSession{ID: s.ID, Since: minute(s.AuthenticatedAt), Until: minute(s.ExpiresAt), This: s.ID == session.ID})
	}
	consents, err := x.p.o.Sessions.ConsentSessions(x.ctx, oauth2.ConsentFilter{Subject: u.ID}, maxListed, 0)
	if err != nil {
		return err
	}
	for _, c := range consents {
		client := c.ConsentRequest.Client
		i := slices.IndexFunc(page.Consents, func(have accountConsent) bool { return have.ClientID == client.ID })
		if i < 0 {
			page.Consents = append(page.Consents, accountConsent{ClientID: client.ID, Client: clientName(client), Since: minute(c.HandledAt)})
			i = len(page.Consents) - 1
		}
		for _, scope := range c.GrantScope {
			if text := x.v.Scope(scope); !slices.Contains(page.Consents[i].Scopes, text) {
				page.Consents[i].Scopes = append(page.Consents[i].Scopes, text)
			}
		}
	}
	if err := x.listWaiting(&page, u); err != nil {
		return err
	}
	if err := x.listIdentities(&page, u); err != nil {
		return err
	}
	if err := x.listFactors(&page, u); err != nil {
		return err
	}
	x.protect(AccountPath, session.ID)
	x.render(status, "account", page)
	return nil
}

// minute is a time as the page shows it.
func minute(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 MST") }

// submitAccount is POST /account: one of the page's forms.
func (x *exchange) submitAccount() error {
	session, u, ok, err := x.person()
	if !ok {
		return err
	}
	if err := x.checkToken(session.ID); err != nil {
		x.fault("", "fault.form")
		return x.account(http.StatusForbidden, session, u)
	}
	status := http.StatusOK
	if provider, identity := x.form.Get("link"), x.form.Get("unlink"); provider != "" {
		return x.beginLink(session, u, provider)
	} else if identity != "" {
		return x.unlink(session, u, identity)
	}
	action := x.form.Get("action")
	if x.form.Has("remove_passkey") {
		action = "remove-passkey"
	}
	switch action {
	case "add-generator", "confirm-generator", "remove-generator", "new-codes", "add-passkey", "confirm-passkey", "remove-passkey":
		return x.submitFactor(session, u, action)
	case "password":
		status, err = x.changePassword(session, u)
	case "allow-request", "deny-request":
		err = x.answerWaiting(session, u, action == "allow-request")
	case "end-session":
		err = x.endSession(u, x.form.Get("session"))
	case "end-consent":
		if client := x.form.Get("client"); client != "" {
			err = x.p.o.Sessions.RevokeConsents(x.ctx, u.ID, client)
			x.v.Notice = x.v.T("account.consent.ended")
		}
	default:
		err = fault.New(fault.Invalid, "invalid_form", "there is no such action")
	}
	if err != nil {
		return err
	}
	if x.form.Get("session") == session.ID { // the browser logged itself out
		x.redirect(strings.TrimSuffix(x.p.o.Issuer, "/") + DonePath)
		return nil
	}
	return x.account(status, session, u)
}

// endSession ends one of the person's own sessions.
func (x *exchange) endSession(u users.User, id string) error {
	own, err := x.p.o.Sessions.LoginSessions(x.ctx, u.ID, maxListed)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(own, func(s oauth2.LoginSession) bool { return s.ID == id }) {
		return fault.New(fault.NotFound, "session_not_found", "there is no such session")
	}
	x.v.Notice = x.v.T("account.session.ended")
	return x.p.o.Sessions.RevokeLoginSession(x.ctx, id)
}

// confirm asks for the person's password once more. Status is 0 when it was right; else
// what is wrong is told in the field.
func (x *exchange) confirm(u users.User, field string) (status int, err error) {
	checked, err := x.authenticate(loginOf(u), x.form.Get("password"))
	if status := x.refused(err); status != 0 {
		x.v.Faults = x.v.Faults[:0]
		if status == http.StatusForbidden {
			x.fault(field, "fault.password")
		} else {
			x.fault(field, "fault.busy")
		}
		return status, nil
	}
	if err == nil && checked.ID != u.ID { // the login changed hands meanwhile
		err = errAnotherSession
	}
	return 0, err
}

// changePassword asks for the password of before, and ends the person's other sessions.
func (x *exchange) changePassword(session *oauth2.LoginSession, u users.User) (int, error) {
	fresh := x.form.Get("new_password")
	if status, err := x.confirm(u, "password"); status != 0 || err != nil {
		return status, err
	}
	err := x.p.o.Accounts.SetPassword(x.ctx, u.ID, fresh, session.ID)
	if fault.Is(err, fault.Invalid) {
		x.fault("new_password", "fault.weak")
		return http.StatusBadRequest, nil
	}
	if err == nil {
		x.v.Notice = x.v.T("account.password.changed")
	}
	return http.StatusOK, err
}
