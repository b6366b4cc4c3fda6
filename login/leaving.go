package login

import (
	"net/http"

	"github.com/gatewarden/gatewarden/oauth2"
)

// logoutPage is what logout.html shows.
type logoutPage struct{ Challenge, Client, User string }

// donePage is what done.html shows after a logout, or after one that was called off.
type donePage struct{ Stayed bool }

// errorPage is what error.html shows. Code and Description are of OAuth 2.0.
type errorPage struct{ Text, Code, Description, ID string }

// logoutRequest reads the logout of a challenge, which must be of the session of this
// browser: nobody else can end it.
func (x *exchange) logoutRequest(challenge string) (oauth2.LogoutRequest, error) {
	asked, err := x.p.o.Requests.LogoutRequest(x.ctx, challenge)
	if err != nil {
		return asked, err
	}
	session, err := x.p.o.Sessions.Session(x.ctx, x.r)
	if err == nil && (session == nil || session.ID != asked.SessionID) {
		err = errAnotherSession
	}
	return asked, err
}

// showLogout is GET /logout. It asks, unless an ID token of the session came along or
// the client needs no question.
func (x *exchange) showLogout() error {
	asked, err := x.logoutRequest(x.r.URL.Query().Get("logout_challenge"))
	if err != nil {
		return err
	}
	if asked.Proven || asked.Client != nil && asked.Client.SkipLogoutConsent != nil && *asked.Client.SkipLogoutConsent {
		to, err := x.p.o.Requests.AcceptLogout(x.ctx, asked.Challenge)
		x.redirectUnless(to, err)
		return err
	}
	return x.logoutForm(http.StatusOK, asked)
}

func (x *exchange) logoutForm(status int, asked oauth2.LogoutRequest) error {
	page := logoutPage{Challenge: asked.Challenge}
	if asked.Client != nil {
		page.Client = clientName(*asked.Client)
	}
	if u, err := x.p.o.Users.User(x.ctx, asked.Subject); err == nil {
		page.User = u.DisplayName()
	}
	x.protect(LogoutPath, asked.Challenge)
	x.render(status, "logout", page)
	return nil
}

// submitLogout is POST /logout.
func (x *exchange) submitLogout() error {
	asked, err := x.logoutRequest(x.form.Get("logout_challenge"))
	if err != nil {
		return err
	}
	if err := x.checkToken(asked.Challenge); err != nil {
		x.fault("", "fault.form")
		return x.logoutForm(http.StatusForbidden, asked)
	}
	if x.form.Get("action") != "logout" {
		if err := x.p.o.Requests.RejectLogout(x.ctx, asked.Challenge); err != nil {
			return err
		}
		x.render(http.StatusOK, "done", donePage{Stayed: true})
		return nil
	}
	to, err := x.p.o.Requests.AcceptLogout(x.ctx, asked.Challenge)
	if err == nil {
		x.leave(to)
	}
	return err
}

// showDone is GET /logout/done.
func (x *exchange) showDone() error {
	x.render(http.StatusOK, "done", donePage{})
	return nil
}

// maxShown bounds what is shown of an address, in bytes.
const maxShown = 300

// showError is GET /error: the end of a request that cannot go back to its client. What
// it shows is in the address, which anybody can make up, so that it is text and short.
func (x *exchange) showError() error {
	q := x.r.URL.Query()
	cut := func(name string) string { return q.Get(name)[:min(len(q.Get(name)), maxShown)] }
	x.render(http.StatusOK, "error", errorPage{Text: x.v.T("error.text"), Code: cut("error"), Description: cut("error_description"), ID: cut("request_id")})
	return nil
}
