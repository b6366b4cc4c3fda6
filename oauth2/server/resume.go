package server

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/ory/fosite"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/oauth2"
)

// returned reads the flow that a browser comes back to with a verifier. The
// verifier must be unused, and the browser the one that began the flow; otherwise
// the flow stays as it is, for the browser that it belongs to.
func (s *Server) returned(r *http.Request, by oauth2.FlowKey, verifier string, state oauth2.FlowState) (oauth2.Flow, *flowData, *fosite.AuthorizeRequest, error) {
	return s.returnedBy(r, by, hashed(string(by), verifier), state)
}

func (s *Server) returnedBy(r *http.Request, by oauth2.FlowKey, hash string, state oauth2.FlowState) (oauth2.Flow, *flowData, *fosite.AuthorizeRequest, error) {
	gone := fosite.ErrAccessDenied.WithHint("The login or consent request is unknown, has expired or was completed before. Begin again.")
	f, err := s.o.Store.Flow(r.Context(), by, hash)
	if fault.Is(err, fault.NotFound) || err == nil && f.State != state {
		return f, nil, nil, gone
	}
	if err != nil {
		return f, nil, nil, err
	}
	d := &flowData{}
	if err := json.Unmarshal(f.Data, d); err != nil {
		return f, nil, nil, err
	}
	if !s.sameBrowser(r, d.Browser) {
		return f, nil, nil, fosite.ErrRequestForbidden.WithHint("The cookie that binds the request to the browser is missing or another one. " +
			"The browser must use the same host name throughout (localhost and 127.0.0.1 are two) and accept cookies.")
	}
	if d.ReturnTo != "" {
		return f, d, nil, nil
	}
	var request *fosite.AuthorizeRequest
	if d.Device {
		request, err = s.deviceRequest(r.Context(), f.ClientID, d)
	} else {
		request, err = s.parseAuthorize(r.Context(), d.Form)
	}
	return f, d, request, err
}

// finish makes the flow's last transition.
func (s *Server) finish(ctx context.Context, f oauth2.Flow) error {
	from := f.State
	f.State = oauth2.FlowFinished
	return s.advance(ctx, from, f)
}

func (s *Server) advance(ctx context.Context, from oauth2.FlowState, f oauth2.Flow) error {
	err := s.o.Store.AdvanceFlow(ctx, from, f)
	if errors.Is(err, oauth2.ErrSpent) {
		return fosite.ErrAccessDenied.WithHint("The request was completed before. Begin again.")
	}
	return err
}

// end finishes the flow and sends an error to the client.
func (s *Server) end(w http.ResponseWriter, r *http.Request, f oauth2.Flow, request *fosite.AuthorizeRequest, reason error) {
	if err := s.finish(r.Context(), f); err != nil {
		s.refuse(w, r, nil, err)
		return
	}
	s.refuse(w, r, request, reason)
}

// rejection is the error that an app chose.
func rejection(r *oauth2.Rejection) error {
	e := *fosite.ErrAccessDenied
	e.ErrorField, e.DescriptionField, e.HintField = printable(r.Error), printable(r.ErrorDescription), printable(r.ErrorHint)
	if e.ErrorField == "" {
		e.ErrorField = "access_denied"
	}
	return &e
}

// resumeLogin continues after the login app's answer.
func (s *Server) resumeLogin(w http.ResponseWriter, r *http.Request, verifier string) {
	ctx := r.Context()
	f, d, request, err := s.returned(r, oauth2.ByLoginVerifier, verifier, oauth2.FlowLoginAnswered)
	if err == nil && d.Skip {
		// Somebody may have ended the session meanwhile.
		if _, gone := s.o.Store.LoginSession(ctx, f.SessionID); fault.Is(gone, fault.NotFound) {
			s.end(w, r, f, request, fosite.ErrLoginRequired)
			return
		} else if gone != nil {
			err = gone
		}
	}
	if err == nil && d.ReturnTo != "" {
		s.resumeSignIn(w, r, f, d)
		return
	}
	if err == nil && d.Rejected == nil {
		d.ConsentSkip, err = s.consentSuffices(ctx, request, d, f.Subject)
	}
	hinted := false
	if err == nil && d.Rejected == nil {
		c, _ := request.Client.(*client)
		hinted, err = s.hinted(c, d, f.Subject, d.Login.ForceSubjectIdentifier)
	}
	switch {
	case err != nil:
		s.refuse(w, r, request, err)
		return
	case d.Rejected != nil:
		s.end(w, r, f, request, rejection(d.Rejected))
		return
	case !hinted:
		s.end(w, r, f, request, fosite.ErrLoginRequired.WithHint("Another person than 'id_token_hint' names has logged in."))
		return
	case d.prompt("none") && !d.ConsentSkip:
		s.end(w, r, f, request, fosite.ErrConsentRequired)
		return
	}
	if d.Session != nil && !d.Skip && d.Session.Subject != f.Subject {
		f.SessionID = randomString() // another person, another session
	}
	challenge := randomString()
	f.State, f.ConsentChallenge = oauth2.FlowConsentRequested, hashed("consent_challenge", challenge)
	if f.Data, err = json.Marshal(d); err == nil {
		err = s.advance(ctx, oauth2.FlowLoginAnswered, f)
	}
	if err == nil {
		err = s.keepSession(ctx, w, f, d)
	}
	if err != nil {
		s.refuse(w, r, nil, err)
		return
	}
	s.browse(w, s.pageURL(s.o.URLs.Consent, "consent"), url.Values{"consent_challenge": {challenge}})
}

// keepSession stores the login session and gives the browser its cookie, when the
// login app said that it should be remembered. A login that is not remembered ends
// the session that the browser had.
func (s *Server) keepSession(ctx context.Context, w http.ResponseWriter, f oauth2.Flow, d *flowData) error {
	if d.Skip && !d.Login.ExtendSessionLifespan {
		return nil
	}
	span := s.o.Lifespans.LoginSession
	if asked := time.Duration(d.Login.RememberFor) * time.Second; d.Login.RememberFor > 0 && asked < span {
		span = asked
	}
	kept := oauth2.LoginSession{
		ID: f.SessionID, Subject: f.Subject, AuthenticatedAt: d.AuthTime, ExpiresAt: s.now().Add(span),
		Remember: d.Login.Remember || d.Skip, ACR: d.Login.ACR, AMR: d.Login.AMR,
	}
	if d.Session != nil && d.Session.ID != kept.ID {
		told, err := s.o.Store.DeleteLoginSession(ctx, d.Session.ID)
		if err != nil {
			return err
		}
		s.farewell(ctx, told)
	}
	if err := s.o.Store.SaveLoginSession(ctx, kept); err != nil {
		return err
	}
	switch {
	case !kept.Remember && d.Session != nil:
		s.setCookie(w, sessionCookie, "", -1)
	case kept.Remember && d.Login.RememberFor == 0 && !d.Skip:
		s.setCookie(w, sessionCookie, s.sessionIDs.seal(kept.ID), 0)
	case kept.Remember:
		s.setCookie(w, sessionCookie, s.sessionIDs.seal(kept.ID), span)
	}
	return nil
}

// consentSuffices reports whether the person need not be asked again: the operator
// trusts the client, or an earlier consent covers everything that is requested. A
// public client must have a redirect URI that no other app can claim (RFC 8252
// section 8.6).
func (s *Server) consentSuffices(ctx context.Context, request *fosite.AuthorizeRequest, d *flowData, subject string) (bool, error) {
	c, ok := request.Client.(*client)
	// A device may be somebody else's, and a host too, one day: the person sees its name.
	if !ok || d.prompt("consent") || d.Device || c.Origin == oauth2.ByDocument {
		return false, nil
	}
	if c.SkipConsent {
		return true, nil
	}
	if len(d.Details) > 0 { // each is for one occasion: no earlier consent was about it
		return false, nil
	}
	if c.Public() && !fosite.IsRedirectURISecureStrict(ctx, request.RedirectURI) {
		return false, nil
	}
	earlier, err := s.o.Store.Consents(ctx, oauth2.ConsentFilter{Subject: subject, ClientID: c.ID}, 100, 0)
	if err != nil {
		return false, err
	}
	for _, e := range earlier {
		if e.Remember && (e.ExpiresAt.IsZero() || s.o.Now().Before(e.ExpiresAt)) &&
			covers(e.GrantedScope, d.Scope) && covers(e.GrantedAudience, d.Audience) {
			return true, nil
		}
	}
	return false, nil
}

func covers(granted, requested []string) bool {
	return !slices.ContainsFunc(requested, func(r string) bool { return !slices.Contains(granted, r) })
}

// resumeConsent continues after the consent app's answer and sends the code.
func (s *Server) resumeConsent(w http.ResponseWriter, r *http.Request, verifier string) {
	ctx := r.Context()
	f, d, request, err := s.returned(r, oauth2.ByConsentVerifier, verifier, oauth2.FlowConsentAnswered)
	switch {
	case err != nil:
		s.refuse(w, r, request, err)
		return
	case d.Rejected != nil:
		s.end(w, r, f, request, rejection(d.Rejected))
		return
	}
	if err := s.finish(ctx, f); err != nil {
		s.refuse(w, r, nil, err)
		return
	}
	if err := s.saveConsent(ctx, f, d); err != nil {
		s.refuse(w, r, request, err)
		return
	}
	request.SetID(f.ID)
	request.RequestedAt = d.RequestedAt
	for _, scope := range d.Consent.GrantScope {
		request.GrantScope(scope)
	}
	for _, audience := range d.Consent.GrantAudience {
		request.GrantAudience(audience)
	}
	if d.Device {
		s.approveDevice(w, r, f, d, request)
		return
	}
	about, err := s.about(request, f, d)
	if err != nil {
		s.refuse(w, r, request, err)
		return
	}
	params, err := s.respond(ctx, request, about)
	if err != nil {
		s.refuse(w, r, request, err)
		return
	}
	s.o.Metrics.OAuth2("authorize", "")
	s.sendBack(w, r, request, params)
}

// about returns what the grant's tokens will say about the person.
func (s *Server) about(request *fosite.AuthorizeRequest, f oauth2.Flow, d *flowData) (*session, error) {
	c, _ := request.Client.(*client)
	shown, err := s.clientSubject(c, f.Subject, d.Login.ForceSubjectIdentifier)
	if err != nil {
		return nil, err
	}
	about := &session{
		ClientSubject: shown, AuthTime: d.AuthTime.Unix(), RequestedAt: d.RequestedAt.Unix(),
		ACR: d.Login.ACR, AMR: d.Login.AMR, AccessToken: d.Consent.Session.AccessToken, IDToken: d.Consent.Session.IDToken, Details: d.Consent.GrantDetails,
		subject: f.Subject, consentID: f.ID, sessionID: f.SessionID,
	}
	if about.ACR == "" && d.Form.Get("acr_values") != "" {
		about.ACR = "0" // the least: OpenID Connect Core section 2
	}
	return about, nil
}

// consentRecord is what is stored of an answered consent request, for listing.
type consentRecord struct {
	Answer  oauth2.AcceptConsent  `json:"answer"`
	Request oauth2.ConsentRequest `json:"request"`
}

func (s *Server) saveConsent(ctx context.Context, f oauth2.Flow, d *flowData) error {
	asked, err := s.consentRequest(ctx, f, d)
	if err != nil {
		return err
	}
	c := oauth2.Consent{
		ID: f.ID, Subject: f.Subject, ClientID: f.ClientID, LoginSessionID: f.SessionID, GrantedScope: d.Consent.GrantScope,
		GrantedAudience: d.Consent.GrantAudience, Remember: d.Consent.Remember, HandledAt: d.Consent.HandledAt,
	}
	if d.Consent.Remember && d.Consent.RememberFor > 0 {
		c.ExpiresAt = c.HandledAt.Add(time.Duration(d.Consent.RememberFor) * time.Second)
	}
	if c.Data, err = json.Marshal(consentRecord{Answer: *d.Consent, Request: asked}); err != nil {
		return err
	}
	return s.o.Store.SaveConsent(ctx, c)
}
