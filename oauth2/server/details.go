package server

import (
	"encoding/json"
	"net/http"
	"net/url"

	"github.com/ory/fosite"

	"github.com/gatewarden/gatewarden/oauth2/details"
)

// detailsClaim is the claim and the parameter of RFC 9396.
const detailsClaim = "authorization_details"

// invalidDetails is the error of RFC 9396 section 5.
func invalidDetails(hint string) error {
	return &fosite.RFC6749Error{ErrorField: "invalid_authorization_details", DescriptionField: "The authorization details cannot be granted.", HintField: hint, CodeField: http.StatusBadRequest}
}

// detailsOf reads the authorization details that a client asks for; nil for none.
func (s *Server) detailsOf(c *client, form url.Values) ([]json.RawMessage, error) {
	if !form.Has(detailsClaim) {
		return nil, nil
	}
	asked, err := s.o.Details.Parse(form.Get(detailsClaim), c.AuthorizationDetailsTypes)
	if err != nil {
		return nil, invalidDetails("The parameter 'authorization_details' has " + err.Error() + ".")
	}
	return asked, nil
}

// narrowDetails takes the authorization details of a token request (RFC 9396 section 6).
// What was granted can be narrowed for the access token, never widened; a client that
// acts for itself gets what it asks for. Other grants have none of their own.
func (s *Server) narrowDetails(u *unit, request fosite.AccessRequester, form url.Values) error {
	asked, err := s.detailsOf(u.client, form)
	if err != nil || asked == nil {
		return err
	}
	about, ok := request.GetSession().(*session)
	switch {
	case !ok:
		return fosite.ErrServerError
	case u.grantType == "client_credentials":
		about.Details = asked
	case u.spend == nil:
		return fosite.ErrInvalidRequest.WithHint("The parameter 'authorization_details' cannot be used with the grant type.")
	case !details.Narrowed(asked, about.Details):
		return invalidDetails("More is asked for than was granted.")
	default:
		u.details = asked
	}
	return nil
}

// detailsFor returns what of the granted details the access token is for.
func (u *unit) detailsFor(granted []json.RawMessage) []json.RawMessage {
	if u.details != nil {
		return u.details
	}
	return granted
}

// issuedDetails returns the details of the access token, after narrowing what is stored
// of it. The refresh token keeps all.
func (u *unit) issuedDetails() ([]json.RawMessage, error) {
	if u.access == nil {
		return nil, nil
	}
	about, err := sessionOf(u.access.Grant)
	if err != nil || u.details == nil {
		return u.detailsFor(about.Details), err
	}
	about.Details = u.details
	u.access.Grant.Session, err = about.encode()
	return u.details, err
}

// plainDetails decodes details for those who read them in process.
func plainDetails(all []json.RawMessage) ([]any, error) {
	plain := make([]any, len(all))
	for i, one := range all {
		if err := json.Unmarshal(one, &plain[i]); err != nil {
			return nil, err
		}
	}
	return plain, nil
}
