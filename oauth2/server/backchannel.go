package server

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/ory/fosite"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/oauth2"
	"github.com/gatewarden/gatewarden/oauth2/details"
	"github.com/gatewarden/gatewarden/users"
)

const (
	backchannelPath      = "/oauth2/bc-authorize"
	backchannelGrantType = "urn:openid:params:grant-type:ciba"
	maxBackchannel       = 5   // requests that wait for one person
	maxBindingMessage    = 100 // characters
)

// backchannelPace bounds how often one client may call one person.
var backchannelPace = users.Pace{Interval: time.Minute, Burst: 10}

var _ oauth2.BackchannelApp = (*Server)(nil)

// backchannelAnswer is a success of the backchannel authentication endpoint (OpenID CIBA
// Core section 7.3).
type backchannelAnswer struct {
	RequestID string `json:"auth_req_id"`
	ExpiresIn int64  `json:"expires_in"` // seconds
	Interval  int64  `json:"interval"`   // seconds
}

// backchannel is POST /oauth2/bc-authorize: a client asks for a person who is elsewhere,
// and polls for the answer. It is kept as a flow whose id is the signature of the
// auth_req_id.
func (s *Server) backchannel(w http.ResponseWriter, r *http.Request) {
	answer, err := s.backchannelRequested(w, r)
	if err != nil {
		s.fail(w, r, "backchannel", err)
		return
	}
	s.o.Metrics.OAuth2("backchannel", "")
	writeJSON(w, http.StatusOK, answer)
}

func (s *Server) backchannelRequested(w http.ResponseWriter, r *http.Request) (answer backchannelAnswer, err error) {
	ctx := r.Context()
	form, err := postForm(w, r)
	if err != nil {
		return answer, err
	}
	c, err := s.authenticateClient(ctx, r, form)
	if err != nil {
		return answer, err
	}
	d, err := s.backchannelData(c, form)
	if err != nil {
		return answer, err
	}
	life, err := requestedLife(form.Get("requested_expiry"), s.o.Backchannel.Lifespan)
	if err != nil {
		return answer, err
	}
	subject, err := s.hintedPerson(ctx, c, form)
	if err != nil {
		return answer, err
	}
	if err := s.mayCall(ctx, c, subject); err != nil {
		return answer, err
	}
	id, signature := s.backchannelIDs.generate()
	f := oauth2.Flow{ID: signature, State: oauth2.FlowBackchannel, LoginChallenge: hashed("backchannel", signature), ClientID: c.ID, Subject: subject, ExpiresAt: s.now().Add(life)}
	if f.Data, err = json.Marshal(d); err != nil {
		return answer, err
	}
	return backchannelAnswer{RequestID: id, ExpiresIn: int64(life.Seconds()), Interval: int64(s.o.Backchannel.Interval.Seconds())}, s.o.Store.CreateFlow(ctx, f)
}

// backchannelData checks what a client asks for against its registration (OpenID CIBA
// Core section 7.2).
func (s *Server) backchannelData(c *client, form url.Values) (*flowData, error) {
	switch {
	case !c.allowsGrant(backchannelGrantType) || c.Public() || c.Stranger():
		return nil, fosite.ErrUnauthorizedClient.WithHintf("The client may not use grant type '%s'.", backchannelGrantType)
	case form.Has("request"):
		return nil, fosite.ErrRequestNotSupported
	case form.Has("user_code"):
		return nil, fosite.ErrInvalidRequest.WithHint("The parameter 'user_code' is not supported.")
	case !slices.Contains(strings.Fields(form.Get("scope")), "openid"):
		return nil, fosite.ErrInvalidScope.WithHint("The scope 'openid' is needed.")
	case !isBindingMessage(form.Get("binding_message")):
		return nil, &fosite.RFC6749Error{ErrorField: "invalid_binding_message", DescriptionField: "The binding_message has more than 100 characters, or one that cannot be shown.", CodeField: http.StatusBadRequest}
	}
	d, err := s.requestData(c, form)
	if err != nil {
		return nil, err
	}
	if d.Details, err = s.detailsOf(c, form); err != nil {
		return nil, err
	}
	for _, name := range []string{"binding_message", "acr_values"} {
		if form.Has(name) {
			d.Form.Set(name, form.Get(name))
		}
	}
	return d, nil
}

func isBindingMessage(text string) bool {
	return len([]rune(text)) <= maxBindingMessage && !strings.ContainsFunc(text, func(c rune) bool { return !unicode.IsPrint(c) })
}

// requestedLife is how long a request waits: as long as the client wants, and at most
// most.
func requestedLife(text string, most time.Duration) (time.Duration, error) {
	if text == "" {
		return most, nil
	}
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil || n == 0 {
		return 0, fosite.ErrInvalidRequest.WithHint("The parameter 'requested_expiry' must be a positive number of seconds.")
	}
	return min(most, time.Duration(n)*time.Second), nil
}

// hintedPerson finds the person by the one hint of a request.
func (s *Server) hintedPerson(ctx context.Context, c *client, form url.Values) (string, error) {
	unknown := &fosite.RFC6749Error{ErrorField: "unknown_user_id", DescriptionField: "The hint names nobody who can be asked.", CodeField: http.StatusBadRequest}
	login, hint := form.Get("login_hint"), form.Get("id_token_hint")
	switch {
	case form.Has("login_hint_token"):
		return "", fosite.ErrInvalidRequest.WithHint("The parameter 'login_hint_token' is not supported.")
	case (login == "") == (hint == ""):
		return "", fosite.ErrInvalidRequest.WithHint("Exactly one of 'login_hint' and 'id_token_hint' is needed.")
	case login != "":
		subject, err := s.o.Backchannel.Person(ctx, login)
		if fault.Is(err, fault.NotFound) || err == nil && (subject == "" || len(subject) > maxSubject) {
			return "", unknown
		}
		return subject, err
	}
	claims, err := s.hintClaims(ctx, hint)
	if err != nil {
		return "", err
	}
	// A pairwise subject does not tell who it is, and an ID token of another client is not
	// the client's to show.
	if audience, _ := claims["aud"].([]any); c.SubjectType == "pairwise" || !slices.Contains(audience, any(c.ID)) {
		return "", unknown
	}
	subject, _ := claims["sub"].(string)
	if err := s.checkSubject(ctx, subject); err != nil {
		if fault.KindOf(err) == fault.Unavailable || fault.KindOf(err) == fault.Timeout {
			return "", err
		}
		return "", unknown
	}
	return subject, nil
}

// mayCall keeps clients from wearing a person down with requests.
func (s *Server) mayCall(ctx context.Context, c *client, subject string) error {
	tooMany := fault.New(fault.RateLimited, "too_many_requests", "too many requests wait for the person")
	wait, err := s.o.Store.TakeAttempt(ctx, "backchannel\x00"+c.ID+"\x00"+subject, backchannelPace)
	if err == nil && wait > 0 {
		err = tooMany
	}
	if err != nil {
		return err
	}
	waiting, err := s.o.Store.WaitingFlows(ctx, subject, oauth2.FlowBackchannel, maxBackchannel)
	if err == nil && len(waiting) >= maxBackchannel {
		err = tooMany
	}
	return err
}

// BackchannelRequests lists what waits for a person.
func (s *Server) BackchannelRequests(ctx context.Context, subject string) ([]oauth2.BackchannelRequest, error) {
	list := []oauth2.BackchannelRequest{}
	flows, err := s.o.Store.WaitingFlows(ctx, subject, oauth2.FlowBackchannel, maxBackchannel*2)
	if err != nil || subject == "" {
		return list, err
	}
	for _, f := range flows {
		d := &flowData{}
		if err := json.Unmarshal(f.Data, d); err != nil {
			return nil, err
		}
		c, err := s.clients.get(ctx, f.ClientID)
		if fault.Is(err, fault.NotFound) || err == nil && c.Disabled {
			continue
		}
		if err != nil {
			return nil, err
		}
		list = append(list, oauth2.BackchannelRequest{
			ID: f.ID, Subject: f.Subject, Client: c.Client, RequestedScope: d.Scope, RequestedAudience: slices.Concat([]string{}, d.Audience), RequestedDetails: d.Details,
			BindingMessage: d.Form.Get("binding_message"), ACRValues: strings.Fields(d.Form.Get("acr_values")), RequestedAt: d.RequestedAt, ExpiresAt: f.ExpiresAt,
		})
	}
	return list, nil
}

// waiting reads a request that waits for the person.
func (s *Server) waiting(ctx context.Context, id, subject string) (oauth2.Flow, *flowData, error) {
	gone := fault.New(fault.NotFound, "not_found", "there is no such request of the person, or it has ended")
	f, err := s.o.Store.Flow(ctx, oauth2.ByID, id)
	if fault.Is(err, fault.NotFound) || err == nil && (f.State != oauth2.FlowBackchannel || subject == "" || f.Subject != subject) {
		return f, nil, gone
	}
	d := &flowData{}
	if err == nil {
		err = json.Unmarshal(f.Data, d)
	}
	return f, d, err
}

// answerBackchannel moves the flow on; of two answers one finds it gone.
func (s *Server) answerBackchannel(ctx context.Context, f oauth2.Flow, d *flowData) (err error) {
	f.State = oauth2.FlowFinished
	if f.Data, err = json.Marshal(d); err != nil {
		return err
	}
	err = s.o.Store.AdvanceFlow(ctx, oauth2.FlowBackchannel, f)
	if isSpent(err) {
		return fault.New(fault.NotFound, "not_found", "the request was answered before, or it has ended")
	}
	return err
}

// AcceptBackchannel stores what the auth_req_id buys, as the code of any other flow.
func (s *Server) AcceptBackchannel(ctx context.Context, id string, a oauth2.AcceptBackchannel) error {
	f, d, err := s.waiting(ctx, id, a.Subject)
	if err != nil {
		return err
	}
	switch {
	case !covers(d.Scope, a.GrantScope):
		return invalid("grant_scope", "has a scope that was not requested")
	case !slices.Contains(a.GrantScope, "openid"):
		return invalid("grant_scope", "must have openid")
	case !covers(d.Audience, a.GrantAudience):
		return invalid("grant_access_token_audience", "has one that was not requested")
	case !details.Narrowed(a.GrantDetails, d.Details):
		return invalid("grant_authorization_details", "has an object that was not requested, or more than was requested")
	case a.AuthTime.After(s.o.Now()):
		return invalid("auth_time", "must not be in the future")
	}
	request, err := s.polledRequest(ctx, f.ClientID, d, backchannelGrantType)
	if err != nil {
		return fault.Wrap(fault.NotFound, "not_found", "the client of the request is gone", err)
	}
	if d.AuthTime = a.AuthTime; d.AuthTime.IsZero() {
		d.AuthTime = s.now()
	}
	d.Login = &oauth2.AcceptLogin{Subject: a.Subject, ACR: a.ACR, AMR: a.AMR}
	d.Consent = &oauth2.AcceptConsent{GrantScope: a.GrantScope, GrantAudience: a.GrantAudience, GrantDetails: a.GrantDetails, Session: a.Session, HandledAt: s.now()}
	f.SessionID = a.SessionID
	request.SetID(f.ID)
	request.RequestedAt = d.RequestedAt
	for _, scope := range a.GrantScope {
		request.GrantScope(scope)
	}
	for _, audience := range a.GrantAudience {
		request.GrantAudience(audience)
	}
	about, err := s.about(request, f, d)
	if err != nil {
		return err
	}
	request.SetSession(about)
	granted, err := grantOf(request)
	if err != nil {
		return err
	}
	if err := s.answerBackchannel(ctx, f, d); err != nil {
		return err
	}
	if err := s.saveConsent(ctx, f, d); err != nil {
		return err
	}
	return s.o.Store.CreateCode(ctx, oauth2.Token{Signature: f.ID, Grant: granted, ExpiresAt: s.now().Add(s.o.Lifespans.AuthorizeCode)})
}

// RejectBackchannel is the person's no.
func (s *Server) RejectBackchannel(ctx context.Context, id, subject string) error {
	f, d, err := s.waiting(ctx, id, subject)
	if err != nil {
		return err
	}
	d.Rejected = &oauth2.Rejection{Error: "access_denied"}
	return s.answerBackchannel(ctx, f, d)
}
