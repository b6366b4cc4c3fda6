package login

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/oauth2"
	"github.com/gatewarden/gatewarden/users"
)

// consentPage is what consent.html shows.
type consentPage struct {
	Challenge, Client, User string
	// Host is that of a client which is a metadata document; Unknown is one that
	// registered itself.
	Host     string
	Unknown  bool
	Scopes   []scopeChoice
	Audience []string
	// Details are authorization details as JSON, indented.
	Details []string
	// Home, Policy and Terms are pages of the client; empty for none.
	Home, Policy, Terms string
}

// scopeChoice is a scope that a client asks for. Required ones cannot be left out.
type scopeChoice struct {
	Name, Text string
	Required   bool
}

// consentRequest reads the request of a challenge for the browser that it belongs to,
// and its person. Of a person who was deleted or disabled meanwhile the request is
// rejected, and ended is where the browser goes.
func (x *exchange) consentRequest(challenge string) (asked oauth2.ConsentRequest, u users.User, ended string, err error) {
	if err = x.mine(oauth2.ByConsentChallenge, challenge); err != nil {
		return asked, u, "", err
	}
	if asked, err = x.p.o.Requests.ConsentRequest(x.ctx, challenge); err != nil {
		return asked, u, "", err
	}
	if len(asked.OIDCContext.UILocales) > 0 {
		x.v.speak(x.p.look.messages.choose(strings.Join(asked.OIDCContext.UILocales, " "), x.r.Header.Get("Accept-Language")))
	}
	u, err = x.p.o.Users.User(x.ctx, asked.Subject)
	if fault.Is(err, fault.NotFound) || err == nil && u.Disabled {
		ended, err = x.p.o.Requests.RejectConsent(x.ctx, challenge, oauth2.Rejection{Error: "access_denied", ErrorDescription: "The user is not known any more."})
	}
	return asked, u, ended, err
}

// showConsent is GET /consent. What was agreed to before, or needs no consent, is
// granted without a question.
func (x *exchange) showConsent() error {
	asked, u, to, err := x.consentRequest(x.r.URL.Query().Get("consent_challenge"))
	if err == nil && to == "" && !asked.Skip {
		return x.consentForm(http.StatusOK, asked, u)
	}
	if err == nil && to == "" {
		to, err = x.grant(asked, u, asked.RequestedScope, false)
	}
	x.redirectUnless(to, err)
	return err
}

func (x *exchange) redirectUnless(to string, err error) {
	if err == nil {
		x.redirect(to)
	}
}

func (x *exchange) consentForm(status int, asked oauth2.ConsentRequest, u users.User) error {
	page := consentPage{
		Challenge: asked.Challenge, Client: clientName(asked.Client), User: u.DisplayName(), Audience: asked.RequestedAudience,
		Home: webPage(asked.Client.ClientURI), Policy: webPage(asked.Client.PolicyURI), Terms: webPage(asked.Client.TermsOfServiceURI),
	}
	switch asked.Client.Origin {
	case oauth2.ByDocument:
		if u, err := url.Parse(asked.Client.ID); err == nil {
			page.Host = u.Hostname()
		}
	case oauth2.ByRegistration:
		page.Unknown = true
	}
	for _, scope := range asked.RequestedScope {
		page.Scopes = append(page.Scopes, scopeChoice{Name: scope, Text: x.v.Scope(scope), Required: scope == "openid"})
	}
	for _, one := range asked.RequestedDetails {
		var indented bytes.Buffer
		if err := json.Indent(&indented, one, "", "  "); err != nil {
			return err
		}
		page.Details = append(page.Details, indented.String())
	}
	x.protect(ConsentPath, asked.Challenge)
	x.render(status, "consent", page)
	return nil
}

// webPage returns an address that a person may be shown as a link; else empty.
func webPage(address string) string {
	if u, err := url.Parse(address); err == nil && u.Host != "" && (u.Scheme == "https" || u.Scheme == "http") {
		return u.String()
	}
	return ""
}

// grant accepts a consent with the claims that the granted scopes stand for.
func (x *exchange) grant(asked oauth2.ConsentRequest, u users.User, scopes []string, remember bool) (string, error) {
	return x.p.o.Requests.AcceptConsent(x.ctx, asked.Challenge, oauth2.AcceptConsent{
		GrantScope: scopes, GrantAudience: asked.RequestedAudience, GrantDetails: asked.RequestedDetails, Remember: remember,
		Session: oauth2.ConsentSession{IDToken: u.Released(scopes)},
	})
}

// submitConsent is POST /consent.
func (x *exchange) submitConsent() error {
	asked, u, to, err := x.consentRequest(x.form.Get("consent_challenge"))
	if err != nil {
		return err
	}
	if to != "" {
		x.leave(to)
		return nil
	}
	if err := x.checkToken(asked.Challenge); err != nil {
		x.fault("", "fault.form")
		return x.consentForm(http.StatusForbidden, asked, u)
	}
	if x.form.Get("action") == "allow" {
		to, err = x.grant(asked, u, ticked(asked.RequestedScope, x.form["scope"]), x.form.Get("remember") != "")
	} else {
		to, err = x.p.o.Requests.RejectConsent(x.ctx, asked.Challenge, oauth2.Rejection{Error: "access_denied", ErrorDescription: "The person did not consent."})
	}
	if err == nil {
		x.leave(to)
	}
	return err
}

// ticked returns what of the requested scopes was ticked, and openid, without which
// there would be no login, in the order of the request. What was not requested stays,
// for the server to refuse.
func ticked(requested, chosen []string) []string {
	var scopes []string
	for _, scope := range requested {
		if scope == "openid" || slices.Contains(chosen, scope) {
			scopes = append(scopes, scope)
		}
	}
	for _, scope := range chosen {
		if !slices.Contains(requested, scope) {
			scopes = append(scopes, scope)
		}
	}
	return scopes
}
