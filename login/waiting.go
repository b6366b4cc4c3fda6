package login

import (
	"bytes"
	"encoding/json"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/oauth2"
	"github.com/gatewarden/gatewarden/users"
)

// waitingRequest is what a client elsewhere asks of the person, as the account page shows
// it.
type waitingRequest struct {
	ID, Client, Message, Until string
	Scopes, Audience, Details  []string
}

func (x *exchange) listWaiting(page *accountPage, u users.User) error {
	requests, err := x.p.o.Sessions.BackchannelRequests(x.ctx, u.ID)
	if err != nil {
		return err
	}
	for _, r := range requests {
		shown := waitingRequest{ID: r.ID, Client: clientName(r.Client), Message: r.BindingMessage, Until: minute(r.ExpiresAt), Audience: r.RequestedAudience}
		for _, scope := range r.RequestedScope {
			shown.Scopes = append(shown.Scopes, x.v.Scope(scope))
		}
		for _, one := range r.RequestedDetails {
			var indented bytes.Buffer
			if err := json.Indent(&indented, one, "", "  "); err != nil {
				return err
			}
			shown.Details = append(shown.Details, indented.String())
		}
		page.Waiting = append(page.Waiting, shown)
	}
	return nil
}

// answerWaiting answers one of the person's own requests, all or nothing.
func (x *exchange) answerWaiting(session *oauth2.LoginSession, u users.User, allow bool) error {
	id := x.form.Get("request")
	if !allow {
		x.v.Notice = x.v.T("account.waiting.denied")
		return x.gone(x.p.o.Sessions.RejectBackchannel(x.ctx, id, u.ID))
	}
	requests, err := x.p.o.Sessions.BackchannelRequests(x.ctx, u.ID)
	if err != nil {
		return err
	}
	for _, r := range requests {
		if r.ID != id {
			continue
		}
		x.v.Notice = x.v.T("account.waiting.allowed")
		return x.gone(x.p.o.Sessions.AcceptBackchannel(x.ctx, id, oauth2.AcceptBackchannel{
			Subject: u.ID, GrantScope: r.RequestedScope, GrantAudience: r.RequestedAudience, GrantDetails: r.RequestedDetails,
			Session: oauth2.ConsentSession{IDToken: u.Released(r.RequestedScope)},
			ACR:     session.ACR, AMR: session.AMR, AuthTime: session.AuthenticatedAt, SessionID: session.ID,
		}))
	}
	x.v.Notice = x.v.T("account.waiting.gone")
	return nil
}

// gone tells the person that a request ended meanwhile.
func (x *exchange) gone(err error) error {
	if fault.Is(err, fault.NotFound) {
		x.v.Notice = x.v.T("account.waiting.gone")
		return nil
	}
	return err
}
