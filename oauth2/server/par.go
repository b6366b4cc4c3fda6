package server

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/ory/fosite"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/oauth2"
)

// requestURIPrefix begins the request_uri of pushed requests (RFC 9126 section 2.2).
const requestURIPrefix = "urn:ietf:params:oauth:request_uri:"

// invalidRequestURI is the error of RFC 9101 section 7.
func invalidRequestURI() *fosite.RFC6749Error {
	return &fosite.RFC6749Error{ErrorField: "invalid_request_uri", DescriptionField: "The request_uri is unknown, has expired or was used before.", CodeField: http.StatusBadRequest}
}

// pushedAnswer is a success of the pushed authorization request endpoint.
type pushedAnswer struct {
	RequestURI string `json:"request_uri"`
	ExpiresIn  int64  `json:"expires_in"` // seconds
}

// push is POST /oauth2/par (RFC 9126): an authorization request that the client itself
// hands in. It is kept as a flow that no browser has come for yet.
func (s *Server) push(w http.ResponseWriter, r *http.Request) {
	answer, err := s.pushed(w, r)
	if err != nil {
		s.fail(w, r, "par", err)
		return
	}
	s.o.Metrics.OAuth2("par", "")
	writeJSON(w, http.StatusCreated, answer)
}

func (s *Server) pushed(w http.ResponseWriter, r *http.Request) (pushedAnswer, error) {
	form, err := postForm(w, r)
	if err != nil {
		return pushedAnswer{}, err
	}
	if form.Has("request_uri") {
		return pushedAnswer{}, fosite.ErrInvalidRequest.WithHint("The parameter 'request_uri' cannot be pushed.")
	}
	c, err := s.authenticateClient(r.Context(), r, form)
	if err != nil {
		return pushedAnswer{}, err
	}
	if named := form.Get("client_id"); named != "" && named != c.ID {
		return pushedAnswer{}, fosite.ErrInvalidRequest.WithHint("The parameter 'client_id' names another client than the one that authenticated.")
	}
	form.Set("client_id", c.ID)
	for _, credential := range []string{"client_secret", "client_assertion", "client_assertion_type"} {
		form.Del(credential)
	}
	// The proof goes first: who is only told the nonce sends the same request object again.
	var jkt string
	if r.Header["Dpop"] != nil {
		if jkt, err = s.prove(w, r, "", ""); err != nil {
			return pushedAnswer{}, err
		}
	}
	if form, err = s.requestObject(r.Context(), c, form); err != nil {
		return pushedAnswer{}, err
	}
	if err := bindPushed(form, jkt); err != nil {
		return pushedAnswer{}, err
	}
	if _, err := s.parseAuthorize(r.Context(), form); err != nil {
		return pushedAnswer{}, err
	}
	id := randomString()
	data, err := json.Marshal(&flowData{Form: form, RequestedAt: s.now()})
	if err != nil {
		return pushedAnswer{}, err
	}
	err = s.o.Store.CreateFlow(r.Context(), oauth2.Flow{
		ID: randomString(), State: oauth2.FlowPushed, LoginChallenge: hashed("request_uri", id), ClientID: c.ID,
		ExpiresAt: s.now().Add(s.o.PAR.Lifespan), Data: data,
	})
	return pushedAnswer{RequestURI: requestURIPrefix + id, ExpiresIn: int64(s.o.PAR.Lifespan.Seconds())}, err
}

// bindPushed binds the code to the key of the proof that came with the pushed request
// (RFC 9449 section 10.1); empty for none.
func bindPushed(form url.Values, jkt string) error {
	if jkt == "" {
		return nil
	}
	if named := form.Get("dpop_jkt"); named != "" && named != jkt {
		return fosite.ErrInvalidRequest.WithHint("The parameter 'dpop_jkt' names another key than the proof's.")
	}
	form.Set("dpop_jkt", jkt)
	return nil
}

// requested returns the authorization request that the parameters of a browser stand
// for: a pushed one, a signed one, or themselves. Of a pushed or signed request nothing
// can be changed or added from outside (RFC 9101 section 6.3), and a pushed one is
// good once. from is how the request can be begun again.
func (s *Server) requested(ctx context.Context, form url.Values) (request, from url.Values, err error) {
	c, err := s.clients.get(ctx, form.Get("client_id"))
	if fault.Is(err, fault.NotFound) || err == nil && c.Disabled {
		return nil, nil, unknownClient(err)
	}
	if err != nil {
		return nil, nil, err
	}
	if id, ok := strings.CutPrefix(form.Get("request_uri"), requestURIPrefix); ok {
		request, err = s.takePushed(ctx, c, id)
		return request, url.Values{"client_id": {c.ID}, "request_uri": {requestURIPrefix + id}}, err
	}
	if form.Has("request_uri") {
		return form, form, nil // which parseAuthorize refuses: nothing is fetched
	}
	if s.o.PAR.Required || c.RequirePAR {
		return nil, nil, fosite.ErrInvalidRequest.WithHint("Authorization requests must be pushed (RFC 9126).")
	}
	request, err = s.requestObject(ctx, c, form)
	return request, form, err
}

// takePushed spends a pushed request. One of another client is unharmed.
func (s *Server) takePushed(ctx context.Context, c *client, id string) (url.Values, error) {
	f, err := s.o.Store.Flow(ctx, oauth2.ByLoginChallenge, hashed("request_uri", id))
	if fault.Is(err, fault.NotFound) || err == nil && (f.State != oauth2.FlowPushed || f.ClientID != c.ID) {
		return nil, invalidRequestURI()
	}
	if err != nil {
		return nil, err
	}
	d := &flowData{}
	if err := json.Unmarshal(f.Data, d); err != nil {
		return nil, err
	}
	f.State = oauth2.FlowFinished
	if err := s.o.Store.AdvanceFlow(ctx, oauth2.FlowPushed, f); errors.Is(err, oauth2.ErrSpent) {
		return nil, invalidRequestURI()
	} else if err != nil {
		return nil, err
	}
	return d.Form, nil
}
